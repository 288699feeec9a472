//! One client's connection as the rest of the server sees it: what apply and the admin room hold
//! while the connection's own task does the work.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, AtomicUsize, Ordering};

use std::time::Duration;

use jute::OpCode;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::outbox::Outbox;
use crate::session::{SessionClock, SessionClocks};
use crate::state::{Identities, SessionId, Zxid};

/// Identifies a connection of this process; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(pub u64);

/// The shared part of a connection.
#[derive(Debug)]
pub struct Connection {
    /// Its number.
    pub id: ConnectionId,
    /// The client's address.
    pub peer: SocketAddr,
    /// All that is sent to it.
    pub outbox: Outbox,
    /// Numbers for the `cons` and `stat` commands.
    pub stats: ConnectionStats,
    session: AtomicI64,
    touch: Mutex<Option<Arc<SessionClock>>>,
    identities: Mutex<Identities>,
    writes_answered: AtomicU64,
    reads_waiting: AtomicUsize,
    fenced: AtomicBool,
    changes_members: AtomicBool,
}

impl Connection {
    /// A connection without a session.
    pub fn new(id: ConnectionId, peer: SocketAddr, identities: Identities, outbox: Outbox) -> Self {
        Self {
            id,
            peer,
            outbox,
            stats: ConnectionStats::default(),
            session: AtomicI64::new(SessionId::NONE.0),
            touch: Mutex::new(None),
            identities: Mutex::new(identities),
            writes_answered: AtomicU64::new(0),
            reads_waiting: AtomicUsize::new(0),
            fenced: AtomicBool::new(false),
            changes_members: AtomicBool::new(false),
        }
    }

    /// The session it is bound to, [`SessionId::NONE`] before the handshake is done.
    pub fn session(&self) -> SessionId {
        SessionId(self.session.load(Ordering::Acquire))
    }

    /// Binds it to a session whose clock is `touch`.
    pub fn bind(&self, session: SessionId, touch: Option<Arc<SessionClock>>) {
        *self.touch.lock() = touch;
        self.session.store(session.0, Ordering::Release);
    }

    /// The clock of its session.
    pub fn touch(&self) -> Option<Arc<SessionClock>> {
        self.touch.lock().clone()
    }

    /// Its client was heard of.
    pub fn heard(&self, clocks: &SessionClocks, at: Instant) {
        if let Some(touch) = &*self.touch.lock() {
            clocks.touch_at(touch, at);
        }
    }

    /// Who it says it is.
    pub fn identities(&self) -> Identities {
        Arc::clone(&self.identities.lock())
    }

    /// It has authenticated.
    pub fn set_identities(&self, identities: Identities) {
        *self.identities.lock() = identities;
    }

    /// Number of its writes whose replies are in the outbox.
    pub fn writes_answered(&self) -> u64 {
        self.writes_answered.load(Ordering::Acquire)
    }

    /// The reply to its oldest write in flight is in the outbox.
    pub fn write_answered(&self) {
        self.writes_answered.fetch_add(1, Ordering::Release);
    }

    /// Number of its reads that wait behind its writes.
    pub fn reads_waiting(&self) -> usize {
        self.reads_waiting.load(Ordering::Acquire)
    }

    /// So many more reads wait behind a write.
    pub fn reads_wait(&self, reads: usize) {
        self.reads_waiting.fetch_add(reads, Ordering::AcqRel);
    }

    /// So many reads wait no longer: their replies are in the outbox, or never will be.
    pub fn reads_answered(&self, reads: usize) {
        self.reads_waiting.fetch_sub(reads, Ordering::AcqRel);
    }

    /// A change of the members that it asked for has begun, and is answered when it ends; or has ended.
    pub fn change_members(&self, changes: bool) {
        self.changes_members.store(changes, Ordering::Release);
    }

    /// True between the two.
    pub fn changes_members(&self) -> bool {
        self.changes_members.load(Ordering::Acquire)
    }

    /// Nothing may be proposed for it any more: its session has moved, or it has ended. Called and
    /// asked under the lock of the pending proposals.
    pub fn fence(&self) {
        self.fenced.store(true, Ordering::Release);
    }

    /// True once [`Self::fence`] was called.
    pub fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire)
    }
}

/// Counters of one connection. zk: ServerCnxn, ServerStats.
#[derive(Debug)]
pub struct ConnectionStats {
    established_ms: AtomicI64,
    received: AtomicU64,
    /// Frames sent that answer no request: events, and what is in nobody's latency.
    sent_besides: AtomicU64,
    answered: AtomicU64,
    last_op: AtomicI32,
    last_cxid: AtomicI64,
    last_zxid: AtomicI64,
    last_latency_ms: AtomicU64,
    min_latency_ms: AtomicU64,
    max_latency_ms: AtomicU64,
    sum_latency_ms: AtomicU64,
}

/// A reading of [`ConnectionStats`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ConnectionFigures {
    /// Wall clock of the accept, milliseconds since 1970.
    pub established_ms: i64,
    /// Frames received.
    pub received: u64,
    /// Frames sent to it: replies, events, the answer to its handshake.
    pub sent: u64,
    /// Requests answered, which are those that latencies and the last request are about.
    pub answered: u64,
    /// What its last request was.
    pub last_op: LastOp,
    /// Its xid; 0 before the first, -1 after `crst`.
    pub last_cxid: i64,
    /// Zxid of the last reply; 0 before the first, -1 after `crst`.
    pub last_zxid: i64,
    /// Latency of the last request, milliseconds.
    pub last_latency_ms: u64,
    /// Smallest latency, milliseconds, 0 before the first.
    pub min_latency_ms: u64,
    /// Largest latency, milliseconds.
    pub max_latency_ms: u64,
    /// Mean latency, milliseconds, rounded down.
    pub avg_latency_ms: u64,
}

/// The last request that a connection had answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LastOp {
    /// There was none yet: its session has been renewed, and nothing asked.
    Never,
    /// None since `crst`, or a write that was refused.
    None,
    /// This one.
    Was(OpCode),
}

const NEVER: i32 = i32::MIN;
const NO_OP: i32 = i32::MIN + 1;

impl Default for ConnectionStats {
    fn default() -> Self {
        Self {
            established_ms: AtomicI64::new(0),
            received: AtomicU64::new(0),
            sent_besides: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            last_op: AtomicI32::new(NEVER),
            last_cxid: AtomicI64::new(0),
            last_zxid: AtomicI64::new(0),
            last_latency_ms: AtomicU64::new(0),
            min_latency_ms: AtomicU64::new(u64::MAX),
            max_latency_ms: AtomicU64::new(0),
            sum_latency_ms: AtomicU64::new(0),
        }
    }
}

impl ConnectionStats {
    /// The connection was accepted at this wall clock, milliseconds since 1970.
    pub fn established(&self, wall_ms: i64) {
        self.established_ms.store(wall_ms, Ordering::Relaxed);
    }

    /// Frames have come.
    pub fn received(&self, frames: u64) {
        self.received.fetch_add(frames, Ordering::Relaxed);
    }

    /// Frames have been sent that answer no request, or one that is not counted as one.
    pub fn sent_besides(&self, frames: u64) {
        self.sent_besides.fetch_add(frames, Ordering::Relaxed);
    }

    /// A request has been answered; `None` for a write that was refused.
    ///
    /// zk: ServerCnxn.updateStatsForResponse: the xids of pings and the like are not the client's
    /// last; FinalRequestProcessor.processRequest: what was refused before it has no name there.
    pub fn replied(&self, op: Option<OpCode>, xid: i32, zxid: Zxid, took: Duration) {
        let op = op.map_or(NO_OP, |op| op.0);
        self.last_op.store(op, Ordering::Relaxed);
        if xid >= 0 {
            self.last_cxid.store(i64::from(xid), Ordering::Relaxed);
        }
        self.last_zxid.store(zxid.0, Ordering::Relaxed);
        self.took(took);
    }

    /// Its session has been opened. (One that is renewed is a frame, and no request.)
    pub fn opened(&self, zxid: Zxid, took: Duration) {
        self.last_op
            .store(OpCode::CREATE_SESSION.0, Ordering::Relaxed);
        self.last_cxid.store(0, Ordering::Relaxed);
        self.last_zxid.store(zxid.0, Ordering::Relaxed);
        self.took(took);
    }

    fn took(&self, took: Duration) {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.last_latency_ms.store(ms, Ordering::Relaxed);
        self.min_latency_ms.fetch_min(ms, Ordering::Relaxed);
        self.max_latency_ms.fetch_max(ms, Ordering::Relaxed);
        self.sum_latency_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// `crst`: begins all over. zk: ServerCnxn.resetStats.
    pub fn reset(&self) {
        let fresh = Self::default();
        self.received.store(0, Ordering::Relaxed);
        self.sent_besides.store(0, Ordering::Relaxed);
        self.answered.store(0, Ordering::Relaxed);
        self.last_op.store(NO_OP, Ordering::Relaxed);
        self.last_cxid.store(-1, Ordering::Relaxed);
        self.last_zxid.store(-1, Ordering::Relaxed);
        self.last_latency_ms.store(0, Ordering::Relaxed);
        self.min_latency_ms
            .store(fresh.min_latency_ms.into_inner(), Ordering::Relaxed);
        self.max_latency_ms.store(0, Ordering::Relaxed);
        self.sum_latency_ms.store(0, Ordering::Relaxed);
    }

    /// All numbers as they are now.
    pub fn figures(&self) -> ConnectionFigures {
        let answered = self.answered.load(Ordering::Relaxed);
        let sum = self.sum_latency_ms.load(Ordering::Relaxed);
        ConnectionFigures {
            established_ms: self.established_ms.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            answered,
            sent: answered + self.sent_besides.load(Ordering::Relaxed),
            last_op: match self.last_op.load(Ordering::Relaxed) {
                NEVER => LastOp::Never,
                NO_OP => LastOp::None,
                op => LastOp::Was(OpCode(op)),
            },
            last_cxid: self.last_cxid.load(Ordering::Relaxed),
            last_zxid: self.last_zxid.load(Ordering::Relaxed),
            last_latency_ms: self.last_latency_ms.load(Ordering::Relaxed),
            min_latency_ms: match self.min_latency_ms.load(Ordering::Relaxed) {
                u64::MAX => 0,
                least => least,
            },
            max_latency_ms: self.max_latency_ms.load(Ordering::Relaxed),
            avg_latency_ms: sum.checked_div(answered).unwrap_or(0),
        }
    }
}
