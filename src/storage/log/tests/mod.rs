//! Damage at every byte, crashes at every page, files used again.

mod power;
mod unsynced;

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};

use tempfile::TempDir;

use super::segment::{PAGE_BYTES, Segment};
use super::*;
use crate::storage::memory::MemoryLog;

const STORE: u64 = 7;

fn config() -> Config {
    Config {
        log_bytes_before_flush: 1 << 20,
        ..Config::default()
    }
}

fn open(dir: &Path) -> SegmentLog {
    SegmentLog::open_at(&place(dir), &config()).unwrap()
}

fn place(dir: &Path) -> Place {
    Place {
        dir: dir.to_owned(),
        store: STORE,
        tree: PathBuf::from("tree"),
        disk: Arc::new(RealDisk),
    }
}

fn at(term: u64, index: u64) -> LogPosition {
    LogPosition { term, index }
}

fn entry(term: u64, index: u64, bytes: usize) -> LogEntry {
    let byte = u8::try_from((index * 7 + term) % 255).unwrap() + 1;
    LogEntry {
        position: at(term, index),
        payload: Bytes::from(vec![byte; bytes]),
    }
}

fn append(log: &dyn Log, entries: Vec<LogEntry>) {
    wait(|done| log.append(entries, done)).unwrap();
}

fn wait(queue: impl FnOnce(Durable)) -> Result<(), StorageError> {
    let (tell, told) = mpsc::channel();
    queue(Box::new(move |result| tell.send(result).unwrap()));
    told.recv().unwrap()
}

fn all(log: &dyn Log) -> Vec<LogEntry> {
    log.entries(0..u64::MAX, usize::MAX).unwrap()
}

/// What a killed process leaves: a copy of the files as they are.
fn copy(from: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    let names = fs::read_dir(from)
        .unwrap()
        .map(|it| it.unwrap().file_name());
    let mut names: Vec<_> = names.collect();
    names.sort_by_key(|name| name != "high-water");
    for name in names {
        if fs::copy(from.join(&name), to.path().join(&name)).is_err() {
            assert!(!from.join(&name).exists());
        }
    }
    to
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let listed = segment::list(dir).unwrap();
    listed.segments.into_iter().map(|(_, path)| path).collect()
}

/// Offsets of the frames in the first segment, and the end of the last one.
fn frames(dir: &Path) -> Vec<u64> {
    frames_of(dir, 1)
}

/// The same of another segment.
fn frames_of(dir: &Path, sequence: u64) -> Vec<u64> {
    let path = segment::path_of(dir, sequence);
    let segment = Segment::open(path, sequence, &place(dir)).unwrap();
    let mut frames = Frames::from(&segment, PAGE_BYTES).unwrap();
    let mut offsets = vec![PAGE_BYTES];
    while frames.next().unwrap().is_some() {
        offsets.push(frames.offset());
    }
    offsets
}

/// A log with a frame of each kind, closed.
fn some_of_each() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(&log, vec![entry(1, 0, 30), entry(1, 1, 5)]);
    wait(|done| log.save_vote(Bytes::from_static(b"vote"), done)).unwrap();
    append(&log, vec![entry(1, 2, 40)]);
    log.truncate_after(Some(at(1, 1))).unwrap();
    log.save_committed(Some(Bytes::from_static(b"committed")));
    append(&log, vec![entry(2, 2, 25), entry(2, 3, 1)]);
    log.next_incarnation(99).unwrap();
    append(&log, vec![entry(2, 4, 60)]);
    log.purge(at(1, 0)).unwrap();
    append(&log, vec![entry(3, 5, 50)]);
    drop(log);
    dir
}

/// What a start would say, without what a start does.
fn examine(dir: &Path) -> Result<(LogEnds, u64), StorageError> {
    let read = recovery::examine(&place(dir), true)?.read;
    Ok((read.contents.ends, read.offset))
}

#[test]
fn a_log_cut_at_any_byte_is_a_prefix_or_refused() {
    let dir = some_of_each();
    let frames = frames(dir.path());
    assert_eq!(frames.len(), 10);
    let end = *frames.last().unwrap();
    let path = segment::path_of(dir.path(), 1);
    let whole = fs::read(&path).unwrap();
    let (ends, offset) = examine(dir.path()).unwrap();
    assert_eq!((ends.last, offset), (Some(at(3, 5)), end));
    for cut in (PAGE_BYTES..end).rev() {
        let from = usize::try_from(cut).unwrap();
        if whole[from] == 0 {
            continue;
        }
        overwrite(&path, cut, &[0]);
        let refused = examine(dir.path()).unwrap_err();
        assert!(
            matches!(&refused, StorageError::Lost { path: named, .. } if *named == path),
            "cut at {cut}: {refused}"
        );
        // Nobody was told of these frames, as far as anybody knows.
        let high_water = dir.path().join("high-water");
        let kept = fs::read(&high_water).unwrap();
        fs::remove_file(&high_water).unwrap();
        let (_, offset) = examine(dir.path()).unwrap();
        fs::write(&high_water, kept).unwrap();
        assert_eq!(Some(&offset), frames.iter().rev().find(|it| **it <= cut));
    }
}

#[test]
fn a_flipped_bit_anywhere_is_refused_with_file_and_offset() {
    let dir = some_of_each();
    let frames = frames(dir.path());
    let [.., last, end] = frames[..] else {
        panic!("too few")
    };
    let path = segment::path_of(dir.path(), 1);
    let whole = fs::read(&path).unwrap();
    for byte in (0..44).chain(PAGE_BYTES..end) {
        for bit in [0, 3, 7] {
            let from = usize::try_from(byte).unwrap();
            overwrite(&path, byte, &[whole[from] ^ 1 << bit]);
            let refused = examine(dir.path()).unwrap_err();
            let words = refused.to_string();
            assert!(words.contains(&path.display().to_string()), "{words}");
            let begins = frames.iter().rev().find(|it| **it <= byte).copied();
            match begins {
                None => {}
                Some(begins) if begins == last => {
                    assert!(matches!(refused, StorageError::Lost { .. }), "{refused}");
                }
                Some(begins) => assert!(words.contains(&format!("byte {begins}:")), "{words}"),
            }
        }
        overwrite(&path, byte, &whole[usize::try_from(byte).unwrap()..][..1]);
    }
    examine(dir.path()).unwrap();
    // The last frame, if nobody was told of it: it counts as not written.
    fs::remove_file(dir.path().join("high-water")).unwrap();
    overwrite(&path, end - 1, &[0xff]);
    let (ends, offset) = examine(dir.path()).unwrap();
    assert_eq!((ends.last, offset), (Some(at(2, 4)), last));
}

/// The pages of the last frame reach the disk in any order, or not at all.
#[test]
fn a_frame_of_which_any_pages_are_missing_was_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(&log, vec![entry(1, 0, 100)]);
    let before = copy(dir.path());
    // Entries that look like frames of their own would, were there a way to know the salt.
    append(&log, (1..15).map(|index| entry(1, index, 1100)).collect());
    let path = segment::path_of(dir.path(), 1);
    let (old, new) = (
        fs::read(segment::path_of(before.path(), 1)).unwrap(),
        fs::read(&path).unwrap(),
    );
    let page = usize::try_from(PAGE_BYTES).unwrap();
    let pages: Vec<_> = (0..new.len() / page)
        .filter(|it| old[it * page..][..page] != new[it * page..][..page])
        .collect();
    assert!(pages.len() >= 4, "{pages:?}");
    let after = copy(before.path());
    let path = segment::path_of(after.path(), 1);
    for written in 0..1_u32 << pages.len() {
        for (bit, number) in pages.iter().enumerate() {
            let from = if written >> bit & 1 == 1 { &new } else { &old };
            let bytes = &from[number * page..][..page];
            overwrite(&path, (number * page) as u64, bytes);
        }
        let (ends, _) = examine(after.path()).unwrap();
        let is_whole = written + 1 == 1 << pages.len();
        let last = if is_whole { 14 } else { 0 };
        assert_eq!(ends.last, Some(at(1, last)), "pages {written:b}");
    }
    // And the log goes on from there.
    overwrite(&path, (pages[1] * page) as u64, &vec![0; page]);
    let log = open(after.path());
    append(&log, vec![entry(2, 1, 10)]);
    let survivor = copy(after.path());
    assert_eq!(
        all(&open(survivor.path())),
        [entry(1, 0, 100), entry(2, 1, 10)]
    );
}

/// Appends so much that segments are begun, and purges what is behind, so that they come back.
fn churn(log: &SegmentLog, dir: &Path, rounds: u64) -> BTreeSet<u64> {
    let mut inodes = BTreeSet::new();
    for _ in 0..rounds {
        let next = log.ends().next();
        append(log, vec![entry(1, next, 40_000)]);
        if next % 10 == 9 {
            log.purge(at(1, next - 5)).unwrap();
        }
        for path in segments(dir) {
            if let Ok(found) = fs::metadata(path) {
                inodes.insert(found.ino());
            }
        }
    }
    inodes
}

#[test]
fn segments_are_used_again_and_what_was_in_them_is_never_seen() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    churn(&log, dir.path(), 30);
    let inodes = churn(&log, dir.path(), 60);
    assert!(inodes.len() <= 8, "{} files", inodes.len());
    // Small frames over large old ones: at every length something else lies behind the end.
    for round in 0..60 {
        let next = log.ends().next();
        append(&log, vec![entry(2, next, 1 + round * 97)]);
        let found = copy(dir.path());
        let (ends, _) = examine(found.path()).unwrap();
        assert_eq!(ends, log.ends());
    }
    let survivor = copy(dir.path());
    assert_eq!(all(&open(survivor.path())), all(&log));
    let bytes: u64 = fs::read_dir(dir.path())
        .unwrap()
        .map(|it| it.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes < 4 << 20, "{bytes} bytes");
}

#[test]
fn a_missing_or_short_segment_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for index in 0..40 {
        append(&log, vec![entry(1, index, 30_000)]);
    }
    drop(log);
    let all = segments(dir.path());
    let (used, ready) = all.split_at(all.len() - 1);
    assert!(used.len() >= 4, "{all:?}");
    for path in used {
        let name = path.file_name().unwrap();
        for length in [None, Some(0), Some(100), Some(PAGE_BYTES), Some(200_000)] {
            let copy = copy(dir.path());
            let harmed = copy.path().join(name);
            match length {
                None => fs::remove_file(&harmed).unwrap(),
                Some(length) => {
                    let file = OpenOptions::new().write(true).open(&harmed).unwrap();
                    file.set_len(length).unwrap();
                }
            }
            let refused = examine(copy.path()).unwrap_err();
            let words = refused.to_string();
            assert!(words.contains(&harmed.display().to_string()), "{words}");
        }
    }
    // The one made ready holds nothing.
    fs::remove_file(&ready[0]).unwrap();
    open(dir.path());
}

/// Bits in a sealed segment are seen when its entries are read, at the latest.
#[test]
fn damaged_entries_are_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for index in 0..40 {
        append(&log, vec![entry(1, index, 30_000)]);
    }
    drop(log);
    let path = segment::path_of(dir.path(), 2);
    overwrite(&path, 100_000, &[0]);
    let log = open(dir.path());
    let refused = log.entries(0..40, usize::MAX).unwrap_err().to_string();
    assert!(refused.contains(&path.display().to_string()), "{refused}");
}

#[test]
fn what_was_truncated_stays_gone_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for index in 0..40 {
        append(&log, vec![entry(1, index, 30_000)]);
    }
    log.truncate_after(Some(at(1, 3))).unwrap();
    let survivor = copy(dir.path());
    assert_eq!(open(survivor.path()).ends().last, Some(at(1, 3)));
    for index in 4..60 {
        append(&log, vec![entry(2, index, 20_000)]);
    }
    let survivor = copy(dir.path());
    let found = open(survivor.path());
    assert_eq!(all(&found), all(&log));
    assert_eq!(all(&found)[4], entry(2, 4, 20_000));
    assert_eq!(
        found.entries(3..5, usize::MAX).unwrap(),
        log.entries(3..5, usize::MAX).unwrap()
    );
}

#[test]
fn a_purge_that_did_not_get_far_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for index in 0..60 {
        append(&log, vec![entry(1, index, 30_000)]);
    }
    let before = copy(dir.path());
    log.purge(at(1, 50)).unwrap();
    drop(log);
    // The point is there, but the segments have not gone: all, or one in the middle.
    for left in [vec![1, 2, 3, 4], vec![1, 3], vec![2]] {
        let crashed = copy(dir.path());
        for sequence in left {
            let path = segment::path_of(crashed.path(), sequence);
            fs::copy(segment::path_of(before.path(), sequence), path).unwrap();
        }
        let log = open(crashed.path());
        assert_eq!(log.ends().purged, Some(at(1, 50)));
        assert_eq!(
            all(&log),
            (51..60).map(|it| entry(1, it, 30_000)).collect::<Vec<_>>()
        );
        append(&log, vec![entry(1, 60, 10)]);
    }
}

#[test]
fn an_entry_larger_than_a_segment_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let large = vec![entry(1, 0, 10), entry(1, 1, 3 << 20), entry(1, 2, 10)];
    append(&log, large.clone());
    assert_eq!(all(&log), large);
    drop(log);
    let log = open(dir.path());
    assert_eq!(all(&log), large);
    append(&log, vec![entry(1, 3, 10)]);
    drop(log);
    assert_eq!(all(&open(dir.path())).len(), 4);
}

#[test]
fn without_syncs_a_lost_end_is_cut_off_and_stays_so() {
    let dir = tempfile::tempdir().unwrap();
    let unsynced = Config {
        force_sync: false,
        ..config()
    };
    let open = |dir: &Path| SegmentLog::open_at(&place(dir), &unsynced).unwrap();
    let log = open(dir.path());
    for index in 0..10 {
        append(&log, vec![entry(1, index, 100)]);
    }
    drop(log);
    let frames = frames(dir.path());
    let path = segment::path_of(dir.path(), 1);
    // Frame 5 never reached the disk; those behind it did.
    overwrite(&path, frames[5], &[0; 20]);
    let log = open(dir.path());
    assert_eq!(log.ends().last, Some(at(1, 4)));
    append(&log, vec![entry(2, 5, 100)]);
    drop(log);
    let found = all(&open(dir.path()));
    assert_eq!(found.len(), 6);
    assert_eq!(found[5], entry(2, 5, 100));
    // And the same of a segment's first frame.
    let log = open(dir.path());
    for index in 6..10 {
        append(&log, vec![entry(2, index, 100)]);
    }
    drop(log);
    overwrite(&segment::path_of(dir.path(), 2), PAGE_BYTES, &[0; 20]);
    let log = open(dir.path());
    assert_eq!(log.ends().last, Some(at(1, 4)));
    append(&log, vec![entry(3, 5, 100)]);
    drop(log);
    assert_eq!(all(&open(dir.path()))[5], entry(3, 5, 100));
}

/// The committed position may speak of entries that do not fit into the group: behind a crash it
/// must not be there without them.
#[test]
fn the_committed_position_is_never_ahead_of_the_entries() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let three = [0, 1, 2].map(|index| entry(1, index, 3 << 20));
    // Nothing is written but here.
    let mut writer = log.shared.writer.lock();
    let (tell, told) = mpsc::channel();
    for entry in three.clone() {
        let tell = tell.clone();
        let done = move |result: Result<(), StorageError>| tell.send(result).unwrap();
        log.append(vec![entry], Box::new(done));
    }
    log.save_committed(Some(Bytes::from_static(b"entry 2")));
    log.shared.write_next(&mut writer);
    let crashed = copy(dir.path());
    drop(writer);
    let found = open(crashed.path());
    assert_eq!(found.ends().last, Some(at(1, 1)));
    assert_eq!(found.committed().unwrap(), None);
    (0..3).for_each(|_| told.recv().unwrap().unwrap());
    drop(log);
    let found = open(dir.path());
    assert_eq!(all(&found), three);
    let committed = Some(Bytes::from_static(b"entry 2"));
    assert_eq!(found.committed().unwrap(), committed);
}

#[test]
fn a_directory_is_used_by_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let refused = SegmentLog::open_at(&place(dir.path()), &config()).unwrap_err();
    assert!(matches!(refused, StorageError::InUse { .. }), "{refused}");
    drop(log);
    open(dir.path());
}

#[test]
fn another_stores_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let another = Place {
        store: STORE + 1,
        tree: PathBuf::from("/other/tree"),
        ..place(dir.path())
    };
    let refused = SegmentLog::open_at(&another, &config()).unwrap_err();
    assert!(matches!(refused, StorageError::Lost { .. }), "{refused}");
    assert!(refused.to_string().contains("/other/tree"), "{refused}");
}

/// Random changes, crashes and starts: always what the log in memory says.
#[test]
fn the_log_is_what_the_memory_log_is() {
    for seed in 0..6 {
        let mut random = seed + 1_u64;
        let mut below = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        let mut dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path());
        let model = MemoryLog::new();
        let mut term = 1;
        for _ in 0..250 {
            let ends = model.ends();
            let (first, next) = (ends.purged.map_or(0, |it| it.index + 1), ends.next());
            match below(12) {
                0 if next > first => {
                    term += 1;
                    let keep = first + below(next - first);
                    let last = model.entries(keep..keep + 1, 0).unwrap()[0].position;
                    model.truncate_after(Some(last)).unwrap();
                    log.truncate_after(Some(last)).unwrap();
                }
                1 if next > first => {
                    let upto = first + below(next - first);
                    let upto = model.entries(upto..upto + 1, 0).unwrap()[0].position;
                    model.purge(upto).unwrap();
                    log.purge(upto).unwrap();
                }
                2 => {
                    let vote = Bytes::from(term.to_string());
                    wait(|done| model.save_vote(vote.clone(), done)).unwrap();
                    wait(|done| log.save_vote(vote, done)).unwrap();
                }
                3 => {
                    let survivor = copy(dir.path());
                    log = open(survivor.path());
                    dir = survivor;
                }
                _ => {
                    let bytes = usize::try_from(below(30_000)).unwrap();
                    let count = 1 + below(4);
                    let entries: Vec<_> = (next..next + count)
                        .map(|it| entry(term, it, bytes))
                        .collect();
                    append(&model, entries.clone());
                    append(&log, entries);
                }
            }
            assert_eq!(log.ends(), model.ends());
            assert_eq!(log.vote().unwrap(), model.vote().unwrap());
        }
        assert_eq!(all(&log), all(&model));
        let survivor = copy(dir.path());
        assert_eq!(all(&open(survivor.path())), all(&model));
    }
}
