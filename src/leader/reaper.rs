//! Deletes containers that have lost their last child, and TTL nodes whose time is over.
//!
//! zk: ContainerManager. protocol.md 6.5: every interval, at most so many deletions a minute,
//! spread evenly. The index of candidates is read from a view; each proposal is judged again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::config::Config;
use crate::clock::Clock;
use crate::ensemble::{Ensemble, Role, Submission, SubmitError};
use crate::state::{ActionRef, Identities, Kind, Replica, SessionId, StoreError, Znode};

/// Looks for candidates every interval until `stop`.
///
/// # Errors
/// The storage failed: end the process.
pub async fn reap(
    ensemble: Arc<Ensemble>,
    replica: Arc<Replica>,
    clock: Arc<dyn Clock>,
    config: Config,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    let nobody: Identities = Arc::from([]);
    let mut rounds = interval(Duration::from_millis(
        config.container_check_interval_ms.max(1),
    ));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick of an interval comes at once; ZooKeeper's first check comes after one.
    rounds.tick().await;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = rounds.tick() => {}
        }
        if !matches!(ensemble.role(), Role::Leader { .. }) {
            continue;
        }
        let pause = Duration::from_secs(60) / config.container_max_per_minute.max(1);
        for path in candidates(&replica, clock.wall_ms(), config).await? {
            let submitted = ensemble.submit(Submission {
                session: SessionId::NONE,
                cxid: 0,
                identities: &nobody,
                action: ActionRef::Reap { path: &path },
            });
            match submitted {
                Ok(_sequence) => {}
                // The next round finds it again. There may never be room, if the disk is stuck.
                Err(SubmitError::Full) => tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = ensemble.room() => {}
                },
                Err(SubmitError::Closed) => return Ok(()),
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = sleep(pause) => {}
            }
        }
    }
}

async fn candidates(
    replica: &Arc<Replica>,
    now_ms: i64,
    config: Config,
) -> Result<Vec<Arc<str>>, StoreError> {
    let (view, extended_types) = {
        let state = replica.read();
        (replica.store().view(), state.config().extended_types)
    };
    let scan = move || {
        let mut paths: Vec<Arc<str>> = Vec::new();
        view.reapable(&mut |path, znode| {
            if is_due(znode, now_ms, extended_types, config) {
                paths.push(Arc::from(path));
            }
            true
        })?;
        Ok(paths)
    };
    match tokio::task::spawn_blocking(scan).await {
        Ok(paths) => paths,
        // The runtime is going down.
        Err(_cancelled) => Ok(Vec::new()),
    }
}

/// zk: ContainerManager.getCandidates.
fn is_due(znode: &Znode, now_ms: i64, extended_types: bool, config: Config) -> bool {
    if znode.children > 0 {
        return false;
    }
    match znode.owner.kind(extended_types) {
        Kind::Container if znode.creations == 0 => {
            let never_used_ms = i64::try_from(config.container_never_used_ms).unwrap_or(i64::MAX);
            never_used_ms > 0 && now_ms.saturating_sub(znode.mtime_ms) > never_used_ms
        }
        Kind::Container => true,
        Kind::Ttl(ttl_ms) => now_ms.saturating_sub(znode.mtime_ms) > ttl_ms,
        Kind::Persistent | Kind::Ephemeral(_) => false,
    }
}
