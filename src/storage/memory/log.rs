//! The Raft log in memory, with a disk that can be held up and lost.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::state::LogPosition;
use crate::storage::{Durable, Log, LogEnds, LogEntry, StorageError};

/// A log in memory. By default everything is durable at once; see [`MemoryLog::hold`].
#[derive(Default)]
pub struct MemoryLog {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// What readers see.
    visible: Contents,
    /// What would survive a crash.
    durable: Contents,
    /// What is in the first but not in the second yet.
    pending: VecDeque<(Edit, Durable)>,
    held: bool,
    closed: bool,
    committed_at_start: Option<Bytes>,
    appended_bytes: u64,
}

#[derive(Clone, Default)]
struct Contents {
    ends: LogEnds,
    entries: BTreeMap<u64, LogEntry>,
    vote: Option<Bytes>,
    committed: Option<Bytes>,
    incarnation: u64,
    joining: bool,
}

#[derive(Clone)]
enum Edit {
    Append(Vec<LogEntry>),
    Vote(Bytes),
    TruncateAfter(Option<LogPosition>),
    Purge(LogPosition),
    Incarnation(u64),
    Joining(bool),
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner.lock();
        f.debug_struct("MemoryLog")
            .field("ends", &inner.visible.ends)
            .field("pending", &inner.pending.len())
            .finish_non_exhaustive()
    }
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on appends and votes stay pending, their callbacks uncalled, until
    /// [`MemoryLog::release`]. What must be durable when it returns (truncation, purge,
    /// incarnation) makes everything before it durable too.
    pub fn hold(&self) {
        self.inner.lock().held = true;
    }

    /// Makes the first `count` pending writes durable and calls their callbacks, in order.
    pub fn release(&self, count: usize) {
        for _ in 0..count {
            let done = {
                let mut inner = self.inner.lock();
                let Some((edit, done)) = inner.pending.pop_front() else {
                    return;
                };
                inner.durable.apply(&edit);
                done
            };
            done(Ok(()));
        }
    }

    /// Makes everything durable and no longer holds anything back.
    pub fn release_all(&self) {
        self.inner.lock().held = false;
        self.release(usize::MAX);
    }

    /// Number of writes that are not durable.
    pub fn pending(&self) -> usize {
        self.inner.lock().pending.len()
    }

    /// The log that is found after a crash: all that is durable, and the first `kept` pending
    /// writes, which the disk had though it had not said so. This one is closed, and callbacks
    /// that were not called never will be.
    pub fn crash(&self, kept: usize) -> Self {
        let mut inner = self.inner.lock();
        inner.closed = true;
        let mut found = inner.durable.clone();
        for (edit, _) in inner.pending.drain(..).take(kept) {
            found.apply(&edit);
        }
        let committed_at_start = found.committed.clone();
        let survivor = Inner {
            visible: found.clone(),
            durable: found,
            committed_at_start,
            ..Inner::default()
        };
        Self {
            inner: Mutex::new(survivor),
        }
    }

    /// Makes an edit visible and queues it; durable at once unless held.
    fn edit(&self, edit: Edit, done: Durable) {
        let held = {
            let mut inner = self.inner.lock();
            let refused = inner.refusal(&edit);
            if let Some(error) = refused {
                drop(inner);
                done(Err(error));
                return;
            }
            if let Edit::Append(entries) = &edit {
                let bytes: usize = entries.iter().map(|entry| entry.payload.len()).sum();
                inner.appended_bytes += bytes as u64;
            }
            inner.visible.apply(&edit);
            inner.pending.push_back((edit, done));
            inner.held
        };
        if !held {
            self.release(usize::MAX);
        }
    }

    /// Makes an edit visible and durable, and all before it.
    fn edit_now(&self, edit: Edit) -> Result<(), StorageError> {
        if let Some(error) = self.inner.lock().refusal(&edit) {
            return Err(error);
        }
        self.edit(edit, Box::new(drop));
        self.release(usize::MAX);
        Ok(())
    }
}

impl Inner {
    fn refusal(&self, edit: &Edit) -> Option<StorageError> {
        if self.closed {
            return Some(StorageError::Closed {
                doing: "write the log",
            });
        }
        let Edit::Append(entries) = edit else {
            return None;
        };
        self.visible.ends.check(entries).err()
    }
}

impl Contents {
    fn apply(&mut self, edit: &Edit) {
        match edit {
            Edit::Append(entries) => {
                for entry in entries {
                    self.entries.insert(entry.position.index, entry.clone());
                    self.ends.last = Some(entry.position);
                }
            }
            Edit::Vote(vote) => self.vote = Some(vote.clone()),
            Edit::TruncateAfter(last) => {
                let from = last.map_or(0, |last| last.index + 1);
                self.entries.split_off(&from);
                self.ends.truncate_after(*last);
            }
            Edit::Purge(upto) => {
                self.entries = self.entries.split_off(&(upto.index + 1));
                self.ends.purge(*upto);
            }
            Edit::Incarnation(number) => self.incarnation = *number,
            Edit::Joining(joining) => self.joining = *joining,
        }
    }
}

impl Log for MemoryLog {
    fn append(&self, entries: Vec<LogEntry>, durable: Durable) {
        self.edit(Edit::Append(entries), durable);
    }

    fn save_vote(&self, vote: Bytes, durable: Durable) {
        self.edit(Edit::Vote(vote), durable);
    }

    fn vote(&self) -> Result<Option<Bytes>, StorageError> {
        Ok(self.inner.lock().visible.vote.clone())
    }

    fn save_committed(&self, committed: Option<Bytes>) {
        // Goes with the next write; being early is allowed, since nobody relies on it.
        let mut inner = self.inner.lock();
        inner.visible.committed.clone_from(&committed);
        if inner.pending.is_empty() {
            inner.durable.committed = committed;
        }
    }

    fn committed(&self) -> Result<Option<Bytes>, StorageError> {
        Ok(self.inner.lock().committed_at_start.clone())
    }

    fn truncate_after(&self, last: Option<LogPosition>) -> Result<(), StorageError> {
        self.edit_now(Edit::TruncateAfter(last))
    }

    fn purge(&self, upto: LogPosition) -> Result<(), StorageError> {
        if self.inner.lock().visible.ends.purged >= Some(upto) {
            return Ok(());
        }
        self.edit_now(Edit::Purge(upto))
    }

    fn entries(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<LogEntry>, StorageError> {
        let inner = self.inner.lock();
        let mut room = bytes_max;
        let mut taken = Vec::new();
        if range.is_empty() {
            return Ok(taken);
        }
        for entry in inner.visible.entries.range(range).map(|(_, entry)| entry) {
            if entry.payload.len() > room && !taken.is_empty() {
                break;
            }
            room = room.saturating_sub(entry.payload.len());
            taken.push(entry.clone());
        }
        Ok(taken)
    }

    fn ends(&self) -> LogEnds {
        self.inner.lock().visible.ends
    }

    fn appended_bytes(&self) -> u64 {
        self.inner.lock().appended_bytes
    }

    fn bytes_behind(&self, index: Option<u64>) -> u64 {
        let from = index.map_or(0, |index| index.saturating_add(1));
        let inner = self.inner.lock();
        let entries = inner.visible.entries.range(from..);
        entries.map(|(_, entry)| entry.payload.len() as u64).sum()
    }

    fn next_incarnation(&self, at_least: u64) -> Result<u64, StorageError> {
        let stored = self.inner.lock().visible.incarnation;
        let number = stored.saturating_add(1).max(at_least);
        self.edit_now(Edit::Incarnation(number))?;
        Ok(number)
    }

    fn is_joining(&self) -> Result<bool, StorageError> {
        Ok(self.inner.lock().visible.joining)
    }

    fn mark_joining(&self, joining: bool) -> Result<(), StorageError> {
        self.edit_now(Edit::Joining(joining))
    }

    fn close(&self) {
        self.release_all();
        self.inner.lock().closed = true;
    }
}
