//! openraft's network over [`Peers`].
//!
//! Votes, pre-votes, heartbeats and hand-overs are questions on the control lane, each with the
//! deadline that openraft gives it. Entries go by the replication lane, in streams that have no
//! deadline as a whole: openraft's is a heartbeat's length, which a disk that is slow for once
//! exceeds, and to send the same entries again would make it slower. A stream ends when the follower
//! is silent, or has left an append unanswered for `append_ms`.
//!
//! `Unreachable` makes openraft wait before it tries again, `Network` does not: it is said only of a
//! connection that was there and broke.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{self, BoxFuture, FutureExt as _};
use futures::stream::{BoxStream, Stream, StreamExt as _};
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{
    Backoff, RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2, stream_append_sequential,
};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, Snapshot};

use crate::ensemble::peer::{CallError, LaneError, Lost, Peers, Replication, SnapshotError};
use crate::state::ServerId;
use crate::storage::Checkpoint;

use super::sending::Sending;
use super::types::{CommittedLeaderId, Types, Vote};

/// How long openraft waits before it tries a follower again that it did not reach; then twice as
/// long, and so on.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Makes openraft's clients of the other servers.
#[derive(Clone, Debug)]
pub(in crate::ensemble) struct PeerNetwork {
    me: ServerId,
    peers: Arc<Peers>,
    sending: Sending,
}

/// openraft's client of one server. Connects when it is used.
#[derive(Debug)]
pub(in crate::ensemble) struct PeerClient {
    me: ServerId,
    to: ServerId,
    peers: Arc<Peers>,
    /// What appends go by, unless they are heartbeats.
    replication: Option<Replication>,
    sending: Sending,
}

/// A snapshot in which nothing has been applied.
#[derive(Debug, thiserror::Error)]
#[error("there is no snapshot for server {to} yet")]
struct Nothing {
    to: ServerId,
}

/// A follower whose answer cannot be.
#[derive(Debug, thiserror::Error)]
#[error("server {to} says that its log conflicts with the beginning of every log")]
struct Nonsense {
    to: ServerId,
}

impl PeerNetwork {
    pub(in crate::ensemble) fn new(me: ServerId, peers: Arc<Peers>, sending: Sending) -> Self {
        Self { me, peers, sending }
    }

    fn client(&self, target: u64, replication: Option<Replication>) -> PeerClient {
        PeerClient {
            me: self.me,
            to: ServerId(target),
            peers: Arc::clone(&self.peers),
            replication,
            sending: self.sending.clone(),
        }
    }
}

impl RaftNetworkFactory<Types> for PeerNetwork {
    type Network = PeerClient;

    async fn new_client(&mut self, target: u64, (): &()) -> PeerClient {
        let replication = self.peers.replication(ServerId(target));
        self.client(target, Some(replication))
    }

    /// On the control lane, where nothing large stands before it.
    async fn new_heartbeat_client(&mut self, target: u64, (): &()) -> PeerClient {
        self.client(target, None)
    }

    async fn new_snapshot_client(&mut self, target: u64, (): &()) -> PeerClient {
        self.client(target, None)
    }
}

impl PeerClient {
    fn failed(&self, action: RPCTypes, error: &CallError) -> RPCError<Types> {
        match error {
            CallError::TimedOut { within, .. } => RPCError::Timeout(Timeout {
                action,
                id: self.me.0,
                target: self.to.0,
                timeout: *within,
            }),
            CallError::Lost(_) => broken(error),
            CallError::Unknown(_)
            | CallError::Down { .. }
            | CallError::Refused { .. }
            | CallError::NotKnown(_)
            | CallError::Format(_) => unreachable(error),
        }
    }
}

fn unreachable(error: &(impl Error + 'static)) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::new(error))
}

fn broken(error: &(impl Error + 'static)) -> RPCError<Types> {
    RPCError::Network(NetworkError::new(error))
}

fn lane_failed(error: &LaneError) -> RPCError<Types> {
    match error {
        LaneError::Lost(Lost::Closed | Lost::CutOff | Lost::Broken(_)) => broken(error),
        LaneError::Lost(_) | LaneError::Dial(_) => unreachable(error),
    }
}

fn snapshot_failed(error: &SnapshotError) -> RPCError<Types> {
    match error {
        SnapshotError::Lost(Lost::Closed | Lost::CutOff | Lost::Broken(_)) => broken(error),
        SnapshotError::Lost(_)
        | SnapshotError::Dial(_)
        | SnapshotError::Refused(_)
        | SnapshotError::Read(_) => unreachable(error),
    }
}

impl RaftNetworkV2<Types> for PeerClient {
    type SnapshotData = Checkpoint;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let at_beginning = request.prev_log_id.is_none();
        let answer = self.peers.heartbeat(self.to, request, option.soft_ttl());
        match answer.await {
            // openraft takes it for granted that there is something to conflict with.
            Ok(AppendEntriesResponse::Conflict) if at_beginning => {
                Err(unreachable(&Nonsense { to: self.to }))
            }
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.failed(RPCTypes::AppendEntries, &error)),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        if self.replication.is_none() {
            return stream_append_sequential(self, input, option);
        }
        let answers = self.replication.as_mut().map(|lane| lane.stream(input));
        let answers = answers.into_iter();
        let answers = futures::stream::iter(answers).flatten();
        let answers = answers.map(|answer| answer.map_err(|error| lane_failed(&error)));
        future::ready(Ok(answers.boxed())).boxed()
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let answer = self.peers.vote(self.to, request, option.soft_ttl()).await;
        answer.map_err(|error| self.failed(RPCTypes::Vote, &error))
    }

    /// openraft's own version grants.
    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let answer = self.peers.pre_vote(self.to, request, option.soft_ttl());
        let answer = answer.await;
        answer.map_err(|error| self.failed(RPCTypes::Vote, &error))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<CommittedLeaderId, u64, (), Checkpoint>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let Some(at) = snapshot.meta.last_log_id else {
            return Err(unreachable(&Nothing { to: self.to }).into());
        };
        let sending = self
            .sending
            .run(&self.peers, self.to, vote, at, snapshot.snapshot);
        tokio::select! {
            sent = sending => sent.map_err(|error| snapshot_failed(&error).into()),
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let within = option.soft_ttl();
        let answer = self.peers.transfer_leader(self.to, request, within);
        let answer = answer.await;
        answer.map_err(|error| self.failed(RPCTypes::TransferLeader, &error))
    }

    /// The control link tries as often: who comes back is fed soon.
    fn backoff(&self) -> Option<Backoff> {
        let pauses =
            std::iter::successors(Some(PAUSE_MIN), |pause| Some((*pause * 2).min(PAUSE_MAX)));
        Some(Backoff::new(pauses))
    }
}
