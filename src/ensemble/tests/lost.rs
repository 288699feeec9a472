//! What restarts must not forget: a log that has lost its end, and how much log there is.

use std::time::Duration;

use super::*;
use crate::ensemble::Role;
use crate::ensemble::SubmitError;

/// Two copies of what a stopped server leaves.
fn twice(log: &MemoryLog) -> (MemoryLog, MemoryLog) {
    (log.crash(0), log.crash(0))
}

/// Without syncs a power failure takes the end of the log, but not the tree that was flushed behind
/// it. With the log went the number of the start and the vote.
#[tokio::test(flavor = "multi_thread")]
async fn a_tree_ahead_of_its_log_is_gone_on_from() {
    let disk = Disk::new();
    let server = disk.start().await;
    server.create("/a");
    server.recorder.until(1).await;
    server.ensemble.stop().await;
    drop(server);
    let (early, late) = twice(&disk.log);

    let disk = Disk::of(late, disk.tree().crash(true));
    let server = disk.start().await;
    server.create("/b");
    server.recorder.until(1).await;
    server.ensemble.stop().await;
    let lost = server.ensemble.origin();
    let Some(applied) = server.replica.read().applied() else {
        panic!("something is applied")
    };
    drop(server);
    assert!(early.ends().last < Some(applied));

    let disk = Disk::of(early, disk.tree().crash(true));
    let server = disk.start().await;
    assert!(server.holds("/b"));
    let Role::Leader { term } = server.ensemble.role() else {
        panic!("a lone voter leads")
    };
    assert!(term > applied.term, "{term}");
    // The clock stood still meanwhile: only the tree knows which number is used.
    assert!(server.ensemble.origin().incarnation > lost.incarnation);
    server.create("/c");
    let told = server.recorder.until(1);
    tokio::time::timeout(Duration::from_secs(10), told)
        .await
        .unwrap();
    assert!(server.holds("/c"));
    server.ensemble.stop().await;
    drop(server);
    // And once more, from a log that holds no entry of its own any more.
    let server = disk.crash(0, true).start().await;
    assert!(server.holds("/c"));
    server.ensemble.stop().await;
}

/// Waits until a checkpoint is taken and the log behind it purged.
async fn purged(server: &Running) {
    let purged = async {
        while server.ensemble.report().purged.is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let purged = tokio::time::timeout(Duration::from_secs(20), purged).await;
    purged.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_earlier_runs_counts_towards_a_checkpoint() {
    let config = || Config {
        checkpoint_log_bytes: 100_000,
        entries_kept: 1,
        batch_ops_max: 1,
        ..alone()
    };
    let mut disk = Disk::new();
    let body = set_data("/n", 10_000);
    for run in 0..4 {
        let server = disk.try_start(config()).await.unwrap();
        let told = server.recorder.sequences().len();
        server.create("/n");
        for _ in 0..4 {
            server.submit(client(OpCode::SET_DATA, &body));
        }
        server.recorder.until(told + 5).await;
        if run == 3 {
            purged(&server).await;
        }
        server.ensemble.stop().await;
        disk.persisted(&server).await;
        drop(server);
        disk = disk.crash(0, true);
    }
}

/// Entries may be as large as a batch: what is kept of them must not be more than what is to be
/// purged.
#[tokio::test(flavor = "multi_thread")]
async fn large_entries_are_purged_too() {
    const ENTRIES: usize = 80;
    let config = Config {
        checkpoint_log_bytes: 8 << 20,
        ..alone()
    };
    let disk = Disk::new();
    let server = disk.try_start(config).await.unwrap();
    server.create("/n");
    let body = set_data("/n", 900_000);
    for _ in 0..ENTRIES {
        let action = client(OpCode::SET_DATA, &body);
        while server.ensemble.submit(submission(0, action)) == Err(SubmitError::Full) {
            server.ensemble.room().await;
        }
    }
    server.recorder.until(ENTRIES + 1).await;
    purged(&server).await;
    server.ensemble.stop().await;
}
