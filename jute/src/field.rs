//! How a type of the wire is read and written, and the macro that makes records of fields.

use bytes::{BufMut, Bytes};

use crate::{DecodeError, ErrorCode, OpCode, Reader, Text, put_buffer, put_count};

/// A type that can be a field of a record.
pub(crate) trait Field: Sized {
    /// The fewest bytes that a value takes.
    const BYTES_MIN: usize;

    /// Reads a value; `name` is for the error, empty for the element of a vector.
    fn read(reader: &mut Reader, name: &'static str) -> Result<Self, DecodeError>;

    /// Appends the value.
    fn put(&self, out: &mut impl BufMut);
}

/// Defines a record: a struct whose fields stand on the wire in their order, with nothing
/// around or between them. `usual`: a value that most have, and its bytes, which are then not
/// taken apart.
macro_rules! record {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$doc:meta])* pub $field:ident: $type:ty, )+
        }
        $( usual: ($wire:expr, $usual:expr) )?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $( $(#[$doc])* pub $field: $type, )+
        }

        impl $name {
            /// Reads the fields in wire order. Bytes behind the last one stay in the reader.
            ///
            /// # Errors
            /// The bytes end early, or a length or count is impossible.
            pub fn decode(
                reader: &mut $crate::Reader,
            ) -> Result<Self, $crate::DecodeError> {
                $( if reader.skip($wire) {
                    return Ok($usual);
                } )?
                Ok(Self {
                    $( $field: $crate::field::Field::read(reader, stringify!($field))?, )+
                })
            }

            /// Appends the fields in wire order.
            pub fn encode(&self, out: &mut impl bytes::BufMut) {
                $( $crate::field::Field::put(&self.$field, out); )+
            }
        }

        impl $crate::field::Field for $name {
            const BYTES_MIN: usize = 0 $( + <$type as $crate::field::Field>::BYTES_MIN )+;

            fn read(
                reader: &mut $crate::Reader,
                name: &'static str,
            ) -> Result<Self, $crate::DecodeError> {
                Self::decode(reader).map_err(|error| error.within(name))
            }

            fn put(&self, out: &mut impl bytes::BufMut) {
                self.encode(out);
            }
        }

        #[cfg(test)]
        impl $crate::tests::sample::Sample for $name {
            fn sample() -> proptest::strategy::BoxedStrategy<Self> {
                use proptest::strategy::Strategy as _;
                ($( <$type as $crate::tests::sample::Sample>::sample(), )+)
                    .prop_map(|($( $field, )+)| Self { $( $field, )+ })
                    .boxed()
            }
        }
    };
}
pub(crate) use record;

impl Field for bool {
    const BYTES_MIN: usize = 1;

    fn read(reader: &mut Reader, name: &'static str) -> Result<Self, DecodeError> {
        reader.bool(name)
    }

    fn put(&self, out: &mut impl BufMut) {
        out.put_u8(u8::from(*self));
    }
}

/// A boolean at the very end of a record that old clients leave out: `None` is its absence.
impl Field for Option<bool> {
    const BYTES_MIN: usize = 0;

    fn read(reader: &mut Reader, name: &'static str) -> Result<Self, DecodeError> {
        if reader.remaining() == 0 {
            return Ok(None);
        }
        reader.bool(name).map(Some)
    }

    fn put(&self, out: &mut impl BufMut) {
        if let Some(value) = self {
            value.put(out);
        }
    }
}

impl Field for i32 {
    const BYTES_MIN: usize = 4;

    fn read(reader: &mut Reader, name: &'static str) -> Result<Self, DecodeError> {
        reader.i32(name)
    }

    fn put(&self, out: &mut impl BufMut) {
        out.put_i32(*self);
    }
}

impl Field for i64 {
    const BYTES_MIN: usize = 8;

    fn read(reader: &mut Reader, name: &'static str) -> Result<Self, DecodeError> {
        reader.i64(name)
    }

    fn put(&self, out: &mut impl BufMut) {
        out.put_i64(*self);
    }
}

impl Field for OpCode {
    const BYTES_MIN: usize = 4;

    fn read(reader: &mut Reader, name: &'static str) -> Result<Self, DecodeError> {
        reader.i32(name).map(OpCode)
    }

    fn put(&self, out: &mut impl BufMut) {
        out.put_i32(self.0);
    }
}

impl Field for ErrorCode {
    const BYTES_MIN: usize = 4;

    fn read(reader: &mut Reader, name: &'static str) -> Result<Self, DecodeError> {
        reader.i32(name).map(ErrorCode)
    }

    fn put(&self, out: &mut impl BufMut) {
        out.put_i32(self.0);
    }
}

impl Field for Option<Text> {
    const BYTES_MIN: usize = 4;

    fn read(reader: &mut Reader, name: &'static str) -> Result<Self, DecodeError> {
        reader.ustring(name)
    }

    fn put(&self, out: &mut impl BufMut) {
        put_buffer(out, self.as_ref().map(|text| &text.as_bytes_shared()[..]));
    }
}

impl Field for Option<Bytes> {
    const BYTES_MIN: usize = 4;

    fn read(reader: &mut Reader, name: &'static str) -> Result<Self, DecodeError> {
        reader.buffer(name)
    }

    fn put(&self, out: &mut impl BufMut) {
        put_buffer(out, self.as_deref());
    }
}

impl<T: Field> Field for Option<Vec<T>> {
    const BYTES_MIN: usize = 4;

    fn read(reader: &mut Reader, name: &'static str) -> Result<Self, DecodeError> {
        let Some(count) = reader.count(name, T::BYTES_MIN)? else {
            return Ok(None);
        };
        let mut elements = Vec::with_capacity(count);
        for index in 0..count {
            let element = T::read(reader, "").map_err(|error| error.within_element(name, index))?;
            elements.push(element);
        }
        Ok(Some(elements))
    }

    fn put(&self, out: &mut impl BufMut) {
        put_count(out, self.as_ref().map(Vec::len));
        for element in self.iter().flatten() {
            element.put(out);
        }
    }
}

/// A vector for which null has no meaning: it is read as an empty one.
impl<T: Field> Field for Vec<T> {
    const BYTES_MIN: usize = 4;

    fn read(reader: &mut Reader, name: &'static str) -> Result<Self, DecodeError> {
        Option::<Self>::read(reader, name).map(Option::unwrap_or_default)
    }

    fn put(&self, out: &mut impl BufMut) {
        put_count(out, Some(self.len()));
        for element in self {
            element.put(out);
        }
    }
}
