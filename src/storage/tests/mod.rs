//! One suite for both kinds of stores, and what only RocksDB can be asked.

mod crash;
mod install;
mod kill;
mod log_suite;
mod races;
mod receive;
mod refusals;
mod store_suite;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use bytes::Bytes;
use parking_lot::Mutex;
use tempfile::TempDir;

use super::memory::{MemoryLog, MemorySnapshots, MemoryTree};
use super::{Config, Log, LogEntry, Snapshots, StorageError, Stores};
use crate::state::{
    Change, Entry, LogPosition, Meta, Origin, Outcome, SessionId, Store, Txn, Znode, Zxid,
};

/// The doors, without what is behind them.
struct Doors {
    log: Arc<dyn Log>,
    tree: Arc<dyn Store>,
    snapshots: Arc<dyn Snapshots>,
    stores: Option<Stores>,
}

/// Something that keeps what is written to it. Opening again needs the doors dropped.
trait Disk {
    fn open(&self) -> Doors;
}

#[derive(Default)]
struct MemoryDisk {
    log: Mutex<Arc<MemoryLog>>,
    tree: Mutex<Arc<MemoryTree>>,
}

impl Disk for MemoryDisk {
    fn open(&self) -> Doors {
        let mut log = self.log.lock();
        let mut tree = self.tree.lock();
        *log = Arc::new(log.crash(usize::MAX));
        *tree = Arc::new(tree.crash(true));
        let snapshots = MemorySnapshots::new(Arc::clone(&tree));
        Doors {
            log: Arc::clone(&log) as Arc<dyn Log>,
            tree: Arc::clone(&tree) as Arc<dyn Store>,
            snapshots: Arc::new(snapshots),
            stores: None,
        }
    }
}

struct RocksDisk {
    dir: TempDir,
    config: Config,
}

impl RocksDisk {
    /// With the smallest memory there is, so that eviction happens.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        Self { dir, config }
    }

    /// What a killed process would have left: a copy of the files as they are.
    fn copy(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy_all(self.dir.path(), dir.path());
        let config = config(dir.path());
        Self { dir, config }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join("data/oxkeeper").join(below)
    }

    fn try_open(&self) -> Result<Stores, StorageError> {
        super::open(&self.config)
    }
}

fn config(dir: &Path) -> Config {
    Config {
        data_dir: dir.join("data"),
        log_dir: dir.join("data"),
        memory_bytes: 0,
        log_bytes_before_flush: 1 << 20,
        ..Config::default()
    }
}

impl Disk for RocksDisk {
    fn open(&self) -> Doors {
        let stores = self.try_open().unwrap();
        Doors {
            log: Arc::clone(&stores.log),
            tree: stores.tree(),
            snapshots: Arc::clone(&stores.snapshots),
            stores: Some(stores),
        }
    }
}

/// Copies a directory as it is at this moment. Files may vanish meanwhile.
fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let mut all: Vec<_> = std::fs::read_dir(from)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    // First what says how far the others must reach: they grow while they are copied.
    all.sort_by_key(|entry| !entry.file_name().to_string_lossy().contains("high-water"));
    for entry in all {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else if std::fs::copy(entry.path(), target).is_err() {
            assert!(!entry.path().exists());
        }
    }
}

/// Makes a test of `$check(&dyn Disk)` for each kind of store.
macro_rules! on_both {
    ($($check:ident)*) => {
        mod memory {
            $( #[test] fn $check() { super::$check(&super::super::MemoryDisk::default()); } )*
        }
        mod rocks {
            $( #[test] fn $check() { super::$check(&super::super::RocksDisk::new()); } )*
        }
    };
}
use on_both;

fn at(term: u64, index: u64) -> LogPosition {
    LogPosition { term, index }
}

fn entry(term: u64, index: u64) -> LogEntry {
    LogEntry {
        position: at(term, index),
        payload: Bytes::from(format!("entry {term} {index}")),
    }
}

fn entries(term: u64, indexes: std::ops::Range<u64>) -> Vec<LogEntry> {
    indexes.map(|index| entry(term, index)).collect()
}

/// Appends and waits until it is durable.
fn append(log: &dyn Log, entries: Vec<LogEntry>) {
    wait(|done| log.append(entries, done)).unwrap();
}

fn wait(queue: impl FnOnce(super::Durable)) -> Result<(), StorageError> {
    let (tell, told) = mpsc::channel();
    queue(Box::new(move |result| tell.send(result).unwrap()));
    told.recv().unwrap()
}

fn node(version: i32, data: &str) -> Arc<Znode> {
    Arc::new(Znode {
        version,
        data: Some(data.as_bytes().into()),
        ..Znode::default()
    })
}

fn parent(children: u32) -> Arc<Znode> {
    Arc::new(Znode {
        children,
        ..Znode::default()
    })
}

fn came(path: &str, after: &Arc<Znode>) -> Change {
    Change::Znode {
        path: path.into(),
        after: Some(Arc::clone(after)),
        listed: true,
    }
}

fn set(path: &str, after: &Arc<Znode>) -> Change {
    Change::Znode {
        path: path.into(),
        after: Some(Arc::clone(after)),
        listed: false,
    }
}

fn gone(path: &str) -> Change {
    Change::Znode {
        path: path.into(),
        after: None,
        listed: true,
    }
}

fn txn(zxid: i64, changes: Vec<Change>) -> Txn {
    Txn {
        origin: Origin::default(),
        sequence: 0,
        session: SessionId::NONE,
        cxid: 0,
        zxid: Zxid(zxid),
        time_ms: 0,
        outcome: Outcome::Done,
        changes,
        events: Vec::new(),
    }
}

fn meta(index: u64) -> Meta {
    Meta {
        applied: Some(at(1, index)),
        last_zxid: Zxid(index.cast_signed()),
        ..Meta::default()
    }
}

/// Installs and persists.
fn apply(tree: &dyn Store, index: u64, changes: Vec<Change>) {
    let txn = txn(index.cast_signed(), changes);
    let mut entry = tree.entry();
    entry.install(&txn);
    persist(entry, &[txn], &meta(index));
}

/// Ends an entry whose txns have been installed.
fn persist(mut entry: Entry<'_>, txns: &[Txn], meta: &Meta) {
    entry.stage(txns).unwrap();
    entry.persist(meta).unwrap();
}
