//! Structured logs: one line per event on standard output, fields instead of prose.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Starts logging. `filter`: directives such as `info` or `oxkeeper::net=debug`; what cannot be
/// read of it is left out. Without it everything from info upwards is shown.
pub fn start(filter: Option<&str>) {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse_lossy(filter.unwrap_or_default());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .init();
}
