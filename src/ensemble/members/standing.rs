//! Whether this server may vote: not while its disk is new and others' are not (consensus.md 4.6).
//!
//! A server whose disk was wiped has forgotten what it promised. It would help to elect a leader that
//! lacks what was committed with its word. So a server with an empty log writes a mark beside it
//! before anything else, and takes it away when it has begun an ensemble, all of whose members are
//! new, or has applied all that its leader said was committed then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use crate::storage::{Log, StorageError};

/// Whether this server may vote.
#[derive(Debug)]
pub(in crate::ensemble) struct Standing {
    log: Arc<dyn Log>,
    votes: AtomicBool,
}

impl Standing {
    /// Of the server with this log; marks it if it is new and `may_begin` is false, as it is where there
    /// are others. Blocks on the disk.
    ///
    /// # Errors
    /// The disk.
    pub(in crate::ensemble) fn open(
        log: Arc<dyn Log>,
        is_new: bool,
        is_alone: bool,
    ) -> Result<Self, StorageError> {
        if is_new && !is_alone {
            log.mark_joining(true)?;
        }
        let votes = AtomicBool::new(!log.is_joining()?);
        Ok(Self { log, votes })
    }

    /// Whether it may.
    pub(in crate::ensemble) fn votes(&self) -> bool {
        self.votes.load(SeqCst)
    }

    /// From now on it may. Blocks on the disk.
    ///
    /// # Errors
    /// The disk.
    pub(in crate::ensemble) fn grant(&self) -> Result<(), StorageError> {
        self.log.mark_joining(false)?;
        self.votes.store(true, SeqCst);
        Ok(())
    }
}
