//! Sessions: opening, closing, expiring.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use jute::ErrorCode;

use super::judge::{Judge, Stop};
use crate::state::record::ids::SessionId;
use crate::state::store::StoreError;
use crate::state::txn::{Change, Outcome, SessionRecord};

impl Judge<'_> {
    /// Refuses with -112 unless the proposal's session exists.
    ///
    /// zk: SessionTrackerImpl.checkSession. zk-differs: a request of a session that is gone gets
    /// -112 too, where the leader drops it without an answer.
    pub(in crate::state) fn session_alive(&self) -> Result<(), Stop> {
        for layer in self.work.layers() {
            match layer.sessions.get(&self.session) {
                Some(Some(_)) => return Ok(()),
                Some(None) => return Err(Stop::Refused(ErrorCode::SESSION_EXPIRED)),
                None => {}
            }
        }
        match self.state.session(self.session) {
            Some(_) => Ok(()),
            None => Err(Stop::Refused(ErrorCode::SESSION_EXPIRED)),
        }
    }

    /// Opens the session; one that exists is left alone and refused with -112, so that nobody
    /// takes it over by guessing its id.
    pub(in crate::state) fn open_session(
        &mut self,
        timeout_ms: i32,
        password: [u8; 16],
    ) -> Result<Outcome, Stop> {
        if self.session_alive().is_ok() {
            return Err(Stop::Refused(ErrorCode::SESSION_EXPIRED));
        }
        let owner = self.server;
        self.put_session(Some(SessionRecord {
            timeout_ms,
            password,
            migrated: false,
            owner,
        }));
        Ok(Outcome::SessionOpened)
    }

    /// Closes the session and deletes its ephemerals, in the order of their paths. `None` if it
    /// is gone already.
    ///
    /// zk: PrepRequestProcessor, closeSession, and DataTree.killSession. ACLs are not asked.
    pub(in crate::state) fn close_session(&mut self) -> Result<Option<Outcome>, StoreError> {
        if self.session_alive().is_err() {
            return Ok(None);
        }
        for path in self.ephemerals() {
            if let Some(node) = self.znode(&path)? {
                self.remove(&path, &node)?;
            }
        }
        self.put_session(None);
        Ok(Some(Outcome::SessionClosed))
    }

    fn put_session(&mut self, after: Option<SessionRecord>) {
        let id = self.session;
        self.work.top().sessions.insert(id, after.clone());
        self.work.changes.push(Change::Session { id, after });
    }

    /// Whether the index of ephemerals, as it is for this proposal, has `path` as the session's.
    pub(in crate::state) fn is_owned(&self, session: SessionId, path: &Arc<str>) -> bool {
        let key = (session, Arc::clone(path));
        let layers = self.work.layers();
        let changed = layers.iter().find_map(|layer| layer.ephemerals.get(&key));
        changed
            .copied()
            .unwrap_or_else(|| self.state.is_owned(session, path))
    }

    /// The session's ephemerals as they are for this proposal, in order.
    fn ephemerals(&self) -> Vec<Arc<str>> {
        let installed = self.state.ephemerals(self.session);
        let mut paths: BTreeMap<Arc<str>, bool> =
            installed.map(|path| (Arc::clone(path), true)).collect();
        let from = Bound::Included((self.session, Arc::from("")));
        let [multi, slice] = self.work.layers();
        for layer in [slice, multi] {
            let behind = layer.ephemerals.range((from.clone(), Bound::Unbounded));
            let own = behind.take_while(|((session, _), _)| *session == self.session);
            paths.extend(own.map(|((_, path), added)| (Arc::clone(path), *added)));
        }
        paths
            .into_iter()
            .filter(|(_, added)| *added)
            .map(|(path, _)| path)
            .collect()
    }
}
