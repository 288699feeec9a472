//! The tree in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use jute::Acl;
use parking_lot::{Mutex, RwLock};

use crate::state::{
    AclId, Change, Entry, Intake, LogPosition, Meta, Missing, Peek, Pins, Restored, SessionId,
    SessionRecord, Store, StoreError, Txn, View, Warmed, Znode,
};
use crate::storage::install::follow;
use crate::storage::{Log, StorageError};

/// A tree in memory. What has been persisted survives a crash once a checkpoint was taken, as with
/// RocksDB's memtables.
#[derive(Debug, Default)]
pub struct MemoryTree {
    /// As installed: what reads see.
    visible: RwLock<Visible>,
    /// Changes of an entry that has not ended.
    staged: Mutex<Staged>,
    /// As persisted.
    persisted: Mutex<Contents>,
    /// As of the last checkpoint.
    flushed: Mutex<Contents>,
    /// What it held when it came from another server, if it did.
    installed: Option<LogPosition>,
}

#[derive(Debug, Default)]
struct Staged {
    changes: Vec<Change>,
    /// An entry was given up, or another one began within it.
    is_abandoned: bool,
    is_within_entry: bool,
}

/// Depth and path to znode: the order of RocksDB's keys.
type Nodes = BTreeMap<(usize, Arc<str>), Arc<Znode>>;

/// What a view holds; cloned only where a view still uses an older version.
#[derive(Clone, Debug, Default)]
struct Visible {
    nodes: Arc<Nodes>,
    reap: Arc<BTreeSet<Arc<str>>>,
}

/// All that a tree holds at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    nodes: Arc<Nodes>,
    pub(super) meta: Meta,
    sessions: BTreeMap<SessionId, SessionRecord>,
    ephemerals: BTreeSet<(SessionId, Arc<str>)>,
    acls: BTreeMap<AclId, (Arc<[Acl]>, u64)>,
    quotas: BTreeSet<Arc<str>>,
    reap: Arc<BTreeSet<Arc<str>>>,
}

impl MemoryTree {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree that is found after a crash: as of the last checkpoint, or, with `persisted`, with
    /// all that was persisted since.
    pub fn crash(&self, persisted: bool) -> Self {
        let survives = if persisted {
            &self.persisted
        } else {
            &self.flushed
        };
        let contents = survives.lock().clone();
        Self::of(contents, self.installed)
    }

    fn of(contents: Contents, installed: Option<LogPosition>) -> Self {
        Self {
            visible: RwLock::new(Visible {
                nodes: Arc::clone(&contents.nodes),
                reap: Arc::clone(&contents.reap),
            }),
            staged: Mutex::default(),
            persisted: Mutex::new(contents.clone()),
            flushed: Mutex::new(contents),
            installed,
        }
    }

    /// What another server's tree held comes to be this one.
    pub(super) fn install(contents: Contents) -> Self {
        let installed = contents.meta.applied;
        Self::of(contents, installed)
    }

    /// As a start does it: a log lets go of what a tree that came from another server holds.
    ///
    /// # Errors
    /// As the log.
    pub fn lead(&self, log: &dyn Log) -> Result<(), StorageError> {
        self.installed.map_or(Ok(()), |at| follow(at, log))
    }

    pub(super) fn flush(&self) -> Contents {
        let persisted = self.persisted.lock().clone();
        *self.flushed.lock() = persisted.clone();
        persisted
    }

    /// What `contents` would be if they were not of one moment: the znodes are those of now.
    pub(super) fn smear(&self, contents: &mut Contents) {
        contents.nodes = Arc::clone(&self.visible.read().nodes);
    }
}

impl Contents {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Znode { path, after, .. } => put(Arc::make_mut(&mut self.nodes), path, after),
            Change::Session {
                id,
                after: Some(record),
            } => {
                self.sessions.insert(*id, record.clone());
            }
            Change::Session { id, after: None } => {
                self.sessions.remove(id);
            }
            Change::Ephemeral {
                session,
                path,
                added,
            } => {
                let pair = (*session, Arc::clone(path));
                toggle(&mut self.ephemerals, pair, *added);
            }
            Change::Acl {
                id, references: 0, ..
            } => {
                self.acls.remove(id);
            }
            Change::Acl {
                id,
                list,
                references,
            } => {
                self.acls.insert(*id, (Arc::clone(list), *references));
            }
            Change::Reap { path, added } => {
                toggle(Arc::make_mut(&mut self.reap), Arc::clone(path), *added)
            }
            Change::Quota { path, added } => toggle(&mut self.quotas, Arc::clone(path), *added),
            // It is in the meta.
            Change::Lineups(_) => {}
        }
    }
}

fn toggle<T: Ord>(set: &mut BTreeSet<T>, item: T, added: bool) {
    if added {
        set.insert(item);
    } else {
        set.remove(&item);
    }
}

fn put(nodes: &mut Nodes, path: &Arc<str>, after: &Option<Arc<Znode>>) {
    match after {
        Some(node) => nodes.insert(key(path), Arc::clone(node)),
        None => nodes.remove(&key(path)),
    };
}

fn depth(path: &str) -> usize {
    if path == "/" {
        0
    } else {
        path.bytes().filter(|&byte| byte == b'/').count()
    }
}

fn key(path: &str) -> (usize, Arc<str>) {
    (depth(path), Arc::from(path))
}

/// The nodes below `parent`, `down` levels further down.
fn below<'a>(
    nodes: &'a Nodes,
    parent: &str,
    down: usize,
) -> impl Iterator<Item = (&'a str, &'a Arc<Znode>)> {
    let prefix = if parent == "/" {
        "/".to_owned()
    } else {
        format!("{parent}/")
    };
    let level = depth(parent) + down;
    nodes
        .range((level, Arc::from(prefix.as_str()))..)
        .take_while(move |((depth, path), _)| *depth == level && path.starts_with(&prefix))
        .map(|((_, path), node)| (&**path, node))
}

impl Store for MemoryTree {
    fn peek(&self, path: &str) -> Peek<Option<Arc<Znode>>> {
        Peek::Known(self.visible.read().nodes.get(&key(path)).cloned())
    }

    fn peek_children(&self, path: &str, visit: &mut dyn FnMut(&str)) -> Peek<()> {
        let nodes = Arc::clone(&self.visible.read().nodes);
        for (child, _) in below(&nodes, path, 1) {
            visit(child.rsplit_once('/').map_or(child, |(_, name)| name));
        }
        Peek::Known(())
    }

    fn peek_names_bytes(&self, path: &str) -> Peek<usize> {
        let mut bytes = 0;
        self.peek_children(path, &mut |name| bytes += 4 + name.len());
        Peek::Known(bytes)
    }

    /// Everything is in memory, so nothing needs to be held.
    fn pin(&self, _parts: &[Missing]) -> Option<Pins> {
        Some(Pins::default())
    }

    fn warm(&self, missing: &[Missing], bytes_max: usize) -> Result<Warmed, StoreError> {
        let mut warmed = Warmed::default();
        for part in missing {
            let Some(bytes) = self.weigh(part, bytes_max - warmed.bytes)? else {
                break;
            };
            warmed.bytes += bytes;
            warmed.done += 1;
        }
        Ok(warmed)
    }

    fn weigh(&self, part: &Missing, bytes_max: usize) -> Result<Option<usize>, StoreError> {
        let (Missing::Znode(path) | Missing::Children(path)) = part;
        let node = self.load(path)?;
        let mut bytes = node.map_or(0, |node| node.data_bytes());
        if let (Missing::Children(_), Peek::Known(names)) = (part, self.peek_names_bytes(path)) {
            bytes += names;
        }
        Ok(Some(bytes).filter(|bytes| *bytes <= bytes_max))
    }

    fn load(&self, path: &str) -> Result<Option<Arc<Znode>>, StoreError> {
        Ok(self.visible.read().nodes.get(&key(path)).cloned())
    }

    fn entry(&self) -> Entry<'_> {
        Entry::begin(self)
    }

    fn view(&self) -> Box<dyn View> {
        Box::new(MemoryView {
            visible: self.visible.read().clone(),
        })
    }

    fn restore(&self) -> Result<Restored, StoreError> {
        let contents = self.persisted.lock().clone();
        Ok(Restored {
            meta: contents.meta,
            sessions: contents.sessions.into_iter().collect(),
            ephemerals: contents.ephemerals.into_iter().collect(),
            acls: contents
                .acls
                .into_iter()
                .map(|(id, (list, count))| (id, list, count))
                .collect(),
            quotas: contents.quotas.into_iter().collect(),
        })
    }
}

impl Intake for MemoryTree {
    fn begin(&self) {
        let staged = &mut *self.staged.lock();
        staged.is_abandoned |= std::mem::replace(&mut staged.is_within_entry, true);
    }

    fn install(&self, txn: &Txn) {
        let mut visible = self.visible.write();
        for change in &txn.changes {
            match change {
                Change::Znode { path, after, .. } => {
                    put(Arc::make_mut(&mut visible.nodes), path, after);
                }
                Change::Reap { path, added } => {
                    toggle(Arc::make_mut(&mut visible.reap), Arc::clone(path), *added);
                }
                Change::Session { .. }
                | Change::Ephemeral { .. }
                | Change::Acl { .. }
                | Change::Quota { .. }
                | Change::Lineups(_) => {}
            }
        }
    }

    fn stage(&self, txns: &[Txn]) -> Result<(), StoreError> {
        let changes = txns.iter().flat_map(|txn| &txn.changes);
        let mut staged = self.staged.lock();
        if staged.is_abandoned {
            return Err(StoreError::abandoned("stage changes"));
        }
        staged.changes.extend(changes.cloned());
        Ok(())
    }

    fn end(&self, meta: &Meta) -> Result<(), StoreError> {
        let mut staged = self.staged.lock();
        if staged.is_abandoned {
            return Err(StoreError::abandoned("persist changes"));
        }
        staged.is_within_entry = false;
        let mut persisted = self.persisted.lock();
        for change in staged.changes.drain(..) {
            persisted.apply(&change);
        }
        persisted.meta = meta.clone();
        Ok(())
    }

    fn abandon(&self) {
        self.staged.lock().is_abandoned = true;
    }
}

#[derive(Debug)]
struct MemoryView {
    visible: Visible,
}

impl View for MemoryView {
    fn walk(
        &self,
        root: &str,
        visit: &mut dyn FnMut(&str, &Znode) -> bool,
    ) -> Result<(), StoreError> {
        let Some(node) = self.visible.nodes.get(&key(root)) else {
            return Ok(());
        };
        if !visit(root, node) {
            return Ok(());
        }
        for down in 1.. {
            let mut any = false;
            for (path, node) in below(&self.visible.nodes, root, down) {
                any = true;
                if !visit(path, node) {
                    return Ok(());
                }
            }
            if !any {
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
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for path in self.visible.reap.range::<str, _>((from, Bound::Unbounded)) {
            if let Some(node) = self.visible.nodes.get(&key(path))
                && !visit(path, node)
            {
                break;
            }
        }
        Ok(())
    }
}
