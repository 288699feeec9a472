//! How far this server has come, and whether it can go on: what the parts of the room tell
//! each other.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::state::{Lineups, LogPosition};

use super::error::Failure;

/// Bytes that the log has taken and the disk has not: with several voters they do not hold up what is
/// committed, and would grow without a bound where this disk is the slowest.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    bytes: AtomicUsize,
    shrunk: Notify,
}

impl Backlog {
    /// The log takes more.
    pub(super) fn taken(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// The disk has them.
    pub(super) fn durable(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.shrunk.notify_waiters();
    }

    /// Waits until no more than `bytes_max` are on their way to the disk.
    pub(super) async fn room(&self, bytes_max: usize) {
        loop {
            let shrunk = self.shrunk.notified();
            tokio::pin!(shrunk);
            shrunk.as_mut().enable();
            if self.bytes.load(Ordering::Acquire) <= bytes_max {
                return;
            }
            shrunk.await;
        }
    }
}

/// Applied position and first failure, to be waited for.
pub(super) struct Progress {
    applied: watch::Sender<Option<LogPosition>>,
    built: watch::Sender<Option<LogPosition>>,
    lineups: watch::Sender<Lineups>,
    failure: watch::Sender<Option<Arc<Failure>>>,
    stopping: AtomicBool,
    machine_gone: CancellationToken,
    backlog: Backlog,
    /// Since when this server leads.
    leads_since: Mutex<Option<Instant>>,
    /// What is applied here may be long past: it is not known yet whether a snapshot is needed.
    behind: AtomicBool,
    /// It is long past as long as this has not been applied: a leader has offered it as a snapshot.
    wanted: Mutex<Option<LogPosition>>,
    /// Snapshots that are being sent.
    sending: watch::Sender<usize>,
}

/// A snapshot is being sent, as long as this lives.
#[derive(Debug)]
pub(super) struct Underway(Arc<Progress>);

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.sending.send_modify(|count| *count -= 1);
    }
}

impl Progress {
    pub(super) fn new(applied: Option<LogPosition>) -> Self {
        Self {
            applied: watch::Sender::new(applied),
            built: watch::Sender::new(None),
            lineups: watch::Sender::default(),
            failure: watch::Sender::new(None),
            stopping: AtomicBool::new(false),
            machine_gone: CancellationToken::new(),
            backlog: Backlog::default(),
            leads_since: Mutex::new(None),
            behind: AtomicBool::new(true),
            wanted: Mutex::default(),
            sending: watch::Sender::new(0),
        }
    }

    /// Whether this server leads from now on.
    pub(super) fn lead(&self, leads: bool) {
        *self.leads_since.lock() = leads.then(Instant::now);
    }

    /// For how long it has led.
    pub(super) fn leads_for(&self) -> Option<Duration> {
        self.leads_since.lock().map(|since| since.elapsed())
    }

    /// Whether a follower may be so far behind that it needs a snapshot; its leader's entries or
    /// heartbeats tell that it is not.
    pub(super) fn behind(&self, is_behind: bool) {
        self.behind.store(is_behind, Ordering::Release);
    }

    /// A leader offers a snapshot that ends with `at`.
    pub(super) fn want(&self, at: LogPosition) {
        let mut wanted = self.wanted.lock();
        *wanted = wanted.max(Some(at));
    }

    /// Whether what is applied here is long past, as far as is known.
    pub(super) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Acquire) || self.applied() < *self.wanted.lock()
    }

    /// A snapshot begins to be sent.
    pub(super) fn send(self: &Arc<Self>) -> Underway {
        self.sending.send_modify(|count| *count += 1);
        Underway(Arc::clone(self))
    }

    /// How many snapshots are being sent.
    pub(super) fn sends(&self) -> usize {
        *self.sending.borrow()
    }

    /// Waits until none is.
    pub(super) async fn sent(&self) {
        // The sender lives in `self`.
        drop(self.sending.subscribe().wait_for(|count| *count == 0).await);
    }

    /// What the log has taken and the disk has not.
    pub(super) fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// An entry has been applied.
    pub(super) fn advance(&self, position: LogPosition) {
        self.applied.send_replace(Some(position));
    }

    /// The last entry applied.
    pub(super) fn applied(&self) -> Option<LogPosition> {
        *self.applied.borrow()
    }

    /// Changes whenever something is applied.
    pub(super) fn changes(&self) -> watch::Receiver<Option<LogPosition>> {
        self.applied.subscribe()
    }

    /// Waits until the applied position is as wanted. Endless by itself, if nothing is applied any
    /// more: who waits must also see `stopping`, a failure, or the machine's end.
    pub(super) async fn until(&self, wanted: impl FnMut(&Option<LogPosition>) -> bool) {
        // The sender lives in `self`, so the wait cannot end for lack of it.
        drop(self.applied.subscribe().wait_for(wanted).await);
    }

    /// These are the members, and those that are wanted, as of what has been applied.
    pub(super) fn line_up(&self, lineups: &Lineups) {
        self.lineups.send_if_modified(|known| {
            let is_new = known != lineups;
            if is_new {
                known.clone_from(lineups);
            }
            is_new
        });
    }

    /// The same, to be watched.
    pub(super) fn lineups(&self) -> watch::Receiver<Lineups> {
        self.lineups.subscribe()
    }

    /// An attempt at a checkpoint has ended; up to which entry the newest one now reaches.
    pub(super) fn built(&self, upto: Option<LogPosition>) {
        self.built.send_replace(upto);
    }

    /// Changes with each attempt from now on, also if it has brought nothing new.
    pub(super) fn builds(&self) -> watch::Receiver<Option<LogPosition>> {
        self.built.subscribe()
    }

    /// Notes the first failure and makes of it what openraft wants to be told.
    pub(super) fn fail(&self, failure: Failure) -> io::Error {
        let failure = Arc::new(failure);
        self.failure.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                *first = Some(Arc::clone(&failure));
            }
            is_first
        });
        io::Error::other(failure)
    }

    /// The first failure, if there was one.
    pub(super) fn failure(&self) -> Option<Arc<Failure>> {
        self.failure.borrow().clone()
    }

    /// Resolves with the first failure.
    pub(super) async fn failed(&self) -> Arc<Failure> {
        let mut failure = self.failure.subscribe();
        loop {
            if let Some(failure) = failure.borrow_and_update().clone() {
                return failure;
            }
            if failure.changed().await.is_err() {
                // The sender lives in `self`: never.
                std::future::pending::<()>().await;
            }
        }
    }

    /// From now on the end of the core is no failure.
    pub(super) fn stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether the end of the core is expected.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// The machine has been dropped: nothing is applied any more.
    pub(super) fn machine_dropped(&self) {
        self.machine_gone.cancel();
    }

    /// Waits for that.
    pub(super) async fn machine_gone(&self) {
        self.machine_gone.cancelled().await;
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("applied", &self.applied())
            .field("failure", &self.failure())
            .finish_non_exhaustive()
    }
}
