//! openraft's core, as the rest of the ensemble sees it: proposals go in, views come out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use openraft::Instant as _;
use openraft::ReadPolicy;
use openraft::ServerState;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{InitializeError, RaftError};
use openraft::metrics::RaftServerMetrics;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::checkpoint::{self, Pressure, Retention};
use super::log_store::LogStore;
use super::machine::{Machine, snapshot_of};
use super::messages::{
    AppendRequest, AppendResponse, AppendResult, SnapshotResponse, TransferRequest,
    TransferResponse, VoteRequest, VoteResponse,
};
use super::network::PeerNetwork;
use super::settings;
use super::traffic::Traffic;
use super::types::{
    CommittedLeaderId, EncodedBatch, Fatal, Raft, Respond, Types, Vote, log_id, position,
};
use crate::ensemble::config::Config;
use crate::ensemble::error::{Failure, ProposeError, StartError};
use crate::ensemble::members::role::Role;
use crate::ensemble::origin::outgoing::Answer;
use crate::ensemble::peer::Refusal;
use crate::ensemble::progress::Progress;
use crate::metrics;
use crate::state::{LogPosition, ServerId};
use crate::storage::Checkpoint;

/// openraft's core: a handle to be cloned.
#[derive(Clone, Debug)]
pub(in crate::ensemble) struct Core {
    pub(super) raft: Raft,
    progress: Arc<Progress>,
    traffic: Arc<Traffic>,
}

/// A leader whose disk has so much to do proposes nothing more: others may have made durable what it
/// has not, and memory would grow by all that they commit.
const UNSYNCED_BYTES_MAX: usize = 64 << 20;
/// How long a proposal waits for that.
const UNSYNCED_TIME_MAX: Duration = Duration::from_millis(100);

/// The core is dead: nothing is proposed any more.
#[derive(Clone, Copy, Debug)]
pub(in crate::ensemble) struct Dead;

/// What the core says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::ensemble) struct Figures {
    pub(in crate::ensemble) term: u64,
    pub(in crate::ensemble) leader: Option<ServerId>,
    pub(in crate::ensemble) last_log: Option<u64>,
    pub(in crate::ensemble) committed: Option<u64>,
    pub(in crate::ensemble) checkpoint: Option<u64>,
    pub(in crate::ensemble) purged: Option<u64>,
}

/// Who leads, as this server sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::ensemble) struct View {
    pub(in crate::ensemble) role: Role,
    /// The leader and its term.
    pub(in crate::ensemble) leader: Option<(ServerId, u64)>,
}

impl View {
    /// Nothing is known yet.
    pub(in crate::ensemble) const NONE: Self = Self {
        role: Role::Follower { leader: None },
        leader: None,
    };

    fn of(metrics: &RaftServerMetrics<Types>) -> Self {
        let term = metrics.vote.leader_id.term;
        let leader = metrics.current_leader.map(ServerId);
        let role = match metrics.state {
            ServerState::Leader => Role::Leader { term },
            ServerState::Follower => Role::Follower { leader },
            ServerState::Learner => Role::Observer { leader },
            ServerState::Candidate => Role::Candidate,
            ServerState::Shutdown => Role::Stopped,
        };
        Self {
            role,
            leader: leader.map(|leader| (leader, term)),
        }
    }
}

impl Core {
    /// Starts it; it replays the log up to what was known to be committed.
    ///
    /// # Errors
    /// A setting that openraft refuses, or the stores failed.
    pub(in crate::ensemble) async fn start(
        config: &Config,
        network: PeerNetwork,
        log: LogStore,
        machine: Machine,
        progress: Arc<Progress>,
    ) -> Result<Self, StartError> {
        let settings = settings::of(config).map_err(|error| StartError::Timing(Box::new(error)))?;
        let settings = Arc::new(settings);
        let raft = Raft::new(config.server.0, settings, network, log, machine).await;
        match raft {
            Ok(raft) => Ok(Self {
                raft,
                progress,
                traffic: Arc::new(Traffic::new(!config.is_alone())),
            }),
            Err(fatal) => Err(StartError::Failed(failure(&progress, fatal))),
        }
    }

    /// Proposes a batch if this server leads `term`, without waiting for what becomes of it; calls are
    /// in the order of the log. `told` is called once, or dropped when the core dies.
    ///
    /// # Errors
    /// The core is dead.
    pub(in crate::ensemble) async fn propose(
        &self,
        batch: Bytes,
        term: u64,
        told: impl FnOnce(Answer) + Send + 'static,
    ) -> Result<(), Dead> {
        let room = self.progress.backlog().room(UNSYNCED_BYTES_MAX);
        if tokio::time::timeout(UNSYNCED_TIME_MAX, room).await.is_err() {
            // Whoever asks again may find another leader.
            told(Answer::Refused);
            return Ok(());
        }
        let (begun, traffic) = (Instant::now(), Arc::clone(&self.traffic));
        let respond = Respond::new(move |outcome: openraft::raft::ClientWriteResult<Types>| {
            if outcome.is_ok() {
                traffic.committed(begun.elapsed());
            }
            told(outcome.map_or(Answer::Refused, |written| Answer::At(written.log_id.index)));
        });
        self.raft
            .write(EncodedBatch(batch))
            .with_leader(CommittedLeaderId::new(term))
            .responder(respond)
            .await
            .map_err(|_| Dead)
    }

    /// What it has proposed and is asked.
    pub(in crate::ensemble) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Up to which index the log was committed when a quorum last confirmed that this server leads,
    /// which it did after the call.
    ///
    /// # Errors
    /// It does not lead, or no quorum says so.
    pub(in crate::ensemble) async fn read_index(&self) -> Result<LogPosition, ProposeError> {
        let _counted = self.traffic.sync();
        let confirmed = self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await;
        let confirmed = confirmed.map_err(|error| match error {
            RaftError::APIError(_) => ProposeError::NoLeader,
            RaftError::Fatal(_) => ProposeError::Stopped,
        })?;
        Ok(position(confirmed.read_log_id().log_id()))
    }

    /// Who votes, by the log; `None` if there is no entry in it yet.
    ///
    /// # Errors
    /// The core is dead.
    pub(in crate::ensemble) async fn voters(
        &self,
    ) -> Result<Option<BTreeSet<ServerId>>, StartError> {
        let is_initialized = self.raft.is_initialized().await;
        if !is_initialized.map_err(|fatal| self.failed(fatal))? {
            return Ok(None);
        }
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let voters = metrics.membership_config.voter_ids().map(ServerId);
        // A server with a new disk may have taken a vote and died before the first entry came.
        Ok(Some(voters.collect()).filter(|voters: &BTreeSet<_>| !voters.is_empty()))
    }

    /// Writes the first membership into a new log, and stands for election. Where another server was
    /// faster and has this one's vote already, its log comes with the same membership.
    ///
    /// # Errors
    /// The log failed.
    pub(in crate::ensemble) async fn initialize(
        &self,
        voters: BTreeSet<ServerId>,
    ) -> Result<(), StartError> {
        let voters: BTreeSet<u64> = voters.into_iter().map(|voter| voter.0).collect();
        match self.raft.initialize(voters).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => {
                let failure = self.progress.failure().map(StartError::Failed);
                Err(failure.unwrap_or(StartError::Initialize(Box::new(error))))
            }
        }
    }

    /// Stands for election at once, after a round that asks whether it would be elected if so wished.
    ///
    /// # Errors
    /// The core is dead.
    pub(in crate::ensemble) async fn elect(&self, asks_first: bool) -> Result<(), StartError> {
        let elected = self.raft.trigger().elect(asks_first).await;
        elected.map_err(|fatal| self.failed(fatal))
    }

    /// Whether this server stands for election when it hears of no leader.
    pub(in crate::ensemble) fn may_elect(&self, may: bool) {
        self.raft.runtime_config().elect(may);
    }

    /// Stands for election at once, in place of a leader that is gone: those who vote do not wait until
    /// it has been silent for long enough.
    pub(in crate::ensemble) async fn succeed(&self, leader: ServerId, term: u64) {
        let vote = Vote::new_committed(term, leader.0);
        let last = self.last_log().map(log_id);
        let request = TransferRequest::new(vote, *self.raft.node_id(), last);
        if let Err(error) = self.raft.handle_transfer_leader(request).await {
            tracing::debug!(%error, "no election");
        }
    }

    /// Hands leadership to `heir`, who stands for election when it has all of this server's log.
    pub(in crate::ensemble) async fn hand_over(&self, heir: ServerId) {
        if let Err(error) = self.raft.trigger().transfer_leader(heir.0).await {
            tracing::debug!(%error, "leadership is not handed over");
        }
    }

    /// The other members and how far each one's log is known to agree with this leader's; nothing if
    /// this server does not lead.
    pub(in crate::ensemble) fn matched(&self) -> Vec<(ServerId, Option<u64>)> {
        let metrics = self.raft.data_metrics();
        let metrics = metrics.borrow_watched();
        let me = *self.raft.node_id();
        let followers = metrics.replication.iter().flatten();
        followers
            .filter(|(server, _)| **server != me)
            .map(|(server, last)| (ServerId(*server), last.as_ref().map(|id| id.index)))
            .collect()
    }

    /// For how long no quorum has confirmed that this server leads; `None` if it does not.
    pub(in crate::ensemble) fn quorum_acked_for(&self) -> Option<Duration> {
        let metrics = self.raft.data_metrics();
        let metrics = metrics.borrow_watched();
        metrics.last_quorum_acked.map(|at| at.elapsed())
    }

    /// The end of the log.
    pub(in crate::ensemble) fn last_log(&self) -> Option<LogPosition> {
        let metrics = self.raft.data_metrics();
        let metrics = metrics.borrow_watched();
        metrics.last_log.as_ref().map(position)
    }

    /// A candidate asks for a vote.
    pub(in crate::ensemble) async fn vote(
        &self,
        request: VoteRequest,
    ) -> Result<VoteResponse, Refusal> {
        self.raft.vote(request).await.map_err(|_| Refusal::Failed)
    }

    /// A candidate asks whether it would get one.
    pub(in crate::ensemble) async fn pre_vote(
        &self,
        request: VoteRequest,
    ) -> Result<VoteResponse, Refusal> {
        self.raft
            .pre_vote(request)
            .await
            .map_err(|_| Refusal::Failed)
    }

    /// A leader's heartbeat.
    pub(in crate::ensemble) async fn append(
        &self,
        request: AppendRequest,
    ) -> Result<AppendResponse, Refusal> {
        let appended = self.raft.append_entries(request).await;
        appended.map_err(|_| Refusal::Failed)
    }

    /// A leader's entries, several requests under way.
    pub(in crate::ensemble) fn append_stream(
        &self,
        requests: BoxStream<'static, AppendRequest>,
    ) -> BoxStream<'static, Result<AppendResult, Refusal>> {
        let responses = self.raft.stream_append(requests);
        responses
            .map(|response| response.map_err(|_| Refusal::Failed))
            .boxed()
    }

    /// The vote of this server, if it is a higher one: then whoever has the other leads no more.
    pub(in crate::ensemble) fn higher_vote(&self, vote: &Vote) -> Option<Vote> {
        let metrics = self.raft.server_metrics();
        let own = metrics.borrow_watched().vote;
        (own.leader_id.term > vote.leader_id.term).then_some(own)
    }

    /// A leader's snapshot is here: returns when it is this server's state, or when it is known not to
    /// be needed, or that the leader leads no more.
    pub(in crate::ensemble) async fn install(
        &self,
        vote: Vote,
        received: Checkpoint,
    ) -> Result<SnapshotResponse, Refusal> {
        let snapshot = snapshot_of(received).map_err(|error| {
            tracing::error!(%error, "a snapshot has a membership that is none");
            Refusal::Senseless
        })?;
        let installed = self.raft.install_full_snapshot(vote, snapshot).await;
        installed.map_err(|_| Refusal::Failed)
    }

    /// A leader hands over to this server.
    pub(in crate::ensemble) async fn take_over(
        &self,
        request: TransferRequest,
    ) -> Result<TransferResponse, Refusal> {
        let taken = self.raft.handle_transfer_leader(request).await;
        taken.map_err(|_| Refusal::Failed)
    }

    /// Numbers for metrics and four-letter words.
    pub(in crate::ensemble) fn figures(&self) -> Figures {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        Figures {
            term: metrics.current_term,
            leader: metrics.current_leader.map(ServerId),
            last_log: metrics.last_log_index,
            committed: metrics.local_committed.as_ref().map(|id| id.index),
            checkpoint: metrics.snapshot.as_ref().map(|id| id.index),
            purged: metrics.purged.as_ref().map(|id| id.index),
        }
    }

    /// Follows who leads, and tells. Ends with the core; if that was not asked to end, this server
    /// has failed.
    pub(in crate::ensemble) async fn watch(
        self,
        views: watch::Sender<View>,
        tell: impl Fn(Option<(ServerId, u64)>),
        stopping: CancellationToken,
    ) {
        let mut server = self.raft.server_metrics();
        // Since when this server knows no leader.
        let mut leaderless = Some(Instant::now());
        loop {
            let view = View::of(&server.borrow_watched());
            tell(view.leader);
            let View { role, .. } = view;
            let mut is_other = false;
            views.send_if_modified(|now| {
                is_other = now.role != role;
                std::mem::replace(now, view) != view
            });
            if is_other {
                let leads = matches!(role, Role::Leader { .. });
                self.progress.lead(leads);
                metrics::follows(!leads && role.has_leader());
                tracing::info!(%role, leader = ?view.leader, "role");
                if role == Role::Candidate {
                    metrics::looking();
                }
                if !role.has_leader() {
                    leaderless.get_or_insert_with(Instant::now);
                } else if let Some(since) = leaderless.take() {
                    metrics::election_took(since.elapsed());
                }
            }
            tokio::select! {
                () = stopping.cancelled() => break,
                more = server.changed() => if more.is_err() { break },
            }
        }
        tell(None);
        views.send_replace(View {
            role: Role::Stopped,
            leader: None,
        });
        if !self.progress.is_stopping() {
            let ended = self.raft.metrics().borrow_watched().running_state.clone();
            // A panic leaves no reason behind.
            let fatal = ended.err().unwrap_or(Fatal::Panicked);
            drop(self.progress.fail(Failure::Core(Box::new(fatal))));
        }
    }

    /// Takes checkpoints when they are due, until `stopping`.
    pub(in crate::ensemble) async fn take_checkpoints(
        self,
        pressure: Arc<Pressure>,
        retention: Retention,
        stopping: CancellationToken,
    ) {
        checkpoint::run(self.raft, pressure, retention, self.progress, stopping).await;
    }

    /// Ends the core and waits until it has.
    pub(in crate::ensemble) async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft core did not end in order");
        }
    }

    fn failed(&self, fatal: Fatal) -> StartError {
        StartError::Failed(failure(&self.progress, fatal))
    }
}

/// The failure behind what openraft says.
fn failure(progress: &Progress, fatal: Fatal) -> Arc<Failure> {
    let first = progress.failure();
    first.unwrap_or_else(|| Arc::new(Failure::Core(Box::new(fatal))))
}
