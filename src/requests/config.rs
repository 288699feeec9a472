//! How much may be under way at once. `config/` fills this in; the room only reads it.

/// Bounds of the way from a request to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Requests under way in the whole server before sockets are read no further.
    pub outstanding_max: u32,
    /// Most proposals in one log entry.
    pub batch_ops_max: u32,
    /// Most bytes of proposals in one log entry, unless one proposal alone is larger.
    pub batch_bytes_max: usize,
    /// Log entries proposed and not yet committed before new proposals gather.
    pub entries_in_flight_max: u32,
    /// Longest reply to a read, bytes.
    pub reply_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            outstanding_max: 1000,
            batch_ops_max: 512,
            batch_bytes_max: 1 << 20,
            entries_in_flight_max: 4,
            reply_bytes_max: 256 << 20,
        }
    }
}
