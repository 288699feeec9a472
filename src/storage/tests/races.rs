//! What is installed while others read.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use super::store_suite::Dice;
use super::*;
use crate::state::{Missing, Peek};

/// Parents, each of which is listed for the first time while it gets its first child.
const ROUNDS: usize = 2_000;

#[test]
fn a_listing_never_misses_the_first_child() {
    let disk = RocksDisk::new();
    {
        let doors = disk.open();
        append(&*doors.log, entries(1, 0..ROUNDS as u64 + 10));
        let mut changes = vec![came("/", &parent(2_000))];
        changes.extend((0..ROUNDS).map(|round| came(&format!("/p{round}"), &parent(0))));
        apply(&*doors.tree, 1, changes);
        doors.snapshots.take().unwrap();
    }
    let tree = &disk.open().tree;
    let (begun, done) = (&AtomicUsize::new(0), &AtomicUsize::new(0));
    let mut wrong = Vec::new();
    thread::scope(|threads| {
        threads.spawn(|| {
            for round in 0..ROUNDS {
                while begun.load(SeqCst) <= round {
                    std::hint::spin_loop();
                }
                let part = Missing::Children(format!("/p{round}").into());
                drop(tree.warm(&[part], usize::MAX).unwrap());
                done.fetch_add(1, SeqCst);
            }
        });
        let mut dice = Dice(12345);
        for (round, index) in (0..ROUNDS).zip(2..) {
            let path = format!("/p{round}");
            let changes = vec![
                came(&format!("{path}/a"), &node(0, "x")),
                set(&path, &parent(1)),
            ];
            let txn = txn(index, changes);
            begun.fetch_add(1, SeqCst);
            for _ in 0..dice.roll(6000) {
                std::hint::spin_loop();
            }
            let mut entry = tree.entry();
            entry.install(&txn);
            while done.load(SeqCst) <= round {
                thread::yield_now();
            }
            let mut names = Vec::new();
            let seen = tree.peek_children(&path, &mut |name| names.push(name.to_owned()));
            if seen == Peek::Known(()) && names != ["a"] {
                wrong.push((path, names));
            }
            persist(entry, &[txn], &meta(index.cast_unsigned()));
        }
    });
    assert!(wrong.is_empty(), "{} of {ROUNDS}: {wrong:?}", wrong.len());
}
