//! Hostile bytes and load: others must be served meanwhile, memory must stay bounded, and at the
//! end the server must be as it was.
//!
//! Latencies of the bystanders are printed beside their own without an attack, and not asserted: the
//! machine may be busy. Memory is asserted, for our server: each attack has a figure, in MiB above
//! what the server had before it.

pub mod attacks;
pub mod bystanders;
pub mod pipe;

use std::fs;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use self::bystanders::Bystanders;
use crate::client::{Connection, REPLY_TIME_MAX};
use crate::server::{Kind, Options, Server};
use crate::suite::{Suite, say};

const BYSTANDERS: usize = 4;
const BASELINE: Duration = Duration::from_secs(3);
/// How long connections that are gone may be counted.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(10);

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Which server.
    pub kind: Kind,
    /// Connections that never speak.
    pub silent: usize,
    /// Watches of one client.
    pub watches: usize,
    /// Sessions that expire at once.
    pub sessions: usize,
    /// Of random frames.
    pub seed: u64,
}

/// The server under attack.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "as in Plan")]
pub struct Target {
    pub kind: Kind,
    pub address: SocketAddr,
    pub silent: usize,
    pub watches: usize,
    pub sessions: usize,
    pub seed: u64,
    /// How long a connection may be without a session.
    pub first_words: Duration,
}

impl Target {
    /// The answer to a four-letter word.
    ///
    /// # Errors
    /// None came.
    pub fn word(&self, word: &str) -> Result<String> {
        let mut connection = Connection::open(self.address, REPLY_TIME_MAX)?;
        connection.send(word.as_bytes());
        Ok(String::from_utf8_lossy(&connection.read_to_end()?).into_owned())
    }

    /// Connections without the one that asks.
    ///
    /// # Errors
    /// As [`Self::word`].
    pub fn connections(&self) -> Result<usize> {
        let text = self.word("srvr")?;
        let count = text
            .lines()
            .find_map(|line| line.strip_prefix("Connections: ")?.trim().parse().ok());
        count.map(|it: usize| it.saturating_sub(1)).context("srvr")
    }
}

type Attack = fn(&Target) -> Result<()>;
/// MiB.
type Budget = fn(&Target) -> u64;

/// Each attack with the memory that it may cost at its height, in MiB.
///
/// - An unread client costs at most its outbox (16 MiB), its wire buffer and the reply being made.
/// - A watch of one client on a path of its own costs at most 256 bytes.
/// - An expiring session costs at most 16 KiB, buffers of its connection included.
const ATTACKS: [(&str, Budget, Attack); 10] = [
    ("lengths", |_| 32, attacks::lengths),
    ("random frames", |_| 64, attacks::random_frames),
    ("words in pieces", |_| 16, attacks::split_words),
    ("half-open connections", |_| 16, attacks::half_open),
    ("unfinished handshakes", |_| 16, attacks::unfinished),
    (
        "silent connections",
        |target| 16 + mib(target.silent, 16 << 10),
        attacks::silent_connections,
    ),
    ("sends and never reads", |_| 128, attacks::sends_never_reads),
    (
        "watches and never reads",
        |_| 128,
        attacks::watches_never_reads,
    ),
    (
        "many watches of one client",
        |target| 32 + mib(target.watches, 256),
        attacks::many_watches,
    ),
    (
        "many sessions expire at once",
        |target| 32 + mib(target.sessions, 16 << 10),
        attacks::mass_expiry,
    ),
];

fn mib(count: usize, bytes_each: usize) -> u64 {
    (count * bytes_each / (1 << 20)) as u64
}

/// Runs all attacks whose name contains `only`.
///
/// # Errors
/// The server cannot be started, or is gone.
pub fn run(plan: &Plan, only: &str) -> Result<bool> {
    ensure!(
        !matches!(plan.kind, Kind::External(_)),
        "a server that somebody else started is not attacked"
    );
    let mut suite = Suite::open(format!("hostile: {}", plan.kind));
    let options = Options::default().config("minSessionTimeout", "4000");
    let mut server = Server::start(plan.kind, options)?;
    let target = Target {
        kind: plan.kind,
        address: server.address(),
        silent: plan.silent,
        watches: plan.watches,
        sessions: plan.sessions,
        seed: plan.seed,
        first_words: Duration::from_secs(if plan.kind == Kind::Oxkeeper { 5 } else { 25 }),
    };
    let mut bystanders = Bystanders::start(target.address, BYSTANDERS);
    sleep(BASELINE / 3);
    drop(bystanders.take());
    sleep(BASELINE);
    say(format_args!("without an attack: {}", bystanders.take()));
    for (name, budget, attack) in ATTACKS {
        if !name.contains(only) {
            continue;
        }
        let budget = budget(&target);
        let before = memory(&server, "VmRSS:")?;
        reset_peak(&server)?;
        let connections = target.connections()?;
        drop(bystanders.take());
        let outcome = attack(&target);
        let latencies = bystanders.take();
        let peak = memory(&server, "VmHWM:")?.saturating_sub(before);
        let mut wrong = Vec::new();
        if let Err(error) = outcome {
            wrong.push(format!("{error:#}"));
        }
        if plan.kind == Kind::Oxkeeper && peak > budget {
            wrong.push(format!(
                "memory: {peak} MiB more than before, {budget} allowed"
            ));
        }
        if let Err(error) = settle(&target, connections) {
            wrong.push(format!("{error:#}"));
        }
        wrong.extend(bystanders.casualty());
        if !server.is_running() {
            wrong.push(format!(
                "the server is gone; its log ends:\n{}",
                server.log_tail()
            ));
        }
        if wrong.is_empty() {
            suite.pass(format!("{name}: +{peak} MiB of {budget}; {latencies}"));
        } else {
            suite.fail(name, wrong.join("\n"));
        }
        ensure!(server.is_running(), "the server is gone");
    }
    match bystanders.stop() {
        Ok(()) => suite.pass("the bystanders have read what they wrote"),
        Err(error) => suite.fail("the bystanders", format!("{error:#}")),
    }
    say(format_args!(
        "memory at the end: {} MiB",
        memory(&server, "VmRSS:")?
    ));
    server.stop()?;
    Ok(suite.close())
}

/// Connections that are gone are forgotten.
fn settle(target: &Target, before: usize) -> Result<()> {
    let began = Instant::now();
    loop {
        let now = target.connections()?;
        // A word's own connection may still be there.
        if now <= before + 2 {
            return Ok(());
        }
        ensure!(
            began.elapsed() < SETTLE_TIME_MAX,
            "{now} connections, {before} before the attack"
        );
        sleep(Duration::from_millis(100));
    }
}

/// A figure of /proc/PID/status in MiB.
fn memory(server: &Server, name: &str) -> Result<u64> {
    let pid = server.pid().context("the server does not run")?;
    let text = fs::read_to_string(format!("/proc/{pid}/status")).context("read its memory")?;
    let figure = text.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?.trim().strip_suffix("kB")?;
        rest.trim().parse::<u64>().ok()
    });
    figure.map(|kib| kib / 1024).context("read its memory")
}

/// From now on VmHWM is the peak of what follows.
fn reset_peak(server: &Server) -> Result<()> {
    let pid = server.pid().context("the server does not run")?;
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("reset the peak of its memory")
}
