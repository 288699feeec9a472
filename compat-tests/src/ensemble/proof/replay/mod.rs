//! The first judge: every txn in the order of zxids against a reference tree, and every reply and
//! every read against the tree as it must have been at the reply's zxid.
//!
//! Where a call is *open* (nobody was told whether it was done), the tree is what the next fact says,
//! if open calls explain how it came there; each of them explains one thing at most, once.

mod names;
mod open;
mod tree;
mod wants;

use std::collections::{BTreeMap, BTreeSet};

use self::open::Pool;
pub(super) use self::tree::Tree;
pub use self::tree::{Change, Node, SOMEBODY, UNKNOWN};
use self::wants::{Want, want};
use super::facts::{Facts, Place, Txn, call};
use super::history::{Call, End, History, Kind, Op, Outcome, Stat, parent};
use super::walk::Walk;

/// Within this of its timeout a session may be ended too early: the leader hears of touches late.
const EXPIRY_SLACK_MS: u64 = 600;

/// What became of a znode, and when; `None`: it is gone.
pub type Moment = (i64, Option<Node>);

/// What the replay came to.
#[derive(Debug, Default)]
pub struct Replayed {
    /// What is wrong.
    pub problems: Vec<String>,
    /// What each txn changed, as far as known.
    pub changes: BTreeMap<i64, Vec<Change>>,
    /// The life of each znode, by path.
    pub lives: BTreeMap<String, Vec<Moment>>,
    /// Between these zxids (the first excluded) something unseen happened to a path.
    pub blurs: Vec<(String, i64, i64)>,
    /// Between these an open call may have done something to a path.
    pub vague: Vec<(String, i64, i64)>,
}

/// What is known of a session.
#[derive(Clone, Copy, Debug)]
struct Life {
    /// The highest zxid at which it was answered.
    alive: i64,
    /// It may be over.
    over: bool,
}

struct Replay<'a> {
    history: &'a History,
    tree: Tree,
    pool: Pool<'a>,
    sessions: BTreeMap<i64, Life>,
    /// Zxids at which a session ended, or may have, and which.
    ends: BTreeMap<i64, i64>,
    out: Replayed,
}

/// Replays a history; `walks`: the tree at the end.
pub fn replay(history: &History, facts: &Facts, walks: &[Walk]) -> Replayed {
    let mut replay = Replay {
        history,
        tree: Tree::default(),
        pool: Pool::new(history, facts, walks),
        sessions: lives(history),
        ends: BTreeMap::new(),
        out: Replayed::default(),
    };
    let mut told: Vec<(i64, &Call)> = history
        .calls()
        .filter_map(|call| Some((call.reply.as_ref()?.zxid, call)))
        .filter(|(_, call)| !(call.op.writes() && call.success().is_some()))
        .collect();
    told.sort_by_key(|(zxid, _)| *zxid);
    let mut told = told.into_iter().peekable();
    for (zxid, txn) in &facts.txns {
        while let Some((at, call)) = told.next_if(|(at, _)| at < zxid) {
            replay.answer(at, call);
        }
        replay.txn(*zxid, txn);
    }
    for (at, call) in told {
        replay.answer(at, call);
    }
    if let Some(walk) = walks.first() {
        replay.finish(walk);
    }
    replay.out.vague = vague(history, facts);
    replay.expiries();
    replay.sequence_numbers(facts);
    replay.out
}

/// The paths of open calls, and between which zxids these can have been done.
fn vague(history: &History, facts: &Facts) -> Vec<(String, i64, i64)> {
    let mut vague = Vec::new();
    for open in &facts.open {
        for part in call(history, open.place).op.parts() {
            let path = path_of(part, &Outcome::Done).to_owned();
            vague.push((path, open.above, open.below.min(open.late)));
        }
    }
    vague
}

fn lives(history: &History) -> BTreeMap<i64, Life> {
    let mut lives = BTreeMap::new();
    for session in history.sessions() {
        let over = session.end != End::Open;
        lives.insert(session.id, Life { alive: 0, over });
    }
    for call in history.calls() {
        let Some(reply) = &call.reply else { continue };
        let ended = matches!(reply.outcome, Outcome::Error(-112 | -118));
        if let Some(life) = lives.get_mut(&call.session)
            && call.op != Op::Close
            && !ended
        {
            life.alive = life.alive.max(reply.zxid);
        }
    }
    lives
}

impl Replay<'_> {
    fn problem(&mut self, zxid: i64, what: impl std::fmt::Display) {
        self.out.problems.push(format!("at {zxid:#x}: {what}"));
    }

    fn txn(&mut self, zxid: i64, txn: &Txn) {
        match txn.by {
            Some(place) => self.made(zxid, place, &txn.seen),
            None => self.seen_only(zxid, &txn.seen),
        }
        // What watchers saw and what was asked for is the same.
        let known = self.out.changes.get(&zxid).cloned().unwrap_or_default();
        for change in &txn.seen {
            if known.contains(change) || self.goes_with_its_session(change, zxid) {
                continue;
            }
            self.problem(zxid, format_args!("nobody asked for {change:?}"));
            self.note(zxid, vec![change.clone()]);
        }
    }

    /// A znode of nobody knows whom has gone at the end of a session: it was one of its ephemerals.
    fn goes_with_its_session(&mut self, (kind, path): &Change, zxid: i64) -> bool {
        let (Some(session), Kind::Deleted) = (self.ends.get(&zxid).copied(), kind) else {
            return false;
        };
        let owner = self.tree.nodes.get(path).map(|node| node.owner);
        let goes = match owner {
            // Nobody saw it being made.
            None => {
                self.pool.can_make(path, zxid)
                    && self
                        .pool
                        .create(&mut self.tree, path, UNKNOWN, session, zxid)
            }
            owner => owner == Some(SOMEBODY),
        };
        if goes {
            let changes = self.tree.remove(path, zxid);
            self.note(zxid, changes);
        }
        goes
    }

    /// A txn whose call is known.
    fn made(&mut self, zxid: i64, place: Place, seen: &BTreeSet<Change>) {
        let call = call(self.history, place);
        let reply = call.reply.as_ref();
        if let Some(reply) = reply {
            self.prepare(zxid, call, &call.op, &reply.outcome);
        }
        if call.op == Op::Close {
            self.ends.insert(zxid, call.session);
        }
        let mut done = self.apply(zxid, place, seen);
        if let Err(code) = done {
            let possible = self.pool.bring_about(&mut self.tree, &call.op, zxid);
            done = if possible {
                self.apply(zxid, place, seen)
            } else {
                Err(code)
            };
        }
        match done {
            Ok(changes) => self.note(zxid, changes),
            Err(code) => self.refuted(zxid, call, code),
        }
        if let Some(reply) = reply {
            self.compare(zxid, call, &call.op, &reply.outcome);
        }
    }

    /// Does what a known call did; of one that nobody was told of, under the names that were seen.
    fn apply(
        &mut self,
        zxid: i64,
        place: Place,
        seen: &BTreeSet<Change>,
    ) -> Result<Vec<Change>, i32> {
        let call = call(self.history, place);
        if call.reply.is_none() {
            return self.pool.known(&mut self.tree, place, seen, zxid);
        }
        self.tree.apply(call.session, &call.op, zxid)
    }

    fn refuted(&mut self, zxid: i64, call: &Call, code: i32) {
        self.problem(
            zxid,
            format_args!("should be refused with {code}: {call:?}"),
        );
    }

    /// Before an acknowledged write: what its reply says of the state in which it found the tree.
    fn prepare(&mut self, zxid: i64, whole: &Call, op: &Op, outcome: &Outcome) {
        match (op, outcome) {
            (Op::Multi(parts), Outcome::Multi(results)) => {
                // A path that an earlier part touched says nothing of the time before.
                let mut touched = BTreeSet::new();
                let mut numbers: BTreeMap<&str, i32> = BTreeMap::new();
                for (part, result) in parts.iter().zip(results) {
                    let path = path_of(part, result);
                    if let (Op::Create { flags, .. }, Outcome::Created(..)) = (part, result) {
                        let before = numbers.entry(parent(path)).or_default();
                        if flags & 2 == 2 {
                            self.number(zxid, path, *before, whole);
                        }
                        *before += 1;
                    }
                    if touched.insert(path) {
                        self.prepare(zxid, whole, part, result);
                    }
                }
            }
            (Op::Create { flags, .. }, Outcome::Created(path, _)) => {
                if flags & 2 == 2 && whole.op == *op {
                    self.number(zxid, path, 0, whole);
                }
                self.want_absent(zxid, path);
            }
            (Op::Set { path, .. }, Outcome::Stat(stat)) => {
                let want = Want {
                    version: stat.version - 1,
                    mzxid: UNKNOWN,
                    ..want(stat)
                };
                self.want(zxid, path, want);
            }
            (Op::Delete { path, version } | Op::Check { path, version }, Outcome::Done) => {
                self.want_version(zxid, path, *version);
            }
            _ => {}
        }
    }

    /// The number that a sequential znode got, `before` creates of the same multi behind the next one:
    /// all before it are accounted for.
    fn number(&mut self, zxid: i64, path: &str, before: i32, whole: &Call) {
        let number: Option<i32> = path
            .get(path.len().saturating_sub(10)..)
            .and_then(|digits| digits.parse().ok());
        let above = parent(path).to_owned();
        let Some((number, next)) = number.zip(self.tree.nodes.get(&above).map(|it| it.created))
        else {
            return;
        };
        let missing = number - before - next;
        if missing < 0 || (missing > 0 && !self.pool.creates(&above, zxid, missing)) {
            let what = format!("{path}: the next number is {next}: {whole:?}");
            self.problem(zxid, what);
        }
        if let Some(node) = self.tree.nodes.get_mut(&above) {
            node.created = number - before;
        }
    }

    /// After an acknowledged write: its reply's stat is that of the tree.
    fn compare(&mut self, zxid: i64, whole: &Call, op: &Op, outcome: &Outcome) {
        match (op, outcome) {
            (Op::Multi(parts), Outcome::Multi(results)) => {
                for (index, (part, result)) in parts.iter().zip(results).enumerate() {
                    let path = path_of(part, result);
                    let later = parts.iter().zip(results).skip(index + 1);
                    // A later part of the same multi may have changed it again.
                    if later.clone().all(|(it, to)| path_of(it, to) != path) {
                        self.compare(zxid, whole, part, result);
                    }
                }
            }
            (Op::Create { .. }, Outcome::Created(path, stat)) => {
                self.same(zxid, path, stat, whole);
            }
            (Op::Set { path, .. }, Outcome::Stat(stat)) => self.same(zxid, path, stat, whole),
            _ => {}
        }
    }

    fn same(&mut self, zxid: i64, path: &str, stat: &Stat, whole: &Call) {
        let found = self.tree.nodes.get(path).map(|node| Want {
            czxid: node.czxid,
            mzxid: node.mzxid,
            version: node.version,
            owner: node.owner,
        });
        let unknown = |known: i64, said: i64| known == UNKNOWN || known == said;
        let fits = found.is_some_and(|found| {
            unknown(found.czxid, stat.czxid)
                && unknown(found.mzxid, stat.mzxid)
                && found.version == stat.version
                && [stat.owner, SOMEBODY].contains(&found.owner)
        });
        if !fits {
            self.problem(zxid, format_args!("expected {found:?}: {whole:?}"));
        }
    }

    /// A txn that only watchers saw: the end of a session, or an open call.
    fn seen_only(&mut self, zxid: i64, seen: &BTreeSet<Change>) {
        let owner = |path: &str| match self.tree.nodes.get(path) {
            Some(node) => node.owner,
            None if self.pool.can_make(path, zxid) => SOMEBODY,
            None => 0,
        };
        let owners: BTreeSet<i64> = seen.iter().map(|(_, path)| owner(path)).collect();
        let mut known = owners.iter().copied().filter(|owner| *owner != SOMEBODY);
        let first = known.next().unwrap_or(SOMEBODY);
        let ends = first != 0
            && known.next().is_none()
            && seen.iter().all(|(kind, _)| *kind == Kind::Deleted)
            && (first == SOMEBODY || self.may_end(first, zxid));
        let owned = self.tree.owned(first);
        let told = |path: &String| seen.contains(&(Kind::Deleted, path.clone()));
        let whole = first != SOMEBODY && owned.iter().all(told);
        if ends {
            self.ends.insert(zxid, first);
        }
        if ends && whole {
            let changes = self.tree.end_session(first, zxid);
            self.note(zxid, changes);
        } else if let Some(changes) = self.pool.explain(&mut self.tree, seen, zxid) {
            self.note(zxid, changes);
        } else if ends {
            // Watchers of single znodes saw a part of it.
            let changes = self.tree.end_session(first, zxid);
            self.note(zxid, changes);
        }
    }

    /// Whether a session can have ended by this zxid.
    fn may_end(&self, session: i64, zxid: i64) -> bool {
        let life = self.sessions.get(&session);
        life.is_some_and(|life| life.over && life.alive < zxid)
    }

    /// A read, or a write that was refused.
    fn answer(&mut self, zxid: i64, call: &Call) {
        let Some(reply) = &call.reply else { return };
        match (&call.op, &reply.outcome) {
            (Op::Get { path, .. }, Outcome::Data(data, stat)) => {
                self.want(zxid, path, want(stat));
                self.want_data(zxid, path, data, call);
            }
            (Op::Exists { path, .. }, Outcome::Stat(stat)) => self.want(zxid, path, want(stat)),
            (Op::Get { path, .. } | Op::Exists { path, .. }, Outcome::Error(-101))
            | (Op::Set { path, .. } | Op::Delete { path, .. }, Outcome::Error(-101)) => {
                self.want_absent(zxid, path);
            }
            (Op::Create { path, .. }, Outcome::Error(-110)) => self.want_there(zxid, path),
            (
                Op::Set { path, version, .. } | Op::Delete { path, version },
                Outcome::Error(-103),
            ) => {
                self.want_there(zxid, path);
                let same = self
                    .tree
                    .nodes
                    .get(path)
                    .is_some_and(|it| it.version == *version);
                if same && !self.pool.raise_version(&mut self.tree, path, 1, zxid) {
                    self.problem(zxid, format_args!("the version is right: {call:?}"));
                }
            }
            (Op::Children { path, .. }, Outcome::Names(names, stat)) => {
                self.want_children(zxid, path, names, stat);
            }
            // The parts of a refused multi are judged by the txns around it.
            (Op::Multi(_), Outcome::Multi(_)) => {}
            (_, Outcome::Error(-112 | -118)) | (_, Outcome::Done) => {}
            _ => self.problem(zxid, format_args!("an answer that does not fit: {call:?}")),
        }
    }

    fn note(&mut self, zxid: i64, changes: Vec<Change>) {
        for (_, path) in &changes {
            for path in [path.as_str(), parent(path)] {
                let node = self.tree.nodes.get(path).cloned();
                let life = self.out.lives.entry(path.to_owned()).or_default();
                life.push((zxid, node));
            }
        }
        self.out.changes.entry(zxid).or_default().extend(changes);
    }

    fn blur(&mut self, path: &str, zxid: i64) {
        let life = self.out.lives.get(path);
        let from = life
            .and_then(|life| life.last())
            .map_or(0, |(zxid, _)| *zxid);
        self.out.blurs.push((path.to_owned(), from, zxid));
    }

    /// A read has shown what a path is like now.
    fn learned(&mut self, path: &str, zxid: i64) {
        let node = self.tree.nodes.get(path);
        let life = self.out.lives.entry(path.to_owned()).or_default();
        if life.last().is_none_or(|(_, last)| last.as_ref() != node) {
            life.push((zxid, node.cloned()));
        }
    }

    /// The tree at the end.
    fn finish(&mut self, walk: &Walk) {
        let zxid = walk.zxid;
        for path in self.tree.nodes.keys().cloned().collect::<Vec<_>>() {
            if !walk.nodes.contains_key(&path) {
                self.want_absent(zxid, &path);
            }
        }
        for (path, found) in &walk.nodes {
            self.want(zxid, path, want(&found.stat));
            let known = self
                .tree
                .nodes
                .get_mut(path)
                .and_then(|node| node.data.take());
            if let Some(known) = known.filter(|known| *known != found.data) {
                let what = format!("{path} holds {:?} at the end, not {known:?}", found.data);
                self.problem(zxid, what);
            }
            let owner = self.sessions.get(&found.stat.owner);
            if found.stat.owner != 0 && owner.is_none_or(|life| life.over) {
                let what = format!("{path} is there at the end, its session is not: {found:?}");
                self.problem(zxid, what);
            }
        }
        for (path, found) in &walk.nodes {
            let children = walk.nodes.keys().filter(|it| parent(it) == path);
            let names = children.filter_map(|it| Some(it.rsplit_once('/')?.1.to_owned()));
            self.want_children(zxid, path, &names.collect(), &found.stat);
        }
    }

    /// No session was ended before its time.
    fn expiries(&mut self) {
        for session in self.history.sessions() {
            let End::Expired { told } = session.end else {
                continue;
            };
            let silent_ms = told.saturating_sub(session.heard) / 1_000_000;
            if silent_ms + EXPIRY_SLACK_MS < session.timeout_ms as u64 {
                self.out.problems.push(format!(
                    "a session expired {silent_ms} ms after it was heard of: {session:x?}"
                ));
            }
        }
    }

    /// Numbers of sequential znodes grow with the zxid, below each parent.
    fn sequence_numbers(&mut self, facts: &Facts) {
        let mut last: BTreeMap<&str, (String, i64)> = BTreeMap::new();
        for (zxid, txn) in &facts.txns {
            let Some(reply) = txn.by.and_then(|it| call(self.history, it).reply.as_ref()) else {
                continue;
            };
            let results = match &reply.outcome {
                Outcome::Multi(results) => results.as_slice(),
                single => std::slice::from_ref(single),
            };
            for result in results {
                let Outcome::Created(path, _) = result else {
                    continue;
                };
                let Some((prefix, number)) = path.rsplit_once("n-") else {
                    continue;
                };
                if let Some((before, at)) = last.get(prefix)
                    && before.as_str() >= number
                {
                    let problem = format!("{path} at {zxid:#x} after number {before} at {at:#x}");
                    self.out.problems.push(problem);
                }
                last.insert(prefix, (number.to_owned(), *zxid));
            }
        }
    }
}

/// The path that a part of a multi is about; the final name of a sequential znode.
fn path_of<'a>(part: &'a Op, result: &'a Outcome) -> &'a str {
    match (part, result) {
        (_, Outcome::Created(path, _)) => path,
        (
            Op::Create { path, .. }
            | Op::Set { path, .. }
            | Op::Delete { path, .. }
            | Op::Check { path, .. },
            _,
        ) => path,
        _ => "",
    }
}
