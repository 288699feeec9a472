//! Who is in the ensemble, and what becomes of it when one of them goes: how a server gets in, whether it
//! may vote, whether it serves, what it answers the others.
//!
//! Does not know: what is proposed, what the frames between servers look like.

pub(super) mod answers;
pub(super) mod beginning;
pub(super) mod census;
pub(super) mod change;
pub(super) mod failover;
pub(super) mod founding;
pub(super) mod lag;
pub(super) mod listing;
pub(super) mod receiving;
pub(super) mod reconfig;
pub(super) mod role;
pub(super) mod serving;
pub(super) mod standing;
pub(super) mod succession;
