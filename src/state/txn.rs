//! What applying a proposal did: the txn, its outcome, its changes and its events.

use std::sync::Arc;

use jute::{Acl, ErrorCode, Stat};

use super::judge::reconfig::Settled;
use super::lineup::Lineups;
use super::record::ids::{
    AclId, ClusterId, LogPosition, Origin, ServerId, SessionId, SessionOwner, Zxid,
};
use super::record::znode::Znode;
use super::timeline::Timeline;

/// The result of judging one proposal. Every replica makes the same one, byte for byte.
#[derive(Clone, PartialEq, Debug)]
pub struct Txn {
    /// Who proposed it.
    pub origin: Origin,
    /// The proposal's number within its origin.
    pub sequence: u64,
    /// The session it was made for, [`SessionId::NONE`] for the leader's chores.
    pub session: SessionId,
    /// The client's xid.
    pub cxid: i32,
    /// Its place in the order of all txns. A refused one takes a zxid too; one that attaches a session,
    /// or is to, takes none and has that of the txn before it.
    pub zxid: Zxid,
    /// The stamp of its batch, milliseconds since 1970.
    pub time_ms: i64,
    /// What the client is told.
    pub outcome: Outcome,
    /// What changed, in order. Empty for a refusal.
    pub changes: Vec<Change>,
    /// What watchers may want to know, in the order in which they must be told.
    pub events: Vec<Event>,
}

/// What the client is told.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// Judged and refused: reply header with this code, no body.
    Refused(ErrorCode),
    /// A write, done.
    Op(OpOutcome),
    /// `multi`: results in op order.
    Multi(Vec<OpOutcome>),
    /// `multi` of which nothing was done: header err 0 (protocol.md 5.2), and for each op a code: 0
    /// before the one that was refused, its code at it, -2 behind it.
    MultiRefused(Vec<ErrorCode>),
    /// A chore of the leader's, which nobody waits for.
    Done,
    /// The session exists now.
    SessionOpened,
    /// The session belongs to the connection that asked for it.
    SessionAttached,
    /// The session is gone with its ephemerals; by its client's request or by expiry.
    SessionClosed,
    /// `reconfig`: begun. Whoever asked is told by the txn that ends it.
    Pending,
    /// A `reconfig` has ended, which may have been another server's.
    Settled(Box<Settled>),
}

/// What one op has done, of a multi or alone.
#[derive(Clone, PartialEq, Debug)]
pub enum OpOutcome {
    /// `create`: the path with its sequence number.
    Created {
        /// Full path.
        path: Arc<str>,
    },
    /// `create2`, `createContainer`, `createTTL`: in a multi all typed create2 on the wire.
    CreatedWithStat {
        /// Full path.
        path: Arc<str>,
        /// Stat right after this op.
        stat: Stat,
    },
    /// `setData`, `setACL`: stat right after this op.
    Stat(Stat),
    /// `delete`.
    Deleted,
    /// `check`.
    Checked,
    /// `reconfig`: what the config's znode holds now.
    Data {
        /// Its data.
        data: Arc<[u8]>,
        /// Stat right after.
        stat: Stat,
    },
}

/// One change of the replicated state. Paths are owned: they outlive the log entry's buffer.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// A znode as it is now; `None` = deleted. Within one txn a node that neither comes nor goes
    /// is there at most once, at the place of its first change with the value of its last.
    Znode {
        /// Full path.
        path: Arc<str>,
        /// The node after this change.
        after: Option<Arc<Znode>>,
        /// True if the node did not exist before this change, or does not after it: then the
        /// parent's list of names changes too.
        listed: bool,
    },
    /// A session as it is now; `None` = gone.
    Session {
        /// Which.
        id: SessionId,
        /// The record after this change.
        after: Option<SessionRecord>,
    },
    /// An ephemeral came or went.
    Ephemeral {
        /// Its owner.
        session: SessionId,
        /// Full path.
        path: Arc<str>,
        /// True if it came.
        added: bool,
    },
    /// References to an interned ACL list: the count after this change; 0 = forgotten.
    Acl {
        /// Which.
        id: AclId,
        /// The list.
        list: Arc<[Acl]>,
        /// Number of znodes that use it now.
        references: u64,
    },
    /// A container or TTL node came (true) or went: the reaper's index.
    Reap {
        /// Full path.
        path: Arc<str>,
        /// True if it came.
        added: bool,
    },
    /// A quota on `path` came (its limits node was created) or went.
    Quota {
        /// The path under quota, without `/zookeeper/quota`.
        path: Arc<str>,
        /// True if it came.
        added: bool,
    },
    /// The members, or those that are wanted, are others now.
    Lineups(Lineups),
}

/// What watchers may want to know. The ACLs are for the delivery filter (protocol.md 9.6).
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A node was created.
    Created {
        /// Full path.
        path: Arc<str>,
        /// ACL of the new node.
        acl: Arc<[Acl]>,
        /// ACL of its parent.
        parent_acl: Arc<[Acl]>,
    },
    /// A node was deleted.
    Deleted {
        /// Full path.
        path: Arc<str>,
        /// ACL that it had.
        acl: Arc<[Acl]>,
        /// ACL of its parent.
        parent_acl: Arc<[Acl]>,
    },
    /// A node's data was set.
    DataChanged {
        /// Full path.
        path: Arc<str>,
        /// Its ACL.
        acl: Arc<[Acl]>,
    },
}

/// A session as all replicas know it. When it was last heard of is not part of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionRecord {
    /// Granted by the last handshake, milliseconds; governs expiry after a change of leader.
    ///
    /// zk-differs: there by the first one, and the later ones count only until the leader changes.
    pub timeout_ms: i32,
    /// What a client must show to be re-attached.
    pub password: [u8; 16],
    /// True if the session came from a ZooKeeper, whose passwords follow from the id.
    pub migrated: bool,
    /// Who speaks for it: the connection that opened it, or that it was attached to last.
    pub owner: SessionOwner,
}

/// How far proposals of one origin have been applied (DESIGN 4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cursor {
    /// Run of the origin's process.
    pub incarnation: u64,
    /// Last sequence applied of that run.
    pub sequence: u64,
}

/// The small rest of the state, written with every batch of changes.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Meta {
    /// The log up to here is in the tree.
    pub applied: Option<LogPosition>,
    /// The Raft membership in force, opaque to all but the ensemble; with its own position.
    pub membership: Option<bytes::Bytes>,
    /// The ensemble's name, once it has one: for ever.
    pub cluster: Option<ClusterId>,
    /// Who the members are, if the log says so, and the change that is under way.
    pub lineups: Lineups,
    /// The last txn.
    pub last_zxid: Zxid,
    /// Time, as of the last batch.
    pub timeline: Timeline,
    /// The next free interned ACL id.
    pub acl_next: u64,
    /// Number of znodes without the root, with everything under `/zookeeper`.
    pub znodes: u64,
    /// Sum of the lengths of all paths and data, bytes (ZooKeeper's approximate_data_size).
    pub data_bytes: u64,
    /// Number of ephemeral znodes.
    pub ephemerals: u64,
    /// How far each origin's proposals have been applied.
    pub cursors: std::collections::BTreeMap<ServerId, Cursor>,
}
