//! The load: workers that write, pipelined, until their connection is lost.
//!
//! What a worker asks for follows from the seed, the cycle and its number; how much of it a cycle
//! comes to is a matter of time.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};

use super::history::{Entry, Op, Outcome};
use super::model::{COUNTERS, Model, SHARED};
use crate::client::{Connection, Hello, REPLY_TIME_MAX, Received};
use crate::differential::random::Random;

/// Keys of a worker's own subtree.
pub const KEYS: usize = 12;
/// Counters that all workers write.
pub const COUNTERS_COUNT: usize = 3;
/// Sequential znodes that a worker lets live in one place.
const QUEUE_MAX: usize = 16;
const DEPTHS: [usize; 5] = [1, 3, 10, 30, 100];
const SESSION_TIMEOUT_MS: i32 = 120_000;

/// One client that writes.
#[derive(Debug)]
pub struct Worker {
    /// Its number.
    pub id: usize,
    session: Option<(i64, Vec<u8>)>,
    connection: Option<Connection>,
    last_zxid: i64,
    xid: i32,
    written: u64,
    /// Sessions opened since somebody asked.
    opened: Vec<i64>,
    /// Versions of the counters, as far as known.
    counters: Vec<i32>,
}

impl Worker {
    /// A worker without a session.
    pub fn new(id: usize) -> Self {
        Self {
            id,
            session: None,
            connection: None,
            last_zxid: 0,
            xid: 0,
            written: 0,
            opened: Vec::new(),
            counters: vec![0; COUNTERS_COUNT],
        }
    }

    /// Takes back its session, or opens one. Says which session it had, and whether it was taken
    /// back.
    ///
    /// # Errors
    /// No answer to the handshake.
    pub fn attach(&mut self, address: SocketAddr) -> Result<Option<(i64, bool)>> {
        self.connection = None;
        let had = self.session.clone();
        if let Some((session, password)) = had {
            let mut connection = Connection::open(address, REPLY_TIME_MAX)?;
            let hello = Hello {
                last_zxid: self.last_zxid,
                session,
                password: Some(password),
                ..Hello::new(SESSION_TIMEOUT_MS)
            };
            let accepted = connection
                .take_up(&hello)
                .with_context(|| format!("worker {}: take back its session", self.id))?;
            if accepted {
                self.connection = Some(connection);
                return Ok(Some((session, true)));
            }
            self.session = None;
            self.open(address)?;
            return Ok(Some((session, false)));
        }
        self.open(address)?;
        Ok(None)
    }

    fn open(&mut self, address: SocketAddr) -> Result<()> {
        let mut connection = Connection::open(address, REPLY_TIME_MAX)?;
        let session = connection.new_session(SESSION_TIMEOUT_MS)?;
        self.opened.push(session.0);
        self.session = Some(session);
        self.connection = Some(connection);
        Ok(())
    }

    /// The sessions opened since the last call.
    pub fn take_opened(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.opened)
    }

    /// Writes until the connection is lost, which is right only once `ending` is set.
    ///
    /// # Errors
    /// It was lost before, the server was silent, or answered what is no answer.
    pub fn load(
        &mut self,
        address: SocketAddr,
        mut belief: Model,
        random: &mut Random,
        ending: &AtomicBool,
    ) -> Result<Vec<Entry>> {
        let depth = *random.pick(&DEPTHS);
        let hot = 2 + random.below(KEYS - 2);
        let mut entries: Vec<Entry> = Vec::new();
        let mut answered = 0;
        let first_xid = self.xid + 1;
        loop {
            let closing = entries.last().is_some_and(|entry| entry.op == Op::Close);
            if closing && answered == entries.len() {
                self.session = None;
                if let Err(error) = self.open(address) {
                    self.connection = None;
                    ensure!(
                        ending.load(Ordering::SeqCst),
                        "worker {}: no new session: {error:#}",
                        self.id
                    );
                    return Ok(entries);
                }
            }
            let room = depth - (entries.len() - answered).min(depth);
            if room > 0 && !(closing && answered < entries.len()) {
                let count = 1 + random.below(room);
                self.send(&mut belief, random, hot, count, &mut entries)?;
            }
            let connection = self.connection.as_mut().context("no connection")?;
            match connection.receive()? {
                Received::Frame(frame) => {
                    let entry = &mut entries[answered];
                    let (xid, reply) = entry.op.read_reply(&frame)?;
                    let expected = first_xid + i32::try_from(answered)?;
                    ensure!(xid == expected, "xid {xid} instead of {expected}");
                    self.last_zxid = self.last_zxid.max(reply.zxid);
                    learn(&mut self.counters, &mut belief, &entry.op, &reply.outcome);
                    entry.reply = Some(reply);
                    answered += 1;
                }
                Received::Eof => {
                    self.connection = None;
                    ensure!(
                        ending.load(Ordering::SeqCst),
                        "worker {}: the server closed the connection; sent: {:?}",
                        self.id,
                        &entries[answered..]
                    );
                    return Ok(entries);
                }
                Received::Silence => bail!("worker {}: silence", self.id),
            }
        }
    }

    /// Writes these and waits for all answers.
    ///
    /// # Errors
    /// The connection was lost.
    pub fn write(&mut self, ops: Vec<Op>) -> Result<Vec<Entry>> {
        let session = self.session.as_ref().context("no session")?.0;
        let connection = self.connection.as_mut().context("no connection")?;
        let mut entries = Vec::new();
        for op in ops {
            self.xid += 1;
            connection.send(&op.frame(self.xid));
            let Received::Frame(frame) = connection.receive()? else {
                bail!("no answer to {op:?}")
            };
            let (_, reply) = op.read_reply(&frame)?;
            self.last_zxid = self.last_zxid.max(reply.zxid);
            entries.push(Entry {
                session,
                op,
                reply: Some(reply),
            });
        }
        Ok(entries)
    }

    /// New data, unique in the run.
    pub fn data(&mut self, random: &mut Random) -> String {
        self.written += 1;
        let pad = match random.below(40) {
            0 => random.below(20_000),
            1..=9 => random.below(400),
            _ => 0,
        };
        format!("w{}:{}:{}", self.id, self.written, "x".repeat(pad))
    }

    fn send(
        &mut self,
        belief: &mut Model,
        random: &mut Random,
        hot: usize,
        count: usize,
        entries: &mut Vec<Entry>,
    ) -> Result<()> {
        let session = self.session.as_ref().context("no session")?.0;
        let mut bytes = Vec::new();
        for _ in 0..count {
            let op = self.choose(belief, random, hot);
            belief.apply(session, &op, None);
            self.xid += 1;
            bytes.extend(op.frame(self.xid));
            let last = op == Op::Close;
            entries.push(Entry {
                session,
                op,
                reply: None,
            });
            if last {
                break;
            }
        }
        self.connection
            .as_mut()
            .context("no connection")?
            .send(&bytes);
        Ok(())
    }

    fn choose(&mut self, belief: &Model, random: &mut Random, hot: usize) -> Op {
        let queue = format!("{}/q", belief.root);
        match random.below(1000) {
            0..=1 => Op::Close,
            2..=119 if belief.children(&queue) < QUEUE_MAX => Op::Create {
                path: format!("{queue}/n-"),
                data: self.data(random),
                flags: 2 + random.below(2) as i32,
            },
            2..=199 => {
                let prefix = format!("{queue}/");
                let oldest = belief.nodes.range(prefix.clone()..).next();
                match oldest.filter(|(path, _)| path.starts_with(&prefix)) {
                    Some((path, node)) => Op::Delete {
                        path: path.clone(),
                        version: node.version,
                    },
                    // Refused: it has children.
                    None => Op::Delete {
                        path: belief.root.clone(),
                        version: -1,
                    },
                }
            }
            200..=279 if belief.shared.len() < QUEUE_MAX => Op::Create {
                path: format!("{SHARED}/n-"),
                data: self.data(random),
                flags: 2 + random.below(2) as i32,
            },
            200..=319 => {
                let known = belief.shared.values().find_map(|it| it.path.clone());
                match known {
                    Some(path) => Op::Delete { path, version: 0 },
                    None => self.counter(random),
                }
            }
            320..=399 => self.counter(random),
            400..=529 => self.multi(belief, random, hot),
            _ => self.single(belief, random, hot),
        }
    }

    fn counter(&mut self, random: &mut Random) -> Op {
        let index = random.below(COUNTERS_COUNT);
        Op::Set {
            path: format!("{COUNTERS}/{index}"),
            data: self.data(random),
            version: self.counters[index],
        }
    }

    /// create, setData or delete of one of the hot keys; some of them are refused.
    fn single(&mut self, belief: &Model, random: &mut Random, hot: usize) -> Op {
        let path = format!("{}/k{}", belief.root, random.below(hot));
        let Some(node) = belief.nodes.get(&path).filter(|_| !random.chance(3)) else {
            return Op::Create {
                path,
                data: self.data(random),
                flags: i32::from(random.chance(40)),
            };
        };
        let version = match random.below(10) {
            0 => -1,
            1 => node.version + 1,
            _ => node.version,
        };
        if random.chance(70) {
            Op::Set {
                path,
                data: self.data(random),
                version,
            }
        } else {
            Op::Delete { path, version }
        }
    }

    fn multi(&mut self, belief: &Model, random: &mut Random, hot: usize) -> Op {
        // Later parts are chosen by what the earlier ones make of the tree.
        let mut after = belief.clone();
        let session = self.session.as_ref().map_or(0, |session| session.0);
        let mut parts = Vec::new();
        for _ in 0..2 + random.below(4) {
            let part = match random.below(8) {
                0 => Op::Create {
                    path: format!("{}/q/n-", belief.root),
                    data: self.data(random),
                    flags: 2 + random.below(2) as i32,
                },
                1 => {
                    let path = format!("{}/k{}", belief.root, random.below(hot));
                    let version = after.nodes.get(&path).map_or(0, |node| node.version);
                    Op::Check { path, version }
                }
                _ => self.single(&after, random, hot),
            };
            after.apply(session, &Op::Multi(vec![part.clone()]), None);
            parts.push(part);
        }
        Op::Multi(parts)
    }
}

/// What a reply tells that the belief could not know.
fn learn(counters: &mut [i32], belief: &mut Model, op: &Op, outcome: &Outcome) {
    match (op, outcome) {
        (Op::Create { data, .. }, Outcome::Created(name)) => {
            if let Some(shared) = belief.shared.get_mut(data) {
                shared.path = Some(name.clone());
            }
        }
        (Op::Set { path, version, .. }, outcome) if path.starts_with(COUNTERS) => {
            let index = path.rsplit('/').next().and_then(|it| it.parse().ok());
            let Some(known) = index.and_then(|it: usize| counters.get_mut(it)) else {
                return;
            };
            match outcome {
                Outcome::Version(made) => *known = *made,
                // Somebody was faster: guess that it was one write.
                _ => *known = (*known).max(version + 1),
            }
        }
        _ => {}
    }
}
