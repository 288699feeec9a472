//! `compat SUITE`: runs a suite against the server that `SERVER` names and says what passed.
//!
//! Exit code 0: all passed; 1: something failed; 2: the suite could not run.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};
use compat_tests::differential::differences::DIFFERENCES;
use compat_tests::differential::{self, Plan};
use compat_tests::ensemble::net::Wiring;
use compat_tests::ensemble::on::{self, Whom};
use compat_tests::server::{Kind, Options};
use compat_tests::suite::say;
use compat_tests::{
    chaos, damage, disk, ensemble, golden, hostile, lend, limits, memory, settings, soak, stalls,
    words, zkcli, zoocfg,
};

#[derive(Debug, Parser)]
#[command(about = "Compatibility suites; SERVER=oxkeeper|zookeeper|HOST:PORT")]
struct Arguments {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Debug, Subcommand)]
enum Suite {
    /// Scripts for the official command line client, compared with goldens (UPDATE=1 records them).
    Zkcli {
        /// Only scripts whose name contains this.
        #[arg(default_value = "")]
        only: String,
    },
    /// Every four-letter word, compared with goldens (UPDATE=1 records them).
    Words,
    /// The same of the members of an ensemble.
    EnsembleWords,
    /// Every key of zoo.cfg with values that are empty, wrong, odd and huge.
    Zoocfg {
        /// Only keys whose name contains this.
        #[arg(default_value = "")]
        only: String,
    },
    /// Golden scripts, each on a server of its own (UPDATE=1 SERVER=zookeeper records them).
    Golden {
        /// Only scripts whose name contains this.
        #[arg(default_value = "")]
        only: String,
    },
    /// Random request sequences, in lockstep with the genuine server.
    Differential(Differential),
    /// Crashes under load: kill -9 and SIGTERM at random moments.
    Chaos(Chaos),
    /// Three servers, faults between and in them under load, two judges of all that came of it.
    EnsembleChaos(EnsembleChaos),
    /// Failures of three servers that have a name.
    EnsembleCases {
        /// Only cases whose names contain this.
        #[arg(default_value = "")]
        only: String,
    },
    /// Servers that are broken on purpose are found: OXKEEPER_BIN is built with the feature `planted`.
    EnsemblePlanted {
        /// Only defects whose names contain this.
        #[arg(default_value = "")]
        only: String,
    },
    /// Members that come back late, with less than they had, or anew, while clients work.
    EnsembleMembers {
        /// Only cases whose name contains this.
        #[arg(default_value = "")]
        only: String,
    },
    /// What others reported of ensembles, played again.
    EnsembleReports {
        /// Only reports whose name contains this.
        #[arg(default_value = "")]
        only: String,
    },
    /// `zkServer.sh status` of the distribution at ZOOKEEPER_HOME, of each of three.
    EnsembleScripts,
    /// Judges a history that ensemble-chaos has kept.
    EnsembleJudge {
        /// Its file.
        file: PathBuf,
        /// Damage it in each way so many times, too.
        #[arg(long, default_value_t = 0)]
        damages: u64,
    },
    /// Runs a program on a server of an ensemble, with SERVER=HOST:PORT.
    OnEnsemble(OnEnsemble),
    /// Power loss: the file system under the data is shut down under load.
    Power(Power),
    /// Damaged files, full and failing disks: our server refuses and says where.
    Damage,
    /// One kind of our server's files that hangs or fails: an orderly stop ends, nothing is lost.
    Disk,
    /// Hostile bytes and load, while others are served.
    Hostile(Hostile),
    /// Minutes at the highest rate: no task dies, no session that pings expires, nothing grows.
    Soak(Soak),
    /// Runs a program and lends it servers (see the module `lend`).
    Lend(Lend),
    /// What becomes of clients beyond the limits that an operator sets.
    Limits,
    /// A disk that hangs, and clients that are slow.
    Stalls,
    /// Reads of trees that are larger than memory.
    Memory,
    /// Prints the deliberate differences.
    Differences,
}

#[derive(Debug, Args)]
struct Differential {
    /// How many random sequences.
    #[arg(long, default_value_t = 2000)]
    sequences: u64,
    /// Number of the first.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Restart both servers in the middle of each so-many-th sequence; 0: never.
    #[arg(long, default_value_t = 200)]
    restart_every: u64,
    /// Let sessions expire and nodes be reaped in each so-many-th sequence; 0: never.
    #[arg(long, default_value_t = 100)]
    lapse_every: u64,
    /// End after so many failures.
    #[arg(long, default_value_t = 5)]
    failures: usize,
    /// How many servers make each of the two; with more than one, a follower of each is talked to.
    #[arg(long, default_value_t = 1)]
    members: usize,
    /// A line of zoo.cfg for both servers, key=value.
    #[arg(long = "config")]
    config: Vec<String>,
    /// Run the one sequence of this file instead.
    #[arg(long)]
    replay: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Chaos {
    /// How many crashes at random moments.
    #[arg(long, default_value_t = 30)]
    cycles: u64,
    /// How many more at each step towards the disk.
    #[arg(long, default_value_t = 2)]
    at_each_point: u64,
    /// Number of the first.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// How many clients write.
    #[arg(long, default_value_t = 6)]
    workers: usize,
    /// Each so-many-th crash is a SIGTERM; 0: never.
    #[arg(long, default_value_t = 5)]
    sigterm_every: u64,
    /// Directory for the history of a failed cycle.
    #[arg(long, default_value = "/tmp/chaos")]
    history: PathBuf,
}

#[derive(Debug, Args)]
struct EnsembleChaos {
    /// How often each fault.
    #[arg(long, default_value_t = 2)]
    cycles: u64,
    /// Only faults whose names contain this.
    #[arg(default_value = "")]
    only: String,
    /// How many clients ask for everything.
    #[arg(long, default_value_t = 4)]
    workers: usize,
    /// Writes that must be acknowledged in a cycle.
    #[arg(long, default_value_t = 300)]
    writes_min: usize,
    /// Seconds after which all must serve again once all is healed; else 5 for our servers and 20 for
    /// the genuine ones.
    #[arg(long)]
    back_within: Option<f64>,
    /// Between the servers: namespaces or proxies; else both, where namespaces can be had.
    #[arg(long, value_parser = network)]
    network: Option<Wiring>,
    /// Directory for the history of a failed cycle.
    #[arg(long, default_value = "/tmp/ensemble-chaos")]
    history: PathBuf,
}

impl EnsembleChaos {
    fn plan(&self) -> Result<ensemble::chaos::Plan> {
        let kind = settings::server_kind()?;
        let back_within = self.back_within.unwrap_or(match kind {
            Kind::Oxkeeper => 5.0,
            Kind::ZooKeeper | Kind::External(_) => 20.0,
        });
        Ok(ensemble::chaos::Plan {
            kind,
            cycles: self.cycles,
            only: self.only.clone(),
            wirings: self
                .network
                .map_or_else(ensemble::chaos::wirings, |network| vec![network]),
            workers: self.workers,
            writes_min: self.writes_min,
            back_within: Duration::from_secs_f64(back_within),
            seed: settings::seed(1)?,
            history: self.history.clone(),
        })
    }
}

#[derive(Debug, Args)]
struct OnEnsemble {
    /// Which server the program is given.
    #[arg(long, value_enum, default_value_t = Whom::Follower)]
    to: Whom,
    /// Kill and start the servers in turn meanwhile, so many seconds apart.
    #[arg(long)]
    rolling: Option<f64>,
    /// A line of zoo.cfg for all, key=value.
    #[arg(long = "config")]
    config: Vec<String>,
    /// How many minutes the program may take.
    #[arg(long, default_value_t = 20)]
    minutes: u64,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl OnEnsemble {
    fn plan(&self) -> Result<on::Plan> {
        let pair = |line: &String| {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            (key.to_owned(), value.to_owned())
        };
        Ok(on::Plan {
            kind: settings::server_kind()?,
            whom: self.to,
            rolling: self.rolling.map(Duration::from_secs_f64),
            config: self.config.iter().map(pair).collect(),
            command: self.command.clone(),
            time_max: Duration::from_secs(60 * self.minutes),
        })
    }
}

fn network(word: &str) -> Result<Wiring, String> {
    match word {
        "namespaces" => Ok(Wiring::Namespaces),
        "proxies" => Ok(Wiring::Proxies),
        _ => Err("namespaces or proxies".to_owned()),
    }
}

#[derive(Debug, Args)]
struct Power {
    /// How many losses of power.
    #[arg(long, default_value_t = 10)]
    cycles: u64,
    /// How many clients write.
    #[arg(long, default_value_t = 6)]
    workers: usize,
    /// Directory for the history of a failed cycle.
    #[arg(long, default_value = "/tmp/chaos")]
    history: PathBuf,
}

#[derive(Debug, Args)]
struct Hostile {
    /// Only attacks whose name contains this.
    #[arg(default_value = "")]
    only: String,
    /// Connections that never speak.
    #[arg(long, default_value_t = 2000)]
    silent: usize,
    /// Watches of one client.
    #[arg(long, default_value_t = 1_000_000)]
    watches: usize,
    /// Sessions that expire at once.
    #[arg(long, default_value_t = 10_000)]
    sessions: usize,
    /// A tenth of each, once, latencies printed and not judged.
    #[arg(long)]
    quick: bool,
}

impl Hostile {
    fn plan(&self) -> Result<hostile::Plan> {
        let part = if self.quick { 10 } else { 1 };
        Ok(hostile::Plan {
            kind: settings::server_kind()?,
            silent: self.silent / part,
            watches: self.watches / part,
            sessions: self.sessions / part,
            seed: settings::seed(1)?,
            quick: self.quick,
        })
    }
}

#[derive(Debug, Args)]
struct Soak {
    /// How long.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// How many sessions write.
    #[arg(long, default_value_t = 8)]
    workers: usize,
}

#[derive(Debug, Args)]
struct Lend {
    /// How many minutes the program may take.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse().suite) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            say(format_args!("compat: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn run(suite: &Suite) -> Result<bool> {
    match suite {
        Suite::Zkcli { only } => zkcli::run(settings::server_kind()?, only),
        Suite::Golden { only } => golden::run(settings::server_kind()?, only),
        Suite::Words => words::run(settings::server_kind()?),
        Suite::EnsembleWords => words::ensemble::run(settings::server_kind()?),
        Suite::Zoocfg { only } => zoocfg::run(settings::server_kind()?, only),
        Suite::Differential(arguments) => differential(arguments),
        Suite::Limits => limits::run(settings::server_kind()?),
        Suite::Stalls => stalls::run(settings::server_kind()?),
        Suite::Memory => memory::run(settings::server_kind()?),
        Suite::Damage => damage::run(settings::seed(1)?),
        Suite::Disk => disk::run(),
        Suite::Hostile(arguments) => hostile::run(&arguments.plan()?, &arguments.only),
        Suite::Chaos(arguments) => chaos::run(&chaos::Plan {
            kind: settings::server_kind()?,
            cycles: arguments.cycles,
            at_each_point: arguments.at_each_point,
            workers: arguments.workers,
            sigterm_every: arguments.sigterm_every,
            seed: settings::seed(1)?,
            first: arguments.first,
            history: arguments.history.clone(),
        }),
        Suite::EnsembleChaos(arguments) => ensemble::chaos::run(&arguments.plan()?),
        Suite::EnsembleCases { only } => ensemble::cases::run(settings::server_kind()?, only),
        Suite::EnsemblePlanted { only } => ensemble::planted::run(settings::seed(1)?, only),
        Suite::EnsembleMembers { only } => ensemble::members::run(&ensemble::members::Plan {
            kind: settings::server_kind()?,
            only: only.clone(),
            seed: settings::seed(1)?,
        }),
        Suite::EnsembleReports { only } => ensemble::reports::run(settings::server_kind()?, only),
        Suite::EnsembleScripts => {
            ensemble::scripts::run(settings::server_kind()?, &settings::zookeeper_home()?)
        }
        Suite::EnsembleJudge { file, damages } => ensemble::chaos::judge_kept(file, *damages),
        Suite::OnEnsemble(arguments) => on::run(&arguments.plan()?),
        Suite::Soak(arguments) => soak::run(&soak::Plan {
            kind: settings::server_kind()?,
            time: Duration::from_secs(arguments.seconds),
            workers: arguments.workers,
            seed: settings::seed(1)?,
        }),
        Suite::Lend(arguments) => lend::run(&lend::Plan {
            kind: settings::server_kind()?,
            members: settings::members()?,
            command: arguments.command.clone(),
            time_max: Duration::from_secs(60 * arguments.minutes),
        }),
        Suite::Power(arguments) => chaos::power::run(&chaos::Plan {
            kind: settings::server_kind()?,
            cycles: arguments.cycles,
            at_each_point: 0,
            workers: arguments.workers,
            sigterm_every: 0,
            seed: settings::seed(1)?,
            first: 0,
            history: arguments.history.clone(),
        }),
        Suite::Differences => {
            for difference in DIFFERENCES {
                say(format_args!(
                    "- {}\n  ZooKeeper 3.9.5: {}\n  ours: {}",
                    difference.request, difference.genuine, difference.ours
                ));
            }
            Ok(true)
        }
    }
}

fn differential(arguments: &Differential) -> Result<bool> {
    let subject = settings::server_kind()?;
    let local = !matches!(subject, Kind::External(_));
    ensure!(
        local || (arguments.config.is_empty() && arguments.members == 1),
        "a server that somebody else started cannot be configured"
    );
    // Room for every timeout asked for: no session of a sequence may expire.
    let mut options = Options::default()
        .config("minSessionTimeout", "60000")
        .config("enforceQuota", "true");
    for line in &arguments.config {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        options = options.config(key, value);
    }
    let plan = Plan {
        subject,
        reference: Kind::ZooKeeper,
        members: arguments.members,
        sequences: arguments.sequences,
        seed: settings::seed(1)?,
        first: arguments.first,
        restart_every: if local { arguments.restart_every } else { 0 },
        // On a follower only what is written lapses: see `differential::Run::written`.
        lapse_every: if local && arguments.members == 1 {
            arguments.lapse_every
        } else {
            0
        },
        failures_max: arguments.failures,
        options,
    };
    match &arguments.replay {
        Some(path) => differential::replay(&plan, path),
        None => differential::run(&plan),
    }
}
