//! What a server with a new disk may do: not vote, and not count for any leader, before it is known
//! what it may have promised on the disk that it had before (consensus.md 4.6).
//!
//! A server whose disk was wiped has forgotten its votes and what it acknowledged. It would help to
//! elect a leader that lacks what was committed with its word; and its acknowledgements would let a
//! leader commit that was deposed with its vote. So a server with an empty log writes a mark beside it
//! before anything else. While the mark is there it does not vote, and takes entries only of leaders
//! whose term is as high as any that a majority of the others know: one of them was there whenever
//! this server's word counted. The mark goes when it has begun an ensemble, all of whose members are
//! new, or has applied all that its leader said was committed then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use crate::storage::{Log, StorageError};

/// What this server may do.
#[derive(Debug)]
pub(in crate::ensemble) struct Standing {
    log: Arc<dyn Log>,
    votes: AtomicBool,
    /// The lowest term of a leader that it may follow; none, before that is known.
    floor: AtomicU64,
}

impl Standing {
    /// Of the server with this log; marks it if it is new and not alone. Blocks on the disk.
    ///
    /// `has_tree`: something has been applied. What was begun already keeps the mark that it has: its
    /// vote and its first entry are promises like any others.
    ///
    /// # Errors
    /// The disk.
    pub(in crate::ensemble) fn open(
        log: Arc<dyn Log>,
        has_tree: bool,
        is_alone: bool,
    ) -> Result<Self, StorageError> {
        let is_new = !has_tree && log.ends().last.is_none() && log.vote()?.is_none();
        if is_new && !is_alone {
            log.mark_joining(true)?;
        }
        let votes = AtomicBool::new(!log.is_joining()?);
        Ok(Self {
            log,
            votes,
            floor: AtomicU64::new(u64::MAX),
        })
    }

    /// Whether it may vote, and stand for election.
    pub(in crate::ensemble) fn votes(&self) -> bool {
        self.votes.load(SeqCst)
    }

    /// Whether it may take entries of a leader of `term`, which counts them then.
    pub(in crate::ensemble) fn follows(&self, term: u64) -> bool {
        self.votes() || term >= self.floor.load(SeqCst)
    }

    /// A majority, this server not among it, knows of no later term than this one.
    pub(in crate::ensemble) fn admit(&self, term: u64) {
        self.floor.store(term, SeqCst);
    }

    /// From now on it may vote. Blocks on the disk.
    ///
    /// # Errors
    /// The disk.
    pub(in crate::ensemble) fn grant(&self) -> Result<(), StorageError> {
        // What has been applied may be on its way to the disk: without the mark it must be there. This
        // waits behind it in the log's queue, and numbers a start that nobody makes.
        self.log.next_incarnation(0)?;
        self.log.mark_joining(false)?;
        self.votes.store(true, SeqCst);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::LogPosition;
    use crate::storage::LogEntry;
    use crate::storage::memory::MemoryLog;

    const ALONE: bool = true;

    fn open(log: &MemoryLog, has_tree: bool, is_alone: bool) -> Standing {
        // As found after a crash, in which nothing was lost.
        let log = Arc::new(log.crash(usize::MAX));
        Standing::open(log, has_tree, is_alone).unwrap()
    }

    /// The terms from 0 to 9 of which it takes a leader's entries.
    fn followed(standing: &Standing) -> Vec<u64> {
        (0..10).filter(|term| standing.follows(*term)).collect()
    }

    #[test]
    fn a_new_disk_follows_nobody_before_it_knows_the_terms_and_no_older_leader_then() {
        let standing = open(&MemoryLog::new(), false, !ALONE);
        assert!(!standing.votes());
        assert_eq!(followed(&standing), []);
        standing.admit(7);
        assert_eq!(followed(&standing), [7, 8, 9]);
        assert!(!standing.votes(), "to follow is not to vote");
        standing.grant().unwrap();
        assert!(standing.votes());
        assert_eq!(followed(&standing).len(), 10);
    }

    #[test]
    fn the_mark_outlives_a_crash_until_it_is_taken_away() {
        let log = Arc::new(MemoryLog::new());
        drop(Standing::open(Arc::clone(&log) as Arc<dyn Log>, false, !ALONE).unwrap());
        let first = LogEntry {
            position: LogPosition { term: 1, index: 0 },
            payload: bytes::Bytes::from_static(&[0x80]),
        };
        log.append(vec![first], Box::new(drop));
        let again = Arc::new(log.crash(0));
        let standing = Standing::open(Arc::clone(&again) as Arc<dyn Log>, true, !ALONE).unwrap();
        assert!(!standing.votes(), "it has a log now, and is still joining");
        assert_eq!(followed(&standing), []);
        standing.grant().unwrap();
        assert!(open(&again, true, !ALONE).votes());
    }

    #[test]
    fn who_has_promised_something_keeps_its_vote_and_who_is_alone_has_one() {
        assert!(open(&MemoryLog::new(), false, ALONE).votes());
        assert!(
            open(&MemoryLog::new(), true, !ALONE).votes(),
            "it has a tree"
        );
        let voted = MemoryLog::new();
        voted.save_vote(bytes::Bytes::from_static(b"vote"), Box::new(drop));
        assert!(open(&voted, false, !ALONE).votes());
    }
}
