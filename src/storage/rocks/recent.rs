//! What has been installed but is not in the database yet.
//!
//! Until a txn has been written, this is the only place that answers for a znode that
//! the cache has evicted. It also completes what a scan of the database finds.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;

use super::cache::Known;
use crate::state::{Change, Txn, Zxid};

/// Room that is kept for the next entry: some hundred creates.
const NODES_KEPT: usize = 4096;

/// The changes of a few txns; cloned only while a view still uses an older version.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    /// The last txn.
    newest: Zxid,
    /// Znodes by path, as they are now.
    pub nodes: HashMap<Arc<str>, Stamped<Known>>,
    /// Containers and TTL nodes that came (true) or went.
    pub reap: HashMap<Arc<str>, Stamped<bool>>,
}

/// A value and the txn that made it.
#[derive(Clone, Debug)]
pub(super) struct Stamped<T> {
    /// The value.
    pub value: T,
    zxid: Zxid,
}

/// See the file's own words.
#[derive(Debug, Default)]
pub(super) struct Recent {
    changes: RwLock<Arc<Changes>>,
}

impl Recent {
    /// Takes in the changes of a txn.
    pub(super) fn install(&self, txn: &Txn) {
        let zxid = txn.zxid;
        let mut guard = self.changes.write();
        let changes = Arc::make_mut(&mut guard);
        changes.newest = zxid;
        for change in &txn.changes {
            match change {
                Change::Znode { path, after, .. } => {
                    let value = after.clone();
                    changes
                        .nodes
                        .insert(Arc::clone(path), Stamped { value, zxid });
                }
                Change::Reap { path, added } => {
                    let value = *added;
                    changes
                        .reap
                        .insert(Arc::clone(path), Stamped { value, zxid });
                }
                Change::Session { .. }
                | Change::Ephemeral { .. }
                | Change::Acl { .. }
                | Change::Quota { .. } => {}
            }
        }
    }

    /// Forgets what was installed by txns up to `last`: the database knows it now.
    pub(super) fn persisted(&self, last: Zxid) {
        let mut guard = self.changes.write();
        if guard.newest <= last {
            // The usual case: nothing is kept.
            match Arc::get_mut(&mut guard) {
                Some(changes) => {
                    changes.nodes.clear();
                    changes.nodes.shrink_to(NODES_KEPT);
                    changes.reap.clear();
                }
                None => *guard = Arc::default(),
            }
            return;
        }
        let newer = |zxid: Zxid| zxid > last;
        let changes = Arc::make_mut(&mut guard);
        changes.nodes.retain(|_, stamped| newer(stamped.zxid));
        changes.reap.retain(|_, stamped| newer(stamped.zxid));
    }

    /// What is known of one path.
    pub(super) fn get(&self, path: &str) -> Option<Known> {
        let changes = self.changes.read();
        changes.nodes.get(path).map(|stamped| stamped.value.clone())
    }

    /// All of it, as it is now.
    pub(super) fn all(&self) -> Arc<Changes> {
        Arc::clone(&self.changes.read())
    }
}
