//! One session that sends as fast as it is answered, and knows every answer beforehand.
//!
//! Only it writes below its root, and a session's requests take effect in the order in which they
//! were sent. So what each request must be answered follows from those before it, and is noted when
//! it is sent: error, version, data, and how many events must have come before its reply.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::chaos::history::Stat;
use crate::client::{Connection, REPLY_TIME_MAX, Received, request};
use crate::differential::random::Random;
use crate::hostile::pipe::{create, numbered, read, set};
use crate::wire::{Reader, Writer};

/// Requests in flight.
const DEPTH: usize = 128;
/// Znodes of one worker, if all are there.
pub const KEYS: usize = 500;
/// Bytes of a value.
const VALUE_BYTES: usize = 1024;
const SESSION_TIMEOUT_MS: i32 = 20_000;
const NO_NODE: i32 = -101;
const BAD_VERSION: i32 = -103;

/// What all workers have done so far.
#[derive(Debug, Default)]
pub struct Tally {
    /// Writes answered as they must be, a multi as one.
    pub writes: AtomicU64,
    /// Reads answered as they must be.
    pub reads: AtomicU64,
    /// Events that came when they must.
    pub events: AtomicU64,
    /// The longest time without a reply since the last look, in microseconds.
    pub pause_us: AtomicU64,
}

/// See the file's own words.
#[derive(Debug)]
pub struct Worker {
    root: String,
    connection: Connection,
    random: Random,
    xid: i32,
    nodes: Vec<Option<Node>>,
    /// Whether a watch of ours waits for the next change of this key.
    watched: Vec<bool>,
    stamp: u64,
    in_flight: VecDeque<Expected>,
    /// Events due once everything sent has been served.
    events_due: u64,
    events: u64,
}

/// What a znode must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node {
    stamp: u64,
    version: i32,
}

/// What a request must be answered.
#[derive(Debug)]
struct Expected {
    answer: Answer,
    events: u64,
}

#[derive(Debug)]
enum Answer {
    Error(i32),
    Created(usize),
    Version(i32),
    Deleted,
    Data(Node),
    Seen(Node),
    Multi(Vec<Answer>),
    /// The error of each part.
    Refused(Vec<i32>),
}

impl Worker {
    /// Opens its session and creates its root and all of its znodes.
    ///
    /// # Errors
    /// The server does not answer, or not as it must; so below.
    pub fn open(address: SocketAddr, id: usize, seed: u64) -> Result<Self> {
        let mut connection = Connection::open(address, REPLY_TIME_MAX)?;
        connection.new_session(SESSION_TIMEOUT_MS)?;
        let mut worker = Self {
            root: format!("/soak-{id}"),
            connection,
            random: Random::new(seed, id as u64),
            xid: 0,
            nodes: vec![None; KEYS],
            watched: vec![false; KEYS],
            stamp: (id as u64) << 40,
            in_flight: VecDeque::new(),
            events_due: 0,
            events: 0,
        };
        let root = worker.root.clone();
        let mut bytes = worker.send(1, &create(&root, b"", 0), Answer::Created(KEYS));
        for key in 0..KEYS {
            bytes.extend(worker.write(key, false));
        }
        worker.connection.send(&bytes);
        while !worker.in_flight.is_empty() {
            worker.receive()?;
        }
        Ok(worker)
    }

    /// Sends and checks until told to stop and everything is answered.
    #[allow(clippy::missing_errors_doc, reason = "as Worker::open")]
    pub fn run(&mut self, tally: &Tally, stop: &AtomicBool) -> Result<()> {
        let mut last = Instant::now();
        loop {
            let stopping = stop.load(Ordering::Relaxed);
            if stopping && self.in_flight.is_empty() {
                return Ok(());
            }
            if !stopping && self.in_flight.len() <= DEPTH / 2 {
                let mut bytes = Vec::new();
                while self.in_flight.len() < DEPTH {
                    bytes.extend(self.choose());
                }
                self.connection.send(&bytes);
            }
            let events = self.events;
            let wrote = self.receive()?;
            let pause = last.elapsed();
            last = Instant::now();
            let count = if wrote { &tally.writes } else { &tally.reads };
            count.fetch_add(1, Ordering::Relaxed);
            tally
                .events
                .fetch_add(self.events - events, Ordering::Relaxed);
            tally
                .pause_us
                .fetch_max(pause.as_micros() as u64, Ordering::Relaxed);
        }
    }

    /// Reads everything back in a new session: exactly what was written is there.
    #[allow(clippy::missing_errors_doc, reason = "as Worker::open")]
    pub fn read_back(&mut self, address: SocketAddr) -> Result<usize> {
        ensure!(
            self.events == self.events_due,
            "{}: {} events came, {} were due",
            self.root,
            self.events,
            self.events_due
        );
        self.connection.close_session()?;
        self.connection = Connection::open(address, REPLY_TIME_MAX)?;
        self.connection.new_session(SESSION_TIMEOUT_MS)?;
        let mut bytes = Vec::new();
        for key in 0..KEYS {
            bytes.extend(self.get(key));
        }
        self.connection.send(&bytes);
        while !self.in_flight.is_empty() {
            self.receive().context("read back")?;
        }
        let kept = self.nodes.iter().flatten().count();
        self.connection
            .send(&request(1, 8, &read(&self.root, false)));
        let Received::Frame(frame) = self.connection.receive()? else {
            bail!("{}: no answer to getChildren", self.root)
        };
        let found = Reader::new(&frame[16..]).count()?.unwrap_or(0);
        ensure!(
            found == kept,
            "{}: {found} znodes instead of {kept}",
            self.root
        );
        self.connection.close_session()?;
        Ok(kept)
    }

    fn choose(&mut self) -> Vec<u8> {
        let key = self.random.below(KEYS);
        match self.random.below(100) {
            0..=9 => self.get(key),
            10..=13 => self.look(key),
            14..=21 => self.multi(key),
            22..=23 => self.refused_multi(key),
            24..=25 => {
                let body = set(&self.path(key), b"never", 1_000_000_000);
                let error = self.nodes[key].map_or(NO_NODE, |_| BAD_VERSION);
                self.send(5, &body, Answer::Error(error))
            }
            _ => {
                let delete = self.random.chance(15);
                self.write(key, delete)
            }
        }
    }

    /// A write that succeeds: create, setData or delete.
    fn write(&mut self, key: usize, delete: bool) -> Vec<u8> {
        let (code, body, answer) = self.part(key, delete);
        self.send(code, &body, answer)
    }

    fn part(&mut self, key: usize, delete: bool) -> (i32, Vec<u8>, Answer) {
        let path = self.path(key);
        if std::mem::take(&mut self.watched[key]) {
            self.events_due += 1;
        }
        self.stamp += 1;
        let stamp = self.stamp;
        match self.nodes[key] {
            None => {
                self.nodes[key] = Some(Node { stamp, version: 0 });
                (1, create(&path, &value(stamp), 0), Answer::Created(key))
            }
            Some(node) if delete => {
                self.nodes[key] = None;
                (2, numbered(&path, node.version), Answer::Deleted)
            }
            Some(node) => {
                let version = node.version + 1;
                self.nodes[key] = Some(Node { stamp, version });
                let body = set(&path, &value(stamp), node.version);
                (5, body, Answer::Version(version))
            }
        }
    }

    fn multi(&mut self, first: usize) -> Vec<u8> {
        let mut w = Writer::new();
        let mut answers = Vec::new();
        for step in 0..3 {
            let delete = self.random.chance(15);
            let (code, body, answer) = self.part((first + step * 7) % KEYS, delete);
            w.i32(code).bool(false).i32(-1).raw(&body);
            answers.push(answer);
        }
        w.i32(-1).bool(true).i32(-1);
        self.send(14, &w.finish(), Answer::Multi(answers))
    }

    /// Its second part fails: nothing happens, no event comes.
    fn refused_multi(&mut self, key: usize) -> Vec<u8> {
        let mut w = Writer::new();
        let fresh = format!("{}/never-{key}", self.root);
        w.i32(1).bool(false).i32(-1);
        w.raw(&create(&fresh, &value(0), 0));
        w.i32(13).bool(false).i32(-1);
        w.raw(&numbered(&self.path(key), 1_000_000_000));
        w.i32(-1).bool(true).i32(-1);
        let error = self.nodes[key].map_or(NO_NODE, |_| BAD_VERSION);
        self.send(14, &w.finish(), Answer::Refused(vec![0, error]))
    }

    fn get(&mut self, key: usize) -> Vec<u8> {
        let answer = self.nodes[key].map_or(Answer::Error(NO_NODE), Answer::Data);
        self.send(4, &read(&self.path(key), false), answer)
    }

    /// exists with a watch.
    fn look(&mut self, key: usize) -> Vec<u8> {
        self.watched[key] = true;
        let answer = self.nodes[key].map_or(Answer::Error(NO_NODE), Answer::Seen);
        self.send(3, &read(&self.path(key), true), answer)
    }

    fn path(&self, key: usize) -> String {
        format!("{}/{key:04}", self.root)
    }

    fn send(&mut self, code: i32, body: &[u8], answer: Answer) -> Vec<u8> {
        self.xid += 1;
        self.in_flight.push_back(Expected {
            answer,
            events: self.events_due,
        });
        request(self.xid, code, body)
    }

    /// Takes events and the next reply, which must be the one that is due. True for a write's.
    fn receive(&mut self) -> Result<bool> {
        loop {
            let frame = match self.connection.receive()? {
                Received::Frame(frame) => frame,
                Received::Eof => bail!("{}: the server closed the connection", self.root),
                Received::Silence => bail!("{}: no reply in {REPLY_TIME_MAX:?}", self.root),
            };
            let mut r = Reader::new(&frame);
            let (xid, _zxid, error) = (r.i32()?, r.i64()?, r.i32()?);
            if xid == -1 {
                self.events += 1;
                continue;
            }
            let due = self.xid - self.in_flight.len() as i32 + 1;
            ensure!(xid == due, "{}: xid {xid} instead of {due}", self.root);
            let expected = self.in_flight.pop_front().context("a reply too many")?;
            ensure!(
                self.events == expected.events,
                "{}: {} events before the reply to {expected:?}",
                self.root,
                self.events
            );
            expected
                .answer
                .check(error, &mut r, &self.root)
                .with_context(|| format!("{}: error {error} to {expected:?}", self.root))?;
            ensure!(r.rest().is_empty(), "{}: bytes behind a reply", self.root);
            return Ok(expected.answer.is_write());
        }
    }
}

impl Answer {
    fn is_write(&self) -> bool {
        !matches!(self, Self::Data(_) | Self::Seen(_))
    }

    fn check(&self, error: i32, r: &mut Reader<'_>, root: &str) -> Result<()> {
        let due = if let Self::Error(due) = self { *due } else { 0 };
        ensure!(error == due, "wrong error");
        match self {
            Self::Error(_) => {}
            Self::Multi(parts) => {
                for part in parts {
                    let (kind, done, error) = (r.i32()?, r.u8()?, r.i32()?);
                    ensure!(kind != -1 && done == 0, "a part of type {kind}: {error}");
                    part.check_body(r, root)?;
                }
                end_of_multi(r)?;
            }
            Self::Refused(errors) => {
                for due in errors {
                    let (kind, done, _error) = (r.i32()?, r.u8()?, r.i32()?);
                    ensure!(kind == -1 && done == 0, "a part of type {kind}");
                    let error = r.i32()?;
                    ensure!(error == *due, "{error} instead of {due}");
                }
                end_of_multi(r)?;
            }
            _ => self.check_body(r, root)?,
        }
        Ok(())
    }

    fn check_body(&self, r: &mut Reader<'_>, root: &str) -> Result<()> {
        match self {
            Self::Created(key) => {
                let path = r.buffer()?.unwrap_or_default();
                let due = match *key {
                    KEYS => root.to_owned(),
                    key => format!("{root}/{key:04}"),
                };
                ensure!(path == due.as_bytes(), "created {}", path.escape_ascii());
            }
            Self::Version(due) => {
                let version = Stat::read(r)?.version;
                ensure!(version == *due, "version {version}");
            }
            Self::Data(node) => {
                let data = r.buffer()?.unwrap_or_default();
                ensure!(data == value(node.stamp), "wrong data");
                let version = Stat::read(r)?.version;
                ensure!(version == node.version, "version {version}");
            }
            Self::Seen(node) => {
                let version = Stat::read(r)?.version;
                ensure!(version == node.version, "version {version}");
            }
            Self::Deleted | Self::Error(_) | Self::Multi(_) | Self::Refused(_) => {}
        }
        Ok(())
    }
}

fn end_of_multi(r: &mut Reader<'_>) -> Result<()> {
    let (kind, done, _error) = (r.i32()?, r.u8()?, r.i32()?);
    ensure!(kind == -1 && done == 1, "no end of a multi");
    Ok(())
}

/// Bytes that follow from the stamp, and do not compress to nothing.
fn value(stamp: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(VALUE_BYTES);
    let mut word = stamp;
    while bytes.len() < VALUE_BYTES {
        bytes.extend(word.to_be_bytes());
        word = word
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(stamp | 1);
    }
    bytes
}
