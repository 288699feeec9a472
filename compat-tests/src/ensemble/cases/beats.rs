//! How regularly a leader is heard while it has other things to do. What is judged is that nobody replaces
//! it; the longest silence is printed.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::net::Wiring;
use super::super::{Ensemble, START_TIME_MAX};
use super::{Change, setup};
use crate::disk::Library;
use crate::hostile::pipe::{Pipe, create, read};
use crate::suite::say;

const RULES: &str = "disk-rules";
/// Each thing lasts so long; a disk hangs for longer than any election takes.
const LASTS: Duration = Duration::from_secs(4);
const HANGS: Duration = Duration::from_secs(5);
/// More than a machine takes that runs other tests, too; less than a disk hangs here.
const ELECTION_MS: &str = "1500..3000";
const SESSION_MS: i32 = 30_000;
const WRITERS: usize = 3;
/// Znodes that do not fit into the memory of these servers, and the memory.
const LARGE: usize = 3_000;
const LARGE_BYTES: usize = 20_000;
const MEMORY: &str = "16M";
const SNAP_COUNT: &str = "400";
const SPINNERS: usize = 4;

/// What clients do meanwhile.
#[derive(Debug, Default)]
struct Load {
    ends: AtomicBool,
    writes: AtomicBool,
    reads: AtomicBool,
    spins: AtomicBool,
    written: AtomicUsize,
    read: AtomicUsize,
}

/// See the head of the file.
///
/// # Errors
/// Somebody else came to lead, or nothing of it happened.
pub(super) fn heartbeats(change: &Change<'_>) -> Result<String> {
    let library = Library::of("disk_faults")?;
    let mut setup = setup(Wiring::Proxies);
    setup.options = setup
        .options
        .config("snapCount", SNAP_COUNT)
        .config("oxkeeper.memory", MEMORY)
        .config("oxkeeper.electionTimeoutMs", ELECTION_MS)
        .environment("LD_PRELOAD", &library.path().display().to_string())
        .environment("DISK_FAULTS", RULES);
    let ensemble = Ensemble::start(&change(setup))?;
    let leader = ensemble.wait_for_leader(START_TIME_MAX)?;
    fill(&ensemble, leader)?;
    let load = Load::default();
    thread::scope(|scope| {
        for number in 0..WRITERS {
            let load = &load;
            let address = ensemble.address((leader + number) % ensemble.len());
            scope.spawn(move || write(load, Pipe::open(address, SESSION_MS).ok(), number));
        }
        let reader = Pipe::open(ensemble.address(leader), SESSION_MS).ok();
        scope.spawn(|| read_large(&load, reader));
        for _ in 0..SPINNERS {
            scope.spawn(|| spin(&load));
        }
        let told = phases(&ensemble, leader, &load);
        load.ends.store(true, Ordering::SeqCst);
        told
    })
}

fn fill(ensemble: &Ensemble, leader: usize) -> Result<()> {
    let mut pipe = Pipe::open(ensemble.address(leader), SESSION_MS)?;
    pipe.create("/large", b"", 0)?;
    pipe.create("/written", b"", 0)?;
    let requests: Vec<_> = (0..LARGE)
        .map(|index| {
            (
                1,
                create(&format!("/large/{index}"), &vec![7; LARGE_BYTES], 0),
            )
        })
        .collect();
    for part in requests.chunks(100) {
        ensure!(
            pipe.ask(part)?.iter().all(|error| *error == 0),
            "create a large tree"
        );
    }
    pipe.close()
}

/// One thing after the other; what it came to.
fn phases(ensemble: &Ensemble, leader: usize, load: &Load) -> Result<String> {
    let rules = ensemble.dir(leader)?.join(RULES);
    let checkpoints = || {
        ensemble
            .server(leader)
            .log()
            .matches("checkpoint taken")
            .count()
    };
    let mut told = Vec::new();
    let mut phase = |name: &str, time: Duration| -> Result<()> {
        // What was before is no part of it.
        hear(ensemble, leader)?;
        sleep(time);
        let (count, longest) = hear(ensemble, leader)?;
        let now = ensemble.wait_for_leader(START_TIME_MAX)?;
        ensure!(
            now == leader,
            "{name}: server {} leads, and not {} any more, after {longest:.0?} without a heartbeat\n{}",
            now + 1,
            leader + 1,
            ensemble.logs()
        );
        ensure!(count > 0, "{name}: no heartbeat was heard");
        say(format_args!(
            "     {name}: {count} heartbeats, the longest silence {longest:.0?}"
        ));
        told.push(format!("{name} {longest:.0?}"));
        Ok(())
    };
    phase("idle", LASTS)?;
    load.writes.store(true, Ordering::SeqCst);
    let taken = checkpoints();
    phase("writes with checkpoints", LASTS)?;
    ensure!(checkpoints() > taken, "no checkpoint was taken");
    load.reads.store(true, Ordering::SeqCst);
    phase("cache misses, too", LASTS)?;
    ensure!(load.read.load(Ordering::SeqCst) > 0, "nothing was read");
    load.spins.store(true, Ordering::SeqCst);
    phase("all processors taken, too", LASTS)?;
    load.spins.store(false, Ordering::SeqCst);
    let written = load.written.load(Ordering::SeqCst);
    fs::write(&rules, "sync hang .segment").context("write a rule")?;
    let hung = phase("its log's disk hangs", HANGS);
    fs::remove_file(&rules).context("remove a rule")?;
    hung?;
    let during = load.written.load(Ordering::SeqCst) - written;
    ensure!(during > 0, "nothing was written while one disk hung");
    phase("after that", LASTS)?;
    Ok(format!("longest silences: {}", told.join(", ")))
}

/// What both followers have heard since: the fewest heartbeats, the longest silence.
fn hear(ensemble: &Ensemble, leader: usize) -> Result<(usize, Duration)> {
    let (mut fewest, mut longest) = (usize::MAX, Duration::ZERO);
    for follower in (0..ensemble.len()).filter(|it| *it != leader) {
        let beats = ensemble.beats(leader, follower)?;
        fewest = fewest.min(beats.count);
        longest = longest.max(beats.longest);
    }
    Ok((fewest, longest))
}

fn waits(load: &Load, wanted: &AtomicBool) -> bool {
    while !wanted.load(Ordering::SeqCst) {
        if load.ends.load(Ordering::SeqCst) {
            return false;
        }
        sleep(Duration::from_millis(5));
    }
    !load.ends.load(Ordering::SeqCst)
}

fn write(load: &Load, pipe: Option<Pipe>, number: usize) {
    let Some(mut pipe) = pipe else { return };
    let mut index = 0;
    while waits(load, &load.writes) {
        let requests: Vec<_> = (0..8)
            .map(|part| {
                (
                    1,
                    create(&format!("/written/{number}-{index}-{part}"), &[7; 500], 0),
                )
            })
            .collect();
        index += 1;
        match pipe.ask(&requests) {
            Ok(errors) => drop(load.written.fetch_add(errors.len(), Ordering::SeqCst)),
            Err(_) => return,
        }
    }
}

fn read_large(load: &Load, pipe: Option<Pipe>) {
    let Some(mut pipe) = pipe else { return };
    let mut index = 0;
    while waits(load, &load.reads) {
        index = (index + 997) % LARGE;
        match pipe.ask(&[(4, read(&format!("/large/{index}"), false))]) {
            Ok(_) => drop(load.read.fetch_add(1, Ordering::SeqCst)),
            Err(_) => return,
        }
    }
}

fn spin(load: &Load) {
    while waits(load, &load.spins) {
        let until = Instant::now() + Duration::from_millis(20);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    }
}
