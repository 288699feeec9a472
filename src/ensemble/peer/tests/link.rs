//! Links that break: how soon it is noticed, said, and mended.

use tokio::time::Instant;

use super::*;
use crate::state::ClusterId;

async fn pair(network: &MemoryNetwork) -> (Peers, Peers, Arc<Member>) {
    let (one, _) = open(network, 1, config(1, 2)).await;
    let (two, member) = open(network, 2, config(2, 2)).await;
    until(&one, id(2), is_up).await;
    until(&two, id(1), is_up).await;
    (one, two, member)
}

/// Long enough connected for the next attempt to come at once.
async fn steady() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_is_told_at_once() {
    let network = MemoryNetwork::default();
    let (one, _two, _) = pair(&network).await;
    steady().await;
    let died = Instant::now();
    network.kill(2);
    let state = until(&one, id(2), is_down(Down::Refused)).await;
    assert!(
        died.elapsed() < Duration::from_millis(2),
        "{:?}",
        died.elapsed()
    );
    assert!(said(&state).contains("s2:2888: nobody listens there"));
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_silent_is_given_up_and_taken_up_again() {
    let network = MemoryNetwork::default();
    let (one, two, _) = pair(&network).await;
    steady().await;
    until(&one, id(2), is_up).await;
    let cut = Instant::now();
    network.cut(1, 2);
    until(&one, id(2), |phase| *phase == Phase::Connecting).await;
    let noticed = cut.elapsed();
    assert!(noticed > Duration::from_millis(900), "{noticed:?}");
    assert!(noticed <= Duration::from_millis(1_501), "{noticed:?}");
    let state = until(&one, id(2), is_down(Down::Unreachable)).await;
    assert!(said(&state).contains("no answer within 500ms"), "{state:?}");
    tokio::time::sleep(Duration::from_secs(20)).await;
    let mended = Instant::now();
    network.mend(1, 2);
    until(&one, id(2), is_up).await;
    until(&two, id(1), is_up).await;
    assert!(mended.elapsed() <= Duration::from_millis(100));
}

/// Idle connections stay: pings go both ways.
#[tokio::test(start_paused = true)]
async fn a_link_that_is_idle_stays() {
    let network = MemoryNetwork::default();
    let (one, two, member) = pair(&network).await;
    let (sender, mut answers) = one.forward(id(2)).await.expect("connects");
    tokio::time::sleep(Duration::from_secs(60)).await;
    for (peers, other) in [(&one, id(2)), (&two, id(1))] {
        let state = until(peers, other, is_up).await;
        assert!(state.since.elapsed() >= Duration::from_secs(60));
        assert_eq!(state.attempts, peers.states()[0].link.attempts);
    }
    assert!(member.closed.borrow().is_empty());
    let pending = tokio::time::timeout(Duration::from_millis(1), answers.next()).await;
    assert!(pending.is_err(), "{pending:?}");
    drop(sender);
}

#[tokio::test(start_paused = true)]
async fn attempts_become_seldom_up_to_one_a_second() {
    let network = MemoryNetwork::default();
    let (one, _) = open(&network, 1, config(1, 2)).await;
    let first = until(&one, id(2), is_down(Down::Refused)).await;
    let attempts = |peers: &Peers| peers.states()[0].link.attempts;
    // 50 + 100 + 200 + 400 + 800, and then every second.
    tokio::time::sleep(Duration::from_millis(1_560)).await;
    assert_eq!(attempts(&one) - first.attempts, 5);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(attempts(&one) - first.attempts, 15);
    // What stays the same is said once.
    let now = &one.states()[0].link;
    assert_eq!(now.since, first.since);
}

#[tokio::test(start_paused = true)]
async fn whoever_wants_a_vote_does_not_wait_for_the_next_attempt() {
    let network = MemoryNetwork::default();
    let (one, _) = open(&network, 1, config(1, 2)).await;
    until(&one, id(2), is_down(Down::Refused)).await;
    tokio::time::sleep(Duration::from_millis(4_700)).await;
    let (_two, _) = open(&network, 2, config(2, 2)).await;
    let asked = Instant::now();
    let within = Duration::from_millis(300);
    // Everything else is told at once that nobody is there.
    let told = one.call(id(2), Ask::Probe).await;
    assert!(matches!(
        told,
        Err(CallError::Down {
            why: Down::Refused,
            ..
        })
    ));
    let vote = one.vote(id(2), vote_request(1, 5), within).await;
    assert!(vote.is_ok(), "{vote:?}");
    assert!(asked.elapsed() < Duration::from_millis(2));
}

#[tokio::test(start_paused = true)]
async fn a_vote_of_a_dead_server_fails_at_once() {
    let network = MemoryNetwork::default();
    let (one, _) = open(&network, 1, config(1, 2)).await;
    until(&one, id(2), is_down(Down::Refused)).await;
    let asked = Instant::now();
    let vote = one.vote(id(2), vote_request(1, 5), Duration::from_secs(9));
    let vote = vote.await;
    assert!(matches!(
        vote,
        Err(CallError::Down {
            why: Down::Refused,
            ..
        })
    ));
    assert!(asked.elapsed() < Duration::from_millis(2));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_is_replaced() {
    let network = MemoryNetwork::default();
    let (one, _two, member) = pair(&network).await;
    steady().await;
    member.deaf_to.lock().push(id(1));
    let call = one.call(id(2), Ask::ReadIndex);
    let breaks = async {
        let mut asked = member.asked.subscribe();
        soon(asked.wait_for(|asked| *asked == 1))
            .await
            .expect("lives");
        network.break_connections(1, 2);
    };
    let (told, ()) = tokio::join!(call, breaks);
    assert_eq!(told, Err(CallError::Lost(id(2))));
    member.deaf_to.lock().clear();
    let told = one.call(id(2), Ask::ReadIndex).await;
    assert!(told.is_ok(), "{told:?}");
    let mut closed = member.closed.subscribe();
    let closed = soon(closed.wait_for(|closed| !closed.is_empty())).await;
    let closed = closed.expect("lives")[0].clone();
    assert_eq!((closed.0, closed.1), (id(1), Lane::Control));
}

#[tokio::test(start_paused = true)]
async fn all_addresses_are_tried() {
    let network = MemoryNetwork::default();
    let unknown = PeerAddress {
        host: "nowhere".to_owned(),
        port: 1,
    };
    let mut tries = config(1, 2);
    tries
        .addresses
        .insert(id(2), vec![unknown.clone(), address(8), address(2)]);
    let (one, _) = open(&network, 1, tries).await;
    // Not `Refused`: of one name nothing is known.
    let state = until(&one, id(2), is_down(Down::Unreachable)).await;
    assert!(said(&state).contains("nowhere:1"), "{state:?}");
    let (_two, _) = open(&network, 2, config(2, 2)).await;
    until(&one, id(2), is_up).await;
}

#[tokio::test]
async fn a_name_that_comes_later() {
    let loopback = Loopback::default();
    let (one, _) = loopback.open(1, config(1, 2)).await;
    until(&one, id(2), is_down(Down::Unreachable)).await;
    let (_two, _) = loopback.open(2, config(2, 2)).await;
    until(&one, id(2), is_up).await;
}

#[tokio::test]
async fn an_own_name_that_does_not_resolve_is_every_address() {
    let loopback = Loopback::default();
    let mut nameless = config(1, 2);
    nameless.listen[0].port = 0;
    let opened = Peers::open(nameless, Identity::default(), Arc::new(loopback)).await;
    let peers = opened.expect("listens");
    assert!(peers.listening()[0].ip().is_unspecified());
}

#[tokio::test(start_paused = true)]
async fn an_address_in_use_is_told() {
    let network = MemoryNetwork::default();
    let (_one, _) = open(&network, 1, config(1, 2)).await;
    let again = Peers::open(config(1, 2), Identity::default(), network.host(1)).await;
    let error = again.expect_err("in use");
    assert_eq!(
        error.to_string(),
        "listen for other servers on 10.0.0.1:2888"
    );
}

#[tokio::test(start_paused = true)]
async fn a_cluster_id_ends_what_belongs_to_another() {
    let network = MemoryNetwork::default();
    let other = Identity {
        cluster: Some(ClusterId([9; 16])),
        members: 0,
    };
    let (one, _) = open(&network, 1, config(1, 2)).await;
    let (two, _) = open_as(&network, 2, config(2, 2), other).await;
    until(&one, id(2), is_up).await;
    until(&two, id(1), is_up).await;
    one.introduce(Identity {
        cluster: Some(ClusterId([8; 16])),
        members: 0,
    });
    until(&two, id(1), is_down(Down::Rejected)).await;
}

#[tokio::test(start_paused = true)]
async fn who_stops_closes_everything() {
    let network = MemoryNetwork::default();
    let (one, two, member) = pair(&network).await;
    let (_sender, mut answers) = two.forward(id(1)).await.expect("connects");
    one.stop().await;
    until(&two, id(1), |phase| !is_up(phase)).await;
    let ended = soon(answers.next()).await;
    assert!(matches!(ended, Err(Lost::Closed)), "{ended:?}");
    let mut closed = member.closed.subscribe();
    soon(closed.wait_for(|closed| !closed.is_empty()))
        .await
        .expect("lives");
    let told = one.call(id(2), Ask::Probe).await;
    assert!(told.is_err(), "{told:?}");
}
