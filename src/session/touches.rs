//! The sessions that this server has heard of and has not told the leader.
//!
//! A touch is on the path of every request. So a session is listed once, however often it is heard of
//! until it is reported: a flag in its clock says that it is, and only who sets it takes the lock.
//! There are no more on the list than sessions live, and none on a server that leads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::clock::SessionClock;

/// Those that are to be reported.
#[derive(Debug)]
pub(super) struct Touches {
    /// False while this server leads.
    collects: AtomicBool,
    list: Mutex<Vec<Arc<SessionClock>>>,
}

impl Default for Touches {
    fn default() -> Self {
        Self {
            collects: AtomicBool::new(true),
            list: Mutex::default(),
        }
    }
}

impl Touches {
    /// A session was heard of.
    pub(super) fn note(&self, clock: &Arc<SessionClock>) {
        if !self.collects.load(Ordering::Relaxed) || clock.listed.load(Ordering::Relaxed) {
            return;
        }
        self.put(clock);
    }

    /// A session is taken for heard of from now on: whoever takes the list meanwhile sees it either as
    /// such, or listed.
    pub(super) fn note_deaf(&self, clock: &Arc<SessionClock>) {
        self.put(clock);
    }

    fn put(&self, clock: &Arc<SessionClock>) {
        let mut list = self.list.lock();
        // Asked again under the lock, by which it is set back.
        if self.collects.load(Ordering::Relaxed) && !clock.listed.swap(true, Ordering::Relaxed) {
            list.push(Arc::clone(clock));
        }
    }

    /// Whether they are listed from now on.
    pub(super) fn collect(&self, collects: bool) {
        let mut list = self.list.lock();
        self.collects.store(collects, Ordering::Relaxed);
        if !collects {
            for clock in list.drain(..) {
                clock.listed.store(false, Ordering::Relaxed);
            }
        }
    }

    /// All of them. One whose connection is not read from stays listed, for it is taken for heard of
    /// until it is read from again.
    pub(super) fn take(&self) -> Vec<Arc<SessionClock>> {
        let mut list = self.list.lock();
        let taken = std::mem::take(&mut *list);
        for clock in &taken {
            if clock.is_deaf() {
                list.push(Arc::clone(clock));
            } else {
                clock.listed.store(false, Ordering::Relaxed);
            }
        }
        taken
    }
}
