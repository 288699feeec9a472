//! `linearizableReads`: what a read may show that others have written, on one server and on a follower
//! that lags.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jute::{GetData, OpCode, Reply, Request, Response, SetData};
use parking_lot::{Condvar, Mutex};

use super::super::{Config, Deliver, Parts, Requests, Step, settle};
use super::{CATCH_UP_TIME, Peer, put_request, requests_with};
use crate::auth::{self, Schemes};
use crate::clock::SystemClock;
use crate::ensemble::{self, Ensemble, PeerAddress, Role};
use crate::session::{self, Greeter, SessionClocks};
use crate::state::{self, Replica, ServerId, Sink, State, Store, Txn};
use crate::storage::Log;
use crate::storage::memory::{MemoryLog, MemorySnapshots, MemoryTree};

fn get() -> Request {
    Request::GetData(GetData {
        path: Some("/".into()),
        watch: false,
    })
}

fn set(data: &'static [u8]) -> Request {
    Request::SetData(SetData {
        path: Some("/".into()),
        data: Some(data.into()),
        version: -1,
    })
}

fn every_read() -> Config {
    Config {
        linearizable_reads: true,
        ..Config::default()
    }
}

/// What the reads among the replies found, by xid.
fn found(peer: &Peer, reads: &[i32]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for reply in peer.decoded() {
        let Reply::Answer { header, body } = reply else {
            panic!("an event");
        };
        if reads.contains(&header.xid) {
            let Response::GetData(got) = Response::decode(OpCode::GET_DATA, body).unwrap() else {
                panic!("no data");
            };
            found.push(got.data.unwrap_or_default().to_vec());
        }
    }
    found
}

/// Serves until so many replies have come; how many rounds were asked for.
async fn rounds_until(peer: &mut Peer, replies: usize) -> usize {
    let mut rounds = 0;
    while peer.replies() < replies {
        let step = peer.client.advance();
        peer.collect();
        match step {
            Step::Idle | Step::Blocked => {
                if peer.client.connection().outbox.listen() && peer.replies() < replies {
                    peer.woken().await;
                }
            }
            Step::More => {}
            waits @ Step::Barrier => {
                rounds += 1;
                let settled = settle(Arc::clone(&peer.client.requests), waits).await;
                peer.client.settled(settled);
            }
            other => panic!("{other:?}"),
        }
    }
    rounds
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_came_together_share_a_round_and_keep_their_order() {
    let requests = requests_with(every_read()).await;
    let mut peer = Peer::connect(&requests).await;
    let all = [set(b"one"), get(), get(), set(b"two"), get(), get()];
    for (request, xid) in all.iter().zip(1..) {
        put_request(&mut peer.client.inbox, xid, request);
    }
    assert_eq!(rounds_until(&mut peer, 6).await, 1);
    let xids: Vec<i32> = peer
        .decoded()
        .into_iter()
        .map(|reply| match reply {
            Reply::Answer { header, .. } => header.xid,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(xids, [1, 2, 3, 4, 5, 6]);
    let expected = [b"one", b"one", b"two", b"two"].map(|data| data.to_vec());
    assert_eq!(found(&peer, &[2, 3, 5, 6]), expected);
    // What comes later has not been confirmed by then.
    put_request(&mut peer.client.inbox, 7, &get());
    assert_eq!(rounds_until(&mut peer, 7).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_alone_ask_for_no_round_and_neither_does_anything_without_the_setting() {
    let requests = requests_with(every_read()).await;
    let mut peer = Peer::connect(&requests).await;
    for xid in 1..=5 {
        put_request(&mut peer.client.inbox, xid, &set(b"data"));
    }
    assert_eq!(rounds_until(&mut peer, 5).await, 0);
    let requests = requests_with(Config::default()).await;
    let mut peer = Peer::connect(&requests).await;
    for (request, xid) in [get(), set(b"data"), get()].iter().zip(1..) {
        put_request(&mut peer.client.inbox, xid, request);
    }
    assert_eq!(rounds_until(&mut peer, 3).await, 0);
}

/// Tells the clients, and holds apply up between two entries if it is told to.
#[derive(Debug)]
pub(super) struct Gate {
    deliver: Deliver,
    is_shut: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub(super) fn shut(&self, is_shut: bool) {
        *self.is_shut.lock() = is_shut;
        self.opened.notify_all();
    }
}

impl Sink for Gate {
    fn applied(&self, state: &State, txn: &Txn) {
        self.deliver.applied(state, txn);
    }

    fn replaced(&self, state: &State) {
        self.deliver.replaced(state);
    }

    fn slice_done(&self) {
        self.deliver.slice_done();
        let mut is_shut = self.is_shut.lock();
        while *is_shut {
            self.opened.wait(&mut is_shut);
        }
    }
}

/// One server of three.
pub(super) struct Member {
    pub(super) gate: Arc<Gate>,
    pub(super) requests: Arc<Requests>,
}

type Addresses = BTreeMap<ServerId, Vec<PeerAddress>>;

fn addresses() -> Addresses {
    let free_port = || {
        let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        probe.local_addr().unwrap().port()
    };
    let address = || PeerAddress {
        host: "127.0.0.1".to_owned(),
        port: free_port(),
    };
    (1..=3).map(|id| (ServerId(id), vec![address()])).collect()
}

async fn member(me: ServerId, addresses: &Addresses, config: Config) -> Member {
    let tree = Arc::new(MemoryTree::new());
    let store = Arc::clone(&tree) as Arc<dyn Store>;
    let replica = Arc::new(Replica::open(store, state::Rules::default()).unwrap());
    let log = Arc::new(MemoryLog::new()) as Arc<dyn Log>;
    let origin = ensemble::origin(me, &log, &replica, &SystemClock).await;
    let origin = origin.unwrap();
    let sessions = Arc::new(SessionClocks::new(3000));
    let deliver = Deliver::new(Arc::default(), sessions, origin, false);
    let gate = Arc::new(Gate {
        deliver: deliver.clone(),
        is_shut: Mutex::default(),
        opened: Condvar::new(),
    });
    let mut settings = ensemble::Config::new(me, addresses.keys().copied().collect());
    settings.addresses.clone_from(addresses);
    settings.listen.clone_from(&addresses[&me]);
    let started = Ensemble::start(ensemble::Parts {
        config: settings,
        origin,
        log,
        snapshots: Arc::new(MemorySnapshots::new(tree)),
        replica: Arc::clone(&replica),
        sink: Arc::clone(&gate) as Arc<dyn Sink>,
        clock: Arc::new(SystemClock),
        network: Arc::new(crate::io::TcpNetwork),
        touched: Arc::new(ensemble::Deaf),
    });
    let session = session::Config {
        server_id: u8::try_from(me.0).unwrap(),
        ..session::Config::default()
    };
    let requests = Arc::new(Requests::new(Parts {
        deliver,
        replica,
        ensemble: Arc::new(started.await.unwrap()),
        greeter: Greeter::new(session, &SystemClock),
        schemes: Schemes::new(auth::Config::default()),
        config,
        frame_bytes_max: 1 << 20,
        catch_up_time: CATCH_UP_TIME,
    }));
    Member { gate, requests }
}

/// Three servers that serve, the leader first.
pub(super) async fn three(config: Config) -> Vec<Member> {
    let addresses = addresses();
    let mut members = Vec::new();
    for me in addresses.keys() {
        members.push(member(*me, &addresses, config).await);
    }
    for one in &members {
        one.requests.ensemble.served().await.unwrap();
    }
    let leads = |one: &Member| matches!(one.requests.ensemble.role(), Role::Leader { .. });
    members.sort_by_key(|one| !leads(one));
    members
}

/// A write is acknowledged by the leader while a follower's apply stands still. What a read on that
/// follower finds, and whether it was answered before apply went on.
async fn read_on_a_follower_that_lags(config: Config) -> (Vec<u8>, bool) {
    let members = three(config).await;
    let (leader, follower) = (&members[0], &members[1]);
    let mut writer = Peer::connect(&leader.requests).await;
    let mut reader = Peer::connect(&follower.requests).await;
    put_request(&mut writer.client.inbox, 1, &set(b"old"));
    writer.run_until(1).await;
    follower.requests.ensemble.barrier().await.unwrap();
    follower.gate.shut(true);
    // The first one is applied before the gate holds, the second one is not.
    put_request(&mut writer.client.inbox, 2, &set(b"old"));
    put_request(&mut writer.client.inbox, 3, &set(b"old"));
    writer.run_until(3).await;
    put_request(&mut writer.client.inbox, 4, &set(b"new"));
    writer.run_until(4).await;
    put_request(&mut reader.client.inbox, 1, &get());
    let early = tokio::time::timeout(Duration::from_millis(300), reader.run_until(1)).await;
    follower.gate.shut(false);
    if early.is_err() {
        reader.run_until(1).await;
    }
    let found = found(&reader, &[1]).remove(0);
    for one in members {
        one.requests.ensemble.stop().await;
    }
    (found, early.is_ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_on_a_follower_is_never_older_than_a_write_acknowledged_before() {
    let (found, was_early) = read_on_a_follower_that_lags(every_read()).await;
    assert_eq!(found, b"new");
    assert!(!was_early, "it waited for apply");
    // Without the setting it is: so the test could fail.
    let (found, was_early) = read_on_a_follower_that_lags(Config::default()).await;
    assert_eq!((found.as_slice(), was_early), (b"old".as_slice(), true));
}
