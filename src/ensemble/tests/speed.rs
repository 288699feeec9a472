//! What a proposal costs. Figures go to stderr (`--nocapture`); only absurd ones fail.

use std::io::Write as _;
use std::time::Duration;

use super::*;
use crate::ensemble::SubmitError;
use crate::storage;

fn say(line: &str) {
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// User and system time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// `sessions` tasks with `depth` proposals in flight each, in bursts.
async fn run(server: &Running, label: &str, sessions: usize, depth: usize, total: usize) {
    server.create("/n");
    server.recorder.until(1).await;
    let before = server.ensemble.report();
    let (begun, cpu_begun) = (tokio::time::Instant::now(), cpu());
    let tasks: Vec<_> = (0..sessions)
        .map(|_| {
            let (ensemble, recorder) = (Arc::clone(&server.ensemble), Arc::clone(&server.recorder));
            tokio::spawn(async move {
                let body = set_data("/n", 100);
                let mut counts = recorder.count.subscribe();
                for _ in 0..total / sessions / depth {
                    let mut last = 0;
                    for _ in 0..depth {
                        last = loop {
                            let action = client(OpCode::SET_DATA, &body);
                            match ensemble.submit(submission(0, action)) {
                                Ok(sequence) => break sequence,
                                Err(SubmitError::Full) => ensemble.room().await,
                                Err(closed) => panic!("{closed}"),
                            }
                        };
                    }
                    // The session took the first sequence, and the recorder does not count it.
                    let last = usize::try_from(last).unwrap() - 1;
                    counts.wait_for(|now| *now >= last).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let (took, cpu) = (begun.elapsed(), cpu() - cpu_begun);
    let report = server.ensemble.report();
    let proposals = report.queue.proposals - before.queue.proposals;
    let batches = report.queue.batches - before.queue.batches;
    let line = format!(
        "{label}: {sessions} x {depth}: {:.0} proposals/s, {:.1} us CPU each, {:.1} to a batch, {:.1} us CPU a batch\n",
        proposals as f64 / took.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / proposals as f64,
        proposals as f64 / batches as f64,
        cpu.as_secs_f64() * 1e6 / batches as f64,
    );
    say(&line);
    assert!(server.recorder.told.lock().iter().all(|told| !told.refused));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_proposals_in_memory() {
    for (sessions, depth, total) in [
        (1, 100_000, 100_000),
        (64, 16, 100_000),
        (64, 1, 20_000),
        (1, 1, 2_000),
    ] {
        let server = Disk::new().start().await;
        run(&server, "memory", sessions, depth, total).await;
        server.ensemble.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proposals_on_rocksdb() {
    for (sessions, depth, total) in [(64, 16, 50_000), (64, 1, 10_000), (1, 1, 500)] {
        let dir = tempfile::tempdir().unwrap();
        let stores = storage::open(&storage::Config {
            data_dir: dir.path().to_owned(),
            log_dir: dir.path().to_owned(),
            ..storage::Config::default()
        })
        .unwrap();
        let replica = Arc::new(Replica::open(stores.tree(), state::Rules::default()).unwrap());
        let recorder = Recorder::new();
        let clock = crate::clock::SystemClock;
        let config = alone();
        let origin = origin(config.server, &stores.log, &replica, &clock).await;
        let ensemble = Ensemble::start(Parts {
            config,
            origin: origin.unwrap(),
            log: Arc::clone(&stores.log),
            snapshots: Arc::clone(&stores.snapshots),
            replica: Arc::clone(&replica),
            sink: Arc::clone(&recorder) as Arc<dyn Sink>,
            clock: Arc::new(clock),
            network: Arc::new(TcpNetwork),
            touched: Arc::new(Deaf),
        })
        .await
        .unwrap();
        let server = Running {
            ensemble: Arc::new(ensemble),
            replica,
            recorder,
        };
        server.open_session().await;
        let before = stores.stats();
        run(&server, "rocksdb", sessions, depth, total).await;
        let after = stores.stats();
        let syncs = after.syncs - before.syncs;
        let sync_us = (after.sync_us_sum - before.sync_us_sum) as f64 / syncs as f64;
        let writes = (after.grouped_writes - before.grouped_writes) as f64 / syncs as f64;
        say(&format!(
            "  {syncs} syncs of {sync_us:.0} us, {writes:.2} writes each\n"
        ));
        server.ensemble.stop().await;
    }
}
