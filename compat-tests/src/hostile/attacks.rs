//! The attacks. Each says what is wrong, or nothing; what it holds is dropped when it returns.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Target;
use super::pipe::{Pipe, create, numbered, read, set};
use crate::client::{Connection, Hello, REPLY_TIME_MAX, Received, figure, request};
use crate::differential::random::Random;
use crate::server::Kind;
use crate::wire::Writer;

/// jute.maxbuffer's default.
const FRAME_MAX: i32 = 0xf_ffff;
/// What a connection may hold before it has a session.
const FIRST_FRAME_MAX: i32 = 4096;
/// What a busy machine may add to a time limit.
const SLACK: Duration = Duration::from_secs(4);

/// Bytes that a connection sends before anything else; all of them must be cut off.
pub fn lengths(target: &Target) -> Result<()> {
    for length in [-1, i32::MIN, i32::MAX, FRAME_MAX + 1, 0x4745_5420] {
        at_once(
            target.address,
            &length.to_be_bytes(),
            format!("length {length}"),
        )?;
    }
    if target.kind == Kind::Oxkeeper {
        let length = FIRST_FRAME_MAX + 1;
        at_once(
            target.address,
            &length.to_be_bytes(),
            "4,097 bytes before a session".into(),
        )?;
    }
    for length in [-1, i32::MIN, i32::MAX, FRAME_MAX + 1, 0, 7] {
        let mut pipe = Pipe::open(target.address, 10_000)?;
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend([0; 7]);
        pipe.connection.send(&bytes);
        let end = pipe.connection.receive()?;
        ensure!(
            end == Received::Eof,
            "length {length} in a session: {end:?}"
        );
    }
    // As long as it may be, and sent in pieces: served.
    let mut pipe = Pipe::open(target.address, 10_000)?;
    let mut body = read("/", false);
    body.resize(FRAME_MAX as usize - 8, 7);
    for piece in request(1, 3, &body).chunks(100_000) {
        pipe.connection.send(piece);
        sleep(Duration::from_millis(20));
    }
    pipe.reply().context("the longest frame that is allowed")?;
    pipe.close()
}

fn at_once(address: SocketAddr, bytes: &[u8], what: String) -> Result<()> {
    let mut connection = Connection::open(address, SLACK)?;
    connection.send(bytes);
    let end = connection.receive()?;
    ensure!(end == Received::Eof, "{what}: {end:?}");
    Ok(())
}

/// Connections that stop in the middle of what they have to say before they have a session.
pub fn unfinished(target: &Target) -> Result<()> {
    let hello = Hello::new(10_000).frame();
    let mut big = FIRST_FRAME_MAX.to_be_bytes().to_vec();
    big.extend([0; 4000]);
    let pieces: [(&str, &[u8]); 6] = [
        ("nothing", b""),
        ("a byte", &hello[..1]),
        ("a length", &hello[..4]),
        ("half a handshake", &hello[..20]),
        ("4,000 of 4,096 bytes", &big),
        ("three letters", b"ruo"),
    ];
    let opened = Instant::now();
    let mut held = Vec::new();
    for (what, bytes) in pieces {
        let mut connection = Connection::open(target.address, target.first_words + SLACK)?;
        connection.send(bytes);
        held.push((what, connection));
    }
    if target.kind == Kind::Oxkeeper {
        // stmk takes an argument of eight bytes.
        for (what, bytes) in [
            ("stmk", b"stmk" as &[u8]),
            ("stmk and three bytes", b"stmkabc"),
        ] {
            let mut connection = Connection::open(target.address, target.first_words + SLACK)?;
            connection.send(bytes);
            held.push((what, connection));
        }
    }
    // And one that says a byte from time to time.
    let mut drip = Connection::open(target.address, target.first_words + SLACK)?;
    for byte in &hello {
        drip.send(&[*byte]);
        if opened.elapsed() > target.first_words + SLACK {
            break;
        }
        sleep(target.first_words / 20);
    }
    held.push(("a drip", drip));
    for (what, mut connection) in held {
        let end = connection.receive()?;
        let took = opened.elapsed();
        ensure!(end == Received::Eof, "{what}: {end:?} after {took:.1?}");
    }
    Ok(())
}

/// Random bytes where a handshake should be, and where requests should be.
pub fn random_frames(target: &Target) -> Result<()> {
    let mut random = Random::new(target.seed, 0);
    let bytes = |random: &mut Random, most: usize| -> Vec<u8> {
        (0..random.below(most))
            .map(|_| random.below(256) as u8)
            .collect()
    };
    for round in 0..400 {
        let mut connection = Connection::open(target.address, Duration::from_secs(15))?;
        let payload = bytes(&mut random, 120);
        let mut frame = Vec::new();
        if round % 2 == 0 {
            frame.extend((payload.len() as i32).to_be_bytes());
        }
        frame.extend(payload);
        connection.send(&frame);
    }
    for _ in 0..400 {
        let mut pipe = Pipe::open(target.address, 10_000)?;
        let mut frames = Vec::new();
        for _ in 0..1 + random.below(8) {
            let mut payload = Writer::new();
            payload.i32(random.below(1000) as i32);
            // Mostly known opcodes, or nothing behind the header would be looked at.
            payload.i32(random.below(110) as i32 - i32::from(random.chance(10)) * 50);
            let body = match random.below(3) {
                0 => bytes(&mut random, 300),
                1 => {
                    let mut w = Writer::new();
                    w.buffer(Some(b"/x")).i32(random.below(usize::MAX) as i32);
                    w.raw(&bytes(&mut random, 60));
                    w.finish()
                }
                _ => {
                    let mut w = Writer::new();
                    w.i32(random.below(usize::MAX) as i32)
                        .raw(&bytes(&mut random, 60));
                    w.finish()
                }
            };
            payload.raw(&body);
            frames.extend(payload.frame());
        }
        frames.extend(request(-2, 11, &[]));
        pipe.connection.send(&frames);
        // Answers, or the end, but not silence.
        loop {
            match pipe.connection.receive()? {
                Received::Eof => break,
                Received::Frame(frame) if frame[..4] == (-2i32).to_be_bytes() => break,
                Received::Frame(_) => {}
                Received::Silence => anyhow::bail!("silence after random frames: {frames:02x?}"),
            }
        }
    }
    Ok(())
}

/// Four-letter words a byte at a time.
pub fn split_words(target: &Target) -> Result<()> {
    for pieces in [
        vec!["r", "u", "o", "k"],
        vec!["ru", "ok"],
        vec!["ruo", "k"],
        vec!["ruok\n"],
    ] {
        let mut connection = Connection::open(target.address, REPLY_TIME_MAX)?;
        for piece in &pieces {
            connection.send(piece.as_bytes());
            sleep(Duration::from_millis(30));
        }
        let answer = connection.read_to_end()?;
        ensure!(answer == b"imok", "{pieces:?}: {answer:?}");
    }
    Ok(())
}

/// Clients that close their sending half, at once or behind a handshake.
pub fn half_open(target: &Target) -> Result<()> {
    let hello = Hello::new(10_000).frame();
    for bytes in [&b""[..], &hello[..10], &hello] {
        let mut stream = TcpStream::connect(target.address)?;
        stream.set_read_timeout(Some(target.first_words + SLACK))?;
        stream.write_all(bytes)?;
        stream.shutdown(Shutdown::Write)?;
        let mut rest = Vec::new();
        match stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => {
                return Err(error).with_context(|| format!("closed behind {} bytes", bytes.len()));
            }
        }
    }
    Ok(())
}

/// Many connections that never speak: all are closed in time.
pub fn silent_connections(target: &Target) -> Result<()> {
    hold(target, b"")
}

/// Many connections that keep back the last byte of the longest first frame: they hold that frame
/// and nothing else, and are closed in time.
pub fn held_handshakes(target: &Target) -> Result<()> {
    let mut bytes = FIRST_FRAME_MAX.to_be_bytes().to_vec();
    bytes.extend([0; FIRST_FRAME_MAX as usize - 1]);
    hold(target, &bytes)
}

fn hold(target: &Target, bytes: &[u8]) -> Result<()> {
    let before = target.connections()?;
    let mut held = Vec::new();
    for _ in 0..target.silent {
        let mut connection = Connection::open(target.address, target.first_words + SLACK)?;
        let opened = Instant::now();
        connection.send(bytes);
        held.push((opened, connection));
    }
    let most = target.connections()?;
    ensure!(
        most >= before + target.silent / 2,
        "only {most} connections were held"
    );
    for (opened, mut connection) in held {
        let end = connection.receive()?;
        let lived = opened.elapsed();
        ensure!(
            end == Received::Eof && lived < target.first_words + SLACK,
            "a connection without a session: {end:?} after {lived:.1?}"
        );
    }
    Ok(())
}

/// Clients that ask for large znodes and read nothing.
pub fn sends_never_reads(target: &Target) -> Result<()> {
    let mut pipe = Pipe::open(target.address, 10_000)?;
    pipe.create("/large", &vec![b'x'; 500_000], 0)?;
    let ask = request(1, 4, &read("/large", false)).repeat(100);
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(target.address)?;
        stream.write_all(&Hello::new(10_000).frame())?;
        stream.set_write_timeout(Some(Duration::from_millis(300)))?;
        held.push(stream);
    }
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        for stream in &mut held {
            // A timeout is what must come: the server stops reading.
            drop(stream.write(&ask));
        }
    }
    drop(held);
    pipe.ask(&[(2, numbered("/large", -1))])?;
    pipe.close()
}

/// A client that watches everything and reads nothing, while others write: it is cut off.
pub fn watches_never_reads(target: &Target) -> Result<()> {
    let mut watcher = Pipe::open(target.address, 60_000)?;
    let mut writer = Pipe::open(target.address, 60_000)?;
    let path = format!("/told-{}", "x".repeat(4000));
    writer.create(&path, b"", 0)?;
    // addWatch, persistent recursive.
    let error = watcher.ask(&[(106, numbered("/", 1))])?[0];
    ensure!(error == 0, "addWatch: {error}");
    // Not in one burst: the writer is no part of the attack.
    for _ in 0..400 {
        let writes: Vec<_> = (0..30).map(|_| (5, set(&path, b"", -1))).collect();
        let errors = writer.ask(&writes)?;
        ensure!(errors.iter().all(|it| *it == 0), "a write was refused");
    }
    if target.kind == Kind::Oxkeeper {
        let mut events = 0;
        while let Received::Frame(_) = watcher.connection.receive()? {
            events += 1;
        }
        ensure!(events < 12_000, "all {events} events were kept for it");
    }
    drop(watcher);
    writer.ask(&[(2, numbered(&path, -1))])?;
    writer.close()
}

/// One client with very many watches; they go with its connection.
pub fn many_watches(target: &Target) -> Result<()> {
    let mut pipe = Pipe::open(target.address, 60_000)?;
    for first in (0..target.watches).step_by(10_000) {
        let count = (target.watches - first).min(10_000);
        let paths = (first..first + count).map(|it| format!("/watched/by/one/client/{it}"));
        // A tenth on what is not there, the others persistent.
        let exists = first % 100_000 == 0;
        let asks: Vec<_> = paths
            .map(|path| match exists {
                true => (3, read(&path, true)),
                false => (106, numbered(&path, 0)),
            })
            .collect();
        let errors = pipe.ask(&asks)?;
        let due = if exists { -101 } else { 0 };
        ensure!(errors.iter().all(|it| *it == due), "a watch was refused");
    }
    let text = target.word("mntr")?;
    let count = figure(&text, "zk_watch_count").unwrap_or(0);
    ensure!(count >= target.watches, "zk_watch_count {count}");
    pipe.close()?;
    let closed = Instant::now();
    while figure(&target.word("mntr")?, "zk_watch_count").unwrap_or(0) > 100 {
        ensure!(
            closed.elapsed() < Duration::from_secs(20),
            "the watches outlive their client"
        );
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Very many sessions, each with an ephemeral, whose clients vanish in one moment.
pub fn mass_expiry(target: &Target) -> Result<()> {
    let mut control = Pipe::open(target.address, 30_000)?;
    control.create("/expiring", b"", 0)?;
    let (threads, each) = (8, target.sessions / 8);
    let address = target.address;
    let opened: Vec<_> = (0..threads)
        .map(|thread| {
            thread::spawn(move || -> Result<Vec<Pipe>> {
                let mut pipes = Vec::new();
                for index in 0..each {
                    let mut pipe = Pipe::open(address, 6_000)?;
                    let path = format!("/expiring/{thread}-{index}");
                    pipe.ask(&[(1, create(&path, b"", 1))])?;
                    pipes.push(pipe);
                    // Those opened first must live until the last is there.
                    if index % 50 == 0 {
                        let ping = request(-2, 11, &[]);
                        pipes.iter_mut().for_each(|it| it.connection.send(&ping));
                    }
                }
                Ok(pipes)
            })
        })
        .collect();
    let mut all = Vec::new();
    for thread in opened {
        all.extend(thread.join().expect("an opener does not panic")?);
    }
    let count = control.count("/expiring")?;
    ensure!(
        count == threads * each,
        "{count} of {} ephemerals",
        threads * each
    );
    drop(all);
    let vanished = Instant::now();
    while control.count("/expiring")? > 0 {
        ensure!(
            vanished.elapsed() < Duration::from_secs(40),
            "{} ephemerals are left",
            control.count("/expiring")?
        );
        sleep(Duration::from_millis(200));
    }
    control.ask(&[(2, numbered("/expiring", -1))])?;
    control.close()
}
