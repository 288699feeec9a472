//! Hostile bytes and load: others must be served meanwhile, memory must stay bounded, and at the
//! end the server must be as it was.
//!
//! What an attack costs others is measured by bystanders, in turns without and with the attack: the
//! median of the p99 of one-second windows may be twice their own without it, or 10 ms. An attack
//! that seems to cost more is measured again, up to three times: a busy machine is not its fault.
//! Memory is asserted, for our server: each attack has a figure, in MiB above what the server had
//! before it.

pub mod attacks;
pub mod bystanders;
pub mod pipe;

use std::fs;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use self::bystanders::{Bystanders, Latencies, typical_p99};
use crate::client::{self, REPLY_TIME_MAX};
use crate::server::{Kind, Options, Server, process_figure};
use crate::suite::{Suite, say};

const BYSTANDERS: usize = 4;
/// A turn without the attack.
const QUIET: Duration = Duration::from_secs(2);
/// A turn with it; a short attack is repeated.
const TURN_MIN: Duration = Duration::from_secs(2);
/// What others may always have to wait.
const P99_ALWAYS: Duration = Duration::from_millis(10);
/// What nobody may ever have to wait.
const STALL_MAX: Duration = Duration::from_secs(2);
const MEASURED_MAX: usize = 3;
/// Of the whole run: `oxkeeper.memory` (128 MiB), the dearest attack, and what the allocator keeps.
const MEMORY_MIB_MAX: u64 = 512;
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
    /// Each attack once, and latencies are not judged.
    pub quick: bool,
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
        client::word(self.address, word.as_bytes(), REPLY_TIME_MAX)
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

/// An attack with how many turns it takes, and the memory that it may cost at its height, in MiB.
///
/// - An unread client costs at most its outbox (16 MiB), its wire buffer and the reply being made.
/// - A connection without a session costs at most 16 KiB.
/// - A watch of one client on a path of its own costs at most 256 bytes.
/// - An expiring session costs at most 16 KiB, buffers of its connection included.
const ATTACKS: [(&str, usize, Budget, Attack); 11] = [
    ("lengths", 3, |_| 32, attacks::lengths),
    ("random frames", 3, |_| 64, attacks::random_frames),
    ("words in pieces", 3, |_| 16, attacks::split_words),
    ("half-open connections", 3, |_| 16, attacks::half_open),
    ("unfinished handshakes", 2, |_| 16, attacks::unfinished),
    (
        "silent connections",
        2,
        |target| 16 + mib(target.silent, 16 << 10),
        attacks::silent_connections,
    ),
    (
        "held handshakes",
        2,
        |target| 16 + mib(target.silent, 16 << 10),
        attacks::held_handshakes,
    ),
    (
        "sends and never reads",
        3,
        |_| 128,
        attacks::sends_never_reads,
    ),
    (
        "watches and never reads",
        3,
        |_| 128,
        attacks::watches_never_reads,
    ),
    (
        "many watches of one client",
        1,
        |target| 32 + mib(target.watches, 256),
        attacks::many_watches,
    ),
    (
        "many sessions expire at once",
        1,
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
    sleep(Duration::from_secs(1));
    let mut highest = 0;
    for (name, turns, budget, attack) in ATTACKS {
        if !name.contains(only) {
            continue;
        }
        let attack = (name, if plan.quick { 0 } else { turns }, attack);
        let budget = budget(&target);
        let (mut wrong, measured, peak) = assail(plan, &server, &target, &bystanders, attack)?;
        if plan.kind == Kind::Oxkeeper && peak > budget {
            wrong.push(format!(
                "memory: {peak} MiB more than before, {budget} allowed"
            ));
        }
        highest = highest.max(memory(&server, "VmHWM:")?);
        wrong.extend(bystanders.casualty());
        if !server.is_running() {
            let log = server.log_tail();
            wrong.push(format!("the server is gone; its log ends:\n{log}"));
        }
        if wrong.is_empty() {
            suite.pass(format!("{name}: +{peak} MiB of {budget}; {measured}"));
        } else {
            suite.fail(name, wrong.join("\n"));
        }
        ensure!(server.is_running(), "the server is gone");
    }
    match bystanders.stop() {
        Ok(()) => suite.pass("the bystanders have read what they wrote"),
        Err(error) => suite.fail("the bystanders", format!("{error:#}")),
    }
    let name = format!(
        "memory: at most {highest} MiB, {} at the end",
        memory(&server, "VmRSS:")?
    );
    if plan.kind != Kind::Oxkeeper || highest <= MEMORY_MIB_MAX {
        suite.pass(name);
    } else {
        suite.fail(name, format!("{MEMORY_MIB_MAX} MiB are allowed"));
    }
    server.stop()?;
    Ok(suite.close())
}

/// One attack, measured again if it seems to cost too much: what is wrong, what others saw, and MiB
/// at its height above those before.
fn assail(
    plan: &Plan,
    server: &Server,
    target: &Target,
    bystanders: &Bystanders,
    (name, turns, attack): (&str, usize, Attack),
) -> Result<(Vec<String>, Measured, u64)> {
    let judged = plan.kind == Kind::Oxkeeper && !plan.quick;
    let before = memory(server, "VmRSS:")?;
    reset_peak(server)?;
    let mut wrong = Vec::new();
    let mut measured = Measured::default();
    for round in 1..=MEASURED_MAX {
        match measure(target, bystanders, attack, turns) {
            Ok(found) => measured = found,
            Err(error) => {
                wrong.push(format!("{error:#}"));
                break;
            }
        }
        match measured.cost().filter(|_| judged) {
            None => break,
            Some(cost) if round == MEASURED_MAX => wrong.push(cost),
            Some(cost) => say(format_args!("     {name}: {cost}: once more")),
        }
    }
    let peak = memory(server, "VmHWM:")?.saturating_sub(before);
    Ok((wrong, measured, peak))
}

/// What bystanders saw, in turns.
#[derive(Clone, Debug, Default)]
struct Measured {
    without: Vec<Latencies>,
    with: Vec<Latencies>,
}

/// Turns without and with the attack, beginning and ending without. None: the attack once.
fn measure(
    target: &Target,
    bystanders: &Bystanders,
    attack: Attack,
    turns: usize,
) -> Result<Measured> {
    let mut measured = Measured::default();
    let (quiet, turn_min) = match turns {
        0 => (Duration::from_millis(300), Duration::ZERO),
        _ => (QUIET, TURN_MIN),
    };
    let quiet = || bystanders.during(|| sleep(quiet)).1;
    for _ in 0..turns.max(1) {
        measured.without.extend(quiet());
        let connections = target.connections()?;
        let (outcome, windows) = bystanders.during(|| {
            let began = Instant::now();
            loop {
                attack(target)?;
                if began.elapsed() >= turn_min {
                    return anyhow::Ok(());
                }
            }
        });
        measured.with.extend(windows);
        outcome?;
        settle(target, connections)?;
    }
    if turns > 0 {
        measured.without.extend(quiet());
    }
    Ok(measured)
}

impl Measured {
    /// What is more than an attack may cost others.
    fn cost(&self) -> Option<String> {
        let (without, with) = (typical_p99(&self.without), typical_p99(&self.with));
        let dear = without
            .iter()
            .zip(&with)
            .any(|(without, with)| *with > P99_ALWAYS.max(*without * 2));
        let stall = Latencies::of(&self.with).longest();
        let allowed = STALL_MAX.max(Latencies::of(&self.without).longest() * 2);
        if dear {
            Some(format!("p99 of others more than doubled: {self}"))
        } else if stall > allowed {
            Some(format!("somebody waited {stall:.1?}: {self}"))
        } else {
            None
        }
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let (without, with) = (typical_p99(&self.without), typical_p99(&self.with));
        write!(
            f,
            "p99 of reads {:.1} ms ({:.1} without), of writes {:.1} ms ({:.1} without), longest {:.0} ms",
            ms(with[0]),
            ms(without[0]),
            ms(with[1]),
            ms(without[1]),
            ms(Latencies::of(&self.with).longest())
        )
    }
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
    Ok(process_figure(pid, "status", name)? / 1024)
}

/// From now on VmHWM is the peak of what follows.
fn reset_peak(server: &Server) -> Result<()> {
    let pid = server.pid().context("the server does not run")?;
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("reset the peak of its memory")
}
