//! The disk: the Raft log, the tree, and checkpoints of the tree (DESIGN 3).
//!
//! Three doors: [`Log`], [`Snapshots`], and the tree, which implements `state::Store`. Two RocksDB
//! databases per server: `log` is synced by one writer thread; `tree` has no write-ahead log, since
//! the Raft log is its redo log: each of its batches holds the changes *and* the applied position,
//! so that a crash leaves a state that is some exact prefix of the log.
//!
//! This room does not know: openraft, what an entry means, who reads.

mod error;
mod log;
mod snapshots;

pub use error::StorageError;
pub use log::{Durable, Log, LogEnds, LogEntry};
pub use snapshots::{Checkpoint, Snapshots};
