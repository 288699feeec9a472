//! A naive tree, written as the rules read: everything in one map that is copied for each txn.

use std::collections::{BTreeMap, BTreeSet};

use jute::{ErrorCode, Stat};

/// What the properties do; small numbers choose from small sets.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Create {
        path: String,
        data: Option<String>,
        flags: i32,
        acl: usize,
        stat: bool,
    },
    Delete {
        path: String,
        version: i32,
    },
    Set {
        path: String,
        data: Option<String>,
        version: i32,
    },
    SetAcl {
        path: String,
        acl: usize,
        version: i32,
    },
    Check {
        path: String,
        version: i32,
    },
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Open(i64),
    Close(i64),
    Expire(i64),
    Reap(String),
    One {
        session: i64,
        caller: usize,
        op: Op,
    },
    Multi {
        session: i64,
        caller: usize,
        ops: Vec<Op>,
    },
}

/// ACL lists by number: text and, per caller, the perms it gives.
pub(super) const ACLS: [(&str, [i32; 2]); 4] = [
    ("world:anyone:31", [31, 31]),
    ("world:anyone:1;digest:u:h:30", [1, 31]),
    ("ip:127.0.0.0/8:27;digest:nobody:x:31", [27, 27]),
    ("digest:u:h:12", [0, 12]),
];

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Answer {
    Nothing,
    Code(ErrorCode),
    Path(String),
    PathStat(String, Stat),
    Stat(Stat),
    Done,
    Multi(Vec<Answer>),
}

#[derive(Clone, PartialEq, Debug)]
struct Node {
    data: Option<String>,
    acl: usize,
    kind: Kind,
    stat: Stat,
    creations: i32,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Plain,
    Ephemeral(i64),
    Container,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    nodes: BTreeMap<String, Node>,
    sessions: BTreeSet<i64>,
    zxid: i64,
    time_ms: i64,
}

fn parent(path: &str) -> String {
    let at = path.rfind('/').unwrap();
    if at == 0 {
        "/".into()
    } else {
        path[..at].into()
    }
}

impl Model {
    /// With a root that has no ACL to speak of; what is below /zookeeper is left out.
    pub(super) fn new() -> Self {
        let stat = Stat {
            num_children: 1,
            cversion: -1,
            ..Stat::default()
        };
        let root = Node {
            data: Some(String::new()),
            acl: 0,
            kind: Kind::Plain,
            stat,
            creations: 0,
        };
        Self {
            nodes: [("/".into(), root)].into(),
            ..Self::default()
        }
    }

    /// Stat, data and ACL of every node.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&str, Stat, &Option<String>, usize)> {
        self.nodes
            .iter()
            .map(|(path, node)| (path.as_str(), self.stat(path), &node.data, node.acl))
    }

    pub(super) fn zxid(&self) -> i64 {
        self.zxid
    }

    pub(super) fn step(&mut self, step: &Step, time_ms: i64) -> Answer {
        let before = self.clone();
        self.zxid += 1;
        self.time_ms = time_ms;
        let answer = match step {
            Step::Open(session) => match self.sessions.insert(*session) {
                true => Answer::Done,
                false => Answer::Code(ErrorCode::SESSION_EXPIRED),
            },
            Step::Close(session) => match self.close(*session) {
                true => Answer::Done,
                false => Answer::Code(ErrorCode::SESSION_EXPIRED),
            },
            Step::Expire(session) => match self.close(*session) {
                true => Answer::Done,
                false => Answer::Nothing,
            },
            Step::Reap(path) => self.reap(path),
            Step::One {
                session,
                caller,
                op,
            } => match self.op(*session, *caller, op) {
                Ok(answer) => answer,
                Err(code) => Answer::Code(code),
            },
            Step::Multi {
                session,
                caller,
                ops,
            } => {
                let results: Vec<_> = ops
                    .iter()
                    .map(|op| self.op(*session, *caller, op))
                    .collect();
                match results.iter().position(Result::is_err) {
                    None => Answer::Multi(results.into_iter().map(Result::unwrap).collect()),
                    Some(bad) => {
                        *self = Self {
                            zxid: self.zxid,
                            ..before
                        };
                        let code = results[bad].clone().unwrap_err();
                        let all = (0..ops.len()).map(|at| {
                            Answer::Code(match at {
                                at if at < bad => ErrorCode::OK,
                                at if at == bad => code,
                                _ => ErrorCode::RUNTIME_INCONSISTENCY,
                            })
                        });
                        return Answer::Multi(all.collect());
                    }
                }
            }
        };
        if answer == Answer::Nothing {
            *self = before;
        }
        answer
    }

    fn close(&mut self, session: i64) -> bool {
        let own: Vec<String> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.kind == Kind::Ephemeral(session))
            .map(|(path, _)| path.clone())
            .collect();
        own.iter().for_each(|path| self.remove(path));
        self.sessions.remove(&session)
    }

    fn reap(&mut self, path: &str) -> Answer {
        let due = self.nodes.get(path).is_some_and(|node| {
            node.kind == Kind::Container && node.creations > 0 && self.children(path) == 0
        });
        if !due {
            return Answer::Nothing;
        }
        self.remove(path);
        Answer::Done
    }

    fn children(&self, path: &str) -> i32 {
        let own = self
            .nodes
            .keys()
            .filter(|other| *other != "/" && parent(other) == path)
            .count();
        i32::try_from(own).unwrap() + i32::from(path == "/")
    }

    fn stat(&self, path: &str) -> Stat {
        let node = &self.nodes[path];
        let num_children = self.children(path);
        Stat {
            num_children,
            cversion: 2 * node.creations - num_children,
            ..node.stat
        }
    }

    fn remove(&mut self, path: &str) {
        self.nodes.remove(path).unwrap();
        self.nodes.get_mut(&parent(path)).unwrap().stat.pzxid = self.zxid;
    }

    fn permitted(&self, path: &str, caller: usize, perm: i32) -> Result<(), ErrorCode> {
        let node = self.nodes.get(path).ok_or(ErrorCode::NO_NODE)?;
        let (_, perms) = ACLS[node.acl];
        if perms[caller] & perm == 0 {
            Err(ErrorCode::NO_AUTH)
        } else {
            Ok(())
        }
    }

    fn versioned(expected: i32, found: i32) -> Result<(), ErrorCode> {
        if expected != -1 && expected != found {
            return Err(ErrorCode::BAD_VERSION);
        }
        Ok(())
    }

    fn op(&mut self, session: i64, caller: usize, op: &Op) -> Result<Answer, ErrorCode> {
        if !self.sessions.contains(&session) {
            return Err(ErrorCode::SESSION_EXPIRED);
        }
        match op {
            Op::Create {
                path,
                data,
                flags,
                acl,
                stat,
            } => {
                let path = self.create(session, caller, path, data, *flags, *acl)?;
                let made = self.stat(&path);
                Ok(if *stat {
                    Answer::PathStat(path, made)
                } else {
                    Answer::Path(path)
                })
            }
            Op::Delete { path, version } => {
                if path == "/" {
                    return Err(ErrorCode::BAD_ARGUMENTS);
                }
                self.permitted(&parent(path), caller, 8)?;
                let node = self.nodes.get(path).ok_or(ErrorCode::NO_NODE)?;
                Self::versioned(*version, node.stat.version)?;
                if self.children(path) > 0 {
                    return Err(ErrorCode::NOT_EMPTY);
                }
                self.remove(path);
                Ok(Answer::Done)
            }
            Op::Set {
                path,
                data,
                version,
            } => {
                self.permitted(path, caller, 2)?;
                let (zxid, time_ms) = (self.zxid, self.time_ms);
                let node = self.nodes.get_mut(path).unwrap();
                Self::versioned(*version, node.stat.version)?;
                node.data.clone_from(data);
                node.stat.data_length = length(data);
                node.stat.version += 1;
                node.stat.mzxid = zxid;
                node.stat.mtime = time_ms;
                Ok(Answer::Stat(self.stat(path)))
            }
            Op::SetAcl { path, acl, version } => {
                self.permitted(path, caller, 16)?;
                let node = self.nodes.get_mut(path).unwrap();
                Self::versioned(*version, node.stat.aversion)?;
                node.acl = *acl;
                node.stat.aversion += 1;
                Ok(Answer::Stat(self.stat(path)))
            }
            Op::Check { path, version } => {
                self.permitted(path, caller, 1)?;
                Self::versioned(*version, self.nodes[path].stat.version)?;
                Ok(Answer::Done)
            }
        }
    }

    fn create(
        &mut self,
        session: i64,
        caller: usize,
        path: &str,
        data: &Option<String>,
        flags: i32,
        acl: usize,
    ) -> Result<String, ErrorCode> {
        let above = parent(path);
        self.permitted(&above, caller, 4)?;
        let creations = self.nodes[&above].creations;
        let path = match flags {
            2 | 3 => format!("{path}{creations:010}"),
            _ => path.to_owned(),
        };
        if self.nodes.contains_key(&path) {
            return Err(ErrorCode::NODE_EXISTS);
        }
        if matches!(self.nodes[&above].kind, Kind::Ephemeral(_)) {
            return Err(ErrorCode::NO_CHILDREN_FOR_EPHEMERALS);
        }
        let kind = match flags {
            1 | 3 => Kind::Ephemeral(session),
            4 => Kind::Container,
            _ => Kind::Plain,
        };
        let stat = Stat {
            czxid: self.zxid,
            mzxid: self.zxid,
            pzxid: self.zxid,
            ctime: self.time_ms,
            mtime: self.time_ms,
            ephemeral_owner: if kind == Kind::Ephemeral(session) {
                session
            } else {
                0
            },
            data_length: length(data),
            ..Stat::default()
        };
        let above = self.nodes.get_mut(&above).unwrap();
        above.creations += 1;
        above.stat.pzxid = self.zxid;
        let node = Node {
            data: data.clone(),
            acl,
            kind,
            stat,
            creations: 0,
        };
        self.nodes.insert(path.clone(), node);
        Ok(path)
    }
}

fn length(data: &Option<String>) -> i32 {
    data.as_ref()
        .map_or(0, |data| i32::try_from(data.len()).unwrap())
}
