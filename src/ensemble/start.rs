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
use super::members::beginning::{self, Beginning};
use super::members::failover::Failover;
use super::members::serving::{Heard, Pulse};
use super::members::standing::Standing;
use super::origin::barrier::Barrier;
use super::origin::forward::Forward;
use super::origin::outgoing::Outgoing;
use super::origin::proposals::Proposals;
use super::origin::sender;
use super::peer::{Identity, Peers};
use super::placement::Home;
use super::progress::Progress;
use super::raft::applier::{Applier, Applying, Thread};
use super::raft::checkpoint::Pressure;
use super::raft::core::{Core, View};
use super::raft::log_store::LogStore;
use super::raft::machine::Machine;
use super::raft::network::PeerNetwork;
use super::{Ensemble, Parts, Touched};

/// What is run at home.
struct Unstarted {
    config: Config,
    origin: Origin,
    /// What the tree holds.
    applied: Option<LogPosition>,
    log: Arc<dyn Log>,
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
    serving: watch::Receiver<bool>,
    admitting: watch::Receiver<bool>,
    tasks: TaskTracker,
    stopping: CancellationToken,
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
    let progress = Arc::new(Progress::new(applied));
    let rules = *replica.read().rules();
    let outgoing = Outgoing::new(origin, &config, rules);
    let proposals = Arc::new(Proposals::new(outgoing, clock));
    let pressure = Arc::new(pressure(&config, &*log, &*snapshots)?);
    let applier = Applier {
        origin,
        replica: Arc::clone(&replica),
        sink,
        proposals: Arc::clone(&proposals),
        progress: Arc::clone(&progress),
    };
    let applying = if config.placement.applies_here() {
        Applying::Here(applier)
    } else {
        Applying::There(Thread::start(applier).map_err(StartError::Thread)?)
    };
    let placement = config.placement;
    let machine = Machine::new(
        applying,
        replica,
        snapshots,
        Arc::clone(&progress),
        placement,
    );
    let home = Home::new(placement)?;
    let is_alone = config.is_alone();
    let unstarted = Unstarted {
        config,
        origin,
        applied,
        log: Arc::clone(&log),
        progress: Arc::clone(&progress),
        proposals: Arc::clone(&proposals),
        pressure,
        rules,
        network,
        touched,
    };
    let Tasks {
        core,
        peers,
        views,
        serving,
        admitting,
        tasks,
        stopping,
    } = home.run(unstarted.spawn(machine)).await?;
    let ensemble = Ensemble {
        origin,
        core,
        peers,
        log,
        proposals,
        progress,
        views,
        serving,
        admitting,
        barrier: Barrier::default(),
        tasks,
        stopping,
        home,
    };
    if is_alone {
        // It has nobody to wait for.
        ensemble.served().await?;
    }
    Ok(ensemble)
}

impl Unstarted {
    /// Starts openraft, which replays the log up to what was known to be committed, and the tasks
    /// around it.
    async fn spawn(self, machine: Machine) -> Result<Tasks, StartError> {
        let standing = Arc::new(self.standing().await?);
        let identity = Identity {
            cluster: None,
            members: self.config.members_hash(),
        };
        let peer_config = self.config.peer(self.origin.incarnation)?;
        let peers = Peers::open(peer_config, identity, Arc::clone(&self.network)).await;
        let peers = Arc::new(peers.map_err(StartError::Listen)?);
        let core = self.start_core(&peers, machine).await?;
        core.may_elect(standing.votes());
        let beginning = self.beginning(&core, &peers, &standing);
        beginning.check().await?;
        let Self {
            config,
            log,
            progress,
            proposals,
            pressure,
            rules,
            touched,
            ..
        } = self;
        let stopping = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (view_sender, views) = watch::channel(View::NONE);
        let (told, here) = (Arc::clone(&proposals), config.server);
        tasks.spawn(core.clone().watch(
            view_sender,
            move |leader| told.leader(leader, here),
            stopping.clone(),
        ));
        let heard = Arc::new(Heard::default());
        peers.serve(Arc::new(Answers {
            server: config.server,
            identity,
            declared_new: beginning.is_declared_new(),
            core: core.clone(),
            log,
            views: views.clone(),
            links: peers.links(),
            heard: Arc::clone(&heard),
            standing,
            proposals: Arc::clone(&proposals),
            rules,
            touched,
        }));
        let (serving_sender, serving) = watch::channel(false);
        let (admitting_sender, admitting) = watch::channel(false);
        let pulse = Pulse {
            core: core.clone(),
            views: views.clone(),
            heard,
            progress: Arc::clone(&progress),
            silence_max: Duration::from_millis(config.election_ms_max),
            patience: Duration::from_millis(config.patience_ms),
            is_alone: config.is_alone(),
        };
        tasks.spawn(pulse.run(serving_sender, admitting_sender, stopping.clone()));
        let forward = Forward::new(Arc::clone(&proposals), Arc::clone(&peers), views.clone());
        let sending = sender::run(proposals, core.clone(), forward, rules, stopping.clone());
        tasks.spawn(sending);
        tasks.spawn(core.clone().take_checkpoints(pressure, stopping.clone()));
        if !config.is_alone() {
            let failover = Failover {
                server: config.server,
                voters: config.voters.len(),
                core: core.clone(),
                peers: Arc::clone(&peers),
                views: views.clone(),
            };
            tasks.spawn(failover.run(stopping.clone()));
        }
        let (until, views_here) = (stopping.clone(), views.clone());
        tasks.spawn(async move {
            let begun = tokio::select! {
                begun = beginning.run(views_here) => begun,
                () = until.cancelled() => return,
            };
            // Who stops while it waits to get in has not failed.
            if let Err(error) = begun
                && !progress.is_stopping()
            {
                drop(progress.fail(Failure::Join(Box::new(error))));
            }
        });
        Ok(Tasks {
            core,
            peers,
            views,
            serving,
            admitting,
            tasks,
            stopping,
        })
    }

    /// Whether this server may vote; one with a new disk says there that it is new.
    async fn standing(&self) -> Result<Standing, StartError> {
        let (log, is_alone) = (Arc::clone(&self.log), self.config.is_alone());
        let is_new = self.applied.is_none() && beginning::is_new(log.ends().last);
        let open = move || Standing::open(log, is_new, is_alone);
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
        let network = PeerNetwork::new(config.server, Arc::clone(peers));
        Core::start(config, network, log_store, machine, progress).await
    }

    fn beginning(&self, core: &Core, peers: &Arc<Peers>, standing: &Arc<Standing>) -> Beginning {
        Beginning {
            server: self.config.server,
            voters: self.config.voters.iter().copied().collect(),
            initialize_file: self.config.initialize_file.clone(),
            core: core.clone(),
            peers: Arc::clone(peers),
            standing: Arc::clone(standing),
            progress: Arc::clone(&self.progress),
            placement: self.config.placement,
        }
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
