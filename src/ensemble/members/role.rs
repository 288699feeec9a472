//! This server's part in the ensemble, as a value (I7).

use std::fmt;

use crate::state::ServerId;

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
    /// Whether a leader is known.
    pub(in crate::ensemble) fn has_leader(self) -> bool {
        match self {
            Self::Leader { .. } => true,
            Self::Follower { leader } | Self::Observer { leader } => leader.is_some(),
            Self::Candidate | Self::Stopped => false,
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
