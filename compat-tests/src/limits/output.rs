//! Nobody reads what the server has to say, or it cannot be written; and the signals with which
//! operators rotate logs and ask what a process is at.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::process::Signal;
use tempfile::{NamedTempFile, TempDir};

use super::{Case, metrics, until, with_metrics};
use crate::client::request;
use crate::hostile::pipe::{Pipe, create, read};
use crate::server::{Kind, Options, Server};
use crate::wire::Writer;

const SESSION_MS: i32 = 30_000;
/// At this level each request makes lines.
const LOUD: (&str, &str) = ("OXKEEPER_LOG", "trace");

pub(super) const CASES: [(&str, Case); 1] = [("kill -QUIT", quit)];

/// A genuine server ends with SIGHUP, and waits for an unread pipe.
pub(super) const OURS: [(&str, Case); 6] = [
    ("kill -HUP", hangup),
    ("output onto a full disk", full_disk),
    ("output into a file that may not grow", full_file),
    ("output into a pipe whose reader is gone", closed_pipe),
    ("output into a pipe whose reader comes back", reopened_pipe),
    ("output into an unread pipe", unread_pipe),
];

/// A named pipe in a directory of its own.
struct Fifo {
    _dir: TempDir,
    path: PathBuf,
}

impl Fifo {
    fn new() -> Result<Self> {
        let dir = tempfile::tempdir().context("make a directory for a pipe")?;
        let path = dir.path().join("log");
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, &path, FileType::Fifo, mode, 0).context("make a named pipe")?;
        Ok(Self { _dir: dir, path })
    }

    /// A reader, which does not wait for a writer or for bytes.
    fn reader(&self) -> Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd: OwnedFd = open(&self.path, flags, Mode::empty()).context("open the pipe")?;
        Ok(File::from(fd))
    }
}

/// Options, and where the metrics are.
fn loud(output: &Path) -> Result<(Options, u16)> {
    let options = Options::default().environment(LOUD.0, LOUD.1);
    with_metrics(options.output(output))
}

/// What clients may do that makes lines at any level, and writes and reads that must be answered.
fn use_it(server: &Server, round: usize) -> Result<()> {
    let mut pipe = Pipe::open(server.address(), SESSION_MS)?;
    let path = format!("/{round}");
    pipe.create(&path, b"x", 0)?;
    for _ in 0..200 {
        let errors = pipe.ask(&[(4, read(&path, false)), (1, create(&path, b"", 0))])?;
        ensure!(errors == [0, -110], "{errors:?}");
    }
    // Refused credentials, a frame of 1 GiB, a length below zero.
    let mut auth = Writer::new();
    auth.i32(0).buffer(Some(b"nosuch")).buffer(Some(b"x"));
    let mut stranger = Pipe::open(server.address(), SESSION_MS)?;
    stranger.connection.send(&request(-4, 100, &auth.finish()));
    for length in [1_i32 << 30, -1] {
        let mut stranger = Pipe::open(server.address(), SESSION_MS)?;
        stranger.connection.send(&length.to_be_bytes());
        stranger.connection.read_to_end()?;
    }
    pipe.close()
}

/// Lines lost, as the metrics at `port` say.
fn lost(port: u16) -> Result<u64> {
    let page = metrics(port)?;
    let found = page
        .lines()
        .find_map(|line| line.strip_prefix("stdout_lines_lost_total ")?.parse().ok());
    let lost: f64 = found.context("the metrics do not count lost lines")?;
    Ok(lost as u64)
}

/// Waits until at least `least` lines have been lost.
fn await_lost(port: u16, least: u64) -> Result<u64> {
    until(|| Ok(Some(lost(port)?).filter(|lost| *lost >= least)))?.context("no lines were lost")
}

fn end(mut server: Server) -> Result<()> {
    ensure!(server.is_running(), "the server is gone");
    let status = server.stop()?.context("no exit status")?;
    ensure!(status.success(), "{status}");
    Ok(())
}

fn full_disk(kind: Kind) -> Result<()> {
    let (options, port) = loud(Path::new("/dev/full"))?;
    let server = Server::start(kind, options)?;
    for round in 0..3 {
        use_it(&server, round)?;
    }
    await_lost(port, 100)?;
    end(server)
}

/// What the kernel's SIGXFSZ would end.
fn full_file(kind: Kind) -> Result<()> {
    // Room for a segment of the log; in the units of the shell.
    const BYTES: u64 = 40_960 * 512;
    let file = NamedTempFile::new().context("make a file")?;
    file.as_file().set_len(BYTES).context("fill it")?;
    let shell = ["sh", "-c", "ulimit -f 40960 && exec \"$0\" \"$@\""];
    let (options, port) = loud(file.path())?;
    let server = Server::start(kind, options.under(&shell))?;
    use_it(&server, 0)?;
    await_lost(port, 100)?;
    end(server)
}

fn closed_pipe(kind: Kind) -> Result<()> {
    let fifo = Fifo::new()?;
    let reader = fifo.reader()?;
    let (options, port) = loud(&fifo.path)?;
    let server = Server::start(kind, options)?;
    drop(reader);
    for round in 0..3 {
        use_it(&server, round)?;
    }
    await_lost(port, 100)?;
    end(server)
}

fn reopened_pipe(kind: Kind) -> Result<()> {
    let fifo = Fifo::new()?;
    let reader = fifo.reader()?;
    let (options, port) = loud(&fifo.path)?;
    let server = Server::start(kind, options)?;
    drop(reader);
    use_it(&server, 0)?;
    let before = await_lost(port, 1)?;
    let mut reader = fifo.reader()?;
    let mut text = String::new();
    let mut rounds = 0;
    let told = until(|| {
        rounds += 1;
        use_it(&server, rounds)?;
        read_some(&mut reader, &mut text)?;
        Ok(text.contains("lines were lost lost=").then_some(()))
    })?;
    ensure!(
        told.is_some(),
        "no line tells of those that were lost:\n{text}"
    );
    let line = text.lines().find(|line| line.contains("lines were lost"));
    let count = line.and_then(|line| line.rsplit_once('=')?.1.parse::<u64>().ok());
    ensure!(
        count.is_some_and(|count| count >= before),
        "{line:?}, {before} before"
    );
    ensure!(text.matches("lines were lost").count() == 1, "told twice");
    end(server)
}

/// All that is there.
fn read_some(reader: &mut File, text: &mut String) -> Result<()> {
    let mut bytes = Vec::new();
    match reader.read_to_end(&mut bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
            return Err(error).context("read the pipe");
        }
        _ => text.push_str(&String::from_utf8_lossy(&bytes)),
    }
    Ok(())
}

/// Neither serving nor the end waits for the reader.
fn unread_pipe(kind: Kind) -> Result<()> {
    let fifo = Fifo::new()?;
    let reader = fifo.reader()?;
    let (options, port) = loud(&fifo.path)?;
    let server = Server::start(kind, options)?;
    let mut rounds = 0;
    let lost = until(|| {
        use_it(&server, rounds)?;
        rounds += 1;
        Ok((lost(port)? > 0).then_some(()))
    })?;
    ensure!(lost.is_some(), "no lines were lost in {rounds} rounds");
    use_it(&server, rounds)?;
    end(server)?;
    drop(reader);
    Ok(())
}

fn hangup(kind: Kind) -> Result<()> {
    let server = Server::start(kind, Options::default())?;
    server.signal(Signal::HUP)?;
    let said = until(|| Ok(server.log().contains("SIGHUP").then_some(())))?;
    ensure!(
        said.is_some(),
        "nothing is said of it:\n{}",
        server.log_tail()
    );
    use_it(&server, 0)?;
    end(server)
}

/// It tells what it is at, and lives.
fn quit(kind: Kind) -> Result<()> {
    let mut server = Server::start(kind, Options::default())?;
    let told: &[&str] = match kind {
        Kind::ZooKeeper => &["Full thread dump"],
        _ => &[
            "what the server is at:",
            "workers: ",
            " descriptors, ",
            " threads:",
            "ensemble: leader",
            "connections: 1 of ",
            "sessions: 1; watches: 0",
            "state: zxid 0x",
            "disk: tree ",
        ],
    };
    let pipe = Pipe::open(server.address(), SESSION_MS)?;
    server.signal(Signal::QUIT)?;
    let said = until(|| {
        let log = server.log();
        Ok(told.iter().all(|words| log.contains(words)).then_some(()))
    })?;
    ensure!(said.is_some(), "not all is told:\n{}", server.log());
    pipe.close()?;
    use_it(&server, 0)?;
    ensure!(server.is_running(), "the server is gone");
    server.stop()?;
    Ok(())
}
