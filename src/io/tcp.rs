//! A client's socket over TCP, in two halves.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::{SocketReader, SocketWriter};
use crate::metrics;

/// What a connection's task holds, and what its outbox sends by.
pub fn halves(stream: TcpStream) -> (Box<dyn SocketReader>, Box<dyn SocketWriter>) {
    let (reader, writer) = stream.into_split();
    (Box::new(TcpReader(reader)), Box::new(TcpWriter(writer)))
}

struct TcpReader(OwnedReadHalf);

struct TcpWriter(OwnedWriteHalf);

impl SocketReader for TcpReader {
    /// By a read of tokio and not by `try_read`: one that takes all that has come tells the runtime
    /// so, and the next needs no system call that finds nothing.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        pin!(self.0.read_buf(into)).poll(cx)
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_ref().poll_write_ready(cx)
    }
}

impl SocketWriter for TcpWriter {
    fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.try_write(bytes)?;
        metrics::sent(sent);
        Ok(sent)
    }
}
