//! The request at the head of a client's queue, and how far it has come.

use bytes::Bytes;
use jute::{Request, RequestHeader};
use tokio::time::Instant;

use super::step::Step;
use crate::state::Zxid;

/// The request at the head of the queue.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) header: RequestHeader,
    pub(super) body: Bytes,
    /// Parsed once, when its turn has come.
    pub(super) request: Option<Request>,
    pub(super) reached: Reached,
}

/// How far a request that takes several steps has come.
#[derive(Debug, Default)]
pub(super) enum Reached {
    #[default]
    New,
    /// ConnectRequest: the throttle has let it through, and it may wait for so long until this server
    /// has caught up.
    Admitted { until: Instant },
    /// sync, or a ConnectRequest for a session that was not known: the read index has been reached.
    Synced,
    /// getAllChildrenNumber: counted at this zxid, so many descendants.
    Counted { at: Zxid, count: i32, tries: u32 },
    /// setWatches: so many paths are done.
    CatchingUp(Catchup),
}

/// What serving the head came to.
#[expect(
    clippy::large_enum_variant,
    reason = "made and taken apart at once, never stored"
)]
pub(super) enum Served {
    /// Answered, proposed or dropped.
    Done,
    /// It stays at the head.
    Stays(Head, Step),
    /// The connection ends, behind what has been answered.
    End,
}

/// How far a setWatches has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Catchup {
    /// Lists that are done.
    pub(super) list: usize,
    /// Paths of the next one that are.
    pub(super) done: usize,
}
