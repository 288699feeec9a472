//! Checkpoints of the tree: hard links to what RocksDB has flushed; and those of other servers.

pub(super) mod checkpoints;
mod directory;
mod door;
pub(super) mod received;

pub(super) use door::Content;
pub use door::{Checkpoint, ReceiveError, Receiving, SnapshotFile, Snapshots};
