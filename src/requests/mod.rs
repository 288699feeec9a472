//! Requests on their way: from a client's bytes to the state, and back.
//!
//! ```text
//!   Client::advance ─┬─ reads, watches: state (read guard) ──▶ outbox
//!                    └─ writes: Requests::submit ─▶ ensemble ─▶ log ─▶ apply
//!                                                                       │ write guard
//!                 outbox ◀─ Deliver (events, reply, reads behind it) ◀──┘
//! ```
//!
//! One order (DESIGN 4.1): what apply pushes into an outbox and what a client answers itself are
//! both done under the state lock, so replies and events leave in the order of the state's changes.
//! A session's requests take effect strictly one after the other; its writes are proposed without
//! waiting for each other, and reads between them are answered by delivery, each behind the write
//! it followed (`behind.rs`).
//!
//! This room does not know: sockets, Raft, the disk.

mod behind;
mod classify;
mod client;
mod config;
mod counts;
mod deliver;
mod greet;
mod lag;
mod pending;
mod prefetch;
mod reads;
mod replies;
mod shared;
mod step;
mod warm;
mod watches;
mod writes;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::MutexGuard;
use tokio::time::Instant;

pub use client::Client;
pub use config::Config;
pub use deliver::Deliver;
pub use shared::Shared;
pub use step::{Settle, Step, settle};
pub use warm::Warm;

use crate::auth::Schemes;
use crate::connection::Connection;
use crate::ensemble::{Ensemble, Submission, SubmitError};
use crate::metrics;
use crate::session::Greeter;
use crate::state::{ActionRef, Replica, SessionId, StoreError};
use crate::watch::WatcherId;
use pending::{Awaits, Pending};

/// Watched paths of an ended connection that are dropped under one lock: a few milliseconds.
const PATHS_PER_LOCK: usize = 4096;

/// What all clients need. Made by `server.rs` once the ensemble serves.
pub struct Requests {
    /// What clients and delivery share.
    pub shared: Arc<Shared>,
    /// The state behind its lock.
    pub replica: Arc<Replica>,
    /// Where proposals go.
    pub ensemble: Arc<Ensemble>,
    /// Judges handshakes.
    pub greeter: Greeter,
    /// Authentication.
    pub schemes: Schemes,
    /// Longest frame that a client with a session may send, bytes. zk: jute.maxbuffer.
    pub frame_bytes_max: usize,
    /// Requests in the pipeline beyond which clients with requests under way are not read from.
    pub outstanding_max: usize,
    /// Longest reply to a read, bytes; a client that asks for more is closed.
    pub reply_bytes_max: usize,
    /// How long a client that has seen more than this server waits until that has caught up; zero if
    /// there is nobody to catch up with.
    pub catch_up_time: Duration,
}

impl Requests {
    /// Proposes for a connection and remembers who waits, in one step, so that the order of the
    /// waiting is the order of the proposals. Returns the proposal's sequence.
    ///
    /// # Errors
    /// `Full`: too much is waiting; try again when there is room. `Closed`: the server stops, or
    /// the session has moved to another connection; end this one.
    fn submit(
        &self,
        connection: &Arc<Connection>,
        session: SessionId,
        cxid: i32,
        action: ActionRef<'_>,
        awaits: Awaits,
        since: Instant,
    ) -> Result<u64, SubmitError> {
        let identities = connection.identities();
        let mut pending = self.shared.pending.lock();
        if connection.is_fenced() {
            return Err(SubmitError::Closed);
        }
        let sequence = self.ensemble.submit(Submission {
            session,
            cxid,
            identities: &identities,
            action,
        })?;
        metrics::proposed();
        pending.push(Pending {
            sequence,
            connection: Arc::clone(connection),
            awaits,
            since,
            reads: Vec::new(),
        });
        Ok(sequence)
    }

    /// True if more requests wait for their proposals than the operator allows.
    fn is_overloaded(&self) -> bool {
        self.shared.outstanding() > self.outstanding_max
    }

    /// The connection is over: its watches go with it, its session stays.
    pub fn leave(&self, connection: &Connection) {
        connection.fence();
        let watcher = WatcherId(connection.id.0);
        loop {
            let mut watches = self.shared.watches.lock();
            let more = watches.drop_watcher_part(watcher, PATHS_PER_LOCK);
            // Those who wait have their turn between the parts: a plain unlock lets us in again first.
            MutexGuard::unlock_fair(watches);
            if !more {
                break;
            }
        }
        self.shared.registry.leave(connection);
    }

    /// Reads of the disk fail: the process must end (STYLE I6).
    pub fn report_store_failure(&self, error: StoreError) {
        self.shared.report_store_failure(error);
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").finish_non_exhaustive()
    }
}
