//! A leader whose process is gone is replaced at once, and not only when it has been silent for long
//! enough (consensus.md 4.2).
//!
//! A server to which the leader's connection broke and whose reconnect is refused asks the others. If a
//! majority says the same, the one of them with the longest log, and of several the lowest id, stands
//! for election at once. Who may not vote counts for nothing here: its log may be long and lack what
//! was committed with its word. Otherwise it is no more than an election.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ensemble::members::standing::Standing;
use crate::ensemble::peer::{Ask, Down, LinkState, Peers, Phase, Told};
use crate::ensemble::raft::core::{Core, View};
use crate::state::{LogPosition, ServerId};

/// What takes part.
pub(in crate::ensemble) struct Failover {
    pub(in crate::ensemble) server: ServerId,
    pub(in crate::ensemble) core: Core,
    pub(in crate::ensemble) peers: Arc<Peers>,
    pub(in crate::ensemble) standing: Arc<Standing>,
    pub(in crate::ensemble) views: watch::Receiver<View>,
}

/// Whether the process of `server` is known not to run.
pub(in crate::ensemble) fn is_gone(
    links: &BTreeMap<ServerId, LinkState>,
    server: ServerId,
) -> bool {
    let why = links.get(&server).map(|link| &link.phase);
    matches!(
        why,
        Some(Phase::Down {
            why: Down::Refused,
            ..
        })
    )
}

impl Failover {
    /// Watches the leader's connection until `stopping`.
    pub(in crate::ensemble) async fn run(mut self, stopping: CancellationToken) {
        let mut links = self.peers.links();
        // The term in which it has been asked for.
        let mut asked = None;
        loop {
            let leader = self.views.borrow_and_update().leader;
            if let Some((leader, term)) = leader
                && leader != self.server
                && asked != Some(term)
                && self.standing.votes()
                && self.core.membership().voters().contains(&self.server)
                && is_gone(&links.borrow_and_update(), leader)
            {
                asked = self.replace(leader, term).await.then_some(term);
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                changed = links.changed() => if changed.is_err() { return },
                changed = self.views.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Stands for election if this server is the one that should. False if no majority misses the
    /// leader yet: to be tried again when something changes.
    async fn replace(&self, leader: ServerId, term: u64) -> bool {
        let last_log = self.core.last_log();
        let members = self.core.membership();
        let voters = members.voters();
        let ask = |server: ServerId| async move {
            let ask = Ask::LeaderGone {
                leader,
                term,
                last_log,
            };
            match self.peers.call(server, ask).await {
                Ok(Told::LeaderGone {
                    gone: true,
                    term: at,
                    last_log,
                }) if at <= term => Some((server, last_log)),
                Ok(_) | Err(_) => None,
            }
        };
        let others: Vec<ServerId> = {
            let links = self.peers.links();
            let links = links.borrow();
            let voters = voters.iter().copied();
            let others = voters.filter(|id| links.contains_key(id));
            others.filter(|id| *id != leader).collect()
        };
        let answers = futures::future::join_all(others.into_iter().map(ask)).await;
        let mut missing: Vec<(ServerId, Option<LogPosition>)> =
            answers.into_iter().flatten().collect();
        missing.push((self.server, last_log));
        let agreed = missing.iter().map(|(server, _)| *server).collect();
        if !members.is_majority(&agreed) {
            return false;
        }
        let key = |(server, last): &(ServerId, Option<LogPosition>)| {
            (last.map(|at| (at.term, at.index)), Reverse(*server))
        };
        let heir = missing.iter().max_by_key(|one| key(one));
        if heir.is_some_and(|(heir, _)| *heir == self.server) {
            tracing::info!(
                leader = leader.0,
                term,
                "the leader's process is gone: standing for election"
            );
            self.core.succeed(leader, term).await;
        }
        true
    }
}
