//! ZooKeeper's rules for the operations of the load, written a second time and naively.

use std::collections::BTreeMap;

use super::super::history::{Kind, Op, parent};

const NO_NODE: i32 = -101;
const BAD_VERSION: i32 = -103;
const EXISTS: i32 = -110;
const NOT_EMPTY: i32 = -111;

/// A zxid that is not known: it fits all.
pub const UNKNOWN: i64 = 0;

/// An owner that is not known, nobody perhaps: it fits all.
pub const SOMEBODY: i64 = -1;

/// One znode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of a Stat")]
pub struct Node {
    pub czxid: i64,
    pub mzxid: i64,
    pub pzxid: i64,
    pub version: i32,
    pub owner: i64,
    /// `None`: one of several open calls wrote it.
    pub data: Option<String>,
    /// Children ever created: the next sequential number.
    pub created: i32,
}

/// What a txn did to a path.
pub type Change = (Kind, String);

/// The znodes that are there, by path.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Tree {
    /// By path.
    pub(in super::super) nodes: BTreeMap<String, Node>,
}

impl Tree {
    /// Does what a write asks for, at this zxid, and says what changed.
    ///
    /// # Errors
    /// The code with which it is refused; then nothing has changed.
    pub(in super::super) fn apply(
        &mut self,
        session: i64,
        op: &Op,
        zxid: i64,
    ) -> Result<Vec<Change>, i32> {
        match op {
            Op::Multi(parts) => {
                let mut after = self.clone();
                let mut changes = Vec::new();
                for part in parts {
                    changes.extend(after.single(session, part, zxid)?);
                }
                *self = after;
                Ok(changes)
            }
            Op::Close => Ok(self.end_session(session, zxid)),
            _ => self.single(session, op, zxid),
        }
    }

    fn single(&mut self, session: i64, op: &Op, zxid: i64) -> Result<Vec<Change>, i32> {
        match op {
            Op::Create { path, data, flags } => {
                let path = if flags & 2 == 2 {
                    let above = self.nodes.get(parent(path)).ok_or(NO_NODE)?;
                    format!("{path}{:010}", above.created)
                } else {
                    path.clone()
                };
                let owner = if flags & 1 == 1 { session } else { 0 };
                self.create(path, Some(data.clone()), owner, zxid)
            }
            Op::Set {
                path,
                data,
                version,
            } => {
                let node = self.versioned(path, *version)?;
                node.data = Some(data.clone());
                node.version += 1;
                node.mzxid = zxid;
                Ok(vec![(Kind::Changed, path.clone())])
            }
            Op::Delete { path, version } => {
                self.versioned(path, *version)?;
                if self.children(path).next().is_some() {
                    return Err(NOT_EMPTY);
                }
                Ok(self.remove(path, zxid))
            }
            Op::Check { path, version } => {
                self.versioned(path, *version)?;
                Ok(Vec::new())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Creates a znode under its final name.
    ///
    /// # Errors
    /// As in [`Self::apply`].
    pub(in super::super) fn create(
        &mut self,
        path: String,
        data: Option<String>,
        owner: i64,
        zxid: i64,
    ) -> Result<Vec<Change>, i32> {
        if self.nodes.contains_key(&path) {
            return Err(EXISTS);
        }
        let above = self.nodes.get_mut(parent(&path));
        let is_root = parent(&path).is_empty();
        match above {
            Some(above) => {
                above.created += 1;
                above.pzxid = zxid;
            }
            None if is_root => {}
            None => return Err(NO_NODE),
        }
        let node = Node {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            owner,
            data,
            ..Node::default()
        };
        self.nodes.insert(path.clone(), node);
        Ok(vec![(Kind::Created, path)])
    }

    fn versioned(&mut self, path: &str, version: i32) -> Result<&mut Node, i32> {
        let node = self.nodes.get_mut(path).ok_or(NO_NODE)?;
        if version == -1 || version == node.version {
            Ok(node)
        } else {
            Err(BAD_VERSION)
        }
    }

    /// Takes a znode out.
    pub(in super::super) fn remove(&mut self, path: &str, zxid: i64) -> Vec<Change> {
        self.nodes.remove(path);
        if let Some(above) = self.nodes.get_mut(parent(path)) {
            above.pzxid = zxid;
        }
        vec![(Kind::Deleted, path.to_owned())]
    }

    /// Takes out what a session owns.
    pub(in super::super) fn end_session(&mut self, session: i64, zxid: i64) -> Vec<Change> {
        let owned = self.owned(session);
        owned
            .iter()
            .flat_map(|path| self.remove(path, zxid))
            .collect()
    }

    /// The ephemerals of a session.
    pub(in super::super) fn owned(&self, session: i64) -> Vec<String> {
        let own = |(path, node): (&String, &Node)| (node.owner == session).then(|| path.clone());
        self.nodes.iter().filter_map(own).collect()
    }

    /// The names of the children.
    pub(in super::super) fn children(&self, path: &str) -> impl Iterator<Item = &str> {
        let prefix = format!("{path}/");
        let from = prefix.clone();
        self.nodes
            .range(from..)
            .map(|(path, _)| path.as_str())
            .take_while({
                let prefix = prefix.clone();
                move |path| path.starts_with(&prefix)
            })
            .filter_map(move |path| path.get(prefix.len()..))
            .filter(|name| !name.contains('/'))
    }
}
