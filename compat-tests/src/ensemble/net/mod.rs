//! The network between the members, and what can be done to it.
//!
//! | | loopback | proxies | namespaces |
//! |---|---|---|---|
//! | needs | nothing | nothing | root |
//! | who sees whom | all | through a proxy for each ordered pair | a bridge, a host of its own each |
//! | cut, one way or both | - | bytes stop, connections stay | packets vanish |
//! | delay, loss, broken connections | - | yes | - |
//!
//! A genuine server tells the others its own election address, so a way through proxies can be gone
//! around there; in namespaces nothing can.

mod namespaces;
mod proxies;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub use self::namespaces::Namespaces;
pub use self::proxies::{Beats, Proxies};

/// What kind of network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// Nothing can be cut.
    Loopback,
    /// A proxy between each two.
    Proxies,
    /// Each member in a network namespace of its own.
    Namespaces,
}

/// Where one member listens: for clients, for the leader's traffic, for elections.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    /// Clients.
    pub client: SocketAddr,
    /// The first port of a `server.N` line.
    pub quorum: SocketAddr,
    /// The second one.
    pub election: SocketAddr,
}

/// The state of the way from one member to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// Nothing gets through.
    pub cut: bool,
    /// Everything takes so much longer.
    pub delay: Duration,
    /// So many of a hundred pieces come only when they would have been sent again.
    pub loss: usize,
}

/// Where everybody sits, and the ways between them. Members are counted from 0 here.
#[derive(Debug)]
pub enum Network {
    /// See [`Wiring`].
    Loopback(Vec<Seat>),
    /// See [`Wiring`].
    Proxies(Proxies),
    /// See [`Wiring`].
    Namespaces(Namespaces),
}

impl Network {
    /// Lays it for so many members.
    ///
    /// # Errors
    /// There are no free ports; or no namespaces, see [`Namespaces::why_not`].
    pub fn lay(wiring: Wiring, members: usize) -> Result<Self> {
        Ok(match wiring {
            Wiring::Loopback => Self::Loopback(free_seats(members)?),
            Wiring::Proxies => Self::Proxies(Proxies::open(free_seats(members)?)?),
            Wiring::Namespaces => Self::Namespaces(Namespaces::open(members)?),
        })
    }

    /// Where `member` listens.
    pub fn seat(&self, member: usize) -> Seat {
        match self {
            Self::Loopback(seats) => seats[member],
            Self::Proxies(proxies) => proxies.seat(member),
            Self::Namespaces(spaces) => spaces.seat(member),
        }
    }

    /// Where `from` reaches the quorum and election ports of `to`.
    pub fn way_to(&self, from: usize, to: usize) -> (SocketAddr, SocketAddr) {
        match self {
            Self::Proxies(proxies) if from != to => proxies.way_to(from, to),
            _ => (self.seat(to).quorum, self.seat(to).election),
        }
    }

    /// The words in front of the member's command line.
    pub fn under(&self, member: usize) -> Vec<String> {
        match self {
            Self::Namespaces(spaces) => spaces.under(member),
            _ => Vec::new(),
        }
    }

    /// What one member has said to another since this was asked last, see [`Beats`]; `None`: nobody listens.
    pub fn beats(&self, from: usize, to: usize) -> Option<Beats> {
        match self {
            Self::Proxies(proxies) => Some(proxies.beats(from, to)),
            _ => None,
        }
    }

    /// Breaks the connections that one member has made to another.
    ///
    /// # Errors
    /// This network cannot do that.
    pub fn break_off(&self, from: usize, to: usize) -> Result<()> {
        match self {
            Self::Proxies(proxies) => {
                proxies.break_off(from, to);
                Ok(())
            }
            _ => bail!("only proxies break connections"),
        }
    }

    /// Sets the state of the way between two members, in one direction.
    ///
    /// # Errors
    /// This network cannot do that.
    pub fn set(&self, from: usize, to: usize, way: Way) -> Result<()> {
        match self {
            Self::Loopback(_) if way == Way::default() => Ok(()),
            Self::Loopback(_) => bail!("nothing can be done to the loopback network"),
            Self::Proxies(proxies) => {
                proxies.set(from, to, way);
                Ok(())
            }
            Self::Namespaces(spaces) => spaces.set(from, to, way),
        }
    }
}

/// Addresses on 127.0.0.1 that nobody listens on at this moment.
fn free_seats(members: usize) -> Result<Vec<Seat>> {
    // All are held until all are known: else one could be given twice.
    let mut held = Vec::new();
    let mut free = || -> Result<SocketAddr> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("look for a free port")?;
        let address = listener.local_addr().context("look for a free port")?;
        held.push(listener);
        Ok(address)
    };
    (0..members)
        .map(|_| {
            Ok(Seat {
                client: free()?,
                quorum: free()?,
                election: free()?,
            })
        })
        .collect()
}
