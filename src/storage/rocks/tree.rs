//! The tree: `state::Store` over RocksDB, with the cache in front.
//!
//! ```text
//!   peek            cache ─▶ recent                     under the state lock, never the disk
//!   load, warm      cache ─▶ recent ─▶ disk ─▶ cache    unless installed meanwhile
//!   install         recent, then cache
//!   stage           gather, cache makes room
//!   persist         enough gathered? ─▶ one batch with the applied position ─▶ memtables
//! ```
//!
//! The database has no write-ahead log. What is in memtables is lost in a crash, all families
//! together, and the Raft log is applied again from the position found.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::runtime::{Handle, RuntimeFlavor};

use super::cache::{Cache, Known};
use super::db::Database;
use super::encode;
use super::gather::Gather;
use super::keys::{self, Below, Family};
use super::loads::Loads;
use super::options::{self, Split};
use super::view::TreeView;
use crate::state::{
    AclId, Change, Meta, Missing, Peek, Restored, Store, StoreError, Txn, View, Znode,
};
use crate::storage::{StorageError, StorageStats};

/// See the file's own words.
#[derive(Debug)]
pub(in crate::storage) struct RocksTree {
    db: Arc<Database>,
    cache: Cache,
    gather: Arc<Gather>,
    loads: Loads,
    blocks: Blocks,
}

/// RocksDB's block cache, for its figures.
struct Blocks(rocksdb::Cache);

impl std::fmt::Debug for Blocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blocks({} bytes)", self.0.get_usage())
    }
}

impl RocksTree {
    /// A tree over an open database.
    pub(super) fn new(
        db: Arc<Database>,
        gather: Arc<Gather>,
        blocks: rocksdb::Cache,
        split: Split,
    ) -> Self {
        Self {
            db,
            cache: Cache::new(split.cache),
            gather,
            loads: Loads::default(),
            blocks: Blocks(blocks),
        }
    }

    /// Fills in the tree's figures.
    pub(in crate::storage) fn stats(&self, stats: StorageStats) -> StorageStats {
        let families = Family::ALL.map(Family::name);
        StorageStats {
            cache_bytes: self.cache.bytes() as u64,
            cache_entries: self.cache.entries() as u64,
            block_cache_bytes: self.blocks.0.get_usage() as u64,
            tree_memtable_bytes: self.db.sum_of(&families, options::MEMTABLE_BYTES),
            ..stats
        }
    }

    /// A znode from wherever it is. Afterwards the cache holds it, or knows that there is none.
    fn fetch(&self, path: &str) -> Result<Known, StorageError> {
        if let Some(known) = self.cache.get(path) {
            return Ok(known);
        }
        loop {
            let generation = self.cache.generation(path);
            if let Some(known) = self.cache.get(path) {
                return Ok(known);
            }
            let node = match self.gather.recent.get(path) {
                Some(known) => known,
                None => self.read(path)?.map(Arc::new),
            };
            if self.cache.offer(&Arc::from(path), generation, &node) {
                return Ok(node);
            }
        }
    }

    fn read(&self, path: &str) -> Result<Option<Znode>, StorageError> {
        let key = keys::node(path);
        let nodes = Family::Nodes.name();
        let value = match self.db.value_in_memory(nodes, &key)? {
            Some(value) => value,
            None => off_worker(|| self.db.value(nodes, &key))?,
        };
        let node = value.map(|value| encode::read_znode(&value));
        node.transpose()
            .map_err(|why| self.db.corrupt("znode", why))
    }

    /// Brings the names of the children of `parent` into the cache.
    fn list(&self, parent: &Arc<str>) -> Result<(), StorageError> {
        while !self.cache.lists(parent) {
            let Some(load) = self.loads.begin(parent) else {
                continue;
            };
            let mut found = self.scan_names(parent)?;
            // The parent may have been evicted meanwhile; if it is gone there is nothing to list.
            while self.fetch(parent)?.is_some() {
                let insert = |names| self.cache.insert_names(parent, names);
                match load.try_finish(found, insert) {
                    Ok(()) => return Ok(()),
                    Err(names) => found = names,
                }
            }
        }
        Ok(())
    }

    fn scan_names(&self, parent: &str) -> Result<BTreeSet<Box<str>>, StorageError> {
        let below = Below::children(parent);
        // Before the scan: what is persisted meanwhile is then in one of the two.
        let recent = self.gather.recent.all();
        let mut names = BTreeSet::new();
        let range = options::scan(below.start(), below.end());
        self.db.scan(Family::Nodes.name(), range, &mut |key, _| {
            names.extend(
                keys::node_path(key)
                    .and_then(|path| below.child_name(path))
                    .map(Box::from),
            );
            Ok(true)
        })?;
        for (path, fresh) in &recent.nodes {
            match below.child_name(path) {
                Some(name) if fresh.value.is_some() => {
                    names.insert(name.into());
                }
                Some(name) => {
                    names.remove(name);
                }
                None => {}
            }
        }
        Ok(names)
    }

    fn read_all(&self) -> Result<Restored, StorageError> {
        self.gather.write()?;
        let mut restored = Restored {
            meta: read_meta(&self.db)?,
            ..Restored::default()
        };
        let malformed = |field| crate::storage::varint::Malformed {
            field,
            offset: 0,
            why: "no key",
        };
        self.each(Family::Sessions, &mut |key, value| {
            let id = keys::read_ephemeral(key)
                .ok_or_else(|| malformed("session"))?
                .0;
            restored.sessions.push((id, encode::read_session(value)?));
            Ok(())
        })?;
        self.each(Family::Ephemerals, &mut |key, _| {
            let (id, path) = keys::read_ephemeral(key).ok_or_else(|| malformed("ephemeral"))?;
            restored.ephemerals.push((id, path.into()));
            Ok(())
        })?;
        self.each(Family::Acls, &mut |key, value| {
            let id = key.try_into().map_err(|_| malformed("acl"))?;
            let (list, references) = encode::read_acl(value)?;
            restored
                .acls
                .push((AclId(u64::from_be_bytes(id)), list, references));
            Ok(())
        })?;
        self.each(Family::Quota, &mut |key, _| {
            let path = std::str::from_utf8(key).map_err(|_| malformed("quota"))?;
            restored.quotas.push(path.into());
            Ok(())
        })?;
        Ok(restored)
    }

    fn each(&self, family: Family, visit: Visit<'_>) -> Result<(), StorageError> {
        let range = options::scan_all();
        self.db.scan(family.name(), range, &mut |key, value| {
            visit(key, value).map_err(|why| self.db.corrupt(family.name(), why))?;
            Ok(true)
        })
    }
}

type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), crate::storage::varint::Malformed>;

/// The small rest of the state in a tree's database; the default if it is new.
///
/// # Errors
/// The read failed, or the record is none.
pub(super) fn read_meta(db: &Database) -> Result<Meta, StorageError> {
    let value = db.value(Family::Meta.name(), keys::meta::STATE)?;
    let meta = value.map(|value| encode::read_meta(&value)).transpose();
    Ok(meta
        .map_err(|why| db.corrupt("state", why))?
        .unwrap_or_default())
}

impl Store for RocksTree {
    fn peek(&self, path: &str) -> Peek<Option<Arc<Znode>>> {
        let known = self
            .cache
            .get(path)
            .or_else(|| self.gather.recent.get(path));
        known.map_or(Peek::NotInMemory, Peek::Known)
    }

    fn peek_children(&self, path: &str, visit: &mut dyn FnMut(&str)) -> Peek<()> {
        if self.cache.each_name(path, visit) {
            Peek::Known(())
        } else {
            Peek::NotInMemory
        }
    }

    fn warm(&self, missing: &Missing) -> Result<(), StoreError> {
        let done = match missing {
            Missing::Znode(path) => self.fetch(path).map(drop),
            Missing::Children(path) => self.list(path),
        };
        self.cache.make_room();
        done.map_err(|source| store_error("read the tree", source))
    }

    fn load(&self, path: &str) -> Result<Option<Arc<Znode>>, StoreError> {
        self.fetch(path)
            .map_err(|source| store_error("read a znode", source))
    }

    fn begin(&self) {
        self.gather.begin();
    }

    fn install(&self, txn: &Txn) {
        if txn.changes.is_empty() {
            return;
        }
        // First, so that a listing that begins now sees it there.
        self.gather.recent.install(txn);
        let mut noting = self.loads.noting();
        for change in &txn.changes {
            let Change::Znode {
                path,
                after,
                listed,
            } = change
            else {
                continue;
            };
            if *listed && let Some((parent, name)) = keys::split(path) {
                let added = after.is_some();
                if let Some(noting) = &mut noting {
                    noting.note(parent, name, added);
                }
                self.cache.install_name(parent, name, added);
            }
            self.cache.install(path, after);
        }
    }

    fn stage(&self, txns: &[Txn]) -> Result<(), StoreError> {
        self.gather
            .add(txns)
            .map_err(|source| store_error("gather changes", source))?;
        // Here and not in `install`, which keeps readers waiting.
        self.cache.make_room();
        Ok(())
    }

    fn persist(&self, meta: &Meta) -> Result<(), StoreError> {
        self.gather
            .end(meta)
            .map_err(|source| store_error("persist changes", source))
    }

    fn view(&self) -> Box<dyn View> {
        // Before the snapshot: what is persisted in between is then in both, never in none.
        let recent = self.gather.recent.all();
        Box::new(TreeView::new(Arc::clone(&self.db), recent))
    }

    fn restore(&self) -> Result<Restored, StoreError> {
        self.read_all()
            .map_err(|source| store_error("restore the state", source))
    }
}

/// This room's error as the state sees it.
pub(super) fn store_error(doing: &'static str, source: StorageError) -> StoreError {
    StoreError {
        doing,
        source: Box::new(source),
    }
}

/// Runs what may block. On a worker of tokio's multi-threaded runtime the other tasks of the
/// worker move elsewhere first; on a lone voter's thread only those wait who wait for writes.
fn off_worker<T>(read: impl FnOnce() -> T) -> T {
    match Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(read)
        }
        Ok(_) | Err(_) => read(),
    }
}
