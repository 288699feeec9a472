//! The leader's side: offers, and sends what is wanted.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::super::super::raft::messages::SnapshotResponse;
use super::super::super::raft::records::FormatError;
use super::super::Shared;
use super::super::dial::{Connection, DialError, dial};
use super::super::frame::{Frame, FrameReader, Kind, Lost, Outgoing, begin, finish, write_frames};
use super::super::hello::Lane;
use super::super::serve::Refusal;
use super::{CHUNK_BYTES, FRAME_BYTES_MAX, Offer, put_chunk, take_answer, take_wanted};
use crate::state::ServerId;
use crate::storage::StorageError;

/// Chunks that wait for the socket.
const OUTBOX_FRAMES: usize = 2;
/// Of an offer of some files.
const OFFER_BYTES: usize = 1 << 10;
/// A follower that takes no chunk for so long is asked again on a new connection. A disk may hang as long.
const STALL_MAX: Duration = Duration::from_secs(60);

/// What a snapshot's bytes are read from.
pub(in crate::ensemble) trait Source: Send + Sync {
    /// The follower wants so many bytes of it.
    fn wanted(&self, missing: u64);

    /// Bytes of the file of that number from `offset` on, as many as there are up to `bytes_max`.
    fn read(
        &self,
        file: usize,
        offset: u64,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Bytes, StorageError>>;
}

/// A snapshot has not come to its follower.
#[derive(Debug, thiserror::Error)]
pub(in crate::ensemble) enum SnapshotError {
    /// There is no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// There was one.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The follower says no.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// It cannot be read here.
    #[error("read the snapshot")]
    Read(#[source] StorageError),
}

impl From<FormatError> for SnapshotError {
    fn from(error: FormatError) -> Self {
        Self::Lost(error.into())
    }
}

/// Connects to `to`, offers it a snapshot, sends what it wants, and waits until it has installed it, or
/// says that it does not need it, or not from this leader.
///
/// # Errors
/// See [`SnapshotError`]. What has come is kept there for the next attempt.
pub(in crate::ensemble::peer) async fn send(
    shared: &Shared,
    to: ServerId,
    offer: Offer,
    source: &dyn Source,
) -> Result<SnapshotResponse, SnapshotError> {
    let connection = tokio::select! {
        connection = dial(shared, to, Lane::Snapshot) => connection?,
        () = shared.stopping.cancelled() => return Err(DialError::Stopping.into()),
    };
    let Connection {
        mut reader,
        mut writer,
        ..
    } = connection;
    let (outbox, mut frames) = mpsc::channel(OUTBOX_FRAMES);
    let silence = shared.config.ping_time();
    tokio::select! {
        told = talk(&mut reader, &outbox, offer, source) => told,
        lost = write_frames(&mut writer, &mut frames, silence) => Err(lost.into()),
        () = shared.stopping.cancelled() => Err(Lost::Stopping.into()),
    }
}

async fn talk<R: AsyncRead + Unpin>(
    reader: &mut FrameReader<R>,
    outbox: &mpsc::Sender<Outgoing>,
    offer: Offer,
    source: &dyn Source,
) -> Result<SnapshotResponse, SnapshotError> {
    let mut head = begin(Kind::Offer, OFFER_BYTES);
    offer.put(&mut head)?;
    let frame = Outgoing {
        head: finish(head, 0, FRAME_BYTES_MAX)?,
        body: Bytes::new(),
    };
    outbox.send(frame).await.map_err(|_closed| Lost::Unused)?;
    let answer = reader.next().await?;
    if answer.kind != Kind::Wanted {
        return installed(answer);
    }
    let files = offer.files;
    let has = take_wanted(answer.body, &files)?;
    let pairs = files.iter().zip(&has);
    source.wanted(pairs.map(|(file, has)| file.bytes - has).sum());
    for (number, (file, has)) in files.iter().zip(has).enumerate() {
        let mut offset = has;
        while offset < file.bytes {
            let read = source.read(number, offset, CHUNK_BYTES);
            let body = read.await.map_err(SnapshotError::Read)?;
            let mut head = begin(Kind::Chunk, 12);
            put_chunk(&mut head, number, offset);
            let head = finish(head, body.len(), FRAME_BYTES_MAX)?;
            offset += body.len() as u64;
            let slot = tokio::select! {
                biased;
                // It will not have the rest.
                answer = reader.next() => return installed(answer?),
                slot = timeout(STALL_MAX, outbox.reserve()) => slot,
            };
            let slot = slot.map_err(|_elapsed| Lost::NoAnswer(STALL_MAX))?;
            let slot = slot.map_err(|_closed| Lost::Unused)?;
            slot.send(Outgoing { head, body });
        }
    }
    installed(reader.next().await?)
}

fn installed(frame: Frame) -> Result<SnapshotResponse, SnapshotError> {
    if frame.kind != Kind::Installed {
        return Err(Lost::Kind(frame.kind as u8).into());
    }
    take_answer(frame.body)?.map_err(SnapshotError::Refused)
}
