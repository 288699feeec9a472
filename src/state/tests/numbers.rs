//! I10: numbers that run out: none comes again while it may be in use.

use std::sync::Arc;

use jute::{Acl, Create, CreateTtl, Delete, ErrorCode, Request, Text};

use super::world::{ORIGIN, World, acls, client, identity, localhost, open, open_acl};
use crate::state::{
    Action, ApplyError, Batch, ClusterId, Identities, Meta, OpOutcome, Origin, Outcome, Peek,
    Proposal, Reading, Rules, ServerId, SessionId, Silence, Txn, Zxid, permits,
};

const SESSION: SessionId = SessionId(1);

fn create(path: &str, acl: Option<Vec<Acl>>) -> Action {
    client(&Request::Create(Create {
        path: Some(Text::from(path)),
        data: None,
        acl,
        flags: 0,
    }))
}

/// A world with a session, which goes on with other numbers.
fn world(change: impl FnOnce(&mut Meta)) -> World {
    let mut world = World::new(Rules::default());
    let proposals = vec![world.proposal(SESSION, &localhost(), open(4000, [1; 16]))];
    world.apply(proposals);
    world.tamper(change);
    world.restarted()
}

fn one(world: &mut World, action: Action) -> Txn {
    let proposals = vec![world.proposal(SESSION, &localhost(), action)];
    let mut txns = world.apply(proposals);
    assert_eq!(txns.len(), 1);
    txns.remove(0)
}

/// Applies past the checks that compare all numbers.
fn apply_raw(world: &mut World, rules: Rules, proposals: Vec<Proposal>) -> Result<(), ApplyError> {
    world.position.index += 1;
    let batch = Batch {
        reading: Reading::default(),
        rules,
        proposals,
    };
    world.replica.apply(world.position, &batch, &Silence)
}

fn may_read(world: &World, path: &str, who: &str) -> bool {
    let state = world.replica.read();
    let Peek::Known(Some(node)) = state.peek_znode(path) else {
        panic!("{path} is missing");
    };
    let who: Identities = Arc::from([identity(who)]);
    permits(state.acl(node.acl), &who, jute::perms::READ, false)
}

#[test]
fn a_private_znode_is_private_however_many_lists_there_were() {
    let mut world = world(|meta| meta.acl_next = u32::MAX.into());
    let names = ["a", "b", "c", "d"];
    for name in names {
        let acl = acls(&format!("digest:{name}:x:31"));
        one(&mut world, create(&format!("/{name}"), Some(acl)));
    }
    for name in names {
        for other in names {
            let may = may_read(&world, &format!("/{name}"), &format!("digest:{other}:x"));
            assert_eq!(may, name == other, "{other} may read /{name}");
        }
    }
}

#[test]
fn without_an_id_left_a_new_list_is_refused_and_an_old_one_is_not() {
    let mut world = world(|meta| meta.acl_next = u64::MAX - 1);
    let list = |name: &str| Some(acls(&format!("digest:{name}:x:31")));
    let last = one(&mut world, create("/last", list("a")));
    assert!(
        matches!(last.outcome, Outcome::Op(OpOutcome::Created { .. })),
        "{last:?}"
    );
    let refused = one(&mut world, create("/refused", list("b")));
    assert_eq!(refused.outcome, Outcome::Refused(ErrorCode::SYSTEM_ERROR));
    assert!(refused.changes.is_empty() && refused.events.is_empty());
    for acl in [list("a"), open_acl()] {
        let path = format!("/known-{}", acl == open_acl());
        let known = one(&mut world, create(&path, acl));
        assert!(
            matches!(known.outcome, Outcome::Op(OpOutcome::Created { .. })),
            "{known:?}"
        );
    }
}

#[test]
fn a_parent_has_as_many_children_as_its_stat_can_say() {
    for (children, refused) in [(i32::MAX as u32, true), (i32::MAX as u32 - 1, false)] {
        let mut world = world(|_| ());
        one(&mut world, create("/p", open_acl()));
        world.tamper_znode("/p", |node| node.children = children);
        let proposals = vec![world.proposal(SESSION, &localhost(), create("/p/c", open_acl()))];
        apply_raw(&mut world, Rules::default(), proposals).unwrap();
        let found = world.replica.read().peek_znode("/p/c");
        assert_eq!(found == Peek::Known(None), refused);
    }
}

#[test]
fn the_last_zxid_has_no_next_one() {
    let mut world = world(|meta| meta.last_zxid = Zxid(i64::MAX - 1));
    let last = one(&mut world, create("/last", open_acl()));
    assert_eq!(last.zxid, Zxid(i64::MAX));
    let proposals = vec![world.proposal(SESSION, &localhost(), create("/more", open_acl()))];
    let refused = apply_raw(&mut world, Rules::default(), proposals);
    assert!(
        matches!(refused, Err(ApplyError::NoZxidLeft)),
        "{refused:?}"
    );
}

#[test]
fn epochs_that_do_not_fit_carry_on_with_the_last_one() {
    let epoch = |epoch: i64| Zxid(epoch << 32 | 1);
    assert_eq!(Zxid(5).next(3), epoch(3));
    let last = i32::MAX as u64;
    assert_eq!(Zxid(5).next(last), epoch(i32::MAX.into()));
    for term in [last + 1, 1 << 32, u64::MAX] {
        let at = epoch(i32::MAX.into());
        assert_eq!(Zxid(5).next(term), at);
        assert_eq!(at.next(term), Zxid(at.0 + 1));
    }
}

#[test]
fn behind_the_last_sequence_nothing_has_its_turn() {
    let mut world = world(|meta| {
        let cursor = meta.cursors.get_mut(&ORIGIN.server).unwrap();
        cursor.sequence = u64::MAX;
    });
    let mut proposal = world.proposal(SESSION, &localhost(), create("/again", open_acl()));
    proposal.sequence = 0;
    assert!(world.apply(vec![proposal]).is_empty());
}

#[test]
fn what_was_created_by_other_rules_is_counted_right_when_it_goes() {
    let extended = Rules {
        extended_types: true,
        ..Rules::default()
    };
    for (before, after) in [(extended, Rules::default()), (Rules::default(), extended)] {
        let mut world = world(|_| ());
        // To the extended types an ephemeral of this session is a TTL node.
        let session = SessionId(0xff_u64.cast_signed() << 56 | 5);
        let ttl = client(&Request::CreateTtl(CreateTtl {
            path: Some(Text::from("/n")),
            data: None,
            acl: open_acl(),
            flags: 5,
            ttl_ms: 5,
        }));
        let ephemeral = client(&Request::Create(Create {
            path: Some(Text::from("/n")),
            data: None,
            acl: open_acl(),
            flags: 1,
        }));
        let made = if before == extended { ttl } else { ephemeral };
        let delete = client(&Request::Delete(Delete {
            path: Some(Text::from("/n")),
            version: -1,
        }));
        for (rules, action) in [
            (before, open(4000, [1; 16])),
            (before, made),
            (after, delete),
        ] {
            let proposals = vec![world.proposal(session, &localhost(), action)];
            apply_raw(&mut world, rules, proposals).unwrap();
        }
        let state = world.replica.read();
        assert_eq!(state.peek_znode("/n"), Peek::Known(None));
        assert_eq!(state.meta().ephemerals, 0);
        assert_eq!(state.owners().len(), 0);
    }
}

#[test]
fn an_ensemble_keeps_the_first_name_that_it_is_given() {
    let mut world = world(|_| ());
    let before = world.replica.read().meta().clone();
    let names = [1, 2, 3].map(|fill| ClusterId([fill; 16]));
    // It has no turn: number 0 never has.
    let founder = Origin {
        server: ServerId(9),
        incarnation: 1,
    };
    let found = |world: &mut World, cluster| Proposal {
        sequence: 0,
        ..world.proposal_of(
            founder,
            SessionId::NONE,
            &localhost(),
            Action::Found { cluster },
        )
    };
    let two = vec![found(&mut world, names[0]), found(&mut world, names[1])];
    assert_eq!(world.apply(two), [], "it is no txn");
    let third = vec![found(&mut world, names[2])];
    assert_eq!(world.apply(third), []);
    let mut world = world.restarted();
    let after = world.replica.read().meta().clone();
    let expected = Meta {
        cluster: Some(names[0]),
        applied: after.applied,
        timeline: after.timeline.clone(),
        ..before.clone()
    };
    assert_eq!(after, expected);
    let next = one(&mut world, create("/next", open_acl()));
    assert_eq!(
        next.zxid,
        Zxid(before.last_zxid.0 + 1),
        "no zxid is missing"
    );
}
