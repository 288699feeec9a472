//! The lock and the wake-ups around [`Outgoing`].

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::state::{LogPosition, Reading, ServerId};

use super::outgoing::{Command, Event, Outgoing, QueueReport};
use crate::ensemble::Submission;
use crate::ensemble::error::{ProposeError, SubmitError};
use crate::ensemble::progress::Progress;

/// The proposals of this server: submitted by connections and chores, sent by `sender.rs`.
#[derive(Debug)]
pub(in crate::ensemble) struct Proposals {
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
    work: Notify,
    room: Notify,
    drained: Notify,
}

#[derive(Debug)]
struct Inner {
    outgoing: Outgoing,
    /// When an entry was applied, or the first batch was sent after none.
    got_on: Option<Instant>,
}

impl Proposals {
    pub(in crate::ensemble) fn new(outgoing: Outgoing, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            inner: Mutex::new(Inner {
                outgoing,
                got_on: None,
            }),
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
        let taken = self.inner.lock().outgoing.submit(submission)?;
        if taken.wakes {
            self.work.notify_one();
        }
        Ok(taken.sequence)
    }

    /// Waits until a submission is not refused as [`SubmitError::Full`].
    pub(in crate::ensemble) async fn room(&self) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if !self.inner.lock().outgoing.is_full() {
                return;
            }
            room.await;
        }
    }

    /// Waits until there may be something for [`Proposals::turn`].
    pub(in crate::ensemble) async fn work(&self) {
        self.work.notified().await;
    }

    /// What is to be sent now; `None` if nothing is until woken.
    pub(in crate::ensemble) fn turn(&self) -> Option<Command> {
        let now = self.reading();
        let commands = {
            let mut inner = self.inner.lock();
            let was_landed = inner.outgoing.is_landed();
            let commands = inner.outgoing.step(Event::Turn(now));
            if was_landed && !inner.outgoing.is_landed() {
                inner.got_on = Some(Instant::now());
            }
            commands
        };
        self.obey(commands)
    }

    /// Takes an event in that asks nothing of the sender.
    pub(in crate::ensemble) fn step(&self, event: Event) {
        let commands = self.inner.lock().outgoing.step(event);
        // Only a turn commands to send.
        let _nothing = self.obey(commands);
    }

    /// An entry has been applied here; `cursor` is the last sequence of this origin that has been.
    pub(in crate::ensemble) fn applied(&self, position: LogPosition, cursor: Option<u64>) {
        let commands = {
            let mut inner = self.inner.lock();
            inner.got_on = Some(Instant::now());
            inner.outgoing.step(Event::Applied { position, cursor })
        };
        let _nothing = self.obey(commands);
    }

    /// The state is a snapshot's from now on, up to `position`; `cursor` as above.
    pub(in crate::ensemble) fn replaced(&self, position: LogPosition, cursor: Option<u64>) {
        let commands = {
            let mut inner = self.inner.lock();
            inner.got_on = Some(Instant::now());
            inner.outgoing.step(Event::Replaced { position, cursor })
        };
        let _nothing = self.obey(commands);
    }

    /// Who leads, if anybody is known to; `here`: this server.
    pub(in crate::ensemble) fn leader(&self, leader: Option<(ServerId, u64)>, here: ServerId) {
        self.step(match leader {
            None => Event::Leaderless,
            Some((server, term)) if server == here => Event::Leads { term },
            Some((server, term)) => Event::LeaderAt { server, term },
        });
    }

    /// Does what only wakes; the rest is the sender's.
    fn obey(&self, commands: Vec<Command>) -> Option<Command> {
        let mut send = None;
        for command in commands {
            match command {
                Command::Wake => self.work.notify_one(),
                Command::Room => self.room.notify_waiters(),
                Command::End => self.drained.notify_waiters(),
                Command::Append(_) | Command::Forward(..) | Command::Pause => send = Some(command),
            }
        }
        send
    }

    /// What the clocks of this server say.
    pub(in crate::ensemble) fn reading(&self) -> Reading {
        Reading {
            wall_ms: self.clock.wall_ms(),
            steady_ms: self.clock.steady_ms(),
        }
    }

    /// See [`crate::ensemble::Ensemble::stuck_for`].
    pub(in crate::ensemble) fn stuck_for(&self) -> Duration {
        let inner = self.inner.lock();
        let since = inner.got_on.filter(|_| !inner.outgoing.is_landed());
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Sequence of the last proposal submitted.
    pub(in crate::ensemble) fn submitted(&self) -> u64 {
        self.inner.lock().outgoing.submitted()
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
        let has_passed = || self.inner.lock().outgoing.cursor() >= sequence;
        if has_passed() {
            return Ok(());
        }
        tokio::select! {
            () = progress.until(|_| has_passed()) => Ok(()),
            () = progress.machine_gone() => Err(ProposeError::Stopped),
        }
    }

    /// Takes no more submissions; whoever waits for room is told.
    pub(in crate::ensemble) fn close(&self) {
        self.step(Event::Closed);
    }

    /// Waits until everything submitted has been applied; to be called once closed.
    pub(in crate::ensemble) async fn drained(&self) {
        let drained = self.drained.notified();
        tokio::pin!(drained);
        drained.as_mut().enable();
        if self.inner.lock().outgoing.is_empty() {
            return;
        }
        drained.await;
    }

    /// Numbers for metrics.
    pub(in crate::ensemble) fn report(&self) -> QueueReport {
        self.inner.lock().outgoing.report()
    }
}
