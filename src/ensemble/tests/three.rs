//! Three servers in one process, on stores in memory, over loopback.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::ensemble::peer::{Ask, Down, Phase, Probed, Told};
use crate::ensemble::{PeerAddress, Role};

/// A free port of loopback, kept until the server that gets it opens it.
fn free_port() -> u16 {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    probe.local_addr().unwrap().port()
}

pub(super) struct Three {
    disks: Vec<Disk>,
    addresses: BTreeMap<ServerId, Vec<PeerAddress>>,
    pub(super) servers: BTreeMap<u64, Running>,
    lag_ms_max: u64,
}

impl Three {
    pub(super) fn new() -> Self {
        let address = |_| PeerAddress {
            host: "127.0.0.1".to_owned(),
            port: free_port(),
        };
        Self {
            disks: (0..3).map(|_| Disk::new()).collect(),
            addresses: (1..=3)
                .map(|id| (ServerId(id), vec![address(id)]))
                .collect(),
            servers: BTreeMap::new(),
            lag_ms_max: 10_000,
        }
    }

    pub(super) fn disk(&self, id: u64) -> &Disk {
        &self.disks[usize::try_from(id - 1).unwrap()]
    }

    async fn start(&mut self, id: u64) {
        let voters = (1..=3).map(ServerId).collect();
        let mut config = Config::new(ServerId(id), voters);
        config.lag_ms_max = self.lag_ms_max;
        config.addresses.clone_from(&self.addresses);
        config.listen.clone_from(&self.addresses[&ServerId(id)]);
        let running = within(async {
            loop {
                // Whoever had the address may still be about to give it back.
                match self.disk(id).join(config.clone()).await {
                    Err(StartError::Listen(_)) => {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    started => break started.unwrap(),
                }
            }
        })
        .await;
        self.servers.insert(id, running);
    }

    pub(super) async fn start_all(&mut self) {
        for id in 1..=3 {
            self.start(id).await;
        }
        for server in self.servers.values() {
            within(server.ensemble.served()).await.unwrap();
        }
        // Who serves may still have to hear from the leader that it may vote: without the leader it
        // would wait for it, and there would be no majority.
        for (id, server) in &self.servers {
            let others = self.servers.keys().filter(|other| *other != id);
            for other in others {
                within(votes(server, ServerId(*other))).await;
            }
        }
    }

    /// Ends a server as a crash does: nothing more is written.
    async fn crash(&mut self, id: u64) {
        let index = usize::try_from(id - 1).unwrap();
        self.disks[index] = self.disks[index].crash(0, true);
        drop(self.servers.remove(&id));
    }

    /// Waits until all that this server has proposed has taken effect.
    async fn until_applied_by(&self, id: u64) {
        let ensemble = &self.servers[&id].ensemble;
        let is_done = || {
            let queue = ensemble.report().queue;
            queue.flight_batches == 0 && queue.waiting_bytes == 0
        };
        within(async {
            while !is_done() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    pub(super) async fn leader(&self) -> u64 {
        within(async {
            loop {
                for (id, server) in &self.servers {
                    let leads = matches!(server.ensemble.role(), Role::Leader { .. });
                    if leads && server.ensemble.serves() {
                        return *id;
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    pub(super) async fn until_all_hold(&self, path: &str) {
        for (id, server) in &self.servers {
            let holds = async {
                while !server.holds(path) {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            };
            let held = tokio::time::timeout(Duration::from_secs(20), holds).await;
            assert!(
                held.is_ok(),
                "{path} on {id}: {:?}",
                server.ensemble.report()
            );
        }
    }
}

/// Returns when `other` says that it may vote.
async fn votes(server: &Running, other: ServerId) {
    while !matches!(
        server.ensemble.peers.call(other, Ask::Probe).await,
        Ok(Told::Probe(Probed { votes: true, .. }))
    ) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(super) async fn within<T>(work: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_on_any_server_is_applied_on_all() {
    let mut three = Three::new();
    three.start_all().await;
    let leader = three.leader().await;
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    three.servers[&follower].submit(ActionRef::OpenSession {
        connection: 0,
        timeout_ms: 10_000,
        password: &[0; 16],
    });
    three.servers[&follower].create("/a");
    three.until_all_hold("/a").await;
    three.servers[&leader].submit(ActionRef::Attach {
        connection: 0,
        timeout_ms: 10_000,
        password: &[0; 16],
    });
    three.servers[&leader].create("/b");
    three.until_all_hold("/b").await;
    let follower = &three.servers[&follower].ensemble;
    within(follower.barrier()).await.unwrap();
    let zxids: Vec<_> = three
        .servers
        .values()
        .map(|server| server.replica.read().last_zxid())
        .collect();
    assert!(zxids.windows(2).all(|two| two[0] == two[1]), "{zxids:?}");
    for server in three.servers.values() {
        server.ensemble.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_the_living_lose_nothing_when_the_leader_dies() {
    let mut three = Three::new();
    three.start_all().await;
    let leader = three.leader().await;
    let living = (1..=3).find(|id| *id != leader).unwrap();
    three.servers[&living].submit(ActionRef::OpenSession {
        connection: 0,
        timeout_ms: 10_000,
        password: &[0; 16],
    });
    for i in 0..100 {
        three.servers[&living].create(&format!("/before{i}"));
    }
    three.crash(leader).await;
    for i in 0..100 {
        three.servers[&living].create(&format!("/after{i}"));
    }
    three.until_all_hold("/after99").await;
    let recorder = &three.servers[&living].recorder;
    let told = recorder.told.lock().clone();
    let sequences: Vec<u64> = told.iter().map(|told| told.sequence).collect();
    let expected: Vec<u64> = (2..=201).collect();
    assert_eq!(sequences, expected, "each once, in order");
    assert!(told.iter().all(|told| !told.refused));
    // The dead one comes back and catches up.
    three.start(leader).await;
    three.until_all_hold("/after99").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_learn_one_name_and_who_was_wiped_learns_it_again() {
    let mut three = Three::new();
    three.start_all().await;
    let mut names = Vec::new();
    for server in three.servers.values() {
        names.push(within(server.cluster()).await);
    }
    let name = names[0];
    assert!(names.iter().all(|other| *other == name), "{names:?}");
    let leader = three.leader().await;
    let wiped = (1..=3).find(|id| *id != leader).unwrap();
    three.servers[&leader].ensemble.barrier().await.unwrap();
    drop(three.servers.remove(&wiped));
    three.disks[usize::try_from(wiped - 1).unwrap()] = Disk::new();
    three.start(wiped).await;
    let server = &three.servers[&wiped];
    assert_eq!(within(server.cluster()).await, name);
    within(server.ensemble.served()).await.unwrap();
    // All start again, one after the other: it is the same name.
    for id in 1..=3 {
        three.crash(id).await;
        three.start(id).await;
        assert_eq!(within(three.servers[&id].cluster()).await, name);
    }
}

/// The first leader's disk has so much to do that it takes nothing: it was not asked again in its term.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_was_refused_is_proposed_again() {
    const MUCH: usize = 1 << 30;
    let mut three = Three::new();
    for id in 1..=3 {
        three.start(id).await;
        three.servers[&id].ensemble.progress.backlog().taken(MUCH);
    }
    let leader = three.leader().await;
    let server = &three.servers[&leader];
    // What is proposed behind the name is refused, too.
    server.submit(ActionRef::CloseSession);
    let is_refused = async {
        while server.ensemble.report().queue.resent < 2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within(is_refused).await;
    assert!(server.replica.read().meta().cluster.is_none());
    for server in three.servers.values() {
        server.ensemble.progress.backlog().durable(MUCH);
    }
    within(server.cluster()).await;
}

/// Somebody has mixed up the server lines of two ensembles: server 3 of the one is started with the
/// addresses of the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_ensemble_is_refused_and_both_are_named() {
    let (mut ours, mut others) = (Three::new(), Three::new());
    ours.start_all().await;
    others.start_all().await;
    let (mut name, mut other_name) = (None, None);
    for id in 1..=3_u64 {
        name = Some(within(ours.servers[&id].cluster()).await);
        other_name = Some(within(others.servers[&id].cluster()).await);
    }
    let (name, other_name) = (name.unwrap(), other_name.unwrap());
    assert_ne!(name, other_name);
    // Who is started again must know it by its tree.
    while ours
        .disk(3)
        .tree()
        .restore()
        .unwrap()
        .meta
        .cluster
        .is_none()
    {
        tokio::task::yield_now().await;
    }
    others.crash(3).await;
    ours.crash(3).await;
    ours.addresses.clone_from(&others.addresses);
    ours.start(3).await;
    let mut links = ours.servers[&3].ensemble.peers.links();
    let said = |phase: &Phase| match phase {
        Phase::Down {
            why: Down::Rejected,
            said,
        } => Some(said.to_string()),
        Phase::Down { .. } | Phase::Connecting | Phase::Up(_) => None,
    };
    let refused = links.wait_for(|links| links.values().all(|link| said(&link.phase).is_some()));
    let refused = within(refused).await.unwrap().clone();
    for (server, link) in refused {
        let said = said(&link.phase).unwrap();
        for word in [
            "different ensembles",
            "server 3",
            &format!("server {server}"),
            &name.to_string(),
            &other_name.to_string(),
        ] {
            assert!(said.contains(word), "{word:?} in {said:?}");
        }
    }
    assert!(!ours.servers[&3].ensemble.serves());
    // The others go on, and know nothing of it.
    let leader = others.leader().await;
    others.servers[&leader].open_session().await;
    others.servers[&leader].create("/still");
    others.until_all_hold("/still").await;
    assert!(!ours.servers[&3].holds("/still"));
}

async fn until_serves(server: &Running, serves: bool) {
    let mut serving = server.ensemble.serving();
    within(serving.wait_for(|now| *now == serves))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_apply_hangs_stops_serving_until_it_has_caught_up() {
    let mut three = Three::new();
    three.lag_ms_max = 400;
    three.start_all().await;
    let leader = three.leader().await;
    let late = (1..=3).find(|id| *id != leader).unwrap();
    let (leader, late) = (&three.servers[&leader], &three.servers[&late]);
    leader.open_session().await;
    late.recorder.shut(true);
    // The gate holds behind the first of them.
    for path in ["/a", "/b", "/c"] {
        let count = leader.recorder.sequences().len();
        leader.create(path);
        within(leader.recorder.until(count + 1)).await;
    }
    until_serves(late, false).await;
    assert!(leader.ensemble.serves());
    assert!(late.ensemble.role().has_leader());
    assert!(!late.holds("/c"));
    // It hears its leader all the time: it is apply alone.
    late.recorder.shut(false);
    until_serves(late, true).await;
    assert!(late.holds("/c"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_apply_hangs_hands_over_before_it_stops_serving() {
    let mut three = Three::new();
    three.lag_ms_max = 4_000;
    three.start_all().await;
    let first = three.leader().await;
    let late = &three.servers[&first];
    late.open_session().await;
    late.recorder.shut(true);
    // The gate holds behind the first one.
    late.create("/a");
    within(late.recorder.until(1)).await;
    late.create("/b");
    late.create("/c");
    let other_leads = async {
        while late.ensemble.role() == (Role::Follower { leader: None })
            || matches!(late.ensemble.role(), Role::Leader { .. } | Role::Candidate)
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within(other_leads).await;
    let led_by = late.ensemble.report().leader.unwrap();
    assert_ne!(led_by, ServerId(first));
    let next = &three.servers[&led_by.0];
    within(next.ensemble.served()).await.unwrap();
    assert!(next.holds("/c"), "nothing that was proposed is lost");
    assert!(!late.holds("/c"));
    until_serves(late, false).await;
    late.recorder.shut(false);
    until_serves(late, true).await;
    three.until_all_hold("/c").await;
}

/// Nothing has to be written elsewhere before a server that was restarted sends what it has.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_is_restarted_under_the_same_leader_proposes_at_once() {
    let mut three = Three::new();
    three.start_all().await;
    let leader = three.leader().await;
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    three.servers[&leader].submit(ActionRef::OpenSession {
        connection: 0,
        timeout_ms: 10_000,
        password: &[0; 16],
    });
    three.servers[&leader].create("/before");
    three.until_all_hold("/before").await;
    three.crash(follower).await;
    three.start(follower).await;
    within(three.servers[&follower].ensemble.served())
        .await
        .unwrap();
    three.servers[&follower].submit(ActionRef::OpenSession {
        connection: 0,
        timeout_ms: 10_000,
        password: &[1; 16],
    });
    three.until_applied_by(follower).await;
}
