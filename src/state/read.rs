//! Reads: pure functions over the state, encoded straight into the caller's buffer.
//!
//! They look into memory only; what is missing there is reported, all of it at once, to be warmed
//! without the lock. How long a body gets is known, and bounded, before it is begun. Paths are not
//! validated: one that no znode can have does not exist, and the empty one is the root. Watches are
//! the caller's business.

use bytes::{BufMut, BytesMut};
use jute::{
    Acl, ErrorCode, GetChildren, GetData, GetEphemerals, MultiRead, MultiReadOp, MultiResponse,
    OpCode, Request, Text, perms, put_buffer, put_count, put_stat, put_ustring,
};
use std::sync::Arc;

use super::acl::{masked, permits};
use super::record::identity::Identity;
use super::record::ids::{AclId, SessionId};
use super::record::path;
use super::record::znode::Znode;
use super::replica::State;
use super::store::{Missing, Peek, StoreError, View};

/// Why a read has no body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadStop {
    /// Judged and refused.
    Refused(ErrorCode),
    /// Memory does not know all of this: warm it without the lock, then read again while it is
    /// pinned. Each part as often as the body would hold it, also those that memory knows: they may
    /// be gone by then.
    Missing(Vec<Missing>),
    /// The body would be longer than it may be.
    TooLarge,
    /// Permitted, but only a scan can tell: take a view, and [`count_descendants`] without the
    /// lock.
    NeedsScan,
}

/// Who asks, and how much may be said.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// Its session.
    pub session: SessionId,
    /// Its connection's identities.
    pub identities: &'a [Identity],
    /// Longest body of an answer, in bytes.
    pub bytes_max: usize,
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
        asker: Asker<'_>,
        body: &mut BytesMut,
    ) -> Result<(), ReadStop> {
        let start = body.len();
        let read = self.answer(request, asker, body);
        if read.is_err() {
            body.truncate(start);
        }
        read
    }

    fn answer(
        &self,
        request: &Request,
        asker: Asker<'_>,
        body: &mut BytesMut,
    ) -> Result<(), ReadStop> {
        let reader = Reader { state: self, asker };
        match request {
            Request::Exists(exists) => reader.exists(&exists.path, body),
            Request::GetData(get) => reader.data(get, body),
            Request::GetAcl(get) => reader.acl(&get.path, body),
            Request::GetChildren(get) => reader.children(get, body),
            Request::GetChildren2(get) => reader.children_and_stat(&get.path, body),
            Request::MultiRead(multi) => reader.multi(multi, body),
            Request::GetEphemerals(get) => reader.ephemerals(get, body),
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
    asker: Asker<'a>,
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
        self.reserve(LENGTH_BYTES + node.data_bytes() + STAT_BYTES, body)?;
        self.put_data(&node, body);
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
        self.reserve(self.names_bytes(path, &node)?, body)?;
        self.put_children(path, &node, body)
    }

    fn children_and_stat(&self, path: &Option<Text>, body: &mut BytesMut) -> Result<(), ReadStop> {
        let path = given(path)?;
        let node = self.permitted(path, perms::READ)?;
        self.reserve(self.names_bytes(path, &node)? + STAT_BYTES, body)?;
        self.put_children(path, &node, body)?;
        self.put_stat(&node, body);
        Ok(())
    }

    /// A multiRead's items are independent: a refusal is one item's result.
    ///
    /// All are looked at before anything is copied: so what is missing is loaded together, and a
    /// small request for more than may be said takes no memory.
    fn multi(&self, multi: &MultiRead, body: &mut BytesMut) -> Result<(), ReadStop> {
        let mut found = Vec::with_capacity(multi.ops.len());
        let mut bytes = MULTI_HEADER_BYTES;
        let mut is_missing = false;
        for op in &multi.ops {
            match self.item(op) {
                Ok((node, item_bytes)) => {
                    bytes = bytes.saturating_add(MULTI_HEADER_BYTES + item_bytes);
                    found.push(Ok(node));
                }
                Err(ReadStop::Refused(code)) if code != ErrorCode::MARSHALLING_ERROR => {
                    bytes = bytes.saturating_add(MULTI_HEADER_BYTES + LENGTH_BYTES);
                    found.push(Err(code));
                }
                Err(ReadStop::Missing(_)) => is_missing = true,
                Err(stop) => return Err(stop),
            }
        }
        if is_missing && bytes <= self.asker.bytes_max {
            let parts = multi.ops.iter().filter_map(|op| self.part(op));
            return Err(ReadStop::Missing(parts.collect()));
        }
        self.reserve(bytes, body)?;
        for (op, found) in multi.ops.iter().zip(found) {
            match found {
                Ok(node) => {
                    put_multi_header(op.op(), ErrorCode::OK, body);
                    match op {
                        MultiReadOp::GetChildren(get) => {
                            self.put_children(given(&get.path)?, &node, body)?;
                        }
                        MultiReadOp::GetData(_) => self.put_data(&node, body),
                    }
                }
                Err(code) => {
                    put_multi_header(OpCode::ERROR, code, body);
                    body.put_i32(code.0);
                }
            }
        }
        MultiResponse::encode_end(body);
        Ok(())
    }

    /// The znode of an item, and the bytes that it takes behind its header.
    fn item(&self, op: &MultiReadOp) -> Result<(Arc<Znode>, usize), ReadStop> {
        match op {
            MultiReadOp::GetChildren(get) => {
                let path = given(&get.path)?;
                let node = self.permitted(path, perms::READ)?;
                let bytes = self.names_bytes(path, &node)?;
                Ok((node, bytes))
            }
            MultiReadOp::GetData(get) => {
                let node = self.permitted(given(&get.path)?, perms::READ)?;
                let bytes = LENGTH_BYTES + node.data_bytes() + STAT_BYTES;
                Ok((node, bytes))
            }
        }
    }

    /// What an item looks at, as far as can be said before all of it is known.
    fn part(&self, op: &MultiReadOp) -> Option<Missing> {
        let (path, lists) = match op {
            MultiReadOp::GetChildren(get) => (given(&get.path).ok()?, true),
            MultiReadOp::GetData(get) => (given(&get.path).ok()?, false),
        };
        let path = path::resolve(path);
        if !path.starts_with('/') {
            return None;
        }
        let is_listed = || {
            let node = self.permitted(path, perms::READ);
            node.is_ok_and(|node| node.children > 0)
        };
        Some(if lists && is_listed() {
            Missing::Children(Arc::from(path))
        } else {
            Missing::Znode(Arc::from(path))
        })
    }

    /// The session's own; a plain prefix of the text, not of the path's components.
    fn ephemerals(&self, get: &GetEphemerals, body: &mut BytesMut) -> Result<(), ReadStop> {
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
        put_count(body, Some(self.asker.identities.len()));
        for identity in self.asker.identities {
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
            return Err(ReadStop::Missing(vec![Missing::Znode(path)]));
        };
        let node = node.ok_or(ReadStop::Refused(ErrorCode::NO_NODE))?;
        if !self.permits(node.acl, perms) {
            return Err(ErrorCode::NO_AUTH.into());
        }
        let local = self.state.local_config();
        let shown = local.and_then(|local| local.over(path, &node));
        Ok(shown.map_or(node, Arc::new))
    }

    fn permits(&self, acl: AclId, perms: i32) -> bool {
        acl == AclId::OPEN
            || permits(
                self.state.acl(acl),
                self.asker.identities,
                perms,
                self.state.config().skip_acl,
            )
    }

    fn put_stat(&self, node: &Znode, body: &mut BytesMut) {
        put_stat(body, &node.stat(self.state.config().extended()));
    }

    fn put_data(&self, node: &Znode, body: &mut BytesMut) {
        put_buffer(body, node.data.as_deref());
        self.put_stat(node, body);
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
            Peek::NotInMemory => Err(missing_children(path)),
        }
    }

    /// Bytes that the names of the children take in a body, with their count.
    fn names_bytes(&self, path: &str, node: &Znode) -> Result<usize, ReadStop> {
        if node.children == 0 {
            return Ok(LENGTH_BYTES);
        }
        match self.state.peek_names_bytes(path) {
            Peek::Known(bytes) => Ok(LENGTH_BYTES + bytes),
            Peek::NotInMemory => Err(missing_children(path)),
        }
    }

    /// Makes room for a body of so many bytes, if that may be said.
    fn reserve(&self, bytes: usize, body: &mut BytesMut) -> Result<(), ReadStop> {
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

/// Before a buffer, a string or a vector.
const LENGTH_BYTES: usize = 4;
/// A Stat.
const STAT_BYTES: usize = 68;
/// Before each result of a multiRead, and at its end.
const MULTI_HEADER_BYTES: usize = 9;

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
