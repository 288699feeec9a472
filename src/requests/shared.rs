//! What the connections' clients and delivery share: who waits for which proposal, who watches.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::lag::Lag;
use super::pending::InFlight;
use crate::connection::{Connection, ConnectionId, Registry, ServerStats};
use crate::session::SessionClocks;
use crate::state::{Origin, StoreError};
use crate::watch::WatchTable;

/// Shared by all clients and by delivery. Lock order (STYLE I3): watches, registry, pending.
#[derive(Debug)]
pub struct Shared {
    /// Who wants to know.
    pub watches: Mutex<WatchTable>,
    /// Who is connected.
    pub registry: Registry,
    /// When each session was last heard of.
    pub clocks: SessionClocks,
    /// Counters of the whole server.
    pub stats: ServerStats,
    /// Set when the storage fails under a read: the process must end.
    pub failure: watch::Sender<Option<Arc<StoreError>>>,
    /// Proposals of this process that have not been applied, and what waits behind them.
    pub(super) pending: Mutex<InFlight>,
    /// Clients that have seen more than this server.
    pub(super) lag: Lag,
    /// What delivery keeps during a slice.
    pub(super) slice: Mutex<Slice>,
    /// This process as an origin of proposals; set once the ensemble runs.
    pub(super) origin: OnceLock<Origin>,
    /// Every ACL check passes.
    pub(super) skip_acl: bool,
}

/// The slice of txns that is being delivered.
#[derive(Debug, Default)]
pub(super) struct Slice {
    /// Connections that were told something in it.
    pub(super) told: Vec<Arc<Connection>>,
    /// When its first reply was made: for the latencies of all of them, to a millisecond.
    now: Option<Instant>,
}

impl Shared {
    /// Nobody connected; expiry in buckets of `tick_ms`.
    pub fn new(tick_ms: u64, skip_acl: bool) -> Self {
        Self {
            watches: Mutex::new(WatchTable::default()),
            registry: Registry::default(),
            clocks: SessionClocks::new(tick_ms),
            stats: ServerStats::default(),
            failure: watch::Sender::new(None),
            pending: Mutex::default(),
            lag: Lag::default(),
            slice: Mutex::default(),
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

    /// Requests of clients that wait for their proposals, or for one before them.
    pub fn outstanding(&self) -> usize {
        self.pending.lock().len()
    }

    /// The same, by connection.
    pub fn outstanding_by_connection(&self) -> HashMap<ConnectionId, u64> {
        self.pending.lock().by_connection()
    }

    /// Reads of the disk fail: the process must end (STYLE I6).
    pub fn report_store_failure(&self, error: StoreError) {
        self.failure.send_replace(Some(Arc::new(error)));
    }

    /// The time, read once in a slice.
    pub(super) fn slice_time(&self) -> Instant {
        *self.slice.lock().now.get_or_insert_with(Instant::now)
    }

    /// The slice is over: who must be told.
    pub(super) fn end_slice(&self) -> Vec<Arc<Connection>> {
        let mut slice = self.slice.lock();
        slice.now = None;
        std::mem::take(&mut slice.told)
    }

    /// Remembers that a connection must be told after the slice. Behind whatever else its task may
    /// wait for, such as counters.
    pub(super) fn tell(&self, connection: &Arc<Connection>) {
        if connection.outbox.list() {
            self.slice.lock().told.push(Arc::clone(connection));
        }
    }
}
