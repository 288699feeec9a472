//! How long nobody's write is acknowledged when a server is lost.
//!
//! A gap is the longest time between two acknowledged writes, of whichever client, around the loss.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use compat_tests::ensemble::Ensemble;
use compat_tests::ensemble::proof::client::Client;
use compat_tests::ensemble::proof::history::{End, Op, Record};

use super::{Figure, Scale, Unit};

/// Long enough for a frozen leader of the genuine ensemble: its followers wait for syncLimit ticks.
const SESSION_TIMEOUT: Duration = Duration::from_secs(30);
const BACK_TIME_MAX: Duration = Duration::from_secs(90);
/// Load before the loss, and after the first write behind it.
const LOAD_TIME: Duration = Duration::from_millis(700);
const PAUSE: Duration = Duration::from_millis(2);
/// Of the rolling restart.
const WRITERS: usize = 10;
const WRITES_PER_SECOND: u32 = 1000;

/// What writers saw.
struct Seen {
    /// The longest gap.
    gap: Duration,
    /// Connections that were lost.
    losses: usize,
    /// Sessions that were lost.
    expired: usize,
}

/// kill -9 of the leader; the clients are on the other servers.
pub(super) fn killed(ensemble: &mut Ensemble, scale: &Scale) -> Result<Vec<Figure>> {
    lost(
        ensemble,
        scale,
        ["gap, leader killed", "connections lost, leader killed"],
        (100.0, 30.0),
        Ensemble::kill9,
    )
}

/// SIGSTOP of the leader.
pub(super) fn frozen(ensemble: &mut Ensemble, scale: &Scale) -> Result<Vec<Figure>> {
    lost(
        ensemble,
        scale,
        ["gap, leader frozen", "connections lost, leader frozen"],
        (1500.0, 1000.0),
        Ensemble::freeze,
    )
}

/// SIGTERM of the leader.
pub(super) fn stopped(ensemble: &mut Ensemble, scale: &Scale) -> Result<Vec<Figure>> {
    lost(
        ensemble,
        scale,
        [
            "gap, leader stopped in order",
            "connections lost, leader stopped",
        ],
        (50.0, 10.0),
        Ensemble::stop,
    )
}

fn lost(
    ensemble: &mut Ensemble,
    scale: &Scale,
    [gap, losses]: [&'static str; 2],
    (reach, aim): (f64, f64),
    lose: fn(&mut Ensemble, usize) -> Result<()>,
) -> Result<Vec<Figure>> {
    let (mut gaps, mut lost) = (Vec::new(), Vec::new());
    for _ in 0..scale.losses {
        ensemble.wait_until_serving(BACK_TIME_MAX)?;
        let leader = ensemble.wait_for_leader(BACK_TIME_MAX)?;
        let living = (0..ensemble.len()).filter(|it| *it != leader);
        let addresses: Vec<_> = living.map(|it| ensemble.address(it)).collect();
        let begin = Instant::now();
        let mut writers: Vec<Client> = (0..4)
            .map(|id| Client::new(id, addresses.clone(), begin, SESSION_TIMEOUT))
            .collect();
        let seen = under_load(&mut writers, begin, None, |last_ack| {
            sleep(LOAD_TIME);
            let at = begin.elapsed();
            lose(ensemble, leader)?;
            // Until somebody has been acknowledged after it, and on for a while.
            let deadline = Instant::now() + BACK_TIME_MAX;
            let mut after = None;
            while after.is_none_or(|after: Instant| after.elapsed() < LOAD_TIME) {
                let acked = Duration::from_nanos(last_ack.load(Ordering::SeqCst));
                // What was on its way when the leader was lost does not count as the end of the gap.
                if after.is_none() && acked > at + Duration::from_millis(5) {
                    after = Some(Instant::now());
                }
                ensure!(
                    Instant::now() < deadline,
                    "no write after {BACK_TIME_MAX:?}"
                );
                sleep(PAUSE);
            }
            Ok(at)
        })?;
        ensemble.heal()?;
        gaps.push(seen.gap.as_secs_f64() * 1e3);
        lost.push(seen.losses as f64);
    }
    Ok(vec![
        Figure::new(gap, Unit::Milliseconds, reach, aim).with(gaps),
        Figure::new(losses, Unit::Count, 0.0, 0.0).with(lost),
    ])
}

/// All three, one after the other, under a steady load of clients that know all three.
pub(super) fn rolling(ensemble: &mut Ensemble, _scale: &Scale) -> Result<Vec<Figure>> {
    ensemble.wait_until_serving(BACK_TIME_MAX)?;
    let begin = Instant::now();
    let mut writers: Vec<Client> = (0..WRITERS)
        .map(|id| Client::new(id, ensemble.addresses(), begin, SESSION_TIMEOUT))
        .collect();
    let pace = Duration::from_secs(1) * WRITERS as u32 / WRITES_PER_SECOND;
    let seen = under_load(&mut writers, begin, Some(pace), |_| {
        sleep(LOAD_TIME);
        let at = begin.elapsed();
        for turn in 0..ensemble.len() {
            let leader = ensemble.wait_for_leader(BACK_TIME_MAX)?;
            let next = (leader + 1 + turn) % ensemble.len();
            ensemble.stop(next)?;
            ensemble.spawn(next)?;
            ensemble.wait_until_serving(BACK_TIME_MAX)?;
        }
        sleep(LOAD_TIME);
        Ok(at)
    })?;
    let gap = seen.gap.as_secs_f64() * 1e3;
    Ok(vec![
        Figure::new(
            "longest gap, rolling restart",
            Unit::Milliseconds,
            100.0,
            100.0,
        )
        .with([gap]),
        Figure::new("sessions lost, rolling restart", Unit::Count, 0.0, 0.0)
            .with([seen.expired as f64]),
        // Each client is on a stopping server once, and once more if it moved to the next one.
        Figure::new("connections lost, rolling restart", Unit::Count, 30.0, 20.0)
            .with([seen.losses as f64]),
    ])
}

/// Lets all write while `during` runs, which says when the loss was; each without a pause, or one
/// write in each `pace`.
fn under_load(
    writers: &mut [Client],
    begin: Instant,
    pace: Option<Duration>,
    during: impl FnOnce(&AtomicU64) -> Result<Duration>,
) -> Result<Seen> {
    let (ending, last_ack) = (AtomicBool::new(false), AtomicU64::new(0));
    let at = thread::scope(|scope| {
        for client in writers.iter_mut() {
            let (ending, last_ack) = (&ending, &last_ack);
            scope.spawn(move || write(client, pace, ending, last_ack));
        }
        let at = during(&last_ack);
        ending.store(true, Ordering::SeqCst);
        at
    })?;
    let end = begin.elapsed();
    let records: Vec<&Record> = writers.iter().map(|client| &client.record).collect();
    let mut acks: Vec<u64> = records
        .iter()
        .flat_map(|record| &record.calls)
        .filter(|call| call.op.writes())
        .filter_map(|call| Some(call.success()?.at))
        .collect();
    acks.sort_unstable();
    let from = acks.partition_point(|it| *it < at.as_nanos() as u64);
    ensure!(from > 0, "nothing was written before the loss");
    let mut around = acks[from - 1..].to_vec();
    around.push(end.as_nanos() as u64);
    let longest = around.windows(2).map(|pair| pair[1] - pair[0]).max();
    let sessions = records.iter().flat_map(|record| &record.sessions);
    let expired = sessions.filter(|it| matches!(it.end, End::Expired { .. }));
    Ok(Seen {
        gap: Duration::from_nanos(longest.context("no acknowledged write")?),
        losses: records
            .iter()
            .map(|it| it.tapes.len().saturating_sub(1))
            .sum(),
        expired: expired.count(),
    })
}

fn write(client: &mut Client, pace: Option<Duration>, ending: &AtomicBool, last_ack: &AtomicU64) {
    let path = format!("/gap-{}", client.id);
    let mut next = Instant::now();
    let mut made = false;
    let mut count = 0;
    while !ending.load(Ordering::SeqCst) {
        if !client.connect() {
            continue;
        }
        let due = pace.is_none() || Instant::now() >= next;
        if due && client.waiting() < 2 {
            next += pace.unwrap_or_default();
            count += 1;
            let data = format!("{count}");
            let path = path.clone();
            client.send(vec![if made {
                Op::Set {
                    path,
                    data,
                    version: -1,
                }
            } else {
                Op::Create {
                    path,
                    data,
                    flags: 0,
                }
            }]);
        }
        for index in client.turn() {
            let call = &client.record.calls[index];
            if let Some(reply) = &call.reply {
                // Created by this client or by one before it.
                made |= matches!(call.op, Op::Create { .. });
                if call.success().is_some() {
                    last_ack.fetch_max(reply.at, Ordering::SeqCst);
                }
            }
        }
    }
    drop(client.ask(&Op::Close, Duration::from_secs(5))); // an open session does no harm
}
