//! What of this server follows from the members as the log knows them: where clients are served, and what
//! its files say.
//!
//! ```text
//!   the members change ─┬─▶ the dynamic file is written, and zoo.cfg points to it
//!                       └─▶ this server's client address is another one ─▶ the new port opens, then
//!                           nobody is accepted at the old one any more; who is connected stays
//! ```
//!
//! Neither is ever fatal: whoever changed the members has been answered.
//!
//! zk: QuorumPeer.processReconfig, NIOServerCnxnFactory.reconfigure.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{ClientAddress, MemberFiles, Settings};
use crate::net::{Front, ListenError, Listener, Opener};
use crate::state::{Lineup, Lineups, ServerId};

/// The members change by requests, and this server follows.
#[derive(Debug)]
pub(super) struct Followed {
    me: ServerId,
    files: Option<MemberFiles>,
    /// What its line says of its clients' port, as far as that has been followed.
    client: Option<ClientAddress>,
}

impl Followed {
    /// `None`: what the servers' files say is all that is followed, and only at a start.
    pub(super) fn of(settings: &Settings) -> Option<Self> {
        let members = &settings.ensemble;
        let changes = settings.state.reconfig_enabled && !members.standalone;
        changes.then(|| Self {
            me: members.me,
            files: members.files.clone(),
            client: members.own().and_then(|own| own.client.clone()),
        })
    }

    /// Serves clients where the members say, until `stop`.
    pub(super) async fn serve(
        mut self,
        listener: Listener,
        mut lineups: watch::Receiver<Lineups>,
        front: Arc<Front>,
        stop: CancellationToken,
    ) {
        let listeners = TaskTracker::new();
        let mut bound = listener.local_addr().ok();
        let mut door = Door::open(listener, &front, &stop, &listeners);
        loop {
            let current = lineups.borrow_and_update().current.clone();
            if let Some(lineup) = current {
                self.write_files(&lineup).await;
                if let Some(addr) = self.moved(&lineup).await
                    && !bound.is_some_and(|bound| is_served(bound, addr))
                {
                    bound = Some(addr);
                    door = door.moved(addr, &front, &stop, &listeners);
                }
            }
            let changed = tokio::select! {
                () = stop.cancelled() => break,
                changed = lineups.changed() => changed,
            };
            if changed.is_err() {
                stop.cancelled().await;
                break;
            }
        }
        listeners.close();
        listeners.wait().await;
    }

    async fn write_files(&self, lineup: &Arc<Lineup>) {
        let Some(files) = self.files.clone() else {
            return;
        };
        let (lineup, me) = (Arc::clone(lineup), self.me);
        let version = lineup.version;
        let written = tokio::task::spawn_blocking(move || files.write(&lineup, me)).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%version, %error, "the members were not written to the files");
            }
            // The runtime is going down.
            Err(_) => {}
        }
    }

    /// Where clients are to be served from now on, if that is new.
    async fn moved(&mut self, lineup: &Lineup) -> Option<SocketAddr> {
        let own = lineup.members.get(&self.me)?;
        let client = own.client.clone()?;
        if self.client.as_ref() == Some(&client) {
            return None;
        }
        self.client = Some(client.clone());
        let ClientAddress { host, port } = client;
        let name = host.clone();
        let found = tokio::task::spawn_blocking(move || resolve(&name, port)).await;
        match found {
            Ok(Ok(addr)) => Some(addr),
            Ok(Err(error)) => {
                tracing::error!(host, port, %error, "the new client address is not known");
                None
            }
            Err(_) => None,
        }
    }
}

/// Whether whoever listens at `bound` is reached at `addr`.
fn is_served(bound: SocketAddr, addr: SocketAddr) -> bool {
    bound.port() == addr.port() && (bound.ip().is_unspecified() || bound.ip() == addr.ip())
}

/// IPv4 first, as everywhere.
fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let found: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    let first = found.iter().find(|addr| addr.is_ipv4()).or(found.first());
    first
        .copied()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no address"))
}

/// The listener that accepts.
struct Door {
    /// Opens the next one.
    opener: Opener,
    retire: CancellationToken,
}

impl Door {
    fn open(
        listener: Listener,
        front: &Arc<Front>,
        stop: &CancellationToken,
        listeners: &TaskTracker,
    ) -> Self {
        let (opener, retire) = (listener.opener(), CancellationToken::new());
        let serving = listener.run(Arc::clone(front), stop.clone(), retire.clone());
        listeners.spawn(serving);
        Self { opener, retire }
    }

    fn moved(
        self,
        addr: SocketAddr,
        front: &Arc<Front>,
        stop: &CancellationToken,
        listeners: &TaskTracker,
    ) -> Self {
        match self.opener.open(addr) {
            Ok(listener) => {
                tracing::info!(%addr, "clients are served at another address");
                self.retire.cancel();
                Self::open(listener, front, stop, listeners)
            }
            Err(error) => {
                let ListenError { addr, source } = error;
                tracing::error!(%addr, error = %source, "the new client port was not opened");
                self
            }
        }
    }
}
