//! Random request sequences to two servers in lockstep: every reply, event and close the same.
//!
//! - [`step`]: what a sequence is made of; [`script`]: how it is written down;
//! - [`generate`], [`timed`]: make sequence *n* of a seed; [`burst`]: what it may pipeline;
//! - [`side`]: does a step on one server; [`canon`] makes text
//!   of its answers;
//! - [`host`]: what is talked to, a lone server or a follower;
//! - [`lapse`]: expiry and reaping, on servers of their own with short ticks;
//! - [`pair`]: both in lockstep; [`shrink`] makes failures short;
//! - [`differences`]: the list of what may differ.
//!
//! A failing sequence is shrunk, printed, and kept as a file. Once understood it
//! belongs into `scripts/differential/NAME.steps`; all of those run before the random sequences.

pub mod burst;
pub mod canon;
pub mod differences;
pub mod generate;
pub mod host;
pub mod lapse;
pub mod pair;
pub mod random;
pub mod script;
pub mod shrink;
pub mod side;
pub mod step;
pub mod timed;
mod tree;
mod values;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::server::{Kind, Options};
use crate::settings;
use crate::suite::{Suite, say};
use pair::{Divergence, Pair};
use step::Step;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server under test.
    pub subject: Kind,
    /// The server that is right.
    pub reference: Kind,
    /// How many servers make each; with more than one, a follower of each is talked to.
    pub members: usize,
    /// How many random sequences.
    pub sequences: u64,
    /// Their seed.
    pub seed: u64,
    /// Number of the first, to begin in the middle.
    pub first: u64,
    /// Both are restarted in the middle of each so-many-th sequence; 0: never.
    pub restart_every: u64,
    /// Each so-many-th sequence has sessions that expire and nodes that are reaped; 0: none.
    pub lapse_every: u64,
    /// How many failures end the run.
    pub failures_max: usize,
    /// Lines of zoo.cfg for both.
    pub options: Options,
}

/// How long the shortening of one failure may take.
const SHRINK_TIME_MAX: Duration = Duration::from_secs(60);
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// Runs the written sequences, then the random ones; true when nothing differs.
///
/// # Errors
/// A server cannot be started, or a written sequence cannot be read.
pub fn run(plan: &Plan) -> Result<bool> {
    let mut run = Run {
        suite: Suite::open(format!(
            "differential: {} beside {}, {} each, seed {}",
            plan.subject, plan.reference, plan.members, plan.seed
        )),
        plan,
        pair: None,
        lapse: None,
        unused: None,
    };
    if matches!(plan.subject, Kind::External(_)) {
        let mut pair = Pair::start(plan.subject, plan.reference, plan.members, &plan.options)?;
        ensure!(
            pair.is_level()?,
            "the built-in nodes of {} are not as a new server has them: give this suite a new one",
            plan.subject
        );
        run.pair = Some(pair);
    }
    run.written()?;
    let mut said = Instant::now();
    for index in plan.first..plan.first + plan.sequences {
        let restarts =
            plan.restart_every > 0 && index % plan.restart_every == plan.restart_every - 1;
        let lapses = plan.lapse_every > 0 && index % plan.lapse_every == plan.lapse_every / 2;
        let steps = if lapses {
            timed::sequence(plan.seed, index)
        } else {
            generate::sequence(plan.seed, index, restarts)
        };
        if run.sequence(&format!("sequence {index}"), &steps)? {
            run.suite.pass_many(1);
        }
        if run.suite.failures() >= plan.failures_max {
            say("enough failures");
            break;
        }
        if said.elapsed() > PROGRESS_EVERY {
            said = Instant::now();
            say(format_args!(
                "     {} of {}",
                index + 1 - plan.first,
                plan.sequences
            ));
        }
    }
    for pair in run.pair.iter().chain(&run.lapse).chain(&run.unused) {
        let mut line = String::from("     seen:");
        for (what, count) in pair.counts() {
            line += &format!(" {what}: {count},");
        }
        say(line.trim_end_matches(','));
    }
    Ok(run.suite.close())
}

/// Runs the one sequence of a file and shows what both answer; true when nothing differs.
///
/// # Errors
/// As [`run`].
pub fn replay(plan: &Plan, path: &Path) -> Result<bool> {
    let mut run = Run {
        suite: Suite::open(path.display().to_string()),
        plan,
        pair: None,
        lapse: None,
        unused: None,
    };
    let steps = read(path)?;
    run.pair_for(&steps)?.show();
    if run.sequence("replay", &steps)? {
        run.suite.pass("replay");
    }
    Ok(run.suite.close())
}

fn directory() -> PathBuf {
    settings::package_dir().join("scripts/differential")
}

fn written() -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    if let Ok(entries) = fs::read_dir(directory()) {
        for entry in entries {
            let path = entry.context("read an entry of the scripts")?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "steps")
            {
                paths.push(path);
            }
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Vec<Step>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    script::read(&text).with_context(|| format!("read {}", path.display()))
}

struct Run<'a> {
    suite: Suite,
    plan: &'a Plan,
    pair: Option<Pair>,
    /// The pair with short ticks, once a sequence needed it.
    lapse: Option<Pair>,
    /// The same, where unused containers do not stay.
    unused: Option<Pair>,
}

impl Run<'_> {
    /// Runs the sequences that are files.
    fn written(&mut self) -> Result<()> {
        for path in written()? {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let steps = read(&path)?;
            let own = |step: &Step| matches!(step, Step::Restart { .. });
            if matches!(self.plan.subject, Kind::External(_))
                && (steps.iter().any(own) || lapse::needs_time(&steps))
            {
                say(format_args!(
                    "skip {name}: it needs a server that it may restart or configure"
                ));
                continue;
            }
            // What a session asks for as it comes back to a genuine follower, its leader may not heed: the
            // follower goes on reporting it with the timeout of before.
            let renews = |step: &Step| {
                matches!(
                    step,
                    Step::Expire {
                        timeout_ms: Some(_),
                        ..
                    }
                )
            };
            if self.plan.members > 1 && steps.iter().any(renews) {
                say(format_args!("skip {name}: a follower's leader decides"));
                continue;
            }
            if self.sequence(&name, &steps)? {
                self.suite.pass(name);
            }
        }
        Ok(())
    }

    /// Runs one sequence; reports and shortens it when the servers differ.
    fn sequence(&mut self, name: &str, steps: &[Step]) -> Result<bool> {
        let asked;
        let steps = if self.plan.members > 1 {
            asked = host::for_members(steps.to_vec());
            &asked
        } else {
            steps
        };
        let Some(first) = self.attempt(steps)? else {
            return Ok(true);
        };
        say(format_args!("{name} differs {first}shortening it"));
        self.level(steps);
        let deadline = Instant::now() + SHRINK_TIME_MAX;
        let mut last = None;
        let short = shrink::shrink(steps.to_vec(), |steps| {
            if Instant::now() > deadline {
                return false;
            }
            let found = self.attempt(steps).unwrap_or_default();
            let fails = found.is_some();
            if fails {
                self.level(steps);
                last = found;
            }
            fails
        });
        let note = if last.is_none() {
            " (it did not fail again)"
        } else {
            ""
        };
        let text = script::write(&short)?;
        let path = self.keep(name, &text)?;
        let what = last.unwrap_or(first);
        self.suite.fail(
            format_args!("{name}{note}, kept as {path}"),
            format_args!("{text}{what}"),
        );
        Ok(false)
    }

    fn place(&mut self, steps: &[Step]) -> &mut Option<Pair> {
        if lapse::reaps_unused(steps) {
            &mut self.unused
        } else if lapse::needs_time(steps) {
            &mut self.lapse
        } else {
            &mut self.pair
        }
    }

    /// The pair on which these steps run; starts it if need be.
    fn pair_for(&mut self, steps: &[Step]) -> Result<&mut Pair> {
        let plan = self.plan;
        let place = self.place(steps);
        match place {
            Some(pair) => Ok(pair),
            None if lapse::needs_time(steps) => {
                let options = lapse::options(&plan.options, steps);
                let mut pair = Pair::start(plan.subject, plan.reference, plan.members, &options)?;
                pair.hide_zxids();
                Ok(place.insert(pair))
            }
            None => Ok(place.insert(Pair::start(
                plan.subject,
                plan.reference,
                plan.members,
                &plan.options,
            )?)),
        }
    }

    /// Runs steps on their pair. A broken server is a difference, too.
    fn attempt(&mut self, steps: &[Step]) -> Result<Option<Divergence>> {
        let pair = self.pair_for(steps)?;
        match pair.run(steps) {
            Ok(found) => Ok(found),
            Err(error) => {
                let divergence = Divergence {
                    step: steps.len(),
                    what: format!("a server failed: {error:#}\n{}", pair.logs()),
                    subject: Vec::new(),
                    reference: Vec::new(),
                };
                *self.place(steps) = None;
                Ok(Some(divergence))
            }
        }
    }

    /// After a difference: goes on with this pair only if both trees are alike.
    fn level(&mut self, steps: &[Step]) {
        let place = self.place(steps);
        if let Some(pair) = place
            && !pair.is_level().unwrap_or(false)
        {
            *place = None;
        }
    }

    fn keep(&self, name: &str, text: &str) -> Result<String> {
        let dir = std::env::temp_dir().join("compat-differential");
        fs::create_dir_all(&dir).context("make a directory for failures")?;
        let file = format!(
            "seed-{}-{}.steps",
            self.plan.seed,
            name.replace([' ', '.'], "-")
        );
        let path = dir.join(file);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path.display().to_string())
    }
}
