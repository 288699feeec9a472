//! What is refused at the door.

use std::fs;
use std::time::Duration;

use rocksdb::{DB, Options};

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

fn set_format_of_tree(disk: &RocksDisk, number: u32) {
    let path = disk.path("tree");
    let families = DB::list_cf(&Options::default(), &path).unwrap();
    let db = DB::open_cf(&Options::default(), &path, families).unwrap();
    let meta = db.cf_handle("meta").unwrap();
    db.put_cf(meta, "format", u64::from(number).to_be_bytes())
        .unwrap();
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
        set(&disk, 1);
        let refused = disk.try_open().unwrap_err();
        assert!(
            matches!(&refused, StorageError::OlderFormat { path, found: 1, .. } if path.starts_with(disk.path(below))),
            "{refused}"
        );
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
    fs::remove_dir_all(disk.path("log")).unwrap();
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..10));
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
