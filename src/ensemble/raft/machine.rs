//! openraft's state machine over [`Replica`]: entries go in, in order; checkpoints come out.
//!
//! Where apply runs is said by `placement.rs`. The tree writes the applied position and the membership in the batch of the changes, so what `applied_state`
//! names after a crash is what is there.

use std::io;
use std::sync::Arc;

use futures::{Stream, TryStreamExt as _};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};

use super::applier::{self, Applier, Applying};
use super::records::{self, FormatError};
use super::types::{CommittedLeaderId, LogId, StoredMembership, Types, log_id};
use crate::ensemble::error::Failure;
use crate::ensemble::placement::Placement;
use crate::ensemble::progress::Progress;
use crate::state::{LogPosition, Meta};
use crate::storage::{Checkpoint, Log, Snapshots};

type SnapshotMeta = openraft::storage::SnapshotMeta<CommittedLeaderId, u64, ()>;
pub(in crate::ensemble) type Snapshot =
    openraft::storage::Snapshot<CommittedLeaderId, u64, (), Checkpoint>;

/// openraft's state machine: applies entries to the replica, in order.
pub(in crate::ensemble) struct Machine {
    applying: Applying,
    applier: Arc<Applier>,
    builder: Builder,
    /// Up to where the state came from another server, in this process.
    installed: Option<LogPosition>,
}

/// Takes checkpoints beside apply.
#[derive(Clone, Debug)]
pub(in crate::ensemble) struct Builder {
    snapshots: Arc<dyn Snapshots>,
    log: Arc<dyn Log>,
    progress: Arc<Progress>,
    placement: Placement,
}

impl Machine {
    pub(in crate::ensemble) fn new(
        applying: Applying,
        applier: Arc<Applier>,
        snapshots: Arc<dyn Snapshots>,
        placement: Placement,
    ) -> Self {
        Self {
            applying,
            builder: Builder {
                snapshots,
                log: Arc::clone(&applier.log),
                progress: Arc::clone(&applier.progress),
                placement,
            },
            applier,
            installed: None,
        }
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
            let state = self.applier.replica.read();
            (state.meta().applied, state.meta().membership.clone())
        };
        let membership = self.builder.membership(membership)?;
        Ok((applied.map(log_id), membership))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        match &self.applying {
            Applying::Here(applier) => {
                while let Some(entry) = entries.try_next().await? {
                    applier.apply(entry)?;
                }
            }
            Applying::There(thread) => {
                let mut chunks = entries.try_ready_chunks(applier::ENTRIES_MAX);
                while let Some(chunk) = chunks.try_next().await.map_err(|error| error.1)? {
                    thread.apply(chunk).await?;
                }
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.builder.clone()
    }

    /// openraft also calls this at start if the newest checkpoint is ahead of the tree, which
    /// cannot be: a checkpoint flushes the tree that it is taken of.
    async fn install_snapshot(&mut self, _: &SnapshotMeta, received: Checkpoint) -> io::Result<()> {
        self.installed = received.meta.applied;
        let applier = Arc::clone(&self.applier);
        let snapshots = Arc::clone(&self.builder.snapshots);
        let install = move || applier.install(&*snapshots, received);
        match self.builder.placement.aside(install).await {
            Some(installed) => installed,
            None => Err(self.builder.progress.fail(Failure::CutOff {
                doing: "install a snapshot",
            })),
        }
    }

    /// The newest checkpoint, if the log goes on behind it. Where the tree came from another server, or a
    /// checkpoint was broken, there may be none such: then one is taken. Whoever is sent it would need
    /// entries that are gone.
    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let newest = self.builder.snapshots.newest();
        let newest = newest.map_err(|error| self.builder.progress.fail(Failure::Storage(error)))?;
        let held = newest.as_ref().and_then(|newest| newest.meta.applied);
        if held < self.builder.log.ends().purged.max(self.installed) {
            return self.builder.build_snapshot().await.map(Some);
        }
        newest
            .map(|checkpoint| self.builder.snapshot(checkpoint))
            .transpose()
    }
}

impl Builder {
    fn snapshot(&self, checkpoint: Checkpoint) -> io::Result<Snapshot> {
        snapshot_of(checkpoint).map_err(|source| self.unreadable(source))
    }

    fn membership(&self, bytes: Option<bytes::Bytes>) -> io::Result<StoredMembership> {
        membership_of(bytes).map_err(|source| self.unreadable(source))
    }

    fn unreadable(&self, source: FormatError) -> io::Error {
        let what = "membership";
        self.progress.fail(Failure::Record { what, source })
    }
}

/// What openraft calls a snapshot: it says itself up to where it reaches, and who votes.
///
/// # Errors
/// The membership in it is none.
pub(in crate::ensemble) fn snapshot_of(checkpoint: Checkpoint) -> Result<Snapshot, FormatError> {
    let Meta {
        applied,
        membership,
        ..
    } = &checkpoint.meta;
    let meta = SnapshotMeta {
        last_log_id: applied.map(log_id),
        last_membership: membership_of(membership.clone())?,
    };
    Ok(Snapshot {
        meta,
        snapshot: checkpoint,
    })
}

fn membership_of(bytes: Option<bytes::Bytes>) -> Result<StoredMembership, FormatError> {
    let decoded = bytes.map(records::decode_membership).transpose()?;
    Ok(decoded.unwrap_or_default())
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Checkpoint;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let snapshots = Arc::clone(&self.snapshots);
        match self.placement.aside(move || snapshots.take()).await {
            Some(Ok(checkpoint)) => {
                self.progress.built(checkpoint.meta.applied);
                self.snapshot(checkpoint)
            }
            Some(Err(error)) => Err(self.progress.fail(Failure::Storage(error))),
            None => Err(self.progress.fail(Failure::CutOff {
                doing: "take checkpoint",
            })),
        }
    }
}
