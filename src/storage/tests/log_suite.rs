//! The contract of `Log` (consensus.md section 2).

use std::sync::mpsc;

use super::*;

on_both! {
    starts_empty
    reads_what_it_appends
    calls_back_in_order
    writes_on_the_callers_thread
    keeps_all_over_a_restart
    truncates
    replaces_what_was_truncated
    purges
    purges_beyond_the_end
    bounds_a_read_by_bytes
    refuses_a_gap
    incarnations_grow
    close_drains
    remembers_committed
    knows_how_many_bytes_it_holds
}

fn all(log: &dyn Log) -> Vec<LogPosition> {
    let entries = log.entries(0..u64::MAX, usize::MAX).unwrap();
    entries.into_iter().map(|entry| entry.position).collect()
}

fn starts_empty(disk: &dyn Disk) {
    let doors = disk.open();
    assert_eq!(doors.log.ends(), super::super::LogEnds::default());
    assert_eq!(doors.log.vote().unwrap(), None);
    assert_eq!(doors.log.committed().unwrap(), None);
    assert_eq!(doors.log.entries(0..10, 100).unwrap(), []);
}

fn reads_what_it_appends(disk: &dyn Disk) {
    let log = disk.open().log;
    for index in 0..100 {
        log.append(vec![entry(1, index)], Box::new(|_| {}));
        // Before it is durable.
        assert_eq!(log.entries(index..index + 1, 0).unwrap(), [entry(1, index)]);
        assert_eq!(log.ends().last, Some(at(1, index)));
    }
    assert_eq!(log.entries(10..20, usize::MAX).unwrap(), entries(1, 10..20));
    assert_eq!(
        log.entries(90..200, usize::MAX).unwrap(),
        entries(1, 90..100)
    );
    assert_eq!(
        log.appended_bytes(),
        entries(1, 0..100)
            .iter()
            .map(|e| e.payload.len() as u64)
            .sum()
    );
}

fn calls_back_in_order(disk: &dyn Disk) {
    let log = disk.open().log;
    let (tell, told) = mpsc::channel();
    for number in 0..500 {
        let tell = tell.clone();
        let done = Box::new(move |result: Result<(), StorageError>| {
            result.unwrap();
            tell.send(number).unwrap();
        });
        if number % 10 == 9 {
            log.save_vote(Bytes::from(number.to_string()), done);
        } else {
            log.append(
                vec![entry(1, log.ends().last.map_or(0, |at| at.index + 1))],
                done,
            );
        }
    }
    drop(tell);
    assert_eq!(
        told.iter().collect::<Vec<_>>(),
        (0..500).collect::<Vec<_>>()
    );
}

fn writes_on_the_callers_thread(disk: &dyn Disk) {
    let doors = disk.open();
    let (tell, told) = mpsc::channel();
    for index in 0..300 {
        let tell = tell.clone();
        let done = Box::new(move |result: Result<(), StorageError>| {
            result.unwrap();
            tell.send(index).unwrap();
        });
        let entries = vec![entry(1, index)];
        if index % 3 == 0 {
            doors.log.append(entries, done);
        } else {
            doors.log.append_here(entries, done);
        }
    }
    drop(tell);
    assert_eq!(
        told.iter().collect::<Vec<_>>(),
        (0..300).collect::<Vec<_>>()
    );
    let refused = wait(|done| doors.log.append_here(vec![entry(1, 301)], done));
    assert!(
        matches!(refused, Err(StorageError::Gap { .. })),
        "{refused:?}"
    );
    drop(doors);
    assert_eq!(disk.open().log.ends().last, Some(at(1, 299)));
}

fn keeps_all_over_a_restart(disk: &dyn Disk) {
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..50));
    wait(|done| doors.log.save_vote(Bytes::from_static(b"vote"), done)).unwrap();
    append(&*doors.log, entries(2, 50..60));
    drop(doors);
    let log = disk.open().log;
    assert_eq!(log.ends().last, Some(at(2, 59)));
    assert_eq!(log.vote().unwrap(), Some(Bytes::from_static(b"vote")));
    let expected: Vec<_> = entries(1, 0..50)
        .into_iter()
        .chain(entries(2, 50..60))
        .collect();
    assert_eq!(log.entries(0..100, usize::MAX).unwrap(), expected);
}

fn truncates(disk: &dyn Disk) {
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..20));
    doors.log.truncate_after(Some(at(1, 9))).unwrap();
    assert_eq!(doors.log.ends().last, Some(at(1, 9)));
    assert_eq!(all(&*doors.log).last(), Some(&at(1, 9)));
    drop(doors);
    let doors = disk.open();
    assert_eq!(
        all(&*doors.log),
        (0..10).map(|index| at(1, index)).collect::<Vec<_>>()
    );
    doors.log.truncate_after(None).unwrap();
    assert_eq!(doors.log.ends().last, None);
    drop(doors);
    assert_eq!(all(&*disk.open().log), []);
}

fn replaces_what_was_truncated(disk: &dyn Disk) {
    let doors = disk.open();
    for round in 1..20 {
        doors.log.append(
            entries(round, 5 * (round - 1)..5 * round + 5),
            Box::new(|_| {}),
        );
        doors
            .log
            .truncate_after(Some(at(round, 5 * round - 1)))
            .unwrap();
    }
    let expected: Vec<_> = (1..20)
        .flat_map(|round| entries(round, 5 * (round - 1)..5 * round))
        .collect();
    assert_eq!(doors.log.entries(0..1000, usize::MAX).unwrap(), expected);
    drop(doors);
    assert_eq!(
        disk.open().log.entries(0..1000, usize::MAX).unwrap(),
        expected
    );
}

fn purges(disk: &dyn Disk) {
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..20));
    apply(&*doors.tree, 10, vec![]);
    doors.log.purge(at(1, 4)).unwrap();
    doors.log.purge(at(1, 2)).unwrap();
    assert_eq!(all(&*doors.log).first(), Some(&at(1, 5)));
    drop(doors);
    let log = disk.open().log;
    assert_eq!(log.ends().purged, Some(at(1, 4)));
    assert_eq!(log.ends().last, Some(at(1, 19)));
    assert_eq!(all(&*log).first(), Some(&at(1, 5)));
}

fn purges_beyond_the_end(disk: &dyn Disk) {
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..20));
    apply(&*doors.tree, 100, vec![]);
    doors.log.purge(at(2, 100)).unwrap();
    assert_eq!(doors.log.ends().last, Some(at(2, 100)));
    assert_eq!(all(&*doors.log), []);
    append(&*doors.log, entries(3, 101..105));
    drop(doors);
    let log = disk.open().log;
    assert_eq!(log.ends().purged, Some(at(2, 100)));
    assert_eq!(
        all(&*log),
        (101..105).map(|index| at(3, index)).collect::<Vec<_>>()
    );
}

fn bounds_a_read_by_bytes(disk: &dyn Disk) {
    let doors = disk.open();
    append(&*doors.log, entries(1, 0..20));
    let one = entry(1, 0).payload.len();
    for (bytes_max, expected) in [
        (0, 1),
        (one, 1),
        (2 * one, 2),
        (3 * one - 1, 2),
        (10 * one, 10),
    ] {
        assert_eq!(
            doors.log.entries(0..10, bytes_max).unwrap(),
            entries(1, 0..expected)
        );
    }
    drop(doors);
    // From the database instead of the tail, and over the border between both.
    let log = disk.open().log;
    for (bytes_max, expected) in [(0, 1), (2 * one, 2), (3 * one - 1, 2)] {
        assert_eq!(
            log.entries(0..10, bytes_max).unwrap(),
            entries(1, 0..expected)
        );
    }
    append(&*log, entries(1, 20..30));
    assert_eq!(log.entries(10..30, usize::MAX).unwrap(), entries(1, 10..30));
}

fn refuses_a_gap(disk: &dyn Disk) {
    let log = disk.open().log;
    append(&*log, entries(1, 0..2));
    let refused = wait(|done| log.append(vec![entry(1, 3)], done));
    assert!(
        matches!(
            refused,
            Err(StorageError::Gap {
                expected: 2,
                found: 3
            })
        ),
        "{refused:?}"
    );
    append(&*log, entries(1, 2..3));
}

fn incarnations_grow(disk: &dyn Disk) {
    let first = disk.open().log.next_incarnation(1000).unwrap();
    let second = disk.open().log.next_incarnation(7).unwrap();
    let third = disk.open().log.next_incarnation(5000).unwrap();
    assert_eq!((first, second, third), (1000, 1001, 5000));
}

fn close_drains(disk: &dyn Disk) {
    let doors = disk.open();
    let (tell, told) = mpsc::channel();
    for index in 0..100 {
        let tell = tell.clone();
        doors.log.append(
            vec![entry(1, index)],
            Box::new(move |result| tell.send(result.is_ok()).unwrap()),
        );
    }
    doors.log.close();
    drop(tell);
    assert_eq!(told.iter().filter(|&durable| durable).count(), 100);
    let refused = wait(|done| doors.log.append(vec![entry(1, 100)], done));
    assert!(
        matches!(refused, Err(StorageError::Closed { .. })),
        "{refused:?}"
    );
}

fn remembers_committed(disk: &dyn Disk) {
    let doors = disk.open();
    doors.log.save_committed(Some(Bytes::from_static(b"one")));
    append(&*doors.log, entries(1, 0..2));
    doors.log.save_committed(Some(Bytes::from_static(b"two")));
    doors.log.close();
    drop(doors);
    assert_eq!(
        disk.open().log.committed().unwrap(),
        Some(Bytes::from_static(b"two"))
    );
}

fn knows_how_many_bytes_it_holds(disk: &dyn Disk) {
    const BYTES: usize = 50_000;
    /// Beside the payload, and in front of where a read begins.
    const MORE_MAX: u64 = 200_000;
    let large = |index| LogEntry {
        position: at(1, index),
        payload: Bytes::from(vec![7; BYTES]),
    };
    let check = |log: &dyn Log, behind: Option<u64>, entries: u64| {
        let payload = entries * BYTES as u64;
        let found = log.bytes_behind(behind);
        let expected = payload..=payload + MORE_MAX;
        assert!(expected.contains(&found), "{found} bytes behind {behind:?}");
    };
    let doors = disk.open();
    assert_eq!(doors.log.bytes_behind(None), 0);
    for index in 0..100 {
        append(&*doors.log, vec![large(index)]);
    }
    check(&*doors.log, None, 100);
    drop(doors);
    let doors = disk.open();
    assert_eq!(doors.log.appended_bytes(), 0);
    check(&*doors.log, None, 100);
    check(&*doors.log, Some(59), 40);
    assert_eq!(doors.log.bytes_behind(Some(99)), 0);
    assert_eq!(doors.log.bytes_behind(Some(u64::MAX)), 0);
    apply(&*doors.tree, 60, vec![]);
    doors.log.purge(at(1, 49)).unwrap();
    check(&*doors.log, None, 50);
    drop(doors);
    check(&*disk.open().log, None, 50);
}
