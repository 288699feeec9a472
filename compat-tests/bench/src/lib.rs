//! Our server beside the genuine ZooKeeper 3.9.5, in one run.
//!
//! The program speaks the protocol itself, on one thread, as cheaply as it can, since client and
//! server share the machine. Both servers run side by side, one idle while the other works, and take
//! turns (ours first, then theirs first); what is reported is the ratio of two figures that were
//! taken within seconds of each other, with the least and the greatest over the alternations. It is
//! a measurement, not a test: a slow day fails nothing.
//!
//! - [`scenario`]: what is measured;
//! - [`contestant`]: a server, its warm-up and its counters ([`process`]);
//! - [`fleet`], [`drive`], [`wire`], [`histogram`]: the client;
//! - [`measure`], [`table`]: figures, and the table with the targets;
//! - [`floor`]: our server beside one that does only what it must;
//! - [`ensemble`]: three servers of each, and what becomes of their clients when one is lost;
//! - [`readme`]: the same in the rows of docs/performance.md;
//! - [`sweep`]: figures over a range, recorded; [`plots`]: the pictures of them.
#![allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::disallowed_types,
    reason = "a measuring tool without a runtime: a broken expectation must stop the run"
)]

pub mod contestant;
pub mod drive;
pub mod ensemble;
pub mod fleet;
pub mod floor;
pub mod histogram;
pub mod measure;
pub mod plots;
pub mod process;
pub mod readme;
pub mod scenario;
pub mod sweep;
pub mod table;
pub mod wire;
