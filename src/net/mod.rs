//! Sockets: accepting clients and moving bytes between them and the pipeline.
//!
//! One task per connection, which may move between threads (`serving.rs`). It reads what has come into the client's inbox, lets the client serve
//! it, and sends all that is on the wire with one write. While something waits to be sent or
//! cannot be served, it does not read: the socket's own flow control holds the client back. A task
//! that waits holds no buffers: its thread lends them.
//!
//! This room does not know: what a request means, znodes, who watches.

mod config;
mod connection;
mod limits;
mod listener;
mod scratch;
mod serving;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use connection::Front;
pub use listener::{ListenError, Listener};
