//! The door to snapshots: checkpoints of the tree made of hard links (DESIGN 3.5).

use std::fmt;
use std::path::PathBuf;

use crate::state::Meta;
use crate::storage::StorageError;

/// A finished checkpoint on disk.
#[derive(Clone, PartialEq, Debug)]
pub struct Checkpoint {
    /// Its directory.
    pub dir: PathBuf,
    /// The small rest of the state, read from the checkpoint itself.
    pub meta: Meta,
}

/// Takes, keeps and installs checkpoints of the tree.
pub trait Snapshots: fmt::Debug + Send + Sync {
    /// Flushes the tree and links its files into a new directory named by position and zxid;
    /// deletes older ones. What it holds is durable when this returns, so the log behind it may
    /// be purged. Blocks on the disk; runs beside apply.
    ///
    /// # Errors
    /// The storage failed: end the process.
    fn take(&self) -> Result<Checkpoint, StorageError>;

    /// The newest checkpoint, if there is one. Cheap.
    ///
    /// # Errors
    /// The storage failed: end the process.
    fn newest(&self) -> Result<Option<Checkpoint>, StorageError>;
}
