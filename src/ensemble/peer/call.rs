//! Questions on the control lane: each has a number, and whoever waits for its answer stops waiting
//! at its deadline, or when the connection ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::super::raft::records::FormatError;
use super::Shared;
use super::ask::{Answer, Request};
use super::frame::{Kind, Outgoing, begin, finish};
use super::link::{Down, Link, Phase};
use super::serve::Refusal;
use crate::state::ServerId;

/// Of a short call.
const CALL_BYTES: usize = 64;

/// A peer did not answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(in crate::ensemble) enum CallError {
    /// It is not among the peers.
    #[error("server {0} is not known here")]
    Unknown(ServerId),
    /// It is not connected: it has not heard the question.
    #[error("server {to} is not connected: {said}")]
    Down {
        /// The peer.
        to: ServerId,
        /// What kind of failure.
        why: Down,
        /// All that is known of it.
        said: Arc<str>,
    },
    /// The connection ended meanwhile. It may have heard the question.
    #[error("the connection to server {0} ended before it answered")]
    Lost(ServerId),
    /// No answer in time. It may have heard the question.
    #[error("server {to} did not answer within {within:?}")]
    TimedOut {
        /// The peer.
        to: ServerId,
        /// The time.
        within: Duration,
    },
    /// It says no.
    #[error("server {to} refuses: {refusal}")]
    Refused {
        /// The peer.
        to: ServerId,
        /// Its reason.
        refusal: Refusal,
    },
    /// It is of an older version, which does not know the question.
    #[error("server {0} does not know the question")]
    NotKnown(ServerId),
    /// The question is too long, or the answer is none.
    #[error("a malformed message")]
    Format(#[from] FormatError),
}

/// By which calls go out on a connection.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub(super) outbox: mpsc::Sender<Outgoing>,
    pub(super) pending: Arc<Pending>,
}

/// Who waits for an answer on a connection.
#[derive(Debug, Default)]
pub(super) struct Pending {
    inside: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    by_number: HashMap<u64, oneshot::Sender<Answer>>,
    is_lost: bool,
}

/// A place among those who wait; left when dropped.
struct Turn<'a> {
    pending: &'a Pending,
    number: u64,
    answer: oneshot::Receiver<Answer>,
}

impl Pending {
    fn turn(&self) -> Option<Turn<'_>> {
        let (tell, answer) = oneshot::channel();
        let mut inside = self.inside.lock();
        if inside.is_lost {
            return None;
        }
        let number = inside.next;
        inside.next += 1;
        inside.by_number.insert(number, tell);
        Some(Turn {
            pending: self,
            number,
            answer,
        })
    }

    /// An answer came; nobody waits any more for one that is late.
    pub(super) fn answered(&self, body: Bytes) -> Result<(), FormatError> {
        let (number, answer) = Answer::take(body)?;
        let waiting = self.inside.lock().by_number.remove(&number);
        if let Some(waiting) = waiting {
            // Its deadline may pass in this moment.
            let _unheard = waiting.send(answer);
        }
        Ok(())
    }

    /// The connection has ended.
    pub(super) fn lost(&self) {
        let mut inside = self.inside.lock();
        inside.is_lost = true;
        inside.by_number.clear();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.pending.inside.lock().by_number.remove(&self.number);
    }
}

impl Shared {
    /// Asks `to`. `hurry`: a link that is down is tried once more before it is given up.
    pub(super) async fn call(
        &self,
        to: ServerId,
        request: Request,
        within: Duration,
        hurry: bool,
    ) -> Result<Bytes, CallError> {
        let called = timeout(within, self.call_at_last(to, request, hurry)).await;
        called.unwrap_or(Err(CallError::TimedOut { to, within }))
    }

    async fn call_at_last(
        &self,
        to: ServerId,
        request: Request,
        hurry: bool,
    ) -> Result<Bytes, CallError> {
        let link = self.links.read().get(&to).cloned();
        let link = link.ok_or(CallError::Unknown(to))?;
        let door = self.door(&link, to, hurry).await?;
        let mut turn = door.pending.turn().ok_or(CallError::Lost(to))?;
        let mut head = begin(Kind::Call, CALL_BYTES);
        head.put_u64(turn.number);
        request.put(&mut head)?;
        let head = finish(head, 0, self.config.frame_bytes_max)?;
        let frame = Outgoing {
            head,
            body: Bytes::new(),
        };
        let sent = door.outbox.send(frame).await;
        sent.map_err(|_| CallError::Lost(to))?;
        match (&mut turn.answer).await {
            Ok(Answer::Said(body)) => Ok(body),
            Ok(Answer::Refused(refusal)) => Err(CallError::Refused { to, refusal }),
            Ok(Answer::Unknown) => Err(CallError::NotKnown(to)),
            Err(_) => Err(CallError::Lost(to)),
        }
    }

    /// Waits for an attempt that is under way.
    async fn door(&self, link: &Link, to: ServerId, hurry: bool) -> Result<Door, CallError> {
        let mut states = self.states.subscribe();
        let mut seen = None;
        loop {
            if let Some(door) = &*link.door.lock() {
                return Ok(door.clone());
            }
            {
                let states = states.borrow_and_update();
                let state = states.get(&to).ok_or(CallError::Unknown(to))?;
                let is_first = seen.is_none();
                let seen = *seen.get_or_insert(state.attempts);
                if let Phase::Down { why, said } = &state.phase {
                    if !hurry || state.attempts > seen {
                        return Err(CallError::Down {
                            to,
                            why: *why,
                            said: Arc::clone(said),
                        });
                    }
                    if is_first {
                        link.hurry.notify_one();
                    }
                }
            }
            if states.changed().await.is_err() {
                return Err(CallError::Lost(to));
            }
        }
    }
}
