//! How this server takes a snapshot in: offered by its leader, received beside all else, installed.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use tokio::time::Instant;

use crate::ensemble::members::standing::Standing;
use crate::ensemble::peer::{Hello, Offer, Receipt, Receive, Refusal};
use crate::ensemble::placement::Placement;
use crate::ensemble::progress::Progress;
use crate::ensemble::raft::core::Core;
use crate::ensemble::raft::messages::SnapshotResponse;
use crate::ensemble::raft::types::{LogId, Vote, position};
use crate::state::ServerId;
use crate::storage::{ReceiveError, Receiving, Snapshots};

/// What takes snapshots in.
#[derive(Clone)]
pub(in crate::ensemble) struct Receiver {
    pub(in crate::ensemble) core: Core,
    pub(in crate::ensemble) standing: Arc<Standing>,
    pub(in crate::ensemble) snapshots: Arc<dyn Snapshots>,
    pub(in crate::ensemble) progress: Arc<Progress>,
    pub(in crate::ensemble) placement: Placement,
}

/// A snapshot that comes in.
struct Incoming {
    receiver: Receiver,
    from: ServerId,
    vote: Vote,
    at: LogId,
    has: Vec<u64>,
    /// Away while it is written to.
    receiving: Option<Box<dyn Receiving>>,
    /// Bytes that have come by this connection.
    came: u64,
    begun: Instant,
}

impl Receiver {
    /// A leader offers one. From now on this server does not serve: what it has is long past.
    ///
    /// # Errors
    /// It may not be taken from this leader, or the disk has no room.
    pub(in crate::ensemble) async fn begin(
        self,
        from: Hello,
        offer: Offer,
    ) -> Result<Receipt, Refusal> {
        let Offer { vote, at, files } = offer;
        if !self.standing.follows(vote.leader_id.term) {
            return Err(Refusal::NotReady);
        }
        if let Some(higher) = self.core.higher_vote(&vote) {
            return Ok(Receipt::Settled(SnapshotResponse::new(higher)));
        }
        if self.progress.applied() >= Some(position(&at)) {
            return Ok(Receipt::Settled(SnapshotResponse::new(vote)));
        }
        self.progress.want(position(&at));
        let begun = Instant::now();
        let bytes: u64 = files.iter().map(|file| file.bytes).sum();
        let count = files.len();
        let snapshots = Arc::clone(&self.snapshots);
        let receive = move || snapshots.receive(files);
        let receiving = self.placement.aside(receive).await;
        let receiving = receiving.ok_or(Refusal::Stopping)?;
        let receiving = receiving.map_err(|error| refused(&error, from.server))?;
        let has = receiving.has();
        let there: u64 = has.iter().sum();
        tracing::info!(
            from = %from.server, at = %position(&at), files = count, bytes, there,
            "receiving a snapshot"
        );
        Ok(Receipt::Begun(Box::new(Incoming {
            receiver: self,
            from: from.server,
            vote,
            at,
            has,
            receiving: Some(receiving),
            came: 0,
            begun,
        })))
    }
}

impl Incoming {
    async fn write_aside(&mut self, file: usize, offset: u64, bytes: Bytes) -> Result<(), Refusal> {
        // It is gone if a write before was cut off.
        let mut receiving = self.receiving.take().ok_or(Refusal::Failed)?;
        self.came += bytes.len() as u64;
        let write = move || {
            let written = receiving.write(file, offset, &bytes);
            (receiving, written)
        };
        let written = self.receiver.placement.aside(write).await;
        let (receiving, written) = written.ok_or(Refusal::Stopping)?;
        self.receiving = Some(receiving);
        written.map_err(|error| refused(&error, self.from))
    }

    async fn finish(mut self) -> Result<SnapshotResponse, Refusal> {
        let Receiver {
            core, placement, ..
        } = self.receiver;
        let receiving = self.receiving.take().ok_or(Refusal::Failed)?;
        let finished = placement.aside(move || receiving.finish()).await;
        let finished = finished.ok_or(Refusal::Stopping)?;
        let received = finished.map_err(|error| refused(&error, self.from))?;
        let at = position(&self.at);
        tracing::info!(
            from = %self.from, %at, bytes = self.came, took = ?self.begun.elapsed(),
            "snapshot received"
        );
        if received.meta.applied != Some(at) {
            let found = received.meta.applied;
            tracing::error!(from = %self.from, %at, ?found, "a snapshot is not what was offered");
            return Err(Refusal::Senseless);
        }
        core.install(self.vote, received).await
    }
}

impl Receive for Incoming {
    fn has(&self) -> &[u64] {
        &self.has
    }

    fn write(
        &mut self,
        file: usize,
        offset: u64,
        bytes: Bytes,
    ) -> BoxFuture<'_, Result<(), Refusal>> {
        self.write_aside(file, offset, bytes).boxed()
    }

    fn install(self: Box<Self>) -> BoxFuture<'static, Result<SnapshotResponse, Refusal>> {
        // What has come is installed, whatever becomes of the connection meanwhile.
        let installing = tokio::spawn(self.finish());
        async move { installing.await.unwrap_or(Err(Refusal::Failed)) }.boxed()
    }
}

/// What the leader is told, and the log where a human must act.
fn refused(error: &ReceiveError, from: ServerId) -> Refusal {
    match error {
        ReceiveError::Superseded => Refusal::Busy,
        ReceiveError::Damaged { file } => {
            tracing::warn!(%from, file, "a file of a snapshot came damaged: it is to be sent again");
            Refusal::Damaged
        }
        ReceiveError::Senseless(why) => {
            tracing::warn!(%from, why, "a snapshot makes no sense");
            Refusal::Senseless
        }
        ReceiveError::Storage(error) => {
            let error = error as &dyn std::error::Error;
            tracing::error!(error, %from, "a snapshot cannot be received");
            Refusal::Failed
        }
    }
}
