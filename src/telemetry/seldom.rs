//! For what may happen all the time and is worth a line now and then.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// At most one line in this time.
const PAUSE: Duration = Duration::from_secs(60);

/// Lets one of many pass.
#[derive(Debug, Default)]
pub struct Seldom {
    last: Mutex<Option<Instant>>,
}

impl Seldom {
    /// Whether it is time to say it again.
    pub fn is_due(&self) -> bool {
        self.is_due_at(Instant::now())
    }

    fn is_due_at(&self, now: Instant) -> bool {
        let mut last = self.last.lock();
        let due = last.is_none_or(|last| now.duration_since(last) >= PAUSE);
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_minute() {
        let seldom = Seldom::default();
        let start = Instant::now();
        let due = |seconds| seldom.is_due_at(start + Duration::from_secs(seconds));
        assert!(due(0) && !due(0) && !due(59));
        assert!(due(60) && !due(61) && due(121));
    }
}
