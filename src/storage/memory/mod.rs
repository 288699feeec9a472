//! The stores in memory: for tests and for the simulation.
//!
//! They keep the same contracts as those on RocksDB, and they can be crashed: what had not become
//! durable is then gone, or a part of it survives, as the test wants.

mod log;
mod snapshots;
mod tree;

pub use log::MemoryLog;
pub use snapshots::MemorySnapshots;
pub use tree::MemoryTree;
