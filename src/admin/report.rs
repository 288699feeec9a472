//! What operators are shown, as types: read off the server here, rendered elsewhere.
//!
//! Nothing holds a lock for longer than a copy of a bounded part takes: apply must not wait for a
//! dump of a million watches.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::view::View;
use crate::clock::Clock;
use crate::connection::{Connection, ConnectionFigures, ConnectionId, Registry, ServerFigures};
use crate::ensemble::Ensemble;
use crate::requests::Requests;
use crate::session::SessionClocks;
use crate::state::{Replica, SessionId, Zxid};
use crate::storage::{StorageStats, Stores};
use crate::watch::{Summary, WatcherId};

/// How long ZooKeeper lets a connection live that has no session; its connections are dumped in
/// buckets of this width. zk: NIOServerCnxnFactory.ZOOKEEPER_NIO_SESSIONLESS_CNXN_TIMEOUT.
const SESSIONLESS_MS: u64 = 10_000;
/// Watched paths that are looked at under one lock.
const PATHS_PER_LOCK: usize = 4096;
/// Ephemerals that are copied under one lock, the last session's rest included.
const EPHEMERALS_PER_LOCK: usize = 4096;

/// What there is to look at. Made by `server.rs`.
#[derive(Debug)]
pub struct Sources {
    /// Who is connected, and what was counted of all of them.
    pub connections: Arc<Registry>,
    /// When each session was last heard of.
    pub sessions: Arc<SessionClocks>,
    /// What is under way, and who watches what.
    pub requests: Arc<Requests>,
    /// The state.
    pub replica: Arc<Replica>,
    /// The consensus.
    pub ensemble: Arc<Ensemble>,
    /// The disk.
    pub stores: Arc<Stores>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Where clients are served.
    pub client_addr: Option<SocketAddr>,
    /// How many servers vote; `None` for one that never was meant to have peers: the only difference
    /// is what it is called.
    pub voters: Option<usize>,
    /// Since when clients are served.
    pub started: Instant,
}

/// The figures of `srvr`.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Overview {
    pub(super) view: View,
    pub(super) figures: ServerFigures,
    pub(super) connections: usize,
    pub(super) outstanding: usize,
    pub(super) zxid: Zxid,
    /// As ZooKeeper counts: the root twice.
    pub(super) znodes: u64,
}

/// A line of `cons`.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct ConnectionLine {
    pub(super) peer: SocketAddr,
    /// Requests that wait for their proposals.
    pub(super) queued: u64,
    pub(super) figures: ConnectionFigures,
    /// False for the connection that asks for this list.
    pub(super) reads: bool,
    pub(super) session: Option<SessionPart>,
}

/// The part of a line that a connection with a session has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SessionPart {
    pub(super) id: SessionId,
    pub(super) timeout_ms: i32,
    /// When its last request was answered, milliseconds on a clock that never goes back; 0 before
    /// the first one and after `crst`.
    pub(super) last_response_ms: u64,
}

/// Things that expire together, by the wall clock of that moment in milliseconds since 1970.
pub(super) type Buckets<T> = Vec<(i64, Vec<T>)>;

/// The three lists of `dump`.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Dump {
    pub(super) sessions: Sessions,
    pub(super) ephemerals: Vec<(SessionId, Vec<Arc<str>>)>,
    /// Each peer with its session, 0 for none.
    pub(super) connections: Buckets<(SocketAddr, SessionId)>,
}

/// All sessions: only the leader knows when they expire.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Sessions {
    Expiring(Buckets<SessionId>),
    Known(Vec<(SessionId, i32)>),
}

/// Pairs of a watched path and the session that watches it.
pub(super) type Watches = Vec<(Arc<str>, SessionId)>;

impl Sources {
    /// A line for each member, and the version without a line feed, if requests change them; else what the
    /// files say is what counts.
    pub(super) fn members(&self) -> Option<String> {
        let state = self.replica.read();
        let current = state.meta().lineups.current.as_ref();
        let current = current.filter(|_| state.rules().reconfig_enabled);
        current.map(|current| current.text())
    }

    /// This server's part in the ensemble now.
    pub(super) fn view(&self) -> View {
        View::of(&self.ensemble.report(), self.voters)
    }

    pub(super) fn overview(&self, view: &View) -> Overview {
        let (zxid, znodes) = {
            let state = self.replica.read();
            (state.last_zxid(), state.meta().znodes)
        };
        Overview {
            view: view.clone(),
            figures: self.connections.stats().figures(),
            connections: self.connections.count(),
            outstanding: self.requests.outstanding(),
            zxid,
            znodes: znodes_as_zookeeper(znodes),
        }
    }

    /// Walks the directories.
    pub(super) fn storage(&self) -> StorageStats {
        self.stores.stats()
    }

    /// All connections, oldest first.
    pub(super) fn connections(&self, asking: ConnectionId) -> Vec<ConnectionLine> {
        let queued = self.requests.outstanding_by_connection();
        let connections = self.connections.all();
        let lines = connections.iter().map(|connection| {
            let figures = connection.stats.figures();
            ConnectionLine {
                peer: connection.peer,
                queued: queued.get(&connection.id).copied().unwrap_or(0),
                figures,
                reads: connection.id != asking,
                session: session_part(connection, &figures),
            }
        });
        lines.collect()
    }

    pub(super) fn reset_connections(&self) {
        for connection in self.connections.all() {
            connection.stats.reset();
        }
    }

    pub(super) fn dump(&self, view: &View) -> Dump {
        let sessions = if view.expires_sessions() {
            Sessions::Expiring(self.expiring())
        } else {
            Sessions::Known(self.known())
        };
        Dump {
            sessions,
            ephemerals: self.ephemerals(),
            connections: self.connection_buckets(),
        }
    }

    fn known(&self) -> Vec<(SessionId, i32)> {
        let state = self.replica.read();
        state
            .sessions()
            .map(|(id, record)| (id, record.timeout_ms))
            .collect()
    }

    fn expiring(&self) -> Buckets<SessionId> {
        let buckets = self.sessions.buckets();
        buckets
            .into_iter()
            .map(|(deadline_ms, sessions)| (self.wall_ms(deadline_ms), sessions))
            .collect()
    }

    /// What the clock of `SessionClocks` calls `at_ms`, as wall time.
    fn wall_ms(&self, at_ms: u64) -> i64 {
        let now_ms = self.sessions.now_ms();
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        self.clock.wall_ms() - signed(now_ms) + signed(at_ms)
    }

    fn ephemerals(&self) -> Vec<(SessionId, Vec<Arc<str>>)> {
        let replica = &self.replica;
        let owners: Vec<SessionId> = replica.read().owners().map(|(owner, _)| owner).collect();
        let mut found = Vec::with_capacity(owners.len());
        let mut rest = owners.into_iter().peekable();
        while rest.peek().is_some() {
            let state = replica.read();
            let mut copied = 0;
            while copied < EPHEMERALS_PER_LOCK
                && let Some(owner) = rest.next()
            {
                let paths: Vec<Arc<str>> = state.ephemerals(owner).cloned().collect();
                copied += paths.len() + 1;
                if !paths.is_empty() {
                    found.push((owner, paths));
                }
            }
        }
        found
    }

    fn connection_buckets(&self) -> Buckets<(SocketAddr, SessionId)> {
        let clocks = &self.sessions;
        let now_ms = clocks.now_ms();
        let mut buckets: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        for connection in self.connections.all() {
            let due_ms = match connection.touch() {
                Some(touch) => {
                    let timeout_ms = u64::try_from(touch.timeout_ms()).unwrap_or(0);
                    touch.heard_ms().saturating_add(timeout_ms)
                }
                None => now_ms.saturating_add(SESSIONLESS_MS),
            };
            let bucket = (due_ms / SESSIONLESS_MS + 1).saturating_mul(SESSIONLESS_MS);
            let line = (connection.peer, connection.session());
            buckets.entry(bucket).or_default().push(line);
        }
        buckets
            .into_iter()
            .map(|(at_ms, lines)| (self.wall_ms(at_ms), lines))
            .collect()
    }

    pub(super) fn watch_summary(&self) -> Summary {
        self.requests.watch_summary()
    }

    /// All watches of ZooKeeper's data table, at most about `bytes_max` bytes of them: what was
    /// left out then is logged. Copied in parts; what comes and goes meanwhile may be missed.
    pub(super) fn watches(&self, bytes_max: usize) -> Watches {
        let mut pairs: Vec<(Arc<str>, WatcherId)> = Vec::new();
        let mut from = Some(0);
        let (mut bytes, mut counted) = (0_usize, 0);
        while let Some(next) = from {
            from = self.requests.copy_watches(next, PATHS_PER_LOCK, &mut pairs);
            let new = pairs.get(counted..).unwrap_or_default();
            bytes += new.iter().map(|(path, _)| path.len() + 24).sum::<usize>();
            counted = pairs.len();
            if bytes > bytes_max {
                tracing::warn!(
                    watches = counted,
                    "too many watches for one answer: it is cut"
                );
                break;
            }
        }
        let mut sessions = BTreeMap::new();
        let found = pairs.into_iter().filter_map(|(path, watcher)| {
            let session = *sessions.entry(watcher).or_insert_with(|| {
                let connection = self.connections.of_id(ConnectionId(watcher.0));
                connection.map(|connection| connection.session())
            });
            Some((path, session?))
        });
        found.collect()
    }
}

/// zk: DataTree: its table has the root under "/" and under the empty name.
pub(super) fn znodes_as_zookeeper(znodes: u64) -> u64 {
    znodes.saturating_add(2)
}

fn session_part(connection: &Connection, figures: &ConnectionFigures) -> Option<SessionPart> {
    let id = connection.session();
    if id == SessionId::NONE {
        return None;
    }
    let touch = connection.touch();
    // A reply goes out so long after its request was heard. Kept as two numbers that the requests
    // have written anyway.
    let last_response_ms = match &touch {
        Some(touch) if figures.answered > 0 => {
            touch.heard_ms().saturating_add(figures.last_latency_ms)
        }
        Some(_) | None => 0,
    };
    Some(SessionPart {
        id,
        timeout_ms: touch.map_or(0, |touch| touch.timeout_ms()),
        last_response_ms,
    })
}
