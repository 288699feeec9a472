//! Keeps a storm of clients that all ask for sessions from drowning the server: a bucket of tokens,
//! and, if its freeze time is set, a share of refusals that follows how empty the bucket is.
//!
//! zk: BlueThrottle. A refused client's connection is closed without a word, and it comes again.

use parking_lot::Mutex;
use tokio::time::Instant;

/// How many clients may open or renew a session. Off unless `tokens_max` is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleConfig {
    /// Tokens in a full bucket; 0: no throttle.
    pub tokens_max: u32,
    /// The bucket gets `fill_count` tokens each time so much time has passed; at least 1.
    pub fill_time_ms: u32,
    /// Tokens for each fill time.
    pub fill_count: u32,
    /// Pace at which the share of refusals changes; `None`: nobody is refused while there are tokens.
    pub freeze_time_ms: Option<u32>,
    /// What an empty bucket adds to the share.
    pub drop_increase: Share,
    /// What a bucket with few tokens missing takes from it.
    pub drop_decrease: Share,
    /// So many tokens of all are few.
    pub decrease_ratio: Share,
    /// A session costs by what is asked for, instead of one token.
    pub weighted: bool,
    /// Tokens for a new session.
    pub open_weight: u32,
    /// Tokens for a session of one server only, which there is none of: a lower bound of the others.
    pub local_weight: u32,
    /// Tokens for a renewal.
    pub renew_weight: u32,
}

impl Default for ThrottleConfig {
    fn default() -> Self {
        Self {
            tokens_max: 0,
            fill_time_ms: 1,
            fill_count: 1,
            freeze_time_ms: None,
            drop_increase: Share(20_000),
            drop_decrease: Share(2_000),
            decrease_ratio: Share(0),
            weighted: false,
            open_weight: 3,
            local_weight: 1,
            renew_weight: 2,
        }
    }
}

/// A part of a whole, in millionths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Share(pub u32);

impl Share {
    const WHOLE: Share = Share(1_000_000);

    /// The share that a fraction says; what is below 0 or above 1 is taken for 0 or 1.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped, and a cast saturates"
    )]
    pub fn of_fraction(fraction: f64) -> Self {
        Self((fraction.clamp(0.0, 1.0) * 1e6).round() as u32)
    }

    /// As a fraction.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 1e6
    }

    fn of(self, count: u64) -> u64 {
        (count * u64::from(self.0) + 500_000) / 1_000_000
    }
}

/// What a client wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wants {
    /// A new session.
    Open,
    /// The one that it had.
    Renew,
}

/// The bucket.
#[derive(Debug)]
pub struct Throttle {
    start: Instant,
    config: ThrottleConfig,
    tokens_max: u64,
    fill_count: u64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: u64,
    filled_ms: u64,
    frozen_ms: u64,
    drop: Share,
}

impl Throttle {
    /// A full bucket.
    pub fn new(config: ThrottleConfig) -> Self {
        let weight = if config.weighted {
            weight(config.open_weight, 3, config.local_weight)
        } else {
            1
        };
        let tokens_max = u64::from(config.tokens_max) * weight;
        Self {
            start: Instant::now(),
            config,
            tokens_max,
            fill_count: u64::from(config.fill_count) * weight,
            bucket: Mutex::new(Bucket {
                tokens: tokens_max,
                filled_ms: 0,
                frozen_ms: 0,
                drop: Share(0),
            }),
        }
    }

    /// Takes the tokens that a client needs. False: refuse it.
    ///
    /// zk: ZooKeeperServer.processConnectRequest, BlueThrottle.checkLimit.
    pub fn admits(&self, wants: Wants) -> bool {
        if self.tokens_max == 0 {
            return true;
        }
        let now_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.admits_at(wants, now_ms, &mut random_share)
    }

    fn admits_at(&self, wants: Wants, now_ms: u64, chance: &mut dyn FnMut() -> Share) -> bool {
        let needed = self.needed(wants);
        let mut bucket = self.bucket.lock();
        let passed_ms = now_ms.saturating_sub(bucket.filled_ms);
        let fill_time_ms = u64::from(self.config.fill_time_ms.max(1));
        if passed_ms > fill_time_ms {
            let filled = passed_ms.saturating_mul(self.fill_count) / fill_time_ms;
            bucket.tokens = bucket.tokens.saturating_add(filled).min(self.tokens_max);
            bucket.filled_ms = now_ms;
        }
        if let Some(freeze_time_ms) = self.config.freeze_time_ms {
            self.adapt(&mut bucket, now_ms, u64::from(freeze_time_ms));
            if bucket.drop > Share(0) && chance() < bucket.drop {
                return false;
            }
        }
        let left = bucket.tokens.checked_sub(needed);
        bucket.tokens = left.unwrap_or(bucket.tokens);
        left.is_some()
    }

    /// zk: BlueThrottle.checkBlue.
    fn adapt(&self, bucket: &mut Bucket, now_ms: u64, freeze_time_ms: u64) {
        if now_ms.saturating_sub(bucket.frozen_ms) <= freeze_time_ms {
            return;
        }
        let missing = self.tokens_max - bucket.tokens;
        let Share(drop) = bucket.drop;
        if missing == self.tokens_max && bucket.drop < Share::WHOLE {
            let more = drop.saturating_add(self.config.drop_increase.0);
            bucket.drop = Share(more).min(Share::WHOLE);
        } else if missing <= self.config.decrease_ratio.of(self.tokens_max) {
            bucket.drop = Share(drop.saturating_sub(self.config.drop_decrease.0));
        }
        bucket.frozen_ms = now_ms;
    }

    fn needed(&self, wants: Wants) -> u64 {
        let ThrottleConfig {
            open_weight,
            local_weight,
            renew_weight,
            ..
        } = self.config;
        match wants {
            _ if !self.config.weighted => 1,
            Wants::Open => weight(open_weight, 3, local_weight),
            Wants::Renew => weight(renew_weight, 2, local_weight),
        }
    }

    /// Tokens that the bucket lacks.
    pub fn deficit(&self) -> u64 {
        self.tokens_max - self.bucket.lock().tokens
    }

    /// The share of clients that is refused although there are tokens.
    pub fn drop_share(&self) -> Share {
        self.bucket.lock().drop
    }
}

/// zk: BlueThrottle's static part: 0 is no weight, and none is less than that of a local session.
fn weight(weight: u32, default: u32, local: u32) -> u64 {
    u64::from(if weight == 0 {
        default
    } else {
        weight.max(local)
    })
}

/// Any share below the whole; without randomness the least, which refuses.
fn random_share() -> Share {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Share(u32::from_le_bytes(bytes) % Share::WHOLE.0),
        Err(_) => Share(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle(config: ThrottleConfig) -> Throttle {
        Throttle::new(config)
    }

    /// How many of `count` clients that come at this moment are admitted.
    fn admitted(throttle: &Throttle, count: u32, wants: Wants, now_ms: u64) -> u32 {
        let mut never = || Share(999_999);
        (0..count)
            .map(|_| u32::from(throttle.admits_at(wants, now_ms, &mut never)))
            .sum()
    }

    #[test]
    fn no_tokens_mean_no_throttle() {
        let throttle = throttle(ThrottleConfig::default());
        assert!((0..1000).all(|_| throttle.admits(Wants::Open)));
        assert_eq!(throttle.deficit(), 0);
    }

    #[test]
    fn a_bucket_empties_and_fills_again() {
        let throttle = throttle(ThrottleConfig {
            tokens_max: 5,
            fill_time_ms: 100,
            fill_count: 2,
            ..ThrottleConfig::default()
        });
        assert_eq!(admitted(&throttle, 10, Wants::Open, 1), 5);
        assert_eq!(throttle.deficit(), 5);
        assert_eq!(admitted(&throttle, 10, Wants::Open, 100), 0, "not yet");
        assert_eq!(admitted(&throttle, 10, Wants::Renew, 250), 5);
        assert_eq!(admitted(&throttle, 10, Wants::Open, 360), 2);
        assert_eq!(admitted(&throttle, 10, Wants::Open, 1_000_000), 5, "full");
    }

    #[test]
    fn weights_make_a_new_session_dearer_than_a_renewal() {
        let throttle = throttle(ThrottleConfig {
            tokens_max: 2,
            fill_time_ms: 1000,
            weighted: true,
            ..ThrottleConfig::default()
        });
        assert_eq!(admitted(&throttle, 1, Wants::Open, 1), 1);
        assert_eq!(throttle.deficit(), 3, "of six");
        assert_eq!(admitted(&throttle, 2, Wants::Renew, 1), 1);
        assert_eq!(admitted(&throttle, 1, Wants::Open, 1), 0);
    }

    #[test]
    fn a_weight_is_never_below_that_of_a_local_session() {
        assert_eq!(weight(0, 3, 9), 3);
        assert_eq!(weight(2, 3, 5), 5);
        assert_eq!(weight(7, 3, 5), 7);
    }

    #[test]
    fn the_share_of_refusals_follows_the_bucket() {
        let throttle = throttle(ThrottleConfig {
            tokens_max: 1,
            fill_time_ms: 1_000_000,
            freeze_time_ms: Some(10),
            drop_increase: Share(600_000),
            drop_decrease: Share(300_000),
            ..ThrottleConfig::default()
        });
        assert_eq!(admitted(&throttle, 1, Wants::Open, 1), 1);
        assert_eq!(admitted(&throttle, 1, Wants::Open, 20), 0);
        assert_eq!(throttle.drop_share(), Share(600_000));
        assert_eq!(admitted(&throttle, 1, Wants::Open, 25), 0);
        assert_eq!(throttle.drop_share(), Share(600_000), "frozen");
        assert_eq!(admitted(&throttle, 1, Wants::Open, 40), 0);
        assert_eq!(throttle.drop_share(), Share::WHOLE);
        let mut low = || Share(1);
        assert!(!throttle.admits_at(Wants::Open, 3_000_000, &mut low));
        assert_eq!(throttle.drop_share(), Share(700_000), "a full bucket");
    }

    #[test]
    fn shares_are_fractions() {
        assert_eq!(Share::of_fraction(0.02), Share(20_000));
        assert_eq!(Share::of_fraction(-3.0), Share(0));
        assert_eq!(Share::of_fraction(7.0), Share::WHOLE);
        assert_eq!(Share(500_000).of(7), 4, "rounded as Math.round does");
    }
}
