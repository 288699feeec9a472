//! The judge: one proposal against the state and what was judged before it in the same slice.
//!
//! This file looks up and dispatches; what each op demands and does is in `tree/`, `multi.rs`,
//! `sessions.rs`, `quota.rs`.

use std::sync::Arc;

use hashbrown::hash_map::Entry;
use jute::{Acl, Create, ErrorCode, Request};

use super::new_znode::{Form, NewZnode};
use super::overlay::{Held, Layer, Overlay};
use crate::state::acl::{closed_list, open_list, permits};
use crate::state::record::identity::Identity;
use crate::state::record::ids::{AclId, SessionId, SessionOwner, Zxid};
use crate::state::record::path;
use crate::state::record::proposal::{Action, Proposal};
use crate::state::record::znode::{Kind, Owner, Znode};
use crate::state::replica::State;
use crate::state::rules::Rules;
use crate::state::store::StoreError;
use crate::state::timeline::Timeline;
use crate::state::txn::{Change, OpOutcome, Outcome};

/// Why judging went no further.
#[derive(Debug)]
pub(in crate::state) enum Stop {
    /// The answer is no, with this code.
    Refused(ErrorCode),
    /// The storage failed: the process ends.
    Failed(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl From<ErrorCode> for Stop {
    fn from(code: ErrorCode) -> Self {
        Self::Refused(code)
    }
}

/// Everything that judging one proposal looks at.
#[derive(Debug)]
pub(in crate::state) struct Judge<'a> {
    pub(in crate::state) state: &'a State,
    pub(in crate::state) work: &'a mut Overlay,
    pub(in crate::state) zxid: Zxid,
    pub(in crate::state) timeline: &'a Timeline,
    /// The batch's, not this server's.
    pub(in crate::state) rules: Rules,
    /// Of the entry.
    pub(in crate::state) term: u64,
    pub(in crate::state) session: SessionId,
    /// The number of the proposal within its origin.
    pub(in crate::state) sequence: u64,
    /// In whose name the proposal was made.
    pub(in crate::state) speaker: SessionOwner,
    pub(in crate::state) identities: &'a [Identity],
}

impl Judge<'_> {
    /// Judges a proposal. `None`: a chore that found nothing to do, which makes no txn.
    ///
    /// Refused client requests take a zxid, also those that cannot be decoded.
    ///
    /// zk: PrepRequestProcessor.pRequestHelper: getNextZxid comes before pRequest2Txn judges.
    pub(in crate::state) fn judge(
        &mut self,
        proposal: &Proposal,
    ) -> Result<Option<Outcome>, StoreError> {
        let judged = match &proposal.action {
            Action::Client { op, body, .. } => match Request::decode(*op, body.clone()) {
                Ok(request) => self.client(&request).map(Some),
                Err(_) if Request::OPS.contains(op) => {
                    Err(Stop::Refused(ErrorCode::MARSHALLING_ERROR))
                }
                Err(_) => Err(Stop::Refused(ErrorCode::UNIMPLEMENTED)),
            },
            Action::OpenSession {
                timeout_ms,
                password,
                ..
            } => self.open_session(*timeout_ms, *password).map(Some),
            Action::Attach {
                timeout_ms,
                password,
                ..
            } => self.attach_session(*timeout_ms, password).map(Some),
            Action::CloseSession => match self.close_session()? {
                Some(closed) => Ok(Some(closed)),
                None => Err(Stop::Refused(ErrorCode::SESSION_EXPIRED)),
            },
            Action::ExpireSession { term, owner } => Ok(self.expire_session(*term, *owner)?),
            // Apply has seen to it: it is no txn.
            Action::Found { .. } => Ok(None),
            Action::Reap { term, .. }
            | Action::LineUp { term, .. }
            | Action::Settle { term, .. }
                if *term != self.term =>
            {
                Ok(None)
            }
            Action::LineUp { members, .. } => Ok(self.line_up(members)?),
            Action::Settle {
                change, refusal, ..
            } => Ok(self.settle(*change, *refusal)?),
            Action::Reap {
                path, unused_ms, ..
            } => Ok(self.reap(path, *unused_ms)?),
        };
        match judged {
            Ok(outcome) => Ok(outcome),
            Err(Stop::Refused(code)) => Ok(Some(Outcome::Refused(code))),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "`OpCode::class` says what is a write; a test has all of them judged"
    )]
    fn client(&mut self, request: &Request) -> Result<Outcome, Stop> {
        match request {
            Request::Create(create) => self.create_plain(create).map(Outcome::Op),
            Request::Create2(create) => {
                let new = NewZnode::plain(Form::Plain, create);
                self.create_with_stat(new).map(Outcome::Op)
            }
            Request::CreateContainer(create) => {
                let new = NewZnode::plain(Form::Container, create);
                self.create_with_stat(new).map(Outcome::Op)
            }
            Request::CreateTtl(create) => {
                let new = NewZnode::ttl(create);
                self.create_with_stat(new).map(Outcome::Op)
            }
            Request::Delete(delete) => {
                self.delete(delete)?;
                Ok(Outcome::Op(OpOutcome::Deleted))
            }
            Request::SetData(set_data) => {
                let stat = self.set_data(set_data)?;
                Ok(Outcome::Op(OpOutcome::Stat(stat)))
            }
            Request::SetAcl(set_acl) => {
                let stat = self.set_acl(set_acl)?;
                Ok(Outcome::Op(OpOutcome::Stat(stat)))
            }
            Request::Check(check) => {
                self.check(check)?;
                Ok(Outcome::Op(OpOutcome::Checked))
            }
            Request::Multi(multi) => self.multi(multi),
            Request::Reconfig(request) => self.reconfig(request),
            _ => Err(Stop::Refused(ErrorCode::UNIMPLEMENTED)),
        }
    }

    pub(super) fn create_plain(&mut self, create: &Create) -> Result<OpOutcome, Stop> {
        let (path, _) = self.create(NewZnode::plain(Form::Plain, create))?;
        Ok(OpOutcome::Created { path })
    }

    pub(super) fn create_with_stat(&mut self, new: NewZnode<'_>) -> Result<OpOutcome, Stop> {
        let (path, stat) = self.create(new)?;
        Ok(OpOutcome::CreatedWithStat { path, stat })
    }

    /// A znode as it is for this proposal. `path`: anything.
    pub(in crate::state) fn znode(&self, path: &str) -> Result<Option<Arc<Znode>>, StoreError> {
        self.znode_under(&self.work.layers(), path)
    }

    /// A znode as `layers`, topmost first, over the state say.
    pub(in crate::state) fn znode_under(
        &self,
        layers: &[&Layer],
        path: &str,
    ) -> Result<Option<Arc<Znode>>, StoreError> {
        let path = path::resolve(path);
        for layer in layers {
            if let Some(held) = layer.znodes.get(path) {
                return Ok(held.znode.clone());
            }
        }
        if !path.starts_with('/') {
            return Ok(None);
        }
        self.state.store().load(path)
    }

    /// A znode that must exist: else -101.
    pub(in crate::state) fn existing(&self, path: &str) -> Result<Arc<Znode>, Stop> {
        self.znode(path)?.ok_or(Stop::Refused(ErrorCode::NO_NODE))
    }

    /// Changes a znode. `listed`: it comes or goes, so that its parent's names change.
    ///
    /// A second change of a node within one txn takes the place of the first, unless the node
    /// came or went: the parent of a thousand creates is in the txn once.
    pub(in crate::state) fn put(
        &mut self,
        path: Arc<str>,
        after: Option<Arc<Znode>>,
        listed: bool,
    ) {
        let at = self.work.changes.len();
        let change = (!listed).then_some((self.zxid, at));
        let held = Held {
            znode: after.clone(),
            change,
        };
        let mut replaced = None;
        match self.work.top().znodes.entry(Arc::clone(&path)) {
            Entry::Vacant(place) => {
                place.insert(held);
            }
            Entry::Occupied(mut place) => {
                let earlier = place.get().change;
                replaced = earlier.filter(|(txn, _)| *txn == self.zxid && !listed);
                place.insert(Held {
                    change: replaced.or(change),
                    ..held
                });
            }
        }
        match replaced.and_then(|(_, at)| self.work.changes.get_mut(at)) {
            Some(Change::Znode { after: place, .. }) => *place = after,
            _ => self.work.changes.push(Change::Znode {
                path,
                after,
                listed,
            }),
        }
    }

    /// `path` as an owned key, shared with a layer if it is there already.
    pub(in crate::state) fn key(&self, path: &str) -> Arc<str> {
        for layer in self.work.layers() {
            if let Some((key, _)) = layer.znodes.get_key_value(path) {
                return Arc::clone(key);
            }
        }
        Arc::from(path)
    }

    /// What kind of node this owner makes.
    pub(in crate::state) fn kind(&self, owner: Owner) -> Kind {
        owner.kind(self.rules.extended())
    }

    /// The list behind an id.
    pub(in crate::state) fn acl_list(&self, id: AclId) -> Arc<[Acl]> {
        if id == AclId::OPEN {
            return Arc::clone(open_list());
        }
        let layers = self.work.layers();
        let held = layers.iter().find_map(|layer| layer.acls.get(id));
        match held.or_else(|| self.state.acls().get(id)) {
            Some((list, _)) => Arc::clone(list),
            // Every znode's list is counted, so this cannot be.
            None => Arc::clone(closed_list()),
        }
    }

    fn acl_references(&self, id: AclId) -> u64 {
        let layers = self.work.layers();
        let held = layers.iter().find_map(|layer| layer.acls.get(id));
        held.or_else(|| self.state.acls().get(id))
            .map_or(0, |(_, references)| references)
    }

    /// One znode more uses `list`.
    ///
    /// # Errors
    /// There is no id left: refused, for one that comes again would change the ACLs of others.
    pub(in crate::state) fn acl_use(&mut self, list: &[Acl]) -> Result<(AclId, Arc<[Acl]>), Stop> {
        let layers = self.work.layers();
        let tables = layers
            .iter()
            .map(|layer| &layer.acls)
            .chain([self.state.acls()]);
        let known = tables
            .filter_map(|table| table.find(list))
            .find(|id| self.acl_references(*id) > 0);
        let (id, list) = match known {
            Some(id) => (id, self.acl_list(id)),
            None => {
                let id = self.work.counters.acl_next;
                let next = id.checked_add(1).ok_or(ErrorCode::SYSTEM_ERROR)?;
                self.work.counters.acl_next = next;
                (AclId(id), detached(list))
            }
        };
        let references = self.acl_references(id) + 1;
        self.acl_set(id, &list, references);
        Ok((id, list))
    }

    /// One znode less uses the list.
    pub(in crate::state) fn acl_release(&mut self, id: AclId) {
        if id != AclId::OPEN {
            let list = self.acl_list(id);
            let references = self.acl_references(id).saturating_sub(1);
            self.acl_set(id, &list, references);
        }
    }

    fn acl_set(&mut self, id: AclId, list: &Arc<[Acl]>, references: u64) {
        self.work.top().acls.cover(id, list, references);
        self.work.changes.push(Change::Acl {
            id,
            list: Arc::clone(list),
            references,
        });
    }

    /// Refuses with -102 unless the caller has one of the `perms` bits.
    pub(in crate::state) fn permitted(&self, acl: AclId, perms: i32) -> Result<(), Stop> {
        if acl == AclId::OPEN && perms & jute::perms::ALL != 0 {
            return Ok(());
        }
        let list = self.acl_list(acl);
        if permits(&list, self.identities, perms, self.rules.skip_acl) {
            return Ok(());
        }
        Err(Stop::Refused(ErrorCode::NO_AUTH))
    }
}

/// The list in memory of its own: it outlives the request by far.
fn detached(list: &[Acl]) -> Arc<[Acl]> {
    let detach = |acl: &Acl| {
        let mut acl = acl.clone();
        acl.id.scheme = acl.id.scheme.map(|text| text.to_detached());
        acl.id.id = acl.id.id.map(|text| text.to_detached());
        acl
    };
    list.iter().map(detach).collect()
}

/// zk: PrepRequestProcessor.checkAndIncVersion: -1 asks for nothing.
pub(in crate::state) fn expect_version(expected: i32, found: i32) -> Result<(), Stop> {
    if expected == -1 || expected == found {
        return Ok(());
    }
    Err(Stop::Refused(ErrorCode::BAD_VERSION))
}

/// A path that must not be null: else -5.
pub(in crate::state) fn some_path(path: &Option<jute::Text>) -> Result<&str, Stop> {
    path.as_ref()
        .map(jute::Text::as_str)
        .ok_or(Stop::Refused(ErrorCode::MARSHALLING_ERROR))
}

/// A path that a znode may have: else -8, also for null.
///
/// zk: PrepRequestProcessor.validatePath.
pub(in crate::state) fn valid_path(path: &Option<jute::Text>) -> Result<&str, Stop> {
    path.as_ref()
        .map(jute::Text::as_str)
        .filter(|path| path::is_valid(path))
        .ok_or(Stop::Refused(ErrorCode::BAD_ARGUMENTS))
}
