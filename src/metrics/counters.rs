//! The counters behind the handles: a number, and a distribution of whole numbers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ::metrics::{CounterFn, GaugeFn, HistogramFn};

/// A counter or a gauge of whole numbers.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(super) fn reset(&self) {
        self.0.store(0, Relaxed);
    }
}

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.0.fetch_max(value, Relaxed);
    }
}

impl GaugeFn for Count {
    fn increment(&self, value: f64) {
        self.0.fetch_add(whole(value), Relaxed);
    }

    fn decrement(&self, value: f64) {
        self.0.fetch_sub(whole(value), Relaxed);
    }

    fn set(&self, value: f64) {
        self.0.store(whole(value), Relaxed);
    }
}

/// Samples are milliseconds, sizes and counts; what is below zero or no number counts as zero.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, which is what is wanted"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

/// Values below this have a bucket each.
const EXACT: u64 = 32;
/// Buckets of each doubling above: a quantile is wrong by 1/16 at most.
const PER_DOUBLING: u64 = 16;
/// Doublings that are told apart; what is above, 2^42, falls in the last bucket.
const DOUBLINGS: u64 = 37;
const BUCKETS: usize = 32 + 16 * 37;

/// A distribution of samples since the start or the last reset: their number by size, and sum.
///
/// zk-differs: ZooKeeper's Prometheus provider looks at the last ten minutes only; here both
/// outputs show the same.
#[derive(Debug)]
pub(super) struct Samples {
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
}

impl Default for Samples {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
        }
    }
}

impl HistogramFn for Samples {
    fn record(&self, value: f64) {
        let value = whole(value);
        if let Some(bucket) = self.buckets.get(bucket_of(value)) {
            bucket.fetch_add(1, Relaxed);
        }
        if value > 0 {
            self.sum.fetch_add(value, Relaxed);
        }
        // Read first: the extremes hardly ever change, and reading does not disturb other cores.
        if value < self.min.load(Relaxed) {
            self.min.fetch_min(value, Relaxed);
        }
        if value > self.max.load(Relaxed) {
            self.max.fetch_max(value, Relaxed);
        }
    }
}

impl Samples {
    pub(super) fn reset(&self) {
        for bucket in &self.buckets {
            bucket.store(0, Relaxed);
        }
        self.sum.store(0, Relaxed);
        self.min.store(u64::MAX, Relaxed);
        self.max.store(0, Relaxed);
    }

    pub(super) fn read(&self) -> Distribution {
        let buckets = self.buckets.iter().enumerate();
        let used = buckets.map(|(index, bucket)| (index, bucket.load(Relaxed)));
        let counts: Vec<(usize, u64)> = used.filter(|(_, count)| *count > 0).collect();
        let count = counts.iter().map(|(_, count)| count).sum();
        Distribution {
            count,
            sum: self.sum.load(Relaxed),
            min: if count == 0 {
                0
            } else {
                self.min.load(Relaxed)
            },
            max: self.max.load(Relaxed),
            counts,
        }
    }
}

fn bucket_of(value: u64) -> usize {
    let index = if value < EXACT {
        value
    } else {
        // 32 is the first value of the first doubling; its top five bits say which bucket.
        let doubling = u64::from(value.ilog2()) - 5;
        if doubling < DOUBLINGS {
            EXACT + doubling * PER_DOUBLING + ((value >> (doubling + 1)) - PER_DOUBLING)
        } else {
            EXACT + DOUBLINGS * PER_DOUBLING - 1
        }
    };
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// The largest value of a bucket.
fn top_of(bucket: usize) -> u64 {
    let index = bucket as u64;
    if index < EXACT {
        return index;
    }
    let (doubling, within) = (
        (index - EXACT) / PER_DOUBLING,
        (index - EXACT) % PER_DOUBLING,
    );
    ((PER_DOUBLING + within + 1) << (doubling + 1)) - 1
}

/// What a summary held at one moment. Whole numbers, in the unit of its metric.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Distribution {
    /// Number of samples.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    /// The smallest; 0 without samples.
    pub min: u64,
    /// The largest; 0 without samples.
    pub max: u64,
    /// Buckets that are not empty, with their numbers.
    counts: Vec<(usize, u64)>,
}

impl Distribution {
    /// The mean; 0 without samples.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a mean with four decimals needs no more"
    )]
    pub fn mean(&self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            self.sum as f64 / self.count as f64
        }
    }

    /// The value below which so many of a thousand samples lie; `None` without samples. Exact below
    /// 32, above it at most a sixteenth too large.
    pub fn quantile(&self, per_thousand: u64) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        let rank = self
            .count
            .saturating_mul(per_thousand)
            .div_ceil(1000)
            .max(1);
        let mut seen = 0;
        for (bucket, count) in &self.counts {
            seen += count;
            if seen >= rank {
                return Some(top_of(*bucket).min(self.max));
            }
        }
        Some(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_gaps() {
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket_of((1 << 42) - 1), BUCKETS - 1);
        for bucket in 0..BUCKETS {
            let top = top_of(bucket);
            assert_eq!(bucket_of(top), bucket, "top {top}");
            if bucket + 1 < BUCKETS {
                assert_eq!(bucket_of(top + 1), bucket + 1, "above {top}");
            }
        }
    }

    #[test]
    fn quantiles_are_close() {
        let samples = Samples::default();
        assert_eq!(samples.read(), Distribution::default());
        assert_eq!(samples.read().quantile(500), None);
        for value in 1..=10_000_u32 {
            samples.record(f64::from(value));
        }
        let read = samples.read();
        assert_eq!(
            (read.count, read.sum, read.min, read.max),
            (10_000, 50_005_000, 1, 10_000)
        );
        for (per_thousand, exact) in [(500, 5000), (950, 9500), (990, 9900), (999, 9990)] {
            let quantile = read.quantile(per_thousand).expect("has samples");
            assert!(
                quantile >= exact && quantile <= exact + exact / 16,
                "{quantile} for {exact}"
            );
        }
        samples.reset();
        assert_eq!(samples.read(), Distribution::default());
        samples.record(-3.0);
        samples.record(f64::NAN);
        assert_eq!((samples.read().count, samples.read().sum), (2, 0));
    }
}
