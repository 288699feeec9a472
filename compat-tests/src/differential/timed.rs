//! Random sequences in which sessions expire and nodes are reaped.

use super::generate::{Maker, Theme};
use super::lapse::TIMEOUT_MS_MIN;
use super::random::Random;
use super::side::SLOTS;
use super::step::{Op, Request, Step, Who};
use super::values::{open_acl, single};

/// Makes sequence number `index` of `seed`, with sessions that expire and nodes that are reaped.
pub fn sequence(seed: u64, index: u64) -> Vec<Step> {
    let mut random = Random::new(seed, index);
    let slots = 2 + random.below(SLOTS - 1);
    let mut maker = Maker {
        random,
        theme: Theme::Time,
        slots,
    };
    let mut steps: Vec<Step> = (0..slots).map(|slot| maker.connect_new(slot)).collect();
    steps.push(maker.foundation());
    for _ in 0..8 {
        let slot = maker.random.below(slots);
        match maker.random.below(10) {
            0..=1 => {
                // Ephemerals for it to leave behind, and somebody who sees them go.
                for name in ["~/a/e", "~/b/e", "~/e"] {
                    if maker.random.chance(70) {
                        steps.push(single(slot, ephemeral(name)));
                    }
                }
                steps.push(maker.onlooker(slot, "~/a/e"));
                steps.push(Step::Expire {
                    slot,
                    timeout_ms: Some(TIMEOUT_MS_MIN),
                });
                if maker.random.chance(60) {
                    steps.push(maker.connect(slot, Who::Slot(slot)));
                }
                steps.push(maker.connect_new(slot));
            }
            2 => {
                steps.push(maker.onlooker(slot, "~/k"));
                steps.push(maker.reap(slot));
            }
            _ => steps.push(maker.step()),
        }
    }
    steps
}

impl Maker {
    /// Another connection watches what is about to go.
    fn onlooker(&mut self, slot: usize, path: &str) -> Step {
        let other = (slot + 1 + self.random.below(self.slots - 1)) % self.slots;
        let op = match self.random.below(4) {
            0 => Op::Watch {
                code: 106,
                path: "~".into(),
                kind: 1,
            },
            1 => Op::Watch {
                code: 106,
                path: path.into(),
                kind: 0,
            },
            2 => Op::Read {
                code: 8,
                path: "~".into(),
                watch: true,
            },
            _ => Op::Read {
                code: 3,
                path: path.into(),
                watch: true,
            },
        };
        single(other, op)
    }

    /// A container that loses its last child, or a TTL node whose time is over.
    fn reap(&mut self, slot: usize) -> Step {
        let node = |code, path: &str, flags, ttl| Op::Create {
            code,
            path: path.into(),
            data: Some("x".into()),
            acl: open_acl(),
            flags,
            ttl,
        };
        let delete = |path: &str| Op::Versioned {
            code: 2,
            path: path.into(),
            version: -1,
        };
        let both = |items| Op::Multi {
            code: 14,
            items,
            ended: true,
        };
        let ttl = 1 + self.random.below(900) as i64;
        let ops = match self.random.below(5) {
            0 => vec![
                node(19, "~/k", 4, 0),
                node(1, "~/k/x", 0, 0),
                delete("~/k/x"),
            ],
            1 => vec![
                both(vec![
                    node(19, "~/k", 4, 0),
                    node(19, "~/k/m", 4, 0),
                    node(15, "~/k/m/s-", 2, 0),
                ]),
                delete("~/k/m/s-0000000000"),
            ],
            2 => vec![node(21, "~/k", 5, ttl)],
            // Never used.
            3 => vec![node(19, "~/k", 4, 0)],
            // With a child it stays, for as long as it may.
            _ => vec![
                both(vec![node(21, "~/k", 5, ttl), node(1, "~/k/x", 0, 0)]),
                delete("~/k/x"),
            ],
        };
        let requests = ops
            .into_iter()
            .map(|op| Request { xid: None, op })
            .collect();
        Step::Reap {
            slot,
            requests,
            paths: vec!["~/k".into()],
        }
    }
}

fn ephemeral(path: &str) -> Op {
    Op::Create {
        code: 1,
        path: path.into(),
        data: Some("e".into()),
        acl: open_acl(),
        flags: 1,
        ttl: 0,
    }
}

/// True for what makes a container or a TTL node, or may be one when it is damaged.
pub(super) fn may_be_reaped(op: &Op) -> bool {
    match op {
        Op::Create { code, flags, .. } => matches!(code, 19 | 21) || matches!(flags, 4..=6),
        Op::Multi { items, .. } => items.iter().any(may_be_reaped),
        Op::Broken { op, .. } => matches!(op.code(), 1 | 14 | 15 | 19 | 21),
        _ => false,
    }
}
