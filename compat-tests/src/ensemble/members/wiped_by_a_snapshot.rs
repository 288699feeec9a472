//! A follower loses its disk when the others have no longer the whole log: it gets in by a snapshot,
//! under load, and has everything, sessions and ephemerals too.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::net::Wiring;
use super::super::{Ensemble, START_TIME_MAX};
use super::{Plan, filling, follower, judged, start};
use crate::client::{figure, word};
use crate::server::Kind;

const ZNODES: usize = 20_000;
const DATA_BYTES: usize = 400;
/// So little of the log stays that the znodes are not in it.
pub(super) const RETENTION: [(&str, &str); 2] = [
    ("oxkeeper.logBytesBeforeFlush", "1M"),
    ("snapCount", "10000"),
];
/// More than a server of this size needs.
const GROWTH_BYTES_MAX: u64 = 256 << 20;

pub(super) fn run(plan: &Plan) -> Result<String> {
    let mut ensemble = start(plan, Wiring::Loopback, &RETENTION)?;
    let wiped = follower(&ensemble)?;
    filling::fill(ensemble.address(wiped), "/filled", ZNODES, DATA_BYTES)?;
    let before = ensemble.resident(ensemble.wait_for_leader(START_TIME_MAX)?)?;
    let took = judged(plan, &mut ensemble, |ensemble| {
        ensemble.kill9(wiped)?;
        ensemble.wipe(wiped)?;
        let begin = Instant::now();
        ensemble.spawn(wiped)?;
        ensemble.wait_until_serving(START_TIME_MAX)?;
        Ok(begin.elapsed())
    })?;
    let digest = filling::equal(&ensemble, "/filled")?;
    if plan.kind == Kind::Oxkeeper {
        installed(&ensemble, wiped)?;
        let sent: usize = (0..ensemble.len())
            .map(|it| snapshots_sent(&ensemble, it))
            .sum();
        ensure!(
            sent > 0,
            "nobody has counted a snapshot\n{}",
            ensemble.logs()
        );
        let leader = ensemble.wait_for_leader(START_TIME_MAX)?;
        let after = ensemble.resident(leader)?;
        ensure!(
            after < before + GROWTH_BYTES_MAX,
            "the leader has grown from {before} to {after} bytes"
        );
    }
    Ok(format!("{} znodes, back in {took:.1?}", digest.count))
}

/// How many snapshots a member says that it has sent.
pub(super) fn snapshots_sent(ensemble: &Ensemble, member: usize) -> usize {
    let mntr = word(ensemble.address(member), b"mntr", Duration::from_secs(5));
    let mntr = mntr.unwrap_or_default();
    figure(&mntr, "zk_snap_count").unwrap_or(0)
}

/// # Errors
/// It has got in otherwise.
pub(super) fn installed(ensemble: &Ensemble, member: usize) -> Result<()> {
    let log = ensemble.server(member).log();
    let line = log.lines().find(|line| line.contains("snapshot installed"));
    line.map(drop)
        .with_context(|| format!("no snapshot was installed\n{}", ensemble.logs()))
}
