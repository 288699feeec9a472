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
        self.log.mark_joining(false)?;
        self.votes.store(true, SeqCst);
        Ok(())
    }
}
