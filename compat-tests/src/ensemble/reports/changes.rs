//! Sessions that come and go while the leader does.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::{BRIEF_MS, Client, leader_first};
use crate::client::{Connection, Hello, Received, request};
use crate::ensemble::net::Wiring;
use crate::ensemble::{Ensemble, START_TIME_MAX, Setup};
use crate::server::Kind;
use crate::suite::say;

/// How many ask at each follower.
const ASKERS: usize = 4;
/// How often the leader is killed, and how often it is frozen.
const ROUNDS: usize = 2;
/// How long a frozen leader sleeps: the others elect another meanwhile.
const FROZEN: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(2);
const CLOSE_SESSION: i32 = -11;

/// What became of those who asked.
#[derive(Debug, Default)]
struct Tally {
    opened: usize,
    closed: usize,
    cut: usize,
    longest: Duration,
}

/// Clients open and close sessions at both followers without a pause, while the leader is killed and
/// frozen: each request is answered or its connection is closed, within a bound; none is forgotten.
pub(super) fn nobody_waits(kind: Kind) -> Result<()> {
    // A genuine follower that has lost its leader may leave a handshake without an answer until it
    // closes what is idle; ours says something within its bound for a leaderless time.
    let longest = match kind {
        Kind::ZooKeeper => Duration::from_secs(30),
        Kind::Oxkeeper | Kind::External(_) => Duration::from_secs(8),
    };
    let mut ensemble = Ensemble::start(&Setup::new(kind, Wiring::Loopback))?;
    for round in 0..2 * ROUNDS {
        let order = leader_first(&ensemble)?;
        let (leader, followers) = order.split_first().context("nobody")?;
        let addresses: Vec<SocketAddr> = followers.iter().map(|it| ensemble.address(*it)).collect();
        let ending = AtomicBool::new(false);
        let tally = thread::scope(|scope| -> Result<Tally> {
            let ending = &ending;
            let askers: Vec<_> = addresses
                .iter()
                .flat_map(|address| [*address; ASKERS])
                .map(|address| scope.spawn(move || ask(address, longest, ending)))
                .collect();
            let done = trouble(&mut ensemble, *leader, round % 2 == 1);
            ending.store(true, Ordering::SeqCst);
            let mut sum = Tally::default();
            for asker in askers {
                let one = asker.join().map_err(|_| anyhow!("an asker panicked"))??;
                sum.opened += one.opened;
                sum.closed += one.closed;
                sum.cut += one.cut;
                sum.longest = sum.longest.max(one.longest);
            }
            done?;
            Ok(sum)
        })
        .with_context(|| format!("round {round}\n{}", ensemble.logs()))?;
        say(format_args!(
            "     {} sessions opened, {} closed, {} cut off; the longest wait {:.1?}",
            tally.opened, tally.closed, tally.cut, tally.longest
        ));
        ensure!(tally.opened > 2 * ASKERS, "nearly nobody was served");
        ensemble.heal()?;
        ensemble.wait_until_serving(START_TIME_MAX)?;
    }
    no_session_stays(&ensemble)
}

/// The leader goes; returns when another leads and serves.
fn trouble(ensemble: &mut Ensemble, leader: usize, freeze: bool) -> Result<()> {
    sleep(Duration::from_millis(500));
    if freeze {
        ensemble.freeze(leader)?;
        sleep(FROZEN);
        ensemble.thaw(leader)?;
        return ensemble.wait_for_leader(START_TIME_MAX).map(drop);
    }
    ensemble.kill9(leader)?;
    let next = ensemble.wait_for_leader(START_TIME_MAX)?;
    let deadline = Instant::now() + START_TIME_MAX;
    while Client::open(ensemble.address(next), BRIEF_MS).is_err() {
        ensure!(Instant::now() < deadline, "nobody serves");
        sleep(PAUSE);
    }
    Ok(())
}

/// Opens and closes sessions until the end.
///
/// # Errors
/// Something was neither answered nor cut off in time.
fn ask(address: SocketAddr, longest: Duration, ending: &AtomicBool) -> Result<Tally> {
    let mut tally = Tally::default();
    while !ending.load(Ordering::SeqCst) {
        sleep(PAUSE);
        let Ok(mut connection) = Connection::open(address, longest) else {
            tally.cut += 1;
            continue;
        };
        let begin = Instant::now();
        connection.send(&Hello::new(BRIEF_MS).frame());
        match answered(&mut connection).context("opening a session")? {
            true => tally.opened += 1,
            false => tally.cut += 1,
        }
        tally.longest = tally.longest.max(begin.elapsed());
        let begin = Instant::now();
        connection.send(&request(1, CLOSE_SESSION, &[]));
        match answered(&mut connection).context("closing a session")? {
            true => tally.closed += 1,
            false => tally.cut += 1,
        }
        tally.longest = tally.longest.max(begin.elapsed());
    }
    Ok(tally)
}

/// True for an answer, false for an end of the connection.
fn answered(connection: &mut Connection) -> Result<bool> {
    match connection.receive()? {
        Received::Frame(_) => Ok(true),
        Received::Eof => Ok(false),
        Received::Silence => bail!("neither an answer nor an end"),
    }
}

/// Those whose connections were cut off before they could close have expired; nobody else is left.
fn no_session_stays(ensemble: &Ensemble) -> Result<()> {
    let address = ensemble.address(ensemble.wait_for_leader(START_TIME_MAX)?);
    super::until("every session has ended", || {
        Ok(crate::client::session_count(address, crate::client::REPLY_TIME_MAX)? == 0)
    })
}
