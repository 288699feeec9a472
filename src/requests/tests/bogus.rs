//! Clients that ask for sessions which there are not: whoever does so must not make the log grow, and the
//! disk sync.

use std::sync::Arc;
use std::time::Duration;

use super::super::{Config, Requests, Step};
use super::linearizable::three;
use super::moves::{Held, end, response, run_to_the_end};
use super::{Peer, requests_that_wait};
use crate::connection::End;
use crate::state::SessionId;

/// A session of another id, and the same with another password.
fn bogus(held: Held) -> [Held; 2] {
    [
        Held {
            session: SessionId(held.session.0 + 1),
            ..held
        },
        Held {
            password: [9; 16],
            ..held
        },
    ]
}

fn entries(requests: &Requests) -> Option<u64> {
    requests.ensemble.report().last_log
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_server_refuses_at_once_what_it_does_not_know() {
    let requests = requests_that_wait(Duration::ZERO).await;
    let owner = Peer::connect(&requests).await;
    let held = Held::of(&requests, &owner);
    let before = entries(&requests);
    for bogus in bogus(held) {
        let mut other = bogus.come_back(&requests, 0);
        assert!(matches!(other.client.advance(), Step::End));
        other.collect();
        let refused = response(&other);
        assert_eq!((refused.session_id, refused.timeout_ms), (0, 0));
    }
    assert_eq!(entries(&requests), before);
    assert_eq!(end(&owner), End::Open);
    // Who is known is written down.
    let mut back = held.come_back(&requests, 0);
    back.run_until(1).await;
    assert_eq!(SessionId(response(&back).session_id), held.session);
    requests.ensemble.barrier().await.unwrap();
    assert!(entries(&requests) > before);
}

/// Whatever a server has heard of, it says no to none whose session lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_three_refuses_only_what_a_quorum_knows_nothing_of() {
    let members = three(Config::default()).await;
    let (leader, follower) = (&members[0], &members[1]);
    let owner = Peer::connect(&leader.requests).await;
    let held = Held::of(&leader.requests, &owner);
    for member in &members {
        member.requests.ensemble.barrier().await.unwrap();
    }
    let before = entries(&leader.requests);
    for member in &members {
        for bogus in bogus(held) {
            let mut other = bogus.come_back(&member.requests, 0);
            run_to_the_end(&mut other).await;
            assert_eq!(response(&other).session_id, 0);
        }
    }
    assert_eq!(entries(&leader.requests), before);
    // A session that is opened while the follower's apply stands still is renewed there.
    follower.gate.shut(true);
    let first = Peer::connect(&leader.requests).await;
    let second = Peer::connect(&leader.requests).await;
    assert_ne!(
        first.client.connection().session(),
        second.client.connection().session()
    );
    let held = Held::of(&leader.requests, &second);
    let is_unknown = || {
        let state = follower.requests.replica.read();
        state.session(held.session).is_none()
    };
    assert!(is_unknown());
    let mut back = held.come_back(&follower.requests, 0);
    let early = tokio::time::timeout(Duration::from_millis(200), back.run_until(1)).await;
    assert!(early.is_err() && is_unknown());
    follower.gate.shut(false);
    back.run_until(1).await;
    assert_eq!(SessionId(response(&back).session_id), held.session);
    for one in members {
        one.requests.ensemble.stop().await;
    }
}

/// Nobody can be asked: the client is told nothing, and sent away in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_nobody_is_told_that_a_session_is_gone() {
    let mut members = three(Config::default()).await;
    let owner = Peer::connect(&members[0].requests).await;
    let held = Held::of(&members[0].requests, &owner);
    members[2].requests.ensemble.barrier().await.unwrap();
    for gone in members.drain(..2) {
        gone.requests.ensemble.stop().await;
    }
    let last = &members[0].requests;
    let [unknown, _] = bogus(held);
    let mut other = unknown.come_back(last, 0);
    let Step::Barrier = other.client.advance() else {
        panic!("it is answered without being asked for");
    };
    let asks = super::settle(Arc::clone(last), Step::Barrier);
    assert!(
        tokio::time::timeout(Duration::from_millis(200), asks)
            .await
            .is_err()
    );
    other.collect();
    assert!(other.frames.is_empty());
}
