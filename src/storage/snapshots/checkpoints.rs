//! Snapshots of the tree: RocksDB checkpoints, hard links to its files.
//!
//! ```text
//!   take:  building-<name>  ─ checkpoint, read its state ─▶  <name>  ─▶ older ones deleted
//! ```
//!
//! Older ones go with their last readers: one that is being sent stays until it has been.
//!
//! A name is `<term>-<index>-<zxid>` in hex (formats.md 6). What was left half-built by a crash is removed at the
//! next start; so is a checkpoint that cannot be opened: the live tree holds the same and more.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rocksdb::checkpoint::Checkpoint as RocksCheckpoint;
use tokio::time::Instant;
use tracing::warn;

use super::directory::Directory;
use super::door::{Checkpoint, ReceiveError, Receiving, SnapshotFile, Snapshots};
use super::received::{Inbox, remove};
use crate::metrics;
use crate::state::{LogPosition, Meta, Store};
use crate::storage::StorageError;
use crate::storage::files::{io_error, sync_dir};
use crate::storage::install::Installer;
use crate::storage::tree::db::Database;
use crate::storage::tree::live::Live;
use crate::storage::tree::options;
use crate::storage::tree::rocks_tree::read_meta;

/// Takes checkpoints of the tree by hard links, and keeps the newest; receives those of others.
#[derive(Debug)]
pub(in crate::storage) struct RocksSnapshots {
    live: Arc<Live>,
    dir: PathBuf,
    /// Makes `take` one at a time.
    taking: Mutex<()>,
    newest: Mutex<Option<Held>>,
    inbox: Arc<Inbox>,
    installer: Arc<Installer>,
}

/// A checkpoint that is kept, whoever else holds it.
#[derive(Clone, Debug)]
struct Held {
    directory: Arc<Directory>,
    checkpoint: Checkpoint,
}

impl Held {
    fn new(dir: PathBuf, meta: Meta) -> Self {
        let directory = Directory::new(dir.clone(), true);
        let content = Arc::clone(&directory) as Arc<_>;
        Self {
            directory,
            checkpoint: Checkpoint { dir, meta, content },
        }
    }
}

const BUILDING: &str = "building-";

impl RocksSnapshots {
    /// Finds the newest checkpoint in `dir`, which exists, and removes leftovers. `installed`: what the
    /// tree held when it came from another server; checkpoints of the tree before are of no use.
    ///
    /// # Errors
    /// The file system said no.
    pub(in crate::storage) fn open(
        live: Arc<Live>,
        dir: PathBuf,
        installer: Arc<Installer>,
        installed: Option<LogPosition>,
    ) -> Result<Self, StorageError> {
        let newest = find_newest(&dir, installed)?;
        let ours = dir.parent().unwrap_or(&dir).to_owned();
        Ok(Self {
            live,
            dir,
            taking: Mutex::new(()),
            newest: Mutex::new(newest),
            inbox: Inbox::open(ours, Arc::clone(&installer))?,
            installer,
        })
    }

    fn build(&self) -> Result<Held, StorageError> {
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
        if let Some(held) = &*self.newest.lock()
            && held.checkpoint.dir == dir
        {
            // Nothing was applied since.
            remove(&building)?;
            return Ok(held.clone());
        }
        fs::rename(&building, &dir).map_err(|source| io_error("rename", &building, source))?;
        sync_dir(&self.dir)?;
        Ok(Held::new(dir, meta))
    }
}

/// The newest checkpoint in `dir`; all others are removed.
fn find_newest(dir: &Path, installed: Option<LogPosition>) -> Result<Option<Held>, StorageError> {
    let mut found = Vec::new();
    let entries = fs::read_dir(dir).map_err(|source| io_error("list", dir, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| io_error("list", dir, source))?;
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
    for ((position, _), path) in found.into_iter().rev() {
        if newest.is_some() || Some(position) < installed {
            remove(&path)?;
            continue;
        }
        match read_checkpoint(&path) {
            Ok(meta) => newest = Some(Held::new(path, meta)),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(error, path = %path.display(), "removing a broken checkpoint");
                remove(&path)?;
            }
        }
    }
    Ok(newest)
}

impl Snapshots for RocksSnapshots {
    fn take(&self) -> Result<Checkpoint, StorageError> {
        let begun = Instant::now();
        let _one_at_a_time = self.taking.lock();
        let taken = self.build()?;
        metrics::snapshot_took(begun.elapsed());
        let checkpoint = taken.checkpoint.clone();
        self.keep(Some(taken));
        self.inbox.clear()?;
        Ok(checkpoint)
    }

    fn newest(&self) -> Result<Option<Checkpoint>, StorageError> {
        let newest = self.newest.lock();
        Ok(newest.as_ref().map(|held| held.checkpoint.clone()))
    }

    fn receive(&self, files: Vec<SnapshotFile>) -> Result<Box<dyn Receiving>, ReceiveError> {
        self.inbox.receive(files)
    }

    fn install(&self, received: Checkpoint) -> Result<Arc<dyn Store>, StorageError> {
        // Until then nobody may take a checkpoint of the tree that goes.
        let _one_at_a_time = self.taking.lock();
        let tree = self.installer.install(&received.dir)?;
        // It holds on to the files of the tree before.
        self.keep(None);
        Ok(tree)
    }
}

impl RocksSnapshots {
    /// From now on this one is the newest; the one before goes with its last reader.
    fn keep(&self, newest: Option<Held>) {
        let dir = newest.as_ref().map(|held| held.checkpoint.dir.clone());
        let old = std::mem::replace(&mut *self.newest.lock(), newest);
        if let Some(old) = old
            && Some(&old.checkpoint.dir) != dir.as_ref()
        {
            old.directory.unwanted();
        }
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
