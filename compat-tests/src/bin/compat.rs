//! `compat SUITE`: runs a suite against the server that `SERVER` names and says what passed.
//!
//! Exit code 0: all passed; 1: something failed; 2: the suite could not run.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use compat_tests::server::Kind;
use compat_tests::{settings, zkcli};

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
}

fn main() -> ExitCode {
    match run(&Arguments::parse().suite) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            compat_tests::suite::say(format_args!("compat: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn run(suite: &Suite) -> Result<bool> {
    let kind: Kind = settings::server_kind()?;
    match suite {
        Suite::Zkcli { only } => zkcli::run(kind, only),
    }
}
