//! Start: puts the parts of the room together and waits until this server serves.

use std::collections::BTreeSet;
use std::sync::Arc;

use openraft::async_runtime::WatchReceiver as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::state::{LogPosition, Origin, Replica, ServerId};
use crate::storage::{Log, Snapshots, StorageError};

use super::checkpoint::{self, Pressure};
use super::config::Config;
use super::error::{Failure, StartError};
use super::members::role;
use super::members::role::Role;
use super::origin::barrier::Barrier;
use super::origin::batcher;
use super::origin::queue::Queue;
use super::placement::Home;
use super::progress::Progress;
use super::raft::log_store::LogStore;
use super::raft::machine::Machine;
use super::raft::network::NoPeers;
use super::raft::types::{Fatal, Raft};
use super::{Ensemble, Parts};

/// What is run at home.
struct Unstarted {
    config: Config,
    /// What the tree holds.
    applied: Option<LogPosition>,
    log: Arc<dyn Log>,
    progress: Arc<Progress>,
    queue: Arc<Queue>,
    pressure: Arc<Pressure>,
    machine: Machine,
}

/// The parts that run.
struct Tasks {
    raft: Raft,
    roles: watch::Receiver<Role>,
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
    let queue = Arc::new(Queue::new(origin, &config, clock, rules));
    let pressure = Arc::new(pressure(&config, &*log, &*snapshots)?);
    let machine = Machine::new(
        origin,
        replica,
        sink,
        snapshots,
        Arc::clone(&queue),
        Arc::clone(&progress),
    );
    let home = Home::new(&config)?;
    let unstarted = Unstarted {
        config: config.clone(),
        applied,
        log: Arc::clone(&log),
        progress: Arc::clone(&progress),
        queue: Arc::clone(&queue),
        pressure,
        machine,
    };
    let Tasks {
        raft,
        roles,
        tasks,
        stopping,
    } = home.run(unstarted.spawn()).await?;

    let ensemble = Ensemble {
        origin,
        raft,
        log,
        queue,
        progress,
        roles,
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
            queue,
            pressure,
            machine,
        } = self;
        let mut log_store = LogStore::new(
            log,
            Arc::clone(&progress),
            Arc::clone(&pressure),
            Home::is_one_thread(&config),
        );
        if let Some(applied) = applied {
            let raised = log_store.raise_vote(applied.term, config.server).await;
            raised.map_err(|_| {
                let doing = "raise the vote";
                let first = progress.failure();
                StartError::Failed(first.unwrap_or_else(|| Arc::new(Failure::CutOff { doing })))
            })?;
        }
        let raft_config = Arc::new(config.raft()?);
        let raft = Raft::new(config.server.0, raft_config, NoPeers, log_store, machine)
            .await
            .map_err(|fatal| failed(&progress, fatal))?;
        let stopping = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (role_sender, roles) = watch::channel(Role::Follower { leader: None });
        tasks.spawn(role::watch(
            raft.clone(),
            role_sender,
            Arc::clone(&queue),
            Arc::clone(&progress),
            stopping.clone(),
        ));
        tasks.spawn(batcher::run(queue, raft.clone(), stopping.clone()));
        tasks.spawn(checkpoint::run(
            raft.clone(),
            pressure,
            progress,
            stopping.clone(),
        ));
        Ok(Tasks {
            raft,
            roles,
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
    let Ensemble { raft, progress, .. } = ensemble;
    let configured: BTreeSet<u64> = config.voters.iter().map(|voter| voter.0).collect();
    let is_initialized = raft.is_initialized().await;
    if !is_initialized.map_err(|fatal| failed(progress, fatal))? {
        return raft.initialize(configured).await.map_err(|error| {
            let failure = progress.failure().map(StartError::Failed);
            failure.unwrap_or(StartError::Initialize(Box::new(error)))
        });
    }
    let stored: BTreeSet<u64> = {
        let metrics = raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.voter_ids().collect()
    };
    if stored != configured {
        return Err(StartError::OtherMembers {
            stored: stored.into_iter().map(ServerId).collect(),
            configured: config.voters.clone(),
        });
    }
    let elected = raft.trigger().elect(config.voters.len() > 1).await;
    elected.map_err(|fatal| failed(progress, fatal))
}

/// Waits for a leader, and until an entry of its term is applied here: then everything that was
/// ever acknowledged is.
async fn serve(ensemble: &Ensemble) -> Result<(), StartError> {
    let served = async {
        let mut roles = ensemble.roles();
        let role = roles.wait_for(|role| role.leads().is_some()).await;
        let term = role.ok().and_then(|role| role.leads()).unwrap_or(0);
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

/// The failure behind what openraft says.
fn failed(progress: &Progress, fatal: Fatal) -> StartError {
    let first = progress.failure();
    StartError::Failed(first.unwrap_or_else(|| Arc::new(Failure::Core(Box::new(fatal)))))
}

fn storage_failed(error: StorageError) -> StartError {
    StartError::Failed(Arc::new(Failure::Storage(error)))
}
