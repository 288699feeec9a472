//! The blind judge: are writes and synced reads of each register linearizable?
//!
//! It looks at no zxid, only at who asked when, who was told what when, and at what a client can see:
//! data and versions. A search in the manner of Wing and Gong, with Lowe's step by step growth of the
//! possible histories: at the return of a call it must have taken effect in one of them, or it is
//! impossible. A call that nobody was told of may take effect at any later time, or never.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Sync;
use super::history::{Call, History, Op, Outcome};
use super::load::{REGISTERS, register};

/// With more possible histories than this the search gives up, and says so.
const POSSIBLE_MAX: usize = 20_000;
/// A version that any write may expect.
const ANY: i32 = -1;

/// What a call on a register asked for and was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Wrote these payloads, each if the version was the expected one. `made`: the last version, if
    /// that was told.
    Write {
        /// Payload and expected version of each write.
        parts: Vec<(String, i32)>,
        /// The version after it.
        made: Option<i32>,
    },
    /// Was refused, since the version was another one.
    Refused {
        /// The version that was expected.
        expected: i32,
    },
    /// Read this.
    Read {
        /// The payload.
        data: String,
        /// Its version.
        version: i32,
    },
}

/// A call on a register, from its sending to its reply; `None`: there was none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it was sent.
    pub from: u64,
    /// When it was answered.
    pub to: Option<u64>,
    /// What.
    pub action: Action,
}

/// What is wrong, for each register.
pub fn check(history: &History, sync: Sync) -> Vec<String> {
    let paths = (0..REGISTERS).map(register);
    let wrong = |path: String| {
        let mut spans = spans(history, &path);
        if sync == Sync::Loose {
            spans.retain(|span| !matches!(span.action, Action::Read { .. }));
        }
        let first = format!("root of {path}");
        linearizable(&spans, &first)
            .err()
            .map(|why| format!("{path} is not linearizable: {why}"))
    };
    paths.filter_map(wrong).collect()
}

/// The calls on one register.
fn spans(history: &History, path: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    for record in &history.records {
        let mut synced: Option<&Call> = None;
        for call in &record.calls {
            let action = match (&call.op, call.reply.as_ref().map(|it| &it.outcome)) {
                (Op::Get { path: read, .. }, Some(Outcome::Data(data, stat))) if read == path => {
                    let sync = synced.filter(|sync| {
                        let same = matches!(&sync.op, Op::Sync { path: it } if it == path);
                        same && sync.session == call.session
                    });
                    synced = None;
                    let Some(sync) = sync else { continue };
                    spans.push(Span {
                        from: sync.at,
                        to: call.reply.as_ref().map(|reply| reply.at),
                        action: Action::Read {
                            data: data.clone(),
                            version: stat.version,
                        },
                    });
                    continue;
                }
                (Op::Sync { .. }, outcome) => {
                    synced = outcome.filter(|it| **it == Outcome::Done).map(|_| call);
                    continue;
                }
                (op, outcome) => write(op, outcome, path),
            };
            synced = None;
            spans.extend(action.map(|action| Span {
                from: call.at,
                to: call.reply.as_ref().map(|reply| reply.at),
                action,
            }));
        }
    }
    spans
}

fn write(op: &Op, outcome: Option<&Outcome>, path: &str) -> Option<Action> {
    let own = |it: &&Op| matches!(it, Op::Set { path: asked, .. } if asked == path);
    let parts: Vec<(String, i32)> = op
        .parts()
        .iter()
        .filter(own)
        .filter_map(|part| match part {
            Op::Set { data, version, .. } => Some((data.clone(), *version)),
            _ => None,
        })
        .collect();
    let (_, expected) = parts.first()?;
    let expected = *expected;
    match outcome {
        None => Some(Action::Write { parts, made: None }),
        Some(Outcome::Stat(stat)) => Some(Action::Write {
            parts,
            made: Some(stat.version),
        }),
        Some(Outcome::Error(-103)) => Some(Action::Refused { expected }),
        Some(Outcome::Multi(results)) => {
            let mut made = None;
            for (part, result) in op.parts().iter().zip(results) {
                match result {
                    Outcome::Error(_) => return None,
                    Outcome::Stat(stat) if own(&part) => made = Some(stat.version),
                    _ => {}
                }
            }
            Some(Action::Write { parts, made })
        }
        Some(_) => None,
    }
}

/// One possible past.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Past {
    version: i32,
    data: String,
    /// Calls on their way that have taken effect.
    done: BTreeSet<usize>,
}

/// Whether some order explains all spans; `first`: the payload at version 0.
///
/// # Errors
/// Why not: the first call that cannot be explained.
pub fn linearizable(spans: &[Span], first: &str) -> Result<(), String> {
    let mut steps: Vec<(u64, bool, usize)> = Vec::new();
    for (index, span) in spans.iter().enumerate() {
        steps.push((span.from, false, index));
        // What was sent in the moment of a return is concurrent with it.
        steps.extend(span.to.map(|to| (to, true, index)));
    }
    steps.sort_unstable();
    let search = Search::new(spans);
    let mut pending: BTreeSet<usize> = BTreeSet::new();
    let mut pasts = HashSet::from([Past {
        version: 0,
        data: first.to_owned(),
        done: BTreeSet::new(),
    }]);
    for (_, returns, index) in steps {
        if !returns {
            pending.insert(index);
            continue;
        }
        let mut after = HashSet::new();
        for past in &pasts {
            search.until(index, past, &pending, &mut after);
        }
        pending.remove(&index);
        if after.is_empty() {
            let states: BTreeSet<i32> = pasts.iter().map(|past| past.version).collect();
            return Err(format!("{:?} after versions {states:?}", spans[index]));
        }
        if after.len() > POSSIBLE_MAX {
            return Err(format!("not decided: {} possible pasts", after.len()));
        }
        pasts = after;
    }
    Ok(())
}

struct Search<'a> {
    spans: &'a [Span],
    /// Versions of which it was told who made them.
    told: BTreeSet<i32>,
    /// Payloads that were read.
    read: BTreeSet<&'a str>,
}

impl<'a> Search<'a> {
    fn new(spans: &'a [Span]) -> Self {
        let mut told = BTreeSet::new();
        let mut read = BTreeSet::new();
        for span in spans {
            match &span.action {
                Action::Write {
                    parts,
                    made: Some(made),
                } => told.extend(made + 1 - parts.len() as i32..=*made),
                Action::Read { data, .. } => drop(read.insert(data.as_str())),
                _ => {}
            }
        }
        Self { spans, told, read }
    }

    /// All pasts that follow from `past` and in which the call `index` has taken effect, and no call
    /// that was not needed for that.
    fn until(
        &self,
        index: usize,
        past: &Past,
        pending: &BTreeSet<usize>,
        found: &mut HashSet<Past>,
    ) {
        let mut seen = HashSet::new();
        let mut rest = vec![past.clone()];
        while let Some(mut past) = rest.pop() {
            self.observe(&mut past, pending);
            if !seen.insert(past.clone()) {
                continue;
            }
            if past.done.remove(&index) {
                found.insert(past);
                continue;
            }
            rest.extend(self.writes(&past, pending));
            if rest.len() > POSSIBLE_MAX {
                return;
            }
        }
    }

    /// What changes nothing and is true now takes effect now: later it could only be false.
    fn observe(&self, past: &mut Past, pending: &BTreeSet<usize>) {
        for index in pending {
            let holds = match &self.spans[*index].action {
                Action::Read { data, version } => *version == past.version && *data == past.data,
                Action::Refused { expected } => *expected != past.version,
                Action::Write { .. } => false,
            };
            if holds {
                past.done.insert(*index);
            }
        }
    }

    /// The pasts after one more write.
    fn writes(&self, past: &Past, pending: &BTreeSet<usize>) -> Vec<Past> {
        let mut after = Vec::new();
        let mut equals = BTreeMap::new();
        for index in pending.iter().filter(|index| !past.done.contains(index)) {
            let Action::Write { parts, made } = &self.spans[*index].action else {
                continue;
            };
            let mut version = past.version;
            let possible = parts.iter().all(|(_, expected)| {
                let fits = *expected == ANY || *expected == version;
                version += 1;
                // Of a version that somebody was told of, nobody else is the maker.
                fits && (made.is_some() || !self.told.contains(&version))
            });
            if !possible || made.is_some_and(|made| made != version) {
                continue;
            }
            // Of writes whose payloads nobody ever read, one is as good as another.
            let unread = parts
                .iter()
                .all(|(data, _)| !self.read.contains(data.as_str()));
            let kind = (parts.len(), parts.first().map(|(_, expected)| *expected));
            if made.is_none() && unread && equals.insert(kind, ()).is_some() {
                continue;
            }
            let mut done = past.done.clone();
            done.insert(*index);
            let data = parts
                .last()
                .map_or_else(String::new, |(data, _)| data.clone());
            after.push(Past {
                version,
                data,
                done,
            });
        }
        after
    }
}

#[cfg(test)]
mod tests;
