//! The queue alone: what is sent again, and when.

use std::time::Duration;

use tokio::time::Instant;

use super::super::origin::queue::{Next, Queue, Send};
use super::*;
use crate::state::{Batch, Config as Rules, LogPosition, Origin};

const AT: fn(u64, u64) -> LogPosition = |term, index| LogPosition { term, index };

fn queue() -> Queue {
    let origin = Origin {
        server: ServerId(1),
        incarnation: 9,
    };
    let config = Config {
        window_batches: 3,
        batch_ops_max: 2,
        ..alone()
    };
    Queue::new(
        origin,
        &config,
        Arc::new(Ticks(AtomicI64::new(1))),
        Rules::default(),
    )
}

fn submit(queue: &Queue, count: usize) {
    for _ in 0..count {
        queue
            .submit(submission(0, ActionRef::CloseSession))
            .unwrap();
    }
}

/// Everything that the queue wants sent now, as sequences.
fn send_all(queue: &Queue) -> Vec<(Send, Vec<u64>)> {
    std::iter::from_fn(|| match queue.next() {
        Next::Send(send) => {
            let batch = Batch::decode(send.bytes.clone()).unwrap();
            let sequences = batch.proposals.iter().map(|p| p.sequence).collect();
            Some((send, sequences))
        }
        Next::Idle | Next::Pause => None,
    })
    .collect()
}

fn sequences(sent: &[(Send, Vec<u64>)]) -> Vec<Vec<u64>> {
    sent.iter()
        .map(|(_, sequences)| sequences.clone())
        .collect()
}

#[test]
fn nothing_is_sent_without_a_term_that_is_led_and_applied() {
    let queue = queue();
    submit(&queue, 1);
    assert!(send_all(&queue).is_empty());
    queue.lead(Some(5));
    queue.applied(AT(4, 10), None);
    assert!(send_all(&queue).is_empty());
    queue.applied(AT(5, 11), None);
    let sent = send_all(&queue);
    assert_eq!(sequences(&sent), [vec![1]]);
    assert_eq!(sent[0].0.term, 5);
}

#[test]
fn the_window_bounds_what_is_in_flight() {
    let queue = queue();
    queue.lead(Some(1));
    queue.applied(AT(1, 1), None);
    submit(&queue, 9);
    assert_eq!(
        sequences(&send_all(&queue)),
        [vec![1, 2], vec![3, 4], vec![5, 6]]
    );
    queue.applied(AT(1, 2), Some(2));
    assert_eq!(sequences(&send_all(&queue)), [vec![7, 8]]);
    queue.applied(AT(1, 5), Some(8));
    assert_eq!(sequences(&send_all(&queue)), [vec![9]]);
    assert!(matches!(queue.next(), Next::Idle));
}

#[test]
fn after_a_change_of_leader_what_the_cursor_has_not_passed_is_sent_again() {
    let queue = queue();
    queue.lead(Some(1));
    queue.applied(AT(1, 1), None);
    submit(&queue, 6);
    let first = send_all(&queue);
    queue.lead(None);
    submit(&queue, 1);
    assert!(send_all(&queue).is_empty());
    queue.lead(Some(3));
    assert!(send_all(&queue).is_empty(), "the cursor is not true yet");
    // The first batch got into the log of the old term after all.
    queue.applied(AT(1, 2), Some(2));
    queue.applied(AT(3, 3), Some(2));
    let again = send_all(&queue);
    assert_eq!(sequences(&again), [vec![3, 4], vec![5, 6], vec![7]]);
    assert!(again.iter().all(|(send, _)| send.term == 3));
    assert_eq!(
        again[0].0.bytes, first[1].0.bytes,
        "the same bytes, the same stamp"
    );
    // Late answers of the old round change nothing.
    for (send, _) in &first {
        queue.answered(send.round);
    }
    assert!(matches!(queue.next(), Next::Idle));
    queue.applied(AT(3, 6), Some(7));
    assert_eq!(queue.report().flight_batches, 0);
    assert_eq!(queue.report().resent, 2);
}

#[test]
fn a_refusal_in_the_same_term_is_sent_again_once_all_have_been_answered() {
    let queue = queue();
    queue.lead(Some(1));
    queue.applied(AT(1, 1), None);
    submit(&queue, 6);
    let sent = send_all(&queue);
    // The first is refused; the others enter the log, come too early and are skipped.
    queue.answered(sent[0].0.round);
    assert!(matches!(queue.next(), Next::Idle));
    queue.applied(AT(1, 2), None);
    queue.answered(sent[1].0.round);
    queue.applied(AT(1, 3), None);
    queue.answered(sent[2].0.round);
    assert!(matches!(queue.next(), Next::Pause));
    queue.resend();
    assert_eq!(
        sequences(&send_all(&queue)),
        [vec![1, 2], vec![3, 4], vec![5, 6]]
    );
}

#[test]
fn answers_of_what_was_applied_do_not_stall() {
    let queue = queue();
    queue.lead(Some(1));
    queue.applied(AT(1, 1), None);
    submit(&queue, 4);
    let sent = send_all(&queue);
    queue.applied(AT(1, 2), Some(2));
    queue.answered(sent[0].0.round);
    assert!(matches!(queue.next(), Next::Idle));
    queue.applied(AT(1, 3), Some(4));
    queue.answered(sent[1].0.round);
    assert!(matches!(queue.next(), Next::Idle));
    assert_eq!(queue.report().resent, 0);
}

#[test]
fn a_cursor_that_passes_what_is_about_to_be_sent_again_spares_it() {
    let queue = queue();
    queue.lead(Some(1));
    queue.applied(AT(1, 1), None);
    submit(&queue, 6);
    send_all(&queue);
    queue.lead(Some(2));
    queue.applied(AT(2, 4), None);
    let Next::Send(_) = queue.next() else {
        panic!("the first is sent again")
    };
    queue.applied(AT(2, 5), Some(4));
    assert_eq!(sequences(&send_all(&queue)), [vec![5, 6]]);
}

#[test]
fn it_says_for_how_long_nothing_gets_on() {
    const PAUSE: Duration = Duration::from_millis(2);
    let queue = queue();
    queue.lead(Some(5));
    queue.applied(AT(5, 1), None);
    let wait = || {
        let stuck = queue.stuck_for();
        while queue.stuck_for() < stuck + PAUSE {
            std::thread::yield_now();
        }
    };
    assert_eq!(queue.stuck_for(), Duration::ZERO, "nothing is under way");
    submit(&queue, 1);
    assert_eq!(send_all(&queue).len(), 1);
    wait();
    submit(&queue, 2);
    assert_eq!(send_all(&queue).len(), 1);
    wait();
    assert!(queue.stuck_for() >= 2 * PAUSE);
    let since = Instant::now();
    queue.applied(AT(5, 2), Some(1));
    let stuck = queue.stuck_for();
    assert!(
        stuck <= since.elapsed(),
        "the second one is under way, but one got on"
    );
    queue.applied(AT(5, 3), Some(3));
    assert_eq!(queue.stuck_for(), Duration::ZERO);
}
