//! The Raft log in RocksDB, written by one thread.
//!
//! ```text
//!   append, save_vote ─▶ tail (readable) + queue ─▶ writer: one batch, one sync ─▶ callbacks
//!   truncate_after, purge, next_incarnation: the same queue, and wait
//!   entries: database up to the tail, then the tail
//! ```
//!
//! A crash at any moment leaves all that was acknowledged and possibly some writes behind it, in
//! order: a group is one record of RocksDB's write-ahead log, whole or not there.
//!
//! Entries are in the write-ahead log and in the memtable; purging drops them from the memtable
//! before it is flushed, so each is written to the disk once (DESIGN 3.1).
//!
//! # A damaged end
//!
//! RocksDB reads its write-ahead log so that a record cut short by the end of the file counts as
//! not written. A flipped bit in a length within the last 32 KiB, or a file cut off by hand, looks
//! the same and would silently take acknowledged writes away. [`HighWater`] says how far the
//! log must reach, and a log that does not is refused. Damage anywhere else has a wrong checksum
//! and is refused by RocksDB.

mod high_water;
mod tail;
mod writer;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock};
use rocksdb::{ColumnFamily, IteratorMode};

use self::high_water::HighWater;
use self::tail::Tail;
use self::writer::{Edit, Job, Queue};
use super::db::Database;
use super::encode;
use super::keys::{ENTRIES, LOG_META, meta};
use super::options::{self, Split};
use crate::state::LogPosition;
use crate::storage::stats::LogCounters;
use crate::storage::varint::Cursor;
use crate::storage::{Config, Durable, Log, LogEnds, LogEntry, StorageError, StorageStats};

/// See the file's own words.
pub(in crate::storage) struct RocksLog {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What the door and the writer share. Order of locks: state, queue.
struct Shared {
    db: Database,
    state: RwLock<State>,
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Set once; from then on everything fails.
    failed: OnceLock<rocksdb::Error>,
    counters: LogCounters,
    high_water: HighWater,
    force_sync: bool,
    fsync_warning: Duration,
    /// After so many bytes a purge is followed by a flush.
    flush_bytes: u64,
}

/// What readers see.
#[derive(Debug, Default)]
struct State {
    ends: LogEnds,
    tail: Tail,
    vote: Option<Bytes>,
    /// As it was at the start.
    committed: Option<Bytes>,
    incarnation: u64,
    /// Grows when entries go, so that a read in two parts notices.
    removals: u64,
}

#[derive(Clone, Copy)]
struct Families<'a> {
    entries: &'a ColumnFamily,
    meta: &'a ColumnFamily,
}

impl fmt::Debug for RocksLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksLog")
            .field("db", &self.shared.db)
            .finish_non_exhaustive()
    }
}

impl RocksLog {
    /// Reads the ends of the log in `db` and starts the writer.
    ///
    /// # Errors
    /// The log is corrupt or ends before what was acknowledged.
    pub(super) fn start(db: Database, config: &Config, split: Split) -> Result<Self, StorageError> {
        let high_water = HighWater::open(db.path(), db.raw().latest_sequence_number())?;
        let state = State::read(&db)?;
        let flush_bytes = config.log_bytes_before_flush.min(split.log_memtable as u64) / 2;
        let shared = Arc::new(Shared {
            db,
            state: RwLock::new(state),
            queue: Mutex::default(),
            wake: Condvar::new(),
            failed: OnceLock::new(),
            counters: LogCounters::default(),
            high_water,
            force_sync: config.force_sync,
            fsync_warning: Duration::from_millis(config.fsync_warning_ms),
            flush_bytes,
        });
        shared.families()?;
        let for_writer = Arc::clone(&shared);
        let writer = thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer::run(&for_writer))
            .map_err(|source| StorageError::Io {
                doing: "start the writer of",
                path: shared.db.path().to_owned(),
                source,
            })?;
        Ok(Self {
            shared,
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Fills in the log's figures.
    pub(in crate::storage) fn stats(&self, stats: StorageStats) -> StorageStats {
        let families = [ENTRIES, LOG_META];
        let log_memtable_bytes = self.shared.db.sum_of(&families, options::MEMTABLE_BYTES);
        StorageStats {
            log_memtable_bytes,
            ..stats
        }
        .with_log(&self.shared.counters)
    }

    /// Queues an edit behind all earlier ones. `state` is locked, so that what readers see has
    /// the order of the queue.
    fn queue(
        &self,
        edit: Edit,
        done: Durable,
        change: impl FnOnce(&mut State, u64) -> Result<(), StorageError>,
    ) {
        let mut state = self.shared.state.write();
        let mut queue = self.shared.queue.lock();
        let refused = if queue.closed {
            Err(StorageError::Closed {
                doing: "write the log",
            })
        } else {
            change(&mut state, queue.writes + 1)
        };
        match refused {
            Ok(()) => {
                queue.writes += 1;
                let write = queue.writes;
                queue.jobs.push_back(Job { write, edit, done });
                drop(queue);
                drop(state);
                self.shared.wake.notify_one();
            }
            Err(error) => {
                drop(queue);
                drop(state);
                done(Err(error));
            }
        }
    }

    /// Queues an edit and waits until it is durable.
    fn queue_and_wait(
        &self,
        edit: Edit,
        change: impl FnOnce(&mut State, u64) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let (tell, told) = mpsc::sync_channel(1);
        let done = Box::new(move |result| drop(tell.send(result)));
        self.queue(edit, done, change);
        told.recv().unwrap_or(Err(StorageError::Closed {
            doing: "write the log",
        }))
    }

    fn healthy(&self) -> Result<(), StorageError> {
        match self.shared.failed.get() {
            None => Ok(()),
            Some(source) => Err(self
                .shared
                .db
                .failed("use the log after a failure", source.clone())),
        }
    }

    /// One attempt at [`Log::entries`]; `None` if entries were removed meanwhile.
    fn read(
        &self,
        range: &Range<u64>,
        bytes_max: usize,
    ) -> Result<Option<Vec<LogEntry>>, StorageError> {
        let mut taken = Taken {
            entries: Vec::new(),
            room: bytes_max,
            next: range.start,
            full: false,
        };
        let mut removals = None;
        loop {
            let stored_to = {
                let state = self.shared.state.read();
                if *removals.get_or_insert(state.removals) != state.removals {
                    return Ok(None);
                }
                taken.next = taken
                    .next
                    .max(state.ends.purged.map_or(0, |at| at.index + 1));
                let end = state.ends.last.map_or(0, |at| at.index + 1).min(range.end);
                let stored_to = state.tail.first().unwrap_or(end).min(end);
                if taken.full || taken.next >= stored_to {
                    taken.take_tail(&state.tail, end);
                    return Ok(Some(taken.entries));
                }
                stored_to
            };
            // The tail may let go of more meanwhile: then the next round finds it stored.
            self.shared.read_stored(&mut taken, stored_to)?;
        }
    }
}

/// Entries of one read.
struct Taken {
    entries: Vec<LogEntry>,
    room: usize,
    /// Index of the next entry.
    next: u64,
    /// The next entry does not fit.
    full: bool,
}

impl Taken {
    /// Takes an entry if there is room, the first one in any case. False: the read is over.
    fn take(&mut self, entry: LogEntry) -> bool {
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

    fn take_tail(&mut self, tail: &Tail, end: u64) {
        for entry in tail.from(self.next) {
            if entry.position.index >= end || !self.take(entry.clone()) {
                break;
            }
        }
    }
}

impl Shared {
    fn families(&self) -> Result<Families<'_>, StorageError> {
        Ok(Families {
            entries: self.db.family(ENTRIES)?,
            meta: self.db.family(LOG_META)?,
        })
    }

    /// Reads entries from the database up to index `end`.
    fn read_stored(&self, taken: &mut Taken, end: u64) -> Result<(), StorageError> {
        let start = taken.next;
        let range = options::scan(start.to_be_bytes().to_vec(), end.to_be_bytes().to_vec());
        self.db.scan(ENTRIES, range, &mut |key, value| {
            Ok(taken.take(read_entry(&self.db, key, value)?))
        })?;
        if !taken.full
            && taken.next < end
            && self
                .state
                .read()
                .ends
                .purged
                .is_none_or(|at| at.index < start)
        {
            return Err(StorageError::Corrupt {
                what: "log",
                path: self.db.path().to_owned(),
                why: format!("entry {} of {start} to {end} is missing", taken.next),
            });
        }
        Ok(())
    }
}

impl State {
    fn read(db: &Database) -> Result<Self, StorageError> {
        let value = |key| db.value(LOG_META, key);
        let purged = value(meta::PURGED)?
            .map(|value| encode::read_position(&mut Cursor::new(&value)))
            .transpose()
            .map_err(|why| db.corrupt("purged position", why))?;
        let last = last_entry(db)?.map(|entry| entry.position);
        let incarnation = match value(meta::INCARNATION)? {
            None => 0,
            Some(value) => {
                let number = Cursor::new(&value)
                    .array("incarnation")
                    .map(u64::from_be_bytes);
                number.map_err(|why| db.corrupt("incarnation", why))?
            }
        };
        Ok(Self {
            ends: LogEnds {
                purged,
                last: last.max(purged),
            },
            tail: Tail::default(),
            vote: value(meta::VOTE)?.map(Bytes::from),
            committed: value(meta::COMMITTED)?.map(Bytes::from),
            incarnation,
            removals: 0,
        })
    }

    fn append(&mut self, write: u64, entries: Vec<LogEntry>) -> Result<(), StorageError> {
        let mut expected = self.ends.last.map(|last| last.index + 1);
        for entry in &entries {
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
        for entry in entries {
            self.ends.last = Some(entry.position);
            self.tail.push(write, entry);
        }
        Ok(())
    }
}

fn last_entry(db: &Database) -> Result<Option<LogEntry>, StorageError> {
    let mut newest = db.raw().iterator_cf(db.family(ENTRIES)?, IteratorMode::End);
    let Some(item) = newest.next() else {
        return Ok(None);
    };
    let (key, value) = item.map_err(|source| db.failed("read the last entry", source))?;
    read_entry(db, &key, &value).map(Some)
}

fn read_entry(db: &Database, key: &[u8], value: &[u8]) -> Result<LogEntry, StorageError> {
    let index = Cursor::new(key).array("index").map(u64::from_be_bytes);
    let index = index.map_err(|why| db.corrupt("log key", why))?;
    let mut cursor = Cursor::new(value);
    let term = cursor
        .u64("term")
        .map_err(|why| db.corrupt("log entry", why))?;
    let payload = Bytes::copy_from_slice(cursor.rest());
    Ok(LogEntry {
        position: LogPosition { term, index },
        payload,
    })
}

impl Log for RocksLog {
    fn append(&self, entries: Vec<LogEntry>, durable: Durable) {
        let bytes: usize = entries.iter().map(|entry| entry.payload.len()).sum();
        self.shared.counters.appended(bytes as u64);
        let edit = Edit::Append(entries.clone());
        self.queue(edit, durable, |state, write| state.append(write, entries));
    }

    fn save_vote(&self, vote: Bytes, durable: Durable) {
        self.queue(Edit::Vote(vote.clone()), durable, |state, _| {
            state.vote = Some(vote);
            Ok(())
        });
    }

    fn vote(&self) -> Result<Option<Bytes>, StorageError> {
        self.healthy()?;
        Ok(self.shared.state.read().vote.clone())
    }

    fn save_committed(&self, committed: Option<Bytes>) {
        self.shared.queue.lock().committed = Some(committed);
    }

    fn committed(&self) -> Result<Option<Bytes>, StorageError> {
        self.healthy()?;
        Ok(self.shared.state.read().committed.clone())
    }

    fn truncate_after(&self, last: Option<LogPosition>) -> Result<(), StorageError> {
        let from = last.map_or(0, |last| last.index + 1);
        self.queue_and_wait(Edit::TruncateFrom(from), |state, _| {
            state.tail.truncate_from(from);
            if state.ends.last.is_some_and(|at| at.index >= from) {
                state.ends.last = last.max(state.ends.purged);
            }
            state.removals += 1;
            Ok(())
        })
    }

    fn purge(&self, upto: LogPosition) -> Result<(), StorageError> {
        if self.shared.state.read().ends.purged >= Some(upto) {
            return self.healthy();
        }
        self.queue_and_wait(Edit::Purge(upto), |state, _| {
            state.tail.purge_to(upto.index);
            state.ends.purged = Some(upto);
            if state.ends.last.is_none_or(|last| last.index <= upto.index) {
                state.ends.last = Some(upto);
            }
            state.removals += 1;
            Ok(())
        })
    }

    fn entries(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<LogEntry>, StorageError> {
        loop {
            self.healthy()?;
            if let Some(entries) = self.read(&range, bytes_max)? {
                return Ok(entries);
            }
        }
    }

    fn ends(&self) -> LogEnds {
        self.shared.state.read().ends
    }

    fn appended_bytes(&self) -> u64 {
        self.shared.counters.appended_bytes()
    }

    fn next_incarnation(&self, at_least: u64) -> Result<u64, StorageError> {
        let stored = self.shared.state.read().incarnation;
        let number = stored.saturating_add(1).max(at_least);
        self.queue_and_wait(Edit::Incarnation(number), |state, _| {
            state.incarnation = number;
            Ok(())
        })?;
        Ok(number)
    }

    fn close(&self) {
        self.shared.queue.lock().closed = true;
        self.shared.wake.notify_one();
        if let Some(writer) = self.writer.lock().take() {
            // It cannot panic but in a callback; what it has written is durable either way.
            drop(writer.join());
        }
    }
}

impl Drop for RocksLog {
    fn drop(&mut self) {
        self.close();
    }
}
