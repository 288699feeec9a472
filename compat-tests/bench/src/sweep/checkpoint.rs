//! Latency over time, while checkpoints are taken: 2,000 requests/s by a schedule, 90 % reads, over a
//! tree of half a million znodes.
//!
//! The question is what a client notices of a checkpoint. What counts as during one: from 100 ms
//! before its begin to 1 s after its end, since its writes to disk may linger. All the rest is steady.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use compat_tests::server::Kind;
use compat_tests::suite::say;

use super::watcher::{Span, Watcher};
use super::{Point, Request, Series, tree};
use crate::contestant::Contestant;
use crate::drive;
use crate::fleet::Fleet;
use crate::histogram::Histogram;
use crate::measure::{Measure, P50, P99, P999};
use crate::scenario::choice;
use crate::wire;

/// The sweep's name.
pub const NAME: &str = "sweep-checkpoint";
/// p99.9 outside of checkpoints, in microseconds.
pub const STEADY: &str = "steady_p999_us";
/// p99.9 during checkpoints, in microseconds.
pub const DURING: &str = "during_p999_us";
/// [`DURING`] over [`STEADY`].
pub const RATIO: &str = "during_over_steady";
/// How many checkpoints were seen.
pub const CHECKPOINTS: &str = "checkpoints";
/// [`RATIO`] is to be at most this.
pub const RATIO_MAX: f64 = 2.0;

const BEFORE: Duration = Duration::from_millis(100);
const AFTER: Duration = Duration::from_secs(1);
const BUCKET: Duration = Duration::from_millis(100);
const PER_SECOND: u32 = 2000;
const WRITES_PER_SECOND: u32 = PER_SECOND / 10;
const SESSIONS: usize = 64;
const FILL_TIME_MAX: Duration = Duration::from_secs(10 * 60);

#[derive(Clone, Copy, Debug)]
struct Size {
    znodes: usize,
    time: Duration,
    /// A JVM compiles what runs often: so long it runs before.
    before: Duration,
    /// About so long from one checkpoint to the next.
    period: Duration,
}

/// What a request took, and when it was due.
type Sample = (Instant, Duration);

/// Runs it: one server after the other, in turn.
///
/// # Errors
/// A server fails.
pub fn run(request: &Request) -> Result<Vec<Series>> {
    let seconds =
        |full: f64, quick: f64| Duration::from_secs_f64(if request.quick { quick } else { full });
    let time = seconds(40.0, 6.0);
    let size = Size {
        znodes: request
            .znodes
            .unwrap_or(if request.quick { 20_000 } else { 500_000 }),
        time: request.seconds.map_or(time, Duration::from_secs_f64),
        before: seconds(10.0, 1.0),
        period: seconds(8.0, 2.0),
    };
    let mut all = Vec::new();
    for round in 0..request.rounds {
        for turn in 0..request.kinds.len() {
            let kind = request.kinds[(turn + round) % request.kinds.len()];
            let series = one(kind, size, round).with_context(|| format!("{NAME} on {kind}"))?;
            say(format_args!("{NAME}: {kind:<9} {}", verdict(&series)));
            all.push(series);
        }
    }
    Ok(all)
}

/// What the figures of a series say about the target.
pub fn verdict(series: &Series) -> String {
    let figure = |name| series.summary.figure(name).unwrap_or(0.0);
    if figure(RATIO) == 0.0 {
        return format!(
            "{} checkpoints: too few to tell them from the rest",
            figure(CHECKPOINTS)
        );
    }
    format!(
        "p99.9 during {} checkpoints {:.2} ms, steady {:.2} ms: {:.2} times (target: at most {RATIO_MAX})",
        figure(CHECKPOINTS),
        figure(DURING) / 1000.0,
        figure(STEADY) / 1000.0,
        figure(RATIO)
    )
}

fn start(kind: Kind, size: Size) -> Result<Contestant> {
    let writes = (f64::from(WRITES_PER_SECOND) * size.period.as_secs_f64()) as u64;
    Contestant::start_with(kind, |options| match kind {
        Kind::Oxkeeper => options.config("snapCount", &writes.to_string()),
        // Taken after half to all of so many, by chance.
        Kind::ZooKeeper | Kind::External(_) => options
            .config("snapCount", &(writes * 4 / 3).to_string())
            .property("compat.level", "INFO"),
    })
}

fn one(kind: Kind, size: Size, round: usize) -> Result<Series> {
    let mut at = start(kind, size)?;
    at.warm_up(size.before)?;
    let mut fleet = tree::gardeners(at.address())?;
    tree::plant(&mut fleet)?;
    let deadline = Instant::now() + FILL_TIME_MAX;
    let znodes = size.znodes.next_multiple_of(tree::PER_DIRECTORY);
    tree::grow(&mut fleet, 0, znodes, deadline)?;
    fleet.close()?;

    let mut choice = choice();
    let mut load = |_: usize, xid: i32, out: &mut Vec<u8>| {
        let path = tree::path(choice.below(znodes));
        if choice.below(10) == 0 {
            wire::set(out, xid, &path);
        } else {
            wire::get(out, xid, &path, false);
        }
    };
    let mut fleet = Fleet::open(at.address(), SESSIONS)?;
    drive::open_loop(&mut fleet, PER_SECOND, size.before, &mut load)?;
    let (log, data) = at.files()?;
    let watcher = Watcher::start(kind, &log, &data)?;
    let mut samples: Vec<Sample> = Vec::new();
    let begin = Instant::now();
    drive::paced(&mut fleet, PER_SECOND, size.time, &mut load, |due, took| {
        samples.push((due, took));
    })?;
    let checkpoints = watcher.finish();
    fleet.close()?;

    let mut series = Series::new(kind, &format!("round {}", round + 1));
    let ms = |at: Instant| at.saturating_duration_since(begin).as_secs_f64() * 1000.0;
    series.points = buckets(&samples, begin);
    series.checkpoints = checkpoints.iter().map(|&(a, b)| (ms(a), ms(b))).collect();
    series.summary = summary(&samples, &checkpoints);
    Ok(series)
}

fn histogram<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Histogram {
    let mut histogram = Histogram::default();
    for (_, took) in samples {
        histogram.record(took.as_nanos() as u64);
    }
    histogram
}

/// The samples by when they were due; a bucket's place is its begin, in milliseconds.
fn buckets(samples: &[Sample], begin: Instant) -> Vec<Point> {
    let mut samples = samples.to_vec();
    samples.sort_unstable();
    let bucket =
        |sample: &Sample| sample.0.saturating_duration_since(begin).as_nanos() / BUCKET.as_nanos();
    samples
        .chunk_by(|a, b| bucket(a) == bucket(b))
        .map(|chunk| {
            let latency = histogram(chunk);
            let mut measure = Measure::default();
            measure.set(P50, latency.quantile_us(0.5));
            measure.set(P99, latency.quantile_us(0.99));
            measure.set(P999, latency.quantile_us(0.999));
            let at = bucket(&chunk[0]) as f64 * BUCKET.as_secs_f64() * 1000.0;
            Point::once(at, measure)
        })
        .collect()
}

fn summary(samples: &[Sample], checkpoints: &[Span]) -> Measure {
    let (during, steady): (Vec<Sample>, Vec<Sample>) = samples.iter().partition(|(due, _)| {
        checkpoints
            .iter()
            .any(|&(begin, end)| *due + BEFORE >= begin && *due <= end + AFTER)
    });
    let mut measure = Measure::default();
    measure.set(CHECKPOINTS, checkpoints.len() as f64);
    if during.is_empty() || steady.is_empty() {
        return measure;
    }
    let (during, steady) = (histogram(&during), histogram(&steady));
    measure.set(DURING, during.quantile_us(0.999));
    measure.set(STEADY, steady.quantile_us(0.999));
    measure.set(RATIO, during.quantile_us(0.999) / steady.quantile_us(0.999));
    measure
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(begin: Instant) -> Vec<Sample> {
        // A request each millisecond for 4 s, slow from 2,000 ms to 2,099 ms.
        (0..4000)
            .map(|ms| {
                let slow = (2000..2100).contains(&ms);
                let took = Duration::from_micros(if slow { 800 } else { 100 });
                (begin + Duration::from_millis(ms), took)
            })
            .collect()
    }

    #[test]
    fn slow_requests_near_a_checkpoint_count_as_during_it() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let measure = summary(&samples(begin), &[(at(1950), at(1960))]);
        let ratio = measure.figure(RATIO).unwrap();
        assert!((7.5..8.5).contains(&ratio), "{ratio}");
        let none = summary(&samples(begin), &[]);
        assert_eq!(none.figure(RATIO), None);
        assert_eq!(none.figure(CHECKPOINTS), Some(0.0));
    }

    #[test]
    fn buckets_are_of_equal_width_and_in_order() {
        let begin = Instant::now();
        let mut samples = samples(begin);
        samples.reverse();
        let points = buckets(&samples, begin);
        assert_eq!(points.len(), 40);
        assert_eq!((points[0].at, points[20].at), (0.0, 2000.0));
        assert!(points[20].measures[0].figure(P50).unwrap() > 700.0);
        assert!(points[21].measures[0].figure(P999).unwrap() < 110.0);
    }
}
