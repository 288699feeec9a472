//! The members by edited files: whoever leads makes them what a majority of those that vote lists
//! (DESIGN 5).
//!
//! ```text
//!   a link comes up ─▶ both sides tell what their files list ─▶ Census
//!   this server leads ─┬─ a majority lists other members than the log has ─▶ wanted ─▶ Change::drive
//!                      └─ but its own files do not ─▶ hands over to one whose files do
//!   this server knows no leader ─▶ asks again ─▶ the others go on without it: says so, serves nobody
//! ```
//!
//! Who is reached where follows from the same: an address that another server lists is used where this
//! server's own files say nothing of a member.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::ensemble::members::census::Census;
use crate::ensemble::members::change::{Change, ChangeError};
use crate::ensemble::members::standing::Standing;
use crate::ensemble::members::succession::Succession;
use crate::ensemble::peer::{Ask, Lineup, LinkState, PeerAddress, Peers, Phase, Told};
use crate::ensemble::raft::core::{Core, View};
use crate::state::ServerId;

/// How often it is looked again.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A change that did not come to its end is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// A hand-over that nobody took is tried again after this.
const HAND_OVER_AGAIN: Duration = Duration::from_secs(5);
/// Lists that differ for so long are told of.
const DIFFER_MAX: Duration = Duration::from_secs(60);

/// What takes part.
pub(in crate::ensemble) struct Listing {
    pub(in crate::ensemble) server: ServerId,
    pub(in crate::ensemble) core: Core,
    pub(in crate::ensemble) peers: Arc<Peers>,
    pub(in crate::ensemble) views: watch::Receiver<View>,
    pub(in crate::ensemble) standing: Arc<Standing>,
    pub(in crate::ensemble) census: Arc<Census>,
    pub(in crate::ensemble) change: Arc<Change>,
    /// Whether the files say who is a member: the replicated configuration does not.
    pub(in crate::ensemble) by_files: bool,
}

/// What has been done, so that it is not done again.
#[derive(Default)]
struct Done {
    /// The run of each server's process that has been told.
    introduced: BTreeMap<ServerId, u64>,
    addresses: BTreeMap<ServerId, Vec<PeerAddress>>,
    /// Since when lists differ, and whether that has been said.
    differ: Option<(Instant, bool)>,
    /// When everybody was last asked because there is no leader.
    asked: Option<Instant>,
    /// When this server last tried to hand over.
    handed: Option<Instant>,
}

impl Listing {
    /// Goes on until `stopping`.
    pub(in crate::ensemble) async fn run(mut self, stopping: CancellationToken) {
        let wanted = watch::Sender::new(None);
        let obeying = obey(Arc::clone(&self.change), wanted.subscribe());
        tokio::select! {
            () = stopping.cancelled() => {}
            () = obeying => {}
            () = self.look_on(&wanted) => {}
        }
    }

    async fn look_on(&mut self, wanted: &watch::Sender<Option<Lineup>>) {
        let mut done = Done::default();
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut links = self.peers.links();
        let (mut told, mut listed) = (self.census.changes(), self.census.listed());
        loop {
            let states = links.borrow_and_update().clone();
            self.introduce(&states, &mut done).await;
            self.look_at_self();
            self.connect(&mut done);
            let now = self.decide(&mut done).await;
            wanted.send_if_modified(|before| {
                let is_other = *before != now;
                *before = now;
                is_other
            });
            let changed = tokio::select! {
                _ = looks.tick() => Ok(()),
                changed = links.changed() => changed,
                changed = told.changed() => changed,
                changed = listed.changed() => changed,
                changed = self.views.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// Tells every process that it has not told, and asks again while there is no leader.
    async fn introduce(&self, links: &BTreeMap<ServerId, LinkState>, done: &mut Done) {
        let is_lost = self.views.borrow().leader.is_none() || self.census.is_outside();
        // What comes of it is looked at, too, and must not make it ask again at once.
        let asks_all = is_lost && done.asked.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        if asks_all {
            done.asked = Some(Instant::now());
        }
        let up = links.iter().filter_map(|(server, link)| match &link.phase {
            Phase::Up(hello) => Some((*server, hello.incarnation)),
            Phase::Connecting | Phase::Down { .. } => None,
        });
        let is_due =
            |(server, run): &(ServerId, u64)| asks_all || done.introduced.get(server) != Some(run);
        let due: Vec<(ServerId, u64)> = up.filter(is_due).collect();
        let ask = |(server, run)| async move {
            let own = self.census.presents(&self.core, &self.standing);
            match self.peers.call(server, Ask::Members(Box::new(own))).await {
                Ok(Told::Members(presented)) => {
                    self.census.heard(server, *presented);
                    Some((server, run))
                }
                Ok(_) | Err(_) => None,
            }
        };
        let asked = futures::future::join_all(due.into_iter().map(ask)).await;
        done.introduced.extend(asked.into_iter().flatten());
    }

    /// Whether the others go on without this server.
    fn look_at_self(&self) {
        let own = self.core.committed_membership();
        if !self.census.look(&own) {
            return;
        }
        let outside = self.census.is_outside();
        self.core.may_elect(self.standing.votes() && !outside);
        match (outside, self.standing.votes()) {
            (true, true) => tracing::warn!(
                "this server is not a member of its ensemble any more: it serves no clients; stop it, \
                 or list it again in the files of the members"
            ),
            (true, false) => tracing::info!("waiting to be taken into the ensemble by its leader"),
            (false, _) => tracing::info!("this server is a member of its ensemble"),
        }
    }

    /// Dials whom it should: an observer has nothing to say to another one.
    fn connect(&self, done: &mut Done) {
        let now = self.core.lineup();
        let mut addresses = self.census.addresses(&now);
        let listed = self.census.listed();
        let listed = listed.borrow().lineup();
        let observes = |server: &ServerId| match now.has(*server) {
            true => !now.voters.contains(server) && !listed.voters.contains(server),
            false => listed.observers.contains(server),
        };
        if observes(&self.server) {
            addresses.retain(|server, _| *server == self.server || !observes(server));
        }
        if addresses != done.addresses {
            done.addresses.clone_from(&addresses);
            self.peers.follow(addresses);
        }
    }

    /// What this server, if it leads, is to make of the members.
    async fn decide(&self, done: &mut Done) -> Option<Lineup> {
        let leader = self.views.borrow().leader;
        let (leader, _) = leader?;
        if leader != self.server || !self.by_files {
            return None;
        }
        let now = self.core.membership();
        let lists = self.census.lists();
        self.tell_of_difference(&lists, &now.voters(), done);
        let wanted = self.census.wanted(&now)?;
        if !now.is_joint() && wanted == now.lineup() {
            return None;
        }
        if lists.get(&self.server) == Some(&wanted) {
            return Some(wanted);
        }
        if done.handed.is_none_or(|at| at.elapsed() > HAND_OVER_AGAIN) {
            done.handed = Some(Instant::now());
            tracing::info!(
                members = %wanted,
                "a majority lists other members than this server's files: one of them is to lead"
            );
            let like_minded = lists.into_iter().filter(|(_, list)| *list == wanted);
            let heirs = like_minded.map(|(server, _)| server).collect();
            let succession = Succession {
                server: self.server,
                core: self.core.clone(),
                peers: Arc::clone(&self.peers),
                views: self.views.clone(),
            };
            succession.hand_over_to(&heirs).await;
        }
        None
    }

    /// Files are edited one by one; who forgets one is told.
    fn tell_of_difference(
        &self,
        lists: &BTreeMap<ServerId, Lineup>,
        voters: &BTreeSet<ServerId>,
        done: &mut Done,
    ) {
        let own = lists.get(&self.server);
        let other = voters.iter().find_map(|server| {
            let list = lists.get(server)?;
            (Some(list) != own).then_some((server, list))
        });
        let (Some(own), Some((server, list))) = (own, other) else {
            done.differ = None;
            return;
        };
        let (since, said) = done.differ.get_or_insert((Instant::now(), false));
        if !*said && since.elapsed() > DIFFER_MAX {
            *said = true;
            tracing::warn!(
                here = %own, %server, there = %list,
                "the files of two members list different members"
            );
        }
    }
}

/// Drives the members to what is wanted, again and again until they are that.
async fn obey(change: Arc<Change>, mut wanted: watch::Receiver<Option<Lineup>>) {
    loop {
        let now = wanted.borrow_and_update().clone();
        let driving = async {
            let Some(now) = now else {
                return std::future::pending().await;
            };
            if let Err(error) = change.drive(&now).await
                && error != ChangeError::NotLeader
            {
                tracing::warn!(members = %now, %error, "the members have not changed yet");
            }
            sleep(AGAIN).await;
        };
        tokio::select! {
            () = driving => {}
            changed = wanted.changed() => if changed.is_err() { return },
        }
    }
}
