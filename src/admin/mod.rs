//! What operators see: typed reports, and their rendering as four-letter words and as Prometheus'
//! text.
//!
//! ```text
//!   net: a word ──────▶ Inspector ─┬─▶ report: reads the server ─▶ four_letter: text
//!   io: GET /metrics ─▶ Inspector ─┘                           ─▶ prometheus: text
//!   kill -QUIT ───────▶ Inspector ────▶ situation: text, for the log
//! ```
//!
//! This room reads everything to its right and changes nothing but counters. Big tables are copied
//! in parts, on a thread that may block: apply never waits for an operator.
//!
//! This room does not know: sockets (net, io), who may ask (everybody who reaches the port).

mod config;
mod four_letter;
mod inspector;
mod java;
mod process;
mod prometheus;
mod report;
mod situation;
#[cfg(test)]
mod tests;
mod view;

pub use config::{Commands, Conf, Config, EnsembleConf, MetricsProvider};
pub use inspector::Inspector;
pub use report::Sources;
