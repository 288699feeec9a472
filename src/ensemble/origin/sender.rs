//! The one task that sends: it takes batches from the proposals and gives them to whoever leads.
//!
//! It does not linger. A lone proposal goes at once; while the window is full, what comes
//! gathers into the next batch by itself (DESIGN 4.2).

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::forward::Forward;
use super::outgoing::{Command, Event, Parcel};
use super::proposals::Proposals;
use crate::ensemble::raft::core::Core;
use crate::state::Rules;
use crate::state::Unstamped;

/// Runs until `stopping`, or until the core is dead.
pub(in crate::ensemble) async fn run(
    proposals: Arc<Proposals>,
    core: Core,
    mut forward: Forward,
    rules: Rules,
    stopping: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = proposals.disconnect() => {
                forward.disconnect();
                continue;
            }
            () = proposals.work() => {}
        }
        // The connections that are ready to run get to submit first, and share the batch: a third
        // more proposals in each with 64 sessions of one request (17.6 instead of 13.4).
        tokio::task::yield_now().await;
        while let Some(command) = proposals.turn() {
            match command {
                Command::Pause(time) => proposals.pause(time).await,
                Command::Append(parcel) => {
                    if !append(&proposals, &core, rules, parcel).await {
                        return;
                    }
                }
                Command::Forward(to, parcel) => forward.send(to, parcel).await,
                // Obeyed by the proposals themselves.
                Command::Wake | Command::Room | Command::Disconnect | Command::End => {}
            }
        }
    }
}

/// Hands a batch over without waiting for its outcome. False if the core is dead.
///
/// The term fences it: a batch that was queued for one leadership does not slip into the next,
/// where it would only be skipped as coming too late or too early.
async fn append(proposals: &Arc<Proposals>, core: &Core, rules: Rules, parcel: Parcel) -> bool {
    let Parcel {
        bytes,
        term,
        round,
        is_stamped,
    } = parcel;
    let bytes = if is_stamped {
        bytes
    } else {
        Unstamped::again(&bytes).stamp(proposals.reading(), rules)
    };
    let told = Arc::clone(proposals);
    let answered = move |answer| told.step(Event::Answered { round, answer });
    core.traffic().proposed(term, bytes.len());
    core.propose(bytes, term, answered).await.is_ok()
}
