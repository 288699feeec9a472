//! What the operator says about the other servers.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::state::ServerId;

use super::secret::Secret;

/// Where a server may be reached. The name is resolved again at each attempt.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerAddress {
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// The first port of a `server.N` line.
    pub port: u16,
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How this server talks to the others.
#[derive(Clone, Debug)]
pub(in crate::ensemble) struct PeerConfig {
    /// This server.
    pub me: ServerId,
    /// Which run of its process.
    pub incarnation: u64,
    /// The other servers, each with its addresses, which are tried in turn. One's own may be among
    /// them. Who is not is refused.
    pub addresses: BTreeMap<ServerId, Vec<PeerAddress>>,
    /// Where this server listens. A name that does not resolve yet stands for all addresses.
    pub listen: Vec<PeerAddress>,
    /// What all members know, and nobody else; `None`: whoever reaches the port may join in.
    pub secret: Option<Secret>,
    /// An attempt to connect, by address: with its hello, it takes no longer.
    pub connect_ms: u64,
    /// A call of ours, such as a read index, takes no longer. openraft's have their own deadlines.
    pub call_ms: u64,
    /// A connection on which nothing comes for so long is dead. Each side pings three times within it.
    pub idle_ms: u64,
    /// A follower that answers pings but no append for so long is asked again on a new connection.
    pub append_ms: u64,
    /// The longest frame: the largest batch, or the entries that are sent at once, and some slack.
    pub frame_bytes_max: usize,
    /// How much may be on its way to a follower, or forwarded to a leader, unanswered. One batch may
    /// be whatever its size.
    pub window_bytes: usize,
}

impl PeerConfig {
    /// The defaults.
    pub(in crate::ensemble) fn new(me: ServerId, incarnation: u64) -> Self {
        Self {
            me,
            incarnation,
            addresses: BTreeMap::new(),
            listen: Vec::new(),
            secret: None,
            connect_ms: 500,
            call_ms: 1_000,
            idle_ms: 1_500,
            append_ms: 10_000,
            frame_bytes_max: 16 << 20,
            window_bytes: 8 << 20,
        }
    }

    pub(super) fn connect_time(&self) -> Duration {
        Duration::from_millis(self.connect_ms)
    }

    pub(super) fn idle_time(&self) -> Duration {
        Duration::from_millis(self.idle_ms)
    }

    pub(super) fn append_time(&self) -> Duration {
        Duration::from_millis(self.append_ms)
    }

    /// How long a side may be silent before it pings.
    pub(super) fn ping_time(&self) -> Duration {
        self.idle_time() / 3
    }
}
