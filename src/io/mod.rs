//! Sockets: the one leaf that opens them, and the traits by which the rooms use them. TLS and the
//! simulation's network enter here.

pub mod buffers;
mod http;
#[cfg(test)]
pub(crate) mod memory;
mod network;
pub mod tcp;

pub use http::{Answer, HttpError, HttpListener, Page};
pub use network::{Acceptor, Network, Stream, TcpNetwork};

use std::io;
use std::task::{Context, Poll};

use bytes::BytesMut;

/// The sending half of a client's socket. Held by whoever sends; dropping it says the end of the
/// stream to the client.
pub trait SocketWriter: Send + Sync {
    /// Sends as much as can be sent without waiting; the number of bytes, not 0.
    ///
    /// # Errors
    /// `WouldBlock`: nothing now, and [`SocketReader::poll_writable`] tells when. All others: the
    /// connection is broken.
    fn try_send(&self, bytes: &[u8]) -> io::Result<usize>;

    /// The same, also if nothing has told yet that it would succeed: a system has room for some bytes
    /// long before it speaks of it.
    ///
    /// # Errors
    /// As [`Self::try_send`].
    fn insist(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_send(bytes)
    }
}

/// The receiving half of a client's socket. Held by its connection's task.
pub trait SocketReader: Send {
    /// Appends what has come to `into`, which has room; the number of bytes, 0 at the end of the
    /// stream.
    ///
    /// # Errors
    /// The connection is broken.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut BytesMut,
    ) -> Poll<io::Result<usize>>;

    /// Ready when the sending half may take bytes again.
    ///
    /// # Errors
    /// The connection is broken.
    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Bytes that have come and have not been received, as far as the system tells.
    fn unread(&self) -> u64;
}
