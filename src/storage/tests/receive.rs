//! A checkpoint on its way from one disk to another: read while it is leased, received in pieces,
//! verified, and gone on with after whatever ended an attempt.

use std::fs;

use super::store_suite::{list, look};
use super::*;
use crate::storage::{Checkpoint, ReceiveError, Receiving, SnapshotFile};

/// Bytes that are sent at once.
const PIECE: usize = 700;

/// Another server, which has a checkpoint of `/a` with `data` at this position.
fn other(position: LogPosition, data: &str) -> (RocksDisk, Doors, Checkpoint) {
    let disk = RocksDisk::new();
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..3));
    let changes = vec![came("/", &parent(1)), came("/a", &node(0, data))];
    let done = txn(1, changes);
    let mut entry = doors.tree.entry();
    entry.install(&done);
    let meta = Meta {
        applied: Some(position),
        ..meta(position.index)
    };
    persist(entry, &[done], &meta);
    let taken = doors.snapshots.take().unwrap();
    (disk, doors, taken)
}

/// Sends what is missing in pieces, as many as `pieces` allows; how many there were.
fn send(from: &Checkpoint, to: &mut dyn Receiving, pieces: usize) -> usize {
    let files = from.files().unwrap();
    let mut sent = 0;
    for (number, (file, has)) in files.iter().zip(to.has()).enumerate() {
        let mut offset = has;
        while offset < file.bytes {
            if sent == pieces {
                return sent;
            }
            let bytes = from.read(file, offset, PIECE).unwrap();
            to.write(number, offset, &bytes).unwrap();
            offset += bytes.len() as u64;
            sent += 1;
        }
    }
    sent
}

fn receive(doors: &Doors, from: &Checkpoint) -> Box<dyn Receiving> {
    let files = from.files().unwrap().to_vec();
    doors.snapshots.receive(files).unwrap()
}

fn there(receiving: &dyn Receiving) -> u64 {
    receiving.has().iter().sum()
}

fn is_other(doors: &Doors, data: &str) {
    assert_eq!(list(&*doors.tree, "/"), ["a"]);
    assert_eq!(look(&*doors.tree, "/a"), Some(node(0, data)));
}

#[test]
fn a_checkpoint_is_received_and_becomes_the_tree() {
    let (_other, _doors, taken) = other(at(2, 50), "theirs");
    let disk = RocksDisk::new();
    let doors = disk.open();
    let mut receiving = receive(&doors, &taken);
    assert_eq!(there(&*receiving), 0);
    assert!(send(&taken, &mut *receiving, usize::MAX) > taken.files().unwrap().len());
    let received = receiving.finish().unwrap();
    assert_eq!(received.meta, taken.meta);
    let tree = doors.snapshots.install(received).unwrap();
    assert_eq!(look(&*tree, "/a"), Some(node(0, "theirs")));
    drop((tree, doors));
    let doors = disk.open();
    is_other(&doors, "theirs");
    // The log goes on behind it, and so do checkpoints.
    assert_eq!(doors.log.ends().purged, Some(at(2, 50)));
    assert_eq!(doors.snapshots.take().unwrap().meta, taken.meta);
    assert!(!disk.path("receiving").exists());
}

/// Cut off at each piece, each time by the end of the process or not.
#[test]
fn what_has_come_is_kept_whatever_ends_an_attempt() {
    let (_other, _doors, taken) = other(at(2, 50), &"theirs".repeat(1000));
    let whole: Vec<u64> = taken.files().unwrap().iter().map(|it| it.bytes).collect();
    let all: u64 = whole.iter().sum();
    for restarts in [false, true] {
        let disk = RocksDisk::new();
        let mut doors = disk.open();
        let mut had = 0;
        let mut attempts = 0;
        loop {
            let mut receiving = receive(&doors, &taken);
            let has = receiving.has();
            if restarts {
                // What was not whole is not known any more.
                let is_all = |(has, whole): (&u64, &u64)| *has == 0 || has == whole;
                assert!(has.iter().zip(&whole).all(is_all), "{has:?} of {whole:?}");
            } else {
                assert_eq!(there(&*receiving), had);
            }
            // Enough for one file more, if it is to be whole.
            let largest = whole.iter().max().unwrap().div_ceil(PIECE as u64);
            let pieces = if restarts {
                usize::try_from(largest).unwrap()
            } else {
                3
            };
            let sent = send(&taken, &mut *receiving, pieces);
            attempts += 1;
            had = has.iter().sum::<u64>() + (sent * PIECE) as u64;
            if sent < pieces {
                let received = receiving.finish().unwrap();
                doors.snapshots.install(received).unwrap();
                break;
            }
            drop(receiving);
            had = had.min(there(&*receive(&doors, &taken)));
            if restarts {
                drop(doors);
                doors = disk.open();
            }
        }
        assert!(attempts > 1, "{attempts} for {all} bytes");
        drop(doors);
        is_other(&disk.open(), &"theirs".repeat(1000));
    }
}

#[test]
fn what_is_damaged_on_the_way_or_on_the_disk_does_not_count() {
    let (_other, _doors, taken) = other(at(2, 50), "theirs");
    let disk = RocksDisk::new();
    let doors = disk.open();
    let files = taken.files().unwrap();
    let mut receiving = receive(&doors, &taken);
    let number = files.iter().position(|file| file.bytes > 9).unwrap();
    let file = &files[number];
    let bytes = taken.read(file, 0, usize::MAX).unwrap();
    let mut wrong = bytes.to_vec();
    wrong[bytes.len() / 2] ^= 1;
    let refused = receiving.write(number, 0, &wrong).unwrap_err();
    assert!(matches!(refused, ReceiveError::Damaged { .. }), "{refused}");
    receiving.write(number, 0, &bytes).unwrap();
    drop((receiving, doors));
    // A start finds a file whose end is another one.
    let path = disk.path("receiving").join(&file.name);
    fs::write(&path, &wrong).unwrap();
    let doors = disk.open();
    let mut receiving = receive(&doors, &taken);
    assert_eq!(there(&*receiving), 0);
    send(&taken, &mut *receiving, usize::MAX);
    doors
        .snapshots
        .install(receiving.finish().unwrap())
        .unwrap();
    drop(doors);
    is_other(&disk.open(), "theirs");
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let (_other, _doors, taken) = other(at(2, 50), "theirs");
    let disk = RocksDisk::new();
    let doors = disk.open();
    let file = |name: &str| SnapshotFile {
        name: name.to_owned(),
        bytes: 9,
        crc: 1,
    };
    for wrong in [
        vec![],
        vec![file("../tree/CURRENT")],
        vec![file("a"), file("a")],
    ] {
        let refused = doors.snapshots.receive(wrong).unwrap_err();
        assert!(matches!(refused, ReceiveError::Senseless(_)), "{refused}");
    }
    let mut receiving = receive(&doors, &taken);
    let length = taken.files().unwrap()[0].bytes;
    for (number, offset, bytes) in [
        (0, 1, vec![0; 3]),
        (0, 0, vec![0; usize::try_from(length).unwrap() + 1]),
        (99, 0, vec![0; 3]),
        (0, 0, vec![]),
    ] {
        let refused = receiving.write(number, offset, &bytes).unwrap_err();
        assert!(matches!(refused, ReceiveError::Senseless(_)), "{refused}");
    }
    let early = receiving.finish().unwrap_err();
    assert!(matches!(early, ReceiveError::Senseless(_)), "{early}");
    // All as offered, and no tree.
    let none = vec![SnapshotFile {
        crc: crc32fast::hash(b"123456789"),
        ..file("CURRENT")
    }];
    let mut receiving = doors.snapshots.receive(none).unwrap();
    receiving.write(0, 0, b"123456789").unwrap();
    let refused = receiving.finish().unwrap_err();
    assert!(matches!(refused, ReceiveError::Storage(_)), "{refused}");
    drop(doors);
    assert_eq!(disk.open().tree.restore().unwrap().meta, Meta::default());
}

#[test]
fn whoever_receives_next_is_the_only_one() {
    let (_other, _doors, taken) = other(at(2, 50), "theirs");
    let (_another, _its_doors, newer) = other(at(3, 60), "newer");
    let disk = RocksDisk::new();
    let doors = disk.open();
    let mut first = receive(&doors, &taken);
    send(&taken, &mut *first, 2);
    let mut second = receive(&doors, &newer);
    let files = taken.files().unwrap();
    let number = first.has().iter().position(|has| *has == 0).unwrap();
    let bytes = taken.read(&files[number], 0, PIECE).unwrap();
    let refused = first.write(number, 0, &bytes).unwrap_err();
    assert!(matches!(refused, ReceiveError::Superseded), "{refused}");
    send(&newer, &mut *second, usize::MAX);
    let refused = first.finish().unwrap_err();
    assert!(matches!(refused, ReceiveError::Superseded), "{refused}");
    doors.snapshots.install(second.finish().unwrap()).unwrap();
    drop(doors);
    is_other(&disk.open(), "newer");
}

/// A checkpoint that is sent stays, though there is a newer one; then its files go.
#[test]
fn a_checkpoint_stays_as_long_as_somebody_reads_it() {
    let (_disk, doors, first) = other(at(1, 1), "old");
    let files = first.files().unwrap();
    apply(&*doors.tree, 2, vec![set("/a", &node(1, "new"))]);
    let second = doors.snapshots.take().unwrap();
    assert_ne!(first.dir, second.dir);
    for file in files.iter() {
        let bytes = first.read(file, 0, usize::MAX).unwrap();
        assert_eq!(crc32fast::hash(&bytes), file.crc, "{}", file.name);
    }
    let also = first.clone();
    let dir = first.dir.clone();
    drop(first);
    assert!(dir.exists());
    drop(also);
    assert!(!dir.exists() && second.dir.exists());
    drop(doors);
    assert!(second.dir.exists(), "the newest outlives the process");
}

/// What was received and not installed is nobody's tree, and does not stay.
#[test]
fn a_start_between_receiving_and_installing_finds_the_old_tree() {
    let (_other, _doors, taken) = other(at(2, 50), "theirs");
    let disk = RocksDisk::new();
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..9));
    apply(&*doors.tree, 1, vec![came("/", &parent(0))]);
    doors.snapshots.take().unwrap();
    let mut receiving = receive(&doors, &taken);
    send(&taken, &mut *receiving, usize::MAX);
    let copy = disk.copy();
    assert_eq!(copy.open().tree.restore().unwrap().meta, meta(1));
    let received = receiving.finish().unwrap();
    let copy = disk.copy();
    assert_eq!(copy.open().tree.restore().unwrap().meta, meta(1));
    let left = |disk: &RocksDisk| {
        let entries = fs::read_dir(disk.path("")).unwrap();
        let names = entries.map(|it| it.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("received")).count()
    };
    assert_eq!((left(&disk), left(&copy)), (1, 0));
    drop(received);
    assert_eq!(left(&disk), 0);
}

/// A server that has caught up by its log needs no snapshot any more.
#[test]
fn what_is_left_of_an_attempt_goes_with_the_next_checkpoint() {
    let (_other, _doors, taken) = other(at(2, 50), "theirs");
    let disk = RocksDisk::new();
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..9));
    apply(&*doors.tree, 1, vec![came("/", &parent(0))]);
    let mut receiving = receive(&doors, &taken);
    send(&taken, &mut *receiving, 5);
    doors.snapshots.take().unwrap();
    assert!(disk.path("receiving").exists(), "it is under way");
    drop(receiving);
    apply(&*doors.tree, 2, vec![set("/", &node(1, "x"))]);
    doors.snapshots.take().unwrap();
    assert!(!disk.path("receiving").exists());
}
