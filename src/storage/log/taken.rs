//! What one read has got so far.

use super::LogEntry;
use super::tail::Tail;

/// Entries of one read.
pub(super) struct Taken {
    pub(super) entries: Vec<LogEntry>,
    pub(super) room: usize,
    /// Index of the next entry.
    pub(super) next: u64,
    /// The next entry does not fit.
    pub(super) full: bool,
}

impl Taken {
    /// Takes an entry if there is room, the first one in any case. False: the read is over.
    pub(super) fn take(&mut self, entry: LogEntry) -> bool {
        let bytes = entry.payload.len();
        self.full |= bytes > self.room && !self.entries.is_empty();
        if self.full {
            return false;
        }
        self.room = self.room.saturating_sub(bytes);
        self.next = entry.position.index + 1;
        self.entries.push(entry);
        true
    }

    pub(super) fn take_tail(&mut self, tail: &Tail, end: u64) {
        for entry in tail.from(self.next) {
            if entry.position.index >= end || !self.take(entry.clone()) {
                break;
            }
        }
    }
}
