//! Oxkeeper: a drop-in replacement for Apache ZooKeeper.
//!
//! ARCHITECTURE.md draws the flow. The rooms, from left to right; each uses only rooms to its right:

pub mod server;

pub mod config;

pub mod net;

pub mod admin;

pub mod leader;

pub mod pipeline;

pub mod session;

pub mod auth;

pub mod ensemble;

pub mod storage;

pub mod watch;

pub mod clock;
pub mod io;
pub mod metrics;
pub mod state;
pub mod telemetry;

#[cfg(test)]
mod tidy;
