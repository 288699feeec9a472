//! One of the two servers: started, filled and warmed up, measured.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use compat_tests::client::Connection;
use compat_tests::server::{Kind, Options, Server};

use crate::drive;
use crate::fleet::Fleet;
use crate::histogram::Histogram;
use crate::measure::Measure;
use crate::process::{self, Usage};
use crate::wire;

/// Znodes that the reads and the setData of the traffic scenarios choose from.
pub const HOT: usize = 1000;
/// Work that a server put off belongs to the requests that caused it: so long is waited for it.
const AFTERWORK: Duration = Duration::from_millis(250);

/// A running server.
#[derive(Debug)]
pub struct Contestant {
    server: Server,
    /// How many runs created znodes: each has a parent of its own.
    parents: usize,
}

impl Contestant {
    /// Starts one; fsync on, the heap of the genuine server at most 4 GB.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(kind: Kind) -> Result<Self> {
        Self::start_with(kind, |options| options)
    }

    /// Starts one whose settings `change` changes.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_with(kind: Kind, change: impl FnOnce(Options) -> Options) -> Result<Self> {
        let options = Options::default()
            .config("forceSync", "yes")
            .config("preAllocSize", "65536")
            .java(["-Xmx4g"]);
        let server = Server::start(kind, change(options))?;
        Ok(Self { server, parents: 0 })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Which it is.
    pub fn kind(&self) -> Kind {
        self.server.kind()
    }

    /// The process id.
    ///
    /// # Errors
    /// It does not run.
    pub fn pid(&self) -> Result<u32> {
        self.server.pid().context("the server does not run")
    }

    /// Its log and the directory of its data.
    ///
    /// # Errors
    /// Somebody else's server: they are unknown.
    pub fn files(&self) -> Result<(PathBuf, PathBuf)> {
        let files = self.server.log_file().zip(self.server.data_dir());
        files.context("where the server keeps its files is unknown")
    }

    /// Creates the hot znodes and lets the server do all kinds of work for `time` (a JVM compiles
    /// what runs often).
    ///
    /// # Errors
    /// The server fails; so with all that follows.
    pub fn warm_up(&mut self, time: Duration) -> Result<()> {
        let mut fleet = Fleet::open(self.address(), 64)?;
        let mut fresh = Fleet::open(self.address(), 1)?;
        drive::fill(
            &mut fresh,
            1,
            ["/b".to_owned(), "/b/hot".to_owned()].into_iter(),
            wire::create,
        )?;
        fresh.close()?;
        drive::fill(&mut fleet, 16, (0..HOT).map(hot), wire::create)?;
        let begin = Instant::now();
        while begin.elapsed() < time {
            let parent = self.parent()?;
            let mut made = 0;
            for depth in [1, 16] {
                drive::closed_loop(
                    &mut fleet,
                    depth,
                    time / 8,
                    u64::MAX,
                    |link, xid, out| match xid % 4 {
                        0 => wire::set(out, xid, &hot(made % HOT)),
                        1 => {
                            made += 1;
                            wire::create(out, xid, &format!("{parent}/{made}"));
                        }
                        _ => wire::get(out, xid, &hot((link + made) % HOT), false),
                    },
                )?;
            }
        }
        fleet.close()
    }

    /// Makes a new parent for the creates of a run.
    pub fn parent(&mut self) -> Result<String> {
        self.parents += 1;
        let path = format!("/b/p{}", self.parents);
        let mut fleet = Fleet::open(self.address(), 1)?;
        drive::fill(&mut fleet, 1, [path.clone()].into_iter(), wire::create)?;
        fleet.close()?;
        Ok(path)
    }

    /// Runs `work` and measures what it cost the server. `work` tells how many operations it did and
    /// how long each took. It begins when all that was written before is on the disk: a sync would wait
    /// for what another run, perhaps of the other server, has left in the system's memory.
    pub fn measure(&self, work: impl FnOnce() -> Result<(u64, Histogram)>) -> Result<Measure> {
        let (pid, address) = (self.pid()?, self.address());
        rustix::fs::sync();
        let before = Usage::before(pid, address)?;
        let begin = Instant::now();
        let (operations, latency) = work()?;
        let took = begin.elapsed();
        std::thread::sleep(AFTERWORK);
        let used = Usage::after(pid, address)?.since(before);
        Ok(Measure::of_work(operations, took, &latency, used))
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> Result<f64> {
        process::resident(self.pid()?)
    }

    /// Stops it, starts it again, and waits until `path` is read; the time from start to reply.
    pub fn restart(&mut self, path: &str) -> Result<Duration> {
        self.server.stop()?;
        let begin = Instant::now();
        self.server.restart()?;
        let mut connection = Connection::open(self.address(), Duration::from_secs(30))?;
        connection.new_session(30_000)?;
        let mut frame = Vec::new();
        wire::get(&mut frame, 1, path, false);
        connection.send(&frame);
        let compat_tests::client::Received::Frame(reply) = connection.receive()? else {
            anyhow::bail!("no reply after a restart");
        };
        let took = begin.elapsed();
        anyhow::ensure!(reply.len() > wire::VALUE_BYTES, "{path} is lost");
        connection.close_session()?;
        Ok(took)
    }
}

/// The path of a hot znode.
pub fn hot(number: usize) -> String {
    format!("/b/hot/{number:04}")
}
