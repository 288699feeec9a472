//! The Raft log in files of its own, written by one writer at a time.
//!
//! ```text
//!   append, save_vote ─▶ tail (readable) + queue ─▶ writer: one frame, one sync ─▶ callbacks
//!   truncate_after, purge, next_incarnation: the same queue, and wait
//!   entries: segments up to the tail, then the tail
//! ```
//!
//! Everything is a change in one stream: entries, votes, truncations, purges. So what is queued
//! later is never durable earlier, and one sync serves all that has gathered. The stream lies in
//! *segments*, files that are filled ahead of their use and used again after a purge
//! ([`segment`], [`spares`]); it consists of *frames*, one per group, each with a checksum
//! ([`frame`], [`edit`]).
//!
//! A crash at any moment leaves all that was acknowledged and possibly one frame behind it, whole
//! or not there ([`recovery`]). Why not RocksDB, in which the log was first: it syncs a file that
//! grows, and each such sync commits the file system's journal too (DESIGN 3.1 has the figures).

mod disk;
mod door;
mod edit;
mod failed;
mod frame;
mod high_water;
mod index;
mod joining;
mod recovery;
mod segment;
mod spares;
mod tail;
mod taken;
#[cfg(test)]
mod tests;
mod unsynced;
mod writer;

pub use self::door::{Durable, Log, LogEnds, LogEntry};

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock};
use rustix::fs::FlockOperation;

use self::disk::{Place, RealDisk};
use self::edit::Edit;
use self::failed::Failed;
use self::frame::Frames;
use self::index::Index;
use self::recovery::Recovered;
use self::tail::Tail;
use self::taken::Taken;
use self::writer::{Job, Jobs, Write, Writer};
use super::stats::LogCounters;
use super::{Config, StorageError, StorageStats};
use crate::state::LogPosition;
use crate::storage::files::io_error;

/// The Raft log in segments: the one that servers have.
pub(super) struct SegmentLog {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    place: Place,
    is_unsynced: bool,
}

/// What the door and the writer share. Order of locks: writer, state, queue.
struct Shared {
    dir: PathBuf,
    writer: Mutex<Writer>,
    state: RwLock<State>,
    queue: Mutex<Jobs>,
    wake: Condvar,
    /// Set once; from then on everything fails.
    failed: OnceLock<Failed>,
    counters: LogCounters,
    fsync_warning: Duration,
    /// Locked as long as the log is open.
    _lock: File,
}

/// What readers see.
#[derive(Debug)]
struct State {
    ends: LogEnds,
    tail: Tail,
    /// Of what is durable.
    index: Index,
    vote: Option<Bytes>,
    /// As it was at the start.
    committed: Option<Bytes>,
    incarnation: u64,
    /// Grows when entries go, so that a read in two parts notices.
    removals: u64,
}

impl fmt::Debug for SegmentLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentLog")
            .field("dir", &self.shared.dir)
            .finish_non_exhaustive()
    }
}

/// Whether a log has been begun in `dir`.
///
/// # Errors
/// It cannot be read.
pub(super) fn holds_log(dir: &Path) -> Result<bool, StorageError> {
    Ok(!segment::list(dir)?.segments.is_empty())
}

impl SegmentLog {
    /// Reads the log in `dir`, or begins one there, and starts its thread. `store`: the random id
    /// of the store that it belongs to, whose tree lies in `tree`.
    ///
    /// # Errors
    /// The log is in use, damaged, of another store, or ends before what was acknowledged.
    pub(super) fn open(
        dir: &Path,
        tree: &Path,
        store: u64,
        config: &Config,
    ) -> Result<Self, StorageError> {
        let place = Place {
            dir: dir.to_owned(),
            store,
            tree: tree.to_owned(),
            disk: Arc::new(RealDisk),
        };
        Self::open_at(&place, config)
    }

    fn open_at(place: &Place, config: &Config) -> Result<Self, StorageError> {
        let dir = &place.dir;
        let lock = lock(dir)?;
        let Recovered {
            contents,
            index,
            writer,
            is_unsynced,
        } = recovery::open(place, config)?;
        let state = State {
            ends: contents.ends,
            tail: Tail::default(),
            index,
            vote: contents.vote,
            committed: contents.committed,
            incarnation: contents.incarnation,
            removals: 0,
        };
        let shared = Arc::new(Shared {
            dir: dir.clone(),
            writer: Mutex::new(writer),
            state: RwLock::new(state),
            queue: Mutex::default(),
            wake: Condvar::new(),
            failed: OnceLock::new(),
            counters: LogCounters::default(),
            fsync_warning: Duration::from_millis(config.fsync_warning_ms),
            _lock: lock,
        });
        let for_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || for_thread.run())
            .map_err(|source| io_error("start the writer of", dir, source))?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
            place: place.clone(),
            is_unsynced,
        })
    }

    /// It was written without syncs, or is going to be: it may have lost what was acknowledged.
    pub(super) fn is_unsynced(&self) -> bool {
        self.is_unsynced
    }

    /// A start that syncs has found it in step with the tree: from now on it must hold what it holds.
    ///
    /// # Errors
    /// The file system said no.
    pub(super) fn note_synced(&self) -> Result<(), StorageError> {
        unsynced::forget(&self.place)
    }

    /// Fills in the log's figures.
    pub(super) fn stats(&self, stats: StorageStats) -> StorageStats {
        let log_tail_bytes = self.shared.state.read().tail.bytes();
        StorageStats {
            log_tail_bytes: log_tail_bytes as u64,
            ..stats
        }
        .with_log(&self.shared.counters)
    }

    /// Queues entries, which can be read at once. False: they were refused.
    fn queue_append(&self, entries: Vec<LogEntry>, done: Durable) -> bool {
        let bytes: usize = entries.iter().map(|entry| entry.payload.len()).sum();
        self.shared.counters.appended(bytes as u64);
        let write = Write::Append(entries.clone());
        self.queue(write, done, |state, number| state.append(number, entries))
    }

    /// Queues a change behind all earlier ones. `state` is locked, so that what readers see has
    /// the order of the queue. False: it was refused.
    fn queue(
        &self,
        write: Write,
        done: Durable,
        change: impl FnOnce(&mut State, u64) -> Result<(), StorageError>,
    ) -> bool {
        let mut state = self.shared.state.write();
        let mut queue = self.shared.queue.lock();
        let refused = if queue.closed {
            Err(StorageError::Closed {
                doing: "write the log",
            })
        } else {
            change(&mut state, queue.jobs_queued + 1)
        };
        match refused {
            Ok(()) => {
                queue.jobs_queued += 1;
                let number = queue.jobs_queued;
                queue.jobs.push_back(Job {
                    number,
                    write,
                    done,
                    committed: None,
                });
                true
            }
            Err(error) => {
                drop(queue);
                drop(state);
                done(Err(error));
                false
            }
        }
    }

    /// Queues a change and waits until it is durable.
    fn queue_and_wait(
        &self,
        write: Write,
        change: impl FnOnce(&mut State, u64) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let (tell, told) = mpsc::sync_channel(1);
        let done = Box::new(move |result| drop(tell.send(result)));
        if self.queue(write, done, change) {
            self.shared.wake.notify_one();
        }
        told.recv().unwrap_or(Err(StorageError::Closed {
            doing: "write the log",
        }))
    }

    fn healthy(&self) -> Result<(), StorageError> {
        match self.shared.failed.get() {
            None => Ok(()),
            Some(failed) => Err(failed.error()),
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
            if let Err(error) = self.shared.read_stored(&mut taken, stored_to) {
                // Entries may have gone, and their files be in use again.
                let state = self.shared.state.read();
                if removals != Some(state.removals) {
                    return Ok(None);
                }
                return Err(error);
            }
        }
    }
}

impl Shared {
    /// The log's thread: runs until the queue is closed and empty.
    fn run(&self) {
        loop {
            let mut queue = self.queue.lock();
            while queue.jobs.is_empty() && !queue.closed {
                self.wake.wait(&mut queue);
            }
            let closing = queue.jobs.is_empty();
            drop(queue);
            let mut writer = self.writer.lock();
            self.write_next(&mut writer);
            if closing {
                writer.close(self);
                return;
            }
        }
    }

    /// Does on this thread what the log's thread would be woken for. If the writer is held, its
    /// holder looks for more before it rests.
    fn write_here(&self) {
        let Some(mut writer) = self.writer.try_lock() else {
            return;
        };
        self.write_next(&mut writer);
        drop(writer);
        self.rest();
    }

    /// To be called by whoever has let go of the writer and is not the log's thread: what came
    /// meanwhile found it held, and nobody else will look.
    fn rest(&self) {
        if !self.queue.lock().jobs.is_empty() {
            self.wake.notify_one();
        }
    }

    /// Writes what has gathered, if anything has, and calls back. The writer is held until all
    /// are called, so that calls come in order.
    fn write_next(&self, writer: &mut Writer) {
        let (group, committed) = self.queue.lock().take_group();
        let result = match self.failed.get() {
            Some(failed) => Err(failed.error()),
            None => writer
                .write_group(self, &group, committed)
                .inspect_err(|error| {
                    drop(self.failed.set(Failed::of(error, &self.dir)));
                }),
        };
        let last = group.last().map(|job| job.number);
        if let (Ok(()), Some(last)) = (&result, last) {
            self.state.write().tail.durable(last);
        }
        for job in group {
            (job.done)(match self.failed.get() {
                None => Ok(()),
                Some(failed) => Err(failed.error()),
            });
        }
    }

    /// Reads entries from the segments up to index `end`; fewer if the read is full.
    fn read_stored(&self, taken: &mut Taken, end: u64) -> Result<(), StorageError> {
        while !taken.full && taken.next < end {
            let place = self.state.read().index.find(taken.next);
            let Some((segment, offset, last)) = place else {
                return Err(StorageError::Corrupt {
                    what: "log",
                    path: self.dir.clone(),
                    why: format!("entry {} is missing", taken.next),
                });
            };
            let mut frames = Frames::from(&segment, offset)?;
            let end = end.min(last + 1);
            while !taken.full && taken.next < end {
                let at = frames.offset();
                let frame = frames
                    .next()?
                    .ok_or_else(|| segment.corrupt(at, "damaged frame"))?;
                edit::read_all(&frame, |edit| {
                    if let Edit::Entry(entry) = edit
                        && entry.position.index == taken.next
                        && taken.next < end
                    {
                        taken.take(entry);
                    }
                })
                .map_err(|why| segment.corrupt(at, why))?;
            }
        }
        Ok(())
    }
}

impl State {
    fn purge(&mut self, upto: LogPosition) {
        self.tail.purge_to(upto.index);
        self.ends.purge(upto);
        self.removals += 1;
    }

    fn append(&mut self, number: u64, entries: Vec<LogEntry>) -> Result<(), StorageError> {
        self.ends.check(&entries)?;
        for entry in entries {
            self.ends.last = Some(entry.position);
            self.tail.push(number, entry);
        }
        Ok(())
    }
}

/// Takes the directory for this process.
fn lock(dir: &Path) -> Result<File, StorageError> {
    let path = dir.join("LOCK");
    let file = File::create(&path).map_err(|source| io_error("open", &path, source))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(source) => Err(StorageError::InUse {
            path: dir.to_owned(),
            source: Box::new(source),
        }),
    }
}

impl Log for SegmentLog {
    fn append(&self, entries: Vec<LogEntry>, durable: Durable) {
        if self.queue_append(entries, durable) {
            self.shared.wake.notify_one();
        }
    }

    fn append_here(&self, entries: Vec<LogEntry>, durable: Durable) {
        if self.queue_append(entries, durable) {
            self.shared.write_here();
        }
    }

    fn save_vote(&self, vote: Bytes, durable: Durable) {
        let write = Write::Vote(vote.clone());
        let queued = self.queue(write, durable, |state, _| {
            state.vote = Some(vote);
            Ok(())
        });
        if queued {
            self.shared.wake.notify_one();
        }
    }

    fn vote(&self) -> Result<Option<Bytes>, StorageError> {
        self.healthy()?;
        Ok(self.shared.state.read().vote.clone())
    }

    fn save_committed(&self, committed: Option<Bytes>) {
        self.shared.queue.lock().commit(committed);
    }

    fn committed(&self) -> Result<Option<Bytes>, StorageError> {
        self.healthy()?;
        Ok(self.shared.state.read().committed.clone())
    }

    fn truncate_after(&self, last: Option<LogPosition>) -> Result<(), StorageError> {
        let from = last.map_or(0, |last| last.index + 1);
        self.queue_and_wait(Write::TruncateAfter(last), |state, _| {
            state.tail.truncate_from(from);
            state.ends.truncate_after(last);
            state.removals += 1;
            Ok(())
        })
    }

    fn purge(&self, upto: LogPosition) -> Result<(), StorageError> {
        if self.shared.state.read().ends.purged >= Some(upto) {
            return self.healthy();
        }
        self.queue_and_wait(Write::Purge(upto), |state, _| {
            state.purge(upto);
            Ok(())
        })
    }

    fn purge_soon(&self, upto: LogPosition, done: Durable) {
        if self.shared.state.read().ends.purged >= Some(upto) {
            done(self.healthy());
            return;
        }
        let queued = self.queue(Write::Purge(upto), done, |state, _| {
            state.purge(upto);
            Ok(())
        });
        if queued {
            self.shared.wake.notify_one();
        }
    }

    fn entries(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<LogEntry>, StorageError> {
        loop {
            self.healthy()?;
            if let Some(entries) = self.read(&range, bytes_max)? {
                return Ok(entries);
            }
        }
    }

    fn remembers(&self, from: u64) -> bool {
        let state = self.shared.state.read();
        let last = state.ends.last.map(|at| at.index);
        last.is_none_or(|last| from > last) || state.tail.first().is_some_and(|first| first <= from)
    }

    fn ends(&self) -> LogEnds {
        self.shared.state.read().ends
    }

    fn appended_bytes(&self) -> u64 {
        self.shared.counters.appended_bytes()
    }

    fn bytes_behind(&self, index: Option<u64>) -> u64 {
        let end = self.shared.writer.lock().end();
        self.shared.rest();
        let state = self.shared.state.read();
        let behind = index.max(state.ends.purged.map(|at| at.index));
        let from = behind.map_or(0, |index| index.saturating_add(1));
        state.index.bytes_from(from, end)
    }

    fn next_incarnation(&self, at_least: u64) -> Result<u64, StorageError> {
        let stored = self.shared.state.read().incarnation;
        let number = stored.saturating_add(1).max(at_least);
        self.queue_and_wait(Write::Incarnation(number), |state, _| {
            state.incarnation = number;
            Ok(())
        })?;
        Ok(number)
    }

    fn is_joining(&self) -> Result<bool, StorageError> {
        joining::is_marked(&self.shared.dir)
    }

    fn mark_joining(&self, joining: bool) -> Result<(), StorageError> {
        joining::mark(&self.shared.dir, joining)
    }

    fn close(&self) {
        self.shared.queue.lock().closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // It cannot panic but in a callback; what it has written is durable either way.
            drop(thread.join());
        }
    }
}

impl Drop for SegmentLog {
    fn drop(&mut self) {
        self.close();
    }
}
