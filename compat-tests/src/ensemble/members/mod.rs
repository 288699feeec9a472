//! Members that come back late, with less than they had, or anew, while clients work.
//!
//! A case is a file here and a line in `CASES`. Most of them fill a tree, do something to a member
//! under the load of `chaos`, and have its judges look at all that came of it; what is their own they
//! look at themselves.

mod by_reconfig;
mod filling;
mod grown;
mod snapshot_cut;
mod wiped_by_a_snapshot;
mod wiped_by_the_log;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::chaos::{lost_sessions, under_load};
use super::net::Wiring;
use super::proof::{Sync, judge};
use super::{Ensemble, Setup};
use crate::server::Kind;
use crate::suite::Suite;

/// Clients that ask for everything, beside those of each other kind.
const WORKERS: usize = 2;

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which servers.
    pub kind: Kind,
    /// Only cases whose names contain this.
    pub only: String,
    /// Of all choices.
    pub seed: u64,
}

/// Does all of a case; what is to be said of it, or why it fails.
type Case = fn(&Plan) -> Result<String>;

/// All cases, by name.
const CASES: [(&str, Case); 5] = [
    ("wiped-follower-by-the-log", wiped_by_the_log::run),
    ("wiped-follower-by-a-snapshot", wiped_by_a_snapshot::run),
    ("snapshot-cut-off", snapshot_cut::run),
    ("one-three-five-three-by-files", grown::run),
    ("three-five-three-by-reconfig", by_reconfig::run),
];

/// Runs the cases; true if none failed.
///
/// # Errors
/// No case has such a name.
pub fn run(plan: &Plan) -> Result<bool> {
    let mut suite = Suite::open(format!(
        "ensemble-members: {}, seed {}",
        plan.kind, plan.seed
    ));
    let wanted = CASES.iter().filter(|(name, _)| name.contains(&plan.only));
    for (name, case) in wanted {
        match case(plan) {
            Ok(told) => suite.pass(format_args!("{name}: {told}")),
            Err(error) => suite.fail(name, format!("{error:#}")),
        }
    }
    Ok(suite.close())
}

/// Starts three servers with more lines of zoo.cfg than usual.
fn start(plan: &Plan, wiring: Wiring, config: &[(&str, &str)]) -> Result<Ensemble> {
    let mut setup = Setup::new(plan.kind, wiring);
    for (key, value) in config {
        setup.options = setup.options.config(key, value);
    }
    Ensemble::start(&setup)
}

/// Does `work` under load and has all judges look at it: no reply, read or event was wrong, no living
/// client's session has expired, and the trees of all servers are equal.
fn judged<T>(
    plan: &Plan,
    ensemble: &mut Ensemble,
    work: impl FnOnce(&mut Ensemble) -> Result<T>,
) -> Result<T> {
    let begin = Instant::now();
    let work = |ensemble: &mut Ensemble, _: &_| work(ensemble);
    let loaded = under_load(ensemble, WORKERS, plan.seed, begin, work);
    let (done, history, walks) = loaded.with_context(|| ensemble.logs())?;
    let mut problems = judge(&history, &walks, Sync::Linearizable);
    problems.extend(lost_sessions(WORKERS, &history));
    ensure!(
        problems.is_empty(),
        "{}\n{}",
        problems.join("\n"),
        ensemble.logs()
    );
    Ok(done)
}

/// A member that does not lead.
fn follower(ensemble: &Ensemble) -> Result<usize> {
    let leader = ensemble.wait_for_leader(Duration::from_secs(30))?;
    Ok((leader + 1) % ensemble.len())
}
