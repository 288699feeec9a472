//! A frame from the server, as a client reads it.
#![no_main]

use bytes::{Bytes, BytesMut};
use jute::Reply;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(reply) = Reply::decode(Bytes::copy_from_slice(input)) {
        let mut payload = BytesMut::new();
        reply.encode(&mut payload);
        assert_eq!(Reply::decode(payload.freeze()), Ok(reply));
    }
});
