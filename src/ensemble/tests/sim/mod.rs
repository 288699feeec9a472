//! Three servers in simulated time, from a seed: faults, then healing.
//!
//! Each server is the whole room, with the real framing between peers, on stores in memory that lose
//! what was not synced. It lives on a runtime of its own with one thread and paused time; `World::tick`
//! lets each go on for a millisecond, in an order that the seed says, and then the disks, the clients
//! and the faults. To drop a runtime is to kill a server.
//!
//! From the seed follow: the faults, what a crash leaves, the order of servers in each tick, what
//! clients ask for, and openraft's election timeouts. What it does not decide: with which of its branches a
//! `tokio::select!` begins if several are ready (tokio seeds that itself, from the system, unless it is
//! built with `tokio_unstable`), and the order of standard hash maps. So nearly all seeds come out the
//! same each time, byte for byte, and a few do so in most runs.
//!
//! `make sim SEEDS=1000` plays more of them, `make sim SEED=7` one; with `OXKEEPER_SIM_TRACES` set to a
//! directory, what happened is written there.

mod asking;
mod client;
mod dice;
mod disk;
mod expiry;
mod faults;
mod growing;
mod ledger;
mod planted;
mod promises;
mod scenarios;
mod server;
mod snapshots;
mod world;

use faults::{Outcome, play};

/// Played by each `cargo test`.
const SEEDS: u64 = 20;

/// The seeds to be played: `OXKEEPER_SIM_SEED` is one, `OXKEEPER_SIM_SEEDS` their number.
fn seeds() -> std::ops::Range<u64> {
    #[expect(clippy::disallowed_methods, reason = "the settings of a test")]
    let set = |name| Some(std::env::var(name).ok()?.parse::<u64>().unwrap());
    match set("OXKEEPER_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..set("OXKEEPER_SIM_SEEDS").unwrap_or(SEEDS),
    }
}

/// Where traces are written, if anywhere: `OXKEEPER_SIM_TRACES` is a directory.
fn keep(name: &str, trace: &str) {
    #[expect(clippy::disallowed_methods, reason = "the settings of a test")]
    if let Ok(dir) = std::env::var("OXKEEPER_SIM_TRACES") {
        std::fs::write(std::path::Path::new(&dir).join(name), trace).unwrap();
    }
}

/// What to read first of a run that failed.
fn told(seed: u64, outcome: &Outcome) -> String {
    let all: Vec<&str> = outcome.trace.lines().collect();
    let end = all[all.len().saturating_sub(60)..].join("\n");
    format!("seed {seed}: {:#?}\n{end}\n", outcome.wrong)
}

#[test]
fn whatever_fails_nothing_is_lost_and_all_agree() {
    let mut failed = Vec::new();
    let (mut txns, mut terms, mut count) = (0, 0, 0);
    for seed in seeds() {
        let outcome = play(seed, None);
        keep(&format!("{seed}.trace"), &outcome.trace);
        if !outcome.wrong.is_empty() {
            failed.push(told(seed, &outcome));
        }
        txns += outcome.txns;
        terms += outcome.terms;
        count += outcome.faults;
    }
    let all = failed.concat();
    assert!(failed.is_empty(), "{} seeds failed\n{all}", failed.len());
    // Seeds in which nothing happens prove nothing.
    let seeds = seeds();
    let runs = seeds.end - seeds.start;
    assert!(count >= 5 * runs, "{count} faults");
    assert!(terms as u64 >= 2 * runs, "{terms} terms, {txns} txns");
}

/// See the head of the file for what the seed does not decide.
#[test]
fn a_seed_comes_out_the_same_again() {
    let comes_again = |seed: &u64| {
        let mut seen = std::collections::BTreeSet::new();
        let is_again = |_| !seen.insert(play(*seed, None).trace);
        (0..6).any(is_again)
    };
    let again = (0..4).filter(comes_again).count();
    assert!(
        again >= 2,
        "{again} of four seeds came out the same in six runs each"
    );
}
