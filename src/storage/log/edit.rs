//! What a frame holds: changes of the log, one after another (formats.md 2.3). Numbers are
//! varints.
//!
//! ```text
//!   1 entry        index, term, length, payload
//!   2 vote         length, bytes
//!   3 committed    optional: 0 | 1 length, bytes
//!   4 truncate     optional position: 0 | 1 index, term
//!   5 purge        index, term
//!   6 incarnation  number
//!   7 opening      purged, last (optional positions), vote, committed (optional), incarnation,
//!                  0 | 1 end, runs, { first, last, points, { index, offset } }
//! ```
//!
//! The opening comes first in each segment and says all that the segments before it have come to,
//! so that they can be dropped, or need not be read at start.

use bytes::Bytes;

use super::index::{Point, Stretch};
use crate::state::LogPosition;
use crate::storage::varint::{ByteReader, Malformed, put_bytes, put_u64};
use crate::storage::{LogEnds, LogEntry};

/// A change, as read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Edit {
    /// An entry behind the last one.
    Entry(LogEntry),
    /// A new vote.
    Vote(Bytes),
    /// The committed position, as the ensemble encodes it.
    Committed(Option<Bytes>),
    /// Removal of all entries behind a position.
    TruncateAfter(Option<LogPosition>),
    /// Removal of all entries up to a position.
    Purge(LogPosition),
    /// The number of a start.
    Incarnation(u64),
    /// The beginning of a segment.
    Opening(Box<Opening>),
}

/// What the log has come to, except for the entries.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Contents {
    pub(super) ends: LogEnds,
    pub(super) vote: Option<Bytes>,
    pub(super) committed: Option<Bytes>,
    pub(super) incarnation: u64,
}

/// See [`Edit::Opening`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Opening {
    /// Before the segment's first other edit.
    pub(super) contents: Contents,
    /// The segment before this one, if there is one.
    pub(super) sealed: Option<Sealed>,
}

/// A segment to which nothing is added any more.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Sealed {
    /// Behind its last frame.
    pub(super) end: u64,
    /// Where its entries lie.
    pub(super) stretches: Vec<Stretch>,
}

impl Contents {
    /// Follows an edit.
    pub(super) fn follow(&mut self, edit: &Edit) {
        match edit {
            Edit::Entry(entry) => self.ends.last = Some(entry.position),
            Edit::Vote(vote) => self.vote = Some(vote.clone()),
            Edit::Committed(committed) => self.committed.clone_from(committed),
            Edit::TruncateAfter(last) => self.ends.truncate_after(*last),
            Edit::Purge(upto) => self.ends.purge(*upto),
            Edit::Incarnation(number) => self.incarnation = *number,
            Edit::Opening(opening) => self.clone_from(&opening.contents),
        }
    }
}

mod kind {
    pub(super) const ENTRY: u8 = 1;
    pub(super) const VOTE: u8 = 2;
    pub(super) const COMMITTED: u8 = 3;
    pub(super) const TRUNCATE: u8 = 4;
    pub(super) const PURGE: u8 = 5;
    pub(super) const INCARNATION: u8 = 6;
    pub(super) const OPENING: u8 = 7;
}

pub(super) fn put_entry(out: &mut Vec<u8>, entry: &LogEntry) {
    out.push(kind::ENTRY);
    put_position(out, entry.position);
    put_bytes(out, &entry.payload);
}

pub(super) fn put_vote(out: &mut Vec<u8>, vote: &[u8]) {
    out.push(kind::VOTE);
    put_bytes(out, vote);
}

pub(super) fn put_committed(out: &mut Vec<u8>, committed: Option<&Bytes>) {
    out.push(kind::COMMITTED);
    put_optional(out, committed, |out, bytes| put_bytes(out, bytes));
}

pub(super) fn put_truncate(out: &mut Vec<u8>, last: Option<LogPosition>) {
    out.push(kind::TRUNCATE);
    put_optional(out, last, put_position);
}

pub(super) fn put_purge(out: &mut Vec<u8>, upto: LogPosition) {
    out.push(kind::PURGE);
    put_position(out, upto);
}

pub(super) fn put_incarnation(out: &mut Vec<u8>, number: u64) {
    out.push(kind::INCARNATION);
    put_u64(out, number);
}

pub(super) fn put_opening(out: &mut Vec<u8>, opening: &Opening) {
    let Opening { contents, sealed } = opening;
    out.push(kind::OPENING);
    put_optional(out, contents.ends.purged, put_position);
    put_optional(out, contents.ends.last, put_position);
    put_optional(out, contents.vote.as_ref(), |out, it| put_bytes(out, it));
    put_optional(out, contents.committed.as_ref(), |out, it| {
        put_bytes(out, it)
    });
    put_u64(out, contents.incarnation);
    put_optional(out, sealed.as_ref(), |out, sealed| {
        put_u64(out, sealed.end);
        put_u64(out, sealed.stretches.len() as u64);
        for stretch in &sealed.stretches {
            put_u64(out, stretch.first);
            put_u64(out, stretch.last);
            put_u64(out, stretch.points.len() as u64);
            for point in &stretch.points {
                put_u64(out, point.index);
                put_u64(out, point.offset);
            }
        }
    });
}

fn put_position(out: &mut Vec<u8>, position: LogPosition) {
    put_u64(out, position.index);
    put_u64(out, position.term);
}

fn put_optional<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        None => out.push(0),
        Some(value) => {
            out.push(1);
            put(out, value);
        }
    }
}

/// Calls `visit` with each edit of a frame. Payloads share its memory.
///
/// # Errors
/// No version of this program wrote these bytes.
pub(super) fn read_all(frame: &Bytes, mut visit: impl FnMut(Edit)) -> Result<(), Malformed> {
    let mut cursor = ByteReader::new(frame);
    while !cursor.rest().is_empty() {
        visit(read_one(frame, &mut cursor)?);
    }
    Ok(())
}

fn read_one(frame: &Bytes, cursor: &mut ByteReader<'_>) -> Result<Edit, Malformed> {
    Ok(match cursor.u8("kind")? {
        kind::ENTRY => Edit::Entry(LogEntry {
            position: position(cursor)?,
            payload: frame.slice_ref(cursor.slice("payload")?),
        }),
        kind::VOTE => Edit::Vote(cursor.bytes("vote")?),
        kind::COMMITTED => Edit::Committed(optional(cursor, |it| it.bytes("committed"))?),
        kind::TRUNCATE => Edit::TruncateAfter(optional(cursor, position)?),
        kind::PURGE => Edit::Purge(position(cursor)?),
        kind::INCARNATION => Edit::Incarnation(cursor.u64("incarnation")?),
        kind::OPENING => Edit::Opening(Box::new(opening(cursor)?)),
        _ => return Err(cursor.malformed("kind", "not known")),
    })
}

fn opening(cursor: &mut ByteReader<'_>) -> Result<Opening, Malformed> {
    let contents = Contents {
        ends: LogEnds {
            purged: optional(cursor, position)?,
            last: optional(cursor, position)?,
        },
        vote: optional(cursor, |it| it.bytes("vote"))?,
        committed: optional(cursor, |it| it.bytes("committed"))?,
        incarnation: cursor.u64("incarnation")?,
    };
    let sealed = optional(cursor, |cursor| {
        Ok(Sealed {
            end: cursor.u64("end")?,
            stretches: many(cursor, |cursor| {
                Ok(Stretch {
                    first: cursor.u64("first")?,
                    last: cursor.u64("last")?,
                    points: many(cursor, |cursor| {
                        Ok(Point {
                            index: cursor.u64("index")?,
                            offset: cursor.u64("offset")?,
                        })
                    })?,
                })
            })?,
        })
    })?;
    Ok(Opening { contents, sealed })
}

fn position(cursor: &mut ByteReader<'_>) -> Result<LogPosition, Malformed> {
    Ok(LogPosition {
        index: cursor.u64("index")?,
        term: cursor.u64("term")?,
    })
}

fn optional<'a, T>(
    cursor: &mut ByteReader<'a>,
    read: impl FnOnce(&mut ByteReader<'a>) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    match cursor.u8("optional")? {
        0 => Ok(None),
        1 => read(cursor).map(Some),
        _ => Err(cursor.malformed("optional", "neither 0 nor 1")),
    }
}

fn many<'a, T>(
    cursor: &mut ByteReader<'a>,
    mut read: impl FnMut(&mut ByteReader<'a>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = cursor.u64("count")?;
    // Memory grows with what is there, not with what is announced.
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(read(cursor)?);
    }
    Ok(all)
}
