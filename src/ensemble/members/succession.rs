//! A leader that is about to go, or that cannot do its work, hands over first: nobody need miss it.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::ensemble::peer::Peers;
use crate::ensemble::raft::core::{Core, View};
use crate::state::ServerId;

/// How long it is waited for another server to lead.
const HAND_OVER_TIME_MAX: Duration = Duration::from_secs(1);

/// What takes part.
#[derive(Clone, Debug)]
pub(in crate::ensemble) struct Succession {
    pub(in crate::ensemble) server: ServerId,
    pub(in crate::ensemble) core: Core,
    pub(in crate::ensemble) peers: Arc<Peers>,
    pub(in crate::ensemble) views: watch::Receiver<View>,
}

impl Succession {
    /// Hands leadership, if this server has it, to the follower that has most of the log, and waits until
    /// somebody else leads.
    pub(in crate::ensemble) async fn hand_over(self) {
        let voters = self.core.membership().voters();
        self.hand_over_to(&voters).await;
    }

    /// The same, to one of these, if it votes.
    pub(in crate::ensemble) async fn hand_over_to(mut self, heirs: &BTreeSet<ServerId>) {
        let me = self.server;
        let leads = |view: &View| view.leader.is_some_and(|(leader, _)| leader == me);
        if !leads(&self.views.borrow()) {
            return;
        }
        let matched = self.core.matched().into_iter();
        let voters = self.core.membership().voters();
        let may = |server: &ServerId| heirs.contains(server) && voters.contains(server);
        let heir = matched
            .filter(|(server, _)| may(server) && self.peers.is_up(*server))
            .max_by_key(|(server, at)| (*at, Reverse(*server)));
        let Some((heir, _)) = heir else {
            return;
        };
        self.core.hand_over(heir).await;
        let is_done = self.views.wait_for(|view| {
            let leader = view.leader.map(|(leader, _)| leader);
            leader.is_some_and(|leader| leader != me)
        });
        match tokio::time::timeout(HAND_OVER_TIME_MAX, is_done).await {
            Ok(_) => tracing::info!(heir = heir.0, "leadership was handed over"),
            Err(_) => tracing::warn!(heir = heir.0, "leadership was not taken over"),
        }
    }
}
