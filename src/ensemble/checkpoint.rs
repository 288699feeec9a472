//! When a checkpoint is taken and the log behind it purged: by bytes of log, and by entries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::progress::Progress;
use super::raft::{Raft, position};

/// How much log there is behind the last checkpoint.
#[derive(Debug)]
pub(super) struct Pressure {
    bytes_max: u64,
    entries_max: u64,
    /// Bytes appended since the start of the process.
    bytes: AtomicU64,
    /// The same when the last checkpoint was begun.
    bytes_mark: AtomicU64,
    /// Last index.
    index: AtomicU64,
    /// Last index in the last checkpoint, or that at which it was begun.
    index_mark: AtomicU64,
    due: Notify,
}

impl Pressure {
    /// `checkpoint`, `last`: last index in the newest checkpoint and in the log.
    pub(super) fn new(bytes_max: u64, entries_max: u64, checkpoint: u64, last: u64) -> Self {
        let pressure = Self {
            bytes_max: bytes_max.max(1),
            entries_max: entries_max.max(1),
            bytes: AtomicU64::new(0),
            bytes_mark: AtomicU64::new(0),
            index: AtomicU64::new(last),
            index_mark: AtomicU64::new(checkpoint),
            due: Notify::new(),
        };
        pressure.check();
        pressure
    }

    /// The log now ends at `index` and has taken `bytes` since the start of the process.
    pub(super) fn appended(&self, index: u64, bytes: u64) {
        self.bytes.store(bytes, Relaxed);
        self.index.store(index, Relaxed);
        self.check();
    }

    fn check(&self) {
        let bytes = self
            .bytes
            .load(Relaxed)
            .saturating_sub(self.bytes_mark.load(Relaxed));
        let entries = self
            .index
            .load(Relaxed)
            .saturating_sub(self.index_mark.load(Relaxed));
        if bytes >= self.bytes_max || entries >= self.entries_max {
            self.due.notify_one();
        }
    }

    fn begin(&self) {
        self.bytes_mark.store(self.bytes.load(Relaxed), Relaxed);
        self.index_mark.store(self.index.load(Relaxed), Relaxed);
    }
}

/// Takes a checkpoint whenever one is due, until `stopping`. openraft purges the log behind it,
/// except for `Config::entries_kept`. A failure ends the core, and so this task.
///
/// One that would hold nothing new is put off until something more is applied: openraft would not
/// count it, and its end could not be told.
pub(super) async fn run(
    raft: Raft,
    pressure: Arc<Pressure>,
    progress: Arc<Progress>,
    stopping: CancellationToken,
) {
    let mut taken = raft.watch_snapshot_progress();
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = pressure.due.notified() => {}
        }
        pressure.begin();
        let before = taken.get();
        let held = before.as_ref().map(position);
        let finished = async {
            progress.until(|applied| *applied > held).await;
            raft.trigger().snapshot().await.ok()?;
            taken.wait_until(|now| *now > before).await.ok()
        };
        tokio::select! {
            () = stopping.cancelled() => return,
            finished = finished => match finished {
                Some(at) => {
                    let index = at.map(|id| id.index);
                    tracing::info!(index, "checkpoint taken");
                }
                None => return,
            }
        }
    }
}
