//! decode(encode(x)) = x for every record, and every cut of encode(x) is an error.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::sample::Sample;
use crate::*;

/// A record: how to read it and how to write it.
struct Shape<T> {
    decode: fn(&mut Reader) -> Result<T, DecodeError>,
    encode: fn(&T, &mut BytesMut),
    /// Whether the last byte may be missing.
    last_byte_optional: bool,
}

/// Encodes, decodes, cuts.
fn check<T: Sample + PartialEq>(shape: &Shape<T>) {
    let property = |x: T| {
        let mut out = BytesMut::new();
        (shape.encode)(&x, &mut out);
        let whole = out.freeze();

        // What stands behind a record stays in the reader.
        let mut behind = BytesMut::from(&whole[..]);
        if !shape.last_byte_optional {
            behind.extend_from_slice(b"behind");
        }
        let mut reader = Reader::new(behind.freeze());
        let back = (shape.decode)(&mut reader).unwrap();
        prop_assert_eq!(&back, &x);
        prop_assert_eq!(reader.offset(), whole.len());

        for cut in 0..whole.len() {
            let result = (shape.decode)(&mut Reader::new(whole.slice(..cut)));
            if !(shape.last_byte_optional && cut + 1 == whole.len()) {
                prop_assert!(result.is_err(), "cut at {} of {}", cut, whole.len());
            }
        }
        Ok(())
    };
    let config = ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..Default::default()
    };
    TestRunner::new(config).run(&T::sample(), property).unwrap();
}

/// A test for each record.
macro_rules! round_trips {
    ($($test:ident $type:ident;)+) => {
        $(
            #[test]
            fn $test() {
                check(&Shape {
                    decode: $type::decode,
                    encode: $type::encode,
                    last_byte_optional: false,
                });
            }
        )+
    };
}

round_trips! {
    stat Stat;
    id Id;
    acl Acl;
    client_info ClientInfo;
    request_header RequestHeader;
    reply_header ReplyHeader;
    multi_header MultiHeader;
    create Create;
    create_ttl CreateTtl;
    create_response CreateResponse;
    create2_response Create2Response;
    delete Delete;
    exists Exists;
    get_data GetData;
    get_data_response GetDataResponse;
    set_data SetData;
    stat_response StatResponse;
    get_acl GetAcl;
    get_acl_response GetAclResponse;
    set_acl SetAcl;
    get_children GetChildren;
    get_children_response GetChildrenResponse;
    get_children2 GetChildren2;
    get_children2_response GetChildren2Response;
    get_all_children_number GetAllChildrenNumber;
    get_all_children_number_response GetAllChildrenNumberResponse;
    get_ephemerals GetEphemerals;
    get_ephemerals_response GetEphemeralsResponse;
    sync Sync;
    sync_response SyncResponse;
    version_check Check;
    multi Multi;
    multi_read MultiRead;
    multi_response MultiResponse;
    reconfig Reconfig;
    reconfig_response ReconfigResponse;
    check_watches CheckWatches;
    remove_watches RemoveWatches;
    set_watches SetWatches;
    set_watches2 SetWatches2;
    add_watch AddWatch;
    watcher_event WatcherEvent;
    auth Auth;
    sasl Sasl;
    sasl_response SaslResponse;
    who_am_i_response WhoAmIResponse;
    error_response ErrorResponse;
}

#[test]
fn connect_request_with_and_without_its_last_byte() {
    check(&Shape {
        decode: ConnectRequest::decode,
        encode: ConnectRequest::encode,
        last_byte_optional: true,
    });
}

#[test]
fn connect_response_with_and_without_its_last_byte() {
    check(&Shape {
        decode: ConnectResponse::decode,
        encode: ConnectResponse::encode,
        last_byte_optional: true,
    });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn request(request in Request::sample()) {
        let mut body = BytesMut::new();
        request.encode_body(&mut body);
        // Bytes behind the record are ignored.
        body.extend_from_slice(b"behind");
        prop_assert_eq!(Request::decode(request.op(), body.freeze()).unwrap(), request);
    }

    #[test]
    fn response(op in 0..Request::OPS.len(), body in proptest::collection::vec(any::<u8>(), 0..200)) {
        // There is a response to each opcode; what it reads, it writes, and reads again.
        if let Ok(response) = Response::decode(Request::OPS[op], Bytes::from(body)) {
            let mut out = BytesMut::new();
            response.encode(&mut out);
            prop_assert_eq!(Response::decode(Request::OPS[op], out.freeze()).unwrap(), response);
        }
    }

    #[test]
    fn reply(header in ReplyHeader::sample(), body in Bytes::sample(), event in WatcherEvent::sample()) {
        for reply in [
            Reply::Answer { header: ReplyHeader { xid: header.xid.max(0), ..header }, body },
            Reply::Event { header: ReplyHeader { xid: reply::EVENT_XID, ..header }, event },
        ] {
            let mut out = BytesMut::new();
            reply.encode(&mut out);
            prop_assert_eq!(Reply::decode(out.freeze()).unwrap(), reply);
        }
    }
}

#[test]
fn every_opcode_of_a_request_has_a_response() {
    for op in Request::OPS {
        let decoded = Response::decode(*op, Bytes::new());
        let unknown = DecodeErrorKind::UnknownOpCode(*op);
        assert!(!decoded.is_err_and(|error| error.kind == unknown), "{op}");
    }
}

#[test]
fn null_and_empty_stay_different() {
    let null = Create {
        path: None,
        data: None,
        acl: None,
        flags: 0,
    };
    let empty = Create {
        path: Some(Text::default()),
        data: Some(Bytes::new()),
        acl: Some(Vec::new()),
        flags: 0,
    };
    let encode = |create: &Create| {
        let mut out = BytesMut::new();
        create.encode(&mut out);
        out.freeze()
    };
    assert_eq!(encode(&null)[..12], [0xff; 12]);
    assert_eq!(encode(&empty)[..12], [0; 12]);
    assert_eq!(
        Create::decode(&mut Reader::new(encode(&null))).unwrap(),
        null
    );
    assert_eq!(
        Create::decode(&mut Reader::new(encode(&empty))).unwrap(),
        empty
    );
}
