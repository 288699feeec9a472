//! Requests about znodes that exist: data, children, versions, sync.

use bytes::Bytes;

use crate::field::record;
use crate::{Stat, Text};

record! {
    /// Deletes a znode without children. Its success has no record.
    pub struct Delete {
        /// Which.
        pub path: Option<Text>,
        /// The expected version, -1 for any.
        pub version: i32,
    }
}

record! {
    /// Asks whether a znode exists.
    pub struct Exists {
        /// Which.
        pub path: Option<Text>,
        /// Whether to leave a watch, also when it does not exist.
        pub watch: bool,
    }
}

record! {
    /// Asks for a znode's data.
    pub struct GetData {
        /// Which.
        pub path: Option<Text>,
        /// Whether to leave a watch. Without effect inside a multiRead.
        pub watch: bool,
    }
}

record! {
    /// Replaces a znode's data.
    pub struct SetData {
        /// Which.
        pub path: Option<Text>,
        /// Null and empty data are different.
        pub data: Option<Bytes>,
        /// The expected version, -1 for any.
        pub version: i32,
    }
}

record! {
    /// Compares a znode's version; only inside a multi.
    pub struct Check {
        /// Which.
        pub path: Option<Text>,
        /// The expected version, -1 for any.
        pub version: i32,
    }
}

record! {
    /// Asks for the names of the children.
    pub struct GetChildren {
        /// Whose.
        pub path: Option<Text>,
        /// Whether to leave a watch. Without effect inside a multiRead.
        pub watch: bool,
    }
}

record! {
    /// Asks for the names of the children and the Stat.
    pub struct GetChildren2 {
        /// Whose.
        pub path: Option<Text>,
        /// Whether to leave a watch.
        pub watch: bool,
    }
}

record! {
    /// Asks for the number of all descendants.
    pub struct GetAllChildrenNumber {
        /// Whose.
        pub path: Option<Text>,
    }
}

record! {
    /// Asks for the session's own ephemerals.
    pub struct GetEphemerals {
        /// A plain prefix of their paths; null, blank or `/` for all.
        pub prefix: Option<Text>,
    }
}

record! {
    /// Waits until this server has caught up with the leader.
    pub struct Sync {
        /// Echoed, otherwise without meaning; null too.
        pub path: Option<Text>,
    }
}

record! {
    /// Answers exists, setData and setACL.
    pub struct StatResponse {
        /// Of the znode, after the change if there was one.
        pub stat: Stat,
    }
}

record! {
    /// Answers getData.
    pub struct GetDataResponse {
        /// Null if it was created with null.
        pub data: Option<Bytes>,
        /// Of the znode.
        pub stat: Stat,
    }
}

record! {
    /// Answers getChildren.
    pub struct GetChildrenResponse {
        /// Names, not paths, in no specified order.
        pub children: Option<Vec<Option<Text>>>,
    }
}

record! {
    /// Answers getChildren2.
    pub struct GetChildren2Response {
        /// Names, not paths, in no specified order.
        pub children: Option<Vec<Option<Text>>>,
        /// Of the parent.
        pub stat: Stat,
    }
}

record! {
    /// Answers getAllChildrenNumber.
    pub struct GetAllChildrenNumberResponse {
        /// Number of descendants.
        pub total: i32,
    }
}

record! {
    /// Answers getEphemerals.
    pub struct GetEphemeralsResponse {
        /// Paths, in no specified order.
        pub ephemerals: Option<Vec<Option<Text>>>,
    }
}

record! {
    /// Answers sync.
    pub struct SyncResponse {
        /// The request's.
        pub path: Option<Text>,
    }
}
