//! The ensemble: how a proposal gets into the log, and the log into the state (DESIGN 4.2, 4.3, 5).
//!
//! ```text
//!   Ensemble::submit ─▶ Outgoing: encodes into the open batch, gives it its sequence
//!                         │ woken when something waits and the window has room
//!                         ▼
//!                      sender (one task) ─┬─▶ openraft's core ─▶ LogStore ─▶ storage::Log, synced
//!                         ▲               └─▶ another server's, if that one leads (`peer/`)
//!                         │                       │ committed
//!                         │ cursor passed         ▼
//!                      Proposals::applied ◀── Applier ─▶ state::Replica::apply ─▶ Sink
//! ```
//!
//! Whoever submits learns the outcome from the `Sink`, when this server applies the proposal, and
//! by no other way. A batch stays in flight until the replicated cursor of this origin has
//! passed it; whatever happened to it before then, it is sent again and takes effect once (I5).
//!
//! Where these tasks run is one table (`placement.rs`).
//!
//! Only `raft/` knows openraft. Its defaults are not safe for us: `raft/settings.rs` sets what must be
//! set. A standalone server is an ensemble of one voter and takes the same path (I7).
//!
//! This room does not know: client connections, watches, what a proposal means.

mod config;
mod error;
mod members;
mod origin;
mod peer;
mod placement;
mod progress;
mod raft;
mod start;

#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::RuntimeMetrics;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::io::Network;
use crate::state::{
    ActionRef, Identities, Lineups, LogPosition, Origin, Replica, ServerId, SessionId, Sink,
};
use crate::storage::{Log, Snapshots};

pub use config::{Batches, Config};
pub use error::{Failure, ProposeError, StartError, SubmitError};
pub use members::change::ChangeError;
pub use members::role::Role;
pub use origin::outgoing::QueueReport;
pub use peer::{Lineup, Listed, ListenError, Part, PeerAddress, Roster, SecretError};
pub use placement::Placement;
pub use raft::traffic::ProposalBytes;
pub use start::{lone_owner, origin};

use members::change::Change;
use members::serving::Service;
use members::succession::Succession;
use origin::barrier::Barrier;
use origin::proposals::Proposals;
use peer::{Ask, Peers, Told};
use placement::Home;
use progress::Progress;
use raft::core::{Core, Figures, View};

/// How long a leader asks whether it still is one.
const READ_INDEX_TIME_MAX: Duration = Duration::from_secs(1);
/// How long a stop waits for what is under way to be applied.
const DRAIN_MS_MAX: u64 = 3_000;
/// How long it waits for the core and the log to end.
const END_MS_MAX: u64 = 2_000;

/// A proposal as its connection makes it; origin and sequence are added by [`Ensemble::submit`].
#[derive(Clone, Copy, Debug)]
pub struct Submission<'a> {
    /// The session it is for, [`SessionId::NONE`] for the leader's chores.
    pub session: SessionId,
    /// The client's xid, 0 if there is none.
    pub cxid: i32,
    /// Who the connection is.
    pub identities: &'a Identities,
    /// What is wanted.
    pub action: ActionRef<'a>,
}

/// What an [`Ensemble`] is started with.
#[derive(Debug)]
pub struct Parts {
    /// Who is in it, and its bounds.
    pub config: Config,
    /// The name under which this process proposes: what [`origin`] said for this server.
    pub origin: Origin,
    /// The log.
    pub log: Arc<dyn Log>,
    /// Checkpoints of the tree.
    pub snapshots: Arc<dyn Snapshots>,
    /// The state.
    pub replica: Arc<Replica>,
    /// Who is told what was applied.
    pub sink: Arc<dyn Sink>,
    /// What batches are stamped with.
    pub clock: Arc<dyn Clock>,
    /// By which the other servers are reached.
    pub network: Arc<dyn Network>,
    /// Who is told which sessions the others have heard of, while this server leads.
    pub touched: Arc<dyn Touched>,
}

/// Hears which sessions are alive elsewhere.
pub trait Touched: fmt::Debug + Send + Sync {
    /// `server` has heard of these since it last said so, each with its timeout in milliseconds.
    fn heard(&self, server: ServerId, sessions: &[(SessionId, i32)]);
}

/// Hears nothing: for tests.
#[derive(Clone, Copy, Debug)]
pub struct Deaf;

impl Touched for Deaf {
    fn heard(&self, _server: ServerId, _sessions: &[(SessionId, i32)]) {}
}

/// What metrics and four-letter words say of the ensemble.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// This server's part in it.
    pub role: Role,
    /// Raft term.
    pub term: u64,
    /// Who leads, if anybody does.
    pub leader: Option<ServerId>,
    /// Index of the last entry in this server's log.
    pub last_log: Option<u64>,
    /// Index of the last entry known to be committed.
    pub committed: Option<u64>,
    /// The last entry applied here.
    pub applied: Option<LogPosition>,
    /// Index of the last entry in the newest checkpoint.
    pub checkpoint: Option<u64>,
    /// Index of the last entry purged.
    pub purged: Option<u64>,
    /// Proposals on their way.
    pub queue: QueueReport,
    /// Whether clients are to be served: [`Ensemble::serves`].
    pub serves: bool,
    /// For how long it has led; `None` if it does not.
    pub leads_for: Option<Duration>,
    /// How many vote now, by the log.
    pub voters: usize,
    /// The other members, if this server leads.
    pub followers: Vec<FollowerReport>,
    /// What it has proposed in this term since [`Ensemble::reset_figures`], if it leads.
    pub proposal_bytes: Option<ProposalBytes>,
    /// Read indexes that it is confirming: `sync`s that come together share one.
    pub pending_syncs: u64,
}

/// Another member, as its leader sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FollowerReport {
    /// Which server.
    pub server: ServerId,
    /// Whether it votes.
    pub votes: bool,
    /// Whether it is connected.
    pub is_up: bool,
    /// Up to which index its log is known to agree with the leader's.
    pub matched: Option<u64>,
}

/// The door of the room: this server as a member of the ensemble.
///
/// Dropping it without [`Ensemble::stop`] ends its tasks at once, as a crash would.
#[derive(Debug)]
pub struct Ensemble {
    origin: Origin,
    core: Core,
    peers: Arc<Peers>,
    log: Arc<dyn Log>,
    proposals: Arc<Proposals>,
    progress: Arc<Progress>,
    views: watch::Receiver<View>,
    change: Arc<Change>,
    service: Service,
    barrier: Barrier,
    tasks: TaskTracker,
    stopping: CancellationToken,
    home: Home,
}

impl Ensemble {
    /// Joins. A lone voter serves when this returns, which is its own leader within milliseconds;
    /// others when [`Ensemble::serves`] says so.
    ///
    /// Runs on tokio's multi-threaded runtime: apply tells it when it blocks.
    ///
    /// # Errors
    /// The configuration, the log or the state does not fit together, or a store failed: exit.
    pub async fn start(parts: Parts) -> Result<Self, StartError> {
        let is_alone = parts.config.is_alone();
        let ensemble = start::start(parts).await?;
        // A lone one has nobody to wait for.
        if is_alone {
            ensemble.served().await?;
        }
        Ok(ensemble)
    }

    /// Under which name this process proposes.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Puts a proposal into the current batch and returns its sequence: 1, 2, 3 and so on within
    /// this origin. The order of the calls is the order in the log. Does not wait.
    ///
    /// # Errors
    /// Full: stop reading the socket, wait for [`Ensemble::room`], submit again. Closed: this
    /// server stops.
    pub fn submit(&self, submission: Submission<'_>) -> Result<u64, SubmitError> {
        self.proposals.submit(submission)
    }

    /// Waits until [`Ensemble::submit`] takes proposals again, or is closed.
    pub async fn room(&self) {
        self.proposals.room().await;
    }

    /// Takes back all that was submitted here and has not taken effect: whoever waited for it has been
    /// sent away. The last sequence that may still take effect; what has a higher one never will, and
    /// what comes next has the one behind it. So this is called under the lock under which submissions
    /// are remembered.
    ///
    /// Of what had been sent to a leader, some may be in a log, where it takes effect or not as if this
    /// process had died: in order, and nothing behind the first that does not.
    pub fn recall(&self) -> u64 {
        self.proposals.recall()
    }

    /// Returns when everything that any client of the ensemble was answered before the call, and
    /// everything that was submitted here before it, has been applied here: what `sync` promises.
    /// Calls at the same time share the work.
    ///
    /// # Errors
    /// No leader confirmed it, or all was recalled meanwhile: wait for one and ask again, or close the
    /// connection.
    pub async fn barrier(&self) -> Result<(), ProposeError> {
        let submitted = self.proposals.submitted();
        let ask = async || self.read_index().await;
        self.barrier.pass(ask, &self.progress).await?;
        self.proposals.passed(submitted, &self.progress).await
    }

    /// Up to where the log must have been applied here for a read to show all that was acknowledged
    /// before the call: the leader says so.
    async fn read_index(&self) -> Result<u64, ProposeError> {
        let leader = self.views.borrow().leader;
        let Some((leader, _)) = leader else {
            return Err(ProposeError::NoLeader);
        };
        if leader == self.origin.server {
            // Without a quorum there is no answer.
            let asked = tokio::time::timeout(READ_INDEX_TIME_MAX, self.core.read_index()).await;
            return Ok(asked.unwrap_or(Err(ProposeError::NoLeader))?.index);
        }
        match self.peers.call(leader, Ask::ReadIndex).await {
            Ok(Told::ReadIndex { at }) => Ok(at.map_or(0, |at| at.index)),
            Ok(_) | Err(_) => Err(ProposeError::NoLeader),
        }
    }

    /// Tells the leader which sessions this server has heard of, each with its timeout in
    /// milliseconds; the term of the leader that took it.
    ///
    /// # Errors
    /// Nobody took it: tell it again to the next leader.
    pub async fn report_touches(
        &self,
        sessions: Vec<(SessionId, i32)>,
    ) -> Result<u64, ProposeError> {
        let leader = self.views.borrow().leader;
        let Some((leader, _)) = leader else {
            return Err(ProposeError::NoLeader);
        };
        match self.peers.call(leader, Ask::Touches { sessions }).await {
            Ok(Told::Touched { term }) => {
                self.service.reported.now();
                Ok(term)
            }
            Ok(_) | Err(_) => Err(ProposeError::NoLeader),
        }
    }

    /// Who the members are by the log, and who is wanted, to be watched; nobody as long as that is what
    /// the servers' files say.
    pub fn lineups(&self) -> watch::Receiver<Lineups> {
        self.progress.lineups()
    }

    /// Whether clients are to be served: this server leads and a quorum says so, or it follows a
    /// leader that it hears, and knows all that was acknowledged before.
    pub fn serves(&self) -> bool {
        *self.service.serving.borrow()
    }

    /// The same, to watch it change.
    pub fn serving(&self) -> watch::Receiver<bool> {
        self.service.serving.clone()
    }

    /// Whether clients should be here: this server serves, or did a short while ago, so that a new
    /// leader may be found before they notice.
    pub fn admits(&self) -> bool {
        *self.service.admitting.borrow()
    }

    /// The same, to watch it change.
    pub fn admitting(&self) -> watch::Receiver<bool> {
        self.service.admitting.clone()
    }

    /// Waits until this server serves.
    ///
    /// # Errors
    /// A store failed, or it cannot get into its ensemble.
    pub async fn served(&self) -> Result<(), StartError> {
        let mut serving = self.service.serving.clone();
        tokio::select! {
            failure = self.failed() => Err(StartError::Failed(failure)),
            _ = serving.wait_for(|serves| *serves) => {
                let (role, applied) = (self.role(), self.progress.applied());
                tracing::info!(%role, ?applied, "serving");
                Ok(())
            }
        }
    }

    /// For how long nothing of what is under way has got on, of this server's or of anybody's that is in
    /// its log: long if the disk hangs. Zero if nothing is under way.
    pub fn stuck_for(&self) -> Duration {
        self.proposals
            .stuck_for()
            .max(self.service.standstill.lasts())
    }

    /// How long clients wait here for a leader that hears this server, before they are sent away.
    pub fn patience(&self) -> Duration {
        self.service.patience
    }

    /// What the runtime is at where the tasks of this room live (`placement.rs`).
    pub fn runtime_metrics(&self) -> RuntimeMetrics {
        self.home.runtime_metrics()
    }

    /// This server's part in the ensemble now.
    pub fn role(&self) -> Role {
        self.views.borrow().role
    }

    fn followers(&self) -> Vec<FollowerReport> {
        let voters = self.core.membership().voters();
        let matched = self.core.matched().into_iter();
        matched
            .map(|(server, matched)| FollowerReport {
                server,
                votes: voters.contains(&server),
                is_up: self.peers.is_up(server),
                matched,
            })
            .collect()
    }

    /// Numbers for metrics and four-letter words.
    pub fn report(&self) -> Report {
        let Figures {
            term,
            leader,
            last_log,
            committed,
            checkpoint,
            purged,
        } = self.core.figures();
        Report {
            role: self.role(),
            term,
            leader,
            last_log,
            committed,
            applied: self.progress.applied(),
            checkpoint,
            purged,
            queue: self.proposals.report(),
            serves: self.serves(),
            leads_for: self.progress.leads_for(),
            voters: self.core.membership().voters().len(),
            followers: self.followers(),
            proposal_bytes: self.core.traffic().proposal_bytes(term),
            pending_syncs: self.core.traffic().syncs(),
        }
    }

    /// What a report says of sizes counts from here on.
    pub fn reset_figures(&self) {
        self.core.traffic().reset();
    }

    /// Resolves when a store has failed or the core has died. Nothing works then: end the
    /// process with an error (I6). Pending for ever on a healthy server and an orderly stop.
    pub fn failed(&self) -> impl Future<Output = Arc<Failure>> + Send + 'static {
        let progress = Arc::clone(&self.progress);
        async move { progress.failed().await }
    }

    /// Takes no more proposals, waits until those under way are applied, and ends. The log is
    /// closed and nothing is applied any more when this returns, unless the disk hangs: then it
    /// returns all the same, and the process must end.
    pub async fn stop(&self) {
        self.hand_over().await;
        self.proposals.close();
        let drain = Duration::from_millis(DRAIN_MS_MAX);
        tokio::select! {
            drained = tokio::time::timeout(drain, self.proposals.drained()) => {
                if drained.is_err() {
                    tracing::warn!(queue = ?self.proposals.report(), "proposals were left behind");
                }
            }
            _ = self.progress.failed() => {}
        }
        self.progress.stopping();
        self.stopping.cancel();
        // A disk that hangs holds up the core, and nobody waits for it for ever: what was answered
        // is durable, and a start goes on from there as after a crash.
        let end = Duration::from_millis(END_MS_MAX);
        if tokio::time::timeout(end, self.end()).await.is_err() {
            let (committed, applied) = (self.core.figures().committed, self.progress.applied());
            tracing::warn!(
                ?committed,
                ?applied,
                "the log was not closed: apply is busy, or the disk does not answer"
            );
        }
    }

    /// Hands leadership, if this server has it, to the follower that has most of the log, and waits until
    /// somebody else leads: before a stop that others need not notice.
    pub async fn hand_over(&self) {
        let succession = Succession {
            server: self.origin.server,
            core: self.core.clone(),
            peers: Arc::clone(&self.peers),
            views: self.views.clone(),
        };
        succession.hand_over().await;
    }

    /// Makes the members those that are wanted, if this server leads; returns when that is committed. May
    /// be called again, whatever came of it before, also by the next leader.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn drive(&self, wanted: &Lineup) -> Result<(), ChangeError> {
        self.change.drive(wanted).await
    }

    /// Who is in now, by the newest entry of this server's log that says so.
    pub fn lineup(&self) -> Lineup {
        self.core.lineup()
    }

    async fn end(&self) {
        self.core.shutdown().await;
        self.peers.stop().await;
        self.tasks.close();
        self.tasks.wait().await;
        self.progress.machine_gone().await;
        let log = Arc::clone(&self.log);
        if self
            .home
            .placement()
            .aside(move || log.close())
            .await
            .is_none()
        {
            tracing::warn!("log was not closed in order");
        }
        self.home.leave().await;
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        self.progress.stopping();
        self.proposals.close();
        self.stopping.cancel();
    }
}
