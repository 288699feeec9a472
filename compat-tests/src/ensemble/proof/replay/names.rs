//! What clients were told of versions and of the numbers of sequential znodes: an open call made
//! neither what others made, nor a name outside the time in which it can have been done.

use std::collections::{BTreeMap, BTreeSet};

use super::super::facts::Open;
use super::super::history::{History, Item, Kind, Op, Outcome, parent};
use super::super::walk::Walk;
use super::tree::{Change, Tree};

/// Digits of a sequential znode's number.
const DIGITS: usize = 10;

/// Names and versions, by who made them.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Path, czxid and version of what acknowledged writes made.
    versions: BTreeSet<(String, i64, i32)>,
    /// By path without number: the numbers that acknowledged creates got, and their zxids.
    told: BTreeMap<String, BTreeMap<i32, i64>>,
    /// By path without number: other numbers that somebody saw.
    orphans: BTreeMap<String, BTreeSet<i32>>,
    /// Under which path a payload was read.
    by_data: BTreeMap<String, String>,
}

impl Names {
    pub(super) fn gather(history: &History, walks: &[Walk]) -> Self {
        let mut names = Self::default();
        for call in history.calls() {
            let Some(reply) = call.success() else {
                continue;
            };
            let results = match &reply.outcome {
                Outcome::Multi(results) => results.as_slice(),
                single => std::slice::from_ref(single),
            };
            for (part, result) in call.op.parts().iter().zip(results) {
                match (part, result) {
                    (Op::Set { path, .. }, Outcome::Stat(stat)) => {
                        let version = (path.clone(), stat.czxid, stat.version);
                        names.versions.insert(version);
                    }
                    (Op::Create { path, flags, .. }, Outcome::Created(name, stat))
                        if flags & 2 == 2 =>
                    {
                        if let Some(number) = number_of(name, path) {
                            let told = names.told.entry(path.clone()).or_default();
                            told.insert(number, stat.czxid);
                        }
                    }
                    _ => {}
                }
            }
        }
        names.others(history, walks);
        names
    }

    /// Names and payloads that were seen.
    fn others(&mut self, history: &History, walks: &[Walk]) {
        for record in &history.records {
            for item in record.tapes.iter().flat_map(|tape| &tape.items) {
                if let Item::Event(event) = item {
                    self.saw(&event.path);
                }
            }
            for call in &record.calls {
                let outcome = call.reply.as_ref().map(|reply| &reply.outcome);
                match (&call.op, outcome) {
                    (Op::Children { path, .. }, Some(Outcome::Names(names, _))) => {
                        for name in names {
                            self.saw(&format!("{path}/{name}"));
                        }
                    }
                    (Op::Get { path, .. }, Some(Outcome::Data(data, _))) => {
                        self.by_data.insert(data.clone(), path.clone());
                    }
                    _ => {}
                }
            }
        }
        for (path, found) in walks.iter().flat_map(|walk| &walk.nodes) {
            self.saw(path);
            self.by_data.insert(found.data.clone(), path.clone());
        }
    }

    fn saw(&mut self, path: &str) {
        let Some(at) = path.len().checked_sub(DIGITS) else {
            return;
        };
        let (Some(prefix), Some(number)) = (path.get(..at), path.get(at..)) else {
            return;
        };
        let number = number.parse().ok().filter(|_| prefix.ends_with('-'));
        let told = |number: &i32| {
            let told = self.told.get(prefix);
            told.is_some_and(|told| told.contains_key(number))
        };
        if let Some(number) = number.filter(|number| !told(number)) {
            let orphans = self.orphans.entry(prefix.to_owned()).or_default();
            orphans.insert(number);
        }
    }

    /// Whether an acknowledged write made this version.
    pub(super) fn made(&self, path: &str, czxid: i64, version: i32) -> bool {
        let version = (path.to_owned(), czxid, version);
        self.versions.contains(&version)
    }

    /// The numbers that a sequential znode of an open call can have got: above and below these.
    fn bounds(&self, open: &Open, prefix: &str) -> (i32, i32) {
        let mut bounds = (-1, i32::MAX);
        for (number, zxid) in self.told.get(prefix).into_iter().flatten() {
            if *zxid <= open.above {
                bounds.0 = bounds.0.max(*number);
            } else if *zxid >= open.below {
                bounds.1 = bounds.1.min(*number);
            }
        }
        bounds
    }

    /// The name that a sequential create of an open call got, if anybody ever saw it. `seen`: what
    /// watchers saw of its txn; `taken`: names that others got.
    pub(super) fn name(
        &self,
        open: &Open,
        (prefix, data): (&str, &str),
        seen: &BTreeSet<Change>,
        taken: &BTreeSet<String>,
    ) -> Option<(String, i32)> {
        let read = self.by_data.get(data).cloned();
        let told = seen.iter().find(|(kind, name)| {
            *kind == Kind::Created && number_of(name, prefix).is_some() && !taken.contains(name)
        });
        let orphan = || {
            let (above, below) = self.bounds(open, prefix);
            let mut orphans = self.orphans.get(prefix)?.iter();
            let name = |number: &i32| format!("{prefix}{number:010}");
            orphans
                .find(|it| above < **it && **it < below && !taken.contains(&name(it)))
                .map(name)
        };
        let name = read
            .or_else(|| told.map(|(_, name)| name.clone()))
            .or_else(orphan)?;
        let number = number_of(&name, prefix)?;
        Some((name, number))
    }
}

/// The number behind `prefix` in the name of a sequential znode.
pub(super) fn number_of(name: &str, prefix: &str) -> Option<i32> {
    let digits = name.strip_prefix(prefix)?;
    digits.parse().ok().filter(|_| digits.len() == DIGITS)
}

/// Creates a sequential znode under a name that is known.
///
/// # Errors
/// As [`Tree::create`].
pub(super) fn create_named(
    tree: &mut Tree,
    (name, number): (String, i32),
    data: &str,
    owner: i64,
    zxid: i64,
) -> Result<Vec<Change>, i32> {
    let above = parent(&name).to_owned();
    let before = tree.nodes.get(&above).map_or(0, |node| node.created);
    let changes = tree.create(name, Some(data.to_owned()), owner, zxid)?;
    if let Some(node) = tree.nodes.get_mut(&above) {
        node.created = before.max(number + 1);
    }
    Ok(changes)
}
