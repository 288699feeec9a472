//! The only place that names openraft: its types, its runtime, and what it stores and applies by.
//!
//! Does not know: who proposes, what a proposal means.

pub(super) mod log_store;
pub(super) mod machine;
#[allow(dead_code, reason = "used by peers, which are not wired yet")]
pub(super) mod messages;
#[allow(dead_code, reason = "used by peers, which are not wired yet")]
pub(super) mod network;
pub(super) mod records;
pub(super) mod runtime;
pub(super) mod types;
