//! Reading the operator's files, bounded.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::finding::{Findings, Source};
use super::properties::{self, Entry};

/// No configuration is larger; what is (a device, the wrong file) is not read to its end.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads a whole file.
///
/// # Errors
/// Why it cannot be read, with the system's words.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|e| format!("Error processing {}: {e}", path.display()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!(
            "Error processing {}: expected at most {FILE_BYTES_MAX} bytes, found more",
            path.display()
        ));
    }
    Ok(bytes)
}

/// Reads a properties file; its lines that cannot be read go to `findings`.
///
/// # Errors
/// Why the file cannot be read.
pub(crate) fn entries(
    path: &Arc<PathBuf>,
    findings: &mut Findings,
) -> Result<Vec<(Entry, Source)>, String> {
    let bytes = read(path)?;
    let at = |line| Source::File {
        path: Arc::clone(path),
        line: Some(line),
    };
    let (entries, malformed) = properties::parse(&bytes);
    for line in malformed {
        findings.error(&at(line.line), "", line.why);
    }
    Ok(entries
        .into_iter()
        .map(|entry| (entry.clone(), at(entry.line)))
        .collect())
}
