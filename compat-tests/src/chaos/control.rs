//! Damage done on purpose: a checker that does not see it proves nothing.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::dump::Dump;
use super::ending::Ending;
use super::{Plan, ROOT, Run, copy_dir};
use crate::differential::random::Random;
use crate::server::{Kind, Options};
use crate::suite::Suite;

/// Runs the controls that this kind of server allows.
///
/// # Errors
/// A server cannot be started before the damage.
pub fn run(plan: &Plan, suite: &mut Suite) -> Result<()> {
    for control in [Control::OldData, Control::CutLog] {
        if control == Control::CutLog && plan.kind != Kind::Oxkeeper {
            continue;
        }
        match control.run(plan)? {
            Ok(caught) => suite.pass(format!("control: {control:?} is caught: {caught}")),
            Err(why) => suite.fail(format!("control: {control:?} is not caught"), why),
        }
    }
    Ok(())
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    /// The data directory of before the load is put back.
    OldData,
    /// The newest write-ahead log loses its second half.
    CutLog,
}

impl Control {
    /// What caught it, or how it was missed.
    fn run(self, plan: &Plan) -> Result<Result<String, String>> {
        // Without checkpoints: all that is written stays in one file.
        let mut run = Run::start(plan, Options::default().config("forceSync", "yes"))?;
        let data = run.server.data_dir().context("its data directory")?;
        let old = data.with_extension("old");
        run.server.stop()?;
        if self == Self::OldData {
            copy_dir(&data, &old)?;
        }
        run.server.restart()?;
        for worker in &mut run.workers {
            worker.attach(run.server.address())?;
        }
        let missed = run.watcher.drain();
        missed.context("the watcher")?;
        let mut random = Random::new(plan.seed, u64::MAX);
        run.watcher.come_back(run.server.address(), &run.dump)?;
        // A cut must meet answered writes that nothing else tells of.
        loop {
            // The recovery makes a new log, so there must be none before the cut.
            run.crash(&mut random, &Ending::Kill, 0)?;
            if run.history.iter().map(Vec::len).sum::<usize>() > 500 {
                break;
            }
            run.restart_and_judge(0)?;
            run.history.iter_mut().for_each(Vec::clear);
        }
        match self {
            Self::OldData => {
                fs::remove_dir_all(&data).context("remove the data")?;
                fs::rename(&old, &data).context("put the old data back")?;
            }
            Self::CutLog => {
                let log = newest_log(&data)?;
                let file = fs::File::options().write(true).open(&log)?;
                let length = file.metadata()?.len();
                ensure!(length > 16_384, "{}: only {length} bytes", log.display());
                file.set_len(length / 2)?;
            }
        }
        if let Err(error) = run.server.restart() {
            let log = run.server.log_tail();
            return Ok(if log.contains(&data.display().to_string()) {
                let last = log.lines().last().unwrap_or_default().to_owned();
                Ok(format!("the server refuses: {last}"))
            } else {
                Err(format!("it ended, but named no file: {error:#}\n{log}"))
            });
        }
        let dump = Dump::take(run.server.address(), ROOT)?;
        let problems = run.checker.judge(&run.history, &dump);
        Ok(match problems.first() {
            Some(first) => {
                let line: String = first.chars().take(150).collect();
                Ok(format!("{} problems: {line}", problems.len()))
            }
            None => Err("no problem was found".to_owned()),
        })
    }
}

/// The segment of our Raft log that was written to last. Behind it lies one made ready for later,
/// with nothing but its header, a page.
pub fn newest_log(data: &Path) -> Result<PathBuf> {
    const HEADER_BYTES: usize = 4096;
    let dir = data.join("oxkeeper").join("log");
    let mut logs = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "segment") {
            logs.push(path);
        }
    }
    logs.sort();
    while let Some(path) = logs.pop() {
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        if bytes.iter().skip(HEADER_BYTES).any(|byte| *byte != 0) {
            return Ok(path);
        }
    }
    bail!("no written segment in {}", dir.display())
}
