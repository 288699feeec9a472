//! What `sync` waits for: a read index that a quorum confirms, applied here (DESIGN 4.4).

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tokio::sync::Mutex;

use crate::ensemble::error::ProposeError;
use crate::ensemble::progress::Progress;

/// Shares rounds: whoever comes while one is under way waits for the next, which serves all that
/// came before it began.
#[derive(Debug, Default)]
pub(in crate::ensemble) struct Barrier {
    begun: AtomicU64,
    done: AtomicU64,
    turn: Mutex<()>,
}

impl Barrier {
    /// See [`crate::ensemble::Ensemble::barrier`]. `ask`: the index up to which the log was committed,
    /// as a leader says that a quorum has confirmed as such since it was asked.
    pub(in crate::ensemble) async fn pass(
        &self,
        ask: impl AsyncFnOnce() -> Result<u64, ProposeError>,
        progress: &Progress,
    ) -> Result<(), ProposeError> {
        let wanted = self.begun.load(SeqCst) + 1;
        let _turn = self.turn.lock().await;
        if self.done.load(SeqCst) >= wanted {
            return Ok(());
        }
        let round = self.begun.fetch_add(1, SeqCst) + 1;
        let index = ask().await?;
        tokio::select! {
            () = progress.until(|at| at.is_some_and(|at| at.index >= index)) => {}
            () = progress.machine_gone() => return Err(ProposeError::Stopped),
        }
        self.done.store(round, SeqCst);
        Ok(())
    }
}
