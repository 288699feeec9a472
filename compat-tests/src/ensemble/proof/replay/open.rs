//! Open calls: what may have been done without anybody being told. Each explains one thing, once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::super::facts::{Facts, Open, call};
use super::super::history::{Call, History, Kind, Op, parent};
use super::tree::{Change, Tree, UNKNOWN};

/// The open calls of a history.
#[derive(Debug)]
pub(super) struct Pool<'a> {
    history: &'a History,
    open: Vec<Open>,
    /// By parent: creates that are counted, though it is not known which they were.
    counted: BTreeMap<String, i32>,
}

impl<'a> Pool<'a> {
    pub(super) fn new(history: &'a History, facts: &Facts) -> Self {
        let mut open = facts.open.clone();
        // Those that do one thing are asked first: they explain nothing else by the way. Of these the
        // one that can soonest be done no more, as what is explained comes by its zxid; else the latest.
        open.sort_by_key(|it| {
            let parts = call(history, it.place).op.parts().len();
            (parts, it.below, Reverse(it.above))
        });
        Self {
            history,
            open,
            counted: BTreeMap::new(),
        }
    }

    fn call(&self, index: usize) -> &'a Call {
        call(self.history, self.open[index].place)
    }

    /// Those that can have been done before `zxid` and contain such a part.
    fn candidates(&self, zxid: i64, fits: impl Fn(&Op) -> bool) -> Vec<usize> {
        let can = |open: &Open| {
            let in_time = zxid == UNKNOWN || open.above < zxid;
            let parts = call(self.history, open.place).op.parts();
            !open.used && in_time && parts.iter().any(&fits)
        };
        (0..self.open.len())
            .filter(|it| can(&self.open[*it]))
            .collect()
    }

    /// The call whose txn this was, of which watchers saw `seen`; does it.
    pub(super) fn explain(
        &mut self,
        tree: &mut Tree,
        seen: &BTreeSet<Change>,
        zxid: i64,
    ) -> Option<Vec<Change>> {
        for index in self.candidates(zxid, |_| true) {
            if self.open[index].below <= zxid {
                continue;
            }
            let call = self.call(index);
            let mut after = tree.clone();
            name_as_seen(&mut after, &call.op, seen);
            let Ok(changes) = after.apply(call.session, &call.op, zxid) else {
                continue;
            };
            if seen.iter().all(|change| changes.contains(change)) && !changes.is_empty() {
                *tree = after;
                self.open[index].used = true;
                self.unnamed(tree, &call.op, &changes);
                return Some(changes);
            }
        }
        None
    }

    /// Which of several equal calls it was is not known, so the payload is not, either.
    fn unnamed(&self, tree: &mut Tree, op: &Op, changes: &[Change]) {
        if op.parts().len() > 1 {
            return;
        }
        for (_, path) in changes {
            let wrote = |it: &Op| writes(it, path);
            if !self.candidates(UNKNOWN, wrote).is_empty()
                && let Some(node) = tree.nodes.get_mut(path)
            {
                node.data = None;
            }
        }
    }

    /// Does what makes `op` possible, if open calls can have done it.
    pub(super) fn bring_about(&mut self, tree: &mut Tree, op: &Op, zxid: i64) -> bool {
        for part in op.parts() {
            match part {
                Op::Create { path, flags, .. }
                    if flags & 2 == 0
                        && tree.nodes.contains_key(path)
                        && !self.delete(tree, path, zxid) =>
                {
                    return false;
                }
                Op::Set { path, version, .. }
                | Op::Delete { path, version }
                | Op::Check { path, version } => {
                    if !tree.nodes.contains_key(path) && !self.create(tree, path, UNKNOWN, 0, zxid)
                    {
                        return false;
                    }
                    let known = tree.nodes.get(path).map_or(0, |node| node.version);
                    let missing = if *version == -1 { 0 } else { version - known };
                    if missing < 0
                        || (missing > 0 && !self.raise_version(tree, path, missing, zxid))
                    {
                        return false;
                    }
                }
                _ => {}
            }
        }
        true
    }

    /// Creates this znode by an open call. False: there is none; the znode is put there all the same.
    pub(super) fn create(
        &mut self,
        tree: &mut Tree,
        path: &str,
        czxid: i64,
        owner: i64,
        zxid: i64,
    ) -> bool {
        let zxid = if czxid == UNKNOWN {
            zxid
        } else {
            czxid.min(zxid)
        };
        let seen = BTreeSet::from([(Kind::Created, path.to_owned())]);
        for index in self.candidates(zxid, |it| creates(it, path)) {
            let call = self.call(index);
            if owner != 0 && owner != call.session {
                continue;
            }
            let mut after = tree.clone();
            name_as_seen(&mut after, &call.op, &seen);
            let done = after.apply(call.session, &call.op, czxid);
            if done.is_ok() && after.nodes.contains_key(path) {
                *tree = after;
                self.open[index].used = true;
                self.uncount(tree, parent(path));
                if let Some(node) = tree.nodes.get_mut(path) {
                    node.data = None;
                }
                return true;
            }
        }
        // Refused only if it is there or has no parent: then there is nothing to put.
        drop(tree.create(path.to_owned(), None, owner, czxid));
        false
    }

    /// One of the creates that were only counted is known now.
    fn uncount(&mut self, tree: &mut Tree, above: &str) {
        if let Some(count) = self.counted.get_mut(above).filter(|count| **count > 0)
            && let Some(node) = tree.nodes.get_mut(above)
        {
            *count -= 1;
            node.created -= 1;
        }
    }

    /// Whether an open call can have removed this znode.
    pub(super) fn deletes(&self, path: &str, zxid: i64) -> bool {
        !self.candidates(zxid, |it| deletes(it, path)).is_empty()
    }

    /// Removes this znode by an open call.
    pub(super) fn delete(&mut self, tree: &mut Tree, path: &str, zxid: i64) -> bool {
        for index in self.candidates(zxid, |it| deletes(it, path)) {
            let call = self.call(index);
            let mut after = tree.clone();
            let mut done = after.apply(call.session, &call.op, UNKNOWN);
            if done == Err(-103)
                && let Op::Delete { version, .. } = &call.op
            {
                // The version that it expects came about unseen, too.
                let known = after.nodes.get(path).map_or(0, |node| node.version);
                let missing = version - known;
                if missing > 0 && self.raise_version(&mut after, path, missing, zxid) {
                    done = after.apply(call.session, &call.op, UNKNOWN);
                }
            }
            if done.is_ok() && !after.nodes.contains_key(path) {
                *tree = after;
                self.open[index].used = true;
                return true;
            }
        }
        false
    }

    /// Writes this znode so many times by open calls.
    pub(super) fn raise_version(
        &mut self,
        tree: &mut Tree,
        path: &str,
        times: i32,
        zxid: i64,
    ) -> bool {
        for _ in 0..times {
            let before = tree.nodes.get(path).map_or(0, |node| node.version);
            let mut raised = false;
            for index in self.candidates(zxid, |it| writes(it, path)) {
                let call = self.call(index);
                let mut after = tree.clone();
                let done = after.apply(call.session, &call.op, UNKNOWN);
                let version = after.nodes.get(path).map_or(0, |node| node.version);
                if done.is_ok() && version > before {
                    *tree = after;
                    self.open[index].used = true;
                    raised = true;
                    break;
                }
            }
            if !raised {
                return false;
            }
            if let Some(node) = tree.nodes.get_mut(path) {
                node.data = None;
            }
        }
        true
    }

    /// Whether so many more znodes can have been created below `above`; they are counted from now on.
    pub(super) fn creates(&mut self, above: &str, zxid: i64, count: i32) -> bool {
        let below = |it: &Op| matches!(it, Op::Create { path, .. } if parent(path) == above);
        let possible: usize = self
            .candidates(zxid, below)
            .into_iter()
            .map(|index| {
                self.call(index)
                    .op
                    .parts()
                    .iter()
                    .filter(|it| below(it))
                    .count()
            })
            .sum();
        let counted = self.counted.entry(above.to_owned()).or_default();
        *counted += count;
        possible as i32 >= *counted
    }

    /// Whether any open call, spoken for or not, touches a child of `above`.
    pub(super) fn touches_below(&self, above: &str, zxid: i64) -> bool {
        self.open.iter().any(|open| {
            let call = call(self.history, open.place);
            let below = |it: &Op| match it {
                Op::Create { path, .. } | Op::Delete { path, .. } => parent(path) == above,
                _ => false,
            };
            open.above < zxid && (call.op == Op::Close || call.op.parts().iter().any(below))
        })
    }
}

/// A sequential znode takes the number that was seen, if that is still to come.
fn name_as_seen(tree: &mut Tree, op: &Op, seen: &BTreeSet<Change>) {
    for part in op.parts() {
        let Op::Create { path, flags, .. } = part else {
            continue;
        };
        let number = seen.iter().find_map(|(kind, name)| {
            let digits = name.strip_prefix(path.as_str())?;
            let sequential = *kind == Kind::Created && flags & 2 == 2 && digits.len() == 10;
            digits.parse::<i32>().ok().filter(|_| sequential)
        });
        if let Some(number) = number
            && let Some(above) = tree.nodes.get_mut(parent(path))
        {
            above.created = above.created.max(number);
            return;
        }
    }
}

fn creates(op: &Op, path: &str) -> bool {
    match op {
        Op::Create {
            path: asked, flags, ..
        } if flags & 2 == 2 => path.len() == asked.len() + 10 && path.starts_with(asked.as_str()),
        Op::Create { path: asked, .. } => path == asked,
        _ => false,
    }
}

fn deletes(op: &Op, path: &str) -> bool {
    matches!(op, Op::Delete { path: asked, .. } if path == asked)
}

fn writes(op: &Op, path: &str) -> bool {
    matches!(op, Op::Set { path: asked, .. } if path == asked)
}
