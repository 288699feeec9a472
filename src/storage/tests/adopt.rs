//! Another database comes in the place of the tree that is served.

use super::store_suite::{list, look};
use super::*;
use crate::state::Peek;

/// A checkpoint as another server has taken it, in a directory of its own.
fn received(index: u64, data: &str) -> (TempDir, PathBuf) {
    let disk = RocksDisk::new();
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..index + 1));
    let changes = vec![came("/", &parent(1)), came("/a", &node(0, data))];
    apply(&*doors.tree, index, changes);
    let taken = doors.snapshots.take().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("received");
    copy_all(&taken.dir, &to);
    (dir, to)
}

/// The database of the tree before is open as long as somebody reads it, and no longer.
#[test]
fn the_tree_before_ends_with_its_last_reader() {
    let disk = RocksDisk::new();
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..100));
    let changes = vec![came("/", &parent(1)), came("/b", &node(0, "mine"))];
    apply(&*doors.tree, 1, changes);
    let (_dir, received) = received(50, "theirs");
    let Doors { tree, stores, .. } = doors;
    let stores = stores.unwrap();
    let view = tree.view();
    let adopted = stores.adopt(&received).unwrap();
    assert_eq!(adopted.restore().unwrap().meta, meta(50));
    assert_eq!(adopted.peek("/b"), Peek::NotInMemory);
    assert_eq!(list(&*adopted, "/"), ["a"]);
    assert_eq!(look(&*adopted, "/a"), Some(node(0, "theirs")));
    assert_eq!(look(&*tree, "/b"), Some(node(0, "mine")));
    drop(tree);
    let mut seen = Vec::new();
    let visit = &mut |path: &str, _: &Znode| {
        seen.push(path.to_owned());
        true
    };
    view.walk("/", visit).unwrap();
    assert_eq!(seen, ["/", "/b"]);
    let is_open = || {
        let (options, families) = super::super::tree::options::checkpoint();
        let path = disk.path("tree");
        super::super::tree::db::Database::open(&path, &options, families).is_err()
    };
    assert!(is_open());
    drop(view);
    assert!(!is_open());
}

/// Checkpoints are of the tree that is live, and it belongs to this server's log from then on.
#[test]
fn checkpoints_are_of_the_tree_that_was_adopted() {
    let disk = RocksDisk::new();
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..100));
    apply(&*doors.tree, 1, vec![came("/", &parent(0))]);
    doors.snapshots.take().unwrap();
    let (_dir, received) = received(50, "theirs");
    let adopted = doors.stores.as_ref().unwrap().adopt(&received).unwrap();
    let changes = vec![came("/next", &node(1, "")), set("/", &parent(2))];
    apply(&*adopted, 51, changes);
    let taken = doors.snapshots.take().unwrap();
    assert_eq!(taken.meta, meta(51));
    drop((doors, adopted));
    // As if it had been put into its place while nothing ran.
    std::fs::remove_dir_all(disk.path("tree")).unwrap();
    std::fs::rename(&received, disk.path("tree")).unwrap();
    let tree = disk.open().tree;
    assert_eq!(tree.restore().unwrap().meta, meta(51));
    assert_eq!(list(&*tree, "/"), ["a", "next"]);
}

#[test]
fn what_is_no_tree_is_not_adopted() {
    let disk = RocksDisk::new();
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..10));
    apply(&*doors.tree, 1, vec![came("/", &parent(0))]);
    let stores = doors.stores.as_ref().unwrap();
    let dir = tempfile::tempdir().unwrap();
    for wrong in [dir.path().to_owned(), dir.path().join("missing")] {
        let refused = stores.adopt(&wrong).unwrap_err();
        assert!(matches!(refused, StorageError::Lost { .. }), "{refused}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    assert_eq!(stores.tree().peek("/"), doors.tree.peek("/"));
    assert_eq!(doors.snapshots.take().unwrap().meta, meta(1));
}
