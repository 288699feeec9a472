//! Damage done on purpose to a history that a real run left: judges that do not see it prove nothing.

use super::history::{Call, End, History, Item, Op, Outcome, ROOT, Tape};
use super::load::register;
use super::walk::Walk;
use super::{Sync, judge, linear};
use crate::differential::random::Random;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A watcher is not told.
    EventLost,
    /// A watcher is told twice.
    EventDoubled,
    /// The reply that shows a change comes before the event.
    EventLate,
    /// A znode that was created is not there at the end.
    CreateLost,
    /// The last write of a register is not there at the end.
    SetLost,
    /// A synced read shows what was overwritten before it began.
    StaleRead,
    /// A reply's zxid is below one before it.
    ZxidBack,
    /// A write was done that its client was told is refused.
    RefusalDone,
    /// A write was not done that its client was told is done.
    AckNotDone,
    /// Two writes have changed their places in the order.
    OrderSwapped,
    /// The ephemeral of a session that is over is there at the end.
    EphemeralKept,
    /// One server has another tree.
    TreesDiffer,
}

impl Damage {
    /// All.
    pub const ALL: [Self; 12] = [
        Self::EventLost,
        Self::EventDoubled,
        Self::EventLate,
        Self::CreateLost,
        Self::SetLost,
        Self::StaleRead,
        Self::ZxidBack,
        Self::RefusalDone,
        Self::AckNotDone,
        Self::OrderSwapped,
        Self::EphemeralKept,
        Self::TreesDiffer,
    ];

    /// What the judges say of a right history after this damage; `None`: there is no place for it.
    pub fn found(
        self,
        history: &History,
        walks: &[Walk],
        random: &mut Random,
    ) -> Option<Vec<String>> {
        let (mut history, mut walks) = (history.clone(), walks.to_vec());
        match self {
            Self::EventLost | Self::EventDoubled | Self::EventLate => {
                self.events(&mut history, random)?;
            }
            Self::CreateLost => {
                let created = created_and_there(&history, &walks);
                let path = random.pick(some(&created)?).clone();
                for walk in &mut walks {
                    walk.nodes.remove(&path);
                }
            }
            Self::SetLost => {
                for walk in &mut walks {
                    walk.nodes.get_mut(&register(0))?.stat.version -= 1;
                }
            }
            Self::StaleRead => {
                stale(&mut history)?;
                // The blind judge must see it alone.
                return Some(linear::check(&history, Sync::Linearizable));
            }
            Self::ZxidBack => {
                let (client, index) = second_reply(&history)?;
                history.records[client].calls[index].reply.as_mut()?.zxid = 1;
            }
            Self::RefusalDone | Self::AckNotDone | Self::OrderSwapped => {
                self.writes(&mut history)?;
            }
            Self::EphemeralKept => {
                let over = history.sessions().find(|it| it.end != End::Open)?.id;
                for walk in &mut walks {
                    let mut found = walk.nodes.get(ROOT)?.clone();
                    found.stat.owner = over;
                    walk.nodes.insert("/e/a/c0-0".into(), found);
                }
            }
            Self::TreesDiffer => {
                let last = walks.last_mut()?.nodes.get_mut(&register(0))?;
                last.bytes.reverse();
            }
        }
        Some(judge(&history, &walks, Sync::Linearizable))
    }

    /// An event in front of a reply that must come behind it.
    fn events(self, history: &mut History, random: &mut Random) -> Option<()> {
        let mut places = Vec::new();
        for (client, record) in history.records.iter().enumerate() {
            for (tape, Tape { items, .. }) in record.tapes.iter().enumerate() {
                for (at, pair) in items.windows(2).enumerate() {
                    if let [Item::Event(event), Item::Reply(index)] = pair
                        && event.zxid > 0
                        && record.calls[*index]
                            .reply
                            .as_ref()
                            .is_some_and(|reply| reply.zxid >= event.zxid)
                    {
                        places.push((client, tape, at));
                    }
                }
            }
        }
        let (client, tape, at) = *random.pick(some(&places)?);
        let items = &mut history.records[client].tapes[tape].items;
        match self {
            Self::EventLost => drop(items.remove(at)),
            Self::EventDoubled => items.insert(at, items[at].clone()),
            _ => items.swap(at, at + 1),
        }
        Some(())
    }

    fn writes(self, history: &mut History) -> Option<()> {
        let is_set = |call: &Call| matches!(call.op, Op::Set { .. });
        let mut sets = history
            .records
            .iter_mut()
            .flat_map(|record| &mut record.calls)
            .filter(|call| is_set(call) && call.reply.is_some());
        match self {
            Self::RefusalDone => {
                let call = sets.find(|call| call.success().is_some())?;
                call.reply.as_mut()?.outcome = Outcome::Error(-103);
            }
            Self::AckNotDone => {
                let refused = |call: &&mut Call| {
                    call.reply.as_ref().map(|it| &it.outcome) == Some(&Outcome::Error(-103))
                };
                let call = sets.find(refused)?;
                let Op::Set { version, .. } = &call.op else {
                    return None;
                };
                let reply = call.reply.as_mut()?;
                reply.outcome = Outcome::Stat(super::history::Stat {
                    czxid: 1,
                    mzxid: reply.zxid,
                    version: version + 1,
                    cversion: 0,
                    owner: 0,
                    children: 0,
                    pzxid: 1,
                });
            }
            _ => {
                let mut done = sets.filter(|call| call.success().is_some());
                let one = done.next()?.reply.as_mut()?;
                let other = done.next()?.reply.as_mut()?;
                std::mem::swap(&mut one.zxid, &mut other.zxid);
            }
        }
        Some(())
    }
}

fn some<T>(items: &[T]) -> Option<&[T]> {
    (!items.is_empty()).then_some(items)
}

/// Znodes whose creation was acknowledged and that are there at the end.
fn created_and_there(history: &History, walks: &[Walk]) -> Vec<String> {
    let created = history
        .calls()
        .filter_map(|call| match &call.success()?.outcome {
            Outcome::Created(path, stat) if stat.owner == 0 => Some((path, stat.czxid)),
            _ => None,
        });
    let there = |path: &String, czxid: i64| {
        walks.iter().all(|walk| {
            walk.nodes
                .get(path)
                .is_some_and(|it| it.stat.czxid == czxid)
        })
    };
    // Not what a call of which nobody was told may have deleted: that would explain it.
    let open = history.calls().filter(|call| call.is_open());
    let deleted: Vec<&String> = open
        .flat_map(|call| call.op.parts())
        .filter_map(|part| match part {
            Op::Delete { path, .. } => Some(path),
            _ => None,
        })
        .collect();
    created
        .filter(|(path, czxid)| there(path, *czxid) && path.contains("n-"))
        .filter(|(path, _)| !deleted.contains(path))
        .map(|(path, _)| path.clone())
        .collect()
}

/// Makes a synced read of a register show what an earlier one has shown.
fn stale(history: &mut History) -> Option<()> {
    let path = register(0);
    let is_read = |call: &Call| {
        let read = matches!(&call.op, Op::Get { path: it, .. } if *it == path);
        read && call.success().is_some()
    };
    // One client's reads, in its order: each begins after the one before it ended, or nearly.
    for record in &mut history.records {
        let reads: Vec<usize> = (1..record.calls.len())
            .filter(|at| {
                is_read(&record.calls[*at])
                    && matches!(record.calls[at - 1].op, Op::Sync { .. })
                    && record.calls[at - 1].success().is_some()
            })
            .collect();
        for pair in reads.windows(2) {
            let before = record.calls[pair[0]].reply.clone()?;
            let after = record.calls[pair[1]].reply.clone()?;
            let (Outcome::Data(_, old), Outcome::Data(_, new)) = (&before.outcome, &after.outcome)
            else {
                continue;
            };
            if old.version < new.version && before.at < record.calls[pair[1] - 1].at {
                // Of what a third read showed after this one began, nobody reads less.
                let later = *reads.last()?;
                if later == pair[1] {
                    continue;
                }
                record.calls[later].reply.as_mut()?.outcome = before.outcome;
                return Some(());
            }
        }
    }
    None
}

/// The second reply on some connection, to a read.
fn second_reply(history: &History) -> Option<(usize, usize)> {
    for (client, record) in history.records.iter().enumerate() {
        for tape in &record.tapes {
            let replies = tape.items.iter().skip(3).filter_map(|item| match item {
                Item::Reply(index) => Some(*index),
                Item::Event(_) => None,
            });
            for index in replies {
                if matches!(record.calls[index].op, Op::Sync { .. }) {
                    return Some((client, index));
                }
            }
        }
    }
    None
}
