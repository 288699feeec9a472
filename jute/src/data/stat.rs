//! [`Stat`]: what is known about a znode beside its data.

use crate::field::record;

record! {
    /// A znode's metadata, 68 bytes. Zxids and session ids are signed on the wire.
    #[derive(Copy, Default, Hash)]
    pub struct Stat {
        /// Zxid of the transaction that created the znode.
        pub czxid: i64,
        /// Zxid of the transaction that last set its data.
        pub mzxid: i64,
        /// When it was created, in milliseconds since 1970.
        pub ctime: i64,
        /// When its data was last set, in milliseconds since 1970.
        pub mtime: i64,
        /// How often its data was set.
        pub version: i32,
        /// How often a child was created or deleted (the tree stores another number).
        pub cversion: i32,
        /// How often its ACL was set.
        pub aversion: i32,
        /// The session that owns an ephemeral; 0 for every other kind.
        pub ephemeral_owner: i64,
        /// Length of its data in bytes.
        pub data_length: i32,
        /// Number of its children.
        pub num_children: i32,
        /// Zxid of the transaction that last created or deleted a child.
        pub pzxid: i64,
    }
}
