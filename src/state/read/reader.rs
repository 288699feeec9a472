//! What all reads have in common: looks at one znode, and the parts that bodies are made of.

use std::sync::Arc;

use bytes::BytesMut;
use jute::{ErrorCode, Text, put_buffer, put_count, put_stat, put_ustring};

use super::stop::{Asker, ReadStop};
use crate::state::acl::permits;
use crate::state::record::ids::AclId;
use crate::state::record::path;
use crate::state::record::znode::Znode;
use crate::state::replica::State;
use crate::state::store::{Missing, Peek};

/// Before a buffer, a string or a vector.
pub(super) const LENGTH_BYTES: usize = 4;
/// A Stat.
pub(super) const STAT_BYTES: usize = 68;

/// A read on behalf of a connection.
pub(super) struct Reader<'a> {
    pub(super) state: &'a State,
    pub(super) asker: Asker<'a>,
}

impl Reader<'_> {
    /// The znode, if it exists and the caller has one of the `perms` bits.
    pub(super) fn permitted(&self, path: &str, perms: i32) -> Result<Arc<Znode>, ReadStop> {
        let Peek::Known(node) = self.state.peek_znode(path) else {
            let path = Arc::from(path::resolve(path));
            return Err(ReadStop::Missing(vec![Missing::Znode(path)]));
        };
        let node = node.ok_or(ReadStop::Refused(ErrorCode::NO_NODE))?;
        if !self.permits(node.acl, perms) {
            return Err(ErrorCode::NO_AUTH.into());
        }
        let local = self.state.local_config();
        let shown = local.and_then(|local| local.over(path, &node, self.state.outdated()));
        Ok(shown.map_or(node, Arc::new))
    }

    pub(super) fn permits(&self, acl: AclId, perms: i32) -> bool {
        acl == AclId::OPEN
            || permits(
                self.state.acl(acl),
                self.asker.identities,
                perms,
                self.state.rules().skip_acl,
            )
    }

    pub(super) fn put_stat(&self, node: &Znode, body: &mut BytesMut) {
        put_stat(body, &node.stat(self.state.rules().extended()));
    }

    pub(super) fn put_data(&self, node: &Znode, body: &mut BytesMut) {
        put_buffer(body, node.data.as_deref());
        self.put_stat(node, body);
    }

    pub(super) fn put_children(
        &self,
        path: &str,
        node: &Znode,
        body: &mut BytesMut,
    ) -> Result<(), ReadStop> {
        put_count(body, Some(node.children as usize));
        if node.children == 0 {
            return Ok(());
        }
        match self
            .state
            .peek_children(path, &mut |name| put_ustring(body, Some(name)))
        {
            Peek::Known(()) => Ok(()),
            Peek::NotInMemory => Err(missing_children(path)),
        }
    }

    /// Bytes that the names of the children take in a body, with their count.
    pub(super) fn names_bytes(&self, path: &str, node: &Znode) -> Result<usize, ReadStop> {
        if node.children == 0 {
            return Ok(LENGTH_BYTES);
        }
        match self.state.peek_names_bytes(path) {
            Peek::Known(bytes) => Ok(LENGTH_BYTES + bytes),
            Peek::NotInMemory => Err(missing_children(path)),
        }
    }

    /// Makes room for a body of so many bytes, if that may be said.
    pub(super) fn reserve(&self, bytes: usize, body: &mut BytesMut) -> Result<(), ReadStop> {
        if bytes > self.asker.bytes_max {
            return Err(ReadStop::TooLarge);
        }
        body.reserve(bytes);
        Ok(())
    }
}

fn missing_children(path: &str) -> ReadStop {
    let path = Arc::from(path::resolve(path));
    ReadStop::Missing(vec![Missing::Children(path)])
}

/// A null path makes ZooKeeper fail: -5.
pub(super) fn given(path: &Option<Text>) -> Result<&str, ReadStop> {
    path.as_ref()
        .map(Text::as_str)
        .ok_or(ReadStop::Refused(ErrorCode::MARSHALLING_ERROR))
}
