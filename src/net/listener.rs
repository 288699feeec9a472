//! Accepts clients, within the limits per address and in total.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::Config;
use super::connection::Task;
use super::front::Front;
use super::limits::Limits;
use crate::io::tcp;
use crate::telemetry::Seldom;
use crate::{metrics, system};

/// Waiting connections that the system may hold. zk: clientPortListenBacklog, default 50 in Java;
/// a reconnect storm is better served by a longer queue.
const BACKLOG: u32 = 1024;
/// Bytes that the system takes beyond what the network takes. So a client that reads slowly is seen to
/// read: by default the system says so after a third of its buffer, which may be megabytes.
const NOT_SENT_BYTES_MAX: u32 = 128 * 1024;
/// Pause after an accept that failed, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The listening socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("listen on {addr}")]
pub struct ListenError {
    /// The address.
    pub addr: SocketAddr,
    /// The system's words.
    #[source]
    pub source: io::Error,
}

/// A listening socket and the connections that it accepted.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    config: Config,
    limits: Arc<Limits>,
    complaint: Seldom,
}

/// Opens listeners that count their connections together.
#[derive(Debug)]
pub struct Opener {
    config: Config,
    limits: Arc<Limits>,
}

impl Opener {
    /// Opens a socket.
    ///
    /// # Errors
    /// As [`Listener::open`].
    pub fn open(&self, addr: SocketAddr) -> Result<Listener, ListenError> {
        Ok(Listener {
            limits: Arc::clone(&self.limits),
            ..Listener::open(addr, self.config.clone())?
        })
    }
}

impl Listener {
    /// Opens the socket. Port 0 lets the system choose.
    ///
    /// # Errors
    /// The address is in use, not ours, or not allowed.
    pub fn open(addr: SocketAddr, config: Config) -> Result<Self, ListenError> {
        let backlog = config.listen_backlog.unwrap_or(BACKLOG);
        let socket = tcp::listen(addr, backlog, |socket| {
            // Accepted connections inherit all of it.
            socket.set_keepalive(config.keepalive)?;
            socket.set_nodelay(true)?;
            SockRef::from(socket).set_tcp_notsent_lowat(NOT_SENT_BYTES_MAX)
        });
        let socket = socket.map_err(|source| ListenError { addr, source })?;
        let limits = Arc::new(Limits::new(&config, system::connections_max()));
        Ok(Self {
            socket,
            config,
            limits,
            complaint: Seldom::default(),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Opens others, whose connections count with those of this one.
    pub fn opener(&self) -> Opener {
        Opener {
            config: self.config.clone(),
            limits: Arc::clone(&self.limits),
        }
    }

    /// Accepts until `stop`, and then ends every connection; or until `retire`, and leaves them. Waits for
    /// their end in both cases.
    pub async fn run(self, front: Arc<Front>, stop: CancellationToken, retire: CancellationToken) {
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                () = retire.cancelled() => break,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    if let Some(task) = self.admit(&front, stream, peer) {
                        connections.spawn(task);
                    }
                }
                Err(error) => {
                    if self.complaint.is_due() {
                        tracing::warn!(%error, "accept failed");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self);
        connections.close();
        tokio::select! {
            () = stop.cancelled() => front.connections.end_all(),
            () = connections.wait() => {}
        }
        connections.wait().await;
    }

    /// Whoever comes next, once there is a descriptor for it.
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.limits.room().await;
        self.socket.accept().await
    }

    /// `None` if that would be one too many.
    fn admit(&self, front: &Arc<Front>, stream: TcpStream, peer: SocketAddr) -> Option<Task> {
        let ip = peer.ip().to_canonical();
        let Some(place) = self.limits.enter(ip) else {
            // zk: NIOServerCnxnFactory: accepted and closed at once, without a word.
            tracing::debug!(%peer, "too many connections");
            metrics::connection_rejected();
            return None;
        };
        let peer = match peer {
            // As it came: the address of a link has its interface with it.
            SocketAddr::V6(_) if ip.is_ipv6() => peer,
            SocketAddr::V4(_) | SocketAddr::V6(_) => SocketAddr::new(ip, peer.port()),
        };
        let front = Arc::clone(front);
        Some(Task::new(
            front,
            &self.config,
            tcp::halves(stream),
            peer,
            place,
        ))
    }
}
