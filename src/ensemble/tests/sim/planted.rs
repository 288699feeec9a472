//! Defects that are planted, each to be found by the checks: a check that finds none proves nothing.

use super::disk::Defect;
use super::faults::{is_harsh, play};

/// More than one has needed yet.
const SEEDS: usize = 100;

/// Whether a seed finds it: `known` did once, and is tried first.
fn is_found(defect: Defect, known: u64) {
    let others = (0..).filter(|seed| is_harsh(*seed)).take(SEEDS);
    let found = std::iter::once(known).chain(others).find_map(|seed| {
        let wrong = play(seed, Some(defect)).wrong;
        Some((seed, wrong.first()?.clone()))
    });
    super::keep(&format!("{defect:?}.found"), &format!("{found:?}"));
    assert!(found.is_some(), "{defect:?} was not found by {SEEDS} seeds");
}

#[test]
fn a_sync_that_is_left_out_is_found() {
    is_found(Defect::SyncLeftOut, 11);
}

#[test]
fn a_vote_that_is_not_saved_is_found() {
    is_found(Defect::VoteNotSaved, 55);
}

#[test]
fn a_start_that_is_not_numbered_is_found() {
    is_found(Defect::StartNotNumbered, 3);
}

#[test]
fn a_new_disk_that_is_not_marked_is_found() {
    is_found(Defect::JoiningNotMarked, 103);
}
