//! The ensemble's name: random, drawn by the first leader that finds none, in the log and in every
//! server's tree from then on. By it servers of two ensembles know each other, whatever their lines say.
//!
//! ```text
//!   the tree knows a name ─▶ said in every hello, and done
//!   it knows none ─┬─ this server leads and serves ─▶ proposes one ─▶ the first in the log is the name
//!                  └─ another one does ─▶ waits until it comes by the log
//! ```
//!
//! Several leaders may propose one, one after the other; a leader that dies leaves it to the next, and
//! one that refuses it, for what its disk has to do, is asked again: until it is in the tree.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::ensemble::members::role::Role;
use crate::ensemble::origin::outgoing::Answer;
use crate::ensemble::origin::proposals::Proposals;
use crate::ensemble::peer::{Identity, Peers};
use crate::ensemble::progress::Progress;
use crate::ensemble::raft::core::{Core, View};
use crate::state::{
    ActionRef, BatchBuilder, ClusterId, Identities, Origin, Replica, Rules, SessionId,
};

/// Between a refusal and the next attempt.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// What takes part.
pub(in crate::ensemble) struct Founding {
    pub(in crate::ensemble) origin: Origin,
    /// What is said of this server before it knows the name.
    pub(in crate::ensemble) identity: Identity,
    pub(in crate::ensemble) core: Core,
    pub(in crate::ensemble) peers: Arc<Peers>,
    pub(in crate::ensemble) replica: Arc<Replica>,
    pub(in crate::ensemble) proposals: Arc<Proposals>,
    pub(in crate::ensemble) progress: Arc<Progress>,
    pub(in crate::ensemble) views: watch::Receiver<View>,
    pub(in crate::ensemble) serving: watch::Receiver<bool>,
    pub(in crate::ensemble) rules: Rules,
}

impl Founding {
    /// Returns when the name is known and said, or with `stopping`.
    pub(in crate::ensemble) async fn run(mut self, stopping: CancellationToken) {
        tokio::select! {
            () = stopping.cancelled() => {}
            () = self.find() => {}
        }
    }

    async fn find(&mut self) {
        let mut applied = self.progress.changes();
        // The term in which this server has proposed one: it is committed if the term lasts, unless it
        // was refused.
        let (mut asked, refused) = (None, Arc::new(Notify::new()));
        loop {
            let known = self.replica.read().meta().cluster;
            if let Some(cluster) = known {
                tracing::info!(%cluster, "the ensemble that this server belongs to");
                self.peers.introduce(Identity {
                    cluster: Some(cluster),
                    ..self.identity
                });
                return;
            }
            let leads = self.leads().filter(|term| asked != Some(*term));
            if let Some(term) = leads {
                asked = leads;
                self.propose(term, Arc::clone(&refused)).await;
            }
            let changed = tokio::select! {
                () = refused.notified() => {
                    tokio::time::sleep(ASK_AGAIN).await;
                    asked = None;
                    continue;
                }
                changed = applied.changed() => changed,
                changed = self.views.changed() => changed,
                changed = self.serving.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// The term that this server leads, if it serves.
    fn leads(&mut self) -> Option<u64> {
        let serves = *self.serving.borrow_and_update();
        match self.views.borrow_and_update().role {
            Role::Leader { term } if serves => Some(term),
            Role::Leader { .. }
            | Role::Follower { .. }
            | Role::Observer { .. }
            | Role::Candidate
            | Role::Stopped => None,
        }
    }

    /// Past the queue of this server's proposals, in which it would have a number: nobody waits for it,
    /// and it may be lost. `refused` is told if it is not taken.
    async fn propose(&self, term: u64, refused: Arc<Notify>) {
        let mut cluster = [0; 16];
        if let Err(error) = getrandom::fill(&mut cluster) {
            tracing::warn!(%error, "no name was drawn for this ensemble");
            refused.notify_one();
            return;
        }
        let cluster = ClusterId(cluster);
        let mut batch = BatchBuilder::default();
        let nobody = Identities::from([]);
        let action = ActionRef::Found { cluster };
        batch.push(self.origin, 0, SessionId::NONE, 0, &nobody, action);
        let batch = batch.finish().stamp(self.proposals.reading(), self.rules);
        let told = move |answer| {
            if answer == Answer::Refused {
                refused.notify_one();
            }
        };
        if self.core.propose(batch, term, told).await.is_err() {
            tracing::debug!(%cluster, "the core has ended: no name was proposed");
        }
    }
}
