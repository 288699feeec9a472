//! The order of submissions, the bounds of batches, and back-pressure.

use std::time::Duration;

use super::*;
use crate::ensemble::SubmitError;
use crate::state::Batch;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_order_of_calls_is_the_order_of_sequences_and_of_apply() {
    const TASKS: usize = 8;
    const EACH: usize = 2000;
    let server = Disk::new().start().await;
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let ensemble = Arc::clone(&server.ensemble);
            tokio::spawn(async move {
                let mut last = 0;
                for i in 0..EACH {
                    let body = create(&format!("/t{task}-{i}"));
                    let cxid = i32::try_from(task * EACH + i).unwrap();
                    let submitted =
                        ensemble.submit(submission(cxid, client(OpCode::CREATE, &body)));
                    let sequence = submitted.unwrap();
                    assert!(sequence > last, "a task's own proposals keep their order");
                    last = sequence;
                    if i % 100 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    server.recorder.until(TASKS * EACH).await;
    let told = server.recorder.told.lock().clone();
    let sequences: Vec<u64> = told.iter().map(|told| told.sequence).collect();
    let expected: Vec<u64> = (2..=(TASKS * EACH) as u64 + 1).collect();
    assert_eq!(sequences, expected);
    assert!(told.is_sorted_by_key(|told| (told.zxid, told.time_ms)));
    assert!(told.iter().all(|told| !told.refused));
    for task in 0..TASKS {
        let of_task = told
            .iter()
            .filter(|told| usize::try_from(told.cxid).unwrap() / EACH == task);
        assert!(of_task.is_sorted_by_key(|told| told.cxid));
    }
    server.ensemble.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_keep_their_bounds() {
    let disk = Disk::new();
    let config = Config {
        batch_ops_max: 10,
        batch_bytes_max: 5_000,
        ..alone()
    };
    let server = disk.try_start(config).await.unwrap();
    server.create("/n");
    let sizes = [10, 10, 3_000, 3_000, 20_000, 10, 4_900, 4_900];
    for round in 0..20 {
        let body = set_data("/n", sizes[round % sizes.len()]);
        server.submit(client(OpCode::SET_DATA, &body));
    }
    for i in 0..100 {
        server.create(&format!("/n{i}"));
    }
    server.recorder.until(121).await;
    let entries = disk.log.entries(0..u64::MAX, usize::MAX).unwrap();
    let batches = entries.into_iter().filter(|entry| entry.payload[0] < 0x80);
    let mut count = 0;
    for entry in batches {
        let bytes = entry.payload.len();
        let batch = Batch::decode(entry.payload).unwrap();
        assert!(batch.proposals.len() <= 10);
        assert!(
            bytes <= 5_200 || batch.proposals.len() == 1,
            "{bytes} bytes"
        );
        count += batch.proposals.len();
    }
    assert_eq!(
        count, 123,
        "and the opening of the session, and the ensemble's name"
    );
    server.ensemble.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_until_half_of_it_is_gone() {
    let disk = Disk::new();
    let config = Config {
        window_batches: 1,
        queue_bytes_max: 10_000,
        batch_bytes_max: 1_000,
        ..alone()
    };
    let server = disk.try_start(config).await.unwrap();
    disk.log.hold();
    let mut taken = 0;
    let refused = loop {
        let body = create(&format!("/n{taken}"));
        match server
            .ensemble
            .submit(submission(0, client(OpCode::CREATE, &body)))
        {
            Ok(_) => taken += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused, SubmitError::Full);
    let queue = server.ensemble.report().queue;
    assert!((10_000..10_200).contains(&queue.waiting_bytes), "{queue:?}");
    let room = server.ensemble.room();
    let early = tokio::time::timeout(Duration::from_millis(20), room).await;
    assert!(early.is_err(), "there is no room while nothing is durable");
    disk.log.release_all();
    server.ensemble.room().await;
    server.create("/more");
    server.recorder.until(taken + 1).await;
    server.ensemble.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_server_sends_a_lone_proposal_at_once_and_gathers_while_the_window_is_full() {
    let disk = Disk::new();
    let config = Config {
        window_batches: 1,
        ..alone()
    };
    let server = disk.try_start(config).await.unwrap();
    disk.log.hold();
    server.create("/first");
    while disk.log.pending() == 0 {
        tokio::task::yield_now().await;
    }
    for i in 0..50 {
        server.create(&format!("/n{i}"));
    }
    disk.log.release_all();
    server.recorder.until(51).await;
    assert_eq!(server.ensemble.report().queue.batches, 3);
    server.ensemble.stop().await;
}
