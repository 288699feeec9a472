//! Settings of the ensemble, and what openraft is told.

use openraft::SnapshotPolicy;

use crate::state::ServerId;

use super::error::StartError;

/// What a purge leaves at least. Never 0: openraft issue 2116, an apply that is still queued must not
/// find its entries purged by a checkpoint that has just been finished.
const ENTRIES_KEPT_MIN: u64 = 16;

/// Settings of the ensemble.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// This server.
    pub server: ServerId,
    /// All servers that vote, this one among them. One voter: a standalone server.
    pub voters: Vec<ServerId>,
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
    /// A leader is heard of so often, with several voters.
    pub heartbeat_ms: u64,
    /// A silent leader is replaced after at least this, with several voters.
    pub election_ms_min: u64,
    /// And at most about one and a half times this.
    pub election_ms_max: u64,
}

impl Config {
    /// The defaults for this server among these voters.
    pub fn new(server: ServerId, voters: Vec<ServerId>) -> Self {
        Self {
            server,
            voters,
            batch_ops_max: 1000,
            batch_bytes_max: 1 << 20,
            window_batches: 4,
            window_bytes: 4 << 20,
            queue_bytes_max: 16 << 20,
            checkpoint_log_bytes: 64 << 20,
            checkpoint_entries: 100_000,
            entries_kept: ENTRIES_KEPT_MIN,
            heartbeat_ms: 100,
            election_ms_min: 300,
            election_ms_max: 600,
        }
    }

    /// Lets so many batches be on their way, and a purge leave twice as many: no more can be queued for
    /// apply. An entry may be as large as a batch and a request together, so a wide window takes
    /// that much more of the disk.
    pub fn set_window(&mut self, batches: usize) {
        self.window_batches = batches;
        let twice = u64::try_from(batches).map_or(u64::MAX, |batches| batches.saturating_mul(2));
        self.entries_kept = twice.max(ENTRIES_KEPT_MIN);
    }

    /// Checks what the type does not say.
    pub(super) fn validate(&self) -> Result<(), StartError> {
        if !self.voters.contains(&self.server) {
            return Err(StartError::NotAVoter {
                server: self.server,
            });
        }
        if self.voters.len() > 1 {
            return Err(StartError::SeveralVoters {
                voters: self.voters.len(),
            });
        }
        Ok(())
    }

    /// The settings of consensus.md 0.2 and 9.
    pub(super) fn raft(&self) -> Result<openraft::Config, openraft::ConfigError> {
        let (heartbeat_ms, election_ms_min, election_ms_max) = self.timers_ms();
        openraft::Config {
            cluster_name: "oxkeeper".to_owned(),
            heartbeat_interval: heartbeat_ms,
            election_timeout_min: election_ms_min,
            election_timeout_max: election_ms_max,
            // The default lets a leader that lost its unsynced tail lead the same term again:
            // replicas then diverge (consensus.md 6.1).
            enable_leader_restore: Some(false),
            // A cut-off server must not depose the leader when it comes back (consensus.md 4.7).
            enable_pre_vote: Some(true),
            // A leader that reaches too few must fall silent, or nobody replaces it (4.8).
            quorum_loss_probe_interval: Some(2 * election_ms_max),
            // A server whose disk was wiped may catch up (4.6).
            allow_log_reversion: Some(true),
            // Checkpoints go by bytes of log: entries are batches, their number says little.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: self.entries_kept,
            purge_batch_size: 1,
            max_payload_entries: 64,
            api_batch_linger_ms: 0,
            // A batch is larger than most requests; small queues keep the memory bounded.
            api_channel_size: Some(1024),
            ..openraft::Config::default()
        }
        .validate()
    }

    /// Heartbeat and election times. A lone voter hears of nobody and nobody waits for it: its
    /// core ticks every 13/64 of the heartbeat only to find nothing to do, so the heartbeat is so
    /// long that an idle server does not run. It elects itself at start without waiting.
    fn timers_ms(&self) -> (u64, u64, u64) {
        match self.voters.len() {
            0 | 1 => (60_000, 180_000, 360_000),
            _ => (
                self.heartbeat_ms,
                self.election_ms_min,
                self.election_ms_max,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mandatory_settings_of_openraft_are_set() {
        for voters in [
            vec![ServerId(1)],
            vec![ServerId(1), ServerId(2), ServerId(3)],
        ] {
            let raft = Config::new(ServerId(1), voters).raft().unwrap();
            assert_eq!(raft.enable_leader_restore, Some(false));
            assert_eq!(raft.enable_pre_vote, Some(true));
            assert_eq!(raft.allow_log_reversion, Some(true));
            assert_eq!(
                raft.quorum_loss_probe_interval,
                Some(2 * raft.election_timeout_max)
            );
            assert_eq!(raft.snapshot_policy, SnapshotPolicy::Never);
            assert!(raft.max_in_snapshot_log_to_keep > 0);
        }
    }

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
            assert_eq!(config.raft().unwrap().max_in_snapshot_log_to_keep, kept);
        }
    }

    #[test]
    fn a_lone_voter_ticks_rarely() {
        let raft = Config::new(ServerId(1), vec![ServerId(1)]).raft().unwrap();
        assert!(raft.heartbeat_interval * 13 / 64 >= 10_000);
    }

    #[test]
    fn what_is_not_built_is_refused() {
        let several = Config::new(ServerId(1), vec![ServerId(1), ServerId(2)]);
        assert!(matches!(
            several.validate(),
            Err(StartError::SeveralVoters { voters: 2 })
        ));
        let stranger = Config::new(ServerId(3), vec![ServerId(1)]);
        assert!(matches!(
            stranger.validate(),
            Err(StartError::NotAVoter {
                server: ServerId(3)
            })
        ));
    }
}
