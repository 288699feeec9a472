//! Start: puts the parts of the room together and waits until this server serves.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::state::Config as Rules;
use crate::state::{LogPosition, Origin, Replica, ServerId};
use crate::storage::{Log, Snapshots, StorageError};

use super::config::Config;
use super::error::{Failure, StartError};
use super::origin::barrier::Barrier;
use super::origin::outgoing::Outgoing;
use super::origin::proposals::Proposals;
use super::origin::sender;
use super::placement::Home;
use super::progress::Progress;
use super::raft::applier::{Applier, Applying, Thread};
use super::raft::checkpoint::Pressure;
use super::raft::core::{Core, View};
use super::raft::log_store::LogStore;
use super::raft::machine::Machine;
use super::raft::network::NoPeers;
use super::{Ensemble, Parts};

/// What is run at home.
struct Unstarted {
    config: Config,
    /// What the tree holds.
    applied: Option<LogPosition>,
    log: Arc<dyn Log>,
    progress: Arc<Progress>,
    proposals: Arc<Proposals>,
    pressure: Arc<Pressure>,
    machine: Machine,
    rules: Rules,
}

/// The parts that run.
struct Tasks {
    core: Core,
    views: watch::Receiver<View>,
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
    } = parts;
    config.validate()?;
    let applied = replica.read().applied();
    let progress = Arc::new(Progress::new(applied));
    let rules = *replica.read().config();
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
    let applying = if config.placement.is_one_thread() {
        Applying::Here(applier)
    } else {
        Applying::There(Thread::start(applier).map_err(StartError::Thread)?)
    };
    let machine = Machine::new(applying, replica, snapshots, Arc::clone(&progress));
    let home = Home::new()?;
    let unstarted = Unstarted {
        config: config.clone(),
        applied,
        log: Arc::clone(&log),
        progress: Arc::clone(&progress),
        proposals: Arc::clone(&proposals),
        pressure,
        machine,
        rules,
    };
    let Tasks {
        core,
        views,
        tasks,
        stopping,
    } = home.run(unstarted.spawn()).await?;

    let ensemble = Ensemble {
        origin,
        core,
        log,
        proposals,
        progress,
        views,
        barrier: Barrier::default(),
        tasks,
        stopping,
        home,
    };
    join(&config, &ensemble).await?;
    serve(&ensemble).await?;
    tracing::info!(role = %ensemble.role(), applied = ?ensemble.progress.applied(), "serving");
    Ok(ensemble)
}

impl Unstarted {
    /// Starts openraft, which replays the log up to what was known to be committed, and the tasks
    /// around it.
    async fn spawn(self) -> Result<Tasks, StartError> {
        let Self {
            config,
            applied,
            log,
            progress,
            proposals,
            pressure,
            machine,
            rules,
        } = self;
        let mut log_store = LogStore::new(
            log,
            Arc::clone(&progress),
            Arc::clone(&pressure),
            config.placement.is_one_thread(),
        );
        if let Some(applied) = applied {
            let raised = log_store.raise_vote(applied.term, config.server).await;
            raised.map_err(|_| {
                let doing = "raise the vote";
                let first = progress.failure();
                StartError::Failed(first.unwrap_or_else(|| Arc::new(Failure::CutOff { doing })))
            })?;
        }
        let core = Core::start(&config, NoPeers, log_store, machine, progress).await?;
        let stopping = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (view_sender, views) = watch::channel(View::NONE);
        let (told, here) = (Arc::clone(&proposals), config.server);
        tasks.spawn(core.clone().watch(
            view_sender,
            move |leader| told.leader(leader, here),
            stopping.clone(),
        ));
        tasks.spawn(sender::run(
            proposals,
            core.clone(),
            rules,
            stopping.clone(),
        ));
        tasks.spawn(core.clone().take_checkpoints(pressure, stopping.clone()));
        Ok(Tasks {
            core,
            views,
            tasks,
            stopping,
        })
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

/// Writes the first membership into a new log, or checks that of an old one and stands for
/// election at once: a lone voter has nobody to wait for.
async fn join(config: &Config, ensemble: &Ensemble) -> Result<(), StartError> {
    let core = &ensemble.core;
    let configured: BTreeSet<ServerId> = config.voters.iter().copied().collect();
    let Some(stored) = core.voters().await? else {
        return core.initialize(configured).await;
    };
    if stored != configured {
        return Err(StartError::OtherMembers {
            stored: stored.into_iter().collect(),
            configured: config.voters.clone(),
        });
    }
    core.elect(config.voters.len() > 1).await
}

/// Waits for a leader, and until an entry of its term is applied here: then everything that was
/// ever acknowledged is.
async fn serve(ensemble: &Ensemble) -> Result<(), StartError> {
    let served = async {
        let mut views = ensemble.views.clone();
        let view = views.wait_for(|view| view.leader.is_some()).await;
        let leader = view.ok().and_then(|view| view.leader);
        let term = leader.map_or(0, |(_, term)| term);
        let progress = &ensemble.progress;
        progress
            .until(|at| at.is_some_and(|at| at.term >= term))
            .await;
    };
    tokio::select! {
        failure = ensemble.failed() => Err(StartError::Failed(failure)),
        () = served => Ok(()),
    }
}

fn storage_failed(error: StorageError) -> StartError {
    StartError::Failed(Arc::new(Failure::Storage(error)))
}
