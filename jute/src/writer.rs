//! Appends jute's compound types to a buffer, for callers that have no record to encode.
//!
//! Plain numbers are `BufMut::put_i32` and `put_i64`.

use bytes::{BufMut, BytesMut};

use crate::Stat;

/// Size of a [`Stat`] on the wire.
const STAT_BYTES: usize = 68;

/// Appends a string; `None` is null.
///
/// zk-differs: the Java encoder writes a character above U+FFFF as two three-byte surrogates,
/// which are not UTF-8 and which no decoder accepts, its own included. Here it stays UTF-8.
pub fn put_ustring(out: &mut impl BufMut, value: Option<&str>) {
    put_buffer(out, value.map(str::as_bytes));
}

/// Appends a buffer; `None` is null, which is not the same as empty.
pub fn put_buffer(out: &mut impl BufMut, value: Option<&[u8]>) {
    match value {
        None => out.put_i32(-1),
        Some(bytes) => {
            out.put_i32(length(bytes.len()));
            out.put_slice(bytes);
        }
    }
}

/// Appends the count of a vector; its elements follow. `None` is null.
pub fn put_count(out: &mut impl BufMut, count: Option<usize>) {
    out.put_i32(count.map_or(-1, length));
}

/// Appends a Stat.
pub fn put_stat(out: &mut BytesMut, stat: &Stat) {
    // Put together first: the buffer then grows once, not for each number.
    let mut bytes = [0; STAT_BYTES];
    stat.encode(&mut bytes.as_mut_slice());
    out.put_slice(&bytes);
}

/// A length as it is written. One that does not fit makes the frame longer than a frame can be,
/// so that `reply::finish` refuses it whole: no such length is ever sent.
fn length(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}
