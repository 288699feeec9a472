//! Numbers of the durable formats: little-endian base-128 varints, signed ones in zigzag.
//!
//! Small values are usual (versions, counts, differences of zxids), so most take one byte. The
//! buffers and the errors are those of each format.

/// Hands the bytes of `value` to `push`, 1 to 10: seven bits each, lowest first; the top bit says
/// that more follow.
#[inline]
pub(crate) fn write(mut value: u64, mut push: impl FnMut(u8)) {
    while value >= 0x80 {
        push(low_bits(value) | 0x80);
        value >>= 7;
    }
    push(low_bits(value));
}

/// What [`write`] wrote, from the bytes that `next` gives; `None`: longer than 64 bits.
///
/// # Errors
/// Those of `next`.
#[inline]
pub(crate) fn read<E>(mut next: impl FnMut() -> Result<u8, E>) -> Result<Option<u64>, E> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = next()?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Makes small magnitudes of either sign small.
#[inline]
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// What [`zigzag`] was given.
#[inline]
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[inline]
fn low_bits(value: u64) -> u8 {
    value.to_le_bytes()[0] & 0x7f
}
