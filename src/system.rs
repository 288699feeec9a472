//! What the system grants this process: file descriptors and threads.
//!
//! Both are taken care of when the process starts. From then on clients can neither take the
//! descriptors that the log and the tree need, nor is a thread needed that is not there already.
//!
//! A leaf: open to every room but the pure ones.

use std::fmt;
use std::fs;
use std::io;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Handle};

/// Tables of the tree that are open at the same time: their readers cost memory, too.
const TABLE_FILES_MAX: u64 = 256;
/// Descriptors for the log's segments, checkpoints, compactions, directories, the metrics' port and
/// its clients, and what the runtimes need; with room to spare.
const OTHER_FILES: u64 = 160;
/// The same without any room to spare.
const OTHER_FILES_MIN: u64 = 64;
/// RocksDB takes no fewer.
const TABLE_FILES_MIN: u64 = 20;
/// With fewer than so many descriptors for clients something is wrong with the limit.
const CLIENTS_EXPECTED: u64 = 64;
/// Threads for work that blocks, in one runtime: more would only wait for the same disk.
const BLOCKING_THREADS_MAX: usize = 64;
/// Never, in effect: a thread that is gone might not be granted again.
const THREAD_KEPT: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// How long the start of a thread may take.
const THREAD_TIME_MAX: Duration = Duration::from_secs(10);

/// A limit of the system before and after it was raised; `None`: there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Raised {
    /// The soft limit that the process was started with.
    pub from: Option<u64>,
    /// The soft limit now.
    pub to: Option<u64>,
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |limit: Option<u64>| limit.map_or("no limit".to_owned(), |it| it.to_string());
        match self.from == self.to {
            true => f.write_str(&text(self.to)),
            false => write!(f, "{} (raised from {})", text(self.to), text(self.from)),
        }
    }
}

/// The limits of this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// RLIMIT_NOFILE.
    pub descriptors: Raised,
    /// RLIMIT_NPROC: of all processes of this user.
    pub threads: Raised,
    /// RLIMIT_AS, bytes.
    pub address_space: Raised,
    /// vm.max_map_count; only the administrator can raise it.
    pub memory_maps: Option<u64>,
}

impl Limits {
    /// Raises what may be raised: each soft limit to its hard one, as the JVM does with the first.
    pub fn raise() -> Self {
        let maps = fs::read_to_string("/proc/sys/vm/max_map_count");
        Self {
            descriptors: raise(Resource::Nofile),
            threads: raise(Resource::Nproc),
            address_space: raise(Resource::As),
            memory_maps: maps.ok().and_then(|text| text.trim().parse().ok()),
        }
    }

    /// Says what they are, and complains of those that are too low.
    pub fn log(&self) {
        let connections = connections_max();
        tracing::info!(
            descriptors = %self.descriptors,
            connections,
            threads = %self.threads,
            address_space = %self.address_space,
            memory_maps = self.memory_maps,
            "limits"
        );
        if connections < CLIENTS_EXPECTED {
            tracing::warn!(
                descriptors = %self.descriptors,
                connections,
                "few file descriptors: more clients than this must wait (see ulimit -Hn)"
            );
        }
    }
}

fn raise(resource: Resource) -> Raised {
    let before = getrlimit(resource);
    let wanted = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    // Refused at most where the hard limit is above the kernel's own: then it stays as it is.
    let refused = setrlimit(resource, wanted).is_err();
    let to = if refused {
        before.current
    } else {
        before.maximum
    };
    Raised {
        from: before.current,
        to,
    }
}

/// File descriptors that this process may have.
pub fn descriptors_max() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Tables of the tree that may be open at the same time.
pub fn table_files_max() -> u64 {
    table_files(descriptors_max())
}

/// Connections of clients that leave enough descriptors for everything else.
pub fn connections_max() -> u64 {
    connections(descriptors_max())
}

fn table_files(descriptors: u64) -> u64 {
    (descriptors / 4).clamp(TABLE_FILES_MIN, TABLE_FILES_MAX)
}

fn connections(descriptors: u64) -> u64 {
    let others = (descriptors / 2).clamp(OTHER_FILES_MIN, OTHER_FILES);
    descriptors
        .saturating_sub(table_files(descriptors) + others)
        .max(1)
}

/// Names the runtime's threads, and has it keep every one it has got for work that blocks.
pub fn keep_threads<'a>(builder: &'a mut Builder, name: &str) -> &'a mut Builder {
    builder
        .thread_name(name)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_keep_alive(THREAD_KEPT)
}

/// Starts so many threads for work that blocks, of a runtime that keeps them. As long as there is
/// one, the runtime takes a thread that the system refuses for one that will come later.
///
/// # Errors
/// The system has not so many.
pub fn start_threads(runtime: &Handle, count: usize) -> io::Result<()> {
    let (started, starting) = mpsc::channel();
    // Each holds its thread until all are there, or it is known that they will not come.
    let gate = Arc::new(parking_lot::RwLock::new(()));
    let closed = gate.write();
    for _ in 0..count {
        let (gate, started) = (Arc::clone(&gate), started.clone());
        runtime.spawn_blocking(move || {
            if started.send(()).is_ok() {
                drop(gate.read());
            }
        });
    }
    let all = (0..count).all(|_| starting.recv_timeout(THREAD_TIME_MAX).is_ok());
    drop(closed);
    if all {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the system does not grant {count} more threads"
    )))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn descriptors_are_kept_back() {
        for (descriptors, tables, clients) in [
            (0, 20, 1),
            (64, 20, 1),
            (100, 25, 11),
            (128, 32, 32),
            (256, 64, 64),
            (1024, 256, 608),
            (20_000, 256, 19_584),
            (u64::MAX, 256, u64::MAX - 416),
        ] {
            assert_eq!(table_files(descriptors), tables, "{descriptors}");
            assert_eq!(connections(descriptors), clients, "{descriptors}");
        }
    }

    #[test]
    fn limits_say_what_became_of_them() {
        let text = |from, to| Raised { from, to }.to_string();
        assert_eq!(text(Some(1024), Some(4096)), "4096 (raised from 1024)");
        assert_eq!(text(Some(1024), None), "no limit (raised from 1024)");
        assert_eq!(text(Some(7), Some(7)), "7");
    }

    #[test]
    fn threads_that_were_started_stay() {
        let runtime = keep_threads(&mut Builder::new_current_thread(), "test")
            .build()
            .expect("a runtime");
        start_threads(runtime.handle(), 3).expect("three threads");
        let meeting = Arc::new(Barrier::new(3));
        let meet = |_| {
            let meeting = Arc::clone(&meeting);
            runtime.spawn_blocking(move || {
                meeting.wait();
                std::thread::current().id()
            })
        };
        let tasks: Vec<_> = (0..3).map(meet).collect();
        let met = tasks
            .into_iter()
            .map(|task| runtime.block_on(task).expect("no panic"));
        let ids: HashSet<_> = met.collect();
        assert_eq!(ids.len(), 3);
        assert_eq!(runtime.metrics().num_alive_tasks(), 0);
    }
}
