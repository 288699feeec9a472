//! Multi, whose decoder judges: what it accepts, it must accept again after encoding.
#![no_main]

use bytes::{Bytes, BytesMut};
use jute::{Multi, MultiRead, Reader};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let reader = Reader::new(Bytes::copy_from_slice(input));
    let mut body = BytesMut::new();
    if let Ok(multi) = Multi::decode(&mut reader.clone()) {
        multi.encode(&mut body);
        assert_eq!(Multi::decode(&mut Reader::new(body.split().freeze())), Ok(multi));
    }
    if let Ok(reads) = MultiRead::decode(&mut reader.clone()) {
        reads.encode(&mut body);
        assert_eq!(MultiRead::decode(&mut Reader::new(body.freeze())), Ok(reads));
    }
});
