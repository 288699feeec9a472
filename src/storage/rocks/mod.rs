//! The tree on RocksDB.
//!
//! `open` is here because tree and log are only worth something together: each holds the random id
//! of the store, and positions must fit.

mod cache;
mod checkpoints;
mod db;
mod encode;
mod gather;
mod keys;
mod loads;
mod marks;
mod options;
mod recent;
mod tree;
mod view;

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::WriteBatch;
use tracing::warn;

use self::checkpoints::RocksSnapshots;
pub(super) use self::checkpoints::{io_error, sync_dir};
use self::db::Database;
use self::gather::Gather;
use self::keys::{Family, meta};
use self::options::Split;
use self::tree::{RocksTree, read_meta};
use super::format::{Format, refuse_foreign, require_made, use_up_permission};
use super::segments::{self, SegmentLog};
use super::stats::bytes_below;
use super::varint::Cursor;
use super::{Config, Log, LogEnds, StorageError, StorageStats};
use crate::state::LogPosition;

/// The three doors, and what they count.
#[derive(Debug)]
pub(super) struct RocksStores {
    pub(super) log: Arc<SegmentLog>,
    pub(super) tree: Arc<RocksTree>,
    pub(super) snapshots: Arc<RocksSnapshots>,
    layout: Layout,
}

/// Where everything lies.
#[derive(Clone, Debug)]
struct Layout {
    tree: PathBuf,
    snapshots: PathBuf,
    log: PathBuf,
}

/// Our directory within dataDir and dataLogDir.
const OURS: &str = "oxkeeper";

impl RocksStores {
    /// Opens or creates the stores.
    ///
    /// # Errors
    /// See [`super::open`].
    pub(super) fn open(config: &Config) -> Result<Self, StorageError> {
        for dir in [&config.data_dir, &config.log_dir] {
            refuse_foreign(dir)?;
        }
        let layout = Layout {
            tree: config.data_dir.join(OURS).join("tree"),
            snapshots: config.data_dir.join(OURS).join("snapshots"),
            log: config.log_dir.join(OURS).join("log"),
        };
        let holds_log = segments::holds_log(&layout.log)? || holds_database(&layout.log);
        let there = (holds_database(&layout.tree), holds_log);
        if let (false, true) = there {
            return Err(lost_tree(&layout));
        }
        if !config.create_db && !holds_database(&layout.tree) {
            use_up_permission(&config.log_dir)?;
        }
        create_dirs(config, &layout)?;
        let split = Split::of(config);
        let tree_options = options::tree(split);
        let tree = Database::open(&layout.tree, &tree_options.db, tree_options.families)?;
        let id = identify(&tree)?;
        let tree_meta = read_meta(&tree)?;
        if let (true, false) = there
            && let Some(applied) = tree_meta.applied
        {
            return Err(lost_log(&layout, applied));
        }
        let log = SegmentLog::open(&layout.log, id, config)?;
        check_positions(config, &layout, tree_meta.applied, &log)?;
        let tree = Arc::new(tree);
        let gather = Arc::new(Gather::new(Arc::clone(&tree)));
        let snapshots = RocksSnapshots::open(
            Arc::clone(&tree),
            Arc::clone(&gather),
            layout.snapshots.clone(),
        )?;
        Ok(Self {
            log: Arc::new(log),
            tree: Arc::new(RocksTree::new(tree, gather, tree_options.blocks, split)),
            snapshots: Arc::new(snapshots),
            layout,
        })
    }

    /// Counters and sizes; walks the directories.
    pub(super) fn stats(&self) -> StorageStats {
        let stats = StorageStats {
            // One walk over both, since they share files by hard links.
            data_dir_bytes: self.layout.tree.parent().map_or(0, bytes_below),
            log_dir_bytes: bytes_below(&self.layout.log),
            ..StorageStats::default()
        };
        self.log.stats(self.tree.stats(stats))
    }
}

/// True if RocksDB finished creating a database here.
fn holds_database(dir: &Path) -> bool {
    dir.join("CURRENT").exists()
}

fn create_dirs(config: &Config, layout: &Layout) -> Result<(), StorageError> {
    for root in [&config.data_dir, &config.log_dir] {
        if !config.create_dirs {
            require_made(root)?;
        }
    }
    for dir in [&layout.tree, &layout.snapshots, &layout.log] {
        fs::create_dir_all(dir).map_err(|source| io_error("create", dir, source))?;
        for parent in dir
            .ancestors()
            .skip(1)
            .take(3)
            .filter(|parent| parent.is_dir())
        {
            sync_dir(parent)?;
        }
    }
    Ok(())
}

/// Reads the format version and the store's id, or writes them, a random one, into a new database.
fn identify(db: &Database) -> Result<u64, StorageError> {
    let family = Family::Meta.name();
    let number = |key, what: &'static str| -> Result<Option<u64>, StorageError> {
        let Some(value) = db.value(family, key)? else {
            return Ok(None);
        };
        let number = Cursor::new(&value).array(what).map(u64::from_be_bytes);
        number.map(Some).map_err(|why| db.corrupt(what, why))
    };
    match (
        number(meta::FORMAT, "format version")?,
        number(meta::STORE, "store id")?,
    ) {
        (Some(format), Some(found)) => {
            Format::from_disk(u32::try_from(format).unwrap_or(u32::MAX), db.path())?;
            Ok(found)
        }
        (Some(format), None) => {
            // A newer version may have moved the id.
            Format::from_disk(u32::try_from(format).unwrap_or(u32::MAX), db.path())?;
            Err(unidentified(db))
        }
        (None, Some(_)) => Err(unidentified(db)),
        (None, None) if db.raw().latest_sequence_number() > 0 => Err(unidentified(db)),
        (None, None) => {
            let id = RandomState::new().hash_one(OURS);
            let mut batch = WriteBatch::default();
            let handle = db.family(family)?;
            let format = u64::from(Format::NEWEST.number());
            batch.put_cf(handle, meta::FORMAT, format.to_be_bytes());
            batch.put_cf(handle, meta::STORE, id.to_be_bytes());
            db.write(batch, &options::unlogged())
                .map_err(|source| db.failed("write the format version", source))?;
            // Durable before anything else is written: the tree has no write-ahead log.
            db.flush(&[family], true)?;
            Ok(id)
        }
    }
}

fn unidentified(db: &Database) -> StorageError {
    StorageError::Corrupt {
        what: "format version",
        path: db.path().to_owned(),
        why: "it is missing, but the database is not empty".to_owned(),
    }
}

/// The log must reach at least to what the tree holds, and begin there at the latest.
///
/// Without syncs a power failure may leave a log that is shorter than the flushed tree: then what
/// the tree holds was applied, and going on from there loses nothing more.
fn check_positions(
    config: &Config,
    layout: &Layout,
    applied: Option<LogPosition>,
    log: &SegmentLog,
) -> Result<(), StorageError> {
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
        return Ok(());
    };
    if last.is_some_and(|last| last.index >= applied.index) {
        return Ok(());
    }
    if !config.force_sync && last.is_some() {
        warn!(log = %shown(last), tree = %applied, "the log has lost its end: it was not synced");
        return Ok(());
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

fn lost_tree(layout: &Layout) -> StorageError {
    StorageError::Lost {
        path: layout.tree.clone(),
        why: format!("there is no tree, but {} holds a log", layout.log.display()),
    }
}

fn lost_log(layout: &Layout, applied: LogPosition) -> StorageError {
    StorageError::Lost {
        path: layout.log.clone(),
        why: format!(
            "there is no log, but {} holds a tree up to {applied}",
            layout.tree.display()
        ),
    }
}
