//! Oxkeeper: a drop-in replacement for Apache ZooKeeper.
//!
//! ARCHITECTURE.md draws the flow of a request. The rooms, from left to right; each uses only rooms
//! to its right, which `tidy` checks:
//!
//! - [`server`]: composition root: starts the rooms and stops them in reverse
//! - [`config`]: zoo.cfg, `-D` words and the command line, by one table of keys
//! - [`net`]: sockets: accepts clients and moves their bytes
//! - [`admin`]: four-letter words and metrics, rendered from one report
//! - [`leader`]: session expiry, container and TTL reaping, while this server leads
//! - [`requests`]: a client's requests in order, and the delivery of replies and events
//! - [`connection`]: who is connected, and all that is sent to them
//! - [`session`]: handshakes, when each session was heard of
//! - [`auth`]: schemes: world, digest, ip
//! - [`ensemble`]: openraft: proposing, applying, roles
//! - [`storage`]: the Raft log, the tree with its cache, checkpoints
//! - [`watch`]: who wants to know what
//! - [`state`]: what every replica agrees on: judging and reading
//!
//! Leaves, open to all but the pure rooms: [`clock`], [`io`], [`metrics`], [`system`],
//! [`telemetry`]; and, open to all, [`planted`].

pub mod server;

pub mod config;

pub mod net;

pub mod admin;

pub mod leader;

pub mod requests;

pub mod connection;

pub mod session;

pub mod auth;

pub mod ensemble;

pub mod storage;

pub mod watch;

pub mod state;

pub mod clock;
pub mod io;
pub mod metrics;
pub mod planted;
pub mod system;
pub mod telemetry;

#[cfg(test)]
mod tidy;
