//! What a reply says of a path must be true of the reference tree; where it is not, open calls may
//! explain how it came to be.

use std::collections::BTreeSet;

use super::super::history::{Call, Stat, parent};
use super::{Replay, SOMEBODY, UNKNOWN};

/// What must be true of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) czxid: i64,
    pub(super) mzxid: i64,
    pub(super) version: i32,
    pub(super) owner: i64,
}

pub(super) fn want(stat: &Stat) -> Want {
    Want {
        czxid: stat.czxid,
        mzxid: stat.mzxid,
        version: stat.version,
        owner: stat.owner,
    }
}

impl Replay<'_> {
    pub(super) fn want_data(&mut self, zxid: i64, path: &str, data: &str, call: &Call) {
        let Some(node) = self.tree.nodes.get_mut(path) else {
            return;
        };
        let known = node.data.replace(data.to_owned());
        if let Some(known) = known.filter(|known| known != data) {
            self.problem(zxid, format_args!("{path} holds {known:?}: {call:?}"));
        }
    }

    pub(super) fn want_version(&mut self, zxid: i64, path: &str, version: i32) {
        let found = self
            .tree
            .nodes
            .get(path)
            .map(|node| (node.version, node.czxid, node.owner));
        match found {
            Some((found, czxid, owner)) if version != -1 && found != version => {
                let want = Want {
                    czxid,
                    mzxid: UNKNOWN,
                    version,
                    owner,
                };
                self.want(zxid, path, want);
            }
            Some(_) => {}
            None => self.want_there(zxid, path),
        }
    }

    pub(super) fn want_there(&mut self, zxid: i64, path: &str) {
        if self.tree.nodes.contains_key(path) {
            return;
        }
        let found = self
            .pool
            .create(&mut self.tree, path, UNKNOWN, SOMEBODY, zxid);
        self.blur(path, zxid);
        self.learned(path, zxid);
        if !found {
            self.problem(zxid, format_args!("{path} is there, but nobody made it"));
        }
    }

    pub(super) fn want_absent(&mut self, zxid: i64, path: &str) {
        let Some(node) = self.tree.nodes.get(path).cloned() else {
            return;
        };
        // Of one whose owner is not known, nothing more can be asked.
        let ends = node.owner == SOMEBODY || self.may_end(node.owner, zxid);
        if ends && !self.pool.deletes(path, zxid) {
            for path in self.tree.owned(node.owner) {
                self.tree.remove(&path, UNKNOWN);
                self.blur(&path, zxid);
                self.learned(&path, zxid);
            }
            return;
        }
        let found = self.pool.delete(&mut self.tree, path, zxid);
        self.blur(path, zxid);
        if !found {
            self.tree.remove(path, UNKNOWN);
            self.problem(
                zxid,
                format_args!("{path} is gone, but nobody removed it: {node:?}"),
            );
        }
        self.learned(path, zxid);
    }

    /// The znode is there, and is this one.
    pub(super) fn want(&mut self, zxid: i64, path: &str, want: Want) {
        let known = self.tree.nodes.get(path).cloned();
        let same = known.as_ref().is_some_and(|node| {
            node.czxid == want.czxid || node.czxid == UNKNOWN || want.czxid == UNKNOWN
        });
        if !same {
            if known.is_some() {
                self.want_absent(zxid, path);
            }
            let made = self
                .pool
                .create(&mut self.tree, path, want.czxid, want.owner, zxid);
            self.blur(path, zxid);
            if !made {
                self.problem(
                    zxid,
                    format_args!("{path}: {want:?}, but nobody made it: {known:?}"),
                );
            }
        }
        let Some(node) = self.tree.nodes.get(path).cloned() else {
            return;
        };
        let missing = want.version - node.version;
        let raised = match missing {
            0 => node.mzxid == want.mzxid || node.mzxid == UNKNOWN || want.mzxid == UNKNOWN,
            1.. => {
                self.blur(path, zxid);
                self.pool.raise_version(&mut self.tree, path, missing, zxid)
            }
            _ => false,
        };
        if !raised || (![SOMEBODY, want.owner].contains(&node.owner) && want.owner != SOMEBODY) {
            self.problem(zxid, format_args!("{path}: {want:?}, but it is {node:?}"));
        }
        if let Some(node) = self.tree.nodes.get_mut(path) {
            if missing != 0 {
                node.data = None;
            }
            node.version = want.version;
            node.czxid = want.czxid.max(node.czxid);
            node.mzxid = want.mzxid;
            if want.owner != SOMEBODY {
                node.owner = want.owner;
            }
        }
        self.learned(path, zxid);
    }

    pub(super) fn want_children(
        &mut self,
        zxid: i64,
        path: &str,
        names: &BTreeSet<String>,
        stat: &Stat,
    ) {
        let known: BTreeSet<String> = self.tree.children(path).map(str::to_owned).collect();
        for name in known.difference(names) {
            self.want_absent(zxid, &format!("{path}/{name}"));
        }
        for name in names.difference(&known) {
            self.want_there(zxid, &format!("{path}/{name}"));
        }
        let Some(node) = self.tree.nodes.get(path).cloned() else {
            return;
        };
        let created = (stat.cversion + stat.children) / 2;
        let missing = created - node.created;
        if missing < 0 || (missing > 0 && !self.pool.creates(path, zxid, missing)) {
            let what = format!("{path}: {created} were created, not {}", node.created);
            self.problem(zxid, what);
        }
        let moved = node.pzxid != stat.pzxid && node.pzxid != UNKNOWN;
        let unseen = missing > 0 || self.pool.touches_below(path, zxid) || self.blurred(path, zxid);
        if moved && (stat.pzxid < node.pzxid || !unseen) {
            let what = format!("{path}: pzxid {:#x}, not {:#x}", stat.pzxid, node.pzxid);
            self.problem(zxid, what);
        }
        if let Some(node) = self.tree.nodes.get_mut(path) {
            node.created = created;
            node.pzxid = stat.pzxid;
        }
    }

    /// Whether something unseen may have happened to a child by now.
    fn blurred(&self, path: &str, zxid: i64) -> bool {
        let mut blurs = self.out.blurs.iter().rev();
        blurs.any(|(blurred, from, _)| parent(blurred) == path && *from < zxid)
    }
}
