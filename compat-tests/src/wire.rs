//! Jute by hand: integers big-endian, strings and buffers behind an `i32` length, -1 for null.
//!
//! Written apart from the `jute` crate on purpose; see the crate's docs.

use anyhow::{Result, bail, ensure};

/// Writes primitives one after the other.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes.push(value);
        self
    }

    /// Four bytes.
    pub fn i32(&mut self, value: i32) -> &mut Self {
        self.bytes.extend(value.to_be_bytes());
        self
    }

    /// Eight bytes.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.bytes.extend(value.to_be_bytes());
        self
    }

    /// A boolean, 0 or 1.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.u8(u8::from(value))
    }

    /// A string or a buffer: the same bytes on the wire. `None` is null.
    pub fn buffer(&mut self, value: Option<&[u8]>) -> &mut Self {
        match value {
            None => self.i32(-1),
            Some(bytes) => {
                self.i32(bytes.len() as i32);
                self.bytes.extend(bytes);
                self
            }
        }
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self
    }

    /// What was written.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// What was written, with its length in front.
    pub fn frame(self) -> Vec<u8> {
        let mut framed = (self.bytes.len() as i32).to_be_bytes().to_vec();
        framed.extend(self.bytes);
        framed
    }
}

/// Reads primitives one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from the start.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// There are fewer; so with all readers below.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        ensure!(
            count <= self.rest.len(),
            "{count} bytes wanted, {} left",
            self.rest.len()
        );
        let (head, tail) = self.rest.split_at(count);
        self.rest = tail;
        Ok(head)
    }

    /// One byte.
    ///
    /// # Errors
    /// Nothing is left.
    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// Four bytes.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.take(8)?.try_into()?))
    }

    /// A string or a buffer; `None` is null.
    ///
    /// # Errors
    /// Fewer bytes are left than announced, or the length is below -1.
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>> {
        match self.i32()? {
            -1 => Ok(None),
            len if len < 0 => bail!("length {len}"),
            len => self.take(len as usize).map(Some),
        }
    }

    /// A vector's count, null as `None`.
    ///
    /// # Errors
    /// No four bytes are left, or the count is below -1.
    pub fn count(&mut self) -> Result<Option<usize>> {
        match self.i32()? {
            -1 => Ok(None),
            count if count < 0 => bail!("count {count}"),
            count => Ok(Some(count as usize)),
        }
    }
}
