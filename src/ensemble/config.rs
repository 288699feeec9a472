//! Settings of the ensemble.

use crate::state::ServerId;

use super::error::StartError;
use super::placement::Placement;

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
    /// Where its tasks run.
    pub placement: Placement,
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
        let placement = match voters.len() {
            0 | 1 => Placement::Alone,
            _ => Placement::Several,
        };
        Self {
            server,
            voters,
            placement,
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
