//! Sends a checkpoint to a follower that needs entries which are gone. Read aside, in pieces: the core
//! never waits for the disk, and memory holds a few chunks of it, however large the tree.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use tokio::time::{Instant, sleep};

use super::messages::SnapshotResponse;
use super::types::{LogId, Vote, position};
use crate::ensemble::peer::{Offer, Peers, Refusal, SnapshotError, Source};
use crate::ensemble::placement::Placement;
use crate::ensemble::progress::Progress;
use crate::metrics;
use crate::state::{LogPosition, ServerId};
use crate::storage::{Checkpoint, SnapshotFile, StorageError};

/// Before a follower whose disk refuses is offered it again, or a disk is read again that failed.
const FAILED_PAUSE: Duration = Duration::from_secs(5);

/// What sends checkpoints.
#[derive(Clone, Debug)]
pub(in crate::ensemble) struct Sending {
    pub(in crate::ensemble) progress: Arc<Progress>,
    pub(in crate::ensemble) placement: Placement,
}

/// A checkpoint on its way. Held, so that its files stay.
struct Leased {
    placement: Placement,
    checkpoint: Checkpoint,
    files: Arc<[SnapshotFile]>,
    to: ServerId,
    at: LogPosition,
    /// As far as the follower has not got it.
    missing: AtomicU64,
}

impl Sending {
    /// Sends `checkpoint`, which ends with `at`; returns when it has been installed there.
    ///
    /// # Errors
    /// To be tried again: what has come there is not sent again.
    pub(in crate::ensemble) async fn run(
        &self,
        peers: &Peers,
        to: ServerId,
        vote: Vote,
        at: LogId,
        checkpoint: Checkpoint,
    ) -> Result<SnapshotResponse, SnapshotError> {
        // As long as it is under way, the log behind it stays.
        let _underway = self.progress.send();
        let begun = Instant::now();
        let sent = self.send(peers, to, vote, at, checkpoint).await;
        let at = position(&at);
        match &sent {
            Ok((_, bytes)) => {
                tracing::info!(%to, %at, bytes, took = ?begun.elapsed(), "snapshot sent");
            }
            Err(error @ SnapshotError::Read(source)) => {
                let source = source as &dyn std::error::Error;
                tracing::error!(error = source, %to, %at, "{error}");
            }
            // It comes and goes, or is not known to have joined yet: tried again at once.
            Err(
                error @ (SnapshotError::Dial(_)
                | SnapshotError::Refused(
                    Refusal::NotReady | Refusal::Busy | Refusal::Stopping,
                )),
            ) => {
                tracing::debug!(%to, %at, %error, "snapshot not sent");
            }
            Err(error @ (SnapshotError::Lost(_) | SnapshotError::Refused(_))) => {
                tracing::warn!(%to, %at, %error, "snapshot not sent");
            }
        }
        if let Err(SnapshotError::Read(_) | SnapshotError::Refused(Refusal::Failed)) = &sent {
            sleep(FAILED_PAUSE).await;
        }
        sent.map(|(response, _)| response)
    }

    /// What the follower says, and how many bytes it was sent.
    async fn send(
        &self,
        peers: &Peers,
        to: ServerId,
        vote: Vote,
        at: LogId,
        checkpoint: Checkpoint,
    ) -> Result<(SnapshotResponse, u64), SnapshotError> {
        let (checkpoint, files) = self.files(checkpoint).await?;
        let leased = Leased {
            placement: self.placement,
            checkpoint,
            files: Arc::clone(&files),
            to,
            at: position(&at),
            missing: AtomicU64::new(0),
        };
        metrics::snapshots_in_flight(self.progress.sends());
        let offer = Offer {
            vote,
            at,
            files: files.to_vec(),
        };
        let response = peers.send_snapshot(to, offer, &leased).await?;
        Ok((response, leased.missing.load(Relaxed)))
    }

    async fn files(
        &self,
        checkpoint: Checkpoint,
    ) -> Result<(Checkpoint, Arc<[SnapshotFile]>), SnapshotError> {
        let list = move || {
            let files = checkpoint.files();
            (checkpoint, files)
        };
        let Some((checkpoint, files)) = self.placement.aside(list).await else {
            return Err(SnapshotError::Refused(Refusal::Stopping));
        };
        Ok((checkpoint, files.map_err(SnapshotError::Read)?))
    }
}

impl Source for Leased {
    fn wanted(&self, missing: u64) {
        self.missing.store(missing, Relaxed);
        metrics::snapshot_sent();
        let bytes: u64 = self.files.iter().map(|file| file.bytes).sum();
        tracing::info!(
            to = %self.to, at = %self.at, files = self.files.len(), bytes, missing,
            "a server is too far behind for the log: sending it a snapshot"
        );
    }

    fn read(
        &self,
        file: usize,
        offset: u64,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Bytes, StorageError>> {
        let checkpoint = self.checkpoint.clone();
        let file = self.files.get(file).cloned();
        async move {
            let read = move || match &file {
                Some(file) => checkpoint.read(file, offset, bytes_max),
                None => Ok(Bytes::new()),
            };
            let doing = "read a snapshot";
            let read = self.placement.aside(read).await;
            read.unwrap_or(Err(StorageError::Closed { doing }))
        }
        .boxed()
    }
}
