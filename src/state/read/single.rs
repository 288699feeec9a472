//! The reads of one thing each.

use bytes::{BufMut, BytesMut};
use jute::{
    Acl, ErrorCode, GetChildren, GetData, GetEphemerals, Text, perms, put_count, put_ustring,
};

use super::reader::{LENGTH_BYTES, Reader, STAT_BYTES, given};
use super::stop::ReadStop;
use crate::state::acl::masked;
use crate::state::record::path;

impl Reader<'_> {
    pub(super) fn exists(&self, path: &Option<Text>, body: &mut BytesMut) -> Result<(), ReadStop> {
        let path = given(path)?;
        if path.contains('\0') {
            return Err(ErrorCode::BAD_ARGUMENTS.into());
        }
        let node = self.permitted(path, perms::READ)?;
        self.put_stat(&node, body);
        Ok(())
    }

    pub(super) fn data(&self, get: &GetData, body: &mut BytesMut) -> Result<(), ReadStop> {
        let node = self.permitted(given(&get.path)?, perms::READ)?;
        self.reserve(LENGTH_BYTES + node.data_bytes() + STAT_BYTES, body)?;
        self.put_data(&node, body);
        Ok(())
    }

    pub(super) fn acl(&self, path: &Option<Text>, body: &mut BytesMut) -> Result<(), ReadStop> {
        let node = self.permitted(given(path)?, perms::READ | perms::ADMIN)?;
        let list = self.state.acl(node.acl);
        let is_admin = self.permits(node.acl, perms::ADMIN);
        put_count(body, Some(list.len()));
        for acl in list {
            put_acl(acl, is_admin, body);
        }
        self.put_stat(&node, body);
        Ok(())
    }

    /// zk-differs: names are listed in byte order, there in that of a hash set.
    pub(super) fn children(&self, get: &GetChildren, body: &mut BytesMut) -> Result<(), ReadStop> {
        let path = given(&get.path)?;
        let node = self.permitted(path, perms::READ)?;
        self.reserve(self.names_bytes(path, &node)?, body)?;
        self.put_children(path, &node, body)
    }

    pub(super) fn children_and_stat(
        &self,
        path: &Option<Text>,
        body: &mut BytesMut,
    ) -> Result<(), ReadStop> {
        let path = given(path)?;
        let node = self.permitted(path, perms::READ)?;
        self.reserve(self.names_bytes(path, &node)? + STAT_BYTES, body)?;
        self.put_children(path, &node, body)?;
        self.put_stat(&node, body);
        Ok(())
    }

    /// The session's own; a plain prefix of the text, not of the path's components.
    pub(super) fn ephemerals(
        &self,
        get: &GetEphemerals,
        body: &mut BytesMut,
    ) -> Result<(), ReadStop> {
        let prefix = get.prefix.as_ref().map_or("", Text::as_str);
        // zk: Java's trim cuts everything up to the space.
        let is_all = matches!(prefix.trim_matches(|c| c <= ' '), "" | "/");
        let paths = || {
            let own = self.state.ephemerals(self.asker.session);
            own.filter(move |path| is_all || path.starts_with(prefix))
        };
        let (mut count, mut bytes) = (0, LENGTH_BYTES);
        for path in paths() {
            count += 1;
            bytes += LENGTH_BYTES + path.len();
        }
        self.reserve(bytes, body)?;
        put_count(body, Some(count));
        for path in paths() {
            put_ustring(body, Some(path));
        }
        Ok(())
    }

    /// zk: DataTree.getAllChildrenNumber: for the root a count of all keys but its own two; for
    /// its alias "" all keys that begin with "/", and the root's is one of them.
    pub(super) fn descendants(
        &self,
        path: &Option<Text>,
        body: &mut BytesMut,
    ) -> Result<(), ReadStop> {
        let path = given(path)?;
        let node = self.permitted(path, perms::READ)?;
        let all = self.state.meta().znodes;
        let count = match path {
            path::ROOT => all,
            "" => all + 1,
            _ if node.children == 0 => 0,
            _ => return Err(ReadStop::NeedsScan),
        };
        body.put_i32(saturated(count));
        Ok(())
    }

    /// zk: AuthUtil.getClientInfos, and getUserName of the providers.
    pub(super) fn who_am_i(&self, body: &mut BytesMut) {
        put_count(body, Some(self.asker.identities.len()));
        for identity in self.asker.identities {
            let user = match &*identity.scheme {
                "digest" if !self.state.rules().digest_enabled => "",
                "digest" => identity.id.split(':').next().unwrap_or_default(),
                "super" => "",
                _ => &identity.id,
            };
            put_ustring(body, Some(&identity.scheme));
            put_ustring(body, Some(user));
        }
    }
}

/// A count as an answer can say it.
pub(super) fn saturated(count: u64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn put_acl(acl: &Acl, is_admin: bool, body: &mut BytesMut) {
    let scheme = acl.id.scheme.as_ref().map(Text::as_str);
    let id = acl.id.id.as_ref().map(Text::as_str);
    body.put_i32(acl.perms);
    put_ustring(body, scheme);
    match (scheme, id) {
        (Some("digest"), Some(id)) if !is_admin => put_ustring(body, Some(&masked(id))),
        _ => put_ustring(body, id),
    }
}
