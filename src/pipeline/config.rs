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
    /// A request of more bytes than this is large; `None`: none is.
    pub large_request_threshold: Option<u32>,
    /// Bytes of large requests under way at once; a connection that exceeds it is closed.
    pub large_request_bytes_max: u64,
    /// An op that waited longer answers -127 `ThrottledOp`; 0: never.
    pub throttled_op_wait_ms: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            outstanding_max: 1000,
            batch_ops_max: 512,
            batch_bytes_max: 1 << 20,
            entries_in_flight_max: 4,
            large_request_threshold: None,
            large_request_bytes_max: 100 << 20,
            throttled_op_wait_ms: 0,
        }
    }
}
