//! This server's part in its ensemble, in ZooKeeper's words: what the words and the metrics say of it.
//!
//! ```text
//!   ensemble::Role ─▶ View ─┬─ Mode:, zk_server_state, zk_peer_state, isro, whether words answer
//!                             └─ of the leader: learners, syncs, sizes of proposals
//! ```

use std::time::Duration;

use crate::ensemble::Role;
use crate::state::ServerId;

/// What this server is at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct View {
    pub(super) part: Part,
    /// How many vote. `None` in a standalone server.
    pub(super) voters: Option<usize>,
}

/// One of the parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// Alone, and meant to be.
    Standalone,
    /// Knows no leader: serves nobody.
    Looking,
    Leading(Leading),
    Following {
        leader: ServerId,
    },
    Observing {
        leader: ServerId,
    },
}

/// What only a leader knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Leading {
    /// How long it has led.
    pub(super) uptime: Duration,
    /// Those that are connected, by their ids.
    pub(super) learners: Vec<Learner>,
    /// Requests to sync that wait.
    pub(super) pending_syncs: u64,
    /// Before the first proposal there is none.
    pub(super) proposal_bytes: Option<ProposalBytes>,
}

/// Another member, as its leader sees it. ZooKeeper calls all of them learners.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Learner {
    pub(super) id: ServerId,
    pub(super) votes: bool,
    /// It keeps up: what is proposed reaches it at once.
    pub(super) is_synced: bool,
    /// Entries of the leader's log that it has not acknowledged.
    pub(super) lag_entries: u64,
}

/// Sizes of proposals since the start or the last `srst`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ProposalBytes {
    pub(super) last: u64,
    pub(super) min: u64,
    pub(super) max: u64,
}

impl View {
    /// Of what the ensemble says. `voters`: how many are configured to vote, `None` for a standalone
    /// server; `up`: for how long this server has served.
    pub(super) fn of(role: Role, voters: Option<usize>, up: Duration) -> Self {
        let part = match role {
            Role::Leader { .. } if voters.is_none() => Part::Standalone,
            // A lone voter leads as long as it serves, and nobody learns of it.
            Role::Leader { .. } => Part::Leading(Leading {
                uptime: up,
                ..Leading::default()
            }),
            Role::Follower {
                leader: Some(leader),
            } => Part::Following { leader },
            Role::Observer {
                leader: Some(leader),
            } => Part::Observing { leader },
            Role::Follower { leader: None }
            | Role::Observer { leader: None }
            | Role::Candidate
            | Role::Stopped => Part::Looking,
        };
        Self { part, voters }
    }

    /// Whether it serves clients: else most words have no answer.
    pub(super) fn serves(&self) -> bool {
        self.part != Part::Looking
    }

    /// zk: ServerStats.getServerState, and `Mode:`.
    pub(super) fn word(&self) -> &'static str {
        match self.part {
            Part::Standalone => "standalone",
            Part::Looking => "looking",
            Part::Leading(_) => "leader",
            Part::Following { .. } => "follower",
            Part::Observing { .. } => "observer",
        }
    }

    /// Since a server that answers has come through its election, it is at the last step.
    ///
    /// zk: QuorumPeer.getDetailedPeerState; absent in a standalone server.
    pub(super) fn peer_state(&self) -> Option<&'static str> {
        match self.part {
            Part::Standalone => None,
            Part::Looking => Some("looking - election"),
            Part::Leading(_) => Some("leading - broadcast"),
            Part::Following { .. } => Some("following - broadcast"),
            Part::Observing { .. } => Some("observing - broadcast"),
        }
    }

    /// Whom an observer hears.
    pub(super) fn observer_master(&self) -> Option<ServerId> {
        match self.part {
            Part::Observing { leader } => Some(leader),
            Part::Standalone | Part::Looking | Part::Leading(_) | Part::Following { .. } => None,
        }
    }

    /// What only a leader knows.
    pub(super) fn leading(&self) -> Option<&Leading> {
        match &self.part {
            Part::Leading(leading) => Some(leading),
            Part::Standalone | Part::Looking | Part::Following { .. } | Part::Observing { .. } => {
                None
            }
        }
    }

    /// Whether it is the one that lets sessions expire, and so knows when.
    pub(super) fn expires_sessions(&self) -> bool {
        matches!(self.part, Part::Standalone | Part::Leading(_))
    }
}

impl Leading {
    /// Followers that are connected.
    pub(super) fn followers(&self) -> usize {
        self.count(|one| one.votes)
    }

    /// Those of them that keep up.
    pub(super) fn synced_followers(&self) -> usize {
        self.count(|one| one.votes && one.is_synced)
    }

    /// Observers that keep up.
    pub(super) fn synced_observers(&self) -> usize {
        self.count(|one| !one.votes && one.is_synced)
    }

    fn count(&self, is_one: impl Fn(&Learner) -> bool) -> usize {
        self.learners.iter().filter(|one| is_one(one)).count()
    }

    /// Last, smallest and largest; -1 before the first.
    ///
    /// zk: BufferStats.
    pub(super) fn proposal_sizes(&self) -> [i64; 3] {
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.proposal_bytes.map_or([-1; 3], |bytes| {
            [bytes.last, bytes.min, bytes.max].map(signed)
        })
    }
}
