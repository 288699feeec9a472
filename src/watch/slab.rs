//! A store of values under small numbers, which are used again when their value has gone.

/// Values of `T`, each under a key that stays its own until it is removed.
///
/// Grows by an eighth at a time: millions of watches must not cost twice their size, and the
/// allocator moves blocks of that size without copying them.
#[derive(Debug)]
pub(super) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Option<u32>,
    used: usize,
}

#[derive(Debug)]
enum Slot<T> {
    Used(T),
    Free(Option<u32>),
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: None,
            used: 0,
        }
    }

    /// Stores `value` and answers with its key; `None`, if all 2^32 keys are in use.
    pub(super) fn insert(&mut self, value: T) -> Option<u32> {
        let reused = self
            .free
            .and_then(|key| Some((key, self.slots.get_mut(key as usize)?)));
        let key = if let Some((key, slot)) = reused {
            if let Slot::Free(next) = slot {
                self.free = *next;
            }
            *slot = Slot::Used(value);
            key
        } else {
            let key = u32::try_from(self.slots.len()).ok()?;
            if self.slots.len() == self.slots.capacity() {
                self.slots.reserve_exact(self.slots.len() / 8 + 16);
            }
            self.slots.push(Slot::Used(value));
            key
        };
        self.used += 1;
        Some(key)
    }

    /// Takes out the value under `key`, if there is one. The key may be used again.
    pub(super) fn remove(&mut self, key: u32) -> Option<T> {
        let slot = self.slots.get_mut(key as usize)?;
        if matches!(slot, Slot::Free(_)) {
            return None;
        }
        let Slot::Used(value) = std::mem::replace(slot, Slot::Free(self.free)) else {
            return None;
        };
        self.free = Some(key);
        self.used -= 1;
        if self.used == 0 {
            *self = Self::new();
        }
        Some(value)
    }

    pub(super) fn get_mut(&mut self, key: u32) -> Option<&mut T> {
        match self.slots.get_mut(key as usize)? {
            Slot::Used(value) => Some(value),
            Slot::Free(_) => None,
        }
    }

    pub(super) fn get(&self, key: u32) -> Option<&T> {
        match self.slots.get(key as usize)? {
            Slot::Used(value) => Some(value),
            Slot::Free(_) => None,
        }
    }

    /// All values, in the order of their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Used(value) => Some(value),
            Slot::Free(_) => None,
        })
    }

    /// The values in `count` slots from `from` on; `None` behind the last slot.
    pub(super) fn part(&self, from: usize, count: usize) -> Option<impl Iterator<Item = &T>> {
        let end = from.saturating_add(count).min(self.slots.len());
        let slots = self
            .slots
            .get(from..end)
            .filter(|slots| !slots.is_empty())?;
        Some(slots.iter().filter_map(|slot| match slot {
            Slot::Used(value) => Some(value),
            Slot::Free(_) => None,
        }))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_used_again() {
        let mut slab = Slab::new();
        let keys: Vec<u32> = ["a", "b", "c"]
            .into_iter()
            .filter_map(|v| slab.insert(v))
            .collect();
        assert_eq!(keys, [0, 1, 2]);
        assert_eq!(slab.remove(1), Some("b"));
        assert_eq!(slab.remove(1), None);
        assert_eq!(slab.remove(9), None);
        assert_eq!(slab.remove(0), Some("a"));
        assert_eq!(slab.insert("d"), Some(0));
        assert_eq!(slab.insert("e"), Some(1));
        assert_eq!(slab.insert("f"), Some(3));
        assert_eq!(
            slab.iter().copied().collect::<Vec<_>>(),
            ["d", "e", "c", "f"]
        );
        assert_eq!(
            (slab.get(3), slab.get(4), slab.len()),
            (Some(&"f"), None, 4)
        );
    }

    #[test]
    fn an_empty_slab_holds_no_memory() {
        let mut slab = Slab::new();
        for value in 0..1000 {
            slab.insert(value);
        }
        for key in 0..1000 {
            slab.remove(key);
        }
        assert_eq!(slab.slots.capacity(), 0);
        assert_eq!(slab.insert(7), Some(0));
    }
}
