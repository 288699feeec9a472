//! This server's part in its ensemble, in ZooKeeper's words: what the words and the metrics say of it.
//!
//! ```text
//!   ensemble::Report ─▶ View ─┬─ Mode:, zk_server_state, zk_peer_state, isro, whether words answer
//!                             └─ of the leader: learners, syncs, sizes of proposals
//! ```

use std::time::Duration;

use crate::ensemble::{ProposalBytes, Report, Role};
use crate::state::ServerId;

/// Entries that may be on their way to a member that keeps up: more than all that is let go of at once,
/// and no more than one request of openraft's carries.
const SYNCED_LAG_MAX: u64 = 64;

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

impl View {
    /// Of what the ensemble reports. `voters`: how many are configured to vote, `None` for a standalone
    /// server.
    pub(super) fn of(report: &Report, voters: Option<usize>) -> Self {
        let part = match report.role {
            _ if !report.serves => Part::Looking,
            Role::Leader { .. } if voters.is_none() => Part::Standalone,
            Role::Leader { .. } => Part::Leading(Leading::of(report)),
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
        // By the log, once there is something in it.
        let voters = voters.map(|listed| match report.voters {
            0 => listed,
            now => now,
        });
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
    fn of(report: &Report) -> Self {
        let last = report.last_log.map_or(0, |index| index + 1);
        let connected = report.followers.iter().filter(|one| one.is_up);
        let learners = connected.map(|one| {
            let lag_entries = last.saturating_sub(one.matched.map_or(0, |index| index + 1));
            Learner {
                id: one.server,
                votes: one.votes,
                is_synced: lag_entries <= SYNCED_LAG_MAX,
                lag_entries,
            }
        });
        Self {
            uptime: report.leads_for.unwrap_or_default(),
            learners: learners.collect(),
            pending_syncs: report.pending_syncs,
            proposal_bytes: report.proposal_bytes,
        }
    }

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
