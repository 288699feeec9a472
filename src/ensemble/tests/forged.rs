//! What a follower forwards is not believed: it costs its sender the stream if it is no batch of that
//! sender, and what it says of clocks and rules decides nothing.

use bytes::Bytes;
use jute::{Acl, Id, SetAcl, perms};

use super::three::{Three, within};
use super::*;
use crate::ensemble::peer::{ForwardAnswers, ForwardSender, Forwarded};
use crate::state::{Action, Batch, BatchBuilder, Origin, Reading, Rules, SessionOwner, Unstamped};

/// Bytes in front of a batch's number of proposals: version, clocks, rules.
const RULES_AT: usize = 17;
/// All clocks of these tests begin at a million and move by a millisecond a look.
const WALL_MS_MAX: i64 = 100_000_000;

/// A stream from one server to the leader, as a follower opens it.
struct Lane {
    sender: ForwardSender,
    answers: ForwardAnswers,
}

impl Lane {
    async fn open(from: &Running, leader: u64) -> Self {
        let peers = &from.ensemble.peers;
        let (sender, answers) = within(peers.forward(ServerId(leader))).await.unwrap();
        Self { sender, answers }
    }

    async fn send(&mut self, term: u64, batch: Bytes) -> Forwarded {
        within(self.sender.send(term, 7, batch)).await.unwrap();
        let (id, forwarded) = within(self.answers.next()).await.unwrap();
        assert_eq!(id, 7);
        forwarded
    }
}

fn every_action() -> Vec<(SessionId, Action)> {
    let owner = SessionOwner {
        origin: Origin::default(),
        connection: 3,
    };
    let session = SessionId(0x0102_0304_0506_0708);
    let chores = SessionId::NONE;
    vec![
        (
            session,
            Action::OpenSession {
                connection: 3,
                timeout_ms: 30_000,
                password: [5; 16],
            },
        ),
        (
            session,
            Action::Client {
                op: OpCode::CREATE,
                connection: 3,
                body: create("/forged").freeze(),
            },
        ),
        (
            session,
            Action::Attach {
                connection: 4,
                timeout_ms: 20_000,
                password: [5; 16],
            },
        ),
        (session, Action::ExpireSession { term: 9, owner }),
        (
            chores,
            Action::Reap {
                term: 9,
                path: Arc::from("/forged"),
                unused_ms: 5,
            },
        ),
        (session, Action::CloseSession),
    ]
}

/// As a follower makes it: nobody has stamped it.
fn batch_of(origin: Origin, actions: &[(SessionId, Action)]) -> Bytes {
    let nobody = Identities::from([Identity {
        scheme: Arc::from("ip"),
        id: Arc::from("127.0.0.1"),
    }]);
    let mut builder = BatchBuilder::default();
    for ((session, action), sequence) in actions.iter().zip(1..) {
        builder.push(origin, sequence, *session, 1, &nobody, action.borrowed());
    }
    builder.finish().freeze()
}

/// What must become of these bytes, by the batch that they are.
fn is_sound(bytes: &Bytes, from: Origin) -> bool {
    Batch::decode(bytes.clone()).is_ok_and(|batch| {
        let mut proposals = batch.proposals.iter();
        proposals.all(|one| one.origin == from && !matches!(one.action, Action::Found { .. }))
    })
}

/// All batches that are in a server's log.
fn batches(disk: &Disk) -> Vec<Batch> {
    let entries = disk.log.entries(0..u64::MAX, usize::MAX).unwrap();
    let batches = entries.into_iter().filter(|entry| entry.payload[0] < 0x80);
    batches
        .map(|entry| Batch::decode(entry.payload).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_with_any_byte_flipped_ends_no_process() {
    let mut three = Three::new();
    three.start_all().await;
    let leader = three.leader().await;
    let forger = (1..=3).find(|id| *id != leader).unwrap();
    let from = &three.servers[&forger];
    let origin = from.ensemble.origin();
    let term = from.ensemble.report().term;
    let whole = batch_of(origin, &every_action());
    assert!(is_sound(&whole, origin));
    let mut lane = Lane::open(from, leader).await;
    let (mut refused, mut taken) = (0, 0);
    for at in 0..whole.len() {
        for flip in [0xff, 0x01, 0x80] {
            let mut bytes = whole.to_vec();
            bytes[at] ^= flip;
            let bytes = Bytes::from(bytes);
            let expected = is_sound(&bytes, origin);
            match lane.send(term, bytes).await {
                Forwarded::Accepted { .. } => {
                    assert!(expected, "byte {at} ^ {flip:#x} was taken");
                    taken += 1;
                }
                Forwarded::Malformed => {
                    assert!(!expected, "byte {at} ^ {flip:#x} was refused");
                    assert!(
                        within(lane.answers.next()).await.is_err(),
                        "it has no stream"
                    );
                    refused += 1;
                    lane = Lane::open(from, leader).await;
                }
                other @ Forwarded::NotLeader { .. } => panic!("byte {at}: {other:?}"),
            }
        }
    }
    assert!(
        refused > 50 && taken > 50,
        "{refused} refused, {taken} taken"
    );
    // All of them live, and have made the same of it.
    let third = (1..=3).find(|id| *id != leader && *id != forger).unwrap();
    three.servers[&third].open_session().await;
    three.servers[&third].create("/after");
    three.until_all_hold("/after").await;
    let metas = three.servers.values().map(|server| {
        let state = server.replica.read();
        (
            state.last_zxid(),
            state.meta().znodes,
            state.sessions().len(),
        )
    });
    let metas: Vec<_> = metas.collect();
    assert!(metas.windows(2).all(|two| two[0] == two[1]), "{metas:?}");
    for batch in batches(three.disk(leader)) {
        assert!(batch.reading.wall_ms < WALL_MS_MAX, "{:?}", batch.reading);
        assert_eq!(batch.rules, Rules::default());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_names_the_ensemble_or_another_server_is_refused() {
    let mut three = Three::new();
    three.start_all().await;
    let leader = three.leader().await;
    let forger = (1..=3).find(|id| *id != leader).unwrap();
    let from = &three.servers[&forger];
    let name = within(from.cluster()).await;
    let origin = from.ensemble.origin();
    let term = from.ensemble.report().term;
    let cluster = ClusterId([6; 16]);
    let found = batch_of(origin, &[(SessionId::NONE, Action::Found { cluster })]);
    let close = [(SESSION, Action::CloseSession)];
    let (server, incarnation) = (origin.server, origin.incarnation);
    let others = [
        Origin {
            server: ServerId(leader),
            incarnation,
        },
        Origin {
            server,
            incarnation: incarnation + 1,
        },
    ];
    let others = others.map(|origin| batch_of(origin, &close));
    for bytes in [found].into_iter().chain(others) {
        let mut lane = Lane::open(from, leader).await;
        assert_eq!(lane.send(term, bytes).await, Forwarded::Malformed);
    }
    assert_eq!(three.servers[&leader].cluster().await, name);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rules_and_no_clock_of_a_follower_decide_anything() {
    let mut three = Three::new();
    three.start_all().await;
    let leader = three.leader().await;
    let forger = (1..=3).find(|id| *id != leader).unwrap();
    let owner = &three.servers[&leader];
    owner.open_session().await;
    owner.create("/closed");
    let mut body = BytesMut::new();
    SetAcl {
        path: Some("/closed".into()),
        acl: Some(vec![Acl {
            perms: perms::READ,
            id: Id {
                scheme: Some("world".into()),
                id: Some("anyone".into()),
            },
        }]),
        version: -1,
    }
    .encode(&mut body);
    owner.submit(client(OpCode::SET_ACL, &body));
    within(owner.recorder.until(2)).await;
    let before = owner.replica.read().last_zxid();

    let from = &three.servers[&forger];
    let session = SessionId(77);
    let open = Action::OpenSession {
        connection: 0,
        timeout_ms: 10_000,
        password: [0; 16],
    };
    let set = Action::Client {
        op: OpCode::SET_DATA,
        connection: 0,
        body: set_data("/closed", 3).freeze(),
    };
    let batch = batch_of(from.ensemble.origin(), &[(session, open), (session, set)]);
    let reading = Reading {
        wall_ms: i64::MAX,
        steady_ms: u64::MAX,
    };
    let rules = Rules {
        skip_acl: true,
        ..Rules::default()
    };
    let batch = Unstamped::again(&batch).stamp(reading, rules);
    assert_ne!(batch[RULES_AT] & 1, 0, "it says that no ACL is checked");
    let mut lane = Lane::open(from, leader).await;
    let term = from.ensemble.report().term;
    let forwarded = lane.send(term, batch).await;
    assert!(matches!(forwarded, Forwarded::Accepted { .. }));
    within(owner.recorder.until(3)).await;
    let told = *owner.recorder.told.lock().last().unwrap();
    assert_eq!(told.zxid, Zxid(before.0 + 2));
    assert!(told.refused, "the ACL was checked");
    assert!(told.time_ms < WALL_MS_MAX, "{}", told.time_ms);
    for batch in batches(three.disk(leader)) {
        assert_eq!(batch.rules, Rules::default());
        assert!(batch.reading.wall_ms < WALL_MS_MAX);
        assert!(batch.reading.steady_ms < WALL_MS_MAX.unsigned_abs());
    }
}
