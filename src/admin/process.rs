//! What the system says about this process. Linux only; elsewhere everything is zero.

use std::fs;

/// File descriptors.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct OpenFiles {
    /// In use.
    pub(super) open: u64,
    /// The limit.
    pub(super) max: u64,
}

/// Counts the entries of /proc/self/fd.
pub(super) fn open_files() -> OpenFiles {
    let open = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    OpenFiles {
        open,
        max: soft_limit(&limits),
    }
}

fn soft_limit(limits: &str) -> u64 {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|rest| rest.split_whitespace().next());
    soft.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The figures that Prometheus' client libraries export of every process.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Process {
    pub(super) cpu_seconds: f64,
    pub(super) start_seconds: f64,
    pub(super) resident_bytes: u64,
    pub(super) virtual_bytes: u64,
    pub(super) files: OpenFiles,
}

/// Ticks of the clock in /proc, per second: the same on every Linux that a user sees.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads /proc.
pub(super) fn read() -> Process {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut process = parse(
        &text("/proc/self/stat"),
        &text("/proc/self/status"),
        &text("/proc/stat"),
    );
    process.files = open_files();
    process
}

/// `stat`: /proc/self/stat, whose second field may hold blanks and parentheses.
fn parse(stat: &str, status: &str, system: &str) -> Process {
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().collect())
        .unwrap_or_default();
    // Counted from the state, field 3 of proc(5).
    let field = |number: usize| -> f64 {
        let text = fields.get(number - 3).copied().unwrap_or_default();
        text.parse().unwrap_or(0.0)
    };
    let kilobytes = |key: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        number
            .and_then(|text| text.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let boot = system.lines().find_map(|line| line.strip_prefix("btime "));
    let boot: f64 = boot
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0.0);
    Process {
        cpu_seconds: (field(14) + field(15)) / TICKS_PER_SECOND,
        start_seconds: boot + field(22) / TICKS_PER_SECOND,
        resident_bytes: kilobytes("VmRSS:") * 1024,
        virtual_bytes: kilobytes("VmSize:") * 1024,
        files: OpenFiles::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_proc() {
        let stat = "7 (a) b) S 1 7 7 0 -1 0 1 0 0 0 250 50 0 0 20 0 9 0 4200 1000 20 0";
        let status = "Name:\tx\nVmSize:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        let process = parse(stat, status, "cpu 1\nbtime 1000\n");
        assert_eq!(process.cpu_seconds, 3.0);
        assert_eq!(process.start_seconds, 1042.0);
        assert_eq!(
            (process.resident_bytes, process.virtual_bytes),
            (1 << 20, 2 << 20)
        );
        assert_eq!(
            soft_limit("Max open files            1024   4096    files\n"),
            1024
        );
        assert_eq!(parse("", "", ""), Process::default());
    }
}
