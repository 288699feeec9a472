//! Changes on their way into the database: those of some entries are written together.
//!
//! ```text
//!   persist: add an entry ─▶ enough? ─▶ write: one batch ─▶ memtables ─▶ Recent forgets
//!   checkpoint, end of the process: ───────┘
//! ```
//!
//! A memtable keeps each version of a znode, and its tree of pointers is searched anew for each, in
//! memory that no processor's cache holds. So a znode that changes in many entries, as a busy parent
//! does, is written once for all of them, and in the order of the keys, in which a search begins
//! where the one before it ended.
//!
//! That loses nothing: a memtable does not survive a crash either, and the Raft log is kept from
//! the last checkpoint on. Only whole entries are added, and a batch holds all that was added with
//! the position of the last one, so the database is always at the end of some entry.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;
use jute::Acl;
use parking_lot::Mutex;
use rocksdb::WriteBatch;
use tracing::error;

use super::cache::Known;
use super::db::Database;
use super::keys::{self, Family};
use super::recent::Recent;
use super::{encode, options};
use crate::state::{AclId, Change, Meta, Txn, Zxid};
use crate::storage::StorageError;

/// Changes of znodes that are written together at least: a millisecond of writing, for which the
/// next entry waits.
const CHANGES_MAX: usize = 2048;
/// Bytes that are written together at least.
const BYTES_MAX: usize = 1 << 20;
/// Record, depth and numbers of a znode in a batch.
const RECORD_BYTES: usize = 80;

/// See the file's own words.
pub(super) struct Gather {
    db: Arc<Database>,
    /// What is visible but not in the database, also of an entry that is not complete yet.
    pub(super) recent: Recent,
    pending: Mutex<Pending>,
}

/// The last state of all that changed in the entries gathered.
#[derive(Default)]
struct Pending {
    znodes: HashMap<Arc<str>, Known>,
    acls: BTreeMap<AclId, (Arc<[Acl]>, u64)>,
    /// Those of the small indexes, which rarely change twice: all of them, in order.
    others: Vec<Change>,
    /// The value of the state's small rest; empty if there is nothing to write.
    meta: Vec<u8>,
    last: Zxid,
    changes: usize,
    bytes: usize,
}

impl fmt::Debug for Gather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gather")
            .field("recent", &self.recent)
            .finish_non_exhaustive()
    }
}

impl Gather {
    /// Nothing gathered yet.
    pub(super) fn new(db: Arc<Database>) -> Self {
        Self {
            db,
            recent: Recent::default(),
            pending: Mutex::default(),
        }
    }

    /// Adds an entry, which has been installed; writes if enough has gathered.
    ///
    /// # Errors
    /// The write failed.
    pub(super) fn add(&self, txns: &[Txn], meta: &Meta) -> Result<(), StorageError> {
        let mut pending = self.pending.lock();
        for change in txns.iter().flat_map(|txn| &txn.changes) {
            pending.add(change);
        }
        pending.last = txns.last().map_or(pending.last, |txn| txn.zxid);
        pending.meta = encode::meta(meta);
        if pending.changes >= CHANGES_MAX || pending.bytes >= BYTES_MAX {
            self.write_out(&mut pending)?;
        }
        Ok(())
    }

    /// Writes all that has gathered.
    ///
    /// # Errors
    /// The write failed.
    pub(super) fn write(&self) -> Result<(), StorageError> {
        self.write_out(&mut self.pending.lock())
    }

    fn write_out(&self, pending: &mut Pending) -> Result<(), StorageError> {
        if pending.meta.is_empty() {
            return Ok(());
        }
        let batch = self.batch(pending)?;
        self.db
            .write(batch, &options::unlogged())
            .map_err(|source| self.db.failed("write changes", source))?;
        self.recent.persisted(pending.last);
        pending.clear();
        Ok(())
    }

    fn batch(&self, pending: &Pending) -> Result<WriteBatch, StorageError> {
        let nodes = self.db.family(Family::Nodes.name())?;
        let acls = self.db.family(Family::Acls.name())?;
        let mut batch = WriteBatch::with_capacity_bytes(pending.bytes.min(BYTES_MAX));
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let mut znodes: Vec<_> = pending.znodes.iter().collect();
        znodes.sort_unstable_by_key(|(path, _)| *path);
        for (path, after) in znodes {
            keys::put_node(path, &mut key);
            match after {
                Some(node) => {
                    value.clear();
                    encode::put_znode(node, &mut value);
                    batch.put_cf(nodes, &key, &value);
                }
                None => batch.delete_cf(nodes, &key),
            }
        }
        for (id, (list, references)) in &pending.acls {
            match references {
                0 => batch.delete_cf(acls, id.0.to_be_bytes()),
                _ => batch.put_cf(acls, id.0.to_be_bytes(), encode::acl(list, *references)),
            }
        }
        for change in &pending.others {
            self.put_index(&mut batch, change)?;
        }
        let family = self.db.family(Family::Meta.name())?;
        batch.put_cf(family, keys::meta::STATE, &pending.meta);
        Ok(batch)
    }

    /// Writes a change of one of the small indexes.
    fn put_index(&self, batch: &mut WriteBatch, change: &Change) -> Result<(), StorageError> {
        let (family, key, value) = match change {
            Change::Session { id, after } => {
                let value = after.as_ref().map(encode::session);
                (Family::Sessions, keys::session(*id).to_vec(), value)
            }
            Change::Ephemeral {
                session,
                path,
                added,
            } => {
                let key = keys::ephemeral(*session, path);
                (Family::Ephemerals, key, added.then(Vec::new))
            }
            Change::Reap { path, added } => {
                (Family::Reap, path.as_bytes().to_vec(), added.then(Vec::new))
            }
            Change::Quota { path, added } => (
                Family::Quota,
                path.as_bytes().to_vec(),
                added.then(Vec::new),
            ),
            Change::Znode { .. } | Change::Acl { .. } => return Ok(()),
        };
        let family = self.db.family(family.name())?;
        match value {
            Some(value) => batch.put_cf(family, key, value),
            None => batch.delete_cf(family, key),
        }
        Ok(())
    }
}

impl Drop for Gather {
    /// So that a server that was stopped in order has nothing to apply again when it starts.
    fn drop(&mut self) {
        if let Err(error) = self.write() {
            let error = &error as &dyn std::error::Error;
            error!(error, "the last changes will be applied again from the log");
        }
    }
}

impl Pending {
    fn add(&mut self, change: &Change) {
        match change {
            Change::Znode { path, after, .. } => {
                let data_bytes = after.as_ref().map_or(0, |node| node.data_bytes());
                self.bytes += RECORD_BYTES + path.len() + data_bytes;
                self.changes += 1;
                match self.znodes.get_mut(path) {
                    Some(earlier) => earlier.clone_from(after),
                    None => {
                        self.znodes.insert(Arc::clone(path), after.clone());
                    }
                }
            }
            Change::Acl {
                id,
                list,
                references,
            } => {
                self.acls.insert(*id, (Arc::clone(list), *references));
            }
            Change::Session { .. }
            | Change::Ephemeral { .. }
            | Change::Reap { .. }
            | Change::Quota { .. } => {
                self.changes += 1;
                self.others.push(change.clone());
            }
        }
    }

    /// Forgets all; the map keeps its memory, but not that of an entry of uncommon size.
    fn clear(&mut self) {
        self.znodes.clear();
        self.znodes.shrink_to(2 * CHANGES_MAX);
        self.acls.clear();
        self.others.clear();
        self.others.shrink_to(CHANGES_MAX);
        self.meta.clear();
        self.changes = 0;
        self.bytes = 0;
    }
}
