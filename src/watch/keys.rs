//! What watchers and watched paths are called by.

/// Names a connection. Never used again within a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WatcherId(pub u64);

/// Names a watched path until its last watch goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct PathKey(pub(super) u32);

/// Names a watcher until it is dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct WatcherKey(pub(super) u32);
