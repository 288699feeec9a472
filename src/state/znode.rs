//! A znode as the tree holds it, and the stat that a client sees of it.

use std::sync::Arc;

use jute::Stat;

use super::ids::{AclId, SessionId, Zxid};

/// One node of the tree. Immutable: a change makes a new one.
///
/// zk: DataNode, StatPersisted. `creations` is what ZooKeeper stores as `cversion`: the number of
/// children ever created; what the client sees is derived (protocol.md 6.1).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Znode {
    /// Txn that created the node.
    pub czxid: Zxid,
    /// Txn that last set the data.
    pub mzxid: Zxid,
    /// Txn that last created or deleted a child; the node's own creation before that.
    pub pzxid: Zxid,
    /// Wall clock of the creation, milliseconds since 1970.
    pub ctime_ms: i64,
    /// Wall clock of the last data change, milliseconds since 1970.
    pub mtime_ms: i64,
    /// Number of data changes, wraps.
    pub version: i32,
    /// Number of children ever created (also the next sequence number), wraps.
    pub creations: i32,
    /// Number of ACL changes, wraps.
    pub aversion: i32,
    /// What the node is, as the 64 bits that ZooKeeper stores.
    pub owner: Owner,
    /// Interned ACL.
    pub acl: AclId,
    /// Number of children now.
    pub children: u32,
    /// The data; `None` is a null buffer, different from an empty one.
    pub data: Option<Arc<[u8]>>,
}

/// The stored `ephemeralOwner`: one number that says what kind of node this is.
///
/// zk: EphemeralType. protocol.md 6.4.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Owner(pub i64);

/// What an [`Owner`] means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Lives until deleted.
    Persistent,
    /// Dies with its session.
    Ephemeral(SessionId),
    /// Deleted by the leader once it had children and has none left.
    Container,
    /// Deleted by the leader when childless and unmodified for so many milliseconds.
    Ttl(i64),
}

impl Owner {
    /// Owner of a persistent node.
    pub const PERSISTENT: Self = Self(0);
    /// Owner of a container.
    pub const CONTAINER: Self = Self(i64::MIN);
    /// Longest TTL that the encoding holds, in milliseconds: 40 bits.
    pub const TTL_MS_MAX: i64 = 0xff_ffff_ffff;
    const TTL_MARK: i64 = 0xff << 56;
    const TTL_MASK: i64 = 0xff << 56;

    /// Owner of an ephemeral node of `session`.
    pub fn ephemeral(session: SessionId) -> Self {
        Self(session.0)
    }

    /// Owner of a TTL node; `ttl_ms` within 1 ..= [`Self::TTL_MS_MAX`].
    pub fn ttl(ttl_ms: i64) -> Self {
        Self(Self::TTL_MARK | (ttl_ms & Self::TTL_MS_MAX))
    }

    /// Reads the number. Without extended types a TTL owner counts as an ordinary session's.
    ///
    /// zk: EphemeralType.get.
    pub fn kind(self, extended_types: bool) -> Kind {
        if self.0 == 0 {
            Kind::Persistent
        } else if self == Self::CONTAINER {
            Kind::Container
        } else if extended_types && self.0 & Self::TTL_MASK == Self::TTL_MARK {
            Kind::Ttl(self.0 & Self::TTL_MS_MAX)
        } else {
            Kind::Ephemeral(SessionId(self.0))
        }
    }
}

impl Znode {
    /// The stat as the client sees it.
    ///
    /// zk: DataNode.copyStat: cversion = 2 * stored - children; owner 0 for containers and TTL.
    pub fn stat(&self, extended_types: bool) -> Stat {
        let children = i32::try_from(self.children).unwrap_or(i32::MAX);
        let ephemeral_owner = match self.owner.kind(extended_types) {
            Kind::Ephemeral(session) => session.0,
            Kind::Persistent | Kind::Container | Kind::Ttl(_) => 0,
        };
        Stat {
            czxid: self.czxid.0,
            mzxid: self.mzxid.0,
            ctime: self.ctime_ms,
            mtime: self.mtime_ms,
            version: self.version,
            cversion: self.creations.wrapping_mul(2).wrapping_sub(children),
            aversion: self.aversion,
            ephemeral_owner,
            data_length: i32::try_from(self.data_bytes()).unwrap_or(i32::MAX),
            num_children: children,
            pzxid: self.pzxid.0,
        }
    }

    /// Length of the data; 0 for a null buffer.
    pub fn data_bytes(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.len())
    }
}
