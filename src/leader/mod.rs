//! Chores of the leader: expiring sessions, reaping container and TTL nodes.
//!
//! Every chore acts by proposals only, so that all replicas do the same; and only while this server
//! leads. What a chore wants is judged again when it is applied.
//!
//! This room does not know: connections, watches, the log.

mod config;
mod expiry;
mod reaper;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use expiry::expire_sessions;
pub use reaper::reap;
