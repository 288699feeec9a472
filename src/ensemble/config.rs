//! Settings of the ensemble.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::state::{Members, ServerId};

use super::error::StartError;
use super::peer::{Lineup, Listed, Part, PeerAddress, PeerConfig, Roster, Secret};
use super::placement::Placement;

/// The same on all servers, whatever request each of them takes: what one has put into the log all must
/// be able to read. More than the largest request that can be allowed and a batch beside it; memory is
/// taken only as the bytes come.
const FRAME_BYTES_MAX: usize = (2 << 30) + (128 << 20);

/// What a purge leaves at least. Never 0: openraft issue 2116, an apply that is still queued must not
/// find its entries purged by a checkpoint that has just been finished.
const ENTRIES_KEPT_MIN: u64 = 16;

/// The same where others may have to be fed: what a server that is away for minutes has missed.
const ENTRIES_FOR_OTHERS: u64 = 10_000;

/// How proposals are put together into log entries: what an operator may set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Batches {
    /// Proposals in one batch, at most.
    pub ops_max: usize,
    /// Bytes in one batch, at most; a proposal that is larger goes alone.
    pub bytes_max: usize,
    /// Batches that may be sent and not yet applied, before new proposals gather.
    pub window: usize,
}

impl Default for Batches {
    fn default() -> Self {
        Self {
            ops_max: 512,
            bytes_max: 1 << 20,
            window: 4,
        }
    }
}

/// Settings of the ensemble.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// This server.
    pub server: ServerId,
    /// All servers that are to vote, as its files list them: what the log says wins, and is changed to
    /// this once a majority lists the same. One voter and no observer: a lone server.
    pub voters: Vec<ServerId>,
    /// Those that are to follow without a vote.
    pub observers: Vec<ServerId>,
    /// Version of that list: the one in the name of the dynamic file, else 0.
    pub version: u64,
    /// Whether the files say who is a member, and not the replicated configuration.
    pub members_by_files: bool,
    /// What the files say in full, if requests change the members from there on.
    pub members: Option<Members>,
    /// How long those that are to vote may take to catch up, before it is complained.
    ///
    /// zk: initLimit.
    pub catch_up_ms: u64,
    /// Proposals in one batch, at most.
    pub batch_ops_max: usize,
    /// Bytes in one batch, at most; a proposal that is larger goes alone.
    pub batch_bytes_max: usize,
    /// Batches that may be sent and not yet applied. See [`Self::set_window`].
    pub window_batches: usize,
    /// Bytes of the same.
    pub window_bytes: usize,
    /// Bytes of proposals that wait for the window; beyond it, submitters wait.
    pub queue_bytes_max: usize,
    /// A checkpoint is taken, and the log behind it purged, after so many bytes of log.
    pub checkpoint_log_bytes: u64,
    /// The same after so many entries (batches) of log, whichever comes first.
    pub checkpoint_entries: u64,
    /// Entries that a purge leaves behind the checkpoint, for followers that lag.
    pub entries_kept: u64,
    /// Where its tasks run.
    pub placement: Placement,
    /// A leader is heard of so often, with several voters.
    pub heartbeat_ms: u64,
    /// A silent leader is replaced after at least this, with several voters.
    pub election_ms_min: u64,
    /// And at most about one and a half times this.
    pub election_ms_max: u64,
    /// Clients of a server that finds no leader are sent away after this.
    pub patience_ms: u64,
    /// A server on which apply is behind by more than this does not serve, with several voters.
    ///
    /// zk: syncLimit.
    pub lag_ms_max: u64,
    /// Where the other members are reached.
    pub addresses: BTreeMap<ServerId, Vec<PeerAddress>>,
    /// Where this server listens for them.
    pub listen: Vec<PeerAddress>,
    /// Holds what all members know and nobody else.
    pub secret_file: Option<PathBuf>,
    /// If this file exists, the operator says that this server is new; it goes when that has been used.
    ///
    /// zk: the file `initialize`.
    pub initialize_file: Option<PathBuf>,
}

impl Config {
    /// The defaults for this server among these voters.
    pub fn new(server: ServerId, voters: Vec<ServerId>) -> Self {
        let placement = match voters.len() {
            0 | 1 => Placement::Alone,
            _ => Placement::Several,
        };
        let batches = Batches::default();
        Self {
            server,
            placement,
            batch_ops_max: batches.ops_max,
            batch_bytes_max: batches.bytes_max,
            window_batches: batches.window,
            window_bytes: 4 << 20,
            queue_bytes_max: 16 << 20,
            checkpoint_log_bytes: 64 << 20,
            checkpoint_entries: 100_000,
            entries_kept: match voters.len() {
                0 | 1 => ENTRIES_KEPT_MIN,
                _ => ENTRIES_FOR_OTHERS,
            },
            heartbeat_ms: 100,
            election_ms_min: 300,
            election_ms_max: 600,
            patience_ms: 10_000,
            lag_ms_max: 10_000,
            addresses: BTreeMap::new(),
            listen: Vec::new(),
            secret_file: None,
            initialize_file: None,
            voters,
            observers: Vec::new(),
            version: 0,
            members_by_files: true,
            members: None,
            catch_up_ms: 20_000,
        }
    }

    /// The same with batches of this kind.
    #[must_use]
    pub fn with_batches(mut self, batches: Batches) -> Self {
        self.batch_ops_max = batches.ops_max;
        self.batch_bytes_max = batches.bytes_max;
        self.set_window(batches.window);
        self
    }

    /// Lets so many batches be on their way, and a purge leave twice as many: no more can be queued for
    /// apply. An entry may be as large as a batch and a request together, so a wide window takes
    /// that much more of the disk.
    pub fn set_window(&mut self, batches: usize) {
        self.window_batches = batches;
        let twice = u64::try_from(batches).map_or(u64::MAX, |batches| batches.saturating_mul(2));
        let least = match self.stays_alone() {
            true => ENTRIES_KEPT_MIN,
            false => ENTRIES_FOR_OTHERS,
        };
        self.entries_kept = twice.max(least);
    }

    /// A lone server's data is that of `owner`, which it is from now on.
    pub fn is_owned_by(&mut self, owner: ServerId) {
        if owner != self.server {
            tracing::warn!(
                server = owner.0,
                configured = self.server.0,
                "the data is that of a lone server with another id, which it keeps"
            );
        }
        self.server = owner;
        self.voters = vec![owner];
    }

    /// Checks what the type does not say.
    pub(super) fn validate(&self) -> Result<(), StartError> {
        if !self.lineup().has(self.server) {
            return Err(StartError::NotAVoter {
                server: self.server,
            });
        }
        Ok(())
    }

    /// Whether there are no others, so that nobody has to be waited for.
    pub(super) fn is_alone(&self) -> bool {
        self.lineup().is_only(self.server)
    }

    /// Whether nobody can come either, before the next start.
    pub(super) fn stays_alone(&self) -> bool {
        self.is_alone() && self.members_by_files
    }

    /// Who is listed.
    pub(super) fn lineup(&self) -> Lineup {
        Lineup {
            voters: self.voters.iter().copied().collect(),
            observers: self.observers.iter().copied().collect(),
        }
    }

    /// The same with addresses.
    pub(super) fn roster(&self) -> Roster {
        let Lineup { voters, observers } = self.lineup();
        let of = |servers: BTreeSet<ServerId>, part| {
            servers.into_iter().map(move |id| {
                let addresses = self.addresses.get(&id).cloned().unwrap_or_default();
                (id, Listed { part, addresses })
            })
        };
        let members = of(voters, Part::Voter).chain(of(observers, Part::Observer));
        Roster {
            version: self.version,
            members: members.collect(),
        }
    }

    /// A number by which servers see whether they were told of the same members.
    pub(super) fn members_hash(&self) -> u64 {
        let Lineup { voters, observers } = self.lineup();
        let voters = voters.iter().flat_map(|voter| voter.0.to_be_bytes());
        // Without observers it is what it was before there were any.
        let observers = observers
            .iter()
            .flat_map(|observer| (!observer.0).to_be_bytes());
        let bytes = voters.chain(observers);
        // FNV-1a: the same in every build.
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
    }

    /// How this server talks to the others.
    ///
    /// # Errors
    /// The secret cannot be read.
    pub(super) fn peer(&self, incarnation: u64) -> Result<PeerConfig, StartError> {
        let secret = self.secret_file.as_deref().map(Secret::load).transpose();
        let mut config = PeerConfig::new(self.server, incarnation);
        config.secret = secret.map_err(StartError::Secret)?;
        config.addresses.clone_from(&self.addresses);
        config.listen.clone_from(&self.listen);
        config.frame_bytes_max = FRAME_BYTES_MAX;
        // What waits for links that are cut has nobody to go to any more when clients are sent away and
        // go elsewhere: it must not arrive behind what they do there.
        config.idle_ms = config.idle_ms.min(self.patience_ms / 4 * 3);
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_purge_leaves_is_more_than_the_window_and_less_than_the_log() {
        let config = Config::new(ServerId(1), vec![ServerId(1)]);
        assert!(config.entries_kept >= 2 * config.window_batches as u64);
        let largest = 2 * config.batch_bytes_max as u64;
        assert!(config.entries_kept * largest <= config.checkpoint_log_bytes / 2);
    }

    #[test]
    fn what_a_purge_leaves_follows_the_window() {
        for (window, kept) in [(1, 16), (4, 16), (8, 16), (9, 18), (64, 128)] {
            let mut config = Config::new(ServerId(1), vec![ServerId(1)]);
            config.set_window(window);
            assert_eq!((config.window_batches, config.entries_kept), (window, kept));
        }
    }

    #[test]
    fn connections_between_servers_are_dead_before_clients_are_sent_away() {
        let mut config = Config::new(ServerId(1), vec![ServerId(1), ServerId(2), ServerId(3)]);
        for (patience_ms, idle_ms) in [(600, 450), (1_200, 900), (2_000, 1_500), (60_000, 1_500)] {
            config.patience_ms = patience_ms;
            assert_eq!(config.peer(1).unwrap().idle_ms, idle_ms);
        }
    }

    #[test]
    fn a_stranger_is_refused() {
        let stranger = Config::new(ServerId(3), vec![ServerId(1)]);
        assert!(matches!(
            stranger.validate(),
            Err(StartError::NotAVoter {
                server: ServerId(3)
            })
        ));
    }
}
