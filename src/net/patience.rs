//! How long a client that is not read from, since it takes no replies either, may show no sign of
//! life before its session's time counts again.
//!
//! ```text
//!   clogged, inbox full ─▶ begun ─ a look every second ─┬─ a sign ─▶ begun anew
//!                            │                          └─ none for the bound ─▶ over (looks go on)
//!                            └─ the socket takes bytes, or the client is read from ─▶ forgotten
//! ```
//!
//! Signs are bytes that it has sent, which nobody reads, and bytes that its system has taken. A slow
//! one shows little of the latter: a receiver's window opens by a sixteenth of its buffer (400 KB, a
//! minute at 6 KB/s), and a sender's socket is called writable when a third of its buffer is free.
//!
//! It is counted on the clock of sessions, which stands still while the disk stalls and while this
//! process does not run (STYLE I10).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// The shortest bound, in milliseconds; longer where the session's own timeout is.
const BOUND_MS_MIN: u64 = 30_000;
/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// A look that comes so late says that nobody could look, in milliseconds.
const LATE_MS: u64 = 2_000;

/// What there is to see of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Signs {
    /// Bytes that have come and wait in the system.
    pub(super) unread: u64,
    /// Bytes that its socket has taken so far.
    pub(super) sent: u64,
}

/// The patience with one client.
#[derive(Debug)]
pub(super) struct Patience {
    /// When the last sign was seen, on the scale of `SessionClocks::now_ms`.
    since_ms: u64,
    looked_ms: u64,
    signs: Signs,
    is_over: bool,
    next: Pin<Box<Sleep>>,
}

impl Patience {
    /// Begins at `now_ms`, with what there is to see now.
    pub(super) fn new(now_ms: u64, signs: Signs) -> Self {
        Self {
            since_ms: now_ms,
            looked_ms: now_ms,
            signs,
            is_over: false,
            next: Box::pin(sleep(LOOK)),
        }
    }

    /// Ready when it is time to [`look`](Self::look).
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.next.as_mut().poll(cx)
    }

    /// Looks, and again in a while. `timeout_ms`: of the client's session.
    pub(super) fn look(&mut self, now_ms: u64, signs: Signs, timeout_ms: u64) {
        self.next = Box::pin(sleep(LOOK));
        let is_alive = signs.unread > self.signs.unread || signs.sent != self.signs.sent;
        // This process did not run; soon the clock is put back by as much as that took.
        let was_late = now_ms.saturating_sub(self.looked_ms) > LATE_MS;
        let was_put_back = now_ms < self.since_ms;
        if is_alive || was_late || was_put_back {
            self.since_ms = now_ms;
        }
        self.looked_ms = now_ms;
        self.signs = signs;
        self.is_over = now_ms - self.since_ms >= BOUND_MS_MIN.max(timeout_ms);
    }

    /// The client has shown nothing for the whole bound.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }
}
