//! Runs a program, one of the suites with real clients as a rule, on a server of an ensemble.
//!
//! The program finds `SERVER=HOST:PORT` in its environment, as for a server that somebody else started:
//! what needs a server of its own is skipped by it. With `--rolling` the servers are restarted in turn
//! meanwhile, so the program should be given all of them.

use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::net::Wiring;
use super::{Ensemble, START_TIME_MAX, Setup};
use crate::server::{Kind, Options};
use crate::suite::say;

const PAUSE: Duration = Duration::from_millis(50);

/// Which server the program is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Whom {
    /// A follower.
    Follower,
    /// The leader.
    Leader,
    /// All, with commas between them.
    All,
    /// One address, behind which each connection finds the next server that takes it: for programs
    /// that know one address only.
    Any,
}

/// What is run.
#[derive(Debug)]
pub struct Plan {
    /// Which servers.
    pub kind: Kind,
    /// Which of them the program is given.
    pub whom: Whom,
    /// How long there is between the restarts of two servers, if they are restarted.
    pub rolling: Option<Duration>,
    /// More lines of zoo.cfg.
    pub config: Vec<(String, String)>,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How long it may take.
    pub time_max: Duration,
}

/// Runs the program; true when it ended with 0 and the ensemble still serves.
///
/// # Errors
/// One of them cannot be started, or the ensemble has not survived.
pub fn run(plan: &Plan) -> Result<bool> {
    let mut options = Options::default()
        .config("initLimit", "10")
        .config("syncLimit", "5");
    for (key, value) in &plan.config {
        options = options.config(key, value);
    }
    let mut ensemble = Ensemble::start(&Setup {
        options,
        ..Setup::new(plan.kind, Wiring::Loopback)
    })?;
    let leader = ensemble.wait_for_leader(START_TIME_MAX)?;
    let addresses: Vec<String> = ensemble
        .addresses()
        .iter()
        .map(ToString::to_string)
        .collect();
    let server = match plan.whom {
        Whom::Leader => addresses[leader].clone(),
        Whom::Follower => addresses[(leader + 1) % addresses.len()].clone(),
        Whom::All => addresses.join(","),
        Whom::Any => balance(ensemble.addresses())?.to_string(),
    };
    say(format_args!(
        "{} of three: {}, leader {}: SERVER={server} {}",
        plan.kind,
        addresses.join(" "),
        leader + 1,
        plan.command.join(" ")
    ));
    let (program, arguments) = plan
        .command
        .split_first()
        .context("name a program to run")?;
    let mut child = Command::new(program)
        .args(arguments)
        .env("SERVER", &server)
        .spawn()
        .with_context(|| format!("start {program}"))?;
    let passed = wait(&mut child, plan, &mut ensemble);
    if passed.is_err() {
        child.kill().context("end the program")?;
        child.wait().context("wait for the program")?;
    }
    let passed = passed?;
    ensemble.wait_until_serving(START_TIME_MAX)?;
    if !passed {
        say(ensemble.logs());
    }
    Ok(passed)
}

/// Listens for connections and leads each to the next server that takes it.
fn balance(servers: Vec<SocketAddr>) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
    let address = listener.local_addr().context("listen")?;
    thread::spawn(move || {
        for (turn, near) in listener.incoming().flatten().enumerate() {
            let order = servers.iter().cycle().skip(turn).take(servers.len());
            let far = order
                .copied()
                .find_map(|server| TcpStream::connect(server).ok());
            // A connection that nobody takes is closed, as by a server that is down.
            if let Some(far) = far {
                drop(forward(&near, &far));
            }
        }
    });
    Ok(address)
}

fn forward(near: &TcpStream, far: &TcpStream) -> std::io::Result<()> {
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    for (from, to) in [(near, far), (far, near)] {
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        thread::spawn(move || {
            drop(std::io::copy(&mut from, &mut to)); // however it ends, it has ended
            drop(from.shutdown(Shutdown::Both));
            drop(to.shutdown(Shutdown::Both));
        });
    }
    Ok(())
}

fn wait(child: &mut Child, plan: &Plan, ensemble: &mut Ensemble) -> Result<bool> {
    let begin = Instant::now();
    let mut restarted = Instant::now();
    let mut turn = 0;
    while begin.elapsed() < plan.time_max {
        if let Some(status) = child.try_wait().context("wait for the program")? {
            return Ok(status.success());
        }
        if plan
            .rolling
            .is_some_and(|pause| restarted.elapsed() > pause)
        {
            let member = turn % ensemble.len();
            ensemble.kill9(member)?;
            ensemble.spawn(member)?;
            let took = ensemble.wait_until_serving(START_TIME_MAX)?;
            say(format_args!(
                "-- server {} killed, back after {took:.1?}",
                member + 1
            ));
            turn += 1;
            restarted = Instant::now();
        }
        sleep(PAUSE);
    }
    say(format_args!("FAIL not done within {:?}", plan.time_max));
    child.kill().context("end the program")?;
    child.wait().context("wait for the program")?;
    Ok(false)
}
