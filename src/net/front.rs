//! What connections are served with.

use std::sync::Arc;

use crate::admin::Inspector;
use crate::clock::Clock;
use crate::connection::Registry;
use crate::requests::Requests;
use crate::session::SessionClocks;

/// What connections are served with: where their bytes go, once it is known what they are.
#[derive(Debug)]
pub struct Front {
    pub(super) requests: Arc<Requests>,
    pub(super) inspector: Arc<Inspector>,
    pub(super) connections: Arc<Registry>,
    pub(super) sessions: Arc<SessionClocks>,
    /// Wall clock, for `cons`.
    pub(super) clock: Arc<dyn Clock>,
}

impl Front {
    /// `requests` take what is no command word, `inspector` what is one; who comes is entered in
    /// `connections`, and those of `sessions` are told whether their clients are listened to.
    pub fn new(
        requests: Arc<Requests>,
        inspector: Arc<Inspector>,
        connections: Arc<Registry>,
        sessions: Arc<SessionClocks>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            requests,
            inspector,
            connections,
            sessions,
            clock,
        }
    }
}
