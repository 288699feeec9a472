//! A stream that comes in two pieces: no frame over the limit, nothing allocated by a claim.
#![no_main]

use bytes::BytesMut;
use jute::FrameCodec;
use tokio_util::codec::Decoder;

libfuzzer_sys::fuzz_target!(|input: (&[u8], &[u8])| {
    let mut codec = FrameCodec::new(64);
    let mut stream = BytesMut::new();
    for piece in [input.0, input.1] {
        stream.extend_from_slice(piece);
        while let Ok(Some(frame)) = codec.decode(&mut stream) {
            assert!(frame.len() <= 64);
        }
        assert!(stream.capacity() <= 32 * 1024 + 4 * (input.0.len() + input.1.len()));
    }
});
