//! The leader's entries on their way to a follower: pipelined, answered in order.
//!
//! ```text
//!   append     stream u64, append request
//!   appended   stream u64, 0 append result | 1 refusal u8
//! ```
//!
//! openraft sends by streams: one ends with an error, and another begins. They share a connection, so
//! each request names its stream; the follower drops what is left of one that has ended, and so does
//! this side with answers.
//!
//! No task stands between: whoever reads the answers moves the connection, so that a request costs
//! one wake-up on each side.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _};
use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use tokio::io::{AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until};

use super::super::raft::messages::{self, AppendRequest, AppendResult};
use super::super::raft::records::FormatError;
use super::Shared;
use super::dial::{DialError, dial};
use super::frame::{Frame, FrameReader, Kind, Lost, Output, begin, finish, ping};
use super::hello::Lane;
use super::serve::Refusal;
use crate::io as sockets;
use crate::metrics;
use crate::state::ServerId;

/// Requests under way: as many as openraft takes at once at the other side.
const REQUESTS_MAX: usize = 64;
/// Of a request's head.
const HEAD_BYTES: usize = 128;
/// No more is encoded while so much waits for the socket.
const WRITE_BYTES: usize = 1 << 20;

/// A stream of appends has ended before its time.
#[derive(Debug, thiserror::Error)]
pub(in crate::ensemble) enum LaneError {
    /// There is no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// There was one.
    #[error(transparent)]
    Lost(#[from] Lost),
}

impl From<FormatError> for LaneError {
    fn from(error: FormatError) -> Self {
        Self::Lost(error.into())
    }
}

impl From<io::Error> for LaneError {
    fn from(error: io::Error) -> Self {
        Self::Lost(error.into())
    }
}

/// The lane to one follower.
#[derive(Debug)]
pub(in crate::ensemble) struct Replication {
    shared: Arc<Shared>,
    to: ServerId,
    wire: Option<Wire>,
    /// The number of the last stream.
    last: u64,
}

#[derive(Debug)]
struct Wire {
    reader: FrameReader<ReadHalf<Box<dyn sockets::Stream>>>,
    writer: WriteHalf<Box<dyn sockets::Stream>>,
    output: Output,
    is_flushed: bool,
    /// When something was sent.
    wrote: Instant,
    /// No stream has used it yet.
    is_new: bool,
    /// The follower has taken something by it.
    has_fed: bool,
}

impl Replication {
    pub(super) fn new(shared: Arc<Shared>, to: ServerId) -> Self {
        Self {
            shared,
            to,
            wire: None,
            last: 0,
        }
    }

    /// Sends what comes by `input` and yields the answers, in order; ends when all is answered, or
    /// after the first error. Connects if need be.
    pub(in crate::ensemble) fn stream<'s, S>(
        &'s mut self,
        input: S,
    ) -> BoxStream<'s, Result<AppendResult, LaneError>>
    where
        S: Stream<Item = AppendRequest> + Send + Unpin + 's,
    {
        self.last += 1;
        let stream = Appends {
            lane: self,
            input,
            input_ended: false,
            is_over: false,
            has_sent: false,
            unanswered: VecDeque::new(),
            bytes: 0,
        };
        let next = |mut stream: Appends<'s, S>| async {
            let item = stream.next().await?;
            Some((item, stream))
        };
        stream::unfold(stream, next).boxed()
    }
}

/// One stream of appends.
struct Appends<'s, S> {
    lane: &'s mut Replication,
    input: S,
    input_ended: bool,
    is_over: bool,
    /// Something has been sent in this stream.
    has_sent: bool,
    /// When each was sent, and its bytes.
    unanswered: VecDeque<(Instant, usize)>,
    bytes: usize,
}

/// What comes next.
enum Event {
    Frame(Result<Frame, Lost>),
    Wrote(io::Result<usize>),
    Flushed(io::Result<()>),
    Request(Option<AppendRequest>),
    Time,
}

impl<S: Stream<Item = AppendRequest> + Send + Unpin> Appends<'_, S> {
    async fn next(&mut self) -> Option<Result<AppendResult, LaneError>> {
        if self.is_over {
            return None;
        }
        match self.drive().await {
            Ok(Some(answer)) => {
                self.is_over = answer.is_err();
                Some(Ok(answer))
            }
            Ok(None) => {
                self.is_over = true;
                None
            }
            Err(error) => {
                self.is_over = true;
                self.lane.wire = None;
                Some(Err(error))
            }
        }
    }

    /// Moves the connection until there is an answer, or all has been answered.
    async fn drive(&mut self) -> Result<Option<AppendResult>, LaneError> {
        loop {
            if self.input_ended && self.unanswered.is_empty() {
                return Ok(None);
            }
            if self.lane.wire.is_none() {
                let first = if self.has_sent {
                    None
                } else {
                    // openraft pauses after errors in the stream of its requests. Without waiting for
                    // the first one, a server that is gone would be called without a pause.
                    let Some(request) = self.request().await? else {
                        self.input_ended = true;
                        continue;
                    };
                    Some(request)
                };
                self.connect().await?;
                if let Some(request) = first {
                    self.send(request)?;
                }
            }
            match self.event().await {
                Event::Frame(Ok(frame)) => {
                    if let Some(answer) = self.answer(frame)? {
                        return Ok(Some(answer));
                    }
                }
                // It ended while nobody used it.
                Event::Frame(Err(_)) if self.is_untouched() => self.lane.wire = None,
                Event::Frame(Err(lost)) => return Err(lost.into()),
                Event::Wrote(written) => {
                    written?;
                }
                Event::Flushed(flushed) => flushed?,
                Event::Request(Some(request)) => self.send(request)?,
                Event::Request(None) => self.input_ended = true,
                Event::Time => self.tick()?,
            }
        }
    }

    /// Whether this stream has sent nothing on a connection that it found.
    fn is_untouched(&self) -> bool {
        self.unanswered.is_empty() && self.lane.wire.as_ref().is_some_and(|wire| !wire.is_new)
    }

    /// What openraft wants to be sent next; `None`: nothing more in this stream.
    async fn request(&mut self) -> Result<Option<AppendRequest>, LaneError> {
        if self.input_ended {
            return Ok(None);
        }
        tokio::select! {
            request = self.input.next() => Ok(request),
            () = self.lane.shared.stopping.cancelled() => Err(Lost::Stopping.into()),
        }
    }

    async fn connect(&mut self) -> Result<(), LaneError> {
        let Replication { shared, to, .. } = &*self.lane;
        let connection = tokio::select! {
            connection = dial(shared, *to, Lane::Replication) => connection?,
            () = shared.stopping.cancelled() => return Err(DialError::Stopping.into()),
        };
        tracing::debug!(peer = %to, address = %connection.address, "replication connected");
        self.lane.wire = Some(Wire {
            reader: connection.reader,
            writer: connection.writer,
            output: Output::default(),
            is_flushed: true,
            wrote: Instant::now(),
            is_new: true,
            has_fed: false,
        });
        Ok(())
    }

    async fn event(&mut self) -> Event {
        let config = &self.lane.shared.config;
        let Some(wire) = &mut self.lane.wire else {
            return Event::Frame(Err(Lost::Unused));
        };
        let ping_at = wire.wrote + config.ping_time();
        let oldest = self.unanswered.front();
        let late_at = oldest.map(|(sent, _)| *sent + config.append_time());
        let due = late_at.map_or(ping_at, |late_at| late_at.min(ping_at));
        let has_room = self.unanswered.len() < REQUESTS_MAX
            && self.bytes < config.window_bytes
            && wire.output.remaining() < WRITE_BYTES;
        let has_output = !wire.output.is_empty();
        let must_flush = !has_output && !wire.is_flushed;
        let writing = async {
            if has_output {
                Event::Wrote(wire.writer.write_buf(&mut wire.output).await)
            } else {
                Event::Flushed(wire.writer.flush().await)
            }
        };
        let event = tokio::select! {
            biased;
            () = self.lane.shared.stopping.cancelled() => Event::Frame(Err(Lost::Stopping)),
            frame = wire.reader.next() => Event::Frame(frame),
            event = writing, if has_output || must_flush => event,
            request = self.input.next(), if !self.input_ended && has_room => {
                Event::Request(request)
            }
            () = sleep_until(due) => Event::Time,
        };
        match event {
            Event::Wrote(_) => {
                wire.wrote = Instant::now();
                wire.is_flushed = false;
            }
            Event::Flushed(_) => wire.is_flushed = true,
            Event::Frame(_) | Event::Request(_) | Event::Time => {}
        }
        event
    }

    fn send(&mut self, request: AppendRequest) -> Result<(), LaneError> {
        let mut head = begin(Kind::Append, HEAD_BYTES);
        head.put_u64(self.lane.last);
        let payloads = messages::put_append_request(&mut head, request)?;
        let behind: usize = payloads.iter().map(bytes::Bytes::len).sum();
        let bytes = head.len() + behind;
        let head = finish(head, behind, self.lane.shared.config.frame_bytes_max)?;
        if let Some(wire) = &mut self.lane.wire {
            wire.is_new = false;
            wire.output.push(head);
            for payload in payloads {
                wire.output.push(payload);
            }
        }
        self.has_sent = true;
        self.unanswered.push_back((Instant::now(), bytes));
        self.bytes += bytes;
        Ok(())
    }

    /// The answer in a frame; `None`: to a stream that has ended.
    fn answer(&mut self, frame: Frame) -> Result<Option<AppendResult>, LaneError> {
        let Frame {
            kind: Kind::Appended,
            mut body,
        } = frame
        else {
            return Err(Lost::Kind(frame.kind as u8).into());
        };
        let stream = body.try_get_u64().map_err(FormatError::from)?;
        match stream.cmp(&self.lane.last) {
            Ordering::Less => return Ok(None),
            Ordering::Equal => {}
            Ordering::Greater => return Err(Lost::Order.into()),
        }
        let Some((_, bytes)) = self.unanswered.pop_front() else {
            return Err(Lost::Order.into());
        };
        self.bytes -= bytes;
        match body.try_get_u8().map_err(FormatError::from)? {
            0 => {
                let result = messages::take_append_result(body)?;
                if let (Ok(_), Some(wire)) = (&result, &mut self.lane.wire)
                    && !std::mem::replace(&mut wire.has_fed, true)
                {
                    metrics::diff_sent();
                }
                Ok(Some(result))
            }
            1 => {
                let refusal = body.try_get_u8().map_err(FormatError::from)?;
                Err(Lost::Refused(Refusal::read(refusal)).into())
            }
            found => Err(FormatError::Unknown { found }.into()),
        }
    }

    /// Time has passed: pings, or gives up.
    fn tick(&mut self) -> Result<(), LaneError> {
        let config = &self.lane.shared.config;
        let within: Duration = config.append_time();
        if let Some((sent, _)) = self.unanswered.front()
            && sent.elapsed() >= within
        {
            return Err(Lost::NoAnswer(within).into());
        }
        if let Some(wire) = &mut self.lane.wire {
            // While what waits cannot be written, a ping behind it says nothing.
            if wire.output.is_empty() {
                wire.output.push(ping());
            }
            wire.wrote = Instant::now();
        }
        Ok(())
    }
}
