//! When each session was last heard of.
//!
//! A touch is one atomic store by the connection that heard of its session. The leader's expiry
//! reads them once per tick. The other servers report to it which sessions they have heard of
//! (`touches.rs`, DESIGN 4.5):
//!
//! ```text
//!   another server                            the leader
//!   touch ─▶ Touches                          touch ─▶ SessionClock ◀─ expire, once per tick
//!            take_touched, twice per tick ──▶ touched_elsewhere ──▶ ┘
//! ```
//!
//! After a start, after a change of leader, and after every time in which the leader could not hear
//! of anybody, every session begins again with its whole timeout; so do those of one server after a
//! time in which it did not report.
//!
//! Time counts against a client only while it could be heard (STYLE I10). So the clock of sessions
//! stands still while this process did not run, and while its leader reaches no quorum; and a session
//! whose connection is not read from, for reasons of this server's, is taken for heard of. A disk that
//! stalls keeps nobody from being heard: connections are read from meanwhile, and who asks for its
//! session again is heard of when it asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use super::clock::SessionClock;
use super::touches::Touches;
use crate::ensemble::Touched;
use crate::state::{ServerId, SessionId};

/// Whether clients can be heard, as it has been since the last sweep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hearing {
    /// Those that have something to say are heard, also while the disk stalls.
    Clear,
    /// This server leads, and reaches no quorum: clients find no server that serves them.
    CutOff,
}

/// The clocks of all sessions of the ensemble.
#[derive(Debug)]
pub struct SessionClocks {
    start: Instant,
    tick_ms: u64,
    /// Milliseconds since `start` that do not count.
    frozen_ms: AtomicU64,
    /// Milliseconds of the lapse under way in which this leader reached no quorum.
    cut_off_ms: AtomicU64,
    /// Milliseconds since `start`, all counted, at the last sweep.
    swept_ms: AtomicU64,
    /// What the last sweep was told.
    heard: Mutex<Hearing>,
    touches: Touches,
    /// When each other server reported last, milliseconds since `start`, all counted.
    reported_ms: Mutex<BTreeMap<ServerId, u64>>,
    sessions: RwLock<BTreeMap<SessionId, Arc<SessionClock>>>,
}

impl SessionClocks {
    /// No sessions yet; `tick_ms` is the width of an expiry bucket.
    pub fn new(tick_ms: u64) -> Self {
        Self {
            start: Instant::now(),
            tick_ms: tick_ms.max(1),
            frozen_ms: AtomicU64::new(0),
            cut_off_ms: AtomicU64::new(0),
            swept_ms: AtomicU64::new(0),
            heard: Mutex::new(Hearing::Clear),
            touches: Touches::default(),
            reported_ms: Mutex::default(),
            sessions: RwLock::new(BTreeMap::new()),
        }
    }

    /// Milliseconds since this was made in which clients could be heard.
    pub fn now_ms(&self) -> u64 {
        self.ms(Instant::now())
    }

    fn ms(&self, at: Instant) -> u64 {
        self.counted_ms(self.elapsed_ms(at))
    }

    /// The part of it in which clients could be heard.
    fn counted_ms(&self, elapsed_ms: u64) -> u64 {
        elapsed_ms.saturating_sub(self.frozen_ms.load(Ordering::Relaxed))
    }

    fn elapsed_ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }

    /// A session is attached to a connection of `server`: its clock begins, or begins again, with the
    /// whole of this timeout.
    ///
    /// zk: ZooKeeperServer.reopenSession, SessionTrackerImpl.touchSession. zk-differs: what was decided
    /// before is void: there a session that is about to be closed is not renewed.
    pub fn attach(&self, session: SessionId, timeout_ms: i32, server: ServerId) {
        if let Some(clock) = self.of(session) {
            clock.server.store(server.0, Ordering::Relaxed);
            clock.timeout_ms.store(timeout_ms, Ordering::Relaxed);
            self.begin_again(&clock, self.now_ms());
            return;
        }
        let clock = SessionClock {
            session,
            server: AtomicU64::new(server.0),
            heard_ms: AtomicU64::new(self.now_ms()),
            timeout_ms: AtomicI32::new(timeout_ms),
            closing: AtomicBool::new(false),
            deaf: AtomicUsize::new(0),
            listed: AtomicBool::new(false),
        };
        self.sessions.write().insert(session, Arc::new(clock));
    }

    fn begin_again(&self, clock: &SessionClock, now_ms: u64) {
        clock.heard_ms.store(now_ms, Ordering::Relaxed);
        clock.closing.store(false, Ordering::Release);
    }

    /// The state has been replaced by another, in which there are these sessions, each with its timeout
    /// in milliseconds and the server that it is attached to: all begin again.
    pub fn replace(&self, sessions: impl IntoIterator<Item = (SessionId, i32, ServerId)>) {
        let sessions: Vec<_> = sessions.into_iter().collect();
        let live: BTreeSet<SessionId> = sessions.iter().map(|(session, ..)| *session).collect();
        self.sessions.write().retain(|id, _| live.contains(id));
        for (session, timeout_ms, server) in sessions {
            self.attach(session, timeout_ms, server);
        }
    }

    /// Forgets a session that is gone.
    pub fn forget(&self, session: SessionId) {
        self.sessions.write().remove(&session);
    }

    /// The clock of a session; `None` if there is no such session.
    pub fn of(&self, session: SessionId) -> Option<Arc<SessionClock>> {
        self.sessions.read().get(&session).cloned()
    }

    /// The session was heard of.
    pub fn touch(&self, touch: &Arc<SessionClock>) {
        self.touch_at(touch, Instant::now());
    }

    /// The same, by a clock that has been read already.
    pub fn touch_at(&self, touch: &Arc<SessionClock>, at: Instant) {
        touch.heard_ms.store(self.ms(at), Ordering::Relaxed);
        self.touches.note(touch);
    }

    /// A connection of the session is not read from any more.
    pub fn begin_deaf(&self, touch: &Arc<SessionClock>) {
        touch.deaf.fetch_add(1, Ordering::Relaxed);
        self.touches.note_deaf(touch);
    }

    /// It is read from again, or has ended. As often as [`Self::begin_deaf`].
    pub fn end_deaf(&self, touch: &Arc<SessionClock>) {
        self.touch(touch);
        touch.deaf.fetch_sub(1, Ordering::Relaxed);
    }

    /// When the session expires unless it is heard of: the end of its bucket.
    ///
    /// zk: ExpiryQueue.roundToNextInterval: `(time / tick + 1) * tick`, always rounded up.
    pub fn deadline_ms(&self, touch: &SessionClock) -> u64 {
        let timeout_ms = u64::try_from(touch.timeout_ms()).unwrap_or(0);
        let due = touch.heard_ms().saturating_add(timeout_ms);
        (due / self.tick_ms)
            .saturating_add(1)
            .saturating_mul(self.tick_ms)
    }

    /// Marks every session whose time is over as closing and returns them, in order. To be called
    /// about once per tick, by the leader. While clients could not be heard none expires, and the time
    /// since the last call does not count. Nor does it if that call was long ago: this process did not run.
    ///
    /// zk-differs: ZooKeeper expires sessions that it did not hear of while its process was stopped.
    pub fn expire(&self, hearing: Hearing) -> Vec<SessionId> {
        self.sweep(self.elapsed_ms(Instant::now()), hearing)
    }

    fn sweep(&self, elapsed_ms: u64, hearing: Hearing) -> Vec<SessionId> {
        let swept_ms = self.swept_ms.swap(elapsed_ms, Ordering::Relaxed);
        let gap_ms = elapsed_ms.saturating_sub(swept_ms);
        let before = std::mem::replace(&mut *self.heard.lock(), hearing);
        if hearing == Hearing::CutOff {
            self.frozen_ms.fetch_add(gap_ms, Ordering::Relaxed);
            self.cut_off_ms.fetch_add(gap_ms, Ordering::Relaxed);
            return Vec::new();
        }
        if before == Hearing::CutOff {
            // The tick in which it ends does not count either: clients come back in it.
            self.frozen_ms.fetch_add(gap_ms, Ordering::Relaxed);
            let cut_off_ms = self.cut_off_ms.swap(0, Ordering::Relaxed);
            // After so long they have been sent away, and each must find a server and its way back.
            // A shorter lapse gives nobody more than the time that it took.
            if cut_off_ms > self.tick_ms + self.tick_ms / 2 {
                self.restart_all_at(self.counted_ms(elapsed_ms));
            }
            return Vec::new();
        }
        // A tick may be somewhat late. What is later than that was no time in which to be heard: what
        // clients have sent meanwhile is still to be read.
        if gap_ms > self.tick_ms + self.tick_ms / 2 {
            let lost_ms = gap_ms - self.tick_ms;
            self.frozen_ms.fetch_add(lost_ms, Ordering::Relaxed);
        }
        self.expire_by(self.counted_ms(elapsed_ms))
    }

    fn expire_by(&self, now_ms: u64) -> Vec<SessionId> {
        let sessions = self.sessions.read();
        let mut due = Vec::new();
        for (id, touch) in sessions.iter() {
            // Whoever was heard before the clock was put back cannot be ahead of it.
            let is_ahead = touch.heard_ms() > now_ms;
            if is_ahead || touch.is_deaf() {
                touch.heard_ms.store(now_ms, Ordering::Relaxed);
            } else if !touch.closing() && self.deadline_ms(touch) <= now_ms {
                touch.closing.store(true, Ordering::Release);
                due.push(*id);
            }
        }
        due
    }

    /// Begins all sessions again with their whole timeout: a new leader takes over, or one that heard
    /// of nobody for a while.
    pub fn restart_all(&self) {
        self.restart_all_at(self.now_ms());
    }

    fn restart_all_at(&self, now_ms: u64) {
        self.reported_ms.lock().clear();
        for clock in self.sessions.read().values() {
            self.begin_again(clock, now_ms);
        }
    }

    /// Begins all sessions that are attached to `server` again with their whole timeout: it could not
    /// say of whom it had heard. Those whose end has been proposed are past that.
    pub fn restart_owned_by(&self, server: ServerId) {
        self.restart_owned_by_at(server, self.now_ms());
    }

    fn restart_owned_by_at(&self, server: ServerId, now_ms: u64) {
        for clock in self.sessions.read().values() {
            if clock.server.load(Ordering::Relaxed) == server.0 {
                clock.heard_ms.store(now_ms, Ordering::Relaxed);
            }
        }
    }

    /// This server leads, and nobody is to be told of whom it hears; or it does not, and from now on
    /// [`Self::take_touched`] tells.
    pub fn lead(&self, leads: bool) {
        self.touches.collect(!leads);
        if leads {
            self.restart_all();
            return;
        }
        // Nobody has listed those that are not read from while this server led: the next leader must
        // hear of them all the same.
        for clock in self
            .sessions
            .read()
            .values()
            .filter(|clock| clock.is_deaf())
        {
            self.touches.note(clock);
        }
    }

    /// The sessions that this server has heard of since it was asked last, with their timeouts in
    /// milliseconds, for the leader. To be asked twice per tick by a server that does not lead.
    ///
    /// zk: Learner.ping, LearnerSessionTracker.snapshot.
    pub fn take_touched(&self) -> Vec<(SessionId, i32)> {
        let touched = self.touches.take();
        let told = touched
            .iter()
            .map(|clock| (clock.session, clock.timeout_ms()));
        told.collect()
    }

    /// The leader could not be told of these: they are taken again the next time.
    pub fn give_back(&self, touched: &[(SessionId, i32)]) {
        let sessions = self.sessions.read();
        for (session, _) in touched {
            if let Some(clock) = sessions.get(session) {
                self.touches.note(clock);
            }
        }
    }

    /// `server` has heard of these sessions. It is to say so twice per tick, also of none: if it has
    /// not for more than a tick and a half, all that are attached to it begin again with their whole
    /// timeout.
    ///
    /// zk: LearnerHandler.run, PING; LeaderZooKeeperServer.touch.
    pub fn touched_elsewhere(&self, server: ServerId, touched: &[(SessionId, i32)]) {
        self.reported(self.elapsed_ms(Instant::now()), server, touched);
    }

    fn reported(&self, elapsed_ms: u64, server: ServerId, touched: &[(SessionId, i32)]) {
        let now_ms = self.counted_ms(elapsed_ms);
        let before_ms = self.reported_ms.lock().insert(server, elapsed_ms);
        let gap_ms = before_ms.map(|before_ms| elapsed_ms.saturating_sub(before_ms));
        if gap_ms.is_none_or(|gap_ms| gap_ms > self.tick_ms + self.tick_ms / 2) {
            self.restart_owned_by_at(server, now_ms);
        }
        let sessions = self.sessions.read();
        for (session, timeout_ms) in touched {
            // One that is not known yet begins with its whole timeout when it is.
            let Some(clock) = sessions.get(session) else {
                continue;
            };
            clock.heard_ms.store(now_ms, Ordering::Relaxed);
            // Whoever had it before knows less than the log.
            if clock.server.load(Ordering::Relaxed) == server.0 {
                clock.timeout_ms.store(*timeout_ms, Ordering::Relaxed);
            }
        }
    }

    /// Deadline of every session, for the `dump` command: bucket end to sessions, both in order.
    pub fn buckets(&self) -> BTreeMap<u64, Vec<SessionId>> {
        let mut buckets: BTreeMap<u64, Vec<SessionId>> = BTreeMap::new();
        for (id, touch) in self.sessions.read().iter() {
            buckets
                .entry(self.deadline_ms(touch))
                .or_default()
                .push(*id);
        }
        buckets
    }

    /// Number of sessions.
    pub fn count(&self) -> usize {
        self.sessions.read().len()
    }
}

impl Touched for SessionClocks {
    fn heard(&self, server: ServerId, sessions: &[(SessionId, i32)]) {
        self.touched_elsewhere(server, sessions);
    }
}

#[cfg(test)]
mod tests;
