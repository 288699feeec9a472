//! The door to snapshots: checkpoints of the tree made of hard links (DESIGN 3.5), and those that come
//! from other servers.
//!
//! ```text
//!   take ─▶ Checkpoint ─▶ files, read ·····▶ receive ─▶ Receiving: write .. finish ─▶ Checkpoint ─▶ install
//!           (leased)       a sender              a receiver: verified                 (leased)
//! ```

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::state::{Meta, Store};
use crate::storage::StorageError;

/// A finished checkpoint. Its files stay as long as somebody holds it.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Its directory.
    pub dir: PathBuf,
    /// The small rest of the state, read from the checkpoint itself.
    pub meta: Meta,
    /// What it consists of.
    pub(in crate::storage) content: Arc<dyn Content>,
}

impl PartialEq for Checkpoint {
    fn eq(&self, other: &Self) -> bool {
        self.dir == other.dir && self.meta == other.meta
    }
}

impl Checkpoint {
    /// Its files, in the order in which they are to be sent. The first time all of them are read:
    /// blocks on the disk, later calls do not.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn files(&self) -> Result<Arc<[SnapshotFile]>, StorageError> {
        self.content.files()
    }

    /// So many bytes of a file from `offset` on, fewer only at its end. Blocks on the disk.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn read(
        &self,
        file: &SnapshotFile,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Bytes, StorageError> {
        self.content.read(file, offset, bytes_max)
    }
}

/// A file of a checkpoint.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SnapshotFile {
    /// Its name; there are no directories in a checkpoint.
    pub name: String,
    /// How long it is.
    pub bytes: u64,
    /// CRC-32 (IEEE) of all of it.
    pub crc: u32,
}

impl SnapshotFile {
    /// Whether the name is one that a file of a checkpoint may have, here and on any other system:
    /// it can lead nowhere else.
    pub fn is_plain(&self) -> bool {
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        !self.name.starts_with('.')
            && (1..=NAME_BYTES_MAX).contains(&self.name.len())
            && self.name.bytes().all(is_plain)
    }
}

/// The longest name that every file system takes.
const NAME_BYTES_MAX: usize = 255;

/// What a checkpoint consists of.
pub(in crate::storage) trait Content: fmt::Debug + Send + Sync {
    /// See [`Checkpoint::files`].
    ///
    /// # Errors
    /// As there.
    fn files(&self) -> Result<Arc<[SnapshotFile]>, StorageError>;

    /// See [`Checkpoint::read`].
    ///
    /// # Errors
    /// As there.
    fn read(
        &self,
        file: &SnapshotFile,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Bytes, StorageError>;
}

/// A checkpoint of another server is not received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// Another one has begun to be received meanwhile.
    #[error("another snapshot is being received")]
    Superseded,
    /// It is none that a server offers, or bytes came that do not follow those that are there.
    #[error("{0}")]
    Senseless(&'static str),
    /// A file is not what was offered. It has been thrown away, and may be sent once more.
    #[error("{file} is damaged: its checksum is another one")]
    Damaged {
        /// Which.
        file: String,
    },
    /// The disk; or what came is no tree. The tree of this server is untouched.
    #[error("receive a snapshot")]
    Storage(#[from] StorageError),
}

/// Takes, keeps, receives and installs checkpoints of the tree.
pub trait Snapshots: fmt::Debug + Send + Sync {
    /// Flushes the tree and links its files into a new directory named by position and zxid;
    /// older ones go when nobody holds them. What it holds is durable when this returns, so the log
    /// behind it may be purged. Blocks on the disk; runs beside apply.
    ///
    /// # Errors
    /// The storage failed: end the process.
    fn take(&self) -> Result<Checkpoint, StorageError>;

    /// The newest checkpoint, if there is one. Cheap.
    ///
    /// # Errors
    /// The storage failed: end the process.
    fn newest(&self) -> Result<Option<Checkpoint>, StorageError>;

    /// Begins to receive a checkpoint of another server that consists of these files. What is there
    /// already of an attempt before is kept, as far as it is the same. Whoever received until now
    /// cannot go on. Blocks on the disk.
    ///
    /// # Errors
    /// See [`ReceiveError`].
    fn receive(&self, files: Vec<SnapshotFile>) -> Result<Box<dyn Receiving>, ReceiveError>;

    /// A received checkpoint comes in the place of the tree, for good: a start finds it there, and lets
    /// the log go on behind it. Returns the tree for [`crate::state::Replica::replace`], to be called at
    /// once. Blocks on the disk.
    ///
    /// # Errors
    /// End the process: a start finds the one tree or the other.
    fn install(&self, received: Checkpoint) -> Result<Arc<dyn Store>, StorageError>;
}

/// A checkpoint that is being received. Dropping it keeps what is there for the next attempt. All of it
/// blocks on the disk.
pub trait Receiving: fmt::Debug + Send {
    /// How many bytes of each file are there, in the order of the files.
    fn has(&self) -> Vec<u64>;

    /// Bytes of the file of that number, right behind those that are there.
    ///
    /// # Errors
    /// See [`ReceiveError`].
    fn write(&mut self, file: usize, offset: u64, bytes: &[u8]) -> Result<(), ReceiveError>;

    /// Everything has come: it is verified, durable, and a tree of our format. It goes when it is
    /// dropped without having been installed.
    ///
    /// # Errors
    /// See [`ReceiveError`].
    fn finish(self: Box<Self>) -> Result<Checkpoint, ReceiveError>;
}
