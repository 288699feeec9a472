//! What is refused at the door.

use std::fs;
use std::time::Duration;

use rocksdb::{ColumnFamily, DB, Options};

use super::*;
use crate::storage::Format;

#[test]
fn zookeepers_data_is_not_overlooked() {
    for (name, refused) in [
        ("snapshot.0", true),
        ("log.1", true),
        ("acceptedEpoch", false),
    ] {
        let disk = RocksDisk::new();
        let dir = disk.dir.path().join("data/version-2");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(name), "x").unwrap();
        let opened = disk.try_open();
        assert_eq!(
            matches!(opened, Err(StorageError::ForeignData { .. })),
            refused,
            "{name}"
        );
        assert_eq!(opened.is_ok(), !refused, "{name}");
    }
}

#[test]
fn a_directory_in_use_is_refused() {
    let disk = RocksDisk::new();
    let _open = disk.open();
    let refused = disk.try_open().unwrap_err();
    assert!(matches!(refused, StorageError::InUse { .. }), "{refused}");
}

fn change_meta(disk: &RocksDisk, change: impl FnOnce(&DB, &ColumnFamily)) {
    let path = disk.path("tree");
    let families = DB::list_cf(&Options::default(), &path).unwrap();
    let db = DB::open_cf(&Options::default(), &path, families).unwrap();
    change(&db, db.cf_handle("meta").unwrap());
}

fn set_format_of_tree(disk: &RocksDisk, number: u32) {
    let number = u64::from(number).to_be_bytes();
    change_meta(disk, |db, meta| db.put_cf(meta, "format", number).unwrap());
}

/// Bytes 8 to 12 of a segment are its format, 40 to 44 the checksum of its header.
fn set_format_of_log(disk: &RocksDisk, number: u32) {
    let path = disk.path("log").join("0000000000000001.segment");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8..12].copy_from_slice(&number.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..40]);
    bytes[40..44].copy_from_slice(&crc.to_le_bytes());
    fs::write(path, bytes).unwrap();
}

/// I9: a newer program's data is told from damage, and neither is touched.
#[test]
fn other_formats_are_refused() {
    for (below, set) in [
        ("tree", set_format_of_tree as fn(&RocksDisk, u32)),
        ("log", set_format_of_log),
    ] {
        let disk = RocksDisk::new();
        drop(disk.open());
        let newest = Format::NEWEST.number();
        set(&disk, newest + 1);
        let refused = disk.try_open().unwrap_err();
        let StorageError::NewerFormat { path, found, known } = &refused else {
            panic!("{refused}");
        };
        assert!(path.starts_with(disk.path(below)));
        assert_eq!((*found, *known), (newest + 1, newest));
        for older in 1..newest {
            set(&disk, older);
            let refused = disk.try_open().unwrap_err();
            let StorageError::OlderFormat { path, found, .. } = &refused else {
                panic!("{refused}");
            };
            assert!(path.starts_with(disk.path(below)));
            assert_eq!(*found, older);
        }
    }
}

#[test]
fn half_of_a_store_is_refused() {
    let disk = RocksDisk::new();
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..10));
    apply(&*doors.tree, 5, vec![came("/", &parent(0))]);
    drop(doors);
    for below in ["tree", "log"] {
        let copy = disk.copy();
        fs::remove_dir_all(copy.path(below)).unwrap();
        let refused = copy.try_open().unwrap_err();
        assert!(
            matches!(refused, StorageError::Lost { .. }),
            "{below}: {refused}"
        );
    }
    // A log of another store.
    let other = RocksDisk::new();
    let doors = other.open();
    append(&*doors.log, entries(1, 0..10));
    drop(doors);
    fs::remove_dir_all(disk.path("log")).unwrap();
    copy_all(&other.path("log"), &disk.path("log"));
    let refused = disk.try_open().unwrap_err();
    assert!(matches!(refused, StorageError::Lost { .. }), "{refused}");
}

#[test]
fn a_creation_that_was_cut_short_is_finished() {
    let disk = RocksDisk::new();
    drop(disk.open());
    // The tree has been made, the log not yet.
    fs::remove_dir_all(disk.path("log")).unwrap();
    change_meta(&disk, |db, meta| db.delete_cf(meta, "log begun").unwrap());
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..10));
}

/// Entries were acknowledged, and the tree has none of them yet.
#[test]
fn a_log_that_vanished_before_the_tree_held_anything_is_missed() {
    let disk = RocksDisk::new();
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..10));
    drop(doors);
    fs::remove_dir_all(disk.path("log")).unwrap();
    let refused = disk.try_open().unwrap_err();
    names_both(&refused, &disk.path("log"), &disk.path("tree"));
}

fn names_both(refused: &StorageError, one: &Path, other: &Path) {
    let words = refused.to_string();
    for path in [one, other] {
        assert!(words.contains(&path.display().to_string()), "{words}");
    }
}

/// A store whose log has a directory of its own, with entries that the tree may hold.
fn apart(applied: bool) -> RocksDisk {
    let mut disk = RocksDisk::new();
    disk.config.log_dir = disk.dir.path().join("logs");
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..10));
    if applied {
        apply(&*doors.tree, 5, vec![came("/", &parent(0))]);
    }
    drop(doors);
    disk
}

#[test]
fn swapped_directories_are_refused() {
    for applied in [false, true] {
        let mut disk = apart(applied);
        let (data, logs) = (disk.config.data_dir.clone(), disk.config.log_dir.clone());
        disk.config.data_dir.clone_from(&logs);
        disk.config.log_dir.clone_from(&data);
        let refused = disk.try_open().unwrap_err();
        assert!(
            matches!(refused, StorageError::Misplaced { .. }),
            "{refused}"
        );
        names_both(&refused, &logs.join("oxkeeper/log"), &data.join("oxkeeper"));
        // Nothing has been made there.
        assert!(!logs.join("oxkeeper/tree").exists() && !data.join("oxkeeper/log").exists());
    }
}

#[test]
fn a_directory_that_was_changed_is_refused() {
    for applied in [false, true] {
        let disk = apart(applied);
        let (data, logs) = (disk.config.data_dir.clone(), disk.config.log_dir.clone());
        let new = disk.dir.path().join("new");
        let with = |data_dir: &Path, log_dir: &Path| {
            let config = Config {
                data_dir: data_dir.to_owned(),
                log_dir: log_dir.to_owned(),
                ..disk.config.clone()
            };
            super::super::open(&config).unwrap_err()
        };
        let (tree, log) = ("oxkeeper/tree", "oxkeeper/log");
        // No dataLogDir any more, or another one.
        names_both(&with(&data, &data), &data.join(log), &data.join(tree));
        names_both(&with(&data, &new), &new.join(log), &data.join(tree));
        // Another dataDir, or none of its own.
        names_both(&with(&new, &logs), &new.join(tree), &logs.join(log));
        names_both(&with(&logs, &logs), &logs.join(tree), &logs.join(log));
        // Our own directory, or a part of it.
        let inside = with(&data.join("oxkeeper"), &data.join("oxkeeper"));
        names_both(&inside, &data.join(tree), &data.join("oxkeeper").join(tree));
        let inside = with(&data.join(tree), &new);
        names_both(&inside, &data.join(tree), &data.join(tree).join(tree));
        let inside = with(&new, &logs.join(log));
        names_both(&inside, &logs.join(log), &logs.join(log).join(log));
        assert!(disk.try_open().is_ok());
    }
    // One that has been set for a log that lay in dataDir.
    let mut disk = RocksDisk::new();
    append(&*disk.open().log, entries(1, 0..10));
    let log = disk.path("log");
    disk.config.log_dir = disk.dir.path().join("logs");
    let refused = disk.try_open().unwrap_err();
    names_both(&refused, &log, &disk.config.log_dir.join("oxkeeper/log"));
}

#[test]
fn a_part_in_the_place_of_another_is_refused() {
    let disk = RocksDisk::new();
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..10));
    apply(&*doors.tree, 5, vec![came("/", &parent(0))]);
    doors.snapshots.take().unwrap();
    drop(doors);
    for (from, to) in [("tree", "log"), ("log", "tree"), ("snapshots", "tree")] {
        let copy = disk.copy();
        fs::remove_dir_all(copy.path(to)).unwrap();
        fs::rename(copy.path(from), copy.path(to)).unwrap();
        let refused = copy.try_open().unwrap_err();
        names_both(&refused, &copy.path(to), &copy.path(from));
    }
    // Only checkpoints are left, or tables whose list is missing.
    let copy = disk.copy();
    fs::remove_dir_all(copy.path("log")).unwrap();
    fs::remove_file(copy.path("tree/CURRENT")).unwrap();
    names_both(
        &copy.try_open().unwrap_err(),
        &copy.path("tree"),
        &copy.path("tree"),
    );
    fs::remove_dir_all(copy.path("tree")).unwrap();
    let refused = copy.try_open().unwrap_err();
    names_both(&refused, &copy.path("tree"), &copy.path("snapshots"));
    assert!(!copy.path("tree").exists());
}

/// Links and dots lead to the same place.
#[test]
fn two_names_of_one_directory_are_one() {
    let mut disk = RocksDisk::new();
    append(&*disk.open().log, entries(1, 0..10));
    let link = disk.dir.path().join("link");
    std::os::unix::fs::symlink(&disk.config.data_dir, &link).unwrap();
    for name in [link, disk.dir.path().join("./data/../data")] {
        disk.config.log_dir = name;
        let last = disk.open().log.ends().last;
        assert_eq!(last, Some(at(1, 9)));
    }
}

#[test]
fn positions_that_do_not_fit_are_refused() {
    let disk = RocksDisk::new();
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..10));
    let early = disk.copy();
    apply(&*doors.tree, 20, vec![came("/", &parent(0))]);
    drop(doors);
    let refused = disk.try_open().unwrap_err();
    assert!(
        matches!(&refused, StorageError::Lost { path, .. } if path.ends_with("log")),
        "{refused}"
    );
    let doors = early.open();
    doors.log.purge(at(1, 4)).unwrap();
    drop(doors);
    let refused = early.try_open().unwrap_err();
    assert!(
        matches!(&refused, StorageError::Lost { path, .. } if path.ends_with("tree")),
        "{refused}"
    );
}

#[test]
fn directories_are_made_only_if_wanted() {
    let mut disk = RocksDisk::new();
    disk.config.create_dirs = false;
    assert!(matches!(disk.try_open(), Err(StorageError::Io { .. })));
    // What is merely there may be the mount point of a disk that is not.
    fs::create_dir(&disk.config.data_dir).unwrap();
    assert!(matches!(disk.try_open(), Err(StorageError::Io { .. })));
    let made = disk.config.data_dir.join("version-2");
    fs::create_dir(&made).unwrap();
    assert!(disk.try_open().is_ok());
    fs::remove_dir(&made).unwrap();
    assert!(disk.try_open().is_ok());
}

#[test]
fn an_empty_server_begins_only_if_it_may() {
    let mut disk = RocksDisk::new();
    disk.config.create_db = false;
    let refused = disk.try_open().unwrap_err();
    assert!(
        matches!(&refused, StorageError::Io { path, .. } if path.ends_with("initialize")),
        "{refused}"
    );
    fs::create_dir_all(&disk.config.log_dir).unwrap();
    let permission = disk.config.log_dir.join("initialize");
    fs::write(&permission, "").unwrap();
    drop(disk.open());
    assert!(!permission.exists(), "it is good for one start");
    // With data there is nothing to ask for.
    drop(disk.open());
    fs::remove_dir_all(disk.dir.path()).unwrap();
    assert!(disk.try_open().is_err());
}

#[test]
fn figures_are_told() {
    let disk = RocksDisk::new();
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..10));
    apply(&*doors.tree, 1, vec![came("/", &parent(0))]);
    let stats = doors.stores.as_ref().unwrap().stats();
    assert_eq!(stats.syncs, 1);
    assert_eq!(stats.grouped_writes, 1);
    assert_eq!(stats.cache_entries, 1);
    assert!(stats.appended_bytes > 0 && stats.cache_bytes > 0 && stats.log_tail_bytes > 0);
    assert!(stats.log_dir_bytes > 0);
    // The next segments are being filled, also between the two sums.
    let is_larger = (0..6000).any(|_| {
        let stats = doors.stores.as_ref().unwrap().stats();
        std::thread::sleep(Duration::from_millis(10));
        stats.data_dir_bytes > stats.log_dir_bytes
    });
    assert!(is_larger, "{stats:?}");
}

/// Others have committed what this disk had not taken yet: its tree may be ahead of its log, if there
/// are any (DESIGN 3.4).
#[test]
fn a_tree_ahead_of_its_log_is_damage_only_where_nobody_else_has_the_rest() {
    let disk = RocksDisk::new();
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..4));
    drop(doors);
    let early = disk.copy();
    let doors = disk.open();
    append(&*doors.log, entries(1, 4..10));
    apply(&*doors.tree, 8, vec![came("/", &parent(0))]);
    drop(doors);
    fs::remove_dir_all(disk.path("log")).unwrap();
    copy_all(&early.path("log"), &disk.path("log"));
    let refused = disk.try_open().unwrap_err();
    assert!(matches!(refused, StorageError::Lost { .. }), "{refused}");
    let config = Config {
        has_others: true,
        ..config(disk.dir.path())
    };
    let stores = crate::storage::open(&config).unwrap();
    assert_eq!(stores.log.ends().last, Some(at(1, 3)));
    let applied = stores.tree().restore().unwrap().meta.applied;
    assert_eq!(applied, Some(at(1, 8)));
}

/// Without syncs the power may leave a tree that is ahead of its log, and the next start may be one that
/// syncs. Once they are in step a log that ends early is damage again.
#[test]
fn a_tree_ahead_of_a_log_that_was_not_synced_is_no_damage() {
    let disk = RocksDisk::new();
    let with = |force_sync| Config {
        force_sync,
        ..config(disk.dir.path())
    };
    let write = |config: &Config, indexes: std::ops::Range<u64>, applied: u64| {
        let stores = crate::storage::open(config).unwrap();
        append(&*stores.log, entries(1, indexes));
        if applied > 0 {
            apply(&*stores.tree(), applied, vec![came("/", &parent(0))]);
        }
    };
    write(&with(false), 0..4, 0);
    let early = disk.copy();
    write(&with(false), 4..10, 8);
    fs::remove_dir_all(disk.path("log")).unwrap();
    copy_all(&early.path("log"), &disk.path("log"));
    for _ in 0..2 {
        let stores = crate::storage::open(&with(true)).unwrap();
        assert_eq!(stores.log.ends().last, Some(at(1, 3)));
    }
    write(&with(true), 4..10, 0);
    drop(crate::storage::open(&with(true)).unwrap());
    fs::remove_dir_all(disk.path("log")).unwrap();
    // As it is now, but for its end.
    copy_all(&early.path("log"), &disk.path("log"));
    fs::remove_file(disk.path("log/unsynced")).unwrap();
    let refused = crate::storage::open(&with(true)).unwrap_err();
    assert!(matches!(refused, StorageError::Lost { .. }), "{refused}");
}

/// One bit makes the type of a log that is used again out of a record's: RocksDB never came back from
/// opening it.
#[test]
fn a_manifest_that_rocksdb_does_not_come_back_from_is_refused() {
    let disk = RocksDisk::new();
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..10));
    apply(&*doors.tree, 5, vec![came("/", &parent(0))]);
    drop(doors);
    let current = fs::read_to_string(disk.path("tree/CURRENT")).unwrap();
    let name = format!("tree/{}", current.trim_end());
    let whole = fs::read(disk.path(&name)).unwrap();
    // Where the records begin: there is one block.
    assert!(whole.len() < 32 << 10);
    let mut records = vec![0];
    while let Some(length) = whole
        .get(records[records.len() - 1] + 4..)
        .and_then(<[u8]>::first_chunk)
    {
        let next = records[records.len() - 1] + 7 + usize::from(u16::from_le_bytes(*length));
        records.push(next);
    }
    assert!(records.len() > 3, "{records:?}");
    for at in &records[..records.len() - 1] {
        let copy = disk.copy();
        let mut bytes = whole.clone();
        assert_eq!(bytes[at + 6], 1);
        bytes[at + 6] ^= 4;
        fs::write(copy.path(&name), bytes).unwrap();
        let refused = copy.try_open().unwrap_err();
        let StorageError::Corrupt { path, why, .. } = &refused else {
            panic!("{refused}");
        };
        assert_eq!(*path, copy.path(&name));
        assert!(why.contains(&format!("byte {}:", at + 6)), "{why}");
    }
}
