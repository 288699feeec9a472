//! Ways to send: as fast as the answers come, by a schedule, or a fixed list.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::fleet::{Came, Fleet};
use crate::histogram::Histogram;

/// What a run of requests took.
#[derive(Clone, Debug)]
pub struct Run {
    /// Requests answered.
    pub requests: u64,
    /// From the first request to the last reply.
    pub took: Duration,
    /// Of each request.
    pub latency: Histogram,
}

/// Encodes the next request of a link: link, xid, buffer.
pub trait Load: FnMut(usize, i32, &mut Vec<u8>) {}
impl<F: FnMut(usize, i32, &mut Vec<u8>)> Load for F {}

/// Keeps `depth` requests of each session in flight for `time`, or until `most` were sent.
///
/// # Errors
/// A connection broke or a reply was an error; so with all of this module.
pub fn closed_loop(
    fleet: &mut Fleet,
    depth: usize,
    time: Duration,
    most: u64,
    mut load: impl Load,
) -> Result<Run> {
    let mut latency = Histogram::default();
    let mut left = most;
    let begin = Instant::now();
    for link in 0..fleet.sessions() {
        for _ in 0..depth {
            if left > 0 {
                left -= 1;
                fleet.push(link, Instant::now(), |xid, out| load(link, xid, out));
            }
        }
        fleet.flush(link)?;
    }
    let end = begin + time;
    let sent_first = most - left;
    let mut in_flight = sent_first;
    while in_flight > 0 {
        let mut now = None;
        let mut answered = 0;
        fleet.turn_by_link(None, |fleet, link, came| {
            match came {
                Some(Came::Reply { since }) => {
                    let now = *now.get_or_insert_with(Instant::now);
                    latency.record(now.saturating_duration_since(since).as_nanos() as u64);
                    answered += 1;
                    in_flight -= 1;
                }
                Some(Came::Event | Came::Session) => {}
                None => {
                    let at = now.take().unwrap_or_else(Instant::now);
                    if at < end {
                        for _ in 0..answered.min(left) {
                            fleet.push(link, at, |xid, out| load(link, xid, out));
                            in_flight += 1;
                            left -= 1;
                        }
                    }
                    answered = 0;
                }
            }
            Ok(())
        })?;
    }
    Ok(Run {
        requests: latency.count(),
        took: begin.elapsed(),
        latency,
    })
}

/// Sends `per_second` requests for `time`, evenly spaced and round robin over the sessions, whether
/// answers come or not. Latency counts from when a request should have been sent.
///
/// # Errors
/// As [`closed_loop`].
pub fn open_loop(
    fleet: &mut Fleet,
    per_second: u32,
    time: Duration,
    load: impl Load,
) -> Result<Run> {
    let mut latency = Histogram::default();
    let begin = Instant::now();
    paced(fleet, per_second, time, load, |_, took| {
        latency.record(took.as_nanos() as u64);
    })?;
    Ok(Run {
        requests: latency.count(),
        took: begin.elapsed(),
        latency,
    })
}

/// As [`open_loop`]; `record` is told of each reply when its request was due and how long it took.
///
/// # Errors
/// As [`closed_loop`].
pub fn paced(
    fleet: &mut Fleet,
    per_second: u32,
    time: Duration,
    mut load: impl Load,
    mut record: impl FnMut(Instant, Duration),
) -> Result<()> {
    // The kernel wakes a sleeper up to 50 us late unless told otherwise.
    drop(std::fs::write("/proc/self/timerslack_ns", "1"));
    let mut count = |_, came| {
        if let Came::Reply { since } = came {
            record(since, since.elapsed());
        }
        Ok(())
    };
    let gap = Duration::from_secs(1) / per_second;
    let begin = Instant::now();
    let end = begin + time;
    let mut due = begin;
    let mut link = 0;
    while due < end {
        let now = Instant::now();
        while due <= now && due < end {
            fleet.push(link, due, |xid, out| load(link, xid, out));
            fleet.flush(link)?;
            link = (link + 1) % fleet.sessions();
            due += gap;
        }
        fleet.turn(Some(due), &mut count)?;
    }
    while fleet.in_flight() > 0 {
        fleet.turn(None, &mut count)?;
    }
    Ok(())
}

/// Sends one request per path of `paths`, spread over the sessions, `depth` in flight each.
///
/// # Errors
/// As [`closed_loop`].
pub fn fill(
    fleet: &mut Fleet,
    depth: usize,
    mut paths: impl ExactSizeIterator<Item = String>,
    encode: fn(&mut Vec<u8>, i32, &str),
) -> Result<()> {
    let count = paths.len();
    send_all(fleet, depth, count, None, |_, xid, out| {
        if let Some(path) = paths.next() {
            encode(out, xid, &path);
        }
    })
}

/// Sends `count` requests, spread over the sessions, `depth` in flight each, and waits for all
/// replies. `encode` is told the number of the request, which grow by one.
///
/// # Errors
/// As [`closed_loop`]; also when `deadline` has passed.
pub fn send_all(
    fleet: &mut Fleet,
    depth: usize,
    count: usize,
    deadline: Option<Instant>,
    mut encode: impl FnMut(usize, i32, &mut Vec<u8>),
) -> Result<()> {
    let mut sent = 0;
    let mut send = |fleet: &mut Fleet, link: usize, most: usize| {
        for _ in 0..most.min(count - sent) {
            fleet.push(link, Instant::now(), |xid, out| encode(sent, xid, out));
            sent += 1;
        }
        sent
    };
    let mut done = 0;
    for link in 0..fleet.sessions() {
        done = send(fleet, link, depth);
        fleet.flush(link)?;
    }
    while done < count {
        ensure!(
            deadline.is_none_or(|deadline| Instant::now() < deadline),
            "not done in time: {done} of {count} requests"
        );
        let mut answered = 0;
        fleet.turn_by_link(None, |fleet, link, came| {
            if came.is_some() {
                answered += 1;
            } else {
                done = send(fleet, link, answered);
                answered = 0;
            }
            Ok(())
        })?;
    }
    fleet.drain()
}
