//! What openraft sees of all this: answers, and errors of the right kind.

use std::sync::Arc;

use futures::stream::{self, StreamExt as _};
use openraft::errors::RPCError;
use openraft::network::{RPCOption, RaftNetworkFactory as _, RaftNetworkV2};
use tokio::time::Instant;

use super::*;
use crate::ensemble::placement::Placement;
use crate::ensemble::progress::Progress;
use crate::ensemble::raft::sending::Sending;

fn sending() -> Sending {
    Sending {
        progress: Arc::new(Progress::new(None)),
        placement: Placement::Simulated,
    }
}
use crate::ensemble::raft::network::PeerNetwork;

fn option() -> RPCOption {
    RPCOption::new(Duration::from_millis(400))
}

async fn pair(network: &MemoryNetwork) -> (Arc<Peers>, Peers, Arc<Member>, PeerNetwork) {
    let (one, _) = open(network, 1, config(1, 2)).await;
    let (two, member) = open(network, 2, config(2, 2)).await;
    until(&one, id(2), is_up).await;
    let one = Arc::new(one);
    let clients = PeerNetwork::new(id(1), Arc::clone(&one), sending());
    (one, two, member, clients)
}

#[tokio::test(start_paused = true)]
async fn votes_and_heartbeats_are_answered_or_fail_in_time() {
    let network = MemoryNetwork::default();
    let (one, _two, member, mut clients) = pair(&network).await;
    let mut client = clients.new_client(2, &()).await;
    let vote = client.vote(vote_request(1, 5), option()).await;
    assert!(vote.expect("an answer").vote_granted);
    // openraft's own pre-vote, which asks nobody, grants.
    let vote = client.pre_vote(vote_request(1, 5), option()).await;
    assert!(!vote.expect("an answer").vote_granted);

    member.deaf_to.lock().push(id(1));
    let began = Instant::now();
    let vote = client.vote(vote_request(1, 5), option()).await;
    assert!(matches!(vote, Err(RPCError::Timeout(_))), "{vote:?}");
    assert_eq!(began.elapsed().as_millis(), 300);
    member.deaf_to.lock().clear();

    *member.refuses.lock() = Some(Refusal::NotReady);
    let vote = client.pre_vote(vote_request(1, 5), option()).await;
    assert!(matches!(vote, Err(RPCError::Unreachable(_))), "{vote:?}");
    *member.refuses.lock() = None;

    network.kill(2);
    until(&one, id(2), is_down(Down::Refused)).await;
    let vote = client.pre_vote(vote_request(1, 5), option()).await;
    assert!(matches!(vote, Err(RPCError::Unreachable(_))), "{vote:?}");
}

/// As openraft's heartbeat worker does it: a stream of one, on the control lane.
#[tokio::test(start_paused = true)]
async fn a_heartbeat_goes_by_the_control_lane() {
    let network = MemoryNetwork::default();
    let (_one, two, member, mut clients) = pair(&network).await;
    let mut client = clients.new_heartbeat_client(2, &()).await;
    let beat = stream::iter(vec![append_request(1, 5, 3, &[])]);
    let stream = client.stream_append(beat, option()).await;
    let answers: Vec<_> = stream.expect("a stream").collect().await;
    assert!(matches!(answers[..], [Ok(Ok(Some(last)))] if last == at(5, 3)));
    assert_eq!(*member.asked.borrow(), 1);
    assert_eq!(two.states()[0].inbound, [Lane::Control]);
}

#[tokio::test(start_paused = true)]
async fn entries_go_by_their_own_lane_and_errors_say_whether_to_wait() {
    let network = MemoryNetwork::default();
    let (_one, two, member, mut clients) = pair(&network).await;
    let mut client = clients.new_client(2, &()).await;
    let requests = || stream::iter((3..9).map(|nth| append_request(1, 5, nth, &[10])));
    let stream = client.stream_append(requests(), option()).await;
    let answers: Vec<_> = stream.expect("a stream").collect().await;
    assert_eq!(answers.len(), 6);
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer, Ok(Ok(Some(_)))))
    );
    assert_eq!(*member.asked.borrow(), 0);
    assert_eq!(two.states()[0].inbound, [Lane::Control, Lane::Replication]);

    member.append_room.forget_permits(usize::MAX);
    let mut stream = client
        .stream_append(requests(), option())
        .await
        .expect("a stream");
    let pending = tokio::time::timeout(Duration::from_millis(50), stream.next()).await;
    assert!(pending.is_err());
    network.kill(2);
    let error = soon(stream.next()).await.expect("one");
    assert!(matches!(error, Err(RPCError::Network(_))), "{error:?}");
    assert!(stream.next().await.is_none());
    drop(stream);
    let mut stream = client
        .stream_append(requests(), option())
        .await
        .expect("a stream");
    let error = soon(stream.next()).await.expect("one");
    assert!(matches!(error, Err(RPCError::Unreachable(_))), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_is_silent_is_not_asked_again_at_once() {
    let network = MemoryNetwork::default();
    let (_one, _two, _, mut clients) = pair(&network).await;
    let mut client = clients.new_client(2, &()).await;
    let requests = stream::iter((3..4).map(|nth| append_request(1, 5, nth, &[10])));
    let waiting = requests.chain(stream::pending());
    let mut stream = client
        .stream_append(waiting, option())
        .await
        .expect("a stream");
    soon(stream.next())
        .await
        .expect("one")
        .expect("an answer")
        .expect("matches");
    network.cut(1, 2);
    let began = Instant::now();
    let error = soon(stream.next()).await.expect("one");
    assert!(matches!(error, Err(RPCError::Unreachable(_))), "{error:?}");
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_to_half_a_second() {
    let network = MemoryNetwork::default();
    let (_one, _two, _, mut clients) = pair(&network).await;
    let client = clients.new_client(2, &()).await;
    let pauses = client.backoff().expect("pauses").take(7);
    let pauses: Vec<_> = pauses.map(|pause| pause.as_millis()).collect();
    assert_eq!(pauses, [50, 100, 200, 400, 500, 500, 500]);
}
