//! The cache of decoded znodes: bounded in bytes, in shards, by a clock.
//!
//! An entry says that a znode is so, or that there is none; a parent's entry may also hold the
//! names of all its children, or their marks, which say what names are free, or both. Marks begin
//! when a parent that is known to have no children gets its first. An entry that is used gets a second
//! round before the hand of the clock takes it; one that a txn makes takes a place that the hand has
//! just passed, and is not used yet. When many in a row have been used the hand takes one all the
//! same, unless it knows its children: it must not go a whole round at once. Weights are estimates
//! of real memory, overheads included.
//!
//! **Pins.** Whoever needs an entry pins it, and uses it before letting go: the hand passes it by,
//! and its bytes do not count against the room of the others. So what one needs never depends on
//! what stays here. Pinning makes the entry if there is none, in the same step, *unknown* at first:
//!
//! ```text
//!   pin ─▶ unknown ─┬─ fill: what Unwritten or the disk say ─▶ known ─▶ kept in step by install
//!                   └─ install came first ────────────────────┘      until the last unpin, at least
//! ```
//!
//! The disk is read after the entry was made, so whatever is installed meanwhile finds it and is
//! newer than what the disk says: an old value never replaces a new one. An entry larger than a
//! quarter of the cache is let go of with its last pin, its children's names first.
//!
//! **Steps.** A txn comes in steps, each under the lock of one shard: first `install` for each of its
//! znodes, then `install_name` for each that came or went. Readers outside the state lock come in
//! between. What they see then may be half a txn, but what they leave here must not be:
//!
//! - An entry that a txn is to change gets its last value later, whatever it was filled with.
//! - Names and marks begin only where there are no children before the txn, or behind it, or at some
//!   moment within a multi. In each case all names that the txn adds or takes away, told in
//!   order to an empty set, leave what there is behind it. A parent that gets its new count first is
//!   not taken for childless between a name and the count, when that name has been missed.
//! - That a znode does not exist is taken from its parent's entry only by who holds the state lock,
//!   or has looked into `Unwritten` after pinning: a txn that was not there any more is here as a
//!   whole, and one that is there was found.
//!
//! A pin *with names* also keeps the names of all children, once they are known: also when the last
//! child goes, or the znode itself, and others come.

mod shard;

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use hashbrown::DefaultHashBuilder;
use parking_lot::RwLock;
use tokio::runtime::Handle;

use super::keys::split;
use super::marks::Mark;
use crate::state::Znode;
use shard::{Shard, Slot};

/// What is known of one path: the znode, or that there is none.
pub(in crate::storage) type Known = Option<Arc<Znode>>;

/// The names of all children of one parent.
#[derive(Clone, Debug, Default)]
pub(in crate::storage) struct Listing {
    names: BTreeSet<Box<str>>,
    bytes: usize,
}

/// A listing that changes while it is looked at.
#[derive(Debug, Default)]
struct Names(RwLock<Listing>);

/// Decoded znodes, bounded in bytes, with what is pinned beside the bound.
#[derive(Debug)]
pub(in crate::storage) struct Cache {
    shards: Box<[RwLock<Shard>]>,
    hasher: DefaultHashBuilder,
    bytes_max: usize,
    /// Of what may be evicted.
    bytes: AtomicUsize,
    pinned_bytes: AtomicUsize,
    entries: AtomicUsize,
    hand: AtomicUsize,
}

/// Where a pinned entry is: it stays there.
#[derive(Clone, Copy, Debug)]
struct Place {
    shard: usize,
    slot: usize,
    /// The names of its children are pinned, too.
    names: bool,
}

/// Pinned entries; dropping this unpins them.
#[derive(Debug)]
pub(in crate::storage) struct Pinned {
    cache: Arc<Cache>,
    places: Vec<Place>,
}

/// Power of two. Enough that readers on all cores rarely meet.
const SHARDS: usize = 64;
/// Slot, index and malloc's own of an entry and its path.
const ENTRY_BYTES: usize = 168;
/// Counts and malloc's own of a znode and its data.
const ZNODE_BYTES: usize = size_of::<Znode>() + 64;
/// A name in a B-tree: pointer, share of empty slots, malloc's own.
const NAME_BYTES: usize = 48;
/// The length of a name in a reply.
pub(in crate::storage) const LENGTH_BYTES: usize = 4;
/// A shard is visited at most so often by one [`Cache::make_room`], an eighth of it at a time.
const ROUNDS_MAX: usize = 17;
/// Names whose memory takes long to give back: some other thread does it.
const NAMES_DROPPED_HERE: usize = 4096;

impl Cache {
    /// An empty cache that holds about `bytes_max` bytes beside what is pinned.
    pub(in crate::storage) fn new(bytes_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: DefaultHashBuilder::default(),
            bytes_max,
            bytes: AtomicUsize::new(0),
            pinned_bytes: AtomicUsize::new(0),
            entries: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
        }
    }

    /// What is known of `path`, from its own entry or from that of its parent.
    pub(in crate::storage) fn get(&self, path: &str) -> Option<Known> {
        let hash = self.hash(path);
        if let Some(slot) = self.shard(hash).read().slot(hash, path)
            && let Some(known) = &slot.node
        {
            slot.touch();
            return Some(known.clone());
        }
        self.is_absent_by_parent(path).then_some(None)
    }

    /// Calls `visit` with the name of every child of `path`, in byte order; false if they are not
    /// known. No lock of a shard is held meanwhile, so `visit` may look something up.
    pub(in crate::storage) fn each_name(&self, path: &str, visit: &mut dyn FnMut(&str)) -> bool {
        let Some(names) = self.names(path) else {
            return false;
        };
        if let Some(names) = names {
            for name in &names.0.read().names {
                visit(name);
            }
        }
        true
    }

    /// Bytes of the names of all children of `path`, each with its length, if they are known.
    pub(in crate::storage) fn names_bytes(&self, path: &str) -> Option<usize> {
        let names = self.names(path)?;
        Some(names.map_or(0, |names| names.0.read().bytes))
    }

    /// True if [`Cache::each_name`] would answer.
    pub(in crate::storage) fn lists(&self, path: &str) -> bool {
        self.names(path).is_some()
    }

    /// The names of all children of `path`, if they are known; `Some(None)`: there are none.
    fn names(&self, path: &str) -> Option<Option<Arc<Names>>> {
        let hash = self.hash(path);
        {
            let shard = self.shard(hash).read();
            if let Some(slot) = shard.slot(hash, path)
                && slot.node.is_some()
            {
                slot.touch();
                if slot.is_childless() {
                    return Some(None);
                }
                return slot.names.clone().map(Some);
            }
        }
        self.is_absent_by_parent(path).then_some(None)
    }

    /// True if the parent's entry shows that `path` does not exist.
    pub(in crate::storage) fn is_absent_by_parent(&self, path: &str) -> bool {
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
        match (&slot.names, &slot.marks) {
            (Some(names), _) => !names.0.read().names.contains(name),
            (None, Some(marks)) => !marks.may_hold(self.mark(name)),
            (None, None) => false,
        }
    }

    /// Takes in what a txn has made of `path`; before [`Self::install_name`] for any of its znodes.
    pub(in crate::storage) fn install(&self, path: &Arc<str>, node: &Known) {
        let hash = self.hash(path);
        let mut shard = self.shard(hash).write();
        if let Some(at) = shard.find(hash, path) {
            shard.change(self, at, |slot| slot.set(node.clone()));
            shard.let_go_if_large(self, at);
            return;
        }
        let Some(node) = node else {
            // Not worth an entry: rarely will somebody ask for it.
            return;
        };
        let slot = Slot::new(hash, Arc::clone(path), Some(Some(Arc::clone(node))));
        if slot.weight <= self.large() {
            shard.insert(self, slot);
        }
    }

    /// Keeps what is known of the children of a parent in step with one that came or went.
    pub(in crate::storage) fn install_name(&self, parent: &str, name: &str, added: bool) {
        let hash = self.hash(parent);
        let mut shard = self.shard(hash).write();
        let Some(at) = shard.find(hash, parent) else {
            return;
        };
        shard.change(self, at, |slot| {
            slot.note_name(name, self.mark(name), added, self.bytes_max);
        });
        shard.let_go_if_large(self, at);
    }

    /// Lets the clock run until the cache is within its bound. Takes no time if it is.
    pub(in crate::storage) fn make_room(&self) {
        // Two whole rounds: the first may only have taken away second chances.
        for _ in 0..SHARDS * ROUNDS_MAX {
            if self.bytes.load(Relaxed) <= self.bytes_max {
                return;
            }
            let next = self.hand.fetch_add(1, Relaxed) % SHARDS;
            if let Some(shard) = self.shards.get(next) {
                shard.write().sweep(self);
            }
        }
    }

    /// Forgets all that is not pinned.
    #[cfg(test)]
    pub(in crate::storage) fn evict_all(&self) {
        for shard in &self.shards {
            let mut shard = shard.write();
            shard.evict_all(self);
        }
    }

    /// Bytes held, by estimate, also those that are pinned.
    pub(in crate::storage) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed) + self.pinned_bytes.load(Relaxed)
    }

    /// Entries held.
    pub(in crate::storage) fn entries(&self) -> usize {
        self.entries.load(Relaxed)
    }

    /// What weighs more is not kept for its own sake.
    fn large(&self) -> usize {
        self.bytes_max / 4
    }

    /// Pins the entry of `path`, which it makes if there is none. Also what is known of it.
    fn pin(&self, path: &str, names: bool) -> (Place, Option<Known>) {
        let hash = self.hash(path);
        let shard_at = Self::shard_of(hash);
        let mut shard = self.shard(hash).write();
        let at = match shard.find(hash, path) {
            Some(at) => at,
            None => shard.insert(self, Slot::new(hash, Arc::from(path), None)),
        };
        let mut known = None;
        shard.change(self, at, |slot| {
            slot.pin(names);
            known.clone_from(&slot.node);
        });
        let place = Place {
            shard: shard_at,
            slot: at,
            names,
        };
        (place, known)
    }

    fn unpin(&self, place: Place) {
        let Some(shard) = self.shards.get(place.shard) else {
            return;
        };
        let mut shard = shard.write();
        shard.change(self, place.slot, |slot| slot.unpin(place.names));
        shard.let_go_if_large(self, place.slot);
    }

    /// Takes in what the disk says of a pinned entry, unless it is known by now. What is known.
    fn fill(&self, place: Place, node: Known) -> Known {
        let Some(shard) = self.shards.get(place.shard) else {
            return node;
        };
        let mut known = node;
        shard.write().change(self, place.slot, |slot| {
            match &slot.node {
                Some(newer) => known.clone_from(newer),
                None => slot.set(known.clone()),
            }
            slot.touch();
        });
        known
    }

    /// Takes in the names of all children of an entry that is pinned with its names, unless they
    /// are known by now.
    fn fill_names(&self, place: Place, listing: Listing) {
        let names = Arc::new(Names(RwLock::new(listing)));
        let Some(shard) = self.shards.get(place.shard) else {
            return;
        };
        let mut unused = Some(names);
        shard.write().change(self, place.slot, |slot| {
            if slot.names.is_none() && !slot.is_childless() {
                slot.names = unused.take();
            }
        });
        dispose(unused);
    }

    fn hash(&self, path: &str) -> u64 {
        self.hasher.hash_one(path)
    }

    fn mark(&self, name: &str) -> Mark {
        let [a, b, c, d, ..] = self.hash(name).to_le_bytes();
        Mark(u32::from_le_bytes([a, b, c, d]))
    }

    /// Bits from the middle: the index within the shard uses the lowest and the highest.
    fn shard_of(hash: u64) -> usize {
        usize::from(hash.to_le_bytes()[4]) % SHARDS
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the index is taken modulo the fixed length"
    )]
    fn shard(&self, hash: u64) -> &RwLock<Shard> {
        &self.shards[Self::shard_of(hash)]
    }
}

impl Pinned {
    /// Nothing pinned yet.
    pub(in crate::storage) fn new(cache: &Arc<Cache>) -> Self {
        Self {
            cache: Arc::clone(cache),
            places: Vec::new(),
        }
    }

    /// Pins the entry of `path`, and the names of its children if `names`. What is known of the
    /// path; if nothing is, [`Self::fill`] must follow.
    pub(in crate::storage) fn pin(&mut self, path: &str, names: bool) -> Option<Known> {
        let (place, known) = self.cache.pin(path, names);
        self.places.push(place);
        known
    }

    /// What the disk says of what was pinned last, looked up since. What is known of it now.
    pub(in crate::storage) fn fill(&self, node: Known) -> Known {
        match self.places.last() {
            Some(place) => self.cache.fill(*place, node),
            None => node,
        }
    }

    /// The names of all children of what was pinned last, with its names.
    pub(in crate::storage) fn fill_names(&self, listing: Listing) {
        if let Some(place) = self.places.last() {
            self.cache.fill_names(*place, listing);
        }
    }

    /// How many there are.
    pub(in crate::storage) fn len(&self) -> usize {
        self.places.len()
    }

    /// Unpins all but the first `len`.
    pub(in crate::storage) fn truncate(&mut self, len: usize) {
        for place in self.places.drain(len.min(self.places.len())..) {
            self.cache.unpin(place);
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.truncate(0);
        self.cache.make_room();
    }
}

impl Listing {
    /// Of names in byte order, whose bytes in a reply are `bytes`.
    pub(in crate::storage) fn of_sorted(names: Vec<Box<str>>, bytes: usize) -> Self {
        // A set that is made of all of them at once takes far less time than one that grows.
        Self {
            names: names.into_iter().collect(),
            bytes,
        }
    }

    /// True if that changed it.
    pub(in crate::storage) fn change(&mut self, name: &str, added: bool) -> bool {
        let bytes = LENGTH_BYTES + name.len();
        let is_changed = if added {
            self.names.insert(name.into())
        } else {
            self.names.remove(name)
        };
        match (is_changed, added) {
            (true, true) => self.bytes += bytes,
            (true, false) => self.bytes = self.bytes.saturating_sub(bytes),
            (false, _) => {}
        }
        is_changed
    }

    /// Of its names in a reply, each with its length.
    pub(in crate::storage) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Memory in bytes, by estimate.
    fn weight(&self) -> usize {
        weight_of_names(self.names.len(), self.bytes)
    }
}

/// Memory in bytes, by estimate, of so many names that have so many bytes in a reply.
pub(in crate::storage) fn weight_of_names(count: usize, bytes: usize) -> usize {
    bytes + count * (NAME_BYTES - LENGTH_BYTES)
}

/// Gives memory back that is not needed any more: if that takes long, on a thread that may block.
fn dispose(names: Option<Arc<Names>>) {
    let Some(names) = names else { return };
    let is_long = names.0.read().names.len() > NAMES_DROPPED_HERE;
    match Handle::try_current() {
        Ok(runtime) if is_long => drop(runtime.spawn_blocking(move || drop(names))),
        Ok(_) | Err(_) => drop(names),
    }
}

#[cfg(test)]
mod tests;
