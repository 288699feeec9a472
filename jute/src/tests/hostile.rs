//! Bytes that no honest client sends: errors with a place, never a panic, never much memory.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;
use tokio_util::codec::{Decoder, Encoder};

use super::sample::Sample;
use crate::*;

/// Bytes from a closure that puts them.
fn bytes(put: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    put(&mut out);
    out.freeze()
}

/// Decodes and expects an error, as its message.
fn refused(op: OpCode, body: Bytes) -> String {
    Request::decode(op, body).unwrap_err().to_string()
}

#[test]
fn errors_name_the_field_and_the_place() {
    let table = [
        (
            OpCode::EXISTS,
            bytes(|out| out.put_u16(0)),
            "path at byte 0: expected 4 bytes, found 2",
        ),
        (
            OpCode::EXISTS,
            bytes(|out| out.put_i32(-2)),
            "path at byte 0: negative length -2",
        ),
        (
            OpCode::EXISTS,
            bytes(|out| out.put_i32(7)),
            "path at byte 0: length 7 is more than the 0 bytes left",
        ),
        (
            OpCode::EXISTS,
            bytes(|out| put_ustring(out, Some("/a"))),
            "watch at byte 6: expected 1 bytes, found 0",
        ),
        (
            OpCode::SET_ACL,
            bytes(|out| {
                put_ustring(out, Some("/a"));
                put_count(out, Some(2));
                Acl {
                    perms: 31,
                    id: Id {
                        scheme: None,
                        id: None,
                    },
                }
                .encode(out);
                out.put_i32(1);
                out.put_i32(-3);
                out.put_i64(0);
            }),
            "acl[1].id.scheme at byte 26: negative length -3",
        ),
        (
            OpCode::SET_WATCHES,
            bytes(|out| {
                out.put_i64(0);
                out.put_i32(i32::MAX);
            }),
            "data_watches at byte 8: count 2147483647 is more than 0 bytes can hold",
        ),
        (
            OpCode::MULTI,
            bytes(|out| {
                MultiHeader::put_op(OpCode::CHECK, out);
                put_ustring(out, Some("/a"));
            }),
            "ops[0].version at byte 15: expected 4 bytes, found 0",
        ),
        (
            OpCode(10),
            Bytes::new(),
            "op at byte 0: no request has opcode 10",
        ),
    ];
    for (op, body, message) in table {
        assert_eq!(refused(op, body), message);
    }
}

#[test]
fn opcodes_that_no_client_may_send_are_unknown() {
    let internal = [
        OpCode::NOTIFICATION,
        OpCode::DELETE_CONTAINER,
        OpCode::CREATE_SESSION,
        OpCode::ERROR,
    ];
    for op in internal
        .into_iter()
        .chain([10, 23, 99, 108, 500, i32::MIN].map(OpCode))
    {
        let error = Request::decode(op, Bytes::from_static(&[0; 64])).unwrap_err();
        assert_eq!(error.kind, DecodeErrorKind::UnknownOpCode(op));
    }
}

/// zk: BinaryInputArchive: -1 is null, below that nothing is left to read.
#[test]
fn negative_counts_are_empty_but_minus_one_is_null() {
    for (count, expected) in [(-1, None), (-2, Some(vec![])), (i32::MIN, Some(vec![]))] {
        let body = bytes(|out| {
            out.put_i64(5);
            out.put_i32(count);
            out.put_i32(0);
            out.put_i32(-1);
        });
        let watches = SetWatches::decode(&mut Reader::new(body)).unwrap();
        assert_eq!(watches.data_watches, expected);
        assert_eq!(watches.exist_watches, Some(vec![]));
        assert_eq!(watches.child_watches, None);
    }
}

#[test]
fn any_byte_but_zero_is_true() {
    let body = |byte| {
        bytes(|out| {
            put_ustring(out, Some("/"));
            out.put_u8(byte);
        })
    };
    for byte in [1, 2, 0x80, 0xff] {
        assert!(Exists::decode(&mut Reader::new(body(byte))).unwrap().watch);
    }
    assert!(!Exists::decode(&mut Reader::new(body(0))).unwrap().watch);
}

/// One op, decoded as a multi of its own.
fn multi_op(op: OpCode, put: impl FnOnce(&mut BytesMut)) -> Result<MultiOp, DecodeErrorKind> {
    let body = bytes(|out| {
        MultiHeader::put_op(op, out);
        put(out);
        MultiHeader::END.encode(out);
    });
    match Multi::decode(&mut Reader::new(body)) {
        Ok(mut multi) => Ok(multi.ops.remove(0)),
        Err(error) => Err(error.kind),
    }
}

#[test]
fn flags_decide_what_a_create_in_a_multi_is() {
    let create = |flags| Create {
        path: Some("/a".into()),
        data: None,
        acl: Some(vec![]),
        flags,
    };
    let sent = |op, flags| multi_op(op, |out| create(flags).encode(out));
    for flags in 0..=3 {
        assert_eq!(
            sent(OpCode::CREATE, flags),
            Ok(MultiOp::Create(create(flags)))
        );
        assert_eq!(
            sent(OpCode::CREATE2, flags),
            Ok(MultiOp::Create2(create(flags)))
        );
        let container = MultiOp::CreateContainer(create(flags));
        assert_eq!(sent(OpCode::CREATE_CONTAINER, flags), Ok(container));
    }
    for op in [OpCode::CREATE, OpCode::CREATE2, OpCode::CREATE_CONTAINER] {
        assert_eq!(sent(op, 4), Ok(MultiOp::CreateContainer(create(4))));
        assert_eq!(sent(op, 5), Err(DecodeErrorKind::TtlMissing(5)));
        assert_eq!(sent(op, 6), Err(DecodeErrorKind::TtlMissing(6)));
        for flags in [-1, 7, i32::MIN, i32::MAX] {
            assert_eq!(sent(op, flags), Err(DecodeErrorKind::BadCreateFlags(flags)));
        }
        let no_acl = Create {
            acl: None,
            ..create(0)
        };
        assert_eq!(
            multi_op(op, |out| no_acl.encode(out)),
            Err(DecodeErrorKind::Null)
        );
    }
}

#[test]
fn create_ttl_in_a_multi_without_ttl_flags_is_a_plain_create() {
    let ttl = |flags, ttl_ms| CreateTtl {
        path: Some("/a".into()),
        data: None,
        acl: None,
        flags,
        ttl_ms,
    };
    let plain = |flags| Create {
        path: Some("/a".into()),
        data: None,
        acl: None,
        flags,
    };
    let sent =
        |flags, ttl_ms| multi_op(OpCode::CREATE_TTL, |out| ttl(flags, ttl_ms).encode(out)).unwrap();
    for flags in [0, 1, 2, 3, 7, -1] {
        assert_eq!(sent(flags, -5), MultiOp::Create(plain(flags)));
    }
    assert_eq!(sent(4, 1), MultiOp::CreateContainer(plain(4)));
    for (flags, ttl_ms) in [(5, 0), (6, -1), (5, i64::MAX)] {
        assert_eq!(sent(flags, ttl_ms), MultiOp::CreateTtl(ttl(flags, ttl_ms)));
    }
}

#[test]
fn reads_and_writes_do_not_mix() {
    let get = |out: &mut BytesMut| {
        MultiHeader::put_op(OpCode::GET_DATA, out);
        GetData {
            path: Some("/a".into()),
            watch: false,
        }
        .encode(out);
    };
    let check = |out: &mut BytesMut| {
        MultiHeader::put_op(OpCode::CHECK, out);
        Check {
            path: Some("/a".into()),
            version: 0,
        }
        .encode(out);
    };
    let mixed = bytes(|out| {
        check(out);
        get(out);
        MultiHeader::END.encode(out);
    });
    let reads = bytes(|out| {
        get(out);
        MultiHeader::END.encode(out);
    });
    let writes = bytes(|out| {
        check(out);
        MultiHeader::END.encode(out);
    });
    let kind = |op, body| Request::decode(op, body).unwrap_err().kind;
    let no = DecodeErrorKind::NotAllowedInMulti;
    assert_eq!(kind(OpCode::MULTI, mixed.clone()), no(OpCode::GET_DATA));
    assert_eq!(kind(OpCode::MULTI_READ, mixed), no(OpCode::CHECK));
    assert_eq!(kind(OpCode::MULTI, reads.clone()), no(OpCode::GET_DATA));
    assert_eq!(kind(OpCode::MULTI_READ, writes), no(OpCode::CHECK));
    assert!(Request::decode(OpCode::MULTI_READ, reads).is_ok());
}

#[test]
fn ops_that_no_multi_takes() {
    let get_data = [OpCode::GET_DATA, OpCode::GET_CHILDREN];
    for op in OpCode::ALL {
        let path_and_zeros = |out: &mut BytesMut| {
            put_ustring(out, Some("/a"));
            out.put_bytes(0, 64);
        };
        let refused = Err(DecodeErrorKind::NotAllowedInMulti(*op));
        let is_write = [1, 2, 5, 13, 15, 19, 21].contains(&op.0);
        assert_eq!(multi_op(*op, path_and_zeros) == refused, !is_write, "{op}");
        let body = bytes(|out| {
            MultiHeader::put_op(*op, out);
            path_and_zeros(out);
        });
        let error = MultiRead::decode(&mut Reader::new(body));
        let is_refused =
            error.is_err_and(|error| error.kind == DecodeErrorKind::NotAllowedInMulti(*op));
        assert_eq!(is_refused, !get_data.contains(op), "{op}");
    }
}

#[test]
fn null_paths_fail_a_whole_multi() {
    let null = Err(DecodeErrorKind::Null);
    assert_eq!(
        multi_op(OpCode::DELETE, |out| Delete {
            path: None,
            version: -1
        }
        .encode(out)),
        null
    );
    assert_eq!(
        multi_op(OpCode::CHECK, |out| Check {
            path: None,
            version: -1
        }
        .encode(out)),
        null
    );
    let body = bytes(|out| {
        MultiHeader::put_op(OpCode::GET_DATA, out);
        GetData {
            path: None,
            watch: true,
        }
        .encode(out);
    });
    let error = MultiRead::decode(&mut Reader::new(body)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "ops[0].path at byte 9: null is not allowed here"
    );
}

#[test]
fn an_empty_multi_is_legal() {
    let body = bytes(|out| MultiHeader::END.encode(out));
    assert_eq!(
        Request::decode(OpCode::MULTI, body.clone()),
        Ok(Request::Multi(Multi { ops: vec![] }))
    );
    assert_eq!(
        Request::decode(OpCode::MULTI_READ, body),
        Ok(Request::MultiRead(MultiRead { ops: vec![] }))
    );
}

#[test]
fn decoding_copies_neither_paths_nor_data() {
    let body = bytes(|out| {
        let id = Id {
            scheme: Some("digest".into()),
            id: Some("user:hash".into()),
        };
        let acl = Some(vec![Acl { perms: 31, id }]);
        let path = Some("/a/long/enough/path".into());
        Create {
            path,
            data: Some(Bytes::from(vec![7; 100])),
            acl,
            flags: 0,
        }
        .encode(out);
    });
    let frame = body.as_ptr_range();
    let create = Create::decode(&mut Reader::new(body.clone())).unwrap();
    let acl = create.acl.unwrap().remove(0);
    let texts = [create.path, acl.id.scheme, acl.id.id];
    for text in texts.into_iter().flatten() {
        assert!(frame.contains(&text.as_bytes_shared().as_ptr()));
    }
    assert!(frame.contains(&create.data.unwrap().as_ptr()));
}

#[test]
fn frames_of_any_legal_length_come_out_whole() {
    let mut codec = FrameCodec::new(10);
    let mut stream = BytesMut::new();
    for length in [0, 1, 10] {
        codec
            .encode(Bytes::from(vec![9; length]), &mut stream)
            .unwrap();
    }
    let mut came = BytesMut::new();
    let mut lengths = Vec::new();
    for byte in stream {
        came.put_u8(byte);
        while let Some(frame) = codec.decode(&mut came).unwrap() {
            lengths.push(frame.len());
        }
    }
    assert_eq!(lengths, [0, 1, 10]);
}

#[test]
fn frame_lengths_are_judged_by_the_length_alone() {
    let judge = |max, length: i32| {
        let mut came = BytesMut::from(&length.to_be_bytes()[..]);
        let result = FrameCodec::new(max).decode(&mut came);
        (result.map(|frame| frame.is_none()), came.capacity())
    };
    assert!(matches!(judge(10, 10).0, Ok(true)));
    assert!(matches!(
        judge(10, 11).0,
        Err(FrameError::TooLong {
            length: 11,
            max: 10
        })
    ));
    assert!(matches!(
        judge(10, -1).0,
        Err(FrameError::Negative { length: -1 })
    ));
    assert!(matches!(
        judge(10, i32::MIN).0,
        Err(FrameError::Negative { .. })
    ));
    // A claim of 2 GiB that is within the limit takes no more room than one of 8 KiB.
    let (waits, capacity) = judge(usize::MAX, i32::MAX);
    assert!(matches!(waits, Ok(true)));
    assert!(capacity <= 16 * 1024, "{capacity}");
}

/// Whoever only looks sees what the decoder takes out.
#[test]
fn a_cut_is_where_the_decoder_cuts() {
    let mut codec = FrameCodec::new(5);
    for bytes in [
        &[][..],
        &[0, 0, 0],
        &[0, 0, 0, 0],
        &[0, 0, 0, 0, 0, 0],
        &[0, 0, 0, 5, 1, 2, 3, 4],
        &[0, 0, 0, 5, 1, 2, 3, 4, 5],
        &[0, 0, 0, 5, 1, 2, 3, 4, 5, 6, 7],
        &[0, 0, 0, 6, 1, 2, 3, 4, 5, 6, 7],
        &[255, 255, 255, 255, 1],
    ] {
        let mut came = BytesMut::from(bytes);
        let decoded = codec.decode(&mut came);
        match codec.cut(bytes) {
            Ok(Cut::Whole { payload, rest }) => {
                assert_eq!((payload, rest), (&decoded.unwrap().unwrap()[..], &came[..]));
            }
            Ok(Cut::Incomplete { missing }) => {
                assert_eq!((decoded.unwrap(), &came[..]), (None, bytes));
                let claimed = bytes.get(3).map(|length| usize::from(*length));
                assert_eq!(missing.map(|missing| missing + bytes.len() - 4), claimed);
            }
            Err(error) => {
                let refused = decoded.unwrap_err().to_string();
                assert_eq!((refused, &came[..]), (error.to_string(), bytes));
            }
        }
    }
}

#[test]
fn the_limit_can_change_between_frames() {
    let mut codec = FrameCodec::new(4);
    let mut came = BytesMut::from(&[0, 0, 0, 1, 7, 0, 0, 0, 5, 1, 2, 3, 4, 5][..]);
    assert_eq!(codec.decode(&mut came).unwrap().unwrap(), &[7][..]);
    assert!(codec.decode(&mut came).is_err());
    codec.set_max(5);
    assert_eq!(
        codec.decode(&mut came).unwrap().unwrap(),
        &[1, 2, 3, 4, 5][..]
    );
}

#[test]
fn replies_share_one_buffer() {
    let header = ReplyHeader {
        xid: 1,
        zxid: 2,
        err: ErrorCode::OK,
    };
    let event = WatcherEvent {
        kind: 1,
        state: 3,
        path: Some("/a".into()),
    };
    let mut out = BytesMut::new();
    reply::put_header_only(&mut out, header);
    let mark = reply::begin(&mut out, header);
    put_ustring(&mut out, Some("/v"));
    reply::finish(&mut out, mark).unwrap();
    let mark = reply::begin(&mut out, header);
    put_buffer(&mut out, Some(b"given up"));
    reply::abandon(&mut out, mark);
    reply::put_event(&mut out, 9, &event).unwrap();

    let mut codec = FrameCodec::new(100);
    let mut frames = Vec::new();
    while let Some(frame) = codec.decode(&mut out).unwrap() {
        frames.push(Reply::decode(frame).unwrap());
    }
    let path = Bytes::from_static(b"\0\0\0\x02/v");
    let expected = [
        Reply::Answer {
            header,
            body: Bytes::new(),
        },
        Reply::Answer { header, body: path },
        Reply::Event {
            header: ReplyHeader {
                xid: -1,
                zxid: 9,
                err: ErrorCode::OK,
            },
            event,
        },
    ];
    assert_eq!(frames, expected);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn random_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        feed(&Bytes::from(body));
    }

    /// Bytes that look like jute: small integers, so that decoders get far.
    #[test]
    fn random_words_never_panic(
        words in proptest::collection::vec(
            prop_oneof![-2i32..24, Just(0x2f61_2f62), Just(0x0100_0000), any::<i32>()],
            0..60,
        ),
        shift in 0usize..4,
    ) {
        let body = bytes(|out| words.iter().for_each(|word| out.put_i32(*word)));
        feed(&body.slice(shift.min(body.len())..));
    }

    /// A good request with some bytes changed.
    #[test]
    fn damaged_requests_never_panic(
        request in Request::sample(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut body = BytesMut::new();
        request.encode_body(&mut body);
        if !body.is_empty() {
            for (at, byte) in damage {
                let at = at.index(body.len());
                body[at] = byte;
            }
        }
        feed(&body.freeze());
    }
}

/// Gives the bytes to every entry point. What decodes must come back from its own encoding.
fn feed(body: &Bytes) {
    for op in Request::OPS {
        if let Ok(request) = Request::decode(*op, body.clone()) {
            let again = bytes(|out| request.encode_body(out));
            assert_eq!(Request::decode(*op, again), Ok(request));
        }
        if let Ok(response) = Response::decode(*op, body.clone()) {
            let again = bytes(|out| response.encode(out));
            assert_eq!(Response::decode(*op, again), Ok(response));
        }
    }
    let _connect_request = ConnectRequest::decode(&mut Reader::new(body.clone()));
    let _connect_response = ConnectResponse::decode(&mut Reader::new(body.clone()));
    let _header = RequestHeader::decode(&mut Reader::new(body.clone()));
    let _reply = Reply::decode(body.clone());
    let mut stream = BytesMut::from(&body[..]);
    let mut codec = FrameCodec::new(64);
    while let Ok(Some(frame)) = codec.decode(&mut stream) {
        assert!(frame.len() <= 64);
    }
}
