//! The proof: what clients did and were told, recorded, and two judges who know nothing else.
//!
//! ```text
//!   clients ([`client`], choices by [`load`]) ──▶ [`history`] ──┬──▶ [`facts`] ──▶ [`replay`] ──▶ [`watches`]
//!   faults, then healing                                        │      by zxid, against a reference tree
//!   a walk over the tree on each server ([`walk`]) ─────────────┤
//!                                                               └──▶ [`linear`]: blind, per register
//! ```
//!
//! The first judge orders everything by zxid and follows each znode; the second one looks at no zxid
//! and only asks whether some order explains what was seen. [`control`] damages a real history in each
//! way that they must see.

pub mod client;
pub mod control;
pub mod facts;
pub mod history;
pub mod linear;
pub mod load;
pub mod replay;
pub mod walk;
pub mod watches;

#[cfg(test)]
mod tests;

use self::history::History;
use self::walk::Walk;

/// How many problems of one kind are told.
const PROBLEMS_MAX: usize = 8;

/// What is asked of a read behind a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// It shows what was acknowledged before.
    Linearizable,
    /// It may show less. The genuine server's leader answers its own clients' sync at once, while a
    /// follower may have acknowledged what the leader has not applied yet.
    Loose,
}

/// Everything that is wrong with a history, judged by both; `walks`: the tree at the end, by server.
pub fn judge(history: &History, walks: &[Walk], sync: Sync) -> Vec<String> {
    let mut problems = walk::differences(walks);
    let facts = facts::Facts::gather(history, walks);
    let mut add = |mut more: Vec<String>| {
        let count = more.len();
        more.truncate(PROBLEMS_MAX);
        if count > PROBLEMS_MAX {
            more.push(format!("and {} more of this kind", count - PROBLEMS_MAX));
        }
        problems.extend(more);
    };
    add(facts.problems.clone());
    add(history.session_order());
    let replayed = replay::replay(history, &facts, walks);
    add(replayed.problems.clone());
    add(watches::check(history, &replayed));
    add(linear::check(history, sync));
    problems
}
