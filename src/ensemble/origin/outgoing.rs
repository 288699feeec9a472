//! The proposals of this origin from submission until the replicated cursor has passed them, as a
//! machine without clock, lock or task: events go in, commands come out.
//!
//! ```text
//!   submit ─▶ open batch ─▶ ready (full batches) ─▶ flight (sent) ─▶ gone: cursor passed
//!                                                     ▲     │ sent again in a new round
//!                                                     └─────┘
//! ```
//!
//! A *round* is a run of sends to one leader in one term: this server (`Append`) or another one
//! (`Forward`). A new one begins with everything in flight when a new term is led and an entry of it
//! has been applied here (then all that earlier terms left behind has been, and the cursor is true),
//! or when all that was sent has been answered, what was accepted has been applied here, and something
//! is still there: refused, or skipped because it came behind something refused. Sending twice is
//! harmless: the cursor lets each proposal take effect once (I5, DESIGN 4.3).
//!
//! When all clients have been sent away, what they left here is *recalled*. What has never been sent is
//! forgotten, and its numbers are given again. In the place of all that is in flight goes one batch of
//! proposals that do nothing, with the same numbers: where the one is in the log first, the other is
//! a duplicate. It must be one batch: of two, the first could come before what it replaces and the second
//! behind, and a session's second write would take effect without its first.
//!
//! `origin/scripts` tells each failover as a story.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::state::{
    ActionRef, BatchBuilder, Identities, LogPosition, Origin, Reading, Rules, ServerId, SessionId,
    Unstamped,
};

use crate::ensemble::Submission;
use crate::ensemble::config::Config;
use crate::ensemble::error::SubmitError;

/// Between a refusal by a leader that still leads and the next attempt; each further one waits twice as
/// long as the one before.
const PAUSE: Duration = Duration::from_millis(10);
/// So often it is doubled: a leader that refuses for long hears of this server three times in a second,
/// and one that can take something again waits no longer for it.
const DOUBLED_MAX: u32 = 5;

/// What happens to the proposals of this origin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::ensemble) enum Event {
    /// Whoever sends is ready for a command; what its clocks say.
    Turn(Reading),
    /// The pause is over.
    Resume,
    /// This server leads.
    Leads {
        /// Its term.
        term: u64,
    },
    /// Another server leads.
    LeaderAt {
        /// Which.
        server: ServerId,
        /// Its term.
        term: u64,
    },
    /// Nobody is known to lead.
    Leaderless,
    /// A batch of `round` has been answered.
    Answered {
        /// As in the [`Parcel`].
        round: u64,
        /// What became of it.
        answer: Answer,
    },
    /// The stream to `server` broke: what it has not answered it never will.
    Broken {
        /// Which server.
        server: ServerId,
    },
    /// An entry has been applied here.
    Applied {
        /// Which.
        position: LogPosition,
        /// The last sequence of this origin that has taken effect, if any has.
        cursor: Option<u64>,
    },
    /// Nobody waits any more for what has been submitted.
    Recalled,
    /// The state is a snapshot's from now on: what has taken effect in it is not sent again, and nobody
    /// here is told what it came to.
    Replaced {
        /// Its last entry.
        position: LogPosition,
        /// As above, in it.
        cursor: Option<u64>,
    },
    /// No more submissions.
    Closed,
}

/// What became of a batch that was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::ensemble) enum Answer {
    /// It is the log's entry with this index, which will be applied here.
    At(u64),
    /// It was not taken, or nobody knows.
    Refused,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::ensemble) enum Command {
    /// Propose this; this server leads.
    Append(Parcel),
    /// Send this to its leader.
    Forward(ServerId, Parcel),
    /// Wait so long, or until [`Outgoing::must_pause`] says no, then [`Event::Resume`]: the leader
    /// refused what it was sent.
    Pause(Duration),
    /// There may be something for [`Event::Turn`].
    Wake,
    /// There is room again for submissions.
    Room,
    /// What is on its way to another server is to get no further.
    Disconnect,
    /// Closed, and everything submitted has been applied.
    End,
}

/// A batch to be proposed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::ensemble) struct Parcel {
    pub(in crate::ensemble) bytes: Bytes,
    /// The term under which it may enter the log.
    pub(in crate::ensemble) term: u64,
    /// To be handed back with the answer.
    pub(in crate::ensemble) round: u64,
    /// Stamped with the reading of this turn; otherwise whoever leads stamps it.
    pub(in crate::ensemble) is_stamped: bool,
}

/// A submission that was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::ensemble) struct Taken {
    /// 1, 2, 3 and so on within this origin.
    pub(in crate::ensemble) sequence: u64,
    /// There may be something for [`Event::Turn`] that there was not before.
    pub(in crate::ensemble) wakes: bool,
}

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

#[derive(Clone, Copy, Debug)]
struct Limits {
    batch_ops: usize,
    batch_bytes: usize,
    window_batches: usize,
    window_bytes: usize,
    queue_bytes: usize,
}

#[derive(Debug)]
struct Cut<B> {
    bytes: B,
    /// Sequence of its last proposal.
    last: u64,
}

/// Where a round goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Target {
    /// `None`: this server.
    server: Option<ServerId>,
    term: u64,
}

/// See the head of the file: everything that this origin has submitted and that has not taken effect.
#[derive(Debug)]
pub(in crate::ensemble) struct Outgoing {
    origin: Origin,
    limits: Limits,
    /// By which proposals are judged while this server leads.
    rules: Rules,
    open: BatchBuilder,
    /// Sequence of the last proposal submitted.
    last: u64,
    /// Sequence of the last one that has taken effect.
    cursor: u64,
    ready: VecDeque<Cut<Unstamped>>,
    waiting_bytes: usize,
    flight: VecDeque<Cut<Bytes>>,
    flight_bytes: usize,
    /// The last so many in flight have not been sent in this round.
    unsent: usize,
    /// Sent in this round and not answered.
    unanswered: usize,
    /// The last index at which something sent in this round was accepted.
    accepted: u64,
    round: u64,
    /// Rounds since this leader last took something, or was found.
    attempts: u32,
    round_target: Option<Target>,
    /// Who leads now.
    target: Option<Target>,
    applied: LogPosition,
    full: bool,
    closed: bool,
    batches: u64,
    resent: u64,
    refused: u64,
}

impl Outgoing {
    /// `applied`: what the tree holds; nothing of this origin, which is new.
    pub(in crate::ensemble) fn new(
        origin: Origin,
        config: &Config,
        rules: Rules,
        applied: Option<LogPosition>,
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
            rules,
            open: BatchBuilder::default(),
            last: 0,
            cursor: 0,
            ready: VecDeque::new(),
            waiting_bytes: 0,
            flight: VecDeque::new(),
            flight_bytes: 0,
            unsent: 0,
            unanswered: 0,
            accepted: 0,
            round: 0,
            attempts: 0,
            round_target: None,
            target: None,
            applied: applied.unwrap_or(LogPosition { term: 0, index: 0 }),
            full: false,
            closed: false,
            batches: 0,
            resent: 0,
            refused: 0,
        }
    }

    /// Puts a proposal into the open batch.
    ///
    /// # Errors
    /// Full, until [`Command::Room`]; closed.
    pub(in crate::ensemble) fn submit(
        &mut self,
        submission: Submission<'_>,
    ) -> Result<Taken, SubmitError> {
        if self.closed {
            return Err(SubmitError::Closed);
        }
        if self.full || self.waiting_bytes >= self.limits.queue_bytes {
            self.full = true;
            self.refused += 1;
            return Err(SubmitError::Full);
        }
        let wakes = !self.waits() && self.has_window();
        let before = self.open.len_bytes();
        if before > 0 && before + submission.action.body_bytes() > self.limits.batch_bytes {
            self.close_open();
        }
        let before = self.open.len_bytes();
        self.last += 1;
        self.open.push(
            self.origin,
            self.last,
            submission.session,
            submission.cxid,
            submission.identities,
            submission.action,
        );
        self.waiting_bytes += self.open.len_bytes() - before;
        let is_full = self.open.count() >= self.limits.batch_ops
            || self.open.len_bytes() >= self.limits.batch_bytes;
        if is_full {
            self.close_open();
        }
        Ok(Taken {
            sequence: self.last,
            wakes,
        })
    }

    /// Takes an event in; what is to be done now.
    pub(in crate::ensemble) fn step(&mut self, event: Event) -> Vec<Command> {
        match event {
            Event::Turn(now) => self.turn(now),
            Event::Resume => {
                if self.must_pause() {
                    self.attempts = self.attempts.saturating_add(1);
                    self.begin_round();
                }
                Vec::new()
            }
            Event::Leads { term } => self.lead(Some(Target { server: None, term })),
            Event::LeaderAt { server, term } => {
                let server = Some(server);
                self.lead(Some(Target { server, term }))
            }
            Event::Leaderless => self.lead(None),
            Event::Answered { round, answer } => self.answered(round, answer),
            Event::Broken { server } => self.broken(server),
            Event::Applied { position, cursor } | Event::Replaced { position, cursor } => {
                self.applied(position, cursor)
            }
            Event::Recalled => self.recalled(),
            Event::Closed => {
                self.closed = true;
                let mut commands = vec![Command::Room];
                if self.is_empty() {
                    commands.push(Command::End);
                }
                commands
            }
        }
    }

    fn turn(&mut self, now: Reading) -> Vec<Command> {
        let is_true = |target: &Target| self.applied.term >= target.term;
        let Some(target) = self.target.filter(is_true) else {
            return Vec::new();
        };
        if self.round_target != Some(target) {
            self.round_target = Some(target);
            self.attempts = 0;
            self.begin_round();
        } else if self.is_stalled() {
            let doubled = 1 << self.attempts.min(DOUBLED_MAX);
            return vec![Command::Pause(PAUSE * doubled)];
        }
        let mut is_stamped = false;
        if self.unsent == 0 {
            if !self.has_window() || !self.waits() {
                return Vec::new();
            }
            if self.ready.is_empty() {
                self.close_open();
            }
            let Some(Cut { bytes, last }) = self.ready.pop_front() else {
                return Vec::new();
            };
            self.waiting_bytes -= bytes.len_bytes();
            is_stamped = target.server.is_none();
            let bytes = if is_stamped {
                bytes.stamp(now, self.rules)
            } else {
                bytes.freeze()
            };
            self.flight_bytes += bytes.len();
            self.flight.push_back(Cut { bytes, last });
            self.unsent = 1;
        }
        let index = self.flight.len() - self.unsent;
        let Some(bytes) = self.flight.get(index).map(|cut| cut.bytes.clone()) else {
            return Vec::new();
        };
        self.unsent -= 1;
        self.unanswered += 1;
        let parcel = Parcel {
            bytes,
            term: target.term,
            round: self.round,
            is_stamped,
        };
        let send = match target.server {
            None => Command::Append(parcel),
            Some(server) => Command::Forward(server, parcel),
        };
        if self.full && self.waiting_bytes <= self.limits.queue_bytes / 2 {
            self.full = false;
            return vec![Command::Room, send];
        }
        vec![send]
    }

    fn lead(&mut self, target: Option<Target>) -> Vec<Command> {
        if self.target == target {
            return Vec::new();
        }
        self.target = target;
        vec![Command::Wake]
    }

    fn answered(&mut self, round: u64, answer: Answer) -> Vec<Command> {
        if self.round != round {
            return Vec::new();
        }
        self.unanswered = self.unanswered.saturating_sub(1);
        if let Answer::At(index) = answer {
            self.accepted = self.accepted.max(index);
        }
        self.wake_if(self.is_stalled())
    }

    fn broken(&mut self, server: ServerId) -> Vec<Command> {
        let round_server = self.round_target.and_then(|target| target.server);
        if round_server != Some(server) {
            return Vec::new();
        }
        self.unanswered = 0;
        self.wake_if(self.is_stalled())
    }

    fn applied(&mut self, position: LogPosition, cursor: Option<u64>) -> Vec<Command> {
        let is_new_term = position.term > self.applied.term;
        self.applied = position;
        let cursor = cursor.unwrap_or(0);
        self.cursor = self.cursor.max(cursor);
        let mut passed = false;
        while self.flight.front().is_some_and(|cut| cut.last <= cursor) {
            if let Some(cut) = self.flight.pop_front() {
                self.flight_bytes -= cut.bytes.len();
                self.attempts = 0;
                passed = true;
            }
        }
        self.unsent = self.unsent.min(self.flight.len());
        let wakes = is_new_term || (passed && self.waits()) || self.is_stalled();
        let mut commands = self.wake_if(wakes);
        if self.closed && self.is_empty() {
            commands.push(Command::End);
        }
        commands
    }

    fn recalled(&mut self) -> Vec<Command> {
        self.ready.clear();
        self.open = BatchBuilder::default();
        self.waiting_bytes = 0;
        self.full = false;
        self.last = self.flight.back().map_or(self.cursor, |cut| cut.last);
        if !self.flight.is_empty() {
            let bytes = self.nothing().freeze();
            self.flight_bytes = bytes.len();
            self.flight.clear();
            let last = self.last;
            self.flight.push_back(Cut { bytes, last });
        }
        // A new round, whoever leads.
        self.round_target = None;
        (self.unsent, self.unanswered) = (0, 0);
        let mut commands = vec![Command::Disconnect, Command::Room, Command::Wake];
        if self.closed && self.is_empty() {
            commands.push(Command::End);
        }
        commands
    }

    /// Proposals that do nothing, with the numbers of all that may be on its way: no longer than those,
    /// since none is shorter.
    fn nothing(&self) -> Unstamped {
        let mut batch = BatchBuilder::default();
        let nobody = Identities::from([]);
        for sequence in self.cursor + 1..=self.last {
            // There is no such session.
            let action = ActionRef::CloseSession;
            batch.push(self.origin, sequence, SessionId::NONE, 0, &nobody, action);
        }
        batch.finish()
    }

    #[expect(clippy::unused_self, reason = "reads as what the machine does")]
    fn wake_if(&self, wakes: bool) -> Vec<Command> {
        if wakes {
            vec![Command::Wake]
        } else {
            Vec::new()
        }
    }

    /// Sequence of the last proposal submitted.
    pub(in crate::ensemble) fn submitted(&self) -> u64 {
        self.last
    }

    /// Sequence of the last one that has taken effect here.
    pub(in crate::ensemble) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Nothing is on its way to the log.
    pub(in crate::ensemble) fn is_landed(&self) -> bool {
        self.flight.is_empty()
    }

    /// Everything submitted has been applied.
    pub(in crate::ensemble) fn is_empty(&self) -> bool {
        self.waiting_bytes == 0 && self.flight.is_empty()
    }

    /// Whether a submission would be refused until [`Command::Room`].
    pub(in crate::ensemble) fn is_full(&self) -> bool {
        self.full && !self.closed
    }

    /// Numbers for metrics.
    pub(in crate::ensemble) fn report(&self) -> QueueReport {
        QueueReport {
            proposals: self.last,
            waiting_bytes: self.waiting_bytes,
            flight_batches: self.flight.len(),
            flight_bytes: self.flight_bytes,
            batches: self.batches,
            resent: self.resent,
            refused: self.refused,
        }
    }

    fn waits(&self) -> bool {
        self.waiting_bytes > 0
    }

    fn has_window(&self) -> bool {
        self.flight.len() < self.limits.window_batches
            && self.flight_bytes < self.limits.window_bytes
    }

    /// All that was sent has been answered, what was accepted has been applied, and the cursor has
    /// not passed it.
    fn is_stalled(&self) -> bool {
        self.unanswered == 0
            && self.unsent == 0
            && !self.flight.is_empty()
            && self.applied.index >= self.accepted
    }

    /// Whether an entry of the term that is led now has been applied here.
    pub(in crate::ensemble) fn is_current(&self) -> bool {
        let is_true = |target: Target| self.applied.term >= target.term;
        self.target.is_some_and(is_true)
    }

    /// Whether the leader that refused what it was sent still leads, and nothing of it has been applied.
    pub(in crate::ensemble) fn must_pause(&self) -> bool {
        self.is_stalled() && self.target.is_some() && self.target == self.round_target
    }

    fn begin_round(&mut self) {
        self.resent += (self.flight.len() - self.unsent) as u64;
        self.round += 1;
        self.unanswered = 0;
        self.accepted = 0;
        self.unsent = self.flight.len();
    }

    fn close_open(&mut self) {
        if self.open.count() == 0 {
            return;
        }
        self.batches += 1;
        self.ready.push_back(Cut {
            bytes: self.open.finish(),
            last: self.last,
        });
    }
}
