//! The contract of `state::Store` and of `Snapshots`.

use std::collections::BTreeMap;

use jute::{Acl, Id};

use super::*;
use crate::state::{
    AclId, ClusterId, Cursor, Missing, Origin, Owner, Peek, ServerId, SessionOwner, SessionRecord,
    Warmed,
};

on_both! {
    shows_what_is_installed
    knows_what_does_not_exist
    lists_children_in_step
    answers_for_what_was_evicted
    answers_between_install_and_persist
    a_view_stays_as_it_was
    walks_parents_first
    visits_what_may_be_reaped
    restores_what_was_persisted
    agrees_with_a_naive_tree
    takes_checkpoints
    an_entry_that_was_given_up_is_the_last
    an_entry_is_taken_in_its_order_only
}

/// What the state would see: asks memory, and if need be loads what it misses and asks again.
pub(super) fn look(tree: &dyn Store, path: &str) -> Option<Arc<Znode>> {
    if let Peek::Known(node) = tree.peek(path) {
        return node;
    }
    let warmed = warm(tree, Missing::Znode(path.into()));
    match tree.peek(path) {
        Peek::Known(node) => node,
        Peek::NotInMemory => panic!("{path} is loaded in vain: {warmed:?}"),
    }
}

pub(super) fn list(tree: &dyn Store, path: &str) -> Vec<String> {
    let names = || {
        let mut names = Vec::new();
        let peeked = tree.peek_children(path, &mut |name| names.push(name.to_owned()));
        let bytes = names.iter().map(|name| 4 + name.len()).sum();
        match peeked {
            Peek::Known(()) => assert_eq!(tree.peek_names_bytes(path), Peek::Known(bytes)),
            Peek::NotInMemory => assert_eq!(tree.peek_names_bytes(path), Peek::NotInMemory),
        }
        (peeked, names)
    };
    if let (Peek::Known(()), names) = names() {
        return names;
    }
    let warmed = warm(tree, Missing::Children(path.into()));
    match names() {
        (Peek::Known(()), names) => names,
        (Peek::NotInMemory, _) => panic!("{path} is loaded in vain: {warmed:?}"),
    }
}

/// Loads one part; it stays until the result is dropped.
fn warm(tree: &dyn Store, part: Missing) -> Warmed {
    let warmed = tree.warm(&[part], usize::MAX).unwrap();
    assert_eq!(warmed.done, 1);
    warmed
}

fn walked(tree: &dyn Store, root: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let view = tree.view();
    view.walk(root, &mut |path, _| {
        paths.push(path.to_owned());
        true
    })
    .unwrap();
    paths
}

fn shows_what_is_installed(disk: &dyn Disk) {
    let tree = disk.open().tree;
    let first = txn(1, vec![came("/", &parent(1)), came("/a", &node(0, "x"))]);
    let mut entry = tree.entry();
    entry.install(&first);
    assert_eq!(tree.peek("/a"), Peek::Known(Some(node(0, "x"))));
    let second = txn(2, vec![set("/a", &node(1, "y"))]);
    entry.install(&second);
    assert_eq!(tree.peek("/a"), Peek::Known(Some(node(1, "y"))));
    persist(entry, &[first, second], &meta(2));
    assert_eq!(look(&*tree, "/a"), Some(node(1, "y")));
    assert_eq!(tree.load("/a").unwrap(), Some(node(1, "y")));
    apply(&*tree, 3, vec![gone("/a"), set("/", &parent(0))]);
    assert_eq!(look(&*tree, "/a"), None);
    assert_eq!(tree.load("/a").unwrap(), None);
}

fn knows_what_does_not_exist(disk: &dyn Disk) {
    let tree = disk.open().tree;
    assert_eq!(tree.load("/").unwrap(), None);
    apply(
        &*tree,
        1,
        vec![came("/", &parent(1)), came("/a", &node(0, "x"))],
    );
    assert_eq!(look(&*tree, "/b"), None);
    // A leaf has no children: nobody needs to ask the disk.
    assert_eq!(tree.peek("/a/b"), Peek::Known(None));
    assert_eq!(
        tree.peek_children("/a", &mut |_| panic!("it has none")),
        Peek::Known(())
    );
    // Then it is created.
    apply(
        &*tree,
        2,
        vec![set("/", &parent(2)), came("/b", &node(0, "z"))],
    );
    assert_eq!(look(&*tree, "/b"), Some(node(0, "z")));
}

fn lists_children_in_step(disk: &dyn Disk) {
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..30));
    apply(
        &*doors.tree,
        1,
        vec![came("/", &parent(1)), came("/p", &parent(0))],
    );
    let names = ["b", "a", "a-", "a0", "\u{e4}", "B"];
    for (index, name) in (2..).zip(names) {
        let children = u32::try_from(index - 1).unwrap();
        let change = vec![
            set("/p", &parent(children)),
            came(&format!("/p/{name}"), &node(0, "")),
        ];
        apply(&*doors.tree, index, change);
        // From the first of them on the names are known.
        assert_eq!(
            list(&*doors.tree, "/p").len(),
            usize::try_from(children).unwrap()
        );
    }
    let expected = ["B", "a", "a-", "a0", "b", "\u{e4}"];
    assert_eq!(list(&*doors.tree, "/p"), expected);
    assert_eq!(list(&*doors.tree, "/"), ["p"]);
    apply(&*doors.tree, 20, vec![gone("/p/a0"), set("/p", &parent(5))]);
    assert_eq!(list(&*doors.tree, "/p"), ["B", "a", "a-", "b", "\u{e4}"]);
    drop(doors);
    let tree = disk.open().tree;
    // Not persisted yet while it is listed for the first time.
    let change = vec![
        gone("/p/a-"),
        came("/p/c", &node(0, "")),
        set("/p", &parent(5)),
    ];
    let change = txn(21, change);
    let mut entry = tree.entry();
    entry.install(&change);
    assert_eq!(list(&*tree, "/p"), ["B", "a", "b", "c", "\u{e4}"]);
    persist(entry, &[change], &meta(21));
    assert_eq!(list(&*tree, "/p"), ["B", "a", "b", "c", "\u{e4}"]);
}

fn answers_for_what_was_evicted(disk: &dyn Disk) {
    let tree = disk.open().tree;
    apply(&*tree, 1, vec![came("/", &parent(0))]);
    let data = "x".repeat(10_000);
    let count = 1000;
    for index in 2..count {
        let change = came(
            &format!("/n{index}"),
            &node(index.try_into().unwrap(), &data),
        );
        apply(
            &*tree,
            index,
            vec![change, set("/", &parent(u32::try_from(index).unwrap() - 1))],
        );
    }
    for index in 2..count {
        let found = look(&*tree, &format!("/n{index}")).unwrap();
        assert_eq!(found.version, i32::try_from(index).unwrap());
        assert_eq!(found.data_bytes(), data.len());
    }
    assert_eq!(list(&*tree, "/").len(), 998);
    assert_eq!(look(&*tree, "/n1"), None);
}

fn answers_between_install_and_persist(disk: &dyn Disk) {
    let tree = disk.open().tree;
    let data = "x".repeat(100_000);
    let changes = (0..100).map(|index| came(&format!("/n{index}"), &node(index, &data)));
    let large = txn(1, changes.chain([came("/", &parent(100))]).collect());
    let mut entry = tree.entry();
    entry.install(&large);
    for index in 0..100 {
        // Ten MB do not fit into the cache, but memory must answer.
        let found = tree.peek(&format!("/n{index}"));
        assert!(matches!(found, Peek::Known(Some(found)) if found.version == index));
    }
    assert_eq!(list(&*tree, "/").len(), 100);
    persist(entry, &[large], &meta(1));
    assert_eq!(look(&*tree, "/n0").unwrap().version, 0);
}

fn a_view_stays_as_it_was(disk: &dyn Disk) {
    let tree = disk.open().tree;
    apply(
        &*tree,
        1,
        vec![
            came("/", &parent(2)),
            came("/a", &node(0, "")),
            came("/b", &node(0, "")),
        ],
    );
    let second = txn(
        2,
        vec![
            gone("/a"),
            came("/c", &node(7, "")),
            set("/b", &node(1, "new")),
        ],
    );
    let mut entry = tree.entry();
    entry.install(&second);
    let view = tree.view();
    let third = txn(
        3,
        vec![
            gone("/c"),
            set("/b", &node(2, "newer")),
            came("/d", &node(0, "")),
        ],
    );
    entry.install(&third);
    persist(entry, &[second, third], &meta(3));
    let mut seen = Vec::new();
    view.walk("/", &mut |path, node| {
        seen.push((path.to_owned(), node.version));
        true
    })
    .unwrap();
    assert_eq!(
        seen,
        [
            ("/".to_owned(), 0),
            ("/b".to_owned(), 1),
            ("/c".to_owned(), 7)
        ]
    );
    assert_eq!(walked(&*tree, "/"), ["/", "/b", "/d"]);
}

fn walks_parents_first(disk: &dyn Disk) {
    let tree = disk.open().tree;
    let paths = [
        "/", "/a", "/a-", "/a/z", "/b", "/a/z/1", "/a/b", "/a-/c", "/ab",
    ];
    let last = paths.iter().map(|path| came(path, &parent(1)));
    apply(&*tree, 1, last.collect());
    let expected = [
        "/", "/a", "/a-", "/ab", "/b", "/a-/c", "/a/b", "/a/z", "/a/z/1",
    ];
    assert_eq!(walked(&*tree, "/"), expected);
    assert_eq!(walked(&*tree, "/a"), ["/a", "/a/b", "/a/z", "/a/z/1"]);
    assert_eq!(walked(&*tree, "/nothing"), [""; 0]);
    // Everything at one depth deleted, not persisted, and something deeper left out of reach.
    let mut entry = tree.entry();
    entry.install(&txn(2, vec![gone("/a/z/1"), came("/a/z/2", &node(0, ""))]));
    assert_eq!(walked(&*tree, "/a"), ["/a", "/a/b", "/a/z", "/a/z/2"]);
    let mut visited = 0;
    tree.view()
        .walk("/", &mut |_, _| {
            visited += 1;
            visited < 3
        })
        .unwrap();
    assert_eq!(visited, 3);
}

fn visits_what_may_be_reaped(disk: &dyn Disk) {
    let tree = disk.open().tree;
    let container = Arc::new(Znode {
        owner: Owner::CONTAINER,
        ..Znode::default()
    });
    let reap = |path: &str, added| Change::Reap {
        path: path.into(),
        added,
    };
    apply(&*tree, 1, vec![came("/a", &container), reap("/a", true)]);
    apply(&*tree, 2, vec![came("/b", &container), reap("/b", true)]);
    let mut entry = tree.entry();
    entry.install(&txn(
        3,
        vec![
            gone("/a"),
            reap("/a", false),
            came("/c", &container),
            reap("/c", true),
        ],
    ));
    let seen = |after: Option<&str>, count: usize| {
        let mut seen = Vec::new();
        tree.view()
            .reapable(after, &mut |path, node| {
                assert_eq!(node.owner, Owner::CONTAINER);
                seen.push(path.to_owned());
                seen.len() < count
            })
            .unwrap();
        seen
    };
    assert_eq!(seen(None, 9), ["/b", "/c"]);
    for (after, count, expected) in [
        (None, 1, vec!["/b"]),
        (Some("/a"), 9, vec!["/b", "/c"]),
        (Some("/a/z"), 1, vec!["/b"]),
        (Some("/b"), 9, vec!["/c"]),
        (Some("/bb"), 9, vec!["/c"]),
        (Some("/c"), 9, vec![]),
    ] {
        assert_eq!(seen(after, count), expected, "{after:?}");
    }
}

fn full_meta() -> Meta {
    let mut meta = meta(2);
    meta.membership = Some(Bytes::from_static(b"members"));
    meta.cluster = Some(ClusterId([0xc1; 16]));
    meta.timeline.stamp_ms = 1_700_000_000_000;
    meta.acl_next = 3;
    meta.znodes = 5;
    let cursor = Cursor {
        incarnation: 1 << 40,
        sequence: 77,
    };
    meta.cursors.insert(ServerId(1), cursor);
    meta
}

/// A session's record with a value in each field that is not its usual one.
fn odd_session() -> SessionRecord {
    SessionRecord {
        timeout_ms: -7,
        password: [9; 16],
        migrated: true,
        owner: SessionOwner {
            origin: Origin {
                server: ServerId(3),
                incarnation: u64::MAX,
            },
            connection: 4,
        },
    }
}

fn restores_what_was_persisted(disk: &dyn Disk) {
    let doors = disk.open();
    doors.log.append(entries(1, 0..3), Box::new(|_| {}));
    let record = odd_session();
    let id = Id {
        scheme: Some("digest".into()),
        id: None,
    };
    let list: Arc<[Acl]> = [Acl { perms: 31, id }].into();
    let acl = |id, references| Change::Acl {
        id: AclId(id),
        list: Arc::clone(&list),
        references,
    };
    let session = |id, after| Change::Session {
        id: SessionId(id),
        after,
    };
    let ephemeral = |id, path: &str, added| Change::Ephemeral {
        session: SessionId(id),
        path: path.into(),
        added,
    };
    let quota = |path: &str, added| Change::Quota {
        path: path.into(),
        added,
    };
    let changes = vec![
        session(-5, Some(record.clone())),
        session(6, Some(record.clone())),
        ephemeral(-5, "/e", true),
        ephemeral(6, "/f", true),
        acl(1, 1),
        acl(1, 2),
        acl(2, 1),
        quota("/q", true),
        quota("/r", true),
    ];
    let first = txn(1, changes);
    let second = txn(
        2,
        vec![
            session(6, None),
            ephemeral(6, "/f", false),
            acl(2, 0),
            quota("/r", false),
        ],
    );
    let meta = full_meta();
    let mut entry = doors.tree.entry();
    for txn in [&first, &second] {
        entry.install(txn);
    }
    persist(entry, &[first, second], &meta);
    drop(doors);
    let restored = disk.open().tree.restore().unwrap();
    assert_eq!(restored.meta, meta);
    assert_eq!(restored.sessions, [(SessionId(-5), record)]);
    assert_eq!(restored.ephemerals, [(SessionId(-5), "/e".into())]);
    assert_eq!(restored.acls, [(AclId(1), list, 2)]);
    assert_eq!(restored.quotas, ["/q".into()]);
}

/// Small numbers that repeat from the same seed.
pub(super) struct Dice(pub u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A tree as simple as it can be: path to version.
#[derive(Default)]
struct Naive {
    versions: BTreeMap<String, i32>,
}

impl Naive {
    fn children(&self, path: &str) -> Vec<String> {
        let prefix = if path == "/" {
            "/".to_owned()
        } else {
            format!("{path}/")
        };
        let names = self
            .versions
            .keys()
            .filter_map(|path| path.strip_prefix(&prefix));
        let names = names.filter(|name| !name.is_empty() && !name.contains('/'));
        names.map(str::to_owned).collect()
    }

    fn znode(&self, path: &str) -> Option<Arc<Znode>> {
        let children = u32::try_from(self.children(path).len()).unwrap();
        let version = *self.versions.get(path)?;
        let data = Some(vec![b'x'; 20_000].into());
        Some(Arc::new(Znode {
            version,
            children,
            data,
            ..Znode::default()
        }))
    }

    /// Does something to `path` and says what changed.
    fn change(&mut self, path: &str, version: i32, dice: &mut Dice) -> Vec<Change> {
        let (parent, _) = path.rsplit_once('/').unwrap();
        let parent = if parent.is_empty() { "/" } else { parent };
        let existed = self.versions.contains_key(path);
        match dice.roll(4) {
            0 | 1 if !existed && self.versions.contains_key(parent) => {
                self.versions.insert(path.to_owned(), version);
            }
            2 if existed => {
                self.versions.insert(path.to_owned(), version);
            }
            3 if existed && self.children(path).is_empty() => {
                self.versions.remove(path);
            }
            _ => {}
        }
        let exists = self.versions.contains_key(path);
        let listed = existed != exists;
        let mut changes = Vec::new();
        if existed || exists {
            changes.push(Change::Znode {
                path: path.into(),
                after: self.znode(path),
                listed,
            });
        }
        if listed {
            let after = self.znode(parent);
            changes.push(Change::Znode {
                path: parent.into(),
                after,
                listed: false,
            });
        }
        changes
    }
}

fn random_path(dice: &mut Dice) -> String {
    (0..1 + dice.roll(3))
        .map(|_| format!("/n{}", dice.roll(9)))
        .collect()
}

fn agrees_with_a_naive_tree(disk: &dyn Disk) {
    let mut dice = Dice(1);
    let mut naive = Naive::default();
    naive.versions.insert("/".to_owned(), 0);
    let mut doors = disk.open();
    doors.log.append(entries(1, 0..3001), Box::new(|_| {}));
    apply(&*doors.tree, 0, vec![came("/", &naive.znode("/").unwrap())]);
    let mut waiting = Vec::new();
    let mut tree = Arc::clone(&doors.tree);
    let mut entry = tree.entry();
    for step in 1..3000_u64 {
        let path = random_path(&mut dice);
        let changes = naive.change(&path, i32::try_from(step).unwrap(), &mut dice);
        let done = txn(step.cast_signed(), changes);
        entry.install(&done);
        waiting.push(done);
        for path in [random_path(&mut dice), path, "/".to_owned()] {
            let found = look(&*doors.tree, &path);
            assert_eq!(found, naive.znode(&path), "step {step}: {path}");
            assert_eq!(
                list(&*doors.tree, &path),
                naive.children(&path),
                "step {step}: {path}"
            );
        }
        if dice.roll(5) == 0 {
            persist(entry, &waiting, &meta(step));
            waiting.clear();
            if dice.roll(20) == 0 {
                drop((doors, tree));
                doors = disk.open();
                tree = Arc::clone(&doors.tree);
            }
            entry = tree.entry();
        }
        if step % 500 == 0 {
            let mut paths = walked(&*doors.tree, "/");
            paths.sort();
            assert_eq!(paths, naive.versions.keys().cloned().collect::<Vec<_>>());
        }
    }
}

fn takes_checkpoints(disk: &dyn Disk) {
    let doors = disk.open();
    assert_eq!(doors.snapshots.newest().unwrap(), None);
    doors.log.append(entries(1, 0..10), Box::new(|_| {}));
    apply(&*doors.tree, 1, vec![came("/", &parent(0))]);
    let first = doors.snapshots.take().unwrap();
    assert_eq!(first.meta, meta(1));
    apply(
        &*doors.tree,
        2,
        vec![came("/a", &node(0, "")), set("/", &parent(1))],
    );
    let second = doors.snapshots.take().unwrap();
    assert_eq!(second.meta, meta(2));
    assert_eq!(doors.snapshots.newest().unwrap(), Some(second.clone()));
    assert_ne!(first.dir, second.dir);
    // Nothing new.
    assert_eq!(doors.snapshots.take().unwrap(), second);
}

/// I6: what was staged of it is nobody else's, and a later entry may not claim to hold it.
fn an_entry_that_was_given_up_is_the_last(disk: &dyn Disk) {
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..10));
    apply(&*doors.tree, 1, vec![came("/", &parent(0))]);
    doors.snapshots.take().unwrap();
    let half = txn(2, vec![came("/half", &node(0, "")), set("/", &parent(1))]);
    {
        let mut entry = doors.tree.entry();
        entry.install(&half);
        entry.stage(&[half]).unwrap();
    }
    for _ in 0..2 {
        let next = txn(3, vec![came("/next", &node(0, "")), set("/", &parent(2))]);
        let mut entry = doors.tree.entry();
        entry.install(&next);
        entry.stage(&[next]).unwrap_err();
        doors.tree.entry().persist(&meta(3)).unwrap_err();
    }
    drop(doors);
    let tree = disk.open().tree;
    assert_eq!(tree.restore().unwrap().meta, meta(1));
    assert_eq!(walked(&*tree, "/"), ["/"]);
    assert_eq!(tree.load("/").unwrap(), Some(parent(0)));
}

fn an_entry_is_taken_in_its_order_only(disk: &dyn Disk) {
    let refused = |wrong: &dyn Fn(Entry<'_>) -> bool| {
        let tree = disk.open().tree;
        assert!(wrong(tree.entry()));
        // Whatever was done wrong, it is the last that was done.
        tree.entry().persist(&meta(1)).unwrap_err();
        drop(tree);
        assert_eq!(disk.open().tree.restore().unwrap().meta, Meta::default());
    };
    let first = || txn(1, vec![came("/", &parent(0))]);
    refused(&|mut entry| entry.stage(&[first()]).is_err());
    refused(&|mut entry| {
        entry.install(&first());
        entry.persist(&meta(1)).is_err()
    });
    refused(&|mut entry| {
        entry.install(&first());
        entry.stage(&[first(), first()]).is_err()
    });
    // Two at the same time.
    let tree = disk.open().tree;
    let (one, other) = (tree.entry(), tree.entry());
    assert!(other.persist(&meta(1)).is_err() && one.persist(&meta(1)).is_err());
}
