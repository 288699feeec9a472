//! One scenario on one server, once: named figures.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::histogram::Histogram;
use crate::process::Usage;

/// Figures by name; the unit is the end of the name.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Measure {
    figures: BTreeMap<String, f64>,
}

/// Server CPU time per operation.
pub const CPU: &str = "cpu_us";
/// Operations in a second.
pub const RATE: &str = "per_second";
/// The median latency.
pub const P50: &str = "p50_us";
/// 99 of 100 are faster.
pub const P99: &str = "p99_us";
/// 999 of 1000 are faster.
pub const P999: &str = "p999_us";
/// Bytes that the server wrote to disk per operation.
pub const WRITTEN: &str = "written_bytes";
/// Syncs of the log per operation, as the server counts them.
pub const SYNCS: &str = "syncs";
/// Memory.
pub const MEMORY: &str = "memory_bytes";
/// A time.
pub const TIME: &str = "time_ms";

impl Measure {
    /// What `operations` cost.
    pub fn of_work(operations: u64, took: Duration, latency: &Histogram, used: Usage) -> Self {
        let each = operations.max(1) as f64;
        let mut measure = Self::default();
        measure.set(RATE, operations as f64 / took.as_secs_f64());
        measure.set(CPU, used.cpu_us / each);
        measure.set(WRITTEN, used.written / each);
        measure.set(SYNCS, used.syncs / each);
        if latency.count() > 0 {
            measure.set(P50, latency.quantile_us(0.5));
            measure.set(P99, latency.quantile_us(0.99));
            measure.set(P999, latency.quantile_us(0.999));
        }
        measure
    }

    /// Adds a figure.
    pub fn set(&mut self, name: &str, value: f64) {
        self.figures.insert(name.to_owned(), value);
    }

    /// A figure, if there.
    pub fn figure(&self, name: &str) -> Option<f64> {
        self.figures.get(name).copied()
    }

    /// All figures, by name.
    pub fn figures(&self) -> impl Iterator<Item = (&str, f64)> {
        self.figures
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
    }
}
