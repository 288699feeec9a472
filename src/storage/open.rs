//! The tree on RocksDB.
//!
//! `open` is here because tree and log are only worth something together: each holds the random id
//! of the store, and positions must fit.

use std::fs;
use std::io;
use std::path::{Path, absolute};
use std::sync::Arc;

use tracing::warn;

use super::format::{refuse_foreign, require_made, use_up_permission};
use super::install::{self, Installer};
use super::log::SegmentLog;
use super::ours::{identify, installed, log_was_begun, note_log_begun, open_tree};
use super::places::Layout;
use super::snapshots::checkpoints::RocksSnapshots;
use super::stats::bytes_below;
use super::tree::live::Live;
use super::tree::options::Split;
use super::tree::rocks_tree::{RocksTree, read_meta};
use super::{Config, Log, LogEnds, StorageError, StorageStats};
use crate::state::LogPosition;
use crate::storage::files::{io_error, sync_dir};

/// The three doors, and what they count.
#[derive(Debug)]
pub(super) struct RocksStores {
    pub(super) log: Arc<SegmentLog>,
    pub(super) live: Arc<Live>,
    pub(super) snapshots: Arc<RocksSnapshots>,
    layout: Layout,
    installer: Arc<Installer>,
}

impl RocksStores {
    /// Opens or creates the stores.
    ///
    /// # Errors
    /// See [`super::open`].
    pub(super) fn open(config: &Config) -> Result<Self, StorageError> {
        for dir in [&config.data_dir, &config.log_dir] {
            refuse_foreign(dir)?;
        }
        let layout = Layout::find(config)?;
        let there = layout.look(config)?;
        if !config.create_db && !there.tree {
            use_up_permission(&config.log_dir)?;
        }
        create_dirs(config, &layout)?;
        let split = Split::of(config);
        let tree = open_tree(&layout.tree, split)?;
        let id = identify(tree.db())?;
        let tree_meta = read_meta(tree.db())?;
        let has_begun = tree_meta.applied.is_some() || log_was_begun(tree.db())?;
        if has_begun && !there.log {
            return Err(layout.lost_log(tree_meta.applied));
        }
        let log = SegmentLog::open(&layout.log, &layout.tree, id, config)?;
        note_log_begun(tree.db())?;
        let installed = installed(tree.db())?;
        if let Some(at) = installed {
            install::follow(at, &log)?;
        }
        let fit = check_positions(config, &layout, tree_meta.applied, &log)?;
        if fit == Fit::InStep && config.force_sync && log.is_unsynced() {
            log.note_synced()?;
        }
        let live = Arc::new(Live::new(tree));
        let installer = Arc::new(Installer::new(Arc::clone(&live), id, split));
        let snapshots = RocksSnapshots::open(
            Arc::clone(&live),
            layout.snapshots.clone(),
            Arc::clone(&installer),
            installed,
        )?;
        install::remove_older(&layout)?;
        Ok(Self {
            log: Arc::new(log),
            live,
            snapshots: Arc::new(snapshots),
            layout,
            installer,
        })
    }

    /// See [`super::Stores::install`].
    ///
    /// # Errors
    /// As there.
    pub(super) fn install(&self, received: &Path) -> Result<Arc<RocksTree>, StorageError> {
        self.installer.prepare(received)?;
        self.installer.install(received)
    }

    /// Counters and sizes; walks the directories.
    pub(super) fn stats(&self) -> StorageStats {
        let stats = StorageStats {
            // One walk over both, since they share files by hard links.
            data_dir_bytes: self.layout.tree.parent().map_or(0, bytes_below),
            log_dir_bytes: bytes_below(&self.layout.log),
            ..StorageStats::default()
        };
        self.log.stats(self.live.current().stats(stats))
    }
}

fn create_dirs(config: &Config, layout: &Layout) -> Result<(), StorageError> {
    for root in [&config.data_dir, &config.log_dir] {
        if !config.create_dirs {
            require_made(root)?;
        }
    }
    for dir in [&layout.tree, &layout.snapshots, &layout.log] {
        // A relative path, too, has parents in which its name is new.
        let whole = absolute(dir).map_err(|source| io_error("find", dir, source))?;
        let made = whole.ancestors().take_while(|it| !it.is_dir()).count();
        fs::create_dir_all(dir).map_err(|source| io_error("create", dir, source))?;
        // Up to dataDir also if nothing was made: an earlier start may have been killed here.
        for parent in whole.ancestors().skip(1).take(made.max(3)) {
            sync_parent(parent)?;
        }
    }
    Ok(())
}

/// Makes the names in a directory durable, unless it belongs to somebody else: then we have made
/// none in there.
fn sync_parent(dir: &Path) -> Result<(), StorageError> {
    match sync_dir(dir) {
        Err(StorageError::Io { source, .. }) if is_others(&source) => Ok(()),
        synced => synced,
    }
}

/// What the system says of a directory that may not be read, or of one that cannot be synced, as in
/// a file system that is not on a disk.
fn is_others(source: &io::Error) -> bool {
    matches!(
        source.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::Unsupported
            | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// How log and tree fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fit {
    /// Whatever the tree holds, the log holds, or a leader does.
    InStep,
    /// The log has lost its end, and may.
    LogIsShort,
}

/// The log must reach at least to what the tree holds, and begin there at the latest.
///
/// Written without syncs it may be shorter than the flushed tree after a power failure: then what
/// the tree holds was applied, and going on from there loses nothing more. With others a tree is ahead
/// of its log whenever this disk was the slowest (DESIGN 3.4).
fn check_positions(
    config: &Config,
    layout: &Layout,
    applied: Option<LogPosition>,
    log: &SegmentLog,
) -> Result<Fit, StorageError> {
    let LogEnds { purged, last } = log.ends();
    if let Some(purged) = purged
        && applied.is_none_or(|at| at.index < purged.index)
    {
        return Err(StorageError::Lost {
            path: layout.tree.clone(),
            why: format!(
                "the log begins behind {purged}, but the tree ends at {}",
                shown(applied)
            ),
        });
    }
    let Some(applied) = applied else {
        return Ok(Fit::InStep);
    };
    if last.is_some_and(|last| last.index >= applied.index) {
        return Ok(Fit::InStep);
    }
    if config.has_others {
        // What was acknowledged here is there: the log itself sees to that.
        warn!(log = %shown(last), tree = %applied, "the tree is ahead of its log: the leader has the rest");
        // Without syncs it does not, and may have lost more than that.
        let is_whole = !log.is_unsynced();
        return Ok(if is_whole {
            Fit::InStep
        } else {
            Fit::LogIsShort
        });
    }
    if log.is_unsynced() && last.is_some() {
        warn!(log = %shown(last), tree = %applied, "the log has lost its end: it was not synced");
        return Ok(Fit::LogIsShort);
    }
    Err(StorageError::Lost {
        path: layout.log.clone(),
        why: format!(
            "the tree holds {applied}, but the log ends at {}",
            shown(last)
        ),
    })
}

fn shown(position: Option<LogPosition>) -> String {
    position.map_or_else(|| "nothing".to_owned(), |at| at.to_string())
}
