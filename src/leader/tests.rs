//! The reaper on a server whose clocks a test turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use bytes::BytesMut;
use jute::{Create, CreateTtl, OpCode};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Config, reap};
use crate::clock::Clock;
use crate::ensemble::{self, Ensemble, Submission};
use crate::state::{
    ActionRef, Identities, Identity, Peek, Replica, Rules, ServerId, SessionId, Silence, Store,
    StoreError,
};
use crate::storage::memory::{MemoryLog, MemorySnapshots, MemoryTree};
use crate::storage::{Log, Snapshots};

const SESSION: SessionId = SessionId(7);
const DAY_MS: i64 = 24 * 3_600_000;
const YEAR_MS: i64 = 365 * DAY_MS;

#[derive(Debug)]
struct Clocks {
    wall_ms: AtomicI64,
    steady_ms: AtomicU64,
}

impl Clocks {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            wall_ms: AtomicI64::new(1_795_000_000_000),
            steady_ms: AtomicU64::new(1),
        })
    }

    fn pass(&self, ms: u64) {
        self.wall_ms.fetch_add(ms.cast_signed(), SeqCst);
        self.steady_ms.fetch_add(ms, SeqCst);
    }

    /// Somebody sets the wall clock.
    fn set(&self, by_ms: i64) {
        self.wall_ms.fetch_add(by_ms, SeqCst);
    }
}

impl Clock for Clocks {
    fn wall_ms(&self) -> i64 {
        self.wall_ms.load(SeqCst)
    }

    fn steady_ms(&self) -> u64 {
        self.steady_ms.load(SeqCst)
    }
}

/// A lone voter with its reaper, which goes round without a pause.
struct Server {
    log: Arc<MemoryLog>,
    tree: Arc<MemoryTree>,
    clocks: Arc<Clocks>,
    ensemble: Arc<Ensemble>,
    replica: Arc<Replica>,
    stop: CancellationToken,
    reaper: JoinHandle<Result<(), StoreError>>,
}

impl Server {
    async fn new(clocks: &Arc<Clocks>, config: Config) -> Self {
        let (log, tree) = (MemoryLog::new(), MemoryTree::new());
        let server = Self::start(Arc::new(log), Arc::new(tree), clocks, config).await;
        server.submit(ActionRef::OpenSession {
            connection: 0,
            timeout_ms: 10_000,
            password: &[0; 16],
        });
        server
    }

    async fn start(
        log: Arc<MemoryLog>,
        tree: Arc<MemoryTree>,
        clocks: &Arc<Clocks>,
        config: Config,
    ) -> Self {
        let rules = Rules {
            extended_types: true,
            ..Rules::default()
        };
        let store = Arc::clone(&tree) as Arc<dyn Store>;
        let replica = Arc::new(Replica::open(store, rules).unwrap());
        let snapshots = Arc::new(MemorySnapshots::new(Arc::clone(&tree)));
        let me = ServerId(1);
        let its_log = Arc::clone(&log) as Arc<dyn Log>;
        let origin = ensemble::origin(me, &its_log, &replica, &**clocks).await;
        let started = Ensemble::start(ensemble::Parts {
            config: ensemble::Config::new(me, vec![me]),
            origin: origin.unwrap(),
            log: its_log,
            snapshots: snapshots as Arc<dyn Snapshots>,
            replica: Arc::clone(&replica),
            sink: Arc::new(Silence),
            clock: Arc::clone(clocks) as Arc<dyn Clock>,
            network: Arc::new(crate::io::TcpNetwork),
            touched: Arc::new(ensemble::Deaf),
        });
        let ensemble = Arc::new(started.await.unwrap());
        let stop = CancellationToken::new();
        let config = Config {
            container_check_interval_ms: 1,
            container_max_per_minute: u32::MAX,
            ..config
        };
        let reaper = tokio::spawn(reap(
            Arc::clone(&ensemble),
            Arc::clone(&replica),
            Arc::clone(clocks) as Arc<dyn Clock>,
            config,
            stop.clone(),
        ));
        Self {
            log,
            tree,
            clocks: Arc::clone(clocks),
            ensemble,
            replica,
            stop,
            reaper,
        }
    }

    /// What the next start finds.
    async fn end(self) -> (Arc<MemoryLog>, Arc<MemoryTree>) {
        self.stop.cancel();
        self.reaper.await.unwrap().unwrap();
        self.ensemble.stop().await;
        (Arc::new(self.log.crash(0)), Arc::new(self.tree.crash(true)))
    }

    fn submit(&self, action: ActionRef<'_>) {
        let nobody: Identities = Arc::from([Identity {
            scheme: Arc::from("ip"),
            id: Arc::from("127.0.0.1"),
        }]);
        let submitted = self.ensemble.submit(Submission {
            session: SESSION,
            cxid: 1,
            identities: &nobody,
            action,
        });
        submitted.unwrap();
    }

    /// Creates a TTL znode and waits until it is there.
    async fn create_ttl(&self, path: &str, ttl_ms: i64) {
        let mut body = BytesMut::new();
        let create = CreateTtl {
            path: Some(path.into()),
            data: None,
            acl: Some(open_acl()),
            flags: 5,
            ttl_ms,
        };
        create.encode(&mut body);
        let op = OpCode::CREATE_TTL;
        self.submit(ActionRef::Client {
            op,
            connection: 0,
            body: &body,
        });
        self.until(path, true).await;
    }

    /// Creates a container, which may be gone again before anybody sees it.
    fn create_container(&self, path: &str) {
        let mut body = BytesMut::new();
        let create = Create {
            path: Some(path.into()),
            data: None,
            acl: Some(open_acl()),
            flags: 4,
        };
        create.encode(&mut body);
        let op = OpCode::CREATE_CONTAINER;
        self.submit(ActionRef::Client {
            op,
            connection: 0,
            body: &body,
        });
    }

    fn holds(&self, path: &str) -> bool {
        match self.replica.read().peek_znode(path) {
            Peek::Known(znode) => znode.is_some(),
            Peek::NotInMemory => panic!("the tree in memory knows everything"),
        }
    }

    async fn until(&self, path: &str, there: bool) {
        while self.holds(path) != there {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Lets time pass until the znode has been reaped; how much, in milliseconds.
    async fn lapse_ms(&self, path: &str) -> u64 {
        let mut passed_ms = 0;
        while self.holds(path) {
            self.clocks.pass(10);
            passed_ms += 10;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        passed_ms
    }
}

fn open_acl() -> Vec<jute::Acl> {
    vec![jute::Acl {
        perms: jute::perms::ALL,
        id: jute::Id::ANYONE,
    }]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_ahead_ends_no_ttl_znode() {
    let clocks = Clocks::new();
    let server = Server::new(&clocks, Config::default()).await;
    server.create_ttl("/keep", 60_000).await;
    server.create_ttl("/over", 5).await;
    clocks.set(10 * YEAR_MS);
    server.create_ttl("/ahead", 60_000).await;
    clocks.pass(10);
    // The reaper goes by their order: when this one is gone, it has passed the others over.
    server.until("/over", false).await;
    assert!(server.holds("/keep") && server.holds("/ahead"));
    clocks.set(-10 * YEAR_MS);
    clocks.pass(60_000);
    server.until("/keep", false).await;
    server.until("/ahead", false).await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_set_back_a_day_makes_no_ttl_znode_live_longer() {
    let clocks = Clocks::new();
    let server = Server::new(&clocks, Config::default()).await;
    server.create_ttl("/t", 1_000).await;
    clocks.set(-DAY_MS);
    clocks.pass(1_001);
    server.until("/t", false).await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_when_it_was_set_back_while_the_server_was_down_and_nobody_writes() {
    let clocks = Clocks::new();
    let server = Server::new(&clocks, Config::default()).await;
    server.create_ttl("/t", 1_000).await;
    let (log, tree) = server.end().await;
    clocks.set(-DAY_MS);
    let server = Server::start(log, tree, &clocks, Config::default()).await;
    let passed_ms = server.lapse_ms("/t").await;
    // Once to be anchored, once to lapse, and some rounds that the reaper needs.
    assert!((1_000..600_000).contains(&passed_ms), "{passed_ms}");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unused_container_goes_after_so_long_if_that_is_set() {
    let clocks = Clocks::new();
    for (never_used_ms, goes) in [(1_000, true), (-1, true), (0, false)] {
        let config = Config {
            container_never_used_ms: never_used_ms,
            ..Config::default()
        };
        let server = Server::new(&clocks, config).await;
        server.create_container("/c");
        // Behind it in the log: when this one is there, so was that.
        server.create_ttl("/over", 1_500).await;
        clocks.pass(2_000);
        server.until("/over", false).await;
        if goes {
            server.until("/c", false).await;
        } else {
            assert!(server.holds("/c"));
        }
        server.end().await;
    }
}
