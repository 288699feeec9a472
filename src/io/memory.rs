//! A network in memory, for tests: time may be paused, and links cut, one at a time.
//!
//! A host is a name, `s1` for 10.0.0.1 and so on; [`MemoryNetwork::host`] is the network as seen from
//! one. What crosses a link that is cut is neither delivered nor lost nor refused: it waits, as on a
//! link that drops packets and is mended in time. A link may also be slow, by a clock that is set from
//! outside ([`MemoryNetwork::advance`]), since hosts may live on runtimes of their own. A host that is killed has no connections any more,
//! and whoever connects to it is refused.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
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
    /// Milliseconds.
    now: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Inside {
    listeners: HashMap<SocketAddr, mpsc::UnboundedSender<Arrival>>,
    /// In order, so that who waits is woken in the same order in each run.
    links: BTreeMap<(IpAddr, IpAddr), Arc<Link>>,
    next_port: u16,
}

/// Between two hosts, in either direction.
#[derive(Debug, Default)]
struct Link {
    state: Mutex<LinkState>,
}

#[derive(Debug, Default)]
struct LinkState {
    /// From the lower address to the higher one, and back.
    ways: [Way; 2],
    /// When the first of what is on its way arrives, as far as anybody waits for it.
    next_due_ms: Option<u64>,
    /// Connections of an older epoch are broken.
    epoch: u64,
    waiting: Vec<Waker>,
}

/// One direction of a link.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    is_cut: bool,
    latency_ms: u64,
}

/// What is on its way through one direction of a connection: when it arrives, and how many bytes.
type Flight = Arc<Mutex<VecDeque<(u64, usize)>>>;

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
        self.cut_way(one, other);
        self.cut_way(other, one);
    }

    /// Nothing gets from the one to the other until [`MemoryNetwork::mend`].
    pub(crate) fn cut_way(&self, from: u8, to: u8) {
        let link = self.link(ip(from), ip(to));
        link.state.lock().ways[way(ip(from), ip(to))].is_cut = true;
    }

    /// What waits on the link crosses it, and so does what comes.
    pub(crate) fn mend(&self, one: u8, other: u8) {
        let link = self.link(ip(one), ip(other));
        for way in &mut link.state.lock().ways {
            way.is_cut = false;
        }
        link.wake();
    }

    /// What is sent from now on takes so long from the one to the other.
    pub(crate) fn slow(&self, from: u8, to: u8, latency_ms: u64) {
        let link = self.link(ip(from), ip(to));
        link.state.lock().ways[way(ip(from), ip(to))].latency_ms = latency_ms;
    }

    /// Sets the clock of slow links, milliseconds: what is due by then arrives.
    pub(crate) fn advance(&self, now_ms: u64) {
        self.now.store(now_ms, SeqCst);
        let links: Vec<Arc<Link>> = self.inside.lock().links.values().cloned().collect();
        for link in links {
            let mut state = link.state.lock();
            if state.next_due_ms.is_some_and(|due_ms| due_ms <= now_ms) {
                state.next_due_ms = None;
                drop(state);
                link.wake();
            }
        }
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

/// Which of a link's two directions it is.
fn way(from: IpAddr, to: IpAddr) -> usize {
    usize::from(from > to)
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
                if state.ways.iter().any(|way| way.is_cut) {
                    state.wait(cx);
                    return Poll::Pending;
                }
                Poll::Ready(())
            })
            .await;
            let (near, far) = tokio::io::duplex(LINK_BYTES);
            let epoch = link.state.lock().epoch;
            let (there, back) = (Flight::default(), Flight::default());
            let end = |pipe, out: usize, outgoing: &Flight, incoming: &Flight| -> Box<dyn Stream> {
                Box::new(End {
                    pipe,
                    link: Arc::clone(&link),
                    epoch,
                    now: Arc::clone(&self.network.now),
                    out,
                    outgoing: Arc::clone(outgoing),
                    incoming: Arc::clone(incoming),
                })
            };
            let out = way(self.ip, to.ip());
            let mut inside = self.network.inside.lock();
            inside.next_port = inside.next_port.wrapping_add(1);
            let from = SocketAddr::new(self.ip, inside.next_port);
            let listener = inside.listeners.get(&to);
            let refused = || io::Error::from(ErrorKind::ConnectionRefused);
            let listener = listener.ok_or_else(refused)?;
            listener
                .send((end(far, 1 - out, &back, &there), from))
                .map_err(|_| refused())?;
            Ok(end(near, out, &there, &back))
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
    now: Arc<AtomicU64>,
    /// The direction in which this end sends; the other one if that is 1 - `out`.
    out: usize,
    outgoing: Flight,
    incoming: Flight,
}

/// What is read at once.
const READ_BYTES: usize = 8 << 10;

impl End {
    /// Whether bytes cross in that direction; told again when that may have changed.
    fn poll_link(&self, way: usize, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.link.state.lock();
        if state.epoch != self.epoch {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        state.wait(cx);
        if state.ways[way].is_cut {
            Poll::Pending
        } else {
            Poll::Ready(Ok(()))
        }
    }

    /// How many bytes have arrived; `None` if none are on their way. Told again, as the link has been
    /// asked before, when the next do.
    fn poll_arrived(&self) -> Poll<Option<usize>> {
        let now = self.now.load(SeqCst);
        let flight = self.incoming.lock();
        let Some((first_ms, _)) = flight.front() else {
            return Poll::Ready(None);
        };
        if *first_ms > now {
            let next = &mut self.link.state.lock().next_due_ms;
            *next = Some(next.map_or(*first_ms, |next| next.min(*first_ms)));
            return Poll::Pending;
        }
        let arrived = flight.iter().take_while(|(due_ms, _)| *due_ms <= now);
        Poll::Ready(Some(arrived.map(|(_, bytes)| bytes).sum()))
    }

    fn took(&self, mut bytes: usize) {
        let mut flight = self.incoming.lock();
        while let Some((_, first)) = flight.front_mut() {
            let taken = bytes.min(*first);
            bytes -= taken;
            *first -= taken;
            if *first > 0 {
                return;
            }
            flight.pop_front();
        }
    }
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_link(1 - self.out, cx))?;
        let arrived = std::task::ready!(self.poll_arrived()).unwrap_or(READ_BYTES);
        let mut bytes = [0; READ_BYTES];
        let room = arrived.min(into.remaining()).min(READ_BYTES);
        let mut part = ReadBuf::new(&mut bytes[..room]);
        std::task::ready!(Pin::new(&mut self.pipe).poll_read(cx, &mut part))?;
        into.put_slice(part.filled());
        self.took(part.filled().len());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_link(self.out, cx))?;
        let written = std::task::ready!(Pin::new(&mut self.pipe).poll_write(cx, bytes))?;
        let latency_ms = self.link.state.lock().ways[self.out].latency_ms;
        let mut flight = self.outgoing.lock();
        let due_ms = self.now.load(SeqCst) + latency_ms;
        // Bytes do not overtake each other when a link becomes faster.
        let due_ms = flight.back().map_or(due_ms, |(last, _)| due_ms.max(*last));
        flight.push_back((due_ms, written));
        drop(flight);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}
