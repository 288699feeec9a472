//! What can be wrong with bytes: [`DecodeError`] inside a record, [`FrameError`] around it.

use std::borrow::Cow;

use crate::OpCode;

/// Bytes that are no record of the kind that was asked for.
///
/// `field` is a path such as `acl[2].id.scheme`, `offset` the position, in bytes from the start
/// of what the [`crate::Reader`] was given, where the field begins.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} at byte {offset}: {kind}")]
pub struct DecodeError {
    /// Path of the field that could not be read.
    pub field: Cow<'static, str>,
    /// Where that field begins.
    pub offset: usize,
    /// What is wrong with it.
    pub kind: DecodeErrorKind,
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeErrorKind {
    /// A fixed-size value is cut off.
    #[error("expected {expected} bytes, found {found}")]
    Truncated {
        /// Bytes that the value takes.
        expected: usize,
        /// Bytes that are left.
        found: usize,
    },
    /// A string or buffer has a negative length other than -1, which means null.
    #[error("negative length {0}")]
    NegativeLength(i32),
    /// A string or buffer claims more bytes than are left.
    #[error("length {length} is more than the {found} bytes left")]
    LengthBeyondEnd {
        /// The length it claims.
        length: i32,
        /// Bytes that are left.
        found: usize,
    },
    /// A vector claims more elements than the bytes left can hold.
    #[error("count {count} is more than {found} bytes can hold")]
    CountBeyondEnd {
        /// The count it claims.
        count: i32,
        /// Bytes that are left.
        found: usize,
    },
    /// Null where the record has no meaning without a value.
    #[error("null is not allowed here")]
    Null,
    /// Not an opcode that a client may send.
    #[error("no request has opcode {}", .0.0)]
    UnknownOpCode(OpCode),
    /// An opcode that may not stand inside this multi (or multiRead).
    #[error("{} is not allowed in a multi of this kind", .0)]
    NotAllowedInMulti(OpCode),
    /// Create flags inside a multi that are none of the seven modes.
    #[error("create flags {0} are none of 0 to 6")]
    BadCreateFlags(i32),
    /// TTL flags in an op of a multi that carries no TTL.
    #[error("create flags {0} need a ttl")]
    TtlMissing(i32),
    /// A result type in a multi's response that no server sends.
    #[error("no result has type {}", .0.0)]
    UnknownResult(OpCode),
}

impl DecodeError {
    /// An error at a field of the record that is being read.
    pub(crate) fn new(field: &'static str, offset: usize, kind: DecodeErrorKind) -> Self {
        Self {
            field: Cow::Borrowed(field),
            offset,
            kind,
        }
    }

    /// Puts the name of the enclosing field in front of the path.
    pub(crate) fn within(self, outer: &'static str) -> Self {
        if outer.is_empty() {
            return self;
        }
        let field = Cow::Owned(format!("{outer}.{}", self.field));
        Self { field, ..self }
    }

    /// Puts the name of the enclosing vector and the place in it in front of the path.
    pub(crate) fn within_element(self, outer: &'static str, index: usize) -> Self {
        let dot = if self.field.is_empty() { "" } else { "." };
        let field = Cow::Owned(format!("{outer}[{index}]{dot}{}", self.field));
        Self { field, ..self }
    }
}

/// A stream that holds no frame where one must begin. The connection is of no further use.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length is negative.
    #[error("negative frame length {length}")]
    Negative {
        /// The length as it came.
        length: i32,
    },
    /// The length is over the limit. Nothing was allocated for it.
    #[error("frame length {length} is over the limit of {max}")]
    TooLong {
        /// The length as it came, or of the frame that was to be sent.
        length: usize,
        /// The largest length that is accepted.
        max: usize,
    },
    /// The stream itself failed, or ended within a frame.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
