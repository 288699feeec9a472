//! Which tree is the live one: what is not the state asks here, each time anew.

use std::sync::Arc;

use parking_lot::RwLock;

use super::rocks_tree::RocksTree;

/// The tree that is served. All that hangs on it, the database, its cache, the changes that are
/// gathered for it and the loads from it, hangs on this one `Arc`, and is exchanged with it.
#[derive(Debug)]
pub(in crate::storage) struct Live {
    tree: RwLock<Arc<RocksTree>>,
}

impl Live {
    /// At first it is this one.
    pub(in crate::storage) fn new(tree: RocksTree) -> Self {
        Self {
            tree: RwLock::new(Arc::new(tree)),
        }
    }

    /// The tree as of now. Whoever keeps it keeps its database open.
    pub(in crate::storage) fn current(&self) -> Arc<RocksTree> {
        Arc::clone(&self.tree.read())
    }

    /// From now on it is this one. The files of the one before go with its last reader.
    pub(in crate::storage) fn replace(&self, tree: RocksTree) -> Arc<RocksTree> {
        let tree = Arc::new(tree);
        let old = std::mem::replace(&mut *self.tree.write(), Arc::clone(&tree));
        old.db().remove_when_closed();
        // Perhaps the last of it, and closing a database takes a while: without the lock.
        drop(old);
        tree
    }
}
