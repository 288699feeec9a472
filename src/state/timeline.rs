//! Time as all replicas know it, although the clocks by which it is told may be wrong.
//!
//! Each batch holds two readings of its leader: the wall clock, which people and other programs may
//! set to anything, and a steady clock, which counts from some moment on and is never set. This file
//! makes two things of them, by nothing but what is in the log.
//!
//! The *stamp* is what clients see as ctime and mtime. It is the wall clock, but for small steps
//! back, as a correction or the next leader's clock makes them: then it stands still for as long as
//! it takes, at most [`STANDSTILL_MS_MAX`]. A larger step back is taken at once. So stamps do not go
//! back by what clocks commonly do, and a clock that was an hour or ten years ahead and has been put
//! right is forgotten with the first batch after that.
//!
//! The *age* is what TTL znodes and unused containers are judged by: how much time has passed, which
//! no setting of a clock can change. Within one term, hence one process, it goes by the steady clock.
//! From one term to the next only the wall clocks can tell: what they say has passed, and nothing
//! if they went back. A znode knows the stamp of its last change; how far stamps and age were apart
//! at that time is remembered for as many settings of the clock as anybody will make
//! ([`SETTINGS_MAX`]).
//!
//! zk-differs: there stamps are the wall clock, and TTLs the difference of two of them: a clock set
//! back a day lets TTL znodes live for a day longer, one that is ahead for a moment ends them all.

use super::record::ids::Zxid;
use super::record::znode::Znode;

/// The stamp stands still for so long rather than go back. Clocks that are looked after are not
/// further apart, and nobody minds a znode whose time is off by it.
pub const STANDSTILL_MS_MAX: i64 = 10_000;

/// Wall clock and age may drift apart by so much before it counts as a setting of the clock.
const DRIFT_MS_MAX: i64 = 1_000;

/// So many settings of the clock are remembered; the oldest are taken together.
const SETTINGS_MAX: usize = 32;

/// What a leader's clocks say at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reading {
    /// Milliseconds since 1970, right or not.
    pub wall_ms: i64,
    /// Milliseconds since some moment; never set, and the same for all readings of one process.
    pub steady_ms: u64,
}

/// The last reading that counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Anchor {
    /// Under which term: two readings of one term are of one process.
    pub term: u64,
    /// What it said.
    pub reading: Reading,
}

/// From one txn on, stamps are ahead of the age by another amount: somebody has set the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setting {
    /// The first zxid that may have been stamped so.
    pub from: Zxid,
    /// Stamp less age, milliseconds.
    pub ahead_ms: i64,
}

/// What the state knows of time: the last stamp, and how wall and steady clocks lay to each other.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Timeline {
    /// The last stamp, milliseconds since 1970.
    pub stamp_ms: i64,
    /// How much time has passed, milliseconds. Begins with the wall clock of the first batch.
    pub age_ms: i64,
    /// What to count from; `None` before the first batch.
    pub anchor: Option<Anchor>,
    /// In the order of their zxids; before the first one stamps are the age.
    pub settings: Vec<Setting>,
}

impl Timeline {
    /// The timeline at a reading that was taken under `term`. `next`: the zxid of the next txn.
    #[must_use]
    pub fn at(&self, term: u64, reading: Reading, next: Zxid) -> Self {
        let mut after = self.clone();
        let passed_ms = match self.anchor {
            None => reading.wall_ms,
            Some(Anchor {
                term: t,
                reading: last,
            }) if t == term => {
                match reading.steady_ms.checked_sub(last.steady_ms) {
                    Some(passed) => i64::try_from(passed).unwrap_or(i64::MAX),
                    // A batch that was sent again behind younger ones: it says nothing new.
                    None => return after,
                }
            }
            // Another process: only the wall clocks tell, and they differ. What one of them is ahead
            // counts once, and not again whenever it leads: it is compared with all that has passed.
            Some(_) => reading.wall_ms.saturating_sub(self.age_ms).max(0),
        };
        after.age_ms = self.age_ms.saturating_add(passed_ms);
        after.anchor = Some(Anchor { term, reading });
        after.stamp_ms = stamp(self.stamp_ms, reading.wall_ms);
        let ahead_ms = reading.wall_ms.saturating_sub(after.age_ms);
        let drift_ms = ahead_ms.saturating_sub(self.ahead_ms());
        if drift_ms.saturating_abs() > DRIFT_MS_MAX {
            after.set(Setting {
                from: next,
                ahead_ms,
            });
        }
        after
    }

    /// How much time has passed since the znode's data was last set, milliseconds.
    pub fn since_change_ms(&self, znode: &Znode) -> i64 {
        let mut settings = self.settings.iter().rev();
        let ahead_ms = settings
            .find(|setting| setting.from <= znode.mzxid)
            .map_or(0, |setting| setting.ahead_ms);
        let changed_ms = znode.mtime_ms.saturating_sub(ahead_ms);
        self.age_ms.saturating_sub(changed_ms)
    }

    fn ahead_ms(&self) -> i64 {
        self.settings.last().map_or(0, |setting| setting.ahead_ms)
    }

    fn set(&mut self, setting: Setting) {
        self.settings.push(setting);
        if self.settings.len() <= SETTINGS_MAX {
            return;
        }
        // Of two that nobody tells apart any more the one counts by which less time has passed:
        // a znode may live too long then, and is never reaped too early.
        let oldest = self.settings.remove(0);
        if let Some(kept) = self.settings.first_mut() {
            kept.from = oldest.from;
            kept.ahead_ms = kept.ahead_ms.min(oldest.ahead_ms);
        }
    }
}

/// The stamp behind `last`, given the wall clock.
fn stamp(last_ms: i64, wall_ms: i64) -> i64 {
    let back_ms = last_ms.saturating_sub(wall_ms);
    if (0..=STANDSTILL_MS_MAX).contains(&back_ms) {
        last_ms
    } else {
        wall_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const YEAR_MS: i64 = 365 * 24 * HOUR_MS;
    const NOW_MS: i64 = 1_795_000_000_000;

    /// A leader whose wall clock somebody sets now and then; each batch makes one txn.
    struct Leader {
        timeline: Timeline,
        term: u64,
        now: Reading,
        last: Zxid,
    }

    impl Leader {
        fn new() -> Self {
            Self {
                timeline: Timeline::default(),
                term: 1,
                now: Reading {
                    wall_ms: NOW_MS,
                    steady_ms: 500,
                },
                last: Zxid(0),
            }
        }

        fn pass(&mut self, ms: i64) {
            self.now.wall_ms += ms;
            self.now.steady_ms += ms.cast_unsigned();
        }

        /// The wall clock is set; no time passes.
        fn set(&mut self, by_ms: i64) {
            self.now.wall_ms += by_ms;
        }

        /// Another process leads, whose steady clock began somewhere else.
        fn restart(&mut self) {
            self.term += 1;
            self.now.steady_ms = 7;
        }

        fn batch(&mut self) -> Zxid {
            let next = self.last.next(self.term);
            self.timeline = self.timeline.at(self.term, self.now, next);
            self.last = next;
            next
        }

        /// A znode that is set now.
        fn znode(&mut self) -> Znode {
            Znode {
                mzxid: self.batch(),
                mtime_ms: self.timeline.stamp_ms,
                ..Znode::default()
            }
        }

        /// How old the znode seems to be now.
        fn age_ms(&mut self, znode: &Znode) -> i64 {
            self.batch();
            self.timeline.since_change_ms(znode)
        }
    }

    #[test]
    fn a_small_step_back_makes_time_stand_still() {
        let mut leader = Leader::new();
        leader.batch();
        leader.set(-STANDSTILL_MS_MAX);
        leader.batch();
        assert_eq!(leader.timeline.stamp_ms, NOW_MS);
        leader.pass(STANDSTILL_MS_MAX - 1);
        leader.batch();
        assert_eq!(leader.timeline.stamp_ms, NOW_MS);
        leader.pass(2);
        leader.batch();
        assert_eq!(leader.timeline.stamp_ms, NOW_MS + 1);
    }

    #[test]
    fn a_clock_that_was_ahead_is_forgotten_when_it_is_put_right() {
        let mut leader = Leader::new();
        leader.batch();
        leader.set(10 * YEAR_MS);
        let ahead = leader.znode();
        assert_eq!(ahead.mtime_ms, NOW_MS + 10 * YEAR_MS);
        leader.pass(1_000);
        leader.set(-10 * YEAR_MS);
        leader.batch();
        assert_eq!(leader.timeline.stamp_ms, NOW_MS + 1_000);
        // Also after a restart, and if it is put right while nobody leads.
        leader.set(10 * YEAR_MS);
        leader.batch();
        leader.restart();
        leader.set(-10 * YEAR_MS);
        leader.pass(1_000);
        leader.batch();
        assert_eq!(leader.timeline.stamp_ms, NOW_MS + 2_000);
    }

    #[test]
    fn no_setting_of_the_clock_changes_an_age() {
        for by_ms in [10 * YEAR_MS, 24 * HOUR_MS, -24 * HOUR_MS, -10 * YEAR_MS] {
            let mut leader = Leader::new();
            let before = leader.znode();
            leader.pass(5_000);
            leader.set(by_ms);
            let during = leader.znode();
            assert_eq!(leader.age_ms(&before), 5_000);
            leader.pass(7_000);
            assert_eq!(leader.age_ms(&before), 12_000);
            assert_eq!(leader.age_ms(&during), 7_000);
            leader.set(-by_ms);
            let after = leader.znode();
            leader.pass(1_000);
            assert_eq!(leader.age_ms(&before), 13_000, "{by_ms}");
            assert_eq!(leader.age_ms(&during), 8_000, "{by_ms}");
            assert_eq!(leader.age_ms(&after), 1_000, "{by_ms}");
        }
    }

    #[test]
    fn between_two_processes_the_wall_clock_tells() {
        let mut leader = Leader::new();
        let before = leader.znode();
        leader.restart();
        leader.now.wall_ms += HOUR_MS;
        assert_eq!(leader.age_ms(&before), HOUR_MS);
        // Set back while nobody led: no time is known to have passed, and from there it goes on.
        leader.restart();
        leader.set(-24 * HOUR_MS);
        assert_eq!(leader.age_ms(&before), HOUR_MS);
        leader.pass(3_000);
        assert_eq!(leader.age_ms(&before), HOUR_MS + 3_000);
    }

    #[test]
    fn a_batch_that_is_sent_again_says_nothing_new() {
        let mut leader = Leader::new();
        let early = leader.now;
        leader.batch();
        leader.pass(9_000);
        leader.batch();
        let timeline = leader.timeline.clone();
        assert_eq!(timeline.at(leader.term, early, Zxid(9)), timeline);
    }

    #[test]
    fn many_settings_are_bounded_and_never_make_a_znode_older() {
        let mut leader = Leader::new();
        let first = leader.znode();
        for round in 0..10 * i64::try_from(SETTINGS_MAX).unwrap() {
            leader.pass(1_000);
            leader.set(if round % 2 == 0 { HOUR_MS } else { -HOUR_MS });
            leader.batch();
            assert!(leader.timeline.settings.len() <= SETTINGS_MAX);
            assert!(leader.age_ms(&first) <= (round + 1) * 1_000);
        }
        let last = leader.znode();
        leader.pass(2_000);
        assert_eq!(leader.age_ms(&last), 2_000);
    }

    #[test]
    fn no_clock_makes_it_overflow() {
        let mut timeline = Timeline::default();
        let walls = [i64::MAX, i64::MIN, 0, i64::MIN, i64::MAX];
        for (term, wall_ms) in (0..).zip(walls) {
            for steady_ms in [0, u64::MAX] {
                let reading = Reading { wall_ms, steady_ms };
                timeline = timeline.at(term, reading, Zxid(i64::MAX));
                for mtime_ms in [i64::MAX, i64::MIN] {
                    let znode = Znode {
                        mtime_ms,
                        ..Znode::default()
                    };
                    timeline.since_change_ms(&znode);
                }
            }
        }
    }
}
