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
mod log;
pub mod memory;
mod open;
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
pub use snapshots::{Checkpoint, Snapshots};
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

    /// From now on the database in `dir`, a checkpoint that was taken here or by another server, is
    /// the tree: checkpoints and figures are of it, and it is marked as belonging to the log of this
    /// server. Returns it for [`crate::state::Replica::replace`], to be called at once. The tree
    /// before stays open for whoever holds it. Blocks on the disk.
    ///
    /// Where it lies does not change: a server that starts opens the tree in its own place, and the
    /// log may be purged up to here only when this one lies there.
    ///
    /// # Errors
    /// There is no tree in `dir`, it was written by a newer program, or it is corrupt: the tree
    /// before is still the live one.
    pub fn adopt(&self, dir: &Path) -> Result<Arc<dyn Store>, StorageError> {
        let tree = self.inner.adopt(dir)?;
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
