//! Requests on their way: from a client's bytes to the state, and back.
//!
//! ```text
//!   Client::advance ─┬─ reads, watches: state (read guard) ──▶ outbox
//!                    └─ writes: Client::propose ──▶ ensemble ─▶ log ─▶ apply
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

mod audience;
mod behind;
mod client;
mod config;
mod counts;
mod deliver;
mod fresh;
mod greet;
mod head;
mod heard;
mod lag;
mod large;
mod pending;
mod prefetch;
mod reads;
mod replies;
mod step;
mod warm;
mod watches;
mod writes;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::MutexGuard;
use tokio::time::Instant;

pub use client::Client;
pub use config::Config;
pub use deliver::Deliver;
pub use step::{Settle, Step, settle};
pub use warm::Warm;

use crate::auth::Schemes;
use crate::connection::{Budget, Connection, ConnectionId, End};
use crate::ensemble::{Ensemble, Submission, SubmitError};
use crate::session::{Greeter, Throttle};
use crate::state::{ActionRef, Replica, SessionId, StoreError};
use crate::watch::{Summary, WatcherId};
use audience::Audience;
use pending::{Awaits, Pending};

/// Watched paths of an ended connection that are dropped under one lock: a few milliseconds.
const PATHS_PER_LOCK: usize = 4096;

/// What [`Requests`] are made of. Filled by `server.rs` alone.
#[derive(Debug)]
pub struct Parts {
    /// What apply tells the clients through.
    pub deliver: Deliver,
    /// The state behind its lock.
    pub replica: Arc<Replica>,
    /// Where proposals go.
    pub ensemble: Arc<Ensemble>,
    /// Judges handshakes.
    pub greeter: Greeter,
    /// Authentication.
    pub schemes: Schemes,
    /// Bounds.
    pub config: Config,
    /// Longest frame that a client with a session may send, bytes. zk: jute.maxbuffer.
    pub frame_bytes_max: usize,
    /// How long a client that has seen more than this server waits until that has caught up; zero if
    /// there is nobody to catch up with.
    pub catch_up_time: Duration,
}

/// The door of the room: what all clients need. Made by `server.rs` once the ensemble serves.
pub struct Requests {
    /// What clients and delivery share.
    shared: Arc<Audience>,
    replica: Arc<Replica>,
    ensemble: Arc<Ensemble>,
    greeter: Greeter,
    schemes: Schemes,
    frame_bytes_max: usize,
    /// Requests under way beyond which clients that have some of them are not read from.
    outstanding_max: usize,
    /// Longest reply to a read, bytes; a client that asks for more is closed.
    reply_bytes_max: usize,
    /// What all replies may hold that are not small: as much as the longest.
    budget: Budget,
    /// Every read waits for a read index.
    linearizable_reads: bool,
    catch_up_time: Duration,
}

impl Requests {
    /// Puts them together.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            deliver,
            replica,
            ensemble,
            greeter,
            schemes,
            config,
            frame_bytes_max,
            catch_up_time,
        } = parts;
        Self {
            shared: deliver.shared,
            replica,
            ensemble,
            greeter,
            schemes,
            frame_bytes_max,
            outstanding_max: usize::try_from(config.outstanding_max).unwrap_or(usize::MAX),
            reply_bytes_max: config.reply_bytes_max,
            budget: Budget::new(config.reply_bytes_max),
            linearizable_reads: config.linearizable_reads,
            catch_up_time,
        }
    }

    /// Proposes for a connection and remembers who waits, in one step, so that the order of the
    /// waiting is the order of the proposals. Returns the proposal's sequence.
    ///
    /// # Errors
    /// `Full`: too much is waiting; try again when there is room. `Closed`: the server stops, or
    /// the session has moved to another connection; end this one.
    fn propose_for(
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
        pending.push(Pending {
            sequence,
            connection: Arc::clone(connection),
            awaits,
            since,
            reads: Vec::new(),
        });
        Ok(sequence)
    }

    /// Whether there is nobody to catch up with.
    fn is_only_server(&self) -> bool {
        self.catch_up_time.is_zero()
    }

    /// True if more requests wait for their proposals than the operator allows.
    fn is_overloaded(&self) -> bool {
        self.outstanding() > self.outstanding_max
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
        self.shared.connections.leave(connection);
    }

    /// Ends all connections, since no leader hears this server, and takes back what they have proposed:
    /// what has not left this server takes no effect when there is a leader again. Their clients have
    /// gone elsewhere by then, and an old handshake would take their sessions from them. So are ends of
    /// sessions that this server has proposed as a leader: all sessions begin again.
    ///
    /// zk: Learner.shutdown, Follower.followLeader: what was forwarded to a leader that is gone goes with
    /// the connection to it, and a server's requests with its processors.
    pub fn send_away(&self) {
        let all = self.shared.connections.all();
        let mut pending = self.shared.pending.lock();
        // None of them proposes anything from here on, also behind what is taken back here.
        all.iter().for_each(|connection| connection.fence());
        let taken_back = pending.take_all();
        taken_back.iter().for_each(|one| one.connection.fence());
        self.ensemble.recall();
        drop(pending);
        self.shared.sessions.restart_all();
        for one in taken_back {
            one.connection.reads_answered(one.reads.len());
            one.connection.outbox.end(End::Now);
        }
        all.iter()
            .for_each(|connection| connection.outbox.end(End::Now));
    }

    /// Requests of clients that wait for their proposals, or for one before them.
    pub fn outstanding(&self) -> usize {
        self.shared.pending.lock().len()
    }

    /// The same, by connection.
    pub fn outstanding_by_connection(&self) -> HashMap<ConnectionId, u64> {
        self.shared.pending.lock().by_connection()
    }

    /// Number of watches, of all kinds.
    pub fn watch_count(&self) -> usize {
        self.shared.watches.lock().watch_count()
    }

    /// How many watch what.
    pub fn watch_summary(&self) -> Summary {
        self.shared.watches.lock().summary()
    }

    /// Copies a part of the watches under one lock, see
    /// [`WatchTable::copy_part`](crate::watch::WatchTable::copy_part).
    pub fn copy_watches(
        &self,
        from: usize,
        paths_max: usize,
        into: &mut Vec<(Arc<str>, WatcherId)>,
    ) -> Option<usize> {
        self.shared.watches.lock().copy_part(from, paths_max, into)
    }

    /// What holds handshakes back, to be looked at.
    pub fn throttle(&self) -> &Throttle {
        self.greeter.throttle()
    }

    /// Reads of the disk fail: the process must end (STYLE I6).
    pub fn report_store_failure(&self, error: StoreError) {
        self.shared.failure.send_replace(Some(Arc::new(error)));
    }

    /// Resolves with the first failure that was reported; pending for ever on a healthy server.
    pub async fn store_failed(&self) -> Arc<StoreError> {
        let mut failure = self.shared.failure.subscribe();
        let failed = match failure.wait_for(Option::is_some).await {
            Ok(failed) => failed.clone(),
            // This holds the other end.
            Err(_closed) => None,
        };
        match failed {
            Some(error) => error,
            None => std::future::pending().await,
        }
    }

    /// The watch table, held: nobody else looks at it meanwhile.
    #[cfg(test)]
    pub(crate) fn hold_watches(&self) -> MutexGuard<'_, crate::watch::WatchTable> {
        self.shared.watches.lock()
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").finish_non_exhaustive()
    }
}
