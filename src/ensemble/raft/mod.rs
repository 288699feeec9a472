//! The only place that names openraft: its types, its runtime, and what it stores and applies by.
//!
//! Does not know: who proposes, what a proposal means.

pub(super) mod applier;
pub(super) mod checkpoint;
pub(super) mod core;
pub(super) mod log_store;
pub(super) mod machine;
pub(super) mod membership;
pub(super) mod messages;
pub(super) mod network;
pub(super) mod records;
pub(super) mod runtime;
pub(super) mod sending;
pub(super) mod settings;
pub(super) mod traffic;
pub(super) mod types;
