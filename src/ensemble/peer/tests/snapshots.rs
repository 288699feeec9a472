//! Snapshots between two servers, on connections of their own.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::*;
use crate::state::Store;
use crate::storage::memory::{MemorySnapshots, MemoryTree};
use crate::storage::{Checkpoint, SnapshotFile, Snapshots as _, StorageError};

/// A snapshot to be sent.
struct Sent {
    checkpoint: Checkpoint,
    files: Arc<[SnapshotFile]>,
    /// Pieces that were read of it.
    read: AtomicUsize,
    missing: AtomicU64,
    /// Its bytes come out wrong.
    is_damaged: bool,
}

impl Sent {
    fn new() -> Self {
        let tree = Arc::new(MemoryTree::new());
        let meta = crate::state::Meta {
            applied: Some(LogPosition { term: 3, index: 70 }),
            ..Default::default()
        };
        tree.entry().persist(&meta).expect("kept");
        let checkpoint = MemorySnapshots::new(tree).take().expect("taken");
        let files = checkpoint.files().expect("some");
        Self {
            checkpoint,
            files,
            read: AtomicUsize::new(0),
            missing: AtomicU64::new(0),
            is_damaged: false,
        }
    }

    fn offer(&self, server: u8) -> Offer {
        Offer {
            vote: Vote::new_committed(3, u64::from(server)),
            at: at(3, 70),
            files: self.files.to_vec(),
        }
    }

    fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

impl Source for Sent {
    fn wanted(&self, missing: u64) {
        self.missing.store(missing, SeqCst);
    }

    fn read(
        &self,
        file: usize,
        offset: u64,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Bytes, StorageError>> {
        self.read.fetch_add(1, SeqCst);
        let read = self.checkpoint.read(&self.files[file], offset, bytes_max);
        let read = read.map(|bytes| match self.is_damaged {
            true => vec![0; bytes.len()].into(),
            false => bytes,
        });
        std::future::ready(read).boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_comes_whole_and_is_told_of_when_it_is_installed() {
    let network = MemoryNetwork::default();
    let (leader, _) = open(&network, 1, config(1, 2)).await;
    let (_follower, member) = open(&network, 2, config(2, 2)).await;
    let sent = Sent::new();
    let told = soon(leader.send_snapshot(id(2), sent.offer(1), &sent)).await;
    assert_eq!(told.expect("taken").vote, Vote::new_committed(3, 1));
    assert_eq!(sent.missing.load(SeqCst), sent.bytes());
    let received = member.received.lock();
    let (whole, pieces) = &received[0];
    assert_eq!(whole.meta, sent.checkpoint.meta);
    assert_eq!((received.len(), *pieces), (1, sent.read.load(SeqCst)));
    assert!(*pieces > sent.files.len(), "a file of several pieces");
}

/// What has come is not sent again, to the byte.
#[tokio::test(start_paused = true)]
async fn a_snapshot_goes_on_where_its_connection_broke() {
    let network = MemoryNetwork::default();
    let (leader, _) = open(&network, 1, config(1, 2)).await;
    let (_follower, member) = open(&network, 2, config(2, 2)).await;
    let sent = Sent::new();
    member.snapshot_room.forget_permits(Semaphore::MAX_PERMITS);
    let mut before = sent.bytes();
    for attempt in 1..=3 {
        // One more piece gets through, then the link breaks.
        member.snapshot_room.add_permits(1);
        let sending = leader.send_snapshot(id(2), sent.offer(1), &sent);
        let breaking = async {
            while member.snapshot_room.available_permits() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            network.break_connections(1, 2);
        };
        let (broken, ()) = soon(async { tokio::join!(sending, breaking) }).await;
        assert!(broken.is_err(), "{broken:?}");
        // The other side notices when it pings.
        let mut closed = member.closed.subscribe();
        let is_closed = closed.wait_for(|closed| {
            let such = closed.iter().filter(|it| it.1 == Lane::Snapshot);
            such.count() >= attempt
        });
        soon(is_closed).await.expect("lives");
        let missing = sent.missing.load(SeqCst);
        assert!(missing <= before, "{missing} of {before}");
        before = missing;
    }
    member.snapshot_room.add_permits(1000);
    let told = soon(leader.send_snapshot(id(2), sent.offer(1), &sent)).await;
    told.expect("taken");
    let missing = sent.missing.load(SeqCst);
    assert!(missing > 0 && missing < sent.bytes(), "{missing}");
    assert_eq!(member.received.lock()[0].0.meta, sent.checkpoint.meta);
}

#[tokio::test(start_paused = true)]
async fn what_comes_damaged_is_not_taken_and_may_be_sent_again() {
    let network = MemoryNetwork::default();
    let (leader, _) = open(&network, 1, config(1, 2)).await;
    let (_follower, member) = open(&network, 2, config(2, 2)).await;
    let mut sent = Sent::new();
    sent.is_damaged = true;
    let refused = soon(leader.send_snapshot(id(2), sent.offer(1), &sent)).await;
    let damaged = SnapshotError::Refused(Refusal::Damaged).to_string();
    assert_eq!(refused.expect_err("damaged").to_string(), damaged);
    assert!(member.received.lock().is_empty());
    sent.is_damaged = false;
    let told = soon(leader.send_snapshot(id(2), sent.offer(1), &sent)).await;
    told.expect("taken");
    assert_eq!(member.received.lock().len(), 1);
}

/// Whatever a disk does with a snapshot, heartbeats and entries pass it; and while both sides ping, it is waited for.
#[tokio::test(start_paused = true)]
async fn a_snapshot_that_nobody_takes_stands_before_nothing() {
    let network = MemoryNetwork::default();
    let (leader, _) = open(&network, 1, config(1, 2)).await;
    let (_follower, member) = open(&network, 2, config(2, 2)).await;
    until(&leader, id(2), is_up).await;
    let sent = Sent::new();
    member.snapshot_room.forget_permits(Semaphore::MAX_PERMITS);
    let sending = leader.send_snapshot(id(2), sent.offer(1), &sent);
    let beside = async {
        let within = Duration::from_millis(100);
        for _ in 0..100 {
            let beat = append_request(1, 3, 70, &[]);
            leader.heartbeat(id(2), beat, within).await.expect("heard");
            tokio::time::sleep(within).await;
        }
        member.snapshot_room.add_permits(1000);
    };
    let (told, ()) = soon(async { tokio::join!(sending, beside) }).await;
    told.expect("taken");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_in_the_name_of_another_server_is_not_looked_at() {
    let network = MemoryNetwork::default();
    let (leader, _) = open(&network, 1, config(1, 3)).await;
    let (_follower, member) = open(&network, 2, config(2, 3)).await;
    let sent = Sent::new();
    let refused = soon(leader.send_snapshot(id(2), sent.offer(3), &sent)).await;
    assert!(
        matches!(refused, Err(SnapshotError::Lost(_))),
        "{refused:?}"
    );
    assert_eq!(*member.asked.borrow(), 0);
}
