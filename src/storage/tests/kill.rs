//! A process of its own that writes, and is killed by SIGKILL at random moments.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use super::*;

const DIR: &str = "OXKEEPER_TEST_KILLED_IN";
/// Entries in flight.
const WINDOW: usize = 20;

/// Not a test by itself: what the killed process runs.
#[test]
fn killed() {
    #[expect(
        clippy::disallowed_methods,
        reason = "the only way to tell a test anything"
    )]
    let Ok(dir) = std::env::var(DIR) else { return };
    let stores = super::super::open(&config(Path::new(&dir))).unwrap();
    let mut next = replay(&stores);
    let (tell, told) = mpsc::channel();
    let mut in_flight = VecDeque::new();
    loop {
        while in_flight.len() < WINDOW {
            let tell = tell.clone();
            let done = Box::new(move |result: Result<(), StorageError>| tell.send(result).unwrap());
            stores.log.append(vec![large(next)], done);
            in_flight.push_back(next);
            next += 1;
        }
        told.recv().unwrap().unwrap();
        let index = in_flight.pop_front().unwrap();
        // Only now the client hears of it.
        writeln!(std::io::stdout(), "acknowledged {index}").unwrap();
        apply_entry(&*stores.tree(), index);
        if index % 300 == 299 {
            let taken = stores.snapshots.take().unwrap();
            let LogPosition { term, index } = taken.meta.applied.unwrap();
            stores.log.purge(at(term, index - 50)).unwrap();
        }
    }
}

/// Applies what the tree has not, as a start does. Returns the next free index.
fn replay(stores: &Stores) -> u64 {
    let applied = stores.tree().restore().unwrap().meta.applied;
    let missing = applied.map_or(0, |at| at.index + 1)..u64::MAX;
    for entry in stores.log.entries(missing, usize::MAX).unwrap() {
        apply_entry(&*stores.tree(), entry.position.index);
    }
    stores.log.ends().last.map_or(0, |last| last.index + 1)
}

fn large(index: u64) -> LogEntry {
    let byte = u8::try_from(index % 251).unwrap();
    LogEntry {
        position: at(1, index),
        payload: Bytes::from(vec![byte; 3000]),
    }
}

fn apply_entry(tree: &dyn Store, index: u64) {
    let version = i32::try_from(index).unwrap();
    let data = "x".repeat(2000);
    let created = came(&format!("/n{index}"), &node(version, &data));
    apply(
        tree,
        index,
        vec![
            came("/", &parent(1)),
            set("/a", &node(version, "")),
            created,
        ],
    );
}

fn spawn(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "storage::tests::kill::killed", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn nothing_acknowledged_is_lost_and_the_tree_is_a_prefix() {
    let disk = RocksDisk::new();
    let mut acknowledged = 0;
    for round in 0..6_u64 {
        let mut child = spawn(disk.dir.path());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut to_go = 100 + round * 237;
        for line in lines.map_while(Result::ok) {
            if let Some(index) = line.strip_prefix("acknowledged ") {
                acknowledged = index.parse().unwrap();
                to_go -= 1;
                if to_go == 0 {
                    child.kill().unwrap();
                    // And read on: what it said before it died counts too.
                    to_go = u64::MAX;
                }
            }
        }
        assert!(to_go > u64::MAX / 2, "it ended by itself");
        child.wait().unwrap();
        check(&disk, acknowledged);
    }
}

fn check(disk: &RocksDisk, acknowledged: u64) {
    let stores = disk.try_open().unwrap();
    let ends = stores.log.ends();
    assert!(ends.last.unwrap().index >= acknowledged);
    let stored = stores.log.entries(0..u64::MAX, usize::MAX).unwrap();
    let first = ends.purged.map_or(0, |at| at.index + 1);
    assert_eq!(stored.last().map(|entry| entry.position), ends.last);
    assert!(
        stored
            .into_iter()
            .zip(first..)
            .all(|(stored, index)| stored == large(index))
    );
    // The tree is exactly what the entries up to its position made of it.
    let applied = stores.tree().restore().unwrap().meta.applied;
    let count = applied.map_or(0, |at| at.index + 1);
    let version = stores
        .tree()
        .load("/a")
        .unwrap()
        .map_or(-1, |node| i64::from(node.version));
    assert_eq!(version + 1, count.cast_signed());
    let mut names = 0;
    let root = [crate::state::Missing::Children("/".into())];
    let warmed = stores.tree().warm(&root, usize::MAX).unwrap();
    let peeked = stores.tree().peek_children("/", &mut |_| names += 1);
    assert_eq!((peeked, warmed.done), (crate::state::Peek::Known(()), 1));
    assert_eq!(names, if count == 0 { 0 } else { count + 1 });
    if let Some(taken) = stores.snapshots.newest().unwrap() {
        assert!(taken.meta.applied <= applied);
    }
}
