//! Peers against each other: on loopback sockets, and in memory, where time is paused.

mod client;
mod codec;
mod hello;
mod hostile;
mod lanes;
mod link;
mod member;
mod snapshots;
mod walking;

use std::collections::HashMap;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use parking_lot::Mutex;

use super::super::raft::messages::{AppendRequest, VoteRequest};
use super::super::raft::types::{EncodedBatch, Entry, LogId, Payload, Vote, log_id};
use super::*;
use crate::io::memory::MemoryNetwork;
use crate::io::{Stream, TcpNetwork};
use crate::state::LogPosition;
use member::Member;

const PORT: u16 = 2888;

/// Fails instead of hanging: of real time on sockets, of paused time in memory.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, what).await.expect("in time")
}

fn id(number: u8) -> ServerId {
    ServerId(u64::from(number))
}

fn at(term: u64, index: u64) -> LogId {
    log_id(LogPosition { term, index })
}

fn address(number: u8) -> PeerAddress {
    PeerAddress {
        host: format!("s{number}"),
        port: PORT,
    }
}

/// Server `number` of those from 1 to `count`; its incarnation is a hundred times its number.
fn config(number: u8, count: u8) -> PeerConfig {
    let mut config = PeerConfig::new(id(number), u64::from(number) * 100);
    config.addresses = (1..=count)
        .map(|other| (id(other), vec![address(other)]))
        .collect();
    config.listen = vec![address(number)];
    config
}

/// Opens it in memory and serves.
async fn open(network: &MemoryNetwork, number: u8, config: PeerConfig) -> (Peers, Arc<Member>) {
    open_as(network, number, config, Identity::default()).await
}

async fn open_as(
    network: &MemoryNetwork,
    number: u8,
    config: PeerConfig,
    identity: Identity,
) -> (Peers, Arc<Member>) {
    let opened = Peers::open(config, identity, network.host(number)).await;
    let peers = opened.expect("listens");
    let member = Arc::new(Member::default());
    peers.serve(Arc::clone(&member) as Arc<dyn Serve>);
    (peers, member)
}

/// Waits until the link is in such a phase.
async fn until(peers: &Peers, to: ServerId, is_such: impl Fn(&Phase) -> bool) -> LinkState {
    let mut links = peers.links();
    let found = links.wait_for(|links| is_such(&links[&to].phase));
    let found = soon(found).await.expect("the peers live");
    found[&to].clone()
}

fn is_up(phase: &Phase) -> bool {
    matches!(phase, Phase::Up(_))
}

fn is_down(why: Down) -> impl Fn(&Phase) -> bool {
    move |phase| matches!(phase, Phase::Down { why: found, .. } if *found == why)
}

fn said(state: &LinkState) -> String {
    let Phase::Down { said, .. } = &state.phase else {
        panic!("{state:?}");
    };
    said.to_string()
}

/// A vote request of `server`.
fn vote_request(server: u8, term: u64) -> VoteRequest {
    VoteRequest::new(Vote::new(term, u64::from(server)), Some(at(term - 1, 7)))
}

/// Entries behind `previous`, each of so many bytes, of leader `server`.
fn append_request(server: u8, term: u64, previous: u64, sizes: &[usize]) -> AppendRequest {
    let entries = (previous + 1..).zip(sizes).map(|(index, size)| {
        let fill = u8::try_from(index % 100).expect("small");
        let mut bytes = vec![fill; *size];
        bytes[0] = 1;
        let payload = Payload::Normal(EncodedBatch(bytes.into()));
        openraft::entry::RaftEntry::new(at(term, index), payload)
    });
    AppendRequest {
        vote: Vote::new_committed(term, u64::from(server)),
        prev_log_id: Some(at(term, previous)),
        entries: entries.collect::<Vec<Entry>>(),
        leader_commit: Some(at(term, previous)),
    }
}

/// TCP on the loopback; where a name leads is decided while it runs.
#[derive(Clone, Debug, Default)]
struct Loopback {
    places: Arc<Mutex<HashMap<String, SocketAddr>>>,
}

impl Loopback {
    fn place(&self, host: &str, at: SocketAddr) {
        self.places.lock().insert(host.to_owned(), at);
    }

    /// Opens it on a port that the system picks, and serves.
    async fn open(&self, number: u8, config: PeerConfig) -> (Peers, Arc<Member>) {
        let host = address(number).host;
        self.place(&host, "127.0.0.1:0".parse().expect("an address"));
        let opened = Peers::open(config, Identity::default(), Arc::new(self.clone())).await;
        let peers = opened.expect("listens");
        self.place(&host, peers.listening()[0]);
        let member = Arc::new(Member::default());
        peers.serve(Arc::clone(&member) as Arc<dyn Serve>);
        (peers, member)
    }
}

impl Network for Loopback {
    fn resolve<'a>(&'a self, host: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let found = self.places.lock().get(host).map(|at| vec![*at]);
        async move { found.ok_or_else(|| ErrorKind::NotFound.into()) }.boxed()
    }

    fn connect(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
        TcpNetwork.connect(to)
    }

    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Acceptor>>> {
        TcpNetwork.listen(at)
    }
}
