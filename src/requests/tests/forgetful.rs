//! A store whose memory forgets whatever is not pinned.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::state::{Entry, Missing, Peek, Pins, Restored, Store, StoreError, View, Warmed, Znode};
use crate::storage::memory::MemoryTree;

/// A tree in memory that says at every so many looks that only the disk knows, but for what is pinned.
#[derive(Debug)]
pub(super) struct Forgetful {
    tree: Arc<MemoryTree>,
    /// 0: never.
    every: u64,
    looks: AtomicU64,
    pinned: Arc<Mutex<Pinned>>,
}

/// How often each path is pinned, and how often with the names of its children.
type Pinned = HashMap<Arc<str>, (usize, usize)>;

/// Unpins.
struct Guard {
    pinned: Arc<Mutex<Pinned>>,
    parts: Vec<Missing>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut pinned = self.pinned.lock();
        for part in &self.parts {
            let (path, names) = split(part);
            let counts = pinned.get_mut(path).expect("pinned");
            counts.0 -= 1;
            counts.1 -= usize::from(names);
        }
    }
}

fn split(part: &Missing) -> (&Arc<str>, bool) {
    match part {
        Missing::Znode(path) => (path, false),
        Missing::Children(path) => (path, true),
    }
}

impl Forgetful {
    pub(super) fn new(tree: Arc<MemoryTree>, every: u64) -> Self {
        Self {
            tree,
            every,
            looks: AtomicU64::new(0),
            pinned: Arc::default(),
        }
    }

    fn forgets(&self) -> bool {
        self.every > 0 && self.looks.fetch_add(1, Ordering::Relaxed) % self.every == self.every - 1
    }

    fn knows(&self, path: &str, names: bool) -> bool {
        let pinned = self.pinned.lock();
        let (all, with_names) = pinned.get(path).copied().unwrap_or_default();
        (if names { with_names > 0 } else { all > 0 }) || !self.forgets()
    }

    fn hold(&self, parts: &[Missing]) -> Pins {
        let mut pinned = self.pinned.lock();
        for part in parts {
            let (path, names) = split(part);
            let counts = pinned.entry(Arc::clone(path)).or_default();
            counts.0 += 1;
            counts.1 += usize::from(names);
        }
        drop(pinned);
        Pins::of(Guard {
            pinned: Arc::clone(&self.pinned),
            parts: parts.to_vec(),
        })
    }

    /// True if nothing is pinned.
    pub(super) fn is_unpinned(&self) -> bool {
        self.pinned.lock().values().all(|counts| *counts == (0, 0))
    }
}

impl Store for Forgetful {
    fn peek(&self, path: &str) -> Peek<Option<Arc<Znode>>> {
        if !self.knows(path, false) {
            return Peek::NotInMemory;
        }
        self.tree.peek(path)
    }

    fn peek_children(&self, path: &str, visit: &mut dyn FnMut(&str)) -> Peek<()> {
        if !self.knows(path, true) {
            return Peek::NotInMemory;
        }
        self.tree.peek_children(path, visit)
    }

    fn peek_names_bytes(&self, path: &str) -> Peek<usize> {
        if !self.knows(path, true) {
            return Peek::NotInMemory;
        }
        self.tree.peek_names_bytes(path)
    }

    fn pin(&self, parts: &[Missing]) -> Option<Pins> {
        let is_known = |part| {
            let (path, names) = split(part);
            self.knows(path, names)
        };
        parts.iter().all(is_known).then(|| self.hold(parts))
    }

    fn warm(&self, missing: &[Missing], bytes_max: usize) -> Result<Warmed, StoreError> {
        let warmed = self.tree.warm(missing, bytes_max)?;
        let pins = self.hold(missing.get(..warmed.done).unwrap_or_default());
        Ok(Warmed { pins, ..warmed })
    }

    fn weigh(&self, part: &Missing, bytes_max: usize) -> Result<Option<usize>, StoreError> {
        self.tree.weigh(part, bytes_max)
    }

    fn load(&self, path: &str) -> Result<Option<Arc<Znode>>, StoreError> {
        self.tree.load(path)
    }

    fn entry(&self) -> Entry<'_> {
        self.tree.entry()
    }

    fn view(&self) -> Box<dyn View> {
        self.tree.view()
    }

    fn restore(&self) -> Result<Restored, StoreError> {
        self.tree.restore()
    }
}
