//! Sessions whose time is over while their clients' handshakes with another server are in the log and not
//! applied: the leader gives them up behind that.
//!
//! The disks of all servers hang for less time than is taken for a stall, across at least one sweep of the
//! leader's.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::net::Wiring;
use super::super::{Ensemble, START_TIME_MAX};
use super::{Change, setup};
use crate::client::{Connection, Hello, REPLY_TIME_MAX, Received};
use crate::disk::Library;
use crate::hostile::pipe::{Pipe, create, read};
use crate::wire::Reader;

const RULES: &str = "disk-rules";
const TIMEOUT_MS: i32 = 2_000;
const SESSIONS: usize = 30;
const ROUNDS: usize = 5;
/// Between two sessions: their times are over one after the other.
const APART: Duration = Duration::from_millis(35);
/// Longer than a tick of the ensemble's, shorter than what counts as a stall.
const HANGS: Duration = Duration::from_millis(850);

/// A session, silent on its first server.
struct Moving {
    path: String,
    hello: Hello,
    _before: Connection,
}

/// See the head of the file.
///
/// # Errors
/// A session that was welcomed is gone, or one that was told of its end has left something behind.
pub fn moves_as_it_expires(change: &Change<'_>) -> Result<String> {
    let library = Library::of("disk_faults")?;
    let mut setup = setup(Wiring::Loopback);
    setup.options = setup
        .options
        .environment("LD_PRELOAD", &library.path().display().to_string())
        .environment("DISK_FAULTS", RULES);
    let ensemble = Ensemble::start(&change(setup))?;
    let (mut welcomed, mut ended) = (0, 0);
    for round in 0..ROUNDS {
        let leader = ensemble.wait_for_leader(START_TIME_MAX)?;
        let (from, to) = ((leader + 1) % 3, (leader + 2) % 3);
        let (some, others) = play(&ensemble, round, from, to)?;
        welcomed += some;
        ended += others;
    }
    ensure!(welcomed > 0, "all had ended before they moved");
    Ok(format!(
        "{welcomed} moved in time, {ended} were told that they had not"
    ))
}

/// Opens them, one after the other, each with an ephemeral.
fn open(ensemble: &Ensemble, round: usize, from: usize) -> Result<Vec<Moving>> {
    let mut moving = Vec::new();
    for index in 0..SESSIONS {
        let mut before = Connection::open(ensemble.address(from), REPLY_TIME_MAX)?;
        let (session, password) = before.new_session(TIMEOUT_MS)?;
        let path = format!("/moving-{round}-{index}");
        before.send(&crate::client::request(1, 1, &create(&path, b"", 1)));
        ensure!(
            matches!(before.receive()?, Received::Frame(_)),
            "no answer to a create"
        );
        let hello = Hello {
            session,
            password: Some(password),
            ..Hello::new(TIMEOUT_MS)
        };
        moving.push(Moving {
            path,
            hello,
            _before: before,
        });
        sleep(APART);
    }
    Ok(moving)
}

fn play(ensemble: &Ensemble, round: usize, from: usize, to: usize) -> Result<(usize, usize)> {
    let begin = Instant::now();
    let moving = open(ensemble, round, from)?;
    // The first are about to be given up, the last have most of a second left.
    sleep(Duration::from_millis(TIMEOUT_MS as u64 + 250).saturating_sub(begin.elapsed()));
    hang(ensemble, true)?;
    let mut after = Vec::new();
    for one in &moving {
        let mut connection = Connection::open(ensemble.address(to), REPLY_TIME_MAX)?;
        connection.send(&one.hello.frame());
        after.push(connection);
    }
    sleep(HANGS);
    hang(ensemble, false)?;
    let (mut living, mut gone) = (Vec::new(), Vec::new());
    for (one, mut connection) in moving.into_iter().zip(after) {
        match connection.receive()? {
            Received::Frame(frame) if Reader::new(&frame[8..]).i64()? == one.hello.session => {
                living.push((one.path, connection));
            }
            // Told so, or sent away because the end was under way.
            Received::Frame(_) | Received::Eof => gone.push(one.path),
            Received::Silence => anyhow::bail!("a handshake is not answered"),
        }
    }
    // Whatever was decided before is done by then, and nobody's time is over again.
    sleep(Duration::from_millis(300));
    let counts = (living.len(), gone.len());
    for (path, connection) in living {
        let mut pipe = Pipe {
            connection,
            events: 0,
        };
        let error = pipe.ask(&[(3, read(&path, false))]);
        let error = error.with_context(|| format!("{path}: welcomed, then gone"))?[0];
        ensure!(
            error == 0,
            "{path}: welcomed, then its ephemeral is gone: {error}"
        );
        pipe.close()?;
    }
    let mut pipe = Pipe::open(ensemble.address(to), 30_000)?;
    for path in gone {
        let until = Instant::now() + Duration::from_secs(8);
        while pipe.ask(&[(3, read(&path, false))])?[0] == 0 {
            ensure!(
                Instant::now() < until,
                "{path}: its session has ended, and it stays"
            );
            sleep(Duration::from_millis(50));
        }
    }
    pipe.close()?;
    Ok(counts)
}

fn hang(ensemble: &Ensemble, hangs: bool) -> Result<()> {
    for member in 0..ensemble.len() {
        let rules = ensemble.dir(member)?.join(RULES);
        if hangs {
            fs::write(rules, "sync hang .segment").context("write a rule")?;
        } else {
            fs::remove_file(rules).context("remove a rule")?;
        }
    }
    Ok(())
}
