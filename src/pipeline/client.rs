//! One client's requests, in order: what its connection's task runs over the bytes that came.
//!
//! ```text
//!   inbox ─▶ frame ─▶ header ─▶ class ─┬─ write: proposed at once, answered by delivery
//!                                      ├─ read, ping behind an own write: left to delivery, if it
//!                                      │    is small and in memory (waiting.rs)
//!                                      ├─ read, watch, ping, auth: answered here, if no own write
//!                                      │    is in flight, behind what the outbox holds
//!                                      └─ sync: waits for the read index
//! ```
//!
//! Replies that are made here are appended to `wire` while the state lock is held for reading, and
//! behind everything that the outbox held at that moment; apply holds the lock for writing when it
//! fills the outbox. So bytes leave in the order that the state's changes had. A request that
//! cannot be served yet stays at the head, and everything behind it stays in the inbox: requests of
//! a session never overtake each other. What is left to delivery is in its place when the guard is
//! let go of: apply, which needs the lock, cannot have answered the write before it by then.
//!
//! Does not know sockets: `net` moves bytes between them and `inbox` and `wire`.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use jute::{ConnectRequest, ErrorCode, FrameCodec, OpCode, Reader, Request, RequestHeader};
use tokio::time::Instant;
use tokio_util::codec::Decoder;

use super::classify::{Class, classify, takes_zxid};
use super::leaning::Leaning;
use super::queue::Awaits;
use super::stop::{Settle, Step};
use super::waiting::{self, Waiting};
use super::warm::Kept;
use super::{Pipeline, watches::Catchup};
use crate::ensemble::SubmitError;
use crate::metrics;
use crate::session::{Connection, End, Greeting, put_connect_response};
use crate::state::{ActionRef, State, Zxid};

/// Requests answered under one read guard: more would keep a waiting write off too long.
const RUN_REQUESTS_MAX: usize = 64;
/// Bytes of replies made under one read guard.
const RUN_BYTES_MAX: usize = 256 * 1024;

/// The requests of one connection.
#[derive(Debug)]
pub struct Client {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) connection: Arc<Connection>,
    /// Bytes that have come and have not been looked at.
    pub inbox: BytesMut,
    /// Bytes to send, in order.
    pub wire: BytesMut,
    codec: FrameCodec,
    /// Boxed: few requests wait here, and idle connections are many.
    head: Option<Box<Head>>,
    phase: Phase,
    writes_proposed: u64,
    /// Sequence of its newest proposal.
    sequence: u64,
    /// Bytes of the longest of its writes since none was in flight: what a read may find.
    write_bytes: usize,
    /// Reads behind the newest proposal; only while the guard of a run is held.
    behind: Vec<Waiting>,
    /// What the head needs is kept in memory by these.
    kept: Kept,
    /// What it mostly does.
    pub leaning: Leaning,
    pub(super) arrived: Instant,
    /// When the run under the guard began.
    pub(super) now: Instant,
}

/// Where the connection is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The first frame must be a ConnectRequest.
    Handshake,
    /// Has a session, or waits for it to be opened.
    Serving,
    /// Has asked for its session to be closed: nothing more is taken from this client.
    Leaving,
    /// The connection ends once what is on the wire has been sent.
    Ending,
}

/// The request at the head of the queue.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) header: RequestHeader,
    pub(super) body: Bytes,
    /// Parsed once, when its turn has come.
    pub(super) request: Option<Request>,
    pub(super) progress: Progress,
}

/// How far a request that takes several steps has come.
#[derive(Debug, Default)]
pub(super) enum Progress {
    #[default]
    New,
    /// ConnectRequest: the throttle has let it through.
    Admitted,
    /// sync: the read index has been reached.
    Synced,
    /// getAllChildrenNumber: counted at this zxid, so many descendants.
    Counted { at: Zxid, count: i32, tries: u32 },
    /// setWatches: so many paths are done.
    CatchingUp(Catchup),
}

/// What serving the head came to.
#[expect(
    clippy::large_enum_variant,
    reason = "made and taken apart at once, never stored"
)]
pub(super) enum Served {
    /// Answered, proposed or dropped.
    Done,
    /// It stays at the head.
    Stays(Head, Step),
    /// The connection ends, behind what has been answered.
    End,
}

impl Client {
    /// A client that has sent nothing yet. Its first frame may have at most
    /// `net::Config::HANDSHAKE_FRAME_BYTES_MAX` bytes.
    pub fn new(
        pipeline: Arc<Pipeline>,
        connection: Arc<Connection>,
        first_frame_max: usize,
    ) -> Self {
        Self {
            pipeline,
            connection,
            inbox: BytesMut::new(),
            wire: BytesMut::new(),
            codec: FrameCodec::new(first_frame_max),
            head: None,
            phase: Phase::Handshake,
            writes_proposed: 0,
            sequence: 0,
            write_bytes: 0,
            behind: Vec::new(),
            kept: Kept::default(),
            leaning: Leaning::default(),
            arrived: Instant::now(),
            now: Instant::now(),
        }
    }

    /// The shared part of the connection.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// True until a ConnectRequest has been accepted.
    pub fn is_handshaking(&self) -> bool {
        self.phase == Phase::Handshake
    }

    /// Bytes have come from the client: its session is alive if there is a request among them.
    pub fn heard(&mut self) {
        self.arrived = Instant::now();
        if self.has_request() {
            self.connection
                .heard(&self.pipeline.shared.touches, self.arrived);
        }
    }

    /// Whether a frame has come whole that keeps a session alive: any but auth and sasl.
    ///
    /// zk: ZooKeeperServer.submitRequestNow touches; processPacket answers those two before it.
    pub(super) fn has_request(&self) -> bool {
        let mut rest = &self.inbox[..];
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let bytes = usize::try_from(i32::from_be_bytes(*length)).ok();
            let Some((frame, next)) = bytes.and_then(|bytes| behind.split_at_checked(bytes)) else {
                return false;
            };
            let op = frame.get(4..8).and_then(|op| op.try_into().ok());
            match op.map(|op| OpCode(i32::from_be_bytes(op))) {
                Some(OpCode::AUTH | OpCode::SASL) => rest = next,
                _ => return true,
            }
        }
        false
    }

    /// Collects in `wire` what apply has pushed, without serving anything.
    pub fn collect(&mut self) {
        if self.wire.len() >= RUN_BYTES_MAX && self.connection.outbox.state() == End::Open {
            return;
        }
        if self.connection.outbox.drain_into(&mut self.wire) != End::Open {
            self.phase = Phase::Ending;
        }
    }

    /// Serves what can be served of the inbox, and collects in `wire` what can be sent.
    pub fn advance(&mut self) -> Step {
        if self.wire.len() >= RUN_BYTES_MAX && self.connection.outbox.state() == End::Open {
            // The client does not read. What is pushed for it stays in the outbox, whose bound ends
            // the connection.
            return Step::Blocked;
        }
        let pipeline = Arc::clone(&self.pipeline);
        let mut guard = None;
        let mut served = 0;
        let mut is_same = true;
        let proposed_before = self.writes_proposed;
        let step = loop {
            if self.phase == Phase::Ending {
                break Step::End;
            }
            if served >= RUN_REQUESTS_MAX || self.wire.len() >= RUN_BYTES_MAX {
                break Step::More;
            }
            let is_new = self.head.is_none();
            is_same &= !is_new;
            let head = match self.next_head() {
                Ok(Some(head)) => head,
                Ok(None) if self.has_reads_waiting() => break Step::Blocked,
                Ok(None) => break Step::Idle,
                Err(Broken) => break Step::End,
            };
            served += 1;
            let state = match &guard {
                Some(guard) => guard,
                None => {
                    let taken = pipeline.replica.read();
                    // Under the guard nothing can be added to the outbox by apply: what it holds
                    // comes before the replies that follow.
                    if self.connection.outbox.drain_into(&mut self.wire) == End::Now {
                        break Step::Gone;
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
                    self.phase = Phase::Ending;
                    break Step::End;
                }
            }
        };
        self.leave_to_delivery();
        drop(guard);
        self.kept.end_turn(is_same && self.head.is_some());
        if served > 0 {
            self.leaning.turn(self.writes_proposed > proposed_before);
        }
        match self.connection.outbox.drain_into(&mut self.wire) {
            End::Now => Step::Gone,
            End::AfterFlush => {
                self.phase = Phase::Ending;
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
                self.note_too_large(op);
                self.phase = Phase::Ending;
            }
            Settle::Synced => head.progress = Progress::Synced,
            Settle::Counted { at, count } => {
                let tries = match head.progress {
                    Progress::Counted { tries, .. } => tries + 1,
                    Progress::New
                    | Progress::Admitted
                    | Progress::Synced
                    | Progress::CatchingUp(_) => 1,
                };
                head.progress = Progress::Counted { at, count, tries };
            }
            Settle::Failed => self.phase = Phase::Ending,
        }
    }

    /// True if nothing but more bytes lets it go on: the inbox holds at most a part of one frame,
    /// whose length has been found within the limit.
    pub fn is_starved(&self) -> bool {
        let opening = self.phase == Phase::Serving && self.connection.session().0 == 0;
        self.head.is_none() && !opening
    }

    /// True if nothing that has come waits to be served.
    pub fn is_caught_up(&self) -> bool {
        self.head.is_none() && self.inbox.is_empty()
    }

    /// True if the server has so much to do that this client, which waits for some of it, must
    /// not be read from.
    ///
    /// zk: ZooKeeperServer.shouldThrottle, globalOutstandingLimit.
    pub fn is_held_back(&self) -> bool {
        self.has_write_in_flight() && self.pipeline.is_overloaded()
    }

    /// True while a write of this client has not been answered.
    fn has_write_in_flight(&self) -> bool {
        self.writes_proposed != self.connection.writes_answered()
    }

    fn has_reads_waiting(&self) -> bool {
        !self.behind.is_empty() || self.connection.reads_waiting() > 0
    }

    fn next_head(&mut self) -> Result<Option<Head>, Broken> {
        if let Some(head) = self.head.take() {
            return Ok(Some(*head));
        }
        if self.phase == Phase::Leaving {
            self.inbox.clear();
            return Ok(None);
        }
        if self.phase == Phase::Serving && self.connection.session().0 == 0 {
            // The session is being opened: requests sent right behind the ConnectRequest wait.
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
        self.connection.stats.received(1);
        self.pipeline.shared.stats.received(1);
        if self.phase == Phase::Handshake {
            return Ok(Some(Head {
                header: RequestHeader {
                    xid: 0,
                    op: OpCode::CREATE_SESSION,
                },
                body: frame,
                request: None,
                progress: Progress::New,
            }));
        }
        let mut reader = Reader::new(frame);
        match RequestHeader::decode(&mut reader) {
            Ok(header) => Ok(Some(Head {
                header,
                body: reader.rest(),
                request: None,
                progress: Progress::New,
            })),
            Err(error) => {
                tracing::debug!(peer = %self.connection.peer, %error, "header refused");
                Err(Broken)
            }
        }
    }

    fn serve(&mut self, state: &State, head: Head) -> Served {
        if self.phase == Phase::Handshake {
            return self.greet(state, head);
        }
        let class = classify(head.header.op);
        if class == Class::Write {
            return self.propose(state, head);
        }
        if class == Class::Close && self.is_admitted() {
            return self.close(head);
        }
        if self.has_write_in_flight() {
            return self.wait(state, head, class);
        }
        let exempt = matches!(class, Class::Auth | Class::Sasl);
        if !exempt && !self.is_admitted() {
            return self.refuse_unadmitted(&head);
        }
        match class {
            Class::Read => self.read(state, head),
            Class::Watch => self.watch(state, head),
            Class::Sync => self.sync(state, head),
            Class::Ping => self.ping(state, &head),
            Class::Auth => self.authenticate(state, &head),
            Class::Sasl => self.sasl(state, &head),
            Class::Write | Class::Close | Class::Unknown => {
                self.put_header(&head, Zxid(-1), ErrorCode::UNIMPLEMENTED);
                Served::End
            }
        }
    }

    /// A request behind a write: left to delivery if it can be, else it stays at the head.
    fn wait(&mut self, state: &State, mut head: Head, class: Class) -> Served {
        let reply_bytes_max = waiting::reply_bytes_max(&self.connection);
        let may_wait = matches!(class, Class::Read | Class::Ping)
            && head.body.len() <= waiting::WAITING_BYTES_MAX
            && self.write_bytes <= reply_bytes_max
            && self.behind.len() + self.connection.reads_waiting() < waiting::WAITING_MAX
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
        let Some(pins) = waiting::pin_if_small(state, &request, reply_bytes_max) else {
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
    fn leave_to_delivery(&mut self) {
        if self.behind.is_empty() {
            return;
        }
        let mut pending = self.pipeline.shared.pending.lock();
        if !pending.wait_behind(self.sequence, &mut self.behind) {
            // A defect of the order that the guard gives: better no reply than a wrong one.
            self.behind.clear();
            self.connection.outbox.end(End::Now);
        }
    }

    /// The first frame. zk: ZooKeeperServer.processConnectRequest.
    fn greet(&mut self, state: &State, mut head: Head) -> Served {
        let request = match ConnectRequest::decode(&mut Reader::new(head.body.clone())) {
            Ok(request) => request,
            Err(error) => {
                tracing::debug!(peer = %self.connection.peer, %error, "connect request refused");
                return Served::End;
            }
        };
        let read_only_asked = request.read_only.is_some();
        let pipeline = Arc::clone(&self.pipeline);
        if matches!(head.progress, Progress::New) {
            if !pipeline.greeter.admits(&request) {
                tracing::debug!(peer = %self.connection.peer, "too many ask for sessions");
                metrics::connection_rejected();
                return Served::End;
            }
            metrics::session_asked(pipeline.greeter.throttle().deficit());
            head.progress = Progress::Admitted;
        }
        let touches = &pipeline.shared.touches;
        match pipeline.greeter.greet(state, touches, &request) {
            Greeting::Behind => Served::End,
            Greeting::Invalid => {
                put_connect_response(&mut self.wire, None, read_only_asked);
                Served::End
            }
            Greeting::Renew(granted) => {
                let touch = touches.of(granted.session);
                if let Some(touch) = &touch {
                    touches.renew(touch, granted.timeout_ms);
                }
                self.connection.bind(granted.session, touch);
                pipeline.bind(granted.session, &self.connection);
                put_connect_response(&mut self.wire, Some(&granted), read_only_asked);
                self.pipeline.shared.stats.sent(1);
                self.connection
                    .stats
                    .opened(state.last_zxid(), self.arrived.elapsed());
                self.begin_serving();
                Served::Done
            }
            Greeting::Open(granted) => {
                let password = granted.password;
                let action = ActionRef::OpenSession {
                    timeout_ms: granted.timeout_ms,
                    password: &password,
                };
                let session = granted.session;
                let awaits = Awaits::Session {
                    granted,
                    read_only_asked,
                };
                match pipeline.submit(&self.connection, session, 0, action, awaits, self.arrived) {
                    Ok(sequence) => {
                        self.sequence = sequence;
                        self.writes_proposed += 1;
                        self.begin_serving();
                        Served::Done
                    }
                    Err(SubmitError::Full) => Served::Stays(head, Step::Full),
                    Err(SubmitError::Closed) => Served::End,
                }
            }
        }
    }

    fn begin_serving(&mut self) {
        self.phase = Phase::Serving;
        self.codec.set_max(self.pipeline.frame_bytes_max);
    }

    /// A write: checked to be decodable, then proposed as it came.
    fn propose(&mut self, state: &State, head: Head) -> Served {
        if !self.is_admitted() {
            if self.has_write_in_flight() {
                return Served::Stays(head, Step::Blocked);
            }
            return self.refuse_unadmitted(&head);
        }
        if let Err(error) = Request::decode(head.header.op, head.body.clone())
            && !takes_zxid(head.header.op, &error)
        {
            if self.has_write_in_flight() {
                return Served::Stays(head, Step::Blocked);
            }
            tracing::debug!(peer = %self.connection.peer, %error, "request refused");
            self.put_header(&head, state.last_zxid(), ErrorCode::MARSHALLING_ERROR);
            return Served::Done;
        }
        let action = ActionRef::Client {
            op: head.header.op,
            body: &head.body,
        };
        match self.submit(&head, action) {
            Ok(()) => Served::Done,
            Err(SubmitError::Full) => Served::Stays(head, Step::Full),
            Err(SubmitError::Closed) => Served::End,
        }
    }

    fn submit(&mut self, head: &Head, action: ActionRef<'_>) -> Result<(), SubmitError> {
        let awaits = Awaits::Reply {
            xid: head.header.xid,
            op: head.header.op,
        };
        let session = self.connection.session();
        let xid = head.header.xid;
        self.leave_to_delivery();
        if !self.has_write_in_flight() {
            self.write_bytes = 0;
        }
        self.sequence =
            self.pipeline
                .submit(&self.connection, session, xid, action, awaits, self.arrived)?;
        self.write_bytes = self.write_bytes.max(head.body.len());
        self.writes_proposed += 1;
        Ok(())
    }

    /// closeSession: behind everything this client sent; nothing is taken in after it.
    fn close(&mut self, head: Head) -> Served {
        match self.submit(&head, ActionRef::CloseSession) {
            Ok(()) => {
                // Delivery ends the connection behind the reply; until then the inbox is ignored.
                self.phase = Phase::Leaving;
                Served::Done
            }
            Err(SubmitError::Full) => Served::Stays(head, Step::Full),
            Err(SubmitError::Closed) => Served::End,
        }
    }
}

/// The bytes are no frame or no header: the connection ends without a word.
struct Broken;
