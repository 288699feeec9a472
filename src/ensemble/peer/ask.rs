//! What is asked on the control lane, and what is said to it. Numbers are big-endian and fixed.
//!
//! ```text
//!   call     number u64, question u8, body
//!   answer   number u64, 0 body | 1 refusal u8 | 2 (the question is not known)
//! ```
//!
//! A question has a number of its own for each form: a new form gets a new number, and who does not
//! know it says so.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::super::raft::messages::{
    self, AppendRequest, AppendResponse, TransferRequest, TransferResponse, VoteRequest,
    VoteResponse,
};
use super::super::raft::records::{FormatError, end};
use super::Refusal;
use super::lineup::Presented;
use crate::state::{ClusterId, LogPosition, ServerId, SessionId};

/// Of one session in a report.
const TOUCH_BYTES: usize = 12;

/// A small question of ours, not openraft's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::ensemble) enum Ask {
    /// What have you got?
    Probe,
    /// Up to where must a follower have applied before it may answer a read that begins now? Asked
    /// of the leader, which has a quorum confirm that it still is one.
    ReadIndex,
    /// The asker has heard of these sessions since it last said so.
    Touches {
        /// Each with its timeout in milliseconds.
        sessions: Vec<(SessionId, i32)>,
    },
    /// The leader's process is gone for the asker. For you, too?
    LeaderGone {
        /// Who led.
        leader: ServerId,
        /// In which term.
        term: u64,
        /// The end of the asker's log.
        last_log: Option<LogPosition>,
    },
    /// Who are the members for you? These are they for the asker.
    Members(Box<Presented>),
}

/// What is said to an [`Ask`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::ensemble) enum Told {
    /// To [`Ask::Probe`].
    Probe(Probed),
    /// To [`Ask::ReadIndex`]: apply up to here.
    ReadIndex {
        /// `None`: nothing has been written yet.
        at: Option<LogPosition>,
    },
    /// To [`Ask::Touches`]: taken by the leader of this term.
    Touched {
        /// The term.
        term: u64,
    },
    /// To [`Ask::LeaderGone`].
    LeaderGone {
        /// Whether it is gone for this server, too.
        gone: bool,
        /// This server's term.
        term: u64,
        /// The end of its log.
        last_log: Option<LogPosition>,
    },
    /// To [`Ask::Members`].
    Members(Box<Presented>),
    /// To what only a leader answers.
    NotLeader {
        /// Who leads, as far as is known.
        leader: Option<ServerId>,
        /// This server's term.
        term: u64,
    },
}

/// What a server has got.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::ensemble) struct Probed {
    /// The ensemble it belongs to.
    pub cluster: Option<ClusterId>,
    /// A hash of the members, as its configuration lists them.
    pub members: u64,
    /// It has neither log nor vote nor tree.
    pub empty: bool,
    /// Its operator has said that it is new.
    pub declared_new: bool,
    /// It may vote.
    pub votes: bool,
    /// Its term.
    pub term: u64,
    /// Whom it voted for in that term.
    pub voted_for: Option<ServerId>,
    /// Who leads, as far as it knows.
    pub leader: Option<ServerId>,
    /// The end of its log.
    pub last_log: Option<LogPosition>,
    /// The end of what it knows to be committed.
    pub committed: Option<LogPosition>,
}

/// All that is asked on the control lane.
#[derive(Clone)]
pub(super) enum Request {
    Vote(VoteRequest),
    PreVote(VoteRequest),
    Heartbeat(AppendRequest),
    Transfer(TransferRequest),
    Ask(Ask),
}

/// What is said to a [`Request`].
pub(super) enum Response {
    Vote(VoteResponse),
    Heartbeat(AppendResponse),
    Transfer(TransferResponse),
    Told(Told),
}

/// A question as it came.
pub(super) enum Asked {
    Known(Request),
    /// Only a newer server knows it.
    Unknown,
}

impl Request {
    pub(super) fn put(self, out: &mut BytesMut) -> Result<(), FormatError> {
        match self {
            Self::Vote(request) => {
                out.put_u8(1);
                messages::put_vote_request(out, &request);
            }
            Self::PreVote(request) => {
                out.put_u8(2);
                messages::put_vote_request(out, &request);
            }
            Self::Heartbeat(request) => {
                out.put_u8(3);
                for payload in messages::put_append_request(out, request)? {
                    out.extend_from_slice(&payload);
                }
            }
            Self::Transfer(request) => {
                out.put_u8(4);
                messages::put_transfer_request(out, &request);
            }
            Self::Ask(ask) => ask.put(out),
        }
        Ok(())
    }

    pub(super) fn take(mut bytes: Bytes) -> Result<Asked, FormatError> {
        let request = match bytes.try_get_u8()? {
            1 => Self::Vote(messages::take_vote_request(bytes)?),
            2 => Self::PreVote(messages::take_vote_request(bytes)?),
            3 => Self::Heartbeat(messages::take_append_request(bytes)?),
            4 => Self::Transfer(messages::take_transfer_request(bytes)?),
            tag => match Ask::take(tag, bytes)? {
                Some(ask) => Self::Ask(ask),
                None => return Ok(Asked::Unknown),
            },
        };
        Ok(Asked::Known(request))
    }
}

impl Ask {
    fn put(self, out: &mut BytesMut) {
        match self {
            Self::Probe => out.put_u8(16),
            Self::ReadIndex => out.put_u8(17),
            Self::Touches { sessions } => {
                out.put_u8(18);
                out.reserve(sessions.len() * TOUCH_BYTES + 4);
                out.put_u32(u32::try_from(sessions.len()).unwrap_or(u32::MAX));
                for (SessionId(session), timeout_ms) in sessions {
                    out.put_i64(session);
                    out.put_i32(timeout_ms);
                }
            }
            Self::LeaderGone {
                leader,
                term,
                last_log,
            } => {
                out.put_u8(19);
                out.put_u64(leader.0);
                out.put_u64(term);
                put_position(out, last_log);
            }
            Self::Members(presented) => {
                out.put_u8(20);
                presented.put(out);
            }
        }
    }

    /// `None`: a question of a newer server.
    fn take(tag: u8, mut bytes: Bytes) -> Result<Option<Self>, FormatError> {
        let ask = match tag {
            16 => Self::Probe,
            17 => Self::ReadIndex,
            18 => Self::Touches {
                sessions: take_touches(&mut bytes)?,
            },
            19 => Self::LeaderGone {
                leader: ServerId(bytes.try_get_u64()?),
                term: bytes.try_get_u64()?,
                last_log: take_position(&mut bytes)?,
            },
            20 => Self::Members(Box::new(Presented::take(&mut bytes)?)),
            _ => return Ok(None),
        };
        end(&bytes)?;
        Ok(Some(ask))
    }
}

fn take_touches(bytes: &mut Bytes) -> Result<Vec<(SessionId, i32)>, FormatError> {
    let count = bytes.try_get_u32()?;
    let left = bytes.len();
    let sessions = usize::try_from(count).unwrap_or(usize::MAX);
    if sessions > left / TOUCH_BYTES {
        return Err(FormatError::Count { count, left });
    }
    let mut touches = Vec::with_capacity(sessions);
    for _ in 0..sessions {
        touches.push((SessionId(bytes.try_get_i64()?), bytes.try_get_i32()?));
    }
    Ok(touches)
}

impl Response {
    pub(super) fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Vote(response) => messages::put_vote_response(out, response),
            Self::Heartbeat(response) => messages::put_append_response(out, response),
            Self::Transfer(response) => messages::put_transfer_response(out, response),
            Self::Told(told) => told.put(out),
        }
    }
}

impl Told {
    pub(super) fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Probe(probed) => {
                out.put_u8(16);
                probed.put(out);
            }
            Self::ReadIndex { at } => {
                out.put_u8(17);
                put_position(out, *at);
            }
            Self::Touched { term } => {
                out.put_u8(18);
                out.put_u64(*term);
            }
            Self::LeaderGone {
                gone,
                term,
                last_log,
            } => {
                out.put_u8(19);
                out.put_u8(u8::from(*gone));
                out.put_u64(*term);
                put_position(out, *last_log);
            }
            Self::Members(presented) => {
                out.put_u8(20);
                presented.put(out);
            }
            Self::NotLeader { leader, term } => {
                out.put_u8(1);
                put_server(out, *leader);
                out.put_u64(*term);
            }
        }
    }

    pub(super) fn take(mut bytes: Bytes) -> Result<Self, FormatError> {
        let told = match bytes.try_get_u8()? {
            1 => Self::NotLeader {
                leader: take_server(&mut bytes)?,
                term: bytes.try_get_u64()?,
            },
            16 => Self::Probe(Probed::take(&mut bytes)?),
            17 => Self::ReadIndex {
                at: take_position(&mut bytes)?,
            },
            18 => Self::Touched {
                term: bytes.try_get_u64()?,
            },
            19 => Self::LeaderGone {
                gone: take_bool(&mut bytes)?,
                term: bytes.try_get_u64()?,
                last_log: take_position(&mut bytes)?,
            },
            20 => Self::Members(Box::new(Presented::take(&mut bytes)?)),
            found => return Err(FormatError::Unknown { found }),
        };
        end(&bytes)?;
        Ok(told)
    }
}

impl Probed {
    fn put(&self, out: &mut BytesMut) {
        match self.cluster {
            None => out.put_u8(0),
            Some(ClusterId(id)) => {
                out.put_u8(1);
                out.put_slice(&id);
            }
        }
        out.put_u64(self.members);
        out.put_u8(u8::from(self.empty));
        out.put_u8(u8::from(self.declared_new));
        out.put_u8(u8::from(self.votes));
        out.put_u64(self.term);
        put_server(out, self.voted_for);
        put_server(out, self.leader);
        put_position(out, self.last_log);
        put_position(out, self.committed);
    }

    fn take(bytes: &mut Bytes) -> Result<Self, FormatError> {
        Ok(Self {
            cluster: if take_bool(bytes)? {
                Some(ClusterId(bytes.try_get_u128()?.to_be_bytes()))
            } else {
                None
            },
            members: bytes.try_get_u64()?,
            empty: take_bool(bytes)?,
            declared_new: take_bool(bytes)?,
            votes: take_bool(bytes)?,
            term: bytes.try_get_u64()?,
            voted_for: take_server(bytes)?,
            leader: take_server(bytes)?,
            last_log: take_position(bytes)?,
            committed: take_position(bytes)?,
        })
    }
}

/// What comes back for a call.
#[derive(Debug)]
pub(super) enum Answer {
    Said(Bytes),
    Refused(Refusal),
    Unknown,
}

impl Answer {
    pub(super) fn take(mut bytes: Bytes) -> Result<(u64, Self), FormatError> {
        let number = bytes.try_get_u64()?;
        let answer = match bytes.try_get_u8()? {
            0 => Self::Said(bytes),
            1 => {
                let refusal = Refusal::read(bytes.try_get_u8()?);
                end(&bytes)?;
                Self::Refused(refusal)
            }
            2 => {
                end(&bytes)?;
                Self::Unknown
            }
            found => return Err(FormatError::Unknown { found }),
        };
        Ok((number, answer))
    }
}

/// Appends what is said to call `number`; `None`: its question is not known.
pub(super) fn put_answer(
    out: &mut BytesMut,
    number: u64,
    answer: Option<Result<Response, Refusal>>,
) {
    out.put_u64(number);
    match answer {
        Some(Ok(response)) => {
            out.put_u8(0);
            response.put(out);
        }
        Some(Err(refusal)) => {
            out.put_u8(1);
            out.put_u8(refusal.number());
        }
        None => out.put_u8(2),
    }
}

pub(super) fn put_position(out: &mut BytesMut, at: Option<LogPosition>) {
    out.put_u8(u8::from(at.is_some()));
    if let Some(LogPosition { term, index }) = at {
        out.put_u64(term);
        out.put_u64(index);
    }
}

pub(super) fn take_position(bytes: &mut Bytes) -> Result<Option<LogPosition>, FormatError> {
    Ok(if take_bool(bytes)? {
        Some(LogPosition {
            term: bytes.try_get_u64()?,
            index: bytes.try_get_u64()?,
        })
    } else {
        None
    })
}

pub(super) fn put_server(out: &mut BytesMut, server: Option<ServerId>) {
    out.put_u8(u8::from(server.is_some()));
    if let Some(ServerId(id)) = server {
        out.put_u64(id);
    }
}

pub(super) fn take_server(bytes: &mut Bytes) -> Result<Option<ServerId>, FormatError> {
    Ok(if take_bool(bytes)? {
        Some(ServerId(bytes.try_get_u64()?))
    } else {
        None
    })
}

fn take_bool(bytes: &mut Bytes) -> Result<bool, FormatError> {
    match bytes.try_get_u8()? {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(FormatError::Unknown { found }),
    }
}
