//! Frames: a 32-bit length, then that many bytes, in both directions.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::FrameError;

/// Size of the length in front of every frame, in bytes. It does not count itself.
pub const LENGTH_BYTES: usize = 4;

/// Room that a frame gets before any of its bytes have come. Beyond that the buffer at most
/// doubles what has arrived, so that a claimed length alone takes no memory.
const FIRST_ROOM_BYTES: usize = 8 * 1024;

/// What bytes begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut<'a> {
    /// A whole frame.
    Whole {
        /// What its length counts.
        payload: &'a [u8],
        /// What is behind it.
        rest: &'a [u8],
    },
    /// A part of a frame whose length is not refused.
    Incomplete {
        /// So many bytes of its payload are still to come; `None`: not even its length is whole.
        missing: Option<usize>,
    },
}

/// Splits a stream into frames and back, as a codec of tokio-util.
///
/// zk: NIOServerCnxn.readLength: a length below 0 or above jute.maxbuffer closes the connection,
/// exactly jute.maxbuffer is legal. A frame of length 0 is a frame. After an error the bytes are
/// still in the read buffer, for a caller to whom they may be something else than a length.
#[derive(Debug, Clone)]
pub struct FrameCodec {
    /// Longest payload that is accepted from the peer, in bytes.
    max: usize,
}

impl FrameCodec {
    /// Accepts payloads of up to `max_bytes` bytes.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self { max: max_bytes }
    }

    /// Changes the limit for all frames whose length has not been looked at.
    pub fn set_max(&mut self, max_bytes: usize) {
        self.max = max_bytes;
    }

    /// Looks where the frame ends that `bytes` begin with: the one place that knows. Takes as long for
    /// a long frame as for a short one.
    ///
    /// # Errors
    /// The length is refused, whatever is behind it.
    pub fn cut<'a>(&self, bytes: &'a [u8]) -> Result<Cut<'a>, FrameError> {
        let Some((head, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(Cut::Incomplete { missing: None });
        };
        let claimed = i32::from_be_bytes(*head);
        let length = usize::try_from(claimed)
            .map_err(|_negative| FrameError::Negative { length: claimed })?;
        if length > self.max {
            return Err(FrameError::TooLong {
                length,
                max: self.max,
            });
        }
        Ok(match rest.split_at_checked(length) {
            Some((payload, rest)) => Cut::Whole { payload, rest },
            None => Cut::Incomplete {
                missing: Some(length - rest.len()),
            },
        })
    }

    /// The limit, in bytes of payload.
    #[must_use]
    pub fn max(&self) -> usize {
        self.max
    }
}

impl Decoder for FrameCodec {
    /// The payload, without the length, sharing the read buffer.
    type Item = Bytes;
    type Error = FrameError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let length = match self.cut(src)? {
            Cut::Whole { payload, .. } => payload.len(),
            Cut::Incomplete { missing } => {
                if let Some(missing) = missing {
                    src.reserve(missing.min(src.len().max(FIRST_ROOM_BYTES)));
                }
                return Ok(None);
            }
        };
        src.advance(LENGTH_BYTES);
        Ok(Some(src.split_to(length).freeze()))
    }
}

impl Encoder<Bytes> for FrameCodec {
    type Error = FrameError;

    /// Appends a frame. Its length is bounded by the format only: replies have no other limit.
    fn encode(&mut self, payload: Bytes, dst: &mut BytesMut) -> Result<(), FrameError> {
        let length = frame_length(payload.len())?;
        dst.reserve(LENGTH_BYTES + payload.len());
        dst.put_i32(length);
        dst.put_slice(&payload);
        Ok(())
    }
}

/// A payload's length as the format can say it.
pub(crate) fn frame_length(length: usize) -> Result<i32, FrameError> {
    i32::try_from(length).map_err(|_too_long| FrameError::TooLong {
        length,
        max: MAX_EXPRESSIBLE,
    })
}

/// The longest payload that a length can say.
const MAX_EXPRESSIBLE: usize = 0x7fff_ffff;
