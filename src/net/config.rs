//! What the listener and its connections are told by the operator. `config/` fills this in; the room
//! only reads it.

use std::net::SocketAddr;

/// Bounds and addresses of the client side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The plaintext listener; `None`: there is none. Port 0 lets the system choose. An unspecified IP
    /// means every address of the host, IPv6 included where the host has it, as in Java.
    pub client_addr: Option<SocketAddr>,
    /// Length of the accept queue; `None`: the system's default.
    pub listen_backlog: Option<u32>,
    /// Connections from one remote IP, four-letter words included; 0: no limit.
    pub connections_per_ip_max: u32,
    /// Connections in all; 0: no limit.
    pub connections_max: u32,
    /// Largest request frame of an established session, in bytes without the length prefix.
    pub frame_bytes_max: usize,
    /// How long a connection may live without having asked for a session.
    pub handshake_timeout_ms: u64,
    /// SO_KEEPALIVE on client connections.
    pub keepalive: bool,
    /// Most bytes that wait for one client that does not read; a connection above it is closed.
    pub outbox_bytes_max: usize,
}

impl Config {
    /// Largest frame before a session exists, in bytes: a ConnectRequest needs less than 100.
    ///
    /// zk-differs: ZooKeeper takes `jute.maxbuffer` here, so that any stranger can make it hold 1 MiB.
    pub const HANDSHAKE_FRAME_BYTES_MAX: usize = 4096;
}

impl Default for Config {
    /// zk-differs: `handshake_timeout_ms` is 5000, half of ZooKeeper's: a slow drip holds less.
    fn default() -> Self {
        Config {
            client_addr: None,
            listen_backlog: None,
            connections_per_ip_max: 60,
            connections_max: 0,
            frame_bytes_max: 0xf_ffff,
            handshake_timeout_ms: 5000,
            keepalive: false,
            outbox_bytes_max: 16 << 20,
        }
    }
}
