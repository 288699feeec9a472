//! openraft's own suite on our adapters, over both stores.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use openraft::testing::log::{StoreBuilder, Suite};
use parking_lot::Mutex;
use tempfile::TempDir;

use super::super::origin::outgoing::Outgoing;
use super::super::origin::proposals::Proposals;
use super::super::placement::Placement;
use super::super::progress::Progress;
use super::super::raft::applier::{Applier, Applying};
use super::super::raft::checkpoint::Pressure;
use super::super::raft::log_store::LogStore;
use super::super::raft::machine::Machine;
use super::super::raft::types::Types;
use super::{Disk, alone};
use crate::clock::SystemClock;
use crate::state::{LogPosition, Origin, Replica, Rules, ServerId, Silence, Store};
use crate::storage::{
    self, Checkpoint, Durable, Log, LogEnds, LogEntry, ReceiveError, Receiving, SnapshotFile,
    Snapshots, StorageError,
};

fn adapters(
    log: Arc<dyn Log>,
    tree: Arc<dyn Store>,
    snapshots: Arc<dyn Snapshots>,
) -> (LogStore, Machine) {
    let origin = Origin {
        server: ServerId(1),
        incarnation: 1,
    };
    let replica = Arc::new(Replica::open(tree, Rules::default()).unwrap());
    let progress = Arc::new(Progress::new(None));
    let outgoing = Outgoing::new(origin, &alone(), Rules::default(), None);
    let proposals = Arc::new(Proposals::new(outgoing, Arc::new(SystemClock)));
    let pressure = Arc::new(Pressure::new(&alone(), &*log, None));
    let placement = Placement::Alone;
    let log_store = LogStore::new(Arc::clone(&log), Arc::clone(&progress), pressure, placement);
    let applier = Arc::new(Applier {
        origin,
        log: Arc::clone(&log),
        replica: Arc::clone(&replica),
        sink: Arc::new(Silence),
        proposals,
        progress: Arc::clone(&progress),
    });
    let snapshots = Arc::new(Sent(snapshots));
    let applying = Applying::Here(Arc::clone(&applier));
    let machine = Machine::new(applying, applier, snapshots, placement);
    (log_store, machine)
}

/// The suite hands a snapshot over within this process: here it is sent as to another server.
#[derive(Debug)]
struct Sent(Arc<dyn Snapshots>);

impl Snapshots for Sent {
    fn take(&self) -> Result<Checkpoint, StorageError> {
        self.0.take()
    }

    fn newest(&self) -> Result<Option<Checkpoint>, StorageError> {
        self.0.newest()
    }

    fn receive(&self, files: Vec<SnapshotFile>) -> Result<Box<dyn Receiving>, ReceiveError> {
        self.0.receive(files)
    }

    fn install(&self, taken: Checkpoint) -> Result<Arc<dyn Store>, StorageError> {
        let files = taken.files()?;
        let mut receiving = self.0.receive(files.to_vec()).unwrap();
        // What is empty is there already.
        let sent = files.iter().enumerate().filter(|(_, file)| file.bytes > 0);
        for (number, file) in sent {
            let bytes = taken.read(file, 0, usize::MAX)?;
            receiving.write(number, 0, &bytes).unwrap();
        }
        self.0.install(receiving.finish().unwrap())
    }
}

struct InMemory;

impl StoreBuilder<Types, LogStore, Machine, ()> for InMemory {
    async fn build(&self) -> Result<((), LogStore, Machine), openraft::StorageError<Types>> {
        let disk = Disk::new();
        let tree = disk.tree();
        let (log, machine) = adapters(disk.log, tree, disk.snapshots);
        Ok(((), log, machine))
    }
}

/// The suite begins some logs at index 1 and reads from 0. A real log begins at 0, and the one on
/// RocksDB takes the missing entry for a loss, as it should.
#[derive(Debug)]
struct FromItsFirst {
    log: Arc<dyn Log>,
    first: Mutex<Option<u64>>,
}

impl Log for FromItsFirst {
    fn append(&self, entries: Vec<LogEntry>, durable: Durable) {
        let first = entries.first().map(|entry| entry.position.index);
        let mut known = self.first.lock();
        *known = known.or(first);
        drop(known);
        self.log.append(entries, durable);
    }

    fn entries(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<LogEntry>, StorageError> {
        let first = self.first.lock().unwrap_or(0);
        self.log
            .entries(range.start.max(first)..range.end.max(first), bytes_max)
    }

    fn save_vote(&self, vote: Bytes, durable: Durable) {
        self.log.save_vote(vote, durable);
    }

    fn vote(&self) -> Result<Option<Bytes>, StorageError> {
        self.log.vote()
    }

    fn save_committed(&self, committed: Option<Bytes>) {
        self.log.save_committed(committed);
    }

    fn committed(&self) -> Result<Option<Bytes>, StorageError> {
        self.log.committed()
    }

    fn truncate_after(&self, last: Option<LogPosition>) -> Result<(), StorageError> {
        self.log.truncate_after(last)
    }

    fn purge(&self, upto: LogPosition) -> Result<(), StorageError> {
        self.log.purge(upto)
    }

    fn bytes_behind(&self, index: Option<u64>) -> u64 {
        self.log.bytes_behind(index)
    }

    fn ends(&self) -> LogEnds {
        self.log.ends()
    }

    fn appended_bytes(&self) -> u64 {
        self.log.appended_bytes()
    }

    fn next_incarnation(&self, at_least: u64) -> Result<u64, StorageError> {
        self.log.next_incarnation(at_least)
    }

    fn is_joining(&self) -> Result<bool, StorageError> {
        self.log.is_joining()
    }

    fn mark_joining(&self, joining: bool) -> Result<(), StorageError> {
        self.log.mark_joining(joining)
    }

    fn close(&self) {
        self.log.close();
    }
}

struct OnRocks;

impl StoreBuilder<Types, LogStore, Machine, TempDir> for OnRocks {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), openraft::StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let stores = storage::open(&storage::Config {
            data_dir: dir.path().to_owned(),
            log_dir: dir.path().to_owned(),
            ..storage::Config::default()
        })
        .unwrap();
        let tree = stores.tree();
        let log = FromItsFirst {
            log: stores.log,
            first: Mutex::new(None),
        };
        let (log, machine) = adapters(Arc::new(log), tree, stores.snapshots);
        Ok((dir, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openrafts_suite_on_memory() {
    Suite::test_all(InMemory).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn openrafts_suite_on_rocksdb() {
    Suite::test_all(OnRocks).await.unwrap();
}
