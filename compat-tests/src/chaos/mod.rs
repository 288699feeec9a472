//! Crashes under load: kill -9 (or SIGTERM) at random moments, then everything that was promised is
//! looked for.
//!
//! ```text
//!   load (workers, threads) ──▶ history ──┐
//!   kill, perhaps again in the recovery   ├──▶ check: problems
//!   restart ──▶ dump of the tree ─────────┘
//!   sessions taken back, setWatches, watches fired once more
//! ```
//!
//! A cycle's choices follow from the seed; only how far the load comes is a matter of time.

pub mod check;
pub mod control;
pub mod dump;
pub mod ending;
pub mod history;
pub mod load;
pub mod model;
pub mod power;
pub mod watcher;

#[cfg(test)]
mod tests;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use self::check::Checker;
use self::dump::Dump;
use self::ending::{Blow, Ended, Ending, Point};
use self::history::{Entry, Op};
use self::load::{COUNTERS_COUNT, KEYS, Worker};
use self::model::{COUNTERS, Model, SHARED};
use self::watcher::Watcher;
use crate::client::{Connection, REPLY_TIME_MAX};
use crate::differential::random::Random;
use crate::fault::Tracer;
use crate::server::{Kind, Options, Server};
use crate::suite::{Suite, say};

const ROOT: &str = "/chaos";
/// Parent of the ephemerals of sessions that are left to expire.
const ABANDONED: &str = "/chaos/a";
const ABANDONED_TIMEOUT_MS: i32 = 4000;
const EXPIRY_TIME_MAX: Duration = Duration::from_secs(30);

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which server.
    pub kind: Kind,
    /// How many crashes at random moments.
    pub cycles: u64,
    /// How many more at each [`Point`].
    pub at_each_point: u64,
    /// How many writers.
    pub workers: usize,
    /// Each so-many-th cycle ends by SIGTERM; 0: none.
    pub sigterm_every: u64,
    /// Of all choices.
    pub seed: u64,
    /// Number of the first cycle: with the seed, it decides what the workers ask for.
    pub first: u64,
    /// Where the history of a failed cycle is written.
    pub history: PathBuf,
}

struct Run {
    server: Server,
    workers: Vec<Worker>,
    watcher: Watcher,
    checker: Checker,
    dump: Dump,
    /// What was written since the last judgement, for each worker.
    history: Vec<Vec<Entry>>,
    abandoned: usize,
}

/// Runs all cycles and the controls; true if nothing is wrong.
///
/// # Errors
/// The server cannot be started or does not come back.
pub fn run(plan: &Plan) -> Result<bool> {
    ensure!(
        !matches!(plan.kind, Kind::External(_)),
        "a server that somebody else started cannot be crashed"
    );
    let mut suite = Suite::open(format!(
        "chaos: {}, {} cycles, seed {}",
        plan.kind, plan.cycles, plan.seed
    ));
    let mut run = Run::start(plan, options(plan.kind))?;
    for cycle in plan.first..plan.first + plan.cycles {
        let mut random = Random::new(plan.seed, cycle);
        let gently = plan.sigterm_every > 0 && cycle % plan.sigterm_every == plan.sigterm_every - 1;
        let again = random.below(8) / 5;
        let ending = if gently {
            Ending::Terminate
        } else {
            Ending::Kill
        };
        run.cycle(plan, &mut suite, cycle, &mut random, &ending, again)?;
    }
    points(&mut run, plan, &mut suite)?;
    let tally = run.checker.tally;
    say(format_args!(
        "{} writes answered, {} not, {} of those kept; {} watch events",
        tally.answered, tally.unanswered, tally.unanswered_kept, run.watcher.events
    ));
    match run.expiry()? {
        Ok(took) => suite.pass(format!("abandoned sessions expire ({took:.0?})")),
        Err(why) => suite.fail("abandoned sessions expire", why),
    }
    drop(run);
    control::run(plan, &mut suite)?;
    Ok(suite.close())
}

/// Crashes at each named point, each of which must be met. They are steps of our server: a genuine
/// one makes some of them by other calls.
fn points(run: &mut Run, plan: &Plan, suite: &mut Suite) -> Result<()> {
    if plan.at_each_point == 0 || plan.kind != Kind::Oxkeeper {
        return Ok(());
    }
    if let Some(why) = Tracer::why_not() {
        say(format_args!(
            "skipped, because: {why}: crashes at named steps"
        ));
        return Ok(());
    }
    let mut cycle = plan.first + plan.cycles;
    let blows = |point: Point| {
        let possible = move |blow: &Blow| point.writes() || *blow != Blow::NoSpace;
        Blow::ALL.into_iter().filter(possible)
    };
    let all = Point::ALL
        .into_iter()
        .flat_map(|point| blows(point).map(move |blow| (point, blow)));
    for (point, blow) in all {
        let mut met = 0;
        for _ in 0..plan.at_each_point {
            let mut random = Random::new(plan.seed, cycle);
            let ending = Ending::At(point, 1 + random.below(point.arrivals_max()), blow);
            met += u64::from(run.cycle(plan, suite, cycle, &mut random, &ending, 0)?);
            cycle += 1;
        }
        if met == 0 {
            suite.fail(format!("{blow:?} at {point:?}"), "the point was never met");
        }
    }
    Ok(())
}

/// Synced, and with little log before a checkpoint, so that crashes meet flushes and purges.
fn options(kind: Kind) -> Options {
    let options = Options::default()
        .config("forceSync", "yes")
        .config("minSessionTimeout", "2000");
    if kind == Kind::Oxkeeper {
        options.config("oxkeeper.logBytesBeforeFlush", "1M")
    } else {
        options.config("snapCount", "2000")
    }
}

impl Run {
    fn start(plan: &Plan, options: Options) -> Result<Self> {
        Self::on(plan, Server::start(plan.kind, options)?)
    }

    /// Clients and roots on a server that runs.
    fn on(plan: &Plan, server: Server) -> Result<Self> {
        let address = server.address();
        let mut setup = Worker::new(usize::MAX);
        setup.attach(address)?;
        let mut paths = vec![
            ROOT.to_owned(),
            "/chaos/s".to_owned(),
            SHARED.to_owned(),
            COUNTERS.to_owned(),
            ABANDONED.to_owned(),
        ];
        paths.extend((0..COUNTERS_COUNT).map(|index| format!("{COUNTERS}/{index}")));
        for worker in 0..plan.workers {
            paths.extend([format!("/chaos/p{worker}"), format!("/chaos/p{worker}/q")]);
        }
        let mut ops: Vec<Op> = paths.into_iter().map(|path| create(path, "")).collect();
        ops.push(Op::Close);
        setup.write(ops).context("make the roots")?;
        let dump = Dump::take(address, ROOT)?;
        let mut checker = Checker::new(plan.workers, &dump);
        let mut workers: Vec<Worker> = (0..plan.workers).map(Worker::new).collect();
        for worker in &mut workers {
            worker.attach(address)?;
            worker
                .take_opened()
                .iter()
                .for_each(|it| checker.opened(*it));
        }
        let watcher = Watcher::open(address)?;
        checker.opened(watcher.session());
        Ok(Self {
            server,
            history: vec![Vec::new(); workers.len()],
            workers,
            watcher,
            checker,
            dump,
            abandoned: 0,
        })
    }

    /// A crash with all that is looked for after it, as one or two cases of the suite; whether the
    /// ending was what it was meant to be.
    fn cycle(
        &mut self,
        plan: &Plan,
        suite: &mut Suite,
        cycle: u64,
        random: &mut Random,
        ending: &Ending<'_>,
        again: usize,
    ) -> Result<bool> {
        let before = self.checker.tally;
        let ended = self.crash(random, ending, again)?;
        if let Ending::Power(disk) = ending {
            disk.come_back()?;
        }
        let problems = self.restart_and_judge(cycle)?;
        let tally = self.checker.tally;
        let name = format!(
            "cycle {cycle}: {}: {} answered, {} not, of those {} kept",
            ended.how,
            tally.answered - before.answered,
            tally.unanswered - before.unanswered,
            tally.unanswered_kept - before.unanswered_kept,
        );
        if problems.is_empty() {
            suite.pass(name);
        } else {
            let file = self.save_history(plan, cycle)?;
            suite.fail(
                name,
                format!("{}\nhistory: {}", problems.join("\n"), file.display()),
            );
        }
        self.history.iter_mut().for_each(Vec::clear);
        let poked = self.poke(random)?;
        if !poked.is_empty() {
            suite.fail(format!("cycle {cycle}: watches"), poked.join("\n"));
        }
        Ok(ended.met)
    }

    /// Load until the server ends; then starts and kills it `again` times in its recovery.
    fn crash(&mut self, random: &mut Random, ending: &Ending<'_>, again: usize) -> Result<Ended> {
        let address = self.server.address();
        // 1 ms to 2 s, short ones as often as long ones.
        let delay =
            Duration::from_micros((1000.0 * 2f64.powf(random.below(1100) as f64 / 100.0)) as u64);
        let keys: Vec<String> = (0..KEYS).map(|key| format!("/chaos/p0/k{key}")).collect();
        let parents = ["/chaos/p0".to_owned(), "/chaos/p0/q".to_owned()];
        let early = random.chance(50);
        if early {
            self.watcher.register(&keys, &parents)?;
        }
        self.abandon(address)?;
        let ending_now = AtomicBool::new(false);
        let mut streams: Vec<Random> = (0..self.workers.len())
            .map(|_| Random::new(random.below(usize::MAX) as u64, 0))
            .collect();
        let (dump, server, watcher) = (&self.dump, &mut self.server, &mut self.watcher);
        let (ended, loads) = thread::scope(|scope| {
            let threads: Vec<_> = self
                .workers
                .iter_mut()
                .zip(&mut streams)
                .map(|(worker, stream)| {
                    let belief = Model::from_dump(worker.id, dump);
                    let ending_now = &ending_now;
                    scope.spawn(move || worker.load(address, belief, stream, ending_now))
                })
                .collect();
            let ended = (|| {
                sleep(delay / 2);
                if !early {
                    watcher.register(&keys, &parents)?;
                }
                sleep(delay / 2);
                ending_now.store(true, Ordering::SeqCst);
                ending.bring(server)
            })();
            ending_now.store(true, Ordering::SeqCst);
            if ended.is_err() {
                drop(server.kill9());
            }
            let loads: Vec<_> = threads
                .into_iter()
                .map(|thread| thread.join().expect("a worker's thread does not panic"))
                .collect();
            ended.map(|ended| (ended, loads))
        })
        .with_context(|| format!("the server's log ends:\n{}", self.server.log_tail()))?;
        for ((history, load), worker) in self.history.iter_mut().zip(loads).zip(&mut self.workers) {
            let entries =
                load.with_context(|| format!("its log ends:\n{}", self.server.log_tail()))?;
            history.extend(entries);
            for session in worker.take_opened() {
                self.checker.opened(session);
            }
        }
        self.watcher.drain()?;
        let more = self.crash_again(random, again)?;
        Ok(Ended {
            how: format!("{} after {delay:.0?}{more}", ended.how),
            met: ended.met,
        })
    }

    /// Starts the server and kills it in its recovery, so many times.
    fn crash_again(&mut self, random: &mut Random, times: usize) -> Result<String> {
        let mut how = String::new();
        for _ in 0..times {
            let into = Duration::from_millis(random.below(400) as u64);
            self.server.spawn()?;
            sleep(into);
            self.server.kill9()?;
            how += &format!(", again {into:.0?} into the recovery");
        }
        Ok(how)
    }

    fn restart_and_judge(&mut self, cycle: u64) -> Result<Vec<String>> {
        self.server
            .restart()
            .with_context(|| format!("restart after cycle {cycle}"))?;
        let address = self.server.address();
        self.dump = Dump::take(address, ROOT)?;
        let mut problems = self.checker.judge(&self.history, &self.dump);
        for worker in &mut self.workers {
            let accepted = worker.attach(address)?;
            if let Some((session, accepted)) = accepted {
                problems.extend(self.checker.attached(worker.id, session, accepted));
            }
            for session in worker.take_opened() {
                self.checker.opened(session);
            }
        }
        problems.extend(self.watcher.come_back(address, &self.dump)?);
        Ok(problems)
    }

    /// Writes each znode that is still watched: each watch fires, once.
    fn poke(&mut self, random: &mut Random) -> Result<Vec<String>> {
        let (mut made, mut changed, mut ops) = (Vec::new(), Vec::new(), Vec::new());
        for path in self.watcher.waiting() {
            let data = self.workers[0].data(random);
            if self.dump.nodes.contains_key(&path) {
                changed.push(path.clone());
                ops.push(Op::Set {
                    path,
                    data,
                    version: -1,
                });
            } else {
                made.push(path.clone());
                ops.push(create(path, &data));
            }
        }
        // Nobody watches keys that fired: writing them shows nothing.
        for key in 0..KEYS {
            let path = format!("/chaos/p0/k{key}");
            if self.dump.nodes.contains_key(&path) && !changed.contains(&path) {
                let data = self.workers[0].data(random);
                ops.push(Op::Set {
                    path,
                    data,
                    version: -1,
                });
            }
        }
        let expected = self.watcher.expect(&made, &changed);
        self.history[0].extend(self.workers[0].write(ops)?);
        let problems = self.watcher.told(expected)?;
        // The workers' beliefs start from what is there now.
        self.dump = Dump::take(self.server.address(), ROOT)?;
        Ok(problems)
    }

    /// A session with an ephemeral and a short timeout, whose client vanishes.
    fn abandon(&mut self, address: SocketAddr) -> Result<()> {
        let mut connection = Connection::open(address, REPLY_TIME_MAX)?;
        let (session, _) = connection.new_session(ABANDONED_TIMEOUT_MS)?;
        self.checker.opened(session);
        self.abandoned += 1;
        let op = Op::Create {
            path: format!("{ABANDONED}/{}", self.abandoned),
            data: String::new(),
            flags: 1,
        };
        connection.send(&op.frame(1));
        drop(connection.receive()?);
        Ok(())
    }

    /// Waits until nothing of the abandoned sessions is left; the others keep what they own.
    fn expiry(&mut self) -> Result<Result<Duration, String>> {
        let started = Instant::now();
        let before = ephemerals(&self.dump);
        loop {
            let dump = Dump::take(self.server.address(), ROOT)?;
            let left = dump.below(ABANDONED).count();
            if left == 0 {
                let after = ephemerals(&dump);
                return Ok(if before == after {
                    Ok(started.elapsed())
                } else {
                    Err(format!("others lost theirs: {before:?}, then {after:?}"))
                });
            }
            if started.elapsed() > EXPIRY_TIME_MAX {
                return Ok(Err(format!("{left} ephemerals are left")));
            }
            sleep(Duration::from_millis(200));
        }
    }

    fn save_history(&self, plan: &Plan, cycle: u64) -> Result<PathBuf> {
        let file = plan
            .history
            .join(format!("chaos-{}-{}-{cycle}.json", plan.kind, plan.seed));
        fs::create_dir_all(&plan.history).context("make the directory of histories")?;
        let text =
            serde_json::to_vec(&(&self.history, &self.dump.nodes)).context("encode the history")?;
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        Ok(file)
    }
}

/// Copies a directory with all that is in it.
pub fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("list {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)
                .with_context(|| format!("copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}

fn create(path: String, data: &str) -> Op {
    Op::Create {
        path,
        data: data.to_owned(),
        flags: 0,
    }
}

fn ephemerals(dump: &Dump) -> Vec<&String> {
    dump.nodes
        .iter()
        .filter(|(path, found)| found.stat.owner != 0 && !path.starts_with(ABANDONED))
        .map(|(path, _)| path)
        .collect()
}
