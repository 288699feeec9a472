//! How much clients may have under way at once. `config/` fills this in; the room only reads it.

/// Bounds of what clients ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Requests under way in the whole server before sockets are read no further.
    pub outstanding_max: u32,
    /// Longest reply to a read, bytes.
    pub reply_bytes_max: usize,
    /// Whether every read is to show all that was acknowledged before it, anywhere: it waits for a
    /// read index then, as sync does. For a server that has others; one alone needs none.
    pub linearizable_reads: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            outstanding_max: 1000,
            reply_bytes_max: 256 << 20,
            linearizable_reads: false,
        }
    }
}
