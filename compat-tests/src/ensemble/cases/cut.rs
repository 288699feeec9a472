//! Nobody sees anybody for as long as three sessions live.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::super::net::Way;
use super::super::{Ensemble, START_TIME_MAX};
use super::crowd::Crowd;
use super::{Change, setup, severable};

const TIMEOUT: Duration = Duration::from_secs(2);
const SESSIONS: usize = 12;

/// See the head of the file.
///
/// # Errors
/// A session is lost.
pub(super) fn all_cut(change: &Change<'_>) -> Result<String> {
    let mut ensemble = Ensemble::start(&change(setup(severable())))?;
    let leader = ensemble.wait_for_leader(START_TIME_MAX)?;
    let crowd = Crowd::open(&ensemble.addresses(), 0, SESSIONS, TIMEOUT)?;
    let cut = Way {
        cut: true,
        ..Way::default()
    };
    for from in 0..ensemble.len() {
        for to in (0..ensemble.len()).filter(|to| *to != from) {
            ensemble.set_way(from, to, cut)?;
        }
    }
    let begin = Instant::now();
    let mut alone = false;
    while begin.elapsed() < 3 * TIMEOUT {
        alone |= (0..ensemble.len()).all(|it| ensemble.mode(it).is_none());
        sleep(TIMEOUT / 20);
    }
    ensure!(alone, "somebody served all the time: nothing was cut");
    ensemble.heal()?;
    let back = ensemble.wait_until_serving(START_TIME_MAX)?;
    let led_by = ensemble.wait_for_leader(START_TIME_MAX)?;
    // Who would be given up now has had its time.
    sleep(2 * TIMEOUT);
    let connected = crowd.end()?;
    Ok(format!(
        "{SESSIONS} sessions lived, on {connected} connections; led by server {} before and {} after, \
         all back after {back:.1?}",
        leader + 1,
        led_by + 1
    ))
}
