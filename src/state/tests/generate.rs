//! Random logs, and what a world is made to do by them.

use std::sync::Arc;

use bytes::Bytes;
use jute::{Check, Create, Delete, Multi, MultiOp, Request, SetAcl, SetData, Text};
use proptest::collection::vec;
use proptest::prelude::*;

use super::model::{ACLS, Op, Step};
use super::world::{World, acls, client, expire, identity, localhost, open, open_acl};
use crate::state::{Action, Identities, Proposal, SessionId, Txn};

/// `usual` cases, or as many as `PROPTEST_CASES` asks for (`make fuzz` asks for 100,000).
pub(super) fn cases(usual: u32) -> ProptestConfig {
    #[expect(
        clippy::disallowed_methods,
        reason = "proptest's own variable, in a test"
    )]
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig::with_cases(asked.and_then(|cases| cases.parse().ok()).unwrap_or(usual))
}

pub(super) const PATHS: [&str; 9] = [
    "/a", "/a/b", "/a/b/c", "/d", "/d/e-", "/q", "/q/x", "/q/x/y", "/q/z-",
];

fn path() -> impl Strategy<Value = String> {
    proptest::sample::select(&PATHS[..]).prop_map(str::to_owned)
}

fn data() -> impl Strategy<Value = Option<String>> {
    prop_oneof![Just(None), "x{0,5}".prop_map(Some)]
}

fn version() -> impl Strategy<Value = i32> {
    prop_oneof![3 => Just(-1), 1 => 0..3]
}

pub(super) fn op(in_multi: bool) -> BoxedStrategy<Op> {
    let acl = prop_oneof![4 => Just(0), 1 => 0..ACLS.len()];
    let create = (path(), data(), 0..5, acl.clone(), any::<bool>()).prop_map(
        move |(path, data, flags, acl, stat)| {
            // In a multi a container always answers with its stat.
            let stat = stat || (in_multi && flags == 4);
            Op::Create {
                path,
                data,
                flags,
                acl,
                stat,
            }
        },
    );
    let delete = (path(), version()).prop_map(|(path, version)| Op::Delete { path, version });
    let set = (path(), data(), version()).prop_map(|(path, data, version)| Op::Set {
        path,
        data,
        version,
    });
    let check = (path(), version()).prop_map(|(path, version)| Op::Check { path, version });
    let set_acl =
        (path(), acl, version()).prop_map(|(path, acl, version)| Op::SetAcl { path, acl, version });
    if in_multi {
        prop_oneof![4 => create, 2 => delete, 2 => set, 1 => check].boxed()
    } else {
        prop_oneof![4 => create, 2 => delete, 2 => set, 1 => check, 1 => set_acl].boxed()
    }
}

fn step() -> impl Strategy<Value = Step> {
    let session = 1..4_i64;
    let caller = 0..2_usize;
    prop_oneof![
        3 => session.clone().prop_map(Step::Open),
        1 => session.clone().prop_map(Step::Close),
        1 => session.clone().prop_map(Step::Expire),
        1 => path().prop_map(Step::Reap),
        9 => (session.clone(), caller.clone(), op(false))
            .prop_map(|(session, caller, op)| Step::One { session, caller, op }),
        4 => (session, caller, vec(op(true), 0..6))
            .prop_map(|(session, caller, ops)| Step::Multi { session, caller, ops }),
    ]
}

/// Entries of a log; it begins with opened sessions.
pub(super) fn log() -> impl Strategy<Value = Vec<Vec<Step>>> {
    vec(vec(step(), 1..12), 1..8).prop_map(|mut log| {
        log.insert(0, (1..4).map(Step::Open).collect());
        log
    })
}

fn caller(number: usize) -> Identities {
    if number == 0 {
        return localhost();
    }
    Arc::from([identity("ip:127.0.0.1"), identity("digest:u:h")])
}

fn request(op: &Op) -> Request {
    let bytes = |data: &Option<String>| data.clone().map(Bytes::from);
    let path = |path: &str| Some(Text::from(path));
    match op {
        Op::Create {
            path: at,
            data,
            flags,
            acl,
            stat,
        } => {
            let acl = Some(acls(ACLS[*acl].0));
            let create = Create {
                path: path(at),
                data: bytes(data),
                acl,
                flags: *flags,
            };
            if *stat {
                Request::Create2(create)
            } else {
                Request::Create(create)
            }
        }
        Op::Delete { path: at, version } => Request::Delete(Delete {
            path: path(at),
            version: *version,
        }),
        Op::Set {
            path: at,
            data,
            version,
        } => Request::SetData(SetData {
            path: path(at),
            data: bytes(data),
            version: *version,
        }),
        Op::SetAcl {
            path: at,
            acl,
            version,
        } => {
            let acl = Some(acls(ACLS[*acl].0));
            Request::SetAcl(SetAcl {
                path: path(at),
                acl,
                version: *version,
            })
        }
        Op::Check { path: at, version } => Request::Check(Check {
            path: path(at),
            version: *version,
        }),
    }
}

fn multi_op(op: &Op) -> MultiOp {
    match request(op) {
        Request::Create(create) => MultiOp::Create(create),
        Request::Create2(create) if create.flags == 4 => MultiOp::CreateContainer(create),
        Request::Create2(create) => MultiOp::Create2(create),
        Request::Delete(delete) => MultiOp::Delete(delete),
        Request::SetData(set_data) => MultiOp::SetData(set_data),
        Request::Check(check) => MultiOp::Check(check),
        other => panic!("{other:?} in a multi"),
    }
}

pub(super) fn proposal(world: &mut World, step: &Step) -> Proposal {
    let chore = localhost();
    let (session, identities, action) = match step {
        Step::Open(session) => (*session, chore, open(4000, [1; 16])),
        Step::Close(session) => (*session, chore, Action::CloseSession),
        Step::Expire(session) => (*session, chore, expire(world.position.term)),
        Step::Reap(path) => (
            0,
            chore,
            Action::Reap {
                term: world.position.term,
                path: Arc::from(path.as_str()),
                unused_ms: 0,
            },
        ),
        Step::One {
            session,
            caller: number,
            op,
        } => (*session, caller(*number), client(&request(op))),
        Step::Multi {
            session,
            caller: number,
            ops,
        } => {
            let ops = ops.iter().map(multi_op).collect();
            (
                *session,
                caller(*number),
                client(&Request::Multi(Multi { ops })),
            )
        }
    };
    world.proposal(SessionId(session), &identities, action)
}

pub(super) fn run(world: &mut World, log: &[Vec<Step>]) -> Vec<Txn> {
    let mut txns = Vec::new();
    for entry in log {
        let proposals = entry.iter().map(|step| proposal(world, step)).collect();
        txns.extend(world.apply(proposals));
    }
    txns
}

/// Puts a quota on /q by an entry of its own.
pub(super) fn put_quota(world: &mut World) {
    let create = |path: &str| {
        client(&Request::Create(Create {
            path: Some(Text::from(path)),
            data: None,
            acl: open_acl(),
            flags: 0,
        }))
    };
    let open = open(1, [1; 16]);
    let below = ["", "/zookeeper_limits", "/zookeeper_stats"];
    let creates = below.map(|name| create(&format!("/zookeeper/quota/q{name}")));
    let actions = [open].into_iter().chain(creates);
    let session = SessionId(99);
    let proposals = actions
        .map(|action| world.proposal(session, &localhost(), action))
        .collect();
    world.apply(proposals);
}
