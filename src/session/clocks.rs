//! When each session was last heard of.
//!
//! A touch is one atomic store by the connection that heard of its session. The leader's expiry
//! reads them once per tick; followers will report them (DESIGN 4.5). After a start, and after a
//! change of leader, every session begins again with its whole timeout.
//!
//! Time counts against a client only while it could be heard (STYLE I10). So the clock of sessions
//! stands still while the disk stalls, which keeps clients from being answered, and while this process
//! did not run; and a session whose connection is not read from, for reasons of this server's, is
//! taken for heard of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::RwLock;
use tokio::time::Instant;

use crate::state::SessionId;

/// The clock of one session.
#[derive(Debug)]
pub struct SessionClock {
    heard_ms: AtomicU64,
    timeout_ms: AtomicI32,
    closing: AtomicBool,
    /// So many of its connections are not read from: the newest, and one that is about to end.
    deaf: AtomicUsize,
}

impl SessionClock {
    /// The timeout that counts now, milliseconds: what the last handshake granted.
    pub fn timeout_ms(&self) -> i32 {
        self.timeout_ms.load(Ordering::Relaxed)
    }

    /// True once the expiry has been proposed: touches and renewals fail from here.
    pub fn closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Milliseconds on [`SessionClocks::now_ms`]'s scale when the session was last heard of.
    pub fn heard_ms(&self) -> u64 {
        self.heard_ms.load(Ordering::Relaxed)
    }
}

/// The clocks of all sessions of the ensemble.
#[derive(Debug)]
pub struct SessionClocks {
    start: Instant,
    tick_ms: u64,
    /// Milliseconds since `start` that do not count.
    frozen_ms: AtomicU64,
    /// Milliseconds since `start`, all counted, at the last sweep.
    swept_ms: AtomicU64,
    /// The disk stalled at the last sweep.
    stalled: AtomicBool,
    sessions: RwLock<BTreeMap<SessionId, Arc<SessionClock>>>,
}

impl SessionClocks {
    /// No sessions yet; `tick_ms` is the width of an expiry bucket.
    pub fn new(tick_ms: u64) -> Self {
        Self {
            start: Instant::now(),
            tick_ms: tick_ms.max(1),
            frozen_ms: AtomicU64::new(0),
            swept_ms: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
            sessions: RwLock::new(BTreeMap::new()),
        }
    }

    /// Milliseconds since this was made in which clients could be heard.
    pub fn now_ms(&self) -> u64 {
        self.ms(Instant::now())
    }

    fn ms(&self, at: Instant) -> u64 {
        self.elapsed_ms(at)
            .saturating_sub(self.frozen_ms.load(Ordering::Relaxed))
    }

    fn elapsed_ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }

    /// Starts a session's clock with its whole timeout, or starts it again.
    pub fn start(&self, session: SessionId, timeout_ms: i32) {
        let now_ms = self.now_ms();
        self.sessions.write().insert(
            session,
            Arc::new(SessionClock {
                heard_ms: AtomicU64::new(now_ms),
                timeout_ms: AtomicI32::new(timeout_ms),
                closing: AtomicBool::new(false),
                deaf: AtomicUsize::new(0),
            }),
        );
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
    pub fn touch(&self, touch: &SessionClock) {
        self.touch_at(touch, Instant::now());
    }

    /// The same, by a clock that has been read already.
    pub fn touch_at(&self, touch: &SessionClock, at: Instant) {
        touch.heard_ms.store(self.ms(at), Ordering::Relaxed);
    }

    /// A connection of the session is not read from any more.
    pub fn begin_deaf(&self, touch: &SessionClock) {
        touch.deaf.fetch_add(1, Ordering::Relaxed);
    }

    /// It is read from again, or has ended. As often as [`Self::begin_deaf`].
    pub fn end_deaf(&self, touch: &SessionClock) {
        self.touch(touch);
        touch.deaf.fetch_sub(1, Ordering::Relaxed);
    }

    /// A handshake granted another timeout, which counts from now on.
    ///
    /// zk: ZooKeeperServer.reopenSession, SessionTrackerImpl.touchSession: the timeout of the
    /// connection is what touches use; the stored one stays (protocol.md 2.5).
    pub fn renew(&self, touch: &SessionClock, timeout_ms: i32) {
        touch.timeout_ms.store(timeout_ms, Ordering::Relaxed);
        self.touch(touch);
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
    /// about once per tick. `stalled`: since the last call clients may have waited for this server's
    /// disk; then none expires, and the time in between does not count. Nor does it if the last call
    /// was long ago: this process did not run.
    ///
    /// zk-differs: ZooKeeper expires sessions that it did not hear of while its process was stopped.
    pub fn expire(&self, stalled: bool) -> Vec<SessionId> {
        self.sweep(self.elapsed_ms(Instant::now()), stalled)
    }

    fn sweep(&self, elapsed_ms: u64, stalled: bool) -> Vec<SessionId> {
        let swept_ms = self.swept_ms.swap(elapsed_ms, Ordering::Relaxed);
        let gap_ms = elapsed_ms.saturating_sub(swept_ms);
        // The tick in which a stall ends does not count either: clients come back in it.
        let was_stalled = self.stalled.swap(stalled, Ordering::Relaxed);
        if stalled || was_stalled {
            self.frozen_ms.fetch_add(gap_ms, Ordering::Relaxed);
            return Vec::new();
        }
        // A tick may be somewhat late. What is later than that was no time in which to be heard: what
        // clients have sent meanwhile is still to be read.
        if gap_ms > self.tick_ms + self.tick_ms / 2 {
            let lost_ms = gap_ms - self.tick_ms;
            self.frozen_ms.fetch_add(lost_ms, Ordering::Relaxed);
        }
        let frozen_ms = self.frozen_ms.load(Ordering::Relaxed);
        self.expire_by(elapsed_ms.saturating_sub(frozen_ms))
    }

    fn expire_by(&self, now_ms: u64) -> Vec<SessionId> {
        let sessions = self.sessions.read();
        let mut due = Vec::new();
        for (id, touch) in sessions.iter() {
            // Whoever was heard before the clock was put back cannot be ahead of it.
            let is_ahead = touch.heard_ms() > now_ms;
            if is_ahead || touch.deaf.load(Ordering::Relaxed) > 0 {
                touch.heard_ms.store(now_ms, Ordering::Relaxed);
            } else if !touch.closing() && self.deadline_ms(touch) <= now_ms {
                touch.closing.store(true, Ordering::Release);
                due.push(*id);
            }
        }
        due
    }

    /// Begins all sessions again with their whole timeout: a new leader takes over.
    pub fn restart_all(&self) {
        let now_ms = self.now_ms();
        for touch in self.sessions.read().values() {
            touch.heard_ms.store(now_ms, Ordering::Relaxed);
            touch.closing.store(false, Ordering::Release);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A session that was heard of at `heard_ms` and has this timeout.
    fn session(clocks: &SessionClocks, heard_ms: u64, timeout_ms: i32) -> SessionId {
        let id = SessionId(7);
        clocks.start(id, timeout_ms);
        let touch = clocks.of(id).expect("started");
        touch.heard_ms.store(heard_ms, Ordering::Relaxed);
        id
    }

    #[test]
    fn a_session_lives_between_its_timeout_and_a_tick_more() {
        let clocks = SessionClocks::new(2000);
        let id = session(&clocks, 100, 5000);
        assert_eq!(clocks.expire_by(5999), Vec::new());
        assert_eq!(clocks.expire_by(6000), vec![id]);
        assert_eq!(clocks.expire_by(6000), Vec::new(), "expired once only");
    }

    #[test]
    fn a_deadline_on_a_tick_is_rounded_up_to_the_next() {
        let clocks = SessionClocks::new(1000);
        let id = session(&clocks, 1000, 5000);
        assert_eq!(clocks.expire_by(6999), Vec::new());
        assert_eq!(clocks.expire_by(7000), vec![id]);
    }

    #[test]
    fn the_timeout_of_the_last_handshake_counts() {
        let clocks = SessionClocks::new(1000);
        let id = session(&clocks, 0, 5000);
        let touch = clocks.of(id).expect("started");
        clocks.renew(&touch, 10_000);
        touch.heard_ms.store(0, Ordering::Relaxed);
        assert_eq!(clocks.expire_by(10_999), Vec::new());
        assert_eq!(clocks.expire_by(11_000), vec![id]);
    }

    #[test]
    fn a_new_leader_gives_every_session_its_whole_timeout() {
        let clocks = SessionClocks::new(1000);
        let id = session(&clocks, 0, 5000);
        assert_eq!(clocks.expire_by(6000), vec![id]);
        clocks.restart_all();
        let touch = clocks.of(id).expect("still there");
        assert!(!touch.closing());
        assert!(clocks.deadline_ms(&touch) >= 6000);
    }

    /// Sweeps at every tick from `from_ms` on until `until_ms`; who expired, and when.
    fn sweeps(clocks: &SessionClocks, from_ms: u64, until_ms: u64, stalled: bool) -> Vec<u64> {
        let ticks = (from_ms..until_ms).step_by(1000);
        let expired = ticks.filter(|at| !clocks.sweep(*at, stalled).is_empty());
        expired.collect()
    }

    /// I10: time counts only while clients could be heard.
    #[test]
    fn no_session_expires_while_the_disk_stalls_nor_in_the_tick_after_it() {
        let clocks = SessionClocks::new(1000);
        session(&clocks, 0, 4000);
        assert_eq!(sweeps(&clocks, 1000, 3000, false), []);
        assert_eq!(sweeps(&clocks, 3000, 60_000, true), []);
        // Two seconds were over before the stall; the tick in which it ended does not count.
        assert_eq!(sweeps(&clocks, 60_000, 70_000, false), [63_000]);
    }

    /// I10.
    #[test]
    fn time_in_which_the_process_did_not_run_does_not_count() {
        let clocks = SessionClocks::new(1000);
        session(&clocks, 0, 4000);
        assert_eq!(sweeps(&clocks, 1000, 3000, false), []);
        assert_eq!(clocks.sweep(100_000, false), []);
        assert_eq!(sweeps(&clocks, 101_000, 110_000, false), [102_000]);
    }

    /// I10.
    #[test]
    fn a_session_whose_connection_is_not_read_from_is_taken_for_heard_of() {
        let clocks = SessionClocks::new(1000);
        let id = session(&clocks, 0, 4000);
        let touch = clocks.of(id).expect("started");
        clocks.begin_deaf(&touch);
        touch.heard_ms.store(0, Ordering::Relaxed);
        assert_eq!(sweeps(&clocks, 1000, 60_000, false), []);
        touch.deaf.store(0, Ordering::Relaxed);
        assert_eq!(sweeps(&clocks, 60_000, 70_000, false), [64_000]);
    }

    /// I10: the sweep runs before what came during a pause has been read.
    #[test]
    fn a_pause_shorter_than_the_timeout_costs_a_tick() {
        for pause_ms in [1600, 2500, 2900, 3100] {
            let clocks = SessionClocks::new(1000);
            session(&clocks, 2000, 2000);
            assert_eq!(sweeps(&clocks, 1000, 3000, false), []);
            let after_ms = 2000 + pause_ms;
            assert_eq!(clocks.sweep(after_ms, false), [], "{pause_ms}");
            let until_ms = after_ms + 10_000;
            assert_eq!(sweeps(&clocks, after_ms + 1000, until_ms, false).len(), 1);
        }
    }

    /// Touched by the clock as it was before the pause was taken out of it.
    #[test]
    fn a_touch_right_after_a_pause_lasts_no_longer_than_others() {
        let clocks = SessionClocks::new(1000);
        let id = session(&clocks, 0, 4000);
        let touch = clocks.of(id).expect("started");
        assert_eq!(clocks.sweep(1000, false), []);
        touch.heard_ms.store(100_000, Ordering::Relaxed);
        assert_eq!(clocks.sweep(100_000, false), []);
        assert_eq!(sweeps(&clocks, 101_000, 120_000, false), [105_000]);
    }
}
