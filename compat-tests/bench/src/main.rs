//! `bench`: runs the scenarios on both servers and prints the table. See the library's docs.
#![allow(
    clippy::indexing_slicing,
    clippy::disallowed_types,
    reason = "a measuring tool without a runtime: a broken expectation must stop the run"
)]

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use compat_tests::server::Kind;
use compat_tests::suite::say;

use bench::contestant::Contestant;
use bench::measure::Measure;
use bench::scenario::{SCENARIOS, Scale, Scenario};
use bench::table::{self, Pairs};

#[derive(Debug, Parser)]
#[command(about = "Our server beside the genuine ZooKeeper; OXKEEPER_BIN names our binary")]
struct Arguments {
    /// Only these scenarios, or those whose names contain these words.
    only: Vec<String>,
    /// Everything shorter and smaller: about two minutes.
    #[arg(long)]
    quick: bool,
    /// How often the servers take turns in each scenario.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds that each run of requests lasts.
    #[arg(long)]
    seconds: Option<f64>,
    /// Znodes in the big tree.
    #[arg(long)]
    znodes: Option<usize>,
    /// Only this server: oxkeeper or zookeeper (for a profile; no ratios then).
    #[arg(long, value_parser = compat_tests::settings::parse_kind)]
    server: Option<Kind>,
    /// Where all figures go, as JSON.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the scenarios' names and end.
    #[arg(long)]
    list: bool,
}

/// A JVM needs some seconds until it has compiled what runs often.
const WARM_UP_MIN: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("bench: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let chosen = chosen(&arguments.only);
    if arguments.list {
        chosen.iter().for_each(|scenario| say(scenario.name));
        return Ok(());
    }
    ensure!(!chosen.is_empty(), "no scenario has such a name: --list");
    let scale = scale(arguments);
    let kinds = match arguments.server {
        Some(kind) => vec![kind],
        None => vec![Kind::Oxkeeper, Kind::ZooKeeper],
    };
    let begin = Instant::now();
    let (own, shared): (Vec<_>, Vec<_>) =
        chosen.into_iter().partition(|scenario| scenario.own_server);
    let mut results = Vec::new();
    if !shared.is_empty() {
        let mut contestants = Vec::new();
        for &kind in &kinds {
            let mut contestant = Contestant::start(kind)?;
            say(format_args!(
                "{kind}: process {}, warming up",
                contestant.pid()?
            ));
            contestant.warm_up(scale.time.mul_f64(4.0).max(WARM_UP_MIN))?;
            contestants.push(contestant);
        }
        for scenario in shared {
            results.push(alternate(scenario, arguments.rounds, &kinds, |turn, _| {
                (scenario.run)(&mut contestants[turn], &scale)
            })?);
        }
    }
    for scenario in own {
        results.push(alternate(scenario, arguments.rounds, &kinds, |_, kind| {
            (scenario.run)(&mut Contestant::start(kind)?, &scale)
        })?);
    }
    if let Some(path) = &arguments.out {
        let text = serde_json::to_string_pretty(&results).context("write JSON")?;
        fs::write(path, text + "\n").with_context(|| format!("write {}", path.display()))?;
        say(format_args!("all figures are in {}", path.display()));
    }
    say(format_args!(
        "\n{}{:.0} s",
        table::print(&results),
        begin.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// The scenarios that a word names, or, where it names none, those whose names contain it.
fn chosen(words: &[String]) -> Vec<Scenario> {
    let wanted = |name: &str| {
        words.iter().any(|word| {
            let exact = SCENARIOS.iter().any(|scenario| scenario.name == word);
            name == word || (!exact && name.contains(word))
        })
    };
    SCENARIOS
        .into_iter()
        .filter(|scenario| words.is_empty() || wanted(scenario.name))
        .collect()
}

fn scale(arguments: &Arguments) -> Scale {
    let (time, znodes, changes, sessions) = if arguments.quick {
        (0.6, 100_000, 50, 3000)
    } else {
        (4.0, 1_000_000, 200, 9000)
    };
    Scale {
        time: Duration::from_secs_f64(arguments.seconds.unwrap_or(time).max(0.1)),
        znodes: arguments.znodes.unwrap_or(znodes).max(1),
        changes,
        sessions,
    }
}

/// Runs a scenario on the servers in turn, each round beginning with another one.
fn alternate(
    scenario: Scenario,
    rounds: usize,
    kinds: &[Kind],
    mut run: impl FnMut(usize, Kind) -> Result<Measure>,
) -> Result<Pairs> {
    let mut pairs = Pairs {
        scenario: scenario.name.to_owned(),
        ..Pairs::default()
    };
    for round in 0..rounds {
        for turn in 0..kinds.len() {
            let turn = (turn + round) % kinds.len();
            let kind = kinds[turn];
            let measure =
                run(turn, kind).with_context(|| format!("{} on {kind}", scenario.name))?;
            let figures: Vec<String> = measure
                .figures()
                .map(|(name, value)| match value {
                    small if small < 1.0 => format!("{name}={value:.4}"),
                    _ => format!("{name}={value:.1}"),
                })
                .collect();
            say(format_args!(
                "{:<16} {kind:<9} {}",
                scenario.name,
                figures.join(" ")
            ));
            match kind {
                Kind::ZooKeeper => pairs.zookeeper.push(measure),
                Kind::Oxkeeper | Kind::External(_) => pairs.oxkeeper.push(measure),
            }
        }
    }
    Ok(pairs)
}
