//! zoo.cfg as people have it: every key with values that are empty, wrong, odd and huge. Whoever
//! starts with the genuine server starts with ours, and the other way round.
//!
//! - `scripts/zoocfg/verdicts.tsv` holds what the genuine server makes of each key with each value. It
//!   was asked once, by `tools/zoocfg/record`; a JVM for each case would take hours.
//! - Where ours decides otherwise, `docs/configuration.md` must say so, with the reason.
//! - A sample is asked of both servers here and now, so that the table is known to be true.
//! - `digests`: what the algorithms of `digestAlg` make of a password.

mod digests;
mod judge;
mod manual;
mod table;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::server::Kind;
use crate::settings;
use crate::suite::Suite;
use judge::Decision;
use manual::Manual;
use table::{Case, Table};

/// How many cases are asked of both servers.
const SAMPLE: usize = 14;
/// How many of the cases that both start with are really started, of ours.
const STARTED: usize = 60;

/// Checks the whole table against ours, and a sample of it on both servers; true when all agree.
///
/// # Errors
/// The table or the manual cannot be read, or no server can be started at all.
pub fn run(kind: Kind, only: &str) -> Result<bool> {
    if matches!(kind, Kind::External(_)) {
        bail!("a server that somebody else started cannot be configured");
    }
    let mut suite = Suite::open(format!("zoo.cfg as people have it, on {kind}"));
    let table = Table::read()?;
    let manual = Manual::read()?;
    let seed = settings::seed(1)?;
    if only.is_empty() {
        whole(&table, &manual, &mut suite);
        if let Err(error) = digests::run(kind, &mut suite) {
            suite.fail("the algorithms of digestAlg", format_args!("{error:#}"));
        }
    }
    let cases: Vec<&Case> = table
        .cases
        .iter()
        .filter(|case| case.key.contains(only))
        .collect();
    if kind == Kind::Oxkeeper {
        agree(&cases, &manual, only.is_empty(), seed, &mut suite)?;
    }
    live(&cases, seed, &mut suite)?;
    Ok(suite.close())
}

/// Every key of the manual that ZooKeeper has is in the table.
fn whole(table: &Table, manual: &Manual, suite: &mut Suite) {
    let asked: BTreeSet<&str> = table.cases.iter().map(|case| case.key.as_str()).collect();
    let missing: Vec<&String> = manual
        .keys
        .iter()
        .filter(|key| match key.strip_suffix('*') {
            Some(prefix) => !asked.iter().any(|name| name.starts_with(prefix)),
            None => !asked.contains(key.as_str()),
        })
        .collect();
    if missing.is_empty() {
        suite.pass(format_args!(
            "{} keys of the manual are in the table",
            manual.keys.len()
        ));
    } else {
        let add = "add rows to verdicts.tsv and run tools/zoocfg/record";
        suite.fail(
            "keys of the manual that the table lacks",
            format_args!("{missing:?}: {add}"),
        );
    }
}

/// Ours against the table: by `--check`, and by a start where that may decide otherwise.
fn agree(
    cases: &[&Case],
    manual: &Manual,
    complete: bool,
    seed: u64,
    suite: &mut Suite,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    let used = Mutex::new(BTreeSet::new());
    let every = (cases.len() / STARTED).max(1);
    let one = || -> Result<()> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(index) else {
                return Ok(());
            };
            // Which ones are started for good measure moves with the seed.
            let sampled = (index as u64 + seed).is_multiple_of(every as u64);
            let line = manual.line(case);
            if let Some(line) = line {
                used.lock().expect("no panic").insert(line);
            }
            let expected = line.map_or(case.genuine, |line| manual.differences[line].here);
            let found = judge::twice(expected, || judge::ours(case, sampled))?;
            if found != expected {
                let why = match line {
                    Some(_) => "as the manual says",
                    None => "as the genuine server does; or add a line to docs/ that says why not",
                };
                let text = format!("{case}: expected {expected:?}, {why}; found {found:?}");
                wrong.lock().expect("no panic").push(text);
            }
        }
    };
    thread::scope(|scope| {
        let workers = [scope.spawn(one), scope.spawn(one)];
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    let used = used.into_inner().expect("no panic");
    let idle = manual.differences.iter().enumerate();
    let mut wrong = wrong.into_inner().expect("no panic");
    if complete {
        wrong.extend(
            idle.filter(|(line, _)| !used.contains(line))
                .map(|(_, difference)| format!("{:?}: no case shows it", difference.keys)),
        );
    }
    if wrong.is_empty() {
        suite.pass(format_args!("{} values of keys", cases.len()));
    } else {
        wrong.sort();
        suite.fail("values that are judged otherwise", wrong.join("\n"));
    }
    Ok(())
}

/// The same start of both servers, by real processes.
fn live(cases: &[&Case], seed: u64, suite: &mut Suite) -> Result<()> {
    // A server that is silent is waited for, and one that takes all memory is no good neighbour.
    let quick: Vec<&&Case> = cases
        .iter()
        .filter(|case| case.genuine != Decision::Mute && case.is_modest())
        .collect();
    let ends: Vec<_> = quick
        .iter()
        .filter(|c| c.genuine == Decision::Ends)
        .collect();
    let starts: Vec<_> = quick
        .iter()
        .filter(|c| c.genuine == Decision::Starts)
        .collect();
    for group in [ends, starts] {
        for index in 0..SAMPLE.min(group.len()) / 2 {
            let place = (seed as usize + index) * 7919 % group.len();
            let case = group[place];
            let found = judge::twice(case.genuine, || judge::genuine(case))
                .with_context(|| format!("ask for {case}"))?;
            if found == case.genuine {
                suite.pass(format_args!("{case}: {found:?}, as recorded"));
            } else {
                suite.fail(
                    case,
                    format_args!("recorded {:?}, found {found:?}", case.genuine),
                );
            }
        }
    }
    Ok(())
}
