//! What a server holds: memory, descriptors, files. One sample each second.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::server::process_figure;

/// One look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Resident memory, KiB.
    pub memory_kib: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
    /// Files below the data directory.
    pub files: u64,
    /// What they take on the disk in KiB, hard links counted once.
    pub disk_kib: u64,
}

impl Sample {
    /// Looks at process `pid` and at what is below `data`.
    ///
    /// # Errors
    /// The process has ended.
    pub fn take(pid: u32, data: Option<&Path>) -> Result<Self> {
        let figure = |key| process_figure(pid, "status", key);
        let mut sample = Self {
            memory_kib: figure("VmRSS:").context("the server has ended")?,
            threads: figure("Threads:").unwrap_or(0),
            descriptors: fs::read_dir(format!("/proc/{pid}/fd"))
                .context("count the server's descriptors")?
                .count() as u64,
            ..Self::default()
        };
        if let Some(data) = data {
            sample.walk(data, &mut BTreeSet::new());
        }
        Ok(sample)
    }

    /// What disappears while we look does not count.
    fn walk(&mut self, dir: &Path, seen: &mut BTreeSet<u64>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(found) = entry.metadata() else {
                continue;
            };
            if found.is_dir() {
                self.walk(&entry.path(), seen);
            } else {
                self.files += 1;
                if seen.insert(found.ino()) {
                    self.disk_kib += found.blocks() / 2;
                }
            }
        }
    }
}

/// Whether a figure has stopped growing: means of the third and of the last fifth of all samples.
///
/// `Ok`: the two means. `Err`: the same, and what was allowed.
///
/// # Errors
/// The last is more than `factor` times the third, plus `slack`.
pub fn flat(
    samples: &[Sample],
    figure: fn(&Sample) -> u64,
    factor: f64,
    slack: f64,
) -> Result<(f64, f64), (f64, f64, f64)> {
    let fifth = (samples.len() / 5).max(1);
    let mean = |part: &[Sample]| {
        part.iter().map(|it| figure(it) as f64).sum::<f64>() / part.len().max(1) as f64
    };
    let third = mean(&samples[(2 * fifth).min(samples.len())..(3 * fifth).min(samples.len())]);
    let last = mean(&samples[samples.len().saturating_sub(fifth)..]);
    let allowed = third * factor + slack;
    if last <= allowed {
        Ok((third, last))
    } else {
        Err((third, last, allowed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(figures: impl Iterator<Item = u64>) -> Vec<Sample> {
        figures
            .map(|files| Sample {
                files,
                ..Sample::default()
            })
            .collect()
    }

    #[test]
    fn a_sawtooth_is_flat_and_growth_is_not() {
        let sawtooth = samples((0..300).map(|at| 100 + at % 20));
        assert!(flat(&sawtooth, |it| it.files, 1.1, 0.0).is_ok());
        let filling = samples((0..300).map(|at| at.min(100)));
        assert!(flat(&filling, |it| it.files, 1.1, 0.0).is_ok());
        let growing = samples((0..300).map(|at| 100 + at));
        assert!(flat(&growing, |it| it.files, 1.1, 0.0).is_err());
    }
}
