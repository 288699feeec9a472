//! What this server answers its peers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::{oneshot, watch};

use crate::ensemble::Touched;
use crate::ensemble::members::beginning::is_new;
use crate::ensemble::members::census::Census;
use crate::ensemble::members::failover::is_gone;
use crate::ensemble::members::receiving::Receiver;
use crate::ensemble::members::serving::Heard;
use crate::ensemble::members::standing::Standing;
use crate::ensemble::origin::outgoing::Answer;
use crate::ensemble::origin::proposals::Proposals;
use crate::ensemble::peer::{
    Ask, ForwardStream, Forwarded, Hello, Lane, LinkState, Lost, Offer, Probed, Receipt, Refusal,
    Serve, Told,
};
use crate::ensemble::raft::core::{Core, View};
use crate::ensemble::raft::messages::{
    AppendRequest, AppendResponse, AppendResult, TransferRequest, TransferResponse, VoteRequest,
    VoteResponse,
};
use crate::ensemble::raft::types::position;
use crate::state::{Action, Batch, LogPosition, Replica, Rules, ServerId, Unstamped};
use crate::storage::Log;

/// What this server answers its peers by.
pub(in crate::ensemble) struct Answers {
    pub(in crate::ensemble) server: ServerId,
    /// A hash of the members, as this server's lines list them.
    pub(in crate::ensemble) members: u64,
    pub(in crate::ensemble) replica: Arc<Replica>,
    pub(in crate::ensemble) declared_new: bool,
    pub(in crate::ensemble) core: Core,
    pub(in crate::ensemble) log: Arc<dyn Log>,
    pub(in crate::ensemble) views: watch::Receiver<View>,
    pub(in crate::ensemble) links: watch::Receiver<BTreeMap<ServerId, LinkState>>,
    pub(in crate::ensemble) heard: Arc<Heard>,
    pub(in crate::ensemble) standing: Arc<Standing>,
    pub(in crate::ensemble) census: Arc<Census>,
    pub(in crate::ensemble) proposals: Arc<Proposals>,
    pub(in crate::ensemble) rules: Rules,
    /// The longest silence of a quorum that is no failure.
    pub(in crate::ensemble) silence_max: Duration,
    pub(in crate::ensemble) touched: Arc<dyn Touched>,
    pub(in crate::ensemble) receiver: Receiver,
}

impl Answers {
    fn leader(&self) -> Option<(ServerId, u64)> {
        self.views.borrow().leader
    }

    /// The term that this server leads.
    fn leads(&self) -> Option<u64> {
        let leader = self.leader().filter(|(leader, _)| *leader == self.server);
        leader.map(|(_, term)| term)
    }

    /// Whether a quorum has confirmed it: else clients of those that hear this server only, such as an
    /// observer cut off with it, would wait here for ever.
    fn is_obeyed(&self) -> bool {
        let voters = self.core.membership().voters();
        let acked = self.core.quorum_acked_for();
        voters.len() == 1 || acked.is_some_and(|silence| silence <= self.silence_max)
    }

    fn not_leader(&self) -> Told {
        Told::NotLeader {
            leader: self.leader().map(|(leader, _)| leader),
            term: self.core.figures().term,
        }
    }

    fn probe(&self) -> Probed {
        let last_log = self.log.ends().last;
        Probed {
            cluster: self.replica.read().meta().cluster,
            members: self.members,
            empty: is_new(last_log),
            declared_new: self.declared_new,
            votes: self.standing.votes(),
            term: self.core.figures().term,
            voted_for: None,
            leader: self.leader().map(|(leader, _)| leader),
            last_log,
            committed: None,
        }
    }

    /// Whether the leader is gone for this server, too: it must be the same one, or one from before.
    fn leader_gone(&self, leader: ServerId, term: u64) -> Told {
        let own = self.core.figures().term;
        let has_other = self
            .leader()
            .is_some_and(|(other, at)| at > term || (at == term && other != leader));
        Told::LeaderGone {
            gone: self.standing.votes()
                && !has_other
                && leader != self.server
                && is_gone(&self.links.borrow(), leader),
            term: own,
            last_log: self.core.last_log(),
        }
    }
}

impl Serve for Answers {
    fn vote(&self, _: Hello, request: VoteRequest) -> BoxFuture<'_, Result<VoteResponse, Refusal>> {
        async move {
            if !self.standing.votes() {
                return Err(Refusal::NotReady);
            }
            self.core.vote(request).await
        }
        .boxed()
    }

    fn pre_vote(
        &self,
        _: Hello,
        request: VoteRequest,
    ) -> BoxFuture<'_, Result<VoteResponse, Refusal>> {
        async move {
            if !self.standing.votes() {
                return Err(Refusal::NotReady);
            }
            self.core.pre_vote(request).await
        }
        .boxed()
    }

    fn heartbeat(
        &self,
        _: Hello,
        request: AppendRequest,
    ) -> BoxFuture<'_, Result<AppendResponse, Refusal>> {
        async move {
            if !self.standing.follows(request.vote.leader_id.term) {
                return Err(Refusal::NotReady);
            }
            let committed = request.leader_commit.as_ref().map(position);
            let response = self.core.append(request).await?;
            if matches!(
                response,
                AppendResponse::Success | AppendResponse::PartialSuccess(_)
            ) {
                self.heard.now();
                if self.core.last_log() >= committed {
                    self.receiver.progress.behind(false);
                }
            }
            Ok(response)
        }
        .boxed()
    }

    fn append(
        &self,
        _: Hello,
        requests: BoxStream<'static, AppendRequest>,
    ) -> BoxStream<'static, Result<AppendResult, Refusal>> {
        let heard = Arc::clone(&self.heard);
        let progress = Arc::clone(&self.receiver.progress);
        let standing = Arc::clone(&self.standing);
        let refused = Arc::new(AtomicBool::new(false));
        let refuses = Arc::clone(&refused);
        let follows = move |request: &AppendRequest| {
            let follows = standing.follows(request.vote.leader_id.term);
            refuses.store(!follows, Ordering::Release);
            std::future::ready(follows)
        };
        let responses = self
            .core
            .append_stream(requests.take_while(follows).boxed());
        // The leader is told, and tries again: it would wait for the answer of a silent follower.
        let last = async move {
            refused
                .load(Ordering::Acquire)
                .then_some(Err(Refusal::NotReady))
        };
        responses
            .inspect(move |response| {
                if matches!(response, Ok(Ok(_))) {
                    // The leader has what this server needs.
                    progress.behind(false);
                    heard.now();
                }
            })
            .chain(stream::once(last).filter_map(std::future::ready))
            .boxed()
    }

    fn transfer_leader(
        &self,
        _: Hello,
        request: TransferRequest,
    ) -> BoxFuture<'_, Result<TransferResponse, Refusal>> {
        async move {
            if !self.standing.votes() {
                return Err(Refusal::NotReady);
            }
            self.core.take_over(request).await
        }
        .boxed()
    }

    fn call(&self, from: Hello, ask: Ask) -> BoxFuture<'_, Result<Told, Refusal>> {
        async move {
            match ask {
                Ask::Probe => Ok(Told::Probe(self.probe())),
                Ask::ReadIndex => match self.core.read_index().await {
                    Ok(at) => Ok(Told::ReadIndex { at: Some(at) }),
                    Err(_) => Ok(self.not_leader()),
                },
                Ask::Touches { sessions } => match self.leads().filter(|_| self.is_obeyed()) {
                    Some(term) => {
                        self.touched.heard(from.server, &sessions);
                        Ok(Told::Touched { term })
                    }
                    None => Ok(self.not_leader()),
                },
                Ask::Members(presented) => {
                    self.census.heard(from.server, *presented);
                    let own = self.census.presents(&self.core, &self.standing);
                    Ok(Told::Members(Box::new(own)))
                }
                Ask::LeaderGone { leader, term, .. } => Ok(self.leader_gone(leader, term)),
            }
        }
        .boxed()
    }

    fn forward(&self, from: Hello) -> Box<dyn ForwardStream> {
        Box::new(Forwarding {
            from,
            core: self.core.clone(),
            views: self.views.clone(),
            proposals: Arc::clone(&self.proposals),
            rules: self.rules,
        })
    }

    fn snapshot(&self, from: Hello, offer: Offer) -> BoxFuture<'_, Result<Receipt, Refusal>> {
        self.receiver.clone().begin(from, offer).boxed()
    }

    fn closed(&self, _: Hello, _: Lane, _: &Lost) {}
}

/// Batches of one follower, proposed in their order, each stamped with the clocks and the rules of
/// this server.
struct Forwarding {
    from: Hello,
    core: Core,
    views: watch::Receiver<View>,
    proposals: Arc<Proposals>,
    rules: Rules,
}

impl Forwarding {
    /// Whether it is a batch, and one of the server that sent it: what is in the log every server
    /// must be able to read. The ensemble's name is its leader's to give.
    fn is_sound(&self, bytes: &Bytes) -> bool {
        match Batch::decode(bytes.clone()) {
            Ok(batch) => batch.proposals.iter().all(|proposal| {
                let origin = proposal.origin;
                let is_own = (origin.server, origin.incarnation)
                    == (self.from.server, self.from.incarnation);
                is_own && !matches!(proposal.action, Action::Found { .. })
            }),
            Err(error) => {
                let server = self.from.server.0;
                tracing::warn!(server, %error, "a batch of another server is none");
                false
            }
        }
    }

    fn not_leader(&self) -> Forwarded {
        let leader = self.views.borrow().leader;
        Forwarded::NotLeader {
            leader: leader.map(|(leader, _)| leader),
            term: leader.map_or(0, |(_, term)| term),
        }
    }
}

impl ForwardStream for Forwarding {
    fn take(&mut self, term: u64, batch: Bytes) -> BoxFuture<'_, BoxFuture<'static, Forwarded>> {
        self.propose(term, batch).boxed()
    }
}

impl Forwarding {
    /// Proposes a batch if it is sound; what comes of it.
    async fn propose(&self, term: u64, batch: Bytes) -> BoxFuture<'static, Forwarded> {
        if !self.is_sound(&batch) {
            return std::future::ready(Forwarded::Malformed).boxed();
        }
        let stamped = Unstamped::again(&batch).stamp(self.proposals.reading(), self.rules);
        let (tell, told) = oneshot::channel();
        let answered = move |answer| {
            // Nobody waits if the connection has ended.
            let _unheard = tell.send(answer);
        };
        let refused = self.not_leader();
        self.core.traffic().proposed(term, stamped.len());
        if self.core.propose(stamped, term, answered).await.is_err() {
            return std::future::ready(refused).boxed();
        }
        outcome(told, term, refused).boxed()
    }
}

/// What came of a batch, once that is known.
async fn outcome(told: oneshot::Receiver<Answer>, term: u64, refused: Forwarded) -> Forwarded {
    match told.await {
        Ok(Answer::At(index)) => Forwarded::Accepted {
            at: LogPosition { term, index },
        },
        Ok(Answer::Refused) | Err(_) => refused,
    }
}
