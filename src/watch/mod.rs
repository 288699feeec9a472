//! The watch table: which connection wants to know about which path.
//!
//! ```text
//!   read with a watch flag, addWatch ─▶ add ─┐
//!   removeWatches, end of a connection ──────┤  path ─▶ watchers, each with its modes
//!                                            ▼  watcher ─▶ its paths
//!   state::Event ─▶ trigger ─▶ one Notice per watcher, to whoever filters and sends it
//! ```
//!
//! ZooKeeper keeps two tables, data and child. Here both are one: a watcher has at most one entry
//! per path, and the entry's modes say in which of the two it stands. What triggers what is in
//! `table`; how it is stored, small enough for millions of watches, in `paths` and `watchers`.
//!
//! Invariants:
//! - a path is stored if and only if somebody watches it;
//! - a watcher's set of paths is exactly the paths whose entries name it;
//! - no order of a hash table is visible: notices and reports come sorted.
//!
//! This room does not know: sockets, sessions, whether a watcher lives, who may read what (a
//! [`Notice`] carries the ACL by which the caller decides), time, locks.

mod keys;
mod modes;
mod paths;
mod report;
mod slab;
mod table;
mod watchers;

pub use keys::WatcherId;
pub use modes::{Registration, RemoveKind, UnknownCode};
pub use report::Summary;
pub use table::{Notice, NoticeKind, WatchTable};

#[cfg(test)]
mod tests;
