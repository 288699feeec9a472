//! The directory of a checkpoint: what is in it, and that it goes when it is no longer wanted and
//! nobody reads it any more.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tracing::warn;

use super::door::{Content, SnapshotFile};
use crate::storage::StorageError;
use crate::storage::files::io_error;

/// What is read at once to be summed up.
const READ_BYTES: usize = 256 << 10;

/// A directory that is somebody's to hold.
#[derive(Debug)]
pub(in crate::storage) struct Directory {
    path: PathBuf,
    is_wanted: AtomicBool,
    /// Once they have been asked for.
    files: Mutex<Option<Arc<[SnapshotFile]>>>,
}

impl Directory {
    /// `is_wanted`: it stays when nobody holds it.
    pub(in crate::storage) fn new(path: PathBuf, is_wanted: bool) -> Arc<Self> {
        Arc::new(Self {
            path,
            is_wanted: AtomicBool::new(is_wanted),
            files: Mutex::default(),
        })
    }

    /// When the last who holds it is gone, it goes.
    pub(in crate::storage) fn unwanted(&self) {
        self.is_wanted.store(false, SeqCst);
    }

    fn list(&self) -> Result<Vec<SnapshotFile>, StorageError> {
        let fail = |source| io_error("list", &self.path, source);
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            let (bytes, crc) = sum(&path)?;
            let name = path.file_name().unwrap_or_default();
            let name = name.to_string_lossy().into_owned();
            files.push(SnapshotFile { name, bytes, crc });
        }
        // CURRENT names what is the newest state of the rest.
        files.sort_by_key(|file| (file.name == "CURRENT", file.name.clone()));
        Ok(files)
    }
}

impl Content for Directory {
    fn files(&self) -> Result<Arc<[SnapshotFile]>, StorageError> {
        // Whoever comes meanwhile waits for the same.
        let mut known = self.files.lock();
        if let Some(files) = &*known {
            return Ok(Arc::clone(files));
        }
        let files: Arc<[SnapshotFile]> = self.list()?.into();
        *known = Some(Arc::clone(&files));
        Ok(files)
    }

    fn read(
        &self,
        file: &SnapshotFile,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Bytes, StorageError> {
        let path = self.path.join(&file.name);
        let fail = |source| io_error("read", &path, source);
        let left = file.bytes.saturating_sub(offset);
        let bytes = usize::try_from(left).unwrap_or(usize::MAX).min(bytes_max);
        let mut read = BytesMut::zeroed(bytes);
        let opened = File::open(&path).map_err(fail)?;
        opened.read_exact_at(&mut read, offset).map_err(fail)?;
        Ok(read.freeze())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if *self.is_wanted.get_mut() {
            return;
        }
        match fs::remove_dir_all(&self.path) {
            // It has been installed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(()) => {}
            // A start removes what is left.
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(error, path = %self.path.display(), "an old checkpoint is left");
            }
        }
    }
}

/// Length and checksum of a file.
///
/// # Errors
/// It cannot be read.
pub(in crate::storage) fn sum(path: &Path) -> Result<(u64, u32), StorageError> {
    let mut hasher = crc32fast::Hasher::new();
    let bytes = sum_into(&mut hasher, path)?;
    Ok((bytes, hasher.finalize()))
}

/// Adds a file to a checksum; its length.
///
/// # Errors
/// It cannot be read.
pub(in crate::storage) fn sum_into(
    hasher: &mut crc32fast::Hasher,
    path: &Path,
) -> Result<u64, StorageError> {
    let fail = |source| io_error("read", path, source);
    let mut file = File::open(path).map_err(fail)?;
    let mut buffer = vec![0; READ_BYTES];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer).map_err(fail)?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else {
            return Ok(bytes);
        };
        hasher.update(piece);
        bytes += read as u64;
    }
}
