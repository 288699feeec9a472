//! The tree at one moment: a RocksDB snapshot, completed by what was not persisted then.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rocksdb::{Direction, IteratorMode, Snapshot};
use self_cell::self_cell;

use super::cache::Known;
use super::db::{Database, store_error};
use super::encode;
use super::keys::{self, Below, Family};
use super::options;
use super::unwritten::Changes;
use crate::state::{StoreError, View, Znode};
use crate::storage::StorageError;

self_cell!(
    /// A snapshot together with the database that it belongs to.
    struct Frozen {
        owner: Arc<Database>,
        #[not_covariant]
        dependent: Snapshot,
    }
);

/// The tree at one moment.
pub(in crate::storage) struct TreeView {
    frozen: Frozen,
    unwritten: Arc<Changes>,
}

impl fmt::Debug for TreeView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TreeView").finish_non_exhaustive()
    }
}

/// Is told path and znode; false to stop.
type Visit<'a> = &'a mut dyn FnMut(&str, &Znode) -> bool;

impl TreeView {
    /// The database as it is now; `unwritten` must have been taken before.
    pub(in crate::storage) fn new(db: Arc<Database>, unwritten: Arc<Changes>) -> Self {
        Self {
            frozen: Frozen::new(db, |db| db.raw().snapshot()),
            unwritten,
        }
    }

    fn node(&self, path: &str) -> Result<Option<Znode>, StorageError> {
        if let Some(fresh) = self.unwritten.nodes.get(path) {
            return Ok(fresh.value.as_deref().cloned());
        }
        self.frozen.with_dependent(|db, snapshot| {
            let family = db.family(Family::Nodes.name())?;
            let value = snapshot.get_cf(family, keys::node(path));
            let value = value.map_err(|source| db.failed("read a znode", source))?;
            let node = value.map(|value| encode::read_znode(&value)).transpose();
            node.map_err(|why| db.corrupt("znode", why))
        })
    }

    /// Visits one range; `Some(found any)`, or `None` if `visit` stopped.
    fn range(&self, below: &Below, visit: Visit<'_>) -> Result<Option<bool>, StorageError> {
        let unwritten = self.unwritten.nodes.iter();
        let mut fresh: BTreeMap<&str, &Known> = unwritten
            .filter(|(path, _)| below.holds(path))
            .map(|(path, fresh)| (&**path, &fresh.value))
            .collect();
        self.frozen.with_dependent(|db, snapshot| {
            let family = db.family(Family::Nodes.name())?;
            let range = options::scan(below.start(), below.end());
            let mut found = false;
            for item in snapshot.iterator_cf_opt(family, range, IteratorMode::Start) {
                let (key, value) = item.map_err(|source| db.failed("scan", source))?;
                let path = keys::node_path(&key).ok_or_else(|| bad_path(db))?;
                while let Some((&earlier, _)) = fresh.first_key_value()
                    && earlier < path
                {
                    if let Some((path, Some(node))) = fresh.pop_first()
                        && !visit(path, node)
                    {
                        return Ok(None);
                    }
                }
                found = true;
                let go_on = match fresh.remove(path) {
                    Some(Some(node)) => visit(path, node),
                    Some(None) => true,
                    None => {
                        let node = encode::read_znode(&value);
                        visit(path, &node.map_err(|why| db.corrupt("znode", why))?)
                    }
                };
                if !go_on {
                    return Ok(None);
                }
            }
            for (path, node) in fresh {
                let Some(node) = node else { continue };
                found = true;
                if !visit(path, node) {
                    return Ok(None);
                }
            }
            Ok(Some(found))
        })
    }

    fn walk_all(&self, root: &str, visit: Visit<'_>) -> Result<(), StorageError> {
        let Some(node) = self.node(root)? else {
            return Ok(());
        };
        if !visit(root, &node) {
            return Ok(());
        }
        let mut next = Some(Below::children(root));
        while let Some(below) = next {
            // Every znode has a parent: below an empty depth there is nothing.
            if self.range(&below, visit)? != Some(true) {
                break;
            }
            next = below.deeper();
        }
        Ok(())
    }

    fn reap_all(&self, after: Option<&str>, visit: Visit<'_>) -> Result<(), StorageError> {
        let is_behind = |path: &str| after.is_none_or(|after| path > after);
        let unwritten = self.unwritten.reap.iter();
        let mut fresh: BTreeMap<&str, bool> = unwritten
            .filter(|(path, _)| is_behind(path))
            .map(|(path, came)| (&**path, *came))
            .collect();
        let mut visit = |path: &str| -> Result<bool, StorageError> {
            let node = self.node(path)?;
            Ok(node.is_none_or(|node| visit(path, &node)))
        };
        self.frozen.with_dependent(|db, snapshot| {
            let family = db.family(Family::Reap.name())?;
            let start = match after {
                Some(after) => IteratorMode::From(after.as_bytes(), Direction::Forward),
                None => IteratorMode::Start,
            };
            for item in snapshot.iterator_cf_opt(family, options::scan_all(), start) {
                let (key, _) = item.map_err(|source| db.failed("scan", source))?;
                let path = std::str::from_utf8(&key).map_err(|_| bad_path(db))?;
                while let Some((&earlier, _)) = fresh.first_key_value()
                    && earlier < path
                {
                    if let Some((path, true)) = fresh.pop_first()
                        && !visit(path)?
                    {
                        return Ok(());
                    }
                }
                let is_there = fresh.remove(path).unwrap_or(true);
                if is_there && is_behind(path) && !visit(path)? {
                    return Ok(());
                }
            }
            for (path, came) in &fresh {
                if *came && !visit(path)? {
                    break;
                }
            }
            Ok(())
        })
    }
}

fn bad_path(db: &Database) -> StorageError {
    StorageError::Corrupt {
        what: "key",
        path: db.path().to_owned(),
        why: "a path that is no UTF-8".to_owned(),
    }
}

impl View for TreeView {
    fn walk(&self, root: &str, visit: Visit<'_>) -> Result<(), StoreError> {
        self.walk_all(root, visit)
            .map_err(|source| store_error("walk the tree", source))
    }

    fn reapable(&self, after: Option<&str>, visit: Visit<'_>) -> Result<(), StoreError> {
        self.reap_all(after, visit)
            .map_err(|source| store_error("list what may be reaped", source))
    }
}
