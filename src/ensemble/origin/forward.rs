//! The way of this server's batches to a leader elsewhere: one connection to one leader at a time.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::outgoing::{Answer, Event, Parcel};
use super::proposals::Proposals;
use crate::ensemble::peer::{ForwardAnswers, ForwardSender, Forwarded, Peers};
use crate::ensemble::raft::core::View;
use crate::state::ServerId;

/// Forwards batches.
pub(in crate::ensemble) struct Forward {
    proposals: Arc<Proposals>,
    peers: Arc<Peers>,
    views: watch::Receiver<View>,
    lane: Option<Lane>,
}

struct Lane {
    to: ServerId,
    sender: ForwardSender,
    /// Its other end is gone.
    broken: CancellationToken,
}

impl Forward {
    pub(in crate::ensemble) fn new(
        proposals: Arc<Proposals>,
        peers: Arc<Peers>,
        views: watch::Receiver<View>,
    ) -> Self {
        Self {
            proposals,
            peers,
            views,
            lane: None,
        }
    }

    /// Sends a batch to `to`, as long as that is the leader: waits while too much is under way there.
    /// What becomes of it the proposals are told.
    pub(in crate::ensemble) async fn send(&mut self, to: ServerId, parcel: Parcel) {
        let mut views = self.views.clone();
        let is_other = views.wait_for(|view| view.leader.map(|(leader, _)| leader) != Some(to));
        let proposals = Arc::clone(&self.proposals);
        let is_sent = tokio::select! {
            biased;
            () = proposals.disconnect() => false,
            _ = is_other => false,
            is_sent = self.try_send(to, parcel) => is_sent,
        };
        if !is_sent {
            self.disconnect();
            self.proposals.step(Event::Broken { server: to });
        }
    }

    /// What is on its way gets no further.
    pub(in crate::ensemble) fn disconnect(&mut self) {
        self.lane = None;
    }

    async fn try_send(&mut self, to: ServerId, parcel: Parcel) -> bool {
        let is_usable = |lane: &Lane| lane.to == to && !lane.broken.is_cancelled();
        if !self.lane.as_ref().is_some_and(is_usable) {
            self.lane = self.connect(to).await;
        }
        let Some(lane) = &mut self.lane else {
            return false;
        };
        let Parcel {
            bytes, term, round, ..
        } = parcel;
        lane.sender.send(term, round, bytes).await.is_ok()
    }

    async fn connect(&self, to: ServerId) -> Option<Lane> {
        let (sender, answers) = self.peers.forward(to).await.ok()?;
        let broken = CancellationToken::new();
        let proposals = Arc::clone(&self.proposals);
        tokio::spawn(hear(to, answers, proposals, broken.clone()));
        Some(Lane { to, sender, broken })
    }
}

/// Tells the proposals what became of each batch, until the connection ends.
async fn hear(
    server: ServerId,
    mut answers: ForwardAnswers,
    proposals: Arc<Proposals>,
    broken: CancellationToken,
) {
    while let Ok((round, forwarded)) = answers.next().await {
        let answer = match forwarded {
            Forwarded::Accepted { at } => Answer::At(at.index),
            Forwarded::NotLeader { .. } => Answer::Refused,
            Forwarded::Malformed => {
                tracing::error!(server = server.0, "the leader could not read a batch");
                Answer::Refused
            }
        };
        proposals.step(Event::Answered { round, answer });
    }
    broken.cancel();
    proposals.step(Event::Broken { server });
}
