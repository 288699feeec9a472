//! Random ops against the naive tree, and the same log cut into other slices.

use std::sync::Arc;

use jute::{Exists, Request, Response, Text};
use proptest::collection::vec;
use proptest::prelude::*;

use super::generate::{cases, log, op, proposal, put_quota, run};
use super::model::{ACLS, Answer, Model, Op, Step};
use super::world::{ORIGIN, OWNER, World, acls, client, identity, localhost, open, open_acl};
use crate::state::{OpOutcome, Outcome, Peek, Reading, Rules, SessionId, SessionRecord};

fn op_answer(outcome: &OpOutcome) -> Answer {
    match outcome {
        OpOutcome::Created { path } => Answer::Path(path.to_string()),
        OpOutcome::CreatedWithStat { path, stat } => Answer::PathStat(path.to_string(), *stat),
        OpOutcome::Stat(stat) => Answer::Stat(*stat),
        OpOutcome::Deleted | OpOutcome::Checked => Answer::Done,
        OpOutcome::Data { .. } => panic!("no reconfig here"),
    }
}

fn answer(outcome: &Outcome) -> Answer {
    match outcome {
        Outcome::Refused(code) => Answer::Code(*code),
        Outcome::Op(op) => op_answer(op),
        Outcome::Done
        | Outcome::SessionOpened
        | Outcome::SessionAttached
        | Outcome::SessionClosed => Answer::Done,
        Outcome::Pending | Outcome::Settled(_) => panic!("no reconfig here"),
        Outcome::Multi(ops) => Answer::Multi(ops.iter().map(op_answer).collect()),
        Outcome::MultiRefused(codes) => {
            Answer::Multi(codes.iter().map(|code| Answer::Code(*code)).collect())
        }
    }
}

pub(super) fn check_tree(world: &World, model: &Model) {
    for (path, stat, data, acl) in model.nodes() {
        let request = Request::Exists(Exists {
            path: Some(Text::from(path)),
            watch: false,
        });
        let all = Arc::from([identity("super")]);
        let body = world.read(&request, SessionId(1), &all).unwrap();
        let Response::Stat(response) = Response::decode(request.op(), body).unwrap() else {
            panic!("no stat");
        };
        assert_eq!(response.stat, stat, "{path}");
        let state = world.replica.read();
        let Peek::Known(Some(node)) = state.peek_znode(path) else {
            panic!("{path} is missing, but was just read");
        };
        assert_eq!(
            node.data.as_deref(),
            data.as_deref().map(str::as_bytes),
            "{path}"
        );
        assert_eq!(state.acl(node.acl), acls(ACLS[acl].0), "{path}");
    }
    let own = model.nodes().count() as u64;
    // The model leaves out the three below the root that were there at first.
    assert_eq!(world.replica.read().meta().znodes, own - 1 + 3);
}

/// What the stats node of /q says, and what counting says.
fn quota_counts(world: &World) -> (String, String) {
    let (nodes, _) = world.disk();
    let inside = || {
        nodes
            .iter()
            .filter(|(path, _)| &**path == "/q" || path.starts_with("/q/"))
    };
    let bytes: usize = inside().map(|(_, node)| node.data_bytes()).sum();
    let counted = format!("count={},bytes={bytes}", inside().count());
    let stats = nodes
        .iter()
        .find(|(path, _)| path.ends_with("/q/zookeeper_stats"))
        .unwrap();
    let said = String::from_utf8(stats.1.data.as_ref().unwrap().to_vec()).unwrap();
    (said, counted)
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn ops_do_what_the_naive_tree_does(log in log()) {
        let mut world = World::new(Rules::default());
        let mut model = Model::new();
        for entry in &log {
            let time_ms = world.time_ms;
            let proposals = entry.iter().map(|step| proposal(&mut world, step)).collect();
            let txns = world.apply(proposals);
            let expected: Vec<_> = entry
                .iter()
                .map(|step| (model.step(step, time_ms), model.zxid()))
                .filter(|(answer, _)| *answer != Answer::Nothing)
                .collect();
            let found: Vec<_> =
                txns.iter().map(|txn| (answer(&txn.outcome), txn.zxid.0)).collect();
            prop_assert_eq!(found, expected);
            check_tree(&world, &model);
        }
    }

    /// I1: where an entry is cut into slices is up to each server.
    #[test]
    fn slices_do_not_show(log in log()) {
        let mut whole = World::new(Rules::default());
        put_quota(&mut whole);
        let txns = run(&mut whole, &log);
        for slice in [1, 2, 5] {
            let mut cut = World::new(Rules::default());
            cut.slice = slice;
            put_quota(&mut cut);
            prop_assert_eq!(&run(&mut cut, &log), &txns);
            prop_assert_eq!(cut.disk(), whole.disk());
        }
    }

    /// I1: nor does it matter what a server has kept in memory.
    #[test]
    fn a_restart_between_entries_does_not_show(log in log(), at in any::<prop::sample::Index>()) {
        let mut world = World::new(Rules::default());
        put_quota(&mut world);
        let txns = run(&mut world, &log);
        let mut first = World::new(Rules::default());
        put_quota(&mut first);
        let (head, tail) = log.split_at(at.index(log.len()));
        let mut found = run(&mut first, head);
        let first = first.restarted();
        let mut second = first;
        found.extend(run(&mut second, tail));
        prop_assert_eq!(found, txns);
        prop_assert_eq!(second.disk(), world.disk());
    }

    #[test]
    fn the_quota_stats_are_what_counting_says(log in log()) {
        let mut world = World::new(Rules::default());
        put_quota(&mut world);
        for entry in &log {
            run(&mut world, std::slice::from_ref(entry));
            let (said, counted) = quota_counts(&world);
            prop_assert_eq!(said, counted);
        }
    }

    #[test]
    fn a_failed_multi_leaves_nothing(log in log(), ops in vec(op(true), 0..6)) {
        let mut world = World::new(Rules::default());
        run(&mut world, &log);
        let (nodes, before) = world.disk();
        let impossible = Op::Check { path: "/never/there".into(), version: -1 };
        let ops = ops.into_iter().chain([impossible]).collect();
        let txns = run(&mut world, &[vec![Step::Multi { session: 1, caller: 1, ops }]]);
        prop_assert!(txns.iter().all(|txn| txn.changes.is_empty() && txn.events.is_empty()));
        let (nodes_after, after) = world.disk();
        prop_assert_eq!(nodes, nodes_after);
        prop_assert_eq!(before.acl_next, after.acl_next);
        prop_assert_eq!(before.data_bytes, after.data_bytes);
    }
}

proptest! {
    #![proptest_config(cases(200))]

    /// I5: an origin that sends again what it does not know to be applied, too much or too early.
    #[test]
    fn what_is_sent_again_takes_effect_once(
        log in log(),
        windows in vec((0..4_usize, 0..4_usize, 1..9_usize), 1..20),
    ) {
        let steps = log.concat();
        let time_ms = 1000;
        let mut clean = World::new(Rules::default());
        let proposals: Vec<_> = steps.iter().map(|step| proposal(&mut clean, step)).collect();
        let expected = clean.apply(proposals.clone());

        let mut world = World::new(Rules::default());
        let mut found = Vec::new();
        let mut windows = windows.iter().cycle();
        loop {
            let cursor = world.replica.read().cursor(ORIGIN.server).sequence;
            let cursor = usize::try_from(cursor).unwrap();
            if cursor == proposals.len() {
                break;
            }
            let (back, early, len) = windows.next().unwrap();
            let end = |start: usize| proposals.len().min(start + len);
            let late = cursor.saturating_sub(*back);
            let early = proposals.len().min(cursor + early);
            let entry = [&proposals[early..end(early)], &proposals[late..end(cursor)]].concat();
            world.time_ms = time_ms;
            found.extend(world.apply(entry));
        }
        prop_assert_eq!(found, expected);
        let nodes = |world: &World| world.disk().0;
        prop_assert_eq!(nodes(&world), nodes(&clean));
    }
}

#[test]
fn counts_wrap() {
    let mut world = World::new(Rules::default());
    let create = |path: &str, flags| Op::Create {
        path: path.into(),
        data: None,
        flags,
        acl: 0,
        stat: false,
    };
    let one = |op| Step::One {
        session: 1,
        caller: 0,
        op,
    };
    run(&mut world, &[vec![Step::Open(1), one(create("/w", 0))]]);
    world.tamper_znode("/w", |node| {
        node.version = i32::MAX;
        node.aversion = i32::MAX;
        node.creations = i32::MAX - 1;
    });
    let set = |version| {
        one(Op::Set {
            path: "/w".into(),
            data: None,
            version,
        })
    };
    let set_acl = one(Op::SetAcl {
        path: "/w".into(),
        acl: 0,
        version: i32::MAX,
    });
    let sequential = || one(create("/w/", 2));
    let steps = vec![
        sequential(),
        sequential(),
        sequential(),
        set(i32::MAX),
        set(i32::MIN),
        set_acl,
    ];
    let txns = run(&mut world, &[steps]);
    let answers: Vec<_> = txns.iter().map(|txn| answer(&txn.outcome)).collect();
    let names = ["/w/2147483646", "/w/2147483647", "/w/-2147483648"];
    let created: Vec<_> = names.map(|path| Answer::Path(path.into())).into();
    assert_eq!(answers[..3], created);
    let [
        Answer::Stat(first),
        Answer::Stat(second),
        Answer::Stat(third),
    ] = &answers[3..]
    else {
        panic!("{answers:?}");
    };
    assert_eq!((first.version, second.version), (i32::MIN, i32::MIN + 1));
    assert_eq!(third.aversion, i32::MIN);
    // zk: DataNode.copyStat: twice the creations, which have wrapped to -2^31 + 1, less children.
    assert_eq!(third.cversion, 2 - 3);
}

#[test]
fn an_entry_comes_once() {
    let mut world = World::new(Rules::default());
    put_quota(&mut world);
    world.position.index -= 1;
    let batch = crate::state::Batch {
        reading: Reading::default(),
        rules: Rules::default(),
        proposals: Vec::new(),
    };
    let position = world.position;
    world.replica.advance(position, None).unwrap();
    let open = open(1, [1; 16]);
    let proposals = vec![world.proposal(SessionId(5), &localhost(), open)];
    let again = crate::state::Batch { proposals, ..batch };
    let refused = world
        .replica
        .apply(position, &again, &crate::state::Silence);
    assert!(matches!(
        refused,
        Err(crate::state::ApplyError::OutOfOrder { .. })
    ));
}

#[test]
fn an_opened_session_is_remembered() {
    let mut world = World::new(Rules::default());
    let open = open(1234, [5; 16]);
    let proposals = vec![world.proposal(SessionId(5), &localhost(), open)];
    world.apply(proposals);
    let expected = SessionRecord {
        timeout_ms: 1234,
        password: [5; 16],
        migrated: false,
        owner: OWNER,
    };
    let world = world.restarted();
    assert_eq!(world.replica.read().session(SessionId(5)), Some(&expected));
}

/// I1: the leader's settings come with the log.
#[test]
fn the_rules_of_the_log_count_and_not_those_of_the_server_that_applies() {
    let strict = Rules {
        extended_types: true,
        ..Rules::default()
    };
    let mut world = World::new(Rules::default());
    let open = open(1, [1; 16]);
    let write = client(&Request::CreateTtl(jute::CreateTtl {
        path: Some("/t".into()),
        data: None,
        acl: open_acl(),
        flags: 5,
        ttl_ms: 1000,
    }));
    let proposals = vec![
        world.proposal(SessionId(5), &localhost(), open),
        world.proposal(SessionId(5), &localhost(), write),
    ];
    let batch = crate::state::Batch {
        reading: Reading::default(),
        rules: strict,
        proposals,
    };
    let batch = crate::state::Batch::decode(batch.encode()).unwrap();
    assert_eq!(batch.rules, strict);
    let mut position = world.position;
    position.index += 1;
    world
        .replica
        .apply(position, &batch, &crate::state::Silence)
        .unwrap();
    assert_eq!(world.replica.read().meta().znodes, {
        let fresh = World::new(Rules::default());
        let znodes = fresh.replica.read().meta().znodes;
        znodes + 1
    });
}
