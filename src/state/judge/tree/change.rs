//! delete, setData, setACL, check, and the reaper's deletion.

use std::sync::Arc;

use bytes::Bytes;
use jute::{Check, Delete, ErrorCode, SetAcl, SetData, Stat, perms};

use super::{owned_data, refused};
use crate::state::acl::fix;
use crate::state::judge::judge::{Judge, Stop, expect_version, some_path, valid_path};
use crate::state::record::path;
use crate::state::record::znode::{Kind, Znode};
use crate::state::store::StoreError;
use crate::state::timeline::Timeline;
use crate::state::txn::{Event, Outcome};

impl Judge<'_> {
    /// zk: PrepRequestProcessor.pRequest2Txn, delete, in its order. The node's own ACL is not asked.
    pub(in crate::state) fn delete(&mut self, delete: &Delete) -> Result<(), Stop> {
        self.session_alive()?;
        let path = some_path(&delete.path)?;
        let Some((parent_path, _)) = path::split(path) else {
            return refused(ErrorCode::BAD_ARGUMENTS);
        };
        if path::is_special(path) {
            return refused(ErrorCode::BAD_ARGUMENTS);
        }
        let parent = self.existing(parent_path)?;
        self.permitted(parent.acl, perms::DELETE)?;
        let node = self.existing(path)?;
        expect_version(delete.version, node.version)?;
        if node.children > 0 {
            return refused(ErrorCode::NOT_EMPTY);
        }
        let path = self.key(path);
        self.remove(&path, &node)?;
        Ok(())
    }

    /// The stat right after, as the client sees it.
    ///
    /// zk: PrepRequestProcessor.pRequest2Txn, setData: the quota is asked before the version.
    /// zk-differs: a version wraps as there, to -1 too.
    pub(in crate::state) fn set_data(&mut self, set_data: &SetData) -> Result<Stat, Stop> {
        self.session_alive()?;
        let path = valid_path(&set_data.path)?;
        let node = self.existing(path)?;
        self.permitted(node.acl, perms::WRITE)?;
        let data_bytes = set_data.data.as_ref().map_or(0, Bytes::len);
        self.quota_permits(path, data_bytes, Some(&node))?;
        expect_version(set_data.version, node.version)?;
        let key = self.key(path);
        let (zxid, time_ms) = (self.zxid, self.timeline.stamp_ms);
        let after = self.put_data(
            Arc::clone(&key),
            &node,
            owned_data(&set_data.data),
            |after| {
                after.version = after.version.wrapping_add(1);
                after.mzxid = zxid;
                after.mtime_ms = time_ms;
            },
        );
        let acl = self.acl_list(node.acl);
        self.work.events.push(Event::DataChanged { path: key, acl });
        self.quota_set(path, node.data_bytes(), data_bytes)?;
        Ok(after.stat(self.rules.extended()))
    }

    /// The stat right after. Nothing else of it moves but aversion, which wraps as there.
    ///
    /// zk: PrepRequestProcessor.pRequest2Txn, setACL.
    /// zk-differs: whatever comes behind it is judged by the new list. There the record of a pending
    /// setACL keeps the old one and hands it on to the records of further changes, so requests sent
    /// right behind it may pass by the old list for as long as there are some: the clock decides.
    pub(in crate::state) fn set_acl(&mut self, set_acl: &SetAcl) -> Result<Stat, Stop> {
        self.session_alive()?;
        let path = valid_path(&set_acl.path)?;
        let acl = fix(set_acl.acl.as_deref(), self.identities, &self.rules)?;
        let node = self.existing(path)?;
        self.permitted(node.acl, perms::ADMIN)?;
        expect_version(set_acl.version, node.aversion)?;
        let key = self.key(path);
        // In this order a list that stays keeps its id.
        let (acl, _) = self.acl_used(&acl)?;
        self.acl_release(node.acl);
        let aversion = node.aversion.wrapping_add(1);
        let after = Znode {
            acl,
            aversion,
            ..Znode::clone(&node)
        };
        let stat = after.stat(self.rules.extended());
        self.put(key, Some(Arc::new(after)), false);
        Ok(stat)
    }

    /// zk: PrepRequestProcessor.pRequest2Txn, check.
    pub(in crate::state) fn check(&mut self, check: &Check) -> Result<(), Stop> {
        self.session_alive()?;
        let path = valid_path(&check.path)?;
        let node = self.existing(path)?;
        self.permitted(node.acl, perms::READ)?;
        expect_version(check.version, node.version)
    }

    /// Deletes a container that once had children or has been unused for too long, or a TTL node
    /// that is too old; all only without children. `None`: not any more, or it never deserved it.
    ///
    /// zk: ContainerManager.getCandidates, and the checks of deleteContainer.
    pub(in crate::state) fn reap(
        &mut self,
        path: &Arc<str>,
        unused_ms: i64,
    ) -> Result<Option<Outcome>, StoreError> {
        let Some(node) = self.znode(path)? else {
            return Ok(None);
        };
        if !is_due(&node, self.kind(node.owner), self.timeline, unused_ms) {
            return Ok(None);
        }
        if path::is_special(path) {
            return Ok(None);
        }
        self.remove(path, &node)?;
        Ok(Some(Outcome::Done))
    }
}

/// Whether the reaper may delete `node`. `unused_ms`: see [`Action::Reap`](crate::state::Action).
///
/// `creations` wraps: a container has had children if it is anything but 0.
///
/// zk: ContainerManager.getCandidates.
pub fn is_due(node: &Znode, kind: Kind, timeline: &Timeline, unused_ms: i64) -> bool {
    if node.children > 0 {
        return false;
    }
    match kind {
        Kind::Container if node.creations == 0 => {
            unused_ms != 0 && timeline.since_change_ms(node) > unused_ms
        }
        Kind::Container => true,
        Kind::Ttl(ttl_ms) => ttl_ms > 0 && timeline.since_change_ms(node) > ttl_ms,
        Kind::Persistent | Kind::Ephemeral(_) => false,
    }
}
