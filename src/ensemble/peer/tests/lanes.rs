//! What goes over the lanes: in order, bounded, and without one standing in another's way.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use tokio::time::{Instant, timeout};

use super::*;
use openraft::raft::StreamAppendError;

async fn pair(network: &MemoryNetwork, one: PeerConfig) -> (Peers, Peers, Arc<Member>) {
    let (one, _) = open(network, 1, one).await;
    let (two, member) = open(network, 2, config(2, 2)).await;
    until(&one, id(2), is_up).await;
    (one, two, member)
}

/// No permits: whoever wants to do something waits for `add_permits`.
fn shut(room: &tokio::sync::Semaphore) {
    room.forget_permits(usize::MAX);
}

fn batch(number: u64, bytes: usize) -> Bytes {
    let mut batch = number.to_be_bytes().to_vec();
    batch.resize(bytes.max(8), 0xab);
    batch.into()
}

#[tokio::test(start_paused = true)]
async fn forwarded_batches_arrive_in_order_and_are_answered_in_order() {
    let network = MemoryNetwork::default();
    let (one, _two, member) = pair(&network, config(1, 2)).await;
    let (mut sender, mut answers) = one.forward(id(2)).await.expect("connects");
    let sending = async {
        for number in 0..2_000 {
            let size = usize::try_from(number * 37 % 5_000).expect("small");
            let sent = sender.send(5, number + 10, batch(number, size)).await;
            sent.expect("sent");
        }
    };
    let hearing = async {
        for number in 0..2_000 {
            let at = LogPosition {
                term: 5,
                index: number + 1,
            };
            let heard = answers.next().await.expect("an answer");
            assert_eq!(heard, (number + 10, Forwarded::Accepted { at }));
        }
    };
    soon(async { tokio::join!(sending, hearing) }).await;
    let taken = member.taken.lock();
    let numbers = taken.iter().map(|(_, batch)| batch[..8].to_vec());
    assert!(numbers.eq((0..2_000_u64).map(|number| number.to_be_bytes().to_vec())));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_takes_no_more_holds_the_sender_up() {
    let network = MemoryNetwork::default();
    let windowed = PeerConfig {
        window_bytes: 64 << 10,
        ..config(1, 2)
    };
    let (one, _two, member) = pair(&network, windowed).await;
    shut(&member.forward_room);
    let (mut sender, mut answers) = one.forward(id(2)).await.expect("connects");
    let size = 10 << 10;
    for number in 0..6 {
        sender
            .send(5, number, batch(number, size))
            .await
            .expect("sent");
    }
    // A minute is nothing: both sides ping, and nobody is given up.
    let seventh = sender.send(5, 6, batch(6, size));
    let waits = timeout(Duration::from_secs(60), seventh).await;
    assert!(waits.is_err(), "{waits:?}");
    assert!(member.taken.lock().is_empty());
    member.forward_room.add_permits(1);
    let (id, _) = soon(answers.next()).await.expect("an answer");
    assert_eq!(id, 0);
    // The one that did not wait long enough was not sent.
    soon(sender.send(5, 7, batch(7, size))).await.expect("sent");
    member.forward_room.add_permits(100);
    for expected in [1, 2, 3, 4, 5, 7] {
        let (id, _) = soon(answers.next()).await.expect("an answer");
        assert_eq!(id, expected);
    }
    // One that is larger than the window goes alone.
    soon(sender.send(5, 8, batch(8, 1 << 20)))
        .await
        .expect("sent");
    let (id, _) = soon(answers.next()).await.expect("an answer");
    assert_eq!(id, 8);
    assert!(member.closed.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn many_small_batches_count_too() {
    let network = MemoryNetwork::default();
    let windowed = PeerConfig {
        window_bytes: 64 << 10,
        ..config(1, 2)
    };
    let (one, _two, member) = pair(&network, windowed).await;
    shut(&member.forward_room);
    let (mut sender, _answers) = one.forward(id(2)).await.expect("connects");
    let mut sent = 0;
    while let Ok(done) = timeout(Duration::from_secs(1), sender.send(5, sent, batch(sent, 8))).await
    {
        done.expect("sent");
        sent += 1;
    }
    assert_eq!(sent, 64);
}

/// What is taken and not committed yet waits in the leader's memory, of whatever size the sender's window
/// is.
#[tokio::test(start_paused = true)]
async fn a_leader_takes_no_more_than_it_can_keep_in_mind() {
    let network = MemoryNetwork::default();
    let wide = PeerConfig {
        window_bytes: 64 << 20,
        ..config(1, 2)
    };
    let (one, _two, member) = pair(&network, wide).await;
    shut(&member.outcome_room);
    let (mut sender, mut answers) = one.forward(id(2)).await.expect("connects");
    let mut sent = 0;
    while let Ok(done) = timeout(
        Duration::from_secs(1),
        sender.send(5, sent, batch(sent, 900)),
    )
    .await
    {
        done.expect("sent");
        sent += 1;
        assert!(sent < 5_000, "it takes all");
    }
    let taken = member.taken.lock().len();
    assert!((256..=520).contains(&taken), "{taken}");
    member.outcome_room.add_permits(10_000);
    for expected in 0..sent {
        let (id, _) = soon(answers.next()).await.expect("an answer");
        assert_eq!(id, expected);
    }
    assert!(member.closed.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_none_costs_its_sender_the_stream_and_nothing_else() {
    let network = MemoryNetwork::default();
    let (one, _two, member) = pair(&network, config(1, 2)).await;
    let (mut sender, mut answers) = one.forward(id(2)).await.expect("connects");
    sender
        .send(5, 1, Bytes::from_static(b"good"))
        .await
        .expect("sent");
    sender
        .send(5, 2, Bytes::from_static(b"!"))
        .await
        .expect("sent");
    sender
        .send(5, 3, Bytes::from_static(b"good"))
        .await
        .expect("sent");
    let (first, _) = soon(answers.next()).await.expect("an answer");
    assert_eq!(first, 1);
    assert_eq!(
        soon(answers.next()).await.expect("an answer"),
        (2, Forwarded::Malformed)
    );
    // What was behind it may have been taken; nobody says so.
    let ended = loop {
        if let Err(lost) = soon(answers.next()).await {
            break lost;
        }
    };
    assert!(matches!(ended, Lost::Closed | Lost::Broken(_)), "{ended:?}");
    let refused = soon(sender.send(5, 4, Bytes::from_static(b"good"))).await;
    assert!(refused.is_err());
    assert!(one.call(id(2), Ask::Probe).await.is_ok());
    let (mut sender, mut answers) = one.forward(id(2)).await.expect("connects");
    sender
        .send(0, 9, Bytes::from_static(b"old"))
        .await
        .expect("sent");
    let not_leader = Forwarded::NotLeader {
        leader: None,
        term: 4,
    };
    assert_eq!(
        soon(answers.next()).await.expect("an answer"),
        (9, not_leader)
    );
    assert_eq!(member.closed.borrow().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_longer_than_frames_are_is_not_sent() {
    let network = MemoryNetwork::default();
    let (one, _two, _) = pair(&network, config(1, 2)).await;
    let (mut sender, mut answers) = one.forward(id(2)).await.expect("connects");
    let refused = sender.send(5, 1, Bytes::from(vec![1; 16 << 20])).await;
    assert!(matches!(refused, Err(Lost::Format(_))), "{refused:?}");
    soon(sender.send(5, 2, Bytes::from_static(b"good")))
        .await
        .expect("sent");
    assert_eq!(soon(answers.next()).await.expect("an answer").0, 2);
}

/// Entries that a follower does not take stand in nobody's way.
#[tokio::test(start_paused = true)]
async fn bulk_delays_no_heartbeat_and_is_given_up_in_the_end() {
    let network = MemoryNetwork::default();
    let (one, _two, member) = pair(&network, config(1, 2)).await;
    shut(&member.append_room);
    let mut lane = one.replication(id(2));
    let requests = (0..10_000).map(|nth| append_request(1, 5, 3 + nth, &[100_000]));
    let asked = AtomicUsize::new(0);
    let requests = requests.inspect(|_| {
        asked.fetch_add(1, SeqCst);
    });
    let mut answers = lane.stream(stream::iter(requests));
    let began = Instant::now();
    let beats = async {
        for _ in 0..80 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let sent = Instant::now();
            let beat = append_request(1, 5, 3, &[]);
            let beat = one.heartbeat(id(2), beat, Duration::from_millis(75)).await;
            assert!(beat.is_ok(), "{beat:?}");
            assert!(sent.elapsed() < Duration::from_millis(2));
        }
    };
    let stuck = tokio::select! {
        () = beats => answers.next().await,
        answer = answers.next() => answer,
    };
    let error = stuck.expect("an error").expect_err("no answer");
    assert_eq!(error.to_string(), "no answer for 10s");
    assert!(began.elapsed() >= Duration::from_secs(10));
    // A megabyte that waits for the socket, and what the other side has read.
    let asked = asked.load(SeqCst);
    assert!((10..=30).contains(&asked), "{asked}");
    assert!(answers.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_conflict_ends_a_stream_and_not_the_connection() {
    let network = MemoryNetwork::default();
    let (one, two, member) = pair(&network, config(1, 2)).await;
    let mut lane = one.replication(id(2));
    *member.conflicts_at.lock() = Some(6);
    let requests: Vec<_> = (3..30)
        .map(|previous| append_request(1, 5, previous, &[10]))
        .collect();
    let answers: Vec<_> = lane.stream(stream::iter(requests)).collect().await;
    let answers: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.expect("an answer"))
        .collect();
    let conflict = Err(StreamAppendError::Conflict(at(5, 6)));
    assert_eq!(
        answers,
        [
            Ok(Some(at(5, 4))),
            Ok(Some(at(5, 5))),
            Ok(Some(at(5, 6))),
            conflict
        ]
    );
    *member.conflicts_at.lock() = None;
    let requests = vec![
        append_request(1, 5, 2, &[10, 10]),
        append_request(1, 5, 4, &[]),
    ];
    let answers: Vec<_> = lane.stream(stream::iter(requests)).collect().await;
    let answers: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.expect("an answer"))
        .collect();
    assert_eq!(answers, [Ok(Some(at(5, 4))), Ok(Some(at(5, 4)))]);
    assert!(member.closed.borrow().is_empty());
    assert_eq!(two.states()[0].inbound, [Lane::Control, Lane::Replication]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_dropped_leaves_nothing_to_the_next() {
    let network = MemoryNetwork::default();
    let (one, _two, member) = pair(&network, config(1, 2)).await;
    shut(&member.append_room);
    let mut lane = one.replication(id(2));
    let old = vec![
        append_request(1, 5, 3, &[200_000]),
        append_request(1, 5, 4, &[200_000]),
    ];
    let mut answers = lane.stream(stream::iter(old));
    assert!(
        timeout(Duration::from_secs(1), answers.next())
            .await
            .is_err()
    );
    drop(answers);
    let new = vec![append_request(1, 5, 8, &[10])];
    let mut answers = lane.stream(stream::iter(new));
    let pending = timeout(Duration::from_secs(1), answers.next()).await;
    assert!(pending.is_err());
    member.append_room.add_permits(100);
    let answer = soon(answers.next())
        .await
        .expect("an answer")
        .expect("an answer");
    assert_eq!(answer, Ok(Some(at(5, 9))));
    assert!(answers.next().await.is_none());
    assert!(member.closed.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_replication_that_broke_is_connected_again_by_the_next_stream() {
    let network = MemoryNetwork::default();
    let (one, _two, member) = pair(&network, config(1, 2)).await;
    let mut lane = one.replication(id(2));
    let request = || append_request(1, 5, 3, &[10]);
    let once = || stream::iter(vec![request()]);
    assert!(soon(lane.stream(once()).next()).await.expect("one").is_ok());
    // Between two streams nobody sees it.
    network.break_connections(1, 2);
    assert!(soon(lane.stream(once()).next()).await.expect("one").is_ok());
    // In the middle of one it is told.
    shut(&member.append_room);
    let mut answers = lane.stream(once());
    assert!(
        timeout(Duration::from_millis(50), answers.next())
            .await
            .is_err()
    );
    network.break_connections(1, 2);
    let error = soon(answers.next())
        .await
        .expect("one")
        .expect_err("broken");
    assert!(
        matches!(error, LaneError::Lost(Lost::Broken(_))),
        "{error:?}"
    );
    drop(answers);
    network.kill(2);
    let error = soon(lane.stream(once()).next())
        .await
        .expect("one")
        .expect_err("gone");
    assert!(
        matches!(error, LaneError::Dial(DialError::Refused { .. })),
        "{error:?}"
    );
}

/// openraft pauses after an error in the stream of its requests: who calls before there is one calls
/// a server that is gone without a pause.
#[tokio::test(start_paused = true)]
async fn nobody_is_called_before_there_is_something_to_send() {
    let network = MemoryNetwork::default();
    let (one, _) = open(&network, 1, config(1, 2)).await;
    let mut lane = one.replication(id(2));
    let (tell, told) = tokio::sync::oneshot::channel();
    let mut answers = lane.stream(Box::pin(stream::once(async { told.await.expect("told") })));
    let nothing = timeout(Duration::from_secs(60), answers.next()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    tell.send(append_request(1, 5, 3, &[10])).expect("waits");
    let refused = soon(answers.next()).await.expect("one");
    assert!(matches!(refused, Err(LaneError::Dial(_))), "{refused:?}");
}

/// openraft's stream to a follower that is up to date may send nothing for hours.
#[tokio::test(start_paused = true)]
async fn a_stream_that_sends_nothing_keeps_its_connection() {
    let network = MemoryNetwork::default();
    let (one, _two, member) = pair(&network, config(1, 2)).await;
    let mut lane = one.replication(id(2));
    let first = stream::iter(vec![append_request(1, 5, 3, &[10])]);
    let (tell, told) = tokio::sync::oneshot::channel();
    let later = Box::pin(stream::once(async { told.await.expect("told") }));
    let mut answers = lane.stream(first.chain(later));
    soon(answers.next())
        .await
        .expect("one")
        .expect("an answer")
        .expect("matches");
    assert!(
        timeout(Duration::from_secs(60), answers.next())
            .await
            .is_err()
    );
    tell.send(append_request(1, 5, 4, &[10])).expect("waits");
    let answer = soon(answers.next()).await.expect("one").expect("an answer");
    assert_eq!(answer, Ok(Some(at(5, 5))));
    assert!(member.closed.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told() {
    let network = MemoryNetwork::default();
    let (one, _two, member) = pair(&network, config(1, 2)).await;
    *member.refuses.lock() = Some(Refusal::NotReady);
    let within = Duration::from_secs(1);
    let vote = one.vote(id(2), vote_request(1, 5), within).await;
    let refused = CallError::Refused {
        to: id(2),
        refusal: Refusal::NotReady,
    };
    assert_eq!(vote, Err(refused));
    let mut lane = one.replication(id(2));
    let request = stream::iter(vec![append_request(1, 5, 3, &[10])]);
    let error = soon(lane.stream(request).next())
        .await
        .expect("one")
        .expect_err("refused");
    assert_eq!(error.to_string(), "refused: not ready");
}

#[tokio::test(start_paused = true)]
async fn questions_have_a_deadline_and_do_not_stand_in_each_others_way() {
    let network = MemoryNetwork::default();
    let (one, _two, member) = pair(&network, config(1, 2)).await;
    member.deaf_to.lock().push(id(1));
    let within = Duration::from_secs(5);
    let began = Instant::now();
    let calls = (0..300).map(|_| one.call_within(id(2), Ask::Probe, within));
    let told = futures::future::join_all(calls).await;
    assert_eq!(began.elapsed().as_secs(), 5);
    let timed_out = CallError::TimedOut { to: id(2), within };
    let busy = CallError::Refused {
        to: id(2),
        refusal: Refusal::Busy,
    };
    let count = |error: &CallError| told.iter().filter(|one| one.as_ref() == Err(error)).count();
    assert_eq!((count(&timed_out), count(&busy)), (256, 44));
    assert!(one.is_up(id(2)));
    // Nobody is asked in vain who is not there.
    let told = one.call(ServerId(9), Ask::Probe).await;
    assert_eq!(told, Err(CallError::Unknown(ServerId(9))));
}
