//! Where the tasks of this room run: one table, which no other room knows (DESIGN 4.1).
//!
//! | task | alone | several |
//! |---|---|---|
//! | openraft's core, the sender, peers | the ensemble's thread | the same; never a disk, never RocksDB |
//! | apply | the same thread | a thread of its own |
//! | the log's writes | the same thread, small ones | the log's own thread |
//! | checkpoints, purges, reads of old log | threads for what blocks | the same |
//!
//! A lone voter's core, apply and log hand a write over five times, and on one thread none of that
//! wakes another one. It may also wait for the disk there: what it holds up waits for that write
//! anyway, and there is nobody whose heartbeats could be late. With several voters it would be wrong:
//! a core that waits for its disk, or for an apply that reads from it, is a leader that has fallen
//! silent.

use std::fmt;
use std::future::Future;
use std::thread;

use tokio::runtime::{Builder, Handle, RuntimeMetrics};
use tokio_util::sync::CancellationToken;

use super::error::{Failure, StartError};
use crate::system;

/// Threads for work of these tasks that blocks: a checkpoint, and what the log is asked.
const BLOCKING_THREADS: usize = 2;

/// A column of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placement {
    /// For a lone voter: one thread for all.
    Alone,
    /// For one of several.
    Several,
}

impl Placement {
    /// Whether apply and small writes of the log are done on the core's thread.
    pub(super) fn is_one_thread(self) -> bool {
        self == Self::Alone
    }
}

/// The thread of the core. Dropping it ends the tasks there at once.
pub(super) struct Home {
    handle: Handle,
    /// Told to the thread.
    leaving: CancellationToken,
    /// Told by the thread when all its tasks are gone.
    left: CancellationToken,
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Home").finish_non_exhaustive()
    }
}

impl Home {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub(super) fn new() -> Result<Self, StartError> {
        let leaving = CancellationToken::new();
        let left = CancellationToken::new();
        let mut builder = Builder::new_current_thread();
        let runtime = system::keep_threads(builder.enable_all(), "ensemble-work").build();
        let runtime = runtime.map_err(StartError::Thread)?;
        system::start_threads(runtime.handle(), BLOCKING_THREADS).map_err(StartError::Thread)?;
        let handle = runtime.handle().clone();
        let (until, gone) = (leaving.clone(), left.clone().drop_guard());
        thread::Builder::new()
            .name("ensemble".to_owned())
            .spawn(move || {
                runtime.block_on(until.cancelled());
                drop(runtime);
                drop(gone);
            })
            .map_err(StartError::Thread)?;
        Ok(Self {
            handle,
            leaving,
            left,
        })
    }

    /// Runs `work` there; what it spawns stays there.
    ///
    /// # Errors
    /// As `work`; or it was cut off by the end of the process.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StartError>> + Send + 'static,
    ) -> Result<T, StartError> {
        match self.handle.spawn(work).await {
            Ok(done) => done,
            Err(_) => {
                let doing = "start the ensemble";
                Err(StartError::Failed(Failure::CutOff { doing }.into()))
            }
        }
    }

    /// What its runtime is at.
    pub(super) fn runtime_metrics(&self) -> RuntimeMetrics {
        self.handle.metrics()
    }

    /// Ends the thread.
    pub(super) async fn leave(&self) {
        self.leaving.cancel();
        self.left.cancelled().await;
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.leaving.cancel();
    }
}
