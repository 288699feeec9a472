//! The room as a whole, on the stores in memory.

mod bounds;
mod forged;
mod life;
mod lost;
mod order;
mod outgoing;
pub(super) mod planted;
mod sim;
mod speed;
mod suite;
mod three;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::BytesMut;
use jute::{Create, OpCode, SetData};
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::{Config, Deaf, Ensemble, Parts, StartError, Submission, origin};
use crate::clock::Clock;
use crate::io::TcpNetwork;
use crate::state::{
    self, ActionRef, ClusterId, Identities, Identity, Outcome, Peek, Replica, ServerId, SessionId,
    Sink, State, Store, Txn, Zxid,
};
use crate::storage::memory::{MemoryLog, MemorySnapshots, MemoryTree};
use crate::storage::{Log, Snapshots};

const SESSION: SessionId = SessionId(7);

/// A clock that moves a millisecond with each look.
#[derive(Debug)]
struct Ticks(AtomicI64);

impl Clock for Ticks {
    fn wall_ms(&self) -> i64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    fn steady_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst).cast_unsigned()
    }
}

/// What the sink is told of one txn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Told {
    sequence: u64,
    cxid: i32,
    zxid: Zxid,
    time_ms: i64,
    refused: bool,
}

/// Remembers what it is told, except for how the session is come by. Holds apply up between two
/// entries if it is told to.
#[derive(Debug)]
struct Recorder {
    is_shut: Mutex<bool>,
    opened: Condvar,
    told: Mutex<Vec<Told>>,
    count: watch::Sender<usize>,
}

impl Recorder {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            is_shut: Mutex::default(),
            opened: Condvar::new(),
            told: Mutex::default(),
            count: watch::Sender::new(0),
        })
    }

    /// Nothing is applied behind the entry that is under way, or the next one, until it is opened again.
    fn shut(&self, is_shut: bool) {
        *self.is_shut.lock() = is_shut;
        self.opened.notify_all();
    }

    async fn until(&self, count: usize) {
        let mut counts = self.count.subscribe();
        counts.wait_for(|now| *now >= count).await.unwrap();
    }

    fn sequences(&self) -> Vec<u64> {
        self.told.lock().iter().map(|told| told.sequence).collect()
    }
}

impl Sink for Recorder {
    fn applied(&self, _: &State, txn: &Txn) {
        if matches!(
            txn.outcome,
            Outcome::SessionOpened | Outcome::SessionAttached
        ) {
            return;
        }
        self.told.lock().push(Told {
            sequence: txn.sequence,
            cxid: txn.cxid,
            zxid: txn.zxid,
            time_ms: txn.time_ms,
            refused: matches!(txn.outcome, Outcome::Refused(_)),
        });
    }

    /// The tests here ask the tree.
    fn replaced(&self, _: &State) {}

    fn slice_done(&self) {
        let count = self.told.lock().len();
        self.count.send_replace(count);
        let mut is_shut = self.is_shut.lock();
        while *is_shut {
            self.opened.wait(&mut is_shut);
        }
    }
}

/// The stores of one server.
#[derive(Clone, Debug)]
struct Disk {
    log: Arc<MemoryLog>,
    memory: Arc<MemorySnapshots>,
    snapshots: Arc<dyn Snapshots>,
}

/// A server that runs.
struct Running {
    ensemble: Arc<Ensemble>,
    replica: Arc<Replica>,
    recorder: Arc<Recorder>,
}

impl Disk {
    fn new() -> Self {
        Self::of(MemoryLog::new(), MemoryTree::new())
    }

    fn of(log: MemoryLog, tree: MemoryTree) -> Self {
        let memory = Arc::new(MemorySnapshots::new(Arc::new(tree)));
        Self {
            log: Arc::new(log),
            snapshots: Arc::clone(&memory) as Arc<dyn Snapshots>,
            memory,
        }
    }

    /// The tree that is there now.
    fn tree(&self) -> Arc<MemoryTree> {
        self.memory.tree()
    }

    /// Waits until all that has been applied is persisted: it shows before that.
    async fn persisted(&self, running: &Running) {
        while self.tree().restore().unwrap().meta.last_zxid != running.replica.read().last_zxid() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    /// What is found after a crash: `kept` writes of the log that were not acknowledged, and the
    /// tree as persisted or as of the last checkpoint.
    fn crash(&self, kept: usize, persisted: bool) -> Self {
        Self::of(self.log.crash(kept), self.tree().crash(persisted))
    }

    async fn try_start(&self, config: Config) -> Result<Running, StartError> {
        let running = self.join(config).await?;
        running.open_session().await;
        // Else it might be written later, into a log that a test looks at.
        running.cluster().await;
        Ok(running)
    }

    /// Starts a server, and does not wait until it serves unless it is alone.
    async fn join(&self, config: Config) -> Result<Running, StartError> {
        let tree = self.tree();
        tree.lead(&*self.log).unwrap();
        let store = tree as Arc<dyn Store>;
        let replica = Arc::new(Replica::open(store, state::Rules::default()).unwrap());
        let recorder = Recorder::new();
        let log = Arc::clone(&self.log) as Arc<dyn Log>;
        let clock = Arc::new(Ticks(AtomicI64::new(1_000_000)));
        let origin = origin(config.server, &log, &replica, &*clock).await?;
        let ensemble = Ensemble::start(Parts {
            config,
            origin,
            log,
            snapshots: Arc::clone(&self.snapshots),
            replica: Arc::clone(&replica),
            sink: Arc::clone(&recorder) as Arc<dyn Sink>,
            clock,
            network: Arc::new(TcpNetwork),
            touched: Arc::new(Deaf),
        })
        .await?;
        Ok(Running {
            ensemble: Arc::new(ensemble),
            replica,
            recorder,
        })
    }

    async fn start(&self) -> Running {
        self.try_start(alone()).await.unwrap()
    }
}

impl Running {
    /// The first proposal on a new disk opens the session of all others, that of another run takes it.
    async fn open_session(&self) {
        let (connection, timeout_ms, password) = (0, 10_000, &[0; 16]);
        let open = ActionRef::OpenSession {
            connection,
            timeout_ms,
            password,
        };
        let attach = ActionRef::Attach {
            connection,
            timeout_ms,
            password,
        };
        let owner = || {
            self.replica
                .read()
                .session(SESSION)
                .map(|it| it.owner.origin)
        };
        let is_known = owner().is_some();
        self.submit(if is_known { attach } else { open });
        while owner() != Some(self.ensemble.origin()) {
            tokio::task::yield_now().await;
        }
    }

    /// The ensemble's name, when it is known here.
    async fn cluster(&self) -> ClusterId {
        loop {
            let known = self.replica.read().meta().cluster;
            if let Some(cluster) = known {
                return cluster;
            }
            tokio::task::yield_now().await;
        }
    }

    fn submit(&self, action: ActionRef<'_>) -> u64 {
        self.ensemble.submit(submission(0, action)).unwrap()
    }

    fn create(&self, path: &str) -> u64 {
        let body = create(path);
        self.submit(client(OpCode::CREATE, &body))
    }

    fn holds(&self, path: &str) -> bool {
        match self.replica.read().peek_znode(path) {
            Peek::Known(znode) => znode.is_some(),
            Peek::NotInMemory => panic!("the tree in memory knows everything"),
        }
    }
}

fn alone() -> Config {
    Config::new(ServerId(1), vec![ServerId(1)])
}

fn submission(cxid: i32, action: ActionRef<'_>) -> Submission<'_> {
    static NOBODY: std::sync::LazyLock<Identities> = std::sync::LazyLock::new(|| {
        Arc::from([Identity {
            scheme: Arc::from("ip"),
            id: Arc::from("127.0.0.1"),
        }])
    });
    Submission {
        session: SESSION,
        cxid,
        identities: &NOBODY,
        action,
    }
}

fn client(op: OpCode, body: &[u8]) -> ActionRef<'_> {
    ActionRef::Client {
        op,
        connection: 0,
        body,
    }
}

/// The body of a create of an open, persistent znode.
fn create(path: &str) -> BytesMut {
    create_with(path, 0)
}

/// The same with flags.
fn create_with(path: &str, flags: i32) -> BytesMut {
    let mut body = BytesMut::new();
    let acl = jute::Acl {
        perms: jute::perms::ALL,
        id: jute::Id::ANYONE,
    };
    let create = Create {
        path: Some(path.into()),
        data: Some(bytes::Bytes::from_static(b"data")),
        acl: Some(vec![acl]),
        flags,
    };
    create.encode(&mut body);
    body
}

/// The body of a setData of any version.
fn set_data(path: &str, bytes: usize) -> BytesMut {
    let mut body = BytesMut::new();
    let set = SetData {
        path: Some(path.into()),
        data: Some(vec![7; bytes].into()),
        version: -1,
    };
    set.encode(&mut body);
    body
}
