//! Reads of trees that are larger than the memory they are given: with values and listings that no
//! cache holds, several clients at once, and requests for more than may be answered.
//!
//! Whatever is read is compared with what was written: the tree follows from a few numbers. A genuine
//! ZooKeeper has no such setting; it is given enough memory, and what is too much for it is left out.

use std::net::SocketAddr;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::client::{Connection, REPLY_TIME_MAX, Received, request};
use crate::hostile::pipe::{Pipe, create, read, set};
use crate::server::{Kind, Options, Server, process_figure};
use crate::suite::{Suite, say};
use crate::wire::{Reader, Writer};

/// A case, on a server of its own.
type Case = fn(Kind) -> Result<()>;

const SESSION_MS: i32 = 60_000;
/// How long a reply may take that comes from the disk.
const REPLY_TIME: Duration = Duration::from_secs(30);
const KIB: usize = 1 << 10;
/// As large as a request may be that creates it.
const MEGABYTE: usize = 1_000_000;

/// Runs all cases; true when all passed.
///
/// # Errors
/// No server starts.
pub fn run(kind: Kind) -> Result<bool> {
    let mut suite = Suite::open(format!("memory on {kind}"));
    let cases: [(&str, Case); 5] = [
        ("8 MB: every read, of a tree that is larger", |kind| {
            reads(kind, &LITTLE)
        }),
        ("64 MB: every read, of a tree that is larger", |kind| {
            reads(kind, &SOME)
        }),
        (
            "128 MB: a listing that no cache holds, and everybody else",
            crowd,
        ),
        ("more than may be answered", too_much),
        ("large replies that nobody reads", unread),
    ];
    for (name, case) in cases {
        match case(kind) {
            Ok(()) => suite.pass(name),
            Err(error) => suite.fail(name, format_args!("{error:#}")),
        }
    }
    Ok(suite.close())
}

/// A tree: what is below which parent, and how much.
struct Plan {
    memory: &'static str,
    /// Znodes of `/v`, and the bytes of each.
    values: (usize, usize),
    /// Znodes of `/w`, and the bytes of each.
    smaller: (usize, usize),
    /// Children of `/s`, with names of 36 letters and hardly any data.
    names: usize,
    /// Bytes of `/big`.
    big: usize,
}

const LITTLE: Plan = Plan {
    memory: "8M",
    values: (12, MEGABYTE),
    smaller: (200, 90 * KIB),
    names: 40_000,
    big: 4 * MEGABYTE,
};
const SOME: Plan = Plan {
    memory: "64M",
    values: (60, MEGABYTE),
    smaller: (300, 90 * KIB),
    names: 100_000,
    big: 8 * MEGABYTE,
};

fn options(memory: &str) -> Options {
    Options::default()
        .config("oxkeeper.memory", memory)
        .property("jute.maxbuffer", "33554432")
        .java(["-Xmx3g"])
}

/// What the znode at `path` holds.
fn value(path: &str, bytes: usize) -> Vec<u8> {
    path.bytes().cycle().take(bytes).collect()
}

/// The name of a child of `/s`: like a GUID, in no order.
fn name(index: usize) -> String {
    let mixed = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let other = mixed.rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hex = format!("{mixed:016x}{other:016x}");
    let (a, b, c, d, e) = (
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    );
    format!("{a}-{b}-{c}-{d}-{e}")
}

fn open(address: SocketAddr) -> Result<Pipe> {
    let mut connection = Connection::open(address, REPLY_TIME)?;
    connection.new_session(SESSION_MS).context("new session")?;
    Ok(Pipe {
        connection,
        events: 0,
    })
}

/// A server with this tree, restarted: nothing of it is in memory.
fn grown(kind: Kind, plan: &Plan) -> Result<Server> {
    grown_on(kind, plan, |options| options)
}

/// The same with other settings.
fn grown_on(kind: Kind, plan: &Plan, set: impl Fn(Options) -> Options) -> Result<Server> {
    let mut server = Server::start(kind, set(options(plan.memory)))?;
    let mut pipe = open(server.address())?;
    for parent in ["/v", "/w", "/s"] {
        pipe.create(parent, b"", 0)?;
    }
    pipe.create("/big", &value("/big", plan.big), 0)?;
    for (parent, (count, bytes)) in [("/v", plan.values), ("/w", plan.smaller)] {
        for index in 0..count {
            let path = format!("{parent}/{index}");
            pipe.create(&path, &value(&path, bytes), 0)?;
        }
    }
    grow_names(&mut pipe, plan.names)?;
    pipe.close()?;
    if !matches!(kind, Kind::External(_)) {
        server.restart()?;
    }
    Ok(server)
}

/// Creates the children of `/s`, a thousand in a multi.
fn grow_names(pipe: &mut Pipe, count: usize) -> Result<()> {
    let all: Vec<usize> = (0..count).collect();
    let multis: Vec<_> = all.chunks(1000).map(|part| (14, multi(part))).collect();
    // Their replies are large, too, and are read only when all of a part has been sent.
    for part in multis.chunks(50) {
        let errors = pipe.ask(part)?;
        ensure!(errors.iter().all(|error| *error == 0), "multis: {errors:?}");
    }
    Ok(())
}

fn multi(part: &[usize]) -> Vec<u8> {
    let mut w = Writer::new();
    for index in part {
        w.i32(1).bool(false).i32(-1);
        w.raw(&create(&format!("/s/{}", name(*index)), b"x", 0));
    }
    w.i32(-1).bool(true).i32(-1);
    w.finish()
}

/// Sends a request and returns the reply's error and body.
fn ask(pipe: &mut Pipe, op: i32, body: &[u8]) -> Result<(i32, Vec<u8>)> {
    pipe.connection.send(&request(1, op, body));
    let frame = pipe.reply()?;
    let error = Reader::new(&frame[12..]).i32()?;
    Ok((error, frame[16..].to_vec()))
}

/// Body of a multiRead: op 4 reads data, op 8 lists children.
fn multi_read(items: impl IntoIterator<Item = (i32, String)>) -> Vec<u8> {
    let mut w = Writer::new();
    for (op, path) in items {
        w.i32(op).bool(false).i32(-1);
        w.raw(&read(&path, false));
    }
    w.i32(-1).bool(true).i32(-1);
    w.finish()
}

const STAT: usize = 68;

fn check_value(reader: &mut Reader<'_>, path: &str, bytes: usize) -> Result<()> {
    let data = reader.buffer()?.unwrap_or_default();
    ensure!(data == value(path, bytes), "{path}: {} bytes", data.len());
    reader.take(STAT).map(drop)
}

fn check_values(body: &[u8], items: &[(i32, String)], bytes: usize) -> Result<()> {
    let mut reader = Reader::new(body);
    for (_, path) in items {
        let header = (reader.i32()?, reader.u8()?, reader.i32()?);
        ensure!(header == (4, 0, 0), "{path}: {header:?}");
        check_value(&mut reader, path, bytes)?;
    }
    Ok(())
}

fn names(reader: &mut Reader<'_>) -> Result<Vec<String>> {
    let count = reader.count()?.context("no names")?;
    let mut names = Vec::with_capacity(count);
    for _ in 0..count {
        let name = reader.buffer()?.context("no name")?;
        names.push(String::from_utf8(name.to_vec())?);
    }
    Ok(names)
}

fn expected_names(count: usize) -> Vec<String> {
    let mut names: Vec<_> = (0..count).map(name).collect();
    names.sort_unstable();
    names
}

/// Every read, alone and together, cold and behind a write of its own session.
fn reads(kind: Kind, plan: &Plan) -> Result<()> {
    let server = grown(kind, plan)?;
    let mut pipe = open(server.address())?;
    let mut expected = expected_names(plan.names);

    catch_up(&mut pipe, plan.names.min(100_000))?;
    for (parent, (count, bytes)) in [("/v", plan.values), ("/w", plan.smaller)] {
        let items: Vec<_> = (0..count).map(|n| (4, format!("{parent}/{n}"))).collect();
        let (error, body) = ask(&mut pipe, 22, &multi_read(items.clone()))?;
        ensure!(error == 0, "multiRead of {parent}: {error}");
        check_values(&body, &items, bytes)?;
    }
    for (path, bytes) in [("/big", plan.big), ("/v/3", plan.values.1)] {
        for op in [3, 6] {
            let mut w = Writer::new();
            w.buffer(Some(path.as_bytes()));
            let body = if op == 3 {
                read(path, false)
            } else {
                w.finish()
            };
            ensure!(ask(&mut pipe, op, &body)?.0 == 0, "op {op} of {path}");
        }
        let (error, body) = ask(&mut pipe, 4, &read(path, false))?;
        ensure!(error == 0, "getData {path}: {error}");
        check_value(&mut Reader::new(&body), path, bytes)?;
        ensure!(ask(&mut pipe, 3, &read(&format!("{path}/no"), false))?.0 == -101);
    }
    let mixed = [(8, "/s"), (4, "/big"), (8, "/v"), (4, "/none"), (8, "/s")];
    let mixed = mixed.map(|(op, path)| (op, path.to_owned()));
    let (error, body) = ask(&mut pipe, 22, &multi_read(mixed))?;
    let bytes = plan.names * 40 * 2 + plan.big;
    ensure!(error == 0 && body.len() > bytes, "mixed: {error}");
    for op in [8, 12] {
        let (error, body) = ask(&mut pipe, op, &read("/s", false))?;
        ensure!(error == 0, "op {op} of /s: {error}");
        let mut found = names(&mut Reader::new(&body))?;
        found.sort_unstable();
        ensure!(found == expected, "op {op}: {} names", found.len());
    }
    let mut w = Writer::new();
    w.buffer(Some(b"/s"));
    let (error, body) = ask(&mut pipe, 104, &w.finish())?;
    let count = Reader::new(&body).i32()? as usize;
    ensure!(
        (error, count) == (0, plan.names),
        "{error}: {count} below /s"
    );
    ensure!(
        ask(&mut pipe, 103, &read("/", false)[..5])?.0 == 0,
        "getEphemerals"
    );

    behind_writes(&mut pipe, plan, &mut expected)?;
    pipe.close()
}

/// setWatches of many paths: those that are there and unchanged leave watches, others tell.
fn catch_up(pipe: &mut Pipe, count: usize) -> Result<()> {
    let paths = |w: &mut Writer, paths: &[String]| {
        w.i32(paths.len() as i32);
        for path in paths {
            w.buffer(Some(path.as_bytes()));
        }
    };
    let there: Vec<_> = (0..count)
        .map(|index| format!("/s/{}", name(index)))
        .collect();
    let gone: Vec<_> = (0..10).map(|index| format!("/s/gone-{index}")).collect();
    let mut w = Writer::new();
    w.i64(i64::MAX);
    paths(&mut w, &[there, gone].concat());
    paths(&mut w, &["/v/0".to_owned()]);
    paths(&mut w, &["/v".to_owned(), String::new()]);
    let started = Instant::now();
    let (error, _) = ask(pipe, 101, &w.finish())?;
    ensure!(error == 0, "setWatches: {error}");
    say(format_args!(
        "     setWatches of {count} paths: {:?}",
        started.elapsed()
    ));
    ensure!(pipe.events == 11, "{} events", pipe.events);
    pipe.events = 0;
    // A watch that was registered is there.
    let path = format!("/s/{}", name(count - 1));
    ensure!(pipe.set(&path, b"y", -1)? == 0, "set {path}");
    ensure!(pipe.events == 1, "{} events of {path}", pipe.events);
    Ok(())
}

/// Reads between the writes of their session, all sent at once: each shows the write before it.
fn behind_writes(pipe: &mut Pipe, plan: &Plan, expected: &mut Vec<String>) -> Result<()> {
    const ROUNDS: usize = 6;
    let mut bytes = Vec::new();
    for round in 0..ROUNDS {
        let path = format!("/s/later-{round}");
        let value_path = format!("/w/{}", round * 7 % plan.smaller.0);
        let stamp = value(&format!("{round}"), plan.smaller.1);
        bytes.extend(request(1, 1, &create(&path, b"", 0)));
        bytes.extend(request(2, 3, &read(&path, false)));
        bytes.extend(request(3, 5, &set(&value_path, &stamp, -1)));
        bytes.extend(request(4, 4, &read(&value_path, false)));
        bytes.extend(request(5, 8, &read(&path, false)));
        bytes.extend(request(6, 12, &read("/s", false)));
    }
    let mut address = pipe.connection.try_clone()?;
    thread::scope(|scope| {
        // Else both sides may wait for the other to read.
        scope.spawn(move || address.send(&bytes));
        for round in 0..ROUNDS {
            for xid in 1..=6 {
                let frame = pipe.reply()?;
                let mut reader = Reader::new(&frame);
                ensure!(reader.i32()? == xid, "not the reply to {xid}");
                reader.take(8)?;
                ensure!(reader.i32()? == 0, "round {round}: {xid} failed");
                match xid {
                    4 => {
                        let data = reader.buffer()?.unwrap_or_default();
                        let stamp = value(&format!("{round}"), plan.smaller.1);
                        ensure!(data == stamp, "round {round}: an old value");
                    }
                    5 => ensure!(names(&mut reader)?.is_empty(), "round {round}: children"),
                    6 => {
                        expected.push(format!("later-{round}"));
                        expected.sort_unstable();
                        let mut found = names(&mut reader)?;
                        found.sort_unstable();
                        ensure!(found == *expected, "round {round}: {} names", found.len());
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    })
}

/// While one lists again and again what no cache holds, others read what is not in memory, and write.
fn crowd(kind: Kind) -> Result<()> {
    const NAMES: usize = 620_000;
    const ROUNDS: usize = 300;
    let plan = Plan {
        memory: "128M",
        values: (10, MEGABYTE),
        smaller: (2000, 90 * KIB),
        names: NAMES,
        big: MEGABYTE,
    };
    let server = grown(kind, &plan)?;
    let address = server.address();
    let alone = latencies(address, "alone", |_| true, 300)?;
    let mut lister = open(address)?;
    let items: Vec<_> = (0..2000).map(|n| (4, format!("/w/{n}"))).collect();
    let (error, body) = ask(&mut lister, 22, &multi_read(items.clone()))?;
    ensure!(error == 0, "multiRead of 2000: {error}");
    check_values(&body, &items, plan.smaller.1)?;
    let started = Instant::now();
    ensure!(lister.count("/s")? == NAMES, "the first listing");
    say(format_args!(
        "     a listing of {NAMES}: {:?}",
        started.elapsed()
    ));
    let after = latencies(address, "after", |_| true, 300)?;
    let (during, read) = thread::scope(|scope| -> Result<_> {
        let listing = scope.spawn(move || -> Result<()> {
            for _ in 0..2 {
                ensure!(lister.count("/s")? == NAMES, "another listing");
            }
            lister.close()
        });
        let reading = scope.spawn(|| -> Result<usize> {
            let mut pipe = open(address)?;
            for round in 0..ROUNDS {
                let index = round * 7919 % NAMES;
                let path = format!("/s/{}", name(index));
                let (error, body) = ask(&mut pipe, 4, &read(&path, false))?;
                let data = Reader::new(&body).buffer()?.unwrap_or_default();
                ensure!((error, data) == (0, b"x".as_slice()), "{path}: {error}");
                ensure!(ask(&mut pipe, 3, &read("/", false))?.0 == 0, "exists /");
                let (path, (_, bytes)) = (format!("/w/{}", round % 300), plan.smaller);
                let (_, body) = ask(&mut pipe, 4, &read(&path, false))?;
                check_value(&mut Reader::new(&body), &path, bytes)?;
            }
            pipe.close()?;
            Ok(ROUNDS)
        });
        let during = latencies(address, "during", |_| !listing.is_finished(), usize::MAX)?;
        listing.join().expect("no panic")?;
        Ok((during, reading.join().expect("no panic")?))
    })?;
    ensure!(read == ROUNDS, "{read} rounds");
    say(format_args!(
        "     a create takes {alone:?} alone, {after:?} after a listing, {during:?} during listings"
    ));
    ensure!(
        after < alone * 3 + Duration::from_millis(1),
        "creates after a listing are slow"
    );
    Ok(())
}

/// The median time of a create that comes alone.
fn latencies(
    address: SocketAddr,
    prefix: &str,
    go_on: impl Fn(usize) -> bool,
    count: usize,
) -> Result<Duration> {
    let mut pipe = open(address)?;
    let mut took = Vec::new();
    while took.len() < count && go_on(took.len()) {
        let path = format!("/{prefix}-{}", took.len());
        let started = Instant::now();
        pipe.create(&path, b"", 0)?;
        took.push(started.elapsed());
    }
    pipe.close()?;
    took.sort_unstable();
    took.get(took.len() / 2).copied().context("no create")
}

/// A small request for 2 GB: the connection is closed, at once and without taking memory; the others
/// are served, and what was asked before is answered.
fn too_much(kind: Kind) -> Result<()> {
    let plan = Plan {
        memory: "64M",
        values: (60, MEGABYTE),
        smaller: (1, KIB),
        names: 10,
        big: KIB,
    };
    let server = grown(kind, &plan)?;
    if kind != Kind::Oxkeeper {
        // It would end with it.
        return Ok(());
    }
    let pid = server.pid().context("no process")?;
    let peak = || process_figure(pid, "status", "VmHWM:");
    let mut bystander = open(server.address())?;
    // Cold, then warm: in both cases it is known before much is loaded or copied.
    for round in 0..2 {
        let before = peak()?;
        let mut pipe = open(server.address())?;
        let items = (0..2000).map(|index| (4, format!("/v/{}", index % 60)));
        let body = multi_read(items);
        let mut bytes = request(1, 4, &read("/big", false));
        bytes.extend(request(2, 22, &body));
        bytes.extend(request(3, 3, &read("/", false)));
        pipe.connection.send(&bytes);
        let first = pipe.reply()?;
        ensure!(Reader::new(&first).i32()? == 1, "not the first reply");
        match pipe.connection.receive()? {
            Received::Eof => {}
            Received::Frame(frame) => bail!("round {round}: a frame of {} bytes", frame.len()),
            Received::Silence => bail!("round {round}: silence"),
        }
        let grown = peak()?.saturating_sub(before) as usize * KIB;
        say(format_args!(
            "     asked for 2 GB: {} MiB more memory",
            grown >> 20
        ));
        ensure!(grown < 48 << 20, "round {round}: {grown} bytes more");
        let (path, bytes) = ("/v/7", plan.values.1);
        let (_, body) = ask(&mut bystander, 4, &read(path, false))?;
        check_value(&mut Reader::new(&body), path, bytes)?;
        // A thread of its own writes the log.
        let count = || server.log().matches("a reply would be too large").count();
        let deadline = Instant::now() + REPLY_TIME_MAX;
        while count() <= round && Instant::now() < deadline {
            sleep(Duration::from_millis(10));
        }
        let lines = count();
        ensure!(
            lines == round + 1,
            "{lines} lines in the log:\n{}",
            server.log_tail()
        );
    }
    // What is just within the bound is answered.
    let items: Vec<_> = (0..240)
        .map(|index| (4, format!("/v/{}", index % 60)))
        .collect();
    let (error, body) = ask(&mut bystander, 22, &multi_read(items.clone()))?;
    ensure!(error == 0, "240 MB: {error}");
    check_values(&body, &items, plan.values.1)
}

/// Clients that ask for much and read nothing: all of them together hold no more than one may, others
/// are served meanwhile, and one that reads has its turn.
fn unread(kind: Kind) -> Result<()> {
    /// `oxkeeper.replyBytesMax`.
    const ALL: usize = 64 << 20;
    /// Of which each asks for so many MB.
    const EACH: usize = 60;
    const CLIENTS: usize = 8;
    /// Those that are still there when somebody wants to read.
    const STAYING: usize = 2;
    let plan = Plan {
        memory: "16M",
        values: (6, MEGABYTE),
        smaller: (1, KIB),
        names: 10,
        big: KIB,
    };
    if kind != Kind::Oxkeeper {
        // Nothing bounds it.
        return Ok(());
    }
    let limit = |options: Options| options.config("oxkeeper.replyBytesMax", "64M");
    let server = grown_on(kind, &plan, limit)?;
    let pid = server.pid().context("no process")?;
    let peak = || process_figure(pid, "status", "VmHWM:");
    let items: Vec<_> = (0..EACH).map(|it| (4, format!("/v/{}", it % 6))).collect();
    let body = multi_read(items.clone());
    let mut bystander = open(server.address())?;
    let before = peak()?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut pipe = open(server.address())?;
        pipe.connection.send(&request(1, 22, &body));
        clients.push(pipe);
    }
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    while began.elapsed() < Duration::from_secs(4) {
        let asked = Instant::now();
        let (_, body) = ask(&mut bystander, 4, &read("/v/3", false))?;
        check_value(&mut Reader::new(&body), "/v/3", plan.values.1)?;
        slowest = slowest.max(asked.elapsed());
    }
    let grown = peak()?.saturating_sub(before) as usize * KIB;
    say(format_args!(
        "     {CLIENTS} clients, {EACH} MB each: {} MiB more memory, a small read of others takes {slowest:?} at most",
        grown >> 20
    ));
    // All that they hold, and what one takes more while its reply is made.
    ensure!(grown < 2 * ALL + (32 << 20), "{grown} bytes more");
    ensure!(slowest < Duration::from_secs(2), "small reads wait");
    clients.truncate(STAYING);
    let mut reader = open(server.address())?;
    reader.connection.send(&request(1, 22, &body));
    let deadline = Instant::now() + Duration::from_secs(60);
    let frame = loop {
        match reader.connection.receive()? {
            Received::Frame(frame) => break frame,
            Received::Silence if Instant::now() < deadline => {}
            other => bail!("no reply to the one who reads: {other:?}"),
        }
    };
    check_values(&frame[16..], &items, plan.values.1)?;
    let lines = server
        .log()
        .matches("does not take its large reply")
        .count();
    ensure!(
        lines == STAYING,
        "{lines} lines in the log:\n{}",
        server.log_tail()
    );
    Ok(())
}
