//! Batches there and back, golden bytes, and bytes that are none.

use proptest::prelude::*;

use super::*;

fn action() -> impl Strategy<Value = Action> {
    let body = proptest::collection::vec(any::<u8>(), 0..40);
    let asked = || (any::<u64>(), any::<i32>(), any::<[u8; 16]>());
    prop_oneof![
        (any::<i32>(), any::<u64>(), body).prop_map(|(op, connection, body)| Action::Client {
            op: OpCode(op),
            connection,
            body: Bytes::from(body)
        }),
        asked().prop_map(|(connection, timeout_ms, password)| Action::OpenSession {
            connection,
            timeout_ms,
            password,
        }),
        asked().prop_map(|(connection, timeout_ms, password)| Action::Attach {
            connection,
            timeout_ms,
            password,
        }),
        Just(Action::CloseSession),
        any::<[u8; 16]>().prop_map(|cluster| Action::Found {
            cluster: ClusterId(cluster),
        }),
        (any::<u64>(), origin(), any::<u64>()).prop_map(|(term, origin, connection)| {
            let owner = SessionOwner { origin, connection };
            Action::ExpireSession { term, owner }
        }),
        any::<u64>().prop_map(|term| Action::LineUp {
            term,
            members: read_lines("server.1=a:1:2;3\nserver.9=b:1:2:observer\n").unwrap(),
        }),
        (any::<u64>(), any::<i64>(), any::<i32>()).prop_map(|(term, change, refusal)| {
            Action::Settle {
                term,
                change: Zxid(change),
                refusal: ErrorCode(refusal),
            }
        }),
        (any::<u64>(), ".{0,9}", any::<i64>()).prop_map(|(term, path, unused_ms)| {
            Action::Reap {
                term,
                path: Arc::from(path),
                unused_ms,
            }
        }),
    ]
}

fn identities() -> impl Strategy<Value = Identities> {
    let identity = (".{0,4}", ".{0,9}").prop_map(|(scheme, id)| Identity {
        scheme: Arc::from(scheme),
        id: Arc::from(id),
    });
    proptest::collection::vec(identity, 0..3).prop_map(Arc::from)
}

fn origin() -> impl Strategy<Value = Origin> {
    (
        prop_oneof![Just(1), any::<u64>()],
        prop_oneof![Just(7), any::<u64>()],
    )
        .prop_map(|(server, incarnation)| Origin {
            server: ServerId(server),
            incarnation,
        })
}

fn batch() -> impl Strategy<Value = Batch> {
    let sequence = prop_oneof![0..4_u64, any::<u64>()];
    let proposal = (
        origin(),
        sequence,
        any::<i64>(),
        any::<i32>(),
        identities(),
        action(),
    )
        .prop_map(
            |(origin, sequence, session, cxid, identities, action)| Proposal {
                origin,
                sequence,
                session: SessionId(session),
                cxid,
                identities,
                action,
            },
        );
    (
        any::<(i64, u64)>(),
        0..0b100_0000_u8,
        proptest::collection::vec(proposal, 0..8),
    )
        .prop_map(|((wall_ms, steady_ms), bits, proposals)| Batch {
            reading: Reading { wall_ms, steady_ms },
            rules: Rules::from_bits(bits),
            proposals,
        })
}

proptest! {
    #[test]
    fn decoding_gives_what_was_encoded(batch in batch()) {
        prop_assert_eq!(Batch::decode(batch.encode()), Ok(batch));
    }

    #[test]
    fn a_cut_batch_is_an_error(batch in batch()) {
        let bytes = batch.encode();
        for len in 0..bytes.len() {
            prop_assert!(Batch::decode(bytes.slice(..len)).is_err());
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut bytes = bytes;
        if let Some(version) = bytes.first_mut() {
            *version = BatchFormat::V3 as u8;
        }
        drop(Batch::decode(Bytes::from(bytes)));
    }

    #[test]
    fn a_changed_byte_does_not_panic(batch in batch(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = batch.encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        drop(Batch::decode(Bytes::from(bytes)));
    }
}

#[test]
fn a_run_says_origin_and_identities_once() {
    let origin = Origin {
        server: ServerId(1),
        incarnation: 1,
    };
    let ids = || -> Identities {
        let identity = Identity {
            scheme: Arc::from("ip"),
            id: Arc::from("127.0.0.1"),
        };
        Arc::from([identity])
    };
    let mut builder = BatchBuilder::default();
    builder.push(origin, 1, SessionId(5), 1, &ids(), ActionRef::CloseSession);
    let first = builder.len_bytes();
    builder.push(origin, 2, SessionId(6), 1, &ids(), ActionRef::CloseSession);
    assert_eq!(builder.len_bytes() - first, ACTION_BYTES_MIN);
    assert_eq!(builder.count(), 2);
    assert_eq!(
        Batch::decode(builder.finish().freeze()).unwrap().proposals[1].sequence,
        2
    );
    assert_eq!((builder.len_bytes(), builder.count()), (0, 0));
}

#[test]
fn another_format_is_named() {
    for found in [1, 2, 9] {
        let refused = Batch::decode(Bytes::from(vec![found; 40]));
        assert_eq!(refused, Err(FormatError::Version { found }));
    }
}
