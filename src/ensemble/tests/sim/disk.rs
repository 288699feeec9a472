//! The disk of a simulated server: what is not synced is lost, and some disks lie.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::state::LogPosition;
use crate::storage::memory::{MemoryLog, MemorySnapshots, MemoryTree};
use crate::storage::{Durable, Log, LogEnds, LogEntry, StorageError};

/// What a planted defect leaves out. The checks must find each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Defect {
    /// A vote is said to be durable, and lost in a crash.
    VoteNotSaved,
    /// Entries are said to be durable at once.
    SyncLeftOut,
    /// Each start gets the number of the one before: the cursor takes what is new for what it knows.
    StartNotNumbered,
    /// The mark of a new disk is not written: it votes though it has forgotten what it promised.
    JoiningNotMarked,
    /// A snapshot is not of one moment: its znodes are newer than it says.
    SnapshotSmeared,
}

/// The stores of a server.
#[derive(Clone, Debug)]
pub(super) struct SimDisk {
    pub(super) log: Arc<SimLog>,
    pub(super) snapshots: Arc<MemorySnapshots>,
}

impl SimDisk {
    /// A new one; what is written waits to be released.
    pub(super) fn new(defect: Option<Defect>) -> Self {
        Self::of(SimLog::of(MemoryLog::new(), defect), MemoryTree::new())
    }

    fn of(log: SimLog, tree: MemoryTree) -> Self {
        let snapshots = MemorySnapshots::new(Arc::new(tree));
        if log.has(Defect::SnapshotSmeared) {
            snapshots.smear();
        }
        Self {
            log: Arc::new(log),
            snapshots: Arc::new(snapshots),
        }
    }

    /// What a start finds: the log goes on behind a tree that came from another server.
    pub(super) fn found(&self) -> Arc<MemoryTree> {
        let tree = self.snapshots.tree();
        tree.lead(&*self.log).unwrap();
        tree
    }

    /// What is found after a crash: `kept` writes of the log that were not acknowledged, and the tree
    /// as persisted or as of the last checkpoint.
    pub(super) fn crash(&self, kept: usize, persisted: bool) -> Self {
        let log = SimLog::of(self.log.inner.crash(kept), self.log.defect);
        Self::of(log, self.snapshots.tree().crash(persisted))
    }
}

/// A log whose writes wait to be released; and that may have a defect.
#[derive(Debug)]
pub(super) struct SimLog {
    inner: MemoryLog,
    defect: Option<Defect>,
    /// A vote that is nowhere else.
    vote: Mutex<Option<Bytes>>,
}

impl SimLog {
    fn of(inner: MemoryLog, defect: Option<Defect>) -> Self {
        inner.hold();
        Self {
            inner,
            defect,
            vote: Mutex::default(),
        }
    }

    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    /// Makes the first so many writes that wait durable.
    pub(super) fn release(&self, count: usize) {
        self.inner.release(count);
    }

    /// How many writes wait.
    pub(super) fn pending(&self) -> usize {
        self.inner.pending()
    }
}

impl Log for SimLog {
    fn append(&self, entries: Vec<LogEntry>, durable: Durable) {
        if self.has(Defect::SyncLeftOut) {
            self.inner.append(entries, Box::new(drop));
            durable(Ok(()));
        } else {
            self.inner.append(entries, durable);
        }
    }

    fn save_vote(&self, vote: Bytes, durable: Durable) {
        if self.has(Defect::VoteNotSaved) {
            *self.vote.lock() = Some(vote);
            durable(Ok(()));
        } else {
            self.inner.save_vote(vote, durable);
        }
    }

    fn vote(&self) -> Result<Option<Bytes>, StorageError> {
        let unsaved = self.vote.lock().clone();
        unsaved.map_or_else(|| self.inner.vote(), |vote| Ok(Some(vote)))
    }

    fn save_committed(&self, committed: Option<Bytes>) {
        self.inner.save_committed(committed);
    }

    fn committed(&self) -> Result<Option<Bytes>, StorageError> {
        self.inner.committed()
    }

    fn truncate_after(&self, last: Option<LogPosition>) -> Result<(), StorageError> {
        self.inner.truncate_after(last)
    }

    fn purge(&self, upto: LogPosition) -> Result<(), StorageError> {
        self.inner.purge(upto)
    }

    fn entries(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<LogEntry>, StorageError> {
        self.inner.entries(range, bytes_max)
    }

    fn ends(&self) -> LogEnds {
        self.inner.ends()
    }

    fn appended_bytes(&self) -> u64 {
        self.inner.appended_bytes()
    }

    fn bytes_behind(&self, index: Option<u64>) -> u64 {
        self.inner.bytes_behind(index)
    }

    fn next_incarnation(&self, at_least: u64) -> Result<u64, StorageError> {
        if self.has(Defect::StartNotNumbered) {
            return Ok(1);
        }
        self.inner.next_incarnation(at_least)
    }

    fn is_joining(&self) -> Result<bool, StorageError> {
        self.inner.is_joining()
    }

    fn mark_joining(&self, joining: bool) -> Result<(), StorageError> {
        if self.has(Defect::JoiningNotMarked) {
            return Ok(());
        }
        self.inner.mark_joining(joining)
    }

    fn close(&self) {
        self.inner.close();
    }
}
