//! The writer: one thread that drains the queue, one sync for all that has gathered.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use rocksdb::{FlushOptions, WriteBatch};
use tokio::time::Instant;
use tracing::warn;

use super::{Families, Shared};
use crate::state::LogPosition;
use crate::storage::rocks::keys::meta;
use crate::storage::rocks::{encode, options};
use crate::storage::varint::put_u64;
use crate::storage::{Durable, LogEntry};

/// The committed position to be written: outer `None` if it has not changed.
pub(super) type Committed = Option<Option<Bytes>>;

/// A change of the log.
#[derive(Debug)]
pub(super) enum Edit {
    /// Entries behind the last one.
    Append(Vec<LogEntry>),
    /// A new vote.
    Vote(Bytes),
    /// Removal of all entries from an index on.
    TruncateFrom(u64),
    /// Removal of all entries up to a position.
    Purge(LogPosition),
    /// The number of this start.
    Incarnation(u64),
}

/// A queued change.
pub(super) struct Job {
    /// Grows by one per job.
    pub write: u64,
    /// What to do.
    pub edit: Edit,
    /// Whom to tell.
    pub done: Durable,
}

/// What waits for the writer.
#[derive(Default)]
pub(super) struct Queue {
    /// In the order in which they take effect.
    pub jobs: VecDeque<Job>,
    /// Number of the last job queued.
    pub writes: u64,
    /// The committed position, if it has changed since it was last written.
    pub committed: Committed,
    /// No more jobs come.
    pub closed: bool,
}

/// A group ends when it has this many bytes of payload: its callbacks should not wait too long.
const GROUP_BYTES_MAX: usize = 4 << 20;

impl Edit {
    fn bytes(&self) -> usize {
        match self {
            Self::Append(entries) => entries.iter().map(|entry| entry.payload.len() + 32).sum(),
            Self::Vote(vote) => vote.len(),
            Self::TruncateFrom(_) | Self::Purge(_) | Self::Incarnation(_) => 32,
        }
    }
}

/// Runs until the queue is closed and empty.
pub(super) fn run(shared: &Shared) {
    let Ok(families) = shared.families() else {
        // `open` has looked.
        return;
    };
    let mut writer = Writer {
        shared,
        families,
        bytes_unflushed: 0,
        high_water_failed: false,
    };
    loop {
        let (group, committed) = next_group(shared);
        let closing = group.is_empty();
        let result = writer.write_group(&group, committed);
        let last = group.last().map(|job| job.write);
        if let (Ok(()), Some(last)) = (&result, last) {
            shared.state.write().tail.durable(last);
        }
        for job in group {
            (job.done)(match &result {
                Ok(()) => Ok(()),
                Err(source) => Err(shared.db.failed("write the log", source.clone())),
            });
        }
        if closing {
            return;
        }
    }
}

/// Waits for work. No jobs: the queue is closed.
fn next_group(shared: &Shared) -> (Vec<Job>, Committed) {
    let mut queue = shared.queue.lock();
    while queue.jobs.is_empty() && !queue.closed {
        shared.wake.wait(&mut queue);
    }
    let mut group = Vec::new();
    let mut bytes = 0;
    while bytes < GROUP_BYTES_MAX
        && let Some(job) = queue.jobs.pop_front()
    {
        bytes += job.edit.bytes();
        group.push(job);
    }
    (group, queue.committed.take())
}

struct Writer<'a> {
    shared: &'a Shared,
    families: Families<'a>,
    bytes_unflushed: u64,
    high_water_failed: bool,
}

impl Writer<'_> {
    /// Writes and syncs a group. After a failure nothing is written any more: what a failed sync
    /// has left behind is unknown, and trying again would say "durable" of lost data.
    fn write_group(&mut self, group: &[Job], committed: Committed) -> Result<(), rocksdb::Error> {
        if let Some(source) = self.shared.failed.get() {
            return Err(source.clone());
        }
        self.try_write(group, committed)
            .inspect_err(|source| drop(self.shared.failed.set(source.clone())))
    }

    fn try_write(&mut self, group: &[Job], committed: Committed) -> Result<(), rocksdb::Error> {
        let mut batch = WriteBatch::default();
        for job in group {
            self.put(&mut batch, &job.edit);
        }
        match committed {
            Some(Some(value)) => batch.put_cf(self.families.meta, meta::COMMITTED, value),
            Some(None) => batch.delete_cf(self.families.meta, meta::COMMITTED),
            None => {}
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.bytes_unflushed += batch.size_in_bytes() as u64;
        let began = Instant::now();
        self.shared
            .db
            .write(batch, &options::logged(self.shared.force_sync))?;
        self.report(group.len(), began.elapsed());
        self.raise_high_water();
        self.flush_purged(group)
    }

    fn put(&self, batch: &mut WriteBatch, edit: &Edit) {
        let Families {
            entries,
            meta: family,
        } = self.families;
        match edit {
            Edit::Append(appended) => {
                let mut value = Vec::new();
                for entry in appended {
                    value.clear();
                    put_u64(&mut value, entry.position.term);
                    value.extend_from_slice(&entry.payload);
                    batch.put_cf(entries, entry.position.index.to_be_bytes(), &value);
                }
            }
            Edit::Vote(vote) => batch.put_cf(family, meta::VOTE, vote),
            Edit::TruncateFrom(index) => {
                batch.delete_range_cf(entries, &index.to_be_bytes()[..], &[0xff; 9][..]);
            }
            Edit::Purge(upto) => {
                // Point and removal are one atomic record.
                let mut value = Vec::new();
                encode::put_position(&mut value, *upto);
                batch.put_cf(family, meta::PURGED, value);
                let end = upto.index.saturating_add(1).to_be_bytes();
                batch.delete_range_cf(entries, &[0; 8][..], &end[..]);
            }
            Edit::Incarnation(number) => {
                batch.put_cf(family, meta::INCARNATION, number.to_be_bytes());
            }
        }
    }

    fn report(&self, jobs: usize, took: Duration) {
        let slow = took >= self.shared.fsync_warning;
        self.shared.counters.synced(jobs, took, slow);
        if slow {
            let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            let threshold_ms = self.shared.fsync_warning.as_millis();
            let path = self.shared.db.path().display();
            warn!(took_ms, threshold_ms, jobs, %path, "log sync was slow");
        }
    }

    /// Without syncs a power failure may take what is written here for granted, so then it is not.
    fn raise_high_water(&mut self) {
        if !self.shared.force_sync || self.high_water_failed {
            return;
        }
        let reached = self.shared.db.raw().latest_sequence_number();
        if let Err(error) = self.shared.high_water.rise(reached) {
            // What it says stays true, only less.
            self.high_water_failed = true;
            warn!(
                error = &error as &dyn std::error::Error,
                "the log's high water is not kept"
            );
        }
    }

    /// Flushes the log behind a purge: what the purge covers is dropped on the way, so that
    /// entries never reach the disk a second time, and the write-ahead log behind it is deleted.
    fn flush_purged(&mut self, group: &[Job]) -> Result<(), rocksdb::Error> {
        let purged = group.iter().rev().find_map(|job| match job.edit {
            Edit::Purge(upto) => Some(upto),
            Edit::Append(_) | Edit::Vote(_) | Edit::TruncateFrom(_) | Edit::Incarnation(_) => None,
        });
        let Some(upto) = purged else { return Ok(()) };
        if self.bytes_unflushed < self.shared.flush_bytes {
            return Ok(());
        }
        self.bytes_unflushed = 0;
        let Families { entries, meta } = self.families;
        let mut in_background = FlushOptions::default();
        in_background.set_wait(false);
        let db = self.shared.db.raw();
        db.flush_cfs_opt(&[entries, meta], &in_background)?;
        // Whole files of entries that were flushed before they were purged.
        db.delete_file_in_range_cf(entries, &[0; 8][..], &upto.index.to_be_bytes()[..])
    }
}
