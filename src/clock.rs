//! Wall time, by a trait: the simulation plugs in its own (DESIGN 4.7).

use std::fmt;

/// Where wall-clock time comes from.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Milliseconds since 1970.
    fn wall_ms(&self) -> i64;
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one source of wall time"
    )]
    fn wall_ms(&self) -> i64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| {
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            })
    }
}
