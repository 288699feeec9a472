//! Defects that are planted, each to be found by the checks: a check that finds none proves nothing.
//! Some are in the disk of the simulation, the others in the server itself (`crate::planted`).

use super::disk::Defect;
use super::expiry;
use super::faults::{is_harsh, play};
use crate::planted::{Defect as Own, plant};

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

/// Whether a seed finds a defect of the server: `known` did once, and is tried first.
fn is_found_in_the_server(defect: Own, known: u64, rule: &str) {
    // Only where connections break, and servers do not, is anything sent twice.
    let is_meant = |seed: &u64| is_harsh(*seed) != (defect == Own::CursorIgnored);
    let others = (0..).filter(is_meant).take(SEEDS);
    let found = std::iter::once(known).chain(others).find_map(|seed| {
        let _planted = plant(defect);
        let wrong = play(seed, None).wrong;
        let fits = wrong.iter().find(|wrong| wrong.contains(rule))?;
        Some((seed, fits.clone()))
    });
    super::keep(&format!("own-{defect:?}.found"), &format!("{found:?}"));
    assert!(found.is_some(), "{defect:?} was not found by {SEEDS} seeds");
}

#[test]
fn a_vote_that_the_server_does_not_save_is_found() {
    is_found_in_the_server(Own::VoteNotSaved, 35, "is led by");
}

#[test]
fn a_sync_that_the_server_does_not_wait_for_is_found() {
    is_found_in_the_server(Own::SyncLeftOut, 11, " applies ");
}

#[test]
fn a_cursor_that_is_ignored_is_found() {
    is_found_in_the_server(Own::CursorIgnored, 41, "took effect behind");
}

#[test]
fn an_expiry_that_is_not_fenced_is_found() {
    for fault in [expiry::Late::Moved, expiry::Late::Term] {
        let _planted = plant(Own::ExpiryNotFenced);
        let wrong = expiry::too_late(0, fault);
        assert!(wrong.iter().any(|it| it.contains("is gone")), "{wrong:?}");
    }
}

#[test]
fn an_ephemeral_that_stays_is_found() {
    let _planted = plant(Own::EphemeralKept);
    let wrong = expiry::in_time(0);
    assert!(wrong.iter().any(|it| it.contains("stays")), "{wrong:?}");
}
