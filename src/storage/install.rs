//! A checkpoint that another server has sent comes in the place of the tree.
//!
//! ```text
//!   received ─▶ prepare: opened, checked, marked as this server's     a start finds the old tree
//!            ─▶ put_in_place: renamed to tree-<generation>, synced    ◀ in one moment
//!            ─▶ opened, live; the old one's files go with its readers a start finds the new tree,
//!                                                                     lets the log follow it, and
//!                                                                     removes what is left of older
//! ```
//!
//! The new tree keeps its name for good: RocksDB knows its files by their paths, and removes what it
//! does not know where its database was opened, so no directory of one that is open is renamed or
//! given to another one.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::files::{io_error, sync_dir};
use super::ours::{claim, identify, open_tree};
use super::places::{Layout, holds_database, tree_behind};
use super::tree::live::Live;
use super::tree::options::Split;
use super::tree::rocks_tree::{RocksTree, read_meta};
use super::{Log, StorageError};
use crate::state::{LogPosition, Meta};

/// Makes a received checkpoint the tree of one store.
#[derive(Debug)]
pub(super) struct Installer {
    live: Arc<Live>,
    /// The random id of the store.
    id: u64,
    split: Split,
    /// One at a time.
    installing: Mutex<()>,
}

impl Installer {
    pub(super) fn new(live: Arc<Live>, id: u64, split: Split) -> Self {
        Self {
            live,
            id,
            split,
            installing: Mutex::default(),
        }
    }

    /// See [`prepare`].
    ///
    /// # Errors
    /// As there.
    pub(super) fn prepare(&self, received: &Path) -> Result<Meta, StorageError> {
        prepare(received, self.id, self.split)
    }

    /// What has been prepared in `received` comes in the place of the live tree, for good.
    ///
    /// # Errors
    /// The disk failed: a start finds one or the other.
    pub(super) fn install(&self, received: &Path) -> Result<Arc<RocksTree>, StorageError> {
        let _one_at_a_time = self.installing.lock();
        let place = tree_behind(self.live.current().db().path());
        put_in_place(received, &place)?;
        Ok(self.live.replace(open_tree(&place, self.split)?))
    }
}

/// Sees that there is a tree of our format in `received`, and makes it that of the store `id`; what it
/// says of itself. May come again.
///
/// # Errors
/// There is none, or the disk failed.
pub(super) fn prepare(received: &Path, id: u64, split: Split) -> Result<Meta, StorageError> {
    let nothing = |why: &str| StorageError::Lost {
        path: received.to_owned(),
        why: why.to_owned(),
    };
    if !holds_database(received) {
        return Err(nothing("there is no tree to be installed"));
    }
    let tree = open_tree(received, split)?;
    identify(tree.db())?;
    let meta = read_meta(tree.db())?;
    let at = meta.applied;
    let at = at.ok_or_else(|| nothing("the tree to be installed is empty"))?;
    claim(tree.db(), id, at)?;
    drop(tree);
    sync_dir(received)?;
    Ok(meta)
}

/// From now on the tree in `received` is the tree, also after a start. Both lie on one file system.
///
/// # Errors
/// The file system said no.
pub(super) fn put_in_place(received: &Path, place: &Path) -> Result<(), StorageError> {
    fs::rename(received, place).map_err(|source| io_error("rename", received, source))?;
    sync_dir(place.parent().unwrap_or(place))
}

/// A tree that came from another server when it held `at`: the log goes on behind it. By Raft's rule
/// what lies behind stays only if the log holds the entry at which the tree was taken.
///
/// # Errors
/// The storage failed.
pub(super) fn follow(at: LogPosition, log: &dyn Log) -> Result<(), StorageError> {
    let purged = log.ends().purged;
    if purged.is_some_and(|purged| purged.index >= at.index) {
        return Ok(());
    }
    let found = log.entries(at.index..at.index.saturating_add(1), 1)?;
    if !found.iter().any(|entry| entry.position == at) {
        log.truncate_after(None)?;
    }
    log.purge(at)
}

/// Removes what is left of trees before the one that is open.
///
/// # Errors
/// The file system said no.
pub(super) fn remove_older(layout: &Layout) -> Result<(), StorageError> {
    for old in &layout.older {
        fs::remove_dir_all(old).map_err(|source| io_error("remove", old, source))?;
    }
    Ok(())
}
