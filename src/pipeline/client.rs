//! One client's requests, in order: what its connection's task runs over the bytes that came.
//!
//! ```text
//!   inbox ─▶ frame ─▶ header ─▶ class ─┬─ write: proposed at once, answered by delivery
//!                                      ├─ read, watch, ping, auth: answered here, if no own write
//!                                      │    is in flight, behind what the outbox holds
//!                                      └─ sync: waits for the read index
//! ```
//!
//! Replies that are made here are appended to `wire` while the state lock is held for reading, and
//! behind everything that the outbox held at that moment; apply holds the lock for writing when it
//! fills the outbox. So bytes leave in the order that the state's changes had. A request that
//! cannot be served yet stays at the head, and everything behind it stays in the inbox: requests of
//! a session never overtake each other.
//!
//! Does not know sockets: `net` moves bytes between them and `inbox` and `wire`.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use jute::{
    ConnectRequest, DecodeError, DecodeErrorKind, ErrorCode, FrameCodec, OpCode, Reader,
    ReplyHeader, Request, RequestHeader, reply,
};
use tokio::time::Instant;
use tokio_util::codec::Decoder;

use super::classify::{Class, classify};
use super::replies;
use super::shared::Awaits;
use super::stop::{Settle, Step};
use super::{Pipeline, watches::Catchup};
use crate::ensemble::SubmitError;
use crate::metrics;
use crate::session::{Connection, End, Greeting, put_connect_response};
use crate::state::{ActionRef, ReadStop, State, Zxid};

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
    head: Option<Head>,
    phase: Phase,
    writes_proposed: u64,
    arrived: Instant,
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
struct Head {
    header: RequestHeader,
    body: Bytes,
    /// Parsed once, when its turn has come.
    request: Option<Request>,
    progress: Progress,
}

/// How far a request that takes several steps has come.
#[derive(Debug, Default)]
enum Progress {
    #[default]
    New,
    /// sync: the read index has been reached.
    Synced,
    /// getAllChildrenNumber: counted at this zxid, so many descendants.
    Counted { at: Zxid, count: i32, tries: u32 },
    /// setWatches: so many paths are done.
    CatchingUp(Catchup),
}

/// What serving the head came to.
enum Served {
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
            arrived: Instant::now(),
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

    /// Bytes have come from the client: its session is alive.
    ///
    /// zk: ZooKeeperServer.touch, called for each request that enters the pipeline.
    pub fn heard(&mut self) {
        self.arrived = Instant::now();
        if let Some(touch) = self.connection.touch() {
            self.pipeline.shared.touches.touch(&touch);
        }
    }

    /// Collects in `wire` what apply has pushed, without serving anything.
    pub fn collect(&mut self) {
        if self.connection.outbox.drain_into(&mut self.wire) != End::Open {
            self.phase = Phase::Ending;
        }
    }

    /// Serves what can be served of the inbox, and collects in `wire` what can be sent.
    pub fn advance(&mut self) -> Step {
        let pipeline = Arc::clone(&self.pipeline);
        let mut guard = None;
        let mut served = 0;
        let step = loop {
            if self.phase == Phase::Ending {
                break Step::End;
            }
            if served >= RUN_REQUESTS_MAX || self.wire.len() >= RUN_BYTES_MAX {
                break Step::More;
            }
            let head = match self.next_head() {
                Ok(Some(head)) => head,
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
                    guard.insert(taken)
                }
            };
            match self.serve(state, head) {
                Served::Done => {}
                Served::Stays(head, step) => {
                    self.head = Some(head);
                    break step;
                }
                Served::End => {
                    self.phase = Phase::Ending;
                    break Step::End;
                }
            }
        };
        drop(guard);
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
            Settle::Synced => head.progress = Progress::Synced,
            Settle::Counted { at, count } => {
                let tries = match head.progress {
                    Progress::Counted { tries, .. } => tries + 1,
                    Progress::New | Progress::Synced | Progress::CatchingUp(_) => 1,
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

    fn next_head(&mut self) -> Result<Option<Head>, Broken> {
        if let Some(head) = self.head.take() {
            return Ok(Some(head));
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
            return Served::Stays(head, Step::Blocked);
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

    /// The first frame. zk: ZooKeeperServer.processConnectRequest.
    fn greet(&mut self, state: &State, head: Head) -> Served {
        let request = match ConnectRequest::decode(&mut Reader::new(head.body.clone())) {
            Ok(request) => request,
            Err(error) => {
                tracing::debug!(peer = %self.connection.peer, %error, "connect request refused");
                return Served::End;
            }
        };
        metrics::session_asked();
        let read_only_asked = request.read_only.is_some();
        let pipeline = Arc::clone(&self.pipeline);
        match pipeline
            .greeter
            .greet(state, &pipeline.shared.touches, &request)
        {
            Greeting::Behind => Served::End,
            Greeting::Invalid => {
                put_connect_response(&mut self.wire, None, read_only_asked);
                Served::End
            }
            Greeting::Renew(granted) => {
                let touch = pipeline.shared.touches.of(granted.session);
                if let Some(touch) = &touch {
                    pipeline.shared.touches.renew(touch, granted.timeout_ms);
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
                    Ok(()) => {
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
        self.pipeline
            .submit(&self.connection, session, xid, action, awaits, self.arrived)?;
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

    fn read(&mut self, state: &State, mut head: Head) -> Served {
        self.parse(state, &mut head);
        let Some(request) = &head.request else {
            return Served::Done;
        };
        if let Progress::Counted { at, count, tries } = head.progress {
            return self.answer_count(state, head, at, count, tries);
        }
        let zxid = state.last_zxid();
        let header = ReplyHeader {
            xid: head.header.xid,
            zxid: zxid.0,
            err: ErrorCode::OK,
        };
        let identities = self.connection.identities();
        let session = self.connection.session();
        let mark = reply::begin(&mut self.wire, header);
        match state.read(request, session, &identities, &mut self.wire) {
            Ok(()) => {
                replies::finish(&mut self.wire, mark);
                self.register(request, ErrorCode::OK);
                self.note_reply(&head, zxid);
                Served::Done
            }
            Err(ReadStop::Refused(code)) => {
                reply::abandon(&mut self.wire, mark);
                self.register(request, code);
                self.put_header(&head, zxid, code);
                Served::Done
            }
            Err(ReadStop::Missing(missing)) => {
                reply::abandon(&mut self.wire, mark);
                Served::Stays(head, Step::Warm(missing))
            }
            Err(ReadStop::NeedsScan) => {
                reply::abandon(&mut self.wire, mark);
                let step = match request {
                    Request::GetAllChildrenNumber(wanted) => Step::Count {
                        view: self.pipeline.replica.store().view(),
                        path: wanted.path.as_deref().unwrap_or_default().into(),
                        at: zxid,
                    },
                    _ => Step::End,
                };
                Served::Stays(head, step)
            }
        }
    }

    /// The count was made without the lock: it is the answer if nothing has been applied since,
    /// or when three attempts were overtaken (then it is one that was true while it was asked).
    fn answer_count(
        &mut self,
        state: &State,
        mut head: Head,
        at: Zxid,
        count: i32,
        tries: u32,
    ) -> Served {
        const TRIES_MAX: u32 = 3;
        if at != state.last_zxid() && tries < TRIES_MAX {
            let path = match &head.request {
                Some(Request::GetAllChildrenNumber(wanted)) => {
                    wanted.path.as_deref().unwrap_or_default().into()
                }
                _ => "".into(),
            };
            let step = Step::Count {
                view: self.pipeline.replica.store().view(),
                path,
                at: state.last_zxid(),
            };
            head.progress = Progress::Counted { at, count, tries };
            return Served::Stays(head, step);
        }
        let header = ReplyHeader {
            xid: head.header.xid,
            zxid: at.0,
            err: ErrorCode::OK,
        };
        let mark = reply::begin(&mut self.wire, header);
        bytes::BufMut::put_i32(&mut self.wire, count);
        replies::finish(&mut self.wire, mark);
        self.note_reply(&head, at);
        Served::Done
    }

    fn watch(&mut self, state: &State, mut head: Head) -> Served {
        self.parse(state, &mut head);
        let Some(request) = &head.request else {
            return Served::Done;
        };
        let from = match &head.progress {
            Progress::CatchingUp(catchup) => *catchup,
            Progress::New | Progress::Synced | Progress::Counted { .. } => Catchup::default(),
        };
        match self.serve_watch(state, request, from) {
            super::watches::Watched::Reply(code) => {
                self.put_header(&head, state.last_zxid(), code);
                Served::Done
            }
            super::watches::Watched::Added => {
                let mark = reply::begin(
                    &mut self.wire,
                    ReplyHeader {
                        xid: head.header.xid,
                        zxid: state.last_zxid().0,
                        err: ErrorCode::OK,
                    },
                );
                bytes::BufMut::put_i32(&mut self.wire, 0);
                replies::finish(&mut self.wire, mark);
                self.note_reply(&head, state.last_zxid());
                Served::Done
            }
            super::watches::Watched::Missing(catchup, missing) => {
                head.progress = Progress::CatchingUp(catchup);
                Served::Stays(head, Step::Warm(missing))
            }
        }
    }

    fn sync(&mut self, state: &State, mut head: Head) -> Served {
        self.parse(state, &mut head);
        let Some(request) = &head.request else {
            return Served::Done;
        };
        if !matches!(head.progress, Progress::Synced) {
            return Served::Stays(head, Step::Barrier);
        }
        let header = ReplyHeader {
            xid: head.header.xid,
            zxid: state.last_zxid().0,
            err: ErrorCode::OK,
        };
        let mark = reply::begin(&mut self.wire, header);
        if let Request::Sync(sync) = request {
            jute::put_ustring(&mut self.wire, sync.path.as_deref());
        }
        replies::finish(&mut self.wire, mark);
        self.note_reply(&head, state.last_zxid());
        Served::Done
    }

    fn ping(&mut self, state: &State, head: &Head) -> Served {
        let header = ReplyHeader {
            xid: reply::PING_XID,
            zxid: state.last_zxid().0,
            err: ErrorCode::OK,
        };
        reply::put_header_only(&mut self.wire, header);
        self.note_reply(head, state.last_zxid());
        Served::Done
    }

    /// zk: ZooKeeperServer.processPacket for auth: zxid 0; a refusal closes the connection, not
    /// the session. zk-differs: answered in request order, as kazoo and ClickHouse need it.
    fn authenticate(&mut self, state: &State, head: &Head) -> Served {
        let request = match Request::decode(OpCode::AUTH, head.body.clone()) {
            Ok(Request::Auth(request)) => request,
            Ok(_) | Err(_) => {
                self.put_header(head, state.last_zxid(), ErrorCode::MARSHALLING_ERROR);
                return Served::Done;
            }
        };
        let authenticated = self.pipeline.schemes.authenticate(
            request.scheme.as_deref(),
            request.auth.as_deref(),
            self.connection.peer.ip(),
            &self.connection.identities(),
        );
        match authenticated {
            Ok(identities) => {
                self.connection.set_identities(identities);
                self.put_header(head, Zxid(0), ErrorCode::OK);
                Served::Done
            }
            Err(refused) => {
                tracing::debug!(peer = %self.connection.peer, %refused, "authentication refused");
                metrics::auth_failed();
                self.put_header(head, Zxid(0), ErrorCode::AUTH_FAILED);
                Served::End
            }
        }
    }

    /// SASL is not configured: any token gets a null token, and the connection stays usable.
    ///
    /// zk: ZooKeeperServer.processSasl without a ZooKeeperSaslServer. protocol.md 11.5.
    fn sasl(&mut self, state: &State, head: &Head) -> Served {
        match Request::decode(OpCode::SASL, head.body.clone()) {
            Ok(Request::Sasl(step)) if step.token.is_some() => {}
            // zk: the length of a null token is asked for in the log line, which throws: close.
            Ok(_) => return Served::End,
            Err(_) => {
                self.put_header(head, state.last_zxid(), ErrorCode::MARSHALLING_ERROR);
                return Served::Done;
            }
        }
        let header = ReplyHeader {
            xid: head.header.xid,
            zxid: 0,
            err: ErrorCode::OK,
        };
        let mark = reply::begin(&mut self.wire, header);
        jute::put_buffer(&mut self.wire, None);
        replies::finish(&mut self.wire, mark);
        self.note_reply(head, Zxid(0));
        Served::Done
    }

    fn is_admitted(&self) -> bool {
        self.pipeline
            .schemes
            .admitted(&self.connection.identities())
    }

    /// zk: AuthenticationHelper.enforceAuthentication: -124, zxid 0, then close.
    fn refuse_unadmitted(&mut self, head: &Head) -> Served {
        self.put_header(head, Zxid(0), ErrorCode::SESSION_CLOSED_REQUIRE_SASL_AUTH);
        Served::End
    }

    /// Parses the body when its turn has come. One that is no record is answered here, and
    /// `head.request` stays empty.
    fn parse(&mut self, state: &State, head: &mut Head) {
        if head.request.is_some() {
            return;
        }
        match Request::decode(head.header.op, head.body.clone()) {
            Ok(request) => head.request = Some(request),
            Err(error) => {
                tracing::debug!(peer = %self.connection.peer, %error, "request refused");
                self.put_header(head, state.last_zxid(), ErrorCode::MARSHALLING_ERROR);
            }
        }
    }

    fn put_header(&mut self, head: &Head, zxid: Zxid, err: ErrorCode) {
        let header = ReplyHeader {
            xid: head.header.xid,
            zxid: zxid.0,
            err,
        };
        reply::put_header_only(&mut self.wire, header);
        self.note_reply(head, zxid);
    }

    fn note_reply(&self, head: &Head, zxid: Zxid) {
        let took = self.arrived.elapsed();
        self.connection
            .stats
            .replied(head.header.op, head.header.xid, zxid, took);
        self.pipeline.shared.stats.sent(1);
        self.pipeline.shared.stats.answered(1, took);
        metrics::read_answered(took);
    }
}

/// True if a body that cannot be decoded is proposed all the same, to be refused with a zxid of its
/// own: ZooKeeper fetches the zxid of a multi before it reads the ops.
///
/// zk: PrepRequestProcessor.pRequestHelper, case multi: a null ACL fails before that.
fn takes_zxid(op: OpCode, error: &DecodeError) -> bool {
    op == OpCode::MULTI && !(error.kind == DecodeErrorKind::Null && error.field.ends_with("acl"))
}

/// The bytes are no frame or no header: the connection ends without a word.
struct Broken;
