//! What is measured. Each scenario runs on one server at a time and returns its figures.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::contestant::{Contestant, HOT, hot};
use crate::drive::{self, Load, Run};
use crate::fleet::{Came, Fleet};
use crate::histogram::Histogram;
use crate::measure::{MEMORY, Measure, TIME};
use crate::wire;

/// How much of everything; `--quick` takes less.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scale {
    /// How long each run of requests lasts.
    pub time: Duration,
    /// Znodes in the big tree.
    pub znodes: usize,
    /// Changes that are told to all watchers.
    pub changes: usize,
    /// Idle sessions whose memory is measured.
    pub sessions: usize,
}

/// A scenario's name and what it does.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name, for the filter and the results.
    pub name: &'static str,
    /// True when it wants a server of its own, fresh.
    pub own_server: bool,
    /// Runs it.
    pub run: fn(&mut Contestant, &Scale) -> Result<Measure>,
}

const fn shared(
    name: &'static str,
    run: fn(&mut Contestant, &Scale) -> Result<Measure>,
) -> Scenario {
    Scenario {
        name,
        own_server: false,
        run,
    }
}

const fn own(name: &'static str, run: fn(&mut Contestant, &Scale) -> Result<Measure>) -> Scenario {
    Scenario {
        name,
        own_server: true,
        run,
    }
}

/// All scenarios, in the order in which they run.
pub const SCENARIOS: [Scenario; 15] = [
    shared("get-64x16", |at, scale| get(at, scale, 64, 16)),
    shared("get-64x1", |at, scale| get(at, scale, 64, 1)),
    shared("get-1x1", |at, scale| get(at, scale, 1, 1)),
    shared("create-64x16", |at, scale| create(at, scale, 64, 16)),
    shared("create-64x1", |at, scale| create(at, scale, 64, 1)),
    shared("create-1x1", |at, scale| create(at, scale, 1, 1)),
    shared("mixed-64x16", mixed),
    shared("multi-16x4", multi),
    shared("watch-one-shot", watch_one_shot),
    shared("watch-persistent", watch_persistent),
    shared("session", session),
    shared("ping", ping),
    shared("open-loop", open_loop),
    own("idle-session", idle_session),
    own("big-tree", big_tree),
];

const WATCHERS: usize = 1000;
const IDLE: usize = 1000;
const PINGS_PER_SECOND: u32 = 2000;
const REQUESTS_PER_SECOND: u32 = 5000;
const OPENING_AT_ONCE: usize = 16;
const PER_MULTI: usize = 10;
const PER_DIRECTORY: usize = 1000;

/// A small, fast, repeatable source of choices.
#[derive(Debug)]
pub(crate) struct Choice(u64);

impl Choice {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}

pub(crate) fn choice() -> Choice {
    Choice(0x9e37_79b9_7f4a_7c15)
}

fn closed(
    at: &Contestant,
    scale: &Scale,
    (sessions, depth): (usize, usize),
    load: impl Load,
) -> Result<Measure> {
    let mut fleet = Fleet::open(at.address(), sessions)?;
    let measure = at.measure(|| {
        let Run {
            requests, latency, ..
        } = drive::closed_loop(&mut fleet, depth, scale.time, u64::MAX, load)?;
        Ok((requests, latency))
    })?;
    fleet.close()?;
    Ok(measure)
}

/// getData of hot znodes.
pub(crate) fn get(
    at: &mut Contestant,
    scale: &Scale,
    sessions: usize,
    depth: usize,
) -> Result<Measure> {
    let paths: Vec<String> = (0..HOT).map(hot).collect();
    let mut choice = choice();
    closed(at, scale, (sessions, depth), |_, xid, out| {
        wire::get(out, xid, &paths[choice.below(HOT)], false);
    })
}

/// create, of one fresh parent's children.
pub(crate) fn create(
    at: &mut Contestant,
    scale: &Scale,
    sessions: usize,
    depth: usize,
) -> Result<Measure> {
    let mut names = Names::below(at.parent()?);
    closed(at, scale, (sessions, depth), |_, xid, out| {
        wire::create(out, xid, names.next_path());
    })
}

fn mixed(at: &mut Contestant, scale: &Scale) -> Result<Measure> {
    let paths: Vec<String> = (0..HOT).map(hot).collect();
    let mut choice = choice();
    closed(at, scale, (64, 16), |_, xid, out| {
        let path = &paths[choice.below(HOT)];
        if choice.below(2) == 0 {
            wire::get(out, xid, path, false);
        } else {
            wire::set(out, xid, path);
        }
    })
}

fn multi(at: &mut Contestant, scale: &Scale) -> Result<Measure> {
    let parent = at.parent()?;
    let mut made = 0;
    closed(at, scale, (16, 4), |_, xid, out| {
        let paths: [String; PER_MULTI] =
            std::array::from_fn(|index| format!("{parent}/{:08}", made + index));
        made += PER_MULTI;
        wire::multi_create(out, xid, paths.iter().map(String::as_str));
    })
}

/// Names that were never used, without an allocation each.
#[derive(Debug)]
struct Names {
    path: String,
    prefix: usize,
    next: u64,
}

impl Names {
    fn below(parent: String) -> Self {
        let path = parent + "/";
        Self {
            prefix: path.len(),
            path,
            next: 0,
        }
    }

    fn next_path(&mut self) -> &str {
        use std::fmt::Write as _;
        self.path.truncate(self.prefix);
        self.next += 1;
        write!(self.path, "{:08}", self.next).expect("a String takes all");
        &self.path
    }
}

/// Every watcher leaves a watch on each of some znodes; then those change one after the other. Only
/// the changes are measured, not the leaving of watches.
fn watch_one_shot(at: &mut Contestant, scale: &Scale) -> Result<Measure> {
    let mut watchers = Fleet::open(at.address(), WATCHERS)?;
    let now = Instant::now();
    for link in 0..WATCHERS {
        for change in 0..scale.changes {
            let path = hot(change % HOT);
            watchers.push(link, now, |xid, out| wire::get(out, xid, &path, true));
        }
        watchers.flush(link)?;
        // Not all at once: the replies of one session fit the socket's buffer.
        if link % 8 == 7 {
            watchers.drain()?;
        }
    }
    watchers.drain()?;
    let measure = told(at, &mut watchers, scale, |change| hot(change % HOT))?;
    watchers.close()?;
    Ok(measure)
}

fn watch_persistent(at: &mut Contestant, scale: &Scale) -> Result<Measure> {
    let mut watchers = Fleet::open(at.address(), WATCHERS)?;
    let now = Instant::now();
    for link in 0..WATCHERS {
        watchers.push(link, now, |xid, out| wire::add_watch(out, xid, &hot(0)));
        watchers.flush(link)?;
    }
    watchers.drain()?;
    let measure = told(at, &mut watchers, scale, |_| hot(0))?;
    watchers.close()?;
    Ok(measure)
}

/// Changes znodes one after the other, each after the last event of the one before. An operation is
/// one event; the latency is from a change until its last event.
fn told(
    at: &Contestant,
    watchers: &mut Fleet,
    scale: &Scale,
    path: impl Fn(usize) -> String,
) -> Result<Measure> {
    let mut writer = Fleet::open(at.address(), 1)?;
    let measure = at.measure(|| {
        let mut latency = Histogram::default();
        for change in 0..scale.changes {
            let begin = Instant::now();
            writer.push(0, begin, |xid, out| wire::set(out, xid, &path(change)));
            writer.flush(0)?;
            let mut missing = WATCHERS;
            while missing > 0 {
                watchers.turn(None, |_, came| {
                    missing -= usize::from(came == Came::Event);
                    Ok(())
                })?;
            }
            latency.record(begin.elapsed().as_nanos() as u64);
            writer.drain()?;
        }
        Ok(((WATCHERS * scale.changes) as u64, latency))
    })?;
    writer.close()?;
    Ok(measure)
}

/// Connects, opens a session, closes it; some at once.
pub(crate) fn session(at: &mut Contestant, scale: &Scale) -> Result<Measure> {
    let address = at.address();
    at.measure(|| open_and_close(address, scale.time))
}

/// Opens and closes sessions for so long.
pub(crate) fn open_and_close(address: SocketAddr, time: Duration) -> Result<(u64, Histogram)> {
    let mut latency = Histogram::default();
    let begin = Instant::now();
    while begin.elapsed() < time {
        let start = Instant::now();
        Fleet::open(address, OPENING_AT_ONCE)?.close()?;
        for _ in 0..OPENING_AT_ONCE {
            latency.record(start.elapsed().as_nanos() as u64);
        }
    }
    Ok((latency.count(), latency))
}

/// Idle sessions only ping, each on its own and never two at once.
fn ping(at: &mut Contestant, scale: &Scale) -> Result<Measure> {
    paced(at, scale, (IDLE, PINGS_PER_SECOND), |_, _, out| {
        wire::ping(out);
    })
}

fn open_loop(at: &mut Contestant, scale: &Scale) -> Result<Measure> {
    let paths: Vec<String> = (0..HOT).map(hot).collect();
    let mut choice = choice();
    paced(at, scale, (64, REQUESTS_PER_SECOND), |_, xid, out| {
        let path = &paths[choice.below(HOT)];
        if choice.below(10) == 0 {
            wire::set(out, xid, path);
        } else {
            wire::get(out, xid, path, false);
        }
    })
}

fn paced(
    at: &Contestant,
    scale: &Scale,
    (sessions, per_second): (usize, u32),
    load: impl Load,
) -> Result<Measure> {
    let mut fleet = Fleet::open(at.address(), sessions)?;
    let measure = at.measure(|| {
        let run = drive::open_loop(&mut fleet, per_second, scale.time, load)?;
        Ok((run.requests, run.latency))
    })?;
    fleet.close()?;
    Ok(measure)
}

/// What a fresh server's resident memory grows by for each session that only is there.
fn idle_session(at: &mut Contestant, scale: &Scale) -> Result<Measure> {
    let settle = || std::thread::sleep(Duration::from_secs(1));
    settle();
    let before = at.resident()?;
    let fleet = Fleet::open(at.address(), scale.sessions)?;
    settle();
    let after = at.resident()?;
    fleet.close()?;
    let mut measure = Measure::default();
    measure.set(MEMORY, (after - before) / scale.sessions as f64);
    Ok(measure)
}

/// Creates the big tree, uses it, reads the memory, and restarts the server.
fn big_tree(at: &mut Contestant, scale: &Scale) -> Result<Measure> {
    let directories = scale.znodes.div_ceil(PER_DIRECTORY);
    let path = |number: usize| {
        let directory = number / PER_DIRECTORY;
        format!("/t/{directory:05}/{number:08}")
    };
    let mut fleet = Fleet::open(at.address(), 1)?;
    drive::fill(&mut fleet, 1, ["/t".to_owned()].into_iter(), wire::create)?;
    fleet.close()?;
    let mut fleet = Fleet::open(at.address(), 16)?;
    let parents = (0..directories).map(|directory| format!("/t/{directory:05}"));
    drive::fill(&mut fleet, 8, parents, wire::create)?;
    let begin = Instant::now();
    drive::fill(&mut fleet, 60, (0..scale.znodes).map(path), wire::create)?;
    let filled = begin.elapsed();
    let mut choice = choice();
    drive::closed_loop(&mut fleet, 4, scale.time * 2, u64::MAX, |_, xid, out| {
        let path = path(choice.below(scale.znodes));
        if choice.below(5) == 0 {
            wire::set(out, xid, &path);
        } else {
            wire::get(out, xid, &path, false);
        }
    })?;
    let memory = at.resident()?;
    fleet.close()?;
    let restart = at.restart(&path(scale.znodes - 1))?;
    let mut measure = Measure::default();
    measure.set(MEMORY, memory);
    measure.set(TIME, restart.as_secs_f64() * 1000.0);
    measure.set("fill_ms", filled.as_secs_f64() * 1000.0);
    measure.set("restarted_memory_bytes", at.resident()?);
    Ok(measure)
}
