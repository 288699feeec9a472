//! A server for tests: answers what peers ask, remembers it, and waits where it is told to.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{BoxStream, StreamExt as _};
use openraft::raft::StreamAppendError;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use super::super::super::raft::messages::{
    AppendRequest, AppendResponse, AppendResult, SnapshotResponse, TransferRequest,
    TransferResponse, VoteRequest, VoteResponse,
};
use super::super::super::raft::types::Vote;
use super::super::*;
use crate::state::LogPosition;
use crate::storage::memory::MemorySnapshots;
use crate::storage::{Checkpoint, Receiving, Snapshots as _};

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Member {
    /// Whom it answers nothing.
    pub(super) deaf_to: Mutex<Vec<ServerId>>,
    /// What it refuses everything with.
    pub(super) refuses: Mutex<Option<Refusal>>,
    /// A permit for each append that it answers.
    pub(super) append_room: Arc<Semaphore>,
    /// A permit for each batch that it takes.
    pub(super) forward_room: Arc<Semaphore>,
    /// A permit for each batch of which it tells what became of it.
    pub(super) outcome_room: Arc<Semaphore>,
    /// From here on its log conflicts.
    pub(super) conflicts_at: Mutex<Option<u64>>,
    /// All appends that it has seen.
    pub(super) appended: Arc<Mutex<Vec<AppendRequest>>>,
    /// All batches that it has taken.
    pub(super) taken: Arc<Mutex<Vec<(u64, Bytes)>>>,
    /// How many questions it was asked on the control lane.
    pub(super) asked: watch::Sender<usize>,
    /// A permit for each piece of a snapshot that it takes.
    pub(super) snapshot_room: Arc<Semaphore>,
    /// Where snapshots go.
    pub(super) snapshots: Arc<MemorySnapshots>,
    /// All snapshots that have come whole, and in how many pieces they did.
    pub(super) received: Arc<Mutex<Vec<(Checkpoint, usize)>>>,
    /// Connections that ended.
    pub(super) closed: watch::Sender<Vec<(ServerId, Lane, String)>>,
}

impl Default for Member {
    fn default() -> Self {
        Self {
            deaf_to: Mutex::default(),
            refuses: Mutex::default(),
            append_room: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS / 2)),
            forward_room: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS / 2)),
            outcome_room: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS / 2)),
            conflicts_at: Mutex::default(),
            appended: Arc::default(),
            taken: Arc::default(),
            snapshot_room: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS / 2)),
            snapshots: Arc::new(MemorySnapshots::new(Arc::default())),
            received: Arc::default(),
            asked: watch::Sender::new(0),
            closed: watch::Sender::new(Vec::new()),
        }
    }
}

impl Member {
    fn answer<T: Send + 'static>(
        &self,
        from: Hello,
        answer: T,
    ) -> BoxFuture<'_, Result<T, Refusal>> {
        self.asked.send_modify(|asked| *asked += 1);
        let refusal = *self.refuses.lock();
        let is_deaf = self.deaf_to.lock().contains(&from.server);
        async move {
            if is_deaf {
                return std::future::pending().await;
            }
            refusal.map_or(Ok(answer), Err)
        }
        .boxed()
    }
}

impl Serve for Member {
    fn vote(
        &self,
        from: Hello,
        request: VoteRequest,
    ) -> BoxFuture<'_, Result<VoteResponse, Refusal>> {
        let last = request.last_log_id;
        self.answer(from, VoteResponse::new(request.vote, last, true))
    }

    fn pre_vote(
        &self,
        from: Hello,
        request: VoteRequest,
    ) -> BoxFuture<'_, Result<VoteResponse, Refusal>> {
        self.answer(from, VoteResponse::new(request.vote, None, false))
    }

    fn heartbeat(
        &self,
        from: Hello,
        request: AppendRequest,
    ) -> BoxFuture<'_, Result<AppendResponse, Refusal>> {
        let answer = AppendResponse::PartialSuccess(request.leader_commit);
        self.answer(from, answer)
    }

    fn append(
        &self,
        _: Hello,
        requests: BoxStream<'static, AppendRequest>,
    ) -> BoxStream<'static, Result<AppendResult, Refusal>> {
        let room = Arc::clone(&self.append_room);
        let appended = Arc::clone(&self.appended);
        let conflicts_at = *self.conflicts_at.lock();
        let refuses = *self.refuses.lock();
        requests
            .then(move |request| {
                let room = Arc::clone(&room);
                appended.lock().push(request.clone());
                async move {
                    room.acquire().await.expect("never closed").forget();
                    if let Some(refusal) = refuses {
                        return Err(refusal);
                    }
                    let previous = request.prev_log_id.expect("one");
                    if conflicts_at.is_some_and(|at| previous.index >= at) {
                        return Ok(Err(StreamAppendError::Conflict(previous)));
                    }
                    let last = request.entries.last().map_or(previous, |last| last.log_id);
                    Ok(Ok(Some(last)))
                }
            })
            .boxed()
    }

    fn transfer_leader(
        &self,
        from: Hello,
        _: TransferRequest,
    ) -> BoxFuture<'_, Result<TransferResponse, Refusal>> {
        self.answer(from, Ok(()))
    }

    fn call(&self, from: Hello, ask: Ask) -> BoxFuture<'_, Result<Told, Refusal>> {
        let told = match ask {
            Ask::Probe => Told::Probe(Probed::default()),
            Ask::ReadIndex => Told::ReadIndex {
                at: Some(LogPosition { term: 3, index: 9 }),
            },
            Ask::Touches { sessions } => Told::Touched {
                term: u64::try_from(sessions.len()).expect("few"),
            },
            Ask::Members(presented) => Told::Members(presented),
            Ask::LeaderGone { leader, term, .. } => Told::NotLeader {
                leader: Some(leader),
                term,
            },
        };
        self.answer(from, told)
    }

    fn forward(&self, _: Hello) -> Box<dyn ForwardStream> {
        Box::new(Batches {
            room: Arc::clone(&self.forward_room),
            outcome_room: Arc::clone(&self.outcome_room),
            taken: Arc::clone(&self.taken),
        })
    }

    fn snapshot(&self, from: Hello, offer: Offer) -> BoxFuture<'_, Result<Receipt, Refusal>> {
        let receiving = self.snapshots.receive(offer.files).expect("an offer");
        let begun = Receipt::Begun(Box::new(Snapshot {
            has: receiving.has(),
            receiving,
            room: Arc::clone(&self.snapshot_room),
            pieces: 0,
            vote: offer.vote,
            received: Arc::clone(&self.received),
        }));
        self.answer(from, begun)
    }

    fn closed(&self, from: Hello, lane: Lane, why: &Lost) {
        let why = why.to_string();
        self.closed
            .send_modify(|closed| closed.push((from.server, lane, why)));
    }
}

struct Snapshot {
    has: Vec<u64>,
    receiving: Box<dyn Receiving>,
    room: Arc<Semaphore>,
    pieces: usize,
    vote: Vote,
    received: Arc<Mutex<Vec<(Checkpoint, usize)>>>,
}

impl Receive for Snapshot {
    fn has(&self) -> &[u64] {
        &self.has
    }

    fn write(
        &mut self,
        file: usize,
        offset: u64,
        bytes: Bytes,
    ) -> BoxFuture<'_, Result<(), Refusal>> {
        async move {
            self.room.acquire().await.expect("never closed").forget();
            self.pieces += 1;
            let written = self.receiving.write(file, offset, &bytes);
            written.map_err(|_| Refusal::Damaged)
        }
        .boxed()
    }

    fn install(self: Box<Self>) -> BoxFuture<'static, Result<SnapshotResponse, Refusal>> {
        async move {
            let whole = self.receiving.finish().map_err(|_| Refusal::Senseless)?;
            self.received.lock().push((whole, self.pieces));
            Ok(SnapshotResponse::new(self.vote))
        }
        .boxed()
    }
}

struct Batches {
    room: Arc<Semaphore>,
    outcome_room: Arc<Semaphore>,
    taken: Arc<Mutex<Vec<(u64, Bytes)>>>,
}

impl ForwardStream for Batches {
    #[expect(
        clippy::async_yields_async,
        reason = "what is taken is answered later, in the same order"
    )]
    fn take(&mut self, term: u64, batch: Bytes) -> BoxFuture<'_, BoxFuture<'static, Forwarded>> {
        async move {
            self.room.acquire().await.expect("never closed").forget();
            let outcome = match (term, batch.first()) {
                (_, Some(b'!')) => Forwarded::Malformed,
                (0, _) => Forwarded::NotLeader {
                    leader: None,
                    term: 4,
                },
                _ => {
                    let mut taken = self.taken.lock();
                    taken.push((term, batch));
                    let index = u64::try_from(taken.len()).expect("few");
                    Forwarded::Accepted {
                        at: LogPosition { term, index },
                    }
                }
            };
            let room = Arc::clone(&self.outcome_room);
            async move {
                room.acquire().await.expect("never closed").forget();
                outcome
            }
            .boxed()
        }
        .boxed()
    }
}
