//! Who is connected here: connections by number and by session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::{RwLock, RwLockReadGuard};

use super::connection::{Connection, ConnectionId};
use super::outbox::{End, Outbox};
use super::stats::ServerStats;
use crate::state::{Identities, SessionId};

/// All connections of this server. Lock order (STYLE I3): behind state and watch, before outboxes.
#[derive(Debug, Default)]
pub struct Registry {
    tables: RwLock<Tables>,
    next: AtomicU64,
    stats: ServerStats,
}

#[derive(Debug, Default)]
struct Tables {
    by_id: HashMap<ConnectionId, Arc<Connection>>,
    by_session: HashMap<SessionId, Arc<Connection>>,
}

impl Registry {
    /// Enters a new connection.
    pub fn enter(
        &self,
        peer: SocketAddr,
        identities: Identities,
        outbox: Outbox,
    ) -> Arc<Connection> {
        let id = ConnectionId(self.next.fetch_add(1, Ordering::Relaxed));
        let connection = Arc::new(Connection::new(id, peer, identities, outbox));
        self.tables
            .write()
            .by_id
            .insert(id, Arc::clone(&connection));
        connection
    }

    /// Forgets a connection that has ended; its session lives on.
    pub fn leave(&self, connection: &Connection) {
        let mut tables = self.tables.write();
        tables.by_id.remove(&connection.id);
        let session = connection.session();
        if tables
            .by_session
            .get(&session)
            .is_some_and(|bound| bound.id == connection.id)
        {
            tables.by_session.remove(&session);
        }
    }

    /// Binds a session to a connection, if that has not left meanwhile.
    pub fn bind(&self, session: SessionId, connection: &Arc<Connection>) {
        let mut tables = self.tables.write();
        if tables.by_id.contains_key(&connection.id) {
            tables.by_session.insert(session, Arc::clone(connection));
        }
    }

    /// Takes a session from the connection that it is bound to, unless `keeps` says that it is that
    /// one's; the one that had it.
    pub fn unbind(
        &self,
        session: SessionId,
        keeps: impl FnOnce(&Connection) -> bool,
    ) -> Option<Arc<Connection>> {
        let mut tables = self.tables.write();
        let bound = tables.by_session.get(&session)?;
        if keeps(bound) {
            return None;
        }
        tables.by_session.remove(&session)
    }

    /// The connection of that number.
    pub fn of_id(&self, id: ConnectionId) -> Option<Arc<Connection>> {
        self.tables.read().by_id.get(&id).cloned()
    }

    /// For several look-ups in a row.
    pub fn reading(&self) -> Reading<'_> {
        Reading(self.tables.read())
    }

    /// The connection that is bound to a session.
    pub fn of_session(&self, session: SessionId) -> Option<Arc<Connection>> {
        self.tables.read().by_session.get(&session).cloned()
    }

    /// All connections in order of their numbers.
    pub fn all(&self) -> Vec<Arc<Connection>> {
        let mut all: Vec<_> = self.tables.read().by_id.values().cloned().collect();
        all.sort_by_key(|connection| connection.id);
        all
    }

    /// Ends all connections: the server stops.
    pub fn end_all(&self) {
        for connection in self.tables.read().by_id.values() {
            connection.outbox.end(End::Now);
        }
    }

    /// Counters over all connections that there have been.
    pub fn stats(&self) -> &ServerStats {
        &self.stats
    }

    /// Number of connections.
    pub fn count(&self) -> usize {
        self.tables.read().by_id.len()
    }
}

/// The registry, held for reading.
#[derive(Debug)]
pub struct Reading<'a>(RwLockReadGuard<'a, Tables>);

impl Reading<'_> {
    /// The connection of that number.
    pub fn of_id(&self, id: ConnectionId) -> Option<&Arc<Connection>> {
        self.0.by_id.get(&id)
    }
}
