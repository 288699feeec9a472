//! Accepts clients, within the limits per address and in total.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::Config;
use super::connection::{Front, Task};
use crate::io::halves;
use crate::metrics;

/// Waiting connections that the system may hold. zk: clientPortListenBacklog, default 50 in Java;
/// a reconnect storm is better served by a longer queue.
const BACKLOG: u32 = 1024;
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
    counts: Arc<Counts>,
}

/// Connections per client address, and in total.
#[derive(Debug, Default)]
pub(super) struct Counts {
    per_ip: Mutex<HashMap<IpAddr, u32>>,
}

impl Counts {
    /// Counts one more from `ip`; false if that is over a limit (0 = no limit).
    fn enter(&self, ip: IpAddr, config: &Config) -> bool {
        let mut per_ip = self.per_ip.lock();
        let total: u32 = if config.connections_max > 0 {
            per_ip.values().sum()
        } else {
            0
        };
        let count = per_ip.entry(ip).or_insert(0);
        let over_ip = config.connections_per_ip_max > 0 && *count >= config.connections_per_ip_max;
        let over_all = config.connections_max > 0 && total >= config.connections_max;
        if over_ip || over_all {
            return false;
        }
        *count += 1;
        true
    }

    /// A place that counts against nobody.
    #[cfg(test)]
    pub(super) fn place_for_tests(ip: IpAddr) -> Place {
        let counts = Arc::default();
        Place { counts, ip }
    }

    fn leave(&self, ip: IpAddr) {
        let mut per_ip = self.per_ip.lock();
        if let Some(count) = per_ip.get_mut(&ip) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                per_ip.remove(&ip);
            }
        }
    }
}

/// A connection's place within the limits; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    counts: Arc<Counts>,
    ip: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counts.leave(self.ip);
    }
}

impl Listener {
    /// Opens the socket. Port 0 lets the system choose.
    ///
    /// # Errors
    /// The address is in use, not ours, or not allowed.
    pub fn open(addr: SocketAddr, config: Config) -> Result<Self, ListenError> {
        let open = || {
            let socket = if addr.is_ipv6() {
                TcpSocket::new_v6()?
            } else {
                TcpSocket::new_v4()?
            };
            socket.set_reuseaddr(true)?;
            // Accepted connections inherit both.
            socket.set_keepalive(config.keepalive)?;
            socket.set_nodelay(true)?;
            socket.bind(addr)?;
            socket.listen(config.listen_backlog.unwrap_or(BACKLOG))
        };
        let socket = open().map_err(|source| ListenError { addr, source })?;
        Ok(Self {
            socket,
            config,
            counts: Arc::new(Counts::default()),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts until `stop`; then waits until every connection has ended.
    pub async fn run(self, front: Arc<Front>, stop: CancellationToken) {
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    if let Some(task) = self.admit(&front, stream, peer) {
                        connections.spawn(task);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        front.pipeline.shared.registry.end_all();
        connections.close();
        connections.wait().await;
    }

    /// `None` if that would be one too many.
    fn admit(&self, front: &Arc<Front>, stream: TcpStream, peer: SocketAddr) -> Option<Task> {
        let ip = peer.ip().to_canonical();
        if !self.counts.enter(ip, &self.config) {
            // zk: NIOServerCnxnFactory: accepted and closed at once, without a word.
            tracing::debug!(%peer, "too many connections");
            metrics::connection_rejected();
            return None;
        }
        let place = Place {
            counts: Arc::clone(&self.counts),
            ip,
        };
        let peer = SocketAddr::new(ip, peer.port());
        let front = Arc::clone(front);
        Some(Task::new(front, &self.config, halves(stream), peer, place))
    }
}
