//! Interned ACL lists with the number of znodes that use each.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use hashbrown::HashMap;
use jute::{Acl, Id, perms};

use crate::state::AclId;

/// The list of [`AclId::OPEN`].
pub(in crate::state) fn open_list() -> &'static Arc<[Acl]> {
    static OPEN: LazyLock<Arc<[Acl]>> = LazyLock::new(|| anyone(perms::ALL));
    &OPEN
}

/// A list that permits nobody anything: what an id that nothing is known of stands for.
pub(in crate::state) fn closed_list() -> &'static Arc<[Acl]> {
    static CLOSED: LazyLock<Arc<[Acl]>> = LazyLock::new(|| anyone(0));
    &CLOSED
}

fn anyone(perms: i32) -> Arc<[Acl]> {
    Arc::from([Acl {
        perms,
        id: Id::ANYONE,
    }])
}

/// Lists by id and ids by list, without [`AclId::OPEN`].
///
/// zk: ReferenceCountedACLCache.
#[derive(Debug, Default)]
pub(in crate::state) struct AclTable {
    lists: BTreeMap<AclId, (Arc<[Acl]>, u64)>,
    /// Asked, never walked: the order of hashing shows nowhere.
    ids: HashMap<Arc<[Acl]>, AclId>,
}

impl AclTable {
    /// Remembers a list with its number of references; 0 forgets it.
    pub(in crate::state) fn set(&mut self, id: AclId, list: &Arc<[Acl]>, references: u64) {
        if references == 0 {
            self.lists.remove(&id);
            // A newer id may stand for the same list already.
            if self.ids.get(list) == Some(&id) {
                self.ids.remove(list);
            }
        } else {
            self.lists.insert(id, (Arc::clone(list), references));
            self.ids.insert(Arc::clone(list), id);
        }
    }

    /// The list and the number of its references.
    pub(in crate::state) fn get(&self, id: AclId) -> Option<(&Arc<[Acl]>, u64)> {
        self.lists
            .get(&id)
            .map(|(list, references)| (list, *references))
    }

    /// The id of a list that is in use.
    pub(in crate::state) fn find(&self, list: &[Acl]) -> Option<AclId> {
        self.ids.get(list).copied()
    }

    /// Drops everything.
    pub(in crate::state) fn clear(&mut self) {
        self.lists.clear();
        self.ids.clear();
    }

    /// Moves everything from `upper` into this table, where what it says replaces what is here.
    /// Unlike `set`, a count of 0 is remembered: it hides the entry of the table below.
    pub(in crate::state) fn absorb(&mut self, upper: &mut Self) {
        while let Some((id, (list, references))) = upper.lists.pop_first() {
            self.cover(id, &list, references);
        }
        upper.ids.clear();
    }

    /// As `set`, but for a table that lies over another: a count of 0 is remembered.
    pub(in crate::state) fn cover(&mut self, id: AclId, list: &Arc<[Acl]>, references: u64) {
        self.set(id, list, references);
        self.lists.insert(id, (Arc::clone(list), references));
    }

    /// Number of lists.
    pub(in crate::state) fn len(&self) -> usize {
        self.lists.len()
    }
}
