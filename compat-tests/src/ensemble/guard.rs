//! A process that ends the servers when this one dies before it could.
//!
//! Each server ends when its value is dropped; a run that is killed drops nothing. The guard hears of
//! every process on a pipe, and when the pipe ends it kills those that it was not told to forget.

use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};

/// What the guard does, in bash.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
declare -A pids
while read -r what pid; do
  if [ "$what" = watch ]; then pids[$pid]=1; else unset "pids[$pid]"; fi
done
for pid in "${!pids[@]}"; do kill -9 "$pid" 2>/dev/null; done
exit 0
"#;

/// The guard.
#[derive(Debug)]
pub struct Guard {
    process: Child,
    words: Option<ChildStdin>,
}

impl Guard {
    /// Sets one up.
    ///
    /// # Errors
    /// There is no bash.
    pub fn open() -> Result<Self> {
        let mut process = Command::new("bash")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("run bash")?;
        let words = process.stdin.take();
        Ok(Self { process, words })
    }

    /// This process must not outlive us.
    ///
    /// # Errors
    /// The guard is gone.
    pub fn watch(&mut self, pid: u32) -> Result<()> {
        self.tell("watch", pid)
    }

    /// This one has ended.
    ///
    /// # Errors
    /// The guard is gone.
    pub fn forget(&mut self, pid: u32) -> Result<()> {
        self.tell("forget", pid)
    }

    fn tell(&mut self, what: &str, pid: u32) -> Result<()> {
        let words = self.words.as_mut().context("the guard is gone")?;
        words
            .write_all(format!("{what} {pid}\n").as_bytes())
            .context("tell the guard")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.words = None;
        drop(self.process.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("600").spawn().expect("run sleep")
    }

    #[test]
    fn what_is_watched_ends_with_us_and_what_is_forgotten_lives_on() {
        let (mut watched, mut forgotten) = (sleeper(), sleeper());
        let mut guard = Guard::open().expect("a guard");
        guard.watch(watched.id()).expect("watch");
        guard.watch(forgotten.id()).expect("watch");
        guard.forget(forgotten.id()).expect("forget");
        drop(guard);
        let status = watched.wait().expect("wait");
        assert!(!status.success());
        assert!(forgotten.try_wait().expect("look").is_none());
        forgotten.kill().expect("kill");
        forgotten.wait().expect("wait");
    }
}
