//! What the connections' clients and delivery share: who waits for which proposal, who watches.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};

use jute::OpCode;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::session::{Connection, ConnectionId, Granted, Registry, ServerStats, Touches};
use crate::state::Origin;
use crate::watch::WatchTable;

/// Shared by all clients and by delivery. Lock order (STYLE I3): watches, registry, pending.
#[derive(Debug)]
pub struct Shared {
    /// Who wants to know.
    pub watches: Mutex<WatchTable>,
    /// Who is connected.
    pub registry: Registry,
    /// When each session was last heard of.
    pub touches: Touches,
    /// Counters of the whole server.
    pub stats: ServerStats,
    /// Proposals of this process that have not been applied, oldest first.
    pub(super) pending: Mutex<VecDeque<Pending>>,
    /// Connections that were told something in the current slice.
    pub(super) told: Mutex<Vec<Arc<Connection>>>,
    /// This process as an origin of proposals; set once the ensemble runs.
    pub(super) origin: OnceLock<Origin>,
    /// Every ACL check passes.
    pub(super) skip_acl: bool,
}

/// A proposal of this process on its way.
#[derive(Debug)]
pub(super) struct Pending {
    /// Its number within this origin.
    pub(super) sequence: u64,
    /// Who waits.
    pub(super) connection: Arc<Connection>,
    /// What for.
    pub(super) awaits: Awaits,
    /// When the request came.
    pub(super) since: Instant,
}

/// What a connection waits for.
#[derive(Debug)]
pub(super) enum Awaits {
    /// The reply to a request with this xid.
    Reply { xid: i32, op: OpCode },
    /// Its new session.
    Session {
        granted: Granted,
        read_only_asked: bool,
    },
}

impl Shared {
    /// Nobody connected; expiry in buckets of `tick_ms`.
    pub fn new(tick_ms: u64, skip_acl: bool) -> Self {
        Self {
            watches: Mutex::new(WatchTable::default()),
            registry: Registry::default(),
            touches: Touches::new(tick_ms),
            stats: ServerStats::default(),
            pending: Mutex::new(VecDeque::new()),
            told: Mutex::new(Vec::new()),
            origin: OnceLock::new(),
            skip_acl,
        }
    }

    /// The ensemble runs: from now on delivery knows which proposals are ours.
    pub fn set_origin(&self, origin: Origin) {
        if self.origin.set(origin).is_err() {
            // server.rs calls this once; a process is one origin.
            tracing::error!(?origin, "this process has an origin already");
        }
    }

    /// Requests of clients that wait for their proposals.
    pub fn outstanding(&self) -> usize {
        self.pending.lock().len()
    }

    /// Requests that wait for their proposals, by connection.
    pub fn outstanding_by_connection(&self) -> HashMap<ConnectionId, u64> {
        let mut counts = HashMap::new();
        for pending in self.pending.lock().iter() {
            *counts.entry(pending.connection.id).or_default() += 1;
        }
        counts
    }

    /// Remembers that a connection must be woken after the slice.
    pub(super) fn tell(&self, connection: &Arc<Connection>) {
        if connection.mark_told() {
            self.told.lock().push(Arc::clone(connection));
        }
    }
}

impl AsRef<Touches> for Shared {
    fn as_ref(&self) -> &Touches {
        &self.touches
    }
}
