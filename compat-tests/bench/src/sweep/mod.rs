//! Sweeps: a figure over a range, for the pictures. Recorded, one file each; drawn elsewhere.
//!
//! - [`sessions`]: throughput over the number of sessions;
//! - [`checkpoint`]: latency over time, while checkpoints are taken;
//! - [`memory`]: resident memory over the number of znodes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use compat_tests::server::Kind;
use serde::{Deserialize, Serialize};

use crate::measure::Measure;

pub mod checkpoint;
pub mod memory;
pub mod sessions;
mod tree;
mod watcher;

/// One sweep over both servers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sweep {
    /// Its name.
    pub name: String,
    /// Whether it was a `--quick` one: smaller ranges.
    pub quick: bool,
    /// Cores of the machine, which client and server share.
    pub cores: usize,
    /// The curves.
    pub series: Vec<Series>,
}

/// One curve of one server.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Series {
    /// `oxkeeper` or `zookeeper`.
    pub server: String,
    /// Which of several curves of that server: an operation, or a round.
    pub what: String,
    /// In the order of `at`.
    pub points: Vec<Point>,
    /// Checkpoints: from and to, in the unit of `at`.
    #[serde(default)]
    pub checkpoints: Vec<(f64, f64)>,
    /// Figures of the whole curve.
    #[serde(default)]
    pub summary: Measure,
    /// Why the curve ends before the range does.
    #[serde(default)]
    pub ended: Option<String>,
}

/// The figures at one place of a range.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Point {
    /// Sessions, milliseconds or znodes.
    pub at: f64,
    /// An entry per round.
    pub measures: Vec<Measure>,
}

impl Point {
    /// A point that was measured once.
    pub fn once(at: f64, measure: Measure) -> Self {
        Self {
            at,
            measures: vec![measure],
        }
    }
}

impl Series {
    /// An empty curve.
    pub fn new(server: Kind, what: &str) -> Self {
        Self {
            server: server.to_string(),
            what: what.to_owned(),
            ..Self::default()
        }
    }
}

/// What a sweep is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Smaller ranges, shorter runs.
    pub quick: bool,
    /// How often each point is measured.
    pub rounds: usize,
    /// The servers, in the order of the first round.
    pub kinds: Vec<Kind>,
    /// Seconds that one run of requests lasts, in place of the sweep's own choice.
    pub seconds: Option<f64>,
    /// The largest number of znodes, in place of the sweep's own choice.
    pub znodes: Option<usize>,
}

/// A sweep's name and what it does.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Its name, for the filter; also that of its file.
    pub name: &'static str,
    run: fn(&Request) -> Result<Vec<Series>>,
}

/// All sweeps, in the order in which they run.
pub const SWEEPS: [Kept; 3] = [
    Kept {
        name: sessions::NAME,
        run: sessions::run,
    },
    Kept {
        name: checkpoint::NAME,
        run: checkpoint::run,
    },
    Kept {
        name: memory::NAME,
        run: memory::run,
    },
];

impl Kept {
    /// Runs it.
    ///
    /// # Errors
    /// A server fails in a way that is no result.
    pub fn run(&self, request: &Request) -> Result<Sweep> {
        Ok(Sweep {
            name: self.name.to_owned(),
            quick: request.quick,
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            series: (self.run)(request)?,
        })
    }
}

fn file(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.json"))
}

impl Sweep {
    /// Writes it into `dir`, under its name; where it now lies.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<PathBuf> {
        let path = file(dir, &self.name);
        let text = serde_json::to_string(self).context("write JSON")?;
        fs::write(&path, text + "\n").with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// Reads the one called `name` from `dir`; `None` when it was not recorded.
    ///
    /// # Errors
    /// The file is there and no sweep.
    pub fn load(dir: &Path, name: &str) -> Result<Option<Self>> {
        let path = file(dir, name);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let sweep = serde_json::from_str(&text)
            .with_context(|| format!("read {} as a sweep", path.display()))?;
        Ok(Some(sweep))
    }
}
