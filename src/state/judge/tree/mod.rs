//! The tree's rules: each op's order of checks, and what creating, deleting and setting do to a
//! znode, its parent, the indexes and the quotas.

mod change;
mod create;

pub use change::is_due;

use std::sync::Arc;

use jute::{Acl, Stat};

use super::judge::{Judge, Stop};
use crate::state::acl::{Fixed, closed_list};
use crate::state::record::ids::{AclId, SessionId};
use crate::state::record::path;
use crate::state::record::znode::{Kind, Owner, Znode};
use crate::state::store::StoreError;
use crate::state::txn::{Change, Event};

/// A znode that may be created: all checks have passed.
struct Addition {
    path: Arc<str>,
    data: Option<Arc<[u8]>>,
    acl: Fixed,
    owner: Owner,
    parent: Arc<Znode>,
}

impl Judge<'_> {
    /// Creates a znode; its stat is the one right after, before any quota rewrites it.
    ///
    /// zk: DataTree.createNode.
    /// zk-differs: the count of creations wraps. There it stops at 2147483647, so that the next
    /// sequential name of the same prefix exists already, for ever.
    fn add(&mut self, addition: Addition) -> Result<Stat, Stop> {
        let Addition {
            path,
            data,
            acl,
            owner,
            parent,
        } = addition;
        let (acl, acl_list) = self.acl_used(&acl)?;
        let data_bytes = data.as_ref().map_or(0, |data| data.len());
        let node = Znode {
            czxid: self.zxid,
            mzxid: self.zxid,
            pzxid: self.zxid,
            ctime_ms: self.timeline.stamp_ms,
            mtime_ms: self.timeline.stamp_ms,
            owner,
            acl,
            data,
            ..Znode::default()
        };
        let stat = node.stat(self.rules.extended());
        self.put(Arc::clone(&path), Some(Arc::new(node)), true);
        self.put_parent(&path, &parent, 1);
        match self.kind(owner) {
            Kind::Persistent => {}
            Kind::Container | Kind::Ttl(_) => {
                self.work.changes.push(Change::Reap {
                    path: Arc::clone(&path),
                    added: true,
                });
            }
            Kind::Ephemeral(session) => self.put_ephemeral(session, &path, true),
        }
        self.work.counters.znodes += 1;
        self.work.counters.data_bytes += path::length(&path) + data_bytes as u64;
        let parent_acl = self.acl_list(parent.acl);
        self.work.events.push(Event::Created {
            path: Arc::clone(&path),
            acl: acl_list,
            parent_acl,
        });
        self.quota_created(&path, data_bytes)?;
        Ok(stat)
    }

    /// Deletes a znode that exists and has no children.
    ///
    /// zk: DataTree.deleteNode.
    pub(in crate::state) fn remove(
        &mut self,
        path: &Arc<str>,
        node: &Znode,
    ) -> Result<(), StoreError> {
        let acl = self.acl_list(node.acl);
        self.put(Arc::clone(path), None, true);
        let parent_path = path::parent(path);
        let parent_acl = match self.znode(parent_path)? {
            Some(parent) => {
                self.put_parent(path, &parent, -1);
                self.acl_list(parent.acl)
            }
            None => Arc::clone(closed_list()),
        };
        self.acl_release(node.acl);
        // Not by the kind: the settings that it goes by may have been others when it was created.
        let session = SessionId(node.owner.0);
        if self.is_owned(session, path) {
            self.put_ephemeral(session, path, false);
        } else if node.owner != Owner::PERSISTENT {
            self.work.changes.push(Change::Reap {
                path: Arc::clone(path),
                added: false,
            });
        }
        let bytes = path::length(path) + node.data_bytes() as u64;
        let counters = &mut self.work.counters;
        counters.znodes = counters.znodes.saturating_sub(1);
        counters.data_bytes = counters.data_bytes.saturating_sub(bytes);
        self.work.events.push(Event::Deleted {
            path: Arc::clone(path),
            acl,
            parent_acl,
        });
        self.quota_deleted(path, node.data_bytes())
    }

    /// Replaces a znode's data and nothing else of it but what `stamp` says.
    pub(in crate::state) fn put_data(
        &mut self,
        path: Arc<str>,
        node: &Znode,
        data: Option<Arc<[u8]>>,
        stamp: impl FnOnce(&mut Znode),
    ) -> Znode {
        let before = node.data_bytes() as u64;
        let mut after = Znode {
            data,
            ..node.clone()
        };
        stamp(&mut after);
        let counters = &mut self.work.counters;
        counters.data_bytes =
            (counters.data_bytes + after.data_bytes() as u64).saturating_sub(before);
        self.put(path, Some(Arc::new(after.clone())), false);
        after
    }

    /// The parent of a node that comes (1) or goes (-1).
    fn put_parent(&mut self, path: &str, parent: &Znode, children: i32) {
        let mut parent = parent.clone();
        parent.children = parent.children.saturating_add_signed(children);
        if children > 0 {
            // zk: cversion of the stored stat, see `add`.
            parent.creations = parent.creations.wrapping_add(1);
        }
        parent.pzxid = self.zxid;
        let key = self.key(path::parent(path));
        self.put(key, Some(Arc::new(parent)), false);
    }

    fn put_ephemeral(&mut self, session: SessionId, path: &Arc<str>, added: bool) {
        let path = Arc::clone(path);
        self.work
            .top()
            .ephemerals
            .insert((session, Arc::clone(&path)), added);
        let counters = &mut self.work.counters;
        counters.ephemerals = if added {
            counters.ephemerals + 1
        } else {
            counters.ephemerals.saturating_sub(1)
        };
        self.work.changes.push(Change::Ephemeral {
            session,
            path,
            added,
        });
    }

    fn acl_used(&mut self, acl: &Fixed) -> Result<(AclId, Arc<[Acl]>), Stop> {
        match acl {
            Fixed::Open => Ok((AclId::OPEN, self.acl_list(AclId::OPEN))),
            Fixed::List(list) => self.acl_use(list),
        }
    }
}

/// Data in memory of its own: it outlives the request by far.
fn owned_data(data: &Option<bytes::Bytes>) -> Option<Arc<[u8]>> {
    data.as_ref().map(|data| Arc::from(&**data))
}

/// A refusal as a whole.
fn refused<T>(code: jute::ErrorCode) -> Result<T, Stop> {
    Err(Stop::Refused(code))
}
