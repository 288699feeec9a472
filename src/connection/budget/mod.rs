//! What large replies may hold of memory, all of them together.
//!
//! ```text
//!   a read that is not small ─▶ Budget::share (in order of asking) ─▶ Share ─ made, cut to size ─┐
//!        room again ◀── the client has taken all of it, or is gone ◀── beside it, in the outbox ◀┘
//! ```
//!
//! A small reply needs none and waits for nobody. Whoever waits is served in its turn, so a request
//! for all there is gets it once the others have what they asked for; one that asks for more than
//! all gets all. Nobody waits for a client without an end: while somebody waits, who holds a share
//! must take its bytes at a pace that ends, or is closed (STYLE I10). Those who wait see to that.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::connection::Connection;
use super::outbox::End;
use crate::metrics;

/// Bytes are counted in pieces of so many.
const UNIT_BYTES: usize = 1024;
/// Between two looks at those who hold shares, while somebody waits.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// In so much time a client whose socket is full takes a part of its share, or is closed.
const PATIENCE: Duration = Duration::from_secs(10);
/// The part: one of so many. So nothing waits longer than a minute and a half for one client.
const PARTS: usize = 8;

/// Memory for large replies.
#[derive(Debug)]
pub struct Budget {
    room: Arc<Semaphore>,
    units: u32,
    holders: Mutex<Holders>,
}

#[derive(Debug, Default)]
struct Holders {
    /// Those who have waited for a while.
    waiting: usize,
    /// When one of these looked at them last; `None` if there was none.
    looked: Option<Instant>,
    all: Vec<Weak<Holding>>,
}

/// A part of a budget, until it is dropped.
pub struct Share {
    permit: OwnedSemaphorePermit,
    holding: Arc<Holding>,
}

#[derive(Debug)]
struct Holding {
    connection: Weak<Connection>,
    bytes: AtomicUsize,
    mark: Mutex<Option<Mark>>,
}

/// How far its client had come when it was last seen to get on.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    sent: u64,
}

impl Budget {
    /// Room for so many bytes.
    pub fn new(bytes: usize) -> Self {
        let units = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX).max(1);
        let units = units.min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Self {
            room: Arc::new(Semaphore::new(units as usize)),
            units,
            holders: Mutex::default(),
        }
    }

    /// Waits for so many bytes, or for all there are if that is less. `None`: there is no budget any
    /// more.
    pub async fn share(&self, connection: &Arc<Connection>, bytes: usize) -> Option<Share> {
        let units = units_of(bytes).min(self.units);
        let mut turn = pin!(Arc::clone(&self.room).acquire_many_owned(units));
        let mut waiting = None;
        let permit = loop {
            match timeout(LOOK_EVERY, turn.as_mut()).await {
                Ok(permit) => break permit.ok()?,
                Err(_elapsed) => {
                    waiting.get_or_insert_with(|| Waiting::at(&self.holders));
                    self.look(Instant::now());
                }
            }
        };
        let holding = Arc::new(Holding {
            connection: Arc::downgrade(connection),
            bytes: AtomicUsize::new(permit.num_permits() * UNIT_BYTES),
            mark: Mutex::default(),
        });
        let mut holders = self.holders.lock();
        holders.all.retain(|holder| holder.strong_count() > 0);
        holders.all.push(Arc::downgrade(&holding));
        drop(holders);
        Some(Share { permit, holding })
    }

    /// Bytes that nobody holds.
    pub fn free(&self) -> usize {
        self.room.available_permits() * UNIT_BYTES
    }

    /// Somebody waits: closes those who hold what they do not take.
    fn look(&self, now: Instant) {
        let (holders, is_first) = {
            let mut holders = self.holders.lock();
            let before = holders.looked;
            if before.is_some_and(|before| now.duration_since(before) < LOOK_EVERY) {
                return;
            }
            holders.looked = Some(now);
            let all: Vec<_> = holders.all.iter().filter_map(Weak::upgrade).collect();
            (all, before.is_none())
        };
        for holding in holders {
            holding.judge(now, is_first);
        }
    }
}

/// Somebody waits.
struct Waiting<'a>(&'a Mutex<Holders>);

impl<'a> Waiting<'a> {
    fn at(holders: &'a Mutex<Holders>) -> Self {
        holders.lock().waiting += 1;
        Self(holders)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut holders = self.0.lock();
        holders.waiting -= 1;
        if holders.waiting == 0 {
            holders.looked = None;
        }
    }
}

impl Holding {
    /// `is_first`: nobody has waited so far, so nothing that was counted counts.
    fn judge(&self, now: Instant, is_first: bool) {
        let Some(connection) = self.connection.upgrade() else {
            return;
        };
        let found = connection.outbox.look();
        let bytes = self.bytes.load(Ordering::Relaxed);
        let fresh = Mark {
            at: now,
            sent: found.sent,
        };
        let mut mark = self.mark.lock();
        let before = mark.filter(|_| !is_first).unwrap_or(fresh);
        let taken = found.sent.saturating_sub(before.sent);
        let gets_on = taken > 0 && taken >= u64::try_from(bytes / PARTS).unwrap_or(u64::MAX);
        // One whose socket has room waits for this server.
        if gets_on || !found.is_clogged {
            *mark = Some(fresh);
            return;
        }
        *mark = Some(before);
        if now.duration_since(before.at) < PATIENCE || found.end == End::Now {
            return;
        }
        drop(mark);
        let (peer, session) = (connection.peer, connection.session());
        tracing::warn!(%peer, %session, bytes, "a client does not take its large reply, and others wait: closing");
        metrics::large_reply_not_taken();
        connection.outbox.end(End::Now);
    }
}

impl Share {
    /// No more than so many bytes are needed.
    pub fn cut_to(&mut self, bytes: usize) {
        let spare = self
            .permit
            .num_permits()
            .saturating_sub(units_of(bytes) as usize);
        drop(self.permit.split(spare));
        self.note();
    }

    /// This too, of the same budget and for the same connection.
    pub fn join(&mut self, other: Self) {
        self.permit.merge(other.permit);
        self.note();
    }

    fn note(&self) {
        let bytes = self.permit.num_permits() * UNIT_BYTES;
        self.holding.bytes.store(bytes, Ordering::Relaxed);
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({} KiB)", self.permit.num_permits())
    }
}

fn units_of(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES).max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
