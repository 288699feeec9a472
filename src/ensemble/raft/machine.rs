//! openraft's state machine over [`Replica`]: entries go in, in order; checkpoints come out.
//!
//! Apply runs on the task of openraft's state machine worker, without a hand-off. The tree writes
//! the applied position and the membership in the batch of the changes, so what `applied_state`
//! names after a crash is what is there.

use std::io;
use std::sync::Arc;

use futures::{Stream, TryStreamExt as _};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};

use crate::state::{Batch, LogPosition, Meta, Origin, Replica, Sink};
use crate::storage::{Checkpoint, Snapshots};

use super::records;
use super::types::{
    CommittedLeaderId, EncodedBatch, Entry, LogId, Payload, StoredMembership, Types, log_id,
    position,
};
use crate::ensemble::error::Failure;
use crate::ensemble::origin::queue::Queue;
use crate::ensemble::progress::Progress;

type SnapshotMeta = openraft::storage::SnapshotMeta<CommittedLeaderId, u64, ()>;
type Snapshot = openraft::storage::Snapshot<CommittedLeaderId, u64, (), Checkpoint>;

/// openraft's state machine: applies entries to the replica, in order.
pub(in crate::ensemble) struct Machine {
    origin: Origin,
    replica: Arc<Replica>,
    sink: Arc<dyn Sink>,
    queue: Arc<Queue>,
    builder: Builder,
}

/// Takes checkpoints beside apply.
#[derive(Clone, Debug)]
pub(in crate::ensemble) struct Builder {
    snapshots: Arc<dyn Snapshots>,
    progress: Arc<Progress>,
}

impl Machine {
    pub(in crate::ensemble) fn new(
        origin: Origin,
        replica: Arc<Replica>,
        sink: Arc<dyn Sink>,
        snapshots: Arc<dyn Snapshots>,
        queue: Arc<Queue>,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            origin,
            replica,
            sink,
            queue,
            builder: Builder {
                snapshots,
                progress,
            },
        }
    }

    fn apply_entry(&self, entry: Entry) -> io::Result<()> {
        let id = entry.log_id;
        let at = position(&id);
        let progress = &self.builder.progress;
        match entry.payload {
            Payload::Normal(EncodedBatch(bytes)) => {
                let LogPosition { index, term } = at;
                let batch = Batch::decode(bytes).map_err(|source| {
                    progress.fail(Failure::Batch {
                        index,
                        term,
                        source,
                    })
                })?;
                let applied = self.replica.apply(at, &batch, &*self.sink);
                applied.map_err(|source| {
                    progress.fail(Failure::Apply {
                        index,
                        term,
                        source,
                    })
                })?;
            }
            Payload::Blank => self
                .replica
                .advance(at, None)
                .map_err(|error| progress.fail(Failure::Store(error)))?,
            Payload::Membership(members) => {
                let stored = StoredMembership::new(Some(id), members);
                let bytes = records::encode_membership(&stored);
                self.replica
                    .advance(at, Some(bytes))
                    .map_err(|error| progress.fail(Failure::Store(error)))?;
            }
        }
        let cursor = self.replica.read().cursor(self.origin.server);
        let is_ours = cursor.incarnation == self.origin.incarnation;
        self.queue.applied(at, is_ours.then_some(cursor.sequence));
        progress.advance(at);
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.builder.progress.machine_dropped();
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Checkpoint;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let (applied, membership) = {
            let state = self.replica.read();
            (state.meta().applied, state.meta().membership.clone())
        };
        let membership = self.builder.membership(membership)?;
        Ok((applied.map(log_id), membership))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some((entry, answer)) = entries.try_next().await? {
            self.apply_entry(entry)?;
            // Only says that the cursor has been moved; the outcome went to the sink.
            if let Some(answer) = answer {
                answer.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.builder.clone()
    }

    /// The newest checkpoint comes from a peer only if there is one: not built yet.
    ///
    /// openraft also calls this at start if the newest checkpoint is ahead of the tree, which
    /// cannot be: a checkpoint flushes the tree that it is taken of.
    async fn install_snapshot(&mut self, _: &SnapshotMeta, _: Checkpoint) -> io::Result<()> {
        Err(self.builder.progress.fail(Failure::Install))
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let newest = self.builder.snapshots.newest();
        let newest = newest.map_err(|error| self.builder.progress.fail(Failure::Storage(error)))?;
        newest
            .map(|checkpoint| self.builder.snapshot(checkpoint))
            .transpose()
    }
}

impl Builder {
    fn snapshot(&self, checkpoint: Checkpoint) -> io::Result<Snapshot> {
        let Meta {
            applied,
            membership,
            ..
        } = &checkpoint.meta;
        let meta = SnapshotMeta {
            last_log_id: applied.map(log_id),
            last_membership: self.membership(membership.clone())?,
        };
        Ok(Snapshot {
            meta,
            snapshot: checkpoint,
        })
    }

    fn membership(&self, bytes: Option<bytes::Bytes>) -> io::Result<StoredMembership> {
        let decoded = bytes.map(records::decode_membership).transpose();
        let stored = decoded.map_err(|source| {
            self.progress.fail(Failure::Record {
                what: "membership",
                source,
            })
        })?;
        Ok(stored.unwrap_or_default())
    }
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Checkpoint;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let snapshots = Arc::clone(&self.snapshots);
        match tokio::task::spawn_blocking(move || snapshots.take()).await {
            Ok(Ok(checkpoint)) => {
                self.progress.built(checkpoint.meta.applied);
                self.snapshot(checkpoint)
            }
            Ok(Err(error)) => Err(self.progress.fail(Failure::Storage(error))),
            Err(_) => Err(self.progress.fail(Failure::CutOff {
                doing: "take checkpoint",
            })),
        }
    }
}
