//! What is bounded, and what must be noticed: the log that is kept for others, what a leader's own disk
//! has not taken yet, a log that is to be taken back, work that gets no further.

use std::time::Duration;

use openraft::storage::RaftLogStorage as _;

use super::super::error::Failure;
use super::super::placement::Placement;
use super::super::progress::Progress;
use super::super::raft::checkpoint::Pressure;
use super::super::raft::log_store::LogStore;
use super::super::raft::types::log_id;
use super::three::{Three, within};
use super::*;
use crate::ensemble::SubmitError;
use crate::state::LogPosition;

/// Long enough for everything that is to come of itself.
const MOMENT: Duration = Duration::from_millis(300);

fn at(index: u64) -> LogPosition {
    LogPosition { term: 3, index }
}

/// Every entry that was applied was committed: a leader that has others in their place has another
/// history, and the server that applied them cannot follow it.
#[tokio::test]
async fn what_was_applied_is_not_taken_back() {
    let log = Arc::new(MemoryLog::new());
    let progress = Arc::new(Progress::new(Some(at(5))));
    let pressure = Arc::new(Pressure::new(&alone(), &*log, None));
    let entries = (0..9).map(|index| crate::storage::LogEntry {
        position: at(index),
        payload: bytes::Bytes::from_static(&[0x80]),
    });
    log.append(entries.collect(), Box::new(drop));
    let door = Arc::clone(&log) as Arc<dyn Log>;
    let told = Arc::clone(&progress);
    let mut store = LogStore::new(door, told, pressure, Placement::Several);
    // What was only in the log may go, up to the last entry that was applied.
    for last in [7, 5] {
        store.truncate_after(Some(log_id(at(last)))).await.unwrap();
        assert_eq!(log.ends().last, Some(at(last)));
    }
    assert!(progress.failure().is_none());
    let refused = store.truncate_after(Some(log_id(at(4)))).await;
    assert!(refused.is_err());
    assert_eq!(log.ends().last, Some(at(5)), "nothing is gone");
    let failure = progress.failure().unwrap();
    let Failure::Diverged { applied, kept } = *failure else {
        panic!("{failure}")
    };
    assert_eq!((applied, kept), (at(5), Some(4)));
    let said = failure.to_string();
    assert!(said.contains("set it aside"), "{said}");
}

/// Entries are batches and may be large: their number alone does not bound the disk.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_that_is_kept_for_others_is_bounded_in_bytes() {
    const BETWEEN: u64 = 20_000;
    let config = Config {
        checkpoint_log_bytes: BETWEEN,
        entries_kept: 10_000,
        batch_ops_max: 1,
        ..alone()
    };
    let disk = Disk::new();
    let server = disk.try_start(config).await.unwrap();
    server.create("/n");
    let body = set_data("/n", 2_000);
    let mut told = 1;
    let is_bounded = || {
        let ends = disk.log.ends();
        let kept = disk.log.bytes_behind(ends.purged.map(|at| at.index));
        ends.purged.is_some() && kept <= 6 * BETWEEN
    };
    // A checkpoint comes with the next of these, and a purge behind it.
    for _ in 0..20 {
        for _ in 0..50 {
            server.submit(client(OpCode::SET_DATA, &body));
        }
        told += 50;
        within(server.recorder.until(told)).await;
    }
    within(async {
        while !is_bounded() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    // And not everything: a server that was away for a moment needs no more than this.
    let ends = disk.log.ends();
    let kept = disk.log.bytes_behind(ends.purged.map(|at| at.index));
    assert!(kept >= BETWEEN, "{kept}");
    server.ensemble.stop().await;
}

/// A disk that is slower than those of the others does not hold up what they commit, and memory must
/// not grow by that.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_has_too_much_to_do_proposes_nothing_more() {
    const BYTES: usize = 900_000;
    let mut three = Three::new();
    three.start_all().await;
    let leader = three.leader().await;
    let server = &three.servers[&leader];
    server.open_session().await;
    server.create("/n");
    within(server.recorder.until(1)).await;
    three.disk(leader).log.hold();
    let body = set_data("/n", BYTES);
    let before = three.disk(leader).log.ends().last.map(|at| at.index);
    let held = || three.disk(leader).log.bytes_behind(before);
    // More than may wait for the disk, if nobody minds.
    let mut submitted = 0;
    let quiet = async {
        let mut last = (0, tokio::time::Instant::now());
        loop {
            let action = client(OpCode::SET_DATA, &body);
            if submitted < 160 && server.ensemble.submit(submission(0, action)).is_ok() {
                submitted += 1;
            }
            if held() != last.0 {
                last = (held(), tokio::time::Instant::now());
            } else if last.1.elapsed() > 2 * MOMENT {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(quiet).await;
    let waits = held();
    // What is proposed at once may exceed it.
    let enough = (60 << 20)..(90 << 20);
    assert!(enough.contains(&waits), "{waits} bytes wait for the disk");
    // All of it is done when the disk goes on.
    three.disk(leader).log.release_all();
    within(server.recorder.until(submitted + 1)).await;
    let full = server
        .ensemble
        .submit(submission(0, client(OpCode::SET_DATA, &body)));
    assert_ne!(full, Err(SubmitError::Full));
}

/// The leader has nothing of its own under way: what is in its log of others gets no further.
#[tokio::test(flavor = "multi_thread")]
async fn a_stall_shows_where_the_stalled_proposals_are_not_ones_own() {
    let mut three = Three::new();
    three.start_all().await;
    let leader = three.leader().await;
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    let from = &three.servers[&follower];
    from.open_session().await;
    from.create("/before");
    three.until_all_hold("/before").await;
    let leads = &three.servers[&leader].ensemble;
    assert_eq!(leads.stuck_for(), Duration::ZERO, "nothing is under way");
    for id in 1..=3 {
        three.disk(id).log.hold();
    }
    from.create("/stuck");
    within(async {
        while leads.stuck_for() < 2 * MOMENT {
            assert_eq!(leads.report().queue.flight_batches, 0);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    for id in 1..=3 {
        three.disk(id).log.release_all();
    }
    three.until_all_hold("/stuck").await;
    within(async {
        while leads.stuck_for() > Duration::ZERO {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}
