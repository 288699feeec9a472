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

/// Which owners mean more than a session, beside that of a container.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Extended {
    /// None.
    #[default]
    Off,
    /// Those with the mark of TTL nodes.
    On,
    /// All that are negative: TTL nodes as 3.5.3 wrote them, with a mark of one bit. New ones get
    /// the mark of today, and of old ones, too, the lower 40 bits are the TTL. What a session with
    /// a negative id (server ids from 128 on) creates as ephemeral is taken for a TTL node.
    ///
    /// zk: EphemeralTypeEmulate353, of which EphemeralType.get asks nothing but what is one.
    Emulate353,
}

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
    /// zk: EphemeralType.get, getValue.
    pub fn kind(self, extended: Extended) -> Kind {
        let is_ttl = match extended {
            Extended::Off => false,
            Extended::On => self.0 & Self::TTL_MASK == Self::TTL_MARK,
            Extended::Emulate353 => self.0 < 0,
        };
        if self.0 == 0 {
            Kind::Persistent
        } else if self == Self::CONTAINER {
            Kind::Container
        } else if is_ttl {
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
    pub fn stat(&self, extended: Extended) -> Stat {
        // Apply lets no node have more.
        let children = i32::try_from(self.children).unwrap_or(i32::MAX);
        let ephemeral_owner = match self.owner.kind(extended) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As EphemeralType.get of ZooKeeper 3.9.5 answers with the same settings.
    #[test]
    fn owners_are_read_as_the_settings_say() {
        let ours = Owner::ttl(1_000);
        let of_353 = Owner(i64::MIN | 1_000);
        // Of a server whose id is 200.
        let session = SessionId(200_u64.cast_signed() << 56 | 0x12_3456_789a);
        let check = |extended, owner, kind| assert_eq!(Owner(owner).kind(extended), kind);
        for extended in [Extended::Off, Extended::On, Extended::Emulate353] {
            check(extended, 0, Kind::Persistent);
            check(extended, i64::MIN, Kind::Container);
            check(extended, 7, Kind::Ephemeral(SessionId(7)));
        }
        let as_session = |owner: Owner| Kind::Ephemeral(SessionId(owner.0));
        check(Extended::Off, ours.0, as_session(ours));
        check(Extended::Off, of_353.0, as_session(of_353));
        check(Extended::On, ours.0, Kind::Ttl(1_000));
        check(Extended::On, of_353.0, as_session(of_353));
        check(Extended::On, session.0, Kind::Ephemeral(session));
        check(Extended::Emulate353, ours.0, Kind::Ttl(1_000));
        check(Extended::Emulate353, of_353.0, Kind::Ttl(1_000));
        check(Extended::Emulate353, session.0, Kind::Ttl(0x12_3456_789a));
        let older = i64::MIN | 1 << 45 | 1_000;
        check(Extended::Emulate353, older, Kind::Ttl(1_000));
    }
}
