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

/// A thread of this process.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Thread {
    /// The system's number.
    pub(super) id: u32,
    pub(super) name: String,
    /// R runs, S sleeps, D waits for a disk.
    pub(super) state: String,
    pub(super) cpu_seconds: f64,
    /// The kernel's function in which it sleeps; empty where that may not be seen.
    pub(super) waits_in: String,
}

/// All threads of this process, in order of their numbers.
pub(super) fn threads() -> Vec<Thread> {
    let entries = fs::read_dir("/proc/self/task").into_iter().flatten();
    let mut threads: Vec<Thread> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let id = path.file_name()?.to_str()?.parse().ok()?;
            // It may have ended meanwhile.
            let stat = fs::read_to_string(path.join("stat")).ok()?;
            let waits_in = fs::read_to_string(path.join("wchan")).unwrap_or_default();
            Some(parse_thread(id, &stat, &waits_in))
        })
        .collect();
    threads.sort_unstable_by_key(|thread| thread.id);
    threads
}

fn parse_thread(id: u32, stat: &str, waits_in: &str) -> Thread {
    let name = stat
        .split_once('(')
        .and_then(|(_, rest)| rest.rsplit_once(')'));
    Thread {
        id,
        name: name.map_or(String::new(), |(name, _)| name.to_owned()),
        state: Fields::of(stat).text(3).to_owned(),
        cpu_seconds: Fields::of(stat).cpu_seconds(),
        waits_in: if waits_in == "0" { "" } else { waits_in }.to_owned(),
    }
}

/// Regions of memory that the kernel knows of this process.
pub(super) fn memory_maps() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines().count()
}

/// The fields of a `stat` of proc(5). The second one may hold blanks and parentheses.
struct Fields<'a>(Vec<&'a str>);

impl<'a> Fields<'a> {
    fn of(stat: &'a str) -> Self {
        let rest = stat.rsplit_once(')').map(|(_, rest)| rest);
        Self(rest.unwrap_or_default().split_whitespace().collect())
    }

    /// By its number there, from 3, the state, on.
    fn text(&self, number: usize) -> &'a str {
        self.0.get(number - 3).copied().unwrap_or_default()
    }

    fn number(&self, number: usize) -> f64 {
        self.text(number).parse().unwrap_or(0.0)
    }

    fn cpu_seconds(&self) -> f64 {
        (self.number(14) + self.number(15)) / TICKS_PER_SECOND
    }
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

fn parse(stat: &str, status: &str, system: &str) -> Process {
    let fields = Fields::of(stat);
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
        cpu_seconds: fields.cpu_seconds(),
        start_seconds: boot + fields.number(22) / TICKS_PER_SECOND,
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
        let thread = parse_thread(8, stat, "futex_wait_queue");
        assert_eq!((thread.name.as_str(), thread.state.as_str()), ("a) b", "S"));
        assert_eq!(
            (thread.cpu_seconds, thread.waits_in.as_str()),
            (3.0, "futex_wait_queue")
        );
        assert_eq!(
            parse_thread(8, "", "0"),
            Thread {
                id: 8,
                ..Thread::default()
            }
        );
        assert!(threads().iter().any(|thread| !thread.name.is_empty()) && memory_maps() > 0);
    }
}
