//! Our server, broken on purpose in one way after the other: the suites must find each, by the rule that is
//! there for it. What they find nothing in is the same server, unbroken.
//!
//! `OXKEEPER_BIN` is built with the feature `planted` (`make planted`); such a server takes its defect from
//! its environment and does not start without. A vote that is not saved needs two elections within a moment:
//! that one is left to the simulation, which finds it by its seeds (`src/ensemble/tests/sim/planted.rs`),
//! as it does four of these.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Setup;
use super::cases::{moves_as_it_expires, renewed_behind};
use super::chaos::{Fault, Plan};
use super::net::Wiring;
use crate::server::Kind;
use crate::settings;
use crate::suite::Suite;

const VARIABLE: &str = "OXKEEPER_PLANTED";
/// What needs luck to show is looked for so often.
const TRIES: u64 = 4;

/// What looks for a defect.
#[derive(Clone, Copy)]
enum By {
    /// A cycle of ensemble-chaos with this fault.
    Chaos(Fault),
    /// A case; it says what is wrong.
    Case(fn(&super::cases::Change<'_>) -> Result<String>),
}

/// A defect, what finds it, and of what the problem must speak: one of these.
struct Row {
    defect: &'static str,
    by: By,
    rules: &'static [&'static str],
}

const ROWS: [Row; 6] = [
    Row {
        defect: "sync-left-out",
        by: By::Chaos(Fault::PowerAll),
        rules: &[
            "not linearizable",
            "at the end",
            "not at its zxid",
            "set it aside",
        ],
    },
    Row {
        defect: "cursor-ignored",
        by: By::Chaos(Fault::Breaking),
        rules: &[
            "twice",
            "not at its zxid",
            "expected",
            "should be refused",
            "after one at",
        ],
    },
    Row {
        defect: "watch-order-swapped",
        by: By::Chaos(Fault::KillFollower),
        rules: &["not told before", "told late"],
    },
    Row {
        defect: "ephemeral-kept",
        by: By::Chaos(Fault::FreezeFollower),
        rules: &["is there at the end, its session is not"],
    },
    Row {
        defect: "attach-judged-locally",
        by: By::Case(renewed_behind),
        rules: &["which lives, has expired"],
    },
    Row {
        defect: "expiry-not-fenced",
        by: By::Case(moves_as_it_expires),
        rules: &["welcomed, then"],
    },
];

/// Runs all whose names contain `only`; true when each defect was found.
///
/// # Errors
/// The binary cannot be broken.
pub fn run(seed: u64, only: &str) -> Result<bool> {
    let mut suite = Suite::open("ensemble-planted");
    refuses()?;
    suite.pass("a server that can be broken does not start unless it is told how");
    for row in ROWS.iter().filter(|row| row.defect.contains(only)) {
        match row.find(seed) {
            Ok(found) => suite.pass(format_args!("{} is found: {found}", row.defect)),
            Err(error) => suite.fail(row.defect, format_args!("{error:#}")),
        }
    }
    let unbroken = |by: &By| problems(*by, "none", seed);
    let controls = [By::Chaos(Fault::KillFollower), By::Case(renewed_behind)];
    for by in controls.iter().filter(|_| only.is_empty()) {
        match unbroken(by)?.first() {
            None => suite.pass("the same server, unbroken: nothing is wrong"),
            Some(problem) => suite.fail("the same server, unbroken", problem),
        }
    }
    Ok(suite.close())
}

/// It does not run by accident: with what an ordinary server would run with, too.
fn refuses() -> Result<()> {
    let dir = tempfile::tempdir().context("make a directory")?;
    let file = dir.path().join("zoo.cfg");
    // Nobody has that address: an ordinary one would not run long.
    let lines = format!(
        "dataDir={}\nclientPort=1\nclientPortAddress=192.0.2.1\n",
        dir.path().display()
    );
    std::fs::write(&file, lines).context("write a zoo.cfg")?;
    let tried = Command::new(settings::oxkeeper_binary()?)
        .env_remove(VARIABLE)
        .arg(file)
        .output()
        .context("run the server")?;
    let said = String::from_utf8_lossy(&tried.stderr).into_owned();
    ensure!(
        !tried.status.success() && said.contains(VARIABLE),
        "OXKEEPER_BIN is not built with the feature `planted`: {said}"
    );
    Ok(())
}

impl Row {
    /// The problem by which it was found.
    fn find(&self, seed: u64) -> Result<String> {
        let mut others = Vec::new();
        for attempt in 0..TRIES {
            let problems = problems(self.by, self.defect, seed + attempt)?;
            let fits = |it: &&String| self.rules.iter().any(|rule| it.contains(rule));
            if let Some(found) = problems.iter().find(fits) {
                return Ok(found.chars().take(140).collect());
            }
            others.extend(problems);
        }
        anyhow::bail!("not found in {TRIES} tries; other problems: {others:#?}")
    }
}

/// What is found wrong with three servers of which each has this defect.
fn problems(by: By, defect: &str, seed: u64) -> Result<Vec<String>> {
    let break_it = |mut setup: Setup| {
        setup.options = setup.options.environment(VARIABLE, defect);
        setup
    };
    match by {
        By::Case(case) => Ok(case(&break_it)
            .err()
            .map(|it| format!("{it:#}"))
            .into_iter()
            .collect()),
        By::Chaos(fault) => {
            let plan = Plan {
                kind: Kind::Oxkeeper,
                cycles: 1,
                only: String::new(),
                wirings: vec![if fault.possible(Wiring::Loopback) {
                    Wiring::Loopback
                } else {
                    Wiring::Proxies
                }],
                workers: 4,
                writes_min: 0,
                back_within: Duration::from_secs(60),
                seed,
                history: std::env::temp_dir(),
            };
            match plan.problems(fault, 0, break_it) {
                Ok(problems) => Ok(problems),
                // A server that misses what it has lost ends, or does not start: that is found, too.
                Err(error) => Ok(vec![format!("{error:#}")]),
            }
        }
    }
}
