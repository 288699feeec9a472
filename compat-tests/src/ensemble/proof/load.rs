//! What the clients ask for: choices by the seed, from few places, so that they meet.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::client::Client;
use super::history::{Op, Outcome, ROOT};
use crate::differential::random::Random;

/// Znodes that are only ever written and read: the blind judge looks at these.
pub const REGISTERS: usize = 5;
const DIRECTORIES: usize = 3;
const KEYS: usize = 5;
const EPHEMERALS: usize = 3;
/// Sequential znodes that a client lets live.
const QUEUE_MAX: usize = 8;
const DEPTHS: [usize; 4] = [1, 4, 16, 48];

/// What a client is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It asks for everything.
    Worker,
    /// As a worker, and goes to another server again and again.
    Mover,
    /// It only has a watch on everything.
    Recorder,
    /// It falls silent for about as long as its session lives, then comes back on another server.
    Sleeper,
    /// It opens and closes sessions, with an ephemeral each.
    Churner,
    /// It only reads, often enough to need no ping.
    Reader,
}

impl Role {
    /// The session timeout that it asks for.
    pub fn timeout(self) -> Duration {
        match self {
            Self::Sleeper => Duration::from_millis(1500),
            _ => Duration::from_secs(3),
        }
    }

    /// Whether its session may expire.
    pub fn may_expire(self) -> bool {
        self == Self::Sleeper
    }
}

/// The znodes that must be there first.
pub fn roots() -> Vec<Op> {
    let mut paths = vec![
        ROOT.to_owned(),
        format!("{ROOT}/r"),
        format!("{ROOT}/t"),
        format!("{ROOT}/q"),
        format!("{ROOT}/a"),
    ];
    paths.extend((0..REGISTERS).map(register));
    paths.extend((0..DIRECTORIES).map(|it| format!("{ROOT}/t/d{it}")));
    let create = |path: String| Op::Create {
        data: format!("root of {path}"),
        path,
        flags: 0,
    };
    paths.into_iter().map(create).collect()
}

/// The path of a register.
pub fn register(index: usize) -> String {
    format!("{ROOT}/r/{index}")
}

/// What all clients of a run share.
#[derive(Debug, Default)]
pub struct Shared {
    /// No more requests.
    pub ending: AtomicBool,
    /// Writes acknowledged so far.
    pub acknowledged: AtomicUsize,
    /// When the last write was acknowledged, in nanoseconds of the run.
    pub last_ack: AtomicU64,
    /// By client, once it has fallen silent: the session that it keeps.
    kept: Mutex<BTreeMap<usize, Option<i64>>>,
}

impl Shared {
    /// A client that has fallen silent keeps this session.
    pub fn keeps(&self, client: usize, session: Option<i64>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(client, session);
    }

    /// The sessions of all clients that have fallen silent.
    pub fn kept(&self) -> BTreeMap<usize, Option<i64>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clone()
    }
}

/// One client's choices.
#[derive(Debug)]
pub struct Loader {
    role: Role,
    random: Random,
    written: u64,
    /// Versions of registers and keys, as last seen.
    versions: BTreeMap<String, i32>,
    /// Own sequential znodes.
    queue: Vec<String>,
    depth: usize,
    /// The session was moved, and its old connection is still open.
    moved: bool,
}

impl Loader {
    /// What `client` asks for follows from the seed.
    pub fn new(role: Role, client: usize, seed: u64) -> Self {
        Self {
            role,
            random: Random::new(seed, client as u64),
            written: 0,
            versions: BTreeMap::new(),
            queue: Vec::new(),
            depth: 1,
            moved: false,
        }
    }

    /// Loads until it is told to end; then waits for what was sent.
    pub fn run(&mut self, client: &mut Client, shared: &Shared) {
        let mut next = Instant::now();
        while !shared.ending.load(Ordering::SeqCst) {
            if !client.connect() {
                continue;
            }
            if std::mem::take(&mut self.moved) {
                let op = self.write_register(client.id);
                client.haunt(op);
            }
            if Instant::now() >= next {
                next = Instant::now() + Duration::from_millis(5 + self.random.below(40) as u64);
                self.begin(client);
            }
            self.learn_all(client, shared);
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while client.waiting() > 0 && Instant::now() < deadline {
            self.learn_all(client, shared);
        }
    }

    fn learn_all(&mut self, client: &mut Client, shared: &Shared) {
        for index in client.turn() {
            let call = &client.record.calls[index];
            let Some(reply) = &call.reply else { continue };
            if call.op.writes() && call.success().is_some() {
                shared.acknowledged.fetch_add(1, Ordering::SeqCst);
                shared.last_ack.fetch_max(reply.at, Ordering::SeqCst);
            }
            self.learn(&call.op, &reply.outcome);
        }
    }

    /// The next portion of requests, or a change of what they go over.
    fn begin(&mut self, client: &mut Client) {
        match self.role {
            Role::Recorder => {
                if client.waiting() == 0 && !client.watches_all(ROOT) {
                    let path = ROOT.to_owned();
                    client.send(vec![Op::AddWatch { path }]);
                }
                return;
            }
            Role::Reader => {
                let path = self.key();
                let watch = self.random.chance(10);
                if client.waiting() < 4 {
                    client.send(vec![Op::Get { path, watch }]);
                }
                return;
            }
            Role::Churner if client.waiting() == 0 => {
                let ops = vec![self.ephemeral_op(client.id), self.queue_op(client.id)];
                client.send(ops);
                if self.random.chance(40) {
                    client.send(vec![Op::Close]);
                }
                return;
            }
            Role::Sleeper if self.random.chance(4) => {
                let server = self.random.below(3);
                client.move_to(server);
                let late = self.random.below(600) as u64;
                std::thread::sleep(Role::Sleeper.timeout() * 8 / 10 + Duration::from_millis(late));
                return;
            }
            _ => {}
        }
        let moves = if self.role == Role::Mover { 60 } else { 4 };
        match self.random.below(1000) {
            it if it < moves => {
                let server = self.random.below(3);
                // What is in flight would come too late to be written down.
                if client.waiting() == 0 && self.role == Role::Mover {
                    client.leave_for(server);
                    self.moved = true;
                } else {
                    client.move_to(server);
                }
            }
            998 if client.waiting() == 0 => client.send(vec![Op::Close]),
            999 => client.abandon(),
            _ => {
                if self.random.chance(3) {
                    self.depth = *self.random.pick(&DEPTHS);
                }
                let room = self.depth.saturating_sub(client.waiting());
                if room > 0 {
                    let count = 1 + self.random.below(room);
                    let id = client.id;
                    let ops = (0..count).flat_map(|_| self.choose(id)).collect();
                    client.send(ops);
                }
            }
        }
    }

    fn data(&mut self, client: usize) -> String {
        self.written += 1;
        format!("c{client}:{}", self.written)
    }

    /// One request, or two that belong together.
    fn choose(&mut self, client: usize) -> Vec<Op> {
        let watch = self.random.chance(60);
        match self.random.below(100) {
            0..=17 => vec![self.write_register(client)],
            18..=29 => {
                let path = register(self.random.below(REGISTERS));
                let sync = Op::Sync { path: path.clone() };
                vec![sync, Op::Get { path, watch: false }]
            }
            30..=53 => vec![self.write_key(client)],
            54..=62 => {
                let path = self.key();
                vec![Op::Get { path, watch }]
            }
            63..=68 => {
                let path = self.key();
                vec![Op::Exists { path, watch }]
            }
            69..=73 => {
                let path = self.directory();
                vec![Op::Children { path, watch }]
            }
            74..=81 => vec![self.queue_op(client)],
            82..=89 => vec![self.ephemeral_op(client)],
            _ => {
                let count = 2 + self.random.below(4);
                let parts = (0..count).map(|_| self.part(client)).collect();
                vec![Op::Multi(parts)]
            }
        }
    }

    fn directory(&mut self) -> String {
        format!("{ROOT}/t/d{}", self.random.below(DIRECTORIES))
    }

    fn key(&mut self) -> String {
        let directory = self.directory();
        format!("{directory}/k{}", self.random.below(KEYS))
    }

    fn write_register(&mut self, client: usize) -> Op {
        let path = register(self.random.below(REGISTERS));
        let version = self.version(&path, 60);
        let data = self.data(client);
        Op::Set {
            path,
            data,
            version,
        }
    }

    /// The version last seen, in some of a hundred cases, else any.
    fn version(&mut self, path: &str, percent: usize) -> i32 {
        let known = self.versions.get(path).copied();
        known.filter(|_| self.random.chance(percent)).unwrap_or(-1)
    }

    fn write_key(&mut self, client: usize) -> Op {
        let path = self.key();
        let version = self.version(&path, 30);
        match self.random.below(10) {
            0..=3 => Op::Create {
                path,
                data: self.data(client),
                flags: 0,
            },
            4..=7 => Op::Set {
                path,
                data: self.data(client),
                version,
            },
            _ => Op::Delete { path, version },
        }
    }

    fn queue_op(&mut self, client: usize) -> Op {
        if self.queue.len() >= QUEUE_MAX {
            let path = self.queue.remove(0);
            return Op::Delete { path, version: -1 };
        }
        Op::Create {
            path: format!("{ROOT}/q/n-"),
            data: self.data(client),
            flags: 2 + i32::from(self.random.chance(40)),
        }
    }

    fn ephemeral_op(&mut self, client: usize) -> Op {
        let path = format!("{ROOT}/a/c{client}-{}", self.random.below(EPHEMERALS));
        match self.random.below(10) {
            0..=6 => Op::Create {
                path,
                data: self.data(client),
                flags: 1,
            },
            7 => Op::Set {
                path,
                data: self.data(client),
                version: -1,
            },
            _ => Op::Delete { path, version: -1 },
        }
    }

    fn part(&mut self, client: usize) -> Op {
        match self.random.below(8) {
            0 => self.write_register(client),
            1 => {
                let path = self.key();
                let version = self.version(&path, 80);
                Op::Check { path, version }
            }
            2 => self.queue_op(client),
            3 => self.ephemeral_op(client),
            _ => self.write_key(client),
        }
    }

    fn learn(&mut self, op: &Op, outcome: &Outcome) {
        match (op, outcome) {
            (Op::Multi(parts), Outcome::Multi(results)) => {
                for (part, result) in parts.iter().zip(results) {
                    self.learn(part, result);
                }
            }
            (Op::Create { path, flags, .. }, Outcome::Created(name, stat)) => {
                if flags & 2 == 2 {
                    self.queue.push(name.clone());
                } else {
                    self.versions.insert(path.clone(), stat.version);
                }
            }
            (Op::Set { path, .. } | Op::Exists { path, .. }, Outcome::Stat(stat))
            | (Op::Get { path, .. }, Outcome::Data(_, stat)) => {
                self.versions.insert(path.clone(), stat.version);
            }
            _ => {}
        }
    }
}
