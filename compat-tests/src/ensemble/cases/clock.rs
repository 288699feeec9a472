//! A leader's wall clock is set, an hour forth or back, and then a server leads whose clock is right.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::net::Wiring;
use super::super::{Ensemble, START_TIME_MAX};
use super::crowd::Crowd;
use super::{Change, setup};
use crate::disk::Library;
use crate::hostile::pipe::{Pipe, read};
use crate::wire::Writer;

const TIMEOUT: Duration = Duration::from_secs(2);
const SESSIONS: usize = 9;
/// The file, in each server's directory.
const OFF: &str = "clock-off";
const HOUR_S: i64 = 3_600;
const CREATE_TTL: i32 = 21;
const EXISTS: i32 = 3;
const NO_NODE: i32 = -101;
const SHORT_MS: i64 = 1_500;
const LONG_MS: i64 = 1_200_000;
/// A znode whose time is over is gone within this: what is behind an election is given time again.
const REAPED_TIME_MAX: Duration = Duration::from_secs(20);

pub(super) fn an_hour_ahead(change: &Change<'_>) -> Result<String> {
    off_by(HOUR_S, change)
}

pub(super) fn an_hour_behind(change: &Change<'_>) -> Result<String> {
    off_by(-HOUR_S, change)
}

fn create_ttl(pipe: &mut Pipe, path: &str, ttl_ms: i64) -> Result<()> {
    let mut body = Writer::new();
    body.buffer(Some(path.as_bytes())).buffer(Some(b"data"));
    body.i32(1).i32(31);
    body.buffer(Some(b"world")).buffer(Some(b"anyone"));
    body.i32(5).i64(ttl_ms);
    let error = pipe.ask(&[(CREATE_TTL, body.finish())])?[0];
    ensure!(error == 0, "create {path} with a TTL: {error}");
    Ok(())
}

fn is_there(pipe: &mut Pipe, path: &str) -> Result<bool> {
    match pipe.ask(&[(EXISTS, read(path, false))])?[0] {
        0 => Ok(true),
        NO_NODE => Ok(false),
        error => anyhow::bail!("exists {path}: {error}"),
    }
}

/// Znodes of this moment live as long as they should; how long the short one did.
fn ttls(ensemble: &Ensemble, on: usize, when: &str, lasts: &mut Vec<String>) -> Result<Duration> {
    let mut pipe = Pipe::open(ensemble.address(on), 30_000)?;
    let (short, long) = (format!("/short-{when}"), format!("/long-{when}"));
    create_ttl(&mut pipe, &long, LONG_MS)?;
    let begin = Instant::now();
    create_ttl(&mut pipe, &short, SHORT_MS)?;
    lasts.push(long);
    while is_there(&mut pipe, &short)? {
        ensure!(begin.elapsed() < REAPED_TIME_MAX, "{short} lives on");
        sleep(Duration::from_millis(20));
    }
    let lived = begin.elapsed();
    ensure!(
        lived >= Duration::from_millis(SHORT_MS as u64 - 50),
        "{short} was reaped after {lived:?}"
    );
    for path in lasts.iter() {
        ensure!(is_there(&mut pipe, path)?, "{path} was reaped {when}");
    }
    pipe.close()?;
    Ok(lived)
}

fn off_by(off_s: i64, change: &Change<'_>) -> Result<String> {
    let library = Library::of("clock_off")?;
    let mut setup = setup(Wiring::Loopback);
    setup.options = setup
        .options
        .property("znode.container.checkIntervalMs", "200")
        .environment("LD_PRELOAD", &library.path().display().to_string())
        .environment("CLOCK_OFF", OFF);
    let mut ensemble = Ensemble::start(&change(setup))?;
    let crowd = Crowd::open(&ensemble.addresses(), 0, SESSIONS, TIMEOUT)?;
    let leader = ensemble.wait_for_leader(START_TIME_MAX)?;
    let mut lasts = Vec::new();
    let mut lived = vec![ttls(&ensemble, leader, "before", &mut lasts)?];
    fs::write(ensemble.dir(leader)?.join(OFF), off_s.to_string()).context("set a clock")?;
    lived.push(ttls(&ensemble, leader, "while it is off", &mut lasts)?);
    sleep(2 * TIMEOUT);
    let now = ensemble.wait_for_leader(START_TIME_MAX)?;
    ensure!(now == leader, "the clock made another one lead");
    // The next leader's clock is right.
    ensemble.kill9(leader)?;
    let next = ensemble.wait_for_leader(START_TIME_MAX)?;
    lived.push(ttls(&ensemble, next, "under the next leader", &mut lasts)?);
    // And the one that comes back still has a wrong one, and follows.
    ensemble.heal()?;
    ensemble.wait_until_serving(START_TIME_MAX)?;
    lived.push(ttls(&ensemble, leader, "when it is back", &mut lasts)?);
    let connected = crowd.end()?;
    Ok(format!(
        "{SESSIONS} sessions lived, on {connected} connections; a TTL of {SHORT_MS} ms lasted {lived:.1?}"
    ))
}
