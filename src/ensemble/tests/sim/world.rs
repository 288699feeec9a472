//! Three servers, their network, their clients, and time.

use std::sync::Arc;
use std::time::Duration;

use super::super::super::raft::runtime::seeded;
use super::client::Client;
use super::dice::Dice;
use super::disk::{Defect, SimDisk};
use super::ledger::{Ledger, hash};
use super::server::{ALL, Server, Speed};
use crate::io::memory::MemoryNetwork;

/// Sessions, some on each server.
const CLIENTS: i64 = 6;
/// Within this all must be as it should be after everything has been healed.
pub(super) const HEALED_WITHIN_MS: u64 = 15_000;

/// All there is.
pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) ledger: Arc<Ledger>,
    pub(super) network: MemoryNetwork,
    pub(super) servers: Vec<Server>,
    /// Who must be there in the end, and the same.
    pub(super) members: Vec<u64>,
    pub(super) clients: Vec<Client>,
    pub(super) now_ms: u64,
    /// Whether clients ask for anything.
    pub(super) asks: bool,
    defect: Option<Defect>,
    syncs: Vec<Sync>,
}

/// A `sync` that waits.
struct Sync {
    server: u64,
    run: u64,
    /// How much of the history had been acknowledged before it was asked for.
    acknowledged: usize,
    done: tokio::sync::oneshot::Receiver<bool>,
}

impl World {
    /// Nobody runs yet.
    pub(super) fn new(seed: u64, defect: Option<Defect>) -> Self {
        let mut dice = Dice::new(seed);
        seeded::set(Some(dice.next()));
        Self {
            dice,
            ledger: Arc::default(),
            network: MemoryNetwork::default(),
            // Who begins an ensemble has nothing to forget.
            servers: ALL
                .map(|id| Server::new(id, defect.filter(|it| *it != Defect::JoiningNotMarked)))
                .into(),
            members: ALL.to_vec(),
            clients: (1..=CLIENTS).map(Client::new).collect(),
            now_ms: 0,
            asks: true,
            defect,
            syncs: Vec::new(),
        }
    }

    pub(super) fn server(&mut self, id: u64) -> &mut Server {
        &mut self.servers[usize::try_from(id - 1).unwrap()]
    }

    /// Who leads, by its own word: the newest term, if there are two.
    pub(super) fn leader(&self) -> Option<u64> {
        let leaders = self.servers.iter().filter(|server| server.serves());
        let newest = leaders.max_by_key(|server| server.leads());
        newest
            .filter(|server| server.leads().is_some())
            .map(|server| server.id)
    }

    /// From now on a checkpoint leaves so few entries of the log that who is away needs a snapshot.
    pub(super) fn keep_entries(&mut self, entries: u64) {
        for server in &mut self.servers {
            server.entries_kept = Some(entries);
        }
    }

    pub(super) fn start(&mut self, id: u64) {
        if self.server(id).run.is_some() {
            return;
        }
        self.ledger.note(format!("start s{id}"));
        let (network, ledger) = (self.network.clone(), Arc::clone(&self.ledger));
        let steady_ms = self.dice.below(1 << 20);
        self.server(id).start(&network, &ledger, steady_ms);
    }

    /// Ends a server: of its last writes, some are found and some are not.
    pub(super) fn crash(&mut self, id: u64) {
        if self.server(id).run.is_none() {
            return;
        }
        let pending = self.server(id).disk.log.pending() as u64;
        let kept = usize::try_from(self.dice.between(0, pending)).unwrap();
        let persisted = self.dice.once_in(2);
        self.crash_with(id, kept, persisted);
    }

    pub(super) fn crash_with(&mut self, id: u64, kept: usize, persisted: bool) {
        let pending = self.server(id).disk.log.pending();
        let what = format!("crash s{id} kept {kept} of {pending} tree {persisted}");
        self.ledger.note(what);
        let network = self.network.clone();
        self.server(id).crash(&network, kept, persisted);
    }

    /// Takes all from the disk of a server that does not run.
    pub(super) fn wipe(&mut self, id: u64) {
        self.ledger.note(format!("wipe s{id}"));
        let defect = self.defect;
        self.server(id).disk = SimDisk::new(defect);
        self.server(id).is_wiped = true;
    }

    /// One step of time for all, in an order that is another one each time.
    pub(super) fn tick(&mut self) {
        self.now_ms += 1;
        let now_ms = self.now_ms;
        self.ledger.tick(now_ms);
        self.network.advance(now_ms);
        let mut order: Vec<usize> = (0..self.servers.len()).collect();
        let first = self.dice.below(order.len() as u64);
        order.rotate_left(usize::try_from(first).unwrap());
        if self.dice.once_in(2) {
            order.swap(0, 1);
        }
        for at in order {
            self.servers[at].tick(now_ms, &self.ledger);
            self.recall(at);
            self.write(at);
            self.tell(at);
            if self.servers[at].must_restart {
                let id = self.servers[at].id;
                self.ledger
                    .note(format!("s{id} has learnt that its number is not new"));
                self.crash_with(id, 0, true);
                self.start(id);
            }
            if self.servers[at].has_stopped() {
                let id = self.servers[at].id;
                self.crash_with(id, 0, true);
            }
        }
        let asks = self.asks;
        for client in &mut self.clients {
            client.step(&self.servers, &mut self.dice, asks);
        }
        self.sync();
    }

    /// Clients that are sent away hear it at once.
    fn recall(&mut self, at: usize) {
        let server = &mut self.servers[at];
        if let (Some(last), Some(run)) = (server.recalled.take(), &server.run) {
            for client in &mut self.clients {
                client.recalled(server.id, run.number, last);
            }
        }
    }

    /// The disk gets on.
    fn write(&mut self, at: usize) {
        let server = &self.servers[at];
        let count = match server.speed {
            Speed::Fast if self.dice.once_in(2) => usize::MAX,
            Speed::Slow if self.dice.once_in(8) => 1 + usize::from(self.dice.once_in(3)),
            Speed::Fast | Speed::Slow | Speed::Hung => 0,
        };
        server.disk.log.release(count);
    }

    /// Clients hear what their server has applied.
    fn tell(&mut self, at: usize) {
        let server = &self.servers[at];
        let Some(run) = &server.run else { return };
        for told in run.witness.take() {
            for client in &mut self.clients {
                client.told(server.id, run.number, &told, &self.ledger);
            }
        }
        if run.witness.was_replaced() {
            let here = |client: &&mut Client| client.server() == Some(server.id);
            self.clients.iter_mut().filter(here).for_each(Client::leave);
        }
    }

    /// What had been acknowledged before a `sync` must be there when it ends.
    fn sync(&mut self) {
        let all = 0..self.servers.len();
        let running: Vec<usize> = all.filter(|at| self.servers[*at].serves()).collect();
        if self.asks
            && self.dice.once_in(100)
            && let Some(at) = self.dice.pick(&running)
            && let (Some(run), Some(ensemble)) =
                (&self.servers[at].run, self.servers[at].ensemble())
        {
            let (tell, done) = tokio::sync::oneshot::channel();
            let acknowledged = self.ledger.acknowledged();
            run.runtime.spawn(async move {
                // Nobody waits if the server has been killed.
                let _unheard = tell.send(ensemble.barrier().await.is_ok());
            });
            self.syncs.push(Sync {
                server: self.servers[at].id,
                run: run.number,
                acknowledged,
                done,
            });
        }
        let servers = &self.servers;
        let ledger = &self.ledger;
        self.syncs.retain_mut(|sync| {
            let ended = sync.done.try_recv();
            let server = &servers[usize::try_from(sync.server - 1).unwrap()];
            if ended == Ok(true)
                && let Some(run) = server.run.as_ref().filter(|run| run.number == sync.run)
                && run.witness.place() < sync.acknowledged
            {
                let (place, wanted) = (run.witness.place(), sync.acknowledged);
                ledger.wrong(format!("s{} synced at {place}, not {wanted}", sync.server));
            }
            ended == Err(tokio::sync::oneshot::error::TryRecvError::Empty)
        });
    }

    /// Goes on for so long, or until something is wrong.
    pub(super) fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Goes on until it is as wanted: false if it is not within `time`, or something is wrong.
    pub(super) fn run_until(
        &mut self,
        time: Duration,
        mut is_so: impl FnMut(&mut Self) -> bool,
    ) -> bool {
        let end_ms = self.now_ms + u64::try_from(time.as_millis()).unwrap();
        while self.now_ms < end_ms && !self.ledger.is_wrong() {
            self.tick();
            if is_so(self) {
                return true;
            }
        }
        false
    }

    /// Mends everything, and starts who does not run.
    pub(super) fn heal(&mut self) {
        self.ledger.note("heal");
        let last = u8::try_from(self.servers.len()).unwrap();
        for (one, other) in (1..=last).flat_map(|one| (1..one).map(move |other| (other, one))) {
            self.network.mend(one, other);
            self.network.slow(one, other, 1);
            self.network.slow(other, one, 1);
        }
        for id in self.members.clone() {
            self.server(id).usual = Speed::Fast;
            self.server(id).speed = Speed::Fast;
            if self.server(id).is_stopping() {
                continue;
            }
            self.start(id);
        }
    }

    /// Whether everything that was asked for is done, and everybody knows.
    fn is_quiet(&mut self) -> bool {
        let all = self.ledger.len();
        let is_done = |server: &Server| {
            let Some((run, ensemble)) = server.run.as_ref().zip(server.ensemble()) else {
                return false;
            };
            let report = ensemble.report();
            let queue = report.queue;
            server.serves()
                && run.witness.place() == all
                && queue.flight_batches == 0
                && queue.waiting_bytes == 0
                && report.applied.map(|at| at.index) == report.last_log
        };
        let members = self.members.clone();
        let stopped: Vec<u64> = members
            .into_iter()
            .filter(|id| self.servers[usize::try_from(id - 1).unwrap()].run.is_none())
            .collect();
        for id in stopped {
            self.start(id);
        }
        self.clients.iter().all(Client::is_quiet) && self.ours().all(is_done) && {
            let applied = |server: &Server| Some(server.ensemble()?.report().applied);
            let first = self.ours().next().and_then(applied);
            self.ours().all(|server| applied(server) == first)
        }
    }

    /// The servers that are members.
    fn ours(&self) -> impl Iterator<Item = &Server> {
        let members = self.members.iter();
        members.map(|id| &self.servers[usize::try_from(id - 1).unwrap()])
    }

    /// Servers up to this one exist from now on; none of the new ones runs.
    pub(super) fn grow(&mut self, last: u64) {
        for id in self.servers.len() as u64 + 1..=last {
            self.servers.push(Server::new(id, self.defect));
        }
    }

    /// The files of these servers list these members from their next start on.
    pub(super) fn list(&mut self, servers: &[u64], voters: &[u64], observers: &[u64]) {
        for id in servers {
            self.server(*id).listed = (voters.to_vec(), observers.to_vec());
        }
    }

    /// Heals everything, waits until nothing is under way, and compares what there is.
    pub(super) fn end(&mut self) {
        self.heal();
        self.run_for(Duration::from_millis(500));
        self.asks = false;
        let within = Duration::from_millis(HEALED_WITHIN_MS);
        if !self.run_until(within, Self::is_quiet) {
            if self.ledger.is_wrong() {
                return;
            }
            let states = self.states();
            let waiting: Vec<Option<u64>> = self
                .clients
                .iter()
                .filter(|client| !client.is_quiet())
                .map(Client::server)
                .collect();
            self.ledger.wrong(format!(
                "it does not heal: {states:#?}, clients at {waiting:?}"
            ));
            return;
        }
        self.compare();
    }

    /// What the servers are, for whoever reads a failure.
    pub(super) fn states(&self) -> Vec<String> {
        self.servers.iter().map(Self::state).collect()
    }

    fn state(server: &Server) -> String {
        let place = server.run.as_ref().map(|run| run.witness.place());
        let report = server.ensemble().map(|ensemble| ensemble.report());
        format!("s{} at {place:?}: {report:?}", server.id)
    }

    /// All trees are equal and hold all that clients know to be there.
    fn compare(&mut self) {
        let trees: Vec<_> = self.ours().map(Server::tree).collect();
        for (at, tree) in trees.iter().enumerate().skip(1) {
            for (path, znode) in tree {
                if trees[0].get(path) != Some(znode) {
                    let (id, other) = (at + 1, trees[0].get(path));
                    let what = format!("{path} is {znode} on s{id} and {other:?} on s1");
                    self.ledger.wrong(what);
                }
            }
            if tree.len() != trees[0].len() {
                self.ledger
                    .wrong(format!("s{} has more or less than s1", at + 1));
            }
        }
        for path in self.clients.iter().flat_map(|client| &client.created) {
            if !trees[0].contains_key(path) {
                self.ledger
                    .wrong(format!("{path} was acknowledged and is lost"));
            }
        }
        // The meta holds the ensemble's name, which no seed foretells.
        let nodes = trees[0].iter().filter(|(path, _)| *path != "meta");
        let whole: String = nodes
            .map(|(path, node)| format!("{path} {node}\n"))
            .collect();
        let digest = hash(&whole);
        self.ledger.note(format!("equal trees {digest:016x}"));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        seeded::set(None);
    }
}
