//! Structured logs: one line per event on standard output, fields instead of prose.
//!
//! Whoever has something to say never waits for whoever reads it, and never fails with it: see
//! `lines.rs`.

mod lines;
mod seldom;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::{Display, Write as _};
use std::io;
use std::os::fd::AsFd;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{Directive, LevelFilter};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use lines::Lines;
pub use seldom::Seldom;

/// What is shown unless the operator says otherwise: openraft's account of itself is for those who
/// debug it. It warns of each heartbeat that fails, ten times a second; the links say it once.
const DEFAULT: &str = "info,openraft=error";
/// How long the end of the process waits for its last lines to be read.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Of this process, once logging has started.
static LINES: OnceLock<Lines> = OnceLock::new();

/// Starts logging. `filter`: directives such as `debug` or `info,oxkeeper::net=trace`; what cannot
/// be read of it is left out. Without it, what happens to the process from info upwards.
///
/// # Errors
/// The system has no thread or no descriptor for it.
pub fn start(filter: Option<&str>) -> io::Result<()> {
    // Not the standard library's handle: that one keeps what could not be written.
    let out = std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let lines = LINES.get_or_init(Lines::default);
    lines.write_to(out)?;
    let (filter, unread) = read_filter(filter.unwrap_or(DEFAULT));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(lines.clone())
        // They would go to standard error, where a failure is a panic.
        .log_internal_errors(false)
        .init();
    for directive in unread {
        tracing::warn!(directive, "left out of the log's filter: it cannot be read");
    }
    Ok(())
}

/// The filter, and the directives that are none.
fn read_filter(text: &str) -> (EnvFilter, Vec<&str>) {
    let directives = text.split(',').filter(|text| !text.is_empty());
    let (read, unread): (Vec<_>, Vec<_>) =
        directives.partition(|text| text.parse::<Directive>().is_ok());
    // It would tell standard error of those that it cannot read.
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse_lossy(read.join(","));
    (filter, unread)
}

/// Says something that was asked for, whatever the filter says.
pub fn say(text: impl Display) {
    if let Some(lines) = LINES.get() {
        lines.put(stamped("INFO", text).as_bytes());
    }
}

/// Says what the thread that panics died of, and waits a moment until it is written.
pub fn say_panic(panicked: &PanicHookInfo<'_>) {
    let Some(lines) = LINES.get() else { return };
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("without a name");
    let trace = Backtrace::capture();
    let trace = if trace.status() == BacktraceStatus::Captured {
        trace.to_string()
    } else {
        "(RUST_BACKTRACE=1 shows where)".to_owned()
    };
    let text = format!("thread {name} {panicked}\n{trace}");
    lines.put_last(stamped("ERROR", text).as_bytes());
    lines.flush(LAST_LINES);
}

/// Waits until all lines are written, for a second at most: nobody may be reading.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush(LAST_LINES);
    }
}

/// A line that does not come from an event, in the form of those that do.
fn stamped(level: &str, text: impl Display) -> String {
    let mut line = String::new();
    let stamp = SystemTime.format_time(&mut Writer::new(&mut line));
    let put = stamp.and_then(|()| write!(line, " {level:>5} {}: {text}", module_path!()));
    debug_assert!(put.is_ok(), "a String takes everything");
    if !line.ends_with('\n') {
        line.push('\n');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_directive_is_left_out_and_named() {
        let (filter, unread) = read_filter("warn,oxkeeper::net=trace,=,a=b=c,[");
        assert_eq!(unread, ["=", "a=b=c", "["]);
        let filter = filter.to_string();
        assert!(
            filter.contains("oxkeeper::net=trace") && filter.contains("warn"),
            "{filter}"
        );
        let (filter, unread) = read_filter("nonsense=loud");
        assert_eq!(
            (filter.max_level_hint(), unread.len()),
            (Some(LevelFilter::INFO), 1)
        );
    }

    #[test]
    fn lines_of_our_own_look_like_events() {
        let line = stamped("WARN", "three words here");
        let (stamp, rest) = line.split_once("  WARN ").expect("a level");
        assert!(stamp.ends_with('Z') && stamp.contains('T'), "{line}");
        assert_eq!(rest, "oxkeeper::telemetry: three words here\n");
    }
}
