//! What log, tree and checkpoints need of the file system.

use std::fs::File;
use std::io;
use std::path::Path;

use super::StorageError;

/// Makes the entries of a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StorageError> {
    File::open(dir)
        .and_then(|file| file.sync_all())
        .map_err(|source| io_error("sync", dir, source))
}

/// An error of the file system.
pub(super) fn io_error(doing: &'static str, path: &Path, source: io::Error) -> StorageError {
    StorageError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}
