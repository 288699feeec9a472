//! Start: puts the parts of the room together.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::io::Network;
use crate::state::{LogPosition, Origin, Replica, Rules, ServerId};
use crate::storage::{Log, Snapshots, StorageError};

use super::config::Config;
use super::error::{Failure, StartError};
use super::members::answers::Answers;
use super::members::beginning::Beginning;
use super::members::census::Census;
use super::members::change::Change;
use super::members::failover::Failover;
use super::members::founding::Founding;
use super::members::lag::Lag;
use super::members::listing::Listing;
use super::members::receiving::Receiver;
use super::members::reconfig::Reconfiguring;
use super::members::serving::{Heard, Pulse, Service};
use super::members::standing::Standing;
use super::members::succession::Succession;
use super::origin::barrier::Barrier;
use super::origin::forward::Forward;
use super::origin::outgoing::Outgoing;
use super::origin::proposals::Proposals;
use super::origin::sender;
use super::peer::{Identity, Peers};
use super::placement::{Home, Placement};
use super::progress::Progress;
use super::raft::applier::{Applier, Applying, Thread};
use super::raft::checkpoint::{Pressure, Retention};
use super::raft::core::{Core, View};
use super::raft::log_store::LogStore;
use super::raft::machine::Machine;
use super::raft::network::PeerNetwork;
use super::raft::records::stored_voters;
use super::raft::sending::Sending;
use super::{Ensemble, Parts, Touched};

/// So many times the log between two checkpoints stays, at most.
const CHECKPOINTS_KEPT: u64 = 4;

/// What is run at home.
struct Unstarted {
    config: Config,
    origin: Origin,
    /// What the tree holds.
    applied: Option<LogPosition>,
    log: Arc<dyn Log>,
    snapshots: Arc<dyn Snapshots>,
    replica: Arc<Replica>,
    progress: Arc<Progress>,
    proposals: Arc<Proposals>,
    pressure: Arc<Pressure>,
    rules: Rules,
    network: Arc<dyn Network>,
    touched: Arc<dyn Touched>,
}

/// The parts that run.
struct Tasks {
    core: Core,
    peers: Arc<Peers>,
    views: watch::Receiver<View>,
    change: Arc<Change>,
    service: Service,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

/// What most of the tasks work with.
struct Member {
    core: Core,
    peers: Arc<Peers>,
    views: watch::Receiver<View>,
    census: Arc<Census>,
}

/// See [`Ensemble::start`].
pub(super) async fn start(parts: Parts) -> Result<Ensemble, StartError> {
    let Parts {
        config,
        origin,
        log,
        snapshots,
        replica,
        sink,
        clock,
        network,
        touched,
    } = parts;
    config.validate()?;
    let applied = replica.read().applied();
    let (progress, rules) = (Progress::new(applied), *replica.read().rules());
    let progress = Arc::new(progress);
    progress.line_up(&replica.read().meta().lineups);
    let outgoing = Outgoing::new(origin, &config, rules, applied);
    let proposals = Arc::new(Proposals::new(outgoing, clock));
    let pressure = Arc::new(pressure(&config, &*log, &*snapshots)?);
    let applier = Arc::new(Applier {
        origin,
        log: Arc::clone(&log),
        replica: Arc::clone(&replica),
        sink,
        proposals: Arc::clone(&proposals),
        progress: Arc::clone(&progress),
    });
    let placement = config.placement;
    let machine = machine(applier, Arc::clone(&snapshots), placement)?;
    let unstarted = Unstarted {
        config,
        origin,
        applied,
        log: Arc::clone(&log),
        snapshots,
        replica,
        progress: Arc::clone(&progress),
        proposals: Arc::clone(&proposals),
        pressure,
        rules,
        network,
        touched,
    };
    let home = Home::new(placement)?;
    let Tasks {
        core,
        peers,
        views,
        change,
        service,
        tasks,
        stopping,
    } = home.run(unstarted.spawn(machine)).await?;
    Ok(Ensemble {
        origin,
        core,
        peers,
        log,
        proposals,
        progress,
        views,
        change,
        service,
        barrier: Barrier::default(),
        tasks,
        stopping,
        home,
    })
}

/// Entries are applied where the placement says.
fn machine(
    applier: Arc<Applier>,
    snapshots: Arc<dyn Snapshots>,
    placement: Placement,
) -> Result<Machine, StartError> {
    let applying = if placement.applies_here() {
        Applying::Here(Arc::clone(&applier))
    } else {
        let thread = Thread::start(Arc::clone(&applier)).map_err(StartError::Thread)?;
        Applying::There(thread)
    };
    Ok(Machine::new(applying, applier, snapshots, placement))
}

impl Unstarted {
    /// Starts openraft, which replays the log up to what was known to be committed, and the tasks
    /// around it.
    async fn spawn(self, machine: Machine) -> Result<Tasks, StartError> {
        let standing = Arc::new(self.standing().await?);
        let identity = Identity {
            cluster: self.replica.read().meta().cluster,
            members: self.config.members_hash(),
        };
        let peers = self.open_peers(identity).await?;
        let core = self.start_core(&peers, machine).await?;
        core.may_elect(standing.votes());
        let census = Arc::new(Census::new(self.config.server, self.config.roster()));
        let beginning = self.beginning(&core, &peers, &standing, &census);
        beginning.check().await?;
        let (stopping, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (following, views) =
            follow(&core, &self.proposals, self.config.server, stopping.clone());
        tasks.spawn(following);
        let member = Member {
            core,
            peers,
            views,
            census,
        };
        let heard = Arc::new(Heard::default());
        let answers = Answers {
            declared_new: beginning.is_declared_new(),
            ..self.answers(&member, identity.members, Arc::clone(&standing), &heard)
        };
        member.peers.serve(Arc::new(answers));
        let pulse = self.pulse(&member, heard, tasks.clone());
        let service = pulse.spawn(&tasks, stopping.clone());
        let change = Arc::new(self.change(&member));
        let founding = self.founding(&member, identity, service.serving.clone());
        tasks.spawn(founding.run(stopping.clone()));
        let reconfiguring = self.reconfiguring(&member, &change, service.serving.clone());
        tasks.spawn(reconfiguring.run(stopping.clone()));
        if !self.config.stays_alone() {
            let failover = failover(&self.config, &member, Arc::clone(&standing));
            tasks.spawn(failover.run(stopping.clone()));
            let listing = self.listing(&member, standing, &change);
            tasks.spawn(listing.run(stopping.clone()));
        }
        let (views, progress) = (member.views.clone(), Arc::clone(&self.progress));
        tasks.spawn(join(beginning, views, progress, stopping.clone()));
        let core = member.core.clone();
        let (pressure, retention) = (
            Arc::clone(&self.pressure),
            retention(&self.config, Arc::clone(&self.log)),
        );
        tasks.spawn(core.take_checkpoints(pressure, retention, stopping.clone()));
        tasks.spawn(self.send(&member, stopping.clone()));
        let Member {
            core, peers, views, ..
        } = member;
        Ok(Tasks {
            core,
            peers,
            views,
            change,
            service,
            tasks,
            stopping,
        })
    }

    fn answers(
        &self,
        member: &Member,
        members: u64,
        standing: Arc<Standing>,
        heard: &Arc<Heard>,
    ) -> Answers {
        Answers {
            server: self.config.server,
            members,
            replica: Arc::clone(&self.replica),
            declared_new: false,
            core: member.core.clone(),
            log: Arc::clone(&self.log),
            views: member.views.clone(),
            links: member.peers.links(),
            heard: Arc::clone(heard),
            receiver: Receiver {
                core: member.core.clone(),
                standing: Arc::clone(&standing),
                snapshots: Arc::clone(&self.snapshots),
                progress: Arc::clone(&self.progress),
                placement: self.config.placement,
            },
            standing,
            census: Arc::clone(&member.census),
            proposals: Arc::clone(&self.proposals),
            rules: self.rules,
            silence_max: Duration::from_millis(self.config.election_ms_max),
            touched: Arc::clone(&self.touched),
        }
    }

    fn pulse(&self, member: &Member, heard: Arc<Heard>, tasks: TaskTracker) -> Pulse {
        let config = &self.config;
        Pulse {
            core: member.core.clone(),
            views: member.views.clone(),
            heard,
            reported: Arc::default(),
            standstill: Arc::default(),
            progress: Arc::clone(&self.progress),
            silence_max: Duration::from_millis(config.election_ms_max),
            patience: Duration::from_millis(config.patience_ms),
            lag: Lag::new(Duration::from_millis(config.lag_ms_max)),
            succession: Succession {
                server: config.server,
                core: member.core.clone(),
                peers: Arc::clone(&member.peers),
                views: member.views.clone(),
            },
            tasks,
            is_alone: config.stays_alone(),
            server: config.server,
            outside: member.census.outside(),
        }
    }

    fn change(&self, member: &Member) -> Change {
        Change {
            server: self.config.server,
            core: member.core.clone(),
            peers: Arc::clone(&member.peers),
            views: member.views.clone(),
            catch_up: Duration::from_millis(self.config.catch_up_ms),
            turn: tokio::sync::Mutex::default(),
        }
    }

    fn reconfiguring(
        &self,
        member: &Member,
        change: &Arc<Change>,
        serving: watch::Receiver<bool>,
    ) -> Reconfiguring {
        Reconfiguring {
            listed: self.config.members.clone(),
            core: member.core.clone(),
            census: Arc::clone(&member.census),
            change: Arc::clone(change),
            proposals: Arc::clone(&self.proposals),
            progress: Arc::clone(&self.progress),
            views: member.views.clone(),
            serving,
        }
    }

    fn listing(&self, member: &Member, standing: Arc<Standing>, change: &Arc<Change>) -> Listing {
        Listing {
            server: self.config.server,
            core: member.core.clone(),
            peers: Arc::clone(&member.peers),
            views: member.views.clone(),
            standing,
            census: Arc::clone(&member.census),
            change: Arc::clone(change),
            by_files: self.config.members_by_files,
        }
    }

    fn founding(
        &self,
        member: &Member,
        identity: Identity,
        serving: watch::Receiver<bool>,
    ) -> Founding {
        Founding {
            origin: self.origin,
            identity,
            core: member.core.clone(),
            peers: Arc::clone(&member.peers),
            replica: Arc::clone(&self.replica),
            proposals: Arc::clone(&self.proposals),
            progress: Arc::clone(&self.progress),
            views: member.views.clone(),
            serving,
            rules: self.rules,
        }
    }

    /// Sends what is proposed here to whoever leads.
    fn send(
        &self,
        member: &Member,
        stopping: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let proposals = Arc::clone(&self.proposals);
        let forward = Forward::new(
            Arc::clone(&proposals),
            Arc::clone(&member.peers),
            member.views.clone(),
        );
        sender::run(
            proposals,
            member.core.clone(),
            forward,
            self.rules,
            stopping,
        )
    }

    async fn open_peers(&self, identity: Identity) -> Result<Arc<Peers>, StartError> {
        let config = self.config.peer(self.origin.incarnation)?;
        let peers = Peers::open(config, identity, Arc::clone(&self.network)).await;
        Ok(Arc::new(peers.map_err(StartError::Listen)?))
    }

    /// Whether this server may vote; one with a new disk says there that it is new.
    async fn standing(&self) -> Result<Standing, StartError> {
        let (log, is_alone) = (Arc::clone(&self.log), self.config.is_alone());
        let has_tree = self.applied.is_some();
        let open = move || Standing::open(log, has_tree, is_alone);
        match self.config.placement.aside(open).await {
            Some(standing) => standing.map_err(storage_failed),
            None => {
                let doing = "look whether the disk is new";
                Err(StartError::Failed(Arc::new(Failure::CutOff { doing })))
            }
        }
    }

    async fn start_core(&self, peers: &Arc<Peers>, machine: Machine) -> Result<Core, StartError> {
        let config = &self.config;
        let progress = Arc::clone(&self.progress);
        let mut log_store = LogStore::new(
            Arc::clone(&self.log),
            Arc::clone(&progress),
            Arc::clone(&self.pressure),
            config.placement,
        );
        if let Some(applied) = self.applied {
            // Whom this server voted for in a term that its log has lost is not known, if there were
            // others to vote for.
            let term = applied.term + u64::from(!config.is_alone());
            let raised = log_store
                .raise_vote(applied.term, term, config.server)
                .await;
            raised.map_err(|_| {
                let doing = "raise the vote";
                let first = progress.failure();
                StartError::Failed(first.unwrap_or_else(|| Arc::new(Failure::CutOff { doing })))
            })?;
        }
        let sending = Sending {
            progress: Arc::clone(&progress),
            placement: config.placement,
        };
        let network = PeerNetwork::new(config.server, Arc::clone(peers), sending);
        Core::start(config, network, log_store, machine, progress).await
    }

    fn beginning(
        &self,
        core: &Core,
        peers: &Arc<Peers>,
        standing: &Arc<Standing>,
        census: &Arc<Census>,
    ) -> Beginning {
        Beginning {
            server: self.config.server,
            listed: self.config.lineup(),
            initialize_file: self.config.initialize_file.clone(),
            core: core.clone(),
            peers: Arc::clone(peers),
            standing: Arc::clone(standing),
            census: Arc::clone(census),
            progress: Arc::clone(&self.progress),
            placement: self.config.placement,
        }
    }
}

/// A lone voter keeps what openraft keeps; others keep so much that a server which was away for a
/// while finds what it missed.
fn retention(config: &Config, log: Arc<dyn Log>) -> Retention {
    Retention {
        log,
        bytes_max: CHECKPOINTS_KEPT.saturating_mul(config.checkpoint_log_bytes),
        placement: config.placement,
    }
}

/// Follows who leads, and tells the proposals.
fn follow(
    core: &Core,
    proposals: &Arc<Proposals>,
    here: ServerId,
    stopping: CancellationToken,
) -> (
    impl Future<Output = ()> + Send + 'static,
    watch::Receiver<View>,
) {
    let (sender, views) = watch::channel(View::NONE);
    let told = Arc::clone(proposals);
    let tell = move |leader| told.leader(leader, here);
    (core.clone().watch(sender, tell, stopping), views)
}

fn failover(config: &Config, member: &Member, standing: Arc<Standing>) -> Failover {
    Failover {
        server: config.server,
        core: member.core.clone(),
        peers: Arc::clone(&member.peers),
        standing,
        views: member.views.clone(),
    }
}

/// Gets this server into its ensemble, in which it has failed if it cannot.
async fn join(
    beginning: Beginning,
    views: watch::Receiver<View>,
    progress: Arc<Progress>,
    stopping: CancellationToken,
) {
    let begun = tokio::select! {
        begun = beginning.run(views) => begun,
        () = stopping.cancelled() => return,
    };
    // Who stops while it waits to get in has not failed.
    if let Err(error) = begun
        && !progress.is_stopping()
    {
        drop(progress.fail(Failure::Join(Box::new(error))));
    }
}

/// The name under which this process is to propose: a new incarnation at each start, also behind
/// those that only the tree still knows. One that is not new would be taken for a former process,
/// and all that it proposes for duplicates.
///
/// # Errors
/// The log failed: exit.
pub async fn origin(
    server: ServerId,
    log: &Arc<dyn Log>,
    replica: &Replica,
    clock: &dyn Clock,
) -> Result<Origin, StartError> {
    let used = replica.read().cursor(server).incarnation;
    let wall = u64::try_from(clock.wall_ms()).unwrap_or(0);
    let at_least = wall.max(used.saturating_add(1));
    let log = Arc::clone(log);
    let next = tokio::task::spawn_blocking(move || log.next_incarnation(at_least)).await;
    let incarnation = match next {
        Ok(incarnation) => incarnation.map_err(storage_failed)?,
        Err(_) => {
            let doing = "number this start";
            return Err(StartError::Failed(Arc::new(Failure::CutOff { doing })));
        }
    };
    Ok(Origin {
        server,
        incarnation,
    })
}

/// The server whose data this is, if it has been a lone one: it keeps its id, whatever is written in
/// `myid` since, until it is one of several.
///
/// # Errors
/// The log failed, or holds what is none of ours: exit.
pub async fn lone_owner(
    log: &Arc<dyn Log>,
    replica: &Replica,
) -> Result<Option<ServerId>, StartError> {
    let (tree, applied) = {
        let state = replica.read();
        (state.meta().membership.clone(), state.meta().applied)
    };
    let log = Arc::clone(log);
    let read = tokio::task::spawn_blocking(move || stored_voters(&*log, tree, applied)).await;
    match read {
        Ok(voters) => {
            let voters = voters.map_err(|failure| StartError::Failed(Arc::new(failure)))?;
            let mut voters = voters.into_iter();
            Ok(voters.next().filter(|_| voters.next().is_none()))
        }
        Err(_) => {
            let doing = "look whose data it is";
            Err(StartError::Failed(Arc::new(Failure::CutOff { doing })))
        }
    }
}

/// How much log there is behind the newest checkpoint.
fn pressure(
    config: &Config,
    log: &dyn Log,
    snapshots: &dyn Snapshots,
) -> Result<Pressure, StartError> {
    let newest = snapshots.newest().map_err(storage_failed)?;
    let checkpoint = newest.and_then(|checkpoint| checkpoint.meta.applied);
    Ok(Pressure::new(config, log, checkpoint.map(|at| at.index)))
}

fn storage_failed(error: StorageError) -> StartError {
    StartError::Failed(Arc::new(Failure::Storage(error)))
}
