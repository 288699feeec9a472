//! What only time does: a session expires, a container or a TTL node is reaped.
//!
//! Both servers run with short ticks here. No step depends on how short: each waits until the server
//! itself says that it has happened.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::side::{ANSWER_TIME_MAX, Seen, Side};
use super::step::{Step, text};
use crate::client::{Connection, Hello, session_count};
use crate::server::Options;
use crate::wire::Writer;

/// The shortest timeout that the servers of such sequences grant, in ms.
pub const TIMEOUT_MS_MIN: i32 = 400;
const LAPSE_TIME_MAX: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);
const EXISTS: i32 = 3;
const CREATE_CONTAINER: i32 = 19;
const NO_NODE: i32 = -101;

/// True for sequences whose servers need short ticks and a busy reaper.
pub fn needs_time(steps: &[Step]) -> bool {
    steps
        .iter()
        .any(|step| matches!(step, Step::Expire { .. } | Step::Reap { .. }))
}

/// True for sequences with a container that is to be reaped without ever having been used: others
/// rely on it that such a one stays.
pub fn reaps_unused(steps: &[Step]) -> bool {
    steps.iter().any(|step| match step {
        Step::Reap { requests, .. } => {
            matches!(&requests[..], [only] if only.op.code() == CREATE_CONTAINER)
        }
        _ => false,
    })
}

/// What the servers of such a sequence are started with, beside `options`.
pub fn options(options: &Options, steps: &[Step]) -> Options {
    let options = if reaps_unused(steps) {
        options
            .clone()
            .property("znode.container.maxNeverUsedIntervalMs", "1000")
    } else {
        options.clone()
    };
    options
        .config("tickTime", "200")
        .config("minSessionTimeout", &TIMEOUT_MS_MIN.to_string())
        .property("znode.container.checkIntervalMs", "500")
}

impl Side {
    pub(super) fn begin_expiry(&mut self, slot: usize, timeout_ms: Option<i32>) -> Result<()> {
        let sessions = session_count(self.host.address(), ANSWER_TIME_MAX)?;
        let address = self.host.address();
        let slot = &mut self.slots[slot];
        self.skipped = slot.session == 0;
        if self.skipped {
            return Ok(());
        }
        slot.connection = None;
        self.sessions_after = sessions.saturating_sub(1);
        let Some(timeout_ms) = timeout_ms else {
            return Ok(());
        };
        let mut connection = Connection::open(address, ANSWER_TIME_MAX)?;
        let hello = Hello {
            session: slot.session,
            password: Some(slot.password.clone()),
            last_zxid: slot.last_zxid,
            ..Hello::new(timeout_ms)
        };
        if !connection.take_up(&hello)? {
            // It had been closed before.
            self.sessions_after = sessions;
        }
        Ok(())
    }

    pub(super) fn finish_expiry(&mut self, slot: usize, seen: &mut Seen) -> Result<()> {
        let address = self.host.address();
        let deadline = Instant::now() + LAPSE_TIME_MAX;
        let mut count = session_count(address, ANSWER_TIME_MAX)?;
        while count > self.sessions_after && Instant::now() < deadline {
            sleep(PAUSE);
            count = session_count(address, ANSWER_TIME_MAX)?;
        }
        let left = count.saturating_sub(self.sessions_after);
        seen.lines.push(format!("c{slot} expired, {left} too many"));
        Ok(())
    }

    /// Waits until none of these nodes is there.
    pub(super) fn await_gone(&mut self, paths: &[String]) -> Result<()> {
        let deadline = Instant::now() + LAPSE_TIME_MAX;
        let mut asked = Vec::new();
        for path in paths {
            let mut body = Writer::new();
            body.buffer(text(path, &self.root).as_deref()).bool(false);
            asked.push((EXISTS, body.finish()));
        }
        while self
            .ask_control(&asked)?
            .iter()
            .any(|(_, err, _)| *err != NO_NODE)
        {
            ensure!(Instant::now() < deadline, "{paths:?} are not reaped");
            sleep(PAUSE);
        }
        Ok(())
    }
}
