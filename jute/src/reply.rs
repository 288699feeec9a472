//! The server's way out and the client's way in: whole reply frames.
//!
//! The server appends a reply to the one buffer that its connection sends from:
//!
//! ```
//! # use bytes::BytesMut;
//! # use jute::{ErrorCode, ReplyHeader, put_ustring, reply};
//! let mut out = BytesMut::new();
//! let mark = reply::begin(&mut out, ReplyHeader { xid: 1, zxid: 2, err: ErrorCode::OK });
//! put_ustring(&mut out, Some("/v"));
//! reply::finish(&mut out, mark)?;
//! assert_eq!(out.len(), 4 + 16 + 4 + 2);
//! # Ok::<(), jute::FrameError>(())
//! ```

use bytes::{BufMut, Bytes, BytesMut};

use crate::frame::frame_length;
use crate::{DecodeError, ErrorCode, FrameError, LENGTH_BYTES, Reader, ReplyHeader, WatcherEvent};

/// The xid of a watch event; no request's reply carries it.
pub const EVENT_XID: i32 = -1;
/// The xid of every ping's reply, whatever xid the ping had.
pub const PING_XID: i32 = -2;

/// Where in the buffer an unfinished frame begins.
#[derive(Debug)]
#[must_use = "a frame that is not finished has no length"]
pub struct Mark {
    /// Offset of the frame's length in the buffer.
    start: usize,
}

/// Begins a reply: room for the length, then the header.
pub fn begin(out: &mut BytesMut, header: ReplyHeader) -> Mark {
    let mark = Mark { start: out.len() };
    put_head(out, 0, header);
    mark
}

/// Begins a frame without a header, such as a ConnectResponse.
pub fn begin_frame(out: &mut BytesMut) -> Mark {
    let mark = Mark { start: out.len() };
    out.put_i32(0);
    mark
}

/// Ends the frame that began at `mark`: everything behind it is the payload. The buffer must not
/// have been shortened since.
///
/// # Errors
/// `TooLong` when the payload is over 2^31-1 bytes. The frame is taken back then, and the buffer
/// is as it was before `begin`.
pub fn finish(out: &mut BytesMut, mark: Mark) -> Result<(), FrameError> {
    let payload = out.len().saturating_sub(mark.start + LENGTH_BYTES);
    let length = match frame_length(payload) {
        Ok(length) => length,
        Err(error) => {
            out.truncate(mark.start);
            return Err(error);
        }
    };
    let behind = out.get_mut(mark.start..).unwrap_or_default();
    if let Some(place) = behind.first_chunk_mut::<LENGTH_BYTES>() {
        *place = length.to_be_bytes();
    }
    Ok(())
}

/// Takes an unfinished frame back, for a body that turned out to be an error.
pub fn abandon(out: &mut BytesMut, mark: Mark) {
    out.truncate(mark.start);
}

/// Appends a whole reply that is a header only: a success without a record, or an error.
pub fn put_header_only(out: &mut BytesMut, header: ReplyHeader) {
    put_head(out, ReplyHeader::LENGTH, header);
}

/// Put together first: the buffer then grows once, not for each number.
fn put_head(out: &mut BytesMut, length: i32, header: ReplyHeader) {
    let mut bytes = [0; LENGTH_BYTES + ReplyHeader::BYTES];
    let mut rest = bytes.as_mut_slice();
    rest.put_i32(length);
    header.encode(&mut rest);
    out.put_slice(&bytes);
}

/// Appends a whole watch event. `zxid`: of the transaction, or -1 for one that setWatches
/// caught up with.
///
/// # Errors
/// As [`finish`].
pub fn put_event(out: &mut BytesMut, zxid: i64, event: &WatcherEvent) -> Result<(), FrameError> {
    let mark = begin(
        out,
        ReplyHeader {
            xid: EVENT_XID,
            zxid,
            err: ErrorCode::OK,
        },
    );
    event.encode(out);
    finish(out, mark)
}

/// A frame from the server, after the handshake, as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A watch has fired.
    Event {
        /// The header; its xid is -1.
        header: ReplyHeader,
        /// What has happened.
        event: WatcherEvent,
    },
    /// The answer to a request. Which one, and so what the body is, the header's xid tells:
    /// see [`crate::Response::decode`].
    Answer {
        /// Echoes the request's xid.
        header: ReplyHeader,
        /// The record, empty for an error.
        body: Bytes,
    },
}

impl Reply {
    /// Reads the payload of a frame.
    ///
    /// # Errors
    /// The header is cut off, or the event is no event.
    pub fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let header = ReplyHeader::decode(&mut reader)?;
        if header.xid == EVENT_XID {
            let event = WatcherEvent::decode(&mut reader)?;
            return Ok(Self::Event { header, event });
        }
        Ok(Self::Answer {
            header,
            body: reader.rest(),
        })
    }

    /// Appends the payload, without a length.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Event { header, event } => {
                header.encode(out);
                event.encode(out);
            }
            Self::Answer { header, body } => {
                header.encode(out);
                out.put_slice(body);
            }
        }
    }
}
