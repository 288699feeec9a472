//! Damaged disks: after each damage the server refuses with an error that says where, or it still
//! answers everything right. It never answers wrong and never starts empty.
//!
//! Our server only: the genuine one answers some of these differently (it starts empty beside a
//! missing log).

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::chaos::copy_dir;
use crate::differential::random::Random;
use crate::fault::{Small, Tracer};
use crate::hostile::pipe::{Pipe, create, numbered, read, set};
use crate::server::{Kind, Options, Server};
use crate::suite::{Suite, say};

const ZNODES: usize = 1500;
const END_TIME_MAX: Duration = Duration::from_secs(20);

/// What is done to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip,
    Halve,
    Empty,
    Remove,
}

/// What came of it.
#[derive(Debug)]
enum Verdict {
    /// The server did not start, or ended; its error names the file itself.
    NamesFile,
    /// The same, but only the directory is named.
    NamesDirectory,
    /// All answers are right.
    Harmless,
    /// Neither.
    Wrong(String),
}

/// Runs all; `seed` chooses the bits. True if nothing is wrong.
///
/// # Errors
/// The server cannot be started undamaged.
pub fn run(seed: u64) -> Result<bool> {
    let mut suite = Suite::open(format!("damage: oxkeeper, seed {seed}"));
    files(&mut suite, seed)?;
    directories(&mut suite)?;
    foreign_data(&mut suite)?;
    for kind in [Kind::ZooKeeper, Kind::Oxkeeper] {
        swapped(&mut suite, kind)?;
    }
    sync_error(&mut suite)?;
    disk_full(&mut suite)?;
    disk_of_the_tree_full(&mut suite, seed)?;
    Ok(suite.close())
}

fn options() -> Options {
    Options::default().config("forceSync", "yes")
}

/// A server with content in all kinds of files, ended by a crash; its data is copied to `.base`.
fn prepared() -> Result<(Server, PathBuf, PathBuf)> {
    let mut server = Server::start(Kind::Oxkeeper, options())?;
    for round in 0..3 {
        fill(&server, round)?;
        if round < 2 {
            server.restart()?;
        }
    }
    server.kill9()?;
    let data = server.data_dir().context("its data directory")?;
    let base = data.with_extension("base");
    copy_dir(&data, &base)?;
    Ok((server, data, base))
}

fn value(index: usize, round: usize) -> Vec<u8> {
    format!(
        "znode {index} in round {round}, {}",
        "x".repeat(index % 300)
    )
    .into_bytes()
}

fn fill(server: &Server, round: usize) -> Result<()> {
    let mut pipe = Pipe::open(server.address(), 30_000)?;
    let mut asks = Vec::new();
    if round == 0 {
        asks.push((1, create("/d", b"", 0)));
    }
    for index in 0..ZNODES {
        let path = format!("/d/{index}");
        if round == 0 {
            asks.push((1, create(&path, &value(index, 0), 0)));
        } else if index % 3 == round {
            asks.push((5, set(&path, &value(index, round), -1)));
        }
    }
    let errors = pipe.ask(&asks)?;
    ensure!(errors.iter().all(|it| *it == 0), "a write was refused");
    pipe.close()
}

/// What is wrong with the answers; an error if the server ends meanwhile.
fn verify(server: &Server) -> Result<Option<String>> {
    let mut pipe = Pipe::open(server.address(), 30_000)?;
    let error = pipe.ask(&[(3, read("/d", false))])?[0];
    if error != 0 {
        return Ok(Some(format!("exists /d: {error}")));
    }
    let count = pipe.count("/d")?;
    if count != ZNODES {
        return Ok(Some(format!("{count} children instead of {ZNODES}")));
    }
    for index in 0..ZNODES {
        let path = format!("/d/{index}");
        let round = if index % 3 == 0 { 0 } else { index % 3 };
        if pipe.ask(&[(3, read(&path, false))])?[0] != 0 {
            return Ok(Some(format!("{path} is lost")));
        }
        let found = pipe.get(&path)?;
        if found != value(index, round) {
            return Ok(Some(format!("{path}: {}", String::from_utf8_lossy(&found))));
        }
    }
    // And it still writes.
    let errors = pipe.ask(&[(1, create("/d/new", b"", 0)), (2, numbered("/d/new", -1))])?;
    pipe.close()?;
    Ok((errors != [0, 0]).then(|| format!("a write after the damage: {errors:?}")))
}

/// Starts the server on what `damaged` has left of the data and judges what it does.
fn judge(server: &mut Server, damaged: &Path) -> Result<Verdict> {
    let before = server.log().len();
    let mut wrong = None;
    let served = match server.restart() {
        Ok(()) => match verify(server) {
            Ok(None) => true,
            Ok(Some(why)) => {
                wrong = Some(why);
                true
            }
            // It must have ended, and said why.
            Err(error) => {
                let deadline = Instant::now() + Duration::from_secs(3);
                while server.is_running() && Instant::now() < deadline {
                    sleep(Duration::from_millis(20));
                }
                if server.is_running() {
                    wrong = Some(format!("it does not answer, but lives: {error:#}"));
                }
                false
            }
        },
        Err(error) => {
            if server.is_running() {
                wrong = Some(format!("it neither serves nor ends: {error:#}"));
            }
            false
        }
    };
    server.kill9()?;
    if let Some(why) = wrong {
        return Ok(Verdict::Wrong(why));
    }
    if served {
        return Ok(Verdict::Harmless);
    }
    let log = server.log().split_off(before);
    let parent = damaged.parent().context("a parent")?;
    // RocksDB names some files without their directory.
    let name = damaged.file_name().unwrap_or_default().to_string_lossy();
    let named = name.contains(|it: char| it.is_ascii_digit() || it.is_ascii_uppercase());
    Ok(
        if log.contains(&damaged.display().to_string()) || (named && log.contains(name.as_ref())) {
            Verdict::NamesFile
        } else if log.contains(&parent.display().to_string()) {
            Verdict::NamesDirectory
        } else {
            Verdict::Wrong(format!(
                "it ended without naming {}:\n{log}",
                damaged.display()
            ))
        },
    )
}

fn files(suite: &mut Suite, seed: u64) -> Result<()> {
    let (mut server, data, base) = prepared()?;
    let mut random = Random::new(seed, 7);
    let mut names = Vec::new();
    for part in ["log", "tree"] {
        let dir = base.join("oxkeeper").join(part);
        for entry in fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            // RocksDB's own diary, its lock and its settings say nothing about the data.
            let idle = ["LOG", "LOCK", "IDENTITY", "OPTIONS"];
            if !idle.iter().any(|it| name.starts_with(it)) {
                names.push(format!("{part}/{name}"));
            }
        }
    }
    names.sort();
    ensure!(names.len() >= 4, "only {names:?}");
    for name in names {
        let file = base.join("oxkeeper").join(&name);
        let content = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        let length = content.len();
        let is_written = content.iter().any(|byte| *byte != 0);
        let flips = std::iter::repeat_n(Damage::Flip, if is_written { 3 } else { 0 });
        let others = [Damage::Halve, Damage::Empty, Damage::Remove];
        let others = others.into_iter().filter(|_| length > 0);
        for damage in flips.chain(others) {
            fs::remove_dir_all(&data).context("remove the last case's data")?;
            copy_dir(&base, &data)?;
            let path = data.join("oxkeeper").join(&name);
            let place = harm(&path, damage, &mut random)?;
            let case = format!("{damage:?} {name}{place} of {length}");
            match judge(&mut server, &path)? {
                Verdict::Wrong(why) => suite.fail(case, why),
                verdict => suite.pass(format!("{case}: {verdict:?}")),
            }
        }
    }
    Ok(())
}

fn harm(path: &Path, damage: Damage, random: &mut Random) -> Result<String> {
    let mut bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let mut place = String::new();
    match damage {
        Damage::Flip => {
            // The log's files are filled with zeros ahead: most of them would say nothing.
            let written: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
            let at = written[random.below(written.len())];
            bytes[at] ^= 1 << random.below(8);
            place = format!(" at {at}");
        }
        Damage::Halve => bytes.truncate(bytes.len() / 2),
        Damage::Empty => bytes.clear(),
        Damage::Remove => {
            fs::remove_file(path).with_context(|| format!("remove {}", path.display()))?;
            return Ok(place);
        }
    }
    fs::write(path, bytes).with_context(|| format!("write {}", path.display()))?;
    Ok(place)
}

fn directories(suite: &mut Suite) -> Result<()> {
    let (mut server, data, base) = prepared()?;
    for name in ["tree", "log"] {
        fs::remove_dir_all(&data).context("remove the last case's data")?;
        copy_dir(&base, &data)?;
        let path = data.join("oxkeeper").join(name);
        fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
        let case = format!("vanished directory {name}");
        match judge(&mut server, &path)? {
            Verdict::Wrong(why) => suite.fail(case, why),
            verdict => suite.pass(format!("{case}: {verdict:?}")),
        }
    }
    Ok(())
}

/// The data of a genuine ZooKeeper: never overlooked.
fn foreign_data(suite: &mut Suite) -> Result<()> {
    let case = "data of an Apache ZooKeeper";
    let mut genuine = Server::start(Kind::ZooKeeper, options())?;
    fill(&genuine, 0)?;
    genuine.stop()?;
    let foreign = genuine.data_dir().context("its data directory")?;
    let mut server = Server::start(Kind::Oxkeeper, options())?;
    server.stop()?;
    let data = server.data_dir().context("its data directory")?;
    fs::remove_dir_all(&data).context("remove the data")?;
    copy_dir(&foreign, &data)?;
    match judge(&mut server, &data.join("version-2"))? {
        Verdict::NamesFile => suite.pass(format!("{case} is refused")),
        other => suite.fail(case, format!("{other:?}")),
    }
    Ok(())
}

/// dataDir and dataLogDir are each in the other's place: a genuine server refuses that too, and
/// neither makes anything there.
fn swapped(suite: &mut Suite, kind: Kind) -> Result<()> {
    let case = format!("dataDir and dataLogDir swapped, {kind}");
    let mut server = Server::start(kind, options())?;
    server.stop()?;
    let data = server.data_dir().context("its data directory")?;
    let logs = data.with_extension("logs");
    fs::remove_dir_all(&data).context("remove the data")?;
    fs::create_dir_all(&logs).context("make a directory")?;
    server.set_config("dataLogDir", &logs.display().to_string());
    server.restart()?;
    for round in 0..3 {
        fill(&server, round)?;
    }
    server.stop()?;
    let swap = || -> Result<()> {
        let aside = data.with_extension("aside");
        fs::rename(&data, &aside).context("swap")?;
        fs::rename(&logs, &data).context("swap")?;
        fs::rename(&aside, &logs).context("swap")
    };
    swap()?;
    let refused = server.restart().is_err() && !server.is_running();
    let status = server.stop()?;
    let log = server.log_tail();
    swap()?;
    server.restart().context("start with all in its place")?;
    let problem = verify(&server)?;
    if !refused {
        suite.fail(case, "it serves");
    } else if status.and_then(|it| it.code()) != Some(3) {
        suite.fail(case, format!("it ended with {status:?}\n{log}"));
    } else if kind == Kind::Oxkeeper
        && !(log.contains(&*data.join("oxkeeper").to_string_lossy())
            && log.contains(&*logs.join("oxkeeper").to_string_lossy()))
    {
        suite.fail(case, format!("it does not name both directories:\n{log}"));
    } else if let Some(problem) = problem {
        suite.fail(case, problem);
    } else {
        let last = log.lines().last().unwrap_or_default();
        suite.pass(format!("{case}: {last}"));
    }
    Ok(())
}

/// Writes until the server ends, by itself; returns how many writes were answered.
fn write_until_it_ends(server: &mut Server, bytes: usize) -> Result<usize> {
    write_all_until_it_ends(server, &vec![b'f'; bytes])
}

fn write_all_until_it_ends(server: &mut Server, filling: &[u8]) -> Result<usize> {
    let mut pipe = Pipe::open(server.address(), 30_000)?;
    pipe.create("/full", b"", 0)?;
    let mut answered = 0;
    while let Ok(errors) = pipe.ask(&[(1, create(&format!("/full/{answered}"), filling, 0))]) {
        if errors != [0] {
            break;
        }
        answered += 1;
        ensure!(answered < 100_000, "the fault does not show");
    }
    let deadline = Instant::now() + END_TIME_MAX;
    while server.is_running() {
        if Instant::now() > deadline {
            bail!("it goes on after {answered} answered writes");
        }
        sleep(Duration::from_millis(20));
    }
    Ok(answered)
}

/// After the fault is over: every answered write is there.
fn answered_are_there(server: &mut Server, answered: usize) -> Result<String> {
    let log = server.log_tail();
    let data = server.data_dir().context("its data directory")?;
    ensure!(
        log.contains(&data.display().to_string()),
        "the error names no file:\n{log}"
    );
    server.kill9()?;
    server.restart().context("start after the fault")?;
    if let Some(why) = verify(server)? {
        bail!("{why}");
    }
    let mut pipe = Pipe::open(server.address(), 30_000)?;
    let found = pipe.count("/full")?;
    ensure!(
        found == answered || found == answered + 1,
        "{answered} writes were answered, {found} are there"
    );
    let error = log.lines().find(|line| line.contains("ERROR"));
    Ok(error.unwrap_or_default().chars().take(300).collect())
}

/// The disk says EIO to a sync: the server ends, and does not answer what is not safe.
fn sync_error(suite: &mut Suite) -> Result<()> {
    let case = "EIO on sync";
    let mut server = Server::start(Kind::Oxkeeper, options())?;
    for round in 0..3 {
        fill(&server, round)?;
    }
    let tracer = match Tracer::inject(&server, "fdatasync,fsync", "error=EIO:when=20+") {
        Ok(tracer) => tracer,
        Err(error) => {
            say(format_args!("skipped, because: {error:#}: {case}"));
            return Ok(());
        }
    };
    let ended = write_until_it_ends(&mut server, 100);
    drop(tracer);
    match ended.and_then(|answered| answered_are_there(&mut server, answered)) {
        Ok(error) => suite.pass(format!("{case}: {error}")),
        Err(error) => suite.fail(case, format!("{error:#}\n{}", server.log_tail())),
    }
    Ok(())
}

/// A small file system under the tree alone: a flush or a checkpoint fails, not the log.
fn disk_of_the_tree_full(suite: &mut Suite, seed: u64) -> Result<()> {
    let case = "disk of the tree full";
    let mut server = Server::start(Kind::Oxkeeper, options())?;
    server.stop()?;
    let data = server.data_dir().context("its data directory")?;
    let logs = data.with_extension("logs");
    fs::remove_dir_all(&data).context("remove the data")?;
    fs::create_dir_all(&data).context("make a directory")?;
    server.set_config("dataLogDir", &logs.display().to_string());
    server.set_config("oxkeeper.logBytesBeforeFlush", "4M");
    let small = match Small::mount(&data, "24m") {
        Ok(small) => small,
        Err(error) => {
            say(format_args!("skipped, because: {error:#}: {case}"));
            return Ok(());
        }
    };
    server.restart()?;
    for round in 0..3 {
        fill(&server, round)?;
    }
    // Tables are compressed.
    let mut random = Random::new(seed, 11);
    let filling: Vec<u8> = (0..50_000).map(|_| random.below(256) as u8).collect();
    let ended = write_all_until_it_ends(&mut server, &filling);
    // Full as it is, it serves or ends: what it had begun to write has been removed.
    let waits = server.restart().is_err() && server.is_running();
    small.resize("400m")?;
    let judged = ended.and_then(|answered| {
        ensure!(!waits, "it neither serves nor ends on a full disk");
        answered_are_there(&mut server, answered)
    });
    match judged {
        Ok(error) => suite.pass(format!("{case}: {error}")),
        Err(error) => suite.fail(case, format!("{error:#}\n{}", server.log_tail())),
    }
    server.kill9()?;
    Ok(())
}

/// A small file system under the data directory, written full.
fn disk_full(suite: &mut Suite) -> Result<()> {
    let case = "disk full";
    let mut server = Server::start(Kind::Oxkeeper, options())?;
    server.stop()?;
    let data = server.data_dir().context("its data directory")?;
    let small = match Small::mount(&data, "40m") {
        Ok(small) => small,
        Err(error) => {
            say(format_args!("skipped, because: {error:#}: {case}"));
            return Ok(());
        }
    };
    server.restart()?;
    for round in 0..3 {
        fill(&server, round)?;
    }
    let ended = write_until_it_ends(&mut server, 50_000);
    small.resize("400m")?;
    match ended.and_then(|answered| answered_are_there(&mut server, answered)) {
        Ok(error) => suite.pass(format!("{case}: {error}")),
        Err(error) => suite.fail(case, format!("{error:#}\n{}", server.log_tail())),
    }
    server.kill9()?;
    Ok(())
}
