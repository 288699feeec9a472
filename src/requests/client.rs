//! One client's requests, in order: what its connection's task runs over the bytes that came.
//!
//! ```text
//!   inbox ─▶ frame ─▶ header ─▶ class ─┬─ write: proposed at once, answered by delivery
//!                                      ├─ read, ping behind an own write: left to delivery, if it
//!                                      │    is small and in memory (waiting.rs)
//!                                      ├─ read, watch, ping, auth: answered here, if no own write
//!                                      │    is in flight, behind what the outbox holds
//!                                      └─ sync, and a read that is to be linearizable (fresh.rs): waits
//!                                           for the read index
//! ```
//!
//! Replies that are made here gather in `run` and are appended to the connection's outbox before the
//! state lock, held for reading, is let go of; apply holds the lock for writing when it adds to the
//! outbox. So bytes leave in the order that the state's changes had. A request that cannot be
//! served yet stays at the head, and everything behind it stays in the inbox: requests of a session
//! never overtake each other. What is left to delivery is in its place when the guard is let go of:
//! apply, which needs the lock, cannot have answered the write before it by then.
//!
//! [`Client::advance`] says why it stopped, and with it what it waits for (`step.rs`).
//!
//! Does not know sockets: `net` moves bytes from them into the inbox.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use jute::{
    Cut, ErrorCode, FrameCodec, LENGTH_BYTES, OpClass, OpCode, Reader, Request, RequestHeader,
};
use tokio::time::Instant;
use tokio_util::codec::Decoder;

use super::Requests;
use super::behind;
use super::fresh::Fresh;
use super::head::{Head, Reached, Served};
use super::heard::Heard;
use super::large::Large;
use super::pending::Waiting;
use super::step::{Settle, Step};
use super::warm::Kept;
use crate::connection::{Connection, End, Share};
use crate::io::buffers;
use crate::state::{State, Zxid};

/// Requests answered under one read guard: more would keep a waiting write off too long.
const RUN_REQUESTS_MAX: usize = 64;
/// How long the guard is held for requests that may each take long, though their replies are short.
const RUN_TIME_MAX: Duration = Duration::from_millis(2);
/// Bytes in the outbox beyond which no more replies are made, until the client has taken some.
const RUN_BYTES_MAX: usize = 256 * 1024;
/// Bytes that may wait in the inbox while the head cannot be served.
const INBOX_BYTES_MAX: usize = 128 * 1024;
/// The same while the client takes no replies: its pings stand behind what it has asked.
const CLOGGED_BYTES_MAX: usize = 1024 * 1024;
/// An inbox with so many bytes keeps its buffer instead of moving them to one of its own.
const MOVED_BYTES_MAX: usize = 16 * 1024;

/// The requests of one connection.
#[derive(Debug)]
pub struct Client {
    pub(super) requests: Arc<Requests>,
    pub(super) connection: Arc<Connection>,
    /// Bytes that have come and have not been looked at.
    pub(super) inbox: BytesMut,
    /// Replies made under the guard that is held.
    pub(super) run: BytesMut,
    /// Where the reply that is being made begins in `run`.
    pub(super) reply_from: usize,
    pub(super) codec: FrameCodec,
    /// What of the inbox has kept the session alive already.
    heard: Heard,
    pub(super) fresh: Fresh,
    /// Boxed: few requests wait here, and idle connections are many.
    head: Option<Box<Head>>,
    pub(super) life: Life,
    pub(super) writes_proposed: u64,
    /// The last of them is a reconfig: nothing is proposed behind it before it has been answered.
    pub(super) reconfigures: bool,
    /// Sequence of its newest proposal.
    pub(super) sequence: u64,
    /// Bytes of the longest of its writes since none was in flight: what a read may find.
    pub(super) write_bytes: usize,
    /// Reads behind the newest proposal; only while the guard of a run is held.
    behind: Vec<Waiting>,
    /// The client sends no more.
    at_end: bool,
    /// What the head needs is kept in memory by these.
    pub(super) kept: Kept,
    /// The head's reply is not small. Boxed: few are.
    pub(super) large: Option<Box<Large>>,
    /// Of the reply in `run` that is not.
    pub(super) run_share: Option<Box<Share>>,
    pub(super) arrived: Instant,
    /// When the run under the guard began.
    pub(super) now: Instant,
}

/// Where the connection is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Life {
    /// The first frame must be a ConnectRequest.
    Handshake,
    /// Has a session, or waits for it to be opened.
    Serving,
    /// Has asked for its session to be closed: nothing more is taken from this client.
    Leaving,
    /// The connection ends once what is on the wire has been sent.
    Ending,
}

impl Client {
    /// A client that has sent nothing yet. Its first frame may have at most
    /// `net::Config::HANDSHAKE_FRAME_BYTES_MAX` bytes.
    pub fn new(
        requests: Arc<Requests>,
        connection: Arc<Connection>,
        first_frame_max: usize,
    ) -> Self {
        Self {
            requests,
            connection,
            inbox: BytesMut::new(),
            run: BytesMut::new(),
            reply_from: 0,
            codec: FrameCodec::new(first_frame_max),
            heard: Heard::default(),
            fresh: Fresh::default(),
            head: None,
            life: Life::Handshake,
            writes_proposed: 0,
            reconfigures: false,
            sequence: 0,
            write_bytes: 0,
            behind: Vec::new(),
            at_end: false,
            kept: Kept::default(),
            large: None,
            run_share: None,
            arrived: Instant::now(),
            now: Instant::now(),
        }
    }

    /// The shared part of the connection.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// True until its ConnectRequest has come whole: from then on it waits for this server.
    pub fn is_handshaking(&self) -> bool {
        self.life == Life::Handshake && self.head.is_none()
    }

    /// Serves what can be served of the inbox, into the outbox; says why it stopped.
    pub fn advance(&mut self) -> Step {
        let found = self.connection.outbox.attend();
        match found.end {
            End::Now => return Step::Gone,
            End::AfterFlush => self.life = Life::Ending,
            End::Open if found.bytes >= RUN_BYTES_MAX => return Step::Clogged,
            End::Open => {}
        }
        if self.run.capacity() == 0 {
            self.run = buffers::lend();
        }
        let requests = Arc::clone(&self.requests);
        let mut guard = None;
        let mut served = 0;
        let mut walks = false;
        let mut is_same = true;
        let step = loop {
            if self.life == Life::Ending {
                break Step::End;
            }
            let is_long = walks && self.now.elapsed() >= RUN_TIME_MAX;
            let has_many = served >= RUN_REQUESTS_MAX;
            if is_long || has_many || found.bytes + self.run.len() >= RUN_BYTES_MAX {
                break Step::More;
            }
            let is_new = self.head.is_none();
            is_same &= !is_new;
            let head = match self.next_head() {
                Ok(Some(head)) => head,
                Ok(None) => break self.without_head(),
                Err(Broken) => break Step::End,
            };
            served += 1;
            walks |= walks_far(head.header.op);
            let state = match &guard {
                Some(guard) => guard,
                None => {
                    let taken = requests.replica.read();
                    // Under the guard apply adds nothing to the outbox: what it holds comes before
                    // the replies that follow, unless it holds the last words.
                    if self.connection.outbox.look().end != End::Open {
                        self.life = Life::Ending;
                        continue;
                    }
                    self.now = Instant::now();
                    guard.insert(taken)
                }
            };
            match self.serve(state, head) {
                Served::Done => {}
                Served::Stays(head, mut step) => {
                    if let Step::Warm(warm) = &mut step
                        && is_new
                    {
                        self.look_ahead(state, &mut warm.ahead);
                    }
                    self.head = Some(Box::new(head));
                    break step;
                }
                Served::End => {
                    self.life = Life::Ending;
                    break Step::End;
                }
            }
        };
        self.leave_to_delivery();
        let end = self.append_run();
        drop(guard);
        self.kept.end_turn(is_same && self.needs_kept());
        self.step_unless(end, step)
    }

    /// What is next, if the connection goes on.
    fn step_unless(&mut self, end: End, step: Step) -> Step {
        match end {
            End::Now => Step::Gone,
            End::AfterFlush => {
                self.life = Life::Ending;
                Step::End
            }
            End::Open => step,
        }
    }

    /// The settled step's request may go on.
    pub fn settled(&mut self, settle: Settle) {
        let Some(head) = self.head.as_mut() else {
            return;
        };
        match settle {
            Settle::Again => {}
            Settle::Warmed(pins) => self.kept.add(pins),
            Settle::TooLarge => {
                let op = head.header.op;
                if self.enlarge() {
                    self.kept.end_turn(false);
                } else {
                    self.note_too_large(op);
                    self.life = Life::Ending;
                }
            }
            Settle::Shared(share) => self.shared(share),
            Settle::Synced => {
                head.reached = Reached::Synced;
                self.fresh.confirm();
            }
            Settle::Counted { at, count } => {
                let tries = match head.reached {
                    Reached::Counted { tries, .. } => tries + 1,
                    Reached::New
                    | Reached::Admitted { .. }
                    | Reached::Synced
                    | Reached::CatchingUp(_) => 1,
                };
                head.reached = Reached::Counted { at, count, tries };
            }
            Settle::Failed => self.life = Life::Ending,
        }
    }

    /// The first bytes that have come, before any of them has been served.
    pub fn first_bytes(&self) -> &[u8] {
        &self.inbox
    }

    /// The client sends no more; what has come is still served.
    pub fn end_of_stream(&mut self) {
        self.at_end = true;
    }

    /// False while no bytes may be taken in: enough has come that cannot be served yet, or the
    /// server has so much to do that this client, which waits for some of it, is not read from.
    /// `is_clogged`: its socket takes no replies; then more is read, for the sake of its pings.
    ///
    /// zk: ZooKeeperServer.shouldThrottle, globalOutstandingLimit.
    pub fn takes_bytes(&self, is_clogged: bool) -> bool {
        let bytes_max = if is_clogged {
            CLOGGED_BYTES_MAX
        } else {
            INBOX_BYTES_MAX
        };
        let has_room = self.inbox.len() < bytes_max || self.is_starved();
        let is_held_back = || self.has_write_in_flight() && self.requests.is_overloaded();
        has_room && !self.at_end && !is_held_back()
    }

    /// Where bytes that come are to be appended, followed by [`Self::received`].
    pub fn inbox(&mut self) -> &mut BytesMut {
        if self.inbox.len() < MOVED_BYTES_MAX && self.inbox.capacity() < buffers::ROOM_BYTES / 2 {
            let few = std::mem::replace(&mut self.inbox, buffers::lend());
            self.inbox.extend_from_slice(&few);
        } else {
            self.inbox.reserve(buffers::ROOM_BYTES / 4);
        }
        &mut self.inbox
    }

    /// Bytes have been appended to the inbox: its session is alive if there is a request among them.
    pub fn received(&mut self) {
        self.arrived = Instant::now();
        if self.heard.look(&self.codec, &self.inbox).is_request {
            self.connection
                .heard(&self.requests.shared.sessions, self.arrived);
        }
    }

    /// The client waits: it holds what it must, and no room for more.
    pub fn give_buffers_back(&mut self) {
        if self.run.capacity() > 0 {
            buffers::take_back(std::mem::take(&mut self.run));
        }
        if self.inbox.len() < MOVED_BYTES_MAX && self.inbox.capacity() >= buffers::ROOM_BYTES / 4 {
            let few = BytesMut::from(&self.inbox[..]);
            buffers::take_back(std::mem::replace(&mut self.inbox, few));
        }
    }

    /// True if nothing but more bytes lets it go on: the inbox holds no more than a part of one frame,
    /// whose length is within the limit.
    pub(super) fn is_starved(&self) -> bool {
        let is_partial = || matches!(self.codec.cut(&self.inbox), Ok(Cut::Incomplete { .. }));
        self.head.is_none() && !self.is_opening() && is_partial()
    }

    /// True while its session is being opened or attached: what it sends behind its ConnectRequest waits.
    fn is_opening(&self) -> bool {
        self.life == Life::Serving && self.connection.session().0 == 0
    }

    /// True while a write of its session has not been answered.
    pub(super) fn has_write_in_flight(&self) -> bool {
        self.writes_proposed != self.connection.writes_answered()
    }

    /// Whether the head is going to be served by what was loaded for it.
    fn needs_kept(&self) -> bool {
        self.head.is_some() && !self.waits_for_share()
    }

    /// Why there is no head.
    fn without_head(&self) -> Step {
        let is_opening = self.is_opening() && !self.inbox.is_empty();
        match self.at_end {
            _ if is_opening => Step::Blocked,
            true if self.has_reads_waiting() => Step::Blocked,
            true => Step::End,
            false => Step::Idle,
        }
    }

    /// What has been made goes to the outbox, and what a large reply among it was lent.
    fn append_run(&mut self) -> End {
        let share = self.run_share.take().map(|share| *share);
        self.connection.outbox.append_large(&mut self.run, share)
    }

    fn has_reads_waiting(&self) -> bool {
        !self.behind.is_empty() || self.connection.reads_waiting() > 0
    }

    fn next_head(&mut self) -> Result<Option<Head>, Broken> {
        if let Some(head) = self.head.take() {
            return Ok(Some(*head));
        }
        if self.life == Life::Leaving {
            self.heard = Heard::default();
            self.inbox.clear();
            return Ok(None);
        }
        if self.is_opening() {
            return Ok(None);
        }
        let frame = match self.codec.decode(&mut self.inbox) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(None),
            Err(error) => {
                tracing::debug!(peer = %self.connection.peer, %error, "frame refused");
                return Err(Broken);
            }
        };
        self.heard.taken(LENGTH_BYTES + frame.len());
        self.connection.stats.received(1);
        self.requests.shared.connections.stats().received(1);
        if self.life == Life::Handshake {
            return Ok(Some(Head {
                header: RequestHeader {
                    xid: 0,
                    op: OpCode::CREATE_SESSION,
                },
                body: frame,
                request: None,
                reached: Reached::New,
            }));
        }
        let reached = self.fresh.take(LENGTH_BYTES + frame.len());
        let mut reader = Reader::new(frame);
        match RequestHeader::decode(&mut reader) {
            Ok(header) => Ok(Some(Head {
                header,
                body: reader.rest(),
                request: None,
                reached,
            })),
            Err(error) => {
                tracing::debug!(peer = %self.connection.peer, %error, "header refused");
                Err(Broken)
            }
        }
    }

    fn serve(&mut self, state: &State, head: Head) -> Served {
        self.reply_from = self.run.len();
        if self.life == Life::Handshake {
            return self.greet(state, head);
        }
        let class = head.header.op.class();
        if self.reconfigures && self.has_write_in_flight() {
            return self.wait_for_members(state, head, class);
        }
        self.reconfigures = false;
        if class == OpClass::Write {
            return self.write(state, head);
        }
        if class == OpClass::Close && self.is_admitted() {
            return self.close(head);
        }
        if self.has_write_in_flight() {
            return self.wait(state, head, class);
        }
        let exempt = matches!(class, OpClass::Auth | OpClass::Sasl);
        if !exempt && !self.is_admitted() {
            return self.refuse_unadmitted(&head);
        }
        if self.may_be_stale(&head) {
            self.fresh.ask(self.inbox.len());
            return Served::Stays(head, Step::Barrier);
        }
        match class {
            OpClass::Read => self.read(state, head),
            OpClass::Watch => self.watch(state, head),
            OpClass::Sync => self.sync(state, head),
            OpClass::Ping => self.ping(state, &head),
            OpClass::Auth => self.authenticate(&head),
            OpClass::Sasl => self.sasl(&head),
            OpClass::Write | OpClass::Close | OpClass::Unknown => {
                self.put_aside(&head, Zxid(-1), ErrorCode::UNIMPLEMENTED);
                Served::End
            }
        }
    }

    /// A request behind a reconfig, which is answered by another txn than its own: it stays at the head.
    /// Only pings are answered once the change has begun, which may take a while.
    ///
    /// zk-differs: CommitProcessor holds back everything of the session, pings too.
    fn wait_for_members(&mut self, state: &State, head: Head, class: OpClass) -> Served {
        if class == OpClass::Ping && self.connection.changes_members() {
            return self.ping(state, &head);
        }
        Served::Stays(head, Step::Blocked)
    }

    /// A request behind a write: left to delivery if it can be, else it stays at the head.
    fn wait(&mut self, state: &State, mut head: Head, class: OpClass) -> Served {
        let reply_bytes_max = behind::reply_bytes_max(&self.connection);
        let may_wait = matches!(class, OpClass::Read | OpClass::Ping)
            && head.body.len() <= behind::WAITING_BYTES_MAX
            && self.write_bytes <= reply_bytes_max
            && self.behind.len() + self.connection.reads_waiting() < behind::WAITING_MAX
            // Its write may have its place in the log before what others were told since.
            && !self.may_be_stale(&head)
            // What is left to delivery stays when its connection has gone.
            && !self.requests.is_overloaded()
            && self.is_admitted();
        if !may_wait {
            return Served::Stays(head, Step::Blocked);
        }
        let request = match head.request.take() {
            Some(request) => request,
            None => match Request::decode(head.header.op, head.body.clone()) {
                Ok(request) => request,
                Err(_) => return Served::Stays(head, Step::Blocked),
            },
        };
        let Some(pins) = behind::pin_if_small(state, &request, reply_bytes_max) else {
            head.request = Some(request);
            return Served::Stays(head, Step::Blocked);
        };
        self.behind.push(Waiting {
            xid: head.header.xid,
            op: head.header.op,
            request,
            pins,
            since: self.arrived,
        });
        Served::Done
    }

    /// Puts what waits behind the newest proposal there; the guard under which it was collected is
    /// still held, so that proposal has not been applied.
    pub(super) fn leave_to_delivery(&mut self) {
        if self.behind.is_empty() {
            return;
        }
        let mut pending = self.requests.shared.pending.lock();
        let connection = self.connection.id;
        if !pending.wait_behind(connection, self.sequence, &mut self.behind) {
            // All clients have been sent away; or it is a defect of the order that the guard gives, and
            // better no reply than a wrong one.
            self.behind.clear();
            self.connection.outbox.end(End::Now);
        }
    }
}

/// The bytes are no frame or no header: the connection ends without a word.
struct Broken;

/// True for what may look at very much to say very little.
fn walks_far(op: OpCode) -> bool {
    matches!(
        op,
        OpCode::GET_EPHEMERALS
            | OpCode::GET_CHILDREN
            | OpCode::GET_CHILDREN2
            | OpCode::MULTI_READ
            | OpCode::SET_WATCHES
            | OpCode::SET_WATCHES2
    )
}
