//! Reads: pure functions over the state, encoded straight into the caller's buffer.
//!
//! They look into memory only; what is missing there is reported, to be warmed without the lock.
//! Paths are not validated: one that no znode can have does not exist, and the empty one is the
//! root. Watches are the caller's business.

use bytes::{BufMut, BytesMut};
use jute::{
    Acl, ErrorCode, GetChildren, GetData, GetEphemerals, MultiRead, MultiReadOp, MultiResponse,
    OpCode, Request, Text, perms, put_buffer, put_count, put_stat, put_ustring,
};
use std::sync::Arc;

use super::acl::{masked, permits};
use super::identity::Identity;
use super::ids::{AclId, SessionId};
use super::path;
use super::replica::State;
use super::store::{Missing, Peek, StoreError, View};
use super::znode::Znode;

/// Why a read has no body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadStop {
    /// Judged and refused.
    Refused(ErrorCode),
    /// Memory does not know: warm it without the lock, then read again.
    Missing(Missing),
    /// Permitted, but only a scan can tell: take a view, and [`count_descendants`] without the
    /// lock.
    NeedsScan,
}

impl From<ErrorCode> for ReadStop {
    fn from(code: ErrorCode) -> Self {
        Self::Refused(code)
    }
}

/// Number of znodes below `path`, as getAllChildrenNumber answers it.
///
/// # Errors
/// The storage failed: end the process.
pub fn count_descendants(view: &dyn View, path: &str) -> Result<i32, StoreError> {
    let path = path::resolve(path);
    let mut count = 0_u64;
    view.walk(path, &mut |found, _| {
        count += u64::from(found != path);
        true
    })?;
    Ok(saturated(count))
}

fn saturated(count: u64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

impl State {
    /// Appends the response record of a read to `body`, or leaves `body` as it was.
    ///
    /// `request`: exists, getData, getACL, getChildren, getChildren2, multiRead, getEphemerals,
    /// getAllChildrenNumber or whoAmI; others are refused with -6.
    ///
    /// # Errors
    /// See [`ReadStop`].
    ///
    /// zk: FinalRequestProcessor.processRequest.
    pub fn read(
        &self,
        request: &Request,
        session: SessionId,
        identities: &[Identity],
        body: &mut BytesMut,
    ) -> Result<(), ReadStop> {
        let start = body.len();
        let read = self.answer(request, session, identities, body);
        if read.is_err() {
            body.truncate(start);
        }
        read
    }

    fn answer(
        &self,
        request: &Request,
        session: SessionId,
        identities: &[Identity],
        body: &mut BytesMut,
    ) -> Result<(), ReadStop> {
        let reader = Reader {
            state: self,
            identities,
        };
        match request {
            Request::Exists(exists) => reader.exists(&exists.path, body),
            Request::GetData(get) => reader.data(get, body),
            Request::GetAcl(get) => reader.acl(&get.path, body),
            Request::GetChildren(get) => reader.children(get, body),
            Request::GetChildren2(get) => reader.children_and_stat(&get.path, body),
            Request::MultiRead(multi) => reader.multi(multi, body),
            Request::GetEphemerals(get) => {
                reader.ephemerals(session, get, body);
                Ok(())
            }
            Request::GetAllChildrenNumber(get) => reader.descendants(&get.path, body),
            Request::WhoAmI => {
                reader.who_am_i(body);
                Ok(())
            }
            Request::Create(_)
            | Request::Create2(_)
            | Request::CreateContainer(_)
            | Request::CreateTtl(_)
            | Request::Delete(_)
            | Request::SetData(_)
            | Request::SetAcl(_)
            | Request::Check(_)
            | Request::Multi(_)
            | Request::Reconfig(_)
            | Request::Sync(_)
            | Request::CheckWatches(_)
            | Request::RemoveWatches(_)
            | Request::SetWatches(_)
            | Request::SetWatches2(_)
            | Request::AddWatch(_)
            | Request::Auth(_)
            | Request::Sasl(_)
            | Request::Ping
            | Request::CloseSession => Err(ReadStop::Refused(ErrorCode::UNIMPLEMENTED)),
        }
    }
}

/// A read on behalf of a connection.
struct Reader<'a> {
    state: &'a State,
    identities: &'a [Identity],
}

impl Reader<'_> {
    fn exists(&self, path: &Option<Text>, body: &mut BytesMut) -> Result<(), ReadStop> {
        let path = given(path)?;
        if path.contains('\0') {
            return Err(ErrorCode::BAD_ARGUMENTS.into());
        }
        let node = self.permitted(path, perms::READ)?;
        self.put_stat(&node, body);
        Ok(())
    }

    fn data(&self, get: &GetData, body: &mut BytesMut) -> Result<(), ReadStop> {
        let node = self.permitted(given(&get.path)?, perms::READ)?;
        put_buffer(body, node.data.as_deref());
        self.put_stat(&node, body);
        Ok(())
    }

    fn acl(&self, path: &Option<Text>, body: &mut BytesMut) -> Result<(), ReadStop> {
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
    fn children(&self, get: &GetChildren, body: &mut BytesMut) -> Result<(), ReadStop> {
        let path = given(&get.path)?;
        let node = self.permitted(path, perms::READ)?;
        self.put_children(path, &node, body)
    }

    fn children_and_stat(&self, path: &Option<Text>, body: &mut BytesMut) -> Result<(), ReadStop> {
        let path = given(path)?;
        let node = self.permitted(path, perms::READ)?;
        self.put_children(path, &node, body)?;
        self.put_stat(&node, body);
        Ok(())
    }

    /// A multiRead's items are independent: a refusal is one item's result.
    fn multi(&self, multi: &MultiRead, body: &mut BytesMut) -> Result<(), ReadStop> {
        for op in &multi.ops {
            let start = body.len();
            put_multi_header(op.op(), ErrorCode::OK, body);
            let read = match op {
                MultiReadOp::GetChildren(get) => self.children(get, body),
                MultiReadOp::GetData(get) => self.data(get, body),
            };
            match read {
                Ok(()) => {}
                Err(ReadStop::Refused(code)) if code != ErrorCode::MARSHALLING_ERROR => {
                    body.truncate(start);
                    put_multi_header(OpCode::ERROR, code, body);
                    body.put_i32(code.0);
                }
                Err(stop) => return Err(stop),
            }
        }
        MultiResponse::encode_end(body);
        Ok(())
    }

    /// The session's own; a plain prefix of the text, not of the path's components.
    fn ephemerals(&self, session: SessionId, get: &GetEphemerals, body: &mut BytesMut) {
        let prefix = get.prefix.as_ref().map_or("", Text::as_str);
        // zk: Java's trim cuts everything up to the space.
        let is_all = matches!(prefix.trim_matches(|c| c <= ' '), "" | "/");
        let paths = || {
            let own = self.state.ephemerals(session);
            own.filter(move |path| is_all || path.starts_with(prefix))
        };
        put_count(body, Some(paths().count()));
        for path in paths() {
            put_ustring(body, Some(path));
        }
    }

    /// zk: DataTree.getAllChildrenNumber: for the root a count of all keys but its own two; for
    /// its alias "" all keys that begin with "/", and the root's is one of them.
    fn descendants(&self, path: &Option<Text>, body: &mut BytesMut) -> Result<(), ReadStop> {
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
    fn who_am_i(&self, body: &mut BytesMut) {
        put_count(body, Some(self.identities.len()));
        for identity in self.identities {
            let user = match &*identity.scheme {
                "digest" if !self.state.config().digest_enabled => "",
                "digest" => identity.id.split(':').next().unwrap_or_default(),
                "super" => "",
                _ => &identity.id,
            };
            put_ustring(body, Some(&identity.scheme));
            put_ustring(body, Some(user));
        }
    }

    /// The znode, if it exists and the caller has one of the `perms` bits.
    fn permitted(&self, path: &str, perms: i32) -> Result<Arc<Znode>, ReadStop> {
        let Peek::Known(node) = self.state.peek_znode(path) else {
            let path = Arc::from(path::resolve(path));
            return Err(ReadStop::Missing(Missing::Znode(path)));
        };
        let node = node.ok_or(ReadStop::Refused(ErrorCode::NO_NODE))?;
        if self.permits(node.acl, perms) {
            return Ok(node);
        }
        Err(ErrorCode::NO_AUTH.into())
    }

    fn permits(&self, acl: AclId, perms: i32) -> bool {
        acl == AclId::OPEN
            || permits(
                self.state.acl(acl),
                self.identities,
                perms,
                self.state.config().skip_acl,
            )
    }

    fn put_stat(&self, node: &Znode, body: &mut BytesMut) {
        put_stat(body, &node.stat(self.state.config().extended()));
    }

    fn put_children(&self, path: &str, node: &Znode, body: &mut BytesMut) -> Result<(), ReadStop> {
        put_count(body, Some(node.children as usize));
        if node.children == 0 {
            return Ok(());
        }
        match self
            .state
            .peek_children(path, &mut |name| put_ustring(body, Some(name)))
        {
            Peek::Known(()) => Ok(()),
            Peek::NotInMemory => {
                let path = Arc::from(path::resolve(path));
                Err(ReadStop::Missing(Missing::Children(path)))
            }
        }
    }
}

/// A null path makes ZooKeeper fail: -5.
fn given(path: &Option<Text>) -> Result<&str, ReadStop> {
    path.as_ref()
        .map(Text::as_str)
        .ok_or(ReadStop::Refused(ErrorCode::MARSHALLING_ERROR))
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

fn put_multi_header(op: OpCode, err: ErrorCode, body: &mut BytesMut) {
    body.put_i32(op.0);
    body.put_u8(0);
    body.put_i32(err.0);
}
