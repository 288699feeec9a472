//! The composition root: starts the rooms from the disk upwards, and stops them in reverse.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::Inspector;
use crate::auth::Schemes;
use crate::clock::Clock;
use crate::ensemble::{Ensemble, StartError};
use crate::leader;
use crate::net::{Front, ListenError, Listener};
use crate::pipeline::{Deliver, Pipeline, Shared};
use crate::session::Greeter;
use crate::state::{Replica, StoreError};
use crate::storage::{self, StorageError};
use crate::{admin, auth, ensemble, net, pipeline, session, state};

/// Settings of all rooms.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Sockets.
    pub net: net::Config,
    /// Timeouts.
    pub session: session::Config,
    /// Rules that all replicas share.
    pub state: state::Config,
    /// Schemes.
    pub auth: auth::Config,
    /// Disk and memory.
    pub storage: storage::Config,
    /// Chores.
    pub leader: leader::Config,
    /// Bounds.
    pub pipeline: pipeline::Config,
    /// Words and metrics.
    pub admin: admin::Config,
    /// Members.
    pub ensemble: ensemble::Config,
}

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
    /// The system does not say where we listen.
    #[error("ask for the client port's address")]
    Address(#[source] io::Error),
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    client_addr: Option<SocketAddr>,
    pipeline: Arc<Pipeline>,
    stop_clients: CancellationToken,
    stop_chores: CancellationToken,
    listener: Option<JoinHandle<()>>,
    chores: TaskTracker,
    failure: watch::Receiver<Option<Arc<StoreError>>>,
}

impl Server {
    /// Starts all rooms. Clients are served when this returns.
    ///
    /// # Errors
    /// As the rooms: nothing is left running.
    pub async fn start(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, ServerError> {
        // The port is opened first, so that a second server of the same port fails at once, but
        // nobody is accepted before there is something to serve.
        let listener = match settings.net.client_addr {
            Some(addr) => Some(Listener::open(addr, settings.net.clone())?),
            None => None,
        };
        let client_addr = match &listener {
            Some(listener) => Some(listener.local_addr().map_err(ServerError::Address)?),
            None => None,
        };
        let stores = storage::open(&settings.storage)?;
        let replica = Arc::new(Replica::open(Arc::clone(&stores.tree), settings.state.clone())?);
        let shared = Arc::new(Shared::new(
            u64::from(settings.session.tick_ms),
            settings.state.skip_acl,
        ));
        for (id, record) in replica.read().sessions() {
            shared.touches.start(id, record.timeout_ms);
        }
        let ensemble = Ensemble::start(
            settings.ensemble.clone(),
            stores.log,
            stores.snapshots,
            Arc::clone(&replica),
            Arc::new(Deliver::new(Arc::clone(&shared))),
            Arc::clone(&clock),
        )
        .await?;
        shared.set_origin(ensemble.origin());
        let (failed, failure) = watch::channel(None);
        let pipeline = Arc::new(Pipeline {
            shared,
            replica: Arc::clone(&replica),
            ensemble: Arc::new(ensemble),
            greeter: Greeter::new(settings.session, clock.as_ref()),
            schemes: Schemes::new(settings.auth),
            frame_bytes_max: settings.net.frame_bytes_max,
            outstanding_max: usize::try_from(settings.pipeline.outstanding_max).unwrap_or(1000),
            failure: failed,
        });
        let mut server = Self {
            client_addr,
            pipeline: Arc::clone(&pipeline),
            stop_clients: CancellationToken::new(),
            stop_chores: CancellationToken::new(),
            listener: None,
            chores: TaskTracker::new(),
            failure,
        };
        server.start_chores(settings.session.tick_ms, settings.leader, &clock);
        if let Some(listener) = listener {
            let front = Arc::new(Front {
                inspector: Arc::new(Inspector::new(settings.admin, Arc::clone(&pipeline))),
                pipeline,
                clock,
            });
            server.listener =
                Some(tokio::spawn(listener.run(front, server.stop_clients.clone())));
        }
        Ok(server)
    }

    fn start_chores(&self, tick_ms: u32, config: leader::Config, clock: &Arc<dyn Clock>) {
        self.chores.spawn(leader::expire_sessions(
            Arc::clone(&self.pipeline.ensemble),
            Arc::clone(&self.pipeline.shared),
            tick_ms,
            self.stop_chores.clone(),
        ));
        let pipeline = Arc::clone(&self.pipeline);
        let reaping = leader::reap(
            Arc::clone(&pipeline.ensemble),
            Arc::clone(&pipeline.replica),
            Arc::clone(clock),
            config,
            self.stop_chores.clone(),
        );
        self.chores.spawn(async move {
            if let Err(error) = reaping.await {
                pipeline.report_store_failure(error);
            }
        });
        self.chores.close();
    }

    /// Where clients are served; `None` without a client port.
    pub fn client_addr(&self) -> Option<SocketAddr> {
        self.client_addr
    }

    /// Resolves with the reason when a store or the consensus has failed: the process must end.
    pub async fn failed(&self) -> Arc<dyn std::error::Error + Send + Sync> {
        let mut failure = self.failure.clone();
        tokio::select! {
            error = self.pipeline.ensemble.failed() => error,
            _ = failure.wait_for(Option::is_some) => match failure.borrow().clone() {
                Some(error) => error,
                None => Arc::new(io::Error::other("the failure's reason is lost")),
            },
        }
    }

    /// Stops in reverse order of the start: clients, chores, ensemble and stores.
    pub async fn stop(self) {
        self.stop_clients.cancel();
        if let Some(listener) = self.listener
            && let Err(error) = listener.await
        {
            tracing::warn!(%error, "listener ended badly");
        }
        self.stop_chores.cancel();
        self.chores.wait().await;
        self.pipeline.ensemble.stop().await;
    }
}
