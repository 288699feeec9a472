//! Sessions that only ping, as idle clients do: each with an ephemeral that tells of its end.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::client::request;
use crate::hostile::pipe::Pipe;
use crate::wire::Reader;

/// Parent of the ephemerals.
pub const PARENT: &str = "/soak-idle";
const SESSION_TIMEOUT_MS: i32 = 6000;
/// As the official client does: a third of the timeout.
const PAUSE: Duration = Duration::from_millis(2000);

/// The sessions.
#[derive(Debug)]
pub struct Pingers(Vec<Pipe>);

impl Pingers {
    /// Opens them; [`PARENT`] is there.
    ///
    /// # Errors
    /// The server does not answer; so below.
    pub fn open(address: SocketAddr, count: usize) -> Result<Self> {
        let mut pipes = Vec::new();
        for id in 0..count {
            let mut pipe = Pipe::open(address, SESSION_TIMEOUT_MS)?;
            pipe.create(&format!("{PARENT}/{id}"), b"", 1)?;
            pipes.push(pipe);
        }
        Ok(Self(pipes))
    }

    /// Pings until told to stop; the longest time that an answer took.
    #[allow(clippy::missing_errors_doc, reason = "as Pingers::open")]
    pub fn run(&mut self, stop: &AtomicBool) -> Result<Duration> {
        let mut longest = Duration::ZERO;
        let ping = request(-2, 11, &[]);
        while !stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            for pipe in &mut self.0 {
                pipe.connection.send(&ping);
            }
            for (id, pipe) in self.0.iter_mut().enumerate() {
                let frame = pipe.reply().with_context(|| format!("ping of {id}"))?;
                let xid = Reader::new(&frame).i32()?;
                ensure!(xid == -2, "xid {xid} in reply to a ping");
            }
            longest = longest.max(began.elapsed());
            while began.elapsed() < PAUSE && !stop.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(50));
            }
        }
        Ok(longest)
    }

    /// Each still has its ephemeral; then it goes.
    #[allow(clippy::missing_errors_doc, reason = "as Pingers::open")]
    pub fn close(mut self) -> Result<usize> {
        let count = self.0.len();
        let first = self.0.first_mut().context("no session pings")?;
        let alive = first.count(PARENT)?;
        ensure!(alive == count, "{alive} of {count} ephemerals are left");
        for pipe in self.0 {
            pipe.close()?;
        }
        Ok(count)
    }
}
