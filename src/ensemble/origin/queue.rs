//! The proposals of this origin from submission until the replicated cursor has passed them.
//!
//! ```text
//!   submit ─▶ open batch ─▶ ready (full batches) ─▶ flight (sent) ─▶ gone: cursor passed
//!                                                     ▲     │ sent again in a new round
//!                                                     └─────┘
//! ```
//!
//! A *round* is a run of sends under one term. A new one begins with everything in flight when
//! this server leads a new term and has applied an entry of it (then it has applied all that
//! earlier terms left behind, and the cursor is true), or when all that was sent has been
//! answered and something is still there: refused, or skipped because it came behind something
//! refused. Sending twice is harmless: the cursor lets each proposal take effect once (DESIGN 4.3).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::state::Config as Rules;
use crate::state::{ActionRef, BatchBuilder, LogPosition, Origin, Reading};

use crate::ensemble::Submission;
use crate::ensemble::config::Config;
use crate::ensemble::error::{ProposeError, SubmitError};
use crate::ensemble::progress::Progress;

/// Proposals on their way, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QueueReport {
    /// Proposals submitted since the start.
    pub proposals: u64,
    /// Bytes of proposals that wait to be sent.
    pub waiting_bytes: usize,
    /// Batches sent and not yet applied.
    pub flight_batches: usize,
    /// Bytes of the same.
    pub flight_bytes: usize,
    /// Batches cut since the start.
    pub batches: u64,
    /// Batches sent more than once since the start.
    pub resent: u64,
    /// Submissions that found the queue full, since the start.
    pub refused: u64,
}

/// What the batcher does next.
#[derive(Debug)]
pub(in crate::ensemble) enum Next {
    /// Nothing until woken.
    Idle,
    /// Wait a little, then [`Queue::resend`]: the leader refused what it was sent.
    Pause,
    /// Propose this.
    Send(Send),
}

/// A batch to be proposed.
#[derive(Debug)]
pub(in crate::ensemble) struct Send {
    pub(in crate::ensemble) bytes: Bytes,
    /// The term under which it may enter the log.
    pub(in crate::ensemble) term: u64,
    /// To be handed back with the answer.
    pub(in crate::ensemble) round: u64,
}

/// The proposals of this origin, from submission until the replicated cursor has passed them.
#[derive(Debug)]
pub(in crate::ensemble) struct Queue {
    origin: Origin,
    limits: Limits,
    clock: Arc<dyn Clock>,
    /// By which the proposals of this server's batches are judged, wherever they are applied.
    rules: Rules,
    inner: Mutex<Inner>,
    work: Notify,
    room: Notify,
    drained: Notify,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    batch_ops: usize,
    batch_bytes: usize,
    window_batches: usize,
    window_bytes: usize,
    queue_bytes: usize,
}

#[derive(Debug)]
struct Cut {
    bytes: Bytes,
    /// Sequence of its last proposal.
    last: u64,
}

#[derive(Debug, Default)]
struct Inner {
    open: BatchBuilder,
    /// Sequence of the last proposal submitted.
    last: u64,
    /// Sequence of the last one that has taken effect.
    cursor: u64,
    ready: VecDeque<Cut>,
    waiting_bytes: usize,
    flight: VecDeque<Cut>,
    flight_bytes: usize,
    /// The last so many in flight have not been sent in this round.
    unsent: usize,
    /// Sent in this round and not answered.
    unanswered: usize,
    round: u64,
    round_term: u64,
    leads: Option<u64>,
    applied_term: u64,
    /// When an entry was applied, or the first batch was sent after none.
    got_on: Option<Instant>,
    full: bool,
    closed: bool,
    batches: u64,
    resent: u64,
    refused: u64,
}

impl Queue {
    pub(in crate::ensemble) fn new(
        origin: Origin,
        config: &Config,
        clock: Arc<dyn Clock>,
        rules: Rules,
    ) -> Self {
        Self {
            origin,
            limits: Limits {
                batch_ops: config.batch_ops_max.max(1),
                batch_bytes: config.batch_bytes_max,
                window_batches: config.window_batches.max(1),
                window_bytes: config.window_bytes,
                queue_bytes: config.queue_bytes_max,
            },
            clock,
            rules,
            inner: Mutex::default(),
            work: Notify::new(),
            room: Notify::new(),
            drained: Notify::new(),
        }
    }

    /// See [`crate::ensemble::Ensemble::submit`].
    pub(in crate::ensemble) fn submit(
        &self,
        submission: Submission<'_>,
    ) -> Result<u64, SubmitError> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(SubmitError::Closed);
        }
        if inner.full || inner.waiting_bytes >= self.limits.queue_bytes {
            inner.full = true;
            inner.refused += 1;
            return Err(SubmitError::Full);
        }
        let wakes = !inner.waits() && inner.has_window(&self.limits);
        let before = inner.open.len_bytes();
        if before > 0 && before + body_bytes(submission.action) > self.limits.batch_bytes {
            inner.close_open(&*self.clock, self.rules);
        }
        let before = inner.open.len_bytes();
        inner.last += 1;
        let sequence = inner.last;
        inner.open.push(
            self.origin,
            sequence,
            submission.session,
            submission.cxid,
            submission.identities,
            submission.action,
        );
        inner.waiting_bytes += inner.open.len_bytes() - before;
        let is_full = inner.open.count() >= self.limits.batch_ops
            || inner.open.len_bytes() >= self.limits.batch_bytes;
        if is_full {
            inner.close_open(&*self.clock, self.rules);
        }
        drop(inner);
        if wakes {
            self.work.notify_one();
        }
        Ok(sequence)
    }

    /// Waits until a submission is not refused as [`SubmitError::Full`].
    pub(in crate::ensemble) async fn room(&self) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            {
                let inner = self.inner.lock();
                if inner.closed || !inner.full {
                    return;
                }
            }
            room.await;
        }
    }

    /// Waits until there may be something for [`Queue::next`].
    pub(in crate::ensemble) async fn work(&self) {
        self.work.notified().await;
    }

    /// What to send now.
    pub(in crate::ensemble) fn next(&self) -> Next {
        let mut inner = self.inner.lock();
        let Some(term) = inner.leads.filter(|term| inner.applied_term >= *term) else {
            return Next::Idle;
        };
        if inner.round_term != term {
            inner.begin_round(term);
        } else if inner.is_stalled() {
            return Next::Pause;
        }
        if inner.unsent == 0 {
            if !inner.has_window(&self.limits) || !inner.waits() {
                return Next::Idle;
            }
            if inner.ready.is_empty() {
                inner.close_open(&*self.clock, self.rules);
            }
            let Some(cut) = inner.ready.pop_front() else {
                return Next::Idle;
            };
            inner.waiting_bytes -= cut.bytes.len();
            inner.flight_bytes += cut.bytes.len();
            if inner.flight.is_empty() {
                inner.got_on = Some(Instant::now());
            }
            inner.flight.push_back(cut);
            inner.unsent = 1;
        }
        let index = inner.flight.len() - inner.unsent;
        let Some(bytes) = inner.flight.get(index).map(|cut| cut.bytes.clone()) else {
            return Next::Idle;
        };
        inner.unsent -= 1;
        inner.unanswered += 1;
        let round = inner.round;
        let has_room = inner.full && inner.waiting_bytes <= self.limits.queue_bytes / 2;
        if has_room {
            inner.full = false;
        }
        drop(inner);
        if has_room {
            self.room.notify_waiters();
        }
        Next::Send(Send { bytes, term, round })
    }

    /// See [`crate::ensemble::Ensemble::stuck_for`].
    pub(in crate::ensemble) fn stuck_for(&self) -> Duration {
        let inner = self.inner.lock();
        let since = inner.got_on.filter(|_| !inner.flight.is_empty());
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Sequence of the last proposal submitted.
    pub(in crate::ensemble) fn submitted(&self) -> u64 {
        self.inner.lock().last
    }

    /// Waits until the replicated cursor has passed `sequence`.
    ///
    /// # Errors
    /// This server stops.
    pub(in crate::ensemble) async fn passed(
        &self,
        sequence: u64,
        progress: &Progress,
    ) -> Result<(), ProposeError> {
        if self.inner.lock().cursor >= sequence {
            return Ok(());
        }
        tokio::select! {
            () = progress.until(|_| self.inner.lock().cursor >= sequence) => Ok(()),
            () = progress.machine_gone() => Err(ProposeError::Stopped),
        }
    }

    /// Begins a new round in the same term, after [`Next::Pause`].
    pub(in crate::ensemble) fn resend(&self) {
        let mut inner = self.inner.lock();
        if inner.is_stalled() {
            let term = inner.round_term;
            inner.begin_round(term);
        }
    }

    /// A batch of `round` has been applied, refused or discarded. What it was is learned from the
    /// cursor: [`Queue::applied`] has been told before if it was applied.
    pub(in crate::ensemble) fn answered(&self, round: u64) {
        let mut inner = self.inner.lock();
        if inner.round != round {
            return;
        }
        inner.unanswered = inner.unanswered.saturating_sub(1);
        let is_stalled = inner.is_stalled();
        drop(inner);
        if is_stalled {
            self.work.notify_one();
        }
    }

    /// An entry has been applied here; `cursor` is the last sequence of this origin that has been.
    pub(in crate::ensemble) fn applied(&self, position: LogPosition, cursor: Option<u64>) {
        let mut inner = self.inner.lock();
        inner.got_on = Some(Instant::now());
        let is_new_term = position.term > inner.applied_term;
        if is_new_term {
            inner.applied_term = position.term;
        }
        let cursor = cursor.unwrap_or(0);
        inner.cursor = inner.cursor.max(cursor);
        let mut passed = false;
        while inner.flight.front().is_some_and(|cut| cut.last <= cursor) {
            if let Some(cut) = inner.flight.pop_front() {
                inner.flight_bytes -= cut.bytes.len();
                passed = true;
            }
        }
        inner.unsent = inner.unsent.min(inner.flight.len());
        let wakes = is_new_term || (passed && inner.waits());
        let is_drained = inner.closed && inner.is_empty();
        drop(inner);
        if wakes {
            self.work.notify_one();
        }
        if is_drained {
            self.drained.notify_waiters();
        }
    }

    /// This server leads `term`, or does not lead.
    pub(in crate::ensemble) fn lead(&self, term: Option<u64>) {
        let mut inner = self.inner.lock();
        if inner.leads == term {
            return;
        }
        inner.leads = term;
        drop(inner);
        self.work.notify_one();
    }

    /// Takes no more submissions; whoever waits for room is told.
    pub(in crate::ensemble) fn close(&self) {
        self.inner.lock().closed = true;
        self.room.notify_waiters();
    }

    /// Waits until everything submitted has been applied; to be called once closed.
    pub(in crate::ensemble) async fn drained(&self) {
        let drained = self.drained.notified();
        tokio::pin!(drained);
        drained.as_mut().enable();
        if self.inner.lock().is_empty() {
            return;
        }
        drained.await;
    }

    /// Numbers for metrics.
    pub(in crate::ensemble) fn report(&self) -> QueueReport {
        let inner = self.inner.lock();
        QueueReport {
            proposals: inner.last,
            waiting_bytes: inner.waiting_bytes,
            flight_batches: inner.flight.len(),
            flight_bytes: inner.flight_bytes,
            batches: inner.batches,
            resent: inner.resent,
            refused: inner.refused,
        }
    }
}

impl Inner {
    fn waits(&self) -> bool {
        self.waiting_bytes > 0
    }

    fn is_empty(&self) -> bool {
        self.waiting_bytes == 0 && self.flight.is_empty()
    }

    fn has_window(&self, limits: &Limits) -> bool {
        self.flight.len() < limits.window_batches && self.flight_bytes < limits.window_bytes
    }

    /// All that was sent has been answered, and the cursor has not passed it.
    fn is_stalled(&self) -> bool {
        self.unanswered == 0 && self.unsent == 0 && !self.flight.is_empty()
    }

    fn begin_round(&mut self, term: u64) {
        self.resent += (self.flight.len() - self.unsent) as u64;
        self.round += 1;
        self.round_term = term;
        self.unanswered = 0;
        self.unsent = self.flight.len();
    }

    /// Stamps the open batch with the clocks as they are and the rules, and makes it ready.
    fn close_open(&mut self, clock: &dyn Clock, rules: Rules) {
        if self.open.count() == 0 {
            return;
        }
        let reading = Reading {
            wall_ms: clock.wall_ms(),
            steady_ms: clock.steady_ms(),
        };
        let bytes = self.open.finish(reading, rules);
        self.batches += 1;
        self.ready.push_back(Cut {
            bytes,
            last: self.last,
        });
    }
}

/// The part of a proposal's size that is not small.
fn body_bytes(action: ActionRef<'_>) -> usize {
    match action {
        ActionRef::Client { body, .. } => body.len(),
        ActionRef::Reap { path, .. } => path.len(),
        ActionRef::OpenSession { .. }
        | ActionRef::Attach { .. }
        | ActionRef::CloseSession
        | ActionRef::ExpireSession { .. } => 0,
    }
}
