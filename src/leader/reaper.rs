//! Deletes containers that have lost their last child, and TTL nodes whose time is over.
//!
//! zk: ContainerManager. protocol.md 6.5: every interval, at most so many deletions a minute,
//! spread evenly. The index of candidates is read from a view; each proposal is judged again. How
//! much time has passed is what the state's timeline says, carried on by this server's clocks.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::config::Config;
use crate::clock::Clock;
use crate::ensemble::{Ensemble, Role, Submission, SubmitError};
use crate::state::{ActionRef, Identities, Reading, Replica, SessionId, StoreError, is_due};

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
    let mut lead = Lead::of(&ensemble, None, &*clock);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = rounds.tick() => {}
        }
        lead = Lead::of(&ensemble, lead, &*clock);
        let Some(lead) = lead else {
            continue;
        };
        let term = lead.term;
        let pause = Duration::from_secs(60) / config.container_max_per_minute.max(1);
        let paths = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            paths = candidates(&replica, lead, read(&*clock), config) => paths?,
        };
        for path in paths {
            let submitted = ensemble.submit(Submission {
                session: SessionId::NONE,
                cxid: 0,
                identities: &nobody,
                action: ActionRef::Reap {
                    term,
                    path: &path,
                    unused_ms: config.container_never_used_ms,
                },
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

/// The term that this server leads, and what its clocks said when that was first seen: time that
/// passes in it is counted from there until its first batch has been applied.
#[derive(Clone, Copy, Debug)]
struct Lead {
    term: u64,
    since: Reading,
}

impl Lead {
    /// `before`: what was seen last.
    fn of(ensemble: &Ensemble, before: Option<Self>, clock: &dyn Clock) -> Option<Self> {
        let Role::Leader { term } = ensemble.role() else {
            return None;
        };
        let is_new = before.is_none_or(|before| before.term != term);
        let fresh = is_new.then(|| Self {
            term,
            since: read(clock),
        });
        fresh.or(before)
    }
}

fn read(clock: &dyn Clock) -> Reading {
    Reading {
        wall_ms: clock.wall_ms(),
        steady_ms: clock.steady_ms(),
    }
}

async fn candidates(
    replica: &Arc<Replica>,
    lead: Lead,
    now: Reading,
    config: Config,
) -> Result<Vec<Arc<str>>, StoreError> {
    let Lead { term, since } = lead;
    let (view, extended, timeline, is_anchored) = {
        let state = replica.read();
        let last = &state.meta().timeline;
        let next = state.last_zxid().next(term);
        let timeline = last.at(term, since, next).at(term, now, next);
        let is_anchored = last.anchor.is_some_and(|anchor| anchor.term == term);
        let extended = state.rules().extended();
        (state.view(), extended, timeline, is_anchored)
    };
    let unused_ms = config.container_never_used_ms;
    let scan = move || {
        let mut paths: Vec<Arc<str>> = Vec::new();
        let mut waits: Option<Arc<str>> = None;
        view.reapable(&mut |path, znode| {
            let kind = znode.owner.kind(extended);
            if is_due(znode, kind, &timeline, unused_ms) {
                paths.push(Arc::from(path));
            } else if !is_anchored && waits.is_none() && znode.children == 0 {
                waits = Some(Arc::from(path));
            }
            true
        })?;
        // A server that nobody writes to has no batch by which the state could see time pass, and
        // after a start with a clock that was set back none would ever be due. One proposal makes
        // one: it is refused, without a txn, but its reading is what is counted from.
        if paths.is_empty() {
            paths.extend(waits);
        }
        Ok(paths)
    };
    match tokio::task::spawn_blocking(scan).await {
        Ok(paths) => paths,
        // The runtime is going down.
        Err(_cancelled) => Ok(Vec::new()),
    }
}
