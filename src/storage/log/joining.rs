//! The mark beside the segments of a server that has a new disk and has not caught up with its
//! ensemble yet.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::storage::StorageError;
use crate::storage::files::{io_error, sync_dir};

const JOINING: &str = "joining";

/// Whether it is there.
pub(super) fn is_marked(dir: &Path) -> Result<bool, StorageError> {
    let path = dir.join(JOINING);
    path.try_exists()
        .map_err(|source| io_error("look for", &path, source))
}

/// Writes it, or takes it away; durable when this returns.
pub(super) fn mark(dir: &Path, joining: bool) -> Result<(), StorageError> {
    let path = dir.join(JOINING);
    let done = match joining {
        true => File::create(&path).and_then(|file| file.sync_all()),
        false => fs::remove_file(&path),
    };
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !joining => Ok(()),
        Err(source) => Err(io_error("mark", &path, source)),
        Ok(()) => sync_dir(dir),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_and_goes_any_number_of_times() {
        let dir = tempfile::tempdir().unwrap();
        for joining in [false, true, true, false, false, true] {
            mark(dir.path(), joining).unwrap();
            assert_eq!(is_marked(dir.path()).unwrap(), joining);
        }
        let gone = dir.path().join("gone");
        assert!(mark(&gone, true).is_err());
    }
}
