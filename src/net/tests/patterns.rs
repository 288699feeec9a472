//! Sockets that take bytes in every pattern: some, none, all, none at the first attempt and all at the
//! next. Whatever they do, each request that has come is answered, in order.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use jute::Request;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{Halves, PATIENCE, Peer, create, get, hello, request, serve, set, start};
use crate::io::{SocketReader, SocketWriter};
use crate::server::Server;

/// A socket's two ends.
#[derive(Clone, Default)]
struct Double(Arc<Mutex<Ends>>, Arc<Notify>);

#[derive(Default)]
struct Ends {
    /// Makes the choices.
    seed: u64,
    /// Sent by the client and not received by the server.
    sent: VecDeque<u8>,
    /// What the client got.
    got: BytesMut,
    is_full: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Ends {
    fn below(&mut self, bound: usize) -> usize {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        usize::try_from((self.seed >> 11) % bound as u64).expect("small")
    }
}

impl SocketWriter for Double {
    fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut ends = self.0.lock();
        let taken = match ends.below(4) {
            // Nothing, and it may be writable again at once or later.
            0 => 0,
            1 => 1 + ends.below(bytes.len()),
            2 => 1 + ends.below(bytes.len().min(100)),
            _ => bytes.len(),
        };
        ends.is_full = taken < bytes.len();
        ends.got.extend_from_slice(&bytes[..taken]);
        drop(ends);
        self.1.notify_one();
        if taken == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(taken)
    }
}

impl SocketReader for Double {
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        let mut ends = self.0.lock();
        if ends.sent.is_empty() {
            ends.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let room = into.capacity() - into.len();
        assert!(room > 0);
        let come = room.min(ends.sent.len());
        let bytes = 1 + ends.below(come);
        into.extend(ends.sent.drain(..bytes));
        Poll::Ready(Ok(bytes))
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut ends = self.0.lock();
        if !ends.is_full || ends.below(2) == 0 {
            ends.is_full = false;
            return Poll::Ready(Ok(()));
        }
        ends.writer = Some(cx.waker().clone());
        drop(ends);
        self.1.notify_one();
        Poll::Pending
    }

    fn unread(&self) -> u64 {
        self.0.lock().sent.len() as u64
    }
}

impl Double {
    /// A connection of the server by such a socket.
    fn connect(server: &Server, seed: u64) -> Self {
        let double = Self::default();
        double.0.lock().seed = seed;
        let halves: Halves = (Box::new(double.clone()), Box::new(double.clone()));
        serve(server, halves);
        double
    }

    fn send(&self, bytes: &[u8]) {
        let mut ends = self.0.lock();
        ends.sent.extend(bytes);
        if let Some(reader) = ends.reader.take() {
            reader.wake();
        }
    }

    /// The next frame; the socket becomes writable now and then.
    async fn next(&self) -> BytesMut {
        loop {
            {
                let mut ends = self.0.lock();
                if let Some(length) = ends.got.first_chunk::<4>() {
                    let bytes = usize::try_from(u32::from_be_bytes(*length)).expect("short");
                    if ends.got.len() >= 4 + bytes {
                        ends.got.advance(4);
                        return ends.got.split_to(bytes);
                    }
                }
                ends.is_full = false;
                if let Some(writer) = ends.writer.take() {
                    writer.wake();
                }
            }
            self.1.notified().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_socket_takes_all_that_has_come_is_answered() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = start(&dir).await;
    let mut peer = Peer::connect(&server).await;
    for (path, bytes) in [("/s", 10), ("/m", 3_000), ("/l", 300_000)] {
        peer.repeat(create(path), 1).await;
        peer.repeat(set(path, vec![7; bytes]), 1).await;
    }
    for seed in 1..=120 {
        let double = Double::connect(&server, seed * 7919);
        double.send(&hello());
        // Small ones fill the inbox beyond its bound, large ones the outbox.
        let requests = [200, 40, 5_000][usize::try_from(seed % 3).expect("small")];
        let mut bytes = Vec::new();
        for xid in 1..=requests {
            let choice = double.0.lock().below(100);
            bytes.extend(request(
                xid,
                &match choice {
                    0..3 if requests < 1000 => get("/l", false),
                    3..20 => get("/m", false),
                    20..24 => set("/s", "0123456789"),
                    24..40 => Request::Ping,
                    _ => get("/s", true),
                },
            ));
        }
        double.send(&bytes);
        let answered = async {
            double.next().await;
            let mut expected = 1;
            while expected <= requests {
                let xid = double.next().await.get_i32();
                // Events of its own watches come in between; pings have an xid of their own.
                if xid == expected || xid == jute::reply::PING_XID {
                    expected += 1;
                } else {
                    assert_eq!(xid, jute::reply::EVENT_XID, "seed {seed}");
                }
            }
        };
        timeout(PATIENCE, answered)
            .await
            .unwrap_or_else(|_| panic!("silence with seed {seed}"));
    }
    drop(peer);
    server.stop().await;
}
