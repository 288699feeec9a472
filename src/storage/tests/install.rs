//! A checkpoint of another server comes in the place of the tree, and a start finds one or the other.

use std::fs;

use super::store_suite::{list, look};
use super::*;
use crate::state::Peek;
use crate::storage::install::{prepare, put_in_place};
use crate::storage::ours::identify;
use crate::storage::tree::db::Database;
use crate::storage::tree::options::{self, Split};

/// Where a checkpoint is received.
const RECEIVED: &str = "received";

/// A checkpoint as another server has taken it at this position, with `data` in `/a`.
fn receive(disk: &RocksDisk, position: LogPosition, data: &str) -> PathBuf {
    let other = RocksDisk::new();
    let doors = other.open();
    let changes = vec![came("/", &parent(1)), came("/a", &node(0, data))];
    let done = txn(1, changes);
    let mut entry = doors.tree.entry();
    entry.install(&done);
    let meta = Meta {
        applied: Some(position),
        ..meta(position.index)
    };
    persist(entry, &[done], &meta);
    let to = disk.path(RECEIVED);
    copy_all(&doors.snapshots.take().unwrap().dir, &to);
    to
}

/// A server whose tree holds `/b`, and whose log goes from 0 to `last` in term 1.
fn server(disk: &RocksDisk, last: u64) -> (Doors, Stores) {
    let mut doors = disk.open();
    append(&*doors.log, entries(1, 0..last + 1));
    let changes = vec![came("/", &parent(1)), came("/b", &node(0, "mine"))];
    apply(&*doors.tree, 1, changes);
    let stores = doors.stores.take().unwrap();
    (doors, stores)
}

fn is_open(dir: &Path) -> bool {
    let (options, families) = options::checkpoint();
    Database::open(dir, &options, families).is_err()
}

/// The database of the tree before is open as long as somebody reads it, and its files are there.
#[test]
fn the_tree_before_ends_with_its_last_reader() {
    let disk = RocksDisk::new();
    let (doors, stores) = server(&disk, 99);
    let received = receive(&disk, at(1, 50), "theirs");
    let Doors { tree, .. } = doors;
    let view = tree.view();
    let installed = stores.install(&received).unwrap();
    assert_eq!(installed.restore().unwrap().meta, meta(50));
    assert_eq!(installed.peek("/b"), Peek::NotInMemory);
    assert_eq!(list(&*installed, "/"), ["a"]);
    assert_eq!(look(&*installed, "/a"), Some(node(0, "theirs")));
    assert_eq!(look(&*tree, "/b"), Some(node(0, "mine")));
    drop(tree);
    let mut seen = Vec::new();
    let visit = &mut |path: &str, _: &Znode| {
        seen.push(path.to_owned());
        true
    };
    view.walk("/", visit).unwrap();
    assert_eq!(seen, ["/", "/b"]);
    assert!(is_open(&disk.path("tree")));
    drop(view);
    assert!(!disk.path("tree").exists() && !received.exists());
    assert_eq!(look(&*installed, "/a"), Some(node(0, "theirs")));
}

#[test]
fn checkpoints_are_of_the_tree_that_was_installed() {
    let disk = RocksDisk::new();
    let (doors, stores) = server(&disk, 99);
    doors.snapshots.take().unwrap();
    let received = receive(&disk, at(1, 50), "theirs");
    let installed = stores.install(&received).unwrap();
    let changes = vec![came("/next", &node(1, "")), set("/", &parent(2))];
    apply(&*installed, 51, changes);
    assert_eq!(doors.snapshots.take().unwrap().meta, meta(51));
    drop((doors, stores, installed));
    let doors = disk.open();
    assert_eq!(doors.tree.restore().unwrap().meta, meta(51));
    assert_eq!(list(&*doors.tree, "/"), ["a", "next"]);
    // The log held the entry of the snapshot: what is behind it stays.
    let ends = doors.log.ends();
    assert_eq!((ends.purged, ends.last), (Some(at(1, 50)), Some(at(1, 99))));
}

#[test]
fn what_is_no_tree_is_not_installed() {
    let disk = RocksDisk::new();
    let (doors, stores) = server(&disk, 9);
    let dir = tempfile::tempdir().unwrap();
    let empty = RocksDisk::new();
    drop(empty.open());
    for wrong in [
        dir.path().to_owned(),
        dir.path().join("missing"),
        empty.path("tree"),
    ] {
        let refused = stores.install(&wrong).unwrap_err();
        assert!(matches!(refused, StorageError::Lost { .. }), "{refused}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    assert_eq!(look(&*stores.tree(), "/b"), Some(node(0, "mine")));
    assert_eq!(doors.snapshots.take().unwrap().meta, meta(1));
}

/// What a start finds if the process ends at this moment.
fn started(disk: &RocksDisk, change: impl FnOnce(&RocksDisk)) -> (RocksDisk, Doors) {
    let copy = disk.copy();
    change(&copy);
    let doors = copy.open();
    (copy, doors)
}

fn is_old(disk: &RocksDisk) {
    let (copy, doors) = started(disk, |_| ());
    assert_eq!(doors.tree.restore().unwrap().meta, meta(1));
    assert_eq!(list(&*doors.tree, "/"), ["b"]);
    assert_eq!(doors.log.ends().last.unwrap().term, 1);
    assert!(copy.path(RECEIVED).exists());
}

/// The tree is the one that was received, the log goes on behind it, and so it stays.
fn is_new(disk: &RocksDisk, change: impl FnOnce(&RocksDisk)) {
    let (copy, doors) = started(disk, change);
    let applied = |doors: &Doors| doors.tree.restore().unwrap().meta.applied;
    assert_eq!(applied(&doors), Some(at(2, 50)));
    assert_eq!(list(&*doors.tree, "/"), ["a"]);
    let ends = doors.log.ends();
    assert_eq!((ends.purged, ends.last), (Some(at(2, 50)), Some(at(2, 50))));
    assert!(!copy.path("tree").exists() && !copy.path(RECEIVED).exists());
    append(&*doors.log, entries(2, 51..60));
    drop(doors);
    let doors = copy.open();
    assert_eq!(applied(&doors), Some(at(2, 50)));
    assert_eq!(doors.log.ends().last, Some(at(2, 59)));
}

/// Of a log that ends before the snapshot, and of one that holds other entries at its place.
#[test]
fn a_server_killed_at_any_step_of_an_install_starts_with_one_tree_or_the_other() {
    for last in [10, 99] {
        let disk = RocksDisk::new();
        let (doors, stores) = server(&disk, last);
        doors.snapshots.take().unwrap();
        let received = receive(&disk, at(2, 50), "theirs");
        is_old(&disk);
        let live = stores.inner.live.current();
        let id = identify(live.db()).unwrap();
        for _ in 0..2 {
            prepare(&received, id, Split::of(&disk.config)).unwrap();
            is_old(&disk);
        }
        let place = disk.path("tree-0000000000000001");
        put_in_place(&received, &place).unwrap();
        is_new(&disk, |_| ());
        // The old one's files on their way out, by its last reader or by a start.
        is_new(&disk, |copy| {
            fs::remove_file(copy.path("tree/CURRENT")).unwrap();
        });
        is_new(&disk, |copy| {
            fs::remove_dir_all(copy.path("tree")).unwrap();
            fs::create_dir(copy.path("tree")).unwrap();
        });
        doors.log.truncate_after(None).unwrap();
        is_new(&disk, |_| ());
        doors.log.purge(at(2, 50)).unwrap();
        is_new(&disk, |_| ());
    }
}

#[test]
fn one_tree_after_another_is_installed_while_it_runs() {
    let disk = RocksDisk::new();
    let (doors, stores) = server(&disk, 99);
    for index in [50, 60, 70] {
        let received = receive(&disk, at(2, index), &format!("{index}"));
        stores.install(&received).unwrap();
        let (_copy, started) = started(&disk, |_| ());
        assert_eq!(
            started.tree.restore().unwrap().meta.applied,
            Some(at(2, index))
        );
    }
    drop((doors, stores));
    let doors = disk.open();
    assert_eq!(look(&*doors.tree, "/a"), Some(node(0, "70")));
    let trees = fs::read_dir(disk.path("")).unwrap();
    let names = trees.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let trees: Vec<_> = names.filter(|name| name.starts_with("tree")).collect();
    assert_eq!(trees, ["tree-0000000000000003"]);
}

/// It is this server's tree, and not one to be done without.
#[test]
fn a_damaged_or_misplaced_tree_is_not_replaced_by_an_older_one() {
    let disk = RocksDisk::new();
    let (doors, stores) = server(&disk, 99);
    let _held = Arc::clone(&doors.tree);
    let received = receive(&disk, at(2, 50), "theirs");
    stores.install(&received).unwrap();
    let copy = disk.copy();
    assert!(copy.path("tree").exists());
    fs::remove_file(copy.path("tree-0000000000000001/CURRENT")).unwrap();
    let refused = copy.try_open().unwrap_err();
    assert!(matches!(refused, StorageError::Lost { .. }), "{refused}");
    assert!(copy.path("tree").exists());
    let copy = disk.copy();
    fs::remove_dir_all(copy.path("tree")).unwrap();
    let wrong = Config {
        data_dir: copy.dir.path().join("other"),
        ..copy.config.clone()
    };
    let refused = super::super::open(&wrong).unwrap_err();
    assert!(
        matches!(refused, StorageError::Misplaced { .. }),
        "{refused}"
    );
}
