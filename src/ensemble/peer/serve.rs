//! What peers ask of this server: a trait, implemented by those who know the answers.

use std::fmt;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use super::super::raft::messages::{
    AppendRequest, AppendResponse, AppendResult, SnapshotResponse, TransferRequest,
    TransferResponse, VoteRequest, VoteResponse,
};
use super::ask::{Ask, Told};
use super::forward::Forwarded;
use super::frame::Lost;
use super::hello::{Hello, Lane};
use super::snapshot::Offer;

/// What peers ask of this server. `from` has been proven, as far as proofs are configured; a vote,
/// an append or a transfer is always that of `from` itself.
pub(in crate::ensemble) trait Serve: Send + Sync + 'static {
    /// A candidate asks for a vote.
    fn vote(
        &self,
        from: Hello,
        request: VoteRequest,
    ) -> BoxFuture<'_, Result<VoteResponse, Refusal>>;

    /// A candidate asks whether it would get a vote.
    fn pre_vote(
        &self,
        from: Hello,
        request: VoteRequest,
    ) -> BoxFuture<'_, Result<VoteResponse, Refusal>>;

    /// A leader's heartbeat, on the control lane. Several may be under way.
    fn heartbeat(
        &self,
        from: Hello,
        request: AppendRequest,
    ) -> BoxFuture<'_, Result<AppendResponse, Refusal>>;

    /// A leader's entries: what comes out answers what goes in, in its order, and ends after the
    /// first error. Several are under way: openraft's `stream_append`.
    fn append(
        &self,
        from: Hello,
        requests: BoxStream<'static, AppendRequest>,
    ) -> BoxStream<'static, Result<AppendResult, Refusal>>;

    /// A leader hands over to this server.
    fn transfer_leader(
        &self,
        from: Hello,
        request: TransferRequest,
    ) -> BoxFuture<'_, Result<TransferResponse, Refusal>>;

    /// Everything else. Several may be under way, of one peer.
    fn call(&self, from: Hello, ask: Ask) -> BoxFuture<'_, Result<Told, Refusal>>;

    /// A peer has connected to forward batches.
    fn forward(&self, from: Hello) -> Box<dyn ForwardStream>;

    /// A leader offers a snapshot, since this server needs entries that it has no more.
    fn snapshot(&self, from: Hello, offer: Offer) -> BoxFuture<'_, Result<Receipt, Refusal>>;

    /// A peer's connection has ended.
    fn closed(&self, from: Hello, lane: Lane, why: &Lost);
}

/// One peer's batches, on one connection. Dropped when it ends.
pub(in crate::ensemble) trait ForwardStream: Send {
    /// Takes the next batch, in the order in which they were sent. While it waits, nothing more is
    /// read of the connection. What comes of the batch is told later, by the inner future, in the
    /// same order; the connection ends behind a batch that was malformed.
    fn take(&mut self, term: u64, batch: Bytes) -> BoxFuture<'_, BoxFuture<'static, Forwarded>>;
}

/// What is said to an [`Offer`].
pub(in crate::ensemble) enum Receipt {
    /// It is not needed, or not taken from this leader.
    Settled(SnapshotResponse),
    /// It is taken in.
    Begun(Box<dyn Receive>),
}

/// A snapshot that comes in on one connection. Dropped when that ends; what has come is kept.
pub(in crate::ensemble) trait Receive: Send {
    /// How many bytes of each file are there already.
    fn has(&self) -> &[u64];

    /// Takes the next bytes of a file. While it waits, nothing more is read of the connection.
    ///
    /// # Errors
    /// It will not have the rest.
    fn write(
        &mut self,
        file: usize,
        offset: u64,
        bytes: Bytes,
    ) -> BoxFuture<'_, Result<(), Refusal>>;

    /// All has come: checks it and makes it this server's state, also if the connection ends meanwhile.
    fn install(self: Box<Self>) -> BoxFuture<'static, Result<SnapshotResponse, Refusal>>;
}

/// Why a server does not answer what it was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::ensemble) enum Refusal {
    /// Not yet, or not while it is as it is: it may not vote, or has not joined.
    NotReady,
    /// It stops.
    Stopping,
    /// Too much is under way.
    Busy,
    /// Something failed there.
    Failed,
    /// The question makes no sense, or not from this server.
    Senseless,
    /// What came is not what was announced: it may be sent again.
    Damaged,
    /// What only a newer server says.
    Newer(u8),
}

impl Refusal {
    pub(super) fn number(self) -> u8 {
        match self {
            Self::NotReady => 1,
            Self::Stopping => 2,
            Self::Busy => 3,
            Self::Failed => 4,
            Self::Senseless => 5,
            Self::Damaged => 6,
            Self::Newer(number) => number,
        }
    }

    pub(super) fn read(number: u8) -> Self {
        match number {
            1 => Self::NotReady,
            2 => Self::Stopping,
            3 => Self::Busy,
            4 => Self::Failed,
            5 => Self::Senseless,
            6 => Self::Damaged,
            newer => Self::Newer(newer),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReady => f.write_str("not ready"),
            Self::Stopping => f.write_str("stopping"),
            Self::Busy => f.write_str("too much is under way"),
            Self::Failed => f.write_str("failed"),
            Self::Senseless => f.write_str("the question makes no sense"),
            Self::Damaged => f.write_str("what came is damaged"),
            Self::Newer(number) => write!(f, "reason {number}, of a newer version"),
        }
    }
}
