//! The door to the Raft log: what `ensemble/raft/log_store.rs` adapts to openraft.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use crate::state::LogPosition;
use crate::storage::StorageError;

/// One entry; the payload's meaning is not known here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogEntry {
    /// Term and index.
    pub position: LogPosition,
    /// Opaque.
    pub payload: Bytes,
}

/// Called once when a write is durable, or has failed. Calls come in the order of the writes.
pub type Durable = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

/// The ends of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogEnds {
    /// Last purged entry.
    pub purged: Option<LogPosition>,
    /// Last entry, or the last purged one if there is none behind it.
    pub last: Option<LogPosition>,
}

impl LogEnds {
    /// The index behind the last entry, 0 in an empty log.
    pub(in crate::storage) fn next(&self) -> u64 {
        self.last.map_or(0, |last| last.index + 1)
    }

    /// Entries behind `last` go, all if `None`.
    pub(in crate::storage) fn truncate_after(&mut self, last: Option<LogPosition>) {
        let from = last.map_or(0, |last| last.index + 1);
        if self.last.is_some_and(|at| at.index >= from) {
            self.last = last.max(self.purged);
        }
    }

    /// Entries up to `upto` go, which may lie beyond the last one.
    pub(in crate::storage) fn purge(&mut self, upto: LogPosition) {
        self.purged = Some(upto);
        if self.last.is_none_or(|last| last.index <= upto.index) {
            self.last = Some(upto);
        }
    }

    /// Whether `entries` continue the log.
    ///
    /// # Errors
    /// The first one that does not.
    pub(in crate::storage) fn check(&self, entries: &[LogEntry]) -> Result<(), StorageError> {
        let mut expected = self.last.map(|last| last.index + 1);
        for entry in entries {
            let found = entry.position.index;
            let expected_now = expected.unwrap_or(found);
            if found != expected_now {
                return Err(StorageError::Gap {
                    expected: expected_now,
                    found,
                });
            }
            expected = Some(found + 1);
        }
        Ok(())
    }
}

/// A durable log, the vote and the committed position. consensus.md section 2.
///
/// One writer thread drains one queue of appends and votes: one sync per group, no timer.
pub trait Log: fmt::Debug + Send + Sync {
    /// Queues entries; they are readable when this returns, durable when `durable` is called.
    /// Indexes continue the log. Never blocks on the disk.
    fn append(&self, entries: Vec<LogEntry>, durable: Durable);

    /// The same, but the calling thread writes what is queued, unless another one does already:
    /// for whoever has nothing to do before it is durable. Often called back when this returns.
    fn append_here(&self, entries: Vec<LogEntry>, durable: Durable) {
        self.append(entries, durable);
    }

    /// Queues the vote behind all earlier appends; durable when `durable` is called.
    fn save_vote(&self, vote: Bytes, durable: Durable);

    /// The last vote saved, also one not durable yet.
    ///
    /// # Errors
    /// The storage failed: end the process.
    fn vote(&self) -> Result<Option<Bytes>, StorageError>;

    /// Remembers the committed position with the next write; not synced for its own sake.
    fn save_committed(&self, committed: Option<Bytes>);

    /// The committed position remembered at start.
    ///
    /// # Errors
    /// The storage failed: end the process.
    fn committed(&self) -> Result<Option<Bytes>, StorageError>;

    /// Removes all entries behind `last` (all, if `None`). Durable when it returns.
    ///
    /// # Errors
    /// The storage failed: end the process.
    fn truncate_after(&self, last: Option<LogPosition>) -> Result<(), StorageError>;

    /// Forgets all entries up to and including `upto`, which may lie beyond the last one.
    /// The point is durable before the entries go.
    ///
    /// # Errors
    /// The storage failed: end the process.
    fn purge(&self, upto: LogPosition) -> Result<(), StorageError>;

    /// The same without waiting for the disk: what is queued later comes behind it. `done` is called when
    /// it is durable, or has failed.
    fn purge_soon(&self, upto: LogPosition, done: Durable) {
        done(self.purge(upto));
    }

    /// Entries of `range`, in order, as many as fit in `bytes_max` of payload but at least one if
    /// there is any. Entries appended but not yet durable are included.
    ///
    /// # Errors
    /// The storage failed: end the process.
    fn entries(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<LogEntry>, StorageError>;

    /// Whether [`Log::entries`] from index `from` on reads no disk, as things are.
    fn remembers(&self, _from: u64) -> bool {
        true
    }

    /// First and last.
    fn ends(&self) -> LogEnds;

    /// Payload bytes appended since the process started: what decides when to take a checkpoint.
    fn appended_bytes(&self) -> u64;

    /// About how many durable bytes of log lie behind entry `index` (all, if `None`), whichever
    /// process appended them: what a start begins to count from. May wait for a write.
    fn bytes_behind(&self, index: Option<u64>) -> u64;

    /// A number that is larger at each start of this server; durable when it returns.
    /// At least `at_least` (the wall clock in milliseconds, so that a wiped disk does not repeat).
    ///
    /// # Errors
    /// The storage failed: end the process.
    fn next_incarnation(&self, at_least: u64) -> Result<u64, StorageError>;

    /// Whether this server has a new disk and has not caught up with its ensemble yet.
    ///
    /// # Errors
    /// The storage failed: end the process.
    fn is_joining(&self) -> Result<bool, StorageError>;

    /// Writes or takes away the mark that says so; durable when it returns.
    ///
    /// # Errors
    /// The storage failed: end the process.
    fn mark_joining(&self, joining: bool) -> Result<(), StorageError>;

    /// Ends the writer after what is queued is durable.
    fn close(&self);
}
