//! What openraft is told. Its defaults are not safe for us.

use openraft::SnapshotPolicy;

use crate::ensemble::config::Config;

/// The settings of consensus.md 0.2 and 9.
pub(super) fn of(config: &Config) -> Result<openraft::Config, openraft::ConfigError> {
    let (heartbeat_ms, election_ms_min, election_ms_max) = timers_ms(config);
    openraft::Config {
        cluster_name: "oxkeeper".to_owned(),
        heartbeat_interval: heartbeat_ms,
        election_timeout_min: election_ms_min,
        election_timeout_max: election_ms_max,
        // The default lets a leader that lost its unsynced tail lead the same term again:
        // replicas then diverge (consensus.md 6.1).
        enable_leader_restore: Some(false),
        // A cut-off server must not depose the leader when it comes back (consensus.md 4.7).
        // Who may stand is said when the core runs (`Core::may_elect`).
        enable_elect: false,
        enable_pre_vote: Some(true),
        // A leader that reaches too few must fall silent, or nobody replaces it (4.8).
        quorum_loss_probe_interval: Some(2 * election_ms_max),
        // A server whose disk was wiped may catch up (4.6).
        allow_log_reversion: Some(true),
        // Checkpoints go by bytes of log: entries are batches, their number says little.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: config.entries_kept,
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
fn timers_ms(config: &Config) -> (u64, u64, u64) {
    match config.stays_alone() {
        true => (60_000, 180_000, 360_000),
        false => (
            config.heartbeat_ms,
            config.election_ms_min,
            config.election_ms_max,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::ServerId;

    #[test]
    fn the_mandatory_settings_of_openraft_are_set() {
        for voters in [
            vec![ServerId(1)],
            vec![ServerId(1), ServerId(2), ServerId(3)],
        ] {
            let raft = of(&Config::new(ServerId(1), voters)).unwrap();
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
    fn a_lone_voter_ticks_rarely() {
        let raft = of(&Config::new(ServerId(1), vec![ServerId(1)])).unwrap();
        assert!(raft.heartbeat_interval * 13 / 64 >= 10_000);
    }
}
