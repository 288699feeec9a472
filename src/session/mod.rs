//! Sessions as this server sees them: what a handshake gets, and when each was last heard of. What all replicas agree on (which sessions exist) is in `state`.
//!
//! This room does not know: znodes, requests, sockets.

mod clock;
mod clocks;
mod config;
mod greeter;
mod reports;
mod throttle;
mod touches;

pub use clock::SessionClock;
pub use clocks::{Hearing, SessionClocks};
pub use config::Config;
pub use greeter::{Granted, Greeter, Greeting, Password, put_connect_response};
pub use reports::report_touches;
pub use throttle::{Share, Throttle, ThrottleConfig, Wants};
