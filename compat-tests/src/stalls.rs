//! A disk that hangs, and clients that are slow: what is answered meanwhile, what must wait, and that
//! no session is lost by it.
//!
//! The tracer holds up every sync of the server until it is let go of.

use std::io::Read;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Connection, Hello, REPLY_TIME_MAX, Received, request};
use crate::fault::Tracer;
use crate::hostile::pipe::{Pipe, create, read, set};
use crate::server::{Kind, Options, Server};
use crate::suite::{Suite, say};
use crate::wire::{Reader, Writer};

/// A case, on a server of its own.
type Case = fn(Kind) -> Result<()>;

const CREATE: i32 = 1;
const EXISTS: i32 = 3;
const GET_DATA: i32 = 4;
const GET_CHILDREN: i32 = 8;
const SYNC: i32 = 9;
const PING: i32 = 11;
const GET_EPHEMERALS: i32 = 103;
const PING_XID: i32 = -2;

const SESSION_MS: i32 = 30_000;
/// The shortest session timeout that these servers grant.
const SHORT_MS: i32 = 4_000;
/// Three such timeouts.
const LONG_STALL: Duration = Duration::from_secs(12);
/// Long enough for a request to be read and proposed, and for what overtakes it to be answered.
const SHORT_STALL: Duration = Duration::from_millis(1_500);

/// Runs all cases; true when all passed.
///
/// # Errors
/// Nothing can be traced here.
pub fn run(kind: Kind) -> Result<bool> {
    let mut suite = Suite::open(format!("stalls on {kind}"));
    if let Some(why) = Tracer::why_not() {
        bail!("a disk cannot be held up: {why}");
    }
    let cases: [(&str, Case); 10] = [
        ("a session that comes back sees its write", comes_back),
        ("sync waits for what was submitted before it", sync_waits),
        ("no session is lost by a stalled disk", spares_sessions),
        (
            "a dead session ends after a stall all the same",
            ends_the_dead,
        ),
        ("a slow reader that pings keeps its session", slow_reader),
        ("a busy slow disk spares nobody", busy),
        ("a disk that hangs at every sync spares nobody", hangs_again),
        ("sessions live while their requests are served", is_served),
        ("a pause of the process", pause),
        ("SIGTERM while the disk stalls", terminates),
    ];
    thread::scope(|scope| {
        let running: Vec<_> = cases
            .iter()
            .map(|(name, case)| (name, scope.spawn(move || case(kind))))
            .collect();
        for (name, case) in running {
            match case.join().expect("a case does not panic") {
                Ok(()) => suite.pass(name),
                Err(error) => suite.fail(name, format_args!("{error:#}")),
            }
        }
    });
    Ok(suite.close())
}

fn start(kind: Kind) -> Result<Server> {
    let options = Options::default()
        .config("forceSync", "yes")
        .config("minSessionTimeout", "4000");
    Server::start(kind, options)
}

/// From now on no sync ends before the tracer is dropped.
fn stall(server: &Server) -> Result<Tracer> {
    Tracer::inject(server, "fdatasync,fsync,msync", "delay_enter=120000000")
}

/// Holds a session up by pings until told otherwise; each must be answered if `answers`.
fn ping(pipe: &mut Pipe, answers: bool) -> Result<()> {
    pipe.connection.send(&request(PING_XID, PING, &[]));
    if answers {
        let reply = pipe.reply().context("a ping")?;
        let xid = Reader::new(&reply).i32()?;
        ensure!(xid == PING_XID, "a reply to {xid} instead of the ping's");
    }
    Ok(())
}

fn is_there(pipe: &mut Pipe, path: &str) -> Result<bool> {
    Ok(pipe.ask(&[(EXISTS, read(path, false))])?[0] == 0)
}

/// Curator's protected creates look for their node on the next connection exactly so.
fn comes_back(kind: Kind) -> Result<()> {
    for (path, bytes) in [("/small", 10), ("/large", 100_000)] {
        let server = start(kind)?;
        let mut before = Connection::open(server.address(), REPLY_TIME_MAX)?;
        let (session, password) = before.new_session(SESSION_MS)?;
        let stalled = stall(&server)?;
        before.send(&request(1, CREATE, &create(path, &vec![7; bytes], 0)));
        sleep(SHORT_STALL / 3);
        drop(before);
        let mut after = Connection::open(server.address(), REPLY_TIME_MAX)?;
        let hello = Hello {
            session,
            password: Some(password),
            ..Hello::new(SESSION_MS)
        };
        ensure!(after.take_up(&hello)?, "the session is gone");
        let mut after = Pipe {
            connection: after,
            events: 0,
        };
        after
            .connection
            .send(&request(1, GET_CHILDREN, &read("/", false)));
        sleep(SHORT_STALL);
        drop(stalled);
        let reply = after.reply()?;
        let mut reader = Reader::new(&reply[16..]);
        let mut found = false;
        for _ in 0..reader.count()?.unwrap_or(0) {
            found |= reader
                .buffer()?
                .is_some_and(|name| name == &path.as_bytes()[1..]);
        }
        ensure!(found, "{path} was overtaken by a read of its own session");
    }
    Ok(())
}

fn sync_waits(kind: Kind) -> Result<()> {
    let server = start(kind)?;
    let mut writer = Pipe::open(server.address(), SESSION_MS)?;
    let mut reader = Pipe::open(server.address(), SESSION_MS)?;
    let stalled = stall(&server)?;
    // More than one batch, and more than a connection hands over at once.
    for index in 0..40 {
        let path = format!("/node-{index:02}");
        let body = create(&path, &[7; 100_000], 0);
        writer.connection.send(&request(index, CREATE, &body));
    }
    sleep(SHORT_STALL / 3);
    let mut path = Writer::new();
    path.buffer(Some(b"/"));
    let mut both = request(1, SYNC, &path.finish());
    both.extend(request(2, EXISTS, &read("/node-39", false)));
    reader.connection.send(&both);
    sleep(SHORT_STALL);
    drop(stalled);
    for what in ["sync", "exists"] {
        let error = Reader::new(&reader.reply().context(what)?[12..]).i32()?;
        ensure!(error == 0, "{what}: {error}");
    }
    Ok(())
}

/// Sessions that do something each while the disk hangs.
struct Sessions {
    /// Pings, and has an ephemeral.
    pings: Pipe,
    /// Reads what is in memory.
    reads: Pipe,
    /// Writes, waits for the answer as clients do, and comes back on new connections.
    writes: Connection,
    again: Hello,
    /// Comes while it hangs.
    newcomer: Connection,
}

impl Sessions {
    /// The session that writes and the newcomer have asked when this returns, and `stalled` began.
    fn open(server: &Server) -> Result<(Self, Tracer)> {
        let address = server.address();
        let mut pings = Pipe::open(address, SHORT_MS)?;
        pings.create("/ephemeral", b"", 1)?;
        let reads = Pipe::open(address, SHORT_MS)?;
        let mut writes = Connection::open(address, REPLY_TIME_MAX)?;
        let (session, password) = writes.new_session(SHORT_MS)?;
        let again = Hello {
            session,
            password: Some(password),
            ..Hello::new(SHORT_MS)
        };
        let stalled = stall(server)?;
        writes.send(&request(1, CREATE, &create("/written", b"", 1)));
        let mut newcomer = Connection::open(address, 2 * LONG_STALL)?;
        newcomer.send(&Hello::new(SHORT_MS).frame());
        let sessions = Self {
            pings,
            reads,
            writes,
            again,
            newcomer,
        };
        Ok((sessions, stalled))
    }

    /// Three timeouts long. Our server answers meanwhile who does not wait for the disk.
    fn hold(&mut self, server: &Server) -> Result<()> {
        let ours = server.kind() == Kind::Oxkeeper;
        let began = Instant::now();
        let mut round = 0;
        while began.elapsed() < LONG_STALL {
            sleep(Duration::from_secs(1));
            ping(&mut self.pings, ours).context("during the stall")?;
            if ours {
                let found = is_there(&mut self.reads, "/zookeeper");
                ensure!(found.context("a read during the stall")?, "no /zookeeper");
            } else {
                ping(&mut self.reads, false)?;
            }
            round += 1;
            if round % 3 == 0 {
                self.writes = Connection::open(server.address(), REPLY_TIME_MAX)?;
                self.writes.send(&self.again.frame());
            }
        }
        Ok(())
    }
}

/// The reply to the request of this xid, behind those to pings.
fn answer_to(pipe: &mut Pipe, xid: i32) -> Result<i32> {
    loop {
        let reply = pipe.reply()?;
        let mut reader = Reader::new(&reply);
        if reader.i32()? == xid {
            return Reader::new(&reply[12..]).i32();
        }
    }
}

fn spares_sessions(kind: Kind) -> Result<()> {
    let server = start(kind)?;
    let (mut sessions, stalled) = Sessions::open(&server)?;
    sessions.hold(&server)?;
    drop(stalled);
    sleep(Duration::from_millis(100));
    let Sessions {
        mut pings,
        mut reads,
        again,
        mut newcomer,
        writes: _writes,
    } = sessions;
    let ephemeral = request(9, EXISTS, &read("/ephemeral", false));
    pings.connection.send(&ephemeral);
    let error = answer_to(&mut pings, 9).context("the session that pinged")?;
    ensure!(error == 0, "its ephemeral: {error}");
    let root = request(9, EXISTS, &read("/", false));
    reads.connection.send(&root);
    answer_to(&mut reads, 9).context("the session that read")?;
    let mut connection = Connection::open(server.address(), REPLY_TIME_MAX)?;
    ensure!(
        connection.take_up(&again)?,
        "the session that wrote is gone"
    );
    let mut writes = Pipe {
        connection,
        events: 0,
    };
    let found = is_there(&mut writes, "/written").context("the session that wrote")?;
    ensure!(found, "its ephemeral is gone");
    if kind != Kind::Oxkeeper {
        // A genuine server lets a session expire that it has not even granted yet.
        return Ok(());
    }
    match newcomer.receive()? {
        Received::Frame(frame) => {
            let session = Reader::new(&frame[8..]).i64()?;
            ensure!(session != 0, "no session for the newcomer");
        }
        other => bail!("the newcomer: {other:?}"),
    }
    let mut newcomer = Pipe {
        connection: newcomer,
        events: 0,
    };
    let found = is_there(&mut newcomer, "/").context("the newcomer")?;
    ensure!(found, "no root");
    Ok(())
}

/// Time that does not count comes to an end.
fn ends_the_dead(kind: Kind) -> Result<()> {
    let server = start(kind)?;
    let mut dead = Pipe::open(server.address(), SHORT_MS)?;
    dead.create("/dead", b"", 1)?;
    let mut other = Pipe::open(server.address(), SESSION_MS)?;
    let stalled = stall(&server)?;
    other
        .connection
        .send(&request(1, CREATE, &create("/other", b"", 0)));
    sleep(2 * SHORT_STALL);
    drop(stalled);
    other.reply()?;
    let deadline = Instant::now() + Duration::from_millis(SHORT_MS as u64) * 4;
    while is_there(&mut other, "/dead")? {
        ensure!(Instant::now() < deadline, "a session that is dead lives on");
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A disk that is slow and gets on is no stall: whoever is dead expires beside a client that writes
/// as much as it can.
fn busy(kind: Kind) -> Result<()> {
    let server = start(kind)?;
    let mut dead = Pipe::open(server.address(), SHORT_MS)?;
    dead.create("/dead", b"", 1)?;
    drop(dead);
    let mut writer = Pipe::open(server.address(), SESSION_MS)?;
    writer.create("/busy", b"", 0)?;
    let slow = Tracer::inject(&server, "fdatasync,fsync,msync", "delay_enter=100000")?;
    let body = set("/busy", &[7; 100_000], -1);
    let deadline = Instant::now() + Duration::from_millis(SHORT_MS as u64) * 5;
    loop {
        // Always some megabytes under way.
        for _ in 0..40 {
            writer.connection.send(&request(1, 5, &body));
        }
        writer
            .connection
            .send(&request(2, EXISTS, &read("/dead", false)));
        if answer_to(&mut writer, 2)? == -101 {
            drop(slow);
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "a session that is dead lives on");
    }
}

/// One stall after the other, each longer than a tick, with hardly any time between them: whoever is
/// dead expires all the same, and whoever pings lives.
fn hangs_again(kind: Kind) -> Result<()> {
    let server = start(kind)?;
    let mut dead = Pipe::open(server.address(), SHORT_MS)?;
    dead.create("/dead", b"", 1)?;
    drop(dead);
    let mut alive = Pipe::open(server.address(), SHORT_MS)?;
    alive.create("/alive", b"", 1)?;
    let mut writer = Pipe::open(server.address(), SESSION_MS)?;
    writer.create("/busy", b"", 0)?;
    let slow = Tracer::inject(&server, "fdatasync,fsync,msync", "delay_enter=3000000")?;
    let is_over = AtomicBool::new(false);
    let gone = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                alive.connection.send(&request(PING_XID, PING, &[]));
                sleep(Duration::from_millis(500));
            }
        });
        let gone = goes(&mut writer, "/dead");
        is_over.store(true, Ordering::Relaxed);
        gone
    });
    drop(slow);
    ensure!(gone?, "a session that is dead lives on");
    alive
        .connection
        .send(&request(9, EXISTS, &read("/alive", false)));
    let error = answer_to(&mut alive, 9).context("the session that pinged")?;
    ensure!(error == 0, "its ephemeral: {error}");
    Ok(())
}

/// Whether a znode goes within some session timeouts, beside one write after the other.
fn goes(writer: &mut Pipe, path: &str) -> Result<bool> {
    let deadline = Instant::now() + Duration::from_millis(SHORT_MS as u64) * 6;
    let body = set("/busy", &[7; 100], -1);
    while Instant::now() < deadline {
        writer.connection.send(&request(1, 5, &body));
        writer
            .connection
            .send(&request(2, EXISTS, &read(path, false)));
        if answer_to(writer, 2)? == -101 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Many connections have more in the server's hands than it serves within their sessions' timeouts;
/// all of them ping. Nothing is read from a connection whose inbox is being served.
///
/// The genuine server serves nobody else meanwhile, and is not judged.
fn is_served(kind: Kind) -> Result<()> {
    const CLIENTS: usize = 24;
    const EPHEMERALS: usize = 400_000;
    /// So few at once that no socket fills up with what is not read yet.
    const PORTION: usize = 2_000;
    const MEASURED: i32 = 20;
    /// As many as an inbox holds.
    const ASKED_MAX: f64 = 5_000.0;
    /// Two timeouts and a half.
    const SERVED: f64 = 10.0;
    if kind != Kind::Oxkeeper {
        return Ok(());
    }
    let server = start(kind)?;
    let mut owner = Pipe::open(server.address(), SHORT_MS)?;
    for first in (0..EPHEMERALS).step_by(PORTION) {
        let portion = first..first + PORTION;
        let asked: Vec<u8> = portion
            .clone()
            .flat_map(|index| {
                let body = create(&format!("/e{index}"), b"", 1);
                request(index as i32, CREATE, &body)
            })
            .collect();
        owner.connection.send(&asked);
        answer_to(&mut owner, portion.end as i32 - 1)?;
    }
    // Each walks over all of its session's ephemerals, and answers with none.
    let mut prefix = Writer::new();
    prefix.buffer(Some(b"/zzz"));
    let body = prefix.finish();
    let ask = |count: i32| -> Vec<u8> {
        let asked = (0..count).flat_map(|xid| request(xid, GET_EPHEMERALS, &body));
        asked.collect()
    };
    let some = Instant::now();
    owner.connection.send(&ask(MEASURED));
    answer_to(&mut owner, MEASURED - 1)?;
    let one = some.elapsed().as_secs_f64() / f64::from(MEASURED);
    let count = (SERVED / one).min(ASKED_MAX) as i32;
    let mut owners = Vec::new();
    for _ in 0..CLIENTS {
        owners.push(Pipe::open(server.address(), SHORT_MS)?);
    }
    let many = ask(count);
    owner.connection.send(&many);
    let long = Instant::now();
    for (index, pipe) in owners.iter_mut().enumerate() {
        pipe.create(&format!("/of-{index}"), b"", 1)?;
    }
    while long.elapsed() < Duration::from_millis(SHORT_MS as u64) * 2 {
        owner.connection.send(&request(PING_XID, PING, &[]));
        for pipe in &mut owners {
            pipe.connection.send(&request(PING_XID, PING, &[]));
        }
        sleep(Duration::from_millis(500));
    }
    answer_to(&mut owner, count - 1).context("the session that asked for much")?;
    owner
        .connection
        .send(&request(9, EXISTS, &read("/e0", false)));
    let error = answer_to(&mut owner, 9).context("the session that asked for much")?;
    ensure!(error == 0, "its ephemerals: {error}");
    for (index, pipe) in owners.iter_mut().enumerate() {
        let path = format!("/of-{index}");
        pipe.connection
            .send(&request(9, EXISTS, &read(&path, false)));
        let error = answer_to(pipe, 9).context("a session that pinged")?;
        ensure!(error == 0, "its ephemeral: {error}");
    }
    Ok(())
}

/// The whole process stands still, for less than a session timeout and for more; then what clients
/// sent meanwhile is still to be read. The genuine server expires whom it finds overdue first, and is
/// not judged.
fn pause(kind: Kind) -> Result<()> {
    let server = start(kind)?;
    let pid = server.pid().context("it does not run")?;
    let pid = Pid::from_raw(pid as i32).context("a pid")?;
    for pause_ms in [5_000, 7_000] {
        let mut pings = Pipe::open(server.address(), SHORT_MS)?;
        pings.create("/ephemeral", b"", 1)?;
        kill_process(pid, Signal::STOP).context("SIGSTOP")?;
        for _ in 0..pause_ms / 500 {
            pings.connection.send(&request(PING_XID, PING, &[]));
            sleep(Duration::from_millis(500));
        }
        kill_process(pid, Signal::CONT).context("SIGCONT")?;
        let is_alive = |pipe: &mut Pipe| {
            let exists = request(9, EXISTS, &read("/ephemeral", false));
            pipe.connection.send(&exists);
            Ok::<_, anyhow::Error>(answer_to(pipe, 9)? == 0)
        };
        // A tick later every sweep that the pause delayed is over.
        sleep(Duration::from_millis(2_100));
        let alive = is_alive(&mut pings);
        if kind == Kind::Oxkeeper {
            ensure!(alive.context("after a pause")?, "its ephemeral is gone");
            pings.close()?;
        }
    }
    Ok(())
}

/// Takes 8 MB of replies at some 500 KB a second, and pings meanwhile.
fn slow_reader(kind: Kind) -> Result<()> {
    const REPLIES: usize = 16;
    let server = start(kind)?;
    let mut writer = Pipe::open(server.address(), SESSION_MS)?;
    writer.create("/large", b"", 0)?;
    writer.set("/large", &vec![7; 500_000], -1)?;
    let mut stream = TcpStream::connect(server.address()).context("connect")?;
    let mut bytes = Hello::new(SHORT_MS).frame();
    for xid in 0..REPLIES as i32 {
        bytes.extend(request(xid + 1, GET_DATA, &read("/large", false)));
    }
    std::io::Write::write_all(&mut stream, &bytes).context("ask")?;
    let mut taken = 0;
    let mut chunk = vec![0; 50_000];
    let mut pinged = Instant::now();
    let all = REPLIES * 500_000;
    while taken < all {
        let count = stream
            .read(&mut chunk)
            .context("its session has been lost")?;
        ensure!(count > 0, "closed after {taken} bytes");
        taken += count;
        sleep(Duration::from_millis(100 * count as u64 / 50_000));
        if pinged.elapsed() > Duration::from_secs(1) {
            pinged = Instant::now();
            let ping = request(PING_XID, PING, &[]);
            std::io::Write::write_all(&mut stream, &ping).context("ping")?;
        }
    }
    Ok(())
}

/// Clients wait for writes and for syncs; an orderly stop does not wait for the disk for long. The
/// genuine server's does, and is not judged.
fn terminates(kind: Kind) -> Result<()> {
    const STOP_MAX: Duration = Duration::from_secs(10);
    let mut server = start(kind)?;
    let mut writer = Pipe::open(server.address(), SESSION_MS)?;
    let mut syncer = Pipe::open(server.address(), SESSION_MS)?;
    let stalled = stall(&server)?;
    writer
        .connection
        .send(&request(1, CREATE, &create("/x", b"", 0)));
    sleep(SHORT_STALL / 5);
    let mut path = Writer::new();
    path.buffer(Some(b"/"));
    syncer.connection.send(&request(1, SYNC, &path.finish()));
    syncer.connection.send(&request(2, 5, &set("/", b"", -1)));
    sleep(SHORT_STALL / 5);
    let pid = server.pid().context("it does not run")?;
    kill_process(Pid::from_raw(pid as i32).context("a pid")?, Signal::TERM).context("SIGTERM")?;
    let began = Instant::now();
    // A thread that the tracer holds can only be awaited once that lets go; the process has ended.
    while server.is_running() && began.elapsed() < STOP_MAX {
        sleep(Duration::from_millis(20));
    }
    let took = began.elapsed();
    let is_running = server.is_running();
    drop(stalled);
    server.stop()?;
    say(format_args!("stopped after {:.1} s", took.as_secs_f64()));
    ensure!(
        !is_running || kind != Kind::Oxkeeper,
        "it still runs after {took:?}"
    );
    Ok(())
}
