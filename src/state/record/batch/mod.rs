//! The bytes of a [`Batch`]: what one Raft entry holds (formats.md 3.4).
//!
//! ```text
//!  version u8 | wall_ms i64 | steady_ms u64 | rules u8 | count u32 | item*
//!                                                        (fixed numbers big-endian)
//!  item: tag u8, then by tag
//!    ORIGIN      server varint, incarnation varint       for the proposals behind it
//!    IDENTITIES  count varint, { scheme, id }*           for the proposals behind it
//!    an action   sequence gap (zigzag varint), session i64, cxid (zigzag varint), and
//!      CLIENT    op (zigzag varint), connection varint, body
//!      OPEN, ATTACH  connection varint, timeout_ms (zigzag varint), 16 bytes
//!      CLOSE     nothing                                 strings and bodies: varint length, bytes
//!      EXPIRE    term varint, owner: server, incarnation, connection varints
//!      REAP      term varint, path, unused_ms (zigzag varint)
//!      FOUND     16 bytes
//!      LINE_UP   term varint, a line for each member, each with a line feed
//!      SETTLE    term varint, zxid of the change (zigzag varint), error code (zigzag varint)
//! ```
//!
//! `count` is the number of actions. The sequence gap is the distance from the sequence behind
//! that of the proposal before it, 0 in a run, and after ORIGIN the distance from 1. It is taken
//! modulo 2^64, both ways, so that every sequence comes back as it was.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use jute::{ErrorCode, OpCode};

use super::identity::{Identities, Identity};
use super::ids::{ClusterId, Origin, ServerId, SessionId, SessionOwner, Zxid};
use super::proposal::{Action, ActionRef, Batch, BatchFormat, Proposal};
use super::varint;
use crate::state::lineup::{lines, read_lines};
use crate::state::rules::Rules;
use crate::state::timeline::Reading;

mod tag {
    pub(in crate::state) const ORIGIN: u8 = 1;
    pub(in crate::state) const IDENTITIES: u8 = 2;
    pub(in crate::state) const CLIENT: u8 = 16;
    pub(in crate::state) const OPEN: u8 = 17;
    pub(in crate::state) const CLOSE: u8 = 18;
    pub(in crate::state) const EXPIRE: u8 = 19;
    pub(in crate::state) const REAP: u8 = 20;
    pub(in crate::state) const ATTACH: u8 = 21;
    pub(in crate::state) const FOUND: u8 = 22;
    pub(in crate::state) const LINE_UP: u8 = 23;
    pub(in crate::state) const SETTLE: u8 = 24;
}

/// Version, reading, rules, count.
const HEADER_BYTES: usize = 1 + 8 + 8 + 1 + 4;
const WALL_OFFSET: usize = 1;
const STEADY_OFFSET: usize = WALL_OFFSET + 8;
const RULES_OFFSET: usize = STEADY_OFFSET + 8;
const COUNT_OFFSET: usize = RULES_OFFSET + 1;
/// The shortest action: tag, gap, session, cxid.
const ACTION_BYTES_MIN: usize = 1 + 1 + 8 + 1;

/// Bytes that are no batch of a version that this program knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FormatError {
    /// Another program wrote it, or one that was never released.
    #[error("batch has format {found}, this program knows {}", BatchFormat::V3 as u8)]
    Version {
        /// The version found.
        found: u8,
    },
    /// The bytes end within a field.
    #[error("batch ends within {field}")]
    Truncated {
        /// Which field.
        field: &'static str,
    },
    /// A field has a value that no version of this program wrote.
    #[error("batch has an impossible {field}")]
    Impossible {
        /// Which field.
        field: &'static str,
    },
}

/// Batches are cut out of buffers of so many bytes, or of as many as one needs.
const BUFFER_BYTES: usize = 16 << 10;

/// Encodes proposals one by one into one buffer that is used again.
#[derive(Debug)]
pub struct BatchBuilder {
    out: BytesMut,
    count: u32,
    origin: Option<Origin>,
    sequence_next: u64,
    identities: Option<Identities>,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self {
            // Also what it allocates later is no smaller.
            out: BytesMut::with_capacity(BUFFER_BYTES),
            count: 0,
            origin: None,
            sequence_next: 0,
            identities: None,
        }
    }
}

impl BatchBuilder {
    /// Appends a proposal.
    pub fn push(
        &mut self,
        origin: Origin,
        sequence: u64,
        session: SessionId,
        cxid: i32,
        identities: &Identities,
        action: ActionRef<'_>,
    ) {
        if self.out.is_empty() {
            self.out.put_u8(BatchFormat::V3 as u8);
            self.out.put_bytes(0, HEADER_BYTES - 1);
        }
        if self.origin != Some(origin) {
            self.origin = Some(origin);
            self.sequence_next = 1;
            self.out.put_u8(tag::ORIGIN);
            put_origin(&mut self.out, origin);
        }
        if !self.said(identities) {
            self.identities = Some(Arc::clone(identities));
            self.out.put_u8(tag::IDENTITIES);
            put_varint(&mut self.out, identities.len() as u64);
            for identity in identities.iter() {
                put_slice(&mut self.out, identity.scheme.as_bytes());
                put_slice(&mut self.out, identity.id.as_bytes());
            }
        }
        self.out.put_u8(tag_of(action));
        put_zigzag(
            &mut self.out,
            sequence.wrapping_sub(self.sequence_next).cast_signed(),
        );
        self.out.put_i64(session.0);
        put_zigzag(&mut self.out, i64::from(cxid));
        put_action(&mut self.out, action);
        self.sequence_next = sequence.wrapping_add(1);
        self.count = self.count.saturating_add(1);
    }

    /// Bytes so far, 0 if there is no proposal.
    pub fn len_bytes(&self) -> usize {
        self.out.len()
    }

    /// Proposals so far.
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// Gives the batch away, without its stamp; the builder is empty then and keeps its memory as far
    /// as the buffer is not shared any more.
    pub fn finish(&mut self) -> Unstamped {
        if self.out.is_empty() {
            self.out.put_u8(BatchFormat::V3 as u8);
            self.out.put_bytes(0, HEADER_BYTES - 1);
        }
        if let Some(place) = self.out.get_mut(COUNT_OFFSET..HEADER_BYTES) {
            place.copy_from_slice(&self.count.to_be_bytes());
        }
        self.count = 0;
        self.origin = None;
        self.identities = None;
        Unstamped(self.out.split())
    }

    fn said(&self, identities: &Identities) -> bool {
        self.identities
            .as_ref()
            .is_some_and(|said| Arc::ptr_eq(said, identities) || said == identities)
    }
}

/// A batch whose leader has not said yet what time it is and by which rules it is judged: both are
/// the leader's word, whoever made the batch (DESIGN 5).
#[derive(Debug)]
pub struct Unstamped(BytesMut);

impl Unstamped {
    /// A batch that has been given away before: another leader stamps a copy of it. The bytes are not
    /// looked into; whoever did not make them has decoded them first.
    pub fn again(bytes: &[u8]) -> Self {
        Self(BytesMut::from(bytes))
    }

    /// Its size.
    pub fn len_bytes(&self) -> usize {
        self.0.len()
    }

    /// Puts the leader's clocks and rules into it.
    pub fn stamp(mut self, reading: Reading, rules: Rules) -> Bytes {
        let mut put = |range: std::ops::Range<usize>, bytes: &[u8]| {
            if let Some(place) = self.0.get_mut(range) {
                place.copy_from_slice(bytes);
            }
        };
        put(WALL_OFFSET..STEADY_OFFSET, &reading.wall_ms.to_be_bytes());
        put(
            STEADY_OFFSET..RULES_OFFSET,
            &reading.steady_ms.to_be_bytes(),
        );
        put(RULES_OFFSET..COUNT_OFFSET, &[rules.bits()]);
        self.0.freeze()
    }

    /// As it is, for another server to stamp.
    pub fn freeze(self) -> Bytes {
        self.0.freeze()
    }
}

impl Batch {
    /// Encodes the batch; for tests and for batches made whole.
    pub fn encode(&self) -> Bytes {
        let mut builder = BatchBuilder::default();
        for proposal in &self.proposals {
            builder.push(
                proposal.origin,
                proposal.sequence,
                proposal.session,
                proposal.cxid,
                &proposal.identities,
                proposal.action.borrowed(),
            );
        }
        builder.finish().stamp(self.reading, self.rules)
    }

    /// Reads a batch. Bodies are slices of `bytes`; everything else is owned.
    ///
    /// # Errors
    /// The bytes were not written by this program or a newer one wrote them: end the process.
    pub fn decode(bytes: Bytes) -> Result<Self, FormatError> {
        let mut reader = Reader { bytes, at: 0 };
        let version = reader.u8("version")?;
        if version != BatchFormat::V3 as u8 {
            return Err(FormatError::Version { found: version });
        }
        let reading = Reading {
            wall_ms: i64::from_be_bytes(reader.array("time")?),
            steady_ms: u64::from_be_bytes(reader.array("time")?),
        };
        let rules = Rules::from_bits(reader.u8("rules")?);
        let count = u32::from_be_bytes(reader.array("count")?) as usize;
        if count > reader.remaining() / ACTION_BYTES_MIN {
            return Err(FormatError::Truncated { field: "proposals" });
        }
        let mut proposals = Vec::with_capacity(count);
        let mut run = Run::default();
        while proposals.len() < count {
            match reader.u8("tag")? {
                tag::ORIGIN => {
                    run.origin = Some(reader.origin()?);
                    run.sequence_next = 1;
                }
                tag::IDENTITIES => run.identities = Some(reader.identities()?),
                action => proposals.push(reader.proposal(action, &mut run)?),
            }
        }
        if reader.remaining() > 0 {
            return Err(FormatError::Impossible { field: "count" });
        }
        Ok(Self {
            reading,
            rules,
            proposals,
        })
    }
}

/// What items said for the proposals behind them.
#[derive(Default)]
struct Run {
    origin: Option<Origin>,
    identities: Option<Identities>,
    sequence_next: u64,
}

fn tag_of(action: ActionRef<'_>) -> u8 {
    match action {
        ActionRef::Client { .. } => tag::CLIENT,
        ActionRef::OpenSession { .. } => tag::OPEN,
        ActionRef::CloseSession => tag::CLOSE,
        ActionRef::Attach { .. } => tag::ATTACH,
        ActionRef::ExpireSession { .. } => tag::EXPIRE,
        ActionRef::Reap { .. } => tag::REAP,
        ActionRef::Found { .. } => tag::FOUND,
        ActionRef::LineUp { .. } => tag::LINE_UP,
        ActionRef::Settle { .. } => tag::SETTLE,
    }
}

fn put_action(out: &mut BytesMut, action: ActionRef<'_>) {
    match action {
        ActionRef::Client {
            op,
            connection,
            body,
        } => {
            put_zigzag(out, i64::from(op.0));
            put_varint(out, connection);
            put_slice(out, body);
        }
        ActionRef::OpenSession {
            connection,
            timeout_ms,
            password,
        }
        | ActionRef::Attach {
            connection,
            timeout_ms,
            password,
        } => {
            put_varint(out, connection);
            put_zigzag(out, i64::from(timeout_ms));
            out.put_slice(password);
        }
        ActionRef::CloseSession => {}
        ActionRef::ExpireSession { term, owner } => {
            put_varint(out, term);
            put_origin(out, owner.origin);
            put_varint(out, owner.connection);
        }
        ActionRef::Reap {
            term,
            path,
            unused_ms,
        } => {
            put_varint(out, term);
            put_slice(out, path.as_bytes());
            put_zigzag(out, unused_ms);
        }
        ActionRef::Found { cluster } => out.put_slice(&cluster.0),
        ActionRef::LineUp { term, members } => {
            put_varint(out, term);
            put_slice(out, lines(members).as_bytes());
        }
        ActionRef::Settle {
            term,
            change,
            refusal,
        } => {
            put_varint(out, term);
            put_zigzag(out, change.0);
            put_zigzag(out, i64::from(refusal.0));
        }
    }
}

fn put_origin(out: &mut BytesMut, origin: Origin) {
    put_varint(out, origin.server.0);
    put_varint(out, origin.incarnation);
}

fn put_slice(out: &mut BytesMut, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

fn put_zigzag(out: &mut BytesMut, value: i64) {
    put_varint(out, varint::zigzag(value));
}

fn put_varint(out: &mut BytesMut, value: u64) {
    varint::write(value, |byte| out.put_u8(byte));
}

/// Reads fields of a batch, each checked against the bytes at hand.
struct Reader {
    bytes: Bytes,
    at: usize,
}

impl Reader {
    fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    fn u8(&mut self, field: &'static str) -> Result<u8, FormatError> {
        let [byte] = self.array(field)?;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], FormatError> {
        let behind = self.bytes.get(self.at..).unwrap_or_default();
        let found = behind
            .first_chunk::<N>()
            .ok_or(FormatError::Truncated { field })?;
        self.at += N;
        Ok(*found)
    }

    fn varint(&mut self, field: &'static str) -> Result<u64, FormatError> {
        varint::read(|| self.u8(field))?.ok_or(FormatError::Impossible { field })
    }

    fn zigzag(&mut self, field: &'static str) -> Result<i64, FormatError> {
        self.varint(field).map(varint::unzigzag)
    }

    fn zigzag_i32(&mut self, field: &'static str) -> Result<i32, FormatError> {
        i32::try_from(self.zigzag(field)?).map_err(|_| FormatError::Impossible { field })
    }

    fn slice(&mut self, field: &'static str) -> Result<Bytes, FormatError> {
        let len = usize::try_from(self.varint(field)?).unwrap_or(usize::MAX);
        if len > self.remaining() {
            return Err(FormatError::Truncated { field });
        }
        let slice = self.bytes.slice(self.at..self.at + len);
        self.at += len;
        Ok(slice)
    }

    fn text(&mut self, field: &'static str) -> Result<Arc<str>, FormatError> {
        let bytes = self.slice(field)?;
        let text = str::from_utf8(&bytes).map_err(|_| FormatError::Impossible { field })?;
        Ok(Arc::from(text))
    }

    fn origin(&mut self) -> Result<Origin, FormatError> {
        Ok(Origin {
            server: ServerId(self.varint("server")?),
            incarnation: self.varint("incarnation")?,
        })
    }

    fn identities(&mut self) -> Result<Identities, FormatError> {
        let count = usize::try_from(self.varint("identities")?).unwrap_or(usize::MAX);
        // An identity takes two bytes at least.
        if count > self.remaining() / 2 {
            return Err(FormatError::Truncated {
                field: "identities",
            });
        }
        let mut identities = Vec::with_capacity(count);
        for _ in 0..count {
            let scheme = self.text("identity scheme")?;
            let id = self.text("identity id")?;
            identities.push(Identity { scheme, id });
        }
        Ok(Arc::from(identities))
    }

    fn proposal(&mut self, action: u8, run: &mut Run) -> Result<Proposal, FormatError> {
        let origin = run
            .origin
            .ok_or(FormatError::Impossible { field: "origin" })?;
        let identities = run.identities.clone().ok_or(FormatError::Impossible {
            field: "identities",
        })?;
        let gap = self.zigzag("sequence")?;
        let sequence = run.sequence_next.wrapping_add_signed(gap);
        run.sequence_next = sequence.wrapping_add(1);
        let session = SessionId(i64::from_be_bytes(self.array("session")?));
        let cxid = self.zigzag_i32("cxid")?;
        Ok(Proposal {
            origin,
            sequence,
            session,
            cxid,
            identities,
            action: self.action(action)?,
        })
    }

    /// What is behind the tag of an action. Fields come in the order in which they are named.
    fn action(&mut self, tag: u8) -> Result<Action, FormatError> {
        Ok(match tag {
            tag::CLIENT => Action::Client {
                op: OpCode(self.zigzag_i32("op")?),
                connection: self.varint("connection")?,
                body: self.slice("body")?,
            },
            tag::OPEN => Action::OpenSession {
                connection: self.varint("connection")?,
                timeout_ms: self.zigzag_i32("timeout")?,
                password: self.array("password")?,
            },
            tag::ATTACH => Action::Attach {
                connection: self.varint("connection")?,
                timeout_ms: self.zigzag_i32("timeout")?,
                password: self.array("password")?,
            },
            tag::CLOSE => Action::CloseSession,
            tag::EXPIRE => Action::ExpireSession {
                term: self.varint("term")?,
                owner: SessionOwner {
                    origin: self.origin()?,
                    connection: self.varint("connection")?,
                },
            },
            tag::REAP => Action::Reap {
                term: self.varint("term")?,
                path: self.text("path")?,
                unused_ms: self.zigzag("unused")?,
            },
            tag::FOUND => Action::Found {
                cluster: ClusterId(self.array("cluster")?),
            },
            tag::LINE_UP => Action::LineUp {
                term: self.varint("term")?,
                members: read_lines(&self.text("members")?)
                    .ok_or(FormatError::Impossible { field: "members" })?,
            },
            tag::SETTLE => Action::Settle {
                term: self.varint("term")?,
                change: Zxid(self.zigzag("change")?),
                refusal: ErrorCode(self.zigzag_i32("refusal")?),
            },
            _ => return Err(FormatError::Impossible { field: "tag" }),
        })
    }
}

#[cfg(test)]
mod tests;
