//! Frames captured from the wire: decoded to the value they stand for, and encoded again to the
//! same bytes.
//!
//! Captured on loopback between a server built from ZooKeeper's release-3.9.5 and, as each
//! vector says, its own Java client, kazoo, the C client, go-zookeeper or a raw socket.
//! A vector's hex includes the length; spaces are for the eye.

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::*;

/// Bytes from hex digits.
fn unhex(hex: &str) -> BytesMut {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// The payload of the one frame that the hex is.
fn payload(hex: &str) -> Bytes {
    let mut stream = unhex(hex);
    let frame = FrameCodec::new(0xfffff)
        .decode(&mut stream)
        .unwrap()
        .unwrap();
    assert!(stream.is_empty(), "bytes behind the frame");
    frame
}

/// Asserts that a payload, framed again, is the hex.
fn same(hex: &str, payload: BytesMut) {
    let mut stream = BytesMut::new();
    FrameCodec::new(0xfffff)
        .encode(payload.freeze(), &mut stream)
        .unwrap();
    assert_eq!(stream, unhex(hex));
}

/// A handshake, both ways.
fn handshake(
    hex: &str,
    (last_zxid_seen, timeout_ms, session_id): (i64, i32, i64),
    password: &str,
    read_only: Option<bool>,
    answer_hex: &str,
    (granted_ms, granted_id): (i32, i64),
    granted_password: &str,
) {
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen,
        timeout_ms,
        session_id,
        password: Some(unhex(password).freeze()),
        read_only,
    };
    assert_eq!(
        ConnectRequest::decode(&mut Reader::new(payload(hex))).unwrap(),
        request
    );
    let mut out = BytesMut::new();
    request.encode(&mut out);
    same(hex, out);

    let response = ConnectResponse {
        protocol_version: 0,
        timeout_ms: granted_ms,
        session_id: granted_id,
        password: Some(unhex(granted_password).freeze()),
        read_only: read_only.map(|_| false),
    };
    assert_eq!(
        ConnectResponse::decode(&mut Reader::new(payload(answer_hex))).unwrap(),
        response
    );
    let mut out = BytesMut::new();
    let mark = reply::begin_frame(&mut out);
    response.encode(&mut out);
    reply::finish(&mut out, mark).unwrap();
    assert_eq!(out, unhex(answer_hex));
}

/// A request from a client.
fn request(hex: &str, xid: i32, expected: Request) {
    let mut reader = Reader::new(payload(hex));
    let header = RequestHeader::decode(&mut reader).unwrap();
    assert_eq!(
        header,
        RequestHeader {
            xid,
            op: expected.op()
        }
    );
    assert_eq!(Request::decode(header.op, reader.rest()).unwrap(), expected);
    let mut out = BytesMut::new();
    header.encode(&mut out);
    expected.encode_body(&mut out);
    same(hex, out);
}

/// The reply to a request with `op` that succeeded.
fn answer(hex: &str, (xid, zxid): (i32, i64), op: OpCode, expected: Response) {
    let header = ReplyHeader {
        xid,
        zxid,
        err: ErrorCode::OK,
    };
    let Reply::Answer {
        header: found,
        body,
    } = Reply::decode(payload(hex)).unwrap()
    else {
        panic!("an event");
    };
    assert_eq!(found, header);
    assert_eq!(Response::decode(op, body).unwrap(), expected);
    let mut out = BytesMut::new();
    let mark = reply::begin(&mut out, header);
    expected.encode(&mut out);
    reply::finish(&mut out, mark).unwrap();
    assert_eq!(out, unhex(hex));
}

/// A reply that is a header only.
fn refusal(hex: &str, xid: i32, zxid: i64, err: ErrorCode) {
    let header = ReplyHeader { xid, zxid, err };
    let expected = Reply::Answer {
        header,
        body: Bytes::new(),
    };
    assert_eq!(Reply::decode(payload(hex)).unwrap(), expected);
    let mut out = BytesMut::new();
    reply::put_header_only(&mut out, header);
    assert_eq!(out, unhex(hex));
}

/// A watch event.
fn event(hex: &str, zxid: i64, kind: i32, path: &str) {
    let event = WatcherEvent {
        kind,
        state: 3,
        path: text(path),
    };
    let header = ReplyHeader {
        xid: -1,
        zxid,
        err: ErrorCode::OK,
    };
    let expected = Reply::Event {
        header,
        event: event.clone(),
    };
    assert_eq!(Reply::decode(payload(hex)).unwrap(), expected);
    let mut out = BytesMut::new();
    reply::put_event(&mut out, zxid, &event).unwrap();
    assert_eq!(out, unhex(hex));
}

fn text(text: &str) -> Option<Text> {
    Some(Text::from(text))
}

fn texts(list: &[&str]) -> Option<Vec<Option<Text>>> {
    Some(list.iter().map(|item| text(item)).collect())
}

fn data(data: &'static str) -> Option<Bytes> {
    Some(Bytes::from_static(data.as_bytes()))
}

fn acl(scheme: &str, id: &str) -> Option<Vec<Acl>> {
    Some(vec![Acl {
        perms: perms::ALL,
        id: Id {
            scheme: text(scheme),
            id: text(id),
        },
    }])
}

fn open() -> Option<Vec<Acl>> {
    acl("world", "anyone")
}

fn create(path: &str, data: Option<Bytes>, flags: i32) -> Create {
    Create {
        path: text(path),
        data,
        acl: open(),
        flags,
    }
}

/// A Stat that no parent or child matters to.
fn stat(zxids: [i64; 3], times: [i64; 2], versions: [i32; 3], data_length: i32) -> Stat {
    let [czxid, mzxid, pzxid] = zxids;
    let [ctime, mtime] = times;
    let [version, cversion, aversion] = versions;
    Stat {
        czxid,
        mzxid,
        ctime,
        mtime,
        version,
        cversion,
        aversion,
        ephemeral_owner: 0,
        data_length,
        num_children: 0,
        pzxid,
    }
}

#[test]
fn v01_connect_java() {
    handshake(
        "0000002d 00000000 0000000000000000 00007530 0000000000000000 00000010 00000000000000000000000000000000 00",
        (0, 30_000, 0),
        "00000000000000000000000000000000",
        Some(false),
        "00000025 00000000 00007530 0100001e23500000 00000010 02fa4b126770640fb031b5638890ac42 00",
        (30_000, 0x0100_001e_2350_0000),
        "02fa4b126770640fb031b5638890ac42",
    );
}

#[test]
fn v02_connect_go_without_the_last_byte() {
    handshake(
        "0000002c 00000000 0000000000000000 00002710 0000000000000000 00000010 00000000000000000000000000000000",
        (0, 10_000, 0),
        "00000000000000000000000000000000",
        None,
        "00000024 00000000 00002710 010000248a600000 00000010 92ea2542b73d11e2c07c7efd58e691a9",
        (10_000, 0x0100_0024_8a60_0000),
        "92ea2542b73d11e2c07c7efd58e691a9",
    );
}

#[test]
fn v03_reconnect_java() {
    handshake(
        "0000002d 00000000 000000000000000e 00007530 0100001edc900000 00000010 424fbb7da73c63ebf0a8b3c5c8d6280a 00",
        (14, 30_000, 0x0100_001e_dc90_0000),
        "424fbb7da73c63ebf0a8b3c5c8d6280a",
        Some(false),
        "00000025 00000000 00007530 0100001edc900000 00000010 424fbb7da73c63ebf0a8b3c5c8d6280a 00",
        (30_000, 0x0100_001e_dc90_0000),
        "424fbb7da73c63ebf0a8b3c5c8d6280a",
    );
}

#[test]
fn v03_invalid_session_raw() {
    handshake(
        "0000002d 00000000 0000000000000000 00002710 01000025a3d40100 00000010 01010101010101010101010101010101 01",
        (0, 10_000, 0x0100_0025_a3d4_0100),
        "01010101010101010101010101010101",
        Some(true),
        "00000025 00000000 00000000 0000000000000000 00000010 00000000000000000000000000000000 00",
        (0, 0),
        "00000000000000000000000000000000",
    );
}

#[test]
fn v04_create_java() {
    request(
        "00000033 00000001 00000001 00000002 2f76 00000002 6869 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000000",
        1,
        Request::Create(create("/v", data("hi"), 0)),
    );
    answer(
        "00000016 00000001 0000000000000002 00000000 00000002 2f76",
        (1, 2),
        OpCode::CREATE,
        Response::Create(CreateResponse { path: text("/v") }),
    );
}

#[test]
fn v05_create2_java() {
    request(
        "00000034 00000002 0000000f 00000004 2f762f70 00000001 61 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000000",
        2,
        Request::Create2(create("/v/p", data("a"), 0)),
    );
    answer(
        "0000005c 00000002 0000000000000003 00000000 00000004 2f762f70 0000000000000003 0000000000000003 000001a1fb79b56a 000001a1fb79b56a 00000000 00000000 00000000 0000000000000000 00000001 00000000 0000000000000003",
        (2, 3),
        OpCode::CREATE2,
        Response::Create2(Create2Response {
            path: text("/v/p"),
            stat: stat([3, 3, 3], [0x1a1_fb79_b56a; 2], [0, 0, 0], 1),
        }),
    );
}

#[test]
fn v06_create_modes_java() {
    request(
        "00000034 00000003 00000001 00000005 2f762f652d 00000000 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000003",
        3,
        Request::Create(create("/v/e-", data(""), 3)),
    );
    answer(
        "00000023 00000003 0000000000000004 00000000 0000000f 2f762f652d30303030303030303031",
        (3, 4),
        OpCode::CREATE,
        Response::Create(CreateResponse {
            path: text("/v/e-0000000001"),
        }),
    );
    request(
        "00000033 00000004 00000013 00000004 2f762f63 ffffffff 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000004",
        4,
        Request::CreateContainer(create("/v/c", None, 4)),
    );
    answer(
        "0000005c 00000004 0000000000000005 00000000 00000004 2f762f63 0000000000000005 0000000000000005 000001a1fb79b66f 000001a1fb79b66f 00000000 00000000 00000000 0000000000000000 00000000 00000000 0000000000000005",
        (4, 5),
        OpCode::CREATE_CONTAINER,
        Response::Create2(Create2Response {
            path: text("/v/c"),
            stat: stat([5, 5, 5], [0x1a1_fb79_b66f; 2], [0, 0, 0], 0),
        }),
    );
    request(
        "0000003c 00000005 00000015 00000004 2f762f74 00000001 74 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000005 000000000000ea60",
        5,
        Request::CreateTtl(CreateTtl {
            path: text("/v/t"),
            data: data("t"),
            acl: open(),
            flags: 5,
            ttl_ms: 60_000,
        }),
    );
    answer(
        "0000005c 00000005 0000000000000006 00000000 00000004 2f762f74 0000000000000006 0000000000000006 000001a1fb79b6f0 000001a1fb79b6f0 00000000 00000000 00000000 0000000000000000 00000001 00000000 0000000000000006",
        (5, 6),
        OpCode::CREATE_TTL,
        Response::Create2(Create2Response {
            path: text("/v/t"),
            stat: stat([6, 6, 6], [0x1a1_fb79_b6f0; 2], [0, 0, 0], 1),
        }),
    );
    request(
        "00000033 00000006 00000001 00000002 2f76 00000002 6869 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000000",
        6,
        Request::Create(create("/v", data("hi"), 0)),
    );
    refusal(
        "00000010 00000006 0000000000000007 ffffff92",
        6,
        7,
        ErrorCode::NODE_EXISTS,
    );
}

#[test]
fn v07_exists_java() {
    request(
        "0000000f 00000007 00000003 00000002 2f76 00",
        7,
        Request::Exists(Exists {
            path: text("/v"),
            watch: false,
        }),
    );
    answer(
        "00000054 00000007 0000000000000007 00000000 0000000000000002 0000000000000002 000001a1fb79b4dc 000001a1fb79b4dc 00000000 00000004 00000000 0000000000000000 00000002 00000004 0000000000000006",
        (7, 7),
        OpCode::EXISTS,
        Response::Stat(StatResponse {
            stat: Stat {
                num_children: 4,
                ..stat([2, 2, 6], [0x1a1_fb79_b4dc; 2], [0, 4, 0], 2)
            },
        }),
    );
    request(
        "00000014 00000008 00000003 00000007 2f762f6e6f6e65 01",
        8,
        Request::Exists(Exists {
            path: text("/v/none"),
            watch: true,
        }),
    );
    refusal(
        "00000010 00000008 0000000000000007 ffffff9b",
        8,
        7,
        ErrorCode::NO_NODE,
    );
}

#[test]
fn v08_get_data_java() {
    request(
        "00000011 00000009 00000004 00000004 2f762f70 01",
        9,
        Request::GetData(GetData {
            path: text("/v/p"),
            watch: true,
        }),
    );
    answer(
        "00000059 00000009 0000000000000007 00000000 00000001 61 0000000000000003 0000000000000003 000001a1fb79b56a 000001a1fb79b56a 00000000 00000000 00000000 0000000000000000 00000001 00000000 0000000000000003",
        (9, 7),
        OpCode::GET_DATA,
        Response::GetData(GetDataResponse {
            data: data("a"),
            stat: stat([3, 3, 3], [0x1a1_fb79_b56a; 2], [0, 0, 0], 1),
        }),
    );
}

/// The Stat of `/v/p` from V9 on.
fn stat_of_p(aversion: i32) -> Stat {
    stat(
        [3, 8, 3],
        [0x1a1_fb79_b56a, 0x1a1_fb79_b980],
        [1, 0, aversion],
        2,
    )
}

#[test]
fn v09_set_data_java() {
    let set_data = Request::SetData(SetData {
        path: text("/v/p"),
        data: data("bc"),
        version: 0,
    });
    request(
        "0000001a 0000000a 00000005 00000004 2f762f70 00000002 6263 00000000",
        10,
        set_data.clone(),
    );
    event(
        "00000020 ffffffff 0000000000000008 00000000 00000003 00000003 00000004 2f762f70",
        8,
        3,
        "/v/p",
    );
    answer(
        "00000054 0000000a 0000000000000008 00000000 0000000000000003 0000000000000008 000001a1fb79b56a 000001a1fb79b980 00000001 00000000 00000000 0000000000000000 00000002 00000000 0000000000000003",
        (10, 8),
        OpCode::SET_DATA,
        Response::Stat(StatResponse { stat: stat_of_p(0) }),
    );
    request(
        "0000001a 0000000b 00000005 00000004 2f762f70 00000002 6263 00000000",
        11,
        set_data,
    );
    refusal(
        "00000010 0000000b 0000000000000009 ffffff99",
        11,
        9,
        ErrorCode::BAD_VERSION,
    );
}

#[test]
fn v10_get_children_java() {
    request(
        "00000011 0000000c 00000008 00000004 2f762f70 00",
        12,
        Request::GetChildren(GetChildren {
            path: text("/v/p"),
            watch: false,
        }),
    );
    answer(
        "00000014 0000000c 0000000000000009 00000000 00000000",
        (12, 9),
        OpCode::GET_CHILDREN,
        Response::GetChildren(GetChildrenResponse {
            children: texts(&[]),
        }),
    );
    request(
        "00000011 0000000d 0000000c 00000004 2f762f70 00",
        13,
        Request::GetChildren2(GetChildren2 {
            path: text("/v/p"),
            watch: false,
        }),
    );
    answer(
        "00000058 0000000d 0000000000000009 00000000 00000000 0000000000000003 0000000000000008 000001a1fb79b56a 000001a1fb79b980 00000001 00000000 00000000 0000000000000000 00000002 00000000 0000000000000003",
        (13, 9),
        OpCode::GET_CHILDREN2,
        Response::GetChildren2(GetChildren2Response {
            children: texts(&[]),
            stat: stat_of_p(0),
        }),
    );
}

#[test]
fn v11_acls_java() {
    request(
        "00000010 0000000e 00000006 00000004 2f762f70",
        14,
        Request::GetAcl(GetAcl { path: text("/v/p") }),
    );
    answer(
        "0000006f 0000000e 0000000000000009 00000000 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 0000000000000003 0000000000000008 000001a1fb79b56a 000001a1fb79b980 00000001 00000000 00000000 0000000000000000 00000002 00000000 0000000000000003",
        (14, 9),
        OpCode::GET_ACL,
        Response::GetAcl(GetAclResponse {
            acl: open(),
            stat: stat_of_p(0),
        }),
    );
    request(
        "0000002f 0000000f 00000007 00000004 2f762f70 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000000",
        15,
        Request::SetAcl(SetAcl {
            path: text("/v/p"),
            acl: open(),
            version: 0,
        }),
    );
    answer(
        "00000054 0000000f 000000000000000a 00000000 0000000000000003 0000000000000008 000001a1fb79b56a 000001a1fb79b980 00000001 00000000 00000001 0000000000000000 00000002 00000000 0000000000000003",
        (15, 10),
        OpCode::SET_ACL,
        Response::Stat(StatResponse { stat: stat_of_p(1) }),
    );
}

#[test]
fn v12_sync_java() {
    request(
        "0000000e 00000010 00000009 00000002 2f76",
        16,
        Request::Sync(Sync { path: text("/v") }),
    );
    answer(
        "00000016 00000010 000000000000000a 00000000 00000002 2f76",
        (16, 10),
        OpCode::SYNC,
        Response::Sync(SyncResponse { path: text("/v") }),
    );
}

#[test]
fn v13_multi_java() {
    request(
        "00000087 00000011 0000000e
         0000000d 00 ffffffff 00000002 2f76 00000000
         00000001 00 ffffffff 00000004 2f762f6d 00000000 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000000
         00000005 00 ffffffff 00000004 2f762f6d 00000001 31 00000000
         00000002 00 ffffffff 00000004 2f762f6d 00000001
         ffffffff 01 ffffffff",
        17,
        Request::Multi(Multi {
            ops: vec![
                MultiOp::Check(Check { path: text("/v"), version: 0 }),
                MultiOp::Create(create("/v/m", data(""), 0)),
                MultiOp::SetData(SetData { path: text("/v/m"), data: data("1"), version: 0 }),
                MultiOp::Delete(Delete { path: text("/v/m"), version: 1 }),
            ],
        }),
    );
    answer(
        "00000089 00000011 000000000000000b 00000000
         0000000d 00 00000000
         00000001 00 00000000 00000004 2f762f6d
         00000005 00 00000000 000000000000000b 000000000000000b 000001a1fb79bcf7 000001a1fb79bcf7 00000001 00000000 00000000 0000000000000000 00000001 00000000 000000000000000b
         00000002 00 00000000
         ffffffff 01 ffffffff",
        (17, 11),
        OpCode::MULTI,
        Response::Multi(MultiResponse {
            results: vec![
                MultiResult::Check,
                MultiResult::Create { path: text("/v/m") },
                MultiResult::SetData {
                    stat: stat([11, 11, 11], [0x1a1_fb79_bcf7; 2], [1, 0, 0], 1),
                },
                MultiResult::Delete,
            ],
        }),
    );
}

#[test]
fn v14_failing_multi_java() {
    request(
        "0000006e 00000012 0000000e
         00000001 00 ffffffff 00000004 2f762f6d 00000000 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000000
         00000002 00 ffffffff 00000005 2f6e6f7065 ffffffff
         0000000d 00 ffffffff 00000002 2f76 00000000
         ffffffff 01 ffffffff",
        18,
        Request::Multi(Multi {
            ops: vec![
                MultiOp::Create(create("/v/m", data(""), 0)),
                MultiOp::Delete(Delete { path: text("/nope"), version: -1 }),
                MultiOp::Check(Check { path: text("/v"), version: 0 }),
            ],
        }),
    );
    answer(
        "00000040 00000012 000000000000000c 00000000
         ffffffff 00 00000000 00000000
         ffffffff 00 ffffff9b ffffff9b
         ffffffff 00 fffffffe fffffffe
         ffffffff 01 ffffffff",
        (18, 12),
        OpCode::MULTI,
        Response::Multi(MultiResponse {
            results: vec![
                MultiResult::Error(ErrorCode::OK),
                MultiResult::Error(ErrorCode::NO_NODE),
                MultiResult::Error(ErrorCode::RUNTIME_INCONSISTENCY),
            ],
        }),
    );
}

#[test]
fn v15_multi_read_java() {
    request(
        "00000048 00000013 00000016
         00000008 00 ffffffff 00000004 2f762f70 00
         00000004 00 ffffffff 00000004 2f762f70 00
         00000004 00 ffffffff 00000005 2f6e6f7065 00
         ffffffff 01 ffffffff",
        19,
        Request::MultiRead(MultiRead {
            ops: vec![
                MultiReadOp::GetChildren(GetChildren {
                    path: text("/v/p"),
                    watch: false,
                }),
                MultiReadOp::GetData(GetData {
                    path: text("/v/p"),
                    watch: false,
                }),
                MultiReadOp::GetData(GetData {
                    path: text("/nope"),
                    watch: false,
                }),
            ],
        }),
    );
    answer(
        "00000086 00000013 000000000000000c 00000000
         00000008 00 00000000 00000000
         00000004 00 00000000 00000002 6263 0000000000000003 0000000000000008 000001a1fb79b56a 000001a1fb79b980 00000001 00000000 00000001 0000000000000000 00000002 00000000 0000000000000003
         ffffffff 00 ffffff9b ffffff9b
         ffffffff 01 ffffffff",
        (19, 12),
        OpCode::MULTI_READ,
        Response::Multi(MultiResponse {
            results: vec![
                MultiResult::GetChildren { children: texts(&[]) },
                MultiResult::GetData { data: data("bc"), stat: stat_of_p(1) },
                MultiResult::Error(ErrorCode::NO_NODE),
            ],
        }),
    );
}

#[test]
fn v16_watches_java() {
    let added = Response::AddWatch(ErrorResponse { err: ErrorCode::OK });
    request(
        "00000014 00000014 0000006a 00000004 2f762f77 00000000",
        20,
        Request::AddWatch(AddWatch {
            path: text("/v/w"),
            mode: 0,
        }),
    );
    answer(
        "00000014 00000014 000000000000000c 00000000 00000000",
        (20, 12),
        OpCode::ADD_WATCH,
        added.clone(),
    );
    request(
        "00000014 00000015 0000006a 00000004 2f762f72 00000001",
        21,
        Request::AddWatch(AddWatch {
            path: text("/v/r"),
            mode: 1,
        }),
    );
    answer(
        "00000014 00000015 000000000000000c 00000000 00000000",
        (21, 12),
        OpCode::ADD_WATCH,
        added,
    );
    request(
        "00000014 00000016 00000012 00000004 2f762f77 00000003",
        22,
        Request::RemoveWatches(RemoveWatches {
            path: text("/v/w"),
            kind: 3,
        }),
    );
    answer(
        "00000010 00000016 000000000000000c 00000000",
        (22, 12),
        OpCode::REMOVE_WATCHES,
        Response::Empty,
    );
    request(
        "00000011 00000002 00000011 00000001 2f 00000002",
        2,
        Request::CheckWatches(CheckWatches {
            path: text("/"),
            kind: 2,
        }),
    );
    refusal(
        "00000010 00000002 0000000000000009 ffffff87",
        2,
        9,
        ErrorCode::NO_WATCHER,
    );
}

#[test]
fn v17_recursive_event() {
    event(
        "00000021 ffffffff 0000000000000009 00000000 00000001 00000003 00000005 2f73322f64",
        9,
        1,
        "/s2/d",
    );
}

#[test]
fn v18_ephemerals_and_descendants_java() {
    request(
        "0000000d 00000017 00000067 00000001 2f",
        23,
        Request::GetEphemerals(GetEphemerals { prefix: text("/") }),
    );
    answer(
        "00000027 00000017 000000000000000c 00000000 00000001 0000000f 2f762f652d30303030303030303031",
        (23, 12),
        OpCode::GET_EPHEMERALS,
        Response::GetEphemerals(GetEphemeralsResponse {
            ephemerals: texts(&["/v/e-0000000001"]),
        }),
    );
    request(
        "0000000e 00000018 00000068 00000002 2f76",
        24,
        Request::GetAllChildrenNumber(GetAllChildrenNumber { path: text("/v") }),
    );
    answer(
        "00000014 00000018 000000000000000c 00000000 00000004",
        (24, 12),
        OpCode::GET_ALL_CHILDREN_NUMBER,
        Response::GetAllChildrenNumber(GetAllChildrenNumberResponse { total: 4 }),
    );
}

#[test]
fn v19_digest_java() {
    request(
        "0000001d fffffffc 00000064 00000000 00000006 646967657374 00000003 753a70",
        -4,
        Request::Auth(Auth {
            kind: 0,
            scheme: text("digest"),
            auth: data("u:p"),
        }),
    );
    answer(
        "00000010 fffffffc 0000000000000000 00000000",
        (-4, 0),
        OpCode::AUTH,
        Response::Empty,
    );
    request("00000008 00000019 0000006b", 25, Request::WhoAmI);
    let client = |scheme, user| ClientInfo {
        auth_scheme: text(scheme),
        user: text(user),
    };
    answer(
        "00000036 00000019 000000000000000c 00000000 00000002 00000002 6970 00000009 3132372e302e302e31 00000006 646967657374 00000001 75",
        (25, 12),
        OpCode::WHO_AM_I,
        Response::WhoAmI(WhoAmIResponse {
            clients: vec![client("ip", "127.0.0.1"), client("digest", "u")],
        }),
    );
    request(
        "0000002e 0000001a 00000001 00000006 2f762f61636c 00000000 00000001 0000001f 00000004 61757468 00000000 00000000",
        26,
        Request::Create(Create {
            acl: acl("auth", ""),
            ..create("/v/acl", data(""), 0)
        }),
    );
    answer(
        "0000001a 0000001a 000000000000000d 00000000 00000006 2f762f61636c",
        (26, 13),
        OpCode::CREATE,
        Response::Create(CreateResponse {
            path: text("/v/acl"),
        }),
    );
    request(
        "00000012 0000001b 00000006 00000006 2f762f61636c",
        27,
        Request::GetAcl(GetAcl {
            path: text("/v/acl"),
        }),
    );
    answer(
        "00000088 0000001b 000000000000000d 00000000 00000001 0000001f 00000006 646967657374 0000001e 753a4a7137774d79412f7732566435574944414b6475344f49494645513d 000000000000000d 000000000000000d 000001a1fb79c1d9 000001a1fb79c1d9 00000000 00000000 00000000 0000000000000000 00000000 00000000 000000000000000d",
        (27, 13),
        OpCode::GET_ACL,
        Response::GetAcl(GetAclResponse {
            acl: acl("digest", "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ="),
            stat: stat([13, 13, 13], [0x1a1_fb79_c1d9; 2], [0, 0, 0], 0),
        }),
    );
}

#[test]
fn v20_auth_refused_raw_and_auth_go() {
    request(
        "0000001b fffffffc 00000064 00000000 00000006 6e6f73756368 00000001 78",
        -4,
        Request::Auth(Auth {
            kind: 0,
            scheme: text("nosuch"),
            auth: data("x"),
        }),
    );
    refusal(
        "00000010 fffffffc 0000000000000000 ffffff8d",
        -4,
        0,
        ErrorCode::AUTH_FAILED,
    );
    request(
        "0000001d 00000003 00000064 00000000 00000006 646967657374 00000003 753a70",
        3,
        Request::Auth(Auth {
            kind: 0,
            scheme: text("digest"),
            auth: data("u:p"),
        }),
    );
    answer(
        "00000010 00000003 0000000000000000 00000000",
        (3, 0),
        OpCode::AUTH,
        Response::Empty,
    );
}

#[test]
fn v21_delete_ping_close_java() {
    request(
        "00000016 0000001c 00000002 00000006 2f762f61636c ffffffff",
        28,
        Request::Delete(Delete {
            path: text("/v/acl"),
            version: -1,
        }),
    );
    answer(
        "00000010 0000001c 000000000000000e 00000000",
        (28, 14),
        OpCode::DELETE,
        Response::Empty,
    );
    request("00000008 fffffffe 0000000b", -2, Request::Ping);
    answer(
        "00000010 fffffffe 000000000000000e 00000000",
        (-2, 14),
        OpCode::PING,
        Response::Empty,
    );
    request("00000008 00000020 fffffff5", 32, Request::CloseSession);
    answer(
        "00000010 00000020 000000000000000f 00000000",
        (32, 15),
        OpCode::CLOSE_SESSION,
        Response::Empty,
    );
}

#[test]
fn v22_set_watches2_java() {
    request(
        "00000047 0000001f 00000069 000000000000000e
         00000001 00000004 2f762f70
         00000001 00000007 2f762f6e6f6e65
         00000001 00000004 2f762f70
         00000000
         00000001 00000004 2f762f72",
        31,
        Request::SetWatches2(SetWatches2 {
            relative_zxid: 14,
            data_watches: texts(&["/v/p"]),
            exist_watches: texts(&["/v/none"]),
            child_watches: texts(&["/v/p"]),
            persistent_watches: texts(&[]),
            persistent_recursive_watches: texts(&["/v/r"]),
        }),
    );
    answer(
        "00000010 0000001f 000000000000000e 00000000",
        (31, 14),
        OpCode::SET_WATCHES2,
        Response::Empty,
    );
}

#[test]
fn v23_set_watches_c() {
    request(
        "0000002f fffffff8 00000065 0000000000000005 00000001 00000003 2f676f 00000001 00000003 2f6377 00000001 00000001 2f",
        -8,
        Request::SetWatches(SetWatches {
            relative_zxid: 5,
            data_watches: texts(&["/go"]),
            exist_watches: texts(&["/cw"]),
            child_watches: texts(&["/"]),
        }),
    );
    answer(
        "00000010 fffffff8 0000000000000005 00000000",
        (-8, 5),
        OpCode::SET_WATCHES,
        Response::Empty,
    );
    request(
        "00000035 6b00e56f 00000001 00000003 2f6377 00000003 6e6577 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000000",
        0x6b00_e56f,
        Request::Create(create("/cw", data("new"), 0)),
    );
    event(
        "0000001f ffffffff 0000000000000006 00000000 00000001 00000003 00000003 2f6377",
        6,
        1,
        "/cw",
    );
    event(
        "0000001d ffffffff 0000000000000006 00000000 00000004 00000003 00000001 2f",
        6,
        4,
        "/",
    );
    answer(
        "00000017 6b00e56f 0000000000000006 00000000 00000003 2f6377",
        (0x6b00_e56f, 6),
        OpCode::CREATE,
        Response::Create(CreateResponse { path: text("/cw") }),
    );
}

#[test]
fn v24_set_watches_catches_up_raw() {
    request(
        "0000003a fffffff8 00000065 0000000000000005 00000002 00000003 2f7331 00000005 2f676f6e65 00000001 00000003 2f7332 00000001 00000003 2f7332",
        -8,
        Request::SetWatches(SetWatches {
            relative_zxid: 5,
            data_watches: texts(&["/s1", "/gone"]),
            exist_watches: texts(&["/s2"]),
            child_watches: texts(&["/s2"]),
        }),
    );
    for (hex, kind, path) in [
        (
            "0000001f ffffffff ffffffffffffffff 00000000 00000003 00000003 00000003 2f7331",
            3,
            "/s1",
        ),
        (
            "00000021 ffffffff ffffffffffffffff 00000000 00000002 00000003 00000005 2f676f6e65",
            2,
            "/gone",
        ),
        (
            "0000001f ffffffff ffffffffffffffff 00000000 00000001 00000003 00000003 2f7332",
            1,
            "/s2",
        ),
        (
            "0000001f ffffffff ffffffffffffffff 00000000 00000004 00000003 00000003 2f7332",
            4,
            "/s2",
        ),
    ] {
        event(hex, -1, kind, path);
    }
    answer(
        "00000010 fffffff8 0000000000000008 00000000",
        (-8, 8),
        OpCode::SET_WATCHES,
        Response::Empty,
    );
}

#[test]
fn v25_sasl_kazoo() {
    request(
        "0000000c 00000001 00000066 00000000",
        1,
        Request::Sasl(Sasl { token: data("") }),
    );
    let challenge = r#"realm="zk-sasl-md5",nonce="dkOHa1jjN0xUtp60ZpMrNgSqIZXScVutUAyDv+bi",charset=utf-8,algorithm=md5-sess"#;
    answer(
        "00000079 00000001 0000000000000000 00000000 00000065 7265616c6d3d227a6b2d7361736c2d6d6435222c6e6f6e63653d22646b4f4861316a6a4e307855747036305a704d724e675371495a58536356757455417944762b6269222c636861727365743d7574662d382c616c676f726974686d3d6d64352d73657373",
        (1, 0),
        OpCode::SASL,
        Response::Sasl(SaslResponse {
            token: data(challenge),
        }),
    );
    let credentials = r#"qop=auth,realm="zk-sasl-md5",username="bob",nonce="dkOHa1jjN0xUtp60ZpMrNgSqIZXScVutUAyDv+bi",cnonce="2172634133928667",nc=00000001,"#;
    let hex = "000000db 00000002 00000066 000000cf 716f703d617574682c7265616c6d3d227a6b2d7361736c2d6d6435222c757365726e616d653d22626f62222c6e6f6e63653d22646b4f4861316a6a4e307855747036305a704d724e675371495a58536356757455417944762b6269222c636e6f6e63653d2232313732363334313333393238363637222c6e633d30303030303030312c6469676573742d7572693d227a6f6f6b65657065722f7a6b2d7361736c2d6d6435222c726573706f6e73653d3163316339386430636231313534386466663230326631316262336362313866";
    // The token is its own description; only its beginning is spelled out.
    let token = payload(hex).slice(12..);
    assert!(token.starts_with(credentials.as_bytes()));
    request(hex, 2, Request::Sasl(Sasl { token: Some(token) }));
    answer(
        "0000003c 00000002 0000000000000000 00000000 00000028 727370617574683d3365336333396139386665646630356539663032626334616633316130376162",
        (2, 0),
        OpCode::SASL,
        Response::Sasl(SaslResponse {
            token: data("rspauth=3e3c39a98fedf05e9f02bc4af31a07ab"),
        }),
    );
}

#[test]
fn v26_errors_raw() {
    request(
        "00000011 00000001 0000000d 00000001 2f 00000000",
        1,
        Request::Check(Check {
            path: text("/"),
            version: 0,
        }),
    );
    refusal(
        "00000010 00000001 ffffffffffffffff fffffffa",
        1,
        -1,
        ErrorCode::UNIMPLEMENTED,
    );

    let mut truncated = Reader::new(payload("0000000a 00000007 00000003 0000"));
    let header = RequestHeader::decode(&mut truncated).unwrap();
    assert_eq!(
        header,
        RequestHeader {
            xid: 7,
            op: OpCode::EXISTS
        }
    );
    let error = Request::decode(header.op, truncated.rest()).unwrap_err();
    assert_eq!(
        error.kind,
        DecodeErrorKind::Truncated {
            expected: 4,
            found: 2
        }
    );
    refusal(
        "00000010 00000007 0000000000000009 fffffffb",
        7,
        9,
        ErrorCode::MARSHALLING_ERROR,
    );

    request(
        "00000013 00000008 00000002 00000003 2f7332 ffffffff",
        8,
        Request::Delete(Delete {
            path: text("/s2"),
            version: -1,
        }),
    );
    refusal(
        "00000010 00000008 000000000000000a ffffff91",
        8,
        10,
        ErrorCode::NOT_EMPTY,
    );
}

#[test]
fn v27_built_ins_raw() {
    request(
        "0000001e 00000009 00000004 00000011 2f7a6f6f6b65657065722f636f6e666967 00",
        9,
        Request::GetData(GetData {
            path: text("/zookeeper/config"),
            watch: false,
        }),
    );
    answer(
        "00000058 00000009 000000000000000a 00000000 00000000 0000000000000000 0000000000000000 0000000000000000 0000000000000000 00000000 00000000 ffffffff 0000000000000000 00000000 00000000 0000000000000000",
        (9, 10),
        OpCode::GET_DATA,
        Response::GetData(GetDataResponse {
            data: data(""),
            stat: stat([0; 3], [0; 2], [0, 0, -1], 0),
        }),
    );
    request(
        "00000017 0000000a 00000003 0000000a 2f7a6f6f6b6565706572 00",
        10,
        Request::Exists(Exists {
            path: text("/zookeeper"),
            watch: false,
        }),
    );
    answer(
        "00000054 0000000a 000000000000000a 00000000 0000000000000000 0000000000000000 0000000000000000 0000000000000000 00000000 fffffffe 00000000 0000000000000000 00000000 00000002 0000000000000000",
        (10, 10),
        OpCode::EXISTS,
        Response::Stat(StatResponse {
            stat: Stat {
                num_children: 2,
                ..stat([0; 3], [0; 2], [0, -2, 0], 0)
            },
        }),
    );
}

#[test]
fn v28_ephemeral_and_close_raw() {
    request(
        "00000011 00000002 00000003 00000004 2f657068 00",
        2,
        Request::Exists(Exists {
            path: text("/eph"),
            watch: false,
        }),
    );
    answer(
        "00000054 00000002 000000000000000c 00000000 000000000000000c 000000000000000c 000001a1fb8132cd 000001a1fb8132cd 00000000 00000000 00000000 01000025a3d40004 00000000 00000000 000000000000000c",
        (2, 12),
        OpCode::EXISTS,
        Response::Stat(StatResponse {
            stat: Stat {
                ephemeral_owner: 0x0100_0025_a3d4_0004,
                ..stat([12; 3], [0x1a1_fb81_32cd; 2], [0; 3], 0)
            },
        }),
    );
    request("00000008 00000003 fffffff5", 3, Request::CloseSession);
    answer(
        "00000010 00000003 000000000000000d 00000000",
        (3, 13),
        OpCode::CLOSE_SESSION,
        Response::Empty,
    );
}

#[test]
fn v29_failing_multi_go() {
    request(
        "0000005a 00000006 0000000e
         00000001 00 ffffffff 00000005 2f676f2f6d ffffffff 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000000
         0000000d 00 ffffffff 00000003 2f676f 00000005
         ffffffff 01 ffffffff",
        6,
        Request::Multi(Multi {
            ops: vec![
                MultiOp::Create(create("/go/m", None, 0)),
                MultiOp::Check(Check { path: text("/go"), version: 5 }),
            ],
        }),
    );
    answer(
        "00000033 00000006 0000000000000003 00000000
         ffffffff 00 00000000 00000000
         ffffffff 00 ffffff99 ffffff99
         ffffffff 01 ffffffff",
        (6, 3),
        OpCode::MULTI,
        Response::Multi(MultiResponse {
            results: vec![
                MultiResult::Error(ErrorCode::OK),
                MultiResult::Error(ErrorCode::BAD_VERSION),
            ],
        }),
    );
}

/// A bug of 3.9.5 on a read-only server: a header where the ConnectResponse belongs.
#[test]
fn v30_read_only_server_raw() {
    let hex = "0000002d 00000000 0000000000000000 00002710 0000000000000000 00000010 00000000000000000000000000000000 01";
    let request = ConnectRequest::decode(&mut Reader::new(payload(hex))).unwrap();
    assert_eq!(request.read_only, Some(true));
    let mut out = BytesMut::new();
    request.encode(&mut out);
    same(hex, out);
    let answer = "00000010 00000000 0000000200000001 ffffff89";
    refusal(answer, 0, 0x2_0000_0001, ErrorCode::NOT_READ_ONLY);
    assert!(ConnectResponse::decode(&mut Reader::new(payload(answer))).is_err());
}
