//! What the servers tell each other of the members: what each one's operator lists, and what its log
//! says. Both sides of a new connection tell it; who knows no leader asks again.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::ensemble::members::standing::Standing;
use crate::ensemble::peer::{Lineup, Membership, PeerAddress, Presented, Roster};
use crate::ensemble::raft::core::Core;
#[cfg(test)]
use crate::ensemble::tests::planted;
use crate::state::ServerId;

/// What this server lists, and what it has been told.
#[derive(Debug)]
pub(in crate::ensemble) struct Census {
    server: ServerId,
    listed: watch::Sender<Roster>,
    told: Mutex<BTreeMap<ServerId, Presented>>,
    /// The members, by the newest committed entry that was heard of, do without this server.
    outside: watch::Sender<bool>,
    changed: watch::Sender<()>,
}

impl Census {
    /// Of `server`, whose operator lists these.
    pub(in crate::ensemble) fn new(server: ServerId, listed: Roster) -> Self {
        Self {
            server,
            listed: watch::Sender::new(listed),
            told: Mutex::default(),
            outside: watch::Sender::new(false),
            changed: watch::Sender::new(()),
        }
    }

    /// What is listed here, to watch it change.
    pub(in crate::ensemble) fn listed(&self) -> watch::Receiver<Roster> {
        self.listed.subscribe()
    }

    /// From now on these are listed here: the log says so, which all servers have.
    #[allow(
        dead_code,
        reason = "for those who keep the members in the log: reconfig"
    )]
    pub(in crate::ensemble) fn list(&self, roster: Roster) {
        self.listed.send_if_modified(|now| {
            let is_other = *now != roster;
            *now = roster;
            is_other
        });
    }

    /// Changes with each thing that is told.
    pub(in crate::ensemble) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Whether this server has been removed.
    pub(in crate::ensemble) fn is_outside(&self) -> bool {
        *self.outside.borrow()
    }

    /// The same, to watch it change.
    pub(in crate::ensemble) fn outside(&self) -> watch::Receiver<bool> {
        self.outside.subscribe()
    }

    /// What this server tells.
    pub(in crate::ensemble) fn presents(&self, core: &Core, standing: &Standing) -> Presented {
        Presented {
            listed: self.listed.borrow().clone(),
            term: core.figures().term,
            votes: standing.votes(),
            effective: core.membership(),
            committed: core.committed_membership(),
        }
    }

    /// `server` has told this.
    pub(in crate::ensemble) fn heard(&self, server: ServerId, presented: Presented) {
        self.told.lock().insert(server, presented);
        self.changed.send_replace(());
    }

    /// Looks whether this server is a member: `own` is the newest membership that it knows to be
    /// committed. Whether that has changed.
    pub(in crate::ensemble) fn look(&self, own: &Membership) -> bool {
        let told = self.told.lock();
        let told = told.values().map(|presented| &presented.committed);
        let newest = told.chain([own]).max_by_key(|membership| membership.at);
        let outside =
            newest.is_some_and(|newest| newest.at.is_some() && !newest.lineup().has(self.server));
        self.outside
            .send_if_modified(|now| std::mem::replace(now, outside) != outside)
    }

    /// What a majority of those that vote `now` list, if it is the same.
    ///
    /// `own`: this server's own list counts for itself.
    pub(in crate::ensemble) fn wanted(&self, now: &Membership) -> Option<Lineup> {
        let lists = self.lists();
        #[cfg(test)]
        if planted::has(planted::Defect::OneListIsEnough) {
            return lists.get(&self.server).cloned();
        }
        let mut by_lineup: Vec<(&Lineup, BTreeSet<ServerId>)> = Vec::new();
        for (server, lineup) in &lists {
            match by_lineup.iter_mut().find(|(other, _)| *other == lineup) {
                Some((_, servers)) => drop(servers.insert(*server)),
                None => by_lineup.push((lineup, [*server].into())),
            }
        }
        let found = by_lineup
            .into_iter()
            .find(|(_, servers)| now.is_majority(servers));
        found.map(|(lineup, _)| lineup.clone())
    }

    /// What each server lists, this one among them.
    pub(in crate::ensemble) fn lists(&self) -> BTreeMap<ServerId, Lineup> {
        let told = self.told.lock();
        let told = told.iter();
        let mut lists: BTreeMap<ServerId, Lineup> = told
            .map(|(server, presented)| (*server, presented.listed.lineup()))
            .collect();
        lists.insert(self.server, self.listed.borrow().lineup());
        lists
    }

    /// Where everybody is reached: those that are listed here, and the members that are not, as others
    /// list them, themselves first.
    pub(in crate::ensemble) fn addresses(
        &self,
        members: &Lineup,
    ) -> BTreeMap<ServerId, Vec<PeerAddress>> {
        let listed = self.listed.borrow();
        let listed = listed.members.iter();
        let mut found: BTreeMap<ServerId, Vec<PeerAddress>> = listed
            .map(|(id, member)| (*id, member.addresses.clone()))
            .collect();
        let told = self.told.lock();
        for server in members.servers() {
            if found.contains_key(&server) {
                continue;
            }
            let itself = told.get(&server).into_iter();
            let all = itself.chain(told.values());
            let mut listed = all.filter_map(|one| one.listed.members.get(&server));
            if let Some(member) = listed.next() {
                found.insert(server, member.addresses.clone());
            }
        }
        found
    }

    /// What each server has told.
    pub(in crate::ensemble) fn told(&self) -> BTreeMap<ServerId, Presented> {
        self.told.lock().clone()
    }
}
