//! [`State`]: what all replicas agree on, as far as it is kept in memory; and [`Replica`], the
//! lock around it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use jute::Acl;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use super::acl::{AclTable, closed_list, open_list};
use super::judge::genesis;
use super::judge::overlay::{Counters, Overlay};
use super::local_config::LocalConfig;
use super::record::ids::{AclId, LogPosition, ServerId, SessionId, Zxid};
use super::record::path;
use super::record::znode::Znode;
use super::rules::Rules;
use super::sink::Sink;
use super::store::{Entry, Missing, Peek, Pins, Restored, Store, StoreError, View};
use super::txn::{Change, Cursor, Meta, SessionRecord, Txn};

/// The replicated state at one moment. Znodes are in its store; the small rest is here.
#[derive(Debug)]
pub struct State {
    rules: Rules,
    store: Arc<dyn Store>,
    pub(super) meta: Meta,
    sessions: BTreeMap<SessionId, SessionRecord>,
    ephemerals: BTreeMap<SessionId, BTreeSet<Arc<str>>>,
    acls: AclTable,
    quotas: BTreeSet<Arc<str>>,
    /// Of this server, and no part of what replicas agree on.
    local_config: Option<LocalConfig>,
}

impl State {
    /// Reads the state back; a new tree gets its first znodes, the same on all replicas.
    fn open(store: Arc<dyn Store>, rules: Rules) -> Result<Self, StoreError> {
        let restored = store.restore()?;
        let mut state = Self::new(Arc::clone(&store), rules, restored);
        if store.load(path::ROOT)?.is_none() {
            let (txn, counters) = genesis::first_txn();
            let mut entry = store.entry();
            state.install(&mut entry, &txn, counters);
            entry.stage(&[txn])?;
            entry.persist(&state.meta)?;
        }
        Ok(state)
    }

    fn new(store: Arc<dyn Store>, rules: Rules, restored: Restored) -> Self {
        let mut acls = AclTable::default();
        for (id, list, references) in &restored.acls {
            acls.set(*id, list, *references);
        }
        let mut state = Self {
            rules,
            store,
            meta: restored.meta,
            sessions: restored.sessions.into_iter().collect(),
            ephemerals: BTreeMap::new(),
            acls,
            quotas: restored.quotas.into_iter().collect(),
            local_config: None,
        };
        for (session, path) in restored.ephemerals {
            state.own(session, path);
        }
        state
    }

    /// Counts this ephemeral as the session's.
    fn own(&mut self, session: SessionId, path: Arc<str>) {
        self.ephemerals.entry(session).or_default().insert(path);
    }

    /// Makes the changes of a txn visible: the only way in which the state changes.
    pub(super) fn install(&mut self, entry: &mut Entry<'_>, txn: &Txn, counters: Counters) {
        entry.install(txn);
        for change in &txn.changes {
            match change {
                Change::Znode { .. } | Change::Reap { .. } => {}
                Change::Session {
                    id,
                    after: Some(record),
                } => {
                    self.sessions.insert(*id, record.clone());
                }
                Change::Session { id, after: None } => {
                    self.sessions.remove(id);
                }
                Change::Ephemeral {
                    session,
                    path,
                    added: true,
                } => self.own(*session, Arc::clone(path)),
                Change::Ephemeral {
                    session,
                    path,
                    added: false,
                } => {
                    if let Some(paths) = self.ephemerals.get_mut(session) {
                        paths.remove(path);
                        if paths.is_empty() {
                            self.ephemerals.remove(session);
                        }
                    }
                }
                Change::Acl {
                    id,
                    list,
                    references,
                } => self.acls.set(*id, list, *references),
                Change::Quota { path, added: true } => {
                    self.quotas.insert(Arc::clone(path));
                }
                Change::Quota { path, added: false } => {
                    self.quotas.remove(path);
                }
                Change::Lineups(lineups) => self.meta.lineups.clone_from(lineups),
            }
        }
        self.meta.last_zxid = txn.zxid;
        counters.store(&mut self.meta);
    }

    /// The settings that judging depends on.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What this server shows in `/zookeeper/config`; `None` in a standalone server.
    pub(super) fn local_config(&self) -> Option<&LocalConfig> {
        self.local_config.as_ref()
    }

    /// The txn that said last who is a member, if requests do not change the members any more.
    pub(super) fn outdated(&self) -> Option<Zxid> {
        let current = self.meta.lineups.current.as_ref();
        let current = current.filter(|_| !self.rules.reconfig_enabled);
        current.map(|current| current.version)
    }

    /// Bytes of data in the tree, with what only this server shows.
    pub fn data_bytes_shown(&self) -> u64 {
        let bytes = self.meta.data_bytes;
        let Some(local) = &self.local_config else {
            return bytes;
        };
        let Peek::Known(Some(node)) = self.peek_znode(path::CONFIG) else {
            return bytes;
        };
        if local.over(path::CONFIG, &node, self.outdated()).is_none() {
            return bytes;
        }
        let hidden = bytes.saturating_sub(node.data_bytes() as u64);
        hidden.saturating_add(local.text_bytes() as u64)
    }

    /// The last txn.
    pub fn last_zxid(&self) -> Zxid {
        self.meta.last_zxid
    }

    /// The log up to here is in the state. Within an entry it is the position before it.
    pub fn applied(&self) -> Option<LogPosition> {
        self.meta.applied
    }

    /// The small rest: counts, membership, time, cursors.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// How far the proposals of a server have been applied.
    pub fn cursor(&self, server: ServerId) -> Cursor {
        self.meta.cursors.get(&server).copied().unwrap_or_default()
    }

    /// A live session.
    pub fn session(&self, id: SessionId) -> Option<&SessionRecord> {
        self.sessions.get(&id)
    }

    /// All live sessions, by id.
    pub fn sessions(&self) -> impl ExactSizeIterator<Item = (SessionId, &SessionRecord)> {
        self.sessions.iter().map(|(id, record)| (*id, record))
    }

    /// The ephemerals of a session, by path.
    pub fn ephemerals(&self, session: SessionId) -> impl Iterator<Item = &Arc<str>> {
        self.ephemerals.get(&session).into_iter().flatten()
    }

    /// Whether `path` is an ephemeral of this session.
    pub(super) fn is_owned(&self, session: SessionId, path: &Arc<str>) -> bool {
        let paths = self.ephemerals.get(&session);
        paths.is_some_and(|paths| paths.contains(path))
    }

    /// All sessions that own ephemerals, with those.
    pub fn owners(&self) -> impl ExactSizeIterator<Item = (SessionId, &BTreeSet<Arc<str>>)> {
        self.ephemerals
            .iter()
            .map(|(session, paths)| (*session, paths))
    }

    /// Whether there is a quota on exactly this path.
    pub fn has_quota(&self, path: &str) -> bool {
        self.quotas.contains(path)
    }

    /// Whether there is any quota.
    pub fn has_quotas(&self) -> bool {
        !self.quotas.is_empty()
    }

    /// The paths under quota, in order.
    pub fn quotas(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.quotas.iter()
    }

    /// The list behind the id in a znode. An id that no znode has permits nobody anything.
    pub fn acl(&self, id: AclId) -> &[Acl] {
        if id == AclId::OPEN {
            return open_list();
        }
        self.acls.get(id).map_or(closed_list(), |(list, _)| list)
    }

    /// Number of interned ACL lists, without the open one.
    pub fn acl_count(&self) -> usize {
        self.acls.len()
    }

    /// What memory knows of a znode. `path`: as a client sends it; the empty one is the root.
    pub fn peek_znode(&self, path: &str) -> Peek<Option<Arc<Znode>>> {
        let path = path::resolve(path);
        if !path.starts_with('/') {
            return Peek::Known(None);
        }
        self.store.peek(path)
    }

    /// Visits the names of the children in byte order, if memory knows them all.
    pub fn peek_children(&self, path: &str, visit: &mut dyn FnMut(&str)) -> Peek<()> {
        self.store.peek_children(path::resolve(path), visit)
    }

    /// Bytes of the names of the children, each with its length, if memory knows them all.
    pub fn peek_names_bytes(&self, path: &str) -> Peek<usize> {
        self.store.peek_names_bytes(path::resolve(path))
    }

    /// The tree as it is now, to be scanned after the lock is gone.
    pub fn view(&self) -> Box<dyn View> {
        self.store.view()
    }

    /// Pins parts of the tree that memory knows; `None` if it does not know all of them. `parts`:
    /// by paths as a client sends them, but not the empty one.
    pub fn pin(&self, parts: &[Missing]) -> Option<Pins> {
        self.store.pin(parts)
    }

    pub(super) fn acls(&self) -> &AclTable {
        &self.acls
    }

    /// The tree's storage, to warm what a read has missed. Whoever keeps it reads this tree, also
    /// when another has come in its place: what is asked for again is asked of the state anew.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}

/// The lock around the state, and the one way to change it: [`Replica::apply`].
///
/// Nothing of a tree is held outside the state: so [`Replica::replace`] exchanges all of it at once.
#[derive(Debug)]
pub struct Replica {
    pub(super) state: RwLock<State>,
    /// Held by the one task that applies, and by whoever replaces the state. Taken before the state
    /// lock.
    pub(super) work: Mutex<Overlay>,
}

impl Replica {
    /// Reads the state back; a new tree gets its first znodes, the same on all replicas.
    ///
    /// # Errors
    /// The storage failed: end the process.
    pub fn open(store: Arc<dyn Store>, rules: Rules) -> Result<Self, StoreError> {
        Ok(Self {
            state: RwLock::new(State::open(store, rules)?),
            work: Mutex::default(),
        })
    }

    /// Goes on with another tree, and with the state that it holds: a snapshot from another server.
    /// Settings and what is shown of this server stay. Between two entries, and for readers in one moment: what is read by a guard, a view or pins
    /// from before ends on the old tree, which lives as long as they do, and none of what is loaded
    /// for them gets into the new one. Readers wait for the exchange only, not for `store` to be
    /// read. No guard of the state may be held by the caller.
    ///
    /// `sink` is told in the same moment, not of what changes by it, but that it is another state: it
    /// closes the clients that this server has, with them their watches and what they have left to
    /// apply. The caller sees to it that the tree is not older than this one.
    ///
    /// # Errors
    /// The storage failed; the old tree is still in its place: end the process.
    pub fn replace(&self, store: Arc<dyn Store>, sink: &dyn Sink) -> Result<(), StoreError> {
        let mut work = self.work.lock();
        let rules = *self.read().rules();
        let mut fresh = State::open(store, rules)?;
        *work = Overlay::default();
        let old = {
            let mut state = self.state.write();
            fresh.local_config = state.local_config.take();
            let old = std::mem::replace(&mut *state, fresh);
            sink.replaced(&state);
            old
        };
        drop(work);
        // Perhaps the last of it: closing a database takes a while.
        drop(old);
        Ok(())
    }

    /// The state, for reading. Apply waits until the guard is gone: be quick, never await.
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    /// From now on `/zookeeper/config` shows this, as long as nobody has written it.
    pub fn show_config(&self, local: LocalConfig) {
        self.state.write().local_config = Some(local);
    }

    /// An entry without proposals: a blank one, or a new membership.
    ///
    /// # Errors
    /// The storage failed: end the process.
    pub fn advance(
        &self,
        position: LogPosition,
        membership: Option<Bytes>,
    ) -> Result<(), StoreError> {
        let _work = self.work.lock();
        let (meta, store) = {
            let mut state = self.state.write();
            state.meta.applied = Some(position);
            if membership.is_some() {
                state.meta.membership = membership;
            }
            (state.meta.clone(), Arc::clone(&state.store))
        };
        store.entry().persist(&meta)
    }
}
