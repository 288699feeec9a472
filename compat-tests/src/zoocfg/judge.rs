//! Asks a server whether it starts with a case: ours by `--check` and by a start, the genuine one by
//! a start.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::table::Case;
use crate::client::{Connection, Received, request};
use crate::server::QUICK_JVM;
use crate::settings;
use crate::wire::Writer;

/// Ours begins within a fraction of it.
const SILENCE_MAX: Duration = Duration::from_secs(12);
/// Of a JVM on a machine that has much else to do. What is silent there is never waited for.
const JVM_MAX: Duration = Duration::from_secs(60);
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// What becomes of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Clients are served.
    Starts,
    /// The process ends.
    Ends,
    /// It runs, and no client is served.
    Mute,
}

/// Asks a second time where the answer is not the expected one: a port that was free a moment ago
/// may have been taken.
pub(super) fn twice(expected: Decision, ask: impl Fn() -> Result<Decision>) -> Result<Decision> {
    let found = ask()?;
    if found == expected { Ok(found) } else { ask() }
}

/// What ours decides. `started`: also where `--check` and the genuine server agree.
pub(super) fn ours(case: &Case, started: bool) -> Result<Decision> {
    let place = Place::new(case)?;
    let binary = settings::oxkeeper_binary()?;
    let checked = Command::new(&binary)
        .args(place.property(case))
        .arg("--check")
        .arg(place.dir.path().join("zoo.cfg"))
        .current_dir(place.dir.path())
        .output()
        .context("run our server")?;
    if !checked.status.success() {
        return Ok(Decision::Ends);
    }
    if case.genuine == Decision::Starts && !started {
        return Ok(Decision::Starts);
    }
    let mut command = Command::new(&binary);
    command.args(place.property(case));
    place.start(command, SILENCE_MAX)
}

/// What the genuine server decides.
pub(super) fn genuine(case: &Case) -> Result<Decision> {
    let place = Place::new(case)?;
    let mut command = Command::new("java");
    command
        .args(QUICK_JVM)
        .args(["-Xmx512m", "-Dzookeeper.jmx.log4j.disable=true"])
        .args(place.property(case))
        .args(["-cp", &settings::class_path()?])
        .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain");
    place.start(command, JVM_MAX)
}

/// A directory with the zoo.cfg of a case.
struct Place {
    dir: TempDir,
    /// `None`: the case says otherwise, or something that is no port.
    port: Option<u16>,
}

impl Place {
    /// The lines that every case has, unless it says otherwise, then its own: as `Verdicts.java` does.
    fn new(case: &Case) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("zoocfg-")
            .tempdir_in(settings::data_root())
            .context("make a directory for a case")?;
        let port = free_port()?.to_string();
        let data_dir = dir.path().join("data").display().to_string();
        let mut lines: Vec<(String, String)> = [
            ("dataDir", data_dir.as_str()),
            ("clientPort", &port),
            ("clientPortAddress", "127.0.0.1"),
            ("admin.enableServer", "false"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec();
        let mut set = |key: &str, value: &str| {
            lines.retain(|(known, _)| known != key);
            lines.push((key.to_owned(), value.to_owned()));
        };
        for line in &case.with {
            let (key, value) = line.split_once('=').context("a line of the context")?;
            set(key, &value.replace("{port}", &free_port()?.to_string()));
        }
        if !case.is_property {
            set(&case.key, &case.value);
        }
        let text: String = lines.iter().map(|(k, v)| format!("{k}={v}\n")).collect();
        fs::write(dir.path().join("zoo.cfg"), text).context("write zoo.cfg")?;
        let port = lines
            .iter()
            .find(|(key, _)| key == "clientPort")
            .and_then(|(_, value)| value.parse().ok());
        Ok(Self { dir, port })
    }

    fn property(&self, case: &Case) -> Option<String> {
        case.is_property
            .then(|| format!("-D{}={}", case.key, case.value))
    }

    fn start(&self, mut command: Command, patience: Duration) -> Result<Decision> {
        let log = self.dir.path().join("output");
        let output = File::create(&log).context("make a file for the output")?;
        let mut child = command
            .arg(self.dir.path().join("zoo.cfg"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("share the output")?)
            .stderr(output)
            .spawn()
            .context("start a server")?;
        let decision = self.watch(&mut child, &log, patience);
        // It may have ended by itself.
        drop(child.kill());
        child.wait().context("wait for a server")?;
        decision
    }

    fn watch(&self, child: &mut Child, log: &Path, patience: Duration) -> Result<Decision> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if child.try_wait().context("look at a server")?.is_some() {
                return Ok(Decision::Ends);
            }
            let port = self.port.filter(|&port| port != 0).or_else(|| port_of(log));
            if port.is_some_and(is_served) && child.try_wait().context("look")?.is_none() {
                return Ok(Decision::Starts);
            }
            sleep(Duration::from_millis(20));
        }
        Ok(Decision::Mute)
    }
}

/// The port that was picked for `clientPort=0`, from the server's own words.
fn port_of(log: &Path) -> Option<u16> {
    let text = String::from_utf8_lossy(&fs::read(log).ok()?).into_owned();
    let behind = text.rsplit_once("127.0.0.1:")?.1;
    let end = behind
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(behind.len());
    behind[..end].parse().ok()
}

/// Opens a session and creates a znode, as `Verdicts.java` does.
fn is_served(port: u16) -> bool {
    let create = || -> Result<bool> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut connection = Connection::open(address, ANSWER_MAX)?;
        connection.new_session(10_000)?;
        let mut body = Writer::new();
        body.buffer(Some(b"/a")).buffer(None).i32(1).i32(31);
        body.buffer(Some(b"world")).buffer(Some(b"anyone")).i32(1);
        connection.send(&request(1, 1, &body.finish()));
        Ok(matches!(connection.receive()?, Received::Frame(_)))
    };
    create().unwrap_or(false)
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("look for a free port")?;
    Ok(listener
        .local_addr()
        .context("look for a free port")?
        .port())
}
