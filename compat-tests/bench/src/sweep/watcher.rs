//! When a server takes checkpoints (the genuine one: snapshots), by what it logs and leaves on disk.
//!
//! A thread looks every few milliseconds, which costs next to nothing and asks the server nothing.
//! - The genuine one logs `Snapshot taken in N ms` at the end.
//! - Ours logs `checkpoint taken` at the end; at the begin the directory in which it is built appears.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use compat_tests::server::Kind;

const LOOK: Duration = Duration::from_millis(5);
const CHECKPOINTS: &str = "oxkeeper/snapshots";
const BUILDING: &str = "building-";

/// From the begin to the end of one checkpoint.
pub(super) type Span = (Instant, Instant);

/// Looks until [`Watcher::finish`].
#[derive(Debug)]
pub(super) struct Watcher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Span>>,
}

impl Watcher {
    /// Begins to look at what the server whose log and data are there does from now on.
    pub(super) fn start(kind: Kind, log: &Path, data: &Path) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut file = File::open(log).with_context(|| format!("open {}", log.display()))?;
        file.seek(SeekFrom::End(0)).context("seek in a log")?;
        let mut look = Look {
            kind,
            file,
            line: String::new(),
            dir: data.join(CHECKPOINTS),
            begun: None,
            spans: Vec::new(),
        };
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                look.once(Instant::now());
                thread::sleep(LOOK);
            }
            look.spans
        });
        Ok(Self { stop, thread })
    }

    /// All that was seen to end.
    pub(super) fn finish(self) -> Vec<Span> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watcher does not panic")
    }
}

struct Look {
    kind: Kind,
    file: File,
    /// The begin of a line that is not whole yet.
    line: String,
    dir: PathBuf,
    /// Since when one is being built.
    begun: Option<Instant>,
    spans: Vec<Span>,
}

impl Look {
    fn once(&mut self, now: Instant) {
        if self.kind == Kind::Oxkeeper && self.begun.is_none() && building(&self.dir) {
            self.begun = Some(now);
        }
        let mut fresh = Vec::new();
        if self.file.read_to_end(&mut fresh).is_err() {
            return;
        }
        self.line += &String::from_utf8_lossy(&fresh);
        while let Some(end) = self.line.find('\n') {
            let line: String = self.line.drain(..=end).collect();
            if let Some(took) = taken(&line) {
                let begun = self.begun.take().unwrap_or_else(|| now - took);
                self.spans.push((begun, now));
            }
        }
    }
}

fn building(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with(BUILDING))
    })
}

/// How long a checkpoint took, by its line; nothing where the line does not say.
fn taken(line: &str) -> Option<Duration> {
    if line.contains("checkpoint taken") {
        return Some(Duration::ZERO);
    }
    let (_, rest) = line.split_once("Snapshot taken in ")?;
    let took = rest.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_millis(took))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_servers_lines_are_known() {
        let genuine = "12:00:00.000 INFO  ZooKeeperServer Snapshot taken in 37 ms\n";
        assert_eq!(taken(genuine), Some(Duration::from_millis(37)));
        let ours = "2026-01-01T00:00:00Z  INFO oxkeeper: checkpoint taken index=7\n";
        assert_eq!(taken(ours), Some(Duration::ZERO));
        assert_eq!(taken("INFO removing a broken checkpoint"), None);
    }
}
