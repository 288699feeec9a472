//! One connection's task: bytes between a socket and a client.

use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::config::Config;
use crate::admin::Inspector;
use crate::auth::Schemes;
use crate::clock::Clock;
use crate::metrics;
use crate::pipeline::{Client, Pipeline, Settle, Step, settle};
use crate::session::{Connection, Outbox};

/// Room that a read of the socket finds in the inbox.
const READ_BYTES: usize = 4 * 1024;
/// The same for a client that fills what it is given, again and again.
const READ_BYTES_MAX: usize = 64 * 1024;
/// Bytes that may wait in the inbox while the head cannot be served.
const INBOX_BYTES_MAX: usize = 128 * 1024;
/// Capacity above which an empty buffer is given back.
const KEEP_BYTES_MAX: usize = 64 * 1024;
/// How long a connection that ends may take to get rid of what is on its wire.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What connections are served with.
#[derive(Debug)]
pub struct Front {
    /// Requests.
    pub pipeline: Arc<Pipeline>,
    /// Four-letter words.
    pub inspector: Arc<Inspector>,
    /// Wall clock, for `cons`.
    pub clock: Arc<dyn Clock>,
}

/// A step that is being settled, polled beside the socket.
type Settling = Pin<Box<dyn Future<Output = Settle> + Send>>;

/// What the task goes on with.
enum Next {
    Serve,
    End,
}

/// Serves one connection until it ends.
pub(super) async fn serve(
    front: Arc<Front>,
    config: Config,
    stream: TcpStream,
    peer: SocketAddr,
    stop: CancellationToken,
) {
    let pipeline = Arc::clone(&front.pipeline);
    let identities = Schemes::of_connection(peer.ip()).into();
    let outbox = Outbox::new(config.outbox_bytes_max);
    let connection = pipeline.shared.registry.enter(peer, identities, outbox);
    connection.stats.established(front.clock.wall_ms());
    let client = Client::new(
        Arc::clone(&pipeline),
        Arc::clone(&connection),
        Config::HANDSHAKE_FRAME_BYTES_MAX.min(config.frame_bytes_max),
    );
    let mut task = Task {
        front,
        stream,
        client,
        deadline: Instant::now() + Duration::from_millis(config.handshake_timeout_ms),
        settling: None,
        read_bytes: READ_BYTES,
        at_end: false,
    };
    let ended = tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = task.run() => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection lost");
        metrics::connection_dropped();
    }
    leave(&pipeline, &connection);
}

fn leave(pipeline: &Pipeline, connection: &Connection) {
    pipeline.leave(connection);
    tracing::debug!(peer = %connection.peer, session = %connection.session(), "connection ended");
}

struct Task {
    front: Arc<Front>,
    stream: TcpStream,
    client: Client,
    /// When a connection without a session is closed.
    deadline: Instant,
    settling: Option<Settling>,
    /// Room that the next read finds: follows what comes.
    read_bytes: usize,
    /// The client sends no more; what has come is still served.
    at_end: bool,
}

impl Task {
    async fn run(&mut self) -> io::Result<()> {
        if !self.first_bytes().await? {
            return Ok(());
        }
        loop {
            let step = if self.settling.is_some() {
                Step::Blocked
            } else {
                self.client.advance()
            };
            match step {
                Step::Gone => return Ok(()),
                Step::End => return self.last_words().await,
                Step::Idle if self.at_end => return self.last_words().await,
                Step::More => {
                    self.try_send()?;
                    if self.client.wire.is_empty() {
                        tokio::task::yield_now().await;
                        continue;
                    }
                }
                Step::Idle | Step::Blocked => {}
                waits @ (Step::Warm(_) | Step::Count { .. } | Step::Barrier | Step::Full) => {
                    let pipeline = Arc::clone(&self.front.pipeline);
                    self.settling = Some(Box::pin(settle(pipeline, waits)));
                }
            }
            match self.wait().await? {
                Next::Serve => {}
                Next::End => return Ok(()),
            }
        }
    }

    /// Waits until something can be done: bytes to read or to send, a wake-up, a settled step.
    async fn wait(&mut self) -> io::Result<Next> {
        // Most replies leave here, without waiting for the socket to say that it is writable.
        self.try_send()?;
        let sending = !self.client.wire.is_empty();
        let reading = !sending
            && !self.at_end
            && (self.client.inbox.len() < INBOX_BYTES_MAX || self.client.is_starved())
            && !self.client.is_held_back();
        let handshaking = self.client.is_handshaking();
        let connection = Arc::clone(self.client.connection());
        if reading {
            self.make_room();
        }
        // Reading by `read_buf` and not by `try_read`: a read that takes all that has come tells the
        // runtime so, and the next wait needs no system call that finds nothing.
        let (mut reader, writer) = self.stream.split();
        let settling = async {
            match self.settling.as_mut() {
                Some(settling) => settling.await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            settled = settling => {
                self.settling = None;
                self.client.settled(settled);
            }
            () = connection.outbox.woken() => self.collect(),
            writable = writer.writable(), if sending => writable?,
            received = reader.read_buf(&mut self.client.inbox), if reading => {
                self.received(received?);
            }
            () = sleep_until(self.deadline), if handshaking => {
                tracing::debug!(peer = %connection.peer, "no session in time");
                metrics::sessionless_connection_expired();
                return Ok(Next::End);
            }
        }
        Ok(Next::Serve)
    }

    /// While a step is being settled, what apply has pushed meanwhile is sent all the same.
    fn collect(&mut self) {
        if self.settling.is_some() {
            // Advance does this itself when it runs; here only the bytes move.
            self.client.collect();
        }
    }

    /// Room in the inbox for the next read; an idle connection holds little.
    fn make_room(&mut self) {
        let inbox = &mut self.client.inbox;
        if inbox.is_empty() && inbox.capacity() > 4 * self.read_bytes {
            *inbox = BytesMut::new();
        }
        inbox.reserve(self.read_bytes);
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
        self.read_bytes = if bytes >= self.read_bytes {
            (self.read_bytes * 2).min(READ_BYTES_MAX)
        } else if bytes < self.read_bytes / 4 {
            (self.read_bytes / 2).max(READ_BYTES)
        } else {
            self.read_bytes
        };
    }

    /// Sends as much as the socket takes now.
    fn try_send(&mut self) -> io::Result<()> {
        let wire = &mut self.client.wire;
        while !wire.is_empty() {
            match self.stream.try_write(wire) {
                Ok(sent) => {
                    metrics::sent(sent);
                    wire.advance(sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if wire.capacity() > KEEP_BYTES_MAX {
            *wire = BytesMut::new();
        }
        Ok(())
    }

    async fn send_all(&mut self) -> io::Result<()> {
        let wire = &mut self.client.wire;
        while !wire.is_empty() {
            metrics::sent(self.stream.write_buf(wire).await?);
        }
        Ok(())
    }

    /// Sends what is left, then closes.
    async fn last_words(&mut self) -> io::Result<()> {
        let sent = tokio::time::timeout(LAST_WORDS, async {
            self.send_all().await?;
            self.stream.shutdown().await
        });
        match sent.await {
            Ok(sent) => sent,
            Err(_elapsed) => Ok(()),
        }
    }

    /// Waits for the first four bytes: a command word, or the length of a ConnectRequest. False if
    /// the connection is over.
    async fn first_bytes(&mut self) -> io::Result<bool> {
        if !self.read_until(4).await? {
            return Ok(false);
        }
        let inbox = &self.client.inbox;
        let Some(word) = inbox.first_chunk::<4>().copied() else {
            return Ok(false);
        };
        if !self.front.inspector.knows(word) {
            return Ok(true);
        }
        self.command(word).await?;
        Ok(false)
    }

    /// Reads until the inbox holds `count` bytes; false if the client ends, or the time for a session
    /// is over, before that.
    async fn read_until(&mut self, count: usize) -> io::Result<bool> {
        let inbox = &mut self.client.inbox;
        while inbox.len() < count {
            let read = async {
                self.stream.readable().await?;
                inbox.reserve(READ_BYTES);
                self.stream.try_read_buf(inbox)
            };
            match tokio::time::timeout_at(self.deadline, read).await {
                Ok(Ok(0)) => return Ok(false),
                Err(_elapsed) => {
                    metrics::sessionless_connection_expired();
                    return Ok(false);
                }
                Ok(Ok(bytes)) => metrics::received(bytes),
                Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(Err(error)) => return Err(error),
            }
        }
        Ok(true)
    }

    /// A four-letter word: its text, then the end. zk: NIOServerCnxn.checkFourLetterWord.
    async fn command(&mut self, word: [u8; 4]) -> io::Result<()> {
        const ARGUMENT_BYTES: usize = 8;
        // Without its argument, and the client silent or gone, there is nobody to answer.
        if self.front.inspector.takes_argument(word) && !self.read_until(4 + ARGUMENT_BYTES).await?
        {
            return Ok(());
        }
        let inbox = &self.client.inbox;
        let argument = inbox
            .get(4..4 + ARGUMENT_BYTES)
            .and_then(|bytes| <[u8; 8]>::try_from(bytes).ok())
            .map(i64::from_be_bytes);
        let inspector = Arc::clone(&self.front.inspector);
        let connection = Arc::clone(self.client.connection());
        connection.stats.received(1);
        self.front.pipeline.shared.stats.received(1);
        let text = inspector.command(word, argument, &connection).await;
        self.front.pipeline.shared.stats.sent(1);
        self.client.wire.extend_from_slice(text.as_bytes());
        self.last_words().await
    }
}
