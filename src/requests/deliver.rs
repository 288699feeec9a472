//! From a txn to the clients: events, then the reply, then the reads behind it (STYLE I4).
//!
//! Runs inside apply with the state lock held for writing, so it only appends to outboxes; the
//! connections are woken when the slice is done. A reply belongs to the oldest pending proposal of
//! this process: proposals of one origin are applied in the order of their sequence.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use jute::{ErrorCode, OpCode, ReplyHeader, perms, reply};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::audience::Audience;
use super::counts::{Answer, Events};
use super::pending::{Asked, Awaits, Pending};
use super::replies::{self, TooLong};
use crate::connection::{Connection, ConnectionId, End, Registry};
use crate::metrics;
use crate::planted::{self, Defect};
use crate::session::{Granted, SessionClocks, put_connect_response};
use crate::state::{
    Change, Event, Origin, Outcome, SessionId, SessionOwner, Sink, State, Txn, permits,
};
use crate::watch::{Notice, WatchTable, WatcherId};

/// The state of a WatcherEvent: always SyncConnected. zk: Watcher.Event.KeeperState.
pub(super) const EVENT_STATE: i32 = 3;

/// What a write comes to whose session has gone on to another connection.
const MOVED: Outcome = Outcome::Refused(ErrorCode::SESSION_MOVED);

/// Connections that are sent what was pushed before apply goes on: for so few it is not worth while
/// to wake anybody.
const TOLD_AT_ONCE_MAX: usize = 4;
/// Connections that one task sends to when there are more.
const TOLD_BY_TASK: usize = 32;

/// Tells clients what apply did.
#[derive(Debug, Clone)]
pub struct Deliver {
    pub(super) shared: Arc<Audience>,
    /// Where tasks run that send; `None` outside of a runtime.
    runtime: Option<Handle>,
}

impl Deliver {
    /// Delivers to these connections the answers to what this process proposes as `origin`, and to
    /// all of them their events, with the help of the runtime that this is called in. It also keeps
    /// the sessions' clocks. `skip_acl`: every ACL check passes.
    pub fn new(
        connections: Arc<Registry>,
        sessions: Arc<SessionClocks>,
        origin: Origin,
        skip_acl: bool,
    ) -> Self {
        Self::over(Arc::new(Audience::new(
            connections,
            sessions,
            origin,
            skip_acl,
        )))
    }

    pub(super) fn over(shared: Arc<Audience>) -> Self {
        Self {
            shared,
            runtime: Handle::try_current().ok(),
        }
    }

    fn tell_watchers(&self, txn: &Txn) {
        if txn.events.is_empty() {
            return;
        }
        let mut watches = self.shared.watches.lock();
        for event in &txn.events {
            self.trigger(&mut watches, txn, event);
        }
    }

    /// One event: its frame is encoded once for each kind and path and copied to all who watch.
    fn trigger(&self, watches: &mut WatchTable, txn: &Txn, event: &Event) {
        let registry = self.shared.connections.reading();
        let mut frame = EventFrame::default();
        let mut events = Events::default();
        watches.trigger(event, &mut |notice: Notice<'_>| {
            let WatcherId(number) = notice.watcher;
            let Some(connection) = registry.of_id(ConnectionId(number)) else {
                return;
            };
            frame.prepare(txn.zxid.0, &notice, self.shared.skip_acl);
            if !frame.is_public && !self.may_see(connection, &notice) {
                return;
            }
            if frame.bytes.is_empty() {
                // No frame can hold it. No client of ours misses an event and goes on.
                connection.outbox.end(End::Now);
                self.shared.tell(connection);
                return;
            }
            let kind = notice.kind.wire_type();
            let pushed = connection
                .outbox
                .push(|out| out.extend_from_slice(&frame.bytes));
            if pushed.is_some() {
                events.note(&self.shared, connection, kind, &frame.bytes);
            }
            self.shared.tell(connection);
        });
        events.record(&self.shared);
    }

    /// zk: WatchManager.triggerWatch with ServerWatcher.process: no READ, no event (9.6).
    fn may_see(&self, connection: &Connection, notice: &Notice<'_>) -> bool {
        permits(
            notice.filter_acl,
            &connection.identities(),
            perms::READ,
            self.shared.skip_acl,
        )
    }

    /// Sends everybody what was pushed: a few from here, more by tasks of their own, so that apply
    /// goes on.
    fn tell(&self, mut told: Vec<Arc<Connection>>) {
        if let Some(runtime) = &self.runtime
            && told.len() > TOLD_AT_ONCE_MAX
        {
            while !told.is_empty() {
                let part = told.split_off(told.len().saturating_sub(TOLD_BY_TASK));
                runtime.spawn(async move {
                    part.iter().for_each(|connection| connection.outbox.tell());
                });
            }
        }
        told.iter().for_each(|connection| connection.outbox.tell());
    }

    /// Takes the pending proposal that this txn answers, if it is one of this process.
    fn take_pending(&self, txn: &Txn) -> Option<Pending> {
        if self.shared.origin != txn.origin {
            return None;
        }
        let mut pending = self.shared.pending.lock();
        // The leader's chores have no pending entry; anything older than this txn cannot be
        // answered any more, which would be a defect of the order that the cursor guarantees.
        while let Some(front) = pending.take(txn.sequence) {
            if front.sequence == txn.sequence {
                return Some(front);
            }
            front.connection.outbox.end(End::Now);
            front.connection.reads_answered(front.reads.len());
            self.shared.tell(&front.connection);
        }
        None
    }

    /// A reconfig has begun: its client is told when it ends, and waits with all else until then.
    fn go_on(&self, pending: Pending) {
        let connection = Arc::clone(&pending.connection);
        connection.change_members(true);
        let missed = self.shared.pending.lock().go_on(pending);
        if let Some(missed) = missed {
            missed.connection.outbox.end(End::Now);
            missed.connection.reads_answered(missed.reads.len());
            self.shared.tell(&missed.connection);
        }
        // Its pings need not wait any longer.
        self.shared.tell(&connection);
    }

    fn answer_all(&self, state: &State, txn: &Txn, pending: &Pending) {
        let now = self.shared.slice_time();
        pending.connection.change_members(false);
        self.answer(txn, pending, now);
        self.answer_waiting(state, &pending.connection, &pending.reads, now);
        pending.connection.reads_answered(pending.reads.len());
        self.shared.tell(&pending.connection);
    }

    fn answer(&self, txn: &Txn, pending: &Pending, now: Instant) {
        let connection = &pending.connection;
        let took = now.duration_since(pending.since);
        match &pending.awaits {
            // zk: FinalRequestProcessor, SessionMovedException: closed without a word.
            Awaits::Reply { .. } if txn.outcome == MOVED => connection.outbox.end(End::Now),
            Awaits::Reply { xid, op } => self.reply(txn, connection, (*xid, *op), took),
            Awaits::Session {
                granted,
                asked,
                read_only_asked,
            } => self.answer_handshake(txn, connection, granted, (*asked, *read_only_asked), took),
        }
        connection.write_answered();
    }

    fn reply(&self, txn: &Txn, connection: &Connection, (xid, op): (i32, OpCode), took: Duration) {
        let header = ReplyHeader {
            xid,
            zxid: txn.zxid.0,
            err: replies::code(&txn.outcome),
        };
        let put = connection.outbox.push(|out| {
            let before = out.len();
            let put = replies::put_outcome(out, header, &txn.outcome);
            put.map(|()| out.len() - before)
        });
        if let Some(Err(TooLong)) = put {
            connection.outbox.end(End::Now);
        }
        let answer = Answer {
            op: (!matches!(txn.outcome, Outcome::Refused(_))).then_some(op),
            xid,
            zxid: txn.zxid,
            took,
            frame_bytes: put.and_then(Result::ok).unwrap_or(0),
        };
        self.shared.count_answer(connection, &answer);
        metrics::update_answered(took);
    }

    /// The answer to a ConnectRequest. What the session had in flight on an earlier connection of this
    /// server was applied before it was attached, or is refused.
    fn answer_handshake(
        &self,
        txn: &Txn,
        connection: &Arc<Connection>,
        granted: &Granted,
        (asked, read_only_asked): (Asked, bool),
        took: Duration,
    ) {
        let put = |granted| {
            connection.outbox.push(|out| {
                put_connect_response(out, granted, read_only_asked);
            });
        };
        if matches!(txn.outcome, Outcome::Refused(_)) {
            match asked {
                // Of this id there is a session already, which is none of the client's business; or the
                // end of it was under way. When it comes again, it is told.
                Asked::New | Asked::Told => connection.outbox.end(End::Now),
                Asked::Old => {
                    put(None);
                    self.shared.count_besides(connection);
                    connection.outbox.end(End::AfterFlush);
                }
            }
            return;
        }
        let touch = self.shared.sessions.of(granted.session);
        connection.bind(granted.session, touch);
        self.shared.connections.bind(granted.session, connection);
        match asked {
            Asked::New => {
                put(Some(granted));
                connection.stats.opened(txn.zxid, took);
                self.shared.connections.stats().answered(1, took);
                metrics::update_answered(took);
            }
            Asked::Old => {
                put(Some(granted));
                self.shared.count_besides(connection);
            }
            Asked::Told => {}
        }
    }

    /// Starts and stops session clocks: before the answer, which binds to the clock.
    fn note_sessions(&self, txn: &Txn) {
        for change in &txn.changes {
            if let Change::Session { id, after } = change {
                match after {
                    Some(record) => {
                        let (clocks, owner) = (&self.shared.sessions, record.owner);
                        clocks.attach(*id, record.timeout_ms, owner.origin.server);
                        self.send_away(*id, owner);
                    }
                    None => self.shared.sessions.forget(*id),
                }
            }
        }
    }

    /// A session has been attached to `owner`: if it had another connection here, that one ends, and
    /// what it has not proposed yet will never be proposed (protocol.md 10, point 9).
    ///
    /// zk: ZooKeeperServer.processConnectRequest, serverCnxnFactory.closeSession. zk-differs: there a
    /// server is not told of a session that has moved to another one, and refuses only writes.
    fn send_away(&self, session: SessionId, owner: SessionOwner) {
        let is_here = self.shared.origin == owner.origin;
        let registry = &self.shared.connections;
        let before = registry.unbind(session, |bound| is_here && bound.id.0 == owner.connection);
        if let Some(before) = before {
            let pending = self.shared.pending.lock();
            before.fence();
            drop(pending);
            before.outbox.end(End::Now);
        }
    }

    /// Ends all connections: what they watch and wait for was of another state. Writes of theirs that
    /// this one holds already are never answered, since nobody knows what they came to; the others may
    /// still take effect, and have nobody who is told.
    fn part_with_all(&self, state: &State) {
        let connections = self.shared.connections.all();
        let origin = self.shared.origin;
        let cursor = state.cursor(origin.server);
        let covered = if cursor.incarnation == origin.incarnation {
            cursor.sequence
        } else {
            0
        };
        let mut pending = self.shared.pending.lock();
        for connection in &connections {
            connection.fence();
        }
        let leave = |front: Pending| {
            front.connection.reads_answered(front.reads.len());
            front.connection.write_answered();
        };
        while let Some(front) = pending.take(covered) {
            leave(front);
        }
        pending.leave_begun().map(leave);
        drop(pending);
        for connection in &connections {
            connection.outbox.end(End::Now);
        }
    }

    /// A session is gone: its connection closes, behind the reply if its client asked for it.
    fn close_connection(&self, session: SessionId) {
        if let Some(connection) = self.shared.connections.of_session(session) {
            connection.outbox.end(End::AfterFlush);
        }
    }
}

impl Sink for Deliver {
    fn applied(&self, state: &State, txn: &Txn) {
        tracing::trace!(
            zxid = %txn.zxid,
            session = %txn.session,
            cxid = txn.cxid,
            outcome = ?txn.outcome,
            "applied"
        );
        metrics::committed();
        self.shared.lag.reach(txn.zxid);
        self.note_sessions(txn);
        let is_swapped = planted::has(Defect::WatchOrderSwapped);
        if !is_swapped {
            self.tell_watchers(txn);
        }
        let pending = self.take_pending(txn);
        match (&txn.outcome, pending) {
            (Outcome::Pending, Some(pending)) => self.go_on(pending),
            (_, Some(pending)) => self.answer_all(state, txn, &pending),
            (Outcome::Settled(settled), None) => {
                // Whoever leads has proposed this; who asked for what it ends may be here.
                let is_here = settled.origin == self.shared.origin;
                let mut pending = self.shared.pending.lock();
                let begun = is_here.then(|| pending.take_begun(settled.sequence));
                drop(pending);
                if let Some(pending) = begun.flatten() {
                    self.answer_all(state, txn, &pending);
                }
            }
            (_, None) => {}
        }
        if is_swapped {
            self.tell_watchers(txn);
        }
        if txn.outcome == Outcome::SessionClosed {
            self.close_connection(txn.session);
        }
    }

    fn replaced(&self, state: &State) {
        let live = state.sessions();
        let sessions = live.map(|(id, record)| (id, record.timeout_ms, record.owner.origin.server));
        self.shared.sessions.replace(sessions);
        self.part_with_all(state);
        self.shared.lag.reach(state.last_zxid());
    }

    fn slice_done(&self) {
        self.tell(self.shared.end_slice());
    }
}

/// The frame of the notice encoded last: all watchers of one trigger get the same bytes.
#[derive(Debug, Default)]
struct EventFrame {
    kind: i32,
    path: String,
    bytes: BytesMut,
    /// Whoever watches may see it.
    is_public: bool,
}

impl EventFrame {
    fn prepare(&mut self, zxid: i64, notice: &Notice<'_>, skip_acl: bool) {
        let kind = notice.kind.wire_type();
        if self.kind != kind || self.path != notice.path {
            self.kind = kind;
            notice.path.clone_into(&mut self.path);
            self.bytes.clear();
            // What is too long is left out, which `trigger` sees.
            put_event(&mut self.bytes, zxid, kind, notice.path).unwrap_or_default();
            self.is_public = permits(notice.filter_acl, &[], perms::READ, skip_acl);
        }
    }
}

/// Appends the frame of a watch event.
///
/// # Errors
/// See [`TooLong`].
pub(super) fn put_event(
    out: &mut BytesMut,
    zxid: i64,
    kind: i32,
    path: &str,
) -> Result<(), TooLong> {
    let mark = reply::begin(
        out,
        ReplyHeader {
            xid: reply::EVENT_XID,
            zxid,
            err: ErrorCode::OK,
        },
    );
    bytes::BufMut::put_i32(out, kind);
    bytes::BufMut::put_i32(out, EVENT_STATE);
    jute::put_ustring(out, Some(path));
    replies::finish(out, mark)
}
