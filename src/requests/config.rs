//! How much clients may have under way at once. `config/` fills this in; the room only reads it.

/// Bounds of what clients ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Requests under way in the whole server before sockets are read no further.
    pub outstanding_max: u32,
    /// Longest reply to a read, bytes.
    pub reply_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            outstanding_max: 1000,
            reply_bytes_max: 256 << 20,
        }
    }
}
