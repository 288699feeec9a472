//! Where the tasks of this room run.
//!
//! A lone voter's live on one thread of their own: batcher, openraft's core, its state machine
//! worker and all between them hand a write over five times, and on a thread of their own none of
//! that wakes another thread. It may also wait for the disk there: what it holds up waits for that
//! write anyway, and there is nobody whose heartbeats could be late.
//!
//! With several voters it would be wrong: a core that waits for its disk, or for an apply that
//! reads from it, is a leader that has fallen silent. There the tasks live on the server's own
//! runtime, where apply gives its worker up while it blocks, and the log writes on its own thread.

use std::fmt;
use std::future::Future;
use std::thread;

use tokio::runtime::{Builder, Handle, RuntimeMetrics};
use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::error::{Failure, StartError};
use crate::system;

/// Threads for work of the lone voter's tasks that blocks: a checkpoint, and what the log is asked.
const BLOCKING_THREADS: usize = 2;

/// Where the tasks of the ensemble run. Dropping it ends those of a lone voter at once.
pub(super) struct Home {
    handle: Handle,
    /// Told to the thread, if there is one.
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
    /// Whether one thread does everything, the log's writes too.
    pub(super) fn is_one_thread(config: &Config) -> bool {
        config.voters.len() == 1
    }

    /// For these settings; to be called on the server's runtime.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub(super) fn new(config: &Config) -> Result<Self, StartError> {
        let leaving = CancellationToken::new();
        let left = CancellationToken::new();
        if !Self::is_one_thread(config) {
            left.cancel();
            return Ok(Self {
                handle: Handle::current(),
                leaving,
                left,
            });
        }
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

    /// Ends the thread, if there is one.
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
