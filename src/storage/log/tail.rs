//! The end of the log in memory: all that is not durable yet, and what was appended lately.

use std::collections::VecDeque;

use crate::storage::LogEntry;

/// Entries of consecutive indexes up to the end of the log.
#[derive(Debug, Default)]
pub(super) struct Tail {
    entries: VecDeque<(u64, LogEntry)>,
    bytes: usize,
}

/// Durable entries are let go above this many bytes of payload.
const BYTES_MAX: usize = 4 << 20;
/// What an entry costs besides its payload.
const ENTRY_BYTES: usize = 96;

impl Tail {
    /// Adds an entry behind the last one; `write` numbers the write that makes it durable.
    pub(super) fn push(&mut self, write: u64, entry: LogEntry) {
        self.bytes += weight(&entry);
        self.entries.push_back((write, entry));
    }

    /// All writes up to `write` are durable.
    pub(super) fn durable(&mut self, write: u64) {
        while self.bytes > BYTES_MAX
            && let Some((needed, entry)) = self.entries.front()
            && *needed <= write
        {
            self.bytes -= weight(entry);
            self.entries.pop_front();
        }
    }

    /// Removes entries from `index` on.
    pub(super) fn truncate_from(&mut self, index: u64) {
        while let Some((_, entry)) = self.entries.back()
            && entry.position.index >= index
        {
            self.bytes -= weight(entry);
            self.entries.pop_back();
        }
    }

    /// Removes entries up to `index`.
    pub(super) fn purge_to(&mut self, index: u64) {
        while let Some((_, entry)) = self.entries.front()
            && entry.position.index <= index
        {
            self.bytes -= weight(entry);
            self.entries.pop_front();
        }
    }

    /// Index of the first entry here: those before it are in the segments. `None` if all are.
    pub(super) fn first(&self) -> Option<u64> {
        self.entries.front().map(|(_, entry)| entry.position.index)
    }

    /// What it holds, with what that costs.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The entries from `index` on.
    pub(super) fn from(&self, index: u64) -> impl Iterator<Item = &LogEntry> {
        let skip = index.saturating_sub(self.first().unwrap_or(index));
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        self.entries.iter().skip(skip).map(|(_, entry)| entry)
    }
}

fn weight(entry: &LogEntry) -> usize {
    entry.payload.len() + ENTRY_BYTES
}
