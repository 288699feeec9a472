//! Failures that have a name, each on an ensemble of its own, with clients that do one thing.
//!
//! A case is a function: what is wrong it returns as an error. [`super::planted`] runs some of them on
//! servers that are broken on purpose, and expects them to fail.

mod beats;
mod behind;
mod clock;
mod crowd;
mod cut;
mod moving;

use anyhow::{Result, bail};

use super::Setup;
use super::net::{Namespaces, Wiring};
use crate::server::Kind;
use crate::suite::Suite;

pub use self::behind::renewed_behind;
pub use self::moving::moves_as_it_expires;

/// A case; what it says when it passes. `change`: what is to be different about its servers.
type Case = fn(&Change<'_>) -> Result<String>;

/// Changes the servers of a case.
pub type Change<'a> = dyn Fn(Setup) -> Setup + 'a;

const CASES: [(&str, Case); 6] = [
    (
        "opened on one server, renewed on one that lags: never told that it has expired",
        renewed_behind,
    ),
    (
        "every way cut for three session timeouts, then healed: no session expires",
        cut::all_cut,
    ),
    (
        "the leader's clock an hour ahead: no session expires, TTLs are what they are",
        clock::an_hour_ahead,
    ),
    (
        "the leader's clock an hour behind: no session expires, TTLs are what they are",
        clock::an_hour_behind,
    ),
    (
        "a session whose time is over in the moment in which it moves",
        moves_as_it_expires,
    ),
    (
        "heartbeats of a leader whose disk hangs, that misses its cache, takes checkpoints, has no processor",
        beats::heartbeats,
    ),
];

/// Runs the cases whose names contain `only`; true when all passed.
///
/// # Errors
/// They are about our server, and it is another one.
pub fn run(kind: Kind, only: &str) -> Result<bool> {
    if kind != Kind::Oxkeeper {
        bail!("these cases know our server's files and clocks: SERVER=oxkeeper");
    }
    let mut suite = Suite::open("ensemble-cases: oxkeeper");
    for (name, case) in CASES.iter().filter(|(name, _)| name.contains(only)) {
        match case(&|setup| setup) {
            Ok(told) => suite.pass(format_args!("{name}: {told}")),
            Err(error) => suite.fail(name, format_args!("{error:#}")),
        }
    }
    Ok(suite.close())
}

/// Three of our servers on a network of this kind.
fn setup(wiring: Wiring) -> Setup {
    Setup::new(Kind::Oxkeeper, wiring)
}

/// What can be cut for real, or what stands for it here.
fn severable() -> Wiring {
    match Namespaces::why_not() {
        None => Wiring::Namespaces,
        Some(_) => Wiring::Proxies,
    }
}
