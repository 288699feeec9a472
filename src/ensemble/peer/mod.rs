//! The other servers: connections to each of them and from each of them (DESIGN 5).
//!
//! ```text
//!   link      one task per peer keeps a control connection: dials, waits 50 ms .. 1 s, dials again
//!     │ dial    names resolved, addresses tried in turn, handshake: who is there, proven
//!     ▼
//!   call ─▶ control:     many questions at once, each with a number and a deadline     ─▶ Serve
//!   replicate ─▶ replication: the leader's entries, pipelined, answered in order       ─▶ Serve
//!   forward ─▶ forwarding:   a follower's batches, in order, bounded in bytes          ─▶ Serve
//!   snapshot ─▶ snapshot:    the files of a checkpoint, what is missing of them        ─▶ Serve
//!                                                                         ▲
//!   inbound   accepts, handshake, one place per server and lane ──────────┘
//! ```
//!
//! Each lane is a connection of its own, so that bulk never delays a heartbeat. Both sides of each
//! ping; who hears nothing for `idle_ms` gives it up. What is asked is asked once: who asked learns
//! an answer, or that there is none, and decides.
//!
//! What comes is bounded before memory is taken: a hello by a kilobyte and a deadline, those who have
//! not said theirs by number, a frame by `frame_bytes_max`, believed as it comes, what is under way
//! by bytes.
//!
//! This room does not know: what a vote, an entry or a batch means; who leads.

mod ask;
mod call;
mod config;
mod dial;
mod forward;
mod frame;
mod handshake;
mod hello;
mod inbound;
mod lineup;
mod link;
mod registry;
mod replicate;
mod secret;
mod serve;
mod serving;
mod snapshot;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::io::{Acceptor, Network};
use crate::state::ServerId;

use super::raft::messages::{
    self, AppendRequest, AppendResponse, SnapshotResponse, TransferRequest, TransferResponse,
    VoteRequest, VoteResponse,
};
use ask::Request;

pub(in crate::ensemble) use ask::{Ask, Probed, Told};
pub(in crate::ensemble) use call::CallError;
pub use config::PeerAddress;
pub(in crate::ensemble) use config::PeerConfig;
pub(in crate::ensemble) use dial::DialError;
pub(in crate::ensemble) use forward::{ForwardAnswers, ForwardSender, Forwarded};
pub(in crate::ensemble) use frame::Lost;
pub(in crate::ensemble) use hello::{Hello, Identity, Lane};
pub use inbound::ListenError;
pub use lineup::{Lineup, Listed, Part, Roster};
pub(in crate::ensemble) use lineup::{Membership, Presented};
pub(in crate::ensemble) use link::{Down, LinkState, Phase};
pub(in crate::ensemble) use replicate::{LaneError, Replication};
pub(in crate::ensemble) use secret::Secret;
pub use secret::SecretError;
pub(in crate::ensemble) use serve::{ForwardStream, Receipt, Receive, Refusal, Serve};
pub(in crate::ensemble) use snapshot::{Offer, SnapshotError, Source};

use link::Link;
use registry::Registry;

/// How long a stop waits for the tasks of this room: they only have to notice.
const STOP_TIME_MAX: Duration = Duration::from_secs(1);

/// A peer, as tests see it.
#[cfg(test)]
#[derive(Clone, Debug)]
struct PeerState {
    /// The control connection to it.
    link: LinkState,
    /// The connections from it.
    inbound: Vec<Lane>,
}

/// The door of the room. Dropping it ends all connections.
#[derive(Debug)]
pub(in crate::ensemble) struct Peers {
    shared: Arc<Shared>,
    acceptors: parking_lot::Mutex<Vec<Box<dyn Acceptor>>>,
    listening: Vec<SocketAddr>,
}

/// What the tasks of the room share.
#[derive(Debug)]
struct Shared {
    config: PeerConfig,
    network: Arc<dyn Network>,
    identity: RwLock<Identity>,
    links: RwLock<BTreeMap<ServerId, Arc<Link>>>,
    /// Where the others are reached; who is not there is not dialled.
    addresses: RwLock<BTreeMap<ServerId, Vec<PeerAddress>>>,
    states: watch::Sender<BTreeMap<ServerId, LinkState>>,
    registry: Arc<Registry>,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl Peers {
    /// Opens the listening sockets and begins to connect to every peer. Whoever connects waits until
    /// [`Peers::serve`].
    ///
    /// # Errors
    /// An address is in use, not ours, or not allowed.
    pub(in crate::ensemble) async fn open(
        config: PeerConfig,
        identity: Identity,
        network: Arc<dyn Network>,
    ) -> Result<Self, ListenError> {
        let acceptors = inbound::listen(&config, &*network).await?;
        let listening = acceptors
            .iter()
            .filter_map(|acceptor| acceptor.local_addr().ok())
            .collect();
        let shared = Arc::new(Shared {
            network,
            identity: RwLock::new(identity),
            links: RwLock::default(),
            addresses: RwLock::default(),
            states: watch::Sender::default(),
            registry: Arc::default(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
            config,
        });
        let addresses = shared.config.addresses.clone();
        let peers = Self {
            shared,
            acceptors: parking_lot::Mutex::new(acceptors),
            listening,
        };
        peers.follow(addresses);
        Ok(peers)
    }

    /// From now on these are the others, this server's own line aside: links come and go, and a name that
    /// has changed is dialled at the next attempt. Connections that last stay.
    pub(in crate::ensemble) fn follow(&self, addresses: BTreeMap<ServerId, Vec<PeerAddress>>) {
        let shared = &self.shared;
        let mut links = shared.links.write();
        links.retain(|id, link| {
            let stays = addresses.contains_key(id);
            if !stays {
                tracing::info!(peer = %id, "no longer connected to");
                link.close.cancel();
                shared.states.send_modify(|states| drop(states.remove(id)));
            }
            stays
        });
        for id in addresses.keys().filter(|id| **id != shared.config.me) {
            if links.contains_key(id) {
                continue;
            }
            let link = Arc::new(Link::default());
            links.insert(*id, Arc::clone(&link));
            let new = LinkState::new();
            shared
                .states
                .send_modify(|states| drop(states.insert(*id, new)));
            shared
                .tasks
                .spawn(link::keep(Arc::clone(shared), *id, link));
        }
        *shared.addresses.write() = addresses;
    }

    /// Begins to accept, and to ask `serve` what peers ask of this server. Once.
    pub(in crate::ensemble) fn serve(&self, serve: Arc<dyn Serve>) {
        for acceptor in self.acceptors.lock().drain(..) {
            let shared = Arc::clone(&self.shared);
            let serve = Arc::clone(&serve);
            let task = inbound::run(shared, serve, acceptor);
            self.shared.tasks.spawn(task);
        }
    }

    /// Where it listens.
    #[allow(
        dead_code,
        reason = "for those who let the system choose the port: tests"
    )]
    pub(in crate::ensemble) fn listening(&self) -> &[SocketAddr] {
        &self.listening
    }

    /// What this server says of itself from now on. Connections from servers of another ensemble end.
    pub(in crate::ensemble) fn introduce(&self, identity: Identity) {
        *self.shared.identity.write() = identity;
        self.shared.registry.close_where(|hello| {
            let both = identity.cluster.zip(hello.identity.cluster);
            both.is_some_and(|(mine, theirs)| mine != theirs)
        });
    }

    /// Asks a peer, within `call_ms`.
    ///
    /// # Errors
    /// See [`CallError`]. It may have been heard.
    pub(in crate::ensemble) async fn call(
        &self,
        to: ServerId,
        ask: Ask,
    ) -> Result<Told, CallError> {
        let within = Duration::from_millis(self.shared.config.call_ms);
        self.call_within(to, ask, within).await
    }

    /// Asks a peer, within a time of the caller's.
    ///
    /// # Errors
    /// See [`CallError`]. It may have been heard.
    pub(in crate::ensemble) async fn call_within(
        &self,
        to: ServerId,
        ask: Ask,
        within: Duration,
    ) -> Result<Told, CallError> {
        let told = self.shared.call(to, Request::Ask(ask), within, false);
        Ok(Told::take(told.await?)?)
    }

    /// Asks for a vote. A link that is down is tried at once.
    pub(in crate::ensemble) async fn vote(
        &self,
        to: ServerId,
        request: VoteRequest,
        within: Duration,
    ) -> Result<VoteResponse, CallError> {
        let answer = self.shared.call(to, Request::Vote(request), within, true);
        Ok(messages::take_vote_response(answer.await?)?)
    }

    /// Asks whether a vote would be given. A link that is down is tried at once.
    pub(in crate::ensemble) async fn pre_vote(
        &self,
        to: ServerId,
        request: VoteRequest,
        within: Duration,
    ) -> Result<VoteResponse, CallError> {
        let answer = self
            .shared
            .call(to, Request::PreVote(request), within, true);
        Ok(messages::take_vote_response(answer.await?)?)
    }

    /// Sends a heartbeat, or a few entries, on the control lane.
    pub(in crate::ensemble) async fn heartbeat(
        &self,
        to: ServerId,
        request: AppendRequest,
        within: Duration,
    ) -> Result<AppendResponse, CallError> {
        let request = Request::Heartbeat(request);
        let answer = self.shared.call(to, request, within, false);
        Ok(messages::take_append_response(answer.await?)?)
    }

    /// Hands leadership over.
    pub(in crate::ensemble) async fn transfer_leader(
        &self,
        to: ServerId,
        request: TransferRequest,
        within: Duration,
    ) -> Result<TransferResponse, CallError> {
        let request = Request::Transfer(request);
        let answer = self.shared.call(to, request, within, false);
        Ok(messages::take_transfer_response(answer.await?)?)
    }

    /// A replication lane to a peer; connects when it is used.
    pub(in crate::ensemble) fn replication(&self, to: ServerId) -> Replication {
        Replication::new(Arc::clone(&self.shared), to)
    }

    /// Connects to the leader, to forward batches to it: they arrive in the order in which they are
    /// sent, and are answered in that order.
    ///
    /// # Errors
    /// It cannot be reached: find out who leads.
    pub(in crate::ensemble) async fn forward(
        &self,
        to: ServerId,
    ) -> Result<(ForwardSender, ForwardAnswers), DialError> {
        forward::open(&self.shared, to).await
    }

    /// Sends a snapshot to a server that is too far behind, as far as it is not there already, and waits
    /// until it has been installed.
    ///
    /// # Errors
    /// It cannot be reached, or does not take any.
    pub(in crate::ensemble) async fn send_snapshot(
        &self,
        to: ServerId,
        offer: Offer,
        source: &dyn Source,
    ) -> Result<SnapshotResponse, SnapshotError> {
        snapshot::send(&self.shared, to, offer, source).await
    }

    /// The control connection to each peer, to watch it change: whether a reconnect was refused
    /// decides on a fast failover.
    pub(in crate::ensemble) fn links(&self) -> watch::Receiver<BTreeMap<ServerId, LinkState>> {
        self.shared.states.subscribe()
    }

    /// Whether this server is connected to that one.
    pub(in crate::ensemble) fn is_up(&self, server: ServerId) -> bool {
        let states = self.shared.states.borrow();
        let link = states.get(&server);
        link.is_some_and(|link| matches!(link.phase, Phase::Up(_)))
    }

    /// All peers.
    #[cfg(test)]
    fn states(&self) -> Vec<PeerState> {
        let states = self.shared.states.borrow();
        let state = |(server, link): (&ServerId, &LinkState)| PeerState {
            link: link.clone(),
            inbound: self.shared.registry.lanes(*server),
        };
        states.iter().map(state).collect()
    }

    /// Closes all connections, and accepts none.
    pub(in crate::ensemble) async fn stop(&self) {
        self.shared.stopping.cancel();
        self.acceptors.lock().clear();
        self.shared.tasks.close();
        let ended = tokio::time::timeout(STOP_TIME_MAX, self.shared.tasks.wait()).await;
        if ended.is_err() {
            tracing::warn!("connections to other servers were left behind");
        }
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.shared.stopping.cancel();
    }
}

impl Shared {
    /// What this server says to `wanted` on `lane`.
    fn hello(&self, wanted: ServerId, lane: u8) -> Hello {
        Hello {
            from: *hello::VERSIONS.start(),
            to: *hello::VERSIONS.end(),
            server: self.config.me,
            wanted,
            incarnation: self.config.incarnation,
            lane,
            identity: *self.identity.read(),
        }
    }
}
