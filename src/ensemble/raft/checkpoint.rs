//! When a checkpoint is taken and the log behind it purged: by bytes of log, and by entries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::types::{Raft, position};
use crate::ensemble::config::Config;
use crate::ensemble::placement::Placement;
use crate::ensemble::progress::Progress;
use crate::state::LogPosition;
use crate::storage::Log;

/// How much log there is behind the last checkpoint.
#[derive(Debug)]
pub(in crate::ensemble) struct Pressure {
    bytes_max: u64,
    entries_max: u64,
    /// Bytes of log behind the last checkpoint when the process started.
    bytes_before: u64,
    /// Those, and what has been appended since.
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
    /// For `log`, the newest checkpoint of which ends with entry `checkpoint`. May wait for a write.
    pub(in crate::ensemble) fn new(
        config: &Config,
        log: &dyn Log,
        checkpoint: Option<u64>,
    ) -> Self {
        let bytes_before = log.bytes_behind(checkpoint);
        let pressure = Self {
            bytes_max: config.checkpoint_log_bytes.max(1),
            entries_max: config.checkpoint_entries.max(1),
            bytes_before,
            bytes: AtomicU64::new(bytes_before),
            bytes_mark: AtomicU64::new(0),
            index: AtomicU64::new(log.ends().last.map_or(0, |at| at.index)),
            index_mark: AtomicU64::new(checkpoint.unwrap_or(0)),
            due: Notify::new(),
        };
        pressure.check();
        pressure
    }

    /// The log now ends at `index` and has taken `bytes` since the start of the process.
    pub(in crate::ensemble) fn appended(&self, index: u64, bytes: u64) {
        self.bytes
            .store(self.bytes_before.saturating_add(bytes), Relaxed);
        self.index.store(index, Relaxed);
        self.check();
    }

    fn check(&self) {
        if self.is_over(1) {
            self.due.notify_one();
        }
    }

    /// Whether so many times what makes a checkpoint due lies behind the last one.
    fn is_over(&self, times: u64) -> bool {
        let bytes = self
            .bytes
            .load(Relaxed)
            .saturating_sub(self.bytes_mark.load(Relaxed));
        let entries = self
            .index
            .load(Relaxed)
            .saturating_sub(self.index_mark.load(Relaxed));
        bytes >= self.bytes_max.saturating_mul(times)
            || entries >= self.entries_max.saturating_mul(times)
    }

    /// Resolves when far more than is due lies behind the last checkpoint.
    async fn overdue(&self) {
        while !self.is_over(OVERDUE) {
            self.due.notified().await;
        }
    }

    fn begin(&self) {
        self.bytes_mark.store(self.bytes.load(Relaxed), Relaxed);
        self.index_mark.store(self.index.load(Relaxed), Relaxed);
    }
}

/// While a snapshot is on its way, the next checkpoint waits: it would purge what its receiver needs
/// next. But not for ever: the log must end somewhere, and then the receiver gets another snapshot.
const OVERDUE: u64 = 4;

/// openraft does not tell when it ignores a request, as it does while it has not heard that the
/// last checkpoint has ended. A request while one is under way costs nothing.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Takes a checkpoint whenever one is due, until `stopping`. openraft purges the log behind it,
/// except for `Config::entries_kept`. A failure ends the core, and so this task.
///
/// One that would hold nothing new is put off until something more is applied. Even so an attempt
/// can end where the last one did: a checkpoint does not wait for ever for the end of the entry
/// under way, and what was applied before that may not be in the database yet. openraft does not
/// count it, so its own figures would be waited for in vain; there is more when that entry ends.
pub(in crate::ensemble) async fn run(
    raft: Raft,
    pressure: Arc<Pressure>,
    retention: Retention,
    progress: Arc<Progress>,
    stopping: CancellationToken,
) {
    let mut taken = raft.watch_snapshot_progress();
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = pressure.due.notified() => {}
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = progress.sent() => {}
            () = pressure.overdue() => {}
        }
        pressure.begin();
        let before = taken.get();
        let held = before.as_ref().map(position);
        let finished = async {
            let mut behind = held;
            loop {
                let mut builds = progress.builds();
                progress.until(|applied| *applied > behind).await;
                let applied = progress.applied();
                raft.trigger().snapshot().await.ok()?;
                tokio::select! {
                    at = taken.wait_until(|now| *now > before) => return at.ok(),
                    () = ended_short(&mut builds, held) => behind = applied,
                    () = tokio::time::sleep(ASK_AGAIN) => behind = held,
                }
            }
        };
        tokio::select! {
            () = stopping.cancelled() => return,
            finished = finished => match finished {
                Some(at) => {
                    let index = at.map(|id| id.index);
                    tracing::info!(index, "checkpoint taken");
                    if let Some(index) = index {
                        retention.enforce(&raft, index).await;
                    }
                }
                None => return,
            }
        }
    }
}

/// How much log stays behind a checkpoint for servers that are away: openraft counts entries only, and
/// an entry may be as large as the largest request.
pub(in crate::ensemble) struct Retention {
    pub(in crate::ensemble) log: Arc<dyn Log>,
    pub(in crate::ensemble) bytes_max: u64,
    pub(in crate::ensemble) placement: Placement,
}

impl Retention {
    /// Purges what is too much of the log up to `checkpoint`.
    async fn enforce(&self, raft: &Raft, checkpoint: u64) {
        let (log, bytes_max) = (Arc::clone(&self.log), self.bytes_max);
        let find = move || excess(&*log, checkpoint, bytes_max);
        if let Some(Some(upto)) = self.placement.aside(find).await
            && let Err(error) = raft.trigger().purge_log(upto).await
        {
            tracing::debug!(%error, "the log is not purged");
        }
    }
}

/// Up to which entry the log must go for the rest to be no more than `bytes_max`.
fn excess(log: &dyn Log, checkpoint: u64, bytes_max: u64) -> Option<u64> {
    let first = log.ends().purged.map_or(0, |at| at.index);
    if log.bytes_behind(Some(first)) <= bytes_max {
        return None;
    }
    let (mut low, mut high) = (first, checkpoint);
    while low < high {
        let middle = low + (high - low) / 2;
        if log.bytes_behind(Some(middle)) <= bytes_max {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    (high > first).then_some(high)
}

/// Resolves when an attempt has ended with nothing behind `held`.
async fn ended_short(builds: &mut watch::Receiver<Option<LogPosition>>, held: Option<LogPosition>) {
    // The sender lives as long as the room.
    while builds.changed().await.is_ok() {
        if *builds.borrow_and_update() <= held {
            return;
        }
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::LogEntry;
    use crate::storage::memory::MemoryLog;

    /// A log of a hundred entries of ten bytes, of which the first `purged` are gone.
    fn log(purged: u64) -> MemoryLog {
        let log = MemoryLog::new();
        let entry = |index| LogEntry {
            position: LogPosition { term: 1, index },
            payload: bytes::Bytes::from_static(&[0x80; 10]),
        };
        log.append((0..100).map(entry).collect(), Box::new(drop));
        if let Some(last) = purged.checked_sub(1) {
            let upto = LogPosition {
                term: 1,
                index: last,
            };
            log.purge(upto).unwrap();
        }
        log
    }

    #[test]
    fn what_is_too_much_goes_and_no_more() {
        assert_eq!(excess(&log(0), 90, 2_000), None, "there is less");
        assert_eq!(excess(&log(20), 90, 800), None, "just as much");
        for (bytes_max, upto) in [(799, 20), (500, 49), (495, 50), (101, 89), (100, 89)] {
            let log = log(20);
            assert_eq!(excess(&log, 90, bytes_max), Some(upto), "{bytes_max}");
            assert!(log.bytes_behind(Some(upto)) <= bytes_max);
        }
    }

    /// What is behind the checkpoint is nowhere else.
    #[test]
    fn nothing_goes_behind_the_checkpoint() {
        assert_eq!(excess(&log(20), 60, 100), Some(60));
        assert_eq!(excess(&log(61), 60, 100), None);
    }
}
