//! Random operations against a naive model, built as ZooKeeper is: two tables, modes per pair of
//! path and watcher, and three triggers for a deletion.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Add(usize, u64, usize),
    Remove(usize, u64, usize),
    Drop(u64),
    Created(usize),
    Deleted(usize),
    DataChanged(usize),
}

const PATHS: [&str; 7] = ["/", "/a", "/a/b", "/a/b/c", "/ab", "/a/b2", "/é/a"];

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Mode {
    Standard,
    Persistent,
    Recursive,
}

/// One of ZooKeeper's two watch managers.
#[derive(Default)]
struct Manager(BTreeMap<(String, u64), BTreeSet<Mode>>);

impl Manager {
    fn add(&mut self, path: &str, watcher: u64, mode: Mode) {
        self.0
            .entry((path.into(), watcher))
            .or_default()
            .insert(mode);
    }

    fn remove(&mut self, path: &str, watcher: u64, mode: Option<Mode>) -> bool {
        let key = (path.to_owned(), watcher);
        let Some(modes) = self.0.get_mut(&key) else {
            return false;
        };
        let removed = mode.is_none_or(|mode| modes.remove(&mode));
        if mode.is_none() || modes.is_empty() {
            self.0.remove(&key);
        }
        removed
    }

    fn contains(&self, path: &str, watcher: u64, mode: Option<Mode>) -> bool {
        let modes = self.0.get(&(path.to_owned(), watcher));
        modes.is_some_and(|modes| mode.is_none_or(|mode| modes.contains(&mode)))
    }

    fn trigger(&mut self, path: &str) -> BTreeSet<u64> {
        let mut watchers = BTreeSet::new();
        for ((at, watcher), modes) in &mut self.0 {
            let below = path
                .strip_prefix(at.as_str())
                .is_some_and(|rest| rest.starts_with('/'));
            if at == path {
                watchers.insert(*watcher);
                modes.remove(&Mode::Standard);
            } else if (at == "/" || below) && modes.contains(&Mode::Recursive) {
                watchers.insert(*watcher);
            }
        }
        self.0.retain(|_, modes| !modes.is_empty());
        watchers
    }
}

#[derive(Default)]
struct Model {
    data: Manager,
    child: Manager,
}

impl Model {
    fn add(&mut self, path: &str, watcher: u64, registration: Registration) {
        match registration {
            Registration::Data => self.data.add(path, watcher, Mode::Standard),
            Registration::Child => self.child.add(path, watcher, Mode::Standard),
            Registration::Persistent => {
                self.data.add(path, watcher, Mode::Persistent);
                self.child.add(path, watcher, Mode::Persistent);
            }
            Registration::PersistentRecursive => self.data.add(path, watcher, Mode::Recursive),
        }
    }

    fn remove(&mut self, path: &str, watcher: u64, kind: RemoveKind) -> bool {
        let Self { data, child } = self;
        match kind {
            RemoveKind::Children => child.remove(path, watcher, Some(Mode::Standard)),
            RemoveKind::Data => data.remove(path, watcher, Some(Mode::Standard)),
            RemoveKind::Any => child.remove(path, watcher, None) | data.remove(path, watcher, None),
            RemoveKind::Persistent => {
                child.remove(path, watcher, Some(Mode::Persistent))
                    | data.remove(path, watcher, Some(Mode::Persistent))
            }
            RemoveKind::PersistentRecursive => data.remove(path, watcher, Some(Mode::Recursive)),
        }
    }

    fn contains(&self, path: &str, watcher: u64, kind: RemoveKind) -> bool {
        let Self { data, child } = self;
        match kind {
            RemoveKind::Children => child.contains(path, watcher, Some(Mode::Standard)),
            RemoveKind::Data => data.contains(path, watcher, Some(Mode::Standard)),
            RemoveKind::Any => {
                child.contains(path, watcher, None) || data.contains(path, watcher, None)
            }
            RemoveKind::Persistent => data.contains(path, watcher, Some(Mode::Persistent)),
            RemoveKind::PersistentRecursive => data.contains(path, watcher, Some(Mode::Recursive)),
        }
    }

    fn trigger(&mut self, event: &Event) -> Vec<(u64, NoticeKind, String)> {
        let mut told = Vec::new();
        let mut tell = |watchers: &BTreeSet<u64>, kind, path: &str| {
            told.extend(
                watchers
                    .iter()
                    .map(|watcher| (*watcher, kind, path.to_owned())),
            );
        };
        match event {
            Event::Created { path, .. } => {
                tell(&self.data.trigger(path), NoticeKind::Created, path);
                self.trigger_parent(path, &mut tell);
            }
            Event::Deleted { path, .. } => {
                let first = self.data.trigger(path);
                tell(&first, NoticeKind::Deleted, path);
                let second = &self.child.trigger(path) - &first;
                tell(&second, NoticeKind::Deleted, path);
                self.trigger_parent(path, &mut tell);
            }
            Event::DataChanged { path, .. } => {
                tell(&self.data.trigger(path), NoticeKind::DataChanged, path);
            }
        }
        told
    }

    fn trigger_parent(
        &mut self,
        path: &str,
        tell: &mut dyn FnMut(&BTreeSet<u64>, NoticeKind, &str),
    ) {
        let Some((parent, name)) = path.rsplit_once('/') else {
            return;
        };
        if !name.is_empty() {
            let parent = if parent.is_empty() { "/" } else { parent };
            tell(
                &self.child.trigger(parent),
                NoticeKind::ChildrenChanged,
                parent,
            );
        }
    }

    fn drop_watcher(&mut self, watcher: u64) {
        self.data.0.retain(|(_, other), _| *other != watcher);
        self.child.0.retain(|(_, other), _| *other != watcher);
    }

    fn by_path(&self) -> BTreeMap<&str, Vec<WatcherId>> {
        let mut map: BTreeMap<&str, Vec<WatcherId>> = BTreeMap::new();
        for (path, watcher) in self.data.0.keys() {
            map.entry(path).or_default().push(WatcherId(*watcher));
        }
        map
    }

    fn by_watcher(&self) -> BTreeMap<WatcherId, Vec<&str>> {
        let mut map: BTreeMap<WatcherId, Vec<&str>> = BTreeMap::new();
        for (path, watcher) in self.data.0.keys() {
            map.entry(WatcherId(*watcher)).or_default().push(path);
        }
        map
    }
}

/// What each watcher is told, in its order. Between watchers there is none.
fn per_watcher(told: Vec<(u64, NoticeKind, String)>) -> BTreeMap<u64, Vec<(NoticeKind, String)>> {
    let mut map: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    for (watcher, kind, path) in told {
        map.entry(watcher).or_default().push((kind, path));
    }
    map
}

fn compare(table: &WatchTable, model: &Model) {
    assert_eq!(
        table.watch_count(),
        model.data.0.len() + model.child.0.len()
    );
    let summary = table.summary();
    assert_eq!(summary.watches, model.data.0.len());
    assert_eq!(summary.paths, model.by_path().len());
    assert_eq!(summary.connections, model.by_watcher().len());
    assert_eq!(
        table.by_path().collect::<Vec<_>>(),
        Vec::from_iter(model.by_path())
    );
    assert_eq!(
        table.by_watcher().collect::<Vec<_>>(),
        Vec::from_iter(model.by_watcher())
    );
    let (mut copied, mut from) = (Vec::new(), Some(0));
    while let Some(next) = from {
        from = table.copy_part(next, 3, &mut copied);
    }
    let copied: BTreeSet<_> = copied
        .iter()
        .map(|(path, watcher)| (&**path, *watcher))
        .collect();
    let pairs = model.by_path().into_iter();
    let pairs = pairs.flat_map(|(path, all)| all.into_iter().map(move |watcher| (path, watcher)));
    assert_eq!(copied, pairs.collect(), "copied in parts");
    let paths: BTreeSet<_> = model
        .data
        .0
        .keys()
        .chain(model.child.0.keys())
        .map(|k| &k.0)
        .collect();
    assert_eq!(
        table.paths.len(),
        paths.len(),
        "a path is stored only while it is watched"
    );
    for path in PATHS {
        for (watcher, kind) in (0..WATCHERS).flat_map(|w| KINDS.map(|kind| (w, kind))) {
            let found = table.contains(path, WatcherId(watcher), kind);
            assert_eq!(
                found,
                model.contains(path, watcher, kind),
                "{path} {watcher} {kind:?}"
            );
        }
    }
}

/// The invariants of the room that no door shows.
fn both_halves_agree(table: &WatchTable) {
    let mut entries = 0;
    for watched in table.paths.iter() {
        assert!(
            !watched.entries.is_empty(),
            "{} is stored unwatched",
            watched.text
        );
        for entry in watched.entries.as_slice() {
            entries += 1;
            let watcher = table
                .watchers
                .get(entry.watcher)
                .expect("an entry names a watcher");
            let listed = watcher
                .paths
                .iter()
                .filter_map(|path| table.paths.get(*path));
            let here = listed.filter(|listed| listed.text == watched.text).count();
            assert_eq!(here, 1, "{} in the list of {:?}", watched.text, watcher.id);
        }
    }
    let listed: usize = table
        .watchers
        .iter()
        .map(|watcher| watcher.paths.len())
        .sum();
    assert_eq!(
        listed, entries,
        "no watcher lists a path that does not name it"
    );
}

const WATCHERS: u64 = 5;

fn op() -> impl Strategy<Value = Op> {
    let path = 0..PATHS.len();
    let watcher = 0..WATCHERS;
    prop_oneof![
        8 => (path.clone(), watcher.clone(), 0..4usize).prop_map(|(p, w, m)| Op::Add(p, w, m)),
        2 => (path.clone(), watcher.clone(), 0..5usize).prop_map(|(p, w, k)| Op::Remove(p, w, k)),
        1 => watcher.prop_map(Op::Drop),
        2 => path.clone().prop_map(Op::Created),
        2 => path.clone().prop_map(Op::Deleted),
        2 => path.prop_map(Op::DataChanged),
    ]
}

proptest! {
    #[test]
    fn the_table_does_as_the_model(ops in prop::collection::vec(op(), 1..120)) {
        let (mut table, mut model) = (WatchTable::new(), Model::default());
        for op in ops {
            let event = match op {
                Op::Add(path, watcher, registration) => {
                    let registration = REGISTRATIONS[registration];
                    table.add(PATHS[path], WatcherId(watcher), registration);
                    model.add(PATHS[path], watcher, registration);
                    None
                }
                Op::Remove(path, watcher, kind) => {
                    let removed = table.remove(PATHS[path], WatcherId(watcher), KINDS[kind]);
                    prop_assert_eq!(removed, model.remove(PATHS[path], watcher, KINDS[kind]));
                    None
                }
                Op::Drop(watcher) => {
                    table.drop_watcher(WatcherId(watcher));
                    model.drop_watcher(watcher);
                    None
                }
                Op::Created(path) => Some(created(PATHS[path])),
                Op::Deleted(path) => Some(deleted(PATHS[path])),
                Op::DataChanged(path) => Some(data_changed(PATHS[path])),
            };
            if let Some(event) = event {
                let mut told = Vec::new();
                table.trigger(&event, &mut |notice| {
                    told.push((notice.watcher.0, notice.kind, notice.path.to_owned()));
                });
                prop_assert_eq!(per_watcher(told), per_watcher(model.trigger(&event)));
            }
            compare(&table, &model);
            both_halves_agree(&table);
        }
    }
}
