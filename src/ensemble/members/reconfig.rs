//! Brings a change of the members that somebody has asked for to its end, on whoever leads.
//!
//! ```text
//!   nobody is known to be a member ──▶ proposes what this server's files say
//!   a change is pending ──▶ drives the membership there ─┬─ done ──▶ proposes that it is settled
//!                                                        └─ not in time ─▶ drives it back ─▶ proposes that
//!                                                                          it is refused: -13
//! ```
//!
//! The state judges each of these proposals once more, and in another term none counts: so a leader that
//! was replaced meanwhile does no harm, and the next one finds the change where it was left.
//!
//! zk: Leader.tryToCommit, PrepRequestProcessor's isQuorumSynced. zk-differs: there those who join must have
//! caught up before; here they are fed, and waited for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jute::ErrorCode;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::ensemble::members::census::Census;
use crate::ensemble::members::change::{Change, ChangeError};
use crate::ensemble::members::role::Role;
use crate::ensemble::origin::proposals::Proposals;
use crate::ensemble::peer::{Lineup, Listed, Part, PeerAddress, Roster};
use crate::ensemble::progress::Progress;
use crate::ensemble::raft::core::{Core, View};
use crate::ensemble::{Submission, SubmitError};
use crate::state::{
    self, ActionRef, Identities, Lineups, Member, Members, PeerType, PendingLineup, SessionId,
};

/// Without an effect, what is to be said is said again after so long.
const SAY_AGAIN: Duration = Duration::from_secs(5);

/// Between two attempts to change what could not be changed, by a server that leads all the same.
const AGAIN: Duration = Duration::from_millis(200);

/// What takes part.
pub(in crate::ensemble) struct Reconfiguring {
    /// What this server's files say, if requests change the members: the first ones that the log knows.
    pub(in crate::ensemble) listed: Option<Members>,
    pub(in crate::ensemble) core: Core,
    pub(in crate::ensemble) census: Arc<Census>,
    pub(in crate::ensemble) change: Arc<Change>,
    pub(in crate::ensemble) proposals: Arc<Proposals>,
    pub(in crate::ensemble) progress: Arc<Progress>,
    pub(in crate::ensemble) views: watch::Receiver<View>,
    pub(in crate::ensemble) serving: watch::Receiver<bool>,
}

/// What a leader is to propose.
#[derive(Clone, Copy)]
enum Word<'a> {
    LineUp(&'a Members),
    Settle(&'a PendingLineup, ErrorCode),
}

impl Reconfiguring {
    /// Returns with `stopping`.
    pub(in crate::ensemble) async fn run(self, stopping: CancellationToken) {
        tokio::select! {
            () = stopping.cancelled() => {}
            () = self.serve() => {}
        }
    }

    async fn serve(self) {
        let said = self.say_all();
        tokio::select! {
            () = said => {}
            () = self.list() => {}
        }
    }

    /// Everybody reaches the members of the log and those that are wanted, whatever the files say.
    async fn list(&self) {
        let mut lineups = self.progress.lineups();
        loop {
            let known = lineups.borrow_and_update().clone();
            if let (Some(current), Some(_)) = (&known.current, &self.listed) {
                self.census.list(roster(current, known.pending.as_deref()));
            }
            if lineups.changed().await.is_err() {
                return;
            }
        }
    }

    async fn say_all(&self) {
        let mut lineups = self.progress.lineups();
        let mut turn = Turn {
            views: self.views.clone(),
            serving: self.serving.clone(),
        };
        loop {
            let known = lineups.borrow_and_update().clone();
            let Some(term) = turn.leads() else {
                if turn.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let said = self.say(&known, term);
            let mut elsewhere = turn.clone();
            tokio::select! {
                // What is said is void once another one leads.
                () = said => {}
                () = elsewhere.ends(term) => continue,
            }
            // It takes effect, or another term begins. It may be lost when clients are sent away; twice it
            // does nothing.
            tokio::select! {
                changed = lineups.changed() => if changed.is_err() { return },
                () = elsewhere.ends(term) => {}
                () = sleep(SAY_AGAIN) => {}
            }
        }
    }

    /// What a leader of `term` does about `known`.
    async fn say(&self, known: &Lineups, term: u64) {
        match (&known.current, &known.pending) {
            (current, None) => {
                let known = current.as_ref().map(|current| &current.members);
                if let Some(listed) = &self.listed
                    && self.is_news(known, listed)
                {
                    self.propose(term, Word::LineUp(listed)).await;
                }
            }
            (current, Some(pending)) => {
                let before = current.as_ref().map(|current| &current.members);
                let refusal = self.change(pending, before).await;
                self.propose(term, Word::Settle(pending, refusal)).await;
            }
        }
    }

    /// Whether the log is to be told what the files say: it knows nobody, or the members were changed
    /// by the files since it knew them.
    fn is_news(&self, known: Option<&Members>, listed: &Members) -> bool {
        let Some(known) = known else {
            return true;
        };
        let now = self.core.lineup();
        lineup(known) != now && lineup(listed) == now
    }

    /// Changes the members as long as this server leads; why that was not to be had, when they are as
    /// before again.
    async fn change(&self, pending: &PendingLineup, before: Option<&Members>) -> ErrorCode {
        loop {
            match self.change.drive(&lineup(&pending.members)).await {
                Ok(()) => return ErrorCode::OK,
                Err(error @ ChangeError::Behind { .. }) => {
                    tracing::warn!(change = %pending.change, %error, "the members stay as they are");
                    self.take_back(before).await;
                    return ErrorCode::NEW_CONFIG_NO_QUORUM;
                }
                // What is proposed cannot be unsaid: a majority will have to agree.
                Err(error) => tracing::info!(%error, "the members have not changed yet"),
            }
            sleep(AGAIN).await;
        }
    }

    /// Who was fed to join is fed no longer.
    async fn take_back(&self, before: Option<&Members>) {
        let Some(before) = before else {
            return;
        };
        while let Err(error) = self.change.drive(&lineup(before)).await {
            tracing::info!(%error, "the members are not as before yet");
            sleep(AGAIN).await;
        }
    }

    async fn propose(&self, term: u64, word: Word<'_>) {
        let identities = Identities::from([]);
        let action = match word {
            Word::LineUp(members) => ActionRef::LineUp { term, members },
            Word::Settle(pending, refusal) => ActionRef::Settle {
                term,
                change: pending.change,
                refusal,
            },
        };
        loop {
            let submitted = self.proposals.submit(Submission {
                session: SessionId::NONE,
                cxid: 0,
                identities: &identities,
                action,
            });
            match submitted {
                Err(SubmitError::Full) => self.proposals.room().await,
                Ok(_) | Err(SubmitError::Closed) => return,
            }
        }
    }
}

/// The parts of those members.
fn lineup(members: &Members) -> Lineup {
    let of = |role: PeerType| {
        let members = members.values().filter(move |one| one.role == role);
        members.map(|one| one.id).collect()
    };
    Lineup {
        voters: of(PeerType::Voter),
        observers: of(PeerType::Observer),
    }
}

/// Where everybody is reached: those who are to join, too, and who is to move at both places.
fn roster(current: &state::Lineup, pending: Option<&PendingLineup>) -> Roster {
    let mut members: BTreeMap<_, _> = current
        .members
        .iter()
        .map(|(id, member)| (*id, listed(member)))
        .collect();
    let wanted = pending.into_iter().flat_map(|pending| &pending.members);
    for (id, member) in wanted {
        let wanted = listed(member);
        let known = members.entry(*id).or_insert_with(|| Listed {
            part: wanted.part,
            addresses: Vec::new(),
        });
        for address in wanted.addresses {
            if !known.addresses.contains(&address) {
                known.addresses.push(address);
            }
        }
    }
    Roster {
        version: u64::try_from(current.version.0).unwrap_or_default(),
        members,
    }
}

fn listed(member: &Member) -> Listed {
    let part = match member.role {
        PeerType::Voter => Part::Voter,
        PeerType::Observer => Part::Observer,
    };
    let addresses = member.addresses.iter().map(|address| PeerAddress {
        host: address.host.clone(),
        port: address.quorum_port,
    });
    Listed {
        part,
        addresses: addresses.collect(),
    }
}

/// Whether it is this server's turn.
#[derive(Clone)]
struct Turn {
    views: watch::Receiver<View>,
    serving: watch::Receiver<bool>,
}

impl Turn {
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

    async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        tokio::select! {
            changed = self.views.changed() => changed,
            changed = self.serving.changed() => changed,
        }
    }

    /// Returns when this server does not lead this term any more. A pause of serving is none.
    async fn ends(&mut self, term: u64) {
        let leads = |view: &View| matches!(view.role, Role::Leader { term: now } if now == term);
        // Closed: this server stops.
        let _ended = self.views.wait_for(|view| !leads(view)).await;
    }
}
