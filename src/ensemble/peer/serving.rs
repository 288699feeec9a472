//! A peer's connection to this server, served until its end: by lane.
//!
//! Each is one task with two halves: what is read goes to [`Serve`], what comes of it is written, and
//! a ping when nothing is.

use std::pin::pin;
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes};
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, BoxStream, FuturesOrdered, FuturesUnordered, StreamExt as _};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::super::raft::messages::{self, AppendRequest, AppendResult};
use super::super::raft::records::FormatError;
use super::ask::{Asked, Request, Response, put_answer};
use super::config::PeerConfig;
use super::forward::{Forwarded, put_forwarded};
use super::frame::{
    Frame, FrameReader, Kind, Lost, Outgoing, Output, begin, finish, ping, write_all, write_frames,
};
use super::hello::Hello;
use super::serve::{Refusal, Serve};
use super::snapshot;
use crate::io::Stream;

/// Questions of one peer that are being answered; more are told that it is too much. Of heartbeats,
/// which a disk that hangs leaves unanswered, so many come in half a minute.
const CALLS_MAX: usize = 256;
/// Answers that wait for the socket.
const ANSWERS_MAX: usize = 64;
/// Append requests between this task and openraft's, which itself has 64 under way.
const REQUESTS_MAX: usize = 8;
/// Streams of appends: an old one that still answers, the new one, and those in between.
const STREAMS_MAX: usize = 4;
/// Batches that have been taken and not been answered.
const TAKEN_MAX: usize = 256;
/// Of a short answer.
const ANSWER_BYTES: usize = 64;

/// A peer's connection.
pub(super) struct Lane<'a> {
    pub(super) config: &'a PeerConfig,
    pub(super) serve: &'a Arc<dyn Serve>,
    pub(super) from: Hello,
    pub(super) reader: FrameReader<ReadHalf<Box<dyn Stream>>>,
    pub(super) writer: WriteHalf<Box<dyn Stream>>,
}

type Answers = BoxStream<'static, Result<AppendResult, Refusal>>;

impl Lane<'_> {
    /// Many questions at once, answered as the answers come.
    pub(super) async fn control(mut self) -> Lost {
        let (outbox, mut frames) = mpsc::channel(ANSWERS_MAX);
        let bytes_max = self.config.frame_bytes_max;
        let reading = async {
            let mut calls = FuturesUnordered::new();
            loop {
                tokio::select! {
                    frame = self.reader.next() => {
                        let call = frame.and_then(|frame| self.config.question(&self.from, frame));
                        let sent = match call {
                            Ok((number, asked)) if calls.len() < CALLS_MAX => {
                                calls.push(answer(self.serve, self.from, number, asked));
                                Ok(())
                            }
                            Ok((number, _)) => {
                                let busy = Some(Err(Refusal::Busy));
                                send_answer(&outbox, number, busy, bytes_max).await
                            }
                            Err(lost) => Err(lost),
                        };
                        if let Err(lost) = sent {
                            return lost;
                        }
                    }
                    Some((number, answer)) = calls.next() => {
                        if let Err(lost) = send_answer(&outbox, number, answer, bytes_max).await {
                            return lost;
                        }
                    }
                }
            }
        };
        tokio::select! {
            lost = reading => lost,
            lost = write_frames(&mut self.writer, &mut frames, self.config.ping_time()) => lost,
        }
    }

    /// Streams of appends, one after the other: each has a number, and what is left of one behind an
    /// error is void.
    pub(super) async fn replication(mut self) -> Lost {
        let (streams, mut answers) = mpsc::channel::<(u64, Answers)>(STREAMS_MAX);
        let reading = async {
            let mut current: Option<(u64, mpsc::Sender<AppendRequest>)> = None;
            loop {
                let next = self.reader.next().await;
                let next = next.and_then(|frame| append_request(&self.from, frame));
                let (number, request) = match next {
                    Ok(next) => next,
                    Err(lost) => return lost,
                };
                let is_new = match &current {
                    Some((present, _)) if number < *present => return Lost::Order,
                    Some((present, _)) => number > *present,
                    None => true,
                };
                if is_new {
                    let (sender, mut requests) = mpsc::channel(REQUESTS_MAX);
                    let requests = stream::poll_fn(move |cx| requests.poll_recv(cx)).boxed();
                    let stream = self.serve.append(self.from, requests);
                    if streams.send((number, stream)).await.is_err() {
                        return Lost::Unused;
                    }
                    current = Some((number, sender));
                }
                if let Some((_, requests)) = &current {
                    // Refused by a stream that has ended with an error.
                    let _void = requests.send(request).await;
                }
            }
        };
        tokio::select! {
            lost = reading => lost,
            lost = write_appended(&mut self.writer, self.config, &mut answers) => lost,
        }
    }

    /// Batches, in order; so are the answers.
    pub(super) async fn forward(mut self) -> Lost {
        let (taken, mut outcomes) = mpsc::channel(TAKEN_MAX);
        let reading = async {
            let mut batches = self.serve.forward(self.from);
            loop {
                let next = self.reader.next().await.and_then(batch);
                let (term, id, batch) = match next {
                    Ok(next) => next,
                    Err(lost) => return lost,
                };
                let outcome = batches.take(term, batch).await;
                if taken.send((id, outcome)).await.is_err() {
                    return Lost::Unused;
                }
            }
        };
        tokio::select! {
            lost = reading => lost,
            lost = write_forwarded(&mut self.writer, self.config, &mut outcomes) => lost,
        }
    }
}

impl Lane<'_> {
    /// One snapshot.
    pub(super) async fn snapshot(self) -> Lost {
        snapshot::receive(self.config, self.serve, self.from, self.reader, self.writer).await
    }
}

impl PeerConfig {
    fn question(&self, from: &Hello, frame: Frame) -> Result<(u64, Asked), Lost> {
        let Frame {
            kind: Kind::Call,
            mut body,
        } = frame
        else {
            return Err(Lost::Kind(frame.kind as u8));
        };
        let number = body.try_get_u64().map_err(FormatError::from)?;
        let asked = Request::take(body)?;
        let is_its_own = match &asked {
            Asked::Known(Request::Vote(request) | Request::PreVote(request)) => {
                request.vote.leader_id.voted_for == from.server.0
            }
            Asked::Known(Request::Heartbeat(request)) => is_from(from, request),
            // All are told who is to lead, and wait no longer for the one before.
            Asked::Known(Request::Transfer(request)) => {
                request.from_leader().leader_id.voted_for == from.server.0
            }
            Asked::Known(Request::Ask(_)) | Asked::Unknown => true,
        };
        if is_its_own {
            Ok((number, asked))
        } else {
            Err(impostor())
        }
    }
}

/// openraft trusts that an append comes from its leader, and ends where it is from itself.
fn is_from(from: &Hello, request: &AppendRequest) -> bool {
    request.vote.leader_id.voted_for == from.server.0
}

pub(super) fn impostor() -> Lost {
    Lost::Format(FormatError::Invalid {
        what: "a message in the name of another server",
    })
}

async fn send_answer(
    outbox: &mpsc::Sender<Outgoing>,
    number: u64,
    answer: Option<Result<Response, Refusal>>,
    bytes_max: usize,
) -> Result<(), Lost> {
    let mut head = begin(Kind::Answer, ANSWER_BYTES);
    put_answer(&mut head, number, answer);
    let frame = Outgoing {
        head: finish(head, 0, bytes_max)?,
        body: Bytes::new(),
    };
    outbox.send(frame).await.map_err(|_| Lost::Unused)
}

async fn answer(
    serve: &Arc<dyn Serve>,
    from: Hello,
    number: u64,
    asked: Asked,
) -> (u64, Option<Result<Response, Refusal>>) {
    let Asked::Known(request) = asked else {
        return (number, None);
    };
    let answer = match request {
        Request::Vote(request) => serve.vote(from, request).await.map(Response::Vote),
        Request::PreVote(request) => serve.pre_vote(from, request).await.map(Response::Vote),
        Request::Heartbeat(request) => {
            let answer = serve.heartbeat(from, request).await;
            answer.map(Response::Heartbeat)
        }
        Request::Transfer(request) => {
            let answer = serve.transfer_leader(from, request).await;
            answer.map(Response::Transfer)
        }
        Request::Ask(ask) => serve.call(from, ask).await.map(Response::Told),
    };
    (number, Some(answer))
}

fn append_request(from: &Hello, frame: Frame) -> Result<(u64, AppendRequest), Lost> {
    let Frame {
        kind: Kind::Append,
        mut body,
    } = frame
    else {
        return Err(Lost::Kind(frame.kind as u8));
    };
    let number = body.try_get_u64().map_err(FormatError::from)?;
    let request = messages::take_append_request(body)?;
    if is_from(from, &request) {
        Ok((number, request))
    } else {
        Err(impostor())
    }
}

fn batch(frame: Frame) -> Result<(u64, u64, Bytes), Lost> {
    let Frame {
        kind: Kind::Forward,
        mut body,
    } = frame
    else {
        return Err(Lost::Kind(frame.kind as u8));
    };
    let term = body.try_get_u64().map_err(FormatError::from)?;
    let id = body.try_get_u64().map_err(FormatError::from)?;
    Ok((term, id, body))
}

/// Writes what each stream of appends answers, up to its first error.
async fn write_appended(
    writer: &mut WriteHalf<Box<dyn Stream>>,
    config: &PeerConfig,
    streams: &mut mpsc::Receiver<(u64, Answers)>,
) -> Lost {
    let silence = config.ping_time();
    let mut output = Output::default();
    let mut current: Option<(u64, Answers)> = None;
    loop {
        let wrote = match &mut current {
            None => match timeout(silence, streams.recv()).await {
                Ok(Some(next)) => {
                    current = Some(next);
                    continue;
                }
                Ok(None) => return Lost::Unused,
                Err(_elapsed) => {
                    output.push(ping());
                    Ok(false)
                }
            },
            Some((number, answers)) => match timeout(silence, answers.next()).await {
                Ok(next) => put_ready(&mut output, config, *number, answers, next),
                Err(_elapsed) => {
                    output.push(ping());
                    Ok(false)
                }
            },
        };
        match wrote {
            Ok(true) => current = None,
            Ok(false) => {}
            Err(error) => return Lost::Format(error),
        }
        if let Err(error) = write_all(writer, &mut output).await {
            return Lost::Broken(error);
        }
    }
}

/// Adds `next` and whatever else is ready; whether the stream has ended.
fn put_ready(
    output: &mut Output,
    config: &PeerConfig,
    number: u64,
    answers: &mut Answers,
    mut next: Option<Result<AppendResult, Refusal>>,
) -> Result<bool, FormatError> {
    loop {
        let Some(answer) = next else {
            return Ok(true);
        };
        let mut head = begin(Kind::Appended, ANSWER_BYTES);
        head.put_u64(number);
        match &answer {
            Ok(result) => {
                head.put_u8(0);
                messages::put_append_result(&mut head, result);
            }
            Err(refusal) => {
                head.put_u8(1);
                head.put_u8(refusal.number());
            }
        }
        output.push(finish(head, 0, config.frame_bytes_max)?);
        if !matches!(answer, Ok(Ok(_))) {
            return Ok(true);
        }
        match answers.next().now_or_never() {
            Some(ready) => next = ready,
            None => return Ok(false),
        }
    }
}

/// Writes what becomes of the batches; ends behind one that was malformed.
async fn write_forwarded(
    writer: &mut WriteHalf<Box<dyn Stream>>,
    config: &PeerConfig,
    taken: &mut mpsc::Receiver<(u64, BoxFuture<'static, Forwarded>)>,
) -> Lost {
    let mut output = Output::default();
    let mut outcomes = FuturesOrdered::new();
    loop {
        let mut next = pin!(timeout(config.ping_time(), async {
            loop {
                tokio::select! {
                    biased;
                    Some(outcome) = outcomes.next() => return Some(outcome),
                    next = taken.recv(), if outcomes.len() < TAKEN_MAX => match next {
                        Some((id, outcome)) => {
                            outcomes.push_back(outcome.map(move |outcome| (id, outcome)));
                        }
                        None => return None,
                    },
                }
            }
        }));
        let next = (&mut next).await;
        let mut is_malformed = false;
        match next {
            Ok(Some((id, outcome))) => {
                is_malformed = outcome == Forwarded::Malformed;
                let mut head = begin(Kind::Forwarded, ANSWER_BYTES);
                head.put_u64(id);
                put_forwarded(&mut head, outcome);
                match finish(head, 0, config.frame_bytes_max) {
                    Ok(head) => output.push(head),
                    Err(error) => return Lost::Format(error),
                }
            }
            Ok(None) => return Lost::Unused,
            Err(_elapsed) => output.push(ping()),
        }
        if let Err(error) = write_all(writer, &mut output).await {
            return Lost::Broken(error);
        }
        if is_malformed {
            return Lost::Format(FormatError::Invalid {
                what: "a forwarded batch that is none",
            });
        }
    }
}
