//! The bytes of our own messages: golden, there and back, and bent in every bit.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::super::super::raft::records::FormatError;
use super::super::ask::{Answer, Asked, Response, put_answer};
use super::super::forward::{put_forwarded, take_forwarded};
use super::*;
use crate::state::{ClusterId, SessionId};

/// A request, written and read.
fn put(request: Request) -> Bytes {
    let mut out = BytesMut::new();
    request.put(&mut out).expect("sound");
    out.freeze()
}

fn told(told: &Told) -> Bytes {
    let mut out = BytesMut::new();
    told.put(&mut out);
    out.freeze()
}

fn forwarded(id: u64, outcome: Forwarded) -> Bytes {
    let mut out = BytesMut::new();
    bytes::BufMut::put_u64(&mut out, id);
    put_forwarded(&mut out, outcome);
    out.freeze()
}

fn take_ask(bytes: Bytes) -> Result<Ask, FormatError> {
    match Request::take(bytes)? {
        Asked::Known(Request::Ask(ask)) => Ok(ask),
        Asked::Known(_) | Asked::Unknown => Err(FormatError::Unknown { found: 0 }),
    }
}

fn probed() -> Probed {
    Probed {
        cluster: Some(ClusterId([0x5c; 16])),
        members: 0x1122,
        empty: false,
        declared_new: true,
        votes: true,
        term: 9,
        voted_for: Some(ServerId(3)),
        leader: None,
        last_log: Some(LogPosition { term: 8, index: 77 }),
        committed: None,
    }
}

fn presented() -> Presented {
    let address = PeerAddress {
        host: "zk".to_owned(),
        port: 2888,
    };
    let listed = |part, addresses| Listed { part, addresses };
    let members = [
        (ServerId(1), listed(Part::Voter, vec![address])),
        (ServerId(4), listed(Part::Observer, Vec::new())),
    ];
    let at = Some(LogPosition { term: 6, index: 5 });
    Presented {
        listed: Roster {
            version: 0x10,
            members: members.into(),
        },
        term: 7,
        votes: true,
        effective: Membership {
            at,
            quorums: vec![[ServerId(1)].into(), [ServerId(1), ServerId(2)].into()],
            learners: [ServerId(4)].into(),
        },
        committed: Membership::default(),
    }
}

const PRESENTED: &str = "1400000000000000100002000000000000000101010b48027a6b00000000000000040200\
                         000000000000000701010000000000000006000000000000000502000100000000000000\
                         010002000000000000000100000000000000020001000000000000000400000000";

fn asks() -> Vec<(Ask, &'static str)> {
    vec![
        (Ask::Probe, "10"),
        (Ask::ReadIndex, "11"),
        (
            Ask::Touches {
                sessions: vec![
                    (SessionId(0x0100_0000_0000_0001), 30_000),
                    (SessionId(-1), -1),
                ],
            },
            "1200000002010000000000000100007530ffffffffffffffffffffffff",
        ),
        (
            Ask::LeaderGone {
                leader: ServerId(2),
                term: 7,
                last_log: Some(LogPosition { term: 6, index: 5 }),
            },
            "130000000000000002000000000000000701000000000000000600000000000000\
             05",
        ),
        (Ask::Members(Box::new(presented())), PRESENTED),
    ]
}

fn tolds() -> Vec<(Told, &'static str)> {
    vec![
        (
            Told::NotLeader {
                leader: Some(ServerId(2)),
                term: 7,
            },
            "010100000000000000020000000000000007",
        ),
        (
            Told::Probe(probed()),
            "10015c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c0000000000001122000101\
             0000000000000009010000000000000003000100000000000000080000\
             00000000004d00",
        ),
        (Told::ReadIndex { at: None }, "1100"),
        (Told::Touched { term: 7 }, "120000000000000007"),
        (
            Told::LeaderGone {
                gone: true,
                term: 7,
                last_log: None,
            },
            "1301000000000000000700",
        ),
        (Told::Members(Box::new(presented())), PRESENTED),
    ]
}

#[test]
fn golden() {
    for (ask, hex) in asks() {
        let bytes = put(Request::Ask(ask.clone()));
        assert_eq!(format!("{bytes:x}"), hex, "{ask:?}");
        assert_eq!(take_ask(bytes), Ok(ask));
    }
    for (one, hex) in tolds() {
        let bytes = told(&one);
        assert_eq!(format!("{bytes:x}"), hex, "{one:?}");
        assert_eq!(Told::take(bytes), Ok(one));
    }
    for (outcome, hex) in [
        (
            Forwarded::Accepted {
                at: LogPosition { term: 7, index: 9 },
            },
            "00000000000000080100000000000000070000000000000009",
        ),
        (
            Forwarded::NotLeader {
                leader: None,
                term: 7,
            },
            "000000000000000802000000000000000007",
        ),
        (Forwarded::Malformed, "000000000000000803"),
    ] {
        let bytes = forwarded(8, outcome);
        assert_eq!(format!("{bytes:x}"), hex);
        assert_eq!(take_forwarded(bytes), Ok((8, outcome)));
    }
    for (answer, hex) in [
        (None, "000000000000000502"),
        (Some(Err(Refusal::NotReady)), "00000000000000050101"),
        (Some(Err(Refusal::Newer(9))), "00000000000000050109"),
        (
            Some(Ok(Response::Told(Told::Touched { term: 1 }))),
            "000000000000000500120000000000000001",
        ),
    ] {
        let mut out = BytesMut::new();
        put_answer(&mut out, 5, answer);
        assert_eq!(format!("{out:x}"), hex);
        assert_eq!(Answer::take(out.freeze()).expect("an answer").0, 5);
    }
}

/// Whatever is made of `bytes`: each bit changed, each end cut off, a byte more. What is read all the
/// same is written as it came.
fn bend<T>(
    bytes: &Bytes,
    take: impl Fn(Bytes) -> Result<T, FormatError>,
    put: impl Fn(T) -> Bytes,
) {
    let check = |bent: Vec<u8>| {
        if let Ok(read) = take(Bytes::from(bent.clone())) {
            assert_eq!(put(read), bent);
        }
    };
    for bit in 0..bytes.len() * 8 {
        let mut bent = bytes.to_vec();
        bent[bit / 8] ^= 1 << (bit % 8);
        check(bent);
    }
    for cut in 0..bytes.len() {
        assert!(take(bytes.slice(..cut)).is_err(), "cut at {cut}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(take(Bytes::from(longer)).is_err());
}

#[test]
fn what_was_bent_on_the_way() {
    for (ask, _) in asks() {
        let bytes = put(Request::Ask(ask));
        bend(&bytes, take_ask, |ask| put(Request::Ask(ask)));
    }
    for (one, _) in tolds() {
        bend(&told(&one), Told::take, |one| told(&one));
    }
    let accepted = Forwarded::Accepted {
        at: LogPosition { term: 7, index: 9 },
    };
    let other = Forwarded::NotLeader {
        leader: Some(ServerId(1)),
        term: 7,
    };
    for outcome in [accepted, other, Forwarded::Malformed] {
        let bytes = forwarded(8, outcome);
        bend(&bytes, take_forwarded, |(id, outcome)| {
            forwarded(id, outcome)
        });
    }
}

#[test]
fn a_count_is_believed_as_far_as_there_are_bytes() {
    let touches = Bytes::from_static(b"\x12\xff\xff\xff\xff\0\0\0\0\0\0\0\x01\0\0\0\x01");
    let refused = take_ask(touches);
    let count = u32::MAX;
    assert_eq!(refused, Err(FormatError::Count { count, left: 12 }));
}

fn position() -> impl Strategy<Value = Option<LogPosition>> {
    let position = (any::<u64>(), any::<u64>());
    proptest::option::of(position.prop_map(|(term, index)| LogPosition { term, index }))
}

fn server() -> impl Strategy<Value = Option<ServerId>> {
    proptest::option::of(any::<u64>().prop_map(ServerId))
}

fn membership() -> impl Strategy<Value = Membership> {
    let ids = || proptest::collection::btree_set(any::<u64>().prop_map(ServerId), 0..5);
    let quorums = proptest::collection::vec(ids(), 0..3);
    (position(), quorums, ids()).prop_map(|(at, quorums, learners)| Membership {
        at,
        quorums,
        learners,
    })
}

fn any_presented() -> impl Strategy<Value = Presented> {
    let address = ("[a-z0-9.:]{0,20}", any::<u16>());
    let address = address.prop_map(|(host, port)| PeerAddress { host, port });
    let part = prop_oneof![Just(Part::Voter), Just(Part::Observer)];
    let listed = (part, proptest::collection::vec(address, 0..4));
    let listed = listed.prop_map(|(part, addresses)| Listed { part, addresses });
    let members = (any::<u64>().prop_map(ServerId), listed);
    let members = proptest::collection::vec(members, 0..6);
    let roster = (any::<u64>(), members).prop_map(|(version, members)| Roster {
        version,
        members: members.into_iter().collect(),
    });
    let rest = (any::<u64>(), any::<bool>(), membership(), membership());
    (roster, rest).prop_map(|(listed, (term, votes, effective, committed))| Presented {
        listed,
        term,
        votes,
        effective,
        committed,
    })
}

fn any_ask() -> impl Strategy<Value = Ask> {
    let touch = (any::<i64>(), any::<i32>());
    let touch = touch.prop_map(|(session, timeout_ms)| (SessionId(session), timeout_ms));
    prop_oneof![
        Just(Ask::Probe),
        Just(Ask::ReadIndex),
        proptest::collection::vec(touch, 0..40).prop_map(|sessions| Ask::Touches { sessions }),
        any_presented().prop_map(|presented| Ask::Members(Box::new(presented))),
        (any::<u64>(), any::<u64>(), position()).prop_map(|(leader, term, last_log)| {
            Ask::LeaderGone {
                leader: ServerId(leader),
                term,
                last_log,
            }
        }),
    ]
}

fn any_told() -> impl Strategy<Value = Told> {
    let flags = any::<[bool; 3]>();
    let servers = (server(), server());
    let numbers = (any::<u64>(), any::<u64>());
    let cluster = proptest::option::of(any::<[u8; 16]>().prop_map(ClusterId));
    let probed = (cluster, flags, numbers, servers, position(), position()).prop_map(
        |(cluster, flags, numbers, servers, last_log, committed)| Probed {
            cluster,
            members: numbers.0,
            empty: flags[0],
            declared_new: flags[1],
            votes: flags[2],
            term: numbers.1,
            voted_for: servers.0,
            leader: servers.1,
            last_log,
            committed,
        },
    );
    prop_oneof![
        probed.prop_map(Told::Probe),
        position().prop_map(|at| Told::ReadIndex { at }),
        any::<u64>().prop_map(|term| Told::Touched { term }),
        any_presented().prop_map(|presented| Told::Members(Box::new(presented))),
        (any::<bool>(), any::<u64>(), position()).prop_map(|(gone, term, last_log)| {
            Told::LeaderGone {
                gone,
                term,
                last_log,
            }
        }),
        (server(), any::<u64>()).prop_map(|(leader, term)| Told::NotLeader { leader, term }),
    ]
}

proptest! {
    #[test]
    fn there_and_back(ask in any_ask(), one in any_told()) {
        prop_assert_eq!(take_ask(put(Request::Ask(ask.clone()))), Ok(ask));
        prop_assert_eq!(Told::take(told(&one)), Ok(one));
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), tag in 0_u8..32) {
        let tagged = Bytes::from([&[tag], &bytes[..]].concat());
        let bytes = Bytes::from(bytes);
        drop(Request::take(tagged.clone()));
        drop(Told::take(tagged));
        drop(Answer::take(bytes.clone()));
        drop(take_forwarded(bytes.clone()));
        drop(Hello::take(&mut bytes.clone()));
    }
}
