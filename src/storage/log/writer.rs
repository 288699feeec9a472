//! The writer: frames go to the end of the newest segment, each synced before its callbacks.
//!
//! Whoever holds it writes: the log's thread, or an appender that finds it idle.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tracing::warn;

use super::Shared;
use super::disk::Disk;
use super::edit::{self, Contents, Opening, Sealed};
use super::frame;
use super::high_water::HighWater;
use super::segment::{End, PAGE, PAGE_BYTES, Segment};
use super::spares::Spares;
use crate::state::LogPosition;
use crate::storage::files::io_error;
use crate::storage::{Durable, LogEntry, StorageError};

/// The committed position to be written: outer `None` if it has not changed.
pub(super) type Committed = Option<Option<Bytes>>;

/// A change of the log.
#[derive(Debug)]
pub(super) enum Write {
    /// Entries behind the last one.
    Append(Vec<LogEntry>),
    /// A new vote.
    Vote(Bytes),
    /// Removal of all entries behind a position.
    TruncateAfter(Option<LogPosition>),
    /// Removal of all entries up to a position.
    Purge(LogPosition),
    /// The number of this start.
    Incarnation(u64),
}

/// A queued change.
pub(super) struct Job {
    /// Grows by one per job.
    pub number: u64,
    /// What to do.
    pub write: Write,
    /// Whom to tell.
    pub done: Durable,
    /// The committed position that was told behind it: it may speak of this change, so it is
    /// written behind it.
    pub committed: Committed,
}

/// What waits for the writer.
#[derive(Default)]
pub(super) struct Jobs {
    /// In the order in which they take effect.
    pub jobs: VecDeque<Job>,
    /// Number of the last job queued.
    pub jobs_queued: u64,
    /// The committed position that was told when no job waited.
    pub committed: Committed,
    /// No more jobs come.
    pub closed: bool,
}

/// A group ends when it has this many bytes of payload: its callbacks should not wait too long.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// The buffer is let go above this size.
const BUFFER_BYTES_KEPT: usize = 1 << 20;
/// An entry's bytes besides its payload, at most, and those of the frame around it.
const ENTRY_BYTES_MAX: usize = 64;

impl Write {
    fn bytes(&self) -> usize {
        match self {
            Self::Append(entries) => entries.iter().map(|entry| entry.payload.len() + 32).sum(),
            Self::Vote(vote) => vote.len(),
            Self::TruncateAfter(_) | Self::Purge(_) | Self::Incarnation(_) => 32,
        }
    }
}

impl Jobs {
    /// Notes the committed position, to be written with what comes next, but not before what has
    /// been queued.
    pub(super) fn commit(&mut self, committed: Option<Bytes>) {
        let place = match self.jobs.back_mut() {
            Some(job) => &mut job.committed,
            None => &mut self.committed,
        };
        *place = Some(committed);
    }

    /// Takes what is to be written together, and what is committed before it.
    pub(super) fn take_group(&mut self) -> (Vec<Job>, Committed) {
        let mut group = Vec::new();
        let mut bytes = 0;
        while bytes < GROUP_BYTES_MAX
            && let Some(job) = self.jobs.pop_front()
        {
            bytes += job.write.bytes();
            group.push(job);
        }
        (group, self.committed.take())
    }
}

/// What writes the log: frames, syncs, segments, one job after the other.
#[derive(Debug)]
pub(super) struct Writer {
    /// All segments in use, the newest last; that one is written to.
    segments: VecDeque<Arc<Segment>>,
    /// Where the next frame goes.
    offset: u64,
    /// Whether the newest segment has no frame yet.
    is_fresh: bool,
    /// The newest page up to `offset`, then the frame that is being made.
    buffer: Vec<u8>,
    /// Where the frame begins in it.
    begins: usize,
    /// First and last index of the entries in the frame that is being made.
    in_frame: Option<(u64, u64)>,
    /// What the durable log comes to, with the frame that is being made.
    contents: Contents,
    /// How the segment before a fresh one ended.
    sealed: Option<Sealed>,
    spares: Spares,
    high_water: HighWater,
    high_water_failed: bool,
    force_sync: bool,
    /// The disk has an entry, or knows which are purged: the log is there, however much of its end is
    /// lost without syncs.
    is_begun: bool,
    disk: Arc<dyn Disk>,
}

/// Where writing goes on after a start.
#[derive(Debug)]
pub(super) struct Position {
    pub(super) segments: VecDeque<Arc<Segment>>,
    pub(super) offset: u64,
    pub(super) is_fresh: bool,
    pub(super) contents: Contents,
    pub(super) sealed: Option<Sealed>,
}

impl Writer {
    /// Goes on at `position`.
    ///
    /// # Errors
    /// The file system said no.
    pub(super) fn new(
        position: Position,
        spares: Spares,
        high_water: HighWater,
        force_sync: bool,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, StorageError> {
        let Position {
            segments,
            offset,
            is_fresh,
            contents,
            sealed,
        } = position;
        let mut buffer = Vec::new();
        if let Some(segment) = segments.back() {
            let page = offset - offset % PAGE_BYTES;
            buffer.extend_from_slice(&frame::read(segment, page, offset - page)?);
        }
        Ok(Self {
            segments,
            offset,
            is_fresh,
            begins: buffer.len(),
            buffer,
            in_frame: None,
            is_begun: contents.ends.last.is_some(),
            contents,
            sealed,
            spares,
            high_water,
            high_water_failed: false,
            force_sync,
            disk,
        })
    }

    /// Writes and syncs a group.
    ///
    /// # Errors
    /// The disk said no. What is on it is unknown then, and nothing may be written any more:
    /// trying again would say "durable" of lost data.
    pub(super) fn write_group(
        &mut self,
        shared: &Shared,
        group: &[Job],
        committed: Committed,
    ) -> Result<(), StorageError> {
        if group.is_empty() && committed.is_none() {
            return Ok(());
        }
        let began = Instant::now();
        // Only the last one matters, and the earlier ones need not cost bytes.
        let mut told = committed;
        for job in group {
            self.put(shared, &job.write)?;
            if job.committed.is_some() {
                told.clone_from(&job.committed);
            }
        }
        if let Some(committed) = told {
            self.begin(shared, 0)?;
            edit::put_committed(&mut self.buffer, committed.as_ref());
            self.contents.committed = committed;
        }
        self.finish(shared)?;
        shared.report(group.len(), began.elapsed());
        Ok(())
    }

    /// Where the next frame goes.
    pub(super) fn end(&self) -> End {
        End {
            sequence: self.segments.back().map_or(0, |newest| newest.sequence),
            offset: self.offset,
        }
    }

    /// Ends the thread that fills segments. `shared`: whose writes may have failed before.
    pub(super) fn close(&mut self, shared: &Shared) {
        self.spares.close();
        if self.force_sync || shared.failed.get().is_some() {
            return;
        }
        // Nobody waits any more, and the tree may be on the disk: its log should be too.
        if let Err(error) = self.sync_newest() {
            warn!(
                error = &error as &dyn std::error::Error,
                "the log's end may not be on the disk"
            );
        }
    }

    fn put(&mut self, shared: &Shared, write: &Write) -> Result<(), StorageError> {
        match write {
            Write::Append(entries) => {
                for entry in entries {
                    let bytes = entry.payload.len() + ENTRY_BYTES_MAX;
                    if !self.has_room(bytes) {
                        self.finish(shared)?;
                    }
                    self.begin(shared, bytes)?;
                    edit::put_entry(&mut self.buffer, entry);
                    let LogPosition { index, .. } = entry.position;
                    self.contents.ends.last = Some(entry.position);
                    self.in_frame = Some((self.in_frame.map_or(index, |(first, _)| first), index));
                }
            }
            Write::Vote(vote) => {
                self.begin(shared, vote.len())?;
                edit::put_vote(&mut self.buffer, vote);
                self.contents.vote = Some(vote.clone());
            }
            Write::TruncateAfter(last) => {
                self.begin(shared, 0)?;
                edit::put_truncate(&mut self.buffer, *last);
                self.contents.ends.truncate_after(*last);
                // A frame ends with what removes entries: those in it are consecutive.
                self.finish(shared)?;
                let from = last.map_or(0, |last| last.index + 1);
                shared.state.write().index.truncate_from(from);
            }
            Write::Purge(upto) => {
                self.begin(shared, 0)?;
                edit::put_purge(&mut self.buffer, *upto);
                self.contents.ends.purge(*upto);
                self.finish(shared)?;
                if !self.force_sync {
                    // What has been purged is overwritten soon: a log that ends before its purge
                    // after a power failure would lack it.
                    self.sync_newest()?;
                }
                self.drop_purged(shared, *upto);
            }
            Write::Incarnation(number) => {
                self.begin(shared, 0)?;
                edit::put_incarnation(&mut self.buffer, *number);
                self.contents.incarnation = *number;
            }
        }
        Ok(())
    }

    /// Whether `bytes` more fit into the frame that is being made.
    fn has_room(&self, bytes: usize) -> bool {
        let frame = self.buffer.len() - self.begins;
        let behind = self.offset + frame as u64 + bytes as u64;
        let fits = self.segments.back().is_some_and(|it| behind <= it.bytes);
        frame == 0 || (fits && frame < GROUP_BYTES_MAX)
    }

    /// Begins a frame if none is begun, in the next segment if this one is too full for `bytes`.
    fn begin(&mut self, shared: &Shared, bytes: usize) -> Result<(), StorageError> {
        if self.buffer.len() > self.begins {
            return Ok(());
        }
        let behind = self.offset + (bytes + ENTRY_BYTES_MAX) as u64;
        let is_full = self.segments.back().is_none_or(|it| behind > it.bytes);
        if is_full && !self.is_fresh {
            self.next_segment(shared)?;
        }
        self.buffer.resize(self.begins + frame::HEADER_BYTES, 0);
        if self.is_fresh {
            let opening = Opening {
                contents: self.contents.clone(),
                sealed: self.sealed.take(),
            };
            edit::put_opening(&mut self.buffer, &opening);
        }
        Ok(())
    }

    fn next_segment(&mut self, shared: &Shared) -> Result<(), StorageError> {
        let next = self.spares.take()?;
        if !self.force_sync {
            // At least the segments that are not written to any more are whole after a crash.
            self.sync_newest()?;
        }
        self.sealed = self.segments.back().map(|last| Sealed {
            end: self.offset,
            stretches: shared.state.read().index.of(last),
        });
        self.segments.push_back(Arc::new(next));
        self.offset = PAGE_BYTES;
        self.is_fresh = true;
        self.buffer.clear();
        self.begins = 0;
        Ok(())
    }

    fn sync_newest(&self) -> Result<(), StorageError> {
        let Some(newest) = self.segments.back() else {
            return Ok(());
        };
        let synced = self.disk.sync(&newest.file);
        synced.map_err(|source| io_error("sync", &newest.path, source))
    }

    /// Writes and syncs the frame, if one is begun.
    fn finish(&mut self, shared: &Shared) -> Result<(), StorageError> {
        if self.buffer.len() == self.begins {
            return Ok(());
        }
        let Some(segment) = self.segments.back().map(Arc::clone) else {
            return Ok(());
        };
        let begins = self.begins;
        if let Some(frame) = self.buffer.get_mut(begins..) {
            frame::seal(frame, &segment, self.offset)?;
        }
        let end = self.buffer.len();
        // Whole pages, so that the system need not read what lies behind the frame.
        self.buffer.resize(end.next_multiple_of(PAGE), 0);
        let failed = |doing| {
            let path = segment.path.clone();
            move |source| io_error(doing, &path, source)
        };
        // The last page goes by itself: the next frame writes it again, and pages that were written
        // together are cached, and counted as written, together.
        let at = self.offset - begins as u64;
        let (whole, last) = self.buffer.split_at(self.buffer.len() - PAGE);
        if !whole.is_empty() {
            let written = self.disk.write(&segment.file, whole, at);
            written.map_err(failed("write"))?;
        }
        let behind = at + whole.len() as u64;
        let written = self.disk.write(&segment.file, last, behind);
        written.map_err(failed("write"))?;
        // The first entries are synced in any case: RocksDB syncs the tree when it likes, and a tree
        // without its log is refused, while one that is ahead of its log is not.
        let begins_log = !self.is_begun && self.in_frame.is_some();
        if self.force_sync || begins_log {
            self.disk.sync(&segment.file).map_err(failed("sync"))?;
            self.is_begun |= begins_log;
        }
        if let Some((first, last)) = self.in_frame.take() {
            shared
                .state
                .write()
                .index
                .push(&segment, self.offset, first, last);
        }
        self.offset += (end - begins) as u64;
        self.is_fresh = false;
        self.begins = end % PAGE;
        self.buffer.truncate(end);
        self.buffer.drain(..end - self.begins);
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        self.raise_high_water(End {
            sequence: segment.sequence,
            offset: self.offset,
        });
        Ok(())
    }

    /// Without syncs a power failure may take what is written here for granted, so then it is not.
    pub(super) fn raise_high_water(&mut self, end: End) {
        if !self.force_sync || self.high_water_failed {
            return;
        }
        if let Err(error) = self.high_water.rise(end) {
            // What it says stays true, only less.
            self.high_water_failed = true;
            warn!(
                error = &error as &dyn std::error::Error,
                "the log's high water is not kept"
            );
        }
    }

    /// Gives up the segments that hold nothing but purged entries. What else they held is in the
    /// opening of a later one.
    fn drop_purged(&mut self, shared: &Shared, upto: LogPosition) {
        let needed = {
            let mut state = shared.state.write();
            state.index.purge_to(upto.index);
            state.index.first_segment().unwrap_or(u64::MAX)
        };
        let mut retired = Vec::new();
        while self.segments.len() > 1
            && let Some(oldest) = self.segments.front()
            && oldest.sequence < needed
        {
            retired.push(oldest.path.clone());
            self.segments.pop_front();
        }
        if !retired.is_empty() {
            self.spares.retire(retired);
        }
    }
}

impl Shared {
    pub(super) fn report(&self, jobs: usize, took: Duration) {
        let slow = took >= self.fsync_warning;
        self.counters.synced(jobs, took, slow);
        if slow {
            let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            let threshold_ms = self.fsync_warning.as_millis();
            let path = self.dir.display();
            warn!(took_ms, threshold_ms, jobs, %path, "log sync was slow");
        }
    }
}
