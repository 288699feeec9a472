//! Listings on their way from the disk into the cache.
//!
//! A scan of 100,000 names takes a while, and txns are installed meanwhile. So a listing is
//! registered before it looks at anything; from then on each child that comes or goes is noted
//! here, and when the scan ends the notes are applied to what it found, in the same moment in which
//! the cache takes the names in.
//!
//! ```text
//!   pin ─▶ begin ─▶ look at Unwritten and the database ─▶ finish
//!            │        install: note(parent, name, added)  │
//!            └── another listing of the same parent waits ┘
//! ```
//!
//! The parent's entry is pinned with its names before, also by a listing that waits: so the names
//! that the first one finds stay until the others have seen them.
//!
//! Order of locks: this one, then a shard of the cache. `install` puts a txn into [`Unwritten`] before
//! it asks here, so a child is seen either by the notes or by the look at `Unwritten`, or by both.
//!
//! [`Unwritten`]: super::unwritten::Unwritten

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::cache::Listing;

/// Children that came (true) or went while a listing was under way, by name.
type Notes = HashMap<Box<str>, bool>;

/// Listings that are being loaded, which are told what changes meanwhile.
#[derive(Debug, Default)]
pub(in crate::storage) struct Loads {
    active: AtomicUsize,
    notes: Mutex<HashMap<Arc<str>, Notes>>,
    ended: Condvar,
}

/// A listing that has been registered; unregisters itself if it is given up.
#[derive(Debug)]
pub(in crate::storage) struct Load<'a> {
    loads: &'a Loads,
    parent: Arc<str>,
}

/// Where `install` notes children; holds the lock.
#[derive(Debug)]
pub(in crate::storage) struct Noting<'a> {
    notes: MutexGuard<'a, HashMap<Arc<str>, Notes>>,
}

impl Loads {
    /// Registers a listing of `parent`. If one is under way, waits for its end and returns `None`:
    /// look whether the names are known now.
    pub(in crate::storage) fn begin(&self, parent: &Arc<str>) -> Option<Load<'_>> {
        let mut notes = self.notes.lock();
        if notes.contains_key(parent) {
            while notes.contains_key(parent) {
                self.ended.wait(&mut notes);
            }
            return None;
        }
        notes.insert(Arc::clone(parent), Notes::new());
        self.active.fetch_add(1, SeqCst);
        Some(Load {
            loads: self,
            parent: Arc::clone(parent),
        })
    }

    /// Where to note children that come or go; `None` if no listing is under way.
    pub(in crate::storage) fn noting(&self) -> Option<Noting<'_>> {
        (self.active.load(SeqCst) > 0).then(|| Noting {
            notes: self.notes.lock(),
        })
    }
}

impl Noting<'_> {
    /// A child of `parent` came or went.
    pub(in crate::storage) fn note(&mut self, parent: &str, name: &str, added: bool) {
        if let Some(notes) = self.notes.get_mut(parent) {
            notes.insert(name.into(), added);
        }
    }
}

impl Load<'_> {
    /// Applies the notes to `found` and gives it to `insert`, with no install in between.
    pub(in crate::storage) fn finish(&self, mut found: Listing, insert: impl FnOnce(Listing)) {
        let mut guard = self.loads.notes.lock();
        let notes = guard.get_mut(&self.parent).map(std::mem::take);
        for (name, added) in notes.unwrap_or_default() {
            found.change(&name, added);
        }
        insert(found);
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        let mut notes = self.loads.notes.lock();
        if notes.remove(&self.parent).is_some() {
            self.loads.active.fetch_sub(1, SeqCst);
        }
        self.loads.ended.notify_all();
    }
}
