//! From a path to its watchers: the half of the table by which events are delivered.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::keys::{PathKey, WatcherKey};
use super::modes::Modes;
use super::slab::Slab;

/// All watched paths. 32 bytes each, the text, and 6 to 12 bytes in the index.
///
/// The index is many tables, chosen by the hash: growing one means reading the texts of all its
/// paths again, which must not hold up everybody for as long as millions of paths would take.
#[derive(Debug)]
pub(super) struct Paths {
    slab: Slab<WatchedPath>,
    index: [HashTable<PathKey>; SHARDS],
    /// The path that is no text: clients may watch it, and nothing ever happens to it. Not in the
    /// index, where it would be one with the text that it is shown as.
    null: Option<PathKey>,
    hasher: DefaultHashBuilder,
}

const SHARDS: usize = 64;

/// A path that somebody watches.
#[derive(Debug)]
pub(super) struct WatchedPath {
    pub(super) text: Box<str>,
    pub(super) entries: Entries,
}

/// How Java prints what is no text.
const NULL_TEXT: &str = "null";

impl WatchedPath {
    fn new(text: &str) -> Self {
        Self {
            text: text.into(),
            entries: Entries::None,
        }
    }
}

impl Paths {
    pub(super) fn new() -> Self {
        Self {
            slab: Slab::new(),
            index: [const { HashTable::new() }; SHARDS],
            null: None,
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// `path`: `None` is the null one.
    pub(super) fn find(&self, path: Option<&str>) -> Option<PathKey> {
        let Some(path) = path else {
            return self.null;
        };
        self.find_hashed(path, self.hasher.hash_one(path))
    }

    fn find_hashed(&self, path: &str, hash: u64) -> Option<PathKey> {
        let shard = self.index.get(shard(hash))?;
        let is_path = |key: &PathKey| self.get(*key).is_some_and(|found| *found.text == *path);
        shard.find(hash, is_path).copied()
    }

    /// The key of `path`, which is stored without watchers if it was not there; `None`, if there
    /// are 2^32 paths already.
    pub(super) fn find_or_insert(&mut self, path: Option<&str>) -> Option<PathKey> {
        let Some(path) = path else {
            if self.null.is_none() {
                let watched = WatchedPath::new(NULL_TEXT);
                self.null = self.slab.insert(watched).map(PathKey);
            }
            return self.null;
        };
        let hash = self.hasher.hash_one(path);
        if let Some(key) = self.find_hashed(path, hash) {
            return Some(key);
        }
        let Self {
            slab,
            index,
            hasher,
            ..
        } = self;
        let shard = index.get_mut(shard(hash))?;
        let key = PathKey(slab.insert(WatchedPath::new(path))?);
        shard.insert_unique(hash, key, |key| text_hash(slab, hasher, *key));
        Some(key)
    }

    pub(super) fn remove(&mut self, key: PathKey) {
        if self.null == Some(key) {
            self.null = None;
            self.slab.remove(key.0);
            return;
        }
        let Self {
            slab,
            index,
            hasher,
            ..
        } = self;
        let hash = text_hash(slab, hasher, key);
        let Some(shard) = index.get_mut(shard(hash)) else {
            return;
        };
        if let Ok(found) = shard.find_entry(hash, |other| *other == key) {
            found.remove();
        }
        slab.remove(key.0);
        if shard.len() < shard.capacity() / 8 {
            shard.shrink_to(shard.len() * 2, |key| text_hash(slab, hasher, *key));
        }
    }

    pub(super) fn get_mut(&mut self, key: PathKey) -> Option<&mut WatchedPath> {
        self.slab.get_mut(key.0)
    }

    pub(super) fn get(&self, key: PathKey) -> Option<&WatchedPath> {
        self.slab.get(key.0)
    }

    /// All watched paths, in no meaningful order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &WatchedPath> {
        self.slab.iter()
    }

    /// Those in `count` slots from `from` on; `None` behind the last.
    pub(super) fn part(
        &self,
        from: usize,
        count: usize,
    ) -> Option<impl Iterator<Item = &WatchedPath>> {
        self.slab.part(from, count)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let indexed: usize = self.index.iter().map(HashTable::len).sum();
        let indexed = indexed + usize::from(self.null.is_some());
        assert_eq!(
            self.slab.len(),
            indexed,
            "index and slab hold the same paths"
        );
        indexed
    }
}

/// Which table of the index: by bits of the hash that the tables themselves do not look at first.
fn shard(hash: u64) -> usize {
    let [_, _, _, _, _, byte, _, _] = hash.to_le_bytes();
    usize::from(byte) % SHARDS
}

fn text_hash(slab: &Slab<WatchedPath>, hasher: &DefaultHashBuilder, key: PathKey) -> u64 {
    slab.get(key.0)
        .map_or(0, |watched| hasher.hash_one(&*watched.text))
}

/// One watcher of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) watcher: WatcherKey,
    pub(super) modes: Modes,
}

/// The watchers of one path, sorted. Most paths have one, which then needs no allocation.
#[derive(Debug)]
pub(super) enum Entries {
    None,
    One(Entry),
    Many(Box<Many>),
}

/// More than one watcher. Never goes back to `One`: a path that had many will have them again.
#[derive(Debug, Default)]
pub(super) struct Many {
    list: Vec<Entry>,
    /// How many of them stand in the data table.
    data: u32,
    /// How many of them are recursive.
    recursive: u32,
}

impl Entries {
    /// Gives `watcher` these modes, and answers with those that it had.
    pub(super) fn set(&mut self, watcher: WatcherKey, modes: Modes) -> Modes {
        match self {
            Self::None => {
                if !modes.is_empty() {
                    *self = Self::One(Entry { watcher, modes });
                }
                Modes::NONE
            }
            Self::One(entry) if entry.watcher == watcher => {
                let before = entry.modes;
                entry.modes = modes;
                if modes.is_empty() {
                    *self = Self::None;
                }
                before
            }
            Self::One(entry) => {
                if !modes.is_empty() {
                    let mut many = Many::default();
                    many.set(entry.watcher, entry.modes);
                    many.set(watcher, modes);
                    *self = Self::Many(Box::new(many));
                }
                Modes::NONE
            }
            Self::Many(many) => {
                let before = many.set(watcher, modes);
                if many.list.is_empty() {
                    *self = Self::None;
                }
                before
            }
        }
    }

    /// Shows each entry to `judge`, which answers with the modes that it keeps.
    pub(super) fn revise(&mut self, judge: &mut dyn FnMut(Entry) -> Modes) {
        match self {
            Self::None => {}
            Self::One(entry) => {
                entry.modes = judge(*entry);
                if entry.modes.is_empty() {
                    *self = Self::None;
                }
            }
            Self::Many(many) => {
                many.revise(judge);
                if many.list.is_empty() {
                    *self = Self::None;
                }
            }
        }
    }

    /// The modes of `watcher`, none if it does not watch this path.
    pub(super) fn modes(&self, watcher: WatcherKey) -> Modes {
        let entries = self.as_slice();
        let at = entries.binary_search_by_key(&watcher, |entry| entry.watcher);
        at.ok()
            .and_then(|at| entries.get(at))
            .map_or(Modes::NONE, |entry| entry.modes)
    }

    /// All entries, in the order of their watchers' keys.
    pub(super) fn as_slice(&self) -> &[Entry] {
        match self {
            Self::None => &[],
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Many(many) => &many.list,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// Whether anybody stands in the data table. Does not scan.
    pub(super) fn any_data(&self) -> bool {
        match self {
            Self::None => false,
            Self::One(entry) => entry.modes.meets(Modes::DATA_TABLE),
            Self::Many(many) => many.data > 0,
        }
    }

    /// Whether anybody watches recursively. Does not scan.
    pub(super) fn any_recursive(&self) -> bool {
        match self {
            Self::None => false,
            Self::One(entry) => entry.modes.meets(Modes::RECURSIVE),
            Self::Many(many) => many.recursive > 0,
        }
    }
}

impl Many {
    fn set(&mut self, watcher: WatcherKey, modes: Modes) -> Modes {
        let at = match self
            .list
            .binary_search_by_key(&watcher, |entry| entry.watcher)
        {
            Ok(at) => at,
            Err(at) => {
                if !modes.is_empty() {
                    self.list.insert(at, Entry { watcher, modes });
                    self.count(Modes::NONE, modes);
                }
                return Modes::NONE;
            }
        };
        let Some(entry) = self.list.get_mut(at) else {
            return Modes::NONE;
        };
        let before = entry.modes;
        entry.modes = modes;
        if modes.is_empty() {
            self.list.remove(at);
            self.shrink();
        }
        self.count(before, modes);
        before
    }

    fn revise(&mut self, judge: &mut dyn FnMut(Entry) -> Modes) {
        let (mut data, mut recursive) = (0, 0);
        self.list.retain_mut(|entry| {
            entry.modes = judge(*entry);
            data += u32::from(entry.modes.meets(Modes::DATA_TABLE));
            recursive += u32::from(entry.modes.meets(Modes::RECURSIVE));
            !entry.modes.is_empty()
        });
        (self.data, self.recursive) = (data, recursive);
        self.shrink();
    }

    fn count(&mut self, before: Modes, after: Modes) {
        let change = |count: &mut u32, table: Modes| {
            *count += u32::from(after.meets(table));
            *count -= u32::from(before.meets(table));
        };
        change(&mut self.data, Modes::DATA_TABLE);
        change(&mut self.recursive, Modes::RECURSIVE);
    }

    fn shrink(&mut self) {
        if self.list.len() < self.list.capacity() / 4 {
            self.list.shrink_to(self.list.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Millions of watches must stay small: these sizes are the reason for the shapes above.
    #[test]
    fn a_watched_path_is_small() {
        assert_eq!(size_of::<Entry>(), 8);
        assert_eq!(size_of::<Entries>(), 16);
        assert_eq!(size_of::<WatchedPath>(), 32);
    }
}
