//! Clients that do nothing wrong while others attack: what they measure is what an attack costs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::pipe::Pipe;

/// Pause between two requests: they are there to be hindered, not to hinder.
const PAUSE: Duration = Duration::from_millis(2);

/// The clients' threads.
#[derive(Debug)]
pub struct Bystanders {
    threads: Vec<JoinHandle<Result<()>>>,
    latencies: Receiver<(bool, Duration)>,
    stop: Arc<AtomicBool>,
}

/// How long requests took.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    reads: Vec<Duration>,
    writes: Vec<Duration>,
}

impl Bystanders {
    /// Starts `count` of them.
    pub fn start(address: SocketAddr, count: usize) -> Self {
        let (sender, latencies) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..count)
            .map(|id| {
                let (sender, stop) = (sender.clone(), Arc::clone(&stop));
                thread::spawn(move || live(address, id, &sender, &stop))
            })
            .collect();
        Self {
            threads,
            latencies,
            stop,
        }
    }

    /// What was measured since the last call.
    pub fn take(&self) -> Latencies {
        let mut all = Latencies::default();
        for (write, took) in self.latencies.try_iter() {
            if write {
                all.writes.push(took);
            } else {
                all.reads.push(took);
            }
        }
        all.reads.sort();
        all.writes.sort();
        all
    }

    /// The first one that could not live in peace.
    pub fn casualty(&mut self) -> Option<String> {
        let index = self.threads.iter().position(JoinHandle::is_finished)?;
        let ended = self.threads.remove(index).join();
        Some(format!("a bystander ended: {ended:?}"))
    }

    /// Ends them.
    ///
    /// # Errors
    /// One of them had ended before.
    pub fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().expect("a bystander does not panic")?;
        }
        Ok(())
    }
}

fn live(
    address: SocketAddr,
    id: usize,
    sender: &Sender<(bool, Duration)>,
    stop: &AtomicBool,
) -> Result<()> {
    let mut pipe = Pipe::open(address, 10_000)?;
    let path = format!("/bystander-{id}");
    pipe.create(&path, b"0", 1)?;
    let mut version = 0;
    while !stop.load(Ordering::SeqCst) {
        let text = version.to_string();
        let began = Instant::now();
        let found = pipe.get(&path)?;
        let read = began.elapsed();
        ensure!(
            found == text.as_bytes(),
            "{path}: {found:?} instead of {text}"
        );
        let began = Instant::now();
        let next = (version + 1).to_string();
        let error = pipe.set(&path, next.as_bytes(), version)?;
        let write = began.elapsed();
        ensure!(error == 0, "{path}: setData version {version}: {error}");
        version += 1;
        if sender.send((false, read)).is_err() || sender.send((true, write)).is_err() {
            // Nobody listens any more: the run ends.
            break;
        }
        sleep(PAUSE);
    }
    pipe.close()
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |list: &[Duration], part: usize| {
            let index = (list.len() * part / 1000).min(list.len().saturating_sub(1));
            list.get(index).copied().unwrap_or_default().as_secs_f64() * 1000.0
        };
        for (name, list) in [("reads", &self.reads), ("writes", &self.writes)] {
            write!(
                f,
                "{name} {} p50 {:.1} p99 {:.1} max {:.1} ms  ",
                list.len(),
                at(list, 500),
                at(list, 990),
                at(list, 1000)
            )?;
        }
        Ok(())
    }
}
