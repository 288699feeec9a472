//! Sockets: accepting clients and moving bytes between them and the pipeline.
//!
//! One task per connection. It reads what has come into the client's inbox, lets the client serve it,
//! and sends what is in its outbox, unless delivery is doing so. An inbox that is full, or an outbox,
//! holds the client back: by its socket's own flow control. A task that waits holds no buffers: its
//! thread lends them.
//!
//! This room does not know: what a request means, znodes, who watches.

mod config;
mod connection;
mod front;
mod limits;
mod listener;
mod patience;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use front::Front;
pub use listener::{ListenError, Listener, Opener};
