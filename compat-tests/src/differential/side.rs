//! One of the two servers: does a step and says, as text, what came back.
//!
//! A step is begun on both sides before it is finished on either, so that both work at once. After
//! it comes a barrier: a ping on every other connection. A server sends the events of a change
//! before it answers who made it, so what a connection was to see stands before its pong.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::canon::{self, Symbols};
use super::host::Host;
use super::step::{Context, Op, Request, Step, Who};
use crate::client::{Connection, Hello, Received, request};
use crate::wire::{Reader, Writer};

/// How long an answer may take. Only a failure waits so long: no step awaits silence.
pub(super) const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// The connections of a sequence.
pub const SLOTS: usize = 4;
const PING: i32 = 11;
const PING_XID: i32 = -2;
const CLOSE_SESSION: i32 = -11;
pub(super) const SESSION_TIMEOUT_MS: i32 = 600_000;

/// How often something was seen: an opcode with its error, a kind of event.
pub type Counts = BTreeMap<String, usize>;

/// What a step showed on one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// `c0`, `c1`, ... with a line each.
    pub lines: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) connection: Option<Connection>,
    pub(super) session: i64,
    pub(super) password: Vec<u8>,
    xid: i32,
    pub(super) last_zxid: i64,
    /// What the client had seen when it connected.
    since: i64,
    /// What was sent and not yet answered: xid and opcode.
    pending: VecDeque<(i32, i32)>,
}

/// One server with the connections of the running sequence.
#[derive(Debug)]
pub struct Side {
    /// The process, or several.
    pub host: Host,
    pub(super) symbols: Symbols,
    pub(super) root: String,
    pub(super) slots: Vec<Slot>,
    /// Sessions of this sequence that were not closed.
    open_sessions: Vec<(i64, Vec<u8>)>,
    pub(super) control: Option<(Connection, i64)>,
    /// The word's connection between begin and finish; the connection that a handshake replaced.
    word: Option<Connection>,
    replaced: Option<(usize, Connection)>,
    pub(super) skipped: bool,
    /// How many sessions there will be when the one that is to expire has expired.
    pub(super) sessions_after: usize,
    /// No zxid of a reply that is no change: for a server whose reaper runs.
    pub(super) hides_zxids: bool,
    /// The highest zxid of any reply.
    highest: i64,
    counts: Counts,
}

impl Side {
    /// Takes a server that serves.
    ///
    /// # Errors
    /// It does not.
    pub fn new(host: Host) -> Result<Self> {
        let mut side = Self {
            host,
            symbols: Symbols::default(),
            root: String::new(),
            slots: Vec::new(),
            open_sessions: Vec::new(),
            control: None,
            word: None,
            replaced: None,
            skipped: false,
            sessions_after: 0,
            hides_zxids: false,
            highest: 0,
            counts: Counts::new(),
        };
        side.connect_control()?;
        Ok(side)
    }

    /// Forgets all symbols and makes the sequence's own node.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn open_sequence(&mut self, root: &str) -> Result<()> {
        self.symbols = Symbols::default();
        self.root = root.to_owned();
        self.slots = (0..SLOTS).map(|_| Slot::default()).collect();
        self.open_sessions.clear();
        let session = self.control.as_ref().context("no control connection")?.1;
        self.symbols.session(session);
        let mut body = Writer::new();
        body.buffer(Some(root.as_bytes()))
            .buffer(Some(b""))
            .i32(1)
            .i32(31);
        body.buffer(Some(b"world")).buffer(Some(b"anyone")).i32(0);
        let replies = self.ask_control(&[(1, body.finish())])?;
        ensure!(
            replies[0].1 == 0,
            "the sequence's node {root}: error {}",
            replies[0].1
        );
        Ok(())
    }

    /// The numbers of the symbols in zxid order.
    pub fn zxid_order(&self) -> Vec<usize> {
        self.symbols.zxid_order()
    }

    /// Sends what the step says.
    ///
    /// # Errors
    /// The server cannot be connected to.
    pub fn begin(&mut self, step: &Step) -> Result<()> {
        self.skipped = false;
        match step {
            Step::Connect {
                slot,
                who,
                timeout_ms,
                read_only,
                then,
            } => {
                let Some(mut hello) = self.hello(*who) else {
                    self.skipped = true;
                    return Ok(());
                };
                hello.timeout_ms = *timeout_ms;
                hello.read_only = *read_only;
                let mut connection = Connection::open(self.host.address(), ANSWER_TIME_MAX)?;
                let mut fresh = Slot {
                    session: hello.session,
                    ..Slot::default()
                };
                fresh.password = hello.password.clone().unwrap_or_default();
                fresh.last_zxid = hello.last_zxid;
                // A client that is new here has seen what others told it.
                fresh.since = if hello.session == 0 {
                    self.highest
                } else {
                    hello.last_zxid
                };
                let mut bytes = hello.frame();
                bytes.extend(self.encode(&mut fresh, then));
                connection.send(&bytes);
                fresh.connection = Some(connection);
                let old = std::mem::replace(&mut self.slots[*slot], fresh);
                self.replaced = match (old.connection, old.session) {
                    // The server must close it. Otherwise it goes with the value, as by a drop.
                    (Some(connection), session) if session == hello.session => {
                        Some((*slot, connection))
                    }
                    _ => None,
                };
            }
            Step::Drop { slot } => self.slots[*slot].connection = None,
            Step::Burst { slot, requests } => self.send_burst(*slot, requests),
            Step::Garbage {
                slot,
                length,
                bytes,
            } => match &mut self.slots[*slot].connection {
                Some(connection) => {
                    let mut frame = length.to_be_bytes().to_vec();
                    frame.extend(bytes);
                    connection.send(&frame);
                }
                None => self.skipped = true,
            },
            Step::Word(word) => {
                let mut connection = Connection::open(self.host.address(), ANSWER_TIME_MAX)?;
                connection.send(word.as_bytes());
                self.word = Some(connection);
            }
            Step::Expire { slot, timeout_ms } => self.begin_expiry(*slot, *timeout_ms)?,
            Step::Reap { slot, requests, .. } => self.send_burst(*slot, requests),
            Step::Restart { .. } => bail!("a restart is no affair of one side"),
        }
        Ok(())
    }

    fn send_burst(&mut self, slot: usize, requests: &[Request]) {
        let mut taken = std::mem::take(&mut self.slots[slot]);
        let bytes = self.encode(&mut taken, requests);
        match &mut taken.connection {
            Some(connection) => connection.send(&bytes),
            None => self.skipped = true,
        }
        self.slots[slot] = taken;
    }

    /// Awaits all answers to the step that was begun.
    ///
    /// # Errors
    /// The socket failed.
    pub fn finish(&mut self, step: &Step) -> Result<Seen> {
        let mut seen = Seen::default();
        if self.skipped {
            return Ok(seen);
        }
        match step {
            Step::Connect { slot, then, .. } => {
                self.finish_connect(*slot, then, &mut seen)?;
                if let Some((slot, mut old)) = self.replaced.take() {
                    // What still came there is of the old connection: only its end counts.
                    let end = loop {
                        match old.receive()? {
                            Received::Frame(_) => {}
                            end => break end,
                        }
                    };
                    seen.lines.push(format!("c{slot} old connection: {end:?}"));
                }
            }
            Step::Burst { slot, requests } => self.finish_burst(*slot, requests, &mut seen)?,
            Step::Garbage { slot, .. } => self.read_to_eof(*slot, &mut seen)?,
            Step::Word(word) => {
                let mut connection = self.word.take().context("no word was sent")?;
                let answer = connection.read_to_end()?;
                let text = canon::word(&mut self.symbols, word, &answer);
                seen.lines.push(format!("{word}: {text}"));
            }
            Step::Expire { slot, .. } => self.finish_expiry(*slot, &mut seen)?,
            Step::Reap {
                slot,
                requests,
                paths,
            } => {
                self.finish_burst(*slot, requests, &mut seen)?;
                self.await_gone(paths)?;
                self.begin_barrier();
                seen.lines.extend(self.finish_barrier(step)?.lines);
                by_connection(&mut seen.lines);
            }
            Step::Drop { .. } | Step::Restart { .. } => {}
        }
        if closes_a_session(step) {
            sort_events(&mut seen.lines);
        }
        Ok(seen)
    }

    /// Sends a ping on every connection that is open.
    pub fn begin_barrier(&mut self) {
        let ping = request(PING_XID, PING, &[]);
        for slot in &mut self.slots {
            if let Some(connection) = &mut slot.connection {
                connection.send(&ping);
            }
        }
    }

    /// Awaits the pongs; what came before them is what the step did to the others.
    ///
    /// # Errors
    /// The socket failed.
    pub fn finish_barrier(&mut self, step: &Step) -> Result<Seen> {
        let mut seen = Seen::default();
        for index in 0..self.slots.len() {
            while self.slots[index].connection.is_some() {
                if self.read_one(index, &mut seen)? == Some(PING_XID) {
                    break;
                }
            }
        }
        if closes_a_session(step) {
            sort_events(&mut seen.lines);
        }
        Ok(seen)
    }

    /// What was seen so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The slots that have an open connection.
    pub fn open_slots(&self) -> Vec<usize> {
        (0..self.slots.len())
            .filter(|slot| self.slots[*slot].connection.is_some())
            .collect()
    }

    fn hello(&self, who: Who) -> Option<Hello> {
        let mut hello = Hello::new(SESSION_TIMEOUT_MS);
        match who {
            Who::New => {}
            Who::NewNullPassword => hello.password = None,
            Who::Future => hello.last_zxid = i64::MAX,
            Who::Unknown => {
                hello.session = 0x0123_4567_89ab_cdef;
                hello.password = Some(vec![1; 16]);
            }
            Who::Slot(slot) => {
                let slot = &self.slots[slot];
                hello.session = slot.session;
                hello.password = Some(slot.password.clone());
                hello.last_zxid = slot.last_zxid;
            }
            Who::WrongPassword(slot) => {
                hello.session = self.slots[slot].session;
                hello.password = Some(vec![9; 16]);
                let lives =
                    |other: &Slot| other.connection.is_some() && other.session == hello.session;
                if self.slots.iter().any(lives) {
                    return None;
                }
            }
        }
        let needs_session = matches!(who, Who::Slot(_) | Who::WrongPassword(_));
        (!needs_session || hello.session != 0).then_some(hello)
    }

    /// The frames of a burst, with a ping behind them unless the last may close the connection.
    fn encode(&self, slot: &mut Slot, requests: &[Request]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for asked in requests {
            let code = asked.op.code();
            let xid = asked.xid.unwrap_or_else(|| {
                slot.xid += 1;
                slot.xid
            });
            let context = Context {
                root: &self.root,
                since: slot.since,
            };
            bytes.extend(request(xid, code, &asked.op.body(context)));
            // A pong always says -2.
            slot.pending
                .push_back((if code == PING { PING_XID } else { xid }, code));
        }
        if !requests
            .last()
            .is_some_and(|last| last.op.may_close() || last.op.stands_alone())
        {
            bytes.extend(request(PING_XID, PING, &[]));
        }
        bytes
    }

    fn finish_connect(&mut self, slot: usize, then: &[Request], seen: &mut Seen) -> Result<()> {
        let connection = self.slots[slot]
            .connection
            .as_mut()
            .context("not connected")?;
        let frame = match connection.receive()? {
            Received::Frame(frame) => frame,
            other => {
                seen.lines.push(format!("c{slot} no handshake: {other:?}"));
                self.slots[slot] = Slot::default();
                return Ok(());
            }
        };
        let mut reader = Reader::new(&frame);
        let (protocol, timeout, session) = (reader.i32()?, reader.i32()?, reader.i64()?);
        let password = reader.buffer()?.unwrap_or_default().to_vec();
        let text = if password == self.slots[slot].password {
            "the same".to_owned()
        } else {
            format!(
                "{} bytes, zero: {}",
                password.len(),
                password.iter().all(|byte| *byte == 0)
            )
        };
        seen.lines.push(format!(
            "c{slot} handshake: protocol {protocol} timeout {timeout} session {} password {text} \
             then {:?}",
            self.symbols.session(session),
            reader.rest()
        ));
        if session == 0 {
            self.slots[slot].pending.clear();
            self.read_to_eof(slot, seen)?;
            self.slots[slot] = Slot::default();
            return Ok(());
        }
        self.slots[slot].session = session;
        self.slots[slot].password = password.clone();
        if !self.open_sessions.iter().any(|(id, _)| *id == session) {
            self.open_sessions.push((session, password));
        }
        self.finish_burst(slot, then, seen)
    }

    fn finish_burst(&mut self, slot: usize, requests: &[Request], seen: &mut Seen) -> Result<()> {
        let last = requests.last().map(|request| &request.op);
        let closes = last.is_some_and(Op::may_close) && last.is_none_or(|op| op.code() != 100);
        let mut wants_pong = !last.is_some_and(|op| op.may_close() || op.stands_alone());
        while !self.slots[slot].pending.is_empty() || wants_pong {
            match self.read_one(slot, seen)? {
                None if self.slots[slot].connection.is_none() => return Ok(()),
                Some(PING_XID) => wants_pong = false,
                _ => {}
            }
        }
        let refused = seen
            .lines
            .last()
            .is_some_and(|line| line.contains("err -115"));
        if closes || (last.is_some_and(|op| op.code() == 100) && refused) {
            self.read_to_eof(slot, seen)?;
        }
        Ok(())
    }

    fn read_to_eof(&mut self, slot: usize, seen: &mut Seen) -> Result<()> {
        while self.slots[slot].connection.is_some() {
            self.read_one(slot, seen)?;
        }
        Ok(())
    }

    /// Reads one frame in a slot and says what it is; returns the xid of a reply.
    fn read_one(&mut self, index: usize, seen: &mut Seen) -> Result<Option<i32>> {
        let slot = &mut self.slots[index];
        let connection = slot.connection.as_mut().context("not connected")?;
        let frame = match connection.receive()? {
            Received::Frame(frame) => frame,
            end => {
                let missing = slot.pending.len();
                seen.lines
                    .push(format!("c{index} {end:?}, {missing} without a reply"));
                slot.connection = None;
                slot.pending.clear();
                return Ok(None);
            }
        };
        let mut reader = Reader::new(&frame);
        let (xid, zxid, err) = (reader.i32()?, reader.i64()?, reader.i32()?);
        let body = reader.rest();
        if xid == -1 {
            let text = canon::event(&mut self.symbols, zxid, err, body);
            let kind = body.get(3).copied().unwrap_or_default();
            *self.counts.entry(format!("event {kind}")).or_default() += 1;
            seen.lines.push(format!("c{index} {text}"));
            return Ok(None);
        }
        slot.last_zxid = slot.last_zxid.max(zxid);
        self.highest = self.highest.max(zxid);
        let expected = slot.pending.front().copied();
        if xid == PING_XID && expected.is_none_or(|(xid, _)| xid != PING_XID) {
            let zxid = self.header_zxid(zxid, false);
            seen.lines.push(format!("c{index} pong {zxid} err {err}"));
            return Ok(Some(xid));
        }
        slot.pending.pop_front();
        let Some((wanted, code)) = expected else {
            seen.lines
                .push(format!("c{index} reply to nothing: xid {xid} err {err}"));
            return Ok(Some(xid));
        };
        let note = if wanted == xid {
            String::new()
        } else {
            format!(" (not {wanted})")
        };
        let text = canon::body(&mut self.symbols, code, err, body);
        *self
            .counts
            .entry(format!("op {code:03} err {err}"))
            .or_default() += 1;
        let session = slot.session;
        let zxid = self.header_zxid(zxid, err == 0 && changes(code));
        seen.lines.push(format!(
            "c{index} reply {xid}{note} op {code} {zxid} err {err} {text}"
        ));
        if code == CLOSE_SESSION && err == 0 {
            self.open_sessions.retain(|(id, _)| *id != session);
        }
        // A ping that was asked for is no sign of the burst's end.
        Ok(None)
    }

    fn header_zxid(&mut self, zxid: i64, of_change: bool) -> String {
        if of_change || !self.hides_zxids {
            self.symbols.zxid(zxid)
        } else {
            "Z".into()
        }
    }

    /// Closes every session of the sequence that is still open. Nothing is compared here.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn close_sessions(&mut self) -> Result<()> {
        self.slots.clear();
        for (session, password) in std::mem::take(&mut self.open_sessions) {
            let mut connection = Connection::open(self.host.address(), ANSWER_TIME_MAX)?;
            let hello = Hello {
                session,
                password: Some(password),
                ..Hello::new(SESSION_TIMEOUT_MS)
            };
            let lives = connection.take_up(&hello);
            if lives.with_context(|| format!("take up session {session:#x}"))? {
                connection.close_session()?;
            }
        }
        Ok(())
    }

    /// Drops every connection of the sequence; the sessions live on.
    pub fn drop_connections(&mut self) {
        for slot in &mut self.slots {
            slot.connection = None;
            slot.pending.clear();
        }
    }
}

fn closes_a_session(step: &Step) -> bool {
    matches!(step, Step::Expire { .. })
        || matches!(step, Step::Burst { requests, .. } | Step::Connect { then: requests, .. }
        if requests.iter().any(|request| request.op.code() == CLOSE_SESSION))
}

/// True for the operations whose success is a change.
fn changes(code: i32) -> bool {
    matches!(code, 1 | 2 | 5 | 7 | 14 | 15 | 19 | 21 | CLOSE_SESSION)
}

/// The lines of each connection together, without pongs: a reaper acts before or behind any of
/// them.
fn by_connection(lines: &mut Vec<String>) {
    lines.retain(|line| line.split(' ').nth(1) != Some("pong"));
    lines.sort_by(|left, right| left.split(' ').next().cmp(&right.split(' ').next()));
}

/// The ephemerals of a session go in no stated order: sorts runs of events of one txn.
fn sort_events(lines: &mut [String]) {
    fn key(line: &str) -> Option<(&str, &str)> {
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some(connection), Some("event"), Some(zxid)) => Some((connection, zxid)),
            _ => None,
        }
    }
    for run in lines.chunk_by_mut(|a, b| key(a).is_some() && key(a) == key(b)) {
        run.sort();
    }
}
