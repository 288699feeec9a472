//! One server under test: a process on a free loopback port, with a temporary directory.
//!
//! `start` returns only when the server answers a real handshake. The process is ended by its own
//! pid, at the latest when the value is dropped; its output is kept and shown when something fails.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::client::{Connection, word};
use crate::settings;

const START_TIME_MAX: Duration = Duration::from_secs(60);
const STOP_TIME_MAX: Duration = Duration::from_secs(30);
const PORT_TRIES: usize = 5;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours, from `OXKEEPER_BIN`.
    Oxkeeper,
    /// The genuine Apache ZooKeeper 3.9.5.
    ZooKeeper,
    /// One that somebody else started. It cannot be restarted.
    External(SocketAddr),
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Oxkeeper => f.write_str("oxkeeper"),
            Self::ZooKeeper => f.write_str("zookeeper"),
            Self::External(address) => write!(f, "{address}"),
        }
    }
}

/// How a server is configured beyond what every suite wants.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Lines of zoo.cfg. A key given here replaces the suite's default.
    pub config: Vec<(String, String)>,
    /// `-D` words (name, value): for java on its command line, for ours in JVMFLAGS.
    pub properties: Vec<(String, String)>,
    /// Words for the JVM of the genuine server, in place of [`QUICK_JVM`] and its small heap.
    pub java: Vec<String>,
    /// Words in front of the server's own command line, such as a shell that sets limits.
    pub under: Vec<String>,
    /// More of the environment.
    pub environment: Vec<(String, String)>,
    /// Where its output goes, if not into a file of its own: a device, a named pipe that is read.
    pub output: Option<PathBuf>,
    /// Where it listens.
    pub listens: Listens,
}

/// Where a server listens, at a port that was free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listens {
    /// On 127.0.0.1.
    #[default]
    Loopback,
    /// On ::1.
    Loopback6,
    /// On every address: nothing is written down.
    Everywhere,
    /// On every address, written so.
    At(&'static str),
}

impl Listens {
    /// The address that the suites use.
    fn loopback(self) -> IpAddr {
        match self {
            Self::Loopback6 => Ipv6Addr::LOCALHOST.into(),
            _ => Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// The value of clientPortAddress.
    fn value(self) -> Option<&'static str> {
        match self {
            Self::Loopback => Some("127.0.0.1"),
            Self::Loopback6 => Some("[::1]"),
            Self::Everywhere => None,
            Self::At(value) => Some(value),
        }
    }
}

impl Options {
    /// The same options with one more line of zoo.cfg.
    #[must_use]
    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.config.retain(|(k, _)| k != key);
        self.config.push((key.into(), value.into()));
        self
    }

    /// The same options with one more `-D` word.
    #[must_use]
    pub fn property(mut self, key: &str, value: &str) -> Self {
        self.properties.retain(|(k, _)| k != key);
        self.properties.push((key.into(), value.into()));
        self
    }

    /// The same options with these words in front of the server's command line.
    #[must_use]
    pub fn under(mut self, words: &[&str]) -> Self {
        self.under = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// The same options with one more variable of the environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The same options with its output in this file, device or pipe.
    #[must_use]
    pub fn output(mut self, path: &Path) -> Self {
        self.output = Some(path.to_owned());
        self
    }

    /// The same options with the server listening there.
    #[must_use]
    pub fn listens(mut self, listens: Listens) -> Self {
        self.listens = listens;
        self
    }

    /// The same options with these words for the JVM of the genuine server.
    #[must_use]
    pub fn java<const N: usize>(mut self, words: [&str; N]) -> Self {
        self.java = words.map(str::to_owned).to_vec();
        self
    }
}

/// What every suite wants of a server, unless its options say otherwise.
const DEFAULTS: [(&str, &str); 9] = [
    ("tickTime", "2000"),
    ("maxClientCnxns", "0"),
    ("maxSessionTimeout", "600000"),
    ("4lw.commands.whitelist", "*"),
    ("extendedTypesEnabled", "true"),
    ("admin.enableServer", "false"),
    ("preAllocSize", "256"),
    // The suites ask what is answered, not what survives a power loss.
    ("forceSync", "no"),
    ("DigestAuthenticationProvider.superDigest", SUPER_DIGEST),
];

/// `super:admin`, hashed: the identity that may do all.
pub const SUPER_DIGEST: &str = "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=";

/// A running (or stopped) server.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    options: Options,
    address: SocketAddr,
    dir: Option<TempDir>,
    process: Option<Child>,
}

impl Server {
    /// Starts a server and waits until it serves.
    ///
    /// # Errors
    /// It cannot be started, or did not serve within a minute; the message ends with its log.
    pub fn start(kind: Kind, options: Options) -> Result<Self> {
        if let Kind::External(address) = kind {
            let server = Self {
                kind,
                options,
                address,
                dir: None,
                process: None,
            };
            server.wait_until_serving()?;
            return Ok(server);
        }
        let mut last = None;
        for _ in 0..PORT_TRIES {
            let dir = tempfile::Builder::new()
                .prefix("compat-")
                .tempdir_in(settings::data_root())
                .context("make a directory for a server")?;
            let address = free_address(options.listens.loopback())?;
            let mut server = Self {
                kind,
                options: options.clone(),
                address,
                dir: Some(dir),
                process: None,
            };
            match server.launch() {
                Ok(()) => return Ok(server),
                // Somebody took the port between our look and the server's bind.
                Err(error) if server.log().contains("Address already in use") => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.expect("the loop ran")).context("find a free port")
    }

    /// A member of an ensemble, with its myid, not started yet: alone it would never serve, so
    /// [`Self::spawn`] it and look at all. `client`: where clients reach it, an address that is free.
    ///
    /// # Errors
    /// Its directory cannot be made.
    pub fn member(kind: Kind, options: Options, client: SocketAddr, id: usize) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix(&format!("compat-{id}-"))
            .tempdir_in(settings::data_root())
            .context("make a directory for a server")?;
        let data = dir.path().join("data");
        fs::create_dir(&data).context("make a data directory")?;
        fs::write(data.join("myid"), format!("{id}\n")).context("write myid")?;
        Ok(Self {
            kind,
            options,
            address: client,
            dir: Some(dir),
            process: None,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Which server it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Changes a line of zoo.cfg; takes effect with the next start.
    pub fn set_config(&mut self, key: &str, value: &str) {
        self.options = std::mem::take(&mut self.options).config(key, value);
    }

    /// Takes the lines of zoo.cfg whose keys begin so away; takes effect with the next start.
    pub fn forget_config(&mut self, prefix: &str) {
        self.options
            .config
            .retain(|(key, _)| !key.starts_with(prefix));
    }

    /// Changes a `-D` word; takes effect with the next start.
    pub fn set_property(&mut self, key: &str, value: &str) {
        self.options = std::mem::take(&mut self.options).property(key, value);
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// All that the process has printed so far.
    pub fn log(&self) -> String {
        self.dir.as_ref().map_or_else(String::new, |dir| {
            fs::read(dir.path().join("log"))
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .unwrap_or_default()
        })
    }

    /// The last lines of [`Self::log`], for a failure report.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        // Without the frames of stack traces.
        let lines: Vec<&str> = log
            .lines()
            .filter(|line| !line.starts_with("\tat "))
            .collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// True while the process runs (an external server always does).
    pub fn is_running(&mut self) -> bool {
        match &mut self.process {
            // One whose first thread has ended cannot be waited for until the others have, too.
            Some(process) => matches!(process.try_wait(), Ok(None)) && !has_ended(process.id()),
            None => matches!(self.kind, Kind::External(_)),
        }
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let process = self.process.as_ref().context("the server does not run")?;
        kill_process(Pid::from_child(process), signal).context("send it a signal")
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// # Errors
    /// It did not end within half a minute (then it is killed).
    pub fn stop(&mut self) -> Result<Option<ExitStatus>> {
        let Some(mut process) = self.process.take() else {
            return Ok(None);
        };
        let told = kill_process(Pid::from_child(&process), Signal::TERM);
        let deadline = Instant::now() + STOP_TIME_MAX;
        while Instant::now() < deadline {
            if let Some(status) = process.try_wait().context("wait for the server")? {
                return Ok(Some(status));
            }
            sleep(Duration::from_millis(5));
        }
        process.kill().context("kill the server")?;
        process.wait().context("wait for the server")?;
        bail!(
            "{} did not end on SIGTERM (sent: {told:?})\n{}",
            self.kind,
            self.log_tail()
        )
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// The process could not be signalled or awaited.
    pub fn kill9(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill().context("kill the server")?;
            process.wait().context("wait for the server")?;
        }
        Ok(())
    }

    /// Starts it again on the same port and data; stops it first if it runs.
    ///
    /// # Errors
    /// As [`Self::start`]; an external server cannot be restarted.
    pub fn restart(&mut self) -> Result<()> {
        if matches!(self.kind, Kind::External(_)) {
            bail!("an external server cannot be restarted");
        }
        self.stop()?;
        self.launch()
    }

    /// Where it keeps its data; an external server's is unknown.
    pub fn data_dir(&self) -> Option<PathBuf> {
        self.dir.as_ref().map(|dir| dir.path().join("data"))
    }

    /// Where its output goes; an external server's is unknown.
    pub fn log_file(&self) -> Option<PathBuf> {
        self.dir.as_ref().map(|dir| dir.path().join("log"))
    }

    /// Starts a stopped one and does not wait until it serves.
    ///
    /// # Errors
    /// The process could not be started.
    pub fn spawn(&mut self) -> Result<()> {
        let dir = self
            .dir
            .as_ref()
            .expect("only external servers have none")
            .path()
            .to_path_buf();
        let config = self.write_config(&dir)?;
        let own = dir.join("log");
        let path = self.options.output.as_ref().unwrap_or(&own);
        let log = File::options()
            .create(true)
            .append(true)
            .open(path)
            .context("open the server's log")?;
        let command = match self.kind {
            Kind::ZooKeeper => self.java(&settings::class_path()?),
            Kind::Oxkeeper => self.ours()?,
            Kind::External(_) => bail!("an external server cannot be started"),
        };
        let mut command = self.wrapped(command);
        command
            .arg(config)
            .envs(self.options.environment.iter().cloned())
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the log")?)
            .stderr(log);
        self.process = Some(
            command
                .spawn()
                .with_context(|| format!("start {}", self.kind))?,
        );
        Ok(())
    }

    fn launch(&mut self) -> Result<()> {
        self.spawn()?;
        self.wait_until_serving()
    }

    fn write_config(&self, dir: &Path) -> Result<PathBuf> {
        let mut lines = vec![
            format!("dataDir={}", dir.join("data").display()),
            format!("clientPort={}", self.address.port()),
        ];
        let listens = self.options.listens.value();
        lines.extend(listens.map(|value| format!("clientPortAddress={value}")));
        let given = |key: &str| self.options.config.iter().any(|(k, _)| k == key);
        lines.extend(
            DEFAULTS
                .iter()
                .filter(|(key, _)| !given(key))
                .map(|(key, value)| format!("{key}={value}")),
        );
        lines.extend(
            self.options
                .config
                .iter()
                .map(|(key, value)| format!("{key}={value}")),
        );
        let path = dir.join("zoo.cfg");
        fs::write(&path, lines.join("\n") + "\n").context("write zoo.cfg")?;
        Ok(path)
    }

    fn words(&self) -> Vec<String> {
        // Containers and TTL nodes are reaped by the clock: never during a suite that compares.
        let mut words = vec![(
            "znode.container.checkIntervalMs".to_owned(),
            "86400000".to_owned(),
        )];
        // One voter with the threads of several: `tools/suites` runs some suites so.
        if let (Kind::Oxkeeper, Some(placement)) = (self.kind(), settings::placement()) {
            words.push(("oxkeeper.placement".to_owned(), placement));
        }
        words.retain(|(key, _)| !self.options.properties.iter().any(|(k, _)| k == key));
        words.extend(self.options.properties.iter().cloned());
        words
            .into_iter()
            .map(|(key, value)| format!("-D{key}={value}"))
            .collect()
    }

    fn java(&self, class_path: &str) -> Command {
        let mut command = Command::new("java");
        if self.options.java.is_empty() {
            command.args(QUICK_JVM).arg("-Xmx512m");
        } else {
            command.args(&self.options.java);
        }
        command
            .arg("-Dzookeeper.jmx.log4j.disable=true")
            .args(self.words())
            .args([
                "-cp",
                class_path,
                "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            ]);
        command
    }

    fn ours(&self) -> Result<Command> {
        let mut command = Command::new(settings::oxkeeper_binary()?);
        command.env("JVMFLAGS", self.words().join(" "));
        Ok(command)
    }

    /// The command behind the words that come in front of it.
    fn wrapped(&self, command: Command) -> Command {
        let Some((first, rest)) = self.options.under.split_first() else {
            return command;
        };
        let mut outer = Command::new(first);
        outer.args(rest).arg(command.get_program());
        outer.args(command.get_args());
        let set = command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?)));
        outer.envs(set);
        outer
    }

    fn has_ended(&self) -> bool {
        let process = self.process.as_ref();
        process.is_some_and(|child| has_ended(child.id()))
    }

    fn wait_until_serving(&self) -> Result<()> {
        let deadline = Instant::now() + START_TIME_MAX;
        loop {
            match probe(self.address) {
                // Else somebody else has its port, and answers.
                Ok(()) if !self.has_ended() => return Ok(()),
                answered => {
                    let error = answered.err().unwrap_or_else(|| anyhow!("it has ended"));
                    if self.has_ended() || Instant::now() > deadline {
                        return Err(error).with_context(|| {
                            format!(
                                "{} does not serve; its log ends:\n{}",
                                self.kind,
                                self.log_tail()
                            )
                        });
                    }
                }
            }
            sleep(Duration::from_millis(25));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            crate::suite::say(format_args!("log of {}:\n{}", self.kind, self.log_tail()));
        }
        drop(self.kill9());
    }
}

/// A JVM that starts fast and stays small; these runs are short.
pub const QUICK_JVM: [&str; 5] = [
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Xshare:auto",
    "-XX:-UsePerfData",
    "-Duser.timezone=UTC",
];

/// A loopback address that nobody listens on at this moment, and none that was given to another server
/// of this run: that one may start again.
fn free_address(ip: IpAddr) -> Result<SocketAddr> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = TcpListener::bind((ip, 0)).context("look for a free port")?;
        let address = listener.local_addr().context("look for a free port")?;
        if GIVEN.lock().expect("nobody panics").insert(address.port()) {
            return Ok(address);
        }
    }
}

/// A figure of /proc/PID/`file` in that file's own unit, KiB for memory. `key`: with its colon.
///
/// # Errors
/// The process has ended, or the file does not say.
pub fn process_figure(pid: u32, file: &str, key: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/{file}");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.split_whitespace().next())
        .and_then(|word| word.parse().ok())
        .with_context(|| format!("find {key} in {path}"))
}

/// A zombie or a missing process; `Child::try_wait` would need `&mut`.
fn has_ended(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .map(|stat| {
            stat.rsplit(')')
                .next()
                .is_some_and(|rest| rest.trim_start().starts_with('Z'))
        })
        .unwrap_or(true)
}

/// Opens and closes a session, once `srvr` says that the server serves: a genuine one that is still
/// starting may take a handshake and never answer it.
fn probe(address: SocketAddr) -> Result<()> {
    let answer = word(address, b"srvr", Duration::from_secs(1))?;
    ensure!(answer.contains("Mode: "), "srvr does not name a mode yet");
    let mut connection = Connection::open(address, Duration::from_secs(5))?;
    connection.new_session(10_000)?;
    connection.close_session()
}
