//! Changes on their way into the database: those of some entries are written together.
//!
//! ```text
//!   begin ─▶ add a slice, ... ─▶ end of the entry: enough? ─▶ write ─▶ memtables, Unwritten forgets
//!   checkpoint (at the end of the entry under way), end of the process: ─┘
//! ```
//!
//! What comes or goes is encoded slice by slice, while it is in the processor's caches. A znode that
//! changes in many entries, as a busy parent does, is written once for all of them: a memtable keeps
//! each version. So the batch is small enough to stay in those caches until it is written, too.
//!
//! Writing late loses nothing: a memtable does not survive a crash either, and the Raft log is kept
//! from the last checkpoint on. A batch holds whole entries with the position of the last one, so the
//! database is always at the end of some entry.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jute::Acl;
use parking_lot::{Condvar, Mutex};
use rocksdb::{ColumnFamily, WriteBatch};
use tracing::error;

use super::cache::Known;
use super::db::Database;
use super::keys::{self, Family};
use super::unwritten::Unwritten;
use super::{encode, options};
use crate::state::{AclId, Change, Meta, Txn};
use crate::storage::StorageError;

/// Changes that are written together at least: as many as stay in a processor's cache.
const CHANGES_MAX: usize = 512;
/// Bytes that are written together at least.
const BYTES_MAX: usize = 1 << 20;
/// Record, depth and numbers of a znode in a batch.
const RECORD_BYTES: usize = 80;
/// An entry takes milliseconds. One that has not ended after this time is not waited for: apply has
/// failed, or the disk is stuck.
const ENTRY_TIME_MAX: Duration = Duration::from_secs(5);

/// Gathers the changes of entries and writes some entries' at once, in order.
pub(in crate::storage) struct WriteBehind {
    db: Arc<Database>,
    /// What is visible but not in the database, also of an entry that is not complete yet.
    pub(in crate::storage) unwritten: Unwritten,
    pending: Mutex<Pending>,
    /// Signalled when what was wanted has been written.
    written: Condvar,
}

/// What was added since the last write, but for the last state of znodes that were updated, which
/// [`Unwritten`] holds.
#[derive(Default)]
struct Pending {
    /// What came and went, in order.
    batch: WriteBatch,
    acls: BTreeMap<AclId, (Arc<[Acl]>, u64)>,
    /// The value of the state's small rest; empty if there is nothing to write.
    meta: Vec<u8>,
    changes: usize,
    bytes: usize,
    /// An entry has begun and not ended: what there is of it must not be written yet.
    is_within_entry: bool,
    /// Somebody waits for everything to be written at the end of this entry.
    is_wanted: bool,
    /// A write was begun and has not succeeded: some changes are missing here, and a later write
    /// would say that the database holds them. Or an entry was given up: some are here that a later
    /// write must not count as those of another entry.
    has_failed: bool,
    encoder: Encoder,
}

/// Buffers for one record.
#[derive(Default)]
struct Encoder {
    key: Vec<u8>,
    value: Vec<u8>,
}

impl fmt::Debug for WriteBehind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteBehind")
            .field("unwritten", &self.unwritten)
            .finish_non_exhaustive()
    }
}

impl WriteBehind {
    /// Nothing gathered yet.
    pub(in crate::storage) fn new(db: Arc<Database>) -> Self {
        Self {
            db,
            unwritten: Unwritten::default(),
            pending: Mutex::default(),
            written: Condvar::new(),
        }
    }

    /// An entry begins, before anything of it is installed.
    pub(in crate::storage) fn begin(&self) {
        let pending = &mut *self.pending.lock();
        // Whoever began the one before has neither ended nor abandoned it.
        pending.has_failed |= std::mem::replace(&mut pending.is_within_entry, true);
    }

    /// The entry that began will not end: nothing is written any more. Whoever waits for its end is
    /// told.
    pub(in crate::storage) fn abandon(&self) {
        let pending = &mut *self.pending.lock();
        pending.is_within_entry = false;
        pending.has_failed = true;
        if std::mem::take(&mut pending.is_wanted) {
            self.written.notify_all();
        }
    }

    /// Adds a slice, which has been installed.
    ///
    /// # Errors
    /// The database lacks a family, or something failed before.
    pub(in crate::storage) fn add(&self, txns: &[Txn]) -> Result<(), StorageError> {
        let nodes = self.db.family(Family::Nodes.name())?;
        let pending = &mut *self.pending.lock();
        self.refuse_failed(pending)?;
        for change in txns.iter().flat_map(|txn| &txn.changes) {
            self.add_change(pending, nodes, change)?;
        }
        Ok(())
    }

    /// The entry has been added; writes if enough has gathered.
    ///
    /// # Errors
    /// The write failed, or something did before.
    pub(in crate::storage) fn end(&self, meta: &Meta) -> Result<(), StorageError> {
        let mut pending = self.pending.lock();
        self.refuse_failed(&pending)?;
        pending.is_within_entry = false;
        pending.meta.clear();
        encode::put_meta(meta, &mut pending.meta);
        if pending.is_wanted || pending.changes >= CHANGES_MAX || pending.bytes >= BYTES_MAX {
            let done = self.write_out(&mut pending);
            if std::mem::take(&mut pending.is_wanted) {
                self.written.notify_all();
            }
            done?;
        }
        Ok(())
    }

    /// Writes all that has gathered, at the end of the entry that is under way if there is one.
    ///
    /// # Errors
    /// The write failed, or something did before.
    pub(in crate::storage) fn write(&self) -> Result<(), StorageError> {
        let mut pending = self.pending.lock();
        if pending.is_within_entry {
            pending.is_wanted = true;
            let is_wanted = |pending: &mut Pending| pending.is_wanted;
            self.written
                .wait_while_for(&mut pending, is_wanted, ENTRY_TIME_MAX);
            // In vain if it has taken too long: the database stays at the end of an earlier entry.
            return self.refuse_failed(&pending);
        }
        self.refuse_failed(&pending)?;
        self.write_out(&mut pending)
    }

    fn refuse_failed(&self, pending: &Pending) -> Result<(), StorageError> {
        if !pending.has_failed {
            return Ok(());
        }
        Err(StorageError::Failed {
            doing: "write changes",
            path: self.db.path().to_owned(),
        })
    }

    fn add_change(
        &self,
        pending: &mut Pending,
        nodes: &ColumnFamily,
        change: &Change,
    ) -> Result<(), StorageError> {
        match change {
            Change::Znode {
                path,
                after,
                listed,
            } => {
                let data_bytes = after.as_ref().map_or(0, |node| node.data_bytes());
                pending.bytes += RECORD_BYTES + path.len() + data_bytes;
                pending.changes += 1;
                if *listed {
                    let Pending { batch, encoder, .. } = pending;
                    encoder.put(batch, nodes, path, after);
                }
            }
            Change::Acl {
                id,
                list,
                references,
            } => {
                pending.acls.insert(*id, (Arc::clone(list), *references));
            }
            Change::Session { .. }
            | Change::Ephemeral { .. }
            | Change::Reap { .. }
            | Change::Quota { .. } => {
                pending.changes += 1;
                self.put_index(&mut pending.batch, change)?;
            }
            // It is in the meta.
            Change::Lineups(_) => {}
        }
        Ok(())
    }

    fn write_out(&self, pending: &mut Pending) -> Result<(), StorageError> {
        if pending.meta.is_empty() {
            return Ok(());
        }
        // Until it has succeeded.
        pending.has_failed = true;
        self.complete(pending)?;
        let next = WriteBatch::with_capacity_bytes(pending.batch.size_in_bytes().min(BYTES_MAX));
        let batch = std::mem::replace(&mut pending.batch, next);
        self.db
            .write(batch, &options::unlogged())
            .map_err(|source| self.db.failed("write changes", source))?;
        self.unwritten.clear();
        pending.acls.clear();
        pending.meta.clear();
        pending.changes = 0;
        pending.bytes = 0;
        pending.has_failed = false;
        Ok(())
    }

    /// Adds to the batch what changes often: once, as it is now.
    fn complete(&self, pending: &mut Pending) -> Result<(), StorageError> {
        let Pending {
            batch,
            acls,
            meta,
            encoder,
            ..
        } = pending;
        let nodes = self.db.family(Family::Nodes.name())?;
        self.unwritten
            .each_updated(&mut |path, after| encoder.put(batch, nodes, path, after));
        let family = self.db.family(Family::Acls.name())?;
        for (id, (list, references)) in acls {
            match references {
                0 => batch.delete_cf(family, id.0.to_be_bytes()),
                _ => batch.put_cf(family, id.0.to_be_bytes(), encode::acl(list, *references)),
            }
        }
        batch.put_cf(
            self.db.family(Family::Meta.name())?,
            keys::meta::STATE,
            meta,
        );
        Ok(())
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
            Change::Znode { .. } | Change::Acl { .. } | Change::Lineups(_) => return Ok(()),
        };
        let family = self.db.family(family.name())?;
        match value {
            Some(value) => batch.put_cf(family, key, value),
            None => batch.delete_cf(family, key),
        }
        Ok(())
    }
}

impl Encoder {
    fn put(&mut self, batch: &mut WriteBatch, nodes: &ColumnFamily, path: &str, after: &Known) {
        keys::put_node(path, &mut self.key);
        match after {
            Some(node) => {
                self.value.clear();
                encode::put_znode(node, &mut self.value);
                batch.put_cf(nodes, &self.key, &self.value);
            }
            None => batch.delete_cf(nodes, &self.key),
        }
    }
}

impl Drop for WriteBehind {
    /// So that a server that was stopped in order has nothing to apply again when it starts.
    fn drop(&mut self) {
        let pending = self.pending.get_mut();
        if pending.is_within_entry || pending.has_failed {
            return;
        }
        if let Err(error) = self.write() {
            let error = &error as &dyn std::error::Error;
            error!(error, "the last changes will be applied again from the log");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// I6: some changes went with the write that failed: the next one must not claim their position,
    /// should it succeed.
    #[test]
    fn after_a_failed_write_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (mut options, families) = options::checkpoint();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        drop(Database::open(dir.path(), &options, families).unwrap());
        let (options, families) = options::checkpoint();
        let db = Database::open_read_only(dir.path(), &options, families).unwrap();
        let write_behind = WriteBehind::new(Arc::new(db));
        write_behind.begin();
        write_behind.end(&Meta::default()).unwrap();
        let refused = write_behind.write().unwrap_err();
        assert!(matches!(refused, StorageError::Rocks { .. }), "{refused}");
        for _ in 0..2 {
            write_behind.begin();
            let ended = write_behind.end(&Meta::default());
            write_behind.abandon();
            for refused in [ended, write_behind.add(&[]), write_behind.write()] {
                let refused = refused.unwrap_err();
                assert!(matches!(refused, StorageError::Failed { .. }), "{refused}");
            }
        }
    }
}
