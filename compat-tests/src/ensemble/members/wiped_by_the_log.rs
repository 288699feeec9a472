//! A follower loses its disk while the others still have the whole log: it gets in by that, under load,
//! and serves.

use std::time::Instant;

use anyhow::Result;

use super::super::START_TIME_MAX;
use super::super::net::Wiring;
use super::{Plan, filling, follower, judged, start};

const ZNODES: usize = 2_000;
/// Of them, while it is away.
const CHANGED: usize = 500;

pub(super) fn run(plan: &Plan) -> Result<String> {
    let mut ensemble = start(plan, Wiring::Loopback, &[])?;
    let wiped = follower(&ensemble)?;
    filling::fill(ensemble.address(wiped), "/filled", ZNODES, 100)?;
    let took = judged(plan, &mut ensemble, |ensemble| {
        ensemble.kill9(wiped)?;
        ensemble.wipe(wiped)?;
        let other = (wiped + 1) % ensemble.len();
        filling::change(ensemble.address(other), "/filled", CHANGED, "changed")?;
        let begin = Instant::now();
        ensemble.spawn(wiped)?;
        ensemble.wait_until_serving(START_TIME_MAX)?;
        Ok(begin.elapsed())
    })?;
    let digest = filling::equal(&ensemble, "/filled")?;
    Ok(format!("{} znodes, back in {took:.1?}", digest.count))
}
