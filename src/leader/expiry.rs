//! Expires sessions that have not been heard of for their timeout.
//!
//! zk: SessionTrackerImpl.run, ExpiryQueue: one sweep per tick. protocol.md 8.1.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::ensemble::{Ensemble, Role, Submission, SubmitError};
use crate::metrics;
use crate::session::SessionClocks;
use crate::state::{ActionRef, Identities};

/// If so long nothing of what is on its way gets on, clients wait for the disk and not the disk for
/// clients. A slow disk that is busy gets on all the time.
const STALL: Duration = Duration::from_secs(1);

/// Sweeps once per tick until `stop`. Sessions begin again with their whole timeout whenever this
/// server becomes leader.
pub async fn expire_sessions(
    ensemble: Arc<Ensemble>,
    clocks: Arc<SessionClocks>,
    tick_ms: u32,
    stop: CancellationToken,
) {
    let nobody: Identities = Arc::from([]);
    let mut sweep = interval(Duration::from_millis(u64::from(tick_ms.max(1))));
    // After a stall of the whole process, clients get their chance to be heard before the next
    // sweep instead of several sweeps at once.
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut led = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = sweep.tick() => {}
        }
        let leads = matches!(ensemble.role(), Role::Leader { .. });
        if leads && !led {
            clocks.restart_all();
        }
        led = leads;
        if !leads {
            continue;
        }
        let stalled = ensemble.stuck_for() >= STALL;
        for session in clocks.expire(stalled) {
            tracing::debug!(%session, "session expires");
            metrics::session_expired();
            loop {
                let submitted = ensemble.submit(Submission {
                    session,
                    cxid: 0,
                    identities: &nobody,
                    action: ActionRef::ExpireSession,
                });
                match submitted {
                    Ok(_sequence) => break,
                    // There may never be room again, if the disk is stuck.
                    Err(SubmitError::Full) => tokio::select! {
                        () = stop.cancelled() => return,
                        () = ensemble.room() => {}
                    },
                    Err(SubmitError::Closed) => return,
                }
            }
        }
    }
}
