//! How far apply is behind what is known to be committed, as a time: a server on which it falls behind
//! answers reads with what was true long ago, and its clients' writes late.

use std::time::Duration;

use tokio::time::Instant;

/// Who has been late is on time again when what is committed is applied within this part of the limit:
/// else clients would come and go.
const ON_TIME_PART: u32 = 4;

/// What is looked at again and again.
#[derive(Debug)]
pub(in crate::ensemble) struct Lag {
    limit: Duration,
    /// An entry that was committed by then, and had not been applied: they wait for it.
    mark: Option<(Instant, u64)>,
    is_late: bool,
}

impl Lag {
    /// Late is who is behind by more than `limit`.
    pub(in crate::ensemble) fn new(limit: Duration) -> Self {
        Self {
            limit,
            mark: None,
            is_late: false,
        }
    }

    /// Takes in the last entry that has been applied, and the last that is committed, now.
    pub(in crate::ensemble) fn look(&mut self, applied: Option<u64>, committed: Option<u64>) {
        if let Some((since, wanted)) = self.mark
            && applied >= Some(wanted)
        {
            self.mark = None;
            if since.elapsed() <= self.limit / ON_TIME_PART {
                self.is_late = false;
            }
        }
        if applied >= committed {
            self.is_late = false;
        } else if let Some(committed) = committed
            && self.mark.is_none()
        {
            self.mark = Some((Instant::now(), committed));
        }
        self.is_late |= self.behind_for() > self.limit;
    }

    /// For how long at least what was committed has not been applied.
    fn behind_for(&self) -> Duration {
        self.mark
            .map_or(Duration::ZERO, |(since, _)| since.elapsed())
    }

    /// Whether it has been behind for longer than the limit, and has not caught up since.
    pub(in crate::ensemble) fn is_late(&self) -> bool {
        self.is_late
    }

    /// Whether it will be, if nothing gets better: half of the limit is over.
    pub(in crate::ensemble) fn is_getting_late(&self) -> bool {
        self.is_late || self.behind_for() > self.limit / 2
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn state(lag: &Lag) -> (bool, bool) {
        (lag.is_getting_late(), lag.is_late())
    }

    #[tokio::test(start_paused = true)]
    async fn apply_that_stands_still_is_late_until_it_has_caught_up() {
        let mut lag = Lag::new(Duration::from_secs(10));
        lag.look(Some(5), Some(5));
        advance(Duration::from_secs(100)).await;
        lag.look(Some(5), Some(5));
        assert_eq!(state(&lag), (false, false), "nothing waits");
        lag.look(Some(5), Some(6));
        advance(Duration::from_millis(5_001)).await;
        lag.look(Some(5), Some(9));
        assert_eq!(state(&lag), (true, false));
        advance(Duration::from_secs(5)).await;
        lag.look(Some(5), Some(9));
        assert_eq!(state(&lag), (true, true));
        // It gets on, and is still behind.
        lag.look(Some(6), Some(20));
        assert_eq!(state(&lag), (true, true));
        lag.look(Some(20), Some(20));
        assert_eq!(state(&lag), (false, false));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_all_the_time_is_not_late() {
        let mut lag = Lag::new(Duration::from_secs(10));
        for index in 0..1_000 {
            lag.look(Some(index), Some(index + 50));
            advance(Duration::from_millis(75)).await;
            assert_eq!(state(&lag), (false, false), "{index}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_always_as_far_behind_is_late_and_back_when_that_is_little() {
        let mut lag = Lag::new(Duration::from_secs(10));
        // An entry a second, each applied twelve seconds after it was committed.
        for second in 0..40 {
            lag.look(Some(second), Some(second + 12));
            advance(Duration::from_secs(1)).await;
        }
        assert!(lag.is_late());
        // From now on two seconds, and there is always one that waits.
        let mut back = None;
        for second in 40..80 {
            lag.look(Some(second + 10), Some(second + 12));
            advance(Duration::from_secs(1)).await;
            if !lag.is_late() {
                back.get_or_insert(second);
            }
        }
        assert!(!lag.is_late());
        assert!(back.is_some_and(|at| at < 50), "{back:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_knows_nothing_is_not_late() {
        let mut lag = Lag::new(Duration::from_secs(10));
        lag.look(None, None);
        advance(Duration::from_secs(100)).await;
        lag.look(None, None);
        assert_eq!(state(&lag), (false, false));
        // It has an old log, and nothing of it in its tree.
        lag.look(None, Some(7));
        advance(Duration::from_secs(100)).await;
        lag.look(None, Some(7));
        assert_eq!(state(&lag), (true, true));
    }
}
