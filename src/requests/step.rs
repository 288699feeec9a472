//! Why serving a client's requests stopped, and what lets it go on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Requests;
use super::warm::Warm;
use crate::connection::{Connection, Share};
use crate::ensemble::{Ensemble, ProposeError};
use crate::state::{Pins, View, Zxid, count_descendants};

/// Why [`super::Client::advance`] returned.
pub enum Step {
    /// All that came has been served: wait for bytes.
    Idle,
    /// What is next waits for answers to what this client's session has proposed: listen to the
    /// outbox.
    Blocked,
    /// The outbox holds as much as may wait for the client: send, and listen to the outbox.
    Clogged,
    /// There is more to serve, but others must have their turn: send, then call again.
    More,
    /// The head, and some of what is behind it, needs something from the disk: settle.
    Warm(Warm),
    /// The head needs a count over a part of the tree: settle.
    Count {
        /// The tree at `at`.
        view: Box<dyn View>,
        /// Count below this path.
        path: Arc<str>,
        /// Zxid of the view.
        at: Zxid,
    },
    /// The reply to the head is not small: settle, when there is room for it.
    Large {
        /// Whose it is.
        connection: Arc<Connection>,
        /// Bytes that it may hold meanwhile.
        bytes: usize,
    },
    /// The head needs the read index: settle.
    Barrier,
    /// The queue of proposals is full: settle.
    Full,
    /// The client has seen this txn, which has not been applied here: settle.
    Behind {
        /// What it has seen.
        zxid: Zxid,
        /// Until when it is to wait.
        until: Instant,
    },
    /// Send what is on the wire, then close.
    End,
    /// Close now.
    Gone,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "Idle",
            Self::Blocked => "Blocked",
            Self::Clogged => "Clogged",
            Self::More => "More",
            Self::Warm(_) => "Warm",
            Self::Count { .. } => "Count",
            Self::Large { .. } => "Large",
            Self::Barrier => "Barrier",
            Self::Full => "Full",
            Self::Behind { .. } => "Behind",
            Self::End => "End",
            Self::Gone => "Gone",
        })
    }
}

/// What settling a step came to; goes to [`super::Client::settled`].
#[derive(Debug)]
pub enum Settle {
    /// Try the head again.
    Again,
    /// What it needs is in memory as long as these are kept: until the head has been answered.
    Warmed(Pins),
    /// What it needs is more than the reply may hold so far.
    TooLarge,
    /// The reply may be large.
    Shared(Share),
    /// The read index has been reached.
    Synced,
    /// So many descendants at this zxid.
    Counted {
        /// Zxid of the view that was counted.
        at: Zxid,
        /// Number of descendants.
        count: i32,
    },
    /// It cannot go on: close (STYLE I5, I6).
    Failed,
}

/// Does what a step waits for, away from the connection and from every lock. Steps that wait for
/// nothing are settled at once.
pub async fn settle(requests: Arc<Requests>, step: Step) -> Settle {
    match step {
        Step::Warm(warm) => {
            let store = Arc::clone(requests.replica.read().store());
            match tokio::task::spawn_blocking(move || warm.run(store.as_ref())).await {
                Ok(Ok(Some(pins))) => Settle::Warmed(pins),
                Ok(Ok(None)) => Settle::TooLarge,
                Ok(Err(error)) => {
                    requests.report_store_failure(error);
                    Settle::Failed
                }
                Err(_panicked) => Settle::Failed,
            }
        }
        Step::Count { view, path, at } => {
            let counted =
                tokio::task::spawn_blocking(move || count_descendants(view.as_ref(), &path)).await;
            match counted {
                Ok(Ok(count)) => Settle::Counted { at, count },
                Ok(Err(error)) => {
                    requests.report_store_failure(error);
                    Settle::Failed
                }
                Err(_panicked) => Settle::Failed,
            }
        }
        Step::Large { connection, bytes } => {
            match requests.budget.share(&connection, bytes).await {
                Some(share) => Settle::Shared(share),
                None => Settle::Failed,
            }
        }
        Step::Barrier => barrier(&requests.ensemble).await,
        Step::Full => {
            requests.ensemble.room().await;
            Settle::Again
        }
        Step::Behind { zxid, until } => {
            let applied = requests.shared.lag.applied(&requests.replica, zxid);
            // Too late, the head is tried once more and ends.
            _ = timeout_at(until, applied).await;
            Settle::Again
        }
        Step::Idle | Step::Blocked | Step::Clogged | Step::More | Step::End | Step::Gone => {
            Settle::Again
        }
    }
}

/// Between two attempts to find a leader that answers.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Waits for a leader as long as clients should be here.
async fn barrier(ensemble: &Ensemble) -> Settle {
    let mut admitting = ensemble.admitting();
    loop {
        match ensemble.barrier().await {
            Ok(()) => return Settle::Synced,
            Err(ProposeError::Stopped) => return Settle::Failed,
            Err(ProposeError::NoLeader) => {}
        }
        tokio::select! {
            _ = admitting.wait_for(|admits| !*admits) => return Settle::Failed,
            () = tokio::time::sleep(ASK_AGAIN) => {}
        }
    }
}
