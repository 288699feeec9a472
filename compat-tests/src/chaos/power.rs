//! Power loss, for real: the data lies on an ext4 of its own, which is shut down under load as it is
//! when the power fails; mounted anew, it holds what had been synced. A server that does not sync
//! must be caught by the same test.

use anyhow::{Context, Result, ensure};

use super::dump::Dump;
use super::ending::{DISKLESS_TIME_MAX, Ending, ends_within};
use super::{Plan, ROOT, Run, options};
use crate::differential::random::Random;
use crate::fault::{Disk, Failing};
use crate::hostile::pipe::{Pipe, read};
use crate::server::{Kind, Options, Server};
use crate::suite::{Suite, say};

/// How often the control may go unnoticed: what was written last can be on the disk by luck.
const CONTROL_TRIES: u64 = 5;

/// Runs all cycles and the control; true if nothing is wrong, or if no disk can be made here (which
/// it says).
///
/// # Errors
/// The server cannot be started or does not come back.
pub fn run(plan: &Plan) -> Result<bool> {
    let mut suite = Suite::open(format!(
        "power: {}, {} cycles, seed {}",
        plan.kind, plan.cycles, plan.seed
    ));
    let Some((mut run, disk)) = start(plan, options(plan.kind))? else {
        return Ok(true);
    };
    for cycle in plan.first..plan.first + plan.cycles {
        let mut random = Random::new(plan.seed, cycle);
        let again = random.below(2);
        run.cycle(
            plan,
            &mut suite,
            cycle,
            &mut random,
            &Ending::Power(&disk),
            again,
        )?;
    }
    drop(disk);
    drop(run);
    let control = "control: a server that does not sync";
    failed_sync(plan, &mut suite)?;
    match unsynced(plan)? {
        Ok(caught) => suite.pass(format!("{control} is caught: {caught}")),
        Err(why) => suite.fail(format!("{control} is not caught"), why),
    }
    Ok(suite.close())
}

/// A server with its data on such a disk.
fn start(plan: &Plan, options: Options) -> Result<Option<(Run, Disk)>> {
    let mut server = Server::start(plan.kind, options)?;
    server.stop()?;
    let data = server.data_dir().context("its data directory")?;
    let disk = match Disk::mount(&data.with_extension("disk"), &data) {
        Ok(disk) => disk,
        Err(error) => {
            say(format_args!("skipped, because: {error:#}: power loss"));
            return Ok(None);
        }
    };
    server.restart()?;
    Ok(Some((Run::on(plan, server)?, disk)))
}

/// A sync that fails for real, a start on the same page cache, and only then a loss of power: what
/// the start has shown and what was answered after it is there. (A genuine ZooKeeper believes what
/// the page cache shows.)
fn failed_sync(plan: &Plan, suite: &mut Suite) -> Result<()> {
    let case = "a sync that failed, a start without reboot, a loss of power";
    if plan.kind != Kind::Oxkeeper {
        return Ok(());
    }
    let mut server = Server::start(plan.kind, options(plan.kind))?;
    server.stop()?;
    let data = server.data_dir().context("its data directory")?;
    let failing = match Failing::mount(&data.with_extension("memory"), &data) {
        Ok(failing) => failing,
        Err(error) => {
            say(format_args!("skipped, because: {error:#}: {case}"));
            return Ok(());
        }
    };
    server.restart()?;
    match fail_and_go_on(&mut server, &failing) {
        Ok(()) => suite.pass(case),
        Err(error) => suite.fail(case, format!("{error:#}\n{}", server.log_tail())),
    }
    // Nothing may hold a file on it when it is unmounted.
    server.kill9()
}

fn fail_and_go_on(server: &mut Server, failing: &Failing) -> Result<()> {
    const SESSION_MS: i32 = 30_000;
    let mut pipe = Pipe::open(server.address(), SESSION_MS)?;
    pipe.create("/before", b"", 0)?;
    failing.starve()?;
    // Of some pages: the next frame overwrites the last one only.
    let doubtful = pipe.create("/doubtful", &[7; 30_000], 0);
    ensure!(doubtful.is_err(), "it was answered, but not synced");
    ensure!(
        ends_within(server, DISKLESS_TIME_MAX),
        "it goes on after a failed sync"
    );
    failing.feed()?;
    server.restart().context("start on the same page cache")?;
    let mut pipe = Pipe::open(server.address(), SESSION_MS)?;
    let shown = pipe.ask(&[(3, read("/doubtful", false))])?[0] == 0;
    ensure!(shown, "the page cache does not hold what was not synced");
    pipe.create("/after", b"", 0)?;
    failing.disk().fail()?;
    server.kill9()?;
    failing.disk().come_back()?;
    server.restart().context("start after the loss of power")?;
    let mut pipe = Pipe::open(server.address(), SESSION_MS)?;
    for path in ["/before", "/doubtful", "/after"] {
        let found = pipe.ask(&[(3, read(path, false))])?[0];
        ensure!(found == 0, "{path} was shown, and is lost: {found}");
    }
    pipe.close()
}

/// What caught it, or how it was missed.
fn unsynced(plan: &Plan) -> Result<Result<String, String>> {
    for attempt in 0..CONTROL_TRIES {
        let options = Options::default()
            .config("forceSync", "no")
            .config("minSessionTimeout", "2000");
        let Some((mut run, disk)) = start(plan, options)? else {
            return Ok(Err("no disk any more".to_owned()));
        };
        let mut random = Random::new(plan.seed, u64::MAX - attempt);
        run.crash(&mut random, &Ending::Power(&disk), 0)?;
        disk.come_back()?;
        if let Err(error) = run.server.restart() {
            ensure!(!run.server.is_running(), error);
            let log = run.server.log_tail();
            let last = log.lines().last().unwrap_or_default().to_owned();
            return Ok(Ok(format!("the server refuses: {last}")));
        }
        let dump = Dump::take(run.server.address(), ROOT)?;
        if let Some(first) = run.checker.judge(&run.history, &dump).first() {
            let line: String = first.chars().take(150).collect();
            return Ok(Ok(line));
        }
    }
    Ok(Err(format!(
        "no problem was found in {CONTROL_TRIES} tries"
    )))
}
