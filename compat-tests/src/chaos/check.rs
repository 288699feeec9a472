//! The judge: from the history and what is found after a restart, everything that is wrong.
//!
//! Knows nothing of the load but what the history says. For each worker it follows the answered
//! requests with the [`Model`]; the unanswered ones that a crash left are a prefix of the unanswered
//! tail, so one of the tail's prefixes must give exactly the tree that is found: every znode, data,
//! version, owner, zxid and count of children. That covers lost, doubled and half-done writes.

use std::collections::{BTreeMap, BTreeSet};

use super::dump::Dump;
use super::history::{Entry, Op, Outcome};
use super::model::{COUNTERS, Model, SHARED};

/// How many problems of one restart are told.
const PROBLEMS_MAX: usize = 12;

/// What must hold, carried from restart to restart.
#[derive(Debug, Default)]
pub struct Checker {
    models: Vec<Model>,
    counters: BTreeMap<String, i32>,
    shared_created: i32,
    shared_number: i64,
    /// The highest zxid seen, by anybody.
    highest: i64,
    /// Sessions that may own ephemerals.
    sessions: BTreeSet<i64>,
    /// For each worker: which session did its last request close? More than one answer: any is right.
    closed: Vec<BTreeSet<Option<i64>>>,
    /// For each worker: which prefixes of its unanswered requests gave the tree.
    kept: Vec<String>,
    /// How much was judged.
    pub tally: Tally,
}

/// Counts for the closing line.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "named")]
pub struct Tally {
    pub answered: usize,
    pub unanswered: usize,
    pub unanswered_kept: usize,
}

impl Checker {
    /// Begins with the tree as it is, before any load.
    pub fn new(workers: usize, dump: &Dump) -> Self {
        let mut checker = Self {
            models: (0..workers)
                .map(|worker| Model::from_dump(worker, dump))
                .collect(),
            highest: dump.zxid,
            closed: vec![BTreeSet::from([None]); workers],
            kept: vec![String::new(); workers],
            shared_number: -1,
            ..Self::default()
        };
        for (path, found) in dump.below(COUNTERS) {
            checker.counters.insert(path.clone(), found.stat.version);
        }
        checker
    }

    /// A session has been opened.
    pub fn opened(&mut self, session: i64) {
        self.sessions.insert(session);
    }

    /// A reply outside the history showed this zxid.
    pub fn saw(&mut self, zxid: i64) {
        self.highest = self.highest.max(zxid);
    }

    /// The highest zxid that any client has seen.
    pub fn highest(&self) -> i64 {
        self.highest
    }

    /// After a restart: was the worker's session taken back? Says what is wrong with that.
    pub fn attached(&self, worker: usize, session: i64, accepted: bool) -> Option<String> {
        let fits = |closed: &Option<i64>| (*closed == Some(session)) != accepted;
        (!self.closed[worker].iter().any(fits)).then(|| {
            let word = if accepted { "taken back" } else { "refused" };
            let (known, last) = (&self.closed[worker], &self.kept[worker]);
            format!(
                "worker {worker}: its session {session} was {word}, but closed: {known:?} ({last})"
            )
        })
    }

    /// Judges the entries since the last restart (one list per worker) by the tree that is found.
    pub fn judge(&mut self, history: &[Vec<Entry>], dump: &Dump) -> Vec<String> {
        let mut problems = Vec::new();
        self.zxids(history, dump, &mut problems);
        let mut created = (self.shared_created, self.shared_created);
        for (worker, entries) in history.iter().enumerate() {
            let (least, most) = self.worker(worker, entries, dump, &mut problems);
            created.0 += least;
            created.1 += most;
        }
        self.counters(history, dump, &mut problems);
        self.shared(history, dump, created, &mut problems);
        for (path, found) in &dump.nodes {
            if found.stat.owner != 0 && !self.sessions.contains(&found.stat.owner) {
                problems.push(format!("{path}: its owner is no living session: {found:?}"));
            }
        }
        problems.truncate(PROBLEMS_MAX);
        problems
    }

    /// Each write has a zxid of its own, above all that were seen before the last restart, and the
    /// server has not forgotten any.
    fn zxids(&mut self, history: &[Vec<Entry>], dump: &Dump, problems: &mut Vec<String>) {
        let mut seen = BTreeMap::new();
        for (worker, entries) in history.iter().enumerate() {
            let mut last = self.highest;
            for entry in entries {
                let Some(reply) = &entry.reply else { continue };
                if reply.zxid <= last {
                    problems.push(format!(
                        "worker {worker}: zxid {:#x} after {last:#x}: {entry:?}",
                        reply.zxid
                    ));
                }
                last = reply.zxid;
                if let Some(other) = seen.insert(reply.zxid, worker) {
                    problems.push(format!(
                        "zxid {:#x} twice: workers {other} and {worker}: {entry:?}",
                        reply.zxid
                    ));
                }
            }
        }
        let highest = seen.keys().next_back().copied().unwrap_or(0);
        self.highest = self.highest.max(highest);
        if dump.zxid < self.highest {
            problems.push(format!(
                "the server is at zxid {:#x}, but has answered {:#x}",
                dump.zxid, self.highest
            ));
        }
        self.highest = self.highest.max(dump.zxid);
    }

    /// Returns how many sequential znodes this worker has added to the shared parent: at least, at
    /// most.
    fn worker(
        &mut self,
        worker: usize,
        entries: &[Entry],
        dump: &Dump,
        problems: &mut Vec<String>,
    ) -> (i32, i32) {
        let answered = entries.iter().take_while(|e| e.reply.is_some()).count();
        let (head, tail) = entries.split_at(answered);
        self.tally.answered += head.len();
        self.tally.unanswered += tail.len();
        let (mut created, mut last_zxid, mut closed, model) =
            (0, 0, None, &mut self.models[worker]);
        for entry in head {
            let Some(reply) = &entry.reply else { continue };
            last_zxid = reply.zxid;
            let expected = model.apply(entry.session, &entry.op, Some(last_zxid));
            if expected.as_ref().is_some_and(|it| *it != reply.outcome) {
                problems.push(format!("worker {worker}: expected {expected:?}: {entry:?}"));
            }
            if let (Op::Create { path, data, .. }, None) = (&entry.op, &expected) {
                created += 1;
                let name = match &reply.outcome {
                    Outcome::Created(name) if name.starts_with(path.as_str()) => Some(name),
                    _ => None,
                };
                match (name, model.shared.get_mut(data)) {
                    (Some(name), Some(shared)) => shared.path = Some(name.clone()),
                    _ => problems.push(format!("worker {worker}: {entry:?}")),
                }
            }
            closed = closes(entry);
            if closed.is_some() {
                self.sessions.remove(&entry.session);
            }
        }
        // Which of the unanswered ones are there?
        let mut matching: Vec<(usize, Model, i32, Option<i64>)> = Vec::new();
        let mut candidate = model.clone();
        let mut mismatch = String::new();
        for kept in 0..=tail.len() {
            if kept > 0 {
                let entry = &tail[kept - 1];
                let told = candidate.apply(entry.session, &entry.op, None);
                created += i32::from(told.is_none() && entry.op.code() == 1);
                closed = closes(entry);
            }
            match candidate.differs(worker, dump) {
                None => matching.push((kept, candidate.clone(), created, closed)),
                Some(why) => mismatch += &format!("\n  with {kept}: {why}"),
            }
        }
        let Some((kept, mut found, most, _)) = matching.last().cloned() else {
            problems.push(format!(
                "worker {worker}: no prefix of its unanswered requests gives the tree:{mismatch}"
            ));
            // Go on from what is there, so that the next restart is judged by itself.
            self.models[worker] = Model::from_dump(worker, dump);
            self.closed[worker] = BTreeSet::from([None, closed]);
            return (created, created);
        };
        self.tally.unanswered_kept += kept;
        if let Some(lowest) = found.adopt(dump)
            && lowest <= last_zxid
        {
            problems.push(format!(
                "worker {worker}: an unanswered write has zxid {lowest:#x}, not above {last_zxid:#x}"
            ));
        }
        self.models[worker] = found;
        let lengths: Vec<usize> = matching.iter().map(|it| it.0).collect();
        self.kept[worker] = format!("kept: {lengths:?} of {}", tail.len());
        self.closed[worker] = matching.iter().map(|it| it.3).collect();
        let least = matching.first().map_or(most, |it| it.2);
        (least, most)
    }

    /// Counters that all write with expected versions: each version was written once, by who says so.
    fn counters(&mut self, history: &[Vec<Entry>], dump: &Dump, problems: &mut Vec<String>) {
        for (path, before) in &mut self.counters {
            let Some(found) = dump.nodes.get(path) else {
                problems.push(format!("{path} is lost"));
                continue;
            };
            let mut answered: BTreeMap<i32, (&str, i64)> = BTreeMap::new();
            let mut open: Vec<(i32, &str)> = Vec::new();
            for entry in history.iter().flatten() {
                let Op::Set {
                    path: on,
                    data,
                    version,
                } = &entry.op
                else {
                    continue;
                };
                if on != path {
                    continue;
                }
                match &entry.reply {
                    None => open.push((*version, data)),
                    Some(reply) => match reply.outcome {
                        Outcome::Version(made) => {
                            if answered.insert(made, (data, reply.zxid)).is_some() {
                                problems.push(format!("{path}: version {made} made twice"));
                            }
                            if *version != -1 && made != version + 1 {
                                problems.push(format!("{path}: {entry:?}"));
                            }
                        }
                        Outcome::Error(-103) => {}
                        _ => problems.push(format!("{path}: {entry:?}")),
                    },
                }
            }
            let version = found.stat.version;
            if let Some((made, _)) = answered.range(version + 1..).next() {
                problems.push(format!(
                    "{path}: version {made} was answered, {version} found"
                ));
            }
            if let Some((made, _)) = answered.range(..=*before).next() {
                problems.push(format!("{path}: version {made} after {before}"));
            }
            for made in *before + 1..=version {
                let last = made == version;
                let fits = match answered.get(&made) {
                    Some((data, zxid)) => {
                        !last || (*data == found.data && *zxid == found.stat.mzxid)
                    }
                    None => {
                        let index = open.iter().position(|(expected, data)| {
                            (*expected == made - 1 || *expected == -1)
                                && (!last || *data == found.data)
                        });
                        index.map(|index| open.swap_remove(index)).is_some()
                    }
                };
                if !fits {
                    problems.push(format!("{path}: nobody made version {made}: {found:?}"));
                }
            }
            *before = version;
        }
    }

    /// The sequential znodes of all workers: numbers grow with zxids, none is given twice.
    fn shared(
        &mut self,
        history: &[Vec<Entry>],
        dump: &Dump,
        created: (i32, i32),
        problems: &mut Vec<String>,
    ) {
        let mut made: BTreeMap<i64, i64> = BTreeMap::new();
        for entry in history.iter().flatten() {
            if let (Op::Create { path, .. }, Some(reply)) = (&entry.op, &entry.reply)
                && path.starts_with(SHARED)
                && let Outcome::Created(name) = &reply.outcome
            {
                made.insert(reply.zxid, number(name));
            }
        }
        let mut last = self.shared_number;
        for (path, found) in dump.below(SHARED) {
            if number(path) > self.shared_number {
                made.insert(found.stat.czxid, number(path));
            }
        }
        for (zxid, number) in &made {
            if *number <= last {
                problems.push(format!(
                    "{SHARED}: number {number} (zxid {zxid:#x}) after {last}"
                ));
            }
            last = *number;
        }
        self.shared_number = last;
        let Some(found) = dump.nodes.get(SHARED) else {
            problems.push(format!("{SHARED} is lost"));
            return;
        };
        let count = (found.stat.cversion + found.stat.children) / 2;
        if !(created.0..=created.1).contains(&count) {
            problems.push(format!(
                "{SHARED}: {count} were created, the history says {created:?}"
            ));
        }
        if last >= i64::from(count) {
            problems.push(format!("{SHARED}: number {last}, but the next is {count}"));
        }
        self.shared_created = count;
    }
}

fn closes(entry: &Entry) -> Option<i64> {
    (entry.op == Op::Close).then_some(entry.session)
}

fn number(path: &str) -> i64 {
    path.get(path.len().saturating_sub(10)..)
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(-1)
}
