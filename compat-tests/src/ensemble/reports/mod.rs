//! What others reported of ensembles, of ZooKeeper's and of its relatives, played on ours and on the
//! genuine one: each case is named after the report.
//!
//! - `client`: a session that sends only what it is told to;
//! - `changes`: sessions that come and go while leaders do.

mod changes;
mod client;

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use self::client::Client;
use super::net::Wiring;
use super::{Ensemble, Mode, START_TIME_MAX, Setup};
use crate::client::{REPLY_TIME_MAX, figure, word};
use crate::server::Kind;
use crate::suite::Suite;

/// The session timeout of those that are to expire, or must not, in ms.
const BRIEF_MS: i32 = 3_000;
/// Of those that live throughout, in ms.
const CALM_MS: i32 = 30_000;
/// What stands behind an ephemeral's end in the log.
const WRITES_BEHIND: usize = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// A case: what it is called, and what it does.
type Case = (&'static str, fn(Kind) -> Result<()>);

const CASES: [Case; 5] = [
    (
        "ZOOKEEPER-5010: no ephemeral is left on a follower that caught up from the log",
        no_ephemeral_is_left,
    ),
    (
        "ClickHouse#114401: who opens or closes a session while the leader goes is answered or cut off",
        changes::nobody_waits,
    ),
    (
        "ClickHouse#111102: a session that only reads on a follower lives, a silent one does not",
        readers_live,
    ),
    (
        "curator#1045: lines of /zookeeper/config without a client address, as the files have them",
        lines_without_client_address,
    ),
    (
        "leaderServes=no: words of every member, and clients at the others",
        leader_serves_nobody,
    ),
];

/// Plays those whose names contain `only`; true when all went as they should.
///
/// # Errors
/// None: what fails is said.
pub fn run(kind: Kind, only: &str) -> Result<bool> {
    let mut suite = Suite::open(format!("public reports on three of {kind}"));
    for (name, case) in CASES.iter().filter(|(name, _)| name.contains(only)) {
        match case(kind) {
            Ok(()) => suite.pass(name),
            Err(error) => suite.fail(name, format_args!("{error:#}")),
        }
    }
    Ok(suite.close())
}

/// The members in an order: the one that leads, then the others.
fn leader_first(ensemble: &Ensemble) -> Result<Vec<usize>> {
    let leader = ensemble.wait_for_leader(START_TIME_MAX)?;
    let others = (0..ensemble.len()).filter(|member| *member != leader);
    Ok([leader].into_iter().chain(others).collect())
}

/// Asks until the answer is right.
fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + START_TIME_MAX;
    while !holds()? {
        ensure!(Instant::now() < deadline, "never came true: {what}");
        sleep(PAUSE);
    }
    Ok(())
}

/// A follower is killed while it holds an ephemeral, whose session then ends: by its own wish, or by
/// expiry. The follower catches up from the log, and has it neither then nor after one more start.
fn no_ephemeral_is_left(kind: Kind) -> Result<()> {
    let mut ensemble = Ensemble::start(&Setup::new(kind, Wiring::Loopback))?;
    for expires in [false, true] {
        let [leader, behind, other] = leader_first(&ensemble)?[..] else {
            bail!("not three members");
        };
        let mut writer = Client::open(ensemble.address(other), CALM_MS)?;
        let root = if expires { "/expired" } else { "/closed" };
        writer.create(root, false)?;
        let (at_leader, at_behind) = (format!("{root}/leader"), format!("{root}/behind"));
        let mut one = Client::open(ensemble.address(leader), BRIEF_MS)?;
        let mut two = Client::open(ensemble.address(behind), BRIEF_MS)?;
        one.create(&at_leader, true)?;
        two.create(&at_behind, true)?;
        let mut witness = Client::open(ensemble.address(behind), CALM_MS)?;
        for path in [&at_leader, &at_behind] {
            witness.sync()?;
            ensure!(witness.exists(path)?, "{path} is not on the follower");
        }
        ensemble.kill9(behind)?;
        // The follower's own client has lost its server and does not come back.
        if expires {
            drop(one);
        } else {
            one.close()?;
        }
        until("both sessions ended", || {
            writer.sync()?;
            Ok(!writer.exists(&at_leader)? && !writer.exists(&at_behind)?)
        })?;
        for number in 0..WRITES_BEHIND {
            writer.create(&format!("{root}/n{number}"), false)?;
        }
        for start in ["the log of the others", "its own disk"] {
            ensemble.kill9(behind)?;
            ensemble.spawn(behind)?;
            ensemble.wait_until_serving(START_TIME_MAX)?;
            writer = Client::open(ensemble.address(other), CALM_MS)?;
            let right = writer.children(root)?;
            ensure!(right.len() == WRITES_BEHIND, "{} nodes", right.len());
            let mut fresh = Client::open(ensemble.address(behind), CALM_MS)?;
            fresh.sync()?;
            let found = fresh.children(root)?;
            ensure!(found == right, "from {start}: {found:?}, not {right:?}");
            let mntr = word(ensemble.address(behind), b"mntr", REPLY_TIME_MAX)?;
            let ephemerals: Option<u64> = figure(&mntr, "zk_ephemerals_count");
            ensure!(
                ephemerals == Some(0),
                "from {start}: {ephemerals:?} ephemerals"
            );
        }
    }
    Ok(())
}

/// A session at a follower sends nothing but reads for several timeouts, not even a ping, and lives;
/// one that sends nothing at all ends, although its connection stays.
fn readers_live(kind: Kind) -> Result<()> {
    let ensemble = Ensemble::start(&Setup::new(kind, Wiring::Loopback))?;
    let [leader, follower, _] = leader_first(&ensemble)?[..] else {
        bail!("not three members");
    };
    let mut judge = Client::open(ensemble.address(leader), CALM_MS)?;
    let mut reader = Client::open(ensemble.address(follower), BRIEF_MS)?;
    let mut silent = Client::open(ensemble.address(follower), BRIEF_MS)?;
    reader.create("/reader", true)?;
    silent.create("/silent", true)?;
    let timeout = Duration::from_millis(u64::try_from(reader.timeout_ms())?);
    let begin = Instant::now();
    while begin.elapsed() < timeout * 5 {
        sleep(timeout / 4);
        ensure!(reader.exists("/reader")?, "its ephemeral is gone");
        judge.sync()?;
        ensure!(judge.exists("/reader")?, "the leader has ended its session");
    }
    ensure!(
        !judge.exists("/silent")?,
        "a session lives that was silent for five timeouts"
    );
    reader.close()?;
    judge.sync()?;
    ensure!(!judge.exists("/reader")?, "it outlived its session");
    Ok(())
}

/// Members without a client address in their files show lines that end with the role; those with one
/// show it. Curator's EnsembleTracker reads them.
fn lines_without_client_address(kind: Kind) -> Result<()> {
    let ensemble = Ensemble::start(&Setup::new(kind, Wiring::Loopback))?;
    for member in 0..ensemble.len() {
        let text = Client::open(ensemble.address(member), CALM_MS)?.config()?;
        let lines: Vec<&str> = text.split('\n').collect();
        ensure!(lines.len() == ensemble.len() + 1, "lines of {text:?}");
        for (index, line) in lines.iter().enumerate() {
            let Some((name, value)) = line.split_once('=') else {
                bail!("no value: {line:?}");
            };
            if index == ensemble.len() {
                ensure!((name, value) == ("version", "0"), "the last line: {line:?}");
                continue;
            }
            ensure!(name == format!("server.{}", index + 1), "{line:?}");
            let parts: Vec<&str> = value.split(':').collect();
            ensure!(
                matches!(parts[..], ["127.0.0.1", _, _, "participant"]),
                "host, two ports and the role expected: {line:?}"
            );
        }
    }
    Ok(())
}

/// With `leaderServes=no`, clients at the followers are served, and each word of the leader is answered:
/// by the genuine one with that it does not serve; ours serves at all of them.
fn leader_serves_nobody(kind: Kind) -> Result<()> {
    let mut setup = Setup::new(kind, Wiring::Loopback);
    setup.options = setup.options.config("leaderServes", "no");
    let mut ensemble = Ensemble::prepare(&setup)?;
    for member in 0..ensemble.len() {
        ensemble.spawn(member)?;
    }
    let followers = |ensemble: &Ensemble| {
        (0..ensemble.len())
            .filter(|member| ensemble.mode(*member) == Some(Mode::Follower))
            .collect::<Vec<_>>()
    };
    until("two follow", || Ok(followers(&ensemble).len() == 2))?;
    let following = followers(&ensemble);
    let leader = (0..3)
        .find(|member| !following.contains(member))
        .unwrap_or_default();
    let mut writer = Client::open(ensemble.address(following[0]), CALM_MS)?;
    let mut reader = Client::open(ensemble.address(following[1]), CALM_MS)?;
    writer.create("/a", false)?;
    reader.sync()?;
    ensure!(
        reader.exists("/a")?,
        "a write of one is not read by the other"
    );
    let says = |name: &str| word(ensemble.address(leader), name.as_bytes(), REPLY_TIME_MAX);
    let (srvr, mntr) = (says("srvr")?, says("mntr")?);
    ensure!(says("ruok")? == "imok", "ruok: {}", says("ruok")?);
    match kind {
        Kind::ZooKeeper => {
            for text in [srvr, mntr] {
                ensure!(text.contains("not currently serving"), "it says {text}");
            }
        }
        Kind::Oxkeeper | Kind::External(_) => {
            ensure!(srvr.contains("Mode: leader"), "srvr says {srvr}");
            ensure!(
                figure(&mntr, "zk_synced_followers") == Some(2),
                "mntr: {mntr}"
            );
            let mut client = Client::open(ensemble.address(leader), CALM_MS)?;
            ensure!(client.exists("/a")?, "the leader serves an old tree");
        }
    }
    Ok(())
}
