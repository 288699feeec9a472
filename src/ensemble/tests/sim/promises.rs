//! What a server may have promised on a disk that is gone, and what it does when its ensemble has lost
//! what it applied: scenarios that need a disk, a link or a moment of their own.

use std::time::Duration;

use futures::FutureExt as _;

use super::super::submission;
use super::disk::Defect;
use super::scenarios::{SECOND, begun, begun_with, ends_well, gets_on, number, others};
use super::server::{ALL, Speed};
use super::world::World;
use crate::ensemble::Failure;
use crate::ensemble::peer::{Ask, Told};
use crate::state::{ActionRef, LogPosition, ServerId};
use crate::storage::Log as _;

/// The mark of a server that has not caught up yet, though its log may be as long as any.
fn mark_joining(world: &mut World, id: u64) {
    let pending = world.server(id).disk.log.pending();
    world.crash_with(id, pending, true);
    world.server(id).disk.log.mark_joining(true).unwrap();
}

/// What `of` answers `from` who asks whether the leader's process is gone for it, too.
fn misses_leader(world: &mut World, from: u64, of: u64, leader: u64) -> bool {
    let term = world.server(from).ensemble().unwrap().report().term;
    let ensemble = world.server(from).ensemble().unwrap();
    let (tell, mut told) = tokio::sync::oneshot::channel();
    let run = world.server(from).run.as_ref().unwrap();
    run.runtime.spawn(async move {
        let ask = Ask::LeaderGone {
            leader: ServerId(leader),
            term,
            last_log: None,
        };
        tell.send(ensemble.peers.call(ServerId(of), ask).await)
    });
    let mut answer = None;
    let is_told = |_: &mut World| {
        answer = told.try_recv().ok();
        answer.is_some()
    };
    assert!(world.run_until(2 * SECOND, is_told));
    match answer {
        Some(Ok(Told::LeaderGone { gone, .. })) => gone,
        other => panic!("{other:?}"),
    }
}

/// What a server's log ends with.
fn last_log(world: &World, id: u64) -> Option<LogPosition> {
    let at = usize::try_from(id - 1).unwrap();
    world.servers[at].disk.log.ends().last
}

/// Its log is longer than the other's, so it would be the one to stand.
#[test]
fn a_joining_server_is_no_heir_of_a_leader_whose_process_is_gone() {
    let mut met = 0;
    for seed in 0..8 {
        let (mut world, leader) = begun(seed);
        let (joining, other) = others(leader);
        world.asks = false;
        let is_whole = |world: &mut World| {
            let first = last_log(world, 1);
            ALL.into_iter().all(|id| last_log(world, id) == first)
        };
        world.run_for(SECOND);
        assert!(world.run_until(5 * SECOND, is_whole));
        mark_joining(&mut world, joining);
        // It does not follow before the other one has told it the terms.
        world.network.cut(number(joining), number(other));
        world.start(joining);
        world.run_for(SECOND / 2);
        // What it asks the leader, to know when it has caught up, is under way when that dies.
        world.network.slow(number(joining), number(leader), 400);
        world.network.mend(number(joining), number(other));
        let follows = |world: &mut World| world.server(joining).serves();
        let is_followed = world.run_until(5 * SECOND, follows);
        assert!(is_followed, "{}", world.ledger.trace());
        // Only the joining server can confirm that the leader leads, which takes a while, and has what
        // is proposed meanwhile.
        world.network.cut(number(leader), number(other));
        let before = last_log(&world, joining);
        let ensemble = world.server(leader).ensemble().unwrap();
        ensemble
            .submit(submission(0, ActionRef::CloseSession))
            .unwrap();
        let has_more = |world: &mut World| last_log(world, joining) > before;
        let is_ahead = world.run_until(SECOND, has_more);
        world.run_for(Duration::from_millis(10));
        if !is_ahead || !world.server(joining).disk.log.is_joining().unwrap() {
            // openraft was in no hurry this time, or it has caught up already.
            continue;
        }
        met += 1;
        let terms = world.ledger.terms();
        let pending = world.server(leader).disk.log.pending();
        world.crash_with(leader, pending, true);
        world.network.mend(number(leader), number(other));
        let leads = |world: &mut World| world.leader().is_some();
        assert!(
            !world.run_until(8 * SECOND, leads),
            "{}",
            world.ledger.trace()
        );
        assert_eq!(world.ledger.terms(), terms, "elected with its word");
        assert!(world.server(joining).disk.log.is_joining().unwrap());
        let misses = misses_leader(&mut world, other, joining, leader);
        assert!(!misses, "its word counts for a failover");
        world.start(leader);
        world.asks = true;
        assert!(gets_on(&mut world, 10 * SECOND));
        ends_well(world);
    }
    assert!(met >= 2, "in {met} of 8 seeds its log was longer");
}

/// The leader of before the last election reaches the wiped server, and not the other one: together
/// they would be a majority, of a term that was ended with the wiped server's vote.
#[test]
fn a_wiped_server_counts_for_no_leader_that_was_deposed_with_its_vote() {
    for seed in 0..3 {
        let (mut world, old) = begun(seed);
        let (one, two) = others(old);
        for id in [one, two] {
            world.network.cut(number(old), number(id));
        }
        let is_deposed = |world: &mut World| world.leader().is_some_and(|now| now != old);
        assert!(world.run_until(8 * SECOND, is_deposed));
        let new = world.leader().unwrap();
        let wiped = if new == one { two } else { one };
        assert!(gets_on(&mut world, 2 * SECOND), "committed with its word");
        world.crash(wiped);
        world.wipe(wiped);
        world.network.cut(number(wiped), number(new));
        world.network.mend(number(old), number(wiped));
        world.run_for(SECOND);
        let history = world.ledger.len();
        world.start(wiped);
        let counts = |world: &mut World| world.server(old).serves() || world.ledger.len() > history;
        assert!(
            !world.run_until(6 * SECOND, counts),
            "{}",
            world.ledger.trace()
        );
        assert!(!world.ledger.is_wrong(), "{:?}", world.ledger.wrongs());
        // Now it learns of the later term, and takes nothing of the old leader all the same.
        world.network.mend(number(wiped), number(new));
        assert!(gets_on(&mut world, 8 * SECOND), "{}", world.ledger.trace());
        assert!(!world.server(old).serves());
        ends_well(world);
    }
}

/// Two disks lied: what they said that they had is gone, though all three applied it.
#[test]
fn a_server_that_applied_what_its_ensemble_has_lost_ends_and_says_so() {
    let (mut world, leader) = begun_with(0, Some(Defect::SyncLeftOut));
    let (whole, other) = others(leader);
    for id in [leader, other] {
        world.server(id).speed = Speed::Hung;
    }
    let before = world.ledger.acknowledged();
    let has_more = |world: &mut World| world.ledger.acknowledged() > before + 10;
    assert!(world.run_until(5 * SECOND, has_more));
    world.run_for(Duration::from_millis(20));
    for id in [leader, other] {
        world.network.cut(number(whole), number(id));
    }
    for id in [leader, other] {
        world.crash_with(id, 0, false);
    }
    for id in [leader, other] {
        world.start(id);
    }
    // The ledger sees that history is written anew, and says so: that is what the disks did.
    for _ in 0..4_000 {
        world.tick();
    }
    assert!(world.leader().is_some(), "{}", world.ledger.trace());
    for id in ALL.into_iter().filter(|id| *id != whole) {
        world.network.mend(number(whole), number(id));
    }
    let failure = |world: &mut World| {
        let ensemble = world.server(whole).ensemble()?;
        ensemble.failed().now_or_never()
    };
    let mut found = None;
    for _ in 0..6_000 {
        world.tick();
        found = failure(&mut world);
        if found.is_some() {
            break;
        }
    }
    let found = found.expect("it ends");
    assert!(matches!(*found, Failure::Diverged { .. }), "{found}");
    assert!(!world.server(whole).serves());
}
