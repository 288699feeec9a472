//! A client of the ensemble: one session at a time, which lives on when its server does not, as the
//! real clients do it; and everything is written down.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::history::{
    Call, End, Event, Item, Kind, Op, Outcome, Record, Reply, SESSION_MOVED, Session, Tape, Watches,
};
use crate::client::{Connection, Hello, REPLY_TIME_MAX, Received};

/// How long one read waits; then there are other things to look after.
const READ_TIME_MAX: Duration = Duration::from_millis(10);
/// How long the answer to a handshake may take; then another server is tried.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_millis(1500);
/// Between two attempts to connect.
const CONNECT_PAUSE: Duration = Duration::from_millis(20);
/// How long a connection whose session has moved is listened to.
const GHOST_TIME_MAX: Duration = Duration::from_millis(200);
const PING_XID: i32 = -2;

/// One client.
#[derive(Debug)]
pub struct Client {
    /// Its number.
    pub id: usize,
    /// What it has written down.
    pub record: Record,
    addresses: Vec<SocketAddr>,
    /// The server that is tried next.
    next: usize,
    timeout: Duration,
    begin: Instant,
    session: Option<(i64, Vec<u8>)>,
    live: Option<Live>,
    last_zxid: i64,
    xid: i32,
    watches: Watches,
    /// The connection that the session was moved away from, and is still open.
    left: Option<Connection>,
}

/// A connection with an answered handshake.
#[derive(Debug)]
struct Live {
    connection: Connection,
    server: usize,
    /// The calls that wait for a reply, with their xids.
    waiting: VecDeque<(i32, usize)>,
    heard: Instant,
    sent: Instant,
}

impl Client {
    /// A client without a session. `begin`: where the time of the run begins.
    pub fn new(id: usize, addresses: Vec<SocketAddr>, begin: Instant, timeout: Duration) -> Self {
        Self {
            id,
            record: Record::default(),
            next: id % addresses.len().max(1),
            addresses,
            timeout,
            begin,
            session: None,
            live: None,
            last_zxid: 0,
            xid: 0,
            watches: Watches::default(),
            left: None,
        }
    }

    /// Nanoseconds of the run.
    fn now(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    /// Its session, if it has one.
    pub fn session(&self) -> Option<i64> {
        self.session.as_ref().map(|(id, _)| *id)
    }

    /// The server that it is connected to.
    pub fn server(&self) -> Option<usize> {
        self.live.as_ref().map(|live| live.server)
    }

    /// What was written down so far is no part of the history.
    pub fn forget_past(&mut self) {
        let session = self.record.sessions.pop();
        let tape = self.record.tapes.pop();
        self.record = Record::default();
        self.record.sessions.extend(session);
        self.record.tapes.extend(tape.map(|tape| Tape {
            items: Vec::new(),
            ..tape
        }));
    }

    /// How many calls wait for a reply.
    pub fn waiting(&self) -> usize {
        self.live.as_ref().map_or(0, |live| live.waiting.len())
    }

    /// Connects to the next server, unless it is connected. False: not this time.
    pub fn connect(&mut self) -> bool {
        if self.live.is_some() {
            return true;
        }
        let server = self.next;
        self.next = (server + 1) % self.addresses.len();
        if self.try_connect(server).is_some_and(|done| done) {
            return true;
        }
        std::thread::sleep(CONNECT_PAUSE);
        false
    }

    /// `None`: no answer.
    fn try_connect(&mut self, server: usize) -> Option<bool> {
        let mut connection = Connection::open(self.addresses[server], HANDSHAKE_TIME_MAX).ok()?;
        let (session, password) = self.session.clone().unwrap_or((0, vec![0; 16]));
        let hello = Hello {
            last_zxid: self.last_zxid,
            session,
            password: Some(password),
            ..Hello::new(self.timeout.as_millis() as i32)
        };
        let welcome = connection.handshake(&hello).ok()??;
        let now = self.now();
        if session != 0 && (welcome.session != session || welcome.timeout_ms <= 0) {
            if welcome.session != 0 {
                let found = welcome.session;
                self.complain(format!("asked for session {session:#x}, got {found:#x}"));
            }
            self.end_session(End::Expired { told: now });
            return Some(false);
        }
        if welcome.session == 0 {
            return Some(false);
        }
        connection.set_patience(READ_TIME_MAX).ok()?;
        if let Some(last) = self.record.sessions.last_mut().filter(|_| session != 0) {
            // A close that was lost on its way has not been done after all, or not yet.
            last.end = End::Open;
        }
        if session == 0 {
            self.session = Some((welcome.session, welcome.password));
            self.record.sessions.push(Session {
                id: welcome.session,
                timeout_ms: welcome.timeout_ms,
                end: End::Open,
                heard: now,
            });
        }
        self.live = Some(Live {
            connection,
            server,
            waiting: VecDeque::new(),
            heard: Instant::now(),
            sent: Instant::now(),
        });
        self.record.tapes.push(Tape {
            session: welcome.session,
            server,
            items: Vec::new(),
        });
        if !self.watches.is_empty() {
            let watches = self.watches.clone();
            let since = self.last_zxid;
            self.send(vec![Op::SetWatches { since, watches }]);
        }
        Some(true)
    }

    fn complain(&mut self, what: String) {
        let problem = format!("client {}: {what}", self.id);
        self.record.complaints.push(problem);
    }

    fn end_session(&mut self, end: End) {
        self.session = None;
        self.watches = Watches::default();
        if let Some(session) = self
            .record
            .sessions
            .last_mut()
            .filter(|it| it.end == End::Open)
        {
            session.end = end;
        }
    }

    /// Whether it has a watch on this and everything below.
    pub fn watches_all(&self, path: &str) -> bool {
        self.watches.recursive.contains(path)
    }

    /// Sends these with one write. Without a connection they are not even calls.
    pub fn send(&mut self, ops: Vec<Op>) {
        let at = self.now();
        let (Some(live), Some((session, _))) = (self.live.as_mut(), self.session.as_ref()) else {
            return;
        };
        let mut bytes = Vec::new();
        for op in ops {
            let xid = if op == Op::Ping {
                PING_XID
            } else {
                self.xid += 1;
                self.xid
            };
            bytes.extend(op.frame(xid));
            live.waiting.push_back((xid, self.record.calls.len()));
            self.record.calls.push(Call {
                session: *session,
                op,
                at,
                reply: None,
            });
        }
        live.sent = Instant::now();
        live.connection.send(&bytes);
    }

    /// Takes what has come, waits a little if nothing has; pings; gives up a silent connection.
    /// Returns the calls that were answered.
    pub fn turn(&mut self) -> Vec<usize> {
        let mut answered = Vec::new();
        let Some(live) = self.live.as_mut() else {
            return answered;
        };
        match live.connection.receive() {
            Ok(Received::Frame(frame)) => match self.take(&frame) {
                Ok(Some(call)) => answered.push(call),
                Ok(None) => {}
                Err(error) => {
                    self.complain(format!("{error:#}"));
                    self.disconnect();
                }
            },
            Ok(Received::Silence) => {}
            Ok(Received::Eof) | Err(_) => self.disconnect(),
        }
        let Some(live) = self.live.as_ref() else {
            return answered;
        };
        let oldest = live.waiting.front().map(|(_, index)| *index);
        let stuck = oldest.filter(|index| {
            let at = Duration::from_nanos(self.record.calls[*index].at);
            self.begin.elapsed().saturating_sub(at) > REPLY_TIME_MAX
        });
        if let Some(index) = stuck {
            let op = &self.record.calls[index].op;
            self.complain(format!("not answered, though the connection lives: {op:?}"));
            self.disconnect();
        } else if live.heard.elapsed() > self.timeout * 2 / 3 {
            self.disconnect();
        } else if live.sent.elapsed() > self.timeout / 3 {
            self.send(vec![Op::Ping]);
        }
        answered
    }

    fn take(&mut self, frame: &[u8]) -> Result<Option<usize>> {
        let at = self.now();
        let event = Event::read(frame)?;
        let (Some(live), Some(tape)) = (self.live.as_mut(), self.record.tapes.last_mut()) else {
            return Ok(None);
        };
        live.heard = Instant::now();
        if let Some(session) = self.record.sessions.last_mut() {
            session.heard = at;
        }
        if let Some(event) = event {
            forget(&mut self.watches, &event);
            tape.items.push(Item::Event(event));
            return Ok(None);
        }
        let (expected, index) = live
            .waiting
            .pop_front()
            .ok_or_else(|| anyhow::anyhow!("a reply to no request"))?;
        let call = &mut self.record.calls[index];
        let (xid, reply) = call.op.read_reply(frame, at)?;
        anyhow::ensure!(xid == expected, "xid {xid} instead of {expected}");
        self.last_zxid = self.last_zxid.max(reply.zxid);
        remember(&mut self.watches, &call.op, &reply.outcome);
        let closed = call.op == Op::Close && reply.outcome == Outcome::Done;
        let moved = reply.outcome == Outcome::Error(SESSION_MOVED);
        call.reply = Some(reply);
        tape.items.push(Item::Reply(index));
        if closed {
            self.disconnect();
            self.end_session(End::Closed);
        } else if moved {
            self.disconnect();
        }
        Ok(Some(index))
    }

    /// Drops the connection; the session is taken up on the next one.
    pub fn disconnect(&mut self) {
        let Some(live) = self.live.take() else {
            return;
        };
        // A close that was not answered may have been done: the next server will tell.
        for (_, index) in &live.waiting {
            if self.record.calls[*index].op == Op::Close
                && let Some(session) = self.record.sessions.last_mut()
            {
                session.end = End::Closed;
            }
        }
    }

    /// Drops the connection and goes to this server next.
    pub fn move_to(&mut self, server: usize) {
        self.disconnect();
        self.next = server % self.addresses.len();
    }

    /// As [`Self::move_to`], but the connection stays open, for [`Self::haunt`].
    pub fn leave_for(&mut self, server: usize) {
        self.left = self.live.take().map(|live| live.connection);
        self.next = server % self.addresses.len();
    }

    /// Writes on the connection that its session was moved away from. The new one has been answered, so
    /// this must not be done: it is written down as refused.
    pub fn haunt(&mut self, op: Op) {
        let (Some(_), Some(mut left)) = (&self.live, self.left.take()) else {
            return;
        };
        let Some(session) = self.session() else {
            return;
        };
        self.xid += 1;
        left.send(&op.frame(self.xid));
        let at = self.now();
        let deadline = Instant::now() + GHOST_TIME_MAX;
        while Instant::now() < deadline {
            match left.receive() {
                Ok(Received::Frame(frame)) => {
                    let answer = op.read_reply(&frame, at);
                    if let Ok((xid, reply)) = answer
                        && xid == self.xid
                    {
                        if !matches!(reply.outcome, Outcome::Error(_)) {
                            let told = format!("served after its session moved: {op:?}: {reply:?}");
                            self.complain(told);
                        }
                        break;
                    }
                }
                Ok(Received::Silence) => {}
                Ok(Received::Eof) | Err(_) => break,
            }
        }
        self.record.calls.push(Call {
            session,
            op,
            at,
            reply: Some(Reply {
                zxid: self.last_zxid,
                outcome: Outcome::Error(SESSION_MOVED),
                at: self.now(),
            }),
        });
    }

    /// Goes away without a word; the session is left to expire.
    pub fn abandon(&mut self) {
        self.disconnect();
        if self.session.is_some() {
            self.end_session(End::Abandoned);
        }
    }

    /// Waits for all replies, at most so long; true: there is none left to wait for.
    pub fn settle(&mut self, most: Duration) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < most {
            if self.connect() && self.waiting() == 0 {
                return true;
            }
            self.turn();
        }
        false
    }

    /// Asks one thing and waits for its reply, on however many connections it takes.
    pub fn ask(&mut self, op: &Op, most: Duration) -> Option<(i64, Outcome)> {
        let begin = Instant::now();
        while begin.elapsed() < most {
            if !self.settle(most) {
                return None;
            }
            self.send(vec![op.clone()]);
            while self.waiting() > 0 && begin.elapsed() < most {
                if let Some(index) = self.turn().pop()
                    && self.record.calls[index].op == *op
                    && let Some(reply) = &self.record.calls[index].reply
                {
                    return Some((reply.zxid, reply.outcome.clone()));
                }
            }
        }
        None
    }
}

/// A reply may have left a watch.
fn remember(watches: &mut Watches, op: &Op, outcome: &Outcome) {
    let refused = matches!(outcome, Outcome::Error(_));
    match op {
        Op::Get { path, watch: true } if !refused => drop(watches.data.insert(path.clone())),
        Op::Exists { path, watch: true } if !refused => drop(watches.data.insert(path.clone())),
        Op::Exists { path, watch: true } if *outcome == Outcome::Error(-101) => {
            watches.exist.insert(path.clone());
        }
        Op::Children { path, watch: true } if !refused => {
            watches.child.insert(path.clone());
        }
        Op::AddWatch { path } if !refused => drop(watches.recursive.insert(path.clone())),
        _ => {}
    }
}

/// An event takes its standard watches with it.
fn forget(watches: &mut Watches, event: &Event) {
    let path = &event.path;
    if event.kind != Kind::Children {
        watches.data.remove(path);
        watches.exist.remove(path);
    }
    if matches!(event.kind, Kind::Children | Kind::Deleted) {
        watches.child.remove(path);
    }
}
