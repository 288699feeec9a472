//! openraft's messages between servers, and their bytes. Numbers are big-endian and fixed.
//!
//! ```text
//!   vote request       vote, last, transfer u8
//!   vote response      vote, last, granted u8
//!   append request     vote, previous, committed, first u64, entries u32, (term u64, bytes u32) ..,
//!                      entry ..
//!   append result      0 last | 2 position (they conflict there) | 3 vote (a higher one)
//!   append response    0 | 1 last (so far) | 2 (they conflict) | 3 vote
//!   transfer request   vote, to u64, last
//!   transfer response  0 | 1 vote, vote (it changed) | 2 last, last (not durable yet)
//!
//!   vote               term u64, server u64, committed u8
//!   last, previous ..  0 | 1 position
//!   position           term u64, index u64
//!   entry              as `records.rs` has it in the log: sent as it lies there
//! ```
//!
//! What is read here goes into openraft, which trusts its peers and ends the process where they are
//! wrong. So whatever a leader cannot say is refused here: entries that do not follow each other,
//! terms above the leader's, a leader nobody voted for, numbers near their end.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use openraft::entry::RaftEntry as _;
use openraft::raft::{StreamAppendError, TransferLeaderError};

use super::records::{self, FormatError, end, put_position, take_position};
use super::types::{Entry, LogId, Types, Vote, log_id};
use crate::state::LogPosition;

/// A candidate asks for a vote, or whether it would get one.
pub(in crate::ensemble) type VoteRequest = openraft::raft::VoteRequest<Types>;
/// What a voter says.
pub(in crate::ensemble) type VoteResponse = openraft::raft::VoteResponse<Types>;
/// A leader's entries, or its heartbeat.
pub(in crate::ensemble) type AppendRequest = openraft::raft::AppendEntriesRequest<Types>;
/// What a follower says to a heartbeat.
pub(in crate::ensemble) type AppendResponse = openraft::raft::AppendEntriesResponse<Types>;
/// What a follower says to a request of a stream: how far its log matches. An error ends the stream.
pub(in crate::ensemble) type AppendResult = openraft::raft::StreamAppendResult<Types>;
/// What a follower says when it has installed a snapshot.
pub(in crate::ensemble) type SnapshotResponse = openraft::raft::SnapshotResponse<Types>;
/// A leader hands over.
pub(in crate::ensemble) type TransferRequest = openraft::raft::TransferLeaderRequest<Types>;
/// What its heir says.
pub(in crate::ensemble) type TransferResponse = openraft::raft::TransferLeaderResponse<Types>;

/// Of one entry in an append request's head.
const ENTRY_HEAD_BYTES: usize = 12;
/// More than a leader sends at once: beyond, room is made as they are read.
const ENTRIES_USUAL: usize = 1024;
/// Terms and indexes are below it: openraft adds to them.
const NUMBER_MAX: u64 = 1 << 62;

pub(in crate::ensemble) fn put_vote_request(out: &mut BytesMut, request: &VoteRequest) {
    put_vote(out, &request.vote);
    put_last(out, request.last_log_id.as_ref());
    out.put_u8(u8::from(request.leadership_transfer));
}

pub(in crate::ensemble) fn take_vote_request(mut bytes: Bytes) -> Result<VoteRequest, FormatError> {
    let vote = take_vote(&mut bytes)?;
    let last = take_last(&mut bytes)?;
    let leadership_transfer = take_bool(&mut bytes)?;
    end(&bytes)?;
    if vote.committed {
        return invalid("a candidate that says that it leads");
    }
    let mut request = VoteRequest::new(vote, last);
    request.leadership_transfer = leadership_transfer;
    Ok(request)
}

pub(in crate::ensemble) fn put_vote_response(out: &mut BytesMut, response: &VoteResponse) {
    put_vote(out, &response.vote);
    put_last(out, response.last_log_id.as_ref());
    out.put_u8(u8::from(response.vote_granted));
}

pub(in crate::ensemble) fn take_vote_response(
    mut bytes: Bytes,
) -> Result<VoteResponse, FormatError> {
    let vote = take_vote(&mut bytes)?;
    let last = take_last(&mut bytes)?;
    let granted = take_bool(&mut bytes)?;
    end(&bytes)?;
    Ok(VoteResponse::new(vote, last, granted))
}

/// Appends the head of a request to `head`; what is left of it are the entries' own bytes, in their
/// order, to be sent right behind.
///
/// # Errors
/// Entries that do not follow each other, or one of 4 GiB.
pub(in crate::ensemble) fn put_append_request(
    head: &mut BytesMut,
    request: AppendRequest,
) -> Result<Vec<Bytes>, FormatError> {
    put_vote(head, &request.vote);
    put_last(head, request.prev_log_id.as_ref());
    put_last(head, request.leader_commit.as_ref());
    let first = request.entries.first().map_or(0, |entry| entry.index());
    head.put_u64(first);
    head.put_u32(u32::try_from(request.entries.len()).unwrap_or(u32::MAX));
    head.reserve(request.entries.len() * ENTRY_HEAD_BYTES);
    let mut payloads = Vec::with_capacity(request.entries.len());
    for (index, entry) in (first..).zip(request.entries) {
        if entry.index() != index {
            return invalid("entries with a gap");
        }
        let payload = records::encode_entry(entry.payload);
        let Ok(bytes) = u32::try_from(payload.len()) else {
            return invalid("an entry of 4 GiB");
        };
        head.put_u64(entry.log_id.leader_id.term);
        head.put_u32(bytes);
        payloads.push(payload);
    }
    Ok(payloads)
}

/// Reads an append request. The batches are slices of `bytes`.
pub(in crate::ensemble) fn take_append_request(
    mut bytes: Bytes,
) -> Result<AppendRequest, FormatError> {
    let vote = take_vote(&mut bytes)?;
    if !vote.committed {
        return invalid("a leader that nobody voted for");
    }
    let previous = take_last(&mut bytes)?;
    let committed = take_last(&mut bytes)?;
    let first = take_number(&mut bytes)?;
    let count = bytes.try_get_u32()?;
    let left = bytes.len();
    let entries = usize::try_from(count).ok();
    let heads = entries.and_then(|entries| entries.checked_mul(ENTRY_HEAD_BYTES));
    let Some(heads) = heads.filter(|heads| *heads <= left) else {
        return Err(FormatError::Count { count, left });
    };
    if count > 0 && first != previous.map_or(0, |previous| previous.index + 1) {
        return invalid("entries that do not follow the one before");
    }
    let mut heads = bytes.split_to(heads);
    let mut last_term = previous.map_or(0, |previous| previous.leader_id.term);
    let mut entries = Vec::with_capacity(entries.unwrap_or_default().min(ENTRIES_USUAL));
    for index in first..first + u64::from(count) {
        let term = heads.try_get_u64()?;
        let wanted = usize::try_from(heads.try_get_u32()?).unwrap_or(usize::MAX);
        if term < last_term || term > vote.leader_id.term {
            return invalid("an entry of a term that cannot be");
        }
        last_term = term;
        if wanted > bytes.len() {
            let left = bytes.len();
            return Err(FormatError::CutOff { wanted, left });
        }
        let payload = records::decode_entry(bytes.split_to(wanted))?;
        entries.push(Entry::new(log_id(LogPosition { term, index }), payload));
    }
    end(&bytes)?;
    Ok(AppendRequest {
        vote,
        prev_log_id: previous,
        entries,
        leader_commit: committed,
    })
}

pub(in crate::ensemble) fn put_append_result(out: &mut BytesMut, result: &AppendResult) {
    match result {
        Ok(last) => {
            out.put_u8(0);
            put_last(out, last.as_ref());
        }
        Err(StreamAppendError::Conflict(at)) => {
            out.put_u8(2);
            put_position(out, at);
        }
        Err(StreamAppendError::HigherVote(vote)) => {
            out.put_u8(3);
            put_vote(out, vote);
        }
    }
}

pub(in crate::ensemble) fn take_append_result(
    mut bytes: Bytes,
) -> Result<AppendResult, FormatError> {
    let result = match bytes.try_get_u8()? {
        0 => Ok(take_last(&mut bytes)?),
        2 => Err(StreamAppendError::Conflict(take_log_id(&mut bytes)?)),
        3 => Err(StreamAppendError::HigherVote(take_vote(&mut bytes)?)),
        found => return Err(FormatError::Unknown { found }),
    };
    end(&bytes)?;
    Ok(result)
}

pub(in crate::ensemble) fn put_append_response(out: &mut BytesMut, response: &AppendResponse) {
    match response {
        AppendResponse::Success => out.put_u8(0),
        AppendResponse::PartialSuccess(last) => {
            out.put_u8(1);
            put_last(out, last.as_ref());
        }
        AppendResponse::Conflict => out.put_u8(2),
        AppendResponse::HigherVote(vote) => {
            out.put_u8(3);
            put_vote(out, vote);
        }
    }
}

pub(in crate::ensemble) fn take_append_response(
    mut bytes: Bytes,
) -> Result<AppendResponse, FormatError> {
    let response = match bytes.try_get_u8()? {
        0 => AppendResponse::Success,
        1 => AppendResponse::PartialSuccess(take_last(&mut bytes)?),
        2 => AppendResponse::Conflict,
        3 => AppendResponse::HigherVote(take_vote(&mut bytes)?),
        found => return Err(FormatError::Unknown { found }),
    };
    end(&bytes)?;
    Ok(response)
}

pub(in crate::ensemble) fn put_transfer_request(out: &mut BytesMut, request: &TransferRequest) {
    put_vote(out, request.from_leader());
    out.put_u64(*request.to_node_id());
    put_last(out, request.last_log_id());
}

pub(in crate::ensemble) fn take_transfer_request(
    mut bytes: Bytes,
) -> Result<TransferRequest, FormatError> {
    let from = take_vote(&mut bytes)?;
    let to = bytes.try_get_u64()?;
    let last = take_last(&mut bytes)?;
    end(&bytes)?;
    if !from.committed {
        return invalid("a leader that nobody voted for");
    }
    Ok(TransferRequest::new(from, to, last))
}

pub(in crate::ensemble) fn put_transfer_response(out: &mut BytesMut, response: &TransferResponse) {
    match response {
        Ok(()) => out.put_u8(0),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            out.put_u8(1);
            put_vote(out, expected);
            put_vote(out, actual);
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            out.put_u8(2);
            put_last(out, expected.as_ref());
            put_last(out, actual.as_ref());
        }
    }
}

pub(in crate::ensemble) fn take_transfer_response(
    mut bytes: Bytes,
) -> Result<TransferResponse, FormatError> {
    let response = match bytes.try_get_u8()? {
        0 => Ok(()),
        1 => Err(TransferLeaderError::VoteChanged {
            expected: take_vote(&mut bytes)?,
            actual: take_vote(&mut bytes)?,
        }),
        2 => Err(TransferLeaderError::LogNotFlushed {
            expected: take_last(&mut bytes)?,
            actual: take_last(&mut bytes)?,
        }),
        found => return Err(FormatError::Unknown { found }),
    };
    end(&bytes)?;
    Ok(response)
}

fn invalid<T>(what: &'static str) -> Result<T, FormatError> {
    Err(FormatError::Invalid { what })
}

pub(in crate::ensemble) fn put_vote(out: &mut BytesMut, vote: &Vote) {
    out.put_u64(vote.leader_id.term);
    out.put_u64(vote.leader_id.voted_for);
    out.put_u8(u8::from(vote.committed));
}

pub(in crate::ensemble) fn take_vote(bytes: &mut Bytes) -> Result<Vote, FormatError> {
    let term = take_number(bytes)?;
    let server = bytes.try_get_u64()?;
    Ok(if take_bool(bytes)? {
        Vote::new_committed(term, server)
    } else {
        Vote::new(term, server)
    })
}

fn put_last(out: &mut BytesMut, last: Option<&LogId>) {
    out.put_u8(u8::from(last.is_some()));
    if let Some(id) = last {
        put_position(out, id);
    }
}

fn take_last(bytes: &mut Bytes) -> Result<Option<LogId>, FormatError> {
    if take_bool(bytes)? {
        take_log_id(bytes).map(Some)
    } else {
        Ok(None)
    }
}

pub(in crate::ensemble) fn put_log_id(out: &mut BytesMut, id: &LogId) {
    put_position(out, id);
}

pub(in crate::ensemble) fn take_log_id(bytes: &mut Bytes) -> Result<LogId, FormatError> {
    let id = take_position(bytes)?;
    if id.index >= NUMBER_MAX || id.leader_id.term >= NUMBER_MAX {
        return invalid("a position near the end of numbers");
    }
    Ok(id)
}

fn take_number(bytes: &mut Bytes) -> Result<u64, FormatError> {
    let number = bytes.try_get_u64()?;
    if number >= NUMBER_MAX {
        return invalid("a number near the end of numbers");
    }
    Ok(number)
}

fn take_bool(bytes: &mut Bytes) -> Result<bool, FormatError> {
    match bytes.try_get_u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => invalid("neither yes nor no"),
    }
}

#[cfg(test)]
mod tests;
