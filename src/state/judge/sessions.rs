//! Sessions: opening, attaching, closing, expiring.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use jute::ErrorCode;

use super::judge::{Judge, Stop};
use crate::planted::{self, Defect};
use crate::state::record::ids::{SessionId, SessionOwner};
use crate::state::store::StoreError;
use crate::state::txn::{Change, Outcome, SessionRecord};

impl Judge<'_> {
    /// The proposal's session as it is for this proposal.
    fn session_record(&self) -> Option<&SessionRecord> {
        let layers = self.work.layers();
        let changed = layers
            .into_iter()
            .find_map(|layer| layer.sessions.get(&self.session));
        match changed {
            Some(record) => record.as_ref(),
            None => self.state.session(self.session),
        }
    }

    /// Refuses with -112 unless the proposal's session exists, and with -118 if its client has gone
    /// on by another connection: what came by the one before must not take effect behind what comes
    /// by the new one.
    ///
    /// zk: SessionTrackerImpl.checkSession. zk-differs: a request of a session that is gone gets
    /// -112 too, where the leader drops it without an answer.
    pub(in crate::state) fn session_alive(&self) -> Result<(), Stop> {
        match self.session_record() {
            None => Err(Stop::Refused(ErrorCode::SESSION_EXPIRED)),
            Some(record) if record.owner != self.speaker => {
                Err(Stop::Refused(ErrorCode::SESSION_MOVED))
            }
            Some(_) => Ok(()),
        }
    }

    /// Opens the session; one that exists is left alone and refused with -112, so that nobody
    /// takes it over by guessing its id.
    pub(in crate::state) fn open_session(
        &mut self,
        timeout_ms: i32,
        password: [u8; 16],
    ) -> Result<Outcome, Stop> {
        if self.session_record().is_some() {
            return Err(Stop::Refused(ErrorCode::SESSION_EXPIRED));
        }
        self.put_session(Some(SessionRecord {
            timeout_ms,
            password,
            migrated: false,
            owner: self.speaker,
        }));
        Ok(Outcome::SessionOpened)
    }

    /// Gives the session to the connection that asks; -112 if there is none of this id and password.
    ///
    /// zk: ZooKeeperServer.reopenSession, and Leader.revalidateSession with SessionTrackerImpl
    /// .setOwner for a client that comes back to another server.
    pub(in crate::state) fn attach_session(
        &mut self,
        timeout_ms: i32,
        password: &[u8; 16],
    ) -> Result<Outcome, Stop> {
        let known = self.session_record();
        let Some(record) = known.filter(|record| record.password == *password) else {
            return Err(Stop::Refused(ErrorCode::SESSION_EXPIRED));
        };
        let attached = SessionRecord {
            timeout_ms,
            owner: self.speaker,
            ..record.clone()
        };
        self.put_session(Some(attached));
        Ok(Outcome::SessionAttached)
    }

    /// Closes a session that the leader of this term has not heard of; `None` if another term has
    /// begun, or if the session has been attached to another connection since.
    pub(in crate::state) fn expire_session(
        &mut self,
        term: u64,
        owner: SessionOwner,
    ) -> Result<Option<Outcome>, StoreError> {
        let is_owner = |record: &SessionRecord| record.owner == owner;
        let is_due = term == self.term && self.session_record().is_some_and(is_owner);
        if !is_due && !planted::has(Defect::ExpiryNotFenced) {
            return Ok(None);
        }
        if planted::has(Defect::EphemeralKept) {
            self.put_session(None);
            return Ok(Some(Outcome::SessionClosed));
        }
        self.close_session()
    }

    /// Closes the session and deletes its ephemerals, in the order of their paths. `None` if it
    /// is gone already. Who owns the session is not asked.
    ///
    /// zk: PrepRequestProcessor, closeSession, which has no checkSession; DataTree.killSession. ACLs
    /// are not asked.
    pub(in crate::state) fn close_session(&mut self) -> Result<Option<Outcome>, StoreError> {
        if self.session_record().is_none() {
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
