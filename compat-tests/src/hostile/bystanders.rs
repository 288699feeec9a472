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
const WINDOW: Duration = Duration::from_secs(1);
/// A window with fewer says nothing of a p99.
const SAMPLES_MIN: usize = 20;

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

impl Latencies {
    fn note(&mut self, write: bool, took: Duration) {
        let list = if write {
            &mut self.writes
        } else {
            &mut self.reads
        };
        list.push(took);
    }

    fn merge(&mut self, other: Self) {
        self.reads.extend(other.reads);
        self.writes.extend(other.writes);
    }

    /// All of these together.
    pub fn of(windows: &[Self]) -> Self {
        let mut all = Self::default();
        windows.iter().for_each(|it| all.merge(it.clone()));
        all
    }

    /// The longest.
    pub fn longest(&self) -> Duration {
        let all = self.reads.iter().chain(&self.writes);
        all.max().copied().unwrap_or_default()
    }
}

/// The median of the windows' p99: of reads, and of writes. A machine that is busy with something
/// else for a second spoils one window, not the median.
pub fn typical_p99(windows: &[Latencies]) -> [Duration; 2] {
    let p99 = |of: for<'a> fn(&'a Latencies) -> &'a Vec<Duration>| {
        let lists = windows.iter().map(of);
        let lists = lists.filter(|it| it.len() >= SAMPLES_MIN);
        at(&lists.map(|it| at(it, 990)).collect::<Vec<_>>(), 500)
    };
    [p99(|it| &it.reads), p99(|it| &it.writes)]
}

/// The value below which `part` of 1000 lie.
fn at(list: &[Duration], part: usize) -> Duration {
    let mut sorted = list.to_vec();
    sorted.sort();
    let index = (sorted.len() * part / 1000).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
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
            all.note(write, took);
        }
        all
    }

    /// What is measured while `work` runs: a window for each second, the last one longer.
    pub fn during<T: Send>(&self, work: impl FnOnce() -> T + Send) -> (T, Vec<Latencies>) {
        drop(self.take());
        thread::scope(|scope| {
            let thread = scope.spawn(work);
            let mut windows: Vec<Latencies> = Vec::new();
            loop {
                let began = Instant::now();
                while began.elapsed() < WINDOW && !thread.is_finished() {
                    sleep(Duration::from_millis(10));
                }
                let window = self.take();
                match windows.last_mut() {
                    Some(last) if began.elapsed() < WINDOW / 2 => last.merge(window),
                    _ => windows.push(window),
                }
                if thread.is_finished() {
                    return (thread.join().expect("an attack does not panic"), windows);
                }
            }
        })
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
        let at = |list: &[Duration], part| at(list, part).as_secs_f64() * 1000.0;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn window(ms: &[u64]) -> Latencies {
        let mut window = Latencies::default();
        for ms in ms.iter().cycle().take(100) {
            window.note(true, Duration::from_millis(*ms));
        }
        window
    }

    #[test]
    fn one_bad_window_does_not_count() {
        let windows = [window(&[1, 2]), window(&[1, 900]), window(&[2, 3])];
        let [reads, writes] = typical_p99(&windows);
        assert_eq!((reads, writes), (Duration::ZERO, Duration::from_millis(3)));
        assert_eq!(Latencies::of(&windows).longest().as_millis(), 900);
    }
}
