//! Three become five and three and five again by the request, under load: from any server, while the
//! leader is killed inside a change, and with the leader among those who go.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::super::net::Wiring;
use super::super::{Ensemble, START_TIME_MAX, Setup};
use super::{Plan, judged};
use crate::client::{Connection, REPLY_TIME_MAX, Received, request};
use crate::wire::{Reader, Writer};

const OP_GET_DATA: i32 = 4;
const OP_RECONFIG: i32 = 16;
const OP_AUTH: i32 = 100;
const XID_AUTH: i32 = -4;
const CONFIG: &[u8] = b"/zookeeper/config";
const IN_PROGRESS: i32 = -14;
/// A change that nobody disturbs.
const CHANGED_WITHIN: Duration = Duration::from_secs(30);

pub(super) fn run(plan: &Plan) -> Result<String> {
    let mut setup = Setup::new(plan.kind, Wiring::Loopback);
    setup.members = 5;
    setup.founders = Some(3);
    for key in ["reconfigEnabled", "skipACL"] {
        let value = if key == "skipACL" { "yes" } else { "true" };
        setup.options = setup.options.config(key, value);
    }
    setup.options = setup.options.config("standaloneEnabled", "false");
    let mut ensemble = Ensemble::prepare(&setup)?;
    (0..3).try_for_each(|member| ensemble.spawn(member))?;
    ensemble.wait_for_leader(START_TIME_MAX)?;
    wait_for(&ensemble, 0, &[1, 2, 3])?;
    let took = judged(plan, &mut ensemble, drive)?;
    Ok(format!("changed in {took:.1?}"))
}

/// All that is done; how long each change took.
fn drive(ensemble: &mut Ensemble) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    ensemble.spawn(3)?;
    ensemble.spawn(4)?;
    let both = format!("{},{}", ensemble.line(3), ensemble.line(4));
    took.push(change(ensemble, 1, &both, "", &[1, 2, 3, 4, 5])?);
    ensemble.wait_until_serving(START_TIME_MAX)?;

    took.push(change(ensemble, 0, "", "4,5", &[1, 2, 3])?);
    for gone in [3, 4] {
        ensemble.kill9(gone)?;
        ensemble.wipe(gone)?;
    }

    // One of those who join is not there, so that the change is under way when the leader dies.
    ensemble.spawn(3)?;
    let leader = ensemble.wait_for_leader(START_TIME_MAX)?;
    let asked = ensemble.address((leader + 1) % 3);
    let begin = Instant::now();
    let asking = thread::spawn(move || {
        loop {
            // What only looks whether a change has begun is one itself, for a moment.
            match ask(asked, &both, "") {
                Ok(IN_PROGRESS) => {}
                answer => return answer,
            }
        }
    });
    if let Err(error) = wait_until_begun(ensemble.address((leader + 2) % 3)) {
        let answer = asking.join();
        bail!("{error:#}; who asked was told {answer:?}");
    }
    ensemble.kill9(leader)?;
    ensemble.spawn(4)?;
    let other = (leader + 2) % 3;
    wait_for(ensemble, other, &[1, 2, 3, 4, 5])?;
    took.push(begin.elapsed());
    let Ok(answer) = asking.join() else {
        bail!("who asked has panicked");
    };
    let answer = answer.context("its server lives")?;
    ensure!(
        answer == 0,
        "the change has been made, and answered {answer}"
    );
    ensemble.spawn(leader)?;
    ensemble.wait_until_serving(START_TIME_MAX)?;

    let leader = ensemble.wait_for_leader(START_TIME_MAX)?;
    let stay = (leader + 1) % 5;
    let number = leader + 1;
    let left: Vec<usize> = (1..=5).filter(|it| *it != number).collect();
    took.push(change(ensemble, stay, "", &number.to_string(), &left)?);
    let back = ensemble.line(leader);
    took.push(change(ensemble, stay, &back, "", &[1, 2, 3, 4, 5])?);
    ensemble.wait_until_serving(START_TIME_MAX)?;
    Ok(took)
}

/// Asks a member for a change and sees that it is made.
fn change(
    ensemble: &Ensemble,
    member: usize,
    joining: &str,
    leaving: &str,
    expected: &[usize],
) -> Result<Duration> {
    let begin = Instant::now();
    let answer = ask(ensemble.address(member), joining, leaving);
    let answer = answer.with_context(|| ensemble.logs())?;
    ensure!(answer == 0, "refused with {answer}\n{}", ensemble.logs());
    wait_for(ensemble, member, expected)?;
    Ok(begin.elapsed())
}

/// The error code.
fn ask(at: SocketAddr, joining: &str, leaving: &str) -> Result<i32> {
    let mut connection = open(at)?;
    let mut auth = Writer::new();
    auth.i32(0)
        .buffer(Some(b"digest"))
        .buffer(Some(b"super:admin"));
    connection.send(&request(XID_AUTH, OP_AUTH, &auth.finish()));
    answer(&mut connection, XID_AUTH)?;
    connection.set_patience(CHANGED_WITHIN)?;
    let some = |text: &str| (!text.is_empty()).then(|| text.as_bytes().to_vec());
    let mut body = Writer::new();
    body.buffer(some(joining).as_deref())
        .buffer(some(leaving).as_deref())
        .buffer(None)
        .i64(-1);
    connection.send(&request(1, OP_RECONFIG, &body.finish()));
    let (code, _) = answer(&mut connection, 1)?;
    Ok(code)
}

/// Waits until a change is under way: another one is refused, and changes nothing.
fn wait_until_begun(at: SocketAddr) -> Result<()> {
    let begin = Instant::now();
    loop {
        let answer = ask(at, "", "")?;
        if answer == IN_PROGRESS {
            return Ok(());
        }
        let is_late = begin.elapsed() > CHANGED_WITHIN;
        ensure!(!is_late, "no change has begun: {answer}");
    }
}

/// Waits until the config of a member names these servers.
fn wait_for(ensemble: &Ensemble, member: usize, expected: &[usize]) -> Result<()> {
    let begin = Instant::now();
    loop {
        let found = members(ensemble.address(member));
        if found.as_deref().is_ok_and(|found| found == expected) {
            return Ok(());
        }
        if begin.elapsed() > CHANGED_WITHIN {
            let logs = ensemble.logs();
            bail!("the members are {found:?} and not {expected:?}\n{logs}");
        }
    }
}

/// The servers that the config names, if it is that of the log.
fn members(at: SocketAddr) -> Result<Vec<usize>> {
    let mut connection = open(at)?;
    let mut body = Writer::new();
    body.buffer(Some(CONFIG)).bool(false);
    connection.send(&request(1, OP_GET_DATA, &body.finish()));
    let (code, data) = answer(&mut connection, 1)?;
    ensure!(code == 0, "the config cannot be read: {code}");
    let data = Reader::new(&data).buffer()?.context("no data")?.to_vec();
    connection.close_session()?;
    let text = String::from_utf8(data).context("the config is no text")?;
    ensure!(!text.ends_with("version=0"), "still that of the files");
    let ids = text.lines().filter_map(|line| {
        let (id, _) = line.strip_prefix("server.")?.split_once('=')?;
        id.parse().ok()
    });
    Ok(ids.collect())
}

fn open(at: SocketAddr) -> Result<Connection> {
    let mut connection = Connection::open(at, REPLY_TIME_MAX)?;
    connection.new_session(10_000)?;
    Ok(connection)
}

/// The code and the body of the reply to this request.
fn answer(connection: &mut Connection, xid: i32) -> Result<(i32, Vec<u8>)> {
    let Received::Frame(frame) = connection.receive()? else {
        bail!("no answer to request {xid}");
    };
    let mut reader = Reader::new(&frame);
    let found = reader.i32()?;
    ensure!(found == xid, "the reply to {found} came for that to {xid}");
    reader.i64()?;
    let code = reader.i32()?;
    Ok((code, reader.rest().to_vec()))
}
