//! What is known in the end.

use super::ensemble::EnsembleSettings;
use crate::{admin, auth, ensemble, leader, net, requests, session, state, storage};

/// The `Config` of every room, and who is in the ensemble.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The listener and its connections.
    pub net: net::Config,
    /// Commands and metrics.
    pub admin: admin::Config,
    /// Chores.
    pub leader: leader::Config,
    /// Bounds of what clients ask for.
    pub requests: requests::Config,
    /// Session timeouts.
    pub session: session::Config,
    /// Schemes.
    pub auth: auth::Config,
    /// How writes become log entries.
    pub batches: ensemble::Batches,
    /// Where the tasks of the ensemble run; `None`: as the number of voters suggests.
    pub placement: Option<ensemble::Placement>,
    /// Who this server is, and who the others are.
    pub ensemble: EnsembleSettings,
    /// Directories and memory.
    pub storage: storage::Config,
    /// What changes how a request is judged.
    pub state: state::Rules,
}
