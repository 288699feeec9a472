//! Watches: each fires once, with the right event, before any reply that shows the change; on the
//! next connection setWatches tells exactly what was missed.
//!
//! For each connection a server's watch table is played by zxid, from what the connection registered
//! and from what the replay knows of every txn.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Call, Event, History, Item, Kind, Op, Outcome, Watches, parent};
use super::replay::{Change, Node, Replayed, UNKNOWN};

/// What is wrong with the events of all connections.
pub fn check(history: &History, replayed: &Replayed) -> Vec<String> {
    let mut problems = Vec::new();
    for (client, record) in history.records.iter().enumerate() {
        for tape in &record.tapes {
            let mut table = Table::new(replayed);
            for item in &tape.items {
                match item {
                    Item::Event(event) => table.came.push(event.clone()),
                    Item::Reply(index) => table.reply(&record.calls[*index]),
                }
            }
            table.end();
            let server = tape.server + 1;
            let told = table.problems.into_iter();
            problems.extend(told.map(|it| format!("client {client} on server {server}: {it}")));
        }
    }
    problems
}

/// One connection's watches, as its server must keep them.
struct Table<'a> {
    replayed: &'a Replayed,
    watches: Watches,
    /// Events since the last reply.
    came: Vec<Event>,
    /// Everything up to here has been told.
    zxid: i64,
    problems: Vec<String>,
}

impl<'a> Table<'a> {
    /// Nothing is watched before the first reply, so it does not matter how far the server had come.
    fn new(replayed: &'a Replayed) -> Self {
        Self {
            replayed,
            watches: Watches::default(),
            came: Vec::new(),
            zxid: 0,
            problems: Vec::new(),
        }
    }

    fn reply(&mut self, call: &Call) {
        let Some(reply) = &call.reply else { return };
        let zxid = reply.zxid;
        if let Op::SetWatches { since, watches } = &call.op {
            self.set_watches(*since, watches, zxid);
            return;
        }
        self.advance(zxid);
        let refused = matches!(reply.outcome, Outcome::Error(_));
        let absent = reply.outcome == Outcome::Error(-101);
        match &call.op {
            Op::Get { path, watch: true } if !refused => {
                self.watches.data.insert(path.clone());
            }
            Op::Exists { path, watch: true } if !refused || absent => {
                self.watches.data.insert(path.clone());
            }
            Op::Children { path, watch: true } if !refused => {
                self.watches.child.insert(path.clone());
            }
            Op::AddWatch { path } if !refused => {
                self.watches.recursive.insert(path.clone());
            }
            _ => {}
        }
    }

    /// A reply shows `zxid`: everything up to there must have been told, and nothing else.
    fn advance(&mut self, zxid: i64) {
        let came = std::mem::take(&mut self.came);
        if zxid <= self.zxid {
            if !came.is_empty() {
                self.problems
                    .push(format!("told late, behind {zxid:#x}: {came:?}"));
            }
            return;
        }
        let (missing, spare) = self.compare(zxid, came);
        self.zxid = zxid;
        if !missing.is_empty() {
            self.problems
                .push(format!("not told before {zxid:#x} was shown: {missing:?}"));
        }
        if !spare.is_empty() {
            self.problems.push(format!(
                "told for no reason or twice, by {zxid:#x}: {spare:?}"
            ));
        }
    }

    /// What should have come by this zxid and did not, and what came and should not have.
    fn compare(&mut self, zxid: i64, came: Vec<Event>) -> (Vec<Event>, Vec<Event>) {
        let mut by_zxid: BTreeMap<i64, Vec<Event>> = BTreeMap::new();
        for event in came {
            by_zxid.entry(event.zxid).or_default().push(event);
        }
        let from = if self.watches.is_empty() {
            zxid // nothing is watched yet
        } else {
            self.zxid + 1
        };
        let changes = self.replayed.changes.range(from.min(zxid)..=zxid);
        let txns: BTreeSet<i64> = changes
            // Behind the last reply nothing new may have come.
            .filter(|(at, _)| **at >= from)
            .map(|(at, _)| *at)
            .chain(by_zxid.keys().copied())
            .collect();
        let (mut missing, mut spare) = (Vec::new(), Vec::new());
        for at in txns {
            let changes = self.replayed.changes.get(&at);
            let changes = changes.filter(|_| (from..=zxid).contains(&at));
            let expected =
                changes.map_or(Vec::new(), |changes| fire(&mut self.watches, at, changes));
            let came = by_zxid.remove(&at).unwrap_or_default();
            missing.extend(less(&expected, &came));
            for event in less(&came, &expected) {
                // What nobody knows of cannot be expected, but it must have been asked for.
                let wanted = self.consume(&event);
                if !(wanted && self.blurred(&event)) {
                    spare.push(event);
                }
            }
        }
        (missing, spare)
    }

    /// Takes the watch of an event away; whether there was one.
    fn consume(&mut self, event: &Event) -> bool {
        let path = &event.path;
        let child = self.watches.child.contains(path);
        let data = self.watches.data.contains(path);
        let (data, child) = match event.kind {
            Kind::Children => (false, child),
            Kind::Deleted => (data, child),
            Kind::Created | Kind::Changed => (data, false),
        };
        if data {
            self.watches.data.remove(path);
        }
        if child {
            self.watches.child.remove(path);
        }
        data || child
    }

    /// Whether something unseen may have caused this event.
    fn blurred(&self, event: &Event) -> bool {
        let mut unseen = self.replayed.blurs.iter().chain(&self.replayed.vague);
        unseen.any(|(path, from, to)| {
            let near =
                path == &event.path || (event.kind == Kind::Children && parent(path) == event.path);
            near && *from < event.zxid && event.zxid <= *to
        })
    }

    /// zk: DataTree.setWatches: against the tree of that moment, before the reply.
    fn set_watches(&mut self, since: i64, asked: &Watches, zxid: i64) {
        let came = std::mem::take(&mut self.came);
        let (told, live): (Vec<Event>, Vec<Event>) =
            came.into_iter().partition(|event| event.zxid <= 0);
        if !live.is_empty() {
            self.problems
                .push(format!("events before setWatches: {live:?}"));
        }
        self.zxid = zxid;
        let mut told: Vec<(Kind, String)> = told
            .into_iter()
            .map(|event| (event.kind, event.path))
            .collect();
        let mut expected = Vec::new();
        let mut uncertain = BTreeSet::new();
        for path in asked.data.iter().chain(&asked.exist).chain(&asked.child) {
            if self.unsure(path, since, zxid) {
                uncertain.insert(path.clone());
            }
        }
        let at = |path: &String| state_at(self.replayed, path, zxid);
        let mut kept = Watches {
            recursive: asked.recursive.clone(),
            ..Watches::default()
        };
        for path in &asked.data {
            match at(path) {
                None => expected.push((Kind::Deleted, path.clone())),
                Some(node) if node.mzxid > since => expected.push((Kind::Changed, path.clone())),
                Some(_) => drop(kept.data.insert(path.clone())),
            }
        }
        for path in &asked.exist {
            match at(path) {
                None => drop(kept.data.insert(path.clone())),
                Some(_) => expected.push((Kind::Created, path.clone())),
            }
        }
        for path in &asked.child {
            match at(path) {
                None => expected.push((Kind::Deleted, path.clone())),
                Some(node) if node.pzxid > since => expected.push((Kind::Children, path.clone())),
                Some(_) => drop(kept.child.insert(path.clone())),
            }
        }
        for path in &uncertain {
            // What was told decides; what was not is watched on.
            let (was_told, mine) = (|kind| told.contains(&(kind, path.clone())), path.clone());
            let data = [Kind::Created, Kind::Changed, Kind::Deleted]
                .into_iter()
                .any(was_told);
            let asked_data = asked.data.contains(path) || asked.exist.contains(path);
            keep(&mut kept.data, &mine, asked_data && !data);
            let child = [Kind::Children, Kind::Deleted].into_iter().any(was_told);
            keep(&mut kept.child, &mine, asked.child.contains(path) && !child);
        }
        told.retain(|(_, path)| !uncertain.contains(path));
        expected.retain(|(_, path)| !uncertain.contains(path));
        told.sort();
        expected.sort();
        if told != expected {
            self.problems.push(format!(
                "setWatches since {since:#x} at {zxid:#x}: expected {expected:?}, told {told:?}"
            ));
        }
        self.watches = kept;
    }

    /// Whether it is not known what a path was like when the server was asked.
    fn unsure(&self, path: &str, since: i64, zxid: i64) -> bool {
        let mut unseen = self.replayed.blurs.iter().chain(&self.replayed.vague);
        let blurred = unseen.any(|(blurred, from, to)| {
            (blurred == path || parent(blurred) == path) && *from < zxid && since < *to
        });
        let vague = state_at(self.replayed, path, zxid)
            .is_some_and(|node| node.mzxid == UNKNOWN || node.pzxid == UNKNOWN);
        blurred || vague
    }

    /// What came after the last reply: right as far as it goes.
    fn end(&mut self) {
        let came = std::mem::take(&mut self.came);
        let Some(last) = came.iter().map(|event| event.zxid).max() else {
            return;
        };
        let (mut missing, mut spare) = self.compare(last.max(self.zxid), came);
        // Of the last txn not everything may have come; setWatches may have told, and its reply be lost.
        missing.retain(|event| event.zxid < last);
        spare.retain(|event| event.zxid > 0);
        if !spare.is_empty() || !missing.is_empty() {
            self.problems.push(format!(
                "at the end of the connection: spare {spare:?}, missing {missing:?}"
            ));
        }
    }
}

fn keep(set: &mut BTreeSet<String>, path: &str, wanted: bool) {
    if wanted {
        set.insert(path.to_owned());
    } else {
        set.remove(path);
    }
}

/// What is in `these` more often than in `those`.
fn less(these: &[Event], those: &[Event]) -> Vec<Event> {
    let mut counts: BTreeMap<&Event, usize> = BTreeMap::new();
    for event in those {
        *counts.entry(event).or_default() += 1;
    }
    let mut left = Vec::new();
    for event in these {
        match counts.get_mut(event).filter(|count| **count > 0) {
            Some(count) => *count -= 1,
            None => left.push(event.clone()),
        }
    }
    left
}

/// The events of a txn for one connection, whose standard watches they take with them.
///
/// zk: DataTree.createNode, deleteNode and setData; the order within a txn is not looked at.
pub(super) fn fire(watches: &mut Watches, zxid: i64, changes: &[Change]) -> Vec<Event> {
    let mut events = Vec::new();
    for (kind, path) in changes {
        let event = |kind, path: &str| Event {
            zxid,
            kind,
            path: path.to_owned(),
        };
        let below = |root: &String| {
            let rest = path.strip_prefix(root.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let recursive = watches.recursive.iter().any(below);
        let data = watches.data.remove(path);
        let deleted = *kind == Kind::Deleted;
        let child = deleted && watches.child.remove(path);
        if recursive || data || child {
            events.push(event(*kind, path));
        }
        if *kind != Kind::Changed && watches.child.remove(parent(path)) {
            events.push(event(Kind::Children, parent(path)));
        }
    }
    events
}

fn state_at<'a>(replayed: &'a Replayed, path: &str, zxid: i64) -> Option<&'a Node> {
    let life = replayed.lives.get(path)?;
    let count = life.partition_point(|(at, _)| *at <= zxid);
    life.get(count.checked_sub(1)?)?.1.as_ref()
}
