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
//!
//! It waits for everything that can come at the same time: bytes (while the client takes any in,
//! whatever else it waits for), the socket's room if the outbox is clogged, its outbox, the step that
//! is being settled, its deadline. Why the client stopped says what it must listen to besides.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::config::Config;
use super::front::Front;
use super::limits::Permit;
use super::patience::{Patience, Signs};
use crate::auth::Schemes;
use crate::connection::{Connection, End, Outbox};
use crate::io::{SocketReader, SocketWriter};
use crate::metrics;
use crate::requests::{Client, Settle, Step, settle};
use crate::session::SessionClock;

/// How long a connection that ends may take to get rid of what is in its outbox.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The length of a frame, or a command word.
const FIRST_BYTES: usize = 4;
/// The argument of a command word that takes one.
const ARGUMENT_BYTES: usize = 8;

/// An answer to a command word counts as a packet for each piece of so many bytes.
///
/// zk: NIOServerCnxn.SendBufferWriter behind a BufferedWriter: what that holds is sent at once.
const PIECE_BYTES: usize = 8192;

/// A step that is being settled, polled beside the socket.
type Settling = Pin<Box<dyn Future<Output = Settle> + Send>>;
/// The text that answers a command word; a task of its own, since it may take long.
type Answer = AbortOnDropHandle<String>;

/// What the connection is about.
enum Phase {
    /// Nothing is known of the client but less than four bytes.
    Opening,
    /// Requests.
    Serving,
    /// A command word.
    Answering(Answer),
    /// Sends what is in the outbox, for so long.
    Leaving(Pin<Box<Sleep>>),
}

/// What lets a client that has stopped go on, besides what every wait is for.
enum Waits {
    /// Nothing but bytes.
    ForBytes,
    /// Whatever is told to its outbox.
    Listening,
}

/// What a wait came to.
enum Woken {
    /// Something happened: go on.
    Up,
    /// The connection is over.
    Over,
}

/// Everything about one connection, and the future that serves it.
pub(super) struct Task {
    front: Arc<Front>,
    reader: Box<dyn SocketReader>,
    client: Client,
    phase: Phase,
    /// Ends a connection that does not come by a session in time.
    deadline: Option<Pin<Box<Sleep>>>,
    settling: Option<Settling>,
    /// There while there is nothing to serve.
    waits: Option<Waits>,
    /// The client sends no more; what has come is still served.
    at_end: bool,
    /// There while the client neither is read from nor takes replies.
    patience: Option<Box<Patience>>,
    /// The clock of the session whose time does not count, since its client is not listened to.
    deaf: Option<Arc<SessionClock>>,
    _permit: Permit,
}

impl Task {
    /// Enters a connection that was accepted, by the two halves of its socket.
    pub(super) fn new(
        front: Arc<Front>,
        config: &Config,
        (reader, writer): (Box<dyn SocketReader>, Box<dyn SocketWriter>),
        peer: SocketAddr,
        permit: Permit,
    ) -> Self {
        let requests = Arc::clone(&front.requests);
        let identities = Schemes::of_connection(peer.ip()).into();
        let outbox = Outbox::new(config.outbox_bytes_max, writer);
        let connection = front.connections.enter(peer, identities, outbox);
        connection.stats.established(front.clock.wall_ms());
        let first_frame_max = Config::HANDSHAKE_FRAME_BYTES_MAX.min(config.frame_bytes_max);
        let deadline = Duration::from_millis(config.handshake_timeout_ms);
        Self {
            front,
            reader,
            client: Client::new(requests, connection, first_frame_max),
            phase: Phase::Opening,
            deadline: Some(Box::pin(sleep(deadline))),
            settling: None,
            waits: None,
            at_end: false,
            patience: None,
            deaf: None,
            _permit: permit,
        }
    }

    /// The part of it that others know.
    fn connection(&self) -> &Connection {
        self.client.connection()
    }

    fn poll_phases(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.phase {
                Phase::Opening => {
                    if let Woken::Over = ready!(self.poll_first_bytes(cx))? {
                        return Poll::Ready(Ok(()));
                    }
                }
                Phase::Serving => {
                    if let Woken::Over = ready!(self.poll_serve(cx))? {
                        return Poll::Ready(Ok(()));
                    }
                }
                Phase::Answering(answer) => {
                    let Poll::Ready(text) = pin!(answer).poll(cx) else {
                        // Its client need not wait for an answer; the server's stop does not.
                        ready!(self.poll_end(cx));
                        return Poll::Ready(Ok(()));
                    };
                    let text = text?;
                    let pieces = text.len().div_ceil(PIECE_BYTES);
                    let stats = self.front.connections.stats();
                    stats.sent_besides(u64::try_from(pieces).unwrap_or(u64::MAX));
                    self.connection()
                        .outbox
                        .append(&mut BytesMut::from(text.as_bytes()));
                    self.leave();
                }
                Phase::Leaving(_) => return self.poll_last_words(cx),
            }
        }
    }

    /// Ready when the connection must end at once.
    fn poll_end(&self, cx: &Context<'_>) -> Poll<()> {
        while self.connection().outbox.poll_woken(cx).is_ready() {
            if self.connection().outbox.look().end == End::Now {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Waits for the first four bytes: a command word, or the length of a ConnectRequest.
    fn poll_first_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Woken>> {
        loop {
            let come = self.client.first_bytes();
            if let Some(word) = come.first_chunk::<FIRST_BYTES>().copied() {
                if !self.front.inspector.knows(word) {
                    self.phase = Phase::Serving;
                    return Poll::Ready(Ok(Woken::Up));
                }
                self.answer(word);
                return Poll::Ready(Ok(Woken::Up));
            }
            // No word and no length will come any more.
            if self.at_end || self.connection().outbox.look().end != End::Open {
                return Poll::Ready(Ok(Woken::Over));
            }
            if let Woken::Over = ready!(self.poll_wait(cx))? {
                return Poll::Ready(Ok(Woken::Over));
            }
        }
    }

    /// A four-letter word: its text, then the end. zk: NIOServerCnxn.checkFourLetterWord.
    fn answer(&mut self, word: [u8; 4]) {
        let come = self.client.first_bytes();
        let argument = come
            .get(FIRST_BYTES..FIRST_BYTES + ARGUMENT_BYTES)
            .and_then(|bytes| <[u8; 8]>::try_from(bytes).ok())
            .map(i64::from_be_bytes);
        let inspector = Arc::clone(&self.front.inspector);
        let connection = Arc::clone(self.client.connection());
        connection.stats.received(1);
        self.front.connections.stats().received(1);
        self.deadline = None;
        let text = async move { inspector.command(word, argument, &connection).await };
        self.phase = Phase::Answering(AbortOnDropHandle::new(tokio::spawn(text)));
    }

    /// Serves requests until the connection is over, or has only to send what is left.
    fn poll_serve(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Woken>> {
        loop {
            if self.waits.is_none() {
                let step = self.advance();
                // Most replies leave here, without waiting for the socket to say that it is writable.
                let has_sent = self.connection().outbox.flush();
                self.waits = match step {
                    Step::Gone => return Poll::Ready(Ok(Woken::Over)),
                    Step::End => {
                        self.leave();
                        return Poll::Ready(Ok(Woken::Up));
                    }
                    Step::More => {
                        // Others first. Nothing is read before all that has come is served.
                        self.turn_deaf(true);
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    step @ (Step::Warm(_)
                    | Step::Count { .. }
                    | Step::Large { .. }
                    | Step::Barrier
                    | Step::Full
                    | Step::Behind { .. }) => {
                        let requests = Arc::clone(&self.front.requests);
                        self.settling = Some(Box::pin(settle(requests, step)));
                        Some(Waits::Listening)
                    }
                    Step::Clogged if has_sent => None,
                    Step::Idle => Some(Waits::ForBytes),
                    Step::Blocked | Step::Clogged => Some(Waits::Listening),
                };
                if !self.client.is_handshaking() {
                    self.deadline = None;
                }
                continue;
            }
            let woken = ready!(self.poll_wait(cx))?;
            self.waits = None;
            if let Woken::Over = woken {
                return Poll::Ready(Ok(Woken::Over));
            }
        }
    }

    /// Lets the client go on; while a step is being settled it is blocked, unless it must end.
    fn advance(&mut self) -> Step {
        if self.settling.is_none() {
            return self.client.advance();
        }
        match self.connection().outbox.attend().end {
            End::Open => Step::Blocked,
            End::AfterFlush => Step::End,
            End::Now => Step::Gone,
        }
    }

    /// The client is served no further; what is in the outbox is still to be sent.
    fn leave(&mut self) {
        self.phase = Phase::Leaving(Box::pin(sleep(LAST_WORDS)));
    }

    /// Waits until something can be done: bytes to read or to send, a wake-up, a settled step. Over
    /// if the time for opening a session is.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Woken>> {
        if let Some(settling) = self.settling.as_mut()
            && let Poll::Ready(settled) = settling.as_mut().poll(cx)
        {
            self.settling = None;
            self.client.settled(settled);
            return Poll::Ready(Ok(Woken::Up));
        }
        let outbox = &self.client.connection().outbox;
        if outbox.poll_woken(cx).is_ready() {
            return Poll::Ready(Ok(Woken::Up));
        }
        let is_clogged = outbox.look().is_clogged;
        if is_clogged && let Poll::Ready(writable) = self.reader.poll_writable(cx) {
            writable?;
            self.unclog();
            return Poll::Ready(Ok(Woken::Up));
        }
        let reads = self.client.takes_bytes(is_clogged);
        if reads && let Poll::Ready(received) = self.reader.poll_receive(cx, self.client.inbox()) {
            self.received(received?);
            return Poll::Ready(Ok(Woken::Up));
        }
        if reads || !is_clogged || self.at_end {
            self.patience = None;
        } else if self.poll_signs(cx).is_ready() {
            return Poll::Ready(Ok(Woken::Up));
        }
        // Not read from, it goes on when something has been answered.
        let listens = !reads || matches!(self.waits, Some(Waits::Listening));
        if listens && !self.connection().outbox.listen() {
            return Poll::Ready(Ok(Woken::Up));
        }
        let has_patience = self.patience.as_ref().is_none_or(|it| !it.is_over());
        self.turn_deaf(!reads && !self.at_end && has_patience);
        if let Some(deadline) = self.deadline.as_mut()
            && deadline.as_mut().poll(cx).is_ready()
        {
            tracing::debug!(peer = %self.connection().peer, "no session in time");
            metrics::sessionless_connection_expired();
            return Poll::Ready(Ok(Woken::Over));
        }
        self.client.give_buffers_back();
        Poll::Pending
    }

    /// The socket has become writable. Who takes bytes is there, also if nothing is read from it for
    /// all that it has asked already: its session is alive. Delivery may be the one who fills the
    /// socket again, so whether anything is sent here says nothing.
    fn unclog(&mut self) {
        let is_read = self.client.takes_bytes(true);
        let connection = self.client.connection();
        connection.outbox.unclog();
        connection.outbox.flush();
        self.patience = None;
        if !is_read {
            connection.heard(&self.front.sessions, Instant::now());
        }
    }

    /// Looks from time to time whether a client that is not read from, since it takes no replies
    /// either, shows a sign of life. Ready when it has taken some of them.
    fn poll_signs(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let connection = self.client.connection();
        let clocks = &self.front.sessions;
        let reader = &self.reader;
        let signs = || Signs {
            unread: reader.unread(),
            sent: connection.outbox.look().sent,
        };
        let patience = self
            .patience
            .get_or_insert_with(|| Box::new(Patience::new(clocks.now_ms(), signs())));
        while patience.poll_due(cx).is_ready() {
            // The system may have room that it has not spoken of.
            let has_sent = connection.outbox.insist();
            let timeout_ms = connection.touch().map_or(0, |clock| clock.timeout_ms());
            let timeout_ms = u64::try_from(timeout_ms).unwrap_or(0);
            patience.look(clocks.now_ms(), signs(), timeout_ms);
            if has_sent {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// From now on the client is not listened to for reasons of this server's, or is again: the time
    /// of its session does not count meanwhile (STYLE I10).
    fn turn_deaf(&mut self, is_deaf: bool) {
        let clocks = &self.front.sessions;
        if is_deaf && self.deaf.is_none() {
            self.deaf = self.client.connection().touch();
            if let Some(clock) = &self.deaf {
                clocks.begin_deaf(clock);
            }
        } else if !is_deaf && let Some(clock) = self.deaf.take() {
            clocks.end_deaf(&clock);
        }
    }

    /// So many bytes have come; none: the client sends no more.
    fn received(&mut self, bytes: usize) {
        if bytes == 0 {
            self.at_end = true;
            self.client.end_of_stream();
            metrics::connection_dropped();
            return;
        }
        metrics::received(bytes);
        self.client.received();
    }

    /// Sends what is left, if the client takes it in time.
    fn poll_last_words(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let outbox = &self.client.connection().outbox;
            outbox.flush();
            let found = outbox.attend();
            let is_sent = found.bytes == 0 && !found.is_sending;
            if is_sent || found.end == End::Now {
                return Poll::Ready(Ok(()));
            }
            if !outbox.listen() || outbox.poll_woken(cx).is_ready() {
                continue;
            }
            if let Phase::Leaving(time) = &mut self.phase
                && time.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Ok(()));
            }
            if !found.is_clogged {
                return Poll::Pending;
            }
            ready!(self.reader.poll_writable(cx))?;
            self.connection().outbox.unclog();
        }
    }
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Err(error) = ready!(self.poll_phases(cx)) {
            tracing::debug!(peer = %self.connection().peer, %error, "connection lost");
            metrics::connection_dropped();
        }
        Poll::Ready(())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.turn_deaf(false);
        let connection = self.client.connection();
        self.front.requests.leave(connection);
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
