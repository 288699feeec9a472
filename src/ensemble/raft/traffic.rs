//! What a leader has proposed and is being asked: for four-letter words and metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

use crate::metrics;

/// Sizes of the batches that a leader has proposed, in bytes.
///
/// zk: Leader.proposalStats, of single proposals: ours travel in batches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProposalBytes {
    /// Of the last one.
    pub last: u64,
    /// Of the smallest one.
    pub min: u64,
    /// Of the largest one.
    pub max: u64,
}

/// See the head of the file.
#[derive(Debug)]
pub(in crate::ensemble) struct Traffic {
    /// There are others, whose acknowledgements are waited for.
    has_others: bool,
    /// With the term in which they were proposed.
    sizes: Mutex<Option<(u64, ProposalBytes)>>,
    /// Read indexes that are being confirmed.
    syncs: AtomicU64,
}

/// A read index is being confirmed, until this is dropped.
#[derive(Debug)]
pub(super) struct Syncing<'a>(&'a Traffic);

impl Drop for Syncing<'_> {
    fn drop(&mut self) {
        self.0.syncs.fetch_sub(1, Relaxed);
    }
}

impl Traffic {
    pub(super) fn new(has_others: bool) -> Self {
        Self {
            has_others,
            sizes: Mutex::new(None),
            syncs: AtomicU64::new(0),
        }
    }

    /// A batch of so many bytes, of clients or of chores, is to enter the log of `term`.
    pub(in crate::ensemble) fn proposed(&self, term: u64, bytes: usize) {
        let last = u64::try_from(bytes).unwrap_or(u64::MAX);
        let sizes = &mut *self.sizes.lock();
        let before = sizes.filter(|(of, _)| *of == term);
        let bytes = before.map_or(
            ProposalBytes {
                last,
                min: last,
                max: last,
            },
            |(_, bytes)| ProposalBytes {
                last,
                min: bytes.min.min(last),
                max: bytes.max.max(last),
            },
        );
        *sizes = Some((term, bytes));
    }

    /// A quorum has a batch, and it has been applied here, so long after it was proposed.
    pub(super) fn committed(&self, took: Duration) {
        if self.has_others {
            metrics::quorum_acknowledged(took);
        }
    }

    /// A read index is asked for.
    pub(super) fn sync(&self) -> Syncing<'_> {
        self.syncs.fetch_add(1, Relaxed);
        Syncing(self)
    }

    /// Sizes of what was proposed in `term` since [`Self::reset`].
    pub(in crate::ensemble) fn proposal_bytes(&self, term: u64) -> Option<ProposalBytes> {
        let sizes = *self.sizes.lock();
        sizes.filter(|(of, _)| *of == term).map(|(_, bytes)| bytes)
    }

    /// Read indexes that are being confirmed.
    pub(in crate::ensemble) fn syncs(&self) -> u64 {
        self.syncs.load(Relaxed)
    }

    /// Counts from here on.
    pub(in crate::ensemble) fn reset(&self) {
        *self.sizes.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_one_term_since_the_last_reset() {
        let traffic = Traffic::new(true);
        assert_eq!(traffic.proposal_bytes(3), None);
        for bytes in [50, 20, 70, 60] {
            traffic.proposed(3, bytes);
        }
        let (last, min, max) = (60, 20, 70);
        assert_eq!(
            traffic.proposal_bytes(3),
            Some(ProposalBytes { last, min, max })
        );
        assert_eq!(traffic.proposal_bytes(4), None);
        traffic.proposed(4, 9);
        let (last, min, max) = (9, 9, 9);
        assert_eq!(
            traffic.proposal_bytes(4),
            Some(ProposalBytes { last, min, max })
        );
        traffic.reset();
        assert_eq!(traffic.proposal_bytes(4), None);
    }

    #[test]
    fn a_sync_counts_until_it_is_done_or_given_up() {
        let traffic = Traffic::new(true);
        let one = traffic.sync();
        let other = traffic.sync();
        assert_eq!(traffic.syncs(), 2);
        drop(one);
        drop(other);
        assert_eq!(traffic.syncs(), 0);
    }
}
