//! The clock of one session: when it was last heard of, and how long that lasts.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};

use crate::state::SessionId;

/// The clock of one session.
#[derive(Debug)]
pub struct SessionClock {
    pub(super) session: SessionId,
    /// The server that it is attached to.
    pub(super) server: AtomicU64,
    pub(super) heard_ms: AtomicU64,
    pub(super) timeout_ms: AtomicI32,
    pub(super) closing: AtomicBool,
    /// So many of its connections are not read from: the newest, and one that is about to end.
    pub(super) deaf: AtomicUsize,
    /// It is among those that are to be reported.
    pub(super) listed: AtomicBool,
}

impl SessionClock {
    /// The timeout that counts now, milliseconds: what the last handshake granted.
    pub fn timeout_ms(&self) -> i32 {
        self.timeout_ms.load(Ordering::Relaxed)
    }

    /// True once the expiry has been proposed: touches and renewals fail from here.
    pub fn closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Milliseconds on [`super::SessionClocks::now_ms`]'s scale when the session was last heard of.
    pub fn heard_ms(&self) -> u64 {
        self.heard_ms.load(Ordering::Relaxed)
    }

    /// True while a connection of the session is not read from.
    pub(super) fn is_deaf(&self) -> bool {
        self.deaf.load(Ordering::Relaxed) > 0
    }
}
