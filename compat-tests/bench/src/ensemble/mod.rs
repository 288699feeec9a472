//! Three of our servers beside three genuine ones, in one run.
//!
//! Both ensembles run side by side on this machine, with the sample zoo.cfg's times and with fsync, one
//! idle while the other works, and take turns. `gaps`: how long nobody's write is acknowledged when a
//! server is lost; `costs`: CPU, throughput, latency, memory.

mod costs;
mod gaps;

use anyhow::{Context, Result};
use clap::Args;
use compat_tests::ensemble::net::Wiring;
use compat_tests::ensemble::{Ensemble, Setup};
use compat_tests::server::{Kind, Options};
use compat_tests::suite::say;

use crate::table::spread;

/// What is asked for.
#[derive(Clone, Debug, Args)]
pub struct Request {
    /// Only figures whose names contain one of these words.
    only: Vec<String>,
    /// How often a server is lost in each way.
    #[arg(long, default_value_t = 20)]
    losses: usize,
    /// How often the ensembles take turns in everything else.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds that each run of requests lasts.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Znodes whose memory is measured.
    #[arg(long, default_value_t = 1_000_000)]
    znodes: usize,
    /// Everything shorter and smaller.
    #[arg(long)]
    quick: bool,
    /// Only these servers: oxkeeper or zookeeper (no ratios then).
    #[arg(long, value_parser = compat_tests::settings::parse_kind)]
    server: Option<Kind>,
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    losses: usize,
    rounds: usize,
    seconds: f64,
    znodes: usize,
}

/// What is printed of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Time; less is better, and the reach is one of ours alone.
    Milliseconds,
    /// Less is better.
    Microseconds,
    /// More is better.
    PerSecond,
    /// Less is better.
    Bytes,
    /// A count; less is better, and the reach is one of ours alone.
    Count,
}

/// One figure, as it was taken in each round, and what is wanted of it: of a time or a count ours, of
/// all others how many times better ours is.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    what: &'static str,
    unit: Unit,
    reach: f64,
    aim: f64,
    values: Vec<f64>,
}

/// A part of the comparison: its name, and how it takes its figures on one ensemble.
struct Part {
    name: &'static str,
    /// Whether it is one round, however many are asked for.
    once: bool,
    run: fn(&mut Ensemble, &Scale) -> Result<Vec<Figure>>,
}

const PARTS: [Part; 10] = [
    part("gap-kill", true, gaps::killed),
    part("gap-freeze", true, gaps::frozen),
    part("gap-stop", true, gaps::stopped),
    part("gap-rolling", true, gaps::rolling),
    part("create-64x16", false, |at, scale| {
        costs::create(at, scale, 64, 16)
    }),
    part("create-64x1", false, |at, scale| {
        costs::create(at, scale, 64, 1)
    }),
    part("create-1x1", false, |at, scale| {
        costs::create(at, scale, 1, 1)
    }),
    part("get-64x16", false, costs::get),
    part("lone-write", false, costs::lone_write),
    part("memory", true, costs::memory),
];

const fn part(
    name: &'static str,
    once: bool,
    run: fn(&mut Ensemble, &Scale) -> Result<Vec<Figure>>,
) -> Part {
    Part { name, once, run }
}

/// Runs what is asked for and prints the table.
///
/// # Errors
/// An ensemble does not start, or a run fails.
pub fn compare(request: &Request) -> Result<()> {
    let scale = request.scale();
    let wanted = |part: &&Part| {
        let named = |word: &String| part.name.contains(word.as_str());
        request.only.is_empty() || request.only.iter().any(named)
    };
    let kinds = match request.server {
        Some(kind) => vec![kind],
        None => vec![Kind::Oxkeeper, Kind::ZooKeeper],
    };
    let mut ensembles = Vec::new();
    for kind in &kinds {
        let mut ensemble = Ensemble::start(&setup(*kind))?;
        say(format_args!("{kind}: three servers, warming up"));
        costs::warm_up(&mut ensemble, &scale)?;
        ensembles.push(ensemble);
    }
    // By kind, then in the order in which they were taken.
    let mut figures: Vec<Vec<Figure>> = vec![Vec::new(); kinds.len()];
    for part in PARTS.iter().filter(wanted) {
        let rounds = if part.once { 1 } else { scale.rounds };
        let mut taken: Vec<Vec<Figure>> = vec![Vec::new(); kinds.len()];
        for round in 0..rounds {
            for turn in 0..kinds.len() {
                let turn = (turn + round) % kinds.len();
                let new = (part.run)(&mut ensembles[turn], &scale)
                    .with_context(|| format!("{} on {}", part.name, kinds[turn]))?;
                for figure in &new {
                    let middle = spread(figure.values.clone()).map_or(0.0, |it| it.0);
                    let shown = figure.unit.print(middle);
                    say(format_args!(
                        "{:<40} {:<9} {shown}",
                        figure.what, kinds[turn]
                    ));
                }
                merge(&mut taken[turn], new);
            }
        }
        for (all, new) in figures.iter_mut().zip(taken) {
            all.extend(new);
        }
    }
    say(table(&kinds, &figures));
    Ok(())
}

impl Request {
    fn scale(&self) -> Scale {
        if self.quick {
            Scale {
                losses: 3,
                rounds: 1,
                seconds: 1.0,
                znodes: 100_000,
            }
        } else {
            Scale {
                losses: self.losses.max(1),
                rounds: self.rounds.max(1),
                seconds: self.seconds.max(0.1),
                znodes: self.znodes.max(1),
            }
        }
    }
}

/// The times of ZooKeeper's sample zoo.cfg.
fn setup(kind: Kind) -> Setup {
    let options = Options::default()
        .config("tickTime", "2000")
        .config("initLimit", "10")
        .config("syncLimit", "5")
        .config("forceSync", "yes")
        .config("preAllocSize", "65536")
        .java(["-Xmx3g"]);
    Setup {
        options,
        ..Setup::new(kind, Wiring::Loopback)
    }
}

/// The values of another round go to those of the same figure.
fn merge(taken: &mut Vec<Figure>, new: Vec<Figure>) {
    for figure in new {
        match taken.iter_mut().find(|it| it.what == figure.what) {
            Some(known) => known.values.extend(figure.values),
            None => taken.push(figure),
        }
    }
}

impl Unit {
    fn print(self, value: f64) -> String {
        match self {
            Self::Milliseconds => format!("{value:.1} ms"),
            Self::Microseconds => format!("{value:.1} us"),
            Self::PerSecond => format!("{value:.0}/s"),
            Self::Bytes => format!("{:.0} MB", value / 1e6),
            Self::Count => format!("{value:.0}"),
        }
    }

    /// Whether what is wanted is a figure of ours, not a ratio.
    fn is_absolute(self) -> bool {
        matches!(self, Self::Milliseconds | Self::Count)
    }
}

impl Figure {
    pub(crate) fn new(what: &'static str, unit: Unit, reach: f64, aim: f64) -> Self {
        Self {
            what,
            unit,
            reach,
            aim,
            values: Vec::new(),
        }
    }

    pub(crate) fn with(mut self, values: impl IntoIterator<Item = f64>) -> Self {
        self.values.extend(values);
        self
    }

    /// How many times better than `other`, round by round.
    fn ratios(&self, other: &Self) -> Vec<f64> {
        let pairs = self.values.iter().zip(&other.values);
        pairs
            .filter(|(ours, theirs)| **ours > 0.0 && **theirs > 0.0)
            .map(|(ours, theirs)| match self.unit {
                Unit::PerSecond => ours / theirs,
                Unit::Milliseconds | Unit::Microseconds | Unit::Bytes | Unit::Count => {
                    theirs / ours
                }
            })
            .collect()
    }

    fn verdict(&self, ratio: Option<f64>) -> &'static str {
        let ours = spread(self.values.clone()).map(|it| it.0);
        let judged = if self.unit.is_absolute() {
            ours.map(|ours| (ours <= self.aim, ours <= self.reach))
        } else {
            ratio.map(|ratio| (ratio >= self.aim, ratio >= self.reach))
        };
        match judged {
            Some((true, _)) => "+",
            Some((false, true)) => "=",
            Some((false, false)) => "-",
            None => " ",
        }
    }
}

fn table(kinds: &[Kind], figures: &[Vec<Figure>]) -> String {
    let of = |kind| {
        kinds
            .iter()
            .position(|it| *it == kind)
            .map(|at| &figures[at])
    };
    let (ours, theirs) = (of(Kind::Oxkeeper), of(Kind::ZooKeeper));
    let mut lines = vec![
        "| what | oxkeeper | zookeeper | times better (min to max) | reach | aim | |".to_owned(),
        "|---|---:|---:|---:|---:|---:|---|".to_owned(),
    ];
    for figure in figures.first().map_or(&[][..], Vec::as_slice) {
        let find = |of: Option<&Vec<Figure>>| {
            of.and_then(|it| it.iter().find(|it| it.what == figure.what))
                .cloned()
        };
        let shown = |of: &Option<Figure>| {
            let all = of.as_ref().and_then(|it| spread(it.values.clone()));
            all.map_or("-".to_owned(), |(middle, least, most)| {
                let middle = figure.unit.print(middle);
                if figure.unit.is_absolute() && least < most {
                    format!("{middle} (to {})", figure.unit.print(most))
                } else {
                    middle
                }
            })
        };
        let (own, other) = (find(ours), find(theirs));
        let ratios = match (&own, &other) {
            (Some(own), Some(other)) => spread(own.ratios(other)),
            _ => None,
        };
        let ratio = ratios.map_or("-".to_owned(), |(middle, least, most)| {
            format!("{middle:.2} ({least:.2} to {most:.2})")
        });
        let wanted = |value: f64| {
            if figure.unit.is_absolute() {
                figure.unit.print(value)
            } else {
                value.to_string()
            }
        };
        let verdict = own
            .as_ref()
            .map_or(" ", |own| own.verdict(ratios.map(|it| it.0)));
        lines.push(format!(
            "| {} | {} | {} | {ratio} | {} | {} | {verdict} |",
            figure.what,
            shown(&own),
            shown(&other),
            wanted(figure.reach),
            wanted(figure.aim),
        ));
    }
    lines
        .push("\n+ aim met, = target reached, - missed. Median, of times also the longest.".into());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_times_ours_counts_and_of_costs_the_ratio() {
        let gap = Figure::new("gap", Unit::Milliseconds, 100.0, 30.0);
        assert_eq!(gap.clone().with([50.0, 20.0, 40.0]).verdict(None), "=");
        assert_eq!(gap.clone().with([20.0]).verdict(None), "+");
        assert_eq!(gap.with([200.0]).verdict(Some(100.0)), "-");
        let (ours, theirs) = (
            Figure::new("cpu", Unit::Microseconds, 2.0, 4.0).with([10.0]),
            Figure::new("cpu", Unit::Microseconds, 2.0, 4.0).with([30.0]),
        );
        assert_eq!(ours.ratios(&theirs), [3.0]);
        assert_eq!(ours.verdict(Some(3.0)), "=");
        let table = table(
            &[Kind::Oxkeeper, Kind::ZooKeeper],
            &[vec![ours], vec![theirs]],
        );
        assert!(table.contains("| cpu | 10.0 us | 30.0 us | 3.00 (3.00 to 3.00) | 2 | 4 | = |"));
    }
}
