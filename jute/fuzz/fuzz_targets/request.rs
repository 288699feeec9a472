//! The first byte chooses the opcode; what decodes must come back from its own encoding.
#![no_main]

use bytes::{Bytes, BytesMut};
use jute::{OpCode, Request};

libfuzzer_sys::fuzz_target!(|input: (u8, &[u8])| {
    let known = Request::OPS.get(usize::from(input.0));
    let op = known.copied().unwrap_or(OpCode(i32::from(input.0)));
    if let Ok(request) = Request::decode(op, Bytes::copy_from_slice(input.1)) {
        let mut body = BytesMut::new();
        request.encode_body(&mut body);
        assert_eq!(Request::decode(op, body.freeze()), Ok(request));
    }
});
