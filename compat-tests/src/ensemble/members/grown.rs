//! A server alone becomes three, five and three again, by edited files and restarts, while somebody
//! writes: nothing that was acknowledged is lost, and a session that was opened at the first server lives.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::super::net::Wiring;
use super::super::proof::history::{Op, Outcome};
use super::super::{Ensemble, Mode, Setup};
use super::{Plan, filling};
use crate::client::{Connection, Hello, figure, word};

/// How long a change of the members may take.
const CHANGED_WITHIN: Duration = Duration::from_secs(60);
const WORD_TIME_MAX: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(50);
/// Before the first other server comes.
const ZNODES: usize = 500;

pub(super) fn run(plan: &Plan) -> Result<String> {
    let mut setup = Setup::new(plan.kind, Wiring::Loopback);
    setup.members = 5;
    let mut ensemble = Ensemble::prepare(&setup)?;
    ensemble.list(0, &[0]);
    ensemble.spawn(0)?;
    until(&ensemble, "one stands alone", |it| {
        it.mode(0) == Some(Mode::Standalone)
    })?;
    filling::fill(ensemble.address(0), "/grown", ZNODES, 100)?;
    filling::fill(ensemble.address(0), "/written", 0, 0)?;
    let session = session(ensemble.address(0))?;
    let addresses = ensemble.addresses();
    let stop = AtomicBool::new(false);
    let written = scope(|threads| {
        let writing = threads.spawn(|| write(&addresses, &session, &stop));
        let changed = change(&mut ensemble);
        stop.store(true, Ordering::Release);
        let written = writing.join().map_err(|_| anyhow::anyhow!("the writer"))?;
        changed?;
        written
    })?;
    for server in [0, 1, 2] {
        let missing = missing(ensemble.address(server), &written)?;
        ensure!(missing.is_empty(), "server {server} lacks {missing:?}");
    }
    ensure!(written.len() >= 50, "only {} writes", written.len());
    let alive = Connection::open(ensemble.address(2), WORD_TIME_MAX)?.take_up(&session)?;
    ensure!(alive, "the session is gone\n{}", ensemble.logs());
    Ok(format!("{} writes, all there", written.len()))
}

/// One, three, five, three.
fn change(ensemble: &mut Ensemble) -> Result<()> {
    for server in 0..3 {
        ensemble.list(server, &[0, 1, 2]);
    }
    ensemble.stop(0)?;
    for server in [1, 2, 0] {
        ensemble.spawn(server)?;
    }
    until_members(ensemble, &[0, 1, 2])?;

    for server in 0..5 {
        ensemble.list(server, &[0, 1, 2, 3, 4]);
    }
    ensemble.spawn(3)?;
    ensemble.spawn(4)?;
    roll(ensemble, &[0, 1, 2])?;
    until_members(ensemble, &[0, 1, 2, 3, 4])?;

    for server in 0..3 {
        ensemble.list(server, &[0, 1, 2]);
    }
    roll(ensemble, &[0, 1, 2])?;
    until_members(ensemble, &[0, 1, 2])?;
    until(ensemble, "those that are out serve nobody", |it| {
        it.mode(3).is_none() && it.mode(4).is_none()
    })?;
    for server in [3, 4] {
        let alive = word(ensemble.address(server), b"ruok", WORD_TIME_MAX)?;
        ensure!(alive.starts_with("imok"), "server {server} says {alive}");
        ensemble.stop(server)?;
    }
    Ok(())
}

/// Restarts one after the other.
fn roll(ensemble: &mut Ensemble, servers: &[usize]) -> Result<()> {
    for server in servers {
        ensemble.stop(*server)?;
        ensemble.spawn(*server)?;
        until(ensemble, "it serves again", |it| it.mode(*server).is_some())?;
    }
    Ok(())
}

/// Waits until these serve and the leader counts so many.
fn until_members(ensemble: &Ensemble, members: &[usize]) -> Result<()> {
    let what = format!("{members:?} are the members");
    until(ensemble, &what, |it| {
        let count = |mode| {
            members
                .iter()
                .filter(|id| it.mode(**id) == Some(mode))
                .count()
        };
        let counted = members.iter().all(|id| {
            let mntr = word(it.address(*id), b"mntr", WORD_TIME_MAX);
            mntr.is_ok_and(|mntr| figure(&mntr, "zk_quorum_size") == Some(members.len()))
        });
        counted && count(Mode::Leader) == 1 && count(Mode::Follower) == members.len() - 1
    })
}

fn until(ensemble: &Ensemble, what: &str, is_so: impl Fn(&Ensemble) -> bool) -> Result<()> {
    let begin = Instant::now();
    while !is_so(ensemble) {
        if begin.elapsed() > CHANGED_WITHIN {
            let modes: Vec<_> = (0..ensemble.len()).map(|it| ensemble.mode(it)).collect();
            bail!("not so in time: {what}; {modes:?}\n{}", ensemble.logs());
        }
        sleep(PAUSE);
    }
    Ok(())
}

/// A session, given back before it ends.
fn session(at: SocketAddr) -> Result<Hello> {
    let mut connection = Connection::open(at, WORD_TIME_MAX)?;
    let timeout_ms = 10_000;
    let (session, password) = connection.new_session(timeout_ms)?;
    let mut hello = Hello::new(timeout_ms);
    (hello.session, hello.password) = (session, Some(password));
    Ok(hello)
}

/// Writes with that session at whichever server takes it; what was acknowledged.
fn write(servers: &[SocketAddr], session: &Hello, stop: &AtomicBool) -> Result<BTreeSet<String>> {
    let (mut written, mut count) = (BTreeSet::new(), 0_u64);
    let mut turns = servers.iter().cycle();
    while !stop.load(Ordering::Acquire) {
        let server = turns.next().context("there are servers")?;
        let Ok(mut connection) = Connection::open(*server, WORD_TIME_MAX) else {
            sleep(PAUSE);
            continue;
        };
        match connection.take_up(session) {
            Ok(true) => {}
            Ok(false) => bail!("the session has expired at {server}"),
            Err(_) => continue,
        }
        while !stop.load(Ordering::Acquire) {
            count += 1;
            let name = format!("{count}");
            let op = Op::Create {
                path: format!("/written/{name}"),
                data: name.clone(),
                flags: 0,
            };
            match filling::ask(&mut connection, &[op]) {
                Ok(answers) => {
                    let outcome = answers.into_iter().next().map(|answer| answer.1);
                    ensure!(matches!(outcome, Some(Outcome::Created(..))), "{outcome:?}");
                    written.insert(name);
                }
                Err(_) => break,
            }
            sleep(PAUSE / 10);
        }
    }
    Ok(written)
}

/// What was acknowledged and is not there.
fn missing(at: SocketAddr, written: &BTreeSet<String>) -> Result<Vec<String>> {
    let mut connection = filling::open(at)?;
    let path = "/written".to_owned();
    let sync = Op::Sync { path: path.clone() };
    filling::ask(&mut connection, &[sync])?;
    let children = Op::Children { path, watch: false };
    let answers = filling::ask(&mut connection, &[children])?;
    let Some((_, Outcome::Names(names, _))) = answers.into_iter().next() else {
        bail!("no children");
    };
    let found: BTreeSet<String> = names.into_iter().collect();
    Ok(written.difference(&found).cloned().collect())
}
