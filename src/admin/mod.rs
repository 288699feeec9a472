//! What operators see: typed reports, and their rendering as four-letter words.
//!
//! This room reads everything to its right and changes nothing but counters.

mod config;
mod inspector;

pub use config::{Commands, Conf, Config, MetricsProvider};
pub use inspector::Inspector;
