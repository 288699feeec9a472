//! Start, restart, crash, checkpoint, stop.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::super::raft::records::encode_committed;
use super::super::raft::types::log_id;
use super::*;
use crate::ensemble::{Role, SubmitError};
use crate::state::LogPosition;
use crate::storage::{Checkpoint, ReceiveError, Receiving, SnapshotFile, StorageError};

/// Waits until the log is purged to at least `wanted`.
async fn purged_to(server: &Running, wanted: u64) {
    let purged = async {
        let report = || server.ensemble.report();
        while report().purged.is_none_or(|index| index < wanted) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), purged)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_server_leads_itself_at_once() {
    let begun = tokio::time::Instant::now();
    let server = Disk::new().start().await;
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(server.ensemble.role(), Role::Leader { term: 1 });
    assert_eq!(server.create("/a"), 2);
    server.recorder.until(1).await;
    assert!(server.holds("/a"));
    assert_eq!(server.recorder.told.lock()[0].zxid, Zxid(1 << 32 | 2));
    server.ensemble.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_applied_is_there_after_a_restart() {
    for (persisted, stopped) in [(true, true), (true, false), (false, true), (false, false)] {
        let disk = Disk::new();
        let server = disk.start().await;
        let first = server.ensemble.origin();
        for i in 0..10 {
            server.create(&format!("/n{i}"));
        }
        server.recorder.until(10).await;
        if stopped {
            server.ensemble.stop().await;
        }
        disk.persisted(&server).await;
        drop(server);
        let server = disk.crash(usize::MAX, persisted).start().await;
        for i in 0..10 {
            assert!(server.holds(&format!("/n{i}")), "persisted {persisted}");
        }
        let replayed = server.recorder.sequences();
        let expected: Vec<u64> = if persisted {
            vec![]
        } else {
            (2..=11).collect()
        };
        assert_eq!(replayed, expected, "stopped {stopped}");
        assert!(server.ensemble.origin().incarnation > first.incarnation);
        // The new incarnation begins again with 1, which attached the session.
        assert_eq!(server.create("/again"), 2);
        server.recorder.until(expected.len() + 1).await;
        assert!(server.holds("/again"));
        assert_eq!(server.ensemble.role(), Role::Leader { term: 2 });
        server.ensemble.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_was_appended_but_not_applied_is_applied_once() {
    let disk = Disk::new();
    let server = disk.start().await;
    server.create("/before");
    server.recorder.until(1).await;
    disk.log.hold();
    server.create("/between");
    while disk.log.pending() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(
        !server.holds("/between"),
        "nothing is applied before it is durable"
    );
    // The disk had it, though it never said so.
    let after = disk.crash(usize::MAX, true);
    drop(server);
    for _ in 0..2 {
        let server = after.start().await;
        assert!(server.holds("/before"));
        assert!(server.holds("/between"));
        drop(server);
    }
    let server = after.crash(0, true).start().await;
    assert!(
        server.recorder.sequences().is_empty(),
        "it is not applied again"
    );
    assert_eq!(server.replica.read().meta().last_zxid, Zxid(1 << 32 | 3));
    server.ensemble.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_was_not_durable_may_be_lost_and_was_not_answered() {
    let disk = Disk::new();
    let server = disk.start().await;
    disk.log.hold();
    server.create("/lost");
    while disk.log.pending() == 0 {
        tokio::task::yield_now().await;
    }
    let after = disk.crash(0, true);
    assert!(server.recorder.sequences().is_empty());
    drop(server);
    let server = after.start().await;
    assert!(!server.holds("/lost"));
    server.create("/new");
    server.recorder.until(1).await;
    assert!(server.holds("/new"));
    server.ensemble.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_purges_the_log_and_a_restart_goes_on_behind_it() {
    let disk = Disk::new();
    let config = || Config {
        checkpoint_entries: 50,
        entries_kept: 10,
        batch_ops_max: 1,
        ..alone()
    };
    let server = disk.try_start(config()).await.unwrap();
    // The first checkpoint may be begun when little is applied; one that the second hundred makes
    // due holds all of the first.
    for count in [100, 200] {
        for i in count - 100..count {
            server.create(&format!("/n{i}"));
        }
        server.recorder.until(count).await;
    }
    purged_to(&server, 90).await;
    let report = server.ensemble.report();
    assert!(report.checkpoint.unwrap() >= report.purged.unwrap() + 10);
    // The log is purged before the report says so, and more may be purged meanwhile.
    assert!(disk.log.ends().purged.unwrap().index >= report.purged.unwrap());
    server.ensemble.stop().await;
    drop(server);

    let server = disk.crash(0, false).try_start(config()).await.unwrap();
    for i in 0..200 {
        assert!(server.holds(&format!("/n{i}")));
    }
    assert!(
        server.recorder.sequences().len() < 200,
        "only the tail is replayed"
    );
    server.create("/behind");
    server.ensemble.stop().await;
    assert!(server.holds("/behind"));
}

/// As if an entry took longer to apply than a checkpoint waits for its end: then there is nothing
/// in it that the last one did not hold.
#[derive(Debug)]
struct Impatient {
    inner: Arc<dyn Snapshots>,
    /// How many more end so.
    in_vain: AtomicUsize,
}

impl Snapshots for Impatient {
    fn take(&self) -> Result<Checkpoint, StorageError> {
        let less = |left: usize| left.checked_sub(1);
        let newest = self.inner.newest()?;
        match newest {
            Some(newest) if self.in_vain.fetch_update(SeqCst, SeqCst, less).is_ok() => Ok(newest),
            _ => self.inner.take(),
        }
    }

    fn newest(&self) -> Result<Option<Checkpoint>, StorageError> {
        self.inner.newest()
    }

    fn receive(&self, files: Vec<SnapshotFile>) -> Result<Box<dyn Receiving>, ReceiveError> {
        self.inner.receive(files)
    }

    fn install(&self, received: Checkpoint) -> Result<Arc<dyn Store>, StorageError> {
        self.inner.install(received)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_holds_nothing_new_is_tried_again() {
    let mut disk = Disk::new();
    let impatient = Arc::new(Impatient {
        inner: Arc::clone(&disk.snapshots),
        in_vain: AtomicUsize::new(0),
    });
    disk.snapshots = Arc::clone(&impatient) as Arc<dyn Snapshots>;
    let config = Config {
        checkpoint_entries: 20,
        entries_kept: 1,
        batch_ops_max: 1,
        ..alone()
    };
    let server = disk.try_start(config).await.unwrap();
    let mut count = 0;
    for (wanted, in_vain) in [(20, 0), (60, 3)] {
        impatient.in_vain.store(in_vain, SeqCst);
        let purged = || server.ensemble.report().purged.unwrap_or(0);
        let begun = tokio::time::Instant::now();
        while purged() < wanted {
            server.create(&format!("/n{count}"));
            count += 1;
            server.recorder.until(count).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(begun.elapsed() < Duration::from_secs(30), "{wanted}");
        }
        assert_eq!(impatient.in_vain.load(SeqCst), 0);
    }
    server.ensemble.stop().await;
}

/// One that openraft is told to apply before it starts, of entries that the log does not hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_committed_position_ahead_of_the_log_is_no_obstacle() {
    let disk = Disk::new();
    let server = disk.start().await;
    server.create("/n");
    server.recorder.until(1).await;
    server.ensemble.stop().await;
    drop(server);
    let after = disk.crash(0, false);
    let last = after.log.ends().last.unwrap();
    let ahead = log_id(LogPosition {
        index: last.index + 5,
        ..last
    });
    after.log.save_committed(Some(encode_committed(&ahead)));
    let server = after.crash(0, false).start().await;
    assert!(server.holds("/n"));
    server.ensemble.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_due_by_bytes_too() {
    let disk = Disk::new();
    let config = Config {
        checkpoint_log_bytes: 100_000,
        ..alone()
    };
    let server = disk.try_start(config).await.unwrap();
    server.create("/n");
    let body = set_data("/n", 10_000);
    for _ in 0..20 {
        server.submit(client(OpCode::SET_DATA, &body));
    }
    let taken = async {
        while server.ensemble.report().checkpoint.is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), taken)
        .await
        .unwrap();
    server.ensemble.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_drains_and_closes() {
    let disk = Disk::new();
    let server = disk.start().await;
    for i in 0..5000 {
        server.create(&format!("/n{i}"));
    }
    server.ensemble.stop().await;
    assert_eq!(server.recorder.sequences().len(), 5000);
    let body = create("/late");
    let late = server
        .ensemble
        .submit(submission(0, client(OpCode::CREATE, &body)));
    assert_eq!(late, Err(SubmitError::Closed));
    server.ensemble.room().await;
    assert_eq!(server.ensemble.role(), Role::Stopped);
    assert!(server.ensemble.barrier().await.is_err());
    let failed = tokio::time::timeout(Duration::from_millis(50), server.ensemble.failed()).await;
    assert!(failed.is_err(), "an orderly stop is no failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_store_is_told() {
    let disk = Disk::new();
    let server = disk.start().await;
    let failed = server.ensemble.failed();
    // The log of a crashed disk refuses all writes.
    let _after = disk.crash(0, true);
    server.create("/n");
    let failure = tokio::time::timeout(Duration::from_secs(10), failed)
        .await
        .unwrap();
    assert!(
        matches!(*failure, crate::ensemble::Failure::Storage(_)),
        "{failure}"
    );
    assert!(server.recorder.sequences().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_other_members_is_refused() {
    let disk = Disk::new();
    disk.start().await.ensemble.stop().await;
    let other = Config::new(ServerId(2), vec![ServerId(2)]);
    let refused = disk.crash(0, true).try_start(other).await;
    assert!(matches!(
        refused.err(),
        Some(StartError::OtherMembers { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_barrier_waits_for_what_was_applied_before_it() {
    let server = Disk::new().start().await;
    server.ensemble.barrier().await.unwrap();
    server.create("/n");
    server.recorder.until(1).await;
    let applied = server.ensemble.report().applied;
    let barriers = (0..100).map(|_| server.ensemble.barrier());
    for passed in futures::future::join_all(barriers).await {
        passed.unwrap();
    }
    assert!(server.ensemble.report().applied >= applied);
    server.ensemble.stop().await;
}

/// openraft issue 2116: a purge that follows a checkpoint must not overtake what is queued for
/// apply.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_in_quick_succession_under_load_lose_nothing() {
    const COUNT: usize = 30_000;
    let disk = Disk::new();
    let config = Config {
        checkpoint_entries: 20,
        entries_kept: 1,
        batch_ops_max: 3,
        queue_bytes_max: 100_000,
        ..alone()
    };
    let server = disk.try_start(config).await.unwrap();
    server.create("/n");
    let body = set_data("/n", 1000);
    for _ in 0..COUNT {
        let action = client(OpCode::SET_DATA, &body);
        while server.ensemble.submit(submission(0, action)) == Err(SubmitError::Full) {
            server.ensemble.room().await;
        }
    }
    purged_to(&server, 1000).await;
    server.ensemble.stop().await;
    assert_eq!(server.recorder.sequences().len(), COUNT + 1);
    drop(server);
    let server = disk.crash(0, false).start().await;
    let Peek::Known(Some(znode)) = server.replica.read().peek_znode("/n") else {
        panic!("the znode is there")
    };
    assert_eq!(znode.version, i32::try_from(COUNT).unwrap());
    server.ensemble.stop().await;
}
