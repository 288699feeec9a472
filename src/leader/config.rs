//! How the leader's chores run. `config/` fills this in; the room only reads it.

/// Pace of the container and TTL reaper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Time between two rounds of the reaper.
    pub container_check_interval_ms: u64,
    /// Most znodes reaped in a minute; at least 1.
    pub container_max_per_minute: u32,
    /// A container that never had a child is reaped after so long, if negative at once; 0: never.
    pub container_never_used_ms: i64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            container_check_interval_ms: 60_000,
            container_max_per_minute: 10_000,
            container_never_used_ms: 0,
        }
    }
}
