//! What a server process has used so far, from /proc and from the server's own `mntr`.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use compat_tests::client::{figure, word};
use compat_tests::server::process_figure;

/// Linux counts CPU time in hundredths of a second here, on every machine.
const TICK_US: f64 = 10_000.0;

/// A reading of the counters that only grow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time of all threads, user and system, in microseconds (a step is 10,000).
    pub cpu_us: f64,
    /// Bytes that the process caused to be written to disk.
    pub written: f64,
    /// Syncs of the log, as the server itself counts them; 0 when it does not say.
    pub syncs: f64,
}

impl Usage {
    /// Reads them before a measurement: the clock of the CPU last, for asking costs some, too.
    ///
    /// # Errors
    /// The process is gone.
    pub fn before(pid: u32, address: SocketAddr) -> Result<Self> {
        let syncs = syncs(address).unwrap_or(0.0);
        Ok(Self {
            syncs,
            ..Self::of_process(pid)?
        })
    }

    /// Reads them after a measurement: the clock of the CPU first.
    ///
    /// # Errors
    /// The process is gone.
    pub fn after(pid: u32, address: SocketAddr) -> Result<Self> {
        let usage = Self::of_process(pid)?;
        Ok(Self {
            syncs: syncs(address).unwrap_or(0.0),
            ..usage
        })
    }

    /// Reads them without asking the server for its syncs.
    ///
    /// # Errors
    /// The process is gone.
    pub fn of_process(pid: u32) -> Result<Self> {
        Ok(Self {
            cpu_us: cpu_us(pid)?,
            written: process_figure(pid, "io", "write_bytes:")? as f64,
            syncs: 0.0,
        })
    }

    /// What was used since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            cpu_us: self.cpu_us - before.cpu_us,
            written: self.written - before.written,
            syncs: self.syncs - before.syncs,
        }
    }
}

/// Resident memory in bytes.
///
/// # Errors
/// The process is gone.
pub fn resident(pid: u32) -> Result<f64> {
    Ok(process_figure(pid, "status", "VmRSS:")? as f64 * 1024.0)
}

/// CPU time of all threads, also of those that ended, in microseconds.
///
/// # Errors
/// The process is gone.
pub fn cpu_us(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    // The name in brackets may hold blanks; utime and stime are fields 14 and 15.
    let rest = text.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|word| word.parse::<f64>().ok())
        .sum();
    Ok(ticks * TICK_US)
}

fn syncs(address: SocketAddr) -> Option<f64> {
    let mntr = word(address, b"mntr", Duration::from_secs(5)).ok()?;
    figure(&mntr, "zk_cnt_fsynctime")
}
