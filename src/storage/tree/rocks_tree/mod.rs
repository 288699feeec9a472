//! The tree: `state::Store` over RocksDB, with the cache in front.
//!
//! ```text
//!   peek, pin       cache ─▶ unwritten                     under the state lock, never the disk
//!   load, warm      pin ─▶ unwritten ─▶ cache ─▶ disk      unless installed meanwhile
//!   install         unwritten, then cache: znodes, then names of children
//!   stage           write_behind, cache makes room
//!   end of entry    enough gathered? ─▶ one batch with the applied position ─▶ memtables
//! ```
//!
//! The database has no write-ahead log. What is in memtables is lost in a crash, all families
//! together, and the Raft log is applied again from the position found.

use std::sync::Arc;

use tokio::runtime::{Handle, RuntimeFlavor};

use super::cache::{self, Cache, Known, LENGTH_BYTES, Listing, Pinned};
use super::db::{Database, store_error};
use super::encode;
use super::keys::{self, Below, Family};
use super::loads::{Loads, Noting};
use super::options::{self, Split};
use super::view::TreeView;
use super::write_behind::WriteBehind;
use crate::state::{
    AclId, Change, Entry, Intake, Meta, Missing, Peek, Pins, Restored, Store, StoreError, Txn,
    View, Warmed, Znode,
};
use crate::storage::{StorageError, StorageStats};

/// The tree that servers have: `state::Store` over RocksDB, with the cache in front.
#[derive(Debug)]
pub(in crate::storage) struct RocksTree {
    db: Arc<Database>,
    cache: Arc<Cache>,
    write_behind: WriteBehind,
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
    pub(in crate::storage) fn new(db: Database, blocks: rocksdb::Cache, split: Split) -> Self {
        let db = Arc::new(db);
        Self {
            cache: Arc::new(Cache::new(split.cache)),
            write_behind: WriteBehind::new(Arc::clone(&db)),
            db,
            loads: Loads::default(),
            blocks: Blocks(blocks),
        }
    }

    /// The database, for checkpoints: it holds what [`Self::write`] has written.
    pub(in crate::storage) fn db(&self) -> &Database {
        &self.db
    }

    /// Writes into the database what has gathered, at the end of the entry that is under way.
    ///
    /// # Errors
    /// The write failed, or something did before.
    pub(in crate::storage) fn write(&self) -> Result<(), StorageError> {
        self.write_behind.write()
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

    /// A znode from wherever it is, pinned, and with it the names of its children if `names`, once
    /// they are known.
    fn fetch(&self, path: &str, names: bool, pinned: &mut Pinned) -> Result<Known, StorageError> {
        if let Some(known) = pinned.pin(path, names) {
            return Ok(known);
        }
        // In this order: what is installed from here on finds the entry, what was before is found.
        let node = match self.known_meanwhile(path) {
            Some(known) => known,
            None => self.read(path)?.map(Arc::new),
        };
        Ok(pinned.fill(node))
    }

    /// A znode if memory knows it, or that there is none. State lock held.
    fn known(&self, path: &str) -> Option<Known> {
        let known = self.cache.get(path);
        known.or_else(|| self.write_behind.unwritten.get(path))
    }

    /// As [`Self::known`], but without the state lock, while a txn may be half installed: its child
    /// may have been before its parent knows. `Unwritten` has known of both before, and what it has
    /// forgotten by now was installed as a whole.
    fn known_meanwhile(&self, path: &str) -> Option<Known> {
        let known = self.write_behind.unwritten.get(path);
        known.or_else(|| self.cache.get(path))
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

    /// Pins a znode and the names of its children, and says how many bytes both have in a reply.
    /// `None`: more than `bytes_max`; the names are not known then.
    fn list(
        &self,
        parent: &Arc<str>,
        bytes_max: usize,
        pinned: &mut Pinned,
    ) -> Result<Option<usize>, StorageError> {
        let node = self.fetch(parent, true, pinned)?;
        let bytes = reply_bytes(&node);
        loop {
            if let Some(names) = self.cache.names_bytes(parent) {
                return Ok(Some(bytes + names));
            }
            let Some(load) = self.loads.begin(parent) else {
                // Another listing has ended. What it found is pinned; if it was too large, it is
                // this one's turn to find that out.
                continue;
            };
            let Some(found) = self.scan_names(parent, bytes_max)? else {
                return Ok(None);
            };
            load.finish(found, |found| pinned.fill_names(found));
        }
    }

    /// The names of all children; `None` if they are too many for a reply of `bytes_max` bytes.
    fn scan_names(&self, parent: &str, bytes_max: usize) -> Result<Option<Listing>, StorageError> {
        let weight_max = bytes_max.saturating_mul(WEIGHT_OF_REPLY_MAX);
        let below = Below::children(parent);
        // Before the scan: what is persisted meanwhile is then in one of the two.
        let unwritten = self.write_behind.unwritten.all();
        let (mut names, mut bytes) = (Vec::new(), 0);
        let mut is_too_large = false;
        let range = options::scan(below.start(), below.end());
        self.db.scan(Family::Nodes.name(), range, &mut |key, _| {
            if let Some(name) = keys::node_path(key).and_then(|path| below.child_name(path)) {
                bytes += LENGTH_BYTES + name.len();
                names.push(Box::from(name));
            }
            is_too_large =
                bytes > bytes_max || cache::weight_of_names(names.len(), bytes) > weight_max;
            Ok(!is_too_large)
        })?;
        if is_too_large {
            return Ok(None);
        }
        let mut found = Listing::of_sorted(names, bytes);
        for (path, fresh) in &unwritten.nodes {
            if let Some(name) = below.child_name(path) {
                found.change(name, fresh.value.is_some());
            }
        }
        Ok(Some(found))
    }

    /// Brings one part of the tree into memory, pinned. Its bytes in a reply; `None` if they are
    /// more than `bytes_max`.
    fn bring(
        &self,
        part: &Missing,
        bytes_max: usize,
        pinned: &mut Pinned,
    ) -> Result<Option<usize>, StorageError> {
        let bytes = match part {
            Missing::Znode(path) => Some(reply_bytes(&self.fetch(path, false, pinned)?)),
            Missing::Children(path) => self.list(path, bytes_max, pinned)?,
        };
        Ok(bytes.filter(|bytes| *bytes <= bytes_max))
    }

    fn bring_all(&self, missing: &[Missing], bytes_max: usize) -> Result<Warmed, StorageError> {
        let mut pinned = Pinned::new(&self.cache);
        let (mut bytes, mut done) = (0, 0);
        for part in missing {
            let before = pinned.len();
            let Some(more) = self.bring(part, bytes_max - bytes, &mut pinned)? else {
                pinned.truncate(before);
                break;
            };
            bytes += more;
            done += 1;
        }
        self.cache.make_room();
        Ok(Warmed {
            pins: Pins::of(pinned),
            done,
            bytes,
        })
    }

    /// As [`Self::bring`], but nothing stays.
    fn bytes_of(&self, part: &Missing, bytes_max: usize) -> Result<Option<usize>, StorageError> {
        let (Missing::Znode(path) | Missing::Children(path)) = part;
        let node = match self.known_meanwhile(path) {
            Some(known) => known,
            None => self.read(path)?.map(Arc::new),
        };
        let mut bytes = reply_bytes(&node);
        if let (Missing::Children(path), Some(_)) = (part, node) {
            let names = match self.cache.names_bytes(path) {
                Some(names) => Some(names),
                None => self.scan_names(path, bytes_max)?.map(|found| found.bytes()),
            };
            let Some(names) = names else {
                return Ok(None);
            };
            bytes += names;
        }
        Ok(Some(bytes).filter(|bytes| *bytes <= bytes_max))
    }

    /// Pins what memory knows; false if it does not know all of that part.
    fn pin_known(&self, part: &Missing, pinned: &mut Pinned) -> bool {
        let (path, names) = match part {
            Missing::Znode(path) => (path, false),
            Missing::Children(path) => (path, true),
        };
        if pinned.pin(path, names).is_none() {
            let Some(known) = self.known(path) else {
                return false;
            };
            pinned.fill(known);
        }
        !names || self.cache.lists(path)
    }

    /// Takes a step of a txn, which `Unwritten` knows of by now.
    fn take(&self, step: &Step<'_>, noting: Option<&mut Noting<'_>>) {
        match *step {
            Step::Znode(path, after) => self.cache.install(path, after),
            Step::Name(parent, name, added) => {
                if let Some(noting) = noting {
                    noting.note(parent, name, added);
                }
                self.cache.install_name(parent, name, added);
            }
        }
    }

    fn read_all(&self) -> Result<Restored, StorageError> {
        self.write()?;
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

/// A step by which a txn reaches the cache.
enum Step<'a> {
    /// A znode as it is now.
    Znode(&'a Arc<str>, &'a Known),
    /// A parent's child of this name came (true) or went.
    Name(&'a str, &'a str, bool),
}

/// All znodes first, then the names. A parent whose entry knows of no children yet, or of none at
/// all, has got its new count before it is told a name: so whoever fills or pins it from then on does
/// not take it for childless, unless it will be, and what began before is told every name.
fn steps(changes: &[Change]) -> impl Iterator<Item = Step<'_>> {
    let znodes = || {
        changes.iter().filter_map(|change| {
            let Change::Znode {
                path,
                after,
                listed,
            } = change
            else {
                return None;
            };
            Some((path, after, *listed))
        })
    };
    let names = znodes().filter(|&(_, _, listed)| listed);
    let names = names.filter_map(|(path, after, _)| {
        let (parent, name) = keys::split(path)?;
        Some(Step::Name(parent, name, after.is_some()))
    });
    let znodes = znodes().map(|(path, after, _)| Step::Znode(path, after));
    znodes.chain(names)
}

/// Names in memory may take so many times the bytes that they have in a reply, or the reply counts
/// as too large: names of less than ten letters.
const WEIGHT_OF_REPLY_MAX: usize = 4;
/// A Stat and what stands around it.
const ITEM_BYTES: usize = 96;

/// Bytes that a znode has in a reply, about.
fn reply_bytes(node: &Known) -> usize {
    ITEM_BYTES + node.as_ref().map_or(0, |node| node.data_bytes())
}

type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), crate::storage::varint::Malformed>;

/// The small rest of the state in a tree's database; the default if it is new.
///
/// # Errors
/// The read failed, or the record is none.
pub(in crate::storage) fn read_meta(db: &Database) -> Result<Meta, StorageError> {
    let value = db.value(Family::Meta.name(), keys::meta::STATE)?;
    let meta = value.map(|value| encode::read_meta(&value)).transpose();
    Ok(meta
        .map_err(|why| db.corrupt("state", why))?
        .unwrap_or_default())
}

impl Store for RocksTree {
    fn peek(&self, path: &str) -> Peek<Option<Arc<Znode>>> {
        self.known(path).map_or(Peek::NotInMemory, Peek::Known)
    }

    fn peek_children(&self, path: &str, visit: &mut dyn FnMut(&str)) -> Peek<()> {
        if self.cache.each_name(path, visit) {
            Peek::Known(())
        } else {
            Peek::NotInMemory
        }
    }

    fn peek_names_bytes(&self, path: &str) -> Peek<usize> {
        let bytes = self.cache.names_bytes(path);
        bytes.map_or(Peek::NotInMemory, Peek::Known)
    }

    fn pin(&self, parts: &[Missing]) -> Option<Pins> {
        let mut pinned = Pinned::new(&self.cache);
        let is_known = parts.iter().all(|part| self.pin_known(part, &mut pinned));
        is_known.then(|| Pins::of(pinned))
    }

    fn warm(&self, missing: &[Missing], bytes_max: usize) -> Result<Warmed, StoreError> {
        self.bring_all(missing, bytes_max)
            .map_err(|source| store_error("read the tree", source))
    }

    fn weigh(&self, part: &Missing, bytes_max: usize) -> Result<Option<usize>, StoreError> {
        self.bytes_of(part, bytes_max)
            .map_err(|source| store_error("read the tree", source))
    }

    fn load(&self, path: &str) -> Result<Option<Arc<Znode>>, StoreError> {
        if let Some(known) = self.cache.get(path) {
            return Ok(known);
        }
        let mut pinned = Pinned::new(&self.cache);
        self.fetch(path, false, &mut pinned)
            .map_err(|source| store_error("read a znode", source))
    }

    fn entry(&self) -> Entry<'_> {
        Entry::begin(self)
    }

    fn view(&self) -> Box<dyn View> {
        // Before the snapshot: what is persisted in between is then in both, never in none.
        let unwritten = self.write_behind.unwritten.all();
        Box::new(TreeView::new(Arc::clone(&self.db), unwritten))
    }

    fn restore(&self) -> Result<Restored, StoreError> {
        self.read_all()
            .map_err(|source| store_error("restore the state", source))
    }
}

impl Intake for RocksTree {
    fn begin(&self) {
        self.write_behind.begin();
    }

    fn install(&self, txn: &Txn) {
        if txn.changes.is_empty() {
            return;
        }
        // First, so that a listing that begins now sees it there.
        self.write_behind.unwritten.install(txn);
        let mut noting = self.loads.noting();
        for step in steps(&txn.changes) {
            self.take(&step, noting.as_mut());
        }
    }

    fn stage(&self, txns: &[Txn]) -> Result<(), StoreError> {
        self.write_behind
            .add(txns)
            .map_err(|source| store_error("gather changes", source))?;
        // Here and not in `install`, which keeps readers waiting.
        self.cache.make_room();
        Ok(())
    }

    fn end(&self, meta: &Meta) -> Result<(), StoreError> {
        self.write_behind
            .end(meta)
            .map_err(|source| store_error("persist changes", source))
    }

    fn abandon(&self) {
        self.write_behind.abandon();
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

#[cfg(test)]
mod tests;
