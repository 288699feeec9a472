//! How a server with a new disk gets into an ensemble (DESIGN 5 "Beginning").
//!
//! ```text
//!   new disk ─▶ asks all others ─┬─ all answer, all are new ────────▶ begins: writes the first entry
//!                                ├─ a majority is declared new ─────▶ the same
//!                                ├─ somebody has more than that ────▶ waits for the leader's entries,
//!                                │                                    votes when it has caught up
//!                                └─ somebody is missing ────────────▶ asks again; the log names them
//! ```
//!
//! New is also who has written that first entry and nothing behind it: it is the same everywhere.
//! So two servers never begin two ensembles, however many disks are wiped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::ensemble::error::{Failure, StartError};
use crate::ensemble::members::census::Census;
use crate::ensemble::members::standing::Standing;
use crate::ensemble::peer::{Ask, Lineup, Membership, Peers, Presented, Probed, Told};
use crate::ensemble::placement::Placement;
use crate::ensemble::progress::Progress;
use crate::ensemble::raft::core::{Core, View};
#[cfg(test)]
use crate::ensemble::tests::planted;
use crate::state::{LogPosition, ServerId};

/// Between two rounds of asking.
const AGAIN: Duration = Duration::from_millis(100);

/// How often a server with a new disk says that nobody can lead.
const COMPLAIN_EVERY: Duration = Duration::from_secs(30);

/// What takes part.
pub(in crate::ensemble) struct Beginning {
    pub(in crate::ensemble) server: ServerId,
    /// As its files list the members.
    pub(in crate::ensemble) listed: Lineup,
    pub(in crate::ensemble) initialize_file: Option<PathBuf>,
    pub(in crate::ensemble) core: Core,
    pub(in crate::ensemble) peers: Arc<Peers>,
    pub(in crate::ensemble) standing: Arc<Standing>,
    pub(in crate::ensemble) census: Arc<Census>,
    pub(in crate::ensemble) progress: Arc<Progress>,
    pub(in crate::ensemble) placement: Placement,
}

/// Whether a log holds nothing that anybody could miss: nothing, or the first membership.
pub(in crate::ensemble) fn is_new(last: Option<LogPosition>) -> bool {
    last.is_none_or(|last| last.index == 0)
}

impl Beginning {
    /// Whether the operator says that this server is new.
    pub(in crate::ensemble) fn is_declared_new(&self) -> bool {
        let file = self.initialize_file.as_deref();
        file.is_some_and(|file| file.try_exists().unwrap_or(false))
    }

    /// Looks whose log it is: the files may have been edited since, but some member must be in both.
    ///
    /// # Errors
    /// It belongs to other members, or to another server.
    pub(in crate::ensemble) async fn check(&self) -> Result<(), StartError> {
        let Some(stored) = self.core.voters().await? else {
            return Ok(());
        };
        let is_in = self.core.lineup().has(self.server);
        // Who was alone has fed nobody who has no mark: it is its log, with another number.
        let is_of_another = stored.len() == 1 && self.standing.votes();
        let is_strange = stored.is_disjoint(&self.listed.voters) || is_of_another;
        let gives_up_others = self.listed.is_only(self.server) && stored.len() > 1;
        if gives_up_others || (!is_in && is_strange) {
            return Err(StartError::OtherMembers {
                stored: stored.into_iter().collect(),
                configured: self.listed.voters.iter().copied().collect(),
            });
        }
        Ok(())
    }

    /// Whether nobody else votes, by the log; by the files, if there is none.
    async fn votes_alone(&self) -> Result<bool, StartError> {
        let stored = self.core.voters().await?;
        let voters = stored.unwrap_or_else(|| self.listed.voters.clone());
        Ok(voters.len() == 1 && voters.contains(&self.server))
    }

    /// Gets this server into the ensemble: returns when it may vote.
    ///
    /// # Errors
    /// A store failed.
    pub(in crate::ensemble) async fn run(
        self,
        views: watch::Receiver<View>,
    ) -> Result<(), StartError> {
        let is_alone = self.votes_alone().await?;
        let may_begin = self.listed.voters.contains(&self.server);
        let has_begun = self.core.voters().await?.is_some();
        let is_joining = !self.standing.votes() && is_new(self.core.last_log()) && may_begin;
        let is_first = is_alone && !has_begun && self.listed.is_only(self.server);
        if is_first || (is_joining && self.begin().await?) {
            return self.found().await;
        }
        if !self.standing.votes() {
            self.learn_terms().await;
            self.catch_up(views).await?;
            self.grant().await?;
            tracing::info!("caught up with the ensemble: this server may be a voter from now on");
        }
        self.core.may_elect(true);
        if is_alone {
            // It has nobody to wait for.
            self.core.elect(false).await?;
        }
        Ok(())
    }

    /// Begins an ensemble, as all its members do. The first entry comes before the permission to vote:
    /// a log in which there is a vote takes none.
    async fn found(self) -> Result<(), StartError> {
        let others = !self.listed.is_only(self.server);
        if self.core.voters().await?.is_none()
            && let Err(error) = self.core.initialize(self.listed.voters.clone()).await
            // A leader may have been quicker.
            && self.core.voters().await?.is_none()
        {
            return Err(error);
        }
        if others {
            self.grant().await?;
        }
        self.core.may_elect(true);
        if others {
            self.core.elect(true).await?;
        }
        Ok(())
    }

    /// Asks until it is clear whether there is an ensemble: false, if there is.
    async fn begin(&self) -> Result<bool, StartError> {
        let mut said = None;
        loop {
            if !is_new(self.core.last_log()) {
                return Ok(false);
            }
            let probed = self.ask_all().await;
            if probed.values().any(|probed| !probed.empty) {
                tracing::info!("others have an ensemble: this server joins it");
                return Ok(false);
            }
            #[cfg(test)]
            if planted::has(planted::Defect::AbsentCountsAsNew) {
                return Ok(true);
            }
            let is_declared = |(server, probed): &(&ServerId, &Probed)| {
                probed.declared_new && self.listed.voters.contains(server)
            };
            let declared = probed.iter().filter(is_declared).count();
            let majority = self.listed.voters.len() / 2 + 1;
            let is_majority = declared + usize::from(self.is_declared_new()) >= majority;
            if self.missing(&probed).is_empty() || is_majority {
                return Ok(true);
            }
            let missing = self.missing(&probed);
            if said.as_ref() != Some(&missing) {
                tracing::info!(
                    ?missing,
                    "a new disk: waiting for all servers, to know whether there is an ensemble"
                );
                said = Some(missing);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn others(&self) -> impl Iterator<Item = ServerId> {
        let others = self.listed.servers();
        others.filter(|server| *server != self.server)
    }

    /// Those of them that vote: the others begin nothing.
    fn other_voters(&self) -> impl Iterator<Item = ServerId> {
        let voters = self.listed.voters.iter().copied();
        voters.filter(|server| *server != self.server)
    }

    async fn ask_all(&self) -> BTreeMap<ServerId, Probed> {
        let ask = |server| async move {
            match self.peers.call(server, Ask::Probe).await {
                Ok(Told::Probe(probed)) => Some((server, probed)),
                Ok(_) | Err(_) => None,
            }
        };
        let asked = futures::future::join_all(self.others().map(ask)).await;
        asked.into_iter().flatten().collect()
    }

    /// Asks until it is known from which term on a leader may be followed.
    async fn learn_terms(&self) {
        let mut said = false;
        loop {
            let mut told = self.ask_members().await;
            // Who has a new disk itself has forgotten as much as this server, and says nothing of terms.
            told.retain(|_, one| one.votes);
            // Whoever is newer is in it: a majority of any other members has a server in common with
            // those that came behind them.
            let memberships = told.values().map(|one| &one.effective);
            let newest = memberships.max_by_key(|one| one.at).cloned();
            let newest = newest.unwrap_or_default();
            if newest.is_majority(&told.keys().copied().collect()) {
                let terms = told.values().map(|one| one.term);
                self.standing.admit(terms.max().unwrap_or(0));
                return;
            }
            if !said {
                let missing = missing_of(&newest, self.server, &told);
                tracing::warn!(
                    ?missing,
                    "a new disk: waiting for a majority of the others, to know what this server \
                     may have promised on the one before"
                );
                said = true;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn missing(&self, probed: &BTreeMap<ServerId, Probed>) -> Vec<u64> {
        let missing = self.other_voters();
        let missing = missing.filter(|server| !probed.contains_key(server));
        missing.map(|server| server.0).collect()
    }

    /// What the others say of the members: those that are listed here, and those that they name.
    async fn ask_members(&self) -> BTreeMap<ServerId, Presented> {
        let own = self.census.presents(&self.core, &self.standing);
        let ask = |server| {
            let ask = Ask::Members(Box::new(own.clone()));
            async move {
                match self.peers.call(server, ask).await {
                    Ok(Told::Members(presented)) => Some((server, *presented)),
                    Ok(_) | Err(_) => None,
                }
            }
        };
        let known = self.census.addresses(&self.known());
        let others = known.into_keys().filter(|server| *server != self.server);
        let asked = futures::future::join_all(others.map(ask)).await;
        let told: BTreeMap<ServerId, Presented> = asked.into_iter().flatten().collect();
        for (server, presented) in &told {
            self.census.heard(*server, presented.clone());
        }
        told
    }

    /// Who is in, by the newest that was told.
    fn known(&self) -> Lineup {
        let told = self.census.told();
        let memberships = told.values().map(|one| &one.effective);
        let newest = memberships.max_by_key(|one| one.at);
        newest.map(Membership::lineup).unwrap_or_default()
    }

    /// Says so if there is no leader because too many disks are new: they wait for one another.
    async fn complain(&self) {
        let voters = self.known().voters;
        if !voters.contains(&self.server) {
            tracing::warn!(
                members = %self.known(),
                "not taken into the ensemble yet: its members' files must list this server"
            );
            return;
        }
        let probed = self.ask_all().await;
        let is_joining =
            |(server, probed): &(&ServerId, &Probed)| !probed.votes && voters.contains(server);
        let joining = probed.iter().filter(is_joining).count() + 1;
        if voters.len().saturating_sub(joining) <= voters.len() / 2 {
            tracing::error!(
                joining,
                voters = voters.len(),
                "so many disks are new that no leader can be elected without their votes, and they \
                 get none before they have caught up with one: bring the disks of a majority back"
            );
        }
    }

    /// Returns when all that some leader knew to be committed after the call has been applied here.
    async fn catch_up(&self, mut views: watch::Receiver<View>) -> Result<(), StartError> {
        loop {
            let view = views.wait_for(|view| view.leader.is_some());
            let Ok(view) = tokio::time::timeout(COMPLAIN_EVERY, view).await else {
                self.complain().await;
                continue;
            };
            let leader = view.ok().and_then(|view| view.leader);
            let Some((leader, _)) = leader else {
                let doing = "join the ensemble";
                return Err(StartError::Failed(Arc::new(Failure::CutOff { doing })));
            };
            if let Ok(Told::ReadIndex { at: Some(wanted) }) =
                self.peers.call(leader, Ask::ReadIndex).await
            {
                let index = wanted.index;
                let applied = |at: &Option<LogPosition>| at.is_some_and(|at| at.index >= index);
                self.progress.until(applied).await;
                return Ok(());
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn grant(&self) -> Result<(), StartError> {
        let standing = Arc::clone(&self.standing);
        let initialize = self.initialize_file.clone();
        let doing = "take the mark of a new disk away";
        let grant = move || {
            standing.grant()?;
            // What it says has been used; it does no harm if it stays.
            if let Some(Err(error)) = initialize.map(std::fs::remove_file)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(%error, "the file initialize was not removed");
            }
            Ok(())
        };
        match self.placement.aside(grant).await {
            Some(granted) => {
                let failed = |error| StartError::Failed(Arc::new(Failure::Storage(error)));
                granted.map_err(failed)
            }
            None => Err(StartError::Failed(Arc::new(Failure::CutOff { doing }))),
        }
    }
}

/// Who of those that vote has not answered.
fn missing_of(
    membership: &Membership,
    not: ServerId,
    told: &BTreeMap<ServerId, Presented>,
) -> Vec<u64> {
    let voters = membership.voters().into_iter();
    let missing = voters.filter(|server| *server != not && !told.contains_key(server));
    missing.map(|server| server.0).collect()
}
