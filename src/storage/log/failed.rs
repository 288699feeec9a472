//! The first failure of a log.

use std::io;
use std::path::{Path, PathBuf};

use crate::storage::StorageError;
use crate::storage::files::io_error;

/// The first failure, to be told again and again.
#[derive(Debug)]
pub(super) struct Failed {
    doing: &'static str,
    path: PathBuf,
    code: Option<i32>,
    words: String,
}

impl Failed {
    pub(super) fn of(error: &StorageError, dir: &Path) -> Self {
        if let StorageError::Io {
            doing,
            path,
            source,
        } = error
        {
            return Self {
                doing,
                path: path.clone(),
                code: source.raw_os_error(),
                words: source.to_string(),
            };
        }
        Self {
            doing: "write the log in",
            path: dir.to_owned(),
            code: None,
            words: error.to_string(),
        }
    }

    pub(super) fn error(&self) -> StorageError {
        let source = match self.code {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::other(self.words.clone()),
        };
        io_error(self.doing, &self.path, source)
    }
}
