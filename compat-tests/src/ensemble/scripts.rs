//! The genuine scripts on our servers: `zkServer.sh status` of each member, as an operator asks it, finds
//! the server by the files it was started with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::net::Wiring;
use super::{Ensemble, START_TIME_MAX, Setup};
use crate::server::Kind;
use crate::settings;
use crate::suite::Suite;

/// Asks every member by the scripts of the distribution at `home`; true when all answers are right.
///
/// # Errors
/// There are no scripts, or no ensemble starts.
pub fn run(kind: Kind, home: &Path) -> Result<bool> {
    let script = home.join("bin/zkServer.sh");
    ensure!(
        script.is_file(),
        "no {}: ZOOKEEPER_HOME is an unpacked distribution of Apache ZooKeeper",
        script.display()
    );
    let mut suite = Suite::open(format!("zkServer.sh status on three of {kind}"));
    let mut ensemble = Ensemble::start(&Setup::new(kind, Wiring::Loopback))?;
    let leader = ensemble.wait_for_leader(START_TIME_MAX)?;
    for member in 0..ensemble.len() {
        let role = if member == leader {
            "leader"
        } else {
            "follower"
        };
        judge(
            &mut suite,
            &format!("server {} is a {role}", member + 1),
            status(&script, &ensemble, member),
            (true, &format!("Mode: {role}")),
        );
    }
    for member in 0..ensemble.len() {
        if member != leader {
            ensemble.kill9(member)?;
        }
    }
    let deadline = std::time::Instant::now() + START_TIME_MAX;
    while ensemble.mode(leader).is_some() {
        ensure!(
            std::time::Instant::now() < deadline,
            "it serves without the others"
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    judge(
        &mut suite,
        "one that the others have left does not run for the script",
        status(&script, &ensemble, leader),
        (
            false,
            "Error contacting service. It is probably not running.",
        ),
    );
    Ok(suite.close())
}

fn judge(suite: &mut Suite, name: &str, found: Result<(bool, String)>, right: (bool, &str)) {
    match found {
        Ok((succeeded, last)) if (succeeded, last.as_str()) == right => suite.pass(name),
        Ok(other) => suite.fail(name, format_args!("{other:?}, not {right:?}")),
        Err(error) => suite.fail(name, format_args!("{error:#}")),
    }
}

/// Whether the script succeeded, and the last line that it printed.
fn status(script: &Path, ensemble: &Ensemble, member: usize) -> Result<(bool, String)> {
    let data = ensemble.server(member).data_dir().context("its files")?;
    let own: PathBuf = data.parent().context("its directory")?.to_owned();
    let logs = own.join("script-logs");
    fs::create_dir_all(&logs).context("make a directory for the script")?;
    let output = Command::new("bash")
        .arg(script)
        .arg("--config")
        .arg(&own)
        .arg("status")
        .env("ZOO_LOG_DIR", &logs)
        .env("CLASSPATH", settings::class_path()?)
        .output()
        .context("run zkServer.sh")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().next_back().unwrap_or_default().to_owned();
    Ok((output.status.success(), last))
}
