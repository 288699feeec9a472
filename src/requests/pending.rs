//! The proposals of this process that have not been applied, and what waits behind each of them.
//!
//! ```text
//!   propose_for ─▶ push ─▶ [ write 7 | reads ] [ write 8 ] [ write 9 | reads ] ─▶ take ─▶ delivery
//!                                                                 ▲
//!                                  wait_behind: what its client asked after it
//! ```
//!
//! Delivery takes a write when its txn has been installed, and with it the reads that its client
//! sent between this write and its next one: they see exactly the state that the write made, since
//! the client's next write is not applied before they are answered.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use jute::{OpCode, Request};
use tokio::time::Instant;

use crate::connection::{Connection, ConnectionId};
use crate::session::Granted;
use crate::state::Pins;

/// The proposals of this process that have not been applied, oldest first, with what waits behind each.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    writes: VecDeque<Pending>,
    /// Its request has been applied, and what it has begun has not ended: a reconfig. The ensemble has
    /// one at a time.
    begun: Option<Pending>,
    reads: usize,
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
    /// What its client asked behind it, in order.
    pub(super) reads: Vec<Waiting>,
}

/// A request that delivery answers behind a write of the same connection.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) xid: i32,
    pub(super) op: OpCode,
    pub(super) request: Request,
    /// Keep in memory what it looks at.
    pub(super) pins: Pins,
    /// When it came.
    pub(super) since: Instant,
}

/// What a connection waits for.
#[derive(Debug)]
pub(super) enum Awaits {
    /// The reply to a request with this xid.
    Reply { xid: i32, op: OpCode },
    /// Its session.
    Session {
        granted: Granted,
        asked: Asked,
        read_only_asked: bool,
    },
}

/// What a client asks for that has no session yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// A session that nobody has.
    New,
    /// The one that it had on another connection.
    Old,
    /// The same, and it has been told that it has it.
    Told,
}

impl InFlight {
    /// Remembers a proposal: the newest, with the highest sequence.
    pub(super) fn push(&mut self, pending: Pending) {
        self.writes.push_back(pending);
    }

    /// Leaves `reads` to the delivery of this proposal of the same connection, behind those it has.
    /// False, and `reads` as it was, if the proposal has been taken or recalled.
    pub(super) fn wait_behind(
        &mut self,
        connection: ConnectionId,
        sequence: u64,
        reads: &mut Vec<Waiting>,
    ) -> bool {
        let found = self
            .writes
            .binary_search_by_key(&sequence, |pending| pending.sequence);
        let found = found.ok().and_then(|at| self.writes.get_mut(at));
        // A number that was recalled may be another one's by now.
        let Some(pending) = found.filter(|pending| pending.connection.id == connection) else {
            return false;
        };
        self.reads += reads.len();
        pending.connection.reads_wait(reads.len());
        if pending.reads.is_empty() {
            std::mem::swap(&mut pending.reads, reads);
        } else {
            pending.reads.append(reads);
        }
        true
    }

    /// Takes the oldest proposal if its sequence is `sequence` or less.
    pub(super) fn take(&mut self, sequence: u64) -> Option<Pending> {
        if self.writes.front()?.sequence > sequence {
            return None;
        }
        let pending = self.writes.pop_front()?;
        self.reads -= pending.reads.len();
        Some(pending)
    }

    /// Takes all: nobody waits any more.
    pub(super) fn take_all(&mut self) -> VecDeque<Pending> {
        self.reads = 0;
        let mut all = std::mem::take(&mut self.writes);
        all.extend(self.begun.take());
        all
    }

    /// Goes on waiting with a proposal that has been taken, until what it has begun ends. Returns one
    /// that waited so before: its end was missed.
    pub(super) fn go_on(&mut self, begun: Pending) -> Option<Pending> {
        self.reads += begun.reads.len();
        self.begun.replace(begun)
    }

    /// What has been begun ends elsewhere: nobody waits for it here any more.
    pub(super) fn leave_begun(&mut self) -> Option<Pending> {
        let begun = self.begun.take()?;
        self.reads -= begun.reads.len();
        Some(begun)
    }

    /// What this proposal has begun has ended.
    pub(super) fn take_begun(&mut self, sequence: u64) -> Option<Pending> {
        let begun = self.begun.take_if(|begun| begun.sequence == sequence)?;
        self.reads -= begun.reads.len();
        Some(begun)
    }

    /// Requests in it: proposals and what waits behind them.
    pub(super) fn len(&self) -> usize {
        self.writes.len() + usize::from(self.begun.is_some()) + self.reads
    }

    /// The same, by connection.
    pub(super) fn by_connection(&self) -> HashMap<ConnectionId, u64> {
        let mut counts = HashMap::new();
        for pending in self.writes.iter().chain(&self.begun) {
            *counts.entry(pending.connection.id).or_default() += 1 + pending.reads.len() as u64;
        }
        counts
    }
}
