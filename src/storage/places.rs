//! Where everything lies, and what must not lie elsewhere.
//!
//! ```text
//!   dataDir/oxkeeper/tree        dataLogDir/oxkeeper/log
//!   dataDir/oxkeeper/snapshots
//! ```
//!
//! A wrong setting must never look like a new server: whoever starts with dataDir and dataLogDir
//! swapped, or with one of them changed, would be given an empty tree beside all that he has. So
//! before anything is created, every place that a mistake could lead to is looked at.

use std::fs;
use std::path::{Path, PathBuf};

use super::log;
use crate::state::LogPosition;
use crate::storage::files::io_error;
use crate::storage::{Config, StorageError};

/// Our directory within dataDir and dataLogDir.
pub(in crate::storage) const OURS: &str = "oxkeeper";
const TREE: &str = "tree";
const SNAPSHOTS: &str = "snapshots";
const LOG: &str = "log";

/// Where everything lies.
#[derive(Clone, Debug)]
pub(in crate::storage) struct Layout {
    pub(in crate::storage) tree: PathBuf,
    pub(in crate::storage) snapshots: PathBuf,
    pub(in crate::storage) log: PathBuf,
}

/// What has been begun there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::storage) struct There {
    pub(in crate::storage) tree: bool,
    pub(in crate::storage) log: bool,
}

impl Layout {
    /// By these settings.
    pub(in crate::storage) fn of(config: &Config) -> Self {
        let data = config.data_dir.join(OURS);
        Self {
            tree: data.join(TREE),
            snapshots: data.join(SNAPSHOTS),
            log: config.log_dir.join(OURS).join(LOG),
        }
    }

    /// Looks at all places, and changes none.
    ///
    /// # Errors
    /// Something of ours lies where something else should lie, a part is missing beside another
    /// one, or a directory cannot be read.
    ///
    /// zk: FileTxnSnapLog.checkLogDir, checkSnapDir: no snapshots in dataLogDir, no logs in dataDir.
    pub(in crate::storage) fn look(&self, config: &Config) -> Result<There, StorageError> {
        for root in [&config.data_dir, &config.log_dir] {
            for dir in candidates(root) {
                self.refuse_strange(&dir)?;
            }
        }
        let there = There {
            tree: holds_database(&self.tree),
            log: log::holds_log(&self.log)?,
        };
        if there.tree {
            return Ok(there);
        }
        if there.log {
            return Err(self.lost_tree(&self.log, "a log"));
        }
        if holds(&self.tree, is_table)? {
            // RocksDB would take it for new, and remove them.
            return Err(self.lost_tree(&self.tree, "tables of one"));
        }
        if holds(&self.snapshots, holds_database)? {
            return Err(self.lost_tree(&self.snapshots, "a checkpoint of one"));
        }
        Ok(there)
    }

    /// Refuses a tree or a log in `dir`, if it should not lie there.
    fn refuse_strange(&self, dir: &Path) -> Result<(), StorageError> {
        let misplaced = |what, expected: &PathBuf| StorageError::Misplaced {
            what,
            path: dir.to_owned(),
            expected: expected.clone(),
        };
        if !is_same(dir, &self.tree) && (holds_database(dir) || holds(dir, is_table)?) {
            return Err(misplaced("tree", &self.tree));
        }
        if !is_same(dir, &self.log) && holds(dir, is_segment)? {
            return Err(misplaced("log", &self.log));
        }
        if !is_same(dir, &self.snapshots) && holds(dir, is_checkpoint)? {
            return Err(misplaced("checkpoint", &self.snapshots));
        }
        Ok(())
    }

    fn lost_tree(&self, beside: &Path, what: &str) -> StorageError {
        StorageError::Lost {
            path: self.tree.clone(),
            why: format!("there is no tree, but {} holds {what}", beside.display()),
        }
    }

    /// The error of a log that is missing though it had been begun.
    pub(in crate::storage) fn lost_log(&self, applied: Option<LogPosition>) -> StorageError {
        let upto = applied.map_or_else(String::new, |at| format!(" up to {at}"));
        StorageError::Lost {
            path: self.log.clone(),
            why: format!(
                "there is no log, but {} holds a tree{upto}",
                self.tree.display()
            ),
        }
    }
}

/// Where something of ours may lie if `root` is dataDir, dataLogDir or a mistake for one of them:
/// our own directory in there, or one of its parts.
fn candidates(root: &Path) -> Vec<PathBuf> {
    let is_ours = |dir: &Path| dir.file_name().is_some_and(|name| name == OURS);
    let real = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    let mut found: Vec<_> = [TREE, SNAPSHOTS, LOG]
        .iter()
        .map(|part| root.join(OURS).join(part))
        .collect();
    if is_ours(&real) {
        found.extend([TREE, SNAPSHOTS, LOG].iter().map(|part| root.join(part)));
    }
    if real.parent().is_some_and(is_ours) {
        found.push(root.to_owned());
    }
    found
}

/// True if RocksDB finished creating a database here.
pub(in crate::storage) fn holds_database(dir: &Path) -> bool {
    dir.join("CURRENT").exists()
}

/// A file of the log.
fn is_segment(path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.extension().is_some_and(|it| it == "segment") && u64::from_str_radix(&stem, 16).is_ok()
}

fn is_table(path: &Path) -> bool {
    path.extension().is_some_and(|it| it == "sst")
}

/// A database whose name is that of a checkpoint.
fn is_checkpoint(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    super::snapshots::checkpoints::read_name(&name).is_some() && holds_database(path)
}

/// Whether anything in a directory, which may be missing, is such.
fn holds(dir: &Path, is_such: impl Fn(&Path) -> bool) -> Result<bool, StorageError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(false);
        }
        Err(source) => return Err(io_error("list", dir, source)),
    };
    for entry in entries {
        let entry = entry.map_err(|source| io_error("list", dir, source))?;
        if is_such(&entry.path()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether both names lead to one directory, by links or dots, too. What is missing is no other's.
fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}
