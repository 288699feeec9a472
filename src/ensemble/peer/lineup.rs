//! Who the members are, as values that travel between servers: what an operator lists, and what the
//! log says. Numbers are big-endian and fixed.
//!
//! ```text
//!   listed      version u64, servers u16, each: id u64, role u8 (1 votes, 2 observes),
//!               addresses u8, each: port u16, host u8 and its bytes
//!   membership  0 | 1 term u64 index u64, quorums u8, each: ids u16, u64 ..; learners u16, u64 ..
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::super::raft::records::FormatError;
use super::ask::{put_position, take_position};
use super::config::PeerAddress;
use crate::state::{LogPosition, ServerId};

/// Addresses of one server that are believed.
const ADDRESSES_MAX: usize = 16;
/// Servers that are believed: their ids are bytes.
const SERVERS_MAX: usize = 256;

/// There is one way to write each.
const UNORDERED: &str = "server ids are not in their order";

/// What a member may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Part {
    /// It votes.
    Voter,
    /// It follows without a vote, and serves clients all the same.
    Observer,
}

/// Who is wanted, or who is there: ids and parts, no addresses.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lineup {
    /// Those that vote.
    pub voters: BTreeSet<ServerId>,
    /// Those that follow without a vote.
    pub observers: BTreeSet<ServerId>,
}

impl Lineup {
    /// Whether this server is in it.
    pub fn has(&self, server: ServerId) -> bool {
        self.voters.contains(&server) || self.observers.contains(&server)
    }

    /// Everybody.
    pub fn servers(&self) -> impl Iterator<Item = ServerId> {
        self.voters.iter().chain(&self.observers).copied()
    }

    /// Whether this server votes, and nobody else is there.
    pub fn is_only(&self, server: ServerId) -> bool {
        self.observers.is_empty() && self.voters.len() == 1 && self.voters.contains(&server)
    }
}

/// `voters 1, 2, 3` or `voters 1, 2, 3 and observers 4`.
impl fmt::Display for Lineup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |ids: &BTreeSet<ServerId>| {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            ids.join(", ")
        };
        write!(f, "voters {}", list(&self.voters))?;
        if !self.observers.is_empty() {
            write!(f, " and observers {}", list(&self.observers))?;
        }
        Ok(())
    }
}

/// A member, as it is listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// What it may do.
    pub part: Part,
    /// Where the others reach it.
    pub addresses: Vec<PeerAddress>,
}

/// The members with their addresses, as one server's files list them, or the replicated configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Roster {
    /// Version of the list: the one in the name of the dynamic file, or of the replicated one; else 0.
    pub version: u64,
    /// By id.
    pub members: BTreeMap<ServerId, Listed>,
}

impl Roster {
    /// The same without addresses.
    pub fn lineup(&self) -> Lineup {
        let of = |part| {
            let members = self.members.iter();
            let members = members.filter(move |(_, member)| member.part == part);
            members.map(|(id, _)| *id).collect()
        };
        Lineup {
            voters: of(Part::Voter),
            observers: of(Part::Observer),
        }
    }

    pub(super) fn put(&self, out: &mut BytesMut) {
        out.put_u64(self.version);
        put_count(out, self.members.len());
        for (id, member) in &self.members {
            out.put_u64(id.0);
            out.put_u8(match member.part {
                Part::Voter => 1,
                Part::Observer => 2,
            });
            // Hosts that no resolver would take are not worth telling.
            let told = member.addresses.iter();
            let told = told.filter(|one| one.host.len() <= usize::from(u8::MAX));
            let told: Vec<&PeerAddress> = told.take(ADDRESSES_MAX).collect();
            out.put_u8(u8::try_from(told.len()).unwrap_or(0));
            for PeerAddress { host, port } in told {
                out.put_u16(*port);
                out.put_u8(u8::try_from(host.len()).unwrap_or(0));
                out.put_slice(host.as_bytes());
            }
        }
    }

    pub(super) fn take(bytes: &mut Bytes) -> Result<Self, FormatError> {
        let version = bytes.try_get_u64()?;
        let mut members = BTreeMap::new();
        for _ in 0..take_count(bytes)? {
            let id = ServerId(bytes.try_get_u64()?);
            let part = match bytes.try_get_u8()? {
                1 => Part::Voter,
                2 => Part::Observer,
                found => return Err(FormatError::Unknown { found }),
            };
            let count = bytes.try_get_u8()?;
            if usize::from(count) > ADDRESSES_MAX {
                return Err(FormatError::Unknown { found: count });
            }
            let mut addresses = Vec::with_capacity(usize::from(count));
            for _ in 0..count {
                addresses.push(take_address(bytes)?);
            }
            if members
                .last_key_value()
                .is_some_and(|(last, _)| *last >= id)
            {
                return Err(FormatError::Invalid { what: UNORDERED });
            }
            members.insert(id, Listed { part, addresses });
        }
        Ok(Self { version, members })
    }
}

fn take_address(bytes: &mut Bytes) -> Result<PeerAddress, FormatError> {
    let port = bytes.try_get_u16()?;
    let length = bytes.try_get_u8()?;
    if bytes.len() < usize::from(length) {
        let (count, left) = (u32::from(length), bytes.len());
        return Err(FormatError::Count { count, left });
    }
    let host = bytes.split_to(usize::from(length));
    let host = std::str::from_utf8(&host).map_err(|_| FormatError::Unknown { found: length })?;
    Ok(PeerAddress {
        host: host.to_owned(),
        port,
    })
}

/// Who is in, by an entry of the log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::ensemble) struct Membership {
    /// Where the entry is; `None`: there is none yet.
    pub at: Option<LogPosition>,
    /// A majority of each decides: two while the voters are being changed, else one.
    pub quorums: Vec<BTreeSet<ServerId>>,
    /// Who is fed and does not vote.
    pub learners: BTreeSet<ServerId>,
}

impl Membership {
    /// Everybody who votes now, also who is about to begin or to cease.
    pub(in crate::ensemble) fn voters(&self) -> BTreeSet<ServerId> {
        self.quorums.iter().flatten().copied().collect()
    }

    /// Whether the voters are being changed.
    pub(in crate::ensemble) fn is_joint(&self) -> bool {
        self.quorums.len() > 1
    }

    /// Who is in.
    pub(in crate::ensemble) fn lineup(&self) -> Lineup {
        Lineup {
            voters: self.voters(),
            observers: self.learners.clone(),
        }
    }

    /// Whether these are a majority wherever one is needed: nothing has been decided of which none of
    /// them knows. Of no members at all nobody is.
    pub(in crate::ensemble) fn is_majority(&self, of: &BTreeSet<ServerId>) -> bool {
        let is_one =
            |quorum: &BTreeSet<ServerId>| quorum.intersection(of).count() > quorum.len() / 2;
        !self.quorums.is_empty() && self.quorums.iter().all(is_one)
    }

    pub(super) fn put(&self, out: &mut BytesMut) {
        put_position(out, self.at);
        out.put_u8(u8::try_from(self.quorums.len()).unwrap_or(0));
        for quorum in self.quorums.iter().take(usize::from(u8::MAX)) {
            put_ids(out, quorum);
        }
        put_ids(out, &self.learners);
    }

    pub(super) fn take(bytes: &mut Bytes) -> Result<Self, FormatError> {
        let at = take_position(bytes)?;
        let mut quorums = Vec::new();
        for _ in 0..bytes.try_get_u8()? {
            quorums.push(take_ids(bytes)?);
        }
        Ok(Self {
            at,
            quorums,
            learners: take_ids(bytes)?,
        })
    }
}

fn put_count(out: &mut BytesMut, count: usize) {
    out.put_u16(u16::try_from(count).unwrap_or(u16::MAX));
}

fn take_count(bytes: &mut Bytes) -> Result<u16, FormatError> {
    let count = bytes.try_get_u16()?;
    if usize::from(count) > SERVERS_MAX {
        let left = bytes.len();
        return Err(FormatError::Count {
            count: u32::from(count),
            left,
        });
    }
    Ok(count)
}

fn put_ids(out: &mut BytesMut, ids: &BTreeSet<ServerId>) {
    put_count(out, ids.len());
    for id in ids {
        out.put_u64(id.0);
    }
}

fn take_ids(bytes: &mut Bytes) -> Result<BTreeSet<ServerId>, FormatError> {
    let mut ids = BTreeSet::new();
    for _ in 0..take_count(bytes)? {
        let id = ServerId(bytes.try_get_u64()?);
        if ids.last().is_some_and(|last| *last >= id) {
            return Err(FormatError::Invalid { what: UNORDERED });
        }
        ids.insert(id);
    }
    Ok(ids)
}

/// What a server tells of the members, and is told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::ensemble) struct Presented {
    /// What its operator lists.
    pub listed: Roster,
    /// Its term.
    pub term: u64,
    /// Whether it may vote.
    pub votes: bool,
    /// The newest membership in its log.
    pub effective: Membership,
    /// The newest that it knows to be committed.
    pub committed: Membership,
}

impl Presented {
    pub(super) fn put(&self, out: &mut BytesMut) {
        self.listed.put(out);
        out.put_u64(self.term);
        out.put_u8(u8::from(self.votes));
        self.effective.put(out);
        self.committed.put(out);
    }

    pub(super) fn take(bytes: &mut Bytes) -> Result<Self, FormatError> {
        Ok(Self {
            listed: Roster::take(bytes)?,
            term: bytes.try_get_u64()?,
            votes: match bytes.try_get_u8()? {
                0 => false,
                1 => true,
                found => return Err(FormatError::Unknown { found }),
            },
            effective: Membership::take(bytes)?,
            committed: Membership::take(bytes)?,
        })
    }
}
