//! This server's part in the ensemble, as a value (I7).

use std::fmt;
use std::sync::Arc;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver as _;
use openraft::metrics::RaftServerMetrics;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics;
use crate::state::ServerId;

use crate::ensemble::error::Failure;
use crate::ensemble::origin::queue::Queue;
use crate::ensemble::progress::Progress;
use crate::ensemble::raft::types::{Fatal, Raft, Types};

/// This server's part in the ensemble.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Orders the log.
    Leader {
        /// Its Raft term.
        term: u64,
    },
    /// Votes and follows.
    Follower {
        /// Whom, once that is known.
        leader: Option<ServerId>,
    },
    /// Follows without a vote.
    Observer {
        /// Whom, once that is known.
        leader: Option<ServerId>,
    },
    /// Asks for votes.
    Candidate,
    /// Has ended.
    Stopped,
}

impl Role {
    fn of(metrics: &RaftServerMetrics<Types>) -> Self {
        let leader = metrics.current_leader.map(ServerId);
        match metrics.state {
            ServerState::Leader => Self::Leader {
                term: metrics.vote.leader_id.term,
            },
            ServerState::Follower => Self::Follower { leader },
            ServerState::Learner => Self::Observer { leader },
            ServerState::Candidate => Self::Candidate,
            ServerState::Shutdown => Self::Stopped,
        }
    }

    /// Whether a leader is known.
    fn has_leader(self) -> bool {
        match self {
            Self::Leader { .. } => true,
            Self::Follower { leader } | Self::Observer { leader } => leader.is_some(),
            Self::Candidate | Self::Stopped => false,
        }
    }

    /// The term that this server leads.
    pub(in crate::ensemble) fn leads(self) -> Option<u64> {
        match self {
            Self::Leader { term } => Some(term),
            Self::Follower { .. } | Self::Observer { .. } | Self::Candidate | Self::Stopped => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leader { .. } => "leader",
            Self::Follower { .. } => "follower",
            Self::Observer { .. } => "observer",
            Self::Candidate => "candidate",
            Self::Stopped => "stopped",
        })
    }
}

/// Follows openraft's own view and tells the queue and whoever watches. Ends with the core; if
/// that was not asked to end, this server has failed.
pub(in crate::ensemble) async fn watch(
    raft: Raft,
    roles: watch::Sender<Role>,
    queue: Arc<Queue>,
    progress: Arc<Progress>,
    stopping: CancellationToken,
) {
    let mut server = raft.server_metrics();
    // Since when this server knows no leader.
    let mut leaderless = Some(Instant::now());
    loop {
        let role = Role::of(&server.borrow_watched());
        queue.lead(role.leads());
        let changed = roles.send_if_modified(|now| std::mem::replace(now, role) != role);
        if changed {
            tracing::info!(%role, "role");
            if role == Role::Candidate {
                metrics::looking();
            }
            if !role.has_leader() {
                leaderless.get_or_insert_with(Instant::now);
            } else if let Some(since) = leaderless.take() {
                metrics::election_took(since.elapsed());
            }
        }
        tokio::select! {
            () = stopping.cancelled() => break,
            more = server.changed() => if more.is_err() { break },
        }
    }
    queue.lead(None);
    roles.send_replace(Role::Stopped);
    if !progress.is_stopping() {
        let ended = raft.metrics().borrow_watched().running_state.clone();
        // A panic leaves no reason behind.
        let fatal = ended.err().unwrap_or(Fatal::Panicked);
        drop(progress.fail(Failure::Core(Box::new(fatal))));
    }
}
