//! Where everything lies, and what must not lie elsewhere.
//!
//! ```text
//!   dataDir/oxkeeper/tree        dataLogDir/oxkeeper/log
//!   dataDir/oxkeeper/snapshots
//! ```
//!
//! A tree that came from another server lies in `tree-<generation>` (see [`super::install`]): the
//! newest is the tree, whatever state it is in; others are what is left of trees before it.
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
    /// The newest.
    pub(in crate::storage) tree: PathBuf,
    /// What is left of those before.
    pub(in crate::storage) older: Vec<PathBuf>,
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
    /// By these settings, and by which trees there are.
    ///
    /// # Errors
    /// Our directory cannot be read.
    pub(in crate::storage) fn find(config: &Config) -> Result<Self, StorageError> {
        let data = config.data_dir.join(OURS);
        let mut trees = trees_in(&data)?;
        let newest = trees.pop().map(|(_, path)| path);
        Ok(Self {
            tree: newest.unwrap_or_else(|| data.join(TREE)),
            older: trees.into_iter().map(|(_, path)| path).collect(),
            snapshots: data.join(SNAPSHOTS),
            log: config.log_dir.join(OURS).join(LOG),
        })
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
            for dir in candidates(root)? {
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
        let mut ours = self.older.iter().chain([&self.tree]);
        if !ours.any(|tree| is_same(dir, tree)) && (holds_database(dir) || holds(dir, is_table)?) {
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
fn candidates(root: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let is_ours = |dir: &Path| dir.file_name().is_some_and(|name| name == OURS);
    let real = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    let mut found: Vec<_> = [TREE, SNAPSHOTS, LOG]
        .iter()
        .map(|part| root.join(OURS).join(part))
        .collect();
    let mut trees = trees_in(&root.join(OURS))?;
    if is_ours(&real) {
        found.extend([TREE, SNAPSHOTS, LOG].iter().map(|part| root.join(part)));
        trees.extend(trees_in(root)?);
    }
    if real.parent().is_some_and(is_ours) {
        found.push(root.to_owned());
    }
    found.extend(trees.into_iter().map(|(_, path)| path));
    Ok(found)
}

/// Which tree a directory's name says, the first one being 0; `None` if it is none.
fn generation(name: &str) -> Option<u64> {
    let behind = name.strip_prefix(TREE)?;
    if behind.is_empty() {
        return Some(0);
    }
    let digits = behind.strip_prefix('-')?;
    let generation = u64::from_str_radix(digits, 16).ok();
    generation.filter(|number| tree_name(*number) == name)
}

fn tree_name(generation: u64) -> String {
    format!("{TREE}-{generation:016x}")
}

/// Where a tree lies that comes in the place of the one at `tree`.
pub(in crate::storage) fn tree_behind(tree: &Path) -> PathBuf {
    let name = tree.file_name().unwrap_or_default().to_string_lossy();
    let next = generation(&name).unwrap_or_default().saturating_add(1);
    tree.with_file_name(tree_name(next))
}

/// The trees in our directory, which may be missing, oldest first.
fn trees_in(ours: &Path) -> Result<Vec<(u64, PathBuf)>, StorageError> {
    let mut found = Vec::new();
    each_in(ours, &mut |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(generation) = generation(&name) {
            found.push((generation, path.clone()));
        }
        true
    })?;
    found.sort();
    Ok(found)
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
    let mut found = false;
    each_in(dir, &mut |path| {
        found = is_such(&path);
        !found
    })?;
    Ok(found)
}

/// Visits what lies in a directory, which may be missing, until `visit` says false.
fn each_in(dir: &Path, visit: &mut dyn FnMut(PathBuf) -> bool) -> Result<(), StorageError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(());
        }
        Err(source) => return Err(io_error("list", dir, source)),
    };
    for entry in entries {
        let entry = entry.map_err(|source| io_error("list", dir, source))?;
        if !visit(entry.path()) {
            break;
        }
    }
    Ok(())
}

/// Whether both names lead to one directory, by links or dots, too. What is missing is no other's.
fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}
