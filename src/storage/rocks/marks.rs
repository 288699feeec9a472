//! Marks of the names of all children of one parent: enough to say that a name is free.
//!
//! Every create asks whether its name is free, and nearly always it is. Asking the database that
//! costs more than all the rest of judging, and keeping all names costs as much memory as keeping
//! the children. So a parent's entry keeps a mark for each child, 32 bits of the name's hash. A
//! name whose mark is not there does not exist; one whose mark is there may exist. Marks are
//! counted, one for each child: when one of two children with the same mark goes, a mark remains.
//!
//! Whoever holds marks must have been told of every child since the parent had none.

use hashbrown::HashTable;

/// 32 bits of the hash of a child's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark(pub u32);

/// See the file's own words.
#[derive(Debug, Default)]
pub(super) struct Marks {
    table: HashTable<Mark>,
}

/// Below this many the table is not made smaller.
const KEPT: usize = 32;

impl Marks {
    /// A child came.
    pub(super) fn add(&mut self, mark: Mark) {
        self.table.insert_unique(spread(&mark), mark, spread);
    }

    /// A child went.
    pub(super) fn remove(&mut self, mark: Mark) {
        if let Ok(found) = self.table.find_entry(spread(&mark), |held| *held == mark) {
            found.remove();
        }
        let held = self.table.len();
        if self.table.capacity() > KEPT.max(held * 8) {
            self.table.shrink_to(held * 2, spread);
        }
    }

    /// False: no child has a name with this mark.
    pub(super) fn may_hold(&self, mark: Mark) -> bool {
        self.table
            .find(spread(&mark), |held| *held == mark)
            .is_some()
    }

    /// Memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.table.allocation_size()
    }
}

/// The table looks at the highest bits too, which a mark has not.
fn spread(mark: &Mark) -> u64 {
    u64::from(mark.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_counted() {
        let mut marks = Marks::default();
        assert!(!marks.may_hold(Mark(7)));
        marks.add(Mark(7));
        marks.add(Mark(7));
        marks.remove(Mark(7));
        assert!(marks.may_hold(Mark(7)) && !marks.may_hold(Mark(8)));
        marks.remove(Mark(7));
        marks.remove(Mark(7));
        assert!(!marks.may_hold(Mark(7)));
    }

    #[test]
    fn memory_is_given_back() {
        let mut marks = Marks::default();
        (0..10_000).for_each(|mark| marks.add(Mark(mark)));
        assert!((0..10_000).all(|mark| marks.may_hold(Mark(mark))));
        assert!((50_000..250_000).contains(&marks.bytes()));
        (10..10_000).for_each(|mark| marks.remove(Mark(mark)));
        assert!((0..10).all(|mark| marks.may_hold(Mark(mark))));
        assert!(marks.bytes() < 1000, "{}", marks.bytes());
    }
}
