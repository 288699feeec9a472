//! What may be pipelined: the rules that keep the clock out of a burst.
//!
//! The genuine server judges a request in one thread (PrepRequestProcessor) and applies it in
//! another. What lies between the two is kept as change records. Where a verdict depends on a
//! change that has no record, or on a record without a change, the clock decides it: such a request
//! ends its burst, so that the next one is sent when its reply is there. Every burst stays within
//! the rules when requests are left out of it, so shortening a failure cannot leave them. Written
//! scripts are not checked: a script may show what these rules keep out.
//!
//! Looked at and found determined, hence pipelined freely: multis that a KeeperException ends (their
//! records are taken back in one piece, but see `generated_name`); any other single request that
//! fails (no record is made before its last check); closeSession behind creates and deletes of
//! ephemerals (it adds what is pending to what is applied); setWatches, reads, sync and pings (the
//! apply thread serves them, in order); replies with xids such as -8 or -4 (nothing looks at them).

use super::step::{Op, Request};

const SET_ACL: i32 = 7;
const MULTI: i32 = 14;

/// True when nothing may follow `op` in its burst, in which `before` came already.
pub fn ends(op: &Op, before: &[Request]) -> bool {
    op.stands_alone()
        || op.may_close()
        // The record of a setACL holds the old ACL: what follows would be judged by it until the
        // change is applied.
        || op.code() == SET_ACL
        || leaves_records(op)
        || makes_mistaken(op)
        || (!before.is_empty() && generated_name(op))
}

/// True for a multi that something else than a KeeperException may end: a null id in an ACL, or a
/// damaged body that can become one. The records of the parts before it are then not taken back:
/// until the multi's own turn to be applied, requests are judged against nodes that never were.
fn leaves_records(op: &Op) -> bool {
    let null_id = |op: &Op| {
        matches!(op, Op::Create { acl: Some(acl), .. }
            if acl.iter().any(|(_, _, id)| id == "<null>"))
    };
    match op {
        Op::Multi {
            code: MULTI, items, ..
        } => items.iter().any(null_id),
        Op::Broken { op, .. } => op.code() == MULTI,
        _ => false,
    }
}

/// True for createContainer with flags of an ephemeral, alone or in a multi. Its record says
/// ephemeral, its change makes a container.
fn makes_mistaken(op: &Op) -> bool {
    match op {
        Op::Create {
            code: 19, flags, ..
        } => matches!(flags, 1 | 3),
        Op::Multi {
            code: MULTI, items, ..
        } => items.iter().any(makes_mistaken),
        Op::Broken { op, .. } => matches!(op.code(), 19 | MULTI),
        _ => false,
    }
}

/// True for a multi with a sequential create. When it fails, the record that was there of the
/// generated name (of a delete in the same burst) is not put back: only names that requests say are
/// remembered. The deleted node is seen again until the delete is applied.
fn generated_name(op: &Op) -> bool {
    matches!(op, Op::Multi { code: MULTI, items, .. }
        if items.iter().any(|item| matches!(item, Op::Create { flags: 2 | 3 | 6, .. })))
}

#[cfg(test)]
mod tests {
    use super::super::generate::sequence;
    use super::super::step::{Damage, Step};
    use super::*;

    /// True when all bursts of these steps are as [`ends`] wants them.
    fn is_determined(steps: &[Step]) -> bool {
        steps.iter().all(|step| match step {
            Step::Burst { requests, .. } | Step::Connect { then: requests, .. } => {
                (1..requests.len()).all(|at| {
                    !ends(&requests[at - 1].op, &requests[..at - 1])
                        && !requests[at].op.stands_alone()
                })
            }
            _ => true,
        })
    }

    fn create(flags: i32, id: &str) -> Op {
        Op::Create {
            code: 1,
            path: "~/b".into(),
            data: None,
            acl: Some(vec![(31, "ip".into(), id.into())]),
            flags,
            ttl: 0,
        }
    }

    fn multi(items: Vec<Op>) -> Op {
        Op::Multi {
            code: MULTI,
            items,
            ended: true,
        }
    }

    #[test]
    fn a_multi_that_leaves_records_ends_its_burst() {
        let bad = multi(vec![create(0, "127.0.0.1"), create(0, "<null>")]);
        assert!(ends(&bad, &[]));
        let damage = Damage::Patch(0, -1);
        let broken = Op::Broken {
            op: Box::new(multi(vec![create(0, "127.0.0.1")])),
            damage,
        };
        assert!(ends(&broken, &[]));
        assert!(!ends(&multi(vec![create(0, "127.0.0.1")]), &[]));
        assert!(!ends(&create(0, "<null>"), &[]));
    }

    #[test]
    fn a_multi_with_a_generated_name_ends_a_burst_that_it_does_not_begin() {
        let op = multi(vec![create(2, "127.0.0.1")]);
        assert!(!ends(&op, &[]));
        let before = Request {
            xid: None,
            op: create(0, "127.0.0.1"),
        };
        assert!(ends(&op, &[before]));
    }

    #[test]
    fn generated_bursts_are_determined_and_stay_so_when_requests_are_left_out() {
        for index in 0..2000 {
            let steps = sequence(1, index, index % 7 == 0);
            assert!(is_determined(&steps), "sequence {index}");
            for step in steps {
                let (Step::Burst { requests, .. } | Step::Connect { then: requests, .. }) = step
                else {
                    continue;
                };
                for at in 0..requests.len() {
                    let mut requests = requests.clone();
                    requests.remove(at);
                    let step = Step::Burst { slot: 0, requests };
                    assert!(is_determined(&[step]), "sequence {index}");
                }
            }
        }
    }
}
