//! The room as a whole, on the stores in memory: clients without sockets.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what these tests do not send is a mistake in them"
)]

mod bogus;
mod bounds;
mod forgetful;
mod large;
mod linearizable;
mod model;
mod moves;
mod order;
mod replaced;
mod sent_away;
mod waiting;
mod warm;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jute::{ConnectRequest, FrameCodec, Reply, Request, RequestHeader};
use parking_lot::Mutex;
use tokio_util::codec::Decoder as _;

use super::{Client, Config, Deliver, Parts, Requests, Settle, Step, settle};
use crate::auth::{self, Schemes};
use crate::clock::SystemClock;
use crate::connection::Outbox;
use crate::ensemble::{self, Ensemble};
use crate::io::SocketWriter;
use crate::session::{self, Greeter, SessionClocks};
use crate::state::{self, Replica, ServerId, Store};
use crate::storage::Log;
use crate::storage::memory::{MemoryLog, MemorySnapshots, MemoryTree};
use forgetful::Forgetful;

/// A server without sockets, whose memory forgets at every so many looks what is not pinned (0: never;
/// 1: it knows nothing else).
async fn requests(forgets_every: u64) -> Arc<Requests> {
    let tree = Arc::new(MemoryTree::new());
    let store = Arc::new(Forgetful::new(Arc::clone(&tree), forgets_every));
    requests_over(tree, store).await
}

/// A server without sockets that lets clients wait for so long that have seen more than it has.
async fn requests_that_wait(catch_up_time: Duration) -> Arc<Requests> {
    let tree = Arc::new(MemoryTree::new());
    let store = Arc::new(Forgetful::new(Arc::clone(&tree), 0));
    requests_of(tree, store, catch_up_time).await
}

/// Longer than any test.
const CATCH_UP_TIME: Duration = Duration::from_secs(600);

/// The same over this store, which is over this tree.
async fn requests_over(tree: Arc<MemoryTree>, store: Arc<Forgetful>) -> Arc<Requests> {
    requests_of(tree, store, CATCH_UP_TIME).await
}

/// A server without sockets, with these bounds.
async fn requests_with(config: Config) -> Arc<Requests> {
    let tree = Arc::new(MemoryTree::new());
    let store = Arc::new(Forgetful::new(Arc::clone(&tree), 0));
    requests_made(tree, store, CATCH_UP_TIME, config).await
}

async fn requests_of(
    tree: Arc<MemoryTree>,
    store: Arc<Forgetful>,
    catch_up_time: Duration,
) -> Arc<Requests> {
    let config = Config {
        reply_bytes_max: REPLY_BYTES_MAX,
        ..Config::default()
    };
    requests_made(tree, store, catch_up_time, config).await
}

async fn requests_made(
    tree: Arc<MemoryTree>,
    store: Arc<Forgetful>,
    catch_up_time: Duration,
    config: Config,
) -> Arc<Requests> {
    let store: Arc<dyn Store> = store;
    let replica = Arc::new(Replica::open(store, state::Rules::default()).unwrap());
    let me = ServerId(1);
    let log = Arc::new(MemoryLog::new()) as Arc<dyn Log>;
    let origin = ensemble::origin(me, &log, &replica, &SystemClock).await;
    let origin = origin.unwrap();
    let sessions = Arc::new(SessionClocks::new(3000));
    let deliver = Deliver::new(Arc::default(), sessions, origin, false);
    let started = Ensemble::start(ensemble::Parts {
        config: ensemble::Config::new(me, vec![me]),
        origin,
        log,
        snapshots: Arc::new(MemorySnapshots::new(tree)),
        replica: Arc::clone(&replica),
        sink: Arc::new(deliver.clone()),
        clock: Arc::new(SystemClock),
        network: Arc::new(crate::io::TcpNetwork),
        touched: Arc::new(ensemble::Deaf),
    });
    Arc::new(Requests::new(Parts {
        deliver,
        replica,
        ensemble: Arc::new(started.await.unwrap()),
        greeter: Greeter::new(session::Config::default(), &SystemClock),
        schemes: Schemes::new(auth::Config::default()),
        config,
        frame_bytes_max: 1 << 20,
        catch_up_time,
    }))
}

/// Longest reply here.
const REPLY_BYTES_MAX: usize = 1 << 20;

/// A socket that takes everything, unless it is full.
#[derive(Clone, Default)]
struct Mailbox(Arc<Mutex<BytesMut>>, Arc<AtomicBool>);

impl SocketWriter for Mailbox {
    fn try_send(&self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.1.load(Relaxed) {
            return Err(std::io::ErrorKind::WouldBlock.into());
        }
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
}

/// A client, and what has come out of it.
struct Peer {
    client: Client,
    mailbox: Mailbox,
    frames: Vec<Bytes>,
    unsplit: BytesMut,
}

impl Peer {
    /// A client that has asked for nothing yet.
    fn new(requests: &Arc<Requests>) -> Self {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let identities = Schemes::of_connection(peer.ip()).into();
        let registry = &requests.shared.connections;
        let mailbox = Mailbox::default();
        let outbox = Outbox::new(16 << 20, Box::new(mailbox.clone()));
        let connection = registry.enter(peer, identities, outbox);
        Self {
            mailbox,
            client: Client::new(Arc::clone(requests), connection, 1 << 20),
            frames: Vec::new(),
            unsplit: BytesMut::new(),
        }
    }

    /// A client with a session.
    async fn connect(requests: &Arc<Requests>) -> Self {
        let mut peer = Self::new(requests);
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout_ms: 30_000,
            session_id: 0,
            password: Some(vec![0; 16].into()),
            read_only: Some(false),
        };
        let mut payload = BytesMut::new();
        request.encode(&mut payload);
        put_frame(&mut peer.client.inbox, &payload);
        peer.run_until(1).await;
        peer.frames.clear();
        peer
    }

    /// Serves what can be served now. True if something is still waited for.
    async fn step(&mut self) -> bool {
        let step = self.client.advance();
        self.collect();
        assert!(self.client.connection().reads_waiting() <= super::behind::WAITING_MAX);
        match step {
            // What was told meanwhile would not wake it.
            Step::Idle | Step::Blocked => self.client.connection().outbox.listen(),
            Step::Clogged => panic!("the socket takes everything"),
            Step::More => {
                tokio::task::yield_now().await;
                false
            }
            Step::Gone | Step::End => panic!("the connection ended: {step:?}"),
            waits => {
                let settled = settle(Arc::clone(&self.client.requests), waits).await;
                assert!(!matches!(settled, Settle::Failed | Settle::TooLarge));
                self.client.settled(settled);
                false
            }
        }
    }

    fn collect(&mut self) {
        self.client.connection().outbox.flush();
        self.unsplit.unsplit(self.mailbox.0.lock().split());
        let mut codec = FrameCodec::new(1 << 24);
        while let Some(frame) = codec.decode(&mut self.unsplit).unwrap() {
            self.frames.push(frame);
        }
    }

    fn replies(&self) -> usize {
        let is_event = |frame: &Bytes| frame.starts_with(&[0xff, 0xff, 0xff, 0xff]);
        self.frames.iter().filter(|frame| !is_event(frame)).count()
    }

    async fn run_until(&mut self, replies: usize) {
        while self.replies() < replies {
            if self.step().await && self.replies() < replies {
                self.woken().await;
            }
        }
    }

    async fn woken(&self) {
        let outbox = &self.client.connection().outbox;
        let woken = std::future::poll_fn(|cx| outbox.poll_woken(cx));
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, woken).await.expect("no reply");
    }

    fn decoded(&self) -> Vec<Reply> {
        let frames = self.frames.iter().cloned();
        frames.map(|frame| Reply::decode(frame).unwrap()).collect()
    }
}

fn put_frame(out: &mut BytesMut, payload: &[u8]) {
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
    out.extend_from_slice(payload);
}

fn put_request(out: &mut BytesMut, xid: i32, request: &Request) {
    let mut payload = BytesMut::new();
    let op = request.op();
    RequestHeader { xid, op }.encode(&mut payload);
    request.encode_body(&mut payload);
    put_frame(out, &payload);
}
