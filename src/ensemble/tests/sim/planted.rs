//! Defects that are planted, each to be found by the checks: a check that finds none proves nothing.

use super::disk::Defect;
use super::faults::play;

/// The first seed that finds it.
fn found(defect: Defect, seeds: u64) {
    let found = (0..seeds).find_map(|seed| {
        let wrong = play(seed, Some(defect)).wrong;
        Some((seed, wrong.first()?.clone()))
    });
    assert!(found.is_some(), "{defect:?} was not found by {seeds} seeds");
    super::keep(&format!("{defect:?}.found"), &format!("{found:?}"));
}

#[test]
fn a_sync_that_is_left_out_is_found() {
    found(Defect::SyncLeftOut, 50);
}

#[test]
fn a_vote_that_is_not_saved_is_found() {
    found(Defect::VoteNotSaved, 100);
}

#[test]
fn a_start_that_is_not_numbered_is_found() {
    found(Defect::StartNotNumbered, 10);
}

#[test]
fn a_new_disk_that_is_not_marked_is_found() {
    found(Defect::JoiningNotMarked, 100);
}
