//! Records of the durable formats: varints, as in the log's batches, and what is counted by them.

use bytes::Bytes;

use crate::state::record::varint;

/// Bytes that end early or a number that does not fit: no version of this program wrote them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field} at byte {offset}: {why}")]
pub(super) struct Malformed {
    /// Which field.
    pub field: &'static str,
    /// Where in the record.
    pub offset: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Appends `value`, 1 to 10 bytes.
pub(super) fn put_u64(out: &mut Vec<u8>, value: u64) {
    varint::write(value, |byte| out.push(byte));
}

/// Appends `value` in zigzag: small magnitudes of either sign are short.
pub(super) fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_u64(out, varint::zigzag(value));
}

/// Appends a length and the bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads a record from its front.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByteReader<'a> {
    record: &'a [u8],
    offset: usize,
}

impl<'a> ByteReader<'a> {
    /// At the front of `record`.
    pub(super) fn new(record: &'a [u8]) -> Self {
        Self { record, offset: 0 }
    }

    /// One byte.
    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, Malformed> {
        let byte = self.record.get(self.offset).copied();
        let byte = byte.ok_or_else(|| self.malformed(field, "the record ends here"))?;
        self.offset += 1;
        Ok(byte)
    }

    /// What [`put_u64`] wrote.
    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, Malformed> {
        varint::read(|| self.u8(field))?.ok_or_else(|| self.malformed(field, "longer than 64 bits"))
    }

    /// A [`put_u64`] number of at most 32 bits.
    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, Malformed> {
        let value = self.u64(field)?;
        u32::try_from(value).map_err(|_| self.malformed(field, "longer than 32 bits"))
    }

    /// What [`put_i64`] wrote.
    pub(super) fn i64(&mut self, field: &'static str) -> Result<i64, Malformed> {
        self.u64(field).map(varint::unzigzag)
    }

    /// A [`put_i64`] number of at most 32 bits.
    pub(super) fn i32(&mut self, field: &'static str) -> Result<i32, Malformed> {
        let value = self.i64(field)?;
        i32::try_from(value).map_err(|_| self.malformed(field, "longer than 32 bits"))
    }

    /// What [`put_bytes`] wrote.
    pub(super) fn bytes(&mut self, field: &'static str) -> Result<Bytes, Malformed> {
        self.slice(field).map(Bytes::copy_from_slice)
    }

    /// What [`put_bytes`] wrote, without a copy.
    pub(super) fn slice(&mut self, field: &'static str) -> Result<&'a [u8], Malformed> {
        let length = self.u64(field)?;
        let rest = self.record.len() - self.offset;
        match usize::try_from(length) {
            Ok(length) if length <= rest => self.take(length, field),
            Ok(_) | Err(_) => Err(self.malformed(field, "longer than the record")),
        }
    }

    /// Exactly `N` bytes.
    pub(super) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], Malformed> {
        let bytes = self.take(N, field)?;
        bytes
            .try_into()
            .map_err(|_| self.malformed(field, "the record ends here"))
    }

    /// All that is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.record.get(self.offset..).unwrap_or_default()
    }

    /// Refuses what is left over.
    pub(super) fn end(self, field: &'static str) -> Result<(), Malformed> {
        if self.rest().is_empty() {
            return Ok(());
        }
        Err(self.malformed(field, "bytes are left over behind it"))
    }

    /// An error at the present offset.
    pub(super) fn malformed(&self, field: &'static str, why: &'static str) -> Malformed {
        Malformed {
            field,
            offset: self.offset,
            why,
        }
    }

    fn take(&mut self, length: usize, field: &'static str) -> Result<&'a [u8], Malformed> {
        let bytes = self.record.get(self.offset..self.offset + length);
        let bytes = bytes.ok_or_else(|| self.malformed(field, "the record ends here"))?;
        self.offset += length;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for value in [0, 1, -1, 63, -64, 64, 300, i64::MAX, i64::MIN, 1 << 40] {
            let mut out = Vec::new();
            put_i64(&mut out, value);
            put_u64(&mut out, value.cast_unsigned());
            let mut cursor = ByteReader::new(&out);
            assert_eq!(cursor.i64("signed"), Ok(value));
            assert_eq!(cursor.u64("unsigned"), Ok(value.cast_unsigned()));
            assert_eq!(cursor.end("record"), Ok(()));
        }
    }

    #[test]
    fn small_numbers_take_one_byte() {
        let mut out = Vec::new();
        put_i64(&mut out, -3);
        assert_eq!(out, [5]);
    }

    #[test]
    fn malformed_bytes_are_refused() {
        assert!(ByteReader::new(&[]).u64("n").is_err());
        assert!(ByteReader::new(&[0x80]).u64("n").is_err());
        assert!(ByteReader::new(&[0xff; 11]).u64("n").is_err());
        assert!(
            ByteReader::new(&[0xff, 0xff, 0xff, 0xff, 0x7f])
                .u32("n")
                .is_err()
        );
        let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1];
        assert!(ByteReader::new(&huge).bytes("b").is_err());
    }
}
