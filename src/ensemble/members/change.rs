//! Changing who is in, by the server that leads.
//!
//! ```text
//!   drive(wanted) ─▶ who is not in yet is fed ─▶ those that are to vote catch up ─▶ the voters are
//!                    changed, by way of both majorities ─▶ who is not wanted is fed no longer
//! ```
//!
//! Each step looks at what the log says now, so whoever leads next may take it up where it was left.
//! Writes go on meanwhile. Nobody votes before it has caught up and may (`standing.rs`). A leader that
//! is to go hands over first, and the next one goes on.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::ensemble::members::succession::Succession;
use crate::ensemble::peer::{Ask, Lineup, Membership, Peers, Told};
use crate::ensemble::raft::core::{Core, View};
use crate::ensemble::raft::membership::{NotTaken, Step};
use crate::state::ServerId;

/// How long a step may take to be committed.
const STEP_TIME_MAX: Duration = Duration::from_secs(10);
/// Between two looks.
const AGAIN: Duration = Duration::from_millis(50);
/// Entries that may be on their way to a server that has caught up.
const SYNCED_LAG_MAX: u64 = 64;

/// The members are not as they were wanted. What was done of it stays: to take it back, drive to what
/// was before; to go on, drive again.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChangeError {
    /// Another server leads, or nobody: whoever leads takes it up.
    #[error("this server does not lead")]
    NotLeader,
    /// Another change is being driven here.
    #[error("another change of the members is under way")]
    InProgress,
    /// Nobody would vote.
    #[error("no voters are left")]
    NoVoters,
    /// The voters are as they were, for these would have had to catch up first.
    #[error("servers {servers:?} have not caught up within {within:?}")]
    Behind {
        /// Who was waited for.
        servers: Vec<u64>,
        /// How long.
        within: Duration,
    },
    /// A step was not committed in time; it may still be.
    #[error("a majority has not agreed within {within:?}")]
    NotCommitted {
        /// How long it was waited for.
        within: Duration,
    },
    /// This server stops.
    #[error("the server is stopping")]
    Stopped,
}

/// What takes part; shared by all who may want a change.
#[derive(Debug)]
pub(in crate::ensemble) struct Change {
    pub(in crate::ensemble) server: ServerId,
    pub(in crate::ensemble) core: Core,
    pub(in crate::ensemble) peers: Arc<Peers>,
    pub(in crate::ensemble) views: watch::Receiver<View>,
    /// How long those that are to vote may take to catch up.
    pub(in crate::ensemble) catch_up: Duration,
    pub(in crate::ensemble) turn: Mutex<()>,
}

impl Change {
    /// Makes the members those that are wanted, if this server leads; returns when that is committed. May
    /// be called again, and by the next leader, whatever came of it before; may be dropped.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub(in crate::ensemble) async fn drive(&self, wanted: &Lineup) -> Result<(), ChangeError> {
        if wanted.voters.is_empty() {
            return Err(ChangeError::NoVoters);
        }
        let _turn = self.turn.try_lock().map_err(|_| ChangeError::InProgress)?;
        self.must_lead()?;
        if self.is_done(wanted) {
            return Ok(());
        }
        tracing::info!(from = %self.core.lineup(), to = %wanted, "the members are to change");
        self.feed(wanted).await?;
        self.catch_up(wanted).await?;
        self.change_voters(wanted).await?;
        self.let_go(wanted).await?;
        tracing::info!(members = %self.core.lineup(), "the members have changed");
        Ok(())
    }

    fn is_done(&self, wanted: &Lineup) -> bool {
        let (now, committed) = (self.core.membership(), self.core.committed_membership());
        now == committed && !now.is_joint() && now.lineup() == *wanted
    }

    fn leads(&self) -> bool {
        let leader = self.views.borrow().leader;
        leader.is_some_and(|(leader, _)| leader == self.server)
    }

    fn must_lead(&self) -> Result<(), ChangeError> {
        self.leads().then_some(()).ok_or(ChangeError::NotLeader)
    }

    /// Everybody who is wanted gets the log from now on.
    async fn feed(&self, wanted: &Lineup) -> Result<(), ChangeError> {
        for server in wanted.servers() {
            let is_in = |now: &Membership| now.lineup().has(server);
            self.step_until(is_in, |_| Some(Step::Feed(server))).await?;
        }
        Ok(())
    }

    /// Waits until those that are to vote have what the others have.
    async fn catch_up(&self, wanted: &Lineup) -> Result<(), ChangeError> {
        let begun = Instant::now();
        let mut said = BTreeSet::new();
        loop {
            self.must_lead()?;
            let behind = self.behind(wanted).await;
            if behind.is_empty() {
                return Ok(());
            }
            if behind != said {
                let servers: Vec<u64> = behind.iter().map(|server| server.0).collect();
                tracing::info!(
                    ?servers,
                    "waiting for servers to catch up before they may vote"
                );
                said.clone_from(&behind);
            }
            if begun.elapsed() > self.catch_up {
                return Err(ChangeError::Behind {
                    servers: behind.iter().map(|server| server.0).collect(),
                    within: self.catch_up,
                });
            }
            sleep(AGAIN).await;
        }
    }

    /// Those that are to vote and could not: newcomers all must be able to, and of those that vote already
    /// so many that the others are a quorum. Behind the first half of the change there is no way back.
    async fn behind(&self, wanted: &Lineup) -> BTreeSet<ServerId> {
        let membership = self.core.membership();
        let now = membership.voters();
        let mut behind = BTreeSet::new();
        for server in wanted.voters.difference(&now).copied() {
            if !self.could_vote(server).await {
                behind.insert(server);
            }
        }
        if membership.is_joint() || now == wanted.voters {
            return behind;
        }
        let mut away = BTreeSet::new();
        for server in wanted.voters.intersection(&now).copied() {
            if server != self.server && !self.could_vote(server).await {
                away.insert(server);
            }
        }
        if away.len() + behind.len() > (wanted.voters.len() - 1) / 2 {
            behind.extend(away);
        }
        behind
    }

    async fn could_vote(&self, server: ServerId) -> bool {
        let last = self.core.last_log().map_or(0, |at| at.index);
        let matched = self.core.matched();
        let found = matched.iter().find(|(id, _)| *id == server);
        let is_near = found.is_some_and(|(_, at)| at.is_some_and(|at| at + SYNCED_LAG_MAX >= last));
        is_near && self.peers.is_up(server) && self.may_vote(server).await
    }

    async fn may_vote(&self, server: ServerId) -> bool {
        let probed = self.peers.call(server, Ask::Probe).await;
        matches!(probed, Ok(Told::Probe(probed)) if probed.votes)
    }

    async fn change_voters(&self, wanted: &Lineup) -> Result<(), ChangeError> {
        let is_so = |now: &Membership| !now.is_joint() && now.voters() == wanted.voters;
        if !is_so(&self.core.membership()) && !wanted.voters.contains(&self.server) {
            self.hand_over(wanted).await?;
        }
        let vote = |_: &Membership| Some(Step::Vote(wanted.voters.clone()));
        self.step_until(is_so, vote).await
    }

    /// A leader that is to go lets one that stays do the rest. If there is none yet it goes on, and steps
    /// down when its successors have their votes.
    async fn hand_over(&self, wanted: &Lineup) -> Result<(), ChangeError> {
        let stays = self.core.membership().voters();
        let stays = stays.intersection(&wanted.voters).copied().collect();
        let succession = Succession {
            server: self.server,
            core: self.core.clone(),
            peers: Arc::clone(&self.peers),
            views: self.views.clone(),
        };
        succession.hand_over_to(&stays).await;
        self.must_lead()
    }

    /// Who is not wanted gets nothing more.
    async fn let_go(&self, wanted: &Lineup) -> Result<(), ChangeError> {
        let gone = |now: &Membership| -> BTreeSet<ServerId> {
            let learners = now.learners.iter().copied();
            learners.filter(|server| !wanted.has(*server)).collect()
        };
        let is_so = |now: &Membership| gone(now).is_empty();
        self.step_until(is_so, |now| Some(Step::Leave(gone(now))))
            .await
    }

    /// Takes a step until it is committed that it has been taken.
    async fn step_until(
        &self,
        is_so: impl Fn(&Membership) -> bool,
        step: impl Fn(&Membership) -> Option<Step>,
    ) -> Result<(), ChangeError> {
        let stepping = async {
            loop {
                self.must_lead()?;
                if is_so(&self.core.committed_membership()) && is_so(&self.core.membership()) {
                    return Ok(());
                }
                if let Some(step) = step(&self.core.membership()) {
                    match self.core.step(step).await {
                        Ok(()) | Err(NotTaken::TooEarly | NotTaken::Senseless) => {}
                        Err(NotTaken::NotLeader) => return Err(ChangeError::NotLeader),
                        Err(NotTaken::Stopped) => return Err(ChangeError::Stopped),
                    }
                }
                if !is_so(&self.core.committed_membership()) {
                    sleep(AGAIN).await;
                }
            }
        };
        within(STEP_TIME_MAX, stepping).await
    }
}

async fn within(
    time: Duration,
    stepping: impl Future<Output = Result<(), ChangeError>>,
) -> Result<(), ChangeError> {
    let timed_out = Err(ChangeError::NotCommitted { within: time });
    timeout(time, stepping).await.unwrap_or(timed_out)
}
