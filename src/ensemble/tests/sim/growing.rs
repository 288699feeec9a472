//! Members that come and go by edited files, under load and faults.

use std::time::Duration;

use super::super::planted;
use super::scenarios::{SECOND, ends_well, gets_on};
use super::world::World;
use crate::ensemble::Lineup;
use crate::state::ServerId;

/// How long a change may take when nothing is in its way.
const CHANGED_WITHIN: Duration = Duration::from_secs(20);

pub(super) fn lineup(voters: &[u64], observers: &[u64]) -> Lineup {
    let ids = |ids: &[u64]| ids.iter().copied().map(ServerId).collect();
    Lineup {
        voters: ids(voters),
        observers: ids(observers),
    }
}

/// Whether all of these serve and say that these are the members.
fn are_members(world: &mut World, servers: &[u64], wanted: &Lineup) -> bool {
    servers.iter().all(|id| {
        let server = world.server(*id);
        let says = server.ensemble().is_some_and(|it| it.lineup() == *wanted);
        says && server.serves()
    })
}

pub(super) fn until_members(world: &mut World, servers: &[u64], wanted: &Lineup) {
    let is_so = |world: &mut World| are_members(world, servers, wanted);
    let is_changed = world.run_until(CHANGED_WITHIN, is_so);
    assert!(
        is_changed,
        "{:#?}\n{:?}\n{}",
        world.states(),
        world.ledger.wrongs(),
        world.ledger.trace()
    );
}

/// A server alone, with some history.
fn alone(seed: u64) -> World {
    let mut world = World::new(seed, None);
    world.members = vec![1];
    world.list(&[1], &[1], &[]);
    world.start(1);
    let has_history = |world: &mut World| world.ledger.len() > 50;
    let has_history = world.run_until(20 * SECOND, has_history);
    assert!(has_history, "{}", world.ledger.trace());
    world
}

/// Ends a server and starts it again, with the files that it has now.
pub(super) fn restart(world: &mut World, id: u64) {
    world.crash(id);
    world.run_for(SECOND / 10);
    world.start(id);
}

/// Restarts these one after the other, each when the one before serves again.
fn roll(world: &mut World, servers: &[u64]) {
    for id in servers {
        restart(world, *id);
        let serves = |world: &mut World| world.server(*id).serves();
        let serves = world.run_until(10 * SECOND, serves);
        assert!(serves, "{:#?}\n{}", world.states(), world.ledger.trace());
    }
}

/// One to three, begun by whichever server is there first.
#[test]
fn a_server_alone_becomes_three_and_loses_nothing() {
    for (seed, order) in [[1, 2, 3], [2, 3, 1], [3, 1, 2], [2, 1, 3]]
        .iter()
        .enumerate()
    {
        let mut world = alone(seed as u64);
        world.crash(1);
        world.members = vec![1, 2, 3];
        world.list(&[1, 2, 3], &[1, 2, 3], &[]);
        for id in order {
            world.start(*id);
            world.run_for(SECOND);
        }
        until_members(&mut world, &[1, 2, 3], &lineup(&[1, 2, 3], &[]));
        // Each of them can be missed now.
        for id in [1, 2, 3] {
            world.crash(id);
            assert!(gets_on(&mut world, 5 * SECOND), "{}", world.ledger.trace());
            world.start(id);
            let serves = |world: &mut World| world.server(id).serves();
            assert!(
                world.run_until(10 * SECOND, serves),
                "{}",
                world.ledger.trace()
            );
        }
        ends_well(world);
    }
}

/// Two with new disks beside one with data that is away: whether they serve, and the world with them.
fn two_new_ones() -> (World, bool) {
    let mut world = alone(7);
    world.crash(1);
    world.members = vec![1, 2, 3];
    world.list(&[1, 2, 3], &[1, 2, 3], &[]);
    world.start(2);
    world.start(3);
    let serves = |world: &mut World| [2, 3].iter().any(|id| world.server(*id).serves());
    let begun = world.run_until(30 * SECOND, serves);
    (world, begun)
}

#[test]
fn two_new_ones_beside_an_absent_one_with_data_begin_nothing() {
    let (mut world, begun) = two_new_ones();
    assert!(!begun, "{}", world.ledger.trace());
    world.start(1);
    until_members(&mut world, &[1, 2, 3], &lineup(&[1, 2, 3], &[]));
    ends_well(world);
}

/// Three to five by rolling restart, and back, each time with a fault in the middle.
#[test]
fn three_become_five_and_three_again_whatever_happens_meanwhile() {
    for seed in 0..4 {
        let mut world = World::new(seed, None);
        for id in [1, 2, 3] {
            world.start(id);
        }
        let has_history = |world: &mut World| world.ledger.len() > 50;
        assert!(
            world.run_until(20 * SECOND, has_history),
            "{}",
            world.ledger.trace()
        );
        world.grow(5);
        world.members = vec![1, 2, 3, 4, 5];
        world.list(&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5], &[]);
        world.start(4);
        world.start(5);
        world.run_for(SECOND);
        roll(&mut world, &[1, 2]);
        // Two of three list it, and the change may begin: whoever leads dies in it.
        let pause = world.dice.between(0, 1_500);
        world.run_for(Duration::from_millis(pause));
        if let Some(leader) = world.leader() {
            restart(&mut world, leader);
        }
        restart(&mut world, 3);
        until_members(&mut world, &[1, 2, 3, 4, 5], &lineup(&[1, 2, 3, 4, 5], &[]));
        assert!(gets_on(&mut world, 5 * SECOND), "{}", world.ledger.trace());

        // Back: the files of those that stay, and the others are stopped when they are out.
        let stay = [1 + seed % 3, 4, 5];
        world.list(&stay, &stay, &[]);
        roll(&mut world, &stay);
        until_members(&mut world, &stay, &lineup(&stay, &[]));
        let gone: Vec<u64> = (1..=3).filter(|id| !stay.contains(id)).collect();
        world.run_for(5 * SECOND);
        for id in &gone {
            assert!(!world.server(*id).serves(), "{id} is out");
            world.crash(*id);
        }
        world.members = stay.to_vec();
        assert!(gets_on(&mut world, 5 * SECOND), "{}", world.ledger.trace());
        ends_well(world);
    }
}

/// An observer has clients and no vote, also when it is cut off and comes back.
#[test]
fn an_observer_serves_and_never_counts() {
    for seed in 0..2 {
        let mut world = World::new(seed, None);
        world.grow(4);
        world.members = vec![1, 2, 3, 4];
        world.list(&[1, 2, 3, 4], &[1, 2, 3], &[4]);
        for id in [1, 2, 3, 4] {
            world.start(id);
        }
        until_members(&mut world, &[1, 2, 3, 4], &lineup(&[1, 2, 3], &[4]));
        assert!(gets_on(&mut world, 5 * SECOND), "{}", world.ledger.trace());
        // With it, two of four would not be a majority; without it two of three are.
        let leader = world.leader().unwrap();
        let other = (1..=3).find(|id| *id != leader).unwrap();
        world.crash(other);
        for id in 1..=3 {
            world.network.cut(id, 4);
        }
        assert!(gets_on(&mut world, 5 * SECOND), "{}", world.ledger.trace());
        let serves = |world: &mut World| world.server(4).serves();
        assert!(world.run_until(5 * SECOND, |world| !world.server(4).serves()));
        for id in 1..=3 {
            world.network.mend(id, 4);
        }
        assert!(
            world.run_until(10 * SECOND, serves),
            "{}",
            world.ledger.trace()
        );
        // And it is no help: one voter and an observer commit nothing.
        let left = (1..=3).find(|id| *id != leader && *id != other).unwrap();
        world.crash(left);
        world.run_for(3 * SECOND);
        let acknowledged = world.ledger.acknowledged();
        world.run_for(5 * SECOND);
        assert_eq!(world.ledger.acknowledged(), acknowledged);
        ends_well(world);
    }
}

/// A server whose machine is replaced by one with another id.
#[test]
fn a_server_is_replaced_by_another_one() {
    let mut world = World::new(3, None);
    for id in [1, 2, 3] {
        world.start(id);
    }
    let has_history = |world: &mut World| world.ledger.len() > 50;
    assert!(
        world.run_until(20 * SECOND, has_history),
        "{}",
        world.ledger.trace()
    );
    world.crash(2);
    world.grow(4);
    world.members = vec![1, 3, 4];
    world.list(&[1, 3, 4], &[1, 3, 4], &[]);
    world.start(4);
    roll(&mut world, &[1, 3]);
    until_members(&mut world, &[1, 3, 4], &lineup(&[1, 3, 4], &[]));
    // It comes back with its old files and learns that it is out.
    world.start(2);
    world.run_for(10 * SECOND);
    assert!(!world.server(2).serves());
    assert!(gets_on(&mut world, 5 * SECOND), "{}", world.ledger.trace());
    world.crash(2);
    ends_well(world);
}

/// The files of one of three list a fourth, and nobody else's do: whether it gets in.
fn one_edited_file() -> bool {
    let mut world = World::new(5, None);
    for id in [1, 2, 3] {
        world.start(id);
    }
    let has_history = |world: &mut World| world.ledger.len() > 50;
    assert!(world.run_until(20 * SECOND, has_history));
    world.grow(4);
    let leader = world.leader().unwrap();
    let other = (1..=3).find(|id| *id != leader).unwrap();
    world.list(&[other, 4], &[1, 2, 3, 4], &[]);
    world.start(4);
    restart(&mut world, other);
    // It leads, so that all is as it wants but for the others' word.
    let leads = |world: &mut World| {
        if let Some(now) = world.leader().filter(|now| *now != other) {
            restart(world, now);
        }
        world.leader() == Some(other)
    };
    assert!(
        world.run_until(30 * SECOND, leads),
        "{}",
        world.ledger.trace()
    );
    let wanted = lineup(&[1, 2, 3, 4], &[]);
    let has_changed = |world: &mut World| are_members(world, &[other], &wanted);
    world.run_until(10 * SECOND, has_changed)
}

#[test]
fn one_edited_file_changes_nothing() {
    assert!(!one_edited_file());
}

#[test]
fn a_leader_that_follows_its_own_files_alone_is_found() {
    planted::plant(Some(planted::Defect::OneListIsEnough));
    let is_found = one_edited_file();
    planted::plant(None);
    assert!(is_found);
}

#[test]
fn a_new_disk_that_does_not_wait_for_the_absent_is_found() {
    planted::plant(Some(planted::Defect::AbsentCountsAsNew));
    let (_, is_found) = two_new_ones();
    planted::plant(None);
    assert!(is_found);
}
