//! Sessions as this server sees them: who is connected, when each was last heard of, what a
//! handshake gets. What all replicas agree on (which sessions exist) is in `state`.
//!
//! This room does not know: znodes, requests, sockets.

mod config;
mod connection;
mod handshake;
mod outbox;
mod registry;
mod stats;
mod throttle;
mod touch;

pub use config::Config;
pub use connection::{Connection, ConnectionFigures, ConnectionId, ConnectionStats};
pub use handshake::{Granted, Greeter, Greeting, Password, put_connect_response};
pub use outbox::{End, Found, Outbox};
pub use registry::Registry;
pub use stats::{ServerFigures, ServerStats};
pub use throttle::{Share, Throttle, ThrottleConfig, Wants};
pub use touch::{Touch, Touches};
