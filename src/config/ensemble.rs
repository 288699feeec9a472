//! What a server is told of its ensemble: who it is, who the others are, and how patient to be.

use std::path::PathBuf;
use std::time::Duration;

use super::dynamic::MemberFiles;
use crate::state::{Member, PeerType, ServerId};

/// This server as one of an ensemble, or alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnsembleSettings {
    /// This server: what `myid` holds; 1 in a standalone server without one, as ZooKeeper has it.
    pub me: ServerId,
    /// Everybody, in order of their ids, this server among them. Nobody in a standalone server.
    pub members: Vec<Member>,
    /// A lone voter that is called so, not a leader.
    pub standalone: bool,
    /// Version of the list of members: the one in the name of the dynamic file, else 0.
    pub version: u64,
    /// Peers reach this server on every address, not only on those in its line.
    pub listen_on_all_ips: bool,
    /// ZooKeeper's unit of time, milliseconds.
    pub tick_ms: u32,
    /// Ticks that a server may take to find a leader and to catch up. 0: not set.
    pub init_limit_ticks: u32,
    /// Ticks that a server may be silent or behind. 0: not set.
    pub sync_limit_ticks: u32,
    /// A leader is heard of so often.
    pub heartbeat_ms: u32,
    /// A silent leader is replaced after at least this.
    pub election_ms_min: u32,
    /// And at most about this.
    pub election_ms_max: u32,
    /// What all members know and nobody else: how peers are recognised.
    pub peer_secret_file: Option<PathBuf>,
    /// Where the members are written when they change; `None`: there is no zoo.cfg, or they do not.
    pub files: Option<MemberFiles>,
}

impl Default for EnsembleSettings {
    fn default() -> Self {
        EnsembleSettings {
            me: ServerId(1),
            members: Vec::new(),
            standalone: true,
            version: 0,
            listen_on_all_ips: false,
            tick_ms: 3000,
            init_limit_ticks: 0,
            sync_limit_ticks: 0,
            heartbeat_ms: 100,
            election_ms_min: 300,
            election_ms_max: 600,
            peer_secret_file: None,
            files: None,
        }
    }
}

impl EnsembleSettings {
    /// All that vote, in order: this server alone if it is standalone.
    pub fn voters(&self) -> Vec<ServerId> {
        if self.standalone {
            return vec![self.me];
        }
        let voters = self
            .members
            .iter()
            .filter(|one| one.role == PeerType::Voter);
        voters.map(|one| one.id).collect()
    }

    /// All that follow without a vote, in order.
    pub fn observers(&self) -> Vec<ServerId> {
        let observers = self
            .members
            .iter()
            .filter(|one| one.role == PeerType::Observer);
        observers.map(|one| one.id).collect()
    }

    /// How many vote; `None` in a standalone server.
    pub fn quorum_size(&self) -> Option<usize> {
        (!self.standalone).then(|| self.voters().len())
    }

    /// This server's line; `None` in a standalone server.
    pub fn own(&self) -> Option<&Member> {
        self.members.iter().find(|one| one.id == self.me)
    }

    /// What this server may do.
    pub fn role(&self) -> PeerType {
        self.own().map_or(PeerType::Voter, |own| own.role)
    }

    /// initLimit as a time.
    pub fn init_limit(&self) -> Duration {
        self.ticks(self.init_limit_ticks)
    }

    /// syncLimit as a time.
    pub fn sync_limit(&self) -> Duration {
        self.ticks(self.sync_limit_ticks)
    }

    fn ticks(&self, ticks: u32) -> Duration {
        Duration::from_millis(u64::from(ticks) * u64::from(self.tick_ms))
    }

    /// The members as `/zookeeper/config` and the word `conf` show them: a line each, and the version
    /// without a line feed. Empty in a standalone server.
    ///
    /// A client part is shown only where the line has one, also if this server's `clientPort` is known
    /// from elsewhere.
    ///
    /// zk: QuorumMaj.toString; QuorumServer.toString with isClientAddrFromStatic.
    pub fn config_text(&self) -> String {
        if self.standalone {
            return String::new();
        }
        let lines = self.members.iter();
        let lines: String = lines
            .map(|one| format!("server.{}={one}\n", one.id))
            .collect();
        format!("{lines}version={:x}", self.version)
    }
}
