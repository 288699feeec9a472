//! A disk on which one kind of the server's files hangs or fails, and the others do not: an orderly
//! stop ends all the same, and what was acknowledged is never lost.
//!
//! By a library that stands between the server and the system (`tools/disk_faults.c`), so that the
//! server is the one that ships. Our server only: these are its files.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::hostile::pipe::{Pipe, create, read};
use crate::server::{Kind, Options, Server};
use crate::settings;
use crate::suite::Suite;

/// A case, with the library.
type Case = fn(&Faults) -> Result<()>;

/// An orderly stop takes no longer, whatever hangs: most of it is for clients' last words.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// A fault is met within this, and a server that must end has ended.
const FAULT_TIME_MAX: Duration = Duration::from_secs(30);
const SESSION_MS: i32 = 30_000;
const EXISTS: i32 = 3;
/// Flags of a container.
const CONTAINER: i32 = 4;
/// Between two looks of the reaper, where it looks.
const REAPER_MS: &str = "200";
const REAPER: &str = "znode.container.checkIntervalMs";

/// Runs all cases; true when all passed.
///
/// # Errors
/// There is no C compiler.
pub fn run() -> Result<bool> {
    let mut suite = Suite::open("disk: oxkeeper");
    let library = Library::build()?;
    let cases: [(&str, Case); 9] = [
        ("SIGTERM while the sync of a table hangs", |faults| {
            stops_in_spite_of_the_tree(faults, "sync hang .sst")
        }),
        ("SIGTERM while the sync of the manifest hangs", |faults| {
            stops_in_spite_of_the_tree(faults, "sync hang MANIFEST")
        }),
        ("SIGTERM while a start waits to read the log", |faults| {
            stops_at_start(faults, "read hang .segment")
        }),
        ("SIGTERM while a start waits to sync the log", |faults| {
            stops_at_start(faults, "sync hang .segment")
        }),
        ("SIGTERM while a start waits to read the tree", |faults| {
            stops_at_start(faults, "read hang .sst")
        }),
        ("SIGTERM while a start waits to sync the tree", |faults| {
            stops_at_start(faults, "sync hang MANIFEST")
        }),
        (
            "SIGTERM while the reaper waits to read",
            stops_in_spite_of_the_reaper,
        ),
        ("a table that cannot be read", ends_when_a_table_fails),
        ("a log that cannot be synced", ends_when_the_log_fails),
    ];
    thread::scope(|scope| {
        let library = &library;
        let running: Vec<_> = cases
            .iter()
            .map(|(name, case)| (name, scope.spawn(move || case(&Faults::new(library)?))))
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

/// A file of `tools/` that stands between a server and the system, compiled.
#[derive(Debug)]
pub(crate) struct Library {
    dir: TempDir,
    name: &'static str,
}

impl Library {
    /// Of disks that hang or fail.
    fn build() -> Result<Self> {
        Self::of("disk_faults")
    }

    /// `tools/NAME.c`.
    ///
    /// # Errors
    /// There is no C compiler.
    pub(crate) fn of(name: &'static str) -> Result<Self> {
        let dir = tempfile::tempdir().context("make a directory for the library")?;
        let library = Self { dir, name };
        let source = settings::package_dir().join(format!("tools/{name}.c"));
        let output = Command::new("cc")
            .args([
                "-std=c11", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o",
            ])
            .arg(library.path())
            .arg(&source)
            .arg("-ldl")
            .output()
            .context("run cc, which `compat-tests/tools/deps c-client` installs")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cc {}: {said}", source.display());
        Ok(library)
    }

    /// For LD_PRELOAD.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join(format!("{}.so", self.name))
    }
}

/// What hangs or fails on the disk of one server.
struct Faults {
    library: PathBuf,
    dir: TempDir,
}

impl Faults {
    fn new(library: &Library) -> Result<Self> {
        Ok(Self {
            library: library.path(),
            dir: tempfile::tempdir().context("make a directory for the rules")?,
        })
    }

    fn rules(&self) -> PathBuf {
        self.dir.path().join("rules")
    }

    /// From now on this rule holds, and no other.
    fn begin(&self, rule: &str) -> Result<()> {
        let new = self.dir.path().join("new");
        fs::write(&new, rule).context("write a rule")?;
        fs::rename(&new, self.rules()).context("write a rule")
    }

    fn end(&self) -> Result<()> {
        fs::remove_file(self.rules()).context("remove the rule")
    }

    /// How many calls the rules have concerned so far.
    fn met(&self) -> usize {
        let met = fs::read_to_string(self.dir.path().join("rules.met"));
        met.map_or(0, |met| met.lines().count())
    }

    /// A server whose disk obeys the rules, and which takes checkpoints often.
    fn server(&self) -> Result<Server> {
        let path = |path: PathBuf| path.display().to_string();
        let options = Options::default()
            .config("forceSync", "yes")
            .config("snapCount", "50")
            .environment("LD_PRELOAD", &path(self.library.clone()))
            .environment("DISK_FAULTS", &path(self.rules()));
        Server::start(Kind::Oxkeeper, options)
    }
}

/// What clients were told to be written.
#[derive(Default)]
struct Acknowledged {
    paths: Vec<String>,
}

impl Acknowledged {
    /// Creates a znode and waits for its answer.
    fn create(&mut self, pipe: &mut Pipe, flags: i32) -> Result<()> {
        let path = format!("/znode-{:04}", self.paths.len());
        let code = if flags == CONTAINER { 19 } else { 1 };
        let body = create(&path, &value(&path), flags);
        let error = pipe.ask(&[(code, body)])?[0];
        ensure!(error == 0, "create {path}: {error}");
        self.paths.push(path);
        Ok(())
    }

    fn create_many(&mut self, server: &Server, count: usize, flags: i32) -> Result<()> {
        let mut pipe = Pipe::open(server.address(), SESSION_MS)?;
        for _ in 0..count {
            self.create(&mut pipe, flags)?;
        }
        Ok(())
    }

    /// All of it is there.
    fn verify(&self, server: &Server) -> Result<()> {
        ensure!(!self.paths.is_empty(), "nothing was acknowledged");
        let mut pipe = Pipe::open(server.address(), SESSION_MS)?;
        for path in &self.paths {
            let error = pipe.ask(&[(EXISTS, read(path, false))])?[0];
            ensure!(error == 0, "{path} was acknowledged and is lost: {error}");
            ensure!(pipe.get(path)? == value(path), "{path} has another value");
        }
        Ok(())
    }
}

fn value(path: &str) -> Vec<u8> {
    path.repeat(20).into_bytes()
}

fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + FAULT_TIME_MAX;
    while !holds()? {
        ensure!(Instant::now() < deadline, "in vain: {what}");
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Ends it by SIGTERM, while something hangs; afterwards nothing does.
fn terminate(server: &mut Server, faults: &Faults) -> Result<()> {
    server.signal(Signal::TERM)?;
    let began = Instant::now();
    while server.is_running() && began.elapsed() < STOP_TIME_MAX {
        sleep(Duration::from_millis(10));
    }
    let (took, is_running) = (began.elapsed(), server.is_running());
    faults.end()?;
    let status = server.stop()?;
    ensure!(!is_running, "it still runs after {took:?}");
    let is_orderly = status.is_some_and(|status| status.success());
    ensure!(
        is_orderly,
        "it ended with {status:?}\n{}",
        server.log_tail()
    );
    Ok(())
}

/// A checkpoint flushes the tree; meanwhile clients are served.
fn stops_in_spite_of_the_tree(faults: &Faults, rule: &str) -> Result<()> {
    let mut server = faults.server()?;
    let mut acknowledged = Acknowledged::default();
    let mut pipe = Pipe::open(server.address(), SESSION_MS)?;
    acknowledged.create(&mut pipe, 0)?;
    faults.begin(rule)?;
    until("the tree is synced", || {
        acknowledged.create(&mut pipe, 0)?;
        Ok(faults.met() > 0)
    })?;
    acknowledged
        .create(&mut pipe, 0)
        .context("while the tree hangs")?;
    terminate(&mut server, faults)?;
    server.restart()?;
    acknowledged.verify(&server)
}

/// A start opens the tree and applies what it lacks of the log.
fn stops_at_start(faults: &Faults, rule: &str) -> Result<()> {
    let mut server = faults.server()?;
    let mut acknowledged = Acknowledged::default();
    acknowledged.create_many(&server, 180, 0)?;
    server.kill9()?;
    faults.begin(rule)?;
    server.spawn()?;
    until("the start waits for the disk", || {
        ensure!(server.is_running(), "it ended:\n{}", server.log_tail());
        Ok(faults.met() > 0)
    })?;
    terminate(&mut server, faults)?;
    server.restart()?;
    acknowledged.verify(&server)
}

/// With nobody there but the reaper, which reads what is not in memory.
fn stops_in_spite_of_the_reaper(faults: &Faults) -> Result<()> {
    let mut server = faults.server()?;
    let mut acknowledged = Acknowledged::default();
    acknowledged.create_many(&server, 180, CONTAINER)?;
    // The reaper does not look now: nobody else may be who reads below.
    server.restart()?;
    faults.begin("read hang .sst")?;
    sleep(Duration::from_secs(1));
    ensure!(
        faults.met() == 0,
        "somebody reads the tree besides the reaper"
    );
    faults.end()?;
    server.set_property(REAPER, REAPER_MS);
    server.restart()?;
    faults.begin("read hang .sst")?;
    until("the reaper reads", || Ok(faults.met() > 0))?;
    terminate(&mut server, faults)?;
    server.restart()?;
    acknowledged.verify(&server)
}

/// It ends by itself, and not in good order; afterwards nothing fails.
fn ends(server: &mut Server, faults: &Faults) -> Result<ExitStatus> {
    let ended = until("the server ends", || Ok(!server.is_running()));
    faults.end()?;
    let status = server.stop()?;
    ended?;
    let status = status.context("it was not running")?;
    let is_told = status.code().is_some_and(|code| code != 0);
    ensure!(is_told, "it ended with {status}\n{}", server.log_tail());
    Ok(status)
}

/// What is read again after a start lies in the tree's tables only.
fn ends_when_a_table_fails(faults: &Faults) -> Result<()> {
    let mut server = faults.server()?;
    let mut acknowledged = Acknowledged::default();
    acknowledged.create_many(&server, 180, 0)?;
    server.restart()?;
    acknowledged.create_many(&server, 10, 0)?;
    faults.begin("read fail .sst")?;
    let answered = acknowledged.verify(&server);
    ensure!(faults.met() > 0, "no table was read");
    let status = ends(&mut server, faults)?;
    ensure!(
        answered.is_err(),
        "all was answered, though it ended with {status}"
    );
    ensure!(
        server.log_tail().contains(".sst"),
        "it does not say which:\n{}",
        server.log_tail()
    );
    server.restart()?;
    acknowledged.verify(&server)
}

/// A sync that failed is not tried again, and nothing that needed it is acknowledged.
fn ends_when_the_log_fails(faults: &Faults) -> Result<()> {
    let mut server = faults.server()?;
    let mut acknowledged = Acknowledged::default();
    acknowledged.create_many(&server, 180, 0)?;
    let mut pipe = Pipe::open(server.address(), SESSION_MS)?;
    acknowledged.create(&mut pipe, 0)?;
    faults.begin("sync fail .segment")?;
    if acknowledged.create(&mut pipe, 0).is_ok() {
        bail!("acknowledged, though {} syncs have failed", faults.met());
    }
    ensure!(faults.met() > 0, "the log was not synced");
    ends(&mut server, faults)?;
    server.restart()?;
    acknowledged.verify(&server)
}
