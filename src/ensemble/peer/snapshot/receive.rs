//! The follower's side: says what is there, and takes the rest in.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use super::super::config::PeerConfig;
use super::super::frame::{Frame, FrameReader, Kind, Lost, Outgoing, begin, finish, write_frames};
use super::super::hello::Hello;
use super::super::serve::{Receipt, Serve};
use super::{ANSWER_BYTES, Answer, FRAME_BYTES_MAX, Offer, put_answer, put_wanted, take_chunk};
use crate::io::Stream;

/// Frames that wait for the socket: there are two in all.
const OUTBOX_FRAMES: usize = 2;

/// Serves one connection for a snapshot until its end.
pub(in crate::ensemble::peer) async fn receive(
    config: &PeerConfig,
    serve: &Arc<dyn Serve>,
    from: Hello,
    mut reader: FrameReader<ReadHalf<Box<dyn Stream>>>,
    mut writer: WriteHalf<Box<dyn Stream>>,
) -> Lost {
    let (outbox, mut frames) = mpsc::channel(OUTBOX_FRAMES);
    let receiving = async {
        let answer = match take_in(&mut reader, &outbox, serve, from).await {
            Ok(answer) => answer,
            Err(lost) => return lost,
        };
        let mut head = begin(Kind::Installed, ANSWER_BYTES);
        put_answer(&mut head, &answer);
        if let Err(lost) = send(&outbox, head).await {
            return lost;
        }
        // Who refuses may still be sent what was on its way. The other side ends the connection.
        loop {
            if let Err(lost) = reader.next().await {
                return lost;
            }
        }
    };
    tokio::select! {
        lost = receiving => lost,
        lost = write_frames(&mut writer, &mut frames, config.ping_time()) => lost,
    }
}

/// What comes of the snapshot.
async fn take_in(
    reader: &mut FrameReader<ReadHalf<Box<dyn Stream>>>,
    outbox: &mpsc::Sender<Outgoing>,
    serve: &Arc<dyn Serve>,
    from: Hello,
) -> Result<Answer, Lost> {
    let offer = Offer::take(expect(reader.next().await?, Kind::Offer)?)?;
    if offer.vote.leader_id.voted_for != from.server.0 {
        return Err(super::super::serving::impostor());
    }
    let lengths: Vec<u64> = offer.files.iter().map(|file| file.bytes).collect();
    let mut receive = match serve.snapshot(from, offer).await {
        Ok(Receipt::Begun(receive)) => receive,
        Ok(Receipt::Settled(response)) => return Ok(Ok(response)),
        Err(refusal) => return Ok(Err(refusal)),
    };
    let pairs = lengths.iter().zip(receive.has());
    let mut missing: u64 = pairs.map(|(all, has)| all.saturating_sub(*has)).sum();
    let mut head = begin(Kind::Wanted, ANSWER_BYTES);
    put_wanted(&mut head, receive.has())?;
    send(outbox, head).await?;
    while missing > 0 {
        let chunk = take_chunk(expect(reader.next().await?, Kind::Chunk)?)?;
        let bytes = chunk.bytes.len() as u64;
        if let Err(refusal) = receive.write(chunk.file, chunk.offset, chunk.bytes).await {
            return Ok(Err(refusal));
        }
        // More than all would have been refused.
        missing = missing.saturating_sub(bytes);
    }
    Ok(receive.install().await)
}

fn expect(frame: Frame, kind: Kind) -> Result<Bytes, Lost> {
    if frame.kind == kind {
        Ok(frame.body)
    } else {
        Err(Lost::Kind(frame.kind as u8))
    }
}

async fn send(outbox: &mpsc::Sender<Outgoing>, head: bytes::BytesMut) -> Result<(), Lost> {
    let frame = Outgoing {
        head: finish(head, 0, FRAME_BYTES_MAX)?,
        body: Bytes::new(),
    };
    outbox.send(frame).await.map_err(|_| Lost::Unused)
}
