//! Buffers that a thread lends to the connection it is serving, so that one that waits has none.

use std::cell::RefCell;

use bytes::BytesMut;

/// Room in a buffer that is lent, in bytes: more than most clients send at once.
pub const ROOM_BYTES: usize = 64 * 1024;
/// Buffers that a thread keeps: an inbox and a wire.
const KEPT_MAX: usize = 2;
/// A buffer that has grown beyond this is not kept, in bytes.
const KEPT_BYTES_MAX: usize = 4 * ROOM_BYTES;

thread_local! {
    static KEPT: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with [`ROOM_BYTES`] of room.
pub fn lend() -> BytesMut {
    let kept = KEPT.with_borrow_mut(Vec::pop);
    kept.unwrap_or_else(|| BytesMut::with_capacity(ROOM_BYTES))
}

/// Takes a buffer back, with whatever is still in it. One that somebody else holds a part of is
/// not kept.
pub fn take_back(mut buffer: BytesMut) {
    buffer.clear();
    if !buffer.try_reclaim(ROOM_BYTES) || buffer.capacity() > KEPT_BYTES_MAX {
        return;
    }
    KEPT.with_borrow_mut(|kept| {
        if kept.len() < KEPT_MAX {
            kept.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_whole() {
        let mut buffer = lend();
        let room = buffer.as_ptr();
        buffer.extend_from_slice(&[7; 100]);
        let frame = buffer.split_to(60).freeze();
        drop(frame);
        take_back(buffer);
        let again = lend();
        assert_eq!(again.as_ptr(), room);
        assert!(again.is_empty() && again.capacity() >= ROOM_BYTES);
    }

    #[test]
    fn a_buffer_that_is_still_read_is_not_lent_again() {
        let mut buffer = lend();
        buffer.extend_from_slice(b"frame");
        let frame = buffer.split_to(5).freeze();
        take_back(buffer);
        lend().extend_from_slice(b"other");
        assert_eq!(&frame[..], b"frame");
    }
}
