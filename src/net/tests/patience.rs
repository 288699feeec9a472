//! A client that has asked for more than it takes, so that nothing is read from it any more: how long
//! its session lives, by what it shows. Time is paused, and goes on as it is slept.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use jute::Request;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::time::{self, sleep};

use super::{Halves, create, get, hello_for, request, serve, set, start};
use crate::io::{SocketReader, SocketWriter};
use crate::server::Server;
use crate::state::SessionId;

const SECOND: Duration = Duration::from_secs(1);
/// The session's timeout, but where it says otherwise.
const TIMEOUT: i32 = 6_000;
/// After its last sign a session lives for its patience, its timeout and some ticks of three seconds.
const PATIENCE: u64 = 30;
const END: u64 = PATIENCE + 6 + 9;
/// A timeout that is longer than the patience with others, and when such a session ends.
const LONG_TIMEOUT: i32 = 60_000;
const LONG_END: Range<u64> = 118..60 + 60 + 9;

/// The client's end of a socket.
#[derive(Clone, Default)]
struct Double(Arc<Mutex<Ends>>);

#[derive(Default)]
struct Ends {
    /// Sent by the client and not received by the server.
    sent: VecDeque<u8>,
    /// What the client got.
    got: BytesMut,
    /// So many bytes the socket takes.
    room: usize,
    /// So many besides, of which it does not tell.
    room_untold: usize,
    /// It says once that it is writable.
    says_writable: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Ends {
    fn take(&mut self, bytes: &[u8], room: usize) -> io::Result<usize> {
        let taken = bytes.len().min(room);
        if taken == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.got.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }
}

impl SocketWriter for Double {
    fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut ends = self.0.lock();
        let room = ends.room;
        let taken = ends.take(bytes, room)?;
        ends.room -= taken;
        Ok(taken)
    }

    fn insist(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut ends = self.0.lock();
        let room = ends.room_untold;
        let taken = ends.take(bytes, room)?;
        ends.room_untold -= taken;
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
        let bytes = ends.sent.len().min(into.capacity() - into.len());
        if bytes == 0 {
            ends.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        into.extend(ends.sent.drain(..bytes));
        Poll::Ready(Ok(bytes))
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut ends = self.0.lock();
        if std::mem::take(&mut ends.says_writable) || ends.room > 0 {
            return Poll::Ready(Ok(()));
        }
        ends.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn unread(&self) -> u64 {
        self.0.lock().sent.len() as u64
    }
}

/// A client that is not read from, and its server.
struct Clogged {
    server: Server,
    session: SessionId,
    double: Double,
    _dir: TempDir,
}

impl Clogged {
    /// With a session of this timeout. Time is paused when this returns.
    async fn new(timeout_ms: i32) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let server = start(&dir).await;
        let double = Double::default();
        double.0.lock().room = usize::MAX;
        let halves: Halves = (Box::new(double.clone()), Box::new(double.clone()));
        serve(&server, halves);
        double.send(&hello_for(timeout_ms));
        let session = double.next().await.slice(8..).get_i64();
        double.send(&request(1, &create("/large")));
        double.next().await;
        double.send(&request(2, &set("/large", vec![7; 100_000])));
        double.next().await;
        double.0.lock().room = 0;
        let reads = request(3, &get("/large", false));
        double.send(&reads.repeat((4 << 20) / reads.len()));
        time::pause();
        // Whatever can be done is done before time goes on.
        sleep(SECOND).await;
        assert!(double.unread() > 0, "it is read from");
        Self {
            server,
            session: SessionId(session),
            double,
            _dir: dir,
        }
    }

    fn is_alive(&self) -> bool {
        let clock = self.server.front().sessions.of(self.session);
        clock.is_some_and(|clock| !clock.closing())
    }

    /// So many seconds go by, at each of which it does this; its session must live.
    async fn lives(&self, seconds: u64, mut does: impl FnMut(&Self, u64)) {
        for second in 0..seconds {
            does(self, second);
            sleep(SECOND).await;
            assert!(self.is_alive(), "it died in second {second}");
        }
    }

    /// It shows no sign of life any more: it lives for about so many seconds.
    async fn dies(&self, after: Range<u64>) {
        self.lives(after.start, |_, _| {}).await;
        sleep(SECOND * u32::try_from(after.end - after.start).expect("short")).await;
        assert!(!self.is_alive(), "it lives for ever");
    }
}

impl Double {
    fn send(&self, bytes: &[u8]) {
        let mut ends = self.0.lock();
        ends.sent.extend(bytes);
        if let Some(reader) = ends.reader.take() {
            reader.wake();
        }
    }

    fn says_writable(&self) {
        let mut ends = self.0.lock();
        ends.says_writable = true;
        if let Some(writer) = ends.writer.take() {
            writer.wake();
        }
    }

    async fn next(&self) -> bytes::Bytes {
        loop {
            {
                let mut ends = self.0.lock();
                if let Some(length) = ends.got.first_chunk::<4>() {
                    let bytes = usize::try_from(u32::from_be_bytes(*length)).expect("short");
                    if ends.got.len() >= 4 + bytes {
                        ends.got.advance(4);
                        return ends.got.split_to(bytes).freeze();
                    }
                }
            }
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn who_shows_nothing_is_given_up_in_the_end() {
    let client = Clogged::new(TIMEOUT).await;
    client.dies(PATIENCE..END).await;
}

#[tokio::test]
async fn a_session_has_as_much_patience_as_its_timeout_is_long() {
    let client = Clogged::new(LONG_TIMEOUT).await;
    client.dies(LONG_END).await;
}

/// Its pings are not read, but they come.
#[tokio::test]
async fn who_pings_lives_though_it_takes_nothing() {
    let client = Clogged::new(TIMEOUT).await;
    let pings = |client: &Clogged, second| {
        if second % 20 == 0 {
            client.double.send(&request(-2, &Request::Ping));
        }
    };
    client.lives(200, pings).await;
    client.dies(10..END).await;
}

/// Fewer bytes than would make its socket writable.
#[tokio::test]
async fn who_takes_a_little_lives() {
    let client = Clogged::new(TIMEOUT).await;
    let unread = client.double.unread();
    let takes = |client: &Clogged, second| {
        if second % 20 == 0 {
            client.double.0.lock().room_untold = 100;
        }
    };
    client.lives(200, takes).await;
    assert_eq!(client.double.unread(), unread, "it is read from");
    client.dies(10..END).await;
}

/// What its socket took may have been sent by delivery: the task finds it full again.
#[tokio::test]
async fn whose_socket_was_writable_lives() {
    let client = Clogged::new(TIMEOUT).await;
    let takes = |client: &Clogged, second| {
        if second % 20 == 0 {
            client.double.says_writable();
        }
    };
    client.lives(200, takes).await;
    client.dies(10..END).await;
}

/// I10: nobody could look meanwhile.
#[tokio::test]
async fn a_pause_of_the_process_costs_no_patience() {
    let client = Clogged::new(TIMEOUT).await;
    client.lives(20, |_, _| {}).await;
    time::advance(Duration::from_secs(600)).await;
    client.dies(20..END).await;
}

/// Patience that has been used up comes back with the next sign.
#[tokio::test]
async fn a_late_sign_is_a_sign() {
    let client = Clogged::new(LONG_TIMEOUT).await;
    client.lives(100, |_, _| {}).await;
    client.double.send(&request(-2, &Request::Ping));
    client.dies(LONG_END).await;
}
