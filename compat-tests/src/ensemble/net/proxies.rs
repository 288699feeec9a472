//! A proxy for each ordered pair of members: all that one says to another goes through this process.
//!
//! What a cut stops is kept and goes on when it is healed, as TCP would send it again; a piece that is
//! lost comes as late as TCP would bring it, and everything behind it waits.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Seat, Way};
use crate::differential::random::Random;

/// What is lost comes so much later: TCP's shortest wait before it sends again.
const SENT_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Pieces on their way in one direction of a connection; then the sender is not read from.
const PIECES_MAX: usize = 1024;

/// The proxies.
#[derive(Debug)]
pub struct Proxies {
    seats: Vec<Seat>,
    /// Of the way from one to another: its state, and where the proxies for it listen.
    links: Vec<Vec<Arc<Link>>>,
    addresses: Vec<Vec<(SocketAddr, SocketAddr)>>,
}

#[derive(Debug, Default)]
struct Link {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    way: Way,
    ended: bool,
    beats: Beats,
    /// Of all connections that one has made to the other, both sides; some may have ended.
    streams: Vec<TcpStream>,
}

/// What one of our servers says by the connection on which, if it leads, it says nothing but that it does:
/// how often, and the longest time in between.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beats {
    /// Pieces that came.
    pub count: usize,
    /// Between two of them.
    pub longest: Duration,
    last: Option<Instant>,
}

/// How a connection of our servers begins, where its purpose stands if there is no secret, and which it is.
const MAGIC: &[u8] = b"OXKP";
const LANE_AT: usize = 68;
const CONTROL_LANE: u8 = 1;

impl Proxies {
    /// Opens proxies to all these seats.
    ///
    /// # Errors
    /// No port can be had.
    pub fn open(seats: Vec<Seat>) -> Result<Self> {
        let count = seats.len();
        let links: Vec<Vec<Arc<Link>>> = (0..count)
            .map(|_| (0..count).map(|_| Arc::default()).collect())
            .collect();
        let mut addresses = Vec::new();
        for (from, ways) in links.iter().enumerate() {
            let mut row = Vec::new();
            for (to, seat) in seats.iter().enumerate() {
                let (there, back) = (&ways[to], &links[to][from]);
                row.push(if from == to {
                    (seat.quorum, seat.election)
                } else {
                    (
                        listen(seat.quorum, there, back)?,
                        listen(seat.election, there, back)?,
                    )
                });
            }
            addresses.push(row);
        }
        Ok(Self {
            seats,
            links,
            addresses,
        })
    }

    /// Where `member` listens.
    pub fn seat(&self, member: usize) -> Seat {
        self.seats[member]
    }

    /// Where `from` reaches the quorum and election ports of `to`.
    pub fn way_to(&self, from: usize, to: usize) -> (SocketAddr, SocketAddr) {
        self.addresses[from][to]
    }

    /// Sets the state of a way.
    pub fn set(&self, from: usize, to: usize, way: Way) {
        let link = &self.links[from][to];
        link.lock().way = way;
        link.changed.notify_all();
    }
}

impl Proxies {
    /// Breaks all connections that `from` has made to `to`; what is on its way is lost.
    pub fn break_off(&self, from: usize, to: usize) {
        for stream in self.links[from][to].lock().streams.drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    /// What `from` has said to `to` since this was asked last.
    pub fn beats(&self, from: usize, to: usize) -> Beats {
        let mut state = self.links[from][to].lock();
        let beats = state.beats;
        state.beats = Beats {
            // What has not come yet is late, too.
            last: beats.last.map(|_| Instant::now()),
            ..Beats::default()
        };
        let until_now = beats.last.map_or(Duration::ZERO, |last| last.elapsed());
        Beats {
            longest: beats.longest.max(until_now),
            ..beats
        }
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        // The listeners' threads stay until the program ends, but what waits goes.
        for link in self.links.iter().flatten() {
            link.lock().ended = true;
            link.changed.notify_all();
        }
    }
}

impl Beats {
    fn came(&mut self) {
        let now = Instant::now();
        let before = self.last.replace(now);
        self.count += 1;
        self.longest = self
            .longest
            .max(before.map_or(Duration::ZERO, |before| now - before));
    }
}

impl Link {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something may pass; false: everything has ended.
    fn wait_open(&self) -> bool {
        let mut state = self.lock();
        while state.way.cut && !state.ended {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        !state.ended
    }
}

fn listen(target: SocketAddr, there: &Arc<Link>, back: &Arc<Link>) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("open a proxy")?;
    let address = listener.local_addr().context("open a proxy")?;
    let (there, back) = (Arc::clone(there), Arc::clone(back));
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let (there, back) = (Arc::clone(&there), Arc::clone(&back));
            thread::spawn(move || {
                // A handshake needs both directions.
                if there.wait_open() && back.wait_open() {
                    drop(forward(&near, target, &there, &back));
                }
            });
        }
    });
    Ok(address)
}

fn forward(
    near: &TcpStream,
    target: SocketAddr,
    there: &Arc<Link>,
    back: &Arc<Link>,
) -> std::io::Result<()> {
    let far = TcpStream::connect_timeout(&target, Duration::from_secs(5))?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    there
        .lock()
        .streams
        .extend([near.try_clone()?, far.try_clone()?]);
    pump(near.try_clone()?, far.try_clone()?, there, true);
    pump(far, near.try_clone()?, back, false);
    Ok(())
}

/// Copies in one direction, on two threads: one reads and says when a piece is due, one writes.
/// `dialled`: from the side that has connected.
fn pump(mut from: TcpStream, mut to: TcpStream, link: &Arc<Link>, dialled: bool) {
    let (sender, receiver) = mpsc::sync_channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    let reading = Arc::clone(link);
    let seed = from.peer_addr().map_or(0, |address| address.port());
    thread::spawn(move || {
        let mut random = Random::new(u64::from(seed), 0);
        let mut chunk = vec![0; 16 << 10];
        let mut head = Vec::new();
        while let Ok(count) = from.read(&mut chunk) {
            if count == 0 {
                break;
            }
            if head.len() <= LANE_AT {
                head.extend_from_slice(&chunk[..count]);
            }
            let is_control =
                dialled && head.starts_with(MAGIC) && head.get(LANE_AT) == Some(&CONTROL_LANE);
            let mut state = reading.lock();
            if is_control {
                state.beats.came();
            }
            let way = state.way;
            drop(state);
            let late = if random.chance(way.loss) {
                SENT_AGAIN_AFTER
            } else {
                Duration::ZERO
            };
            let due = Instant::now() + way.delay + late;
            if sender.send((due, chunk[..count].to_vec())).is_err() {
                break;
            }
        }
    });
    let writing = Arc::clone(link);
    thread::spawn(move || {
        for (due, piece) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if !writing.wait_open() || to.write_all(&piece).is_err() {
                break;
            }
        }
        // The end comes to the other side as late as what was before it.
        if writing.wait_open() {
            drop(to.shutdown(Shutdown::Write));
        } else {
            drop(to.shutdown(Shutdown::Both));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(address: SocketAddr) -> Seat {
        Seat {
            client: address,
            quorum: address,
            election: address,
        }
    }

    /// A server that says back what it hears.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
            }
        });
        address
    }

    fn answered_within(stream: &mut TcpStream, most: Duration) -> bool {
        stream.set_read_timeout(Some(most)).expect("set a timeout");
        let mut answer = [0];
        stream.read(&mut answer).is_ok_and(|bytes| bytes == 1)
    }

    #[test]
    fn bytes_wait_while_a_way_is_cut_and_come_late_where_it_is_slow() {
        let proxies = Proxies::open(vec![seat(echo()), seat(echo())]).expect("proxies");
        let (quorum, _) = proxies.way_to(0, 1);
        let mut stream = TcpStream::connect(quorum).expect("connect");
        let long = Duration::from_secs(10);
        stream.write_all(b"x").expect("write");
        assert!(answered_within(&mut stream, long));
        // Only the way back is cut: what was said arrives, the answer waits.
        let cut = Way {
            cut: true,
            ..Way::default()
        };
        proxies.set(1, 0, cut);
        stream.write_all(b"x").expect("write");
        assert!(!answered_within(&mut stream, Duration::from_millis(100)));
        proxies.set(1, 0, Way::default());
        assert!(answered_within(&mut stream, long));
        let delay = Duration::from_millis(60);
        for (from, to) in [(0, 1), (1, 0)] {
            proxies.set(
                from,
                to,
                Way {
                    delay,
                    ..Way::default()
                },
            );
        }
        let begin = Instant::now();
        stream.write_all(b"x").expect("write");
        assert!(answered_within(&mut stream, long));
        assert!(begin.elapsed() >= 2 * delay);
    }
}
