//! Where the durable entries lie.
//!
//! A [`Stretch`] is a run of consecutive indexes in consecutive frames of one segment. Whoever
//! truncates cuts stretches short, and what is appended then begins a new one; so reading forward
//! within a stretch never meets a truncated entry before its end. Every 64 KiB of frames there is a
//! point to begin at: the index of a log of 64 MB has about a thousand.

use std::collections::VecDeque;
use std::sync::Arc;

use super::segment::{End, PAGE_BYTES, Segment};

/// Bytes of frames from one point to the next.
const POINT_BYTES: u64 = 64 << 10;

/// The frame that begins at `offset` begins with entry `index`, or with other edits and then it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Point {
    pub(super) index: u64,
    pub(super) offset: u64,
}

/// Entries with indices in a row, and where each lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stretch {
    pub(super) first: u64,
    pub(super) last: u64,
    /// The first one is that of `first`.
    pub(super) points: Vec<Point>,
}

/// A stretch and its segment.
#[derive(Debug)]
struct Run {
    segment: Arc<Segment>,
    stretch: Stretch,
    /// Cut short: nothing may be added.
    is_cut: bool,
}

/// All stretches, by index.
#[derive(Debug, Default)]
pub(super) struct Index {
    runs: VecDeque<Run>,
}

impl Index {
    /// The frame at `offset` of `segment` holds the entries `first ..= last`, which continue the
    /// log or replace what was truncated.
    pub(super) fn push(&mut self, segment: &Arc<Segment>, offset: u64, first: u64, last: u64) {
        let point = Point {
            index: first,
            offset,
        };
        if let Some(run) = self.runs.back_mut()
            && !run.is_cut
            && run.segment.sequence == segment.sequence
            && run.stretch.last + 1 == first
        {
            run.stretch.last = last;
            let newest = run.stretch.points.last();
            if newest.is_none_or(|newest| offset - newest.offset >= POINT_BYTES) {
                run.stretch.points.push(point);
            }
            return;
        }
        let stretch = Stretch {
            first,
            last,
            points: vec![point],
        };
        self.push_stretch(segment, stretch);
    }

    /// Adds what an opening says of the segment before it.
    pub(super) fn push_stretch(&mut self, segment: &Arc<Segment>, stretch: Stretch) {
        self.truncate_from(stretch.first);
        self.runs.push_back(Run {
            segment: Arc::clone(segment),
            stretch,
            is_cut: false,
        });
    }

    /// Forgets the entries from `index` on.
    pub(super) fn truncate_from(&mut self, index: u64) {
        while let Some(run) = self.runs.back_mut() {
            if run.stretch.first < index {
                if run.stretch.last >= index {
                    run.stretch.last = index - 1;
                    run.stretch.points.retain(|point| point.index < index);
                    run.is_cut = true;
                }
                return;
            }
            self.runs.pop_back();
        }
    }

    /// Forgets stretches that end at `index` or before.
    pub(super) fn purge_to(&mut self, index: u64) {
        while let Some(run) = self.runs.front()
            && run.stretch.last <= index
        {
            self.runs.pop_front();
        }
    }

    /// Where to begin to read entry `index`: the segment, the byte, and up to which index reading
    /// on from there is right.
    pub(super) fn find(&self, index: u64) -> Option<(Arc<Segment>, u64, u64)> {
        let at = self.runs.partition_point(|run| run.stretch.last < index);
        let run = self.runs.get(at)?;
        let points = &run.stretch.points;
        let behind = points.partition_point(|point| point.index <= index);
        let point = points.get(behind.checked_sub(1)?)?;
        Some((Arc::clone(&run.segment), point.offset, run.stretch.last))
    }

    /// The stretches in a segment.
    pub(super) fn of(&self, segment: &Segment) -> Vec<Stretch> {
        let here = |run: &&Run| run.segment.sequence == segment.sequence;
        let runs = self.runs.iter().filter(here);
        runs.map(|run| run.stretch.clone()).collect()
    }

    /// Index of the first entry.
    pub(super) fn first(&self) -> Option<u64> {
        self.runs.front().map(|run| run.stretch.first)
    }

    /// Sequence of the segment of the first entry.
    pub(super) fn first_segment(&self) -> Option<u64> {
        self.runs.front().map(|run| run.segment.sequence)
    }

    /// Bytes of the segments from where entry `from` lies, up to 64 KiB before it, to `end` of the
    /// newest one.
    pub(super) fn bytes_from(&self, from: u64, end: End) -> u64 {
        let from = from.max(self.first().unwrap_or(0));
        let Some((first, begins, _)) = self.find(from) else {
            return 0;
        };
        let end_of = |segment: &Segment| match segment.sequence == end.sequence {
            true => end.offset,
            false => segment.bytes,
        };
        let mut bytes = end_of(&first).saturating_sub(begins);
        let mut counted = first.sequence;
        for Run { segment, .. } in &self.runs {
            if segment.sequence > counted {
                counted = segment.sequence;
                bytes += end_of(segment).saturating_sub(PAGE_BYTES);
            }
        }
        bytes
    }

    /// The first index of `from ..= to` that lies nowhere.
    pub(super) fn first_missing(&self, from: u64, to: u64) -> Option<u64> {
        let mut next = from;
        for run in &self.runs {
            if next < run.stretch.first {
                break;
            }
            next = next.max(run.stretch.last + 1);
        }
        (next <= to).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn segment(sequence: u64) -> Arc<Segment> {
        Arc::new(Segment {
            file: File::open("/dev/null").unwrap(),
            path: "/dev/null".into(),
            sequence,
            salt: 1,
            bytes: 0,
        })
    }

    fn found(index: &Index, entry: u64) -> Option<(u64, u64, u64)> {
        let (segment, offset, last) = index.find(entry)?;
        Some((segment.sequence, offset, last))
    }

    #[test]
    fn reading_begins_at_the_nearest_point() {
        let mut index = Index::default();
        let one = segment(1);
        for frame in 0..100 {
            index.push(&one, frame * 10_000, frame * 2, frame * 2 + 1);
        }
        assert_eq!(found(&index, 0), Some((1, 0, 199)));
        assert_eq!(found(&index, 13), Some((1, 0, 199)));
        assert_eq!(found(&index, 14), Some((1, 70_000, 199)));
        assert_eq!(found(&index, 199), Some((1, 980_000, 199)));
        assert_eq!(found(&index, 200), None);
        assert_eq!(index.first_missing(0, 199), None);
        assert_eq!(index.first_missing(5, 200), Some(200));
    }

    #[test]
    fn a_truncation_begins_a_new_stretch() {
        let mut index = Index::default();
        let one = segment(1);
        index.push(&one, 0, 0, 9);
        index.truncate_from(5);
        index.push(&one, 100, 5, 7);
        assert_eq!(found(&index, 4), Some((1, 0, 4)));
        assert_eq!(found(&index, 5), Some((1, 100, 7)));
        index.truncate_from(0);
        assert_eq!(found(&index, 0), None);
        assert_eq!(index.first_segment(), None);
    }

    #[test]
    fn a_segment_goes_with_its_last_entry() {
        let mut index = Index::default();
        index.push(&segment(1), 0, 0, 9);
        index.push(&segment(2), 0, 10, 19);
        index.purge_to(8);
        assert_eq!(index.first_segment(), Some(1));
        index.purge_to(9);
        assert_eq!(index.first_segment(), Some(2));
        assert_eq!(index.first_missing(9, 19), Some(9));
        assert_eq!(index.first_missing(10, 19), None);
    }
}
