//! One connection's task: bytes between a socket and a client.
//!
//! ```text
//!   Opening ─┬─ a command word ─▶ Answering ─────────┐
//!            └─ ConnectRequest ─▶ Serving ─ ends ────┴─▶ Leaving (sends what is left) ─▶ over
//! ```
//!
//! A future written by hand: there may be very many connections, most of them idle. What an idle
//! one needs is in [`Task`] and nothing else; buffers are lent by the thread that serves it, and
//! what only some need for some time (timers, steps that are being settled) is boxed.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::Handle;
use tokio::time::{Sleep, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::config::Config;
use super::limits::Place;
use super::{scratch, serving};
use crate::admin::Inspector;
use crate::auth::Schemes;
use crate::clock::Clock;
use crate::metrics;
use crate::pipeline::{Client, Pipeline, Settle, Step, settle};
use crate::session::{Connection, End, Line, Outbox};

/// Bytes that may wait in the inbox while the head cannot be served.
const INBOX_BYTES_MAX: usize = 128 * 1024;
/// An inbox with so many bytes keeps its buffer instead of moving them to one of its own.
const MOVED_BYTES_MAX: usize = 16 * 1024;
/// How long a connection that ends may take to get rid of what is on its wire.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The length of a frame, or a command word.
const FIRST_BYTES: usize = 4;
/// The argument of a command word that takes one.
const ARGUMENT_BYTES: usize = 8;

/// What connections are served with.
#[derive(Debug)]
pub struct Front {
    /// Requests.
    pub pipeline: Arc<Pipeline>,
    /// Four-letter words.
    pub inspector: Arc<Inspector>,
    /// Wall clock, for `cons`.
    pub clock: Arc<dyn Clock>,
    /// The server's own runtime.
    pub workers: Handle,
}

/// A step that is being settled, polled beside the socket.
type Settling = Pin<Box<dyn Future<Output = Settle> + Send>>;
/// The text that answers a command word. Made by the workers: it may take long.
type Answer = AbortOnDropHandle<String>;

/// The sending half of a client's socket.
struct Sender(OwnedWriteHalf);

impl Line for Sender {
    fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.try_write(bytes)?;
        metrics::sent(sent);
        Ok(sent)
    }

    fn let_go(self: Box<Self>) {
        self.0.forget();
    }
}

/// What the connection is about.
enum Phase {
    /// Nothing is known of the client but less than four bytes.
    Opening,
    /// Requests.
    Serving,
    /// A command word.
    Answering(Answer),
    /// Sends what is on the wire, for so long.
    Leaving(Pin<Box<Sleep>>),
}

/// What the task does next while it serves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Serve what has come.
    Serve,
    /// Wait for something to come.
    Wait,
    /// Send what the socket did not take, then serve: more may have come than fitted on the wire.
    Send,
    /// Be served elsewhere.
    Move,
}

/// Everything about one connection; [`serving::Serving`] is the future that runs it.
pub(super) struct Task {
    front: Arc<Front>,
    reader: OwnedReadHalf,
    client: Client,
    phase: Phase,
    turn: Turn,
    /// Ends a connection that does not come by a session in time.
    deadline: Option<Pin<Box<Sleep>>>,
    settling: Option<Settling>,
    /// The client sends no more; what has come is still served.
    at_end: bool,
    /// It could not be moved, and is not asked again.
    stays: bool,
    _place: Place,
}

impl Task {
    /// What connections are served with.
    pub(super) fn front(&self) -> &Arc<Front> {
        &self.front
    }

    /// Enters a connection that was accepted.
    pub(super) fn new(
        front: Arc<Front>,
        config: &Config,
        stream: TcpStream,
        peer: SocketAddr,
        place: Place,
    ) -> Self {
        let pipeline = Arc::clone(&front.pipeline);
        let identities = Schemes::of_connection(peer.ip()).into();
        let (reader, writer) = stream.into_split();
        let outbox = Outbox::new(config.outbox_bytes_max, Box::new(Sender(writer)));
        let connection = pipeline.shared.registry.enter(peer, identities, outbox);
        connection.stats.established(front.clock.wall_ms());
        let first_frame_max = Config::HANDSHAKE_FRAME_BYTES_MAX.min(config.frame_bytes_max);
        let deadline = Duration::from_millis(config.handshake_timeout_ms);
        Self {
            front,
            reader,
            client: Client::new(pipeline, connection, first_frame_max),
            phase: Phase::Opening,
            turn: Turn::Wait,
            deadline: Some(Box::pin(sleep(deadline))),
            settling: None,
            at_end: false,
            stays: false,
            _place: place,
        }
    }

    /// The part of it that others know.
    pub(super) fn connection(&self) -> &Connection {
        self.client.connection()
    }

    /// Serves it until it ends or [moves](Self::moves).
    ///
    /// # Errors
    /// The socket broke.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection().outbox.stir();
        self.poll_phases(cx)
    }

    fn poll_phases(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.phase {
                Phase::Opening => {
                    if !ready!(self.poll_first_bytes(cx))? {
                        return Poll::Ready(Ok(()));
                    }
                }
                Phase::Serving => {
                    if !ready!(self.poll_serve(cx))? {
                        return Poll::Ready(Ok(()));
                    }
                }
                Phase::Answering(answer) => {
                    let text = ready!(pin!(answer).poll(cx))?;
                    self.front.pipeline.shared.stats.sent(1);
                    self.client.wire.extend_from_slice(text.as_bytes());
                    self.phase = Phase::Leaving(Box::pin(sleep(LAST_WORDS)));
                }
                Phase::Leaving(_) => return self.poll_last_words(cx),
            }
        }
    }

    /// Waits for the first four bytes: a command word, or the length of a ConnectRequest. False if
    /// the connection is over.
    fn poll_first_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            if let Some(word) = self.client.inbox.first_chunk::<FIRST_BYTES>().copied() {
                if !self.front.inspector.knows(word) {
                    self.phase = Phase::Serving;
                    self.turn = Turn::Serve;
                    return Poll::Ready(Ok(true));
                }
                self.answer(word);
                return Poll::Ready(Ok(true));
            }
            // No word and no length will come any more.
            if self.at_end || !ready!(self.poll_wait(cx))? {
                return Poll::Ready(Ok(false));
            }
            if self.connection().outbox.state() != End::Open {
                return Poll::Ready(Ok(false));
            }
        }
    }

    /// A four-letter word: its text, then the end. zk: NIOServerCnxn.checkFourLetterWord.
    fn answer(&mut self, word: [u8; 4]) {
        let inbox = &self.client.inbox;
        let argument = inbox
            .get(FIRST_BYTES..FIRST_BYTES + ARGUMENT_BYTES)
            .and_then(|bytes| <[u8; 8]>::try_from(bytes).ok())
            .map(i64::from_be_bytes);
        let inspector = Arc::clone(&self.front.inspector);
        let connection = Arc::clone(self.client.connection());
        connection.stats.received(1);
        self.front.pipeline.shared.stats.received(1);
        self.deadline = None;
        let text = async move { inspector.command(word, argument, &connection).await };
        let text = self.front.workers.spawn(text);
        self.phase = Phase::Answering(AbortOnDropHandle::new(text));
    }

    /// Serves requests until there is nothing to do; false if the connection is over or moves, true
    /// if it only has to send what is left.
    fn poll_serve(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            if self.turn == Turn::Serve {
                match self.advance() {
                    Step::Gone => return Poll::Ready(Ok(false)),
                    Step::End => return Poll::Ready(Ok(self.leave())),
                    Step::Idle if self.at_end => return Poll::Ready(Ok(self.leave())),
                    Step::More => {
                        self.try_send()?;
                        if self.client.wire.is_empty() {
                            if self.is_misplaced() {
                                self.turn = Turn::Move;
                                return Poll::Ready(Ok(false));
                            }
                            // Others first.
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                    }
                    Step::Idle | Step::Blocked => {}
                    waits @ (Step::Warm(_) | Step::Count { .. } | Step::Barrier | Step::Full) => {
                        let pipeline = Arc::clone(&self.front.pipeline);
                        self.settling = Some(Box::pin(settle(pipeline, waits)));
                    }
                }
                self.turn = Turn::Wait;
            }
            if !ready!(self.poll_wait(cx))? {
                return Poll::Ready(Ok(false));
            }
            self.turn = Turn::Serve;
        }
    }

    fn advance(&mut self) -> Step {
        if self.settling.is_some() {
            return Step::Blocked;
        }
        if self.client.wire.capacity() == 0 {
            self.client.wire = scratch::lend();
        }
        self.client.advance()
    }

    /// The client is served no further. True: what is on the wire is still to be sent.
    fn leave(&mut self) -> bool {
        self.phase = Phase::Leaving(Box::pin(sleep(LAST_WORDS)));
        true
    }

    /// Waits until something can be done: bytes to read or to send, a wake-up, a settled step.
    /// False if the time for opening a session is over, or if it moves.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        // Most replies leave here, without waiting for the socket to say that it is writable.
        self.try_send()?;
        let sending = !self.client.wire.is_empty();
        if self.turn == Turn::Send && !sending {
            return Poll::Ready(Ok(true));
        }
        let reading = !sending
            && !self.at_end
            && (self.client.inbox.len() < INBOX_BYTES_MAX || self.client.is_starved())
            && !self.client.is_held_back();
        if let Some(settling) = self.settling.as_mut()
            && let Poll::Ready(settled) = settling.as_mut().poll(cx)
        {
            self.settling = None;
            self.client.settled(settled);
            return Poll::Ready(Ok(true));
        }
        if self.connection().outbox.poll_woken(cx).is_ready() {
            self.collect();
            return Poll::Ready(Ok(true));
        }
        if sending {
            if let Poll::Ready(writable) = self.reader.as_ref().poll_write_ready(cx) {
                writable?;
                return Poll::Ready(Ok(true));
            }
            self.turn = Turn::Send;
        }
        if reading && let Poll::Ready(received) = self.poll_receive(cx) {
            self.received(received?);
            return Poll::Ready(Ok(true));
        }
        if !self.client.is_handshaking() {
            self.deadline = None;
        } else if let Some(deadline) = self.deadline.as_mut()
            && deadline.as_mut().poll(cx).is_ready()
        {
            tracing::debug!(peer = %self.connection().peer, "no session in time");
            metrics::sessionless_connection_expired();
            return Poll::Ready(Ok(false));
        }
        self.give_buffers_back();
        // Whoever waits for nothing but bytes of its client need not be woken to send a reply.
        let may_leave = reading && self.settling.is_none();
        if may_leave && self.is_misplaced() {
            self.turn = Turn::Move;
            return Poll::Ready(Ok(false));
        }
        let may_rest = may_leave && self.client.is_caught_up();
        if may_rest && !self.connection().outbox.rest() {
            return Poll::Ready(Ok(true));
        }
        Poll::Pending
    }

    fn is_misplaced(&self) -> bool {
        !self.stays && serving::is_misplaced(&self.client, &self.front.pipeline.ensemble)
    }

    /// Whether it has ended here only to go on elsewhere: see [`Self::take_socket_to`].
    pub(super) fn moves(&self) -> bool {
        self.turn == Turn::Move
    }

    /// Takes its socket to another runtime, where it goes on. If that fails it stays for good.
    ///
    /// # Errors
    /// The system has no descriptor left, or watches no more sockets.
    pub(super) fn take_socket_to(&mut self, runtime: &Handle) -> io::Result<()> {
        self.turn = Turn::Serve;
        self.stays = true;
        let socket = self.reader.as_ref().as_fd().try_clone_to_owned()?;
        let stream = {
            let _there = runtime.enter();
            TcpStream::from_std(socket.into())?
        };
        let (reader, writer) = stream.into_split();
        self.connection().outbox.replug(Box::new(Sender(writer)));
        self.reader = reader;
        self.stays = false;
        Ok(())
    }

    /// While a step is being settled, what apply has pushed meanwhile is sent all the same.
    fn collect(&mut self) {
        if self.settling.is_some() {
            // Advance does this itself when it runs; here only the bytes move.
            self.client.collect();
        }
    }

    /// Reads what has come. By a read of tokio and not by `try_read`: one that takes all that has
    /// come tells the runtime so, and the next needs no system call that finds nothing.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let inbox = &mut self.client.inbox;
        if inbox.len() < MOVED_BYTES_MAX && inbox.capacity() < scratch::ROOM_BYTES / 2 {
            let few = std::mem::replace(inbox, scratch::lend());
            inbox.extend_from_slice(&few);
        } else {
            inbox.reserve(scratch::ROOM_BYTES / 4);
        }
        pin!(self.reader.read_buf(&mut self.client.inbox)).poll(cx)
    }

    /// So many bytes have come; none: the client sends no more.
    fn received(&mut self, bytes: usize) {
        if bytes == 0 {
            self.at_end = true;
            metrics::connection_dropped();
            return;
        }
        metrics::received(bytes);
        self.client.heard();
    }

    /// A connection that waits holds what it must, and no room for more.
    fn give_buffers_back(&mut self) {
        let Client { inbox, wire, .. } = &mut self.client;
        if wire.is_empty() && wire.capacity() > 0 {
            scratch::take_back(std::mem::take(wire));
        }
        if inbox.is_empty() {
            if inbox.capacity() > 0 {
                scratch::take_back(std::mem::take(inbox));
            }
        } else if inbox.len() < MOVED_BYTES_MAX && inbox.capacity() > 2 * inbox.len() + 64 {
            let few = BytesMut::from(&inbox[..]);
            scratch::take_back(std::mem::replace(inbox, few));
        }
    }

    /// Sends as much as the socket takes now.
    fn try_send(&mut self) -> io::Result<()> {
        let wire = &mut self.client.wire;
        while !wire.is_empty() {
            match self.reader.as_ref().try_write(wire) {
                Ok(sent) => {
                    metrics::sent(sent);
                    wire.advance(sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends what is left, if the client takes it in time.
    fn poll_last_words(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.try_send()?;
            if self.client.wire.is_empty() || self.connection().outbox.state() == End::Now {
                return Poll::Ready(Ok(()));
            }
            if self.connection().outbox.poll_woken(cx).is_ready() {
                continue;
            }
            if let Phase::Leaving(time) = &mut self.phase
                && time.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Ok(()));
            }
            ready!(self.reader.as_ref().poll_write_ready(cx))?;
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let connection = self.client.connection();
        self.front.pipeline.leave(connection);
        connection.outbox.close();
        tracing::debug!(peer = %connection.peer, session = %connection.session(), "connection ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There may be very many, most of them idle.
    #[test]
    fn a_connection_is_small() {
        let sizes = [
            size_of::<Task>(),
            size_of::<Client>(),
            size_of::<Connection>(),
        ];
        assert!(sizes.iter().sum::<usize>() <= 1024, "{sizes:?}");
    }
}
