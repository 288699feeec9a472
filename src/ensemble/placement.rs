//! Where the tasks of this room run: one table, which no other room knows (DESIGN 4.1).
//!
//! | task | alone | several | simulated |
//! |---|---|---|---|
//! | openraft's core, the sender, peers | the ensemble's thread | the same; never a disk, never RocksDB | the caller's |
//! | apply | the same thread | a thread of its own | the caller's |
//! | the log's writes | the same thread, small ones | the log's own thread | the log's matter |
//! | checkpoints, purges, reads of old log | threads for what blocks | the same | the caller's |
//!
//! A lone voter's core, apply and log hand a write over five times, and on one thread none of that
//! wakes another one. It may also wait for the disk there: what it holds up waits for that write
//! anyway, and there is nobody whose heartbeats could be late. With several voters it would be wrong:
//! a core that waits for its disk, or for an apply that reads from it, is a leader that has fallen
//! silent.
//!
//! In the simulation a server is what runs on one runtime of one thread, whose time is paused: no
//! other thread may decide what happens next, and to drop that runtime is to kill the server.

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
    /// For tests: all on the runtime of the caller, which has one thread.
    Simulated,
}

impl Placement {
    /// Whether apply is done on the core's thread.
    pub(super) fn applies_here(self) -> bool {
        self != Self::Several
    }

    /// Whether the core's thread may wait for the disk, and so does small writes of the log.
    pub(super) fn may_wait(self) -> bool {
        self == Self::Alone
    }

    /// Does work that blocks, on a thread for that; `None` if the process ends before it is done.
    pub(super) async fn aside<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        match self {
            Self::Alone | Self::Several => tokio::task::spawn_blocking(work).await.ok(),
            Self::Simulated => Some(work()),
        }
    }
}

/// The thread of the core. Dropping it ends the tasks there at once, unless it is the caller's.
pub(super) struct Home {
    placement: Placement,
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
    /// Starts the thread, unless it is to be the caller's.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub(super) fn new(placement: Placement) -> Result<Self, StartError> {
        let leaving = CancellationToken::new();
        let left = CancellationToken::new();
        if placement == Placement::Simulated {
            left.cancel();
            let handle = Handle::current();
            return Ok(Self {
                placement,
                handle,
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
            placement,
            handle,
            leaving,
            left,
        })
    }

    /// As chosen at its start.
    pub(super) fn placement(&self) -> Placement {
        self.placement
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
