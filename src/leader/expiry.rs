//! Expires sessions that have not been heard of for their timeout.
//!
//! zk: SessionTrackerImpl.run, ExpiryQueue: one sweep per tick. protocol.md 8.1.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::ensemble::{Ensemble, Role, Submission, SubmitError};
use crate::metrics;
use crate::session::{Hearing, SessionClocks};
use crate::state::{ActionRef, Identities, Replica, SessionId, SessionOwner};

/// Sweeps once per tick until `stop`. Sessions begin again with their whole timeout whenever this
/// server becomes leader, also in the next term after one of its own.
/// While it reaches no quorum, all servers send their clients away, and their time does not count.
pub async fn expire_sessions(
    ensemble: Arc<Ensemble>,
    replica: Arc<Replica>,
    clocks: Arc<SessionClocks>,
    tick_ms: u32,
    stop: CancellationToken,
) {
    let mut sweep = interval(Duration::from_millis(u64::from(tick_ms.max(1))));
    // After a stall of the whole process, clients get their chance to be heard before the next
    // sweep instead of several sweeps at once.
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut serving = ensemble.serving();
    let mut led = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = sweep.tick() => {}
        }
        let role = ensemble.role();
        let leads = if let Role::Leader { term } = role {
            Some(term)
        } else {
            None
        };
        if leads != led {
            clocks.lead(leads.is_some());
        }
        led = leads;
        let Some(term) = leads else {
            continue;
        };
        // Also if it was only for a part of the tick. The other end lives as long as the ensemble.
        let has_changed = serving.has_changed().unwrap_or(true);
        let serves = *serving.borrow_and_update();
        let hearing = if has_changed || !serves {
            Hearing::CutOff
        } else {
            Hearing::Clear
        };
        for session in clocks.expire(hearing) {
            let Some(owner) = still_due(&replica, &clocks, session) else {
                continue;
            };
            tracing::debug!(%session, %owner, "session expires");
            metrics::session_expired();
            let action = ActionRef::ExpireSession { term, owner };
            if !propose(&ensemble, session, action, &stop).await {
                return;
            }
        }
    }
}

/// Who owns a session whose time is over; `None` if it is gone, or has been attached since it was: the
/// lock under which its owner is found is the one under which that is noted in its clock.
fn still_due(
    replica: &Replica,
    clocks: &SessionClocks,
    session: SessionId,
) -> Option<SessionOwner> {
    let state = replica.read();
    let owner = state.session(session)?.owner;
    clocks.of(session)?.closing().then_some(owner)
}

/// False if this server stops.
async fn propose(
    ensemble: &Ensemble,
    session: SessionId,
    action: ActionRef<'_>,
    stop: &CancellationToken,
) -> bool {
    let nobody: Identities = Arc::from([]);
    loop {
        let submitted = ensemble.submit(Submission {
            session,
            cxid: 0,
            identities: &nobody,
            action,
        });
        match submitted {
            Ok(_sequence) => return true,
            // There may never be room again, if the disk is stuck.
            Err(SubmitError::Full) => tokio::select! {
                () = stop.cancelled() => return false,
                () = ensemble.room() => {}
            },
            Err(SubmitError::Closed) => return false,
        }
    }
}
