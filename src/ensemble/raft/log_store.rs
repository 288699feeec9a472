//! openraft's log store over [`Log`].
//!
//! The contracts are in consensus.md 2: what `append` took is readable when it returns
//! and durable when the callback runs, callbacks come in order (the log's writer sees to it), a
//! vote is durable before `save_vote` returns and ordered among the appends.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use openraft::entry::RaftEntry as _;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};

use crate::planted::{self, Defect};
use crate::state::ServerId;
use crate::storage::{Durable, Log, LogEntry, StorageError};

use super::checkpoint::Pressure;
use super::records;
use super::types::{Entry, LogId, Types, Vote, log_id, position};
use crate::ensemble::error::Failure;
use crate::ensemble::placement::Placement;
use crate::ensemble::progress::Progress;

/// Bytes of entries read at once, for apply and for a follower; openraft itself only counts them.
const READ_BYTES_MAX: usize = 2 << 20;

/// Appends up to this size are written by the core's own thread, if it may wait: two hand-overs
/// cost more than what could be done meanwhile. Above, the next batch is encoded while the log's
/// thread writes.
const WRITTEN_HERE_BYTES_MAX: usize = 16 << 10;

/// openraft's log storage over our log. Clones read the same log.
#[derive(Clone, Debug)]
pub(in crate::ensemble) struct LogStore {
    log: Arc<dyn Log>,
    progress: Arc<Progress>,
    pressure: Arc<Pressure>,
    placement: Placement,
}

impl LogStore {
    /// `placement`: whether appends may wait for the disk on the task of openraft's core.
    pub(in crate::ensemble) fn new(
        log: Arc<dyn Log>,
        progress: Arc<Progress>,
        pressure: Arc<Pressure>,
        placement: Placement,
    ) -> Self {
        Self {
            log,
            progress,
            pressure,
            placement,
        }
    }

    /// Reads what is in memory on the spot, and from the disk elsewhere unless this task may wait.
    async fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        if self.placement.may_wait() || start >= end || self.log.remembers(start) {
            return self.read_here(start, end, bytes_max);
        }
        let store = self.clone();
        let read = move || store.read_here(start, end, bytes_max);
        match self.placement.aside(read).await {
            Some(read) => read,
            None => Err(self.progress.fail(Failure::CutOff { doing: "read log" })),
        }
    }

    fn read_here(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        if start >= end {
            return Ok(Vec::new());
        }
        let read = self.log.entries(start..end, bytes_max);
        let entries = read.map_err(|error| self.progress.fail(Failure::Storage(error)))?;
        let decode = |entry: LogEntry| {
            let index = entry.position.index;
            let payload = records::decode_entry(entry.payload)
                .map_err(|source| self.progress.fail(Failure::Entry { index, source }))?;
            Ok(Entry::new(log_id(entry.position), payload))
        };
        entries.into_iter().map(decode).collect()
    }

    fn bounds(&self, range: &impl RangeBounds<u64>) -> (u64, u64) {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => self.log.ends().last.map_or(0, |last| last.index + 1),
        };
        (start, end)
    }

    /// Makes the vote one of `term` unless it is one of `at_least` or later, before openraft reads it: then whoever leads next does
    /// so under a new term.
    ///
    /// Without syncs a power failure takes the vote with the end of the log, but not what was
    /// applied under it. The same term would be led again, by a process whose steady clock counts
    /// from elsewhere and whose txns get the numbers of others.
    ///
    /// # Errors
    /// The log failed.
    pub(in crate::ensemble) async fn raise_vote(
        &mut self,
        at_least: u64,
        term: u64,
        server: ServerId,
    ) -> io::Result<()> {
        let vote = self.read_vote().await?;
        if vote.is_some_and(|vote| vote.leader_id.term >= at_least) {
            return Ok(());
        }
        self.save_vote(&Vote::new(term, server.0)).await
    }

    /// Runs what waits for the disk off the async workers: purge and truncation are rare.
    async fn blocking(
        &self,
        doing: &'static str,
        work: impl FnOnce(&dyn Log) -> Result<(), StorageError> + Send + 'static,
    ) -> io::Result<()> {
        let log = Arc::clone(&self.log);
        match self.placement.aside(move || work(&*log)).await {
            Some(done) => done.map_err(|error| self.progress.fail(Failure::Storage(error))),
            None => Err(self.progress.fail(Failure::CutOff { doing })),
        }
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<Entry>>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = self.bounds(&range);
        self.read(start, end, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start, end, READ_BYTES_MAX).await
    }

    /// In pieces, so that a long committed range is never in memory at once.
    async fn entries_stream<R>(
        &mut self,
        range: R,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = self.bounds(&range);
        let store = self.clone();
        stream::unfold(Some(start), move |next| {
            let store = store.clone();
            async move {
                let start = next.filter(|start| *start < end)?;
                Some(match store.read(start, end, READ_BYTES_MAX).await {
                    Ok(entries) => {
                        let behind = entries.last().map(|entry| entry.index() + 1);
                        (entries.into_iter().map(Ok).collect(), behind)
                    }
                    Err(error) => (vec![Err(error)], None),
                })
            }
        })
        .flat_map(stream::iter)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let fail = |failure| self.progress.fail(failure);
        let vote = self.log.vote().map_err(|e| fail(Failure::Storage(e)))?;
        let decoded = vote.map(records::decode_vote).transpose();
        decoded.map_err(|source| {
            fail(Failure::Record {
                what: "vote",
                source,
            })
        })
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let ends = self.log.ends();
        Ok(LogState {
            last_purged_log_id: ends.purged.map(log_id),
            last_log_id: ends.last.map(log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        if planted::has(Defect::VoteNotSaved) {
            return Ok(());
        }
        let (told, durable) = tokio::sync::oneshot::channel();
        let tell = Box::new(move |result| {
            // Nobody waits only if the core has been dropped.
            let _unheard = told.send(result);
        });
        self.log.save_vote(records::encode_vote(vote), tell);
        match durable.await {
            Ok(saved) => saved.map_err(|error| self.progress.fail(Failure::Storage(error))),
            Err(_) => Err(self.progress.fail(Failure::CutOff { doing: "save vote" })),
        }
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.log
            .save_committed(committed.as_ref().map(records::encode_committed));
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        let fail = |failure| self.progress.fail(failure);
        let committed = self
            .log
            .committed()
            .map_err(|e| fail(Failure::Storage(e)))?;
        let decoded = committed.map(records::decode_committed).transpose();
        let committed = decoded.map_err(|source| {
            fail(Failure::Record {
                what: "committed position",
                source,
            })
        })?;
        // What is told here openraft applies before it starts. It is no promise: if the log does
        // not reach so far, the leader says again what is committed.
        let last = self.log.ends().last.map(|last| last.index);
        Ok(committed.filter(|id| Some(id.index) <= last))
    }

    fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<Types>,
    ) -> impl Future<Output = io::Result<()>> + Send
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let encode = |entry: Entry| LogEntry {
            position: position(&entry.log_id),
            payload: records::encode_entry(entry.payload),
        };
        let entries: Vec<LogEntry> = entries.into_iter().map(encode).collect();
        let last = entries.last().map(|entry| entry.position.index);
        let bytes: usize = entries.iter().map(|entry| entry.payload.len()).sum();
        let progress = Arc::clone(&self.progress);
        progress.backlog().taken(bytes);
        let mut durable: Durable = Box::new(move |result: Result<(), StorageError>| {
            progress.backlog().durable(bytes);
            callback.io_completed(result.map_err(|e| progress.fail(Failure::Storage(e))));
        });
        if planted::has(Defect::SyncLeftOut) {
            let told = std::mem::replace(&mut durable, Box::new(drop));
            told(Ok(()));
        }
        if self.placement.may_wait() && bytes <= WRITTEN_HERE_BYTES_MAX {
            self.log.append_here(entries, durable);
        } else {
            self.log.append(entries, durable);
        }
        if let Some(last) = last {
            self.pressure.appended(last, self.log.appended_bytes());
        }
        std::future::ready(Ok(()))
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let last = last.as_ref().map(position);
        let kept = last.map(|last| last.index);
        if let Some(applied) = self.progress.applied().filter(|at| Some(at.index) > kept) {
            // What was applied was committed, and no leader may take that back: who would go on has
            // another tree than the others.
            return Err(self.progress.fail(Failure::Diverged { applied, kept }));
        }
        self.blocking("truncate log", move |log| log.truncate_after(last))
            .await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let upto = position(&upto);
        if self.placement.may_wait() {
            return self.blocking("purge log", move |log| log.purge(upto)).await;
        }
        // The core waits for no disk: a leader that does is silent. What is appended next is queued behind.
        let progress = Arc::clone(&self.progress);
        let done = Box::new(move |purged: Result<(), StorageError>| {
            if let Err(error) = purged {
                drop(progress.fail(Failure::Storage(error)));
            }
        });
        self.log.purge_soon(upto, done);
        Ok(())
    }
}
