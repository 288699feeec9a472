//! What a server says of itself when it meets another one, and whether the two belong together.
//!
//! ```text
//!   hello   from u16, to u16 (protocol versions), server u64, wanted u64, incarnation u64, lane u8,
//!           members u64, 0 | 1 cluster [16]  .. what newer servers say behind it is not read
//! ```
//!
//! Both sides judge both hellos, by the same rule.

use std::fmt;
use std::ops::RangeInclusive;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::super::raft::records::FormatError;
use crate::state::{ClusterId, ServerId};

/// The protocol between servers.
///
/// 1: the first. 2: members that change, snapshots; no older server could read the log. Nothing was
/// released with 1.
pub(super) const VERSIONS: RangeInclusive<u16> = 2..=2;

/// What this server says of itself; may change while it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::ensemble) struct Identity {
    /// The ensemble that it belongs to; `None` while it is empty.
    pub cluster: Option<ClusterId>,
    /// A hash of the members' ids and roles, as its configuration lists them. Compared only where
    /// neither side belongs to an ensemble: later, edited files may differ for a while.
    pub members: u64,
}

/// What a connection is for; each has one of its own, so that bulk never delays a heartbeat.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub(in crate::ensemble) enum Lane {
    /// Votes, heartbeats, and small questions.
    Control = 1,
    /// The leader's entries.
    Replication = 2,
    /// A follower's proposals.
    Forward = 3,
    /// A snapshot for a server that is too far behind.
    Snapshot = 4,
}

impl Lane {
    fn read(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Control),
            2 => Some(Self::Replication),
            3 => Some(Self::Forward),
            4 => Some(Self::Snapshot),
            _ => None,
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Control => "control",
            Self::Replication => "replication",
            Self::Forward => "forwarding",
            Self::Snapshot => "snapshot",
        })
    }
}

/// A server, as it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::ensemble) struct Hello {
    /// The lowest protocol version that it speaks.
    pub from: u16,
    /// The highest.
    pub to: u16,
    /// Its id.
    pub server: ServerId,
    /// The server that it means to talk to.
    pub wanted: ServerId,
    /// Which run of its process.
    pub incarnation: u64,
    /// The number of a [`Lane`], maybe of one that only newer servers know.
    pub lane: u8,
    /// What else it says of itself.
    pub identity: Identity,
}

impl fmt::Display for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            from,
            to,
            server,
            incarnation,
            identity,
            ..
        } = self;
        write!(
            f,
            "server {server} (incarnation {incarnation}, protocol {from} to {to}, cluster "
        )?;
        match identity.cluster {
            Some(cluster) => write!(f, "{cluster}"),
            None => f.write_str("none"),
        }?;
        write!(f, ", members {:016x})", identity.members)
    }
}

/// Why two servers do not belong together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::ensemble) enum Mismatch {
    /// No protocol version is known to both.
    Version,
    /// This server has reached itself.
    Oneself,
    /// Two processes run with the same id; the incarnation of the other one.
    Doubled(u64),
    /// The address leads to another server than it should.
    WrongServer,
    /// The other side is not among the members that this one knows.
    Stranger,
    /// They belong to different ensembles.
    Cluster,
    /// They are to begin an ensemble together, with different members.
    Members,
    /// What the connection is for is not known.
    Lane,
    /// The server stops.
    Stopping,
    /// What only a newer server would say.
    Newer(u8),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version => f.write_str("no protocol version is known to both"),
            Self::Oneself => f.write_str("an address of another server leads to this one itself"),
            Self::Doubled(other) => write!(
                f,
                "two processes run with the same id, the other with incarnation {other}"
            ),
            Self::WrongServer => f.write_str("the address is that of another server"),
            Self::Stranger => f.write_str("not a member"),
            Self::Cluster => f.write_str("they belong to different ensembles"),
            Self::Members => f.write_str("their server lines name different members"),
            Self::Lane => f.write_str("what the connection is for is not known"),
            Self::Stopping => f.write_str("the server is stopping"),
            Self::Newer(reason) => write!(f, "reason {reason}, of a newer version"),
        }
    }
}

/// Two servers that do not belong together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::ensemble) struct Misfit {
    /// Why.
    pub why: Mismatch,
    /// This server.
    pub here: Hello,
    /// The other one.
    pub there: Hello,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { why, here, there } = self;
        write!(f, "{why}: here {here}, there {there}")
    }
}

impl Hello {
    /// The highest version that both know, if they belong together. `self` is this server, `theirs`
    /// the other side.
    pub(super) fn judge(&self, theirs: &Self) -> Result<u16, Mismatch> {
        let version = self.to.min(theirs.to);
        if version < self.from.max(theirs.from) {
            return Err(Mismatch::Version);
        }
        if theirs.server == self.server {
            return Err(if theirs.incarnation == self.incarnation {
                Mismatch::Oneself
            } else {
                Mismatch::Doubled(theirs.incarnation)
            });
        }
        if theirs.wanted != self.server || theirs.server != self.wanted {
            return Err(Mismatch::WrongServer);
        }
        match (self.identity.cluster, theirs.identity.cluster) {
            (Some(mine), Some(other)) if mine != other => return Err(Mismatch::Cluster),
            (None, None) if self.identity.members != theirs.identity.members => {
                return Err(Mismatch::Members);
            }
            _ => {}
        }
        Ok(version)
    }

    /// What the connection is for.
    pub(in crate::ensemble) fn lane(&self) -> Option<Lane> {
        Lane::read(self.lane)
    }

    pub(super) fn put(&self, out: &mut BytesMut) {
        out.put_u16(self.from);
        out.put_u16(self.to);
        out.put_u64(self.server.0);
        out.put_u64(self.wanted.0);
        out.put_u64(self.incarnation);
        out.put_u8(self.lane);
        out.put_u64(self.identity.members);
        match self.identity.cluster {
            None => out.put_u8(0),
            Some(ClusterId(id)) => {
                out.put_u8(1);
                out.put_slice(&id);
            }
        }
    }

    pub(super) fn take(bytes: &mut Bytes) -> Result<Self, FormatError> {
        Ok(Self {
            from: bytes.try_get_u16()?,
            to: bytes.try_get_u16()?,
            server: ServerId(bytes.try_get_u64()?),
            wanted: ServerId(bytes.try_get_u64()?),
            incarnation: bytes.try_get_u64()?,
            lane: bytes.try_get_u8()?,
            identity: Identity {
                members: bytes.try_get_u64()?,
                cluster: match bytes.try_get_u8()? {
                    0 => None,
                    1 => Some(ClusterId(bytes.try_get_u128()?.to_be_bytes())),
                    found => return Err(FormatError::Unknown { found }),
                },
            },
        })
    }
}

impl Mismatch {
    pub(super) fn put(self, out: &mut BytesMut) {
        let (tag, detail) = match self {
            Self::Version => (1, 0),
            Self::Oneself => (2, 0),
            Self::Doubled(other) => (3, other),
            Self::WrongServer => (4, 0),
            Self::Stranger => (5, 0),
            Self::Cluster => (6, 0),
            Self::Members => (7, 0),
            Self::Lane => (8, 0),
            Self::Stopping => (9, 0),
            Self::Newer(tag) => (tag, 0),
        };
        out.put_u8(tag);
        out.put_u64(detail);
    }

    pub(super) fn take(bytes: &mut Bytes) -> Result<Self, FormatError> {
        let tag = bytes.try_get_u8()?;
        let detail = bytes.try_get_u64()?;
        Ok(match tag {
            1 => Self::Version,
            2 => Self::Oneself,
            3 => Self::Doubled(detail),
            4 => Self::WrongServer,
            5 => Self::Stranger,
            6 => Self::Cluster,
            7 => Self::Members,
            8 => Self::Lane,
            9 => Self::Stopping,
            newer => Self::Newer(newer),
        })
    }
}
