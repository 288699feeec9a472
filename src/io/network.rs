//! How servers reach each other: streams of bytes, by a trait. TLS and the simulation's network
//! enter here.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use super::tcp;

/// Waiting connections that the system may hold: an ensemble has few members.
const BACKLOG: u32 = 128;
/// After so long without traffic the system asks whether the other side is there, and how often. The
/// peers' own pings notice sooner; this closes what nobody reads from.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// A stream of bytes to another server.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// Opens streams between servers.
pub trait Network: fmt::Debug + Send + Sync {
    /// The addresses of a name, asked for anew at each call.
    ///
    /// # Errors
    /// The name is not known, or nobody could be asked.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;

    /// A stream to whoever listens there. Sets no deadline.
    ///
    /// # Errors
    /// `ConnectionRefused`: nobody listens. All others: it cannot be reached.
    fn connect(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Stream>>>;

    /// Listens; port 0 lets the system choose.
    ///
    /// # Errors
    /// The address is in use, not ours, or not allowed.
    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Acceptor>>>;
}

/// A listening socket for other servers.
pub trait Acceptor: Send {
    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Whoever comes next. Nobody is lost when the future is dropped.
    ///
    /// # Errors
    /// As for want of file descriptors: pause, and try again.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>>;
}

impl fmt::Debug for dyn Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

impl fmt::Debug for dyn Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Acceptor({:?})", self.local_addr())
    }
}

/// Plain TCP. What is sent goes at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpNetwork;

impl Network for TcpNetwork {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) }.boxed()
    }

    fn connect(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
        async move { prepared(TcpStream::connect(to).await?) }.boxed()
    }

    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Acceptor>>> {
        async move {
            let listener = tcp::listen(at, BACKLOG, |_| Ok(()))?;
            Ok(Box::new(listener) as Box<dyn Acceptor>)
        }
        .boxed()
    }
}

impl Acceptor for TcpListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>> {
        async move {
            let (stream, from) = TcpListener::accept(self).await?;
            Ok((prepared(stream)?, from))
        }
        .boxed()
    }
}

fn prepared(stream: TcpStream) -> io::Result<Box<dyn Stream>> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(Box::new(stream))
}
