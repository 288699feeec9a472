//! What one worker's requests must have made of the tree: ZooKeeper's rules for the few operations
//! of the load, written a second time and naively.
//!
//! A worker owns the subtree `/chaos/p<id>`, where nobody else writes, so every outcome there is
//! determined. Under `/chaos/s/q` all workers create sequential znodes; whose one is, its data says.

use std::collections::BTreeMap;

use super::dump::{Dump, Found};
use super::history::{Op, Outcome};

/// Parent of the sequential znodes that all workers create.
pub const SHARED: &str = "/chaos/s/q";
/// Parent of the counters that all workers write.
pub const COUNTERS: &str = "/chaos/s/c";

const NO_NODE: i32 = -101;
const BAD_VERSION: i32 = -103;
const EXISTS: i32 = -110;
const NOT_EMPTY: i32 = -111;
const NOT_TRIED: i32 = -2;

/// One znode of a worker's own subtree. A zxid is `None` until a dump has shown it, when no reply did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of a Stat")]
pub struct Node {
    pub data: String,
    pub version: i32,
    pub owner: i64,
    pub czxid: Option<i64>,
    pub mzxid: Option<i64>,
    pub pzxid: Option<i64>,
    /// Children ever created.
    pub created: i32,
}

/// One of this worker's znodes under [`SHARED`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// `None` until a reply or a dump has told the number.
    pub path: Option<String>,
    /// As in [`Node`].
    pub czxid: Option<i64>,
    /// Its session, or 0.
    pub owner: i64,
}

/// The znodes of one worker.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// `/chaos/p<id>`.
    pub root: String,
    /// At and below the root.
    pub nodes: BTreeMap<String, Node>,
    /// By data.
    pub shared: BTreeMap<String, Shared>,
}

/// The path of the parent.
pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// True if a worker with this id wrote `data`.
pub fn wrote(worker: usize, data: &str) -> bool {
    data.strip_prefix('w')
        .and_then(|rest| rest.split_once(':'))
        .is_some_and(|(id, _)| id == worker.to_string())
}

impl Model {
    /// What the dump shows, taken as it is.
    pub fn from_dump(worker: usize, dump: &Dump) -> Self {
        let root = format!("/chaos/p{worker}");
        let mut model = Self {
            root: root.clone(),
            ..Self::default()
        };
        let own = dump.nodes.get_key_value(&root).into_iter();
        for (path, found) in own.chain(dump.below(&root)) {
            let stat = &found.stat;
            let node = Node {
                data: found.data.clone(),
                version: stat.version,
                owner: stat.owner,
                czxid: Some(stat.czxid),
                mzxid: Some(stat.mzxid),
                pzxid: Some(stat.pzxid),
                created: (stat.cversion + stat.children) / 2,
            };
            model.nodes.insert(path.clone(), node);
        }
        for (path, found) in dump.below(SHARED) {
            if wrote(worker, &found.data) {
                let shared = Shared {
                    path: Some(path.clone()),
                    czxid: Some(found.stat.czxid),
                    owner: found.stat.owner,
                };
                model.shared.insert(found.data.clone(), shared);
            }
        }
        model
    }

    /// Does what the server must do and says what it must answer; `None` where other workers
    /// decide. `zxid`: of the txn, if known.
    pub fn apply(&mut self, session: i64, op: &Op, zxid: Option<i64>) -> Option<Outcome> {
        match op {
            Op::Create { path, data, flags } if path.starts_with(SHARED) => {
                let shared = Shared {
                    path: None,
                    czxid: zxid,
                    owner: if flags & 1 == 1 { session } else { 0 },
                };
                self.shared.insert(data.clone(), shared);
                None
            }
            Op::Delete { path, .. } if path.starts_with(SHARED) => {
                let before = self.shared.len();
                self.shared
                    .retain(|_, shared| shared.path.as_ref() != Some(path));
                Some(if self.shared.len() < before {
                    Outcome::Done
                } else {
                    Outcome::Error(NO_NODE)
                })
            }
            Op::Set { path, .. } if path.starts_with(COUNTERS) => None,
            Op::Multi(parts) => Some(self.multi(session, parts, zxid)),
            Op::Close => {
                self.end_session(session, zxid);
                Some(Outcome::Done)
            }
            Op::Create { .. } | Op::Set { .. } | Op::Delete { .. } | Op::Check { .. } => {
                Some(match self.simple(session, op, zxid) {
                    Ok(outcome) => outcome,
                    Err(code) => Outcome::Error(code),
                })
            }
        }
    }

    fn multi(&mut self, session: i64, parts: &[Op], zxid: Option<i64>) -> Outcome {
        let before = self.nodes.clone();
        let mut results = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            match self.simple(session, part, zxid) {
                Ok(outcome) => results.push(outcome),
                Err(code) => {
                    self.nodes = before;
                    return Outcome::Multi(
                        (0..parts.len())
                            .map(|at| match at.cmp(&index) {
                                std::cmp::Ordering::Less => Outcome::Error(0),
                                std::cmp::Ordering::Equal => Outcome::Error(code),
                                std::cmp::Ordering::Greater => Outcome::Error(NOT_TRIED),
                            })
                            .collect(),
                    );
                }
            }
        }
        Outcome::Multi(results)
    }

    fn simple(&mut self, session: i64, op: &Op, zxid: Option<i64>) -> Result<Outcome, i32> {
        match op {
            Op::Create { path, data, flags } => {
                let above = self.nodes.get_mut(parent(path)).ok_or(NO_NODE)?;
                let name = if flags & 2 == 2 {
                    format!("{path}{:010}", above.created)
                } else {
                    path.clone()
                };
                if self.nodes.contains_key(&name) {
                    return Err(EXISTS);
                }
                let above = self.nodes.get_mut(parent(path)).ok_or(NO_NODE)?;
                above.created += 1;
                above.pzxid = zxid;
                let node = Node {
                    data: data.clone(),
                    version: 0,
                    owner: if flags & 1 == 1 { session } else { 0 },
                    czxid: zxid,
                    mzxid: zxid,
                    pzxid: zxid,
                    created: 0,
                };
                self.nodes.insert(name.clone(), node);
                Ok(Outcome::Created(name))
            }
            Op::Set {
                path,
                data,
                version,
            } => {
                let node = self.versioned(path, *version)?;
                node.data.clone_from(data);
                node.version += 1;
                node.mzxid = zxid;
                Ok(Outcome::Version(node.version))
            }
            Op::Delete { path, version } => {
                self.versioned(path, *version)?;
                if self.children(path) > 0 {
                    return Err(NOT_EMPTY);
                }
                self.remove(path, zxid);
                Ok(Outcome::Done)
            }
            Op::Check { path, version } => {
                self.versioned(path, *version)?;
                Ok(Outcome::Done)
            }
            Op::Multi(_) | Op::Close => unreachable!("no part of a multi"),
        }
    }

    fn versioned(&mut self, path: &str, version: i32) -> Result<&mut Node, i32> {
        let node = self.nodes.get_mut(path).ok_or(NO_NODE)?;
        if version == -1 || version == node.version {
            Ok(node)
        } else {
            Err(BAD_VERSION)
        }
    }

    fn remove(&mut self, path: &str, zxid: Option<i64>) {
        self.nodes.remove(path);
        if let Some(above) = self.nodes.get_mut(parent(path)) {
            above.pzxid = zxid;
        }
    }

    fn end_session(&mut self, session: i64, zxid: Option<i64>) {
        let gone: Vec<String> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.owner == session)
            .map(|(path, _)| path.clone())
            .collect();
        for path in gone {
            self.remove(&path, zxid);
        }
        self.shared.retain(|_, shared| shared.owner != session);
    }

    /// How many children a znode has.
    pub fn children(&self, path: &str) -> usize {
        let prefix = format!("{path}/");
        self.nodes
            .range(prefix.clone()..)
            .take_while(|(path, _)| path.starts_with(&prefix))
            .filter(|(path, _)| parent(path).len() + 1 == prefix.len())
            .count()
    }

    /// The first thing in which the dump differs from this model; unknown zxids fit all.
    pub fn differs(&self, worker: usize, dump: &Dump) -> Option<String> {
        let own = dump.nodes.get_key_value(&self.root).into_iter();
        let mut count = 0;
        for (path, found) in own.chain(dump.below(&self.root)) {
            count += 1;
            let Some(node) = self.nodes.get(path) else {
                return Some(format!("{path} must not exist, but does: {found:?}"));
            };
            if !self.fits(path, node, found) {
                return Some(format!("{path}: expected {node:?}, found {found:?}"));
            }
        }
        if count != self.nodes.len() {
            let missing = self
                .nodes
                .iter()
                .find(|(path, _)| !dump.nodes.contains_key(*path));
            return Some(format!("missing: {missing:?}"));
        }
        let mut count = 0;
        for (path, found) in dump.below(SHARED) {
            if !wrote(worker, &found.data) {
                continue;
            }
            count += 1;
            let Some(shared) = self.shared.get(&found.data) else {
                return Some(format!("{path} must not exist, but does: {found:?}"));
            };
            let fits = shared.path.as_ref().is_none_or(|known| known == path)
                && shared.czxid.is_none_or(|zxid| zxid == found.stat.czxid)
                && shared.owner == found.stat.owner;
            if !fits {
                return Some(format!("{path}: expected {shared:?}, found {found:?}"));
            }
        }
        (count != self.shared.len()).then(|| {
            let missing = self
                .shared
                .iter()
                .find(|(data, _)| !dump.below(SHARED).any(|(_, found)| found.data == **data));
            format!("missing or there twice: {missing:?}")
        })
    }

    fn fits(&self, path: &str, node: &Node, found: &Found) -> bool {
        let stat = &found.stat;
        let same = |known: Option<i64>, seen: i64| known.is_none_or(|zxid| zxid == seen);
        node.data == found.data
            && node.version == stat.version
            && node.owner == stat.owner
            && same(node.czxid, stat.czxid)
            && same(node.mzxid, stat.mzxid)
            && same(node.pzxid, stat.pzxid)
            && self.children(path) == stat.children as usize
            && stat.cversion + stat.children == 2 * node.created
    }

    /// Takes over from the dump what no reply told, and returns the lowest zxid so learned.
    pub fn adopt(&mut self, dump: &Dump) -> Option<i64> {
        let mut lowest: Option<i64> = None;
        let mut learn = |known: &mut Option<i64>, seen: i64| {
            if known.is_none() {
                *known = Some(seen);
                lowest = Some(lowest.map_or(seen, |zxid| zxid.min(seen)));
            }
        };
        for (path, node) in &mut self.nodes {
            if let Some(found) = dump.nodes.get(path) {
                learn(&mut node.czxid, found.stat.czxid);
                learn(&mut node.mzxid, found.stat.mzxid);
                learn(&mut node.pzxid, found.stat.pzxid);
            }
        }
        for (path, found) in dump.below(SHARED) {
            if let Some(shared) = self.shared.get_mut(&found.data) {
                shared.path = Some(path.clone());
                learn(&mut shared.czxid, found.stat.czxid);
            }
        }
        lowest
    }
}
