//! Bytes of what the ensemble keeps in the log and in the tree: entries, vote, committed position,
//! membership. Numbers are big-endian and fixed: these records are few or short.
//!
//! ```text
//!   entry        batch, whose first byte (1 ..= 0x7f) is a state::BatchFormat
//!                | BLANK_V1 (0x80)
//!                | MEMBERSHIP_V1 (0x81), members
//!   vote         V1, term u64, server u64, committed u8
//!   committed    V1, term u64, index u64
//!   membership   V1, 0 | 1 term u64 index u64, members
//!   members      configs u32, (voters u32, server u64 ..) .., servers u32, server u64 ..
//! ```
//!
//! A batch is not wrapped: its bytes are the entry's, so nothing is copied between the queue, the
//! log and apply.

use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes, BytesMut, TryGetError};

use super::types::{EncodedBatch, LogId, Membership, Payload, StoredMembership, Vote, log_id};
use crate::ensemble::error::Failure;
use crate::state::{LogPosition, ServerId};
use crate::storage::Log;

/// First byte of an entry that is no batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum EntryFormat {
    /// A leader's first entry: nothing but a position.
    BlankV1 = 0x80,
    /// A membership. First format.
    MembershipV1 = 0x81,
}

/// First byte of the other records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum RecordFormat {
    /// First format.
    V1 = 1,
}

/// Bytes that no version of this program wrote.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FormatError {
    /// Too short.
    #[error("{wanted} bytes expected, {left} are left")]
    CutOff {
        /// Bytes of the next field.
        wanted: usize,
        /// Bytes there are.
        left: usize,
    },
    /// A first byte that is not known.
    #[error("format {found:#04x} is not known: use a newer oxkeeper")]
    Unknown {
        /// The byte.
        found: u8,
    },
    /// A count that cannot be.
    #[error("{count} items announced, {left} bytes are left")]
    Count {
        /// As announced.
        count: u32,
        /// What is there.
        left: usize,
    },
    /// A field that no server writes like this.
    #[error("{what}")]
    Invalid {
        /// What is wrong.
        what: &'static str,
    },
    /// Bytes behind the end.
    #[error("{left} bytes behind the end of the record")]
    Trailing {
        /// How many.
        left: usize,
    },
}

impl From<TryGetError> for FormatError {
    fn from(error: TryGetError) -> Self {
        Self::CutOff {
            wanted: error.requested,
            left: error.available,
        }
    }
}

/// The bytes of an entry.
pub(in crate::ensemble) fn encode_entry(payload: Payload) -> Bytes {
    match payload {
        Payload::Normal(EncodedBatch(batch)) => batch,
        Payload::Blank => Bytes::from_static(&[EntryFormat::BlankV1 as u8]),
        Payload::Membership(membership) => {
            let mut out = BytesMut::new();
            out.put_u8(EntryFormat::MembershipV1 as u8);
            put_members(&mut out, &membership);
            out.freeze()
        }
    }
}

/// Reads an entry. A batch is not looked into.
pub(in crate::ensemble) fn decode_entry(mut bytes: Bytes) -> Result<Payload, FormatError> {
    const BLANK: u8 = EntryFormat::BlankV1 as u8;
    const MEMBERSHIP: u8 = EntryFormat::MembershipV1 as u8;
    match bytes.first() {
        None => Err(FormatError::CutOff { wanted: 1, left: 0 }),
        Some(1..=0x7f) => Ok(Payload::Normal(EncodedBatch(bytes))),
        Some(&BLANK) => {
            bytes.advance(1);
            end(&bytes)?;
            Ok(Payload::Blank)
        }
        Some(&MEMBERSHIP) => {
            bytes.advance(1);
            let members = take_members(&mut bytes)?;
            end(&bytes)?;
            Ok(Payload::Membership(members))
        }
        Some(&found) => Err(FormatError::Unknown { found }),
    }
}

/// The bytes of a vote.
pub(in crate::ensemble) fn encode_vote(vote: &Vote) -> Bytes {
    let mut out = BytesMut::with_capacity(18);
    out.put_u8(RecordFormat::V1 as u8);
    out.put_u64(vote.leader_id.term);
    out.put_u64(vote.leader_id.voted_for);
    out.put_u8(u8::from(vote.committed));
    out.freeze()
}

/// Reads a vote.
pub(in crate::ensemble) fn decode_vote(mut bytes: Bytes) -> Result<Vote, FormatError> {
    version(&mut bytes)?;
    let term = bytes.try_get_u64()?;
    let server = bytes.try_get_u64()?;
    let committed = bytes.try_get_u8()? != 0;
    end(&bytes)?;
    Ok(if committed {
        Vote::new_committed(term, server)
    } else {
        Vote::new(term, server)
    })
}

/// The bytes of a committed position.
pub(in crate::ensemble) fn encode_committed(id: &LogId) -> Bytes {
    let mut out = BytesMut::with_capacity(17);
    out.put_u8(RecordFormat::V1 as u8);
    put_position(&mut out, id);
    out.freeze()
}

/// Reads a committed position.
pub(in crate::ensemble) fn decode_committed(mut bytes: Bytes) -> Result<LogId, FormatError> {
    version(&mut bytes)?;
    let id = take_position(&mut bytes)?;
    end(&bytes)?;
    Ok(id)
}

/// The bytes of a membership with its own position, as the tree keeps it.
pub(in crate::ensemble) fn encode_membership(stored: &StoredMembership) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(RecordFormat::V1 as u8);
    match stored.log_id() {
        None => out.put_u8(0),
        Some(id) => {
            out.put_u8(1);
            put_position(&mut out, id);
        }
    }
    put_members(&mut out, stored.membership());
    out.freeze()
}

/// Reads a membership with its own position.
pub(in crate::ensemble) fn decode_membership(
    mut bytes: Bytes,
) -> Result<StoredMembership, FormatError> {
    version(&mut bytes)?;
    let position = match bytes.try_get_u8()? {
        0 => None,
        _ => Some(take_position(&mut bytes)?),
    };
    let members = take_members(&mut bytes)?;
    end(&bytes)?;
    Ok(StoredMembership::new(position, members))
}

/// Who votes by the newest entry that says so: one in the log behind what the tree has, or the tree's.
///
/// # Errors
/// What is stored is none of ours, or the log failed.
pub(in crate::ensemble) fn stored_voters(
    log: &dyn Log,
    tree: Option<Bytes>,
    applied: Option<LogPosition>,
) -> Result<BTreeSet<ServerId>, Failure> {
    const BYTES_AT_ONCE: usize = 1 << 20;
    let record = |source| Failure::Record {
        what: "membership",
        source,
    };
    let stored = tree.map(decode_membership).transpose().map_err(record)?;
    let mut voters: BTreeSet<ServerId> = stored
        .iter()
        .flat_map(StoredMembership::voter_ids)
        .map(ServerId)
        .collect();
    let ends = log.ends();
    let first = ends.purged.map_or(0, |at| at.index + 1);
    let mut next = first.max(applied.map_or(0, |at| at.index + 1));
    while ends.last.is_some_and(|last| next <= last.index) {
        let entries = log.entries(next..u64::MAX, BYTES_AT_ONCE);
        let entries = entries.map_err(Failure::Storage)?;
        let Some(last) = entries.last() else { break };
        next = last.position.index + 1;
        for entry in entries {
            let index = entry.position.index;
            let payload = decode_entry(entry.payload);
            let payload = payload.map_err(|source| Failure::Entry { index, source })?;
            if let Payload::Membership(members) = payload {
                voters = members.voter_ids().map(ServerId).collect();
            }
        }
    }
    Ok(voters)
}

fn version(bytes: &mut Bytes) -> Result<(), FormatError> {
    let found = bytes.try_get_u8()?;
    if found == RecordFormat::V1 as u8 {
        Ok(())
    } else {
        Err(FormatError::Unknown { found })
    }
}

pub(in crate::ensemble) fn end(bytes: &Bytes) -> Result<(), FormatError> {
    if bytes.is_empty() {
        Ok(())
    } else {
        Err(FormatError::Trailing { left: bytes.len() })
    }
}

pub(super) fn put_position(out: &mut BytesMut, id: &LogId) {
    out.put_u64(id.leader_id.term);
    out.put_u64(id.index);
}

pub(super) fn take_position(bytes: &mut Bytes) -> Result<LogId, FormatError> {
    let term = bytes.try_get_u64()?;
    let index = bytes.try_get_u64()?;
    Ok(log_id(LogPosition { term, index }))
}

fn put_members(out: &mut BytesMut, membership: &Membership) {
    let configs = membership.get_joint_config();
    put_count(out, configs.len());
    for voters in configs {
        put_count(out, voters.len());
        for voter in voters {
            out.put_u64(*voter);
        }
    }
    put_count(out, membership.nodes().count());
    for (server, ()) in membership.nodes() {
        out.put_u64(*server);
    }
}

fn take_members(bytes: &mut Bytes) -> Result<Membership, FormatError> {
    let configs = take_count(bytes, 4)?;
    let mut joint = Vec::with_capacity(configs);
    for _ in 0..configs {
        joint.push(take_servers(bytes)?);
    }
    let servers = take_servers(bytes)?;
    Ok(Membership::new_with_defaults(joint, servers))
}

fn take_servers(bytes: &mut Bytes) -> Result<BTreeSet<u64>, FormatError> {
    let count = take_count(bytes, 8)?;
    let mut servers = BTreeSet::new();
    for _ in 0..count {
        servers.insert(bytes.try_get_u64()?);
    }
    Ok(servers)
}

fn put_count(out: &mut BytesMut, count: usize) {
    out.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
}

/// A count of items of at least `item_bytes` each, checked against what is left.
fn take_count(bytes: &mut Bytes, item_bytes: usize) -> Result<usize, FormatError> {
    let count = bytes.try_get_u32()?;
    let left = bytes.len();
    match usize::try_from(count) {
        Ok(items) if items <= left / item_bytes => Ok(items),
        _ => Err(FormatError::Count { count, left }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members() -> impl Strategy<Value = Membership> {
        let voters = proptest::collection::btree_set(0_u64..9, 1..5);
        let configs = proptest::collection::vec(voters, 0..3);
        let learners = proptest::collection::btree_set(5_u64..20, 0..5);
        (configs, learners)
            .prop_map(|(configs, learners)| Membership::new_with_defaults(configs, learners))
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(
            members in members(), term in any::<u64>(), index in any::<u64>(), server in any::<u64>(),
            committed in any::<bool>(), batch in proptest::collection::vec(any::<u8>(), 0..50),
        ) {
            let id = log_id(LogPosition { term, index });
            let stored = StoredMembership::new(committed.then_some(id), members.clone());
            prop_assert_eq!(decode_membership(encode_membership(&stored)), Ok(stored));
            prop_assert_eq!(decode_committed(encode_committed(&id)), Ok(id));
            let vote = if committed { Vote::new_committed(term, server) } else { Vote::new(term, server) };
            prop_assert_eq!(decode_vote(encode_vote(&vote)), Ok(vote));
            let mut bytes = vec![1];
            bytes.extend(batch);
            for payload in [
                Payload::Blank,
                Payload::Membership(members),
                Payload::Normal(EncodedBatch(Bytes::from(bytes))),
            ] {
                let decoded = decode_entry(encode_entry(payload.clone()));
                prop_assert!(decoded == Ok(payload));
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), tag in 0x80_u8..0x83) {
            let bytes = Bytes::from(bytes);
            drop(decode_entry(bytes.clone()));
            drop(decode_vote(bytes.clone()));
            drop(decode_committed(bytes.clone()));
            drop(decode_membership(bytes.clone()));
            let tagged: Bytes = [&[tag], &bytes[..]].concat().into();
            drop(decode_entry(tagged));
            let versioned: Bytes = [&[1], &bytes[..]].concat().into();
            drop(decode_membership(versioned));
        }
    }

    #[test]
    fn a_batch_is_the_entry() {
        let batch = Bytes::from_static(&[1, 2, 3]);
        let entry = encode_entry(Payload::Normal(EncodedBatch(batch.clone())));
        assert_eq!(entry.as_ptr(), batch.as_ptr());
    }

    #[test]
    fn a_newer_format_is_named() {
        let newer = decode_entry(Bytes::from_static(&[0x90]));
        assert!(matches!(newer, Err(FormatError::Unknown { found: 0x90 })));
    }
}
