//! What the machine itself asks for a request: a server that keeps ZooKeeper's promises for hot reads,
//! for creates and for sessions, and does nothing else.
//!
//! One thread, one epoll. It keeps no tree and checks nothing: it takes frames apart, writes the
//! writes that came together to a file that was filled ahead, syncs that once, and answers with bytes
//! of the right length, one `recv` and one `send` for each connection that is ready. Whoever syncs
//! before it answers and answers over TCP does at least this; so a ratio to it says how much of our
//! own cost is ours.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use compat_tests::server::Kind;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use crate::contestant::Contestant;
use crate::drive::{self, Load};
use crate::fleet::Fleet;
use crate::histogram::Histogram;
use crate::measure::{CPU, Measure, P50, RATE};
use crate::process::Usage;
use crate::table::spread;
use crate::{scenario, wire};

/// Of the file that writes go to, in a circle; filled ahead.
const FILE_BYTES: u64 = 64 << 20;
/// The listener's number in the epoll.
const LISTENER: u64 = u64::MAX;

/// What is compared.
const CASES: [(&str, Case); 7] = [
    ("get, 64 x 16", Case::Get(64, 16)),
    ("get, 64 x 1", Case::Get(64, 1)),
    ("get, 1 x 1", Case::Get(1, 1)),
    ("create, 64 x 16", Case::Create(64, 16)),
    ("create, 64 x 1", Case::Create(64, 1)),
    ("create, 1 x 1", Case::Create(1, 1)),
    ("session open + close", Case::Session),
];

/// Sessions and requests in flight of each, but for sessions that are opened and closed.
#[derive(Clone, Copy)]
enum Case {
    Get(usize, usize),
    Create(usize, usize),
    Session,
}

/// The child process.
struct Floor {
    child: Child,
    address: SocketAddr,
}

impl Drop for Floor {
    fn drop(&mut self) {
        // It may have ended by itself, which the measurement has noticed.
        drop(self.child.kill().and_then(|()| self.child.wait()));
    }
}

impl Floor {
    fn start(dir: &Path) -> Result<Self> {
        let program = std::env::current_exe().context("find this program")?;
        let mut child = Command::new(program)
            .args(["floor-server"])
            .arg(dir)
            .stdout(Stdio::piped())
            .spawn()
            .context("start the floor")?;
        let out = child.stdout.take().context("read from the floor")?;
        let mut line = String::new();
        BufReader::new(out)
            .read_line(&mut line)
            .context("read its address")?;
        let address = line.trim().parse().context("read its address")?;
        Ok(Self { child, address })
    }

    fn measure(&self, case: Case, time: Duration) -> Result<Measure> {
        let mut made = 0_u64;
        match case {
            Case::Get(sessions, depth) => self.requests((sessions, depth), time, |_, xid, out| {
                wire::get(out, xid, &crate::contestant::hot(7), false);
            }),
            Case::Create(sessions, depth) => {
                self.requests((sessions, depth), time, |_, xid, out| {
                    made += 1;
                    wire::create(out, xid, &format!("/b/p1/{made:08}"));
                })
            }
            Case::Session => self.used(|| scenario::open_and_close(self.address, time)),
        }
    }

    fn requests(&self, case: (usize, usize), time: Duration, load: impl Load) -> Result<Measure> {
        let (sessions, depth) = case;
        let mut fleet = Fleet::open(self.address, sessions)?;
        let measure = self.used(|| {
            let run = drive::closed_loop(&mut fleet, depth, time, u64::MAX, load)?;
            Ok((run.requests, run.latency))
        })?;
        fleet.close()?;
        Ok(measure)
    }

    fn used(&self, work: impl FnOnce() -> Result<(u64, Histogram)>) -> Result<Measure> {
        let pid = self.child.id();
        let before = Usage::of_process(pid)?;
        let begin = Instant::now();
        let (operations, latency) = work()?;
        let took = begin.elapsed();
        let used = Usage::of_process(pid)?.since(before);
        Ok(Measure::of_work(operations, took, &latency, used))
    }
}

/// Runs our server and the floor in turn, `rounds` times each case, and tells the table.
///
/// # Errors
/// Either of them fails.
pub fn compare(rounds: usize, time: Duration) -> Result<String> {
    let mut ours = Contestant::start(Kind::Oxkeeper)?;
    ours.warm_up(time)?;
    // On the same disk as the server's.
    let (_, dir) = ours.files()?;
    let floor = Floor::start(&dir)?;
    let mut text = String::from(
        "| what | CPU: ours | floor | times the floor | p50: ours | floor | per second: ours | floor |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let scale = scenario::Scale {
        time,
        ..scenario::Scale::default()
    };
    for (what, case) in CASES {
        let (mut us, mut least) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            us.push(match case {
                Case::Get(sessions, depth) => scenario::get(&mut ours, &scale, sessions, depth)?,
                Case::Create(sessions, depth) => {
                    scenario::create(&mut ours, &scale, sessions, depth)?
                }
                Case::Session => scenario::session(&mut ours, &scale)?,
            });
            least.push(floor.measure(case, time)?);
        }
        let middle = |measures: &[Measure], figure| {
            let values = crate::table::values(measures, figure);
            spread(values).map_or(0.0, |(middle, ..)| middle)
        };
        let (cpu, bare) = (middle(&us, CPU), middle(&least, CPU));
        text += &format!(
            "| {what} | {cpu:.2} us | {bare:.2} us | {:.2} | {:.0} us | {:.0} us | {:.0} | {:.0} |\n",
            cpu / bare,
            middle(&us, P50),
            middle(&least, P50),
            middle(&us, RATE),
            middle(&least, RATE),
        );
    }
    Ok(text)
}

/// Serves until it is killed; says where on the standard output.
///
/// # Errors
/// The system says no.
pub fn serve(dir: &Path) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("listen")?;
    listener.set_nonblocking(true).context("set non-blocking")?;
    let mut out = io::stdout();
    writeln!(out, "{}", listener.local_addr().context("find the port")?).context("say so")?;
    out.flush().context("say so")?;
    let mut server = Server {
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC).context("make an epoll")?,
        log: Log::create(dir)?,
        peers: Vec::new(),
    };
    server.watch(&listener, LISTENER)?;
    let mut events = Vec::with_capacity(256);
    loop {
        events.clear();
        match epoll::wait(&server.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("wait"),
        }
        let mut ready = Vec::with_capacity(events.len());
        for event in &events {
            match event.data.u64() {
                LISTENER => server.accept(&listener)?,
                peer => ready.push(peer as usize),
            }
        }
        server.answer(&ready)?;
    }
}

struct Server {
    epoll: OwnedFd,
    log: Log,
    peers: Vec<Option<Peer>>,
}

struct Peer {
    stream: TcpStream,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    phase: Phase,
}

#[derive(PartialEq)]
enum Phase {
    Connecting,
    Connected,
    /// The end comes behind the reply.
    Closing,
}

impl Server {
    fn watch(&self, source: &impl std::os::fd::AsFd, id: u64) -> Result<()> {
        let data = epoll::EventData::new_u64(id);
        epoll::add(&self.epoll, source, data, epoll::EventFlags::IN).context("add to an epoll")
    }

    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("accept"),
            };
            stream.set_nonblocking(true).context("set non-blocking")?;
            stream.set_nodelay(true).context("set no-delay")?;
            self.watch(&stream, self.peers.len() as u64)?;
            self.peers.push(Some(Peer {
                stream,
                inbox: Vec::new(),
                outbox: Vec::new(),
                phase: Phase::Connecting,
            }));
        }
    }

    /// Reads from all that are ready, syncs once what they want to have kept, answers each.
    fn answer(&mut self, ready: &[usize]) -> Result<()> {
        let mut chunk = [0; 16 << 10];
        for &index in ready {
            let Some(peer) = &mut self.peers[index] else {
                continue;
            };
            match peer.stream.read(&mut chunk) {
                Ok(0) | Err(_) => self.peers[index] = None,
                Ok(count) => {
                    peer.inbox.extend_from_slice(&chunk[..count]);
                    peer.take_frames(&mut self.log);
                }
            }
        }
        self.log.sync()?;
        for &index in ready {
            if let Some(peer) = &mut self.peers[index] {
                // A client that reads has room for its few replies.
                let sent = peer.stream.write_all(&peer.outbox);
                if sent.is_err() || peer.phase == Phase::Closing {
                    self.peers[index] = None;
                    continue;
                }
                peer.outbox.clear();
            }
        }
        Ok(())
    }
}

impl Peer {
    fn take_frames(&mut self, log: &mut Log) {
        let number = |bytes: &[u8]| i32::from_be_bytes(bytes.try_into().expect("four bytes"));
        let mut at = 0;
        while let Some(head) = self.inbox.get(at..at + 4) {
            let end = at + 4 + number(head) as usize;
            let Some(frame) = self.inbox.get(at + 4..end) else {
                break;
            };
            at = end;
            let out = &mut self.outbox;
            if self.phase == Phase::Connecting {
                self.phase = Phase::Connected;
                log.add(frame);
                // Version, timeout, session, password, read-only.
                put(
                    out,
                    &[
                        &[0; 4],
                        &30_000_i32.to_be_bytes(),
                        &[1; 8],
                        &[0, 0, 0, 16],
                        &[7; 16],
                        &[0],
                    ],
                );
                continue;
            }
            let header = [&frame[..4], &[0; 8], &[0; 4]];
            match number(&frame[4..8]) {
                wire::opcode::CREATE => {
                    log.add(frame);
                    let path_bytes = number(&frame[8..12]) as usize;
                    put(
                        out,
                        &[header.concat().as_slice(), &frame[8..12 + path_bytes]],
                    );
                }
                wire::opcode::GET_DATA => {
                    let length = (wire::VALUE_BYTES as i32).to_be_bytes();
                    put(
                        out,
                        &[
                            header.concat().as_slice(),
                            &length,
                            &[0; wire::VALUE_BYTES + 68],
                        ],
                    );
                }
                op => {
                    if op == wire::opcode::CLOSE {
                        log.add(frame);
                        self.phase = Phase::Closing;
                    }
                    put(out, &header);
                }
            }
        }
        self.inbox.drain(..at);
    }
}

/// Appends a frame of these parts.
fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.extend((length as i32).to_be_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// A file that is filled ahead, so that a sync writes nothing but data.
struct Log {
    file: File,
    at: u64,
    pending: Vec<u8>,
}

impl Log {
    fn create(dir: &Path) -> Result<Self> {
        let path = dir.join("floor.log");
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(true).write(true).open(&path);
        let file = file.with_context(|| format!("create {}", path.display()))?;
        let zeros = vec![0; 1 << 20];
        for at in (0..FILE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, at).context("fill the file")?;
        }
        file.sync_all().context("sync the file")?;
        Ok(Self {
            file,
            at: 0,
            pending: Vec::new(),
        })
    }

    fn add(&mut self, frame: &[u8]) {
        self.pending.extend_from_slice(frame);
    }

    fn sync(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.at + self.pending.len() as u64 > FILE_BYTES {
            self.at = 0;
        }
        self.file
            .write_all_at(&self.pending, self.at)
            .context("write")?;
        self.file.sync_data().context("sync")?;
        self.at += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}
