//! All orders in which the steps of one txn and those of one reader may come.
//!
//! Steps are what happens under one lock of a shard, of `Unwritten` or of `Loads`, or one look at
//! the disk. What the reader leaves in the cache must be right when the txn has been installed.

use std::collections::{BTreeMap, VecDeque};

use tempfile::TempDir;

use super::super::loads::Load;
use super::*;
use crate::state::{Origin, Outcome, SessionId, Zxid};
use crate::storage::Config;

const CACHE_BYTES: usize = 64 << 10;
/// If there are more orders than this, not all are tried but some, by chance.
const ORDERS_MAX: usize = 1800;
const ORDERS_BY_CHANCE: usize = 200;

/// Znodes by path.
type Truth = BTreeMap<String, Known>;

/// What the cache knows of the parent before.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Before {
    Nothing,
    Marks,
    Names,
    /// What is not pinned is forgotten when the reader begins.
    Forgotten,
}

/// What the reader wants.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Want {
    Znode(&'static str),
    Names,
}

fn znode(children: u32, bytes: usize) -> Known {
    let data = (bytes > 0).then(|| vec![0; bytes].into());
    Some(Arc::new(Znode {
        children,
        data,
        ..Znode::default()
    }))
}

/// `below`: of the parent. Of the other kind if it neither comes nor goes.
fn change(parent: &str, below: &str, after: Known, listed: bool) -> Change {
    Change::Znode {
        path: format!("{parent}{below}").into(),
        after,
        listed,
    }
}

fn txn(changes: Vec<Change>) -> Txn {
    Txn {
        origin: Origin::default(),
        sequence: 0,
        session: SessionId::NONE,
        cxid: 0,
        zxid: Zxid(1),
        time_ms: 0,
        outcome: Outcome::Done,
        changes,
        events: Vec::new(),
    }
}

/// A name, the parent's children before, and what the txn does, as judging would put it down.
type Case = (&'static str, usize, Vec<Change>);

fn cases(parent: &str) -> Vec<Case> {
    let p = |below, after, listed| change(parent, below, after, listed);
    let count = |children| p("", znode(children, 0), false);
    let came = |below| p(below, znode(0, 1), true);
    let large = |below| p(below, znode(0, CACHE_BYTES / 3), true);
    let gone = |below| p(below, None, true);
    let root = || change("", "/", znode(1, 0), false);
    let all_anew = vec![
        gone("/a"),
        count(0),
        gone(""),
        root(),
        p("", znode(0, 0), true),
        came("/b"),
        count(2),
        came("/c"),
    ];
    vec![
        ("first", 0, vec![came("/a"), count(1)]),
        ("first, large", 0, vec![large("/a"), count(1)]),
        ("second", 1, vec![came("/b"), count(2)]),
        ("second, large", 1, vec![large("/b"), count(2)]),
        ("last goes", 1, vec![gone("/a"), count(0)]),
        ("two come", 0, vec![came("/a"), count(2), came("/b")]),
        ("comes, goes", 0, vec![came("/a"), count(0), gone("/a")]),
        ("goes, comes", 1, vec![gone("/a"), count(1), came("/a")]),
        ("all anew", 1, all_anew),
        ("all go", 1, vec![gone("/a"), count(0), gone(""), root()]),
    ]
}

struct World {
    _dir: TempDir,
    tree: RocksTree,
    round: usize,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let split = Split::of(&Config::default());
        let options = options::tree(split);
        let db = Database::open(dir.path(), &options.db, options.families).unwrap();
        let tree = RocksTree::new(db, options.blocks, split);
        Self {
            _dir: dir,
            tree,
            round: 0,
        }
    }

    /// A parent of its own, on the disk.
    fn begin(&mut self, children: usize, before: Before) -> (String, Truth) {
        self.round += 1;
        self.tree.cache = Arc::new(Cache::new(CACHE_BYTES));
        let parent = format!("/p{}", self.round);
        let mut truth = Truth::new();
        self.apply(
            &mut truth,
            &txn(vec![change(&parent, "", znode(0, 0), true)]),
        );
        if children > 0 {
            let changes = vec![
                change(&parent, "/a", znode(0, 1), true),
                change(&parent, "", znode(1, 0), false),
            ];
            self.apply(&mut truth, &txn(changes));
        }
        match before {
            Before::Nothing => self.tree.cache.evict_all(),
            Before::Marks | Before::Forgotten => {}
            Before::Names => {
                let part = Missing::Children(parent.as_str().into());
                drop(self.tree.warm(&[part], usize::MAX).unwrap());
            }
        }
        (parent, truth)
    }

    /// With no reader meanwhile.
    fn apply(&self, truth: &mut Truth, txn: &Txn) {
        let mut applying = Applying::new(&self.tree, txn);
        while applying.advance() {}
        note(truth, txn);
    }

    /// Nothing that memory says is wrong.
    fn check(&self, parent: &str, truth: &Truth, what: &str) {
        let cache = &self.tree.cache;
        for below in ["", "/a", "/b", "/c", "/y", "/z"] {
            let path = format!("{parent}{below}");
            let is = truth.get(&path).cloned().flatten();
            for known in [cache.get(&path), self.tree.known(&path)]
                .into_iter()
                .flatten()
            {
                assert_eq!(known.is_some(), is.is_some(), "{path}: {what}");
                assert!(known == is, "{path} is an old one: {what}");
            }
            let is_free = cache.is_absent_by_parent(&path);
            assert!(!is_free || is.is_none(), "{path} seems free: {what}");
        }
        let mut names = Vec::new();
        if cache.each_name(parent, &mut |name| names.push(format!("{parent}/{name}"))) {
            let is = truth
                .iter()
                .filter(|(path, node)| *path != parent && node.is_some());
            let is: Vec<_> = is.map(|(path, _)| path.clone()).collect();
            assert_eq!(names, is, "{what}");
        }
    }
}

fn note(truth: &mut Truth, txn: &Txn) {
    for change in &txn.changes {
        if let Change::Znode { path, after, .. } = change
            && **path != *"/"
        {
            truth.insert(path.to_string(), after.clone());
        }
    }
}

/// A txn on its way.
struct Applying<'a> {
    tree: &'a RocksTree,
    txn: &'a Txn,
    at: usize,
    noting: Option<Noting<'a>>,
    steps: VecDeque<Step<'a>>,
}

impl<'a> Applying<'a> {
    fn new(tree: &'a RocksTree, txn: &'a Txn) -> Self {
        Self {
            tree,
            txn,
            at: 0,
            noting: None,
            steps: steps(&txn.changes).collect(),
        }
    }

    fn steps(txn: &Txn) -> usize {
        3 + steps(&txn.changes).count()
    }

    /// False if there was nothing to do any more.
    fn advance(&mut self) -> bool {
        self.at += 1;
        match self.at {
            1 => {
                self.tree.begin();
                self.tree.write_behind.unwritten.install(self.txn);
            }
            2 => self.noting = self.tree.loads.noting(),
            _ => match self.steps.pop_front() {
                Some(step) => {
                    self.tree.take(&step, self.noting.as_mut());
                    if self.steps.is_empty() {
                        self.noting = None;
                    }
                }
                None if self.at == Self::steps(self.txn) => {
                    self.tree.stage(std::slice::from_ref(self.txn)).unwrap();
                    self.tree.end(&Meta::default()).unwrap();
                    self.tree.write_behind.write().unwrap();
                }
                None => return false,
            },
        }
        true
    }

    /// Whoever needs the lock of the listings waits.
    fn let_go_of_listings(&mut self) {
        while self.noting.is_some() {
            self.advance();
        }
    }
}

/// [`RocksTree::list`] and [`RocksTree::fetch`] in steps.
struct Reading<'a> {
    tree: &'a RocksTree,
    path: Arc<str>,
    names: bool,
    at: usize,
    is_forgotten: bool,
    pinned: Pinned,
    is_known: bool,
    known: Option<Known>,
    load: Option<Load<'a>>,
    found: Option<Listing>,
}

impl<'a> Reading<'a> {
    fn new(tree: &'a RocksTree, parent: &str, want: Want, before: Before) -> Self {
        let (below, names) = match want {
            Want::Znode(below) => (below, false),
            Want::Names => ("", true),
        };
        Self {
            tree,
            path: format!("{parent}{below}").into(),
            names,
            at: 0,
            is_forgotten: before == Before::Forgotten,
            pinned: Pinned::new(&tree.cache),
            is_known: false,
            known: None,
            load: None,
            found: None,
        }
    }

    fn steps(want: Want) -> usize {
        if want == Want::Names { 7 } else { 4 }
    }

    fn advance(&mut self, applying: &mut Applying<'_>) {
        self.at += 1;
        match self.at {
            1 => {
                if self.is_forgotten {
                    self.tree.cache.evict_all();
                }
                self.is_known = self.pinned.pin(&self.path, self.names).is_some();
            }
            2 if !self.is_known => self.known = self.tree.known_meanwhile(&self.path),
            3 if !self.is_known && self.known.is_none() => {
                self.known = Some(self.tree.read(&self.path).unwrap().map(Arc::new));
            }
            4 if !self.is_known => drop(self.pinned.fill(self.known.take().unwrap())),
            5 if self.tree.cache.names_bytes(&self.path).is_none() => {
                applying.let_go_of_listings();
                self.load = self.tree.loads.begin(&self.path);
                assert!(self.load.is_some());
            }
            6 if self.load.is_some() => {
                self.found = self.tree.scan_names(&self.path, usize::MAX).unwrap();
            }
            7 => {
                if let Some(load) = self.load.take() {
                    applying.let_go_of_listings();
                    let found = self.found.take().unwrap();
                    load.finish(found, |found| self.pinned.fill_names(found));
                }
            }
            _ => {}
        }
    }
}

/// Orders of so many steps of a txn (true) and a reader: all, or some by chance.
fn orders(txn: usize, reader: usize) -> Vec<Vec<bool>> {
    let mut all = Vec::new();
    every_order(txn, reader, &mut Vec::new(), &mut all);
    if all.len() <= ORDERS_MAX {
        return all;
    }
    let mut dice = 1_u64;
    let mut one = || {
        let (mut txn, mut reader) = (txn as u64, reader as u64);
        let mut order = Vec::new();
        while txn + reader > 0 {
            dice = dice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(99_991);
            let is_txn = (dice >> 33) % (txn + reader) < txn;
            txn -= u64::from(is_txn);
            reader -= u64::from(!is_txn);
            order.push(is_txn);
        }
        order
    };
    (0..ORDERS_BY_CHANCE).map(|_| one()).collect()
}

fn every_order(txn: usize, reader: usize, begun: &mut Vec<bool>, all: &mut Vec<Vec<bool>>) {
    if all.len() > ORDERS_MAX {
        return;
    }
    if txn + reader == 0 {
        all.push(begun.clone());
    }
    for (is_txn, left) in [(true, txn), (false, reader)] {
        if left > 0 {
            begun.push(is_txn);
            every_order(
                txn - usize::from(is_txn),
                reader - usize::from(!is_txn),
                begun,
                all,
            );
            begun.pop();
        }
    }
}

fn try_order(world: &mut World, case: usize, before: Before, want: Want, order: &[bool]) {
    let children = cases("").swap_remove(case).1;
    let (parent, mut truth) = world.begin(children, before);
    let (name, _, changes) = cases(&parent).swap_remove(case);
    let what = format!("{name}, {before:?}, {want:?}, {order:?}");
    let done = txn(changes);
    let world = &*world;
    let mut applying = Applying::new(&world.tree, &done);
    let mut reading = Reading::new(&world.tree, &parent, want, before);
    for is_txn in order {
        if *is_txn {
            applying.advance();
        } else {
            reading.advance(&mut applying);
        }
    }
    while applying.advance() {}
    note(&mut truth, &done);
    world.check(&parent, &truth, &what);
    let is_listed = || want != Want::Names || world.tree.cache.lists(&parent);
    assert!(is_listed(), "what was read is not in memory: {what}");
    // What comes later is told to what the reader has left.
    if let Some(Some(node)) = truth.get(&parent).cloned() {
        for (after, children) in [(znode(0, 1), node.children + 1), (None, node.children)] {
            let changes = vec![
                change(&parent, "/z", after, true),
                change(&parent, "", znode(children, 0), false),
            ];
            world.apply(&mut truth, &txn(changes));
            world.check(&parent, &truth, &what);
            assert!(is_listed(), "it is not in memory any more: {what}");
        }
    }
    drop(reading);
    world.check(&parent, &truth, &what);
}

const BEFORE: [Before; 4] = [
    Before::Nothing,
    Before::Marks,
    Before::Names,
    Before::Forgotten,
];

fn txn_steps(case: usize) -> usize {
    Applying::steps(&txn(cases("/p").swap_remove(case).2))
}

fn try_all(wants: &[Want]) {
    let mut world = World::new();
    for case in 0..cases("").len() {
        for want in wants {
            let orders = orders(txn_steps(case), Reading::steps(*want));
            for before in BEFORE {
                for order in &orders {
                    try_order(&mut world, case, before, *want, order);
                }
            }
        }
    }
}

/// The reader gets so far before the txn begins, does the rest within it, all at once.
fn try_in_two(early: usize, want: Want) {
    let mut world = World::new();
    for case in 0..cases("").len() {
        let (txn, reader) = (txn_steps(case), Reading::steps(want));
        for meanwhile in 0..=txn {
            let parts = [
                (false, early),
                (true, meanwhile),
                (false, reader - early),
                (true, txn - meanwhile),
            ];
            let parts = parts.map(|(is_txn, count)| vec![is_txn; count]);
            for before in BEFORE {
                try_order(&mut world, case, before, want, &parts.concat());
            }
        }
    }
}

/// The parent was read while it had no children, and is filled in when it gets its first.
#[test]
fn who_read_a_childless_parent_lists_its_first_child() {
    try_in_two(3, Want::Names);
}

/// A large child is not kept for its own sake, and its parent may not know of it yet.
#[test]
fn a_large_first_child_is_not_taken_for_absent() {
    try_in_two(0, Want::Znode("/a"));
}

#[test]
fn a_listing_is_right_in_every_order() {
    try_all(&[Want::Names]);
}

#[test]
fn a_znode_is_right_in_every_order() {
    try_all(&["", "/a", "/b", "/c"].map(Want::Znode));
}
