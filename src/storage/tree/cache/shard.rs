//! A part of the cache: its entries, and the hand that goes round them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use hashbrown::HashTable;

use super::super::marks::{Mark, Marks};
use super::{Cache, ENTRY_BYTES, Known, Names, ZNODE_BYTES, dispose};

/// So many used entries in a row are spared: some microseconds of looking for one that is not.
const SPARED_MAX: usize = 64;
/// So many entries leave together: as many as a processor can look at side by side.
const TAKEN_TOGETHER: usize = 16;

/// A part of the cache under one lock, with its own hand.
#[derive(Debug, Default)]
pub(super) struct Shard {
    /// Full hash and place. Two paths may have the same hash.
    index: HashTable<(u64, usize)>,
    pub(super) slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    hand: usize,
    /// Used entries in a row that the hand has left alone.
    spared: usize,
}

/// An entry.
#[derive(Debug)]
pub(super) struct Slot {
    hash: u64,
    pub(super) path: Arc<str>,
    /// `None`: a load is under way, which has pinned it.
    pub(super) node: Option<Known>,
    /// The marks of all children.
    pub(super) marks: Option<Box<Marks>>,
    /// The names of all children.
    pub(super) names: Option<Arc<Names>>,
    pub(super) weight: usize,
    pins: usize,
    /// Those of the pins that keep the names.
    name_pins: usize,
    used: AtomicBool,
}

impl Slot {
    /// An entry that nobody has used yet.
    pub(super) fn new(hash: u64, path: Arc<str>, node: Option<Known>) -> Self {
        let mut slot = Self {
            hash,
            path,
            node,
            marks: None,
            names: None,
            weight: 0,
            pins: 0,
            name_pins: 0,
            // Else the hand would find all used after a thousand creates, and go round at once.
            used: AtomicBool::new(false),
        };
        slot.weight = slot.weighed();
        slot
    }

    /// Somebody uses it.
    pub(super) fn touch(&self) {
        // Looks first, since a store would take the cache line from the other readers.
        if !self.used.load(Relaxed) {
            self.used.store(true, Relaxed);
        }
    }

    /// True if there is no child: also where there is no znode.
    pub(super) fn is_childless(&self) -> bool {
        match &self.node {
            Some(known) => known.as_ref().is_none_or(|node| node.children == 0),
            None => false,
        }
    }

    /// Replaces what is known of the znode. The names of children that came or went with it are told
    /// afterwards: with a first child marks begin here, since now there are none yet.
    pub(super) fn set(&mut self, node: Known) {
        let has_children = node.as_ref().is_some_and(|node| node.children > 0);
        // Also what filters cannot forget begins anew.
        if has_children
            && self.is_childless()
            && self.marks.as_ref().is_none_or(|marks| marks.has_filters())
        {
            self.marks = Some(Box::default());
        }
        // Known to be gone: the next round of the hand may take it.
        self.used = AtomicBool::new(node.is_some());
        if node.is_none() {
            self.marks = None;
            self.names = None;
        }
        self.node = Some(node);
        self.keep_names();
    }

    pub(super) fn pin(&mut self, names: bool) {
        self.pins += 1;
        self.name_pins += usize::from(names);
        self.touch();
        self.keep_names();
    }

    pub(super) fn unpin(&mut self, names: bool) {
        self.pins = self.pins.saturating_sub(1);
        self.name_pins = self.name_pins.saturating_sub(usize::from(names));
        if self.name_pins == 0 && self.is_childless() {
            self.names = None;
        }
    }

    /// While names are pinned they begin where there are none, and are kept from then on. A childless
    /// entry may be one that a txn is about to give children: it is told all of their names. Or one
    /// whose last children have just gone: that it is told their names again does not matter.
    fn keep_names(&mut self) {
        if self.name_pins > 0 && self.names.is_none() && self.is_childless() {
            self.names = Some(Arc::default());
        }
    }

    /// A child came or went. The znode is known to be as the txn leaves it, if it is known.
    pub(super) fn note_name(&mut self, name: &str, mark: Mark, added: bool, bytes_max: usize) {
        if let Some(marks) = &mut self.marks {
            if added {
                marks.add(mark, bytes_max / 32);
            } else {
                marks.remove(mark);
            }
            if marks.bytes() > bytes_max / 4 || marks.is_stale() {
                self.marks = None;
            }
        }
        if let Some(names) = &self.names {
            names.0.write().change(name, added);
        }
    }

    fn weighed(&self) -> usize {
        let node = self.node.as_ref().and_then(|known| known.as_ref());
        let node = node.map_or(0, |node| ZNODE_BYTES + node.data_bytes());
        let marks = self.marks.as_ref().map_or(0, |marks| marks.bytes());
        let names = self.names.as_ref();
        let names = names.map_or(0, |names| names.0.read().weight());
        ENTRY_BYTES + self.path.len() + node + marks + names
    }

    /// True if it is not kept for its own sake. Marks have a bound of their own, and are worth it.
    fn is_large(&self, cache: &Cache) -> bool {
        let marks = self.marks.as_ref().map_or(0, |marks| marks.bytes());
        self.weight.saturating_sub(marks) > cache.large()
    }

    /// How many there are to the path, the znode and its data.
    fn references(&self) -> usize {
        let node = self.node.as_ref().and_then(|known| known.as_ref());
        let data = node.and_then(|node| node.data.as_ref());
        Arc::strong_count(&self.path)
            + node.map_or(0, Arc::strong_count)
            + data.map_or(0, Arc::strong_count)
    }
}

impl Shard {
    /// The entry of `path`.
    pub(super) fn slot(&self, hash: u64, path: &str) -> Option<&Slot> {
        self.slots.get(self.find(hash, path)?)?.as_ref()
    }

    /// The place of the entry of `path`.
    pub(super) fn find(&self, hash: u64, path: &str) -> Option<usize> {
        let is_it = |&(other, at): &(u64, usize)| {
            let slot = || self.slots.get(at)?.as_ref();
            other == hash && slot().is_some_and(|slot| *slot.path == *path)
        };
        self.index.find(hash, is_it).map(|&(_, at)| at)
    }

    /// Makes an entry; its path must have none.
    pub(super) fn insert(&mut self, cache: &Cache, slot: Slot) -> usize {
        let (hash, weight) = (slot.hash, slot.weight);
        let at = match self.free.pop() {
            Some(free) => free,
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        };
        if let Some(place) = self.slots.get_mut(at) {
            *place = Some(slot);
        }
        self.index
            .insert_unique(hash, (hash, at), |&(hash, _)| hash);
        cache.bytes.fetch_add(weight, Relaxed);
        cache.entries.fetch_add(1, Relaxed);
        at
    }

    /// Changes an entry and the sums that it is in.
    pub(super) fn change(&mut self, cache: &Cache, at: usize, change: impl FnOnce(&mut Slot)) {
        let Some(Some(slot)) = self.slots.get_mut(at) else {
            return;
        };
        let sum = |slot: &Slot| {
            if slot.pins > 0 {
                &cache.pinned_bytes
            } else {
                &cache.bytes
            }
        };
        let before = (sum(slot), slot.weight);
        change(slot);
        slot.weight = slot.weighed();
        // In this order, so that no sum is ever less than what is in it.
        sum(slot).fetch_add(slot.weight, Relaxed);
        before.0.fetch_sub(before.1, Relaxed);
    }

    /// Gives up what is too large to be kept for its own sake and pinned by nobody: first the names
    /// of the children, then the entry; and an entry that no load will fill any more.
    pub(super) fn let_go_if_large(&mut self, cache: &Cache, at: usize) {
        let Some(Some(slot)) = self.slots.get_mut(at) else {
            return;
        };
        if slot.names.is_some() && slot.name_pins == 0 && slot.is_large(cache) {
            let mut names = None;
            self.change(cache, at, |slot| names = slot.names.take());
            dispose(names);
        }
        let Some(Some(slot)) = self.slots.get(at) else {
            return;
        };
        if slot.pins == 0 && (slot.node.is_none() || slot.is_large(cache)) {
            cache.bytes.fetch_sub(slot.weight, Relaxed);
            cache.entries.fetch_sub(1, Relaxed);
            self.evict(&[at]);
        }
    }

    /// Turns the hand by an eighth of the round, or less if that makes room enough.
    pub(super) fn sweep(&mut self, cache: &Cache) {
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
                if slot.pins > 0 {
                    continue;
                }
                // What is known of children cost more than a look-up, and may not come back.
                let is_dear = slot.names.is_some() || slot.marks.is_some();
                let is_used =
                    std::mem::take(slot.used.get_mut()) && (self.spared < SPARED_MAX || is_dear);
                if is_used {
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

    /// Forgets all that is not pinned.
    #[cfg(test)]
    pub(super) fn evict_all(&mut self, cache: &Cache) {
        for at in 0..self.slots.len() {
            if let Some(Some(slot)) = self.slots.get(at)
                && slot.pins == 0
            {
                cache.bytes.fetch_sub(slot.weight, Relaxed);
                cache.entries.fetch_sub(1, Relaxed);
                self.evict(&[at]);
            }
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
            if let Some(Some(slot)) = self.slots.get(at)
                && let Ok(found) = self.index.find_entry(slot.hash, |&(_, other)| other == at)
            {
                found.remove();
            }
        }
        for &at in taken {
            if let Some(slot) = self.slots.get_mut(at).and_then(Option::take) {
                self.free.push(at);
                dispose(slot.names);
            }
        }
    }
}
