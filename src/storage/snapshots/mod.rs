//! Checkpoints of the tree: hard links to what RocksDB has flushed.

pub(super) mod checkpoints;
mod door;

pub use door::{Checkpoint, Snapshots};
