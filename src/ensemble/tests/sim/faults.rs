//! What goes wrong, and when: all of it by the seed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::disk::Defect;
use super::server::{ALL, Speed};
use super::world::World;

/// How long things go wrong before they are healed, milliseconds.
const FAULTS_MS: u64 = 7_000;
/// Before that, without a fault.
const CALM_MS: u64 = 800;
/// Entries that a checkpoint leaves in seeds in which that is little: less than come in a second.
pub(super) const ENTRIES_KEPT: u64 = 16;
/// A run that did not do so much proves little.
const TXNS_MIN: usize = 60;

/// What is put right again, later.
#[derive(Clone, Copy, Debug)]
enum Undo {
    Start(u64),
    Mend(u64, u64),
    Speed(u64),
}

/// How a seed went.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) trace: String,
    /// What was not as it must be.
    pub(super) wrong: Vec<String>,
    pub(super) txns: usize,
    pub(super) terms: usize,
    pub(super) faults: u64,
}

/// Plays a seed: calm, faults, healing.
pub(super) fn play(seed: u64, defect: Option<Defect>) -> Outcome {
    let mut world = World::new(seed, defect);
    if keeps_little(seed) {
        world.keep_entries(ENTRIES_KEPT);
    }
    for id in ALL {
        world.start(id);
    }
    world.run_for(Duration::from_millis(CALM_MS));
    let mut faults = Faults {
        is_harsh: is_harsh(seed),
        ..Faults::default()
    };
    if faults.is_harsh {
        for id in ALL {
            world.server(id).usual = Speed::Slow;
            world.server(id).speed = Speed::Slow;
        }
    }
    let end_ms = world.now_ms + FAULTS_MS;
    let mut next_ms = world.now_ms;
    while world.now_ms < end_ms && !world.ledger.is_wrong() {
        faults.undo(&mut world);
        if world.now_ms >= next_ms {
            faults.next(&mut world);
            let pause = match (faults.is_harsh, world.dice.once_in(3)) {
                (_, true) => 60,
                (true, false) => 600,
                (false, false) => 1_200,
            };
            next_ms = world.now_ms + world.dice.between(5, pause);
        }
        world.tick();
    }
    if !world.ledger.is_wrong() {
        world.end();
    }
    let txns = world.ledger.len();
    if txns < TXNS_MIN && !world.ledger.is_wrong() {
        world.ledger.wrong(format!("only {txns} txns"));
    }
    Outcome {
        trace: world.ledger.trace(),
        wrong: world.ledger.wrongs(),
        txns,
        terms: world.ledger.terms(),
        faults: faults.count,
    }
}

/// In every other seed servers that were away for a while need snapshots.
pub(super) fn keeps_little(seed: u64) -> bool {
    seed % 2 == 1
}

/// In every fourth seed all disks are slow, and servers die and come back at once: what was said to be
/// durable, and whom each has voted for, matters then.
pub(super) fn is_harsh(seed: u64) -> bool {
    seed % 4 == 3
}

#[derive(Debug, Default)]
struct Faults {
    is_harsh: bool,
    later: BTreeMap<u64, Vec<Undo>>,
    count: u64,
}

impl Faults {
    fn undo(&mut self, world: &mut World) {
        let Some(due) = self.later.remove(&world.now_ms) else {
            return;
        };
        for undo in due {
            match undo {
                Undo::Start(id) => world.start(id),
                Undo::Mend(one, other) => {
                    world.ledger.note(format!("mend {one} {other}"));
                    world.network.mend(number(one), number(other));
                }
                Undo::Speed(id) => {
                    let usual = world.server(id).usual;
                    world.ledger.note(format!("disk of s{id} is {usual:?}"));
                    world.server(id).speed = usual;
                }
            }
        }
    }

    /// `undo` happens in `least` to `most` milliseconds.
    fn later(&mut self, world: &mut World, least: u64, most: u64, undo: Undo) {
        let at_ms = world.now_ms + world.dice.between(least, most);
        self.later.entry(at_ms).or_default().push(undo);
    }

    fn next(&mut self, world: &mut World) {
        self.count += 1;
        let some = world.dice.between(1, 3);
        let other = 1 + (some + world.dice.below(2)) % 3;
        let kinds = if self.is_harsh { 6 } else { 17 };
        match (world.dice.below(kinds), self.is_harsh) {
            (5, true) => self.wipe(world, some),
            (kind, _) => self.do_one(world, kind, some, other),
        }
    }

    fn do_one(&mut self, world: &mut World, kind: u64, some: u64, other: u64) {
        match kind {
            0 | 1 => self.crash(world, some),
            2 | 3 => {
                let leader = world.leader().unwrap_or(some);
                self.crash(world, leader);
            }
            4 => {
                for id in ALL {
                    self.crash(world, id);
                }
            }
            5 | 6 => self.cut(world, &[(some, other)]),
            7 => {
                let alone = world.leader().unwrap_or(some);
                let links = ALL.into_iter().filter(|id| *id != alone);
                let links: Vec<_> = links.map(|id| (alone, id)).collect();
                self.cut(world, &links);
            }
            8 => self.cut(world, &[(1, 2), (1, 3), (2, 3)]),
            9 | 10 => {
                world.ledger.note(format!("cut one way {some} {other}"));
                world.network.cut_way(number(some), number(other));
                self.later(world, 50, 3_000, Undo::Mend(some, other));
            }
            11 | 12 => {
                let speed = if world.dice.once_in(2) {
                    Speed::Hung
                } else {
                    Speed::Slow
                };
                world.ledger.note(format!("disk of s{some} is {speed:?}"));
                world.server(some).speed = speed;
                self.later(world, 10, 2_000, Undo::Speed(some));
            }
            13 => {
                let latency_ms = world.dice.below(40);
                world
                    .ledger
                    .note(format!("link {some} {other} takes {latency_ms}"));
                world.network.slow(number(some), number(other), latency_ms);
            }
            14 => self.softly(world, some, other),
            15 => self.wipe(world, some),
            _ => {
                let by_ms = 3_600_000 - 7_200_000 * world.dice.below(2).cast_signed();
                world.ledger.note(format!("clock of s{some} jumps {by_ms}"));
                world.server(some).clock.jump(by_ms);
            }
        }
    }

    fn crash(&mut self, world: &mut World, id: u64) {
        if world.server(id).run.is_none() {
            return;
        }
        world.crash(id);
        let most = if self.is_harsh { 400 } else { 2_500 };
        self.later(world, 5, most, Undo::Start(id));
    }

    fn cut(&mut self, world: &mut World, links: &[(u64, u64)]) {
        for (one, other) in links {
            world.ledger.note(format!("cut {one} {other}"));
            world.network.cut(number(*one), number(*other));
            self.later(world, 50, 3_000, Undo::Mend(*one, *other));
        }
    }

    /// What an operator or a broken connection does.
    fn softly(&mut self, world: &mut World, some: u64, other: u64) {
        match (world.dice.below(3), world.leader()) {
            (0, Some(leader)) => {
                world.ledger.note(format!("hand over s{leader}"));
                let server = world.server(leader);
                if let (Some(run), Some(ensemble)) = (&server.run, server.ensemble()) {
                    run.runtime.spawn(async move { ensemble.hand_over().await });
                }
            }
            (1, _) => {
                world.ledger.note(format!("stop s{some}"));
                world.server(some).stop();
                self.later(world, 5_500, 6_500, Undo::Start(some));
            }
            _ => {
                world.ledger.note(format!("break {some} {other}"));
                world.network.break_connections(number(some), number(other));
            }
        }
    }

    /// Only while the others have all that this one had, by entries or as a snapshot.
    fn wipe(&mut self, world: &mut World, id: u64) {
        use crate::storage::Log as _;
        let is_member = |server: &super::server::Server| {
            let log = &server.disk.log;
            server.run.is_some() && log.is_joining().is_ok_and(|it| !it)
        };
        if !world.servers.iter().all(is_member) {
            return;
        }
        world.crash(id);
        world.wipe(id);
        self.later(world, 5, 1_500, Undo::Start(id));
    }
}

fn number(id: u64) -> u8 {
    u8::try_from(id).unwrap()
}
