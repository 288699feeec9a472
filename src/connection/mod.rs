//! Who is connected here, and all that is sent to them.
//!
//! A [`Connection`] is what the rest of the server sees of one client while its task (`net`) does the
//! work: its session, who it says it is, its [`Outbox`], its counters. The [`Registry`] knows them by
//! number and by session. A [`Budget`] bounds what all of them hold of large replies.
//!
//! This room does not know: requests, znodes, sockets.

mod budget;
#[expect(
    clippy::module_inception,
    reason = "a file is named after the thing that it holds"
)]
mod connection;
mod outbox;
mod registry;
mod stats;

pub use budget::{Budget, Share};
pub use connection::{Connection, ConnectionFigures, ConnectionId, ConnectionStats, LastOp};
pub use outbox::{End, Found, Outbox};
pub use registry::Registry;
pub use stats::{ServerFigures, ServerStats};
