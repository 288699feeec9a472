//! A tree in a map, for this room's own tests: no cache, nothing is ever missing.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::state::{
    Change, Entry, Extended, Intake, Kind, Meta, Missing, Peek, Pins, Restored, Store, StoreError,
    Txn, View, Warmed, Znode,
};

type Nodes = BTreeMap<Arc<str>, Arc<Znode>>;
pub(super) type NodeList = Vec<(Arc<str>, Arc<Znode>)>;

/// What has been installed, and what has been persisted.
#[derive(Debug)]
pub(super) struct MapStore {
    nodes: Mutex<Nodes>,
    /// `None` once an entry was given up.
    staged: Mutex<Option<Vec<Txn>>>,
    disk: Mutex<Disk>,
}

#[derive(Debug, Default)]
struct Disk {
    nodes: Nodes,
    restored: Restored,
}

impl Default for MapStore {
    fn default() -> Self {
        Self {
            nodes: Mutex::default(),
            staged: Mutex::new(Some(Vec::new())),
            disk: Mutex::default(),
        }
    }
}

impl MapStore {
    /// The nodes on disk, in order.
    pub(super) fn disk(&self) -> NodeList {
        let disk = self.disk.lock();
        let nodes = disk
            .nodes
            .iter()
            .map(|(path, node)| (Arc::clone(path), Arc::clone(node)));
        nodes.collect()
    }

    /// The same disk after a crash: what was installed only is gone.
    pub(super) fn crashed(&self) -> Self {
        let disk = self.disk.lock();
        let restored = copy(&disk.restored);
        Self {
            nodes: Mutex::new(disk.nodes.clone()),
            staged: Mutex::new(Some(Vec::new())),
            disk: Mutex::new(Disk {
                nodes: disk.nodes.clone(),
                restored,
            }),
        }
    }
}

fn copy(restored: &Restored) -> Restored {
    Restored {
        meta: restored.meta.clone(),
        sessions: restored.sessions.clone(),
        ephemerals: restored.ephemerals.clone(),
        acls: restored.acls.clone(),
        quotas: restored.quotas.clone(),
    }
}

fn put(nodes: &mut Nodes, txn: &Txn) {
    for change in &txn.changes {
        match change {
            Change::Znode {
                path,
                after: Some(node),
                listed,
            } => {
                let before = nodes.insert(Arc::clone(path), Arc::clone(node));
                assert!(
                    *path == "/".into() || before.is_none() == *listed,
                    "listed: {path}"
                );
            }
            Change::Znode {
                path,
                after: None,
                listed,
            } => {
                assert!(nodes.remove(path).is_some() && *listed, "deleted: {path}");
            }
            _ => {}
        }
    }
}

fn below(path: &str) -> String {
    format!("{}/", path.trim_end_matches('/'))
}

impl Store for MapStore {
    fn peek(&self, path: &str) -> Peek<Option<Arc<Znode>>> {
        Peek::Known(self.nodes.lock().get(path).cloned())
    }

    fn peek_children(&self, path: &str, visit: &mut dyn FnMut(&str)) -> Peek<()> {
        let nodes = self.nodes.lock();
        let below = below(path);
        let from = (Bound::Excluded(Arc::from(below.as_str())), Bound::Unbounded);
        nodes
            .range::<Arc<str>, _>(from)
            .map_while(|(path, _)| path.strip_prefix(&below))
            .filter(|name| !name.contains('/'))
            .for_each(visit);
        Peek::Known(())
    }

    fn peek_names_bytes(&self, path: &str) -> Peek<usize> {
        let mut bytes = 0;
        self.peek_children(path, &mut |name| bytes += 4 + name.len());
        Peek::Known(bytes)
    }

    fn pin(&self, _parts: &[Missing]) -> Option<Pins> {
        Some(Pins::default())
    }

    fn warm(&self, missing: &[Missing], _bytes_max: usize) -> Result<Warmed, StoreError> {
        Ok(Warmed {
            done: missing.len(),
            ..Warmed::default()
        })
    }

    fn weigh(&self, _part: &Missing, _bytes_max: usize) -> Result<Option<usize>, StoreError> {
        Ok(Some(0))
    }

    fn load(&self, path: &str) -> Result<Option<Arc<Znode>>, StoreError> {
        Ok(self.nodes.lock().get(path).cloned())
    }

    fn entry(&self) -> Entry<'_> {
        Entry::begin(self)
    }

    fn view(&self) -> Box<dyn View> {
        Box::new(MapView(self.nodes.lock().clone()))
    }

    fn restore(&self) -> Result<Restored, StoreError> {
        Ok(copy(&self.disk.lock().restored))
    }
}

impl Intake for MapStore {
    fn begin(&self) {}

    fn install(&self, txn: &Txn) {
        put(&mut self.nodes.lock(), txn);
    }

    fn stage(&self, txns: &[Txn]) -> Result<(), StoreError> {
        let mut staged = self.staged.lock();
        let staged = staged
            .as_mut()
            .ok_or_else(|| StoreError::abandoned("stage"))?;
        staged.extend_from_slice(txns);
        Ok(())
    }

    fn end(&self, meta: &Meta) -> Result<(), StoreError> {
        let Disk { nodes, restored } = &mut *self.disk.lock();
        let mut staged = self.staged.lock();
        let staged = staged
            .as_mut()
            .ok_or_else(|| StoreError::abandoned("end"))?;
        for txn in staged.drain(..) {
            put(nodes, &txn);
            for change in &txn.changes {
                match change {
                    Change::Session { id, after } => {
                        restored.sessions.retain(|(other, _)| other != id);
                        restored
                            .sessions
                            .extend(after.clone().map(|after| (*id, after)));
                    }
                    Change::Ephemeral {
                        session,
                        path,
                        added,
                    } => {
                        restored.ephemerals.retain(|(_, other)| other != path);
                        restored
                            .ephemerals
                            .extend(added.then(|| (*session, Arc::clone(path))));
                    }
                    Change::Acl {
                        id,
                        list,
                        references,
                    } => {
                        restored.acls.retain(|(other, ..)| other != id);
                        restored.acls.extend(
                            (*references > 0).then(|| (*id, Arc::clone(list), *references)),
                        );
                    }
                    Change::Quota { path, added } => {
                        restored.quotas.retain(|other| other != path);
                        restored.quotas.extend(added.then(|| Arc::clone(path)));
                    }
                    Change::Znode { .. } | Change::Reap { .. } | Change::Lineups(_) => {}
                }
            }
        }
        restored.meta = meta.clone();
        Ok(())
    }

    fn abandon(&self) {
        *self.staged.lock() = None;
    }
}

struct MapView(Nodes);

impl View for MapView {
    fn walk(
        &self,
        root: &str,
        visit: &mut dyn FnMut(&str, &Znode) -> bool,
    ) -> Result<(), StoreError> {
        let below = below(root);
        for (path, node) in &self.0 {
            if (&**path == root || path.starts_with(&below)) && !visit(path, node) {
                break;
            }
        }
        Ok(())
    }

    fn reapable(
        &self,
        after: Option<&str>,
        visit: &mut dyn FnMut(&str, &Znode) -> bool,
    ) -> Result<(), StoreError> {
        for (path, node) in &self.0 {
            let reapable = matches!(
                node.owner.kind(Extended::On),
                Kind::Container | Kind::Ttl(_)
            );
            let is_behind = after.is_none_or(|after| &**path > after);
            if reapable && is_behind && !visit(path, node) {
                break;
            }
        }
        Ok(())
    }
}
