//! The first byte chooses the opcode that is answered.
#![no_main]

use bytes::{Bytes, BytesMut};
use jute::{OpCode, Request, Response};

libfuzzer_sys::fuzz_target!(|input: (u8, &[u8])| {
    let known = Request::OPS.get(usize::from(input.0));
    let op = known.copied().unwrap_or(OpCode(i32::from(input.0)));
    if let Ok(response) = Response::decode(op, Bytes::copy_from_slice(input.1)) {
        let mut body = BytesMut::new();
        response.encode(&mut body);
        assert_eq!(Response::decode(op, body.freeze()), Ok(response));
    }
});
