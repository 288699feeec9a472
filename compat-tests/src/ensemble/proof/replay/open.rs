//! Open calls: what may have been done without anybody being told. Each explains one thing, once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::super::facts::{Facts, Open, Place, call};
use super::super::history::{Call, History, Kind, Op, parent};
use super::super::walk::Walk;
use super::names::{Names, create_named, number_of};
use super::tree::{Change, SOMEBODY, Tree, UNKNOWN};

/// What an open call did.
#[derive(Debug, Default)]
struct Done {
    changes: Vec<Change>,
    /// Others were taken to have done this; they have not.
    instead_of: Vec<(Change, usize)>,
}

/// How many orders of open writes are tried for one version.
const RAISES_MAX: usize = 500;

/// The open calls of a history.
#[derive(Clone, Debug)]
pub(super) struct Pool<'a> {
    history: &'a History,
    open: Vec<Open>,
    names: Rc<Names>,
    /// Names of sequential znodes that open calls got.
    taken: BTreeSet<String>,
    /// Calls that do one thing and were taken to have done it to a path, unseen; by what it was.
    spent: BTreeMap<Change, Vec<usize>>,
    /// By parent: creates that are counted, though it is not known which they were.
    counted: BTreeMap<String, i32>,
}

impl<'a> Pool<'a> {
    pub(super) fn new(history: &'a History, facts: &Facts, walks: &[Walk]) -> Self {
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
            names: Rc::new(Names::gather(history, walks)),
            taken: BTreeSet::new(),
            spent: BTreeMap::new(),
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
        // What expects the very version that there is can be done now or never: else another one might be
        // taken for it that is wanted later.
        let now_or_never = |it: &Op| match it {
            Op::Set { path, version, .. } => {
                let node = tree.nodes.get(path);
                node.is_some_and(|node| node.version == *version)
            }
            _ => false,
        };
        let mut candidates = self.candidates(zxid, |_| true);
        candidates.sort_by_key(|index| match self.call(*index).op.parts() {
            [one] => !now_or_never(one),
            _ => true,
        });
        for index in candidates {
            if self.open[index].below <= zxid {
                continue;
            }
            let mut after = tree.clone();
            let Ok(done) = self.perform(&mut after, &self.open[index], zxid, seen) else {
                continue;
            };
            let changes = &done.changes;
            if seen.iter().all(|change| changes.contains(change)) && !changes.is_empty() {
                self.adopt(tree, after, index, &done);
                self.unnamed(tree, index, changes);
                return Some(done.changes);
            }
        }
        None
    }

    /// Does what an open call asks for, under the names that it got as far as anybody saw them, unless
    /// it would make what others were told that they made.
    fn perform(
        &self,
        tree: &mut Tree,
        open: &Open,
        zxid: i64,
        seen: &BTreeSet<Change>,
    ) -> Result<Done, i32> {
        let call = call(self.history, open.place);
        let mut done = Done::default();
        if call.op == Op::Close {
            done.changes = tree.apply(call.session, &call.op, zxid)?;
            return Ok(done);
        }
        let mut taken = self.taken.clone();
        for part in call.op.parts() {
            let changes = match part {
                Op::Create { path, data, flags } if flags & 2 == 2 => {
                    let owner = if flags & 1 == 1 { call.session } else { 0 };
                    match self.names.name(open, (path, data), seen, &taken) {
                        Some(name) => {
                            taken.insert(name.0.clone());
                            create_named(tree, name, data, owner, zxid)?
                        }
                        // Nobody ever saw it: it was gone before.
                        None => {
                            if let Some(above) = tree.nodes.get_mut(parent(path)) {
                                above.created += 1;
                                above.pzxid = zxid;
                            }
                            Vec::new()
                        }
                    }
                }
                // What another call was taken to have done to a path may as well have been this one;
                // the other can be taken for something later again.
                Op::Set { .. }
                    if call.op.parts().len() > 1
                        && let Some(other) = self.in_its_place(part, zxid, &done) =>
                {
                    done.instead_of.push(other);
                    Vec::new()
                }
                _ => {
                    let before = tree.clone();
                    let changes = tree.apply(call.session, part, zxid);
                    match changes {
                        Ok(changes) if !self.made_by_others(tree, &changes) => changes,
                        refused => {
                            // Another call may have been taken to have done what this one did.
                            *tree = before;
                            let code = refused.err().unwrap_or(TAKEN);
                            let other = self.in_its_place(part, zxid, &done).ok_or(code)?;
                            done.instead_of.push(other);
                            Vec::new()
                        }
                    }
                }
            };
            done.changes.extend(changes);
        }
        if self.made_by_others(tree, &done.changes) {
            return Err(TAKEN);
        }
        Ok(done)
    }

    fn made_by_others(&self, tree: &Tree, changes: &[Change]) -> bool {
        changes.iter().any(|(_, path)| {
            let node = tree.nodes.get(path);
            node.is_some_and(|node| self.names.made(path, node.czxid, node.version))
        })
    }

    /// A call that was taken to have done, at a zxid that nobody knows, what this part does.
    fn in_its_place(&self, part: &Op, zxid: i64, done: &Done) -> Option<(Change, usize)> {
        let change = match part {
            Op::Create { path, .. } => (Kind::Created, path.clone()),
            Op::Set { path, .. } => (Kind::Changed, path.clone()),
            Op::Delete { path, .. } => (Kind::Deleted, path.clone()),
            _ => return None,
        };
        let spent = self.spent.get(&change).filter(|_| zxid == UNKNOWN)?;
        let mut spent = spent.iter().map(|index| (change.clone(), *index));
        spent.find(|other| !done.instead_of.contains(other))
    }

    /// A call that is known to have been done at this zxid, though nobody was told.
    pub(super) fn known(
        &mut self,
        tree: &mut Tree,
        place: Place,
        seen: &BTreeSet<Change>,
        zxid: i64,
    ) -> Result<Vec<Change>, i32> {
        let open = Open {
            place,
            above: zxid - 1,
            below: zxid + 1,
            late: zxid + 1,
            used: true,
        };
        let mut after = tree.clone();
        let changes = self.perform(&mut after, &open, zxid, seen)?.changes;
        self.count(tree, &mut after, place);
        *tree = after;
        self.take(&changes);
        Ok(changes)
    }

    fn take(&mut self, changes: &[Change]) {
        let created = changes.iter().filter(|(kind, _)| *kind == Kind::Created);
        self.taken.extend(created.map(|(_, path)| path.clone()));
    }

    /// The tree is what this call has made of it.
    fn adopt(&mut self, tree: &mut Tree, mut after: Tree, index: usize, done: &Done) {
        self.count(tree, &mut after, self.open[index].place);
        *tree = after;
        self.open[index].used = true;
        self.take(&done.changes);
        for (change, other) in &done.instead_of {
            self.open[*other].used = false;
            let spent = self.spent.entry(change.clone()).or_default();
            spent.retain(|index| index != other);
        }
    }

    /// As [`Self::adopt`], where nobody knows the zxid: another call may turn out to have done it.
    fn adopt_unseen(&mut self, tree: &mut Tree, after: Tree, index: usize, done: &Done) {
        self.adopt(tree, after, index, done);
        if let ([change], 1) = (done.changes.as_slice(), self.call(index).op.parts().len()) {
            let spent = self.spent.entry(change.clone()).or_default();
            spent.push(index);
        }
    }

    /// Creates that were only counted are known now.
    fn count(&mut self, before: &Tree, after: &mut Tree, place: Place) {
        for part in call(self.history, place).op.parts() {
            let Op::Create { path, .. } = part else {
                continue;
            };
            let above = parent(path);
            let counted = self.counted.get_mut(above).filter(|count| **count > 0);
            let grown = before.nodes.get(above).zip(after.nodes.get_mut(above));
            if let (Some(count), Some((before, after))) = (counted, grown) {
                *count -= 1;
                after.created = (after.created - 1).max(before.created);
            }
        }
    }

    /// Which of several equal calls it was is not known, so what distinguishes them is not, either.
    fn unnamed(&self, tree: &mut Tree, index: usize, changes: &[Change]) {
        let (session, parts) = (self.call(index).session, self.call(index).op.parts());
        if parts.len() > 1 {
            return;
        }
        for (kind, path) in changes {
            let alike = |it: &Op| match kind {
                Kind::Created => creates(it, path),
                _ => writes(it, path),
            };
            let others = self.candidates(UNKNOWN, alike);
            let Some(node) = tree.nodes.get_mut(path).filter(|_| !others.is_empty()) else {
                continue;
            };
            node.data = None;
            let owner = |it: usize| {
                let call = self.call(it);
                let ephemeral =
                    |part: &Op| matches!(part, Op::Create { flags, .. } if flags & 1 == 1);
                call.op
                    .parts()
                    .iter()
                    .any(ephemeral)
                    .then_some(call.session)
            };
            let own = (node.owner == session).then_some(session);
            if *kind == Kind::Created && others.into_iter().any(|it| owner(it) != own) {
                node.owner = SOMEBODY;
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
                    if !tree.nodes.contains_key(path)
                        && !self.create(tree, path, UNKNOWN, SOMEBODY, zxid)
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
            let mut after = tree.clone();
            let done = self.perform(&mut after, &self.open[index], czxid, &seen);
            let node = after.nodes.get_mut(path);
            if let (Ok(done), Some(node)) = (done, node)
                && (owner == SOMEBODY || owner == node.owner)
            {
                node.data = None;
                self.adopt_unseen(tree, after, index, &done);
                self.unnamed(tree, index, &done.changes);
                return true;
            }
        }
        // Refused only if it is there or has no parent: then there is nothing to put.
        drop(tree.create(path.to_owned(), None, owner, czxid));
        false
    }

    /// Whether an open call can have created this znode.
    pub(super) fn can_make(&self, path: &str, zxid: i64) -> bool {
        !self.candidates(zxid, |it| creates(it, path)).is_empty()
    }

    /// Whether an open call can have removed this znode.
    pub(super) fn deletes(&self, path: &str, zxid: i64) -> bool {
        !self.candidates(zxid, |it| deletes(it, path)).is_empty()
    }

    /// Removes this znode by an open call.
    pub(super) fn delete(&mut self, tree: &mut Tree, path: &str, zxid: i64) -> bool {
        for index in self.candidates(zxid, |it| deletes(it, path)) {
            let mut after = tree.clone();
            let mut done = self.perform(&mut after, &self.open[index], UNKNOWN, &BTreeSet::new());
            if done.as_ref().err() == Some(&BAD_VERSION)
                && let Op::Delete { version, .. } = &self.call(index).op
            {
                // The version that it expects came about unseen, too.
                after = tree.clone();
                let known = after.nodes.get(path).map_or(0, |node| node.version);
                let missing = version - known;
                if missing > 0 && self.raise_version(&mut after, path, missing, zxid) {
                    done = self.perform(&mut after, &self.open[index], UNKNOWN, &BTreeSet::new());
                }
            }
            if let Ok(done) = done
                && !after.nodes.contains_key(path)
            {
                self.adopt_unseen(tree, after, index, &done);
                return true;
            }
        }
        false
    }

    /// Writes this znode so many times by open calls. Without enough of them nothing is done.
    pub(super) fn raise_version(
        &mut self,
        tree: &mut Tree,
        path: &str,
        times: i32,
        zxid: i64,
    ) -> bool {
        let mut attempts = RAISES_MAX;
        self.raise(tree, path, times, zxid, &mut attempts)
    }

    /// As [`Self::raise_version`]: in whatever order it takes, but with so many attempts at most.
    fn raise(
        &mut self,
        tree: &mut Tree,
        path: &str,
        times: i32,
        zxid: i64,
        attempts: &mut usize,
    ) -> bool {
        if times <= 0 {
            return true;
        }
        let before = tree.nodes.get(path).map_or(0, |node| node.version);
        // What expects this very version can be done now or never.
        let now_or_never = |it: &Op| matches!(it, Op::Set { version, .. } if *version == before && writes(it, path));
        let mut candidates = self.candidates(zxid, |it| writes(it, path));
        candidates.sort_by_key(|index| !self.call(*index).op.parts().iter().any(now_or_never));
        for index in candidates {
            if *attempts == 0 {
                return false;
            }
            *attempts -= 1;
            let mut after = tree.clone();
            let done = self.perform(&mut after, &self.open[index], UNKNOWN, &BTreeSet::new());
            let Ok(done) = done else { continue };
            let version = after.nodes.get(path).map_or(0, |node| node.version);
            if version <= before {
                continue;
            }
            let (mut pool, mut raised) = (self.clone(), tree.clone());
            pool.adopt_unseen(&mut raised, after, index, &done);
            if let Some(node) = raised.nodes.get_mut(path) {
                node.data = None;
            }
            let left = times - (version - before);
            if left >= 0 && pool.raise(&mut raised, path, left, zxid, attempts) {
                (*self, *tree) = (pool, raised);
                return true;
            }
        }
        false
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

/// In place of an error code: others made it.
const TAKEN: i32 = 0;
const BAD_VERSION: i32 = -103;

fn creates(op: &Op, path: &str) -> bool {
    match op {
        Op::Create {
            path: asked, flags, ..
        } if flags & 2 == 2 => number_of(path, asked).is_some(),
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
