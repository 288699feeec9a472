//! The cache of decoded znodes: bounded in bytes, in shards, by a clock.
//!
//! An entry says that a znode is so, or that there is none; a parent's entry may also hold the
//! names of all its children, or their marks, which say what names are free. Marks begin with the
//! first child of a parent that is known to have none. An entry that is used gets a second round
//! before the hand of the clock takes it; one that a txn makes takes a place that the hand has just
//! passed, and is not used yet. When many in a row have been used the hand takes one all the same,
//! unless it knows its children: it must not go a whole round at once. Weights are estimates of real
//! memory, overheads included.
//!
//! What is read from the disk enters only if nothing was installed in the shard meanwhile: the
//! reader takes the shard's generation first, and [`Cache::offer`] compares it. So an old value
//! can never replace a newer one, even if the newer one has been evicted again.
//!
//! One parent whose names alone are larger than a quarter of the cache is exempt from eviction
//! until another one like it comes: it could never be listed otherwise.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use hashbrown::DefaultHashBuilder;
use parking_lot::{Mutex, RwLock};

use super::keys::split;
use super::marks::{Mark, Marks};
use crate::state::Znode;

/// What is known of one path: the znode, or that there is none.
pub(super) type Known = Option<Arc<Znode>>;

/// The names of all children of one parent.
#[derive(Debug, Default)]
struct Names {
    set: RwLock<BTreeSet<Box<str>>>,
}

/// What an entry knows of its znode's children, beyond their number.
#[derive(Debug, Default)]
enum Children {
    #[default]
    Unknown,
    /// The marks of all names.
    Marked(Box<Marks>),
    /// All names.
    Named(Arc<Names>),
}

/// See the file's own words.
#[derive(Debug)]
pub(super) struct Cache {
    shards: Box<[RwLock<Shard>]>,
    hasher: DefaultHashBuilder,
    bytes_max: usize,
    bytes: AtomicUsize,
    entries: AtomicUsize,
    hand: AtomicUsize,
    exempt: Mutex<Option<Arc<str>>>,
}

/// Power of two. Enough that readers on all cores rarely meet.
const SHARDS: usize = 64;
/// Slot, index and malloc's own of an entry and its path.
const ENTRY_BYTES: usize = 144;
/// Counts and malloc's own of a znode and its data.
const ZNODE_BYTES: usize = size_of::<Znode>() + 64;
/// A name in a B-tree: pointer, share of empty slots, malloc's own.
const NAME_BYTES: usize = 48;

impl Cache {
    /// An empty cache that holds about `bytes_max` bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: DefaultHashBuilder::default(),
            bytes_max,
            bytes: AtomicUsize::new(0),
            entries: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
            exempt: Mutex::new(None),
        }
    }

    /// What is known of `path`, from its own entry or from that of its parent.
    pub(super) fn get(&self, path: &str) -> Option<Known> {
        let hash = self.hash(path);
        if let Some(slot) = self.shard(hash).read().slot(hash, path) {
            slot.touch();
            return Some(slot.node.clone());
        }
        self.absent_by_parent(path).then_some(None)
    }

    /// Calls `visit` with the name of every child of `path`, in byte order; false if they are not
    /// known. No lock of the cache is held meanwhile, so `visit` may look something up.
    pub(super) fn each_name(&self, path: &str, visit: &mut dyn FnMut(&str)) -> bool {
        let hash = self.hash(path);
        let names = {
            let shard = self.shard(hash).read();
            let Some(slot) = shard.slot(hash, path) else {
                drop(shard);
                return self.absent_by_parent(path);
            };
            slot.touch();
            if slot.is_childless() {
                return true;
            }
            let Children::Named(names) = &slot.children else {
                return false;
            };
            Arc::clone(names)
        };
        for name in names.set.read().iter() {
            visit(name);
        }
        true
    }

    /// The generation of the shard of `path`: take it before reading the disk.
    pub(super) fn generation(&self, path: &str) -> u64 {
        self.shard(self.hash(path)).read().generation
    }

    /// Takes in what the disk said, unless something was installed in the shard since
    /// `generation`. False if so: ask again.
    pub(super) fn offer(&self, path: &Arc<str>, generation: u64, node: &Known) -> bool {
        let hash = self.hash(path);
        let mut shard = self.shard(hash).write();
        if shard.generation != generation {
            return false;
        }
        if shard.slot(hash, path).is_none() {
            self.changed(shard.put(hash, path, node.clone()));
            if let Some(slot) = shard.slot(hash, path) {
                // Somebody is about to use it.
                slot.touch();
            }
        }
        true
    }

    /// Takes in what a txn has made of `path`.
    pub(super) fn install(&self, path: &Arc<str>, node: &Known) {
        let hash = self.hash(path);
        let mut shard = self.shard(hash).write();
        shard.generation += 1;
        if node.is_none() && shard.slot(hash, path).is_none() {
            // Not worth an entry: rarely will somebody ask for it.
            return;
        }
        let change = shard.put(hash, path, node.clone());
        self.changed(change);
    }

    /// Keeps what is known of the children of a parent in step with one that came or went.
    pub(super) fn install_name(&self, parent: &str, name: &str, added: bool) {
        let hash = self.hash(parent);
        let mut shard = self.shard(hash).write();
        shard.generation += 1;
        let Some(slot) = shard.slot_mut(hash, parent) else {
            return;
        };
        let bytes_before = slot.weight;
        if added && slot.is_childless() {
            match &slot.children {
                Children::Named(_) => {}
                Children::Marked(marks) if !marks.has_filters() => {}
                // Also what filters cannot forget begins anew.
                Children::Marked(_) | Children::Unknown => {
                    slot.children = Children::Marked(Box::default());
                }
            }
        }
        match &mut slot.children {
            Children::Unknown => return,
            Children::Marked(marks) => {
                let mark = self.mark(name);
                if added {
                    marks.add(mark, self.bytes_max / 32);
                } else {
                    marks.remove(mark);
                }
                let bytes = marks.bytes();
                let is_given_up = bytes > self.bytes_max / 4 || marks.is_stale();
                slot.weight = slot.weight_alone();
                if is_given_up {
                    slot.children = Children::Unknown;
                } else {
                    slot.weight += bytes;
                }
            }
            Children::Named(names) => {
                let bytes = NAME_BYTES + name.len();
                match (names.change(name, added), added) {
                    (true, true) => slot.weight += bytes,
                    (true, false) => slot.weight = slot.weight.saturating_sub(bytes),
                    (false, _) => {}
                }
            }
        }
        self.changed(Change {
            bytes_before,
            bytes_after: slot.weight,
            entries: 0,
        });
    }

    /// True if [`Cache::each_name`] would answer.
    pub(super) fn lists(&self, path: &str) -> bool {
        let hash = self.hash(path);
        let shard = self.shard(hash).read();
        if let Some(slot) = shard.slot(hash, path) {
            return slot.is_childless() || matches!(slot.children, Children::Named(_));
        }
        drop(shard);
        self.absent_by_parent(path)
    }

    /// Takes in the names of all children of `parent`.
    ///
    /// # Errors
    /// The names, if the parent has no entry.
    pub(super) fn insert_names(
        &self,
        parent: &Arc<str>,
        set: BTreeSet<Box<str>>,
    ) -> Result<(), BTreeSet<Box<str>>> {
        let bytes: usize = set.iter().map(|name| NAME_BYTES + name.len()).sum();
        let hash = self.hash(parent);
        let mut shard = self.shard(hash).write();
        let Some(slot) = shard.slot_mut(hash, parent) else {
            return Err(set);
        };
        if slot.node.is_none() {
            return Ok(());
        }
        if bytes > self.bytes_max / 4 {
            *self.exempt.lock() = Some(Arc::clone(parent));
        }
        slot.touch();
        slot.children = Children::Named(Arc::new(Names {
            set: RwLock::new(set),
        }));
        let before = slot.weight;
        slot.weight = slot.weight_alone() + bytes;
        let after = slot.weight;
        self.changed(Change {
            bytes_before: before,
            bytes_after: after,
            entries: 0,
        });
        Ok(())
    }

    /// Lets the clock run until the cache is within its bound. Takes no time if it is.
    pub(super) fn make_room(&self) {
        // Two whole rounds: the first may only have taken away second chances.
        for _ in 0..SHARDS * ROUNDS_MAX {
            if self.bytes.load(Relaxed) <= self.bytes_max {
                return;
            }
            let next = self.hand.fetch_add(1, Relaxed) % SHARDS;
            let exempt = self.exempt.lock().clone();
            if let Some(shard) = self.shards.get(next) {
                shard.write().sweep(self, exempt.as_deref());
            }
        }
    }

    /// Bytes held, by estimate.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Entries held.
    pub(super) fn entries(&self) -> usize {
        self.entries.load(Relaxed)
    }

    /// True if the parent's entry shows that `path` does not exist.
    fn absent_by_parent(&self, path: &str) -> bool {
        let Some((parent, name)) = split(path) else {
            return false;
        };
        let hash = self.hash(parent);
        let shard = self.shard(hash).read();
        let Some(slot) = shard.slot(hash, parent) else {
            return false;
        };
        if slot.is_childless() {
            return true;
        }
        match &slot.children {
            Children::Unknown => false,
            Children::Marked(marks) => !marks.may_hold(self.mark(name)),
            Children::Named(names) => !names.set.read().contains(name),
        }
    }

    fn changed(&self, change: Change) {
        self.bytes.fetch_add(change.bytes_after, Relaxed);
        self.bytes.fetch_sub(change.bytes_before, Relaxed);
        self.entries.fetch_add(change.entries, Relaxed);
    }

    fn hash(&self, path: &str) -> u64 {
        self.hasher.hash_one(path)
    }

    fn mark(&self, name: &str) -> Mark {
        let [a, b, c, d, ..] = self.hash(name).to_le_bytes();
        Mark(u32::from_le_bytes([a, b, c, d]))
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the index is taken modulo the fixed length"
    )]
    fn shard(&self, hash: u64) -> &RwLock<Shard> {
        // Bits from the middle: the map within the shard uses the lowest and the highest.
        let index = usize::from(hash.to_le_bytes()[4]);
        &self.shards[index % SHARDS]
    }
}

/// So many used entries in a row are spared: some microseconds of looking for one that is not.
const SPARED_MAX: usize = 64;
/// So many entries leave together: as many as a processor can look at side by side.
const TAKEN_TOGETHER: usize = 16;
/// A shard is visited at most so often by one [`Cache::make_room`], an eighth of it at a time.
const ROUNDS_MAX: usize = 17;

impl Names {
    /// True if that changed the set.
    fn change(&self, name: &str, added: bool) -> bool {
        let mut set = self.set.write();
        if added {
            set.insert(name.into())
        } else {
            set.remove(name)
        }
    }
}

/// What a change of a slot did to the sums.
struct Change {
    bytes_before: usize,
    bytes_after: usize,
    entries: usize,
}

#[derive(Debug, Default)]
struct Shard {
    /// Of the full hash: two paths with the same one cannot both be held, which loses nothing.
    index: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    hand: usize,
    /// Used entries in a row that the hand has left alone.
    spared: usize,
    generation: u64,
}

#[derive(Debug)]
struct Slot {
    hash: u64,
    path: Arc<str>,
    node: Known,
    children: Children,
    weight: usize,
    used: AtomicBool,
}

impl Slot {
    fn touch(&self) {
        // Looks first, since a store would take the cache line from the other readers.
        if !self.used.load(Relaxed) {
            self.used.store(true, Relaxed);
        }
    }

    /// How many there are to the path, the znode and its data.
    fn references(&self) -> usize {
        let node = self.node.as_ref();
        let data = node.and_then(|node| node.data.as_ref());
        Arc::strong_count(&self.path)
            + node.map_or(0, Arc::strong_count)
            + data.map_or(0, Arc::strong_count)
    }

    /// True if there is no child: also where there is no znode.
    fn is_childless(&self) -> bool {
        self.node.as_ref().is_none_or(|node| node.children == 0)
    }

    /// Without what is known of the children.
    fn weight_alone(&self) -> usize {
        let node = self
            .node
            .as_ref()
            .map_or(0, |node| ZNODE_BYTES + node.data_bytes());
        ENTRY_BYTES + self.path.len() + node
    }
}

impl Shard {
    fn slot(&self, hash: u64, path: &str) -> Option<&Slot> {
        let slot = self.slots.get(*self.index.get(&hash)? as usize)?.as_ref()?;
        (*slot.path == *path).then_some(slot)
    }

    fn slot_mut(&mut self, hash: u64, path: &str) -> Option<&mut Slot> {
        let slot = self
            .slots
            .get_mut(*self.index.get(&hash)? as usize)?
            .as_mut()?;
        (*slot.path == *path).then_some(slot)
    }

    /// Replaces the znode of an entry, or makes the entry.
    fn put(&mut self, hash: u64, path: &Arc<str>, node: Known) -> Change {
        if let Some(slot) = self.slot_mut(hash, path) {
            let before = slot.weight;
            let children_bytes = before - slot.weight_alone();
            // Known to be gone: the next round of the hand may take it.
            slot.used = AtomicBool::new(node.is_some());
            slot.node = node;
            slot.weight = slot.weight_alone();
            if slot.node.is_none() {
                slot.children = Children::Unknown;
            } else {
                slot.weight += children_bytes;
            }
            return Change {
                bytes_before: before,
                bytes_after: slot.weight,
                entries: 0,
            };
        }
        let mut slot = Slot {
            hash,
            path: Arc::clone(path),
            node,
            children: Children::Unknown,
            weight: 0,
            // Else the hand would find all used after a thousand creates, and go round at once.
            used: AtomicBool::new(false),
        };
        slot.weight = slot.weight_alone();
        let weight = slot.weight;
        if let Some(&taken) = self.index.get(&hash)
            && let Some(place) = self.slots.get_mut(taken as usize)
        {
            // Another path with the same hash.
            let before = place.replace(slot).map_or(0, |old| old.weight);
            return Change {
                bytes_before: before,
                bytes_after: weight,
                entries: 0,
            };
        }
        let place = self.place(slot);
        if let Some(place) = place {
            self.index.insert(hash, place);
        }
        let entries = usize::from(place.is_some());
        Change {
            bytes_before: 0,
            bytes_after: weight * entries,
            entries,
        }
    }

    /// Puts the slot into a free place; `None` in the impossible case that there is none.
    fn place(&mut self, slot: Slot) -> Option<u32> {
        if let Some(free) = self.free.pop() {
            *self.slots.get_mut(free as usize)? = Some(slot);
            return Some(free);
        }
        let end = u32::try_from(self.slots.len()).ok()?;
        self.slots.push(Some(slot));
        Some(end)
    }

    /// Turns the hand by an eighth of the round, or less if that makes room enough.
    fn sweep(&mut self, cache: &Cache, exempt: Option<&str>) {
        // No place twice.
        let mut left = (self.slots.len() / 8).max(8).min(self.slots.len());
        let mut taken = Vec::with_capacity(TAKEN_TOGETHER);
        while left > 0 {
            let excess = cache.bytes.load(Relaxed).saturating_sub(cache.bytes_max);
            let mut bytes = 0;
            taken.clear();
            while left > 0 && bytes < excess && taken.len() < TAKEN_TOGETHER {
                left -= 1;
                let at = self.hand % self.slots.len();
                self.hand = at + 1;
                let Some(Some(slot)) = self.slots.get_mut(at) else {
                    continue;
                };
                // What is known of children cost more than a look-up, and may not come back.
                let is_used = std::mem::take(slot.used.get_mut())
                    && (self.spared < SPARED_MAX || !matches!(slot.children, Children::Unknown));
                if is_used || exempt == Some(&*slot.path) {
                    self.spared += 1;
                    continue;
                }
                self.spared = 0;
                bytes += slot.weight;
                taken.push(at);
            }
            if bytes == 0 {
                return;
            }
            self.evict(&taken);
            cache.bytes.fetch_sub(bytes, Relaxed);
            cache.entries.fetch_sub(taken.len(), Relaxed);
        }
    }

    /// Empties the places. Nobody has used what is there for a while, so all of it comes from memory,
    /// each piece by the one before: the slot, its znode, the data. First all are only looked at,
    /// since a processor fetches for many at a time what no atomic step stands between.
    fn evict(&mut self, taken: &[usize]) {
        let slots = taken.iter().filter_map(|&at| self.slots.get(at)?.as_ref());
        let seen: usize = slots.map(Slot::references).sum();
        std::hint::black_box(seen);
        for &at in taken {
            if let Some(Some(slot)) = self.slots.get(at) {
                self.index.remove(&slot.hash);
            }
        }
        for &at in taken {
            if let Some(place) = self.slots.get_mut(at) {
                *place = None;
                self.free.extend(u32::try_from(at));
            }
        }
    }
}

/// The keys are hashes already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

#[cfg(test)]
mod tests;
