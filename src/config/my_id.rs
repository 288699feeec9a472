//! `dataDir/myid`: which of the members this server is.

use std::path::Path;
use std::sync::Arc;

use super::files;
use super::finding::{Findings, Source};
use crate::state::ServerId;

/// Reads the file. `None`: there is none, or what is in it was a mistake, which has been told.
///
/// zk: QuorumPeerConfig.setupMyId: its first line, as Java's Long.parseLong takes it: nothing is
/// trimmed. It may be missing; ensembles complain of that later.
pub(super) fn read(data_dir: &Path, findings: &mut Findings) -> Option<ServerId> {
    let path = data_dir.join("myid");
    if !path.is_file() {
        return None;
    }
    let origin = origin(data_dir);
    let bytes = match files::read(&path) {
        Ok(bytes) => bytes,
        Err(why) => {
            findings.error(&origin, "", why);
            return None;
        }
    };
    let text = String::from_utf8_lossy(&bytes);
    let first = text.split(['\n', '\r']).next().unwrap_or_default();
    if let Ok(id) = first.parse() {
        return Some(ServerId(id));
    }
    let shown = if bytes.is_empty() { "null" } else { first };
    let what = mistake(&bytes, first);
    findings.error(
        &origin,
        "",
        format!("serverid {shown} is not a number{what}"),
    );
    None
}

/// What an operator may not see.
fn mistake(bytes: &[u8], first: &str) -> &'static str {
    if bytes.is_empty() {
        ": the file is empty"
    } else if first.is_empty() {
        ": the first line is empty"
    } else if first.trim().parse::<u64>().is_ok() {
        ": there are spaces around it"
    } else if bytes.starts_with(b"\xef\xbb\xbf") {
        ": the file begins with a byte order mark"
    } else {
        ""
    }
}

/// Its first line.
pub(super) fn origin(data_dir: &Path) -> Source {
    Source::File {
        path: Arc::new(data_dir.join("myid")),
        line: Some(1),
    }
}
