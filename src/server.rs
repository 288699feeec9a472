//! The composition root: starts the rooms from the disk upwards, and stops them in reverse.

mod doors;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{Inspector, MetricsProvider, Sources};
use crate::auth::Schemes;
use crate::clock::Clock;
use crate::config::Settings;
use crate::connection::Registry;
use crate::ensemble::{Ensemble, StartError};
use crate::io::{HttpError, HttpListener, TcpNetwork};
use crate::net::{Front, ListenError, Listener};
use crate::requests::{self, Deliver, Requests};
use crate::session::{Greeter, SessionClocks};
use crate::state::{LocalConfig, Replica, StoreError};
use crate::storage::{self, StorageError, Stores};
use crate::{config as settings, ensemble, leader, metrics, session};
use doors::Followed;

/// The server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The disk.
    #[error("open the stores")]
    Storage(#[from] StorageError),
    /// The tree.
    #[error("restore the state")]
    Store(#[from] StoreError),
    /// The log or the consensus on top of it.
    #[error("start the ensemble")]
    Ensemble(#[from] StartError),
    /// The client port.
    #[error("open the client port")]
    Listen(#[from] ListenError),
    /// The port of the metrics.
    #[error("open the metrics' port")]
    Metrics(#[from] HttpError),
    /// The system does not say where we listen.
    #[error("ask for the client port's address")]
    Address(#[source] io::Error),
}

/// How long a stop waits for the stores to be closed. What they have not written by then is in the
/// log.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(2);

/// How long a client waits that has seen more than this server, if there are others that may have more.
const CATCH_UP_TIME: Duration = Duration::from_secs(1);

/// A server that is to vote has at least so long to catch up before it is complained, milliseconds.
const CATCH_UP_MS_MIN: u64 = 10_000;

/// How long it waits for connections to end, each of which has five seconds for its last words.
const CLIENTS_TIME_MAX: Duration = Duration::from_secs(6);

/// A running server.
#[derive(Debug)]
pub struct Server {
    client_addr: Option<SocketAddr>,
    stop_clients: CancellationToken,
    stop_chores: CancellationToken,
    listener: Option<JoinHandle<()>>,
    members: Option<Followed>,
    metrics_addr: Option<SocketAddr>,
    scraped: Option<JoinHandle<()>>,
    chores: TaskTracker,
    front: Arc<Front>,
    inspector: Arc<Inspector>,
    requests: Arc<Requests>,
    ensemble: Arc<Ensemble>,
}

/// A server failed while it was running.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Reading the tree.
    #[error("read the tree")]
    Store(#[source] Arc<StoreError>),
    /// The log, the tree or the consensus.
    #[error("run the ensemble")]
    Ensemble(#[source] Arc<ensemble::Failure>),
}

/// Opens the client port, so that a second server of the same port fails at once; nobody is accepted
/// before there is something to serve.
fn open_client_port(
    settings: &Settings,
) -> Result<(Option<Listener>, Option<SocketAddr>), ServerError> {
    let Some(addr) = settings.net.client_addr else {
        return Ok((None, None));
    };
    let listener = Listener::open(addr, settings.net.clone())?;
    let bound = listener.local_addr().map_err(ServerError::Address)?;
    Ok((Some(listener), Some(bound)))
}

/// Opens the port of the metrics, if Prometheus is to read them.
fn open_metrics_port(settings: &Settings) -> Result<Option<HttpListener>, ServerError> {
    match settings.admin.metrics_provider {
        MetricsProvider::Prometheus { addr, .. } => Ok(Some(HttpListener::open(addr)?)),
        MetricsProvider::Default | MetricsProvider::Null => Ok(None),
    }
}

/// The clocks of the sessions that there are, each with its whole timeout.
fn session_clocks(settings: &Settings, replica: &Replica) -> SessionClocks {
    let sessions = SessionClocks::new(u64::from(settings.session.tick_ms));
    let state = replica.read();
    let live = state.sessions();
    sessions.replace(live.map(|(id, record)| (id, record.timeout_ms, record.owner.origin.server)));
    sessions
}

/// Runs what may wait for the disk for as long as that takes; whoever waits for it may stop to.
async fn off_worker<T: Send + 'static>(
    open: impl FnOnce() -> Result<T, ServerError> + Send + 'static,
) -> Result<T, ServerError> {
    match tokio::task::spawn_blocking(open).await {
        Ok(opened) => opened,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is going down, and this with it.
        Err(_) => std::future::pending().await,
    }
}

/// The disk, and the state that it holds.
async fn open_stores(
    settings: &Settings,
    clock: &dyn Clock,
) -> Result<(Arc<Stores>, Arc<Replica>), ServerError> {
    let opening = Instant::now();
    let (mut storage, rules) = (settings.storage.clone(), settings.state);
    storage.has_others = settings.ensemble.members.len() > 1;
    let opened = off_worker(move || {
        let stores = Arc::new(storage::open(&storage)?);
        let replica = Replica::open(stores.tree(), rules)?;
        Ok((stores, Arc::new(replica)))
    });
    let (stores, replica) = opened.await?;
    metrics::database_opened(opening.elapsed());
    if let Some(local) = local_config(settings, clock) {
        replica.show_config(local);
    }
    Ok((stores, replica))
}

/// What `/zookeeper/config` shows; nothing in a standalone server.
fn local_config(settings: &Settings, clock: &dyn Clock) -> Option<LocalConfig> {
    let members = &settings.ensemble;
    let text = (!members.standalone).then(|| members.config_text())?;
    Some(LocalConfig::new(&text, members.version, clock.wall_ms()))
}

/// Where a member is reached by the others.
fn peer_addresses(member: &settings::Member) -> Vec<ensemble::PeerAddress> {
    let address = |one: &settings::PeerAddress| ensemble::PeerAddress {
        host: one.host.clone(),
        port: one.quorum_port,
    };
    member.addresses.iter().map(address).collect()
}

/// Where this server listens for the others; nowhere in a standalone server.
///
/// zk: quorumListenOnAllIPs.
fn peer_listen(members: &settings::EnsembleSettings) -> Vec<ensemble::PeerAddress> {
    let mut listen = members.own().map(peer_addresses).unwrap_or_default();
    if members.listen_on_all_ips {
        for address in &mut listen {
            "::".clone_into(&mut address.host);
        }
        listen.sort();
        listen.dedup();
    }
    listen
}

/// Where requests change the members the log says who they are, unless the files are newer, or this server
/// is none of them: then it is what its files say that it presents.
fn take_members(
    listed: &mut settings::EnsembleSettings,
    rules: &crate::state::Rules,
    replica: &Replica,
) {
    let current = replica.read().meta().lineups.current.clone();
    let Some(current) = current.filter(|_| rules.reconfig_enabled && !listed.standalone) else {
        return;
    };
    let version = u64::try_from(current.version.0).unwrap_or_default();
    if listed.version <= version && current.members.contains_key(&listed.me) {
        listed.members = current.members.values().cloned().collect();
        listed.version = version;
    }
}

/// What the ensemble is told.
fn ensemble_config(settings: &Settings) -> ensemble::Config {
    let members = &settings.ensemble;
    let config = ensemble::Config::new(members.me, members.voters());
    let mut config = config.with_batches(settings.batches);
    if let Some(placement) = settings.placement {
        config.placement = placement;
    }
    config.observers = members.observers();
    config.version = members.version;
    config.members_by_files = !settings.state.reconfig_enabled;
    if settings.state.reconfig_enabled && !members.standalone {
        let listed = members.members.iter().cloned();
        config.members = Some(listed.map(|one| (one.id, one)).collect());
        if settings.placement.is_none() {
            // Others may come.
            config.placement = ensemble::Placement::Several;
        }
        config.set_window(config.window_batches);
    }
    let init_limit_ms = u64::try_from(members.init_limit().as_millis()).unwrap_or(u64::MAX);
    config.catch_up_ms = init_limit_ms.max(CATCH_UP_MS_MIN);
    config.heartbeat_ms = u64::from(members.heartbeat_ms);
    config.election_ms_min = u64::from(members.election_ms_min);
    config.election_ms_max = u64::from(members.election_ms_max);
    config.addresses = members
        .members
        .iter()
        .map(|member| (member.id, peer_addresses(member)))
        .collect();
    config.listen = peer_listen(members);
    config.secret_file.clone_from(&members.peer_secret_file);
    config.initialize_file = Some(settings.storage.data_dir.join("initialize"));
    // Whoever is sent away must find another server while its session lives; but an election is waited
    // for, whatever the limits say.
    let sync_limit_ms = u64::try_from(members.sync_limit().as_millis()).unwrap_or(u64::MAX);
    let timeout_ms = u64::from(settings.session.timeout_ms_min);
    config.patience_ms = sync_limit_ms
        .min(timeout_ms / 2)
        .max(2 * config.election_ms_max);
    config.lag_ms_max = sync_limit_ms.max(4 * config.election_ms_max);
    let snap_bytes = settings.storage.snap_size_limit_bytes.unwrap_or(u64::MAX);
    config.checkpoint_log_bytes = settings.storage.log_bytes_before_flush.min(snap_bytes);
    config.checkpoint_entries = settings.storage.snap_count;
    config
}

/// A standalone server is whom its data says, also where `myid` has come later, and keeps that number when
/// others join it. From then on the data says so by itself.
async fn keep_id(
    config: &mut ensemble::Config,
    settings: &Settings,
    stores: &Stores,
    replica: &Replica,
) -> Result<(), ServerError> {
    if settings.ensemble.standalone
        && let Some(owner) = ensemble::lone_owner(&stores.log, replica).await?
    {
        config.is_owned_by(owner);
    }
    let (storage, server) = (settings.storage.clone(), config.server);
    off_worker(move || Ok(storage::claim_for(&storage, server)?)).await
}

/// Whether there are other servers, or may be before this one is started again: an ensemble of one grows
/// by requests.
fn may_have_others(settings: &Settings) -> bool {
    let grows = settings.state.reconfig_enabled && !settings.ensemble.standalone;
    settings.ensemble.members.len() > 1 || grows
}

/// What serves the clients.
fn requests(
    settings: &Settings,
    deliver: Deliver,
    replica: &Arc<Replica>,
    ensemble: &Arc<Ensemble>,
    clock: &dyn Clock,
) -> Arc<Requests> {
    let has_others = may_have_others(settings);
    Arc::new(Requests::new(requests::Parts {
        deliver,
        replica: Arc::clone(replica),
        ensemble: Arc::clone(ensemble),
        greeter: Greeter::new(settings.session, clock),
        schemes: Schemes::new(settings.auth.clone()),
        config: requests::Config {
            // Nobody else could have acknowledged anything.
            linearizable_reads: has_others && settings.requests.linearizable_reads,
            ..settings.requests
        },
        frame_bytes_max: settings.net.frame_bytes_max,
        catch_up_time: if has_others {
            CATCH_UP_TIME
        } else {
            Duration::ZERO
        },
    }))
}

impl Server {
    /// Starts all rooms. Clients are served when this returns.
    ///
    /// # Errors
    /// As the rooms: nothing is left running.
    pub async fn start(mut settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, ServerError> {
        let (listener, client_addr) = open_client_port(&settings)?;
        let scraped = open_metrics_port(&settings)?;
        let (stores, replica) = open_stores(&settings, &*clock).await?;
        take_members(&mut settings.ensemble, &settings.state, &replica);
        let mut config = ensemble_config(&settings);
        let sessions = Arc::new(session_clocks(&settings, &replica));
        keep_id(&mut config, &settings, &stores, &replica).await?;
        let origin = ensemble::origin(config.server, &stores.log, &replica, &*clock).await?;
        let connections = Arc::new(Registry::default());
        let deliver = Deliver::new(
            Arc::clone(&connections),
            Arc::clone(&sessions),
            origin,
            settings.state.skip_acl,
        );
        let started = Ensemble::start(ensemble::Parts {
            config,
            origin,
            log: Arc::clone(&stores.log),
            snapshots: Arc::clone(&stores.snapshots),
            replica: Arc::clone(&replica),
            sink: Arc::new(deliver.clone()),
            clock: Arc::clone(&clock),
            network: Arc::new(TcpNetwork),
            touched: Arc::clone(&sessions) as Arc<dyn ensemble::Touched>,
        });
        let ensemble = Arc::new(started.await?);
        let requests = requests(&settings, deliver, &replica, &ensemble, &*clock);
        let sources = Sources {
            connections: Arc::clone(&connections),
            sessions: Arc::clone(&sessions),
            requests: Arc::clone(&requests),
            replica: Arc::clone(&replica),
            ensemble: Arc::clone(&ensemble),
            stores,
            clock: Arc::clone(&clock),
            client_addr,
            voters: settings.ensemble.quorum_size(),
            started: Instant::now(),
        };
        let inspector = Arc::new(Inspector::new(settings.admin.clone(), sources));
        let front = Front::new(
            Arc::clone(&requests),
            Arc::clone(&inspector),
            Arc::clone(&connections),
            Arc::clone(&sessions),
            Arc::clone(&clock),
        );
        let server = Self {
            client_addr,
            stop_clients: CancellationToken::new(),
            stop_chores: CancellationToken::new(),
            listener: None,
            members: Followed::of(&settings),
            metrics_addr: scraped.as_ref().map(HttpListener::local_addr),
            scraped: None,
            chores: TaskTracker::new(),
            front: Arc::new(front),
            inspector,
            requests,
            ensemble,
        };
        server.expire_sessions(Arc::clone(&replica), sessions, settings.session.tick_ms);
        server.reap(replica, clock, settings.leader);
        server.send_away();
        Ok(server.open_doors(listener, scraped))
    }

    /// From here on clients and scrapers are accepted.
    fn open_doors(mut self, listener: Option<Listener>, scraped: Option<HttpListener>) -> Self {
        if let Some(scraped) = scraped {
            let answer = Arc::clone(&self.inspector) as Arc<_>;
            let serving = scraped.run(answer, self.stop_clients.clone());
            self.scraped = Some(tokio::spawn(serving));
        }
        let (front, stop) = (Arc::clone(&self.front), self.stop_clients.clone());
        self.listener = match (listener, self.members.take()) {
            (Some(listener), Some(members)) => {
                let serving = members.serve(listener, self.ensemble.lineups(), front, stop);
                Some(tokio::spawn(serving))
            }
            (Some(listener), None) => {
                let never = CancellationToken::new();
                Some(tokio::spawn(listener.run(front, stop, never)))
            }
            (None, _) => None,
        };
        self
    }

    fn expire_sessions(&self, replica: Arc<Replica>, sessions: Arc<SessionClocks>, tick_ms: u32) {
        self.chores.spawn(session::report_touches(
            Arc::clone(&self.ensemble),
            Arc::clone(&sessions),
            tick_ms,
            self.stop_chores.clone(),
        ));
        self.chores.spawn(leader::expire_sessions(
            Arc::clone(&self.ensemble),
            replica,
            sessions,
            tick_ms,
            self.stop_chores.clone(),
        ));
    }

    fn reap(&self, replica: Arc<Replica>, clock: Arc<dyn Clock>, config: leader::Config) {
        let requests = Arc::clone(&self.requests);
        let reaping = leader::reap(
            Arc::clone(&self.ensemble),
            replica,
            clock,
            config,
            self.stop_chores.clone(),
        );
        self.chores.spawn(async move {
            if let Err(error) = reaping.await {
                requests.report_store_failure(error);
            }
        });
    }

    /// Closes all clients' connections whenever there has been no leader for too long: they look for a
    /// server that has one.
    fn send_away(&self) {
        let (requests, stop) = (Arc::clone(&self.requests), self.stop_chores.clone());
        let mut admitting = self.ensemble.admitting();
        self.chores.spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = admitting.changed() => if changed.is_err() { return },
                }
                if !*admitting.borrow_and_update() {
                    requests.send_away();
                }
            }
        });
    }

    /// What serves the connections.
    #[cfg(test)]
    pub(crate) fn front(&self) -> &Arc<Front> {
        &self.front
    }

    /// What serves the clients' requests.
    #[cfg(test)]
    pub(crate) fn requests(&self) -> &Arc<Requests> {
        &self.requests
    }

    /// Where clients are served; `None` without a client port.
    pub fn client_addr(&self) -> Option<SocketAddr> {
        self.client_addr
    }

    /// Where `/metrics` is served; `None` without Prometheus' provider.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics_addr
    }

    /// What the server is at: for `kill -QUIT`.
    pub async fn situation(&self) -> String {
        self.inspector.situation().await
    }

    /// Resolves with the reason when a store or the consensus has failed: the process must end.
    pub async fn failed(&self) -> RunError {
        tokio::select! {
            error = self.ensemble.failed() => RunError::Ensemble(error),
            error = self.requests.store_failed() => RunError::Store(error),
        }
    }

    /// Stops in reverse order of the start: clients, chores, ensemble and stores. A disk that hangs is
    /// not waited for: then the process must end, which nothing here keeps it from.
    pub async fn stop(self) {
        self.ensemble.hand_over().await;
        self.stop_clients.cancel();
        for listener in [self.listener, self.scraped].into_iter().flatten() {
            match timeout(CLIENTS_TIME_MAX, listener).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "listener ended badly"),
                Err(_) => tracing::warn!("connections were left behind"),
            }
        }
        self.stop_chores.cancel();
        self.chores.close();
        if timeout(CLOSE_TIME_MAX, self.chores.wait()).await.is_err() {
            tracing::warn!("the leader's chores were left behind");
        }
        self.ensemble.stop().await;
        let close = tokio::task::spawn_blocking(move || {
            drop((self.front, self.inspector, self.requests, self.ensemble));
        });
        if timeout(CLOSE_TIME_MAX, close).await.is_err() {
            tracing::warn!("the tree was not closed: apply is busy, or the disk does not answer");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_leaves_what_the_window_that_was_set_may_need() {
        let mut settings = Settings::default();
        settings.batches.window = 64;
        let config = ensemble_config(&settings);
        assert_eq!((config.window_batches, config.entries_kept), (64, 128));
    }
}
