//! The link to a wiped follower is cut again and again while a snapshot crosses it: the follower gets in
//! all the same, and nothing that has come is sent again.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::super::net::{Way, Wiring};
use super::super::{Ensemble, START_TIME_MAX};
use super::wiped_by_a_snapshot::{RETENTION, installed};
use super::{Plan, filling, follower, judged, start};
use crate::server::Kind;
use crate::suite::say;

const ZNODES: usize = 20_000;
const DATA_BYTES: usize = 2_000;
/// Longer than both sides wait for a sign of life.
const CUT_TIME: Duration = Duration::from_secs(3);
const CUTS: usize = 3;
/// So long after it has begun the first attempt is cut off, the others each a little later.
const FIRST_CUT: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_millis(2);
/// What the follower says when an attempt begins.
const BEGINS: &str = "receiving a snapshot";

pub(super) fn run(plan: &Plan) -> Result<String> {
    ensure!(
        plan.kind == Kind::Oxkeeper,
        "it is seen by the log of our server when a snapshot is under way"
    );
    let mut ensemble = start(plan, Wiring::Proxies, &RETENTION)?;
    let wiped = follower(&ensemble)?;
    filling::fill(ensemble.address(wiped), "/filled", ZNODES, DATA_BYTES)?;
    let (took, cuts) = judged(plan, &mut ensemble, |ensemble| {
        ensemble.kill9(wiped)?;
        ensemble.wipe(wiped)?;
        let begin = Instant::now();
        ensemble.spawn(wiped)?;
        let mut cuts = 0;
        while cuts < CUTS && until_another_begins(ensemble, wiped, cuts)? {
            cuts += 1;
            sleep(FIRST_CUT * u32::try_from(cuts)?);
            cut(ensemble, wiped)?;
        }
        ensemble.wait_until_serving(START_TIME_MAX)?;
        Ok((begin.elapsed(), cuts))
    })?;
    let digest = filling::equal(&ensemble, "/filled")?;
    installed(&ensemble, wiped)?;
    let log = ensemble.server(wiped).log();
    let attempts: Vec<&str> = log.lines().filter(|line| line.contains(BEGINS)).collect();
    attempts.iter().for_each(say);
    ensure!(
        cuts > 0,
        "all came before the first cut\n{}",
        ensemble.logs()
    );
    Ok(format!(
        "{} znodes, {cuts} cuts, {} attempts, back in {took:.1?}",
        digest.count,
        attempts.len()
    ))
}

/// False: it has been installed meanwhile.
fn until_another_begins(ensemble: &Ensemble, wiped: usize, before: usize) -> Result<bool> {
    let deadline = Instant::now() + START_TIME_MAX;
    loop {
        let log = ensemble.server(wiped).log();
        if log.contains("snapshot installed") {
            return Ok(false);
        }
        if log.matches(BEGINS).count() > before {
            return Ok(true);
        }
        ensure!(
            Instant::now() < deadline,
            "no snapshot begins\n{}",
            ensemble.logs()
        );
        sleep(PAUSE);
    }
}

/// The follower is alone for a while.
fn cut(ensemble: &Ensemble, wiped: usize) -> Result<()> {
    let others = || (0..ensemble.len()).filter(|other| *other != wiped);
    for (cut, pause) in [(true, CUT_TIME), (false, Duration::ZERO)] {
        let way = Way {
            cut,
            ..Way::default()
        };
        for other in others() {
            ensemble.set_way(other, wiped, way)?;
            ensemble.set_way(wiped, other, way)?;
        }
        sleep(pause);
    }
    Ok(())
}
