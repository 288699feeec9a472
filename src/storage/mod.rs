//! The disk: the Raft log, the tree, and checkpoints of the tree (DESIGN 3).
//!
//! Three doors: [`Log`], [`Snapshots`], and the tree, which implements `state::Store`. The log
//! lies in files of its own and is synced, once per group of writes; the tree is a RocksDB without a
//! write-ahead log, since the Raft log is its redo log: each of its batches holds the changes *and*
//! the applied position, so that a crash leaves a state that is some exact prefix of the log.
//!
//! This room does not know: openraft, what an entry means, who reads.

mod config;
mod error;
mod files;
mod format;
mod install;
mod log;
pub mod memory;
mod open;
mod ours;
mod owner;
mod places;
mod snapshots;
mod stats;
#[cfg(test)]
mod tests;
mod tree;
mod varint;

use std::path::Path;
use std::sync::Arc;

pub use config::Config;
pub use error::StorageError;
pub use format::Format;
pub use log::{Durable, Log, LogEnds, LogEntry};
pub use owner::claim_for;
pub use snapshots::{Checkpoint, ReceiveError, Receiving, SnapshotFile, Snapshots};
pub use stats::StorageStats;

use crate::state::Store;

/// The open stores of a server.
#[derive(Debug)]
pub struct Stores {
    /// The Raft log.
    pub log: Arc<dyn Log>,
    /// Checkpoints of the tree.
    pub snapshots: Arc<dyn Snapshots>,
    /// For the figures; the doors hold the same.
    inner: open::RocksStores,
}

impl Stores {
    /// The tree that is live now.
    pub fn tree(&self) -> Arc<dyn Store> {
        self.inner.live.current()
    }

    /// The checkpoint in `received`, which another server has sent, comes in the place of the tree,
    /// for good: a start finds it there, and lets the log go on behind it. Returns it for
    /// [`crate::state::Replica::replace`], to be called at once. `received`: whole and durable, on
    /// the file system of dataDir; it is moved. Blocks on the disk.
    ///
    /// The tree before stays open for whoever reads it; with the last of them its files go. Whoever
    /// keeps the log lets it go on behind the new tree, too: a purge up to its position.
    ///
    /// # Errors
    /// There is no tree in `received`, a newer program has written it, or it is corrupt: the tree before
    /// is still in its place. Or the disk failed: end the process; a start finds one or the other.
    pub fn install(&self, received: &Path) -> Result<Arc<dyn Store>, StorageError> {
        let tree = self.inner.install(received)?;
        Ok(tree)
    }

    /// Counters and sizes. Walks the directories: not on an async worker.
    pub fn stats(&self) -> StorageStats {
        self.inner.stats()
    }
}

/// Opens the stores, or creates them in empty directories.
///
/// # Errors
/// The directories hold something else, are in use, were written by a newer program, or one of the
/// databases is corrupt, incomplete or missing: tell the operator and end the process.
pub fn open(config: &Config) -> Result<Stores, StorageError> {
    let inner = open::RocksStores::open(config)?;
    Ok(Stores {
        log: Arc::clone(&inner.log) as Arc<dyn Log>,
        snapshots: Arc::clone(&inner.snapshots) as Arc<dyn Snapshots>,
        inner,
    })
}
