//! What operators may ask, and where metrics are served. `config/` fills this in; the room only
//! reads it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The four-letter words that are answered. `srvr` always is: zkServer.sh's `status` needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commands {
    /// Every word of ZooKeeper's.
    All,
    /// These, each as the operator wrote it; unknown ones match nothing.
    Set(BTreeSet<String>),
}

impl Commands {
    /// Reads `4lw.commands.whitelist`: words between commas, or `*` for all of them.
    ///
    /// zk: FourLetterCommands.isEnabled: trimmed, empty words skipped, `srvr` always added.
    pub fn parse(list: &str) -> Self {
        let words = list
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty());
        let mut set = BTreeSet::from(["srvr".to_owned()]);
        for word in words {
            if word == "*" {
                return Commands::All;
            }
            set.insert(word.to_owned());
        }
        Commands::Set(set)
    }

    /// Whether `word`, four lower-case letters, is answered.
    pub fn allows(&self, word: &str) -> bool {
        match self {
            Commands::All => true,
            Commands::Set(words) => words.contains(word),
        }
    }
}

/// Where metrics go besides `mntr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricsProvider {
    /// Kept for `mntr` only.
    #[default]
    Default,
    /// Not kept; `mntr` has the gauges it reads off the server, nothing that must be recorded.
    Null,
    /// Kept, and served over HTTP in Prometheus' text format.
    Prometheus {
        /// Where `/metrics` listens; port 0 lets the system choose.
        addr: SocketAddr,
        /// Export figures of the process too (ZooKeeper: of the JVM).
        export_process: bool,
    },
}

/// What the word `conf` prints, as the operator gave it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conf {
    /// zoo.cfg's `clientPort`; print the port that is bound instead if this is 0. `None` prints -1.
    pub client_port: Option<u16>,
    /// zoo.cfg's `dataDir`.
    pub data_dir: PathBuf,
    /// zoo.cfg's `dataLogDir`, else its `dataDir`.
    pub log_dir: PathBuf,
    /// `tickTime`.
    pub tick_ms: u32,
    /// `maxClientCnxns`.
    pub connections_per_ip_max: u32,
    /// `minSessionTimeout` in force.
    pub timeout_ms_min: u32,
    /// `maxSessionTimeout` in force.
    pub timeout_ms_max: u32,
    /// `clientPortListenBacklog`; `None` prints -1.
    pub listen_backlog: Option<u32>,
    /// The id in the ensemble; 0 in a standalone server.
    pub server_id: u64,
    /// `None` in a standalone server.
    pub ensemble: Option<EnsembleConf>,
}

/// What `conf` prints of a member of an ensemble.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnsembleConf {
    /// `initLimit`, in ticks.
    pub init_limit_ticks: u32,
    /// `syncLimit`, in ticks.
    pub sync_limit_ticks: u32,
    /// Of this server's addresses, each once.
    pub election_ports: Vec<u16>,
    /// The same of the ports for all traffic between servers.
    pub quorum_ports: Vec<u16>,
    /// This server does not vote.
    pub is_observer: bool,
    /// A line for each member, and the version without a line feed.
    pub membership: String,
}

/// Commands, metrics and what `conf` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The four-letter words that are answered.
    pub commands: Commands,
    /// Where metrics go.
    pub metrics_provider: MetricsProvider,
    /// For the word `conf`.
    pub conf: Conf,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            commands: Commands::parse(""),
            metrics_provider: MetricsProvider::Default,
            conf: Conf::default(),
        }
    }
}
