//! Minutes at the highest rate that the clients can send, with a checkpoint about every 5,000
//! writes: nothing may die, nothing may grow, and every answer must be right.
//!
//! ```text
//!   workers (a thread each): creates, sets, deletes, multis, reads, watches; 128 in flight
//!   pingers (one thread): sessions that only ping        ──▶ each answer is checked when it comes
//!   gauges (each second): memory, descriptors, files     ──▶ flat: third fifth against the last
//!   afterwards: read back, count, expire a session, take one more checkpoint, read the log
//! ```
//!
//! A worker's tree keeps its size: what is not there is created, what is there is mostly set.

pub mod gauge;
pub mod pinger;
pub mod worker;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use self::gauge::{Sample, flat};
use self::pinger::Pingers;
use self::worker::{Tally, Worker};
use crate::client::{self, REPLY_TIME_MAX, figure};
use crate::hostile::pipe::Pipe;
use crate::server::{Kind, Options, Server};
use crate::suite::{Suite, say};

const SNAP_COUNT: usize = 5000;
/// Of 5,000 writes.
const LOG_BYTES: &str = "6M";
const PINGERS: usize = 20;
const SECOND: Duration = Duration::from_secs(1);
/// Seconds between two lines.
const LINE_EVERY: u64 = 10;
/// Below this the server is still filling its caches: growth is printed and not judged.
const JUDGED_FROM: Duration = Duration::from_secs(120);
/// Twice `oxkeeper.memory`.
const MEMORY_KIB_MAX: u64 = 256 << 10;
const EXPIRY_TIME_MAX: Duration = Duration::from_secs(30);
/// Child that a session leaves behind when it ends without a word.
const ABANDONED: &str = "/soak-abandoned";

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Which server.
    pub kind: Kind,
    /// How long.
    pub time: Duration,
    /// How many sessions write.
    pub workers: usize,
    /// Of all choices.
    pub seed: u64,
}

/// The load while it runs.
struct Load {
    workers: Vec<JoinHandle<Result<Worker>>>,
    pingers: JoinHandle<Result<(Pingers, Duration)>>,
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
}

/// A running server, looked at from outside.
struct Watched {
    server: Server,
    data: Option<PathBuf>,
    samples: Vec<Sample>,
}

/// Runs the load and judges it; true if nothing is wrong.
///
/// # Errors
/// The server cannot be started.
pub fn run(plan: &Plan) -> Result<bool> {
    let mut suite = Suite::open(format!(
        "soak: {}, {} s, {} workers, seed {}",
        plan.kind,
        plan.time.as_secs(),
        plan.workers,
        plan.seed
    ));
    let mut options = Options::default()
        .config("forceSync", "yes")
        .config("snapCount", &SNAP_COUNT.to_string());
    if plan.kind == Kind::Oxkeeper {
        // An entry of our log holds many writes: by bytes, as often as the genuine server does it.
        options = options.config("oxkeeper.logBytesBeforeFlush", LOG_BYTES);
    }
    let server = Server::start(plan.kind, options)?;
    let address = server.address();
    let mut watched = Watched {
        data: server.data_dir(),
        server,
        samples: Vec::new(),
    };
    let load = Load::start(plan, address)?;
    let ran = watched.watch(plan, &load);
    load.stop.store(true, Ordering::Relaxed);
    match ran {
        Ok(()) => suite.pass("the server answered mntr all the time"),
        Err(error) => suite.fail("the server while it was loaded", format!("{error:#}")),
    }
    load.judge(&mut suite, address)?;
    check(
        &mut suite,
        "an abandoned session expires",
        expiry(address).map(|took| format!("{took:.0?}")),
    );
    watched.judge(&mut suite, plan);
    check(
        &mut suite,
        "it ends on SIGTERM",
        watched.server.stop().map(|_| String::new()),
    );
    Ok(suite.close())
}

fn check(suite: &mut Suite, name: &str, outcome: Result<String>) {
    match outcome {
        Ok(figures) if figures.is_empty() => suite.pass(name),
        Ok(figures) => suite.pass(format!("{name}: {figures}")),
        Err(error) => suite.fail(name, format!("{error:#}")),
    }
}

impl Load {
    fn start(plan: &Plan, address: SocketAddr) -> Result<Self> {
        let mut control = Pipe::open(address, 10_000)?;
        control.create(pinger::PARENT, b"", 0)?;
        control.create(ABANDONED, b"", 0)?;
        control.close()?;
        let tally = Arc::new(Tally::default());
        let stop = Arc::new(AtomicBool::new(false));
        let mut pingers = Pingers::open(address, PINGERS)?;
        let stopped = Arc::clone(&stop);
        let pingers = thread::spawn(move || {
            let longest = pingers.run(&stopped)?;
            Ok((pingers, longest))
        });
        let workers = (0..plan.workers)
            .map(|id| {
                let (tally, stop, seed) = (Arc::clone(&tally), Arc::clone(&stop), plan.seed);
                thread::spawn(move || {
                    let mut worker = Worker::open(address, id, seed)?;
                    worker.run(&tally, &stop)?;
                    Ok(worker)
                })
            })
            .collect();
        Ok(Self {
            workers,
            pingers,
            tally,
            stop,
        })
    }

    /// Waits for its end; what was written is read back.
    fn judge(self, suite: &mut Suite, address: SocketAddr) -> Result<()> {
        let mut workers = Vec::new();
        for (id, thread) in self.workers.into_iter().enumerate() {
            match thread.join().expect("a worker does not panic") {
                Ok(worker) => workers.push(worker),
                Err(error) => suite.fail(format!("worker {id}"), format!("{error:#}")),
            }
        }
        let load = |it: &std::sync::atomic::AtomicU64| it.load(Ordering::Relaxed);
        suite.pass(format!(
            "{} writes, {} reads and {} events came in order, each as it must be",
            load(&self.tally.writes),
            load(&self.tally.reads),
            load(&self.tally.events)
        ));
        let count = workers.len();
        let kept = workers
            .iter_mut()
            .map(|worker| worker.read_back(address))
            .sum::<Result<usize>>();
        check(
            suite,
            "all is read back as it was written",
            kept.map(|kept| format!("{kept} znodes of {count} workers")),
        );
        let pinged = self.pingers.join().expect("the pingers do not panic");
        let outcome = pinged.and_then(|(pingers, longest)| {
            let count = pingers.close()?;
            Ok(format!("{count}; slowest round of pings {longest:.0?}"))
        });
        check(suite, "no session that pings has expired", outcome);
        Ok(())
    }
}

impl Watched {
    /// Samples each second, prints a line every ten, until the time is over.
    fn watch(&mut self, plan: &Plan, load: &Load) -> Result<()> {
        let began = Instant::now();
        let (mut writes, mut reads) = (0, 0);
        let mut printed = Instant::now();
        for second in 1.. {
            sleep((began + SECOND * second).saturating_duration_since(Instant::now()));
            ensure!(
                !load.workers.iter().any(JoinHandle::is_finished) && !load.pingers.is_finished(),
                "a client has ended early"
            );
            let sample = self.sample()?;
            let over = began.elapsed() >= plan.time;
            if !over && u64::from(second) % LINE_EVERY != 0 {
                continue;
            }
            let mntr = word(plan.kind, self.server.address(), "mntr")?;
            let took = printed.elapsed().as_secs_f64();
            printed = Instant::now();
            let now = |it: &std::sync::atomic::AtomicU64| it.load(Ordering::Relaxed);
            let (written, read) = (now(&load.tally.writes), now(&load.tally.reads));
            let pause = load.tally.pause_us.swap(0, Ordering::Relaxed);
            say(format_args!(
                "{second:4} s: {:6.0} writes/s {:5.0} reads/s, longest pause {} ms; {} checkpoints, \
                 {} znodes; {} MiB, {} descriptors, {} threads, {} files with {} MiB",
                (written - writes) as f64 / took,
                (read - reads) as f64 / took,
                pause / 1000,
                self.checkpoints(),
                figure::<u64>(&mntr, "zk_znode_count").unwrap_or(0),
                sample.memory_kib >> 10,
                sample.descriptors,
                sample.threads,
                sample.files,
                sample.disk_kib >> 10,
            ));
            ensure!(written > writes, "no write was answered for {took:.0} s");
            (writes, reads) = (written, read);
            if over {
                return Ok(());
            }
        }
        Ok(())
    }

    fn sample(&mut self) -> Result<Sample> {
        if matches!(self.server.kind(), Kind::External(_)) {
            return Ok(Sample::default());
        }
        ensure!(self.server.is_running(), "the server has ended");
        let pid = self.server.pid().context("the server has ended")?;
        let sample = Sample::take(pid, self.data.as_deref())?;
        self.samples.push(sample);
        Ok(sample)
    }

    fn checkpoints(&self) -> usize {
        if self.server.kind() == Kind::Oxkeeper {
            let log = self.server.log();
            return log.matches("checkpoint taken").count();
        }
        // The genuine server keeps all of its snapshots until autopurge's hour.
        let dir = self.data.as_ref().map(|dir| dir.join("version-2"));
        let files = dir.and_then(|dir| std::fs::read_dir(dir).ok());
        let names = files.into_iter().flatten().flatten();
        names
            .filter(|it| it.file_name().to_string_lossy().starts_with("snapshot."))
            .count()
    }

    fn judge(&mut self, suite: &mut Suite, plan: &Plan) {
        if matches!(plan.kind, Kind::External(_)) {
            say("what a server holds that somebody else started is not looked at");
            return;
        }
        let address = self.server.address();
        check(
            suite,
            "checkpoints go on after the load",
            self.one_more(plan, address),
        );
        let log = self.server.log();
        let bad = |line: &&str| line.contains("ERROR") || line.contains("panicked");
        let errors: Vec<&str> = log.lines().filter(bad).take(5).collect();
        if errors.is_empty() && self.server.is_running() {
            suite.pass("the server lives, and its log has no error");
        } else {
            let why = format!("{}\n{}", errors.join("\n"), self.server.log_tail());
            suite.fail("the server lives, and its log has no error", why);
        }
        if plan.kind != Kind::Oxkeeper {
            // A heap grows to its bound; snapshots stay until autopurge's hour.
            say("memory and files are judged only of our server");
            return;
        }
        let most = self.samples.iter().map(|it| it.memory_kib).max();
        let name = format!("memory stays below {} MiB", MEMORY_KIB_MAX >> 10);
        match most {
            Some(most) if most <= MEMORY_KIB_MAX => {
                suite.pass(format!("{name}: at most {} MiB", most >> 10));
            }
            most => suite.fail(name, format!("{} MiB", most.unwrap_or(0) >> 10)),
        }
        for (name, figure, factor, slack) in FLAT {
            let judged = plan.time >= JUDGED_FROM;
            match flat(&self.samples, figure, factor, slack) {
                Ok((third, last)) => suite.pass(format!(
                    "{name}: {third:.0} in the third fifth, {last:.0} in the last"
                )),
                Err((third, last, _)) if !judged => say(format_args!(
                    "{name}: {third:.0}, then {last:.0}: too short a run to judge"
                )),
                Err((third, last, allowed)) => suite.fail(
                    name,
                    format!(
                        "{third:.0} in the third fifth, {last:.0} in the last, {allowed:.0} allowed"
                    ),
                ),
            }
        }
    }

    /// Writes until one more checkpoint is taken.
    fn one_more(&self, plan: &Plan, address: SocketAddr) -> Result<String> {
        let during = self.checkpoints();
        ensure!(during > 0, "none was taken during the load");
        let mut worker = Worker::open(address, usize::from(u16::MAX), plan.seed)?;
        let (tally, stop) = (Tally::default(), AtomicBool::new(false));
        let began = Instant::now();
        thread::scope(|scope| {
            let thread = scope.spawn(|| worker.run(&tally, &stop));
            while self.checkpoints() == during && began.elapsed() < Duration::from_secs(120) {
                sleep(Duration::from_millis(100));
            }
            stop.store(true, Ordering::Relaxed);
            thread.join().expect("a worker does not panic")
        })?;
        ensure!(
            self.checkpoints() > during,
            "{during} until then, and none in the two minutes after"
        );
        Ok(format!(
            "{during} until then, one more in {:.0?}",
            began.elapsed()
        ))
    }
}

type Figure = fn(&Sample) -> u64;

/// What must be flat: the mean of the last fifth is at most a factor of that of the third, and
/// something for a run that is caught between two checkpoints.
const FLAT: [(&str, Figure, f64, f64); 5] = [
    ("memory is flat (KiB)", |it| it.memory_kib, 1.1, 16384.0),
    ("descriptors are flat", |it| it.descriptors, 1.1, 16.0),
    ("threads are flat", |it| it.threads, 1.0, 8.0),
    ("files are flat", |it| it.files, 1.25, 16.0),
    ("the disk is flat (KiB)", |it| it.disk_kib, 1.25, 65536.0),
];

/// A session that ends without a word expires: how long that takes.
fn expiry(address: SocketAddr) -> Result<Duration> {
    let mut control = Pipe::open(address, 10_000)?;
    let mut lost = Pipe::open(address, 4000)?;
    lost.create(&format!("{ABANDONED}/it"), b"", 1)?;
    drop(lost);
    let began = Instant::now();
    while control.count(ABANDONED)? > 0 {
        ensure!(
            began.elapsed() < EXPIRY_TIME_MAX,
            "its ephemeral is there after {EXPIRY_TIME_MAX:?}"
        );
        sleep(Duration::from_millis(200));
    }
    control.close()?;
    Ok(began.elapsed())
}

/// The answer to a four-letter word; nothing from a server that may not answer it.
fn word(kind: Kind, address: SocketAddr, word: &str) -> Result<String> {
    let answer = client::word(address, word.as_bytes(), REPLY_TIME_MAX)?;
    ensure!(
        matches!(kind, Kind::External(_)) || answer.contains("zk_znode_count"),
        "no answer to {word}: {answer:?}"
    );
    Ok(answer)
}
