//! A follower's batches on their way to the leader: in order, bounded in bytes, each answered in its
//! turn. When the connection ends, whoever sent finds out what came of the rest by the log (I5).
//!
//! ```text
//!   forward     term u64, id u64, batch
//!   forwarded   id u64, 1 position | 2 (0 | 1 leader u64), term u64 | 3
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::super::raft::records::{FormatError, end};
use super::Shared;
use super::ask::{put_server, take_server};
use super::dial::{Connection, DialError, dial};
use super::frame::{Frame, Kind, Lost, Outgoing, begin, finish, write_frames};
use super::hello::Lane;
use crate::state::{LogPosition, ServerId};

/// What the window is counted in; the smallest batch takes one.
const UNIT_BYTES: usize = 1024;
/// Batches that wait for the socket.
const OUTBOX_FRAMES: usize = 64;

/// What became of a forwarded batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::ensemble) enum Forwarded {
    /// It is in the leader's log, not yet committed.
    Accepted {
        /// Where.
        at: LogPosition,
    },
    /// It is in no log: this server does not lead, or not in that term.
    NotLeader {
        /// Who leads, as far as is known.
        leader: Option<ServerId>,
        /// This server's term.
        term: u64,
    },
    /// It is no batch. The connection ends.
    Malformed,
}

pub(super) fn put_forwarded(out: &mut BytesMut, outcome: Forwarded) {
    match outcome {
        Forwarded::Accepted { at } => {
            out.put_u8(1);
            out.put_u64(at.term);
            out.put_u64(at.index);
        }
        Forwarded::NotLeader { leader, term } => {
            out.put_u8(2);
            put_server(out, leader);
            out.put_u64(term);
        }
        Forwarded::Malformed => out.put_u8(3),
    }
}

pub(super) fn take_forwarded(mut bytes: Bytes) -> Result<(u64, Forwarded), FormatError> {
    let id = bytes.try_get_u64()?;
    let outcome = match bytes.try_get_u8()? {
        1 => Forwarded::Accepted {
            at: LogPosition {
                term: bytes.try_get_u64()?,
                index: bytes.try_get_u64()?,
            },
        },
        2 => Forwarded::NotLeader {
            leader: take_server(&mut bytes)?,
            term: bytes.try_get_u64()?,
        },
        3 => Forwarded::Malformed,
        found => return Err(FormatError::Unknown { found }),
    };
    end(&bytes)?;
    Ok((id, outcome))
}

/// Batches that have been sent and not been answered, in their order.
type Unanswered = Arc<Mutex<VecDeque<(u64, OwnedSemaphorePermit)>>>;

/// Sends batches to the leader. Dropping it ends the connection.
#[derive(Debug)]
pub(in crate::ensemble) struct ForwardSender {
    frames: mpsc::Sender<Outgoing>,
    window: Arc<Semaphore>,
    window_units: usize,
    unanswered: Unanswered,
    frame_bytes_max: usize,
}

/// The leader's answers. Dropping it ends the connection.
#[derive(Debug)]
pub(in crate::ensemble) struct ForwardAnswers {
    answers: mpsc::UnboundedReceiver<Result<(u64, Forwarded), Lost>>,
}

impl ForwardSender {
    /// Sends a batch for a leader of `term`; `id` comes back with its answer. Waits while too much is
    /// unanswered. Nothing is sent when the future is dropped before it is ready.
    ///
    /// # Errors
    /// The connection has ended: [`ForwardAnswers::next`] says why. Or the batch is longer than
    /// frames are.
    pub(in crate::ensemble) async fn send(
        &mut self,
        term: u64,
        id: u64,
        batch: Bytes,
    ) -> Result<(), Lost> {
        let mut head = begin(Kind::Forward, 16);
        head.put_u64(term);
        head.put_u64(id);
        let head = finish(head, batch.len(), self.frame_bytes_max)?;
        let units = batch.len().div_ceil(UNIT_BYTES).clamp(1, self.window_units);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let window = Arc::clone(&self.window);
        let permit = window.acquire_many_owned(units).await;
        let permit = permit.map_err(|_| Lost::Closed)?;
        let slot = self.frames.reserve().await.map_err(|_| Lost::Closed)?;
        self.unanswered.lock().push_back((id, permit));
        slot.send(Outgoing { head, body: batch });
        Ok(())
    }
}

impl ForwardAnswers {
    /// What became of the next batch, in the order in which they were sent.
    ///
    /// # Errors
    /// The connection has ended. What has not been answered may have been taken or not.
    pub(in crate::ensemble) async fn next(&mut self) -> Result<(u64, Forwarded), Lost> {
        self.answers.recv().await.unwrap_or(Err(Lost::Closed))
    }
}

/// Connects to `to`.
pub(super) async fn open(
    shared: &Arc<Shared>,
    to: ServerId,
) -> Result<(ForwardSender, ForwardAnswers), DialError> {
    let connection = tokio::select! {
        connection = dial(shared, to, Lane::Forward) => connection?,
        () = shared.stopping.cancelled() => return Err(DialError::Stopping),
    };
    let (frames, outgoing) = mpsc::channel(OUTBOX_FRAMES);
    // Bounded by the window: an answer frees its part of it.
    let (tell, answers) = mpsc::unbounded_channel();
    let window_units = (shared.config.window_bytes / UNIT_BYTES).max(1);
    let window = Arc::new(Semaphore::new(window_units));
    let unanswered = Unanswered::default();
    let task = run(
        Arc::clone(shared),
        connection,
        outgoing,
        tell,
        Arc::clone(&unanswered),
        Arc::clone(&window),
    );
    shared.tasks.spawn(task);
    let sender = ForwardSender {
        frames,
        window,
        window_units,
        unanswered,
        frame_bytes_max: shared.config.frame_bytes_max,
    };
    Ok((sender, ForwardAnswers { answers }))
}

async fn run(
    shared: Arc<Shared>,
    connection: Connection,
    mut outgoing: mpsc::Receiver<Outgoing>,
    tell: mpsc::UnboundedSender<Result<(u64, Forwarded), Lost>>,
    unanswered: Unanswered,
    window: Arc<Semaphore>,
) {
    let Connection {
        mut reader,
        mut writer,
        ..
    } = connection;
    let reading = async {
        loop {
            let next = reader.next().await;
            match next.and_then(|frame| take_answer(frame, &unanswered)) {
                Ok(answer) if tell.send(Ok(answer)).is_ok() => {}
                Ok(_) => return Lost::Unused,
                Err(lost) => return lost,
            }
        }
    };
    let lost = tokio::select! {
        lost = reading => lost,
        lost = write_frames(&mut writer, &mut outgoing, shared.config.ping_time()) => lost,
        () = tell.closed() => Lost::Unused,
        () = shared.stopping.cancelled() => Lost::Stopping,
    };
    window.close();
    drop(outgoing);
    // Nobody listens who has dropped both halves.
    let _unheard = tell.send(Err(lost));
}

/// The answer, which must be that to the oldest batch; frees its part of the window.
fn take_answer(frame: Frame, unanswered: &Unanswered) -> Result<(u64, Forwarded), Lost> {
    if frame.kind != Kind::Forwarded {
        return Err(Lost::Kind(frame.kind as u8));
    }
    let (id, outcome) = take_forwarded(frame.body)?;
    match unanswered.lock().pop_front() {
        Some((oldest, _freed)) if oldest == id => Ok((id, outcome)),
        Some(_) | None => Err(Lost::Order),
    }
}
