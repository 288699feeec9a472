//! From a watcher to its paths: the half of the table by which a connection's end is cheap.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::keys::{PathKey, WatcherId, WatcherKey};
use super::slab::Slab;

/// All watchers that have registered since they came. 6 to 12 bytes for each of their paths.
#[derive(Debug)]
pub(super) struct Watchers {
    slab: Slab<Watcher>,
    index: HashMap<WatcherId, WatcherKey>,
    hasher: DefaultHashBuilder,
}

/// A watcher and the paths that it watches.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) id: WatcherId,
    pub(super) paths: HashTable<PathKey>,
    /// On how many of its paths it stands in the data table.
    pub(super) data: usize,
}

impl Watchers {
    pub(super) fn new() -> Self {
        Self {
            slab: Slab::new(),
            index: HashMap::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    pub(super) fn find(&self, id: WatcherId) -> Option<WatcherKey> {
        self.index.get(&id).copied()
    }

    /// The key of `id`, which is stored without paths if it was not there; `None`, if there are
    /// 2^32 watchers already.
    pub(super) fn find_or_insert(&mut self, id: WatcherId) -> Option<WatcherKey> {
        if let Some(key) = self.find(id) {
            return Some(key);
        }
        let watcher = Watcher {
            id,
            paths: HashTable::new(),
            data: 0,
        };
        let key = WatcherKey(self.slab.insert(watcher)?);
        self.index.insert(id, key);
        Some(key)
    }

    /// Forgets `id` and answers with what it was.
    pub(super) fn remove(&mut self, id: WatcherId) -> Option<(WatcherKey, Watcher)> {
        let key = self.index.remove(&id)?;
        let watcher = self.slab.remove(key.0)?;
        if self.index.len() < self.index.capacity() / 8 {
            self.index.shrink_to(self.index.len() * 2);
        }
        Some((key, watcher))
    }

    /// Puts `path` on the list of a watcher that does not have it yet.
    pub(super) fn link(&mut self, key: WatcherKey, path: PathKey) {
        let Self { slab, hasher, .. } = self;
        if let Some(watcher) = slab.get_mut(key.0) {
            let hash = hasher.hash_one(path);
            watcher
                .paths
                .insert_unique(hash, path, |path| hasher.hash_one(path));
        }
    }

    /// Takes `path` off the list of a watcher.
    pub(super) fn unlink(&mut self, key: WatcherKey, path: PathKey) {
        let Self { slab, hasher, .. } = self;
        let Some(watcher) = slab.get_mut(key.0) else {
            return;
        };
        let paths = &mut watcher.paths;
        if let Ok(found) = paths.find_entry(hasher.hash_one(path), |other| *other == path) {
            found.remove();
        }
        if paths.len() < paths.capacity() / 8 && paths.capacity() > 64 {
            paths.shrink_to(paths.len() * 2, |path| hasher.hash_one(path));
        }
    }

    pub(super) fn get_mut(&mut self, key: WatcherKey) -> Option<&mut Watcher> {
        self.slab.get_mut(key.0)
    }

    pub(super) fn get(&self, key: WatcherKey) -> Option<&Watcher> {
        self.slab.get(key.0)
    }

    /// All watchers, also those without a path, in no meaningful order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Watcher> {
        self.slab.iter()
    }
}
