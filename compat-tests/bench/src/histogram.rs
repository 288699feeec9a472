//! Latencies in buckets of equal relative width: constant memory, under 2 % error.

const SUB_BITS: u32 = 6;
const SUB: usize = 1 << SUB_BITS;
const BUCKETS: usize = SUB * (64 - SUB_BITS as usize + 1);

/// Counts of latencies in nanoseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }
}

impl Histogram {
    /// Counts one latency.
    pub fn record(&mut self, nanos: u64) {
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The latency below which `share` (0 to 1) of the counted ones are, in microseconds; 0 when
    /// nothing was counted.
    pub fn quantile_us(&self, share: f64) -> f64 {
        let wanted = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return middle(index) / 1000.0;
            }
        }
        0.0
    }
}

/// Values below `SUB` have a bucket each; above, each power of two has `SUB` buckets.
fn bucket(nanos: u64) -> usize {
    let bits = 64 - nanos.leading_zeros();
    if bits <= SUB_BITS {
        return nanos as usize;
    }
    let shift = bits - SUB_BITS - 1;
    let within = (nanos >> shift) as usize & (SUB - 1);
    (shift as usize + 1) * SUB + within
}

/// The middle of a bucket, in nanoseconds.
fn middle(index: usize) -> f64 {
    if index < SUB {
        return index as f64;
    }
    let shift = (index / SUB - 1) as i32;
    ((SUB + index % SUB) as f64 + 0.5) * f64::from(shift).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_two_percent() {
        let mut histogram = Histogram::default();
        for nanos in 1..=1_000_000 {
            histogram.record(nanos);
        }
        for share in [0.01, 0.5, 0.99, 0.999] {
            let found = histogram.quantile_us(share);
            let exact = share * 1000.0;
            assert!(
                (found - exact).abs() <= exact * 0.02,
                "{share}: {found}, not {exact}"
            );
        }
        assert_eq!(histogram.count(), 1_000_000);
    }

    #[test]
    fn extremes_have_a_bucket() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile_us(0.5), 0.0);
        histogram.record(0);
        histogram.record(u64::MAX);
        assert!(histogram.quantile_us(1.0) > 1e15);
    }
}
