//! The official command line client against a server, its transcripts compared with goldens.
//!
//! A script (`scripts/zkcli/NAME.txt`) is fed to one process of `org.apache.zookeeper.ZooKeeperMain`,
//! line by line; the transcript, with symbols for what differs from run to run, must equal
//! `NAME.golden`, exit code included. Each script has a fresh server. The format is described in
//! `script.rs`.

mod cli;
mod normalise;
mod script;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::client::{REPLY_TIME_MAX, word};
use crate::differential::host::Host;
use crate::differential::side::Side;
use crate::server::{Kind, Options, Server};
use crate::settings;
use crate::suite::{Suite, say};
use cli::Cli;
use normalise::Normaliser;
use script::{Part, Script};

/// Runs the scripts whose name contains `only`; true when all pass.
///
/// With `UPDATE=1` the transcripts become the goldens; only the genuine server may write them.
///
/// # Errors
/// A script or golden cannot be read, or no server starts.
pub fn run(kind: Kind, only: &str) -> Result<bool> {
    let dir = settings::package_dir().join("scripts/zkcli");
    let mut suite = Suite::open(format!("zkCli on {kind}"));
    let mut commands = 0;
    for path in scripts(&dir)? {
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !name.contains(only) {
            continue;
        }
        let mut script = Script::parse(&fs::read_to_string(&path).context("read a script")?)
            .with_context(|| format!("read {name}.txt"))?;
        let external = matches!(kind, Kind::External(_));
        if external && !script.config.is_empty() {
            say(format_args!(
                "skip {name}: needs a server of its own configuration"
            ));
            continue;
        }
        let mut server = Server::start(kind, options(&script))?;
        let member = is_member(&server)?;
        if member {
            script.retain(|line| !shows_membership(line));
        }
        commands += script.commands();
        match transcript(&script, &server) {
            Err(error) => suite.fail(&name, format_args!("{error:#}\n{}", server.log_tail())),
            Ok(text) => compare(
                &mut suite,
                &name,
                &path.with_extension("golden"),
                &text,
                member,
            )?,
        }
        server.stop()?;
        if external {
            sweep(server).context("leave the server as empty as it was")?;
        }
    }
    say(format_args!("{commands} commands"));
    Ok(suite.close())
}

/// Whether the server is one of an ensemble: then `/zookeeper/config` names its members.
fn is_member(server: &Server) -> Result<bool> {
    let answer = word(server.address(), b"srvr", REPLY_TIME_MAX)?;
    Ok(answer.contains("Mode: leader") || answer.contains("Mode: follower"))
}

/// A command that shows `/zookeeper/config`. The goldens have that of a server alone.
fn shows_membership(line: &str) -> bool {
    let mut words = line.split_whitespace();
    match words.next() {
        Some("config") => true,
        Some("get" | "stat") => words.any(|word| word == "/zookeeper/config"),
        _ => false,
    }
}

/// A transcript without the commands that show membership, and what they answered.
fn without_membership(text: &str) -> String {
    let mut kept = String::new();
    let mut skipping = false;
    for line in text.lines() {
        match line.strip_prefix("> ") {
            Some(command) => skipping = shows_membership(command),
            None if line.starts_with("$ ") => skipping = false,
            None => {}
        }
        if !skipping {
            kept += line;
            kept.push('\n');
        }
    }
    kept
}

/// Deletes what a script left on a server that the next script will use, too.
fn sweep(server: Server) -> Result<()> {
    let mut side = Side::new(Host::Lone(Box::new(server)))?;
    let nodes = side.walk()?;
    side.clean(&nodes)
}

fn scripts(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let path = entry.context("read an entry of the scripts")?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn options(script: &Script) -> Options {
    script
        .config
        .iter()
        .fold(Options::default(), |options, (key, value)| {
            options.config(key, value)
        })
}

fn compare(suite: &mut Suite, name: &str, golden: &Path, text: &str, member: bool) -> Result<()> {
    if settings::update_goldens() {
        fs::write(golden, text).with_context(|| format!("write {}", golden.display()))?;
        suite.pass(format_args!("{name} (written)"));
        return Ok(());
    }
    let mut expected = fs::read_to_string(golden)
        .with_context(|| format!("read {}: record it with UPDATE=1", golden.display()))?;
    if member {
        expected = without_membership(&expected);
    }
    if expected == text {
        suite.pass(name);
    } else {
        suite.fail(name, difference(&expected, text));
    }
    Ok(())
}

/// The first differing lines, with what stands around them.
fn difference(expected: &str, found: &str) -> String {
    let (expected, found): (Vec<&str>, Vec<&str>) =
        (expected.lines().collect(), found.lines().collect());
    let same = expected
        .iter()
        .zip(&found)
        .take_while(|(a, b)| a == b)
        .count();
    let command = expected[..same]
        .iter()
        .rposition(|line| line.starts_with("> "))
        .unwrap_or(0);
    let mut text = String::new();
    for line in &expected[command.min(same)..same] {
        text += &format!("      {line}\n");
    }
    for (sign, lines) in [("golden", &expected), ("found ", &found)] {
        for line in lines.iter().skip(same).take(8) {
            text += &format!("{sign}| {line}\n");
        }
    }
    text
}

/// Runs one script from the start of the CLI to its end.
fn transcript(script: &Script, server: &Server) -> Result<String> {
    let mut normaliser = Normaliser::new(server.address());
    let mut text = String::new();
    let mut cli = None;
    for part in &script.parts {
        match part {
            Part::Lines(lines) => {
                let cli = match &mut cli {
                    Some(cli) => cli,
                    None => {
                        let (opened, greeting) = Cli::open(server.address())?;
                        text += &normaliser.block("", &greeting);
                        cli.insert(opened)
                    }
                };
                let sent: Vec<String> = lines.iter().map(|line| normaliser.fill_in(line)).collect();
                for line in lines {
                    text += &format!("> {line}\n");
                }
                let output = cli.ask(&sent)?;
                text += &normaliser.block(&lines[lines.len() - 1], &output);
            }
            Part::Last(lines) => {
                let (output, code) = cli
                    .take()
                    .context("@last needs an open client")?
                    .finish(lines)?;
                for line in lines {
                    text += &format!("> {line}\n");
                }
                text += &normaliser.block("", &output);
                text += &format!("exit code {code}\n");
            }
            Part::Arguments(arguments) => {
                text += &format!("$ {arguments}\n");
                let (output, code) = Cli::run(&normaliser.fill_in(arguments))?;
                // Whether the watcher still prints "connected" before the process ends is chance.
                let answer = normaliser.block("", &output);
                text.extend(
                    answer
                        .split_inclusive('\n')
                        .filter(|line| !line.starts_with("* ")),
                );
                text += &format!("exit code {code}\n");
            }
        }
    }
    if let Some(cli) = cli {
        let (output, code) = cli.finish(&[])?;
        text += &normaliser.block("", &output);
        text += &format!("exit code {code}\n");
    }
    Ok(text)
}
