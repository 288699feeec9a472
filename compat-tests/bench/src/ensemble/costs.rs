//! What work costs all three together, how fast it goes, and what they hold.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use compat_tests::ensemble::Ensemble;
use compat_tests::ensemble::proof::client::Client;
use compat_tests::ensemble::proof::history::Op;

use super::{Figure, Scale, Unit};
use crate::contestant::{HOT, hot};
use crate::drive::{self, Load, Run};
use crate::fleet::Fleet;
use crate::process;
use crate::scenario::choice;
use crate::wire;

/// Work that a server put off belongs to the requests that caused it: so long is waited for it.
const AFTERWORK: Duration = Duration::from_millis(250);
const BACK_TIME_MAX: Duration = Duration::from_secs(90);
const PER_DIRECTORY: usize = 1000;

/// The hot znodes, and enough work that a JVM has compiled what runs often.
pub(super) fn warm_up(ensemble: &mut Ensemble, scale: &Scale) -> Result<()> {
    let mut one = Fleet::open(ensemble.address(0), 1)?;
    let roots = ["/b".to_owned(), "/b/hot".to_owned(), "/t".to_owned()];
    drive::fill(&mut one, 1, roots.into_iter(), wire::create)?;
    one.close()?;
    let mut fleet = Fleet::open_on(&ensemble.addresses(), 64)?;
    drive::fill(&mut fleet, 16, (0..HOT).map(hot), wire::create)?;
    catch_up(ensemble)?;
    let time = Duration::from_secs_f64(scale.seconds.clamp(1.0, 6.0));
    for depth in [1, 16] {
        let mut count = 0;
        let load = |_, xid: i32, out: &mut Vec<u8>| {
            count += 1;
            if xid % 2 == 0 {
                wire::set(out, xid, &hot(count % HOT));
            } else {
                wire::get(out, xid, &hot(count % HOT), false);
            }
        };
        drive::closed_loop(&mut fleet, depth, time, u64::MAX, load)?;
    }
    fleet.close()
}

/// Waits until each server has what was written so far.
fn catch_up(ensemble: &Ensemble) -> Result<()> {
    for address in ensemble.addresses() {
        let mut client = Client::new(0, vec![address], Instant::now(), BACK_TIME_MAX);
        let sync = Op::Sync { path: "/".into() };
        client.ask(&sync, BACK_TIME_MAX).context("no answer")?;
        client.ask(&Op::Close, BACK_TIME_MAX).context("no answer")?;
    }
    Ok(())
}

/// CPU time of all three, in microseconds.
fn cpu(ensemble: &Ensemble) -> Result<f64> {
    let of = |member| process::cpu_us(ensemble.server(member).pid().context("it does not run")?);
    (0..ensemble.len()).map(of).sum()
}

/// Requests in a second, and what each cost all three.
fn closed(
    ensemble: &mut Ensemble,
    scale: &Scale,
    (sessions, depth): (usize, usize),
    load: impl Load,
) -> Result<(f64, f64)> {
    ensemble.wait_until_serving(BACK_TIME_MAX)?;
    // A lone session is the leader's.
    let mut addresses = ensemble.addresses();
    addresses.rotate_left(ensemble.wait_for_leader(BACK_TIME_MAX)?);
    let mut fleet = Fleet::open_on(&addresses, sessions)?;
    let time = Duration::from_secs_f64(scale.seconds);
    rustix::fs::sync();
    let before = cpu(ensemble)?;
    let Run { requests, took, .. } = drive::closed_loop(&mut fleet, depth, time, u64::MAX, load)?;
    std::thread::sleep(AFTERWORK);
    let used = cpu(ensemble)? - before;
    fleet.close()?;
    let rate = requests as f64 / took.as_secs_f64();
    Ok((rate, used / requests.max(1) as f64))
}

/// A fresh parent.
fn parent(ensemble: &Ensemble) -> Result<String> {
    let since = std::time::UNIX_EPOCH.elapsed().context("the time")?;
    let path = format!("/b/p{}", since.as_nanos());
    let mut fleet = Fleet::open(ensemble.address(0), 1)?;
    drive::fill(&mut fleet, 1, [path.clone()].into_iter(), wire::create)?;
    fleet.close()?;
    Ok(path)
}

/// Creates below one fresh parent.
pub(super) fn create(
    ensemble: &mut Ensemble,
    scale: &Scale,
    sessions: usize,
    depth: usize,
) -> Result<Vec<Figure>> {
    let parent = parent(ensemble)?;
    let mut count = 0;
    let (rate, cost) = closed(ensemble, scale, (sessions, depth), |_, xid, out| {
        count += 1;
        wire::create(out, xid, &format!("{parent}/{count:08}"));
    })?;
    let cpu = |what, reach, aim| Figure::new(what, Unit::Microseconds, reach, aim).with([cost]);
    Ok(match (sessions, depth) {
        (64, 16) => vec![
            cpu("CPU of all per create, 64 x 16", 4.0, 6.0),
            Figure::new("creates, 64 x 16", Unit::PerSecond, 4.0, 6.0).with([rate]),
        ],
        (64, _) => vec![cpu("CPU of all per create, 64 x 1", 2.5, 4.0)],
        _ => vec![cpu("CPU of all per create, 1 x 1", 2.0, 3.0)],
    })
}

/// Reads of hot znodes, on all three.
pub(super) fn get(ensemble: &mut Ensemble, scale: &Scale) -> Result<Vec<Figure>> {
    let paths: Vec<String> = (0..HOT).map(hot).collect();
    let mut choice = choice();
    let (rate, _) = closed(ensemble, scale, (64, 16), |_, xid, out| {
        wire::get(out, xid, &paths[choice.below(HOT)], false);
    })?;
    let figure = Figure::new("gets on three, 64 x 16", Unit::PerSecond, 8.0, 12.0);
    Ok(vec![figure.with([rate])])
}

/// One client on a follower, one write at a time.
pub(super) fn lone_write(ensemble: &mut Ensemble, scale: &Scale) -> Result<Vec<Figure>> {
    ensemble.wait_until_serving(BACK_TIME_MAX)?;
    let leader = ensemble.wait_for_leader(BACK_TIME_MAX)?;
    let follower = (leader + 1) % ensemble.len();
    let mut fleet = Fleet::open(ensemble.address(follower), 1)?;
    let time = Duration::from_secs_f64(scale.seconds);
    let run = drive::closed_loop(&mut fleet, 1, time, u64::MAX, |_, xid, out| {
        wire::set(out, xid, &hot(xid as usize % HOT));
    })?;
    fleet.close()?;
    let figure = Figure::new(
        "lone write through a follower, p50",
        Unit::Microseconds,
        1.5,
        2.0,
    );
    Ok(vec![figure.with([run.latency.quantile_us(0.5)])])
}

/// What all three hold with a big tree.
pub(super) fn memory(ensemble: &mut Ensemble, scale: &Scale) -> Result<Vec<Figure>> {
    ensemble.wait_until_serving(BACK_TIME_MAX)?;
    let directories = scale.znodes.div_ceil(PER_DIRECTORY);
    let mut fleet = Fleet::open_on(&ensemble.addresses(), 16)?;
    let parents = (0..directories).map(|directory| format!("/t/{directory:05}"));
    drive::fill(&mut fleet, 8, parents, wire::create)?;
    let begin = Instant::now();
    // A parent may not have come to every server yet, but a create goes to the leader.
    let paths = (0..scale.znodes).map(|it| format!("/t/{:05}/{it:08}", it / PER_DIRECTORY));
    drive::fill(&mut fleet, 40, paths, wire::create)?;
    fleet.close()?;
    let took = begin.elapsed();
    compat_tests::suite::say(format_args!(
        "{} znodes in {:.0} s",
        scale.znodes,
        took.as_secs_f64()
    ));
    let resident = |member| Ok(ensemble.resident(member)? as f64);
    let sum: f64 = (0..ensemble.len()).map(resident).sum::<Result<f64>>()?;
    Ok(vec![
        Figure::new("memory of all, big tree", Unit::Bytes, 7.0, 9.0).with([sum]),
    ])
}
