//! The members as openraft has them: who they are, and the steps by which that is changed.

use std::collections::BTreeSet;

use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};

use super::core::Core;
use super::types::{StoredMembership, Types, position};
use crate::ensemble::peer::{Lineup, Membership};
use crate::state::ServerId;

/// One entry of the log, or two: openraft goes by way of both majorities where that is needed.
#[derive(Clone, Debug)]
pub(in crate::ensemble) enum Step {
    /// Feeds a server, which does not vote.
    Feed(ServerId),
    /// These vote; who did and does not any more is still fed.
    Vote(BTreeSet<ServerId>),
    /// These, none of which votes, are not fed any more.
    Leave(BTreeSet<ServerId>),
}

/// A step was not taken, or it is not known whether it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::ensemble) enum NotTaken {
    /// This server does not lead, or ceased to meanwhile.
    NotLeader,
    /// The step before is not committed yet.
    TooEarly,
    /// It makes no sense as the members are: look again.
    Senseless,
    /// The core is dead.
    Stopped,
}

impl Core {
    /// Who is in, by the newest entry of this server's log that says so.
    pub(in crate::ensemble) fn membership(&self) -> Membership {
        let metrics = self.raft.server_metrics();
        let stored = metrics.borrow_watched().membership_config.clone();
        membership(&stored)
    }

    /// The same, by the newest one that this server knows to be committed.
    pub(in crate::ensemble) fn committed_membership(&self) -> Membership {
        let metrics = self.raft.server_metrics();
        let stored = metrics.borrow_watched().committed_membership_config.clone();
        membership(&stored)
    }

    /// Who is in.
    pub(in crate::ensemble) fn lineup(&self) -> Lineup {
        self.membership().lineup()
    }

    /// Takes a step, and returns when that is committed. To be dropped is to leave it under way.
    ///
    /// # Errors
    /// See [`NotTaken`].
    pub(in crate::ensemble) async fn step(&self, step: Step) -> Result<(), NotTaken> {
        let ids = |servers: BTreeSet<ServerId>| -> BTreeSet<u64> {
            servers.into_iter().map(|server| server.0).collect()
        };
        let taken = match step {
            Step::Feed(server) => self.raft.add_learner(server.0, (), false).await,
            Step::Vote(voters) => {
                let change = ChangeMembers::ReplaceAllVoters(ids(voters));
                self.raft.change_membership(change, true).await
            }
            Step::Leave(gone) => {
                let change = ChangeMembers::RemoveNodes(ids(gone));
                self.raft.change_membership(change, true).await
            }
        };
        match taken {
            Ok(_) => Ok(()),
            Err(RaftError::Fatal(_)) => Err(NotTaken::Stopped),
            Err(RaftError::APIError(error)) => Err(why(&error)),
        }
    }
}

fn why(error: &ClientWriteError<Types>) -> NotTaken {
    match error {
        ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
        ) => NotTaken::TooEarly,
        ClientWriteError::ChangeMembershipError(_) => NotTaken::Senseless,
        ClientWriteError::ForwardToLeader(_)
        | ClientWriteError::LogEntryDiscarded(_)
        | ClientWriteError::PreconditionFailed(_) => NotTaken::NotLeader,
    }
}

fn membership(stored: &StoredMembership) -> Membership {
    let quorums = stored.get_joint_config().iter();
    let quorums = quorums.map(|quorum| quorum.iter().copied().map(ServerId).collect());
    let learners = stored.membership().learner_ids();
    Membership {
        at: stored.log_id().as_ref().map(position),
        quorums: quorums
            .filter(|quorum: &BTreeSet<_>| !quorum.is_empty())
            .collect(),
        learners: learners.map(ServerId).collect(),
    }
}
