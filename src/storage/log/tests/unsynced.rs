//! What is not on the disk: without syncs, and behind one that failed.

use super::power::PowerDisk;
use super::*;

fn unsynced() -> Config {
    Config {
        force_sync: false,
        ..config()
    }
}

/// The tree is flushed, and so durable, whenever RocksDB likes; without any log it would be refused.
#[test]
fn without_syncs_the_power_leaves_a_beginning() {
    for bytes in [10, 3000, 20_000, 300_000] {
        let dir = tempfile::tempdir().unwrap();
        let disk = PowerDisk::on(dir.path());
        let log = disk.open_with(&unsynced()).unwrap();
        assert_eq!(log.next_incarnation(1).unwrap(), 1);
        wait(|done| log.save_vote(Bytes::from_static(b"vote"), done)).unwrap();
        for index in 0..3 {
            append(&log, vec![entry(1, index, bytes)]);
        }
        let left = disk.cut();
        let found = PowerDisk::on(left.path()).open_with(&unsynced()).unwrap();
        assert!(found.ends().last.is_some(), "{bytes} bytes");
        // It is begun: there nothing is synced for its own sake.
        let next = found.ends().next();
        append(&found, vec![entry(1, next, bytes)]);
        assert_eq!(all(&found).len() as u64, next + 1);
    }
}

/// Without syncs the end may be lost, but not the purge of what is overwritten: its entries would be
/// missed for ever.
#[test]
fn without_syncs_a_purge_outlives_the_power() {
    let unsynced = unsynced();
    let dir = tempfile::tempdir().unwrap();
    let disk = PowerDisk::on(dir.path());
    let log = disk.open_with(&unsynced).unwrap();
    for index in 0..40 {
        append(&log, vec![entry(1, index, 30_000)]);
    }
    log.purge(at(1, 35)).unwrap();
    drop(log);
    let left = disk.cut();
    let found = PowerDisk::on(left.path()).open_with(&unsynced).unwrap();
    assert_eq!(found.ends().purged, Some(at(1, 35)));
}

/// How the end is judged is up to how it was written, and not to how this start is set.
#[test]
fn a_log_that_was_not_synced_is_read_as_such_by_a_start_that_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let open = |config: &Config| SegmentLog::open_at(&place(dir.path()), config);
    drop(open(&config()).unwrap());
    let log = open(&unsynced()).unwrap();
    for index in 0..10 {
        append(&log, vec![entry(1, index, 100)]);
    }
    drop(log);
    let frames = frames(dir.path());
    let path = segment::path_of(dir.path(), 1);
    // The middle never reached the disk; what is behind it did.
    let lose = |at: usize| overwrite(&path, frames[at], &[0; 20]);
    lose(frames.len() - 4);
    let log = open(&config()).unwrap();
    let last = log.ends().last.unwrap();
    assert!(last.index > 1 && last.index < 9, "{last}");
    assert!(log.is_unsynced());
    append(&log, vec![entry(2, last.index + 1, 100)]);
    drop(log);
    // Until somebody says that all is in step, as after a start that ended too early.
    let log = open(&config()).unwrap();
    assert!(log.is_unsynced());
    let kept = all(&log);
    assert_eq!(kept.len() as u64, last.index + 2);
    log.note_synced().unwrap();
    drop(log);
    let log = open(&config()).unwrap();
    assert!(!log.is_unsynced());
    assert_eq!(all(&log), kept);
    for index in last.index + 2..last.index + 5 {
        append(&log, vec![entry(2, index, 100)]);
    }
    drop(log);
    let frames = frames_of(dir.path(), 2);
    let lost = frames[frames.len() - 3];
    overwrite(&segment::path_of(dir.path(), 2), lost, &[0; 20]);
    let refused = open(&config()).unwrap_err();
    assert!(matches!(refused, StorageError::Corrupt { .. }), "{refused}");
}

/// The word of it is there before anything that it is about.
#[test]
fn what_was_not_synced_is_known_after_any_loss_of_power() {
    let dir = tempfile::tempdir().unwrap();
    drop(PowerDisk::on(dir.path()).open().unwrap());
    let disk = PowerDisk::on(dir.path());
    let log = disk.open_with(&unsynced()).unwrap();
    append(&log, vec![entry(1, 0, 100)]);
    let left = disk.cut();
    assert!(open(left.path()).is_unsynced());
}

/// A stop in good order has time for what was left out before: the tree is flushed then, and must
/// not be found ahead of its log.
#[test]
fn without_syncs_a_closed_log_outlives_the_power() {
    let dir = tempfile::tempdir().unwrap();
    let disk = PowerDisk::on(dir.path());
    let log = disk.open_with(&unsynced()).unwrap();
    for index in 0..40 {
        append(&log, vec![entry(1, index, 3000)]);
    }
    let vote = Bytes::from_static(b"vote");
    wait(|done| log.save_vote(vote.clone(), done)).unwrap();
    let shown = all(&log);
    log.close();
    let left = disk.cut();
    let found = PowerDisk::on(left.path()).open_with(&unsynced()).unwrap();
    assert!(all(&found) == shown, "it ends at {:?}", found.ends().last);
    assert_eq!(found.vote().unwrap(), Some(vote));
}

/// Behind a failed sync the system shows what the disk does not have, and may stop to do so at any
/// time, also while a start is reading: then what it read first must not be served.
#[test]
fn a_page_that_is_dropped_while_a_log_is_opened_is_not_served() {
    for bytes in [10, 3000, 20_000] {
        let dir = tempfile::tempdir().unwrap();
        let disk = PowerDisk::on(dir.path());
        let log = disk.open().unwrap();
        append(&log, vec![entry(1, 0, 100)]);
        disk.fail_syncs(true);
        wait(|done| log.append(vec![entry(1, 1, bytes)], done)).unwrap_err();
        drop(log);
        disk.fail_syncs(false);
        disk.drop_pages_at_start();
        if let Ok(log) = disk.open() {
            let shown = all(&log);
            drop(log);
            assert_eq!(all(&open(disk.cut().path())), shown, "{bytes} bytes");
        }
        // Nothing was harmed by the attempt.
        let log = disk.open().unwrap();
        append(&log, vec![entry(1, 1, 50)]);
        drop(log);
        let expected = [entry(1, 0, 100), entry(1, 1, 50)];
        assert_eq!(all(&open(disk.cut().path())), expected, "{bytes} bytes");
    }
}

/// An appender that finds the writer held leaves its entries to whoever holds it.
#[test]
fn whoever_measures_the_log_keeps_no_write_waiting() {
    const ENTRIES: u64 = 50_000;
    /// Nobody waits so long for anything but what will never come.
    const NEVER: Duration = Duration::from_secs(60);
    let dir = tempfile::tempdir().unwrap();
    let log = SegmentLog::open_at(&place(dir.path()), &unsynced()).unwrap();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let is_over = &is_over;
    thread::scope(|scope| {
        let measured = &log;
        scope.spawn(move || {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                measured.bytes_behind(Some(1));
            }
        });
        let (tell, told) = mpsc::channel();
        let mut written = 0;
        while written < ENTRIES {
            let tell = tell.clone();
            let done = move |result: Result<(), StorageError>| tell.send(result).unwrap();
            log.append_here(vec![entry(1, written, 1)], Box::new(done));
            if told.recv_timeout(NEVER).is_err() {
                break;
            }
            written += 1;
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(written, ENTRIES);
    });
}
