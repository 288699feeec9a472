//! Damage to the files, and readers beside the one that applies.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::thread;
use std::time::Duration;

use super::*;
use crate::state::{Missing, Peek};

/// As much as there is.
const MAX: usize = usize::MAX;

/// The segment that is written to.
fn newest_segment(disk: &RocksDisk) -> PathBuf {
    let files = fs::read_dir(disk.path("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|ext| ext == "segment"))
        .filter(|path| end_of(path) > 4096)
        .max()
        .unwrap()
}

/// Behind the last byte of the log in a segment that was not used before.
fn end_of(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1
}

/// Takes the last `by` bytes of what was written away, as if they had not reached the disk.
fn cut(path: &Path, by: u64) {
    let end = end_of(path);
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(end - by)).unwrap();
    file.write_all(&vec![0; usize::try_from(by).unwrap()])
        .unwrap();
}

fn flip(path: &Path, at: u64) {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte[0] ^ 0x10]).unwrap();
}

fn last_index(log: &dyn Log) -> u64 {
    log.ends().last.map_or(0, |last| last.index)
}

#[test]
fn a_half_written_tail_is_dropped() {
    let disk = RocksDisk::new();
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..10));
    let copy = disk.copy();
    append(&*doors.log, entries(1, 10..11));
    let longer = disk.copy();
    // The write of entry 10 was not acknowledged to anybody in the first copy.
    fs::copy(newest_segment(&longer), newest_segment(&copy)).unwrap();
    cut(&newest_segment(&copy), 3);
    assert_eq!(last_index(&*copy.open().log), 9);
}

#[test]
fn a_log_that_lost_what_it_acknowledged_is_refused() {
    let disk = RocksDisk::new();
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..10));
    append(&*doors.log, entries(1, 10..11));
    let copy = disk.copy();
    cut(&newest_segment(&copy), 3);
    let refused = copy.try_open().unwrap_err();
    assert!(matches!(refused, StorageError::Lost { .. }), "{refused}");
    assert!(refused.to_string().contains(".segment"), "{refused}");
}

#[test]
fn flipped_bits_in_the_log_are_never_served() {
    let disk = RocksDisk::new();
    let doors = disk.open();
    for index in 0..200 {
        append(&*doors.log, vec![entry(1, index)]);
    }
    let path = newest_segment(&disk);
    let written = 4096..end_of(&path);
    let step = usize::try_from((written.end - written.start) / 40).unwrap();
    for at in (0..44).step_by(5).chain(written.step_by(step)) {
        let copy = disk.copy();
        let path = newest_segment(&copy);
        flip(&path, at);
        let refused = copy.try_open().unwrap_err().to_string();
        assert!(
            refused.contains(&path.display().to_string()),
            "byte {at}: {refused}"
        );
    }
}

#[test]
fn flipped_bits_in_the_tree_are_never_served() {
    let disk = RocksDisk::new();
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..10));
    let changes = (0..200).map(|index| came(&format!("/n{index}"), &node(index, "some data")));
    apply(
        &*doors.tree,
        1,
        changes.chain([came("/", &parent(200))]).collect(),
    );
    doors.snapshots.take().unwrap();
    drop(doors);
    let tables: Vec<_> = fs::read_dir(disk.path("tree"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "sst"))
        .collect();
    for table in tables {
        let length = fs::metadata(&table).unwrap().len();
        for at in (0..length).step_by(usize::try_from(length / 12).unwrap()) {
            let copy = disk.copy();
            flip(&copy.path("tree").join(table.file_name().unwrap()), at);
            let Ok(stores) = copy.try_open() else {
                continue;
            };
            for index in 0..200 {
                let Ok(found) = stores.tree().load(&format!("/n{index}")) else {
                    break;
                };
                assert_eq!(found, Some(node(index, "some data")), "byte {at}");
            }
            let mut count = 0;
            let walked = stores.tree().view().walk("/", &mut |_, _| {
                count += 1;
                true
            });
            assert!(walked.is_err() || count == 201, "byte {at}: {count}");
        }
    }
}

#[test]
fn entries_behind_a_purge_and_a_flush_stay() {
    let disk = RocksDisk::new();
    let doors = disk.open();
    let large = |index| LogEntry {
        position: at(1, index),
        payload: Bytes::from(vec![u8::try_from(index % 251).unwrap(); 50_000]),
    };
    for index in 0..200 {
        append(&*doors.log, vec![large(index)]);
        if index % 40 == 39 {
            apply(&*doors.tree, index, vec![]);
            let taken = doors.snapshots.take().unwrap();
            assert_eq!(taken.meta.applied, Some(at(1, index)));
            doors.log.purge(at(1, index - 10)).unwrap();
            let stored = doors.log.entries(0..u64::MAX, usize::MAX).unwrap();
            assert_eq!(stored, (index - 9..=index).map(large).collect::<Vec<_>>());
            let found = disk.copy().open();
            assert_eq!(found.log.ends(), doors.log.ends());
            assert_eq!(found.log.entries(0..u64::MAX, usize::MAX).unwrap(), stored);
        }
    }
    let left: u64 = fs::read_dir(disk.path("log"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(left < 5 << 20, "{left} bytes for 0.5 MB of entries");
}

#[test]
fn leftovers_of_checkpoints_are_removed() {
    let disk = RocksDisk::new();
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..10));
    apply(&*doors.tree, 1, vec![came("/", &parent(0))]);
    let taken = doors.snapshots.take().unwrap();
    drop(doors);
    fs::create_dir(disk.path("snapshots/building-1")).unwrap();
    let broken = disk.path("snapshots/0000000000000009-0000000000000009-0000000000000009");
    fs::create_dir(&broken).unwrap();
    let doors = disk.open();
    assert_eq!(doors.snapshots.newest().unwrap(), Some(taken));
    assert!(!broken.exists() && !disk.path("snapshots/building-1").exists());
}

#[test]
fn a_checkpoint_within_an_entry_waits_for_its_end() {
    let disk = RocksDisk::new();
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..10));
    apply(&*doors.tree, 1, vec![came("/", &parent(0))]);
    let first = txn(2, vec![came("/a", &node(1, "")), set("/", &parent(1))]);
    let second = txn(3, vec![came("/b", &node(2, "")), set("/", &parent(2))]);
    let mut entry = doors.tree.entry();
    entry.install(&first);
    entry.stage(&[first]).unwrap();
    thread::scope(|scope| {
        let taking = scope.spawn(|| doors.snapshots.take().unwrap());
        thread::sleep(Duration::from_millis(50));
        assert!(!taking.is_finished());
        entry.install(&second);
        persist(entry, &[second], &meta(3));
        assert_eq!(taking.join().unwrap().meta, meta(3));
    });
    // What the process would leave if it ended now.
    let tree = disk.copy().open().tree;
    assert_eq!(tree.restore().unwrap().meta, meta(3));
    assert_eq!(tree.load("/").unwrap(), Some(parent(2)));
    assert_eq!(tree.load("/a").unwrap(), Some(node(1, "")));
    assert_eq!(tree.load("/b").unwrap(), Some(node(2, "")));
}

/// It would otherwise wait for what never comes, and then say that all is well.
#[test]
fn a_checkpoint_within_an_entry_that_is_given_up_fails() {
    let disk = RocksDisk::new();
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..10));
    apply(&*doors.tree, 1, vec![came("/", &parent(0))]);
    let entry = doors.tree.entry();
    thread::scope(|scope| {
        let taking = scope.spawn(|| doors.snapshots.take());
        drop(entry);
        let refused = taking.join().unwrap().unwrap_err();
        assert!(matches!(refused, StorageError::Failed { .. }), "{refused}");
    });
    assert_eq!(
        disk.copy().open().tree.restore().unwrap().meta,
        Meta::default()
    );
}

#[test]
fn the_memory_log_loses_only_what_was_pending() {
    let log = MemoryLog::new();
    append(&log, entries(1, 0..5));
    log.hold();
    for index in 5..10 {
        log.append(vec![entry(1, index)], Box::new(|_| panic!("never durable")));
    }
    assert_eq!(log.pending(), 5);
    assert_eq!(last_index(&log), 9);
    let survivor = log.crash(2);
    assert_eq!(last_index(&survivor), 6);
    assert_eq!(last_index(&survivor.crash(0)), 6);
}

/// Readers and the applier as the state runs them: what memory answers under the lock is what was
/// installed last, whatever is evicted and read back meanwhile.
#[test]
fn reads_never_bring_back_an_old_value() {
    let disk = RocksDisk::new();
    let tree = disk.open().tree;
    let versions = parking_lot::RwLock::new(vec![0_i32; 64]);
    let data = "x".repeat(60_000);
    let path = |index: usize| format!("/p/n{index}");
    let all: Vec<_> = (0..64)
        .map(|index| came(&path(index), &node(0, &data)))
        .collect();
    apply(&*tree, 1, all);
    apply(
        &*tree,
        2,
        vec![came("/", &parent(1)), came("/p", &parent(64))],
    );
    thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|reader: u64| {
                let (tree, versions) = (&tree, &versions);
                scope.spawn(move || {
                    for step in 0..2000_u64 {
                        let index = usize::try_from((step * 7 + reader * 13) % 64).unwrap();
                        read_both(&**tree, versions, index, &path(index));
                    }
                })
            })
            .collect();
        let mut index = 3;
        while readers.iter().any(|reader| !reader.is_finished()) {
            let which = usize::try_from(index * 5 % 64).unwrap();
            let version = versions.read()[which] + 1;
            // Negative versions stand for "deleted".
            let deleted = version % 3 == 0;
            let was_deleted = version % 3 == 1 && version > 1;
            let after = (!deleted).then(|| node(version, &data));
            let listed = deleted || was_deleted;
            let path = path(which).as_str().into();
            let mut changes = vec![Change::Znode {
                path,
                after,
                listed,
            }];
            let gone = |version: &i32| *version > 0 && *version % 3 == 0;
            {
                let mut guard = versions.write();
                guard[which] = version;
                let left = guard.iter().filter(|version| !gone(version)).count();
                changes.push(set("/p", &parent(u32::try_from(left).unwrap())));
                let done = txn(index, changes);
                let mut entry = tree.entry();
                entry.install(&done);
                drop(guard);
                persist(entry, &[done], &meta(index.cast_unsigned()));
            }
            index += 1;
        }
    });
}

/// What has been loaded is there when it is looked at again, whatever came meanwhile.
fn read_both(tree: &dyn Store, versions: &parking_lot::RwLock<Vec<i32>>, index: usize, path: &str) {
    let mut pins = None;
    loop {
        let guard = versions.read();
        let version = guard[index];
        let deleted = version > 0 && version % 3 == 0;
        match tree.peek(path) {
            Peek::Known(found) => {
                let found = found.map(|node| node.version);
                assert_eq!(found, (!deleted).then_some(version), "{path}");
                break;
            }
            Peek::NotInMemory => {
                drop(guard);
                assert!(pins.is_none(), "{path} is loaded in vain");
                pins = Some(tree.warm(&[Missing::Znode(path.into())], MAX).unwrap());
            }
        }
    }
    drop(pins);
    if !index.is_multiple_of(8) {
        return;
    }
    let mut pins = None;
    loop {
        let guard = versions.read();
        let expected = guard
            .iter()
            .filter(|&&version| version == 0 || version % 3 != 0)
            .count();
        let mut names = Vec::new();
        match tree.peek_children("/p", &mut |name| names.push(name.to_owned())) {
            Peek::Known(()) => {
                assert_eq!(names.len(), expected);
                break;
            }
            Peek::NotInMemory => {
                drop(guard);
                assert!(pins.is_none(), "the names are loaded in vain");
                pins = Some(tree.warm(&[Missing::Children("/p".into())], MAX).unwrap());
            }
        }
    }
    drop(pins);
}

#[test]
fn a_hundred_thousand_children_can_be_listed_in_little_memory() {
    let disk = RocksDisk::new();
    let tree = disk.open().tree;
    let count = 100_000;
    let changes = (0..count).map(|index| came(&format!("/p/n{index:06}"), &node(0, "")));
    apply(&*tree, 1, changes.collect());
    apply(
        &*tree,
        2,
        vec![came("/", &parent(1)), came("/p", &parent(count))],
    );
    for round in 0..3 {
        let mut names = 0;
        let warmed = tree.warm(&[Missing::Children("/p".into())], MAX).unwrap();
        let peeked = tree.peek_children("/p", &mut |_| names += 1);
        assert_eq!((peeked, warmed.done), (Peek::Known(()), 1));
        assert_eq!(names, count + round);
        let added = came(&format!("/p/later{round}"), &node(0, ""));
        apply(
            &*tree,
            3 + u64::from(round),
            vec![added, set("/p", &parent(count + round + 1))],
        );
    }
}
