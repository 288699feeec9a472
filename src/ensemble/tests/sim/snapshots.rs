//! Servers that have missed more than the others keep: snapshots, and what may happen to them.

use std::time::Duration;

use super::disk::Defect;
use super::faults::{ENTRIES_KEPT, play};
use super::scenarios::{SECOND, begin, ends_well, number, others};
use super::server::Speed;
use super::world::World;
use crate::storage::Log as _;

/// Three servers that keep little, one of which has been away for longer than that; that one, and who
/// leads.
fn with_one_behind(seed: u64, wiped: bool) -> (World, u64, u64) {
    let mut world = World::new(seed, None);
    world.keep_entries(ENTRIES_KEPT);
    begin(&mut world);
    let (behind, _) = others(world.leader().unwrap());
    world.crash(behind);
    if wiped {
        world.wipe(behind);
    }
    let last = world.server(behind).disk.log.ends().last;
    let is_purged = |world: &mut World| {
        let leader = world.leader();
        leader.is_some_and(|leader| world.server(leader).disk.log.ends().purged > last)
    };
    assert!(
        world.run_until(30 * SECOND, is_purged),
        "{}",
        world.ledger.trace()
    );
    let leader = world.leader().unwrap();
    (world, behind, leader)
}

/// How often servers have gone on by a snapshot.
fn installed(world: &World, id: u64) -> usize {
    let line = format!(" s{id} goes on at ");
    world.ledger.trace().matches(&line).count()
}

fn until_installed(world: &mut World, id: u64, time: Duration) {
    let before = installed(world, id);
    let is_installed = |world: &mut World| installed(world, id) > before;
    assert!(
        world.run_until(time, is_installed),
        "{:#?}\n{}",
        world.states(),
        world.ledger.trace()
    );
}

#[test]
fn a_server_that_missed_more_than_is_kept_gets_a_snapshot_and_goes_on_by_the_log() {
    for (seed, wiped) in [(0, false), (1, true), (2, false), (3, true)] {
        let (mut world, behind, _) = with_one_behind(seed, wiped);
        world.start(behind);
        until_installed(&mut world, behind, 10 * SECOND);
        let serves = |world: &mut World| world.server(behind).serves();
        assert!(
            world.run_until(10 * SECOND, serves),
            "{:#?}",
            world.states()
        );
        assert_eq!(world.server(behind).disk.log.is_joining().ok(), Some(false));
        ends_well(world);
    }
}

/// It does not serve what is long past, though it hears its leader.
#[test]
fn nobody_is_served_by_a_server_that_waits_for_a_snapshot() {
    let (mut world, behind, leader) = with_one_behind(4, false);
    // So slow that it takes a while.
    world.network.slow(number(leader), number(behind), 200);
    world.start(behind);
    let count = installed(&world, behind);
    let is_done = |world: &mut World| {
        let is_installed = installed(world, behind) > count;
        let serves = world.server(behind).serves();
        assert!(is_installed || !serves, "{}", world.ledger.trace());
        is_installed
    };
    assert!(
        world.run_until(30 * SECOND, is_done),
        "{:#?}",
        world.states()
    );
    ends_well(world);
}

/// At every moment of the transfer, one in each run: the link breaks, the receiver dies, the leader dies.
#[test]
fn whatever_happens_to_a_snapshot_its_receiver_gets_in() {
    for seed in 0..24 {
        let (mut world, behind, leader) = with_one_behind(seed % 3, seed % 2 == 0);
        world.start(behind);
        world.run_for(Duration::from_millis(seed * 4));
        match seed % 4 {
            0 => world
                .network
                .break_connections(number(leader), number(behind)),
            1 => {
                world.crash_with(behind, 0, true);
                world.start(behind);
            }
            2 => world.crash(leader),
            _ => {
                world.network.cut(number(leader), number(behind));
                world.run_for(2 * SECOND);
                world.network.mend(number(leader), number(behind));
            }
        }
        ends_well(world);
    }
}

/// More is written and purged while it is under way than is kept: it gets another one.
#[test]
fn a_purge_that_overtakes_a_snapshot_does_not_keep_its_receiver_out() {
    for seed in 0..2 {
        let (mut world, behind, leader) = with_one_behind(seed, false);
        world.network.slow(number(leader), number(behind), 150);
        world.network.slow(number(behind), number(leader), 150);
        world.start(behind);
        world.run_for(10 * SECOND);
        world.network.slow(number(leader), number(behind), 1);
        world.network.slow(number(behind), number(leader), 1);
        let serves = |world: &mut World| world.server(behind).serves();
        assert!(
            world.run_until(20 * SECOND, serves),
            "{:#?}",
            world.states()
        );
        ends_well(world);
    }
}

/// Killed while the log has not followed its new tree yet, with what was there of it or without.
#[test]
fn a_server_that_dies_right_behind_an_install_goes_on_from_it() {
    for seed in 0..6 {
        let (mut world, behind, _) = with_one_behind(seed % 3, false);
        world.server(behind).speed = Speed::Hung;
        world.start(behind);
        until_installed(&mut world, behind, 10 * SECOND);
        let pending = world.server(behind).disk.log.pending();
        let kept = if seed % 2 == 0 { 0 } else { pending };
        world.crash_with(behind, kept, true);
        world.start(behind);
        ends_well(world);
    }
}

/// A server whose tree came by a snapshot leads, and must have one for others, too.
#[test]
fn who_came_in_by_a_snapshot_can_send_one() {
    for seed in 0..2 {
        let (mut world, behind, leader) = with_one_behind(seed, false);
        let other = 6 - behind - leader;
        world.start(behind);
        until_installed(&mut world, behind, 10 * SECOND);
        let serves = |world: &mut World| world.server(behind).serves();
        assert!(
            world.run_until(10 * SECOND, serves),
            "{:#?}",
            world.states()
        );
        world.crash(other);
        world.wipe(other);
        world.crash(leader);
        // The two that are left lead only by the one that has data.
        world.start(leader);
        world.start(other);
        until_installed(&mut world, other, 20 * SECOND);
        ends_well(world);
    }
}

fn is_found(defect: Defect, seeds: std::ops::Range<u64>) {
    let mut odd = seeds.filter(|seed| seed % 2 == 1);
    let found = odd.find_map(|seed| {
        let wrong = play(seed, Some(defect)).wrong;
        Some((seed, wrong.first()?.clone()))
    });
    super::keep(&format!("{defect:?}.found"), &format!("{found:?}"));
    assert!(found.is_some(), "{defect:?} was not found");
}

#[test]
fn a_snapshot_that_is_not_of_one_moment_is_found() {
    is_found(Defect::SnapshotSmeared, 0..60);
}
