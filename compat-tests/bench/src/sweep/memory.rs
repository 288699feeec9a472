//! Resident memory over znodes of 100 bytes, sampled at each doubling, in use: some of them are read
//! before each sample. Ours holds its tree in 256 MB (`oxkeeper.memory`), the genuine one in its heap
//! of at most 4 GB. Where one can no more (it is silent for a minute, or was not done in time), its
//! curve ends, and says so.

use std::time::{Duration, Instant};

use anyhow::Result;
use compat_tests::server::Kind;
use compat_tests::suite::say;

use super::{Point, Request, Series, tree};
use crate::contestant::Contestant;
use crate::drive;
use crate::measure::{MEMORY, Measure, RATE};
use crate::scenario::choice;
use crate::wire;

/// The sweep's name.
pub const NAME: &str = "sweep-memory";
/// The memory setting of our server, in bytes.
pub const SETTING: f64 = 256.0 * 1024.0 * 1024.0;

const ZNODES: usize = 10_000_000;
const ZNODES_QUICK: usize = 100_000;
const DOUBLINGS: u32 = 10;
/// One server may take so long for all.
const TIME_MAX: Duration = Duration::from_secs(25 * 60);
const USE: Duration = Duration::from_secs(2);

/// Runs it: one server after the other, each once.
///
/// # Errors
/// One does not start.
pub fn run(request: &Request) -> Result<Vec<Series>> {
    let most = if request.quick { ZNODES_QUICK } else { ZNODES };
    let steps = steps(request.znodes.unwrap_or(most));
    let mut all = Vec::new();
    for &kind in &request.kinds {
        let at = Contestant::start_with(kind, |options| match kind {
            Kind::Oxkeeper => options.config("oxkeeper.memory", "256M"),
            Kind::ZooKeeper | Kind::External(_) => options,
        })?;
        let mut series = Series::new(kind, "resident");
        if let Err(error) = fill(&at, &steps, &mut series) {
            say(format_args!("{NAME}: {kind} ends here: {error:#}"));
            series.ended = Some(format!("{error:#}"));
        }
        all.push(series);
    }
    Ok(all)
}

/// The numbers of znodes at which memory is read: the last is about `most`.
fn steps(most: usize) -> Vec<usize> {
    let whole = |count: usize| (count / tree::PER_DIRECTORY).max(1) * tree::PER_DIRECTORY;
    let mut steps: Vec<usize> = (0..=DOUBLINGS)
        .rev()
        .map(|doubling| whole(most >> doubling))
        .collect();
    steps.dedup();
    steps
}

fn fill(at: &Contestant, steps: &[usize], series: &mut Series) -> Result<()> {
    let deadline = Instant::now() + TIME_MAX;
    let mut fleet = tree::gardeners(at.address())?;
    tree::plant(&mut fleet)?;
    let mut choice = choice();
    let mut have = 0;
    for &count in steps {
        let begin = Instant::now();
        tree::grow(&mut fleet, have, count, deadline)?;
        let took = begin.elapsed();
        drive::closed_loop(&mut fleet, 4, USE, u64::MAX, |_, xid, out| {
            wire::get(out, xid, &tree::path(choice.below(count)), false);
        })?;
        let mut measure = Measure::default();
        measure.set(MEMORY, at.resident()?);
        measure.set(RATE, (count - have) as f64 / took.as_secs_f64());
        say(format_args!(
            "{NAME}: {:<9} {count:>8} znodes: {:>5.0} MB",
            at.kind(),
            at.resident()? / 1e6
        ));
        series.points.push(Point::once(count as f64, measure));
        have = count;
    }
    fleet.close()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_double_up_to_the_whole_and_are_whole_directories() {
        let steps = steps(10_000_000);
        assert_eq!(steps.len(), 11);
        assert_eq!((steps[0], steps[10]), (9000, 10_000_000));
        assert!(steps.iter().all(|count| count % tree::PER_DIRECTORY == 0));
        assert_eq!(super::steps(1), [1000]);
    }
}
