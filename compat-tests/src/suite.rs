//! Progress lines and the closing count of a suite.

use std::fmt::Display;
use std::io::Write;
use std::time::Instant;

/// Writes one line to standard output, at once.
pub fn say(line: impl Display) {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    drop(written); // a closed pipe is the reader's choice
}

/// Counts what passed and what failed, and says it.
#[derive(Debug)]
pub struct Suite {
    name: String,
    started: Instant,
    last: Instant,
    passed: usize,
    failed: usize,
}

impl Suite {
    /// Opens a suite and says so.
    pub fn open(name: impl Into<String>) -> Self {
        let name = name.into();
        say(format_args!("== {name}"));
        Self {
            name,
            started: Instant::now(),
            last: Instant::now(),
            passed: 0,
            failed: 0,
        }
    }

    /// One case passed.
    pub fn pass(&mut self, case: impl Display) {
        self.passed += 1;
        let took = self.last.elapsed().as_secs_f64();
        self.last = Instant::now();
        say(format_args!("ok   {case} ({took:.1} s)"));
    }

    /// Many cases passed, without a line each.
    pub fn pass_many(&mut self, count: usize) {
        self.passed += count;
    }

    /// One case failed, with the reason.
    pub fn fail(&mut self, case: impl Display, why: impl Display) {
        self.failed += 1;
        self.last = Instant::now();
        say(format_args!("FAIL {case}\n{why}"));
    }

    /// How many cases failed so far.
    pub fn failures(&self) -> usize {
        self.failed
    }

    /// Says the closing line; true when nothing failed and something ran.
    pub fn close(self) -> bool {
        say(format_args!(
            "== {}: {} passed, {} failed ({:.1} s)",
            self.name,
            self.passed,
            self.failed,
            self.started.elapsed().as_secs_f64()
        ));
        self.failed == 0 && self.passed > 0
    }
}
