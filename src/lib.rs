//! Oxkeeper: a drop-in replacement for Apache ZooKeeper.

pub mod clock;
pub mod ensemble;
pub mod state;
pub mod storage;
pub mod watch;
