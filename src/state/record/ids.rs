//! Newtypes for every number of the replicated state that has a meaning.

use std::fmt;

/// Order of a txn: epoch in the upper 32 bits, counter in the lower.
///
/// Signed because it is so on the wire; compared signed, as ZooKeeper does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Zxid(pub i64);

impl Zxid {
    /// The zxid of the next txn, given the Raft term under which its entry was appended.
    ///
    /// DESIGN 4.6: `max(last + 1, term << 32 | 1)`, so the counter carries on when it is full. An
    /// epoch has 31 bits, since zxids are compared signed: later terms share the last one. The last
    /// zxid of all has no next one and comes again, which apply refuses.
    pub fn next(self, term: u64) -> Self {
        const EPOCH_MAX: i64 = i32::MAX as i64;
        let epoch = i64::try_from(term).map_or(EPOCH_MAX, |term| term.min(EPOCH_MAX));
        Self(self.0.saturating_add(1).max(epoch << 32 | 1))
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// Identifies a session in the whole ensemble. 0 = none.
///
/// zk: SessionTrackerImpl.initializeNextSessionId: server id in the top byte.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SessionId(pub i64);

impl SessionId {
    /// No session: internal proposals, and a ConnectRequest that asks for a new one.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// Identifies a server of the ensemble: `myid` in ZooKeeper's words. A lone server is 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ServerId(pub u64);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Names an ensemble: drawn by its first leader, in the tree and in every hello from then on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who sent a proposal: a server, and which run of its process.
///
/// `incarnation` grows with every start of the process (DESIGN 4.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Origin {
    /// The server whose client sent the request.
    pub server: ServerId,
    /// Which run of that server's process; strictly grows.
    pub incarnation: u64,
}

/// Who speaks for a session: one connection of one run of one server. Whatever else claims to be the
/// session's client is refused.
///
/// zk: Session.owner, an object of the leader's, one for each connection or follower.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SessionOwner {
    /// The server that has the connection, and which run of it.
    pub origin: Origin,
    /// The connection's number there; numbers of one run are never used twice.
    pub connection: u64,
}

impl fmt::Display for SessionOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin {
            server,
            incarnation,
        } = self.origin;
        write!(f, "{server}.{incarnation}.{}", self.connection)
    }
}

/// Place of an entry in the Raft log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LogPosition {
    /// Raft term of the leader that appended the entry.
    pub term: u64,
    /// Index, from 0 (the membership entry) without gaps.
    pub index: u64,
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.index)
    }
}

/// Interned ACL list. 0 is the list that everybody uses: `world:anyone`, all permissions.
///
/// Given out once each, in order: an id that came again could still stand in a znode. At a million
/// a second they last for half a million years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct AclId(pub u64);

impl AclId {
    /// `world:anyone` with all permissions: never counted, never stored.
    pub const OPEN: Self = Self(0);
}
