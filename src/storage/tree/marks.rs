//! Marks of the names of all children of one parent: enough to say that a name is free.
//!
//! Every create asks whether its name is free, and nearly always it is. Asking the database that
//! costs more than all the rest of judging, and keeping all names costs as much memory as keeping
//! the children. So a parent's entry keeps a mark for each child, 32 bits of the name's hash. A
//! name whose mark is not there does not exist; one whose mark is there may exist. Marks are
//! counted, one for each child: when one of two children with the same mark goes, a mark remains.
//!
//! The table of marks grows up to some hundred thousand, since a table that grows is copied at once
//! and everybody waits. What comes then goes into Bloom filters, a fifth as large for each child,
//! which nothing can be taken out of: the mark of a child that goes stays in them, stale.
//!
//! Whoever holds marks must have been told of every child since the parent had none.

use fastbloom::BloomFilter;
use hashbrown::HashTable;

/// 32 bits of the hash of a child's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::storage) struct Mark(pub u32);

/// What names a parent's children may have, in a few bytes for each.
#[derive(Debug, Default)]
pub(in crate::storage) struct Marks {
    table: HashTable<Mark>,
    filters: Vec<Filter>,
    /// Children that went and whose marks were not in the table.
    stale: usize,
}

#[derive(Debug)]
struct Filter {
    bits: BloomFilter,
    /// Marks that it may still take.
    room: usize,
}

/// Below this many the table is not made smaller.
const KEPT: usize = 32;
/// With four hashes, one name in eighty that is free seems not to be.
const FILTER_BITS_PER_MARK: usize = 10;
const FILTER_HASHES: u32 = 4;

impl Marks {
    /// A child came. `part_bytes`: what the table may grow to, and the size of each filter.
    pub(in crate::storage) fn add(&mut self, mark: Mark, part_bytes: usize) {
        let is_full = self.table.len() == self.table.capacity();
        if !is_full || self.table.allocation_size() * 2 <= part_bytes {
            self.table.insert_unique(spread(&mark), mark, spread);
            return;
        }
        if self.filters.last().is_none_or(|filter| filter.room == 0) {
            self.filters.push(Filter::new(part_bytes));
        }
        if let Some(filter) = self.filters.last_mut() {
            filter.bits.insert_hash(spread(&mark));
            filter.room = filter.room.saturating_sub(1);
        }
    }

    /// A child went.
    pub(in crate::storage) fn remove(&mut self, mark: Mark) {
        match self.table.find_entry(spread(&mark), |held| *held == mark) {
            // If it was that of another child, the one that went is in a filter, where its mark
            // goes on speaking for both.
            Ok(found) => drop(found.remove()),
            Err(_) => self.stale += 1,
        }
        let held = self.table.len();
        if self.table.capacity() > KEPT.max(held * 8) {
            self.table.shrink_to(held * 2, spread);
        }
    }

    /// False: no child has a name with this mark.
    pub(in crate::storage) fn may_hold(&self, mark: Mark) -> bool {
        let hash = spread(&mark);
        self.table.find(hash, |held| *held == mark).is_some()
            || (self.filters.iter()).any(|filter| filter.bits.contains_hash(hash))
    }

    /// True if some marks are where they can never be taken out.
    pub(in crate::storage) fn has_filters(&self) -> bool {
        !self.filters.is_empty()
    }

    /// Memory in bytes.
    pub(in crate::storage) fn bytes(&self) -> usize {
        let filters: usize = self.filters.iter().map(Filter::bytes).sum();
        size_of::<Self>() + self.table.allocation_size() + filters
    }

    /// True if most marks in the filters are those of children that went.
    pub(in crate::storage) fn is_stale(&self) -> bool {
        let in_filters: usize = self.filters.iter().map(Filter::marks).sum();
        in_filters > 0 && self.stale * 2 > in_filters
    }
}

impl Filter {
    fn new(bytes: usize) -> Self {
        let bits =
            BloomFilter::with_num_bits(bytes.max(size_of::<u64>()) * 8).hashes(FILTER_HASHES);
        let room = bits.num_bits() / FILTER_BITS_PER_MARK;
        Self { bits, room }
    }

    fn marks(&self) -> usize {
        (self.bits.num_bits() / FILTER_BITS_PER_MARK).saturating_sub(self.room)
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.bits.num_bits() / 8
    }
}

/// The table looks at the highest bits too, which a mark has not.
fn spread(mark: &Mark) -> u64 {
    u64::from(mark.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than a table of the marks in these tests takes.
    const LARGE: usize = 1 << 20;
    /// Of a table of 896 marks.
    const SMALL: usize = 8 << 10;

    #[test]
    fn marks_are_counted() {
        let mut marks = Marks::default();
        assert!(!marks.may_hold(Mark(7)));
        marks.add(Mark(7), LARGE);
        marks.add(Mark(7), LARGE);
        marks.remove(Mark(7));
        assert!(marks.may_hold(Mark(7)) && !marks.may_hold(Mark(8)));
        marks.remove(Mark(7));
        marks.remove(Mark(7));
        assert!(!marks.may_hold(Mark(7)));
        assert!(!marks.is_stale());
    }

    #[test]
    fn memory_is_given_back() {
        let mut marks = Marks::default();
        (0..10_000).for_each(|mark| marks.add(Mark(mark), LARGE));
        assert!((0..10_000).all(|mark| marks.may_hold(Mark(mark))));
        assert!((50_000..250_000).contains(&marks.bytes()));
        (10..10_000).for_each(|mark| marks.remove(Mark(mark)));
        assert!((0..10).all(|mark| marks.may_hold(Mark(mark))));
        assert!(marks.bytes() < 1000, "{}", marks.bytes());
    }

    #[test]
    fn what_the_table_does_not_take_is_filtered() {
        let mut marks = Marks::default();
        (0..20_000).for_each(|mark| marks.add(Mark(mark), SMALL));
        assert!((2..4).contains(&marks.filters.len()));
        assert!(marks.table.len() < 1000 && marks.bytes() < 4 * SMALL);
        assert!((0..20_000).all(|mark| marks.may_hold(Mark(mark))));
        let wrong = (20_000..40_000).filter(|mark| marks.may_hold(Mark(*mark)));
        assert!((1..1500).contains(&wrong.count()));
    }

    #[test]
    fn a_filtered_mark_that_goes_never_hides_another() {
        let mut marks = Marks::default();
        (0..3000).for_each(|mark| marks.add(Mark(mark), SMALL));
        // The second of two with the same mark is filtered; the first to go is either.
        marks.add(Mark(5), SMALL);
        marks.remove(Mark(5));
        assert!(marks.may_hold(Mark(5)));
        assert!(!marks.is_stale());
        // Places in the table that come free are used again.
        let room = |marks: &Marks| marks.filters.last().map(|filter| filter.room);
        let before = room(&marks);
        marks.add(Mark(9999), SMALL);
        assert!(marks.may_hold(Mark(9999)) && room(&marks) == before);
        marks.remove(Mark(9999));
        assert!(!marks.may_hold(Mark(10_001)) || !marks.may_hold(Mark(10_002)));
        (0..3000).for_each(|mark| marks.remove(Mark(mark)));
        assert!(marks.is_stale());
    }
}
