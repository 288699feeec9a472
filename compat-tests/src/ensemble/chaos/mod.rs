//! Faults under load, then healing, then everything that was promised is looked for.
//!
//! Each cycle is a history of its own, from an empty tree on, on an ensemble that lives on: clients
//! load all three servers, one fault happens, the ensemble is healed, the clients fall silent but keep
//! their sessions, and the judges ([`super::proof`]) get what all of them saw and a walk over each
//! server. A cycle counts only if its fault happened and enough was written.

mod fault;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

pub use self::fault::Fault;
use super::net::{Namespaces, Wiring};
use super::proof::client::Client;
use super::proof::control::Damage;
use super::proof::history::{Call, End, History, Item, Op, Outcome, ROOT, SESSION_MOVED, Session};
use super::proof::load::{Loader, Role, Shared, roots};
use super::proof::{Sync, judge, walk};
use super::{Ensemble, START_TIME_MAX, Setup};
use crate::differential::random::Random;
use crate::disk::Library;
use crate::fault::Disk;
use crate::server::Kind;
use crate::suite::{Suite, say};

/// The longest timeout that clients ask for.
const SESSION_TIMEOUT: Duration = Duration::from_secs(3);
/// Faults that last do so longer than a session without a word: by three ticks, two of which it may take to
/// notice that.
const FAULT_TIME: Duration = Duration::from_millis(4_500);
/// Load before the fault, and after the healing.
const LOAD_TIME: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);
/// How long the ephemerals of sessions that were left alone may be there: until the timeout, and as long
/// again for who must notice.
const GONE_TIME_MAX: Duration = Duration::from_secs(8);
/// How long clients may take to fall silent, and the trees to become equal.
const QUIET_TIME_MAX: Duration = Duration::from_secs(40);
const SETUP_TIME_MAX: Duration = Duration::from_secs(30);

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which servers.
    pub kind: Kind,
    /// How often each fault.
    pub cycles: u64,
    /// Only faults whose names contain this.
    pub only: String,
    /// On what networks.
    pub wirings: Vec<Wiring>,
    /// How many clients ask for everything, beside those that only watch, read, move, sleep or
    /// come and go.
    pub workers: usize,
    /// Writes that must be acknowledged in a cycle.
    pub writes_min: usize,
    /// How soon all must serve after the healing.
    pub back_within: Duration,
    /// Of all choices.
    pub seed: u64,
    /// Where the history of a failed cycle is written.
    pub history: PathBuf,
}

/// The networks that can be had here.
pub fn wirings() -> Vec<Wiring> {
    match Namespaces::why_not() {
        None => vec![Wiring::Namespaces, Wiring::Proxies],
        Some(why) => {
            say(format_args!(
                "no network namespaces, because: {why}: cuts are made by proxies alone"
            ));
            vec![Wiring::Proxies]
        }
    }
}

/// Where a server of an ensemble with disks of its own finds what hangs, in its directory.
const RULES: &str = "disk-rules";
/// So many log entries between two checkpoints where trees are to get ahead of their logs.
const SNAP_COUNT: &str = "40";

/// On what a part of the faults is made.
struct Stage {
    setup: Setup,
    faults: Vec<Fault>,
    /// It lives as long as the servers that have it loaded.
    _library: Option<Library>,
}

impl Plan {
    fn picks(&self, fault: Fault) -> bool {
        fault.to_string().contains(&self.only)
    }

    /// The networks, each with the faults that no earlier one can make; then the disks.
    fn stages(&self) -> Result<Vec<Stage>> {
        let mut stages: Vec<Stage> = Vec::new();
        for wiring in &self.wirings {
            let is_new = |fault: &Fault| stages.iter().all(|stage| !stage.faults.contains(fault));
            let faults = Fault::ALL.into_iter().filter(|fault| {
                fault.possible(*wiring) && !fault.needs_disks() && self.picks(*fault)
            });
            // What needs no special network is made once, on the first.
            let faults = faults.filter(is_new).collect();
            stages.push(Stage {
                setup: Setup::new(self.kind, *wiring),
                faults,
                _library: None,
            });
        }
        let ours = self.kind == Kind::Oxkeeper;
        let of_disks = |fault: &Fault| {
            let is_behind = *fault == Fault::PowerBehind;
            fault.needs_disks() && self.picks(*fault) && (ours || !is_behind)
        };
        let faults: Vec<Fault> = Fault::ALL.into_iter().filter(of_disks).collect();
        if !faults.is_empty() {
            match Disk::why_not() {
                None => stages.push(self.on_disks(faults)?),
                Some(why) => say(format_args!("skipped, because: {why}: {faults:?}")),
            }
        }
        stages.retain(|stage| !stage.faults.is_empty());
        Ok(stages)
    }

    fn on_disks(&self, faults: Vec<Fault>) -> Result<Stage> {
        let library = Library::of("disk_faults")?;
        let setup = Setup::new(self.kind, Wiring::Loopback);
        let preload = library.path().display().to_string();
        let options = setup
            .options
            .clone()
            .config("snapCount", SNAP_COUNT)
            .environment("LD_PRELOAD", &preload)
            .environment("DISK_FAULTS", RULES);
        Ok(Stage {
            setup: Setup {
                options,
                disks: true,
                ..setup
            },
            faults,
            _library: Some(library),
        })
    }

    /// What the judges say of one cycle on an ensemble of its own.
    ///
    /// # Errors
    /// The ensemble cannot be started or does not come back.
    pub fn problems(
        &self,
        fault: Fault,
        cycle: u64,
        change: impl Fn(Setup) -> Setup,
    ) -> Result<Vec<String>> {
        let only = Self {
            only: fault.to_string(),
            ..self.clone()
        };
        let stages = only.stages()?;
        let stage = stages.first().context("it cannot be made here")?;
        let mut ensemble = Ensemble::start(&change(stage.setup.clone()))?;
        Ok(Cycle::run(self, &mut ensemble, fault, cycle)?.problems)
    }
}

/// Runs all cycles; true if nothing is wrong.
///
/// # Errors
/// An ensemble cannot be started.
pub fn run(plan: &Plan) -> Result<bool> {
    let mut suite = Suite::open(format!(
        "ensemble-chaos: {}, {} of each fault, seed {}",
        plan.kind, plan.cycles, plan.seed
    ));
    let mut right = None;
    for stage in plan.stages()? {
        let mut ensemble = Ensemble::start(&stage.setup)?;
        for cycle in 0..plan.cycles {
            for fault in &stage.faults {
                let name = format!("{fault} {}", cycle + 1);
                let run = Cycle::run(plan, &mut ensemble, *fault, cycle);
                match run {
                    Ok(cycle) => {
                        cycle.report(plan, &mut suite, &name)?;
                        right = Some(cycle).filter(|it| it.problems.is_empty()).or(right);
                    }
                    Err(error) => {
                        suite.fail(&name, format!("{error:#}\n{}", ensemble.logs()));
                        // What is left of it may be in any state.
                        drop(ensemble);
                        ensemble = Ensemble::start(&stage.setup)?;
                    }
                }
            }
        }
    }
    if let Some(cycle) = right {
        cycle.control(plan, &mut suite);
    }
    Ok(suite.close())
}

/// What came of one cycle.
struct Cycle {
    history: History,
    walks: Vec<walk::Walk>,
    problems: Vec<String>,
    told: String,
}

impl Cycle {
    fn run(plan: &Plan, ensemble: &mut Ensemble, fault: Fault, cycle: u64) -> Result<Self> {
        let seed = plan.seed.wrapping_mul(1000) + cycle * 100 + fault as u64;
        let mut random = Random::new(seed, u64::MAX);
        let begin = Instant::now();
        let drive = |ensemble: &mut Ensemble, shared: &Shared| {
            Timeline::drive(ensemble, fault, &mut random, shared, begin)
        };
        let (timeline, history, walks) = under_load(ensemble, plan.workers, seed, begin, drive)?;
        let mut problems = judge(&history, &walks, Sync::Linearizable);
        let mut stale = "";
        if plan.kind == Kind::ZooKeeper && !problems.is_empty() {
            let others = judge(&history, &walks, Sync::Loose);
            if others.len() < problems.len() {
                stale = "; synced reads were stale, as they may be on its leader";
            }
            problems = others;
        }
        problems.extend(timeline.problems(plan, fault, &history));
        Ok(Self {
            told: timeline.told(&history) + stale,
            walks,
            history,
            problems,
        })
    }

    /// What was right is damaged in each way that the judges must see.
    fn control(&self, plan: &Plan, suite: &mut Suite) {
        let mut random = Random::new(plan.seed, 0);
        for damage in Damage::ALL {
            match damage.found(&self.history, &self.walks, &mut random) {
                None => say(format_args!("control: no place for {damage:?}")),
                Some(problems) => match problems.first() {
                    Some(first) => {
                        let first: String = first.chars().take(120).collect();
                        suite.pass(format_args!("control: {damage:?} is seen: {first}"));
                    }
                    None => suite.fail("control", format_args!("{damage:?} is not seen")),
                },
            }
        }
    }

    fn report(&self, plan: &Plan, suite: &mut Suite, name: &str) -> Result<()> {
        if self.problems.is_empty() {
            suite.pass(format_args!("{name}: {}", self.told));
            return Ok(());
        }
        let file = save(&plan.history, name, &(&self.history, &self.walks))?;
        let what = format!("{}\nhistory: {}", self.problems.join("\n"), file.display());
        suite.fail(format_args!("{name}: {}", self.told), what);
        Ok(())
    }
}

/// Does `work` while clients of all kinds load all servers; what it came to, what they saw, and a walk
/// over each server when they have fallen silent. `begin`: where the time of the run begins.
///
/// # Errors
/// `work` fails, the roots cannot be made, or the trees do not come to rest.
pub fn under_load<T>(
    ensemble: &mut Ensemble,
    workers: usize,
    seed: u64,
    begin: Instant,
    work: impl FnOnce(&mut Ensemble, &Shared) -> Result<T>,
) -> Result<(T, History, Vec<walk::Walk>)> {
    let mut setup = Client::new(0, ensemble.addresses(), begin, SESSION_TIMEOUT);
    make_roots(&mut setup).context("make the roots")?;
    let mut clients: Vec<(Client, Loader)> = roles(workers)
        .enumerate()
        .map(|(index, role)| {
            let id = index + 1;
            let client = Client::new(id, ensemble.addresses(), begin, role.timeout());
            (client, Loader::new(role, id, seed))
        })
        .collect();
    let count = clients.len();
    let (shared, finished) = (Shared::default(), AtomicBool::new(false));
    let ran = thread::scope(|scope| {
        for (client, loader) in &mut clients {
            let (shared, finished) = (&shared, &finished);
            scope.spawn(move || {
                loader.run(client, shared);
                while !finished.load(Ordering::SeqCst) {
                    client.connect();
                    client.turn();
                    shared.keeps(client.id, client.session());
                }
            });
        }
        let ran = work(ensemble, &shared);
        shared.ending.store(true, Ordering::SeqCst);
        let walks = ran.and_then(|done| Ok((done, quiet_walks(ensemble, &shared, count)?)));
        finished.store(true, Ordering::SeqCst);
        walks
    });
    let (done, walks) = ran?;
    let mut records = vec![setup.record];
    records.extend(clients.into_iter().map(|(client, _)| client.record));
    Ok((done, History { records }, walks))
}

/// The sessions of clients that live that expired all the same.
pub fn lost_sessions(workers: usize, history: &History) -> Vec<String> {
    let roles = [None].into_iter().chain(roles(workers).map(Some));
    let mut problems = Vec::new();
    for (role, record) in roles.zip(&history.records) {
        let mut lost = record.sessions.iter().filter(|it| is_expired(it));
        if let Some(session) = lost.next()
            && role.is_none_or(|role| !role.may_expire())
        {
            problems.push(format!(
                "a session of a living {role:?} expired: {session:x?}"
            ));
        }
    }
    problems
}

fn roles(workers: usize) -> impl Iterator<Item = Role> {
    let special = [
        Role::Recorder,
        Role::Recorder,
        Role::Mover,
        Role::Sleeper,
        Role::Churner,
        Role::Reader,
    ];
    special
        .into_iter()
        .chain(std::iter::repeat_n(Role::Worker, workers))
}

/// When what happened, in nanoseconds of the run.
struct Timeline {
    fault: u64,
    healed: u64,
    ended: u64,
    what: String,
    back: Duration,
}

impl Timeline {
    fn drive(
        ensemble: &mut Ensemble,
        fault: Fault,
        random: &mut Random,
        shared: &Shared,
        begin: Instant,
    ) -> Result<Self> {
        let now = || begin.elapsed().as_nanos() as u64;
        sleep(LOAD_TIME / 2 + Duration::from_millis(random.below(1000) as u64));
        ensure!(
            shared.acknowledged.load(Ordering::SeqCst) > 0,
            "nothing was written before the fault"
        );
        let at = now();
        let what = fault.make(ensemble, random, FAULT_TIME)?;
        let healed = now();
        ensemble.heal()?;
        let back = ensemble.wait_until_serving(START_TIME_MAX)?;
        sleep(LOAD_TIME);
        Ok(Self {
            fault: at,
            healed,
            ended: now(),
            what,
            back,
        })
    }

    /// Moments at which writes were acknowledged, in order.
    fn acks(history: &History) -> Vec<u64> {
        let done = history.calls().filter(|call| call.op.writes());
        let mut acks: Vec<u64> = done.filter_map(|call| Some(call.success()?.at)).collect();
        acks.sort_unstable();
        acks
    }

    /// The longest time without an acknowledged write.
    fn gap(&self, acks: &[u64]) -> Duration {
        let from = acks
            .partition_point(|at| *at < self.fault)
            .saturating_sub(1);
        let during = acks[from..].iter().copied().chain([self.ended]);
        let pairs: Vec<u64> = during.collect();
        let longest = pairs
            .windows(2)
            .map(|pair| pair[1].saturating_sub(pair[0]))
            .max();
        Duration::from_nanos(longest.unwrap_or(0))
    }

    fn problems(&self, plan: &Plan, fault: Fault, history: &History) -> Vec<String> {
        let mut problems = Vec::new();
        let acks = Self::acks(history);
        if acks.len() < plan.writes_min {
            let count = acks.len();
            problems.push(format!("only {count} writes: the cycle proves nothing"));
        }
        if self.back > plan.back_within {
            problems.push(format!(
                "all served only {:.1?} after the healing",
                self.back
            ));
        }
        let during = acks
            .iter()
            .filter(|at| (self.fault..self.healed).contains(at));
        if fault.leaves_a_quorum() && during.count() == 0 {
            problems.push("nothing was written while the fault lasted".to_owned());
        }
        if fault.keeps_sessions() {
            problems.extend(lost_sessions(plan.workers, history));
        }
        if acks.last().is_none_or(|last| *last < self.healed) {
            problems.push("nothing was written after the healing".to_owned());
        }
        problems
    }

    fn told(&self, history: &History) -> String {
        let count =
            |wanted: &dyn Fn(&Call) -> bool| history.calls().filter(|it| wanted(it)).count();
        let open = count(&Call::is_open);
        let moved = Outcome::Error(SESSION_MOVED);
        let refused = count(&|call| call.reply.as_ref().is_some_and(|it| it.outcome == moved));
        let items = history
            .records
            .iter()
            .flat_map(|record| &record.tapes)
            .flat_map(|tape| &tape.items);
        let events = items.filter(|item| matches!(item, Item::Event(_))).count();
        let expired = history.sessions().filter(|it| is_expired(it)).count();
        let acks = Self::acks(history);
        format!(
            "{}; {} writes, {open} open, {refused} behind a move, {events} events, {} sessions, \
             {expired} expired; longest gap {:.1?}, all back after {:.1?}",
            self.what,
            acks.len(),
            history.sessions().count(),
            self.gap(&acks),
            self.back
        )
    }
}

fn is_expired(session: &Session) -> bool {
    matches!(session.end, End::Expired { .. })
}

/// Removes what the cycle before left, and makes the roots anew.
fn make_roots(setup: &mut Client) -> Result<()> {
    let mut paths = vec![ROOT.to_owned()];
    let mut index = 0;
    while index < paths.len() {
        let path = paths[index].clone();
        let list = Op::Children {
            path: path.clone(),
            watch: false,
        };
        let (_, outcome) = setup.ask(&list, SETUP_TIME_MAX).context("no answer")?;
        if let Outcome::Names(names, _) = outcome {
            paths.extend(names.iter().map(|name| format!("{path}/{name}")));
        }
        index += 1;
    }
    for path in paths.into_iter().rev() {
        let delete = Op::Delete { path, version: -1 };
        setup.ask(&delete, SETUP_TIME_MAX).context("no answer")?;
    }
    // The history begins here.
    setup.forget_past();
    for op in roots() {
        let (_, outcome) = setup.ask(&op, SETUP_TIME_MAX).context("no answer")?;
        ensure!(
            matches!(outcome, Outcome::Created(..)),
            "{op:?}: {outcome:?}"
        );
    }
    let (_, closed) = setup.ask(&Op::Close, SETUP_TIME_MAX).context("no answer")?;
    ensure!(closed == Outcome::Done, "close: {closed:?}");
    Ok(())
}

/// Waits until all clients have fallen silent and the sessions that were left alone are gone, then walks.
fn quiet_walks(
    ensemble: &mut Ensemble,
    shared: &Shared,
    clients: usize,
) -> Result<Vec<walk::Walk>> {
    let begin = Instant::now();
    while shared.kept().len() < clients && begin.elapsed() < QUIET_TIME_MAX {
        sleep(PAUSE);
    }
    let begin = Instant::now();
    loop {
        let walks = walk::take_all(&ensemble.addresses(), QUIET_TIME_MAX)
            .with_context(|| format!("walk over the trees\n{}", ensemble.logs()))?;
        let kept: BTreeSet<i64> = shared.kept().into_values().flatten().collect();
        let owners = walks.iter().flat_map(|walk| walk.nodes.values());
        let mut owners = owners.map(|found| found.stat.owner).filter(|it| *it != 0);
        // What is there behind its time is for the judge.
        if owners.all(|owner| kept.contains(&owner)) || begin.elapsed() > GONE_TIME_MAX {
            return Ok(walks);
        }
        sleep(PAUSE);
    }
}

/// Judges a history that a run has kept, then damages it in each way so many times; true if nothing is
/// wrong and each damage is seen.
///
/// # Errors
/// The file is no such history.
pub fn judge_kept(file: &Path, damages: u64) -> Result<bool> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let (history, walks): (History, Vec<walk::Walk>) =
        serde_json::from_str(&text).context("read a history")?;
    let problems = judge(&history, &walks, Sync::Linearizable);
    problems.iter().for_each(say);
    say(format_args!("{} problems", problems.len()));
    let mut missed = 0;
    for damage in Damage::ALL.into_iter().filter(|_| damages > 0) {
        let found = |seed| damage.found(&history, &walks, &mut Random::new(seed, 0));
        let found: Vec<bool> = (0..damages)
            .filter_map(found)
            .map(|it| !it.is_empty())
            .collect();
        let seen = found.iter().filter(|seen| **seen).count();
        say(format_args!("{damage:?}: {seen} of {} seen", found.len()));
        missed += found.len() - seen;
    }
    Ok(problems.is_empty() && missed == 0)
}

fn save(dir: &Path, name: &str, history: &(&History, &Vec<walk::Walk>)) -> Result<PathBuf> {
    fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    let file = dir.join(format!("{}.json", name.replace(' ', "-")));
    let text = serde_json::to_string(history).context("write a history")?;
    fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    Ok(file)
}
