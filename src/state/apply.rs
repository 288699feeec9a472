//! Applying: the only place where a proposal becomes a [`Txn`] and a zxid is assigned (I2).
//!
//! ```text
//!  entry ─▶ for each slice of proposals
//!             upgradable guard: cursor ─▶ judge ─▶ txns, kept in layers over the state
//!             write guard:      per txn install, Sink::applied; then cursors and time
//!             no guard:         Sink::slice_done, Entry::stage
//!        ─▶ no guard: Entry::persist, once per entry, with the entry's position
//! ```
//!
//! Persisting waits for the end of the entry, so that what a crash leaves is always the state
//! between two entries: replay then judges the whole entry again, from the same state, and comes
//! to the same txns. (Persisting each slice with its cursors would not do: a proposal skipped as
//! too early could find its turn come when it is replayed.)

use std::sync::Arc;

use parking_lot::RwLockUpgradableReadGuard;

use crate::planted::{self, Defect};

use super::judge::judge::Judge;
use super::judge::overlay::{Counters, Overlay};
use super::record::ids::{LogPosition, Origin, SessionOwner, Zxid};
use super::record::proposal::{Action, Batch, Proposal};
use super::replica::{Replica, State};
use super::rules::Rules;
use super::sink::Sink;
use super::store::StoreError;
use super::timeline::Timeline;
use super::txn::{Cursor, Txn};

/// Most proposals in a slice: about 100 us of installing and telling, for which readers wait.
pub const SLICE_PROPOSALS_MAX: usize = 64;
/// A slice ends behind the proposal that brings its changes to so many, as those of several large
/// multis do: so many stay in a processor's cache until they have been staged.
const SLICE_CHANGES_MAX: usize = 2 * SLICE_PROPOSALS_MAX;

/// Why an entry could not be applied. The process ends (STYLE I6).
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The storage failed.
    #[error("apply an entry")]
    Store(#[from] StoreError),
    /// All numbers of txns have been used: a new one would come before those that exist.
    #[error("apply an entry: there is no zxid left")]
    NoZxidLeft,
    /// The log came to us in another order than its own.
    #[error("apply entry {position:?}: {applied:?} has been applied already")]
    OutOfOrder {
        /// The entry that came.
        position: LogPosition,
        /// The last one applied.
        applied: LogPosition,
    },
}

impl Replica {
    /// Applies an entry: judges its proposals in order and tells `sink` of every txn.
    ///
    /// Only one task may apply. Reads the disk, so it does not run on an async worker.
    ///
    /// # Errors
    /// The storage failed, or an entry comes a second time: end the process.
    pub fn apply(
        &self,
        position: LogPosition,
        batch: &Batch,
        sink: &dyn Sink,
    ) -> Result<(), ApplyError> {
        self.apply_sliced(position, batch, sink, SLICE_PROPOSALS_MAX)
    }

    pub(super) fn apply_sliced(
        &self,
        position: LogPosition,
        batch: &Batch,
        sink: &dyn Sink,
        slice_proposals_max: usize,
    ) -> Result<(), ApplyError> {
        if batch.proposals.is_empty() {
            return Ok(self.advance(position, None)?);
        }
        let work = &mut *self.work.lock();
        let mut proposals = batch.proposals.as_slice();
        let slice_proposals_max = slice_proposals_max.max(1);
        let mut txns = Vec::with_capacity(slice_proposals_max.min(proposals.len()));
        // One for all slices: where they are cut must not show.
        let mut timeline = None;
        // Nobody else changes position and store while this holds `work`.
        let store = {
            let state = self.state.read();
            check_order(&state, position)?;
            Arc::clone(state.store())
        };
        let mut entry = store.entry();
        let meta = loop {
            let slice = proposals.get(..slice_proposals_max).unwrap_or(proposals);
            let state = self.state.upgradable_read();
            let timeline = timeline.get_or_insert_with(|| {
                let next = state.meta.last_zxid.next(position.term);
                state.meta.timeline.at(position.term, batch.reading, next)
            });
            let stamp = Stamp {
                position,
                timeline,
                rules: batch.rules,
            };
            let (judged, counters) = judge_slice(&state, work, stamp, slice, &mut txns)?;
            proposals = proposals.get(judged..).unwrap_or_default();
            let mut state = RwLockUpgradableReadGuard::upgrade(state);
            for (txn, counters) in txns.iter().zip(counters) {
                state.install(&mut entry, txn, counters);
                sink.applied(&state, txn);
            }
            state.meta.cursors.append(&mut work.cursors);
            state.meta.cluster = state.meta.cluster.or(work.cluster);
            if state.meta.timeline != *timeline {
                state.meta.timeline.clone_from(timeline);
            }
            let meta = proposals.is_empty().then(|| {
                state.meta.applied = Some(position);
                state.meta.clone()
            });
            drop(state);
            sink.slice_done();
            // While the changes are in the processor's caches, and their memory serves the next.
            entry.stage(&txns)?;
            txns.clear();
            if let Some(meta) = meta {
                break meta;
            }
        };
        Ok(entry.persist(&meta)?)
    }
}

fn check_order(state: &State, position: LogPosition) -> Result<(), ApplyError> {
    match state.meta.applied {
        Some(applied) if position.index <= applied.index => {
            Err(ApplyError::OutOfOrder { position, applied })
        }
        _ => Ok(()),
    }
}

/// What an entry says of all its proposals.
#[derive(Clone, Copy)]
struct Stamp<'a> {
    position: LogPosition,
    timeline: &'a Timeline,
    rules: Rules,
}

/// Judges a slice, or as much of it as makes changes enough. Adds its txns to `txns`; the number of
/// proposals judged, and for each txn the counters after it.
fn judge_slice(
    state: &State,
    work: &mut Overlay,
    stamp: Stamp<'_>,
    slice: &[Proposal],
    txns: &mut Vec<Txn>,
) -> Result<(usize, Vec<Counters>), ApplyError> {
    work.start_slice(&state.meta);
    let mut counters = Vec::with_capacity(slice.len());
    let mut last_zxid = state.meta.last_zxid;
    let (mut judged, mut changes) = (0, 0);
    for proposal in slice {
        if changes >= SLICE_CHANGES_MAX {
            break;
        }
        judged += 1;
        if let Action::Found { cluster } = proposal.action {
            work.cluster.get_or_insert(cluster);
            continue;
        }
        if !take_turn(state, work, proposal) {
            continue;
        }
        let zxid = zxid_for(&proposal.action, last_zxid, stamp.position.term)?;
        let mut judge = Judge {
            state,
            work,
            zxid,
            timeline: stamp.timeline,
            rules: stamp.rules,
            term: stamp.position.term,
            session: proposal.session,
            sequence: proposal.sequence,
            speaker: SessionOwner {
                origin: proposal.origin,
                connection: proposal.action.connection().unwrap_or_default(),
            },
            identities: &proposal.identities,
        };
        let Some(outcome) = judge.judge(proposal)? else {
            continue;
        };
        last_zxid = zxid;
        changes += work.changes.len();
        counters.push(work.counters);
        txns.push(Txn {
            origin: proposal.origin,
            sequence: proposal.sequence,
            session: proposal.session,
            cxid: proposal.cxid,
            zxid,
            time_ms: stamp.timeline.stamp_ms,
            outcome,
            changes: std::mem::take(&mut work.changes),
            events: std::mem::take(&mut work.events),
        });
    }
    Ok((judged, counters))
}

/// The zxid of what becomes of this action behind `last`.
///
/// zk: a session is renewed without a txn (Learner.validateSession). So it takes no zxid: clients
/// compare zxids from server to server, and nothing that they can see changes.
fn zxid_for(action: &Action, last: Zxid, term: u64) -> Result<Zxid, ApplyError> {
    if matches!(action, Action::Attach { .. }) {
        return Ok(last);
    }
    let next = last.next(term);
    if next <= last {
        return Err(ApplyError::NoZxidLeft);
    }
    Ok(next)
}

/// Whether it is this proposal's turn, and if so moves its origin's cursor past it (I5). Others
/// are duplicates, or follow a batch that was lost and will be sent again.
fn take_turn(state: &State, work: &mut Overlay, proposal: &Proposal) -> bool {
    let Origin {
        server,
        incarnation,
    } = proposal.origin;
    let moved = work.cursors.get(&server).copied();
    let cursor = moved.unwrap_or_else(|| state.cursor(server));
    // Behind the last number of all comes none.
    let next = if incarnation > cursor.incarnation {
        Some(1)
    } else {
        cursor.sequence.checked_add(1)
    };
    let is_turn = incarnation >= cursor.incarnation && next == Some(proposal.sequence);
    if !is_turn && !planted::has(Defect::CursorIgnored) {
        return false;
    }
    let cursor = Cursor {
        incarnation,
        sequence: proposal.sequence,
    };
    work.cursors.insert(server, cursor);
    true
}
