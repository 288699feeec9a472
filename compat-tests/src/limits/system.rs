//! Descriptors and threads run out: the server goes on, and its log and its tree as well. Our
//! server only: a genuine one ends at its next snapshot.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Case, metrics, until, with_metrics};
use crate::client::{Connection, Hello, REPLY_TIME_MAX, Received, figure, word};
use crate::fault::Tracer;
use crate::hostile::pipe::{Pipe, create, read, set};
use crate::server::{Kind, Options, Server};
use crate::suite::say;

pub(super) const OURS: [(&str, Case); 2] = [
    ("no more descriptors", descriptors),
    ("connections take neither threads nor memory maps", crowd),
];

const SESSION_MS: i32 = 30_000;
/// The hard limit of descriptors.
const DESCRIPTORS: usize = 256;
/// Longer than a runtime keeps a thread that has nothing to do, unless it is told to.
const IDLE: Duration = Duration::from_secs(11);

/// A server whose log and tree open files all the time.
fn busy() -> Options {
    Options::default()
        .config("snapSizeLimitInKb", "4096")
        .config("preAllocSize", "64")
}

/// Fills segments, and has checkpoints taken.
fn write_much(pipe: &mut Pipe, round: usize) -> Result<()> {
    let path = format!("/much-{round}");
    pipe.create(&path, b"", 0)?;
    let value = vec![b'x'; 8 << 10];
    let asks: Vec<_> = (0..2000).map(|_| (5, set(&path, &value, -1))).collect();
    let errors = pipe.ask(&asks)?;
    ensure!(
        errors.iter().all(|error| *error == 0),
        "a write was refused"
    );
    let more: Vec<_> = (0..500)
        .map(|index| (1, create(&format!("{path}/{index}"), b"y", 0)))
        .collect();
    let errors = pipe.ask(&more)?;
    ensure!(
        errors.iter().all(|error| *error == 0),
        "a create was refused"
    );
    Ok(())
}

/// Entries of /proc/PID/`name`: `fd`, `task`.
fn entries(server: &Server, name: &str) -> Result<usize> {
    let pid = server.pid().context("the server does not run")?;
    let entries = fs::read_dir(format!("/proc/{pid}/{name}"));
    Ok(entries.with_context(|| format!("list its {name}"))?.count())
}

fn memory_maps(server: &Server) -> Result<usize> {
    let pid = server.pid().context("the server does not run")?;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).context("read its maps")?;
    Ok(maps.lines().count())
}

/// What a thousand clients cost besides their descriptors.
fn crowd(kind: Kind) -> Result<()> {
    const CLIENTS: usize = 1000;
    let mut server = Server::start(kind, Options::default())?;
    let first = Pipe::open(server.address(), SESSION_MS)?;
    let (threads, maps) = (entries(&server, "task")?, memory_maps(&server)?);
    let clients: Result<Vec<_>> = (0..CLIENTS)
        .map(|_| Pipe::open(server.address(), SESSION_MS))
        .collect();
    let clients = clients?;
    ensure!(entries(&server, "fd")? > CLIENTS, "they are connected");
    let (more_threads, more_maps) = (entries(&server, "task")?, memory_maps(&server)?);
    ensure!(
        more_threads <= threads + 4,
        "{more_threads} threads, {threads} before"
    );
    ensure!(
        more_maps <= maps + CLIENTS / 4,
        "{more_maps} maps, {maps} before"
    );
    drop((first, clients));
    server.stop()?;
    Ok(())
}

fn checkpoints(server: &Server) -> usize {
    server.log().matches("checkpoint taken").count()
}

/// More clients than descriptors: those that find no place wait, those that have one are served.
fn descriptors(kind: Kind) -> Result<()> {
    let shell = format!("ulimit -Sn 100 && ulimit -Hn {DESCRIPTORS} && exec \"$0\" \"$@\"");
    let (options, port) = with_metrics(busy())?;
    let mut server = Server::start(kind, options.under(&["sh", "-c", &shell]))?;
    let mntr = word(server.address(), b"mntr", REPLY_TIME_MAX)?;
    let max: Option<usize> = figure(&mntr, "zk_max_file_descriptor_count");
    ensure!(
        max == Some(DESCRIPTORS),
        "the limit was not raised: {max:?}"
    );
    ensure!(
        server.log().contains("256 (raised from 100)"),
        "the log does not say so"
    );

    let mut writer = Pipe::open(server.address(), SESSION_MS)?;
    let mut waiting = Vec::new();
    for _ in 0..2 * DESCRIPTORS {
        let mut connection = Connection::open(server.address(), REPLY_TIME_MAX)?;
        connection.send(&Hello::new(SESSION_MS).frame());
        waiting.push(connection);
    }
    ensure!(
        waiting[0].receive()? != Received::Eof,
        "the first one was not served"
    );
    let full = until(|| {
        let log = server.log();
        Ok(log
            .contains("no file descriptors for more connections")
            .then_some(()))
    })?;
    ensure!(full.is_some(), "nobody had to wait:\n{}", server.log_tail());
    let page = metrics(port)?;
    let max = format!("\nmax_file_descriptor_count {DESCRIPTORS}.0\n");
    ensure!(page.contains(&max), "the metrics:\n{page}");
    for round in 0..2 {
        let before = checkpoints(&server);
        write_much(&mut writer, round)?;
        let taken = until(|| Ok((checkpoints(&server) > before).then_some(())))?;
        ensure!(taken.is_some(), "no checkpoint:\n{}", server.log_tail());
    }
    let files = entries(&server, "fd")?;
    ensure!(files < DESCRIPTORS - 16, "{files} descriptors are in use");
    ensure!(server.is_running(), "the server is gone");
    // As those in front leave, the others are served: all of them in the end.
    for (index, mut connection) in waiting.into_iter().enumerate().skip(1) {
        let came = connection.receive()?;
        ensure!(
            matches!(came, Received::Frame(_)),
            "client {index}: {came:?}"
        );
    }
    writer.close()?;
    let status = server.stop()?.context("no exit status")?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// A server that has had nothing to do for a while when the system has no more threads.
pub(super) struct Threads {
    server: Server,
    since: Instant,
}

impl Threads {
    /// Starts it, if it is ours and can be traced.
    pub(super) fn start(kind: Kind) -> Result<Option<Self>> {
        if kind != Kind::Oxkeeper {
            return Ok(None);
        }
        if let Some(why) = Tracer::why_not() {
            say(format_args!("skip no more threads: {why}"));
            return Ok(None);
        }
        let server = Server::start(kind, busy())?;
        let since = Instant::now();
        Ok(Some(Self { server, since }))
    }

    /// Whatever clients ask, no thread is to be had.
    pub(super) fn run_out(&mut self) -> Result<()> {
        std::thread::sleep(IDLE.saturating_sub(self.since.elapsed()));
        let server = &mut self.server;
        let _tracer = Tracer::inject(server, "clone,clone3", "error=EAGAIN")?;
        let address = server.address();
        let mut pipe = Pipe::open(address, SESSION_MS)?;
        let before = checkpoints(server);
        write_much(&mut pipe, 0)?;
        let all = |name: &'static str| word(address, name.as_bytes(), REPLY_TIME_MAX);
        std::thread::scope(|scope| -> Result<()> {
            let names = ["mntr", "cons", "dump", "wchs", "dirs", "stat"];
            let asked: Vec<_> = (0..4)
                .flat_map(|_| names)
                .map(|name| (name, scope.spawn(move || all(name))))
                .collect();
            for (name, asking) in asked {
                let answer = asking.join().expect("a client's thread does not panic")?;
                ensure!(!answer.is_empty(), "no answer to {name}");
            }
            Ok(())
        })?;
        let errors = pipe.ask(&[(8, read("/much-0", false)), (104, read_path("/much-0"))])?;
        ensure!(errors == [0, 0], "{errors:?}");
        let taken = until(|| Ok((checkpoints(server) > before).then_some(())))?;
        ensure!(taken.is_some(), "no checkpoint:\n{}", server.log_tail());
        pipe.close()?;
        ensure!(
            server.is_running(),
            "the server is gone:\n{}",
            server.log_tail()
        );
        drop(_tracer);
        server.stop()?;
        Ok(())
    }
}

/// Body of getAllChildrenNumber.
fn read_path(path: &str) -> Vec<u8> {
    let mut w = crate::wire::Writer::new();
    w.buffer(Some(path.as_bytes()));
    w.finish()
}
