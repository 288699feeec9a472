//! Bounds of session timeouts. `config/` fills this in; the room only reads it.

use super::throttle::ThrottleConfig;

/// How long sessions may live without a sign of life. All times fit a positive `i32`, as the wire wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// ZooKeeper's base unit of time: sessions expire on multiples of it.
    pub tick_ms: u32,
    /// Shortest timeout granted.
    pub timeout_ms_min: u32,
    /// Longest timeout granted; never less than `timeout_ms_min`.
    pub timeout_ms_max: u32,
    /// Top byte of the session ids that this server hands out; 1 in a standalone server.
    pub server_id: u8,
    /// How many clients may ask for sessions.
    pub throttle: ThrottleConfig,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            tick_ms: 3000,
            timeout_ms_min: 6000,
            timeout_ms_max: 60_000,
            server_id: 1,
            throttle: ThrottleConfig::default(),
        }
    }
}
