//! Whether this server serves: openraft does not step a leader down that is cut off, so it is
//! computed here, from the time of the last quorum and of the last append (consensus.md 4.4), and from
//! how far apply lags.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ensemble::members::lag::Lag;
use crate::ensemble::members::role::Role;
use crate::ensemble::members::succession::Succession;
use crate::ensemble::progress::Progress;
use crate::ensemble::raft::core::{Core, View};
use crate::state::ServerId;

/// When a leader was last heard of here.
#[derive(Debug, Default)]
pub(in crate::ensemble) struct Heard(Mutex<Option<Instant>>);

impl Heard {
    /// Now: an append or a heartbeat was taken.
    pub(in crate::ensemble) fn now(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// This process did not run for so long: it could not have been told.
    fn forgive(&self, pause: Duration) {
        if let Some(at) = &mut *self.0.lock() {
            *at += pause;
        }
    }

    fn is_within(&self, time: Duration) -> bool {
        self.0.lock().is_some_and(|at| at.elapsed() <= time)
    }
}

/// For how long nothing has been committed though something waits for it, whoever proposed it: the
/// disks of a majority hang, or the links to them.
#[derive(Debug, Default)]
pub(in crate::ensemble) struct Standstill(Mutex<Option<(Option<u64>, Instant)>>);

impl Standstill {
    fn look(&self, committed: Option<u64>, last_log: Option<u64>) {
        let mut since = self.0.lock();
        if last_log <= committed {
            *since = None;
        } else if since.is_none_or(|(at, _)| at != committed) {
            *since = Some((committed, Instant::now()));
        }
    }

    /// Zero if nothing waits.
    pub(in crate::ensemble) fn lasts(&self) -> Duration {
        let since = *self.0.lock();
        since.map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }
}

/// What decides.
pub(in crate::ensemble) struct Pulse {
    pub(in crate::ensemble) core: Core,
    pub(in crate::ensemble) views: watch::Receiver<View>,
    pub(in crate::ensemble) heard: Arc<Heard>,
    /// When the leader last said that it had heard this server.
    pub(in crate::ensemble) reported: Arc<Heard>,
    pub(in crate::ensemble) standstill: Arc<Standstill>,
    pub(in crate::ensemble) progress: Arc<Progress>,
    /// The longest silence of a leader that is no failure.
    pub(in crate::ensemble) silence_max: Duration,
    /// How long clients wait for a leader.
    pub(in crate::ensemble) patience: Duration,
    /// How apply keeps up. A server alone serves as it can.
    pub(in crate::ensemble) lag: Lag,
    pub(in crate::ensemble) succession: Succession,
    pub(in crate::ensemble) tasks: TaskTracker,
    /// Nobody else is listed, or was ever met.
    pub(in crate::ensemble) is_alone: bool,
    pub(in crate::ensemble) server: ServerId,
    /// The ensemble goes on without this server.
    pub(in crate::ensemble) outside: watch::Receiver<bool>,
}

/// What it tells, and is told.
#[derive(Debug)]
pub(in crate::ensemble) struct Service {
    /// Whether clients are served now.
    pub(in crate::ensemble) serving: watch::Receiver<bool>,
    /// Whether they should be here.
    pub(in crate::ensemble) admitting: watch::Receiver<bool>,
    /// When the leader last said that it had heard this server.
    pub(in crate::ensemble) reported: Arc<Heard>,
    /// For how long nothing has been committed.
    pub(in crate::ensemble) standstill: Arc<Standstill>,
    /// How long clients wait for a leader.
    pub(in crate::ensemble) patience: Duration,
}

/// How often it is asked in a time of silence.
const LOOKS: u32 = 8;

impl Pulse {
    fn serves(&self) -> bool {
        let View { role, leader } = *self.views.borrow();
        let Some((_, term)) = leader else {
            return false;
        };
        if self.lag.is_late() || *self.outside.borrow() {
            return false;
        }
        // Before it has applied an entry of this term, it does not know all that was acknowledged.
        let applied = self.progress.applied();
        if applied.is_none_or(|at| at.term < term) {
            return false;
        }
        match role {
            Role::Leader { .. } => {
                let acked = self.core.quorum_acked_for();
                // A lone voter asks nobody; those that follow without a vote do not count.
                self.votes_alone() || acked.is_some_and(|silence| silence <= self.silence_max)
            }
            Role::Follower { .. } | Role::Observer { .. } => {
                self.heard.is_within(self.silence_max) && !self.progress.is_behind()
            }
            Role::Candidate | Role::Stopped => false,
        }
    }

    fn votes_alone(&self) -> bool {
        let voters = self.core.membership().voters();
        voters.len() == 1 && voters.contains(&self.server)
    }

    /// Tells from now on, until `stopping`.
    pub(in crate::ensemble) fn spawn(
        self,
        tasks: &TaskTracker,
        stopping: CancellationToken,
    ) -> Service {
        let (serving_sender, serving) = watch::channel(false);
        let (admitting_sender, admitting) = watch::channel(false);
        let service = Service {
            serving,
            admitting,
            reported: Arc::clone(&self.reported),
            standstill: Arc::clone(&self.standstill),
            patience: self.patience,
        };
        tasks.spawn(self.run(serving_sender, admitting_sender, stopping));
        service
    }

    /// Whether the leader hears this server, or has had no time to yet: else it believes that the
    /// clients here have fallen silent.
    fn is_heard(&self, followed: Instant) -> bool {
        let View { role, .. } = *self.views.borrow();
        matches!(role, Role::Leader { .. })
            || followed.elapsed() <= self.patience
            || self.reported.is_within(self.patience)
    }

    /// Sees how far apply has come. A leader on which it falls behind hands over, before it stops serving
    /// for that reason; the term in which it has tried to.
    fn look_at_apply(&mut self, handed: Option<u64>) -> Option<u64> {
        if self.is_alone {
            return handed;
        }
        // First what is applied: what is committed meanwhile must not pass for what is late.
        let applied = self.progress.applied().map(|at| at.index);
        let was_late = self.lag.is_late();
        let figures = self.core.figures();
        self.lag.look(applied, figures.committed);
        self.standstill.look(figures.committed, figures.last_log);
        match (was_late, self.lag.is_late()) {
            (false, true) => tracing::warn!(?applied, "apply is too far behind to serve"),
            (true, false) => tracing::info!(?applied, "apply has caught up"),
            (true, true) | (false, false) => {}
        }
        match self.views.borrow().role {
            Role::Leader { term } if self.lag.is_getting_late() && handed != Some(term) => {
                tracing::warn!(
                    ?applied,
                    "apply falls behind: leadership is to be handed over"
                );
                self.tasks.spawn(self.succession.clone().hand_over());
                Some(term)
            }
            Role::Leader { .. }
            | Role::Follower { .. }
            | Role::Observer { .. }
            | Role::Candidate
            | Role::Stopped => handed,
        }
    }

    /// Tells both whenever they change, until `stopping`. `serving`: whether clients are served now.
    /// `admitting`: whether clients should be here at all: those that are wait for a new leader, or for
    /// one that hears this server, for `patience`, and only then are they sent away to look for a
    /// server that has one, while their sessions still live.
    async fn run(
        mut self,
        serving: watch::Sender<bool>,
        admitting: watch::Sender<bool>,
        stopping: CancellationToken,
    ) {
        let mut looks = interval(self.silence_max / LOOKS);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut applied = self.progress.changes();
        let mut served: Option<Instant> = None;
        let (mut leader, mut followed) = (None, Instant::now());
        let (mut handed, mut looked) = (None, Instant::now());
        loop {
            // I10: time in which this process did not run is nobody's silence.
            let pause = looked.elapsed();
            looked = Instant::now();
            if pause > self.silence_max && !self.is_alone {
                served = served.map(|at| at + pause);
                followed += pause;
                self.reported.forgive(pause);
            }
            handed = self.look_at_apply(handed);
            let now = self.views.borrow_and_update().leader;
            if now != leader {
                (leader, followed) = (now, Instant::now());
            }
            let serves = self.serves();
            if serves {
                served = Some(Instant::now());
            }
            let admits = served.is_some_and(|at| at.elapsed() <= self.patience)
                && !*self.outside.borrow_and_update()
                && (self.is_alone || self.is_heard(followed));
            // First: whoever waits until it serves sends clients here.
            if replace(&admitting, admits) && !self.is_alone && !admits {
                tracing::warn!(
                    "no leader that hears this server for too long: clients are sent away"
                );
            }
            let has_changed = replace(&serving, serves);
            if has_changed && !serves && !self.is_alone {
                // Whoever comes back serves when it is known not to have missed too much.
                self.progress.behind(true);
            }
            if has_changed && !self.is_alone {
                let View { role, leader } = *self.views.borrow();
                let leader = leader.map(|(leader, _)| leader.0);
                tracing::info!(serves, %role, leader, "whether clients are served");
            }
            tokio::select! {
                () = stopping.cancelled() => break,
                _ = looks.tick(), if !self.is_alone => {}
                // What is applied only matters while it does not serve.
                Ok(()) = applied.changed(), if !serves => {}
                Ok(()) = self.views.changed() => {}
                Ok(()) = self.outside.changed() => {}
                else => break,
            }
        }
        serving.send_replace(false);
    }
}

/// Sends a value if it is another one; whether it was.
fn replace(told: &watch::Sender<bool>, value: bool) -> bool {
    told.send_if_modified(|now| std::mem::replace(now, value) != value)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn what_is_committed_all_the_time_stands_still_for_no_time() {
        let standstill = Standstill::default();
        for index in 0..100 {
            standstill.look(Some(index), Some(index + 5));
            advance(SECOND / 4).await;
            assert!(standstill.lasts() <= SECOND / 4);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_of_which_nothing_is_committed_stands_still_until_something_is() {
        let standstill = Standstill::default();
        standstill.look(Some(3), Some(3));
        advance(SECOND).await;
        assert_eq!(standstill.lasts(), Duration::ZERO, "nothing waits");
        for last in 4..8 {
            standstill.look(Some(3), Some(last));
            advance(SECOND).await;
        }
        assert_eq!(
            standstill.lasts(),
            4 * SECOND,
            "more that waits changes nothing"
        );
        standstill.look(Some(4), Some(8));
        assert_eq!(standstill.lasts(), Duration::ZERO);
        advance(SECOND).await;
        assert_eq!(standstill.lasts(), SECOND);
        standstill.look(Some(8), Some(8));
        assert_eq!(standstill.lasts(), Duration::ZERO);
    }

    /// Nothing has been committed in this log yet.
    #[tokio::test(start_paused = true)]
    async fn a_first_entry_waits_too() {
        let standstill = Standstill::default();
        standstill.look(None, None);
        standstill.look(None, Some(0));
        advance(SECOND).await;
        assert_eq!(standstill.lasts(), SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_in_which_the_process_did_not_run_is_no_silence() {
        let heard = Heard::default();
        assert!(!heard.is_within(SECOND), "nobody has been heard");
        heard.now();
        advance(10 * SECOND).await;
        assert!(!heard.is_within(SECOND));
        heard.forgive(10 * SECOND);
        assert!(heard.is_within(SECOND));
        advance(2 * SECOND).await;
        assert!(!heard.is_within(SECOND));
    }
}
