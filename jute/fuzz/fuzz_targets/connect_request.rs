//! The first frame, in both directions.
#![no_main]

use bytes::Bytes;
use jute::{ConnectRequest, ConnectResponse, Reader};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let reader = Reader::new(Bytes::copy_from_slice(input));
    let _request = ConnectRequest::decode(&mut reader.clone());
    let _response = ConnectResponse::decode(&mut reader.clone());
});
