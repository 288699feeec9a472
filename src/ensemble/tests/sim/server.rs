//! A simulated server: all of it on one runtime whose time is paused. To drop that is to kill it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::super::super::placement::Placement;
use super::disk::{Defect, SimDisk};
use super::ledger::{Ledger, Witness};
use crate::clock::Clock;
use crate::ensemble::{Config, Deaf, Ensemble, Failure, Parts, PeerAddress, Role, StartError};
use crate::io::memory::MemoryNetwork;
use crate::state::{Members, Origin, Replica, Rules, ServerId, Sink, Store, read_lines};
use crate::storage::{Log, Snapshots};

/// All servers.
pub(super) const ALL: [u64; 3] = [1, 2, 3];
/// One step of time.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// The simulation begins then, milliseconds since 1970.
const BEGIN_MS: i64 = 1_700_000_000_000;
/// So seldom that the log holds what a lagging server needs, so often that trees are flushed.
const CHECKPOINT_ENTRIES: u64 = 40;
/// How long those that are to vote may take to catch up, where somebody waits for it.
const CATCH_UP_MS: u64 = 5_000;
/// As long as clients wait by default.
const PATIENCE_MS: u64 = 2_000;

/// How long the disk of a log takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Speed {
    /// What is written is durable after a tick or a few.
    Fast,
    /// Now and then some of it is.
    Slow,
    /// Nothing is.
    Hung,
}

/// The clock of a server: the simulation's, and by how much it is wrong.
#[derive(Debug, Default)]
pub(super) struct SimClock {
    now_ms: AtomicU64,
    off_ms: AtomicI64,
    /// The steady clock counts from elsewhere after each start.
    since_ms: AtomicU64,
}

impl SimClock {
    pub(super) fn jump(&self, by_ms: i64) {
        self.off_ms.fetch_add(by_ms, SeqCst);
    }
}

impl Clock for SimClock {
    fn wall_ms(&self) -> i64 {
        let now = self.now_ms.load(SeqCst).cast_signed();
        BEGIN_MS + now + self.off_ms.load(SeqCst)
    }

    fn steady_ms(&self) -> u64 {
        self.since_ms.load(SeqCst) + self.now_ms.load(SeqCst)
    }
}

/// A server.
pub(super) struct Server {
    pub(super) id: u64,
    /// Who votes and who observes, as its files list them.
    pub(super) listed: (Vec<u64>, Vec<u64>),
    /// Its members change by requests; who asks may.
    pub(super) by_requests: bool,
    pub(super) disk: SimDisk,
    pub(super) clock: Arc<SimClock>,
    pub(super) speed: Speed,
    /// Its speed while nothing is wrong with it.
    pub(super) usual: Speed,
    pub(super) run: Option<Run>,
    /// How often it has been started.
    starts: u64,
    /// Its disk has been wiped.
    pub(super) is_wiped: bool,
    /// It has failed in a way in which a supervisor starts it again.
    pub(super) must_restart: bool,
    /// It has just sent its clients away, and taken back what is behind this sequence.
    pub(super) recalled: Option<u64>,
    /// Entries of its log that a checkpoint leaves for others.
    pub(super) entries_kept: Option<u64>,
    said: String,
}

/// A server while it runs.
pub(super) struct Run {
    pub(super) runtime: Runtime,
    starting: Option<oneshot::Receiver<Result<Ensemble, StartError>>>,
    pub(super) ensemble: Option<Arc<Ensemble>>,
    pub(super) replica: Arc<Replica>,
    pub(super) witness: Arc<Witness>,
    /// Which start it was.
    pub(super) number: u64,
    /// Whether clients should be here, when it was last looked at.
    admits: bool,
    /// Ends when the server has stopped in order.
    stopping: Option<oneshot::Receiver<()>>,
}

impl Server {
    pub(super) fn new(id: u64, defect: Option<Defect>) -> Self {
        Self {
            id,
            listed: (ALL.to_vec(), Vec::new()),
            by_requests: false,
            disk: SimDisk::new(defect),
            clock: Arc::default(),
            speed: Speed::Fast,
            usual: Speed::Fast,
            run: None,
            starts: 0,
            is_wiped: false,
            must_restart: false,
            recalled: None,
            entries_kept: None,
            said: String::new(),
        }
    }

    fn config(&self) -> Config {
        let address = |id: u64| PeerAddress {
            host: format!("s{id}"),
            port: 2888,
        };
        let ids = |ids: &[u64]| ids.iter().copied().map(ServerId).collect::<Vec<_>>();
        let (voters, observers) = &self.listed;
        let mut config = Config::new(ServerId(self.id), ids(voters));
        config.observers = ids(observers);
        config.placement = Placement::Simulated;
        let all = voters.iter().chain(observers);
        config.addresses = all.map(|id| (ServerId(*id), vec![address(*id)])).collect();
        if self.by_requests {
            config.catch_up_ms = CATCH_UP_MS;
            config.members_by_files = false;
            config.members = Some(self.members());
        }
        config.listen = vec![address(self.id)];
        config.checkpoint_entries = CHECKPOINT_ENTRIES;
        config.patience_ms = PATIENCE_MS;
        // Whoever joins later finds all of it, if nothing else is said.
        config.entries_kept = self.entries_kept.unwrap_or(10_000);
        config
    }

    /// What its files say, in full.
    fn members(&self) -> Members {
        let line = |id: &u64, role| format!("server.{id}=s{id}:2888:3888:{role};2181\n");
        let (voters, observers) = &self.listed;
        let voters = voters.iter().map(|id| line(id, "participant"));
        let observers = observers.iter().map(|id| line(id, "observer"));
        read_lines(&voters.chain(observers).collect::<String>()).unwrap()
    }

    /// Starts it on what its disk holds.
    pub(super) fn start(&mut self, network: &MemoryNetwork, ledger: &Arc<Ledger>, steady_ms: u64) {
        self.starts += 1;
        self.clock.since_ms.store(steady_ms, SeqCst);
        let store = self.disk.found() as Arc<dyn Store>;
        let rules = Rules {
            reconfig_enabled: self.by_requests,
            in_ensemble: self.by_requests,
            skip_acl: self.by_requests,
            ..Rules::default()
        };
        let replica = Arc::new(Replica::open(store, rules).unwrap());
        let server = ServerId(self.id);
        // As `ensemble::origin` does it, which waits on another thread.
        let used = replica.read().cursor(server).incarnation;
        let at_least = self.clock.wall_ms().cast_unsigned().max(used + 1);
        let incarnation = self.disk.log.next_incarnation(at_least).unwrap();
        let origin = Origin {
            server,
            incarnation,
        };
        let witness = Witness::new(origin, ledger, &replica);
        let parts = Parts {
            config: self.config(),
            origin,
            log: Arc::clone(&self.disk.log) as Arc<dyn Log>,
            snapshots: Arc::clone(&self.disk.snapshots) as Arc<dyn Snapshots>,
            replica: Arc::clone(&replica),
            sink: Arc::clone(&witness) as Arc<dyn Sink>,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            network: network.host(u8::try_from(self.id).unwrap()),
            touched: Arc::new(Deaf),
        };
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let (tell, starting) = oneshot::channel();
        runtime.spawn(async move {
            // Nobody waits if the server has been killed.
            let _unheard = tell.send(Ensemble::start(parts).await);
        });
        self.run = Some(Run {
            runtime,
            starting: Some(starting),
            ensemble: None,
            replica,
            witness,
            number: self.starts,
            admits: false,
            stopping: None,
        });
    }

    /// Ends it as a power failure does. `kept`: of what the log has not acknowledged, how many writes
    /// the disk has nevertheless. `persisted`: whether the tree has what it was given.
    pub(super) fn crash(&mut self, network: &MemoryNetwork, kept: usize, persisted: bool) {
        self.disk = self.disk.crash(kept, persisted);
        network.kill(u8::try_from(self.id).unwrap());
        self.run = None;
        self.must_restart = false;
        self.speed = self.usual;
    }

    /// Asks it to end in order.
    pub(super) fn stop(&mut self) {
        let Some(run) = &mut self.run else { return };
        let Some(ensemble) = run.ensemble.clone() else {
            return;
        };
        let (tell, stopped) = oneshot::channel();
        run.runtime.spawn(async move {
            ensemble.stop().await;
            let _unheard = tell.send(());
        });
        run.stopping = Some(stopped);
    }

    /// Whether it has been asked to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.stopping.is_some())
    }

    /// Whether it has ended in order.
    pub(super) fn has_stopped(&mut self) -> bool {
        let stopping = self.run.as_mut().and_then(|run| run.stopping.as_mut());
        stopping.is_some_and(|stopped| stopped.try_recv().is_ok())
    }

    /// One step of time.
    pub(super) fn tick(&mut self, now_ms: u64, ledger: &Ledger) {
        self.clock.now_ms.store(now_ms, SeqCst);
        let Some(run) = &mut self.run else { return };
        run.runtime
            .block_on(async { tokio::time::sleep(TICK).await });
        if let Some(starting) = &mut run.starting
            && let Ok(started) = starting.try_recv()
        {
            run.starting = None;
            match started {
                Ok(ensemble) => run.ensemble = Some(Arc::new(ensemble)),
                Err(error) => ledger.wrong(format!("{} does not start: {error:?}", self.id)),
            }
        }
        self.send_away(ledger);
        self.look(ledger);
    }

    /// As `requests` does it: what its clients left here is taken back.
    fn send_away(&mut self, ledger: &Ledger) {
        let Some((run, ensemble)) = self
            .run
            .as_mut()
            .and_then(|run| run.ensemble.clone().map(|ensemble| (run, ensemble)))
        else {
            return;
        };
        let admits = ensemble.admits();
        if std::mem::replace(&mut run.admits, admits) && !admits {
            let last = ensemble.recall();
            ledger.recalled(ensemble.origin(), last);
            self.recalled = Some(last);
        }
    }

    /// Says what has changed, and whether that may be.
    fn look(&mut self, ledger: &Ledger) {
        let Some(ensemble) = self.ensemble() else {
            return;
        };
        let role = ensemble.role();
        if let Role::Leader { term } = role {
            ledger.leads(self.id, term);
        }
        let serves = ensemble.serves();
        if let Some(failure) = ensemble.failed().now_or_never() {
            if self.is_wiped && matches!(*failure, Failure::Superseded { .. }) {
                // Its clock was set back and its disk wiped, so nothing could tell it that its number
                // is not new. It has learnt it now.
                self.must_restart = true;
                return;
            }
            ledger.wrong(format!("{} failed: {failure:?}", self.id));
        }
        let said = format!("s{} {role:?} serves {serves}", self.id);
        if said != self.said {
            ledger.note(&said);
            self.said = said;
        }
    }

    /// Its ensemble, once it has been started.
    pub(super) fn ensemble(&self) -> Option<Arc<Ensemble>> {
        self.run.as_ref().and_then(|run| run.ensemble.clone())
    }

    /// Whether clients are served here.
    pub(super) fn serves(&self) -> bool {
        !self.is_stopping() && self.ensemble().is_some_and(|ensemble| ensemble.serves())
    }

    /// The term that it leads.
    pub(super) fn leads(&self) -> Option<u64> {
        match self.ensemble()?.role() {
            Role::Leader { term } => Some(term),
            Role::Follower { .. } | Role::Observer { .. } | Role::Candidate | Role::Stopped => None,
        }
    }

    /// All that its tree holds, as a text.
    pub(super) fn tree(&self) -> BTreeMap<String, String> {
        let mut nodes = BTreeMap::new();
        let Some(run) = &self.run else { return nodes };
        let state = run.replica.read();
        let mut visit = |path: &str, znode: &crate::state::Znode| {
            nodes.insert(path.to_owned(), format!("{znode:?}"));
            true
        };
        state.view().walk("/", &mut visit).unwrap();
        let mut sessions: Vec<String> = state.sessions().map(|it| format!("{it:?}")).collect();
        sessions.sort();
        nodes.insert("sessions".to_owned(), sessions.join("\n"));
        nodes.insert("meta".to_owned(), format!("{:?}", state.meta()));
        nodes
    }
}
