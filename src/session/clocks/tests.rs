//! When sessions expire, and when not.

use super::*;
use Hearing::{Clear, CutOff};

const HERE: ServerId = ServerId(1);
const THERE: ServerId = ServerId(2);

/// A session that was heard of at `heard_ms` and has this timeout.
fn session(clocks: &SessionClocks, heard_ms: u64, timeout_ms: i32) -> SessionId {
    let id = SessionId(7);
    clocks.attach(id, timeout_ms, HERE);
    let touch = clocks.of(id).expect("started");
    touch.heard_ms.store(heard_ms, Ordering::Relaxed);
    id
}

#[test]
fn a_session_lives_between_its_timeout_and_a_tick_more() {
    let clocks = SessionClocks::new(2000);
    let id = session(&clocks, 100, 5000);
    assert_eq!(clocks.expire_by(5999), Vec::new());
    assert_eq!(clocks.expire_by(6000), vec![id]);
    assert_eq!(clocks.expire_by(6000), Vec::new(), "expired once only");
}

#[test]
fn a_deadline_on_a_tick_is_rounded_up_to_the_next() {
    let clocks = SessionClocks::new(1000);
    let id = session(&clocks, 1000, 5000);
    assert_eq!(clocks.expire_by(6999), Vec::new());
    assert_eq!(clocks.expire_by(7000), vec![id]);
}

#[test]
fn the_timeout_of_the_last_handshake_counts() {
    let clocks = SessionClocks::new(1000);
    let id = session(&clocks, 0, 5000);
    let touch = clocks.of(id).expect("started");
    clocks.attach(id, 10_000, HERE);
    touch.heard_ms.store(0, Ordering::Relaxed);
    assert_eq!(clocks.expire_by(10_999), Vec::new());
    assert_eq!(clocks.expire_by(11_000), vec![id]);
}

#[test]
fn a_new_leader_gives_every_session_its_whole_timeout() {
    let clocks = SessionClocks::new(1000);
    let id = session(&clocks, 0, 5000);
    assert_eq!(clocks.expire_by(6000), vec![id]);
    clocks.restart_all();
    let touch = clocks.of(id).expect("still there");
    assert!(!touch.closing());
    assert!(clocks.deadline_ms(&touch) >= 6000);
}

/// Sweeps at every tick from `from_ms` on until `until_ms`; who expired, and when.
fn sweeps(clocks: &SessionClocks, from_ms: u64, until_ms: u64, hearing: Hearing) -> Vec<u64> {
    let ticks = (from_ms..until_ms).step_by(1000);
    let expired = ticks.filter(|at| !clocks.sweep(*at, hearing).is_empty());
    expired.collect()
}

/// I10.
#[test]
fn time_in_which_the_process_did_not_run_does_not_count() {
    let clocks = SessionClocks::new(1000);
    session(&clocks, 0, 4000);
    assert_eq!(sweeps(&clocks, 1000, 3000, Clear), []);
    assert_eq!(clocks.sweep(100_000, Clear), []);
    assert_eq!(sweeps(&clocks, 101_000, 110_000, Clear), [102_000]);
}

/// I10.
#[test]
fn a_session_whose_connection_is_not_read_from_is_taken_for_heard_of() {
    let clocks = SessionClocks::new(1000);
    let id = session(&clocks, 0, 4000);
    let touch = clocks.of(id).expect("started");
    clocks.begin_deaf(&touch);
    touch.heard_ms.store(0, Ordering::Relaxed);
    assert_eq!(sweeps(&clocks, 1000, 60_000, Clear), []);
    touch.deaf.store(0, Ordering::Relaxed);
    assert_eq!(sweeps(&clocks, 60_000, 70_000, Clear), [64_000]);
}

/// I10: the sweep runs before what came during a pause has been read.
#[test]
fn a_pause_shorter_than_the_timeout_costs_a_tick() {
    for pause_ms in [1600, 2500, 2900, 3100] {
        let clocks = SessionClocks::new(1000);
        session(&clocks, 2000, 2000);
        assert_eq!(sweeps(&clocks, 1000, 3000, Clear), []);
        let after_ms = 2000 + pause_ms;
        assert_eq!(clocks.sweep(after_ms, Clear), [], "{pause_ms}");
        let until_ms = after_ms + 10_000;
        assert_eq!(sweeps(&clocks, after_ms + 1000, until_ms, Clear).len(), 1);
    }
}

/// Touched by the clock as it was before the pause was taken out of it.
#[test]
fn a_touch_right_after_a_pause_lasts_no_longer_than_others() {
    let clocks = SessionClocks::new(1000);
    let id = session(&clocks, 0, 4000);
    let touch = clocks.of(id).expect("started");
    assert_eq!(clocks.sweep(1000, Clear), []);
    touch.heard_ms.store(100_000, Ordering::Relaxed);
    assert_eq!(clocks.sweep(100_000, Clear), []);
    assert_eq!(sweeps(&clocks, 101_000, 120_000, Clear), [105_000]);
}

/// Until the leader reaches a quorum again no client finds a server that serves it.
#[test]
fn no_session_expires_while_its_leader_is_cut_off_and_each_begins_again_after_that() {
    let clocks = SessionClocks::new(1000);
    session(&clocks, 0, 4000);
    // All but its last second is over when the links are cut, for three times its timeout.
    assert_eq!(sweeps(&clocks, 1000, 4000, Clear), []);
    assert_eq!(sweeps(&clocks, 4000, 16_000, CutOff), []);
    // They are healed in a tick that does not count, and then it has all its time.
    assert_eq!(sweeps(&clocks, 16_000, 60_000, Clear), [21_000]);
}

#[test]
fn a_session_that_is_attached_as_it_is_about_to_be_closed_lives_on() {
    let clocks = SessionClocks::new(1000);
    let id = session(&clocks, 0, 4000);
    assert_eq!(clocks.expire_by(5000), [id]);
    clocks.attach(id, 6000, THERE);
    let clock = clocks.of(id).expect("attached");
    assert!(!clock.closing());
    clock.heard_ms.store(5000, Ordering::Relaxed);
    assert_eq!(clocks.expire_by(11_999), []);
    assert_eq!(clocks.expire_by(12_000), [id]);
}

fn id(number: i64) -> SessionId {
    SessionId(number)
}

/// Clocks of a server that does not lead, with so many sessions.
fn follower(sessions: i64) -> SessionClocks {
    let clocks = SessionClocks::new(1000);
    clocks.lead(false);
    for number in 1..=sessions {
        clocks.attach(id(number), 4000, HERE);
    }
    clocks
}

fn touch(clocks: &SessionClocks, number: i64) {
    clocks.touch(&clocks.of(id(number)).expect("started"));
}

#[test]
fn a_session_is_reported_once_for_all_its_touches_and_then_forgotten() {
    let clocks = follower(3);
    assert_eq!(clocks.take_touched(), []);
    for _ in 0..5 {
        touch(&clocks, 3);
        touch(&clocks, 1);
    }
    assert_eq!(clocks.take_touched(), [(id(3), 4000), (id(1), 4000)]);
    assert_eq!(clocks.take_touched(), []);
    touch(&clocks, 1);
    assert_eq!(clocks.take_touched(), [(id(1), 4000)]);
}

#[test]
fn what_nobody_took_is_told_again() {
    let clocks = follower(3);
    (1..=3).for_each(|number| touch(&clocks, number));
    let mut touched = clocks.take_touched();
    clocks.forget(id(2));
    touch(&clocks, 3);
    clocks.give_back(&touched);
    touched = clocks.take_touched();
    assert_eq!(touched, [(id(3), 4000), (id(1), 4000)]);
    assert_eq!(clocks.take_touched(), []);
}

/// I10.
#[test]
fn a_session_whose_connection_is_not_read_from_is_reported_until_it_is() {
    let clocks = follower(1);
    let clock = clocks.of(id(1)).expect("started");
    clocks.begin_deaf(&clock);
    for _ in 0..3 {
        assert_eq!(clocks.take_touched(), [(id(1), 4000)]);
    }
    clocks.end_deaf(&clock);
    assert_eq!(clocks.take_touched(), [(id(1), 4000)]);
    assert_eq!(clocks.take_touched(), []);
}

#[test]
fn a_server_that_leads_lists_nobody() {
    let clocks = follower(2);
    touch(&clocks, 1);
    clocks.lead(true);
    touch(&clocks, 2);
    assert_eq!(clocks.take_touched(), []);
    clocks.lead(false);
    assert_eq!(clocks.take_touched(), []);
    touch(&clocks, 1);
    assert_eq!(clocks.take_touched(), [(id(1), 4000)]);
}

/// Sweeps every second, reports from elsewhere every half one; when somebody expired, and who.
fn sweeps_with_reports(
    clocks: &SessionClocks,
    seconds: std::ops::Range<u64>,
    touched: &[(SessionId, i32)],
) -> Vec<(u64, SessionId)> {
    let mut expired = Vec::new();
    for second in seconds {
        clocks.reported(second * 1000 - 500, THERE, touched);
        clocks.reported(second * 1000, THERE, touched);
        let due = clocks.sweep(second * 1000, Clear);
        expired.extend(due.into_iter().map(|session| (second, session)));
    }
    expired
}

#[test]
fn sessions_that_are_heard_of_elsewhere_live() {
    let clocks = SessionClocks::new(1000);
    clocks.attach(id(1), 4000, THERE);
    clocks.attach(id(2), 4000, THERE);
    let touched = [(id(1), 4000)];
    assert_eq!(sweeps_with_reports(&clocks, 1..20, &touched), [(5, id(2))]);
    // Behind the last report it has its timeout, whatever other server says of others.
    assert_eq!(sweeps(&clocks, 20_000, 40_000, Clear), [24_000]);
}

#[test]
fn a_server_that_was_not_heard_of_for_long_finds_its_sessions_with_their_whole_time() {
    let clocks = SessionClocks::new(1000);
    clocks.attach(id(1), 4000, THERE);
    clocks.attach(id(2), 4000, HERE);
    assert_eq!(sweeps_with_reports(&clocks, 1..2, &[]), []);
    assert_eq!(sweeps(&clocks, 2000, 4000, Clear), []);
    // Its link was cut for two seconds and more, in which nobody could speak for the first.
    assert_eq!(
        sweeps_with_reports(&clocks, 4..20, &[]),
        [(5, id(2)), (8, id(1))]
    );
}

#[test]
fn the_timeout_that_counts_is_told_by_the_server_that_has_the_session() {
    let clocks = SessionClocks::new(1000);
    clocks.attach(id(1), 4000, THERE);
    let clock = clocks.of(id(1)).expect("started");
    clocks.reported(10, HERE, &[(id(1), 9000)]);
    assert_eq!(clock.timeout_ms(), 4000);
    clocks.reported(20, THERE, &[(id(1), 9000), (id(77), 1)]);
    assert_eq!(clock.timeout_ms(), 9000);
    assert!(clocks.of(id(77)).is_none());
}

#[test]
fn another_state_has_other_sessions() {
    let clocks = SessionClocks::new(1000);
    clocks.attach(id(1), 4000, HERE);
    clocks.attach(id(2), 4000, HERE);
    let kept = clocks.of(id(2)).expect("started");
    clocks.replace([(id(2), 5000, THERE), (id(3), 6000, HERE)]);
    assert!(clocks.of(id(1)).is_none());
    assert_eq!(kept.timeout_ms(), 5000);
    assert!(Arc::ptr_eq(&kept, &clocks.of(id(2)).expect("kept")));
    assert_eq!(clocks.of(id(3)).expect("new").timeout_ms(), 6000);
    assert_eq!(clocks.count(), 2);
}

#[test]
fn a_session_that_is_not_read_from_is_reported_when_its_server_no_longer_leads() {
    let clocks = follower(1);
    clocks.lead(true);
    let clock = clocks.of(id(1)).expect("started");
    clocks.begin_deaf(&clock);
    assert_eq!(clocks.take_touched(), []);
    clocks.lead(false);
    for _ in 0..2 {
        assert_eq!(clocks.take_touched(), [(id(1), 4000)]);
    }
    clocks.end_deaf(&clock);
    assert_eq!(clocks.take_touched(), [(id(1), 4000)]);
    assert_eq!(clocks.take_touched(), []);
}
