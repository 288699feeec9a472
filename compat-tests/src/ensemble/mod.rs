//! Several servers that make an ensemble: processes with the zoo.cfg files of one, on a network that
//! can be cut.
//!
//! - [`net`]: the network;
//! - [`guard`]: nothing outlives the run;
//! - [`chaos`]: faults under load;
//! - [`cases`]: failures that have a name;
//! - [`planted`]: servers that are broken on purpose, to be found by those;
//! - [`members`]: servers that come back late, with less than they had, or anew;
//! - [`on`]: other programs on one of the servers;
//! - [`reports`]: what others reported of ensembles, played again;
//! - [`scripts`]: the genuine scripts asked of each;
//! - [`proof`]: load with a recorded history, and the checkers that judge it.

pub mod cases;
pub mod chaos;
pub mod guard;
pub mod members;
pub mod net;
pub mod on;
pub mod planted;
pub mod proof;
pub mod reports;
pub mod scripts;

use std::fs;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use self::guard::Guard;
use self::net::{Network, Way, Wiring};
use crate::client::{Connection, word};
use crate::fault::Disk;
use crate::server::{Kind, Options, Server, process_figure};

/// How long a word or a handshake may take when all are asked again and again.
const PROBE_TIME_MAX: Duration = Duration::from_millis(700);
const PAUSE: Duration = Duration::from_millis(20);
/// Somebody else may take a port between our look and the server's bind.
const PORT_TRIES: usize = 5;
/// How long an ensemble may take until all serve.
pub const START_TIME_MAX: Duration = Duration::from_secs(90);

/// What kind of ensemble.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Which servers.
    pub kind: Kind,
    /// How many.
    pub members: usize,
    /// So many of them are there from the beginning, and those that come later know only them and
    /// themselves; `None`: all.
    pub founders: Option<usize>,
    /// Their zoo.cfg, beyond what makes an ensemble of them.
    pub options: Options,
    /// The network between them.
    pub wiring: Wiring,
    /// Whether each has its data on a disk whose power can fail.
    pub disks: bool,
}

impl Setup {
    /// Three servers, fast to notice that one is gone, synced to disk.
    pub fn new(kind: Kind, wiring: Wiring) -> Self {
        let options = Options::default()
            .config("tickTime", "500")
            .config("initLimit", "20")
            .config("syncLimit", "4")
            .config("forceSync", "yes")
            .config("minSessionTimeout", "1000");
        Self {
            kind,
            members: 3,
            founders: None,
            options,
            wiring,
            disks: false,
        }
    }
}

/// What a member says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It leads.
    Leader,
    /// It follows.
    Follower,
    /// It observes.
    Observer,
    /// It is no member of an ensemble.
    Standalone,
}

/// The servers, counted from 0 here and from 1 in their files.
#[derive(Debug)]
pub struct Ensemble {
    members: Vec<Member>,
    kind: Kind,
    guard: Guard,
    network: Network,
}

#[derive(Debug)]
struct Member {
    /// In front of the server, whose directory it lies in: it goes first.
    disk: Option<Disk>,
    server: Server,
    frozen: bool,
    /// Its disk has no power.
    dark: bool,
}

/// The disk of a member, which holds nothing but its number.
fn mount(server: &Server, id: usize) -> Result<Disk> {
    let data = server.data_dir().context("its data directory")?;
    let disk = Disk::mount(&data.with_extension("disk"), &data)?;
    fs::write(data.join("myid"), format!("{id}\n")).context("write myid")?;
    // Else the loss of power takes it.
    let written = fs::File::open(data.join("myid")).context("open myid")?;
    written.sync_all().context("sync myid")?;
    let dir = fs::File::open(&data).context("open a data directory")?;
    dir.sync_all().context("sync a data directory")?;
    Ok(disk)
}

impl Ensemble {
    /// Starts all and waits until one leads and all serve.
    ///
    /// # Errors
    /// They do not within [`START_TIME_MAX`]; the message ends with their logs.
    pub fn start(setup: &Setup) -> Result<Self> {
        let mut tries = 1;
        loop {
            let mut ensemble = Self::prepare(setup)?;
            for member in 0..setup.members {
                ensemble.spawn(member)?;
            }
            match ensemble.wait_until_serving(START_TIME_MAX) {
                Ok(_) => return Ok(ensemble),
                Err(_) if tries < PORT_TRIES && ensemble.lost_a_port() => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes their files and starts none.
    ///
    /// # Errors
    /// There is no room for them, or they are somebody else's.
    pub fn prepare(setup: &Setup) -> Result<Self> {
        ensure!(
            !matches!(setup.kind, Kind::External(_)),
            "an ensemble is started here: SERVER=oxkeeper or zookeeper"
        );
        let network = Network::lay(setup.wiring, setup.members)?;
        let mut members = Vec::new();
        for own in 0..setup.members {
            let mut options = setup.options.clone();
            options.under = network.under(own);
            if setup.wiring == Wiring::Namespaces {
                options.listens = crate::server::Listens::Everywhere;
            }
            let founders = setup.founders.unwrap_or(setup.members);
            for other in (0..setup.members).filter(|other| *other < founders || *other == own) {
                let (quorum, election) = network.way_to(own, other);
                let line = format!("{}:{}:{}", quorum.ip(), quorum.port(), election.port());
                options = options.config(&format!("server.{}", other + 1), &line);
            }
            let client = network.seat(own).client;
            let server = Server::member(setup.kind, options, client, own + 1)?;
            let disk = setup.disks.then(|| mount(&server, own + 1)).transpose()?;
            members.push(Member {
                disk,
                server,
                frozen: false,
                dark: false,
            });
        }
        Ok(Self {
            members,
            kind: setup.kind,
            guard: Guard::open()?,
            network,
        })
    }

    fn lost_a_port(&self) -> bool {
        let in_use = |member: &Member| member.server.log().contains("Address already in use");
        self.members.iter().any(in_use)
    }

    /// Which servers these are.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// True for an ensemble of none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Where clients reach a member.
    pub fn address(&self, member: usize) -> SocketAddr {
        self.members[member].server.address()
    }

    /// Where clients reach each.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        (0..self.len()).map(|member| self.address(member)).collect()
    }

    /// The server itself.
    pub fn server(&self, member: usize) -> &Server {
        &self.members[member].server
    }

    /// Has the files of a member list these; takes effect with its next start.
    pub fn list(&mut self, own: usize, members: &[usize]) {
        let server = &mut self.members[own].server;
        server.forget_config("server.");
        for other in members {
            let (quorum, election) = self.network.way_to(own, *other);
            let line = format!("{}:{}:{}", quorum.ip(), quorum.port(), election.port());
            server.set_config(&format!("server.{}", other + 1), &line);
        }
    }

    /// Changes a line of zoo.cfg of all; takes effect with their next start.
    pub fn set_config(&mut self, key: &str, value: &str) {
        for member in &mut self.members {
            member.server.set_config(key, value);
        }
    }

    /// True while the process of a member runs.
    pub fn is_running(&mut self, member: usize) -> bool {
        self.members[member].server.is_running()
    }

    /// A member's line as it is asked for to join, with all three ports.
    pub fn line(&self, member: usize) -> String {
        let (quorum, election) = self.network.way_to(member, member);
        let client = self.address(member);
        let (host, number) = (quorum.ip(), member + 1);
        let ports = format!("{}:{}", quorum.port(), election.port());
        format!("server.{number}={host}:{ports}:participant;{client}")
    }

    /// Starts a member; does not wait.
    ///
    /// # Errors
    /// The process could not be started.
    pub fn spawn(&mut self, member: usize) -> Result<()> {
        let it = &mut self.members[member];
        it.server.spawn()?;
        it.frozen = false;
        self.guard.watch(it.server.pid().context("just started")?)
    }

    /// kill -9.
    ///
    /// # Errors
    /// It could not be signalled; so with those below.
    pub fn kill9(&mut self, member: usize) -> Result<()> {
        self.ended(member, Server::kill9)
    }

    /// kill -9 of all, as fast as it goes: nobody has time to notice that another is gone.
    ///
    /// # Errors
    /// As [`Self::kill9`].
    pub fn kill9_all(&mut self) -> Result<()> {
        for member in &self.members {
            member.server.signal(Signal::KILL)?;
        }
        (0..self.len()).try_for_each(|member| self.kill9(member))
    }

    /// The power of these members fails in one moment: what their disks have not written by then is lost.
    ///
    /// # Errors
    /// They have no disks of their own, or could not be signalled.
    pub fn power_off(&mut self, members: &[usize]) -> Result<()> {
        // Until all disks have failed none of them does anything any more.
        for member in members {
            self.members[*member].server.signal(Signal::STOP)?;
        }
        for member in members {
            let disk = self.members[*member].disk.as_ref();
            disk.context("it has no disk of its own")?.fail()?;
            self.members[*member].dark = true;
        }
        members.iter().try_for_each(|member| self.kill9(*member))
    }

    /// The directory in which a member runs, and where what hangs on its disk is written down.
    ///
    /// # Errors
    /// It has none.
    pub fn dir(&self, member: usize) -> Result<std::path::PathBuf> {
        let data = self.server(member).data_dir();
        let dir = data.as_deref().and_then(std::path::Path::parent);
        Ok(dir.context("its directory")?.to_owned())
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(&mut self, member: usize) -> Result<()> {
        self.ended(member, |server| server.stop().map(drop))
    }

    fn ended(&mut self, member: usize, by: impl FnOnce(&mut Server) -> Result<()>) -> Result<()> {
        let it = &mut self.members[member];
        let pid = it.server.pid();
        by(&mut it.server)?;
        it.frozen = false;
        pid.map_or(Ok(()), |pid| self.guard.forget(pid))
    }

    /// Takes all from the disk of a member that does not run, but for its number.
    ///
    /// # Errors
    /// It runs, or the file system said no.
    pub fn wipe(&mut self, member: usize) -> Result<()> {
        let it = &mut self.members[member];
        ensure!(!it.server.is_running(), "its disk is in use");
        let data = it.server.data_dir().context("a server of ours")?;
        for entry in fs::read_dir(&data).context("list a data directory")? {
            let path = entry.context("list a data directory")?.path();
            if path.is_dir() {
                fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
            } else if path.file_name().is_some_and(|name| name != "myid") {
                fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// SIGSTOP.
    ///
    /// # Errors
    /// It does not run.
    pub fn freeze(&mut self, member: usize) -> Result<()> {
        self.members[member].server.signal(Signal::STOP)?;
        self.members[member].frozen = true;
        Ok(())
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// It does not run.
    pub fn thaw(&mut self, member: usize) -> Result<()> {
        self.members[member].server.signal(Signal::CONT)?;
        self.members[member].frozen = false;
        Ok(())
    }

    /// Sets the state of the way from one member to another.
    ///
    /// # Errors
    /// The network cannot do that.
    pub fn set_way(&self, from: usize, to: usize, way: Way) -> Result<()> {
        self.network.set(from, to, way)
    }

    /// Breaks the connections that one member has made to another.
    ///
    /// # Errors
    /// The network cannot do that.
    pub fn break_off(&self, from: usize, to: usize) -> Result<()> {
        self.network.break_off(from, to)
    }

    /// What one member has said to another since this was asked last.
    ///
    /// # Errors
    /// The network does not listen.
    pub fn beats(&self, from: usize, to: usize) -> Result<net::Beats> {
        let beats = self.network.beats(from, to);
        beats.context("only proxies hear what servers say")
    }

    /// Every way is as it was, every member runs.
    ///
    /// # Errors
    /// A process could not be started.
    pub fn heal(&mut self) -> Result<()> {
        for from in 0..self.len() {
            for to in (0..self.len()).filter(|to| *to != from) {
                self.set_way(from, to, Way::default())?;
            }
            if self.members[from].frozen {
                self.thaw(from)?;
            }
            if !self.members[from].server.is_running() {
                self.kill9(from)?;
                if std::mem::take(&mut self.members[from].dark) {
                    let disk = self.members[from].disk.as_ref();
                    disk.context("it has no disk of its own")?.come_back()?;
                }
                self.spawn(from)?;
            }
        }
        Ok(())
    }

    /// What a member says that it is; `None`: nothing, or that it does not serve.
    pub fn mode(&self, member: usize) -> Option<Mode> {
        if self.members[member].frozen {
            return None;
        }
        let answer = word(self.address(member), b"srvr", PROBE_TIME_MAX).ok()?;
        let mode = answer
            .lines()
            .find_map(|line| line.strip_prefix("Mode: "))?;
        match mode.trim() {
            "leader" => Some(Mode::Leader),
            "follower" => Some(Mode::Follower),
            "observer" => Some(Mode::Observer),
            "standalone" => Some(Mode::Standalone),
            _ => None,
        }
    }

    /// Who leads. While leaders change, two may say that they do: then nobody.
    pub fn leader(&self) -> Option<usize> {
        let mut leaders = (0..self.len()).filter(|member| self.mode(*member) == Some(Mode::Leader));
        let first = leaders.next()?;
        leaders.next().is_none().then_some(first)
    }

    /// Waits until somebody leads.
    ///
    /// # Errors
    /// Nobody does in time.
    pub fn wait_for_leader(&self, most: Duration) -> Result<usize> {
        let deadline = Instant::now() + most;
        loop {
            if let Some(leader) = self.leader() {
                return Ok(leader);
            }
            if Instant::now() > deadline {
                bail!("nobody leads after {most:?}\n{}", self.logs());
            }
            sleep(PAUSE);
        }
    }

    /// Waits until one leads, all others follow and everybody opens sessions; how long it took.
    ///
    /// # Errors
    /// Not in time, or one has ended; the message ends with the logs.
    pub fn wait_until_serving(&mut self, most: Duration) -> Result<Duration> {
        let begin = Instant::now();
        loop {
            let modes: Vec<Option<Mode>> = (0..self.len()).map(|it| self.mode(it)).collect();
            let count = |mode| modes.iter().filter(|it| **it == Some(mode)).count();
            let whole = count(Mode::Leader) == 1 && count(Mode::Follower) == self.len() - 1;
            if whole && (0..self.len()).all(|member| self.opens_sessions(member)) {
                return Ok(begin.elapsed());
            }
            let mut ended = Vec::new();
            for (index, member) in self.members.iter_mut().enumerate() {
                if !member.server.is_running() {
                    ended.push(index + 1);
                }
            }
            if !ended.is_empty() || begin.elapsed() > most {
                bail!(
                    "not all serve after {:.1?}: modes {modes:?}, ended: {ended:?}\n{}",
                    begin.elapsed(),
                    self.logs()
                );
            }
            sleep(PAUSE);
        }
    }

    fn opens_sessions(&self, member: usize) -> bool {
        let opened = || -> Result<()> {
            let mut connection = Connection::open(self.address(member), PROBE_TIME_MAX)?;
            connection.new_session(10_000)?;
            connection.close_session()
        };
        opened().is_ok()
    }

    /// The ends of all logs, for a failure.
    pub fn logs(&self) -> String {
        let tails = self.members.iter().enumerate().map(|(index, member)| {
            format!(
                "-- log of server {}:\n{}",
                index + 1,
                member.server.log_tail()
            )
        });
        tails.collect::<Vec<_>>().join("\n")
    }

    /// Resident memory of a member, in bytes.
    ///
    /// # Errors
    /// It does not run.
    pub fn resident(&self, member: usize) -> Result<u64> {
        let pid = self.server(member).pid().context("it does not run")?;
        Ok(process_figure(pid, "status", "VmRSS:")? * 1024)
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        if std::thread::panicking() {
            crate::suite::say(self.logs());
        }
        for member in 0..self.len() {
            drop(self.kill9(member));
        }
    }
}
