//! Requests about watches, and the event that a watch sends.

use crate::Text;
use crate::field::record;

record! {
    /// Sets a connection's watches again after a reconnect and catches up with what was missed.
    pub struct SetWatches {
        /// The highest zxid that the client has seen.
        pub relative_zxid: i64,
        /// Paths that getData and exists found.
        pub data_watches: Option<Vec<Option<Text>>>,
        /// Paths that exists did not find.
        pub exist_watches: Option<Vec<Option<Text>>>,
        /// Paths whose children were listed.
        pub child_watches: Option<Vec<Option<Text>>>,
    }
}

record! {
    /// [`SetWatches`] with the persistent ones, which are never caught up.
    pub struct SetWatches2 {
        /// The highest zxid that the client has seen.
        pub relative_zxid: i64,
        /// Paths that getData and exists found.
        pub data_watches: Option<Vec<Option<Text>>>,
        /// Paths that exists did not find.
        pub exist_watches: Option<Vec<Option<Text>>>,
        /// Paths whose children were listed.
        pub child_watches: Option<Vec<Option<Text>>>,
        /// Paths of persistent watches.
        pub persistent_watches: Option<Vec<Option<Text>>>,
        /// Paths of persistent recursive watches.
        pub persistent_recursive_watches: Option<Vec<Option<Text>>>,
    }
}

record! {
    /// Sets a persistent watch.
    pub struct AddWatch {
        /// Where; it need not exist.
        pub path: Option<Text>,
        /// 0 persistent, 1 persistent recursive.
        pub mode: i32,
    }
}

record! {
    /// Asks whether the connection has a watch. Its success has no record.
    pub struct CheckWatches {
        /// Where.
        pub path: Option<Text>,
        /// 1 children, 2 data, 3 any, 4 persistent, 5 persistent recursive.
        pub kind: i32,
    }
}

record! {
    /// Removes the connection's watches. Its success has no record.
    pub struct RemoveWatches {
        /// Where.
        pub path: Option<Text>,
        /// As in [`CheckWatches`].
        pub kind: i32,
    }
}

record! {
    /// What a watch tells its client, behind a header with xid -1.
    pub struct WatcherEvent {
        /// 1 created, 2 deleted, 3 data changed, 4 children changed.
        pub kind: i32,
        /// Always 3, connected, from a server.
        pub state: i32,
        /// Of the znode concerned; for 4, of the parent.
        pub path: Option<Text>,
    }
}
