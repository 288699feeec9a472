//! Connecting to a peer: its names are resolved anew, all addresses tried in turn, and the one that
//! answers must be the server that is meant.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{ReadHalf, WriteHalf};
use tokio::time::timeout;

use super::Shared;
use super::config::PeerAddress;
use super::frame::FrameReader;
use super::handshake::{self, HandshakeError, Met, misfit};
use super::hello::{Lane, Mismatch};
use crate::io::Stream;
use crate::state::ServerId;

/// More addresses of one name than anybody means.
const ADDRESSES_MAX: usize = 8;

/// A peer was not reached.
#[derive(Debug, thiserror::Error)]
pub(in crate::ensemble) enum DialError {
    /// It is not among the peers.
    #[error("server {0} is not known here")]
    Unknown(ServerId),
    /// None of its addresses has anybody who listens: its process does not run.
    #[error("{address}: nobody listens there")]
    Refused {
        /// The last one that was tried.
        address: PeerAddress,
    },
    /// A name does not resolve.
    #[error("{address}: the name does not resolve: {source}")]
    Unresolved {
        /// The name.
        address: PeerAddress,
        /// The system's words.
        source: io::Error,
    },
    /// The network does not lead there.
    #[error("{address}: {source}")]
    Unreachable {
        /// The address.
        address: PeerAddress,
        /// The system's words.
        source: io::Error,
    },
    /// Nothing came back in time.
    #[error("{address}: no answer within {within:?}")]
    TimedOut {
        /// The address.
        address: PeerAddress,
        /// The time.
        within: Duration,
    },
    /// Somebody is there.
    #[error("{address}: {source}")]
    Handshake {
        /// The address.
        address: PeerAddress,
        /// What went wrong.
        source: HandshakeError,
    },
    /// This server stops.
    #[error("this server stops")]
    Stopping,
}

impl DialError {
    /// How much it says: of several addresses, the error that says most is told.
    fn weight(&self) -> u8 {
        match self {
            Self::Handshake {
                source: HandshakeError::Broken(_),
                ..
            } => 3,
            Self::Handshake { .. } => 4,
            Self::TimedOut { .. } | Self::Unreachable { .. } => 2,
            Self::Unresolved { .. } => 1,
            Self::Refused { .. } | Self::Unknown(_) | Self::Stopping => 0,
        }
    }
}

/// A connection to a peer that has been met.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) reader: FrameReader<ReadHalf<Box<dyn Stream>>>,
    pub(super) writer: WriteHalf<Box<dyn Stream>>,
    pub(super) met: Met,
    /// Where it is.
    pub(super) address: SocketAddr,
}

/// Connects to `to`. Each address, with its handshake, takes no longer than `connect_ms`.
pub(super) async fn dial(
    shared: &Shared,
    to: ServerId,
    lane: Lane,
) -> Result<Connection, DialError> {
    let addresses = shared.addresses.read().get(&to).cloned();
    let addresses = addresses.ok_or(DialError::Unknown(to))?;
    let mut told = DialError::Unknown(to);
    for address in &addresses {
        match dial_name(shared, to, lane, address).await {
            Ok(connection) => return Ok(connection),
            // Equal ones too: `Refused` stands only if it is all that was heard.
            Err(error) if error.weight() >= told.weight() => told = error,
            Err(_) => {}
        }
    }
    Err(told)
}

async fn dial_name(
    shared: &Shared,
    to: ServerId,
    lane: Lane,
    address: &PeerAddress,
) -> Result<Connection, DialError> {
    let within = shared.config.connect_time();
    let timed_out = || DialError::TimedOut {
        address: address.clone(),
        within,
    };
    let unresolved = |source| DialError::Unresolved {
        address: address.clone(),
        source,
    };
    let resolve = shared.network.resolve(&address.host, address.port);
    let found = timeout(within, resolve).await.map_err(|_| timed_out())?;
    let found = found.map_err(unresolved)?;
    let mut told = unresolved(ErrorKind::AddrNotAvailable.into());
    for (nth, at) in found.into_iter().take(ADDRESSES_MAX).enumerate() {
        let attempt = timeout(within, dial_address(shared, to, lane, address, at)).await;
        match attempt.unwrap_or_else(|_| Err(timed_out())) {
            Ok(connection) => return Ok(connection),
            Err(error) if nth == 0 || error.weight() >= told.weight() => told = error,
            Err(_) => {}
        }
    }
    Err(told)
}

async fn dial_address(
    shared: &Shared,
    to: ServerId,
    lane: Lane,
    address: &PeerAddress,
    at: SocketAddr,
) -> Result<Connection, DialError> {
    let address = || address.clone();
    let connected = shared.network.connect(at).await;
    let mut stream = connected.map_err(|source| {
        let address = address();
        if source.kind() == ErrorKind::ConnectionRefused {
            DialError::Refused { address }
        } else {
            DialError::Unreachable { address, source }
        }
    })?;
    let here = shared.hello(to, lane as u8);
    let secret = shared.config.secret.as_ref();
    let met = handshake::dial(&mut *stream, secret, here).await;
    let met = met.and_then(|met| match shared.registry.other_process(&met.there) {
        None => Ok(met),
        Some(incarnation) => Err(misfit(Mismatch::Doubled(incarnation), here, met.there)),
    });
    let met = met.map_err(|source| DialError::Handshake {
        address: address(),
        source,
    })?;
    let (reader, writer) = tokio::io::split(stream);
    let config = &shared.config;
    Ok(Connection {
        reader: FrameReader::new(reader, config.frame_bytes_max, config.idle_time()),
        writer,
        met,
        address: at,
    })
}
