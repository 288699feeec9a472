//! A session that its leader gives up: in the moment in which it moves, under the next leader, and when
//! nothing is against it. The checks give what is wrong, since others plant defects for them to find.

use super::super::{client, create_with, submission};
use super::scenarios::{SECOND, begun, number, others};
use super::server::{ALL, Speed};
use super::world::World;
use crate::ensemble::Submission;
use crate::state::{ActionRef, SessionId, SessionOwner};
use jute::OpCode;

/// None of the clients' of the simulation.
const SESSION: SessionId = SessionId(77);
const PASSWORD: [u8; 16] = [7; 16];
const PATH: &str = "/ephemeral";
const TIMEOUT_MS: i32 = 4_000;

/// What comes between the decision that a session is over and its end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Late {
    /// Its client comes back on another server.
    Moved,
    /// Another leader, for whom its time begins again.
    Term,
}

fn submit(world: &mut World, server: u64, action: ActionRef<'_>) {
    let ensemble = world.server(server).ensemble().unwrap();
    let wanted = Submission {
        session: SESSION,
        ..submission(0, action)
    };
    ensemble.submit(wanted).unwrap();
}

/// Who has the session, as this server knows.
fn owner(world: &World, server: usize) -> Option<SessionOwner> {
    let run = world.servers[server].run.as_ref()?;
    let state = run.replica.read();
    state.session(SESSION).map(|record| record.owner)
}

fn everywhere(world: &World, is_so: impl Fn(usize) -> bool) -> bool {
    (0..world.servers.len())
        .filter(|at| world.servers[*at].run.is_some())
        .all(is_so)
}

/// A session of `server`, with an ephemeral, known to all; nothing is under way.
fn open(world: &mut World, server: u64) -> SessionOwner {
    world.asks = false;
    world.run_for(SECOND);
    let (connection, timeout_ms, password) = (1, TIMEOUT_MS, &PASSWORD);
    let open = ActionRef::OpenSession {
        connection,
        timeout_ms,
        password,
    };
    submit(world, server, open);
    let body = create_with(PATH, 1);
    let ActionRef::Client { op, body, .. } = client(OpCode::CREATE, &body) else {
        unreachable!("it makes nothing else")
    };
    let create = ActionRef::Client {
        op,
        body,
        connection,
    };
    submit(world, server, create);
    let is_known =
        |world: &mut World| everywhere(world, |at| world.servers[at].tree().contains_key(PATH));
    assert!(
        world.run_until(5 * SECOND, is_known),
        "{}",
        world.ledger.trace()
    );
    owner(world, 0).unwrap()
}

fn hang(world: &mut World, speed: Speed) {
    for id in ALL {
        world.server(id).speed = speed;
    }
}

/// Waits until `server` has so many more entries in its log.
fn until_logged(world: &mut World, server: u64, last: Option<u64>) {
    let is_logged = |world: &mut World| {
        let report = world.server(server).ensemble().unwrap().report();
        report.last_log > last
    };
    assert!(
        world.run_until(2 * SECOND, is_logged),
        "{}",
        world.ledger.trace()
    );
}

fn last_log(world: &mut World, server: u64) -> Option<u64> {
    world.server(server).ensemble().unwrap().report().last_log
}

/// What is wrong with a session that must live on each server.
fn must_live(world: &World) -> Vec<String> {
    let mut wrong = world.ledger.wrongs();
    for at in (0..world.servers.len()).filter(|at| world.servers[*at].run.is_some()) {
        if owner(world, at).is_none() {
            wrong.push(format!("its session is gone on s{}", at + 1));
        }
        if !world.servers[at].tree().contains_key(PATH) {
            wrong.push(format!("its ephemeral is gone on s{}", at + 1));
        }
    }
    wrong
}

/// The end of a session that was decided on too early must come to nothing.
pub(super) fn too_late(seed: u64, late: Late) -> Vec<String> {
    let (mut world, leader) = begun(seed);
    let (one, other) = others(leader);
    let owner = open(&mut world, one);
    let term = world.server(leader).leads().unwrap();
    let expire = ActionRef::ExpireSession { term, owner };
    match late {
        Late::Moved => {
            // Its handshake is in the log, and its leader has not applied it when it gives it up.
            hang(&mut world, Speed::Hung);
            let last = last_log(&mut world, leader);
            let (connection, timeout_ms, password) = (2, TIMEOUT_MS, &PASSWORD);
            let attach = ActionRef::Attach {
                connection,
                timeout_ms,
                password,
            };
            submit(&mut world, other, attach);
            until_logged(&mut world, leader, last);
            let last = last_log(&mut world, leader);
            submit(&mut world, leader, expire);
            until_logged(&mut world, leader, last);
            hang(&mut world, Speed::Fast);
        }
        Late::Term => {
            // It is proposed by a leader that is cut off, and again to the next one, whose log it enters.
            for id in [one, other] {
                world.network.cut(number(leader), number(id));
            }
            submit(&mut world, leader, expire);
            let is_led = |world: &mut World| world.leader().is_some_and(|now| now != leader);
            assert!(
                world.run_until(8 * SECOND, is_led),
                "{}",
                world.ledger.trace()
            );
            for id in [one, other] {
                world.network.mend(number(leader), number(id));
            }
        }
    }
    let is_done = |world: &mut World| {
        let ensemble = world.server(leader).ensemble().unwrap();
        let queue = ensemble.report().queue;
        queue.flight_batches == 0 && queue.waiting_bytes == 0
    };
    assert!(
        world.run_until(8 * SECOND, is_done),
        "{}",
        world.ledger.trace()
    );
    world.run_for(SECOND);
    must_live(&world)
}

/// And of one whose time is over, with all that it owned, on every server.
pub(super) fn in_time(seed: u64) -> Vec<String> {
    let (mut world, leader) = begun(seed);
    let (one, _) = others(leader);
    let owned_by = open(&mut world, one);
    let term = world.server(leader).leads().unwrap();
    let expire = ActionRef::ExpireSession {
        term,
        owner: owned_by,
    };
    submit(&mut world, leader, expire);
    let is_over = |world: &mut World| everywhere(world, |at| owner(world, at).is_none());
    let is_over = world.run_until(5 * SECOND, is_over);
    let mut wrong = world.ledger.wrongs();
    if !is_over {
        wrong.push("it lives on".to_owned());
    }
    if everywhere(&world, |at| world.servers[at].tree().contains_key(PATH)) {
        wrong.push("its ephemeral stays".to_owned());
    }
    wrong
}

#[test]
fn a_session_that_is_given_up_in_the_moment_in_which_it_moves_lives_on() {
    for seed in 0..3 {
        assert_eq!(too_late(seed, Late::Moved), Vec::<String>::new(), "{seed}");
    }
}

#[test]
fn a_session_that_a_former_leader_gave_up_lives_on() {
    for seed in 0..3 {
        assert_eq!(too_late(seed, Late::Term), Vec::<String>::new(), "{seed}");
    }
}

#[test]
fn a_session_whose_time_is_over_ends_with_all_that_it_owned() {
    for seed in 0..3 {
        assert_eq!(in_time(seed), Vec::<String>::new(), "{seed}");
    }
}
