//! One process of the official CLI, asked command by command.
//!
//! The CLI prints no prompt when its input is no terminal, and its watcher prints from a thread of
//! its own. So each question is followed by two more lines: `sync /`, which the CLI answers through
//! the very queue that carries the events, and a word that is no command, which it echoes. When the
//! echo has come, so has all that belongs to the question, events included.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::server::QUICK_JVM;
use crate::settings;

const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);
/// The first line of what the CLI prints about a command that it does not know.
const USAGE: &str = "ZooKeeper -server host:port -client-configuration properties-file cmd args";

#[derive(Debug)]
pub(super) struct Cli {
    process: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    marks: usize,
}

impl Cli {
    /// Starts an interactive CLI; also returns what it says until it is connected.
    pub(super) fn open(address: SocketAddr) -> Result<(Self, Vec<String>)> {
        let arguments = format!("-server {address} -timeout 30000 -waitforconnection");
        let mut cli = Self::spawn(&arguments)?;
        let greeting = cli.ask(&[])?;
        Ok((cli, greeting))
    }

    /// Runs a CLI with arguments, without input.
    pub(super) fn run(arguments: &str) -> Result<(Vec<String>, i32)> {
        Self::spawn(arguments)?.finish(&[])
    }

    /// Feeds lines and returns what they print.
    pub(super) fn ask(&mut self, lines: &[String]) -> Result<Vec<String>> {
        self.marks += 1;
        let mark = format!("~{}", self.marks);
        let input = self.input.as_mut().context("the input has ended")?;
        for line in lines {
            writeln!(input, "{line}").context("feed a line")?;
        }
        writeln!(input, "sync /\n{mark}").context("feed the mark")?;
        input.flush().context("feed the mark")?;
        let end = format!("Command not found: Command not found {mark}");
        let mut output = Vec::new();
        loop {
            match self.lines.recv_timeout(ANSWER_TIME_MAX) {
                Ok(line) if line == end => break,
                Ok(line) => output.push(line),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("no end of the answer to {lines:?}:\n{output:#?}")
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("the client ended while it was asked {lines:?}:\n{output:#?}")
                }
            }
        }
        let usage = output
            .iter()
            .rposition(|line| line == USAGE)
            .context("no usage text")?;
        output.truncate(usage);
        // The mark's own `sync`; a watch event may stand behind it.
        let own = output.iter().rposition(|line| {
            line == "Sync is OK" || line == "Not connected" || line.starts_with("Sync has failed.")
        });
        ensure!(own.is_some(), "the mark's sync failed:\n{output:#?}");
        output.remove(own.unwrap_or_default());
        Ok(output)
    }

    /// Feeds lines, ends the input, and waits for the end of the process.
    pub(super) fn finish(mut self, lines: &[String]) -> Result<(Vec<String>, i32)> {
        if let Some(mut input) = self.input.take() {
            for line in lines {
                writeln!(input, "{line}").context("feed a line")?;
            }
        }
        let mut output = Vec::new();
        loop {
            match self.lines.recv_timeout(ANSWER_TIME_MAX) {
                Ok(line) => output.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => bail!("the client does not end:\n{output:#?}"),
            }
        }
        let status = self.process.wait().context("wait for the client")?;
        Ok((output, status.code().unwrap_or(-1)))
    }

    fn spawn(arguments: &str) -> Result<Self> {
        let (reader, writer) = std::io::pipe().context("make a pipe")?;
        let mut process = Command::new("java")
            .args(QUICK_JVM)
            .args([
                "-Xmx128m",
                "-Dcompat.level=OFF",
                "-cp",
                &settings::class_path()?,
            ])
            .arg("org.apache.zookeeper.ZooKeeperMain")
            .args(arguments.split_whitespace())
            // Java reads and prints text by the locale; the scripts and transcripts are UTF-8.
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            // One pipe for both, so that the order of what is printed is kept.
            .stdout(writer.try_clone().context("share a pipe")?)
            .stderr(writer)
            .spawn()
            .context("start the client")?;
        let input = process.stdin.take();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            process,
            input,
            lines,
            marks: 0,
        })
    }
}

impl Drop for Cli {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
