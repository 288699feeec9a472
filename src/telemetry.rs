//! Structured logs: one line per event on standard output, fields instead of prose.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// What is shown unless the operator says otherwise: openraft's account of itself is for those who
/// debug it.
const DEFAULT: &str = "info,openraft=warn";

/// Starts logging. `filter`: directives such as `debug` or `info,oxkeeper::net=trace`; what cannot
/// be read of it is left out. Without it, what happens to the process from info upwards.
pub fn start(filter: Option<&str>) {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse_lossy(filter.unwrap_or(DEFAULT));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .init();
}
