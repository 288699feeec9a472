//! What has been installed but is not in the database yet.
//!
//! Until a txn has been written, this is the only place that answers for a znode that
//! the cache has evicted. It also completes what a scan of the database finds, and holds the last
//! state of each znode that changed without coming or going, to be written once.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;

use super::cache::Known;
use crate::state::{Change, Txn};

/// Room that is kept for the next entry: some hundred creates.
const NODES_KEPT: usize = 4096;

/// The changes of a few txns; cloned only while a view still uses an older version.
#[derive(Clone, Debug, Default)]
pub(in crate::storage) struct Changes {
    /// Znodes by path, as they are now.
    pub nodes: HashMap<Arc<str>, Fresh>,
    /// Containers and TTL nodes that came (true) or went.
    pub reap: HashMap<Arc<str>, bool>,
}

/// A znode as it is now.
#[derive(Clone, Debug)]
pub(in crate::storage) struct Fresh {
    /// The znode, or that it is gone.
    pub value: Known,
    /// It neither came nor went with its last change, which is only here until it is written.
    is_updated: bool,
}

/// What has been installed and is not in the database yet; memory answers for it.
#[derive(Debug, Default)]
pub(in crate::storage) struct Unwritten {
    kept: RwLock<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    changes: Arc<Changes>,
    /// Paths of what was updated, some of them twice, some not any more.
    updated: Vec<Arc<str>>,
}

impl Unwritten {
    /// Takes in the changes of a txn.
    pub(in crate::storage) fn install(&self, txn: &Txn) {
        let kept = &mut *self.kept.write();
        let changes = Arc::make_mut(&mut kept.changes);
        for change in &txn.changes {
            match change {
                Change::Znode {
                    path,
                    after,
                    listed,
                } => {
                    let fresh = Fresh {
                        value: after.clone(),
                        is_updated: !listed,
                    };
                    let before = changes.nodes.insert(Arc::clone(path), fresh);
                    if !listed && !before.is_some_and(|before| before.is_updated) {
                        kept.updated.push(Arc::clone(path));
                    }
                }
                Change::Reap { path, added } => {
                    changes.reap.insert(Arc::clone(path), *added);
                }
                Change::Session { .. }
                | Change::Ephemeral { .. }
                | Change::Acl { .. }
                | Change::Quota { .. }
                | Change::Lineups(_) => {}
            }
        }
    }

    /// Visits the last state of what was updated last, some of it twice. Nothing may be
    /// installed meanwhile.
    pub(in crate::storage) fn each_updated(&self, visit: &mut dyn FnMut(&str, &Known)) {
        let kept = self.kept.read();
        for path in &kept.updated {
            if let Some(fresh) = kept.changes.nodes.get(path)
                && fresh.is_updated
            {
                visit(path, &fresh.value);
            }
        }
    }

    /// Forgets all: the database knows it now.
    pub(in crate::storage) fn clear(&self) {
        let kept = &mut *self.kept.write();
        kept.updated.clear();
        kept.updated.shrink_to(NODES_KEPT);
        match Arc::get_mut(&mut kept.changes) {
            Some(changes) => {
                changes.nodes.clear();
                changes.nodes.shrink_to(NODES_KEPT);
                changes.reap.clear();
            }
            None => kept.changes = Arc::default(),
        }
    }

    /// What is known of one path.
    pub(in crate::storage) fn get(&self, path: &str) -> Option<Known> {
        let kept = self.kept.read();
        let fresh = kept.changes.nodes.get(path);
        fresh.map(|fresh| fresh.value.clone())
    }

    /// All of it, as it is now.
    pub(in crate::storage) fn all(&self) -> Arc<Changes> {
        Arc::clone(&self.kept.read().changes)
    }
}
