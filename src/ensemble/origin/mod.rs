//! This process as an origin of proposals: from submission until the replicated cursor has passed
//! them, and the read index behind `sync`.
//!
//! Does not know: what is proposed, how the log gets to a quorum.

pub(super) mod barrier;
pub(super) mod forward;
pub(super) mod outgoing;
pub(super) mod proposals;
pub(super) mod sender;
