//! Members that come and go by requests, under load: whoever leads dies or is cut off between the steps.

use std::time::Duration;

use bytes::BytesMut;
use jute::{Reconfig, Request, Text};

use super::growing::{lineup, restart, until_members};
use super::scenarios::{SECOND, ends_well, gets_on};
use super::world::World;
use crate::ensemble::Submission;
use crate::state::{ActionRef, Identities, Lineups, ServerId, SessionId};

/// Sessions of those who ask, which no client has.
const SESSIONS: i64 = 1 << 40;

/// Three servers that know their members by the log.
fn begun(seed: u64) -> World {
    let mut world = World::new(seed, None);
    world.grow(5);
    for id in 1..=5 {
        world.server(id).by_requests = true;
    }
    // Who is to join knows those that are there, and itself.
    world.list(&[4], &[1, 2, 3, 4], &[]);
    world.list(&[5], &[1, 2, 3, 5], &[]);
    for id in [1, 2, 3] {
        world.start(id);
    }
    let is_begun = |world: &mut World| {
        let known = (1..=3).all(|id| lineups(world, id).is_some_and(|it| it.current.is_some()));
        known && world.ledger.len() > 50
    };
    let is_begun = world.run_until(20 * SECOND, is_begun);
    assert!(is_begun, "{}", world.ledger.trace());
    world
}

/// What a server that runs knows of the members.
fn lineups(world: &mut World, id: u64) -> Option<Lineups> {
    let run = world.server(id).run.as_ref()?;
    let lineups = run.replica.read().meta().lineups.clone();
    Some(lineups)
}

/// Asks a server for these members.
fn ask(world: &mut World, id: u64, voters: &[u64], observers: &[u64]) {
    let now_ms = i64::try_from(world.now_ms).unwrap();
    let session = SessionId(SESSIONS + now_ms);
    let ensemble = world.server(id).ensemble().unwrap();
    let connection = session.0.cast_unsigned();
    let line = |id: &u64, role: &str| format!("server.{id}=s{id}:2888:3888:{role};2181");
    let voters = voters.iter().map(|id| line(id, "participant"));
    let observers = observers.iter().map(|id| line(id, "observer"));
    let members: Vec<String> = voters.chain(observers).collect();
    let request = Request::Reconfig(Reconfig {
        joining_servers: None,
        leaving_servers: None,
        new_members: Some(Text::from(members.join(",").as_str())),
        cur_config_id: -1,
    });
    let mut body = BytesMut::new();
    request.encode_body(&mut body);
    let nobody = Identities::from([]);
    let open = ActionRef::OpenSession {
        connection,
        timeout_ms: 10_000,
        password: &[9; 16],
    };
    let change = ActionRef::Client {
        op: request.op(),
        connection,
        body: &body,
    };
    for action in [open, change] {
        let submitted = ensemble.submit(Submission {
            session,
            cxid: 1,
            identities: &nobody,
            action,
        });
        submitted.unwrap();
    }
    world.ledger.note(format!("s{id} is asked for {members:?}"));
}

/// Waits until a change is known to have begun.
fn until_pending(world: &mut World) {
    let is_pending = |world: &mut World| {
        (1..=5).any(|id| lineups(world, id).is_some_and(|it| it.pending.is_some()))
    };
    let is_pending = world.run_until(5 * SECOND, is_pending);
    assert!(is_pending, "{}", world.ledger.trace());
}

/// Waits until these servers know that the change has ended with these members.
fn until_settled(world: &mut World, servers: &[u64], members: &[u64]) {
    let is_so = |known: &Lineups| {
        let current = known.current.as_ref();
        let found = current.map(|it| it.members.keys().copied().collect::<Vec<ServerId>>());
        let wanted = members.iter().copied().map(ServerId).collect();
        known.pending.is_none() && found == Some(wanted)
    };
    let all = |world: &mut World| {
        let mut servers = servers.iter();
        servers.all(|id| lineups(world, *id).is_some_and(|known| is_so(&known)))
    };
    let settled = world.run_until(30 * SECOND, all);
    let states = world.states();
    assert!(settled, "{states:#?}\n{}", world.ledger.trace());
}

#[test]
fn a_leader_that_goes_inside_a_reconfig_leaves_it_to_the_next() {
    for seed in 0..6 {
        let mut world = begun(seed);
        let asked = 1 + seed % 3;
        ask(&mut world, asked, &[1, 2, 3, 4], &[5]);
        until_pending(&mut world);
        world.members = vec![1, 2, 3, 4, 5];
        world.start(4);
        world.start(5);
        // Before it feeds, while it waits, between the steps, or behind all of them.
        let pause = world.dice.between(0, 900);
        world.run_for(Duration::from_millis(pause));
        let leader = world.leader();
        match leader {
            Some(leader) if seed % 2 == 0 => restart(&mut world, leader),
            Some(leader) => {
                for other in (1..=5).filter(|other| *other != leader) {
                    let number = |id: u64| u8::try_from(id).unwrap();
                    world.network.cut(number(leader), number(other));
                }
                world.run_for(3 * SECOND);
                world.heal();
            }
            None => {}
        }
        until_members(&mut world, &[1, 2, 3, 4, 5], &lineup(&[1, 2, 3, 4], &[5]));
        until_settled(&mut world, &[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5]);
        assert!(gets_on(&mut world, 5 * SECOND), "{}", world.ledger.trace());

        // And back, the leader among those who go.
        let leader = world.leader().unwrap_or(1);
        let stay: Vec<u64> = (1..=4).filter(|id| *id != leader).collect();
        let asked = *stay.first().unwrap();
        ask(&mut world, asked, &stay, &[]);
        until_settled(&mut world, &stay, &stay);
        until_members(&mut world, &stay, &lineup(&stay, &[]));
        for id in [leader, 5] {
            world.crash(id);
        }
        world.members = stay;
        assert!(gets_on(&mut world, 5 * SECOND), "{}", world.ledger.trace());
        ends_well(world);
    }
}

#[test]
fn who_does_not_come_makes_a_reconfig_fail_and_all_is_as_before() {
    for seed in 0..3 {
        let mut world = begun(seed);
        let version = |world: &mut World, id| lineups(world, id).unwrap().current.unwrap().version;
        let before = version(&mut world, 1);
        ask(&mut world, 1, &[1, 2, 3, 4], &[]);
        until_pending(&mut world);
        if seed > 0
            && let Some(leader) = world.leader()
        {
            // While it waits, or while it takes back what it has done.
            let pause = world.dice.between(0, 6_000);
            world.run_for(Duration::from_millis(pause));
            restart(&mut world, leader);
        }
        until_settled(&mut world, &[1, 2, 3], &[1, 2, 3]);
        until_members(&mut world, &[1, 2, 3], &lineup(&[1, 2, 3], &[]));
        assert_eq!(version(&mut world, 1), before);
        assert!(gets_on(&mut world, 5 * SECOND), "{}", world.ledger.trace());
        ends_well(world);
    }
}

/// One of those that would be left has been dead for a while: without who is to go there is no quorum.
#[test]
fn who_is_needed_for_a_quorum_is_not_let_go_of() {
    for seed in 0..3 {
        let mut world = begun(seed);
        let leader = world.leader().unwrap_or(1);
        let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
        let (dead, goes) = (others[0], others[1]);
        world.crash(dead);
        // It may come back only when all is settled.
        world.members.retain(|id| *id != dead);
        world.run_for(2 * SECOND);
        ask(
            &mut world,
            leader,
            &[leader.min(dead), leader.max(dead)],
            &[],
        );
        until_pending(&mut world);
        until_settled(&mut world, &[leader, goes], &[1, 2, 3]);
        until_members(&mut world, &[leader, goes], &lineup(&[1, 2, 3], &[]));
        assert!(gets_on(&mut world, 5 * SECOND), "{}", world.ledger.trace());
        world.members = vec![1, 2, 3];
        ends_well(world);
    }
}
