//! Snapshots of the tree: RocksDB checkpoints, hard links to its files.
//!
//! ```text
//!   take:  building-<name>  ─ checkpoint, read its state ─▶  <name>  ─▶ older ones deleted
//! ```
//!
//! A name is `<term>-<index>-<zxid>` in hex (formats.md 6). What was left half-built by a crash is removed at the
//! next start; so is a checkpoint that cannot be opened: the live tree holds the same and more.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rocksdb::checkpoint::Checkpoint as RocksCheckpoint;
use tokio::time::Instant;
use tracing::warn;

use crate::metrics;
use crate::state::{LogPosition, Meta};
use crate::storage::files::{io_error, sync_dir};
use crate::storage::tree::db::Database;
use crate::storage::tree::live::Live;
use crate::storage::tree::options;
use crate::storage::tree::rocks_tree::read_meta;
use crate::storage::{Checkpoint, Snapshots, StorageError};

/// Takes checkpoints of the tree by hard links, and keeps the newest.
#[derive(Debug)]
pub(in crate::storage) struct RocksSnapshots {
    live: Arc<Live>,
    dir: PathBuf,
    /// Makes `take` one at a time.
    taking: Mutex<()>,
    newest: Mutex<Option<Checkpoint>>,
}

const BUILDING: &str = "building-";

impl RocksSnapshots {
    /// Finds the newest checkpoint in `dir`, which exists, and removes leftovers.
    ///
    /// # Errors
    /// The file system said no.
    pub(in crate::storage) fn open(live: Arc<Live>, dir: PathBuf) -> Result<Self, StorageError> {
        let mut found = Vec::new();
        let entries = fs::read_dir(&dir).map_err(|source| io_error("list", &dir, source))?;
        for entry in entries {
            let entry = entry.map_err(|source| io_error("list", &dir, source))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(BUILDING) {
                remove(&entry.path())?;
            } else if let Some(position) = read_name(&name) {
                found.push((position, entry.path()));
            }
        }
        found.sort();
        let mut newest = None;
        for (_, path) in found.into_iter().rev() {
            if newest.is_some() {
                remove(&path)?;
                continue;
            }
            match read_checkpoint(&path) {
                Ok(meta) => newest = Some(Checkpoint { dir: path, meta }),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    warn!(error, path = %path.display(), "removing a broken checkpoint");
                    remove(&path)?;
                }
            }
        }
        Ok(Self {
            live,
            dir,
            taking: Mutex::new(()),
            newest: Mutex::new(newest),
        })
    }

    fn build(&self) -> Result<Checkpoint, StorageError> {
        let building = self.dir.join(format!("{BUILDING}{}", std::process::id()));
        remove(&building)?;
        let tree = self.live.current();
        tree.write()?;
        let checkpoint = RocksCheckpoint::new(tree.db().raw());
        // Flushes the memtables of all families together, since there is no write-ahead log.
        checkpoint
            .and_then(|checkpoint| checkpoint.create_checkpoint(&building))
            .map_err(|source| tree.db().failed("make a checkpoint", source))?;
        let meta = read_checkpoint(&building)?;
        let dir = self.dir.join(name(&meta));
        if dir.exists() {
            // Nothing was applied since.
            remove(&building)?;
            return Ok(Checkpoint { dir, meta });
        }
        fs::rename(&building, &dir).map_err(|source| io_error("rename", &building, source))?;
        sync_dir(&self.dir)?;
        Ok(Checkpoint { dir, meta })
    }
}

impl Snapshots for RocksSnapshots {
    fn take(&self) -> Result<Checkpoint, StorageError> {
        let begun = Instant::now();
        let _one_at_a_time = self.taking.lock();
        let taken = self.build()?;
        metrics::snapshot_took(begun.elapsed());
        let old = self.newest.lock().replace(taken.clone());
        if let Some(old) = old
            && old.dir != taken.dir
        {
            remove(&old.dir)?;
        }
        Ok(taken)
    }

    fn newest(&self) -> Result<Option<Checkpoint>, StorageError> {
        Ok(self.newest.lock().clone())
    }
}

fn read_checkpoint(dir: &Path) -> Result<Meta, StorageError> {
    let (options, families) = options::checkpoint();
    read_meta(&Database::open_read_only(dir, &options, families)?)
}

fn name(meta: &Meta) -> String {
    let LogPosition { term, index } = meta.applied.unwrap_or_default();
    format!("{term:016x}-{index:016x}-{:016x}", meta.last_zxid.0)
}

/// Position and zxid of a checkpoint's name; `None` for a name of something else.
pub(in crate::storage) fn read_name(name: &str) -> Option<(LogPosition, i64)> {
    let mut parts = name.split('-');
    let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
    let (term, index, zxid) = (number()?, number()?, number()?);
    parts
        .next()
        .is_none()
        .then_some((LogPosition { term, index }, zxid.cast_signed()))
}

fn remove(dir: &Path) -> Result<(), StorageError> {
    match fs::remove_dir_all(dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(io_error("remove", dir, source)),
    }
}
