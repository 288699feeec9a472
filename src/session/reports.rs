//! Tells the leader which sessions this server has heard of.
//!
//! zk: Learner.ping: each ping of the leader, two in a tick, is answered with them. protocol.md 8.1. Ours
//! are twice as many: by their answers a server knows soon that its clients are better off elsewhere.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::clocks::SessionClocks;
use crate::ensemble::{Ensemble, Role};

/// In one message: some tens of kilobytes.
const SESSIONS_MAX: usize = 4096;

/// Four times per tick until `stop`, whenever another server leads, also of none: the leader is to know
/// that it could have been told.
pub async fn report_touches(
    ensemble: Arc<Ensemble>,
    clocks: Arc<SessionClocks>,
    tick_ms: u32,
    stop: CancellationToken,
) {
    let mut rounds = interval(Duration::from_millis(u64::from(tick_ms.max(4)) / 4));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = rounds.tick() => {}
        }
        if matches!(ensemble.role(), Role::Leader { .. }) {
            continue;
        }
        let touched = clocks.take_touched();
        let mut rest = touched.as_slice();
        loop {
            let (part, behind) = rest.split_at(rest.len().min(SESSIONS_MAX));
            let told = tokio::select! {
                () = stop.cancelled() => return,
                told = ensemble.report_touches(part.to_vec()) => told,
            };
            if let Err(error) = told {
                tracing::trace!(%error, sessions = rest.len(), "touches were not taken");
                clocks.give_back(rest);
                break;
            }
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
    }
}
