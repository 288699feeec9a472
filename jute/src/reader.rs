//! Reads jute's primitive types, one after another, from a shared frame.

use bytes::{Buf, Bytes};
use nom::IResult;
use nom::number::complete::{be_i32, be_i64, be_u8};

use crate::{DecodeError, DecodeErrorKind, Text};

/// A position in a frame. Strings and buffers come out as slices that share the frame's memory.
///
/// Every method takes the name of the field for the error. After an error the position is
/// unspecified (but within the frame): the caller gives the record up.
#[derive(Debug, Clone)]
pub struct Reader {
    /// What has not been read yet.
    rest: Bytes,
    /// Length of the whole, for offsets.
    total: usize,
}

impl Reader {
    /// Starts at the first byte of `frame`.
    #[must_use]
    pub fn new(frame: Bytes) -> Self {
        let total = frame.len();
        Self { rest: frame, total }
    }

    /// Reads a boolean: one byte, any value but 0 is true.
    ///
    /// zk: BinaryInputArchive.readBool, that is DataInput.readBoolean.
    ///
    /// # Errors
    /// `Truncated` when no byte is left.
    pub fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        let byte = self.step(field, 1, value(be_u8(&*self.rest)))?;
        Ok(byte != 0)
    }

    /// Reads a big-endian 32-bit integer.
    ///
    /// # Errors
    /// `Truncated` when fewer than 4 bytes are left.
    pub fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.step(field, 4, value(be_i32(&*self.rest)))
    }

    /// Reads a big-endian 64-bit integer.
    ///
    /// # Errors
    /// `Truncated` when fewer than 8 bytes are left.
    pub fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        self.step(field, 8, value(be_i64(&*self.rest)))
    }

    /// Reads a string; length -1 is null. Malformed UTF-8 is replaced, see [`Text::from_wire`].
    ///
    /// # Errors
    /// As [`Reader::buffer`].
    pub fn ustring(&mut self, field: &'static str) -> Result<Option<Text>, DecodeError> {
        Ok(self.buffer(field)?.map(Text::from_wire))
    }

    /// Reads a buffer; length -1 is null.
    ///
    /// zk: BinaryInputArchive.readBuffer and checkLength. The limit there (jute.maxbuffer and a
    /// margin) is never below the frame's own, so the end of the frame is the tighter one.
    ///
    /// # Errors
    /// `Truncated`, `NegativeLength`, `LengthBeyondEnd`.
    pub fn buffer(&mut self, field: &'static str) -> Result<Option<Bytes>, DecodeError> {
        let offset = self.offset();
        let length = self.i32(field)?;
        if length == -1 {
            return Ok(None);
        }
        let found = self.rest.len();
        match usize::try_from(length) {
            Err(_) => Err(DecodeError::new(
                field,
                offset,
                DecodeErrorKind::NegativeLength(length),
            )),
            Ok(bytes) if bytes > found => {
                let kind = DecodeErrorKind::LengthBeyondEnd { length, found };
                Err(DecodeError::new(field, offset, kind))
            }
            Ok(bytes) => Ok(Some(self.rest.split_to(bytes))),
        }
    }

    /// Reads the count of a vector whose elements take at least `element_bytes_min` bytes each.
    /// -1 is null, every other negative count an empty vector.
    ///
    /// zk: BinaryInputArchive.startVector and BinaryIndex.done (nothing left when n <= 0).
    ///
    /// # Errors
    /// `Truncated`; `CountBeyondEnd` when the bytes left cannot hold that many elements.
    pub fn count(
        &mut self,
        field: &'static str,
        element_bytes_min: usize,
    ) -> Result<Option<usize>, DecodeError> {
        let offset = self.offset();
        let count = self.i32(field)?;
        if count == -1 {
            return Ok(None);
        }
        let found = self.rest.len();
        let wanted = usize::try_from(count).unwrap_or(0);
        if wanted.saturating_mul(element_bytes_min.max(1)) > found {
            let kind = DecodeErrorKind::CountBeyondEnd { count, found };
            return Err(DecodeError::new(field, offset, kind));
        }
        Ok(Some(wanted))
    }

    /// Everything that has not been read, as a slice of the frame.
    #[must_use]
    pub fn rest(self) -> Bytes {
        self.rest
    }

    /// How many bytes have not been read.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// How many bytes have been read.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.total - self.rest.len()
    }

    /// Steps over the `expected` bytes of a number that was parsed from the front of the rest.
    fn step<T>(
        &mut self,
        field: &'static str,
        expected: usize,
        parsed: Result<T, nom::Err<()>>,
    ) -> Result<T, DecodeError> {
        let found = self.rest.len();
        match parsed {
            Ok(value) => {
                self.rest.advance(expected);
                Ok(value)
            }
            Err(_) => {
                let kind = DecodeErrorKind::Truncated { expected, found };
                Err(DecodeError::new(field, self.offset(), kind))
            }
        }
    }
}

/// The value of a parse, without the rest, which the reader keeps itself.
fn value<T>(parsed: IResult<&[u8], T, ()>) -> Result<T, nom::Err<()>> {
    parsed.map(|(_, value)| value)
}
