//! Peers that connect to this server: accepted, met, and served until their connection ends.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::mem::{Discriminant, discriminant};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::config::{PeerAddress, PeerConfig};
use super::frame::{FrameReader, Lost};
use super::handshake::{self, HandshakeError};
use super::hello::{Hello, Lane, Mismatch};
use super::link::Chain;
use super::registry::Place;
use super::serve::Serve;
use super::serving;
use super::snapshot;
use crate::io::{Acceptor, Network, Stream};
use crate::telemetry::Seldom;

/// Connections that have not said who they are. With one more, the oldest is closed: members take
/// milliseconds for it.
const HALF_OPEN_MAX: usize = 64;
/// Pause after an accept that failed, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Who was refused, and why, so that it is said once.
const REFUSED_MAX: usize = 256;

/// A listening socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("listen for other servers on {addr}")]
pub struct ListenError {
    /// The address.
    pub addr: SocketAddr,
    /// The system's words.
    #[source]
    pub source: io::Error,
}

/// Opens the sockets. Port 0 lets the system choose. Of the addresses that a name has, this machine
/// must have one.
pub(super) async fn listen(
    config: &PeerConfig,
    network: &dyn Network,
) -> Result<Vec<Box<dyn Acceptor>>, ListenError> {
    let mut acceptors = Vec::new();
    for address in &config.listen {
        let before = acceptors.len();
        let mut not_ours = None;
        for addr in own(config, network, address).await {
            match network.listen(addr).await {
                Ok(acceptor) => acceptors.push(acceptor),
                Err(source) if source.kind() == io::ErrorKind::AddrNotAvailable => {
                    not_ours = Some(ListenError { addr, source });
                }
                Err(source) => return Err(ListenError { addr, source }),
            }
        }
        if let Some(error) = not_ours.filter(|_| acceptors.len() == before) {
            return Err(error);
        }
    }
    Ok(acceptors)
}

/// The addresses of an own name.
///
/// zk-differs: ZooKeeper does not start while its own name does not resolve. Here all addresses are
/// listened on, for a name often comes after its server.
async fn own(config: &PeerConfig, network: &dyn Network, address: &PeerAddress) -> Vec<SocketAddr> {
    let resolve = network.resolve(&address.host, address.port);
    let why = match timeout(config.connect_time(), resolve).await {
        Ok(Ok(found)) if !found.is_empty() => return found,
        Ok(Ok(_)) => "no address".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_elapsed) => "no answer".to_owned(),
    };
    tracing::warn!(
        %address, %why,
        "the own name does not resolve: listening for other servers on all addresses"
    );
    vec![SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port)]
}

/// Accepts until this server stops.
pub(super) async fn run(
    shared: Arc<Shared>,
    serve: Arc<dyn Serve>,
    mut acceptor: Box<dyn Acceptor>,
) {
    let door = Arc::new(FrontDoor::default());
    let complaint = Seldom::default();
    loop {
        let accepted = tokio::select! {
            () = shared.stopping.cancelled() => return,
            accepted = acceptor.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                let turn = door.enter();
                let (shared, serve) = (Arc::clone(&shared), Arc::clone(&serve));
                let tasks = shared.tasks.clone();
                let door = Arc::clone(&door);
                tasks.spawn(async move {
                    let stopping = shared.stopping.clone();
                    tokio::select! {
                        () = stopping.cancelled() => {}
                        () = meet_and_serve(&shared, &serve, &door, turn, stream, from) => {}
                    }
                });
            }
            Err(error) => {
                if complaint.is_due() {
                    tracing::warn!(%error, "accept of a peer failed");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn meet_and_serve(
    shared: &Shared,
    serve: &Arc<dyn Serve>,
    door: &FrontDoor,
    turn: Turn,
    mut stream: Box<dyn Stream>,
    from: SocketAddr,
) {
    let secret = shared.config.secret.as_ref();
    let meet = handshake::accept(&mut *stream, secret, |there| judge(shared, there));
    let met = tokio::select! {
        met = timeout(shared.config.connect_time(), meet) => met,
        () = turn.close.cancelled() => {
            tracing::debug!(%from, "too many connections that do not say who they are");
            return;
        }
    };
    door.leave(&turn);
    let ip = from.ip().to_canonical();
    let (there, place) = match met {
        Ok(Ok(met)) => met,
        Ok(Err(error)) => return door.refused(ip, &error),
        Err(_elapsed) => {
            tracing::debug!(%from, "a connection did not say who it is");
            return;
        }
    };
    door.welcome(ip);
    let lane = place.lane;
    tracing::debug!(peer = %there.server, %lane, %from, "peer has connected");
    let lost = run_lane(shared, serve, there, &place, stream).await;
    drop(place);
    tracing::debug!(peer = %there.server, %lane, why = %Chain(&lost), "peer's connection ended");
    if matches!(
        lost,
        Lost::Kind(_) | Lost::Format(_) | Lost::TooLong { .. } | Lost::Order
    ) {
        tracing::warn!(peer = %there, %lane, why = %Chain(&lost), "peer sent what makes no sense");
    }
    serve.closed(there, lane, &lost);
}

async fn run_lane(
    shared: &Shared,
    serve: &Arc<dyn Serve>,
    there: Hello,
    place: &Place,
    stream: Box<dyn Stream>,
) -> Lost {
    let (reader, writer) = tokio::io::split(stream);
    let config = &shared.config;
    // Nobody pings between two streams of appends. They follow each other sooner; if they do not,
    // the next one connects again.
    let bytes_max = match place.lane {
        Lane::Snapshot => snapshot::FRAME_BYTES_MAX,
        Lane::Control | Lane::Replication | Lane::Forward => config.frame_bytes_max,
    };
    let reader = FrameReader::new(reader, bytes_max, config.idle_time());
    let served = serving::Lane {
        config,
        serve,
        from: there,
        reader,
        writer,
    };
    let run = async {
        match place.lane {
            Lane::Control => served.control().await,
            Lane::Replication => served.replication().await,
            Lane::Forward => served.forward().await,
            Lane::Snapshot => served.snapshot().await,
        }
    };
    tokio::select! {
        lost = run => lost,
        () = place.close.cancelled() => Lost::Replaced,
    }
}

/// What is said to whoever has said `there`, and its place.
fn judge(shared: &Shared, there: &Hello) -> (Hello, Result<Place, Mismatch>) {
    let here = shared.hello(there.server, there.lane);
    let place = || {
        if shared.stopping.is_cancelled() {
            return Err(Mismatch::Stopping);
        }
        here.judge(there)?;
        let lane = there.lane().ok_or(Mismatch::Lane)?;
        // A member that this server does not know of yet, or one that is to learn that it is out.
        let is_ours =
            here.identity.cluster.is_some() && here.identity.cluster == there.identity.cluster;
        if !is_ours && !shared.addresses.read().contains_key(&there.server) {
            return Err(Mismatch::Stranger);
        }
        shared.registry.enter(there, lane)
    };
    (here, place())
}

/// Those who have not said who they are, and whom was told that they are not wanted.
#[derive(Debug, Default)]
struct FrontDoor {
    half_open: Mutex<VecDeque<Turn>>,
    refused: Mutex<HashSet<(IpAddr, Reason)>>,
}

type Reason = (Discriminant<HandshakeError>, Option<Discriminant<Mismatch>>);

#[derive(Clone, Debug)]
struct Turn {
    number: u64,
    close: CancellationToken,
}

impl FrontDoor {
    fn enter(&self) -> Turn {
        let mut half_open = self.half_open.lock();
        if half_open.len() >= HALF_OPEN_MAX
            && let Some(oldest) = half_open.pop_front()
        {
            oldest.close.cancel();
        }
        let turn = Turn {
            number: half_open.back().map_or(0, |last| last.number + 1),
            close: CancellationToken::new(),
        };
        half_open.push_back(turn.clone());
        turn
    }

    fn leave(&self, turn: &Turn) {
        let mut half_open = self.half_open.lock();
        half_open.retain(|other| other.number != turn.number);
    }

    /// Says who was refused and why: in the log once, until somebody there is welcome again.
    fn refused(&self, ip: IpAddr, error: &HandshakeError) {
        if let HandshakeError::Broken(_) = error {
            // Whoever looks whether the port is open.
            tracing::debug!(%ip, why = %Chain(error), "a connection ended before its hello");
            return;
        }
        let mismatch = if let HandshakeError::Misfit(misfit) = error {
            Some(discriminant(&misfit.why))
        } else {
            None
        };
        let reason = (discriminant(error), mismatch);
        let mut refused = self.refused.lock();
        if refused.len() < REFUSED_MAX && refused.insert((ip, reason)) {
            tracing::warn!(%ip, why = %Chain(error), "peer refused");
        } else {
            tracing::debug!(%ip, why = %Chain(error), "peer refused again");
        }
    }

    fn welcome(&self, ip: IpAddr) {
        self.refused.lock().retain(|(other, _)| *other != ip);
    }
}
