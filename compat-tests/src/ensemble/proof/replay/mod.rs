//! The first judge: every txn in the order of zxids against a reference tree, and every reply and
//! every read against the tree as it must have been at the reply's zxid.
//!
//! Where a call is *open* (nobody was told whether it was done), the tree is what the next fact says,
//! if open calls explain how it came there; each of them explains one thing at most, once.

mod open;
mod tree;
mod wants;

use std::collections::{BTreeMap, BTreeSet};

use self::open::Pool;
pub(super) use self::tree::Tree;
pub use self::tree::{Change, Node, UNKNOWN};
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
    out: Replayed,
}

/// Replays a history; `walks`: the tree at the end.
pub fn replay(history: &History, facts: &Facts, walks: &[Walk]) -> Replayed {
    let mut replay = Replay {
        history,
        tree: Tree::default(),
        pool: Pool::new(history, facts),
        sessions: lives(history),
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
    replay.expiries();
    replay.sequence_numbers(facts);
    replay.out
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
            Some(place) => self.made(zxid, place),
            None => self.seen_only(zxid, &txn.seen),
        }
        // What watchers saw and what was asked for is the same.
        let known = self.out.changes.get(&zxid).cloned().unwrap_or_default();
        for change in &txn.seen {
            if !known.contains(change) {
                self.problem(zxid, format_args!("nobody asked for {change:?}"));
                self.note(zxid, vec![change.clone()]);
            }
        }
    }

    /// A txn whose call is known.
    fn made(&mut self, zxid: i64, place: Place) {
        let call = call(self.history, place);
        let reply = call.reply.as_ref();
        if let Some(reply) = reply {
            self.prepare(zxid, call, &call.op, &reply.outcome);
        }
        match self.tree.apply(call.session, &call.op, zxid) {
            Ok(changes) => self.note(zxid, changes),
            Err(code) if self.pool.bring_about(&mut self.tree, &call.op, zxid) => {
                match self.tree.apply(call.session, &call.op, zxid) {
                    Ok(changes) => self.note(zxid, changes),
                    Err(_) => self.refuted(zxid, call, code),
                }
            }
            Err(code) => self.refuted(zxid, call, code),
        }
        if let Some(reply) = reply {
            self.compare(zxid, call, &call.op, &reply.outcome);
        }
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
                for (part, result) in parts.iter().zip(results) {
                    let path = path_of(part, result);
                    if touched.insert(path) {
                        self.prepare(zxid, whole, part, result);
                    }
                }
            }
            (Op::Create { flags, .. }, Outcome::Created(path, _)) => {
                if flags & 2 == 2 {
                    self.number(zxid, path, whole);
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

    /// The number that a sequential znode got: all before it are accounted for.
    fn number(&mut self, zxid: i64, path: &str, whole: &Call) {
        let number: Option<i32> = path
            .get(path.len().saturating_sub(10)..)
            .and_then(|digits| digits.parse().ok());
        let above = parent(path).to_owned();
        let Some((number, next)) = number.zip(self.tree.nodes.get(&above).map(|it| it.created))
        else {
            return;
        };
        let of_this_multi = whole.op.parts().len() as i32 - 1;
        if number < next {
            let what = format!("{path}: the next number is {next}: {whole:?}");
            self.problem(zxid, what);
        } else if number > next + of_this_multi {
            let missing = number - next;
            if !self.pool.creates(&above, zxid, missing) {
                let what = format!("{path}: the next number is {next}: {whole:?}");
                self.problem(zxid, what);
            }
        } else {
            return;
        }
        if let Some(node) = self.tree.nodes.get_mut(&above) {
            node.created = number;
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
                && found.owner == stat.owner
        });
        if !fits {
            self.problem(zxid, format_args!("expected {found:?}: {whole:?}"));
        }
    }

    /// A txn that only watchers saw: the end of a session, or an open call.
    fn seen_only(&mut self, zxid: i64, seen: &BTreeSet<Change>) {
        let owner = |path: &str| self.tree.nodes.get(path).map_or(0, |node| node.owner);
        let first = seen.iter().next().map_or(0, |(_, path)| owner(path));
        let ends = first != 0
            && seen
                .iter()
                .all(|(kind, path)| *kind == Kind::Deleted && owner(path) == first)
            && self.may_end(first, zxid);
        let whole = self.tree.owned(first).len() == seen.len();
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

    /// Whether a session can have ended at this zxid.
    fn may_end(&self, session: i64, zxid: i64) -> bool {
        let life = self.sessions.get(&session);
        life.is_some_and(|life| life.over && (zxid == UNKNOWN || life.alive < zxid))
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
