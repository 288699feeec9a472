//! Who is connected here, and all that is sent to them.
//!
//! A [`Connection`] is what the rest of the server sees of one client while its task (`net`) does the
//! work: its session, who it says it is, its [`Outbox`], its counters. The [`Registry`] knows them by
//! number and by session.
//!
//! This room does not know: requests, znodes, sockets.

#[expect(
    clippy::module_inception,
    reason = "a file is named after the thing that it holds"
)]
mod connection;
mod outbox;
mod registry;
mod stats;

pub use connection::{Connection, ConnectionFigures, ConnectionId, ConnectionStats, LastOp};
pub use outbox::{End, Found, Outbox};
pub use registry::Registry;
pub use stats::{ServerFigures, ServerStats};
