//! `bench`: runs scenarios and sweeps on both servers, records and prints what it saw; draws the
//! pictures and prints the table of docs/performance.md from what was recorded. See the library's docs.
#![allow(
    clippy::indexing_slicing,
    clippy::disallowed_types,
    reason = "a measuring tool without a runtime: a broken expectation must stop the run"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use compat_tests::server::Kind;
use compat_tests::suite::say;

use bench::contestant::Contestant;
use bench::measure::Measure;
use bench::scenario::{SCENARIOS, Scale, Scenario};
use bench::sweep::{Kept, Request, SWEEPS};
use bench::table::{self, Pairs};
use bench::{ensemble, floor, plots, readme};

#[derive(Debug, Parser)]
#[command(
    about = "Our server beside the genuine ZooKeeper; OXKEEPER_BIN names our binary",
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only these scenarios and sweeps, or those whose names contain these words; with none, all
    /// scenarios and no sweep ("sweep" for all sweeps).
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
    /// Where all figures go, as JSON; those of a sweep beside it, in a file of its name. With words
    /// the figures of other scenarios stay in the file.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the names and end.
    #[arg(long)]
    list: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the table of docs/performance.md, in Markdown, from recorded figures.
    Table {
        /// The file that --out named.
        #[arg(long)]
        from: PathBuf,
    },
    /// Our server beside one that does nothing but what the promises need, and print the table.
    Floor {
        /// How often they take turns in each case.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Seconds that each run of requests lasts.
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
    },
    /// Three of our servers beside three genuine ones: gaps when one is lost, costs, memory.
    Ensemble(ensemble::Request),
    /// The other one of `floor`; its file goes into the directory.
    #[command(hide = true)]
    FloorServer {
        /// The directory.
        dir: PathBuf,
    },
    /// Draw the recorded sweeps, as SVG.
    Plots {
        /// The directory of the file that --out named.
        #[arg(long)]
        from: PathBuf,
        /// The directory for the pictures.
        #[arg(long)]
        to: PathBuf,
    },
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
    match &arguments.command {
        Some(Command::Table { from }) => {
            say(readme::print(&read(from)?));
            Ok(())
        }
        Some(Command::Floor { rounds, seconds }) => {
            let time = Duration::from_secs_f64(seconds.max(0.1));
            say(floor::compare((*rounds).max(1), time)?);
            Ok(())
        }
        Some(Command::Ensemble(request)) => ensemble::compare(request),
        Some(Command::FloorServer { dir }) => floor::serve(dir),
        Some(Command::Plots { from, to }) => plots::draw(from, to),
        None => measure(arguments),
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let (scenarios, sweeps) = chosen(&arguments.only);
    if arguments.list {
        scenarios.iter().for_each(|scenario| say(scenario.name));
        let all = arguments.only.is_empty().then_some(SWEEPS);
        let sweeps = all.map_or(sweeps, |all| all.to_vec());
        sweeps.iter().for_each(|sweep| say(sweep.name));
        return Ok(());
    }
    ensure!(
        !scenarios.is_empty() || !sweeps.is_empty(),
        "nothing has such a name: --list"
    );
    let kinds = match arguments.server {
        Some(kind) => vec![kind],
        None => vec![Kind::Oxkeeper, Kind::ZooKeeper],
    };
    let begin = Instant::now();
    if !scenarios.is_empty() {
        let results = run_scenarios(scenarios, arguments, &kinds)?;
        let table = table::print(&results);
        if let Some(path) = &arguments.out {
            record(path, results, !arguments.only.is_empty())?;
            say(format_args!("all figures are in {}", path.display()));
        }
        say(format_args!("\n{table}"));
    }
    let request = Request {
        quick: arguments.quick,
        rounds: arguments.rounds.max(1),
        kinds,
        seconds: arguments.seconds,
        znodes: arguments.znodes,
    };
    for sweep in sweeps {
        let swept = sweep.run(&request)?;
        if let Some(path) = &arguments.out {
            let dir = path.parent().unwrap_or(Path::new("."));
            let path = swept.save(dir)?;
            say(format_args!("{} is in {}", sweep.name, path.display()));
        }
    }
    say(format_args!("{:.0} s", begin.elapsed().as_secs_f64()));
    Ok(())
}

fn run_scenarios(
    scenarios: Vec<Scenario>,
    arguments: &Arguments,
    kinds: &[Kind],
) -> Result<Vec<Pairs>> {
    let scale = scale(arguments);
    let (own, shared): (Vec<_>, Vec<_>) = scenarios
        .into_iter()
        .partition(|scenario| scenario.own_server);
    let mut results = Vec::new();
    if !shared.is_empty() {
        let mut contestants = Vec::new();
        for &kind in kinds {
            let mut contestant = Contestant::start(kind)?;
            say(format_args!(
                "{kind}: process {}, warming up",
                contestant.pid()?
            ));
            contestant.warm_up(scale.time.mul_f64(4.0).max(WARM_UP_MIN))?;
            contestants.push(contestant);
        }
        for scenario in shared {
            results.push(alternate(scenario, arguments, kinds, |turn, _| {
                (scenario.run)(&mut contestants[turn], &scale)
            })?);
        }
    }
    for scenario in own {
        results.push(alternate(scenario, arguments, kinds, |_, kind| {
            (scenario.run)(&mut Contestant::start(kind)?, &scale)
        })?);
    }
    Ok(results)
}

fn read(path: &Path) -> Result<Vec<Pairs>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("read {} as results", path.display()))
}

/// Writes the results; those of other scenarios that the file holds stay if `keep`.
fn record(path: &Path, mut results: Vec<Pairs>, keep: bool) -> Result<()> {
    if keep && path.exists() {
        let mut old = read(path)?;
        old.retain(|old| results.iter().all(|new| new.scenario != old.scenario));
        results.append(&mut old);
    }
    let text = serde_json::to_string_pretty(&results).context("write JSON")?;
    fs::write(path, text + "\n").with_context(|| format!("write {}", path.display()))
}

/// The scenarios and sweeps that a word names, or, where it names none, those whose names contain
/// it. Without words: all scenarios.
fn chosen(words: &[String]) -> (Vec<Scenario>, Vec<Kept>) {
    let names = || {
        let scenarios = SCENARIOS.iter().map(|scenario| scenario.name);
        scenarios.chain(SWEEPS.iter().map(|sweep| sweep.name))
    };
    let wanted = |name: &str| {
        words.iter().any(|word| {
            let exact = names().any(|name| name == word);
            name == word || (!exact && name.contains(word))
        })
    };
    let scenarios = SCENARIOS
        .into_iter()
        .filter(|scenario| words.is_empty() || wanted(scenario.name))
        .collect();
    let sweeps = SWEEPS
        .into_iter()
        .filter(|sweep| wanted(sweep.name))
        .collect();
    (scenarios, sweeps)
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
    arguments: &Arguments,
    kinds: &[Kind],
    mut run: impl FnMut(usize, Kind) -> Result<Measure>,
) -> Result<Pairs> {
    let mut pairs = Pairs {
        scenario: scenario.name.to_owned(),
        quick: arguments.quick,
        ..Pairs::default()
    };
    for round in 0..arguments.rounds {
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
