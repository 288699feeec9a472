//! A network in memory, for tests: time may be paused, and links cut, one at a time.
//!
//! A host is a name, `s1` for 10.0.0.1 and so on; [`MemoryNetwork::host`] is the network as seen from
//! one. What crosses a link that is cut is neither delivered nor lost nor refused: it waits, as on a
//! link that drops packets and is mended in time. A host that is killed has no connections any more,
//! and whoever connects to it is refused.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::future::{BoxFuture, FutureExt as _};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;

use super::{Acceptor, Network, Stream};

/// What a link holds in each direction, as a socket's buffers do.
const LINK_BYTES: usize = 64 << 10;

type Arrival = (Box<dyn Stream>, SocketAddr);

/// All hosts.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryNetwork {
    inside: Arc<Mutex<Inside>>,
}

#[derive(Debug, Default)]
struct Inside {
    listeners: HashMap<SocketAddr, mpsc::UnboundedSender<Arrival>>,
    links: HashMap<(IpAddr, IpAddr), Arc<Link>>,
    next_port: u16,
}

/// Between two hosts, in either direction.
#[derive(Debug, Default)]
struct Link {
    state: Mutex<LinkState>,
}

#[derive(Debug, Default)]
struct LinkState {
    is_cut: bool,
    /// Connections of an older epoch are broken.
    epoch: u64,
    waiting: Vec<Waker>,
}

/// The network as one host sees it.
#[derive(Debug)]
pub(crate) struct Host {
    network: MemoryNetwork,
    ip: IpAddr,
}

impl MemoryNetwork {
    /// The network as host `number` sees it.
    pub(crate) fn host(&self, number: u8) -> Arc<dyn Network> {
        Arc::new(Host {
            network: self.clone(),
            ip: ip(number),
        })
    }

    /// Nothing crosses the link between the two until [`MemoryNetwork::mend`].
    pub(crate) fn cut(&self, one: u8, other: u8) {
        self.link(ip(one), ip(other)).state.lock().is_cut = true;
    }

    /// What waits on the link crosses it, and so does what comes.
    pub(crate) fn mend(&self, one: u8, other: u8) {
        let link = self.link(ip(one), ip(other));
        link.state.lock().is_cut = false;
        link.wake();
    }

    /// Breaks all connections between the two.
    pub(crate) fn break_connections(&self, one: u8, other: u8) {
        self.link(ip(one), ip(other)).end_connections();
    }

    /// Ends a host's process: whoever connects to it is refused, until it listens again.
    pub(crate) fn kill(&self, number: u8) {
        let ip = ip(number);
        let mut inside = self.inside.lock();
        inside.listeners.retain(|at, _| at.ip() != ip);
        for ((one, other), link) in &inside.links {
            if *one == ip || *other == ip {
                link.end_connections();
            }
        }
    }

    fn link(&self, one: IpAddr, other: IpAddr) -> Arc<Link> {
        let ends = (one.min(other), one.max(other));
        Arc::clone(self.inside.lock().links.entry(ends).or_default())
    }
}

impl Link {
    fn end_connections(&self) {
        self.state.lock().epoch += 1;
        self.wake();
    }

    fn wake(&self) {
        let waiting = std::mem::take(&mut self.state.lock().waiting);
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl LinkState {
    fn wait(&mut self, cx: &Context<'_>) {
        let waker = cx.waker();
        if !self.waiting.iter().any(|other| other.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
    }
}

fn ip(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, number).into()
}

impl Network for Host {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let number = host
            .strip_prefix('s')
            .and_then(|number| number.parse().ok());
        let found = number.map(|number| vec![SocketAddr::new(ip(number), port)]);
        async move { found.ok_or_else(|| ErrorKind::NotFound.into()) }.boxed()
    }

    fn connect(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
        async move {
            let link = self.network.link(self.ip, to.ip());
            std::future::poll_fn(|cx| {
                let mut state = link.state.lock();
                if state.is_cut {
                    state.wait(cx);
                    return Poll::Pending;
                }
                Poll::Ready(())
            })
            .await;
            let (near, far) = tokio::io::duplex(LINK_BYTES);
            let epoch = link.state.lock().epoch;
            let end = |pipe| -> Box<dyn Stream> {
                Box::new(End {
                    pipe,
                    link: Arc::clone(&link),
                    epoch,
                })
            };
            let mut inside = self.network.inside.lock();
            inside.next_port = inside.next_port.wrapping_add(1);
            let from = SocketAddr::new(self.ip, inside.next_port);
            let listener = inside.listeners.get(&to);
            let refused = || io::Error::from(ErrorKind::ConnectionRefused);
            let listener = listener.ok_or_else(refused)?;
            listener.send((end(far), from)).map_err(|_| refused())?;
            Ok(end(near))
        }
        .boxed()
    }

    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Acceptor>>> {
        let (arrive, arrivals) = mpsc::unbounded_channel();
        let mut inside = self.network.inside.lock();
        let is_free = inside
            .listeners
            .get(&at)
            .is_none_or(mpsc::UnboundedSender::is_closed);
        if is_free {
            inside.listeners.insert(at, arrive);
        }
        async move {
            if !is_free {
                return Err(ErrorKind::AddrInUse.into());
            }
            Ok(Box::new(Listening { at, arrivals }) as Box<dyn Acceptor>)
        }
        .boxed()
    }
}

struct Listening {
    at: SocketAddr,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
}

impl Acceptor for Listening {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.at)
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<Arrival>> {
        async move {
            match self.arrivals.recv().await {
                Some(arrival) => Ok(arrival),
                // Its process was killed.
                None => std::future::pending().await,
            }
        }
        .boxed()
    }
}

/// One end of a connection.
#[derive(Debug)]
struct End {
    pipe: DuplexStream,
    link: Arc<Link>,
    epoch: u64,
}

impl End {
    /// Whether bytes cross; told again when that may have changed.
    fn poll_link(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.link.state.lock();
        if state.epoch != self.epoch {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        state.wait(cx);
        if state.is_cut {
            Poll::Pending
        } else {
            Poll::Ready(Ok(()))
        }
    }
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_link(cx))?;
        Pin::new(&mut self.pipe).poll_read(cx, into)
    }
}

impl AsyncWrite for End {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_link(cx))?;
        Pin::new(&mut self.pipe).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}
