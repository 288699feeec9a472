//! The control connection to a peer: kept as long as this server runs.
//!
//! ```text
//!              dialled                     lost
//!   Connecting ───────▶ Up ─────────────────────────▶ Connecting
//!        │                                                 │ at once, unless it was lost at once
//!        ▼ not reached        ┌──────────────┐             ▼
//!      Down ◀─────────────────┴── 50 ms .. 1 s, or somebody wants a vote
//!                                 50 ms after half a second in which nobody answered
//! ```

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::call::{Door, Pending};
use super::dial::{Connection, DialError, dial};
use super::frame::{Kind, Lost, write_frames};
use super::handshake::HandshakeError;
use super::hello::{Hello, Lane};
use crate::state::ServerId;

const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A connection that has lasted so long was a good one: the next attempt comes at once.
const STEADY: Duration = Duration::from_secs(1);
/// Frames that wait for the socket.
const OUTBOX_FRAMES: usize = 256;

/// How it stands with the control connection to a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::ensemble) struct LinkState {
    /// How it stands.
    pub phase: Phase,
    /// Since when.
    pub since: Instant,
    /// How many attempts to connect have ended, well or badly.
    pub attempts: u64,
}

/// See `link.rs`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::ensemble) enum Phase {
    /// An attempt is under way, the first one or the first one after the connection was lost.
    Connecting,
    /// Connected.
    Up(Hello),
    /// The last attempt failed; there will be others.
    Down {
        /// What kind of failure.
        why: Down,
        /// All that is known of it.
        said: Arc<str>,
    },
}

/// Why a peer is not connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::ensemble) enum Down {
    /// Its process does not run: at none of its addresses does anybody listen.
    Refused,
    /// Nothing is known of its process: no name, no route, no answer.
    Unreachable,
    /// Somebody is there, who is not the peer that is meant, or does not want this server.
    Rejected,
}

impl Down {
    fn of(error: &DialError) -> Self {
        match error {
            DialError::Refused { .. } => Self::Refused,
            DialError::Handshake {
                source: HandshakeError::Broken(_),
                ..
            }
            | DialError::Unknown(_)
            | DialError::Unresolved { .. }
            | DialError::Unreachable { .. }
            | DialError::TimedOut { .. }
            | DialError::Stopping => Self::Unreachable,
            DialError::Handshake { .. } => Self::Rejected,
        }
    }
}

impl LinkState {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Connecting,
            since: Instant::now(),
            attempts: 0,
        }
    }
}

/// The link to one peer.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// By which calls go out, while it is up.
    pub(super) door: Mutex<Option<Door>>,
    /// Somebody cannot wait for the next attempt.
    pub(super) hurry: Notify,
    /// The peer is no member any more.
    pub(super) close: CancellationToken,
}

/// Keeps the link to `to` until this server stops, or `to` is no member any more.
pub(super) async fn keep(shared: Arc<Shared>, to: ServerId, link: Arc<Link>) {
    tokio::select! {
        () = shared.stopping.cancelled() => {}
        () = link.close.cancelled() => {}
        () = keep_trying(&shared, &link, to) => {}
    }
}

/// A connection in use: when it no longer is, whoever waits for an answer by it learns so.
struct Held<'a> {
    link: &'a Link,
    pending: Arc<Pending>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *self.link.door.lock() = None;
        self.pending.lost();
    }
}

async fn keep_trying(shared: &Shared, link: &Link, to: ServerId) {
    let mut pause = Duration::ZERO;
    loop {
        match dial(shared, to, Lane::Control).await {
            Ok(connection) => {
                let since = Instant::now();
                let lost = hold(shared, link, to, connection).await;
                tracing::warn!(peer = %to, why = %Chain(&lost), "peer lost");
                if since.elapsed() >= STEADY {
                    pause = Duration::ZERO;
                }
                sleep(pause).await;
            }
            Err(error) => {
                failed(shared, to, &error);
                // What was silent has been waited for: a link that is mended is soon found.
                let is_silent = matches!(error, DialError::TimedOut { .. });
                pause = if is_silent {
                    PAUSE_MIN
                } else {
                    pause.max(PAUSE_MIN)
                };
                tokio::select! {
                    () = sleep(pause) => {}
                    () = link.hurry.notified() => {}
                }
            }
        }
        pause = (pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
    }
}

/// Says why there is no connection; in the log only what is new.
fn failed(shared: &Shared, to: ServerId, error: &DialError) {
    let why = Down::of(error);
    let said: Arc<str> = error.to_string().into();
    let mut is_new = false;
    shared.set_phase(to, true, |phase| {
        is_new = !matches!(phase, Phase::Down { why: before, .. } if *before == why);
        *phase = Phase::Down {
            why,
            said: Arc::clone(&said),
        };
    });
    if is_new {
        tracing::warn!(peer = %to, why = %said, "peer not connected");
    } else {
        tracing::debug!(peer = %to, why = %said, "peer still not connected");
    }
}

/// Uses a connection until its end.
async fn hold(shared: &Shared, link: &Link, to: ServerId, connection: Connection) -> Lost {
    let Connection {
        mut reader,
        mut writer,
        met,
        address,
    } = connection;
    let (outbox, mut frames) = mpsc::channel(OUTBOX_FRAMES);
    let pending = Arc::new(Pending::default());
    *link.door.lock() = Some(Door {
        outbox,
        pending: Arc::clone(&pending),
    });
    let held = Held { link, pending };
    shared.set_phase(to, true, |phase| *phase = Phase::Up(met.there));
    tracing::info!(
        peer = %to, %address, protocol = met.version, incarnation = met.there.incarnation,
        "peer connected"
    );
    let reading = async {
        loop {
            match reader.next().await {
                Ok(frame) if frame.kind == Kind::Answer => {
                    if let Err(error) = held.pending.answered(frame.body) {
                        return Lost::Format(error);
                    }
                }
                Ok(frame) => return Lost::Kind(frame.kind as u8),
                Err(lost) => return lost,
            }
        }
    };
    let lost = tokio::select! {
        lost = reading => lost,
        lost = write_frames(&mut writer, &mut frames, shared.config.ping_time()) => lost,
    };
    drop(held);
    shared.set_phase(to, false, |phase| *phase = Phase::Connecting);
    lost
}

impl Shared {
    fn set_phase(&self, of: ServerId, attempted: bool, change: impl FnOnce(&mut Phase)) {
        self.states.send_modify(|states| {
            if let Some(state) = states.get_mut(&of) {
                let before = state.phase.clone();
                change(&mut state.phase);
                if state.phase != before {
                    state.since = Instant::now();
                }
                state.attempts += u64::from(attempted);
            }
        });
    }
}

/// An error with all its causes.
pub(super) struct Chain<'a>(pub(super) &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
