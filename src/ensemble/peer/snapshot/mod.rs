//! A snapshot on its way to a server that is too far behind for entries: a connection for each attempt.
//!
//! ```text
//!   leader                                        follower
//!     offer     vote, position, files  ──────────▶  what of them is there already?
//!     ◀──────────────────────────────── wanted      bytes of each file that are there
//!     chunk     file, offset, bytes ..  ─────────▶  written, checked when a file is whole
//!     ◀────────────────────────────── installed     vote, or why not
//!
//!   offer       vote, position, files u32, for each: bytes u64, crc u32, name (length u8, bytes)
//!   wanted      files u32, for each: bytes u64
//!   chunk       file u32, offset u64, bytes
//!   installed   0 vote | 1 refusal u8
//! ```
//!
//! Chunks of a file come in its order, and files in theirs. Nothing stands for the end: it is there
//! when all has come. Where a connection breaks, the next one begins with an offer again, and goes on with what is
//! missing. Both sides ping whenever they have nothing to say, also while they wait for their disks.

mod receive;
mod send;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::super::raft::messages::{self, SnapshotResponse};
use super::super::raft::records::{FormatError, end};
use super::super::raft::types::{LogId, Vote};
use super::Refusal;
use crate::storage::SnapshotFile;

pub(super) use receive::receive;
pub(super) use send::send;
pub(in crate::ensemble) use send::{SnapshotError, Source};

/// Bytes of a file that are sent at once.
const CHUNK_BYTES: usize = 256 << 10;
/// An offer of so many files is some terabytes; chunks are far shorter.
pub(super) const FRAME_BYTES_MAX: usize = 32 << 20;
/// Of one file in an offer, at least.
const FILE_BYTES_MIN: usize = 14;
/// Of an answer.
const ANSWER_BYTES: usize = 32;

/// A leader's snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::ensemble) struct Offer {
    /// The leader's vote.
    pub vote: Vote,
    /// The last entry in it.
    pub at: LogId,
    /// What it consists of.
    pub files: Vec<SnapshotFile>,
}

/// Bytes of a file.
#[derive(Debug)]
struct Chunk {
    file: usize,
    offset: u64,
    bytes: Bytes,
}

/// What the follower says in the end.
type Answer = Result<SnapshotResponse, Refusal>;

impl Offer {
    pub(super) fn put(&self, out: &mut BytesMut) -> Result<(), FormatError> {
        messages::put_vote(out, &self.vote);
        messages::put_log_id(out, &self.at);
        put_count(out, self.files.len())?;
        for file in &self.files {
            out.put_u64(file.bytes);
            out.put_u32(file.crc);
            let Ok(bytes) = u8::try_from(file.name.len()) else {
                let what = "a file with a name longer than names are";
                return Err(FormatError::Invalid { what });
            };
            out.put_u8(bytes);
            out.put_slice(file.name.as_bytes());
        }
        Ok(())
    }

    pub(super) fn take(mut bytes: Bytes) -> Result<Self, FormatError> {
        let vote = messages::take_vote(&mut bytes)?;
        let at = messages::take_log_id(&mut bytes)?;
        // openraft ends the process where it is asked to install what a leader cannot have.
        if !vote.committed || at.leader_id.term > vote.leader_id.term {
            let what = "a snapshot that no leader can have";
            return Err(FormatError::Invalid { what });
        }
        let count = take_count(&mut bytes, FILE_BYTES_MIN)?;
        let mut files = Vec::with_capacity(count);
        for _ in 0..count {
            files.push(take_file(&mut bytes)?);
        }
        end(&bytes)?;
        Ok(Self { vote, at, files })
    }
}

fn take_file(bytes: &mut Bytes) -> Result<SnapshotFile, FormatError> {
    let (length, crc) = (bytes.try_get_u64()?, bytes.try_get_u32()?);
    let wanted = usize::from(bytes.try_get_u8()?);
    let left = bytes.len();
    if wanted > left {
        return Err(FormatError::CutOff { wanted, left });
    }
    let name = bytes.split_to(wanted);
    let what = "a file whose name is none";
    let name = std::str::from_utf8(&name).map_err(|_| FormatError::Invalid { what })?;
    let file = SnapshotFile {
        name: name.to_owned(),
        bytes: length,
        crc,
    };
    if file.is_plain() {
        Ok(file)
    } else {
        Err(FormatError::Invalid { what })
    }
}

fn put_count(out: &mut BytesMut, count: usize) -> Result<(), FormatError> {
    let what = "more files than can be";
    let count = u32::try_from(count).map_err(|_| FormatError::Invalid { what })?;
    out.put_u32(count);
    Ok(())
}

/// A count of items of at least `item_bytes` each, which must be there.
fn take_count(bytes: &mut Bytes, item_bytes: usize) -> Result<usize, FormatError> {
    let count = bytes.try_get_u32()?;
    let left = bytes.len();
    let items = usize::try_from(count).ok();
    let items = items.filter(|items| *items <= left / item_bytes);
    items.ok_or(FormatError::Count { count, left })
}

fn put_wanted(out: &mut BytesMut, has: &[u64]) -> Result<(), FormatError> {
    put_count(out, has.len())?;
    for bytes in has {
        out.put_u64(*bytes);
    }
    Ok(())
}

/// What is there of each file that was offered.
fn take_wanted(mut bytes: Bytes, offered: &[SnapshotFile]) -> Result<Vec<u64>, FormatError> {
    let count = take_count(&mut bytes, 8)?;
    let mut has = Vec::with_capacity(count);
    for _ in 0..count {
        has.push(bytes.try_get_u64()?);
    }
    end(&bytes)?;
    let is_part = |(has, file): (&u64, &SnapshotFile)| *has <= file.bytes;
    if has.len() == offered.len() && has.iter().zip(offered).all(is_part) {
        Ok(has)
    } else {
        let what = "more of a snapshot than was offered";
        Err(FormatError::Invalid { what })
    }
}

fn put_chunk(out: &mut BytesMut, file: usize, offset: u64) {
    out.put_u32(u32::try_from(file).unwrap_or(u32::MAX));
    out.put_u64(offset);
}

fn take_chunk(mut bytes: Bytes) -> Result<Chunk, FormatError> {
    let file = usize::try_from(bytes.try_get_u32()?).unwrap_or(usize::MAX);
    let offset = bytes.try_get_u64()?;
    Ok(Chunk {
        file,
        offset,
        bytes,
    })
}

fn put_answer(out: &mut BytesMut, answer: &Answer) {
    match answer {
        Ok(response) => {
            out.put_u8(0);
            messages::put_vote(out, &response.vote);
        }
        Err(refusal) => {
            out.put_u8(1);
            out.put_u8(refusal.number());
        }
    }
}

fn take_answer(mut bytes: Bytes) -> Result<Answer, FormatError> {
    let answer = match bytes.try_get_u8()? {
        0 => Ok(SnapshotResponse::new(messages::take_vote(&mut bytes)?)),
        1 => Err(Refusal::read(bytes.try_get_u8()?)),
        found => return Err(FormatError::Unknown { found }),
    };
    end(&bytes)?;
    Ok(answer)
}

#[cfg(test)]
mod tests;
