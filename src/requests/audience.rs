//! What the connections' clients and delivery share: who waits for which proposal, who watches.

use std::sync::Arc;

use jute::{ErrorCode, Request};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::lag::Lag;
use super::pending::InFlight;
use crate::connection::{Connection, Registry};
use crate::session::SessionClocks;
use crate::state::{Origin, StoreError};
use crate::watch::{Registration, WatchTable, WatcherId};

/// Audience by all clients and by delivery. Lock order (STYLE I3): watches, registry, pending.
#[derive(Debug)]
pub(super) struct Audience {
    /// Who wants to know.
    pub(super) watches: Mutex<WatchTable>,
    /// Who is connected.
    pub(super) connections: Arc<Registry>,
    /// When each session was last heard of.
    pub(super) sessions: Arc<SessionClocks>,
    /// Set when the storage fails under a read: the process must end.
    pub(super) failure: watch::Sender<Option<Arc<StoreError>>>,
    /// Proposals of this process that have not been applied, and what waits behind them.
    pub(super) pending: Mutex<InFlight>,
    /// Clients that have seen more than this server.
    pub(super) lag: Lag,
    /// What delivery keeps during a slice.
    pub(super) slice: Mutex<Slice>,
    /// This process as an origin of proposals.
    pub(super) origin: Origin,
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

impl Audience {
    /// Nobody waits and nobody watches.
    pub(super) fn new(
        connections: Arc<Registry>,
        sessions: Arc<SessionClocks>,
        origin: Origin,
        skip_acl: bool,
    ) -> Self {
        Self {
            watches: Mutex::new(WatchTable::default()),
            connections,
            sessions,
            failure: watch::Sender::new(None),
            pending: Mutex::default(),
            lag: Lag::default(),
            slice: Mutex::default(),
            origin,
            skip_acl,
        }
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

    /// Registers the watch that a read asked for, given the code it is answered with.
    ///
    /// exists on a missing node leaves a watch; no other failed read does (protocol.md 3.3). A
    /// connection that has left leaves none: it fences itself before it takes its watches away, both
    /// seen in this order by whoever holds the lock of the table.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "no other request registers a watch"
    )]
    pub(super) fn register(&self, connection: &Connection, request: &Request, code: ErrorCode) {
        let done = code == ErrorCode::OK;
        let (path, registration) = match request {
            Request::Exists(read) if read.watch && (done || code == ErrorCode::NO_NODE) => {
                (&read.path, Registration::Data)
            }
            Request::GetData(read) if read.watch && done => (&read.path, Registration::Data),
            Request::GetChildren(read) if read.watch && done => (&read.path, Registration::Child),
            Request::GetChildren2(read) if read.watch && done => (&read.path, Registration::Child),
            _ => return,
        };
        if let Some(path) = path {
            let mut watches = self.watches.lock();
            if !connection.is_fenced() {
                watches.add(path.as_str(), WatcherId(connection.id.0), registration);
            }
        }
    }
}
