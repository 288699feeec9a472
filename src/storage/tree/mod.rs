//! The tree on RocksDB, with a cache of znodes in front and what is not written yet in between.
//!
//! Does not know: the log, where anything lies.

pub(super) mod cache;
pub(super) mod db;
pub(super) mod encode;
pub(super) mod keys;
pub(super) mod live;
pub(super) mod loads;
mod manifest;
pub(super) mod marks;
pub(super) mod options;
pub(super) mod rocks_tree;
pub(super) mod unwritten;
pub(super) mod view;
pub(super) mod write_behind;
