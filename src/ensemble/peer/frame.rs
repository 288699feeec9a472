//! Frames: how messages are cut out of a stream of bytes, and sent without being copied.
//!
//! ```text
//!   frame   length u32 (of what follows), kind u8, body
//! ```
//!
//! A frame's length is believed as its bytes come: memory is taken for what is there, not for what
//! was announced. Bodies are slices of the memory that they were received into.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::super::raft::records::FormatError;
use super::Refusal;

/// Length and kind.
pub(super) const HEAD_BYTES: usize = 5;
/// Room for bytes that come: what a socket holds, as a rule.
const READ_BYTES: usize = 64 << 10;
/// A read with less room than this would be one for the rest of a frame only.
const READ_BYTES_MIN: usize = 4 << 10;
/// What a pending write may hold before more is gathered.
const WRITE_BYTES: usize = 256 << 10;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    /// Says that its sender lives; nothing in it.
    Ping = 0,
    /// Control: a question, with its number.
    Call = 1,
    /// Control: what was asked under that number.
    Answer = 2,
    /// Replication: entries.
    Append = 3,
    /// Replication: how far the log matches.
    Appended = 4,
    /// Forwarding: a batch, with its number.
    Forward = 5,
    /// Forwarding: what became of it.
    Forwarded = 6,
    /// Snapshots: what there is to be sent.
    Offer = 7,
    /// Snapshots: what of it is there already.
    Wanted = 8,
    /// Snapshots: bytes of a file.
    Chunk = 9,
    /// Snapshots: what came of it.
    Installed = 10,
}

impl Kind {
    fn read(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Ping),
            1 => Some(Self::Call),
            2 => Some(Self::Answer),
            3 => Some(Self::Append),
            4 => Some(Self::Appended),
            5 => Some(Self::Forward),
            6 => Some(Self::Forwarded),
            7 => Some(Self::Offer),
            8 => Some(Self::Wanted),
            9 => Some(Self::Chunk),
            10 => Some(Self::Installed),
            _ => None,
        }
    }
}

/// A connection between two servers is at its end.
#[derive(Debug, thiserror::Error)]
pub(in crate::ensemble) enum Lost {
    /// The other side closed it, or its process ended.
    #[error("the other side closed the connection")]
    Closed,
    /// The other side closed it, in the middle of a frame.
    #[error("the other side closed the connection in the middle of a frame")]
    CutOff,
    /// Neither frames nor pings: the other side hangs, or the link is dead.
    #[error("nothing was heard for {0:?}")]
    Silent(Duration),
    /// The other side pings, but what it was sent has not been answered.
    #[error("no answer for {0:?}")]
    NoAnswer(Duration),
    /// The system's words.
    #[error("the connection broke")]
    Broken(#[from] io::Error),
    /// A frame longer than frames are.
    #[error("a frame of {bytes} bytes, {bytes_max} are allowed")]
    TooLong {
        /// As announced.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// A frame that does not belong on this lane.
    #[error("a frame of kind {0}")]
    Kind(u8),
    /// Bytes that are no message.
    #[error("a malformed message")]
    Format(#[from] FormatError),
    /// An answer to what was not asked.
    #[error("an answer out of order")]
    Order,
    /// The other side will not take what this lane brings.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The same server has connected again.
    #[error("the same server has connected again")]
    Replaced,
    /// Nobody uses it any more.
    #[error("no longer used")]
    Unused,
    /// This server stops.
    #[error("this server stops")]
    Stopping,
}

/// A frame that came.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) body: Bytes,
}

/// Cuts frames out of what comes.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    source: R,
    received: BytesMut,
    bytes_max: usize,
    idle: Duration,
    heard: Instant,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Frames of up to `bytes_max`; an end if nothing comes for `idle`.
    pub(super) fn new(source: R, bytes_max: usize, idle: Duration) -> Self {
        Self {
            source,
            received: BytesMut::new(),
            bytes_max,
            idle,
            heard: Instant::now(),
        }
    }

    /// The next frame that is no ping. Nothing is lost when the future is dropped.
    ///
    /// Silence counts while nobody reads, too: whatever came meanwhile is found first.
    pub(super) async fn next(&mut self) -> Result<Frame, Lost> {
        loop {
            while let Some(frame) = self.cut()? {
                if frame.kind != Kind::Ping {
                    return Ok(frame);
                }
            }
            self.make_room();
            let read = self.source.read_buf(&mut self.received);
            match timeout_at(self.heard + self.idle, read).await {
                Ok(Ok(0)) if self.received.is_empty() => return Err(Lost::Closed),
                Ok(Ok(0)) => return Err(Lost::CutOff),
                Ok(Ok(_)) => self.heard = Instant::now(),
                Ok(Err(error)) => return Err(Lost::Broken(error)),
                Err(_elapsed) => return Err(Lost::Silent(self.idle)),
            }
        }
    }

    /// Twice what there is of a long frame, so that it is moved seldom and never takes more than
    /// twice what has come.
    fn make_room(&mut self) {
        if self.received.capacity() - self.received.len() < READ_BYTES_MIN {
            self.received.reserve(self.received.len().max(READ_BYTES));
        }
    }

    fn cut(&mut self) -> Result<Option<Frame>, Lost> {
        let Some((head, rest)) = self.received.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let bytes = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
        if bytes > self.bytes_max {
            let bytes_max = self.bytes_max;
            return Err(Lost::TooLong { bytes, bytes_max });
        }
        if bytes == 0 {
            let empty = FormatError::CutOff { wanted: 1, left: 0 };
            return Err(Lost::Format(empty));
        }
        let Some(&kind) = rest.first() else {
            return Ok(None);
        };
        let kind = Kind::read(kind).ok_or(Lost::Kind(kind))?;
        if rest.len() < bytes {
            return Ok(None);
        }
        self.received.advance(HEAD_BYTES);
        let body = self.received.split_to(bytes - 1).freeze();
        Ok(Some(Frame { kind, body }))
    }
}

/// What waits to be written, in pieces that stay where they are.
#[derive(Debug, Default)]
pub(super) struct Output {
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

impl Output {
    pub(super) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.pieces.push_back(piece);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

impl Buf for Output {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let pairs = into.iter_mut().zip(&self.pieces);
        pairs
            .map(|(slot, piece)| *slot = IoSlice::new(piece))
            .count()
    }

    fn advance(&mut self, count: usize) {
        self.bytes = self.bytes.saturating_sub(count);
        let mut left = count;
        while let Some(first) = self.pieces.front_mut() {
            if left < first.len() {
                first.advance(left);
                return;
            }
            left -= first.len();
            self.pieces.pop_front();
        }
    }
}

/// A frame to be sent: a head of its own, and bytes that are sent as they are.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) head: Bytes,
    pub(super) body: Bytes,
}

/// Begins a frame; its length is set by [`finish`].
pub(super) fn begin(kind: Kind, capacity: usize) -> BytesMut {
    let mut head = BytesMut::with_capacity(HEAD_BYTES + capacity);
    head.put_u32(0);
    head.put_u8(kind as u8);
    head
}

/// Sets the length of a frame that `head` begins and `behind` bytes follow.
///
/// # Errors
/// It would be longer than frames are.
pub(super) fn finish(
    mut head: BytesMut,
    behind: usize,
    bytes_max: usize,
) -> Result<Bytes, FormatError> {
    let bytes = (head.len() + behind).saturating_sub(4);
    let length = u32::try_from(bytes).ok().filter(|_| bytes <= bytes_max);
    match (length, head.first_chunk_mut::<4>()) {
        (Some(length), Some(slot)) => *slot = length.to_be_bytes(),
        _ => {
            return Err(FormatError::Invalid {
                what: "a message longer than frames are",
            });
        }
    }
    Ok(head.freeze())
}

/// The frame that says that its sender lives.
pub(super) fn ping() -> Bytes {
    Bytes::from_static(&[0, 0, 0, 1, Kind::Ping as u8])
}

/// Writes what comes by `frames`, as much as waits at once, and pings when nothing does. Ends when
/// all senders are gone, or the connection is.
pub(super) async fn write_frames<W: AsyncWrite + Unpin>(
    writer: &mut W,
    frames: &mut mpsc::Receiver<Outgoing>,
    silence: Duration,
) -> Lost {
    let mut output = Output::default();
    loop {
        match timeout(silence, frames.recv()).await {
            Ok(Some(frame)) => {
                output.push(frame.head);
                output.push(frame.body);
            }
            Ok(None) => return Lost::Unused,
            Err(_elapsed) => output.push(ping()),
        }
        while output.remaining() < WRITE_BYTES
            && let Ok(frame) = frames.try_recv()
        {
            output.push(frame.head);
            output.push(frame.body);
        }
        if let Err(error) = write_all(writer, &mut output).await {
            return Lost::Broken(error);
        }
    }
}

/// Writes all of it.
pub(super) async fn write_all<W: AsyncWrite + Unpin>(
    writer: &mut W,
    output: &mut Output,
) -> io::Result<()> {
    writer.write_all_buf(output).await?;
    writer.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 16 << 20;
    const IDLE: Duration = Duration::from_secs(1);

    fn frame(kind: Kind, body: &[u8]) -> Bytes {
        let mut head = begin(kind, body.len());
        head.put_slice(body);
        finish(head, 0, MAX).expect("short")
    }

    /// However the bytes come, the same frames do.
    #[tokio::test(start_paused = true)]
    async fn frames_come_in_any_pieces() {
        let sent = [
            frame(Kind::Call, b"one"),
            ping(),
            frame(Kind::Append, &[7; 300]),
            frame(Kind::Forward, b""),
        ];
        let bytes = sent.concat();
        for piece in 1..bytes.len() {
            let (mut near, far) = tokio::io::duplex(piece);
            let mut reader = FrameReader::new(far, MAX, IDLE);
            let writing = async {
                for piece in bytes.chunks(piece) {
                    near.write_all(piece).await.expect("room");
                }
                drop(near);
            };
            let reading = async {
                for (kind, body) in [
                    (Kind::Call, &b"one"[..]),
                    (Kind::Append, &[7; 300]),
                    (Kind::Forward, b""),
                ] {
                    let frame = reader.next().await.expect("a frame");
                    assert_eq!((frame.kind, &frame.body[..]), (kind, body));
                }
                assert!(matches!(reader.next().await, Err(Lost::Closed)));
            };
            tokio::join!(writing, reading);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_taken_for_what_came_and_not_for_what_was_announced() {
        let (mut near, far) = tokio::io::duplex(4096);
        let mut reader = FrameReader::new(far, MAX, IDLE);
        near.write_all(&[1, 0, 0, 0, 3]).await.expect("room");
        near.write_all(&[0; 1000]).await.expect("room");
        assert!(matches!(reader.next().await, Err(Lost::Silent(IDLE))));
        assert_eq!(reader.received.len(), 1005);
        assert!(reader.received.capacity() <= 2 * READ_BYTES);
        near.write_all(&[0; 3000]).await.expect("room");
        near.shutdown().await.expect("open");
        assert!(matches!(reader.next().await, Err(Lost::CutOff)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_frame_takes_twice_what_came_at_most() {
        let (near, far) = tokio::io::duplex(1 << 20);
        let (_, mut near) = tokio::io::split(near);
        let mut reader = FrameReader::new(far, MAX, IDLE);
        let long = frame(Kind::Append, &vec![5; 9 << 20]);
        let mut sent = 0;
        let frame = loop {
            let end = long.len().min(sent + (1 << 20));
            near.write_all(&long[sent..end]).await.expect("room");
            sent = end;
            let next = timeout(Duration::from_millis(1), reader.next()).await;
            match next {
                Ok(frame) => break frame.expect("a frame"),
                Err(_elapsed) => {
                    let taken = reader.received.capacity();
                    assert!(
                        taken <= 2 * reader.received.len() + 2 * READ_BYTES,
                        "{taken}"
                    );
                }
            }
        };
        assert_eq!(frame.body.len(), 9 << 20);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_is_not_copied_and_comes_whole() {
        let body = Bytes::from(vec![8; 100_000]);
        let mut output = Output::default();
        for number in 0..200_u8 {
            let mut head = begin(Kind::Forward, 1);
            head.put_u8(number);
            output.push(finish(head, body.len(), MAX).expect("short"));
            output.push(body.clone());
        }
        let mut slices = [IoSlice::new(&[]); 64];
        assert_eq!(output.chunks_vectored(&mut slices), 64);
        assert_eq!(slices[63].as_ptr(), body.as_ptr());
        let (mut near, far) = tokio::io::duplex(777);
        let mut reader = FrameReader::new(far, MAX, IDLE);
        let writing = async { write_all(&mut near, &mut output).await.expect("open") };
        let reading = async {
            for number in 0..200_u8 {
                let frame = reader.next().await.expect("a frame");
                assert_eq!(frame.body[0], number);
                assert_eq!(&frame.body[1..], &body[..]);
            }
        };
        tokio::join!(writing, reading);
        assert!(output.is_empty() && output.remaining() == 0);
    }

    #[test]
    fn a_frame_has_a_length_that_others_allow() {
        let head = || begin(Kind::Forward, 0);
        assert!(finish(head(), 99, 100).is_ok());
        assert!(finish(head(), 100, 100).is_err());
        assert!(
            finish(
                head(),
                usize::try_from(u32::MAX).expect("64 bits"),
                usize::MAX
            )
            .is_err()
        );
    }
}
