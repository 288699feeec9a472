//! Reads jute's primitive types, one after another, from a shared frame.

use std::ops::Range;

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
    frame: Bytes,
    /// How many bytes have been read, at most all.
    at: usize,
}

impl Reader {
    /// Starts at the first byte of `frame`.
    #[must_use]
    pub fn new(frame: Bytes) -> Self {
        Self { frame, at: 0 }
    }

    /// Reads a boolean: one byte, any value but 0 is true.
    ///
    /// zk: BinaryInputArchive.readBool, that is DataInput.readBoolean.
    ///
    /// # Errors
    /// `Truncated` when no byte is left.
    pub fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        let byte = self.step(field, 1, value(be_u8(self.ahead())))?;
        Ok(byte != 0)
    }

    /// Reads a big-endian 32-bit integer.
    ///
    /// # Errors
    /// `Truncated` when fewer than 4 bytes are left.
    pub fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.step(field, 4, value(be_i32(self.ahead())))
    }

    /// Reads a big-endian 64-bit integer.
    ///
    /// # Errors
    /// `Truncated` when fewer than 8 bytes are left.
    pub fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        self.step(field, 8, value(be_i64(self.ahead())))
    }

    /// Reads a string; length -1 is null. Malformed UTF-8 is replaced, see [`Text::from_wire`].
    ///
    /// # Errors
    /// As [`Reader::buffer`].
    pub fn ustring(&mut self, field: &'static str) -> Result<Option<Text>, DecodeError> {
        let found = self.span(field)?;
        Ok(found.map(|span| Text::within(&self.frame, span)))
    }

    /// Reads a buffer; length -1 is null.
    ///
    /// zk: BinaryInputArchive.readBuffer and checkLength. The limit there (jute.maxbuffer and a
    /// margin) is never below the frame's own, so the end of the frame is the tighter one.
    ///
    /// # Errors
    /// `Truncated`, `NegativeLength`, `LengthBeyondEnd`.
    pub fn buffer(&mut self, field: &'static str) -> Result<Option<Bytes>, DecodeError> {
        let found = self.span(field)?;
        Ok(found.map(|span| self.frame.slice(span)))
    }

    /// Steps over a buffer, and says where it is.
    fn span(&mut self, field: &'static str) -> Result<Option<Range<usize>>, DecodeError> {
        let offset = self.offset();
        let length = self.i32(field)?;
        if length == -1 {
            return Ok(None);
        }
        let found = self.remaining();
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
            Ok(bytes) => {
                let start = self.at;
                self.at += bytes;
                Ok(Some(start..self.at))
            }
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
        let found = self.remaining();
        let wanted = usize::try_from(count).unwrap_or(0);
        if wanted.saturating_mul(element_bytes_min.max(1)) > found {
            let kind = DecodeErrorKind::CountBeyondEnd { count, found };
            return Err(DecodeError::new(field, offset, kind));
        }
        Ok(Some(wanted))
    }

    /// Everything that has not been read, as a slice of the frame.
    #[must_use]
    pub fn rest(mut self) -> Bytes {
        self.frame.advance(self.at);
        self.frame
    }

    /// How many bytes have not been read.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.frame.len() - self.at
    }

    /// How many bytes have been read.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Steps over these bytes, if it is they that come next.
    pub(crate) fn skip(&mut self, bytes: &[u8]) -> bool {
        let is_next = self.ahead().starts_with(bytes);
        if is_next {
            self.at += bytes.len();
        }
        is_next
    }

    fn ahead(&self) -> &[u8] {
        self.frame.get(self.at..).unwrap_or_default()
    }

    /// Steps over the `expected` bytes of a number that was parsed from the front of the rest.
    fn step<T>(
        &mut self,
        field: &'static str,
        expected: usize,
        parsed: Result<T, nom::Err<()>>,
    ) -> Result<T, DecodeError> {
        match parsed {
            Ok(value) => {
                self.at += expected;
                Ok(value)
            }
            Err(_) => {
                let found = self.remaining();
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
