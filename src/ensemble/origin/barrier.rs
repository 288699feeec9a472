//! What `sync` waits for: a read index that a quorum confirms, applied here (DESIGN 4.4).

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use openraft::ReadPolicy;
use openraft::errors::RaftError;
use tokio::sync::Mutex;

use crate::ensemble::error::ProposeError;
use crate::ensemble::progress::Progress;
use crate::ensemble::raft::types::Raft;

/// Shares rounds: whoever comes while one is under way waits for the next, which serves all that
/// came before it began.
#[derive(Debug, Default)]
pub(in crate::ensemble) struct Barrier {
    begun: AtomicU64,
    done: AtomicU64,
    turn: Mutex<()>,
}

impl Barrier {
    /// See [`crate::ensemble::Ensemble::barrier`].
    pub(in crate::ensemble) async fn pass(
        &self,
        raft: &Raft,
        progress: &Progress,
    ) -> Result<(), ProposeError> {
        let wanted = self.begun.load(SeqCst) + 1;
        let _turn = self.turn.lock().await;
        if self.done.load(SeqCst) >= wanted {
            return Ok(());
        }
        let round = self.begun.fetch_add(1, SeqCst) + 1;
        round_trip(raft, progress).await?;
        self.done.store(round, SeqCst);
        Ok(())
    }
}

async fn round_trip(raft: &Raft, progress: &Progress) -> Result<(), ProposeError> {
    let confirmed = raft.get_read_linearizer(ReadPolicy::ReadIndex).await;
    let confirmed = confirmed.map_err(|error| match error {
        RaftError::APIError(_) => ProposeError::NoLeader,
        RaftError::Fatal(_) => ProposeError::Stopped,
    })?;
    let index = confirmed.read_log_id().index();
    tokio::select! {
        () = progress.until(|at| at.is_some_and(|at| at.index >= index)) => Ok(()),
        () = progress.machine_gone() => Err(ProposeError::Stopped),
    }
}
