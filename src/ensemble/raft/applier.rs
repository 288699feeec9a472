//! Applies entries to the replica, in order: on openraft's own task, or on a thread of its own. Between
//! two of them a snapshot may come in the place of the whole state.

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use openraft::storage::EntryResponder;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::records;
use super::types::{EncodedBatch, Entry, Payload, StoredMembership, Types, position};
use crate::ensemble::error::Failure;
use crate::ensemble::origin::proposals::Proposals;
use crate::ensemble::progress::Progress;
use crate::metrics;
use crate::state::{Batch, LogPosition, Origin, Replica, Sink};
use crate::storage::{Checkpoint, Log, Snapshots};

/// Entries that are handed to the thread at once.
pub(in crate::ensemble) const ENTRIES_MAX: usize = 16;

/// Applies entries.
pub(in crate::ensemble) struct Applier {
    pub(in crate::ensemble) origin: Origin,
    /// For the number of the next start.
    pub(in crate::ensemble) log: Arc<dyn Log>,
    pub(in crate::ensemble) replica: Arc<Replica>,
    pub(in crate::ensemble) sink: Arc<dyn Sink>,
    pub(in crate::ensemble) proposals: Arc<Proposals>,
    pub(in crate::ensemble) progress: Arc<Progress>,
}

/// Where entries are applied.
pub(in crate::ensemble) enum Applying {
    /// On the task that openraft calls from.
    Here(Arc<Applier>),
    /// On a thread of its own.
    There(Thread),
}

/// The thread that applies; it ends when this is dropped.
pub(in crate::ensemble) struct Thread {
    jobs: mpsc::Sender<Job>,
    progress: Arc<Progress>,
}

struct Job {
    entries: Vec<EntryResponder<Types>>,
    done: oneshot::Sender<io::Result<()>>,
}

impl Applier {
    /// Applies an entry and says so.
    ///
    /// # Errors
    /// The tree failed, or the entry is none of ours.
    pub(in crate::ensemble) fn apply(
        &self,
        (entry, answer): EntryResponder<Types>,
    ) -> io::Result<()> {
        self.apply_entry(entry)?;
        // Only says that the cursor has been moved; the outcome went to the sink.
        if let Some(answer) = answer {
            answer.send(());
        }
        Ok(())
    }

    fn apply_entry(&self, entry: Entry) -> io::Result<()> {
        let id = entry.log_id;
        let at = position(&id);
        let LogPosition { index, term } = at;
        let fail = |failure| self.progress.fail(failure);
        let mut proposed_ms = None;
        match entry.payload {
            Payload::Normal(EncodedBatch(bytes)) => {
                let batch = Batch::decode(bytes).map_err(|source| {
                    fail(Failure::Batch {
                        index,
                        term,
                        source,
                    })
                })?;
                proposed_ms = Some(batch.reading.wall_ms);
                let applied = self.replica.apply(at, &batch, &*self.sink);
                applied.map_err(|source| {
                    fail(Failure::Apply {
                        index,
                        term,
                        source,
                    })
                })?;
            }
            Payload::Blank => self
                .replica
                .advance(at, None)
                .map_err(|error| fail(Failure::Store(error)))?,
            Payload::Membership(members) => {
                let stored = StoredMembership::new(Some(id), members);
                let bytes = records::encode_membership(&stored);
                self.replica
                    .advance(at, Some(bytes))
                    .map_err(|error| fail(Failure::Store(error)))?;
            }
        }
        self.measure(proposed_ms);
        let cursor = self.own_cursor()?;
        self.proposals.applied(at, cursor);
        self.progress.advance(at);
        Ok(())
    }

    /// A received snapshot comes in the place of the state; blocks on the disk. This server's clients
    /// are sent away in the same moment.
    ///
    /// # Errors
    /// The storage failed: a start finds the one tree or the other.
    pub(in crate::ensemble) fn install(
        &self,
        snapshots: &dyn Snapshots,
        received: Checkpoint,
    ) -> io::Result<()> {
        let fail = |failure| self.progress.fail(failure);
        let begun = Instant::now();
        let Some(at) = received.meta.applied else {
            return Err(fail(Failure::Install));
        };
        let tree = snapshots.install(received);
        let tree = tree.map_err(|error| fail(Failure::Storage(error)))?;
        self.replica
            .replace(tree, &*self.sink)
            .map_err(|error| fail(Failure::Store(error)))?;
        let cursor = self.own_cursor()?;
        self.proposals.replaced(at, cursor);
        self.progress.advance(at);
        tracing::info!(%at, took = ?begun.elapsed(), "snapshot installed");
        Ok(())
    }

    /// Tells who is a member now, and returns the last proposal of this process that has taken effect.
    ///
    /// # Errors
    /// This process is not the last one of this server that the log knows.
    fn own_cursor(&self) -> io::Result<Option<u64>> {
        let fail = |failure| self.progress.fail(failure);
        let cursor = {
            let state = self.replica.read();
            self.progress.line_up(&state.meta().lineups);
            state.cursor(self.origin.server)
        };
        if cursor.incarnation > self.origin.incarnation {
            let Origin {
                server,
                incarnation,
            } = self.origin;
            // The next start begins behind it, however far its tree has come by then.
            let next = self
                .log
                .next_incarnation(cursor.incarnation.saturating_add(1));
            next.map_err(|error| fail(Failure::Storage(error)))?;
            return Err(fail(Failure::Superseded {
                server,
                incarnation,
                other: cursor.incarnation,
            }));
        }
        let is_ours = cursor.incarnation == self.origin.incarnation;
        Ok(is_ours.then_some(cursor.sequence))
    }

    /// How long a batch took to get here, by the clocks of two servers; nothing of what is applied again
    /// at a start.
    ///
    /// zk: FinalRequestProcessor.applyRequest, PROPAGATION_LATENCY.
    fn measure(&self, proposed_ms: Option<i64>) {
        let Some(proposed_ms) = proposed_ms.filter(|_| self.proposals.is_current()) else {
            return;
        };
        let took_ms = self.proposals.reading().wall_ms.saturating_sub(proposed_ms);
        if let Ok(took_ms) = u64::try_from(took_ms) {
            metrics::propagated(Duration::from_millis(took_ms));
        }
    }
}

impl Thread {
    /// Starts it.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub(in crate::ensemble) fn start(applier: Arc<Applier>) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let progress = Arc::clone(&applier.progress);
        thread::Builder::new()
            .name("apply".to_owned())
            .spawn(move || {
                for Job { entries, done } in queue {
                    let applied = entries
                        .into_iter()
                        .try_for_each(|entry| applier.apply(entry));
                    // Nobody waits only if the core has been dropped.
                    let _unheard = done.send(applied);
                }
            })?;
        Ok(Self { jobs, progress })
    }

    /// Applies entries there. One call at a time.
    ///
    /// # Errors
    /// As [`Applier::apply`].
    pub(in crate::ensemble) async fn apply(
        &self,
        entries: Vec<EntryResponder<Types>>,
    ) -> io::Result<()> {
        let (done, applied) = oneshot::channel();
        let gone = || self.progress.fail(Failure::CutOff { doing: "apply" });
        self.jobs.send(Job { entries, done }).map_err(|_| gone())?;
        applied.await.map_err(|_| gone())?
    }
}
