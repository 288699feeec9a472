//! Failures that have a name, each as it once went wrong or could.

use std::time::Duration;

use super::super::submission;
use super::disk::Defect;
use super::server::{ALL, Speed};
use super::world::World;
use crate::ensemble::Submission;
use crate::state::{ActionRef, SessionId, SessionOwner};
use crate::storage::Log as _;

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// Three servers with some history; who leads.
pub(super) fn begun(seed: u64) -> (World, u64) {
    begun_with(seed, None)
}

/// The same on disks with a defect.
pub(super) fn begun_with(seed: u64, defect: Option<Defect>) -> (World, u64) {
    let mut world = World::new(seed, defect);
    begin(&mut world);
    let leader = world.leader().unwrap();
    (world, leader)
}

/// Starts all servers and waits until there is some history.
pub(super) fn begin(world: &mut World) {
    for id in ALL {
        world.start(id);
    }
    let has_history = |world: &mut World| world.leader().is_some() && world.ledger.len() > 50;
    assert!(
        world.run_until(20 * SECOND, has_history),
        "{}",
        world.ledger.trace()
    );
}

pub(super) fn others(leader: u64) -> (u64, u64) {
    let others: Vec<u64> = ALL.into_iter().filter(|id| *id != leader).collect();
    (others[0], others[1])
}

pub(super) fn number(id: u64) -> u8 {
    u8::try_from(id).unwrap()
}

/// All that was acknowledged is everywhere in the end.
pub(super) fn ends_well(mut world: World) {
    if !world.ledger.is_wrong() {
        world.end();
    }
    let wrong = world.ledger.wrongs();
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", world.ledger.trace());
}

/// More is acknowledged within `time`.
pub(super) fn gets_on(world: &mut World, time: Duration) -> bool {
    let before = world.ledger.acknowledged();
    world.run_until(time, |world| world.ledger.acknowledged() > before)
}

/// consensus.md 6.1: others have committed what the leader has not on its disk when it dies, and it
/// is back before anybody misses it.
#[test]
fn a_leader_that_lost_its_unsynced_tail_does_not_lead_the_same_term_again() {
    for persisted in [true, false] {
        for seed in 0..2 {
            let (mut world, leader) = begun(seed);
            let term = world.server(leader).leads().unwrap();
            world.server(leader).speed = Speed::Hung;
            let before = world.ledger.acknowledged();
            let has_more = |world: &mut World| world.ledger.acknowledged() > before + 10;
            assert!(world.run_until(SECOND, has_more), "committed by the others");
            assert!(world.server(leader).disk.log.pending() > 0);
            world.crash_with(leader, 0, persisted);
            world.start(leader);
            assert!(gets_on(&mut world, 10 * SECOND));
            let now = world
                .leader()
                .and_then(|leader| world.server(leader).leads());
            assert!(now > Some(term), "term {now:?} behind {term}");
            ends_well(world);
        }
    }
}

/// consensus.md 4.8: two that do not reach each other, and one that reaches both.
#[test]
fn a_bridge_keeps_the_leader_that_it_has() {
    for seed in 0..2 {
        let (mut world, leader) = begun(seed);
        let term = world.server(leader).leads();
        let (_, cut_off) = others(leader);
        world.network.cut(number(leader), number(cut_off));
        for _ in 0..6 {
            assert!(gets_on(&mut world, SECOND), "{}", world.ledger.trace());
            world.run_for(SECOND);
        }
        assert_eq!(world.leader(), Some(leader));
        assert_eq!(world.server(leader).leads(), term, "nobody disturbs it");
        ends_well(world);
    }
}

/// The leader is heard and hears nobody: it must fall silent, or nobody replaces it.
#[test]
fn a_leader_that_hears_nobody_is_replaced() {
    for seed in 0..2 {
        let (mut world, leader) = begun(seed);
        let (one, other) = others(leader);
        for id in [one, other] {
            world.network.cut_way(number(id), number(leader));
        }
        let is_replaced = |world: &mut World| world.leader().is_some_and(|now| now != leader);
        assert!(
            world.run_until(8 * SECOND, is_replaced),
            "{}",
            world.ledger.trace()
        );
        assert!(gets_on(&mut world, 2 * SECOND));
        assert!(!world.server(leader).serves(), "the old one");
        ends_well(world);
    }
}

/// consensus.md 4.6: a wiped server has forgotten what it promised, so it votes for nobody until it
/// has all of it again.
#[test]
fn a_wiped_server_votes_only_when_it_has_caught_up() {
    for seed in 0..2 {
        let (mut world, leader) = begun(seed);
        let (wiped, other) = others(leader);
        world.crash(wiped);
        world.wipe(wiped);
        world.crash(leader);
        world.run_for(2 * SECOND);
        let terms = world.ledger.terms();
        world.start(wiped);
        world.run_for(8 * SECOND);
        assert_eq!(
            world.ledger.terms(),
            terms,
            "elected by one that knows nothing"
        );
        assert!(!world.server(other).serves() && !world.server(wiped).serves());
        world.start(leader);
        let is_back = |world: &mut World| {
            let log = &world.server(wiped).disk.log;
            !log.is_joining().unwrap()
        };
        let is_back = world.run_until(10 * SECOND, is_back);
        assert!(is_back, "{:#?}\n{}", world.states(), world.ledger.trace());
        // Now its vote counts.
        world.crash(leader);
        let leads = |world: &mut World| world.leader().is_some();
        assert!(
            world.run_until(8 * SECOND, leads),
            "{}",
            world.ledger.trace()
        );
        ends_well(world);
    }
}

/// A majority has lost its disks: what is left is not enough to go on with, and nobody pretends.
#[test]
fn two_of_three_wiped_disks_serve_nothing_and_begin_nothing() {
    for seed in 0..2 {
        let (mut world, leader) = begun(seed);
        let (one, other) = others(leader);
        for id in ALL {
            world.crash(id);
        }
        for id in [one, other] {
            world.wipe(id);
        }
        let (terms, history) = (world.ledger.terms(), world.ledger.len());
        for id in ALL {
            world.start(id);
        }
        let serves = |world: &mut World| world.servers.iter().any(super::server::Server::serves);
        assert!(
            !world.run_until(15 * SECOND, serves),
            "{}",
            world.ledger.trace()
        );
        assert_eq!((world.ledger.terms(), world.ledger.len()), (terms, history));
        assert!(!world.ledger.is_wrong(), "{:?}", world.ledger.wrongs());
        for id in [one, other] {
            assert!(
                world.server(id).disk.log.is_joining().unwrap(),
                "{id} votes"
            );
        }
    }
}

/// Who is wiped itself says nothing of terms: the leader from before, which the others had given up,
/// does not come back with their empty disks.
#[test]
fn two_wiped_disks_do_not_follow_the_leader_from_before() {
    for seed in 0..2 {
        let (mut world, before) = begun(seed);
        let (one, other) = others(before);
        for id in [one, other] {
            world.network.cut(number(before), number(id));
        }
        let leads = |world: &mut World| {
            let leader = world.leader();
            leader.is_some_and(|leader| leader != before && world.server(leader).serves())
        };
        assert!(world.run_until(10 * SECOND, leads));
        assert!(gets_on(&mut world, 5 * SECOND));
        for id in [one, other] {
            world.crash(id);
            world.wipe(id);
        }
        let (terms, history) = (world.ledger.terms(), world.ledger.len());
        world.heal();
        for id in [one, other] {
            world.start(id);
        }
        let serves = |world: &mut World| world.servers.iter().any(super::server::Server::serves);
        assert!(
            !world.run_until(15 * SECOND, serves),
            "{}",
            world.ledger.trace()
        );
        assert_eq!((world.ledger.terms(), world.ledger.len()), (terms, history));
    }
}

/// A leader's vote is on the new disk, and nothing of its log, when the server dies once more. Its log
/// was taken for one of other members.
#[test]
fn a_wiped_server_that_dies_before_the_first_entry_starts_again() {
    let (mut world, leader) = begun(0);
    let (wiped, _) = others(leader);
    world.crash(wiped);
    world.wipe(wiped);
    world.start(wiped);
    world.server(wiped).speed = Speed::Hung;
    let has_heard = |world: &mut World| world.server(wiped).disk.log.vote().unwrap().is_some();
    assert!(world.run_until(5 * SECOND, has_heard));
    let log = &world.server(wiped).disk.log;
    assert_eq!(log.ends().last, None);
    let pending = log.pending();
    world.crash_with(wiped, pending, true);
    world.start(wiped);
    ends_well(world);
}

/// It waits for a leader to get in; that it is stopped meanwhile was told as a failure.
#[test]
fn a_server_that_is_stopped_while_it_joins_has_not_failed() {
    for seed in 0..4 {
        let (mut world, leader) = begun(seed);
        let (wiped, _) = others(leader);
        world.crash(wiped);
        world.wipe(wiped);
        world.crash(leader);
        world.start(wiped);
        world.run_for(SECOND);
        world.server(wiped).stop();
        let has_ended = |world: &mut World| world.server(wiped).run.is_none();
        assert!(
            world.run_until(8 * SECOND, has_ended),
            "{}",
            world.ledger.trace()
        );
        ends_well(world);
    }
}

/// A client waits with its handshake at a server that is cut off, is sent away, and comes to another one.
/// When the links were whole again, the old handshake took its session from it.
#[test]
fn what_waited_at_a_server_that_was_cut_off_never_takes_effect() {
    for seed in 0..2 {
        let (mut world, leader) = begun(seed);
        let (cut_off, other) = others(leader);
        let sessions = [SessionId(77_001), SessionId(77_002)];
        open(&mut world, leader, sessions[0], 1);
        let is_open = |world: &mut World| owner(world, cut_off, sessions[0]).is_some();
        assert!(world.run_until(SECOND, is_open));
        for one in [leader, other] {
            world.network.cut(number(cut_off), number(one));
        }
        // One batch is sent after the other until the window is full; the rest waits here.
        for _ in 0..20 {
            attach(&mut world, cut_off, sessions[0], 2);
            world.run_for(Duration::from_millis(2));
        }
        open(&mut world, cut_off, sessions[1], 3);
        let is_sent_away = |world: &mut World| !admits(world, cut_off);
        assert!(world.run_until(4 * SECOND, is_sent_away));
        attach(&mut world, other, sessions[0], 4);
        let is_there = |world: &mut World| {
            let owner = owner(world, other, sessions[0]);
            owner.is_some_and(|owner| owner.connection == 4)
        };
        assert!(world.run_until(SECOND, is_there));
        for one in [leader, other] {
            world.network.mend(number(cut_off), number(one));
        }
        let serves = |world: &mut World| world.server(cut_off).serves();
        assert!(world.run_until(10 * SECOND, serves));
        // What comes next takes effect, and nothing that came before it.
        open(&mut world, cut_off, SessionId(77_003), 5);
        let is_open = |world: &mut World| owner(world, cut_off, SessionId(77_003)).is_some();
        assert!(
            world.run_until(2 * SECOND, is_open),
            "{}",
            world.ledger.trace()
        );
        assert!(is_there(&mut world), "it was bounced");
        assert_eq!(owner(&world, other, sessions[1]), None, "nobody has it");
        ends_well(world);
    }
}

fn admits(world: &mut World, id: u64) -> bool {
    let ensemble = world.server(id).ensemble();
    ensemble.is_some_and(|ensemble| ensemble.admits())
}

/// Who has a session, as this server knows it.
fn owner(world: &World, id: u64, session: SessionId) -> Option<SessionOwner> {
    let server = world.servers.iter().find(|server| server.id == id)?;
    let state = server.run.as_ref()?.replica.read();
    Some(state.session(session)?.owner)
}

fn open(world: &mut World, id: u64, session: SessionId, connection: u64) {
    let open = ActionRef::OpenSession {
        connection,
        timeout_ms: 10_000,
        password: &[7; 16],
    };
    submit(world, id, session, open);
}

fn attach(world: &mut World, id: u64, session: SessionId, connection: u64) {
    let attach = ActionRef::Attach {
        connection,
        timeout_ms: 10_000,
        password: &[7; 16],
    };
    submit(world, id, session, attach);
}

fn submit(world: &mut World, id: u64, session: SessionId, action: ActionRef<'_>) {
    let wanted = Submission {
        session,
        ..submission(0, action)
    };
    let ensemble = world.server(id).ensemble().unwrap();
    ensemble.submit(wanted).unwrap();
}
