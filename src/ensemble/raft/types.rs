//! The types that openraft is put together from.

use std::fmt;

use bytes::Bytes;
use openraft::impls::{BoxedErrorSource, InlineBatch, leader_id_std};
use openraft::raft::responder::Responder;
use openraft::{OptionalSend, RaftTypeConfig};

use crate::state::LogPosition;

use super::machine::Machine;
use super::runtime::Runtime;

/// openraft's parameters.
///
/// `leader_id_std`: one leader per term, as the zxid's epoch demands. `Node = ()`: addresses stay
/// out of the membership, since zoo.cfg files differ in them (DESIGN 5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::ensemble) struct Types;

impl RaftTypeConfig for Types {
    type D = EncodedBatch;
    type R = ();
    type NodeId = u64;
    type Node = ();
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = Runtime;
    type Responder<T>
        = Respond<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = BoxedErrorSource;
}

pub(in crate::ensemble) type LeaderId = leader_id_std::LeaderId<u64, u64>;
pub(in crate::ensemble) type CommittedLeaderId =
    <LeaderId as openraft::vote::RaftLeaderId>::Committed;
pub(in crate::ensemble) type Vote = openraft::Vote<LeaderId>;
pub(in crate::ensemble) type LogId = openraft::LogId<CommittedLeaderId>;
pub(in crate::ensemble) type Membership = openraft::Membership<u64, ()>;
pub(in crate::ensemble) type StoredMembership =
    openraft::StoredMembership<CommittedLeaderId, u64, ()>;
pub(in crate::ensemble) type Payload = openraft::EntryPayload<EncodedBatch, u64, ()>;
pub(in crate::ensemble) type Entry = openraft::Entry<CommittedLeaderId, Payload>;
pub(in crate::ensemble) type Raft = openraft::Raft<Types, Machine>;
pub(in crate::ensemble) type Fatal = openraft::errors::Fatal<Types>;

/// The position of a log id.
pub(in crate::ensemble) fn position(id: &LogId) -> LogPosition {
    LogPosition {
        term: id.leader_id.term,
        index: id.index,
    }
}

/// The log id of a position.
pub(in crate::ensemble) fn log_id(position: LogPosition) -> LogId {
    LogId {
        leader_id: CommittedLeaderId::new(position.term),
        index: position.index,
    }
}

/// A batch as it lies in the log; the same memory from the queue to apply.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::ensemble) struct EncodedBatch(pub(in crate::ensemble) Bytes);

impl fmt::Display for EncodedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {} bytes", self.0.len())
    }
}

impl fmt::Debug for EncodedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What openraft tells about a write: called once, or dropped when the core dies.
pub(in crate::ensemble) struct Respond<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Respond<T> {
    /// Calls `told` with the outcome.
    pub(in crate::ensemble) fn new(told: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(told))
    }
}

impl<T> Responder<Types, T> for Respond<T>
where
    T: OptionalSend + 'static,
{
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}
