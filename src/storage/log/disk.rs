//! All that the log changes on its disk, so that a test can say what a disk keeps.
//!
//! What is written is certain only once it has been synced, and a name only once its directory has.
//! A sync that failed says nothing about the next one: the system may call pages clean that never
//! reached the disk, and then has nothing to write any more.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a log lies.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    /// Random id of the store that it belongs to.
    pub(super) store: u64,
    /// Directory of the tree of that store.
    pub(super) tree: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
}

/// All that the log changes on the disk: a test's double sees and fails each of it.
pub(super) trait Disk: Debug + Send + Sync {
    /// Makes an empty file, or empties one, to be read and written.
    ///
    /// # Errors
    /// The system said no.
    fn create(&self, path: &Path) -> io::Result<File>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// The system said no; what is there is unknown then.
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the bytes of a file durable, and its length.
    ///
    /// # Errors
    /// The system said no; to ask again proves nothing.
    fn sync(&self, file: &File) -> io::Result<()>;

    /// Gives a file another name in the same directory.
    ///
    /// # Errors
    /// The system said no.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The system said no.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// The system said no.
    fn sync_names(&self, dir: &Path) -> io::Result<()>;
}

/// The file system.
#[derive(Clone, Copy, Debug)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        options.open(path)
    }

    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_names(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}
