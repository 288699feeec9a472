//! What the history says about each txn: who asked for it, and who saw it.
//!
//! Every payload is unique, so a payload that was read with a zxid says when it was written, also when
//! nobody was told: an *open* call (its connection was lost) that is seen so has its txn.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Call, End, History, Item, Kind, Op, Outcome, Session};
use super::walk::Walk;

/// Longer than any fault lasts, in nanoseconds.
const LONG_NS: u64 = 20_000_000_000;

/// A call: its client, and its place in that client's record.
pub type Place = (usize, usize);

/// What is known of one txn.
#[derive(Clone, Debug, Default)]
pub struct Txn {
    /// The call that made it, if known.
    pub by: Option<Place>,
    /// What watchers were told of it.
    pub seen: BTreeSet<(Kind, String)>,
}

/// A call that may have been done.
#[derive(Clone, Debug)]
pub struct Open {
    /// Which.
    pub place: Place,
    /// Its txn has a zxid above this: what somebody had been shown when it was sent.
    pub above: i64,
    /// And below this: its session's next write that is known to have been done, or what is known to
    /// have come behind its session's end.
    pub below: i64,
    /// What everybody had been shown long after it was sent: no server keeps a write back for so long.
    pub late: i64,
    /// It is spoken for.
    pub used: bool,
}

/// All that is known before anything is replayed.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// By zxid.
    pub txns: BTreeMap<i64, Txn>,
    /// Calls whose txns, if they have one, nobody saw.
    pub open: Vec<Open>,
    /// What is wrong already.
    pub problems: Vec<String>,
}

impl Facts {
    /// Gathers them.
    pub fn gather(history: &History, walks: &[Walk]) -> Self {
        let mut facts = Self::default();
        facts.acknowledged(history);
        facts.sightings(history, walks);
        for record in &history.records {
            for item in record.tapes.iter().flat_map(|tape| &tape.items) {
                let Item::Event(event) = item else { continue };
                if event.zxid > 0 && event.kind != Kind::Children {
                    let txn = facts.txns.entry(event.zxid).or_default();
                    txn.seen.insert((event.kind, event.path.clone()));
                }
            }
        }
        facts.bounds(history);
        facts
    }

    fn acknowledged(&mut self, history: &History) {
        for (client, record) in history.records.iter().enumerate() {
            for (index, call) in record.calls.iter().enumerate() {
                let Some(reply) = call.success().filter(|_| call.op.writes()) else {
                    continue;
                };
                self.claim(reply.zxid, (client, index), history);
            }
        }
    }

    fn claim(&mut self, zxid: i64, place: Place, history: &History) {
        let txn = self.txns.entry(zxid).or_default();
        match txn.by {
            Some(other) if other != place => self.problems.push(format!(
                "zxid {zxid:#x} twice: {:?} and {:?}",
                call(history, other),
                call(history, place)
            )),
            _ => txn.by = Some(place),
        }
    }

    /// Payloads that were read.
    fn sightings(&mut self, history: &History, walks: &[Walk]) {
        let mut writers: BTreeMap<&str, (Place, &Op)> = BTreeMap::new();
        for (client, record) in history.records.iter().enumerate() {
            for (index, call) in record.calls.iter().enumerate() {
                for part in call.op.parts() {
                    if let Op::Create { data, .. } | Op::Set { data, .. } = part {
                        writers.insert(data, ((client, index), part));
                    }
                }
            }
        }
        let read = history.calls().filter_map(|call| {
            match (&call.op, call.reply.as_ref().map(|reply| &reply.outcome)) {
                (Op::Get { path, .. }, Some(Outcome::Data(data, stat))) => {
                    Some((path.as_str(), data.as_str(), stat.mzxid, stat.version))
                }
                _ => None,
            }
        });
        let walked = walks
            .iter()
            .flat_map(|walk| &walk.nodes)
            .map(|(path, found)| {
                let stat = &found.stat;
                (path.as_str(), found.data.as_str(), stat.mzxid, stat.version)
            });
        let seen: BTreeSet<_> = read.chain(walked).collect();
        let mut found: BTreeMap<Place, i64> = BTreeMap::new();
        for (path, data, mzxid, version) in seen {
            let Some((place, part)) = writers.get(data) else {
                if !data.starts_with("root of ") {
                    self.problems
                        .push(format!("{path} holds {data:?}, which nobody wrote"));
                }
                continue;
            };
            let call = call(history, *place);
            let problem = match (&call.reply, call.success()) {
                _ if !fits(part, path, version) => Some("seen elsewhere".to_owned()),
                (Some(_), None) => Some("it was refused".to_owned()),
                (_, Some(reply)) if reply.zxid != mzxid => Some("not at its zxid".to_owned()),
                (_, Some(_)) => None,
                (None, None) => match found.insert(*place, mzxid) {
                    Some(other) if other != mzxid => Some(format!("also at {other:#x}")),
                    _ => None,
                },
            };
            if let Some(what) = problem {
                self.problems.push(format!(
                    "{data:?} is seen at {path}, version {version}, zxid {mzxid:#x}: {what}: {call:?}"
                ));
            }
        }
        for (place, zxid) in found {
            self.claim(zxid, place, history);
        }
    }

    /// Between which zxids the txns of open calls can lie.
    fn bounds(&mut self, history: &History) {
        let by: BTreeMap<Place, i64> = self
            .txns
            .iter()
            .filter_map(|(zxid, txn)| Some((txn.by?, *zxid)))
            .collect();
        let shown = Shown::gather(history);
        for (client, record) in history.records.iter().enumerate() {
            let mut below = i64::MAX;
            let mut session = 0;
            // The first zxid that the session behind this one saw.
            let mut next_began = i64::MAX;
            let mut open = Vec::new();
            for (index, call) in record.calls.iter().enumerate().rev() {
                if call.session != session {
                    session = call.session;
                    // A server that refuses a session knows its end, and the next one begins later.
                    let refused = |it: &Session| {
                        it.id == session && matches!(it.end, End::Closed | End::Expired { .. })
                    };
                    let over = record.sessions.iter().any(refused);
                    below = if over { next_began } else { i64::MAX };
                    next_began = i64::MAX;
                }
                if let Some(reply) = &call.reply {
                    next_began = next_began.min(reply.zxid);
                }
                match by.get(&(client, index)) {
                    Some(zxid) => below = *zxid,
                    None if call.is_open() => {
                        open.push(Open {
                            place: (client, index),
                            above: shown.by(call.at),
                            below,
                            late: shown.by(call.at + LONG_NS),
                            used: false,
                        });
                    }
                    None => {}
                }
            }
            self.open.extend(open.into_iter().rev());
        }
    }
}

/// The highest zxid that anybody had been shown, by time.
struct Shown(Vec<(u64, i64)>);

impl Shown {
    fn gather(history: &History) -> Self {
        let replies = history.calls().filter_map(|call| call.reply.as_ref());
        let mut shown: Vec<(u64, i64)> = replies.map(|it| (it.at, it.zxid)).collect();
        shown.sort_unstable();
        let mut highest = 0;
        for (_, zxid) in &mut shown {
            highest = highest.max(*zxid);
            *zxid = highest;
        }
        Self(shown)
    }

    fn by(&self, time: u64) -> i64 {
        let count = self.0.partition_point(|(at, _)| *at <= time);
        count.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}

/// The call at a place.
pub fn call(history: &History, (client, index): Place) -> &Call {
    &history.records[client].calls[index]
}

/// Whether `part` can have left its payload there, in this version.
fn fits(part: &Op, path: &str, version: i32) -> bool {
    match part {
        Op::Create {
            path: asked, flags, ..
        } => {
            let same = if flags & 2 == 2 {
                path.len() == asked.len() + 10 && path.starts_with(asked.as_str())
            } else {
                path == asked
            };
            same && version == 0
        }
        Op::Set {
            path: asked,
            version: expected,
            ..
        } => path == asked && version > 0 && (*expected == -1 || *expected == version - 1),
        _ => false,
    }
}
