//! What the stores count for metrics and four-letter words.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::metrics;

/// Counters of the log's writer; written by its thread, read by anybody.
#[derive(Debug, Default)]
pub(super) struct LogCounters {
    syncs: AtomicU64,
    sync_us_sum: AtomicU64,
    sync_us_max: AtomicU64,
    slow_syncs: AtomicU64,
    grouped: AtomicU64,
    appended_bytes: AtomicU64,
}

impl LogCounters {
    /// One synced group of `jobs` appends and votes took `took`.
    pub(super) fn synced(&self, jobs: usize, took: Duration, slow: bool) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        metrics::fsync_took(took, jobs);
        self.syncs.fetch_add(1, Relaxed);
        self.sync_us_sum.fetch_add(us, Relaxed);
        self.sync_us_max.fetch_max(us, Relaxed);
        self.slow_syncs.fetch_add(u64::from(slow), Relaxed);
        self.grouped.fetch_add(jobs as u64, Relaxed);
    }

    /// So many bytes of payload were appended.
    pub(super) fn appended(&self, bytes: u64) {
        self.appended_bytes.fetch_add(bytes, Relaxed);
    }

    /// Payload bytes appended since the start.
    pub(super) fn appended_bytes(&self) -> u64 {
        self.appended_bytes.load(Relaxed)
    }
}

/// A look at the counters and sizes of all stores.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StorageStats {
    /// Size of all files of tree and checkpoints, bytes. Hard links count once.
    pub data_dir_bytes: u64,
    /// Size of all files of the log, bytes.
    pub log_dir_bytes: u64,
    /// Znodes, known absences and names held by the cache, bytes.
    pub cache_bytes: u64,
    /// Entries of the cache.
    pub cache_entries: u64,
    /// Blocks, filters and indexes of the tree's files in memory, with the memtables, bytes.
    pub block_cache_bytes: u64,
    /// Changes of the tree that are not flushed, bytes.
    pub tree_memtable_bytes: u64,
    /// The log's entries in memory, bytes.
    pub log_tail_bytes: u64,
    /// Synced groups since the start.
    pub syncs: u64,
    /// Time spent in them, microseconds.
    pub sync_us_sum: u64,
    /// The longest, microseconds.
    pub sync_us_max: u64,
    /// How many took longer than the warning threshold. zk: fsync_threshold_exceed_count.
    pub slow_syncs: u64,
    /// Appends and votes that shared those syncs.
    pub grouped_writes: u64,
    /// Payload bytes appended to the log since the start.
    pub appended_bytes: u64,
}

impl StorageStats {
    /// Fills in the log's counters.
    pub(super) fn with_log(self, log: &LogCounters) -> Self {
        Self {
            syncs: log.syncs.load(Relaxed),
            sync_us_sum: log.sync_us_sum.load(Relaxed),
            sync_us_max: log.sync_us_max.load(Relaxed),
            slow_syncs: log.slow_syncs.load(Relaxed),
            grouped_writes: log.grouped.load(Relaxed),
            appended_bytes: log.appended_bytes(),
            ..self
        }
    }
}

/// Sum of the sizes of all files below `root`, each file once. Files that vanish meanwhile and
/// directories that cannot be read count as nothing.
pub(super) fn bytes_below(root: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;

    let mut seen = std::collections::HashSet::new();
    let mut dirs: Vec<PathBuf> = vec![root.to_owned()];
    let mut total = 0;
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                dirs.push(entry.path());
            } else if seen.insert(meta.ino()) {
                total += meta.len();
            }
        }
    }
    total
}
