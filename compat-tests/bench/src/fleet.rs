//! Many sessions on one thread: non-blocking sockets, one epoll, one read and one write a turn.
//!
//! Client and server share the machine's cores, so the client does as little as it can: requests
//! go out of one buffer per connection, replies are only counted and timed.

use std::collections::VecDeque;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::wire;

/// How long nothing may come back while something is awaited.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The session timeout that is asked for. Idle sessions must live through a scenario.
const SESSION_TIMEOUT_MS: i32 = 300_000;
const EVENTS_PER_WAIT: usize = 256;

/// What a frame from the server was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// The answer to a ConnectRequest.
    Session,
    /// A watch event.
    Event,
    /// The reply to the oldest request; `since` is when that was (to be) sent.
    Reply {
        /// When the request was sent, or should have been.
        since: Instant,
    },
}

/// One connection.
#[derive(Debug)]
struct Link {
    stream: TcpStream,
    /// Bytes read and not yet consumed.
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// Start times of the requests in flight.
    sent: VecDeque<Instant>,
    connected: bool,
    next_xid: i32,
    /// Whether epoll also waits for room in the socket.
    wants_room: bool,
}

/// Connections with one session each.
pub struct Fleet {
    links: Vec<Link>,
    epoll: OwnedFd,
    chunk: Vec<u8>,
    ready: Vec<usize>,
    events: Vec<epoll::Event>,
    /// A single connection blocks in its read instead: a call less, as a lone client would.
    lone: bool,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("links", &self.links)
            .finish_non_exhaustive()
    }
}

impl Fleet {
    /// Opens `count` sessions.
    ///
    /// # Errors
    /// The server refuses, closes or is silent; so with all that follows.
    pub fn open(address: SocketAddr, count: usize) -> Result<Self> {
        Self::open_on(&[address], count)
    }

    /// Opens `count` sessions, spread evenly over some servers.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_on(addresses: &[SocketAddr], count: usize) -> Result<Self> {
        let mut fleet = Self {
            links: Vec::with_capacity(count),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).context("make an epoll")?,
            chunk: vec![0; 256 << 10],
            ready: Vec::new(),
            events: Vec::with_capacity(EVENTS_PER_WAIT),
            lone: false,
        };
        // In portions, so that the server's backlog always has room.
        let mut done = 0;
        while done < count {
            let portion = (count - done).min(500);
            for _ in 0..portion {
                let address = addresses[fleet.links.len() % addresses.len()];
                let index = fleet.connect(address)?;
                wire::connect(&mut fleet.links[index].outbox, SESSION_TIMEOUT_MS);
                fleet.flush(index)?;
            }
            let mut missing = portion;
            while missing > 0 {
                fleet.turn(None, |_, came| {
                    missing -= usize::from(came == Came::Session);
                    Ok(())
                })?;
            }
            done += portion;
        }
        if count == 1 {
            let stream = &fleet.links[0].stream;
            stream.set_nonblocking(false).context("block")?;
            stream
                .set_read_timeout(Some(SILENCE_MAX))
                .context("set a read timeout")?;
            fleet.lone = true;
        }
        Ok(fleet)
    }

    /// How many sessions.
    pub fn sessions(&self) -> usize {
        self.links.len()
    }

    /// Requests on their way, of all sessions.
    pub fn in_flight(&self) -> usize {
        self.links.iter().map(|link| link.sent.len()).sum()
    }

    /// Writes a request into the link's buffer; [`Self::flush`] sends. `since`: where its latency
    /// is counted from.
    pub fn push(&mut self, link: usize, since: Instant, encode: impl FnOnce(i32, &mut Vec<u8>)) {
        let link = &mut self.links[link];
        let xid = link.next_xid;
        link.next_xid = xid.checked_add(1).unwrap_or(1);
        encode(xid, &mut link.outbox);
        link.sent.push_back(since);
    }

    /// Sends what the link's buffer holds; what finds no room is sent by a later [`Self::turn`].
    ///
    /// # Errors
    /// The connection is broken.
    pub fn flush(&mut self, index: usize) -> Result<()> {
        let link = &mut self.links[index];
        let mut gone = 0;
        while gone < link.outbox.len() {
            match link.stream.write(&link.outbox[gone..]) {
                Ok(count) => gone += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("write to the server"),
            }
        }
        link.outbox.drain(..gone);
        let wants_room = !link.outbox.is_empty();
        if wants_room != link.wants_room {
            link.wants_room = wants_room;
            let mut flags = epoll::EventFlags::IN;
            flags.set(epoll::EventFlags::OUT, wants_room);
            let data = epoll::EventData::new_u64(index as u64);
            epoll::modify(&self.epoll, &link.stream, data, flags).context("change an epoll")?;
        }
        Ok(())
    }

    /// Waits until something came, at most until `deadline` (or, with none, for a minute, and then
    /// fails), and calls `then` for each frame.
    ///
    /// `then` is called once more per link with `None` when all frames of a read were seen: the
    /// place to answer with new requests, which are sent with one write.
    ///
    /// # Errors
    /// A connection broke, a reply was an error, or `then` failed.
    pub fn turn_by_link(
        &mut self,
        deadline: Option<Instant>,
        mut then: impl FnMut(&mut Self, usize, Option<Came>) -> Result<()>,
    ) -> Result<()> {
        self.wait(deadline)?;
        let ready = std::mem::take(&mut self.ready);
        let mut found = Vec::new();
        for &index in &ready {
            found.clear();
            self.read(index, &mut found)?;
            for &came in &found {
                then(self, index, Some(came))?;
            }
            then(self, index, None)?;
            if !self.links[index].outbox.is_empty() {
                self.flush(index)?;
            }
        }
        self.ready = ready;
        Ok(())
    }

    /// As [`Self::turn_by_link`], only counting.
    ///
    /// # Errors
    /// As there.
    pub fn turn(
        &mut self,
        deadline: Option<Instant>,
        mut then: impl FnMut(usize, Came) -> Result<()>,
    ) -> Result<()> {
        self.turn_by_link(deadline, |_, link, came| {
            came.map_or(Ok(()), |came| then(link, came))
        })
    }

    /// Waits for all requests in flight.
    ///
    /// # Errors
    /// As [`Self::turn`].
    pub fn drain(&mut self) -> Result<()> {
        while self.in_flight() > 0 {
            self.turn(None, |_, _| Ok(()))?;
        }
        Ok(())
    }

    /// Closes all sessions, in order.
    ///
    /// # Errors
    /// As [`Self::turn`].
    pub fn close(mut self) -> Result<()> {
        let now = Instant::now();
        for index in 0..self.links.len() {
            self.push(index, now, |xid, out| wire::close(out, xid));
            self.flush(index)?;
        }
        self.lone = false;
        while self.in_flight() > 0 {
            self.turn_by_link(None, |fleet, link, came| {
                // Behind the reply the server closes the connection.
                if matches!(came, Some(Came::Reply { .. })) && fleet.links[link].sent.is_empty() {
                    epoll::delete(&fleet.epoll, &fleet.links[link].stream)
                        .context("take out of an epoll")?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn connect(&mut self, address: SocketAddr) -> Result<usize> {
        let stream = TcpStream::connect(address).context("connect to the server")?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        stream.set_nonblocking(true).context("unblock")?;
        let index = self.links.len();
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN).context("add to an epoll")?;
        self.links.push(Link {
            stream,
            inbox: Vec::new(),
            outbox: Vec::new(),
            sent: VecDeque::new(),
            connected: false,
            next_xid: 1,
            wants_room: false,
        });
        Ok(index)
    }

    /// Fills `self.ready`.
    fn wait(&mut self, deadline: Option<Instant>) -> Result<()> {
        self.ready.clear();
        if self.lone && deadline.is_none() {
            self.ready.push(0);
            return Ok(());
        }
        let left = match deadline {
            Some(deadline) => deadline.saturating_duration_since(Instant::now()),
            None => SILENCE_MAX,
        };
        let timeout = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        self.events.clear();
        match epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.events),
            Some(&timeout),
        ) {
            Ok(0) if deadline.is_none() => bail!("the server was silent for {SILENCE_MAX:?}"),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("wait for the server"),
        }
        for at in 0..self.events.len() {
            let event = self.events[at];
            let (index, flags) = (event.data.u64() as usize, event.flags);
            if flags.contains(epoll::EventFlags::OUT) {
                self.flush(index)?;
            }
            if flags != epoll::EventFlags::OUT {
                self.ready.push(index);
            }
        }
        Ok(())
    }

    fn read(&mut self, index: usize, found: &mut Vec<Came>) -> Result<()> {
        let link = &mut self.links[index];
        let count = match link.stream.read(&mut self.chunk) {
            Ok(0) => bail!("the server closed a connection"),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock && !self.lone => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error).context("read from the server"),
        };
        let fresh = &self.chunk[..count];
        if link.inbox.is_empty() {
            let used = link.frames(fresh, found)?;
            link.inbox.extend(&fresh[used..]);
        } else {
            let mut inbox = std::mem::take(&mut link.inbox);
            inbox.extend(fresh);
            let used = link.frames(&inbox, found)?;
            inbox.drain(..used);
            link.inbox = inbox;
        }
        Ok(())
    }
}

impl Link {
    /// Takes whole frames from the start of `bytes`; how many bytes those were.
    fn frames(&mut self, bytes: &[u8], found: &mut Vec<Came>) -> Result<usize> {
        let mut used = 0;
        while let Some((head, rest)) = bytes[used..].split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*head) as usize;
            let Some(frame) = rest.get(..length) else {
                break;
            };
            used += 4 + length;
            found.push(self.frame(frame)?);
        }
        Ok(used)
    }

    fn frame(&mut self, frame: &[u8]) -> Result<Came> {
        ensure!(frame.len() >= 16, "a frame of {} bytes", frame.len());
        if !self.connected {
            ensure!(frame[8..16] != [0; 8], "the server refused a session");
            self.connected = true;
            return Ok(Came::Session);
        }
        let number = |at: usize| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(&frame[at..at + 4]);
            i32::from_be_bytes(bytes)
        };
        if number(0) == wire::EVENT_XID {
            return Ok(Came::Event);
        }
        ensure!(
            number(12) == 0,
            "request {} was answered with error {}",
            number(0),
            number(12)
        );
        let since = self.sent.pop_front().context("a reply to no request")?;
        Ok(Came::Reply { since })
    }
}
