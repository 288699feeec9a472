//! Wall time, and time that cannot be set, by a trait: the simulation plugs in its own (DESIGN 4.7).

use std::fmt;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Where wall-clock time comes from.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Milliseconds since 1970, as right as the clock has been set.
    fn wall_ms(&self) -> i64;

    /// Milliseconds since some moment before the start of the process. Nobody can set it, and it
    /// runs on while the machine sleeps.
    fn steady_ms(&self) -> u64;
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

    fn steady_ms(&self) -> u64 {
        // `Instant` stands still while the machine sleeps, for which TTLs do not wait.
        #[cfg(target_os = "linux")]
        let clock = ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let clock = ClockId::Monotonic;
        let now = clock_gettime(clock);
        let since = Duration::try_from(now).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}
