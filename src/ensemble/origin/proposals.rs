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
    disconnect: Notify,
    drained: Notify,
    recalled: Notify,
}

/// How far what had been submitted at a moment reached.
#[derive(Clone, Copy, Debug)]
pub(in crate::ensemble) struct Submitted {
    /// Sequence of the last one.
    last: u64,
    /// How often all had been recalled by then: numbers are given again.
    recalls: u64,
}

#[derive(Debug)]
struct Inner {
    outgoing: Outgoing,
    /// When an entry was applied, or the first batch was sent after none.
    got_on: Option<Instant>,
    recalls: u64,
}

impl Proposals {
    pub(in crate::ensemble) fn new(outgoing: Outgoing, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            inner: Mutex::new(Inner {
                outgoing,
                got_on: None,
                recalls: 0,
            }),
            work: Notify::new(),
            room: Notify::new(),
            disconnect: Notify::new(),
            drained: Notify::new(),
            recalled: Notify::new(),
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

    /// Waits so long, or until there is something else to be done than to send again what was refused.
    pub(in crate::ensemble) async fn pause(&self, time: Duration) {
        let over = tokio::time::sleep(time);
        tokio::pin!(over);
        while self.inner.lock().outgoing.must_pause() {
            tokio::select! {
                () = &mut over => break,
                () = self.work() => {}
            }
        }
        self.step(Event::Resume);
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
                Command::Disconnect => self.disconnect.notify_one(),
                Command::End => self.drained.notify_waiters(),
                Command::Append(_) | Command::Forward(..) | Command::Pause(_) => {
                    send = Some(command);
                }
            }
        }
        send
    }

    /// Whether what is applied here is of the term that is led now.
    pub(in crate::ensemble) fn is_current(&self) -> bool {
        self.inner.lock().outgoing.is_current()
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

    /// What has been submitted by now.
    pub(in crate::ensemble) fn submitted(&self) -> Submitted {
        let inner = self.inner.lock();
        Submitted {
            last: inner.outgoing.submitted(),
            recalls: inner.recalls,
        }
    }

    /// Waits until the replicated cursor has passed what had been submitted.
    ///
    /// # Errors
    /// That has been recalled, or this server stops.
    pub(in crate::ensemble) async fn passed(
        &self,
        submitted: Submitted,
        progress: &Progress,
    ) -> Result<(), ProposeError> {
        let has_passed = || self.inner.lock().outgoing.cursor() >= submitted.last;
        let is_recalled = || self.inner.lock().recalls != submitted.recalls;
        let recalled = self.recalled.notified();
        tokio::pin!(recalled);
        recalled.as_mut().enable();
        let end = if has_passed() || is_recalled() {
            Ok(())
        } else {
            tokio::select! {
                () = progress.until(|_| has_passed()) => Ok(()),
                () = recalled => Ok(()),
                () = progress.machine_gone() => Err(ProposeError::Stopped),
            }
        };
        if is_recalled() {
            return Err(ProposeError::NoLeader);
        }
        end
    }

    /// See [`crate::ensemble::Ensemble::recall`].
    pub(in crate::ensemble) fn recall(&self) -> u64 {
        let (commands, last) = {
            let mut inner = self.inner.lock();
            inner.recalls += 1;
            let commands = inner.outgoing.step(Event::Recalled);
            (commands, inner.outgoing.submitted())
        };
        let _nothing = self.obey(commands);
        self.recalled.notify_waiters();
        last
    }

    /// Waits until what is on its way to another server is to get no further.
    pub(in crate::ensemble) async fn disconnect(&self) {
        self.disconnect.notified().await;
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
