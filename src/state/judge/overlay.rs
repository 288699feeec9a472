//! What judging has changed but not installed yet.
//!
//! Readers go on while a slice is judged, so its results wait in layers over the state: one for
//! the slice, and above it one for the multi that is being judged, which is thrown away when the
//! multi fails. Looking up goes from the top layer down to the state and the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashMap;

use crate::state::acl::AclTable;
use crate::state::lineup::Lineups;
use crate::state::record::ids::{ClusterId, ServerId, SessionId, Zxid};
use crate::state::record::znode::Znode;
use crate::state::txn::{Change, Cursor, Event, Meta, SessionRecord};

/// The numbers of [`Meta`] that every txn may change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::state) struct Counters {
    pub(in crate::state) acl_next: u64,
    pub(in crate::state) znodes: u64,
    pub(in crate::state) data_bytes: u64,
    pub(in crate::state) ephemerals: u64,
}

impl Counters {
    /// Those of `meta`.
    pub(in crate::state) fn of(meta: &Meta) -> Self {
        let Meta {
            acl_next,
            znodes,
            data_bytes,
            ephemerals,
            ..
        } = *meta;
        Self {
            acl_next,
            znodes,
            data_bytes,
            ephemerals,
        }
    }

    /// Writes them into `meta`.
    pub(in crate::state) fn store(self, meta: &mut Meta) {
        meta.acl_next = self.acl_next;
        meta.znodes = self.znodes;
        meta.data_bytes = self.data_bytes;
        meta.ephemerals = self.ephemerals;
    }
}

/// A znode in a layer.
#[derive(Clone, Debug)]
pub(in crate::state) struct Held {
    /// The node; `None` = deleted.
    pub(in crate::state) znode: Option<Arc<Znode>>,
    /// The txn that changed it last, and where in its changes, if a later change of the same txn
    /// may replace that one.
    pub(in crate::state) change: Option<(Zxid, usize)>,
}

/// Room that a layer keeps: some slices' worth. Clearing takes time by the room, not by its use.
const ZNODES_KEPT: usize = 1024;

/// Changes over what lies below. Its hash maps are asked and merged, which needs no order.
#[derive(Debug, Default)]
pub(in crate::state) struct Layer {
    pub(in crate::state) znodes: HashMap<Arc<str>, Held>,
    pub(in crate::state) sessions: BTreeMap<SessionId, Option<SessionRecord>>,
    pub(in crate::state) ephemerals: BTreeMap<(SessionId, Arc<str>), bool>,
    pub(in crate::state) acls: AclTable,
    pub(in crate::state) quotas: BTreeMap<Arc<str>, bool>,
}

impl Layer {
    /// Empties it; the maps keep their memory, but not that of a multi of uncommon size.
    pub(in crate::state) fn clear(&mut self) {
        self.znodes.clear();
        self.znodes.shrink_to(ZNODES_KEPT);
        self.sessions.clear();
        self.ephemerals.clear();
        self.acls.clear();
        self.quotas.clear();
    }

    fn absorb(&mut self, upper: &mut Self) {
        self.znodes.extend(upper.znodes.drain());
        self.sessions.append(&mut upper.sessions);
        self.ephemerals.append(&mut upper.ephemerals);
        self.acls.absorb(&mut upper.acls);
        self.quotas.append(&mut upper.quotas);
    }
}

/// The workspace of the one task that applies; used again for every slice.
#[derive(Debug, Default)]
pub(in crate::state) struct Overlay {
    slice: Layer,
    multi: Layer,
    in_multi: bool,
    /// Changes of the txn that is being judged.
    pub(in crate::state) changes: Vec<Change>,
    /// Events of the txn that is being judged.
    pub(in crate::state) events: Vec<Event>,
    /// As they are after what has been judged.
    pub(in crate::state) counters: Counters,
    before_multi: Counters,
    /// Containers of the multi that is being judged, made with flags of ephemerals: to the ops
    /// behind them in the same multi they are ephemeral.
    mistaken: BTreeSet<Arc<str>>,
    /// Cursors that the slice has moved.
    pub(in crate::state) cursors: BTreeMap<ServerId, Cursor>,
    /// What the slice has made of the members; `None`: nothing.
    pub(in crate::state) lineups: Option<Lineups>,
    /// The first name that the slice has for the ensemble.
    pub(in crate::state) cluster: Option<ClusterId>,
}

impl Overlay {
    /// Forgets the slice before, whose changes have been installed.
    pub(in crate::state) fn start_slice(&mut self, meta: &Meta) {
        self.slice.clear();
        self.cursors.clear();
        self.lineups = None;
        self.cluster = None;
        self.counters = Counters::of(meta);
    }

    /// From here on changes can be taken back.
    pub(in crate::state) fn start_multi(&mut self) {
        self.in_multi = true;
        self.before_multi = self.counters;
        self.mistaken.clear();
    }

    /// Makes room for the changes of so many ops: each of a znode and rarely of more than its
    /// parent, which is there once.
    pub(in crate::state) fn expect_ops(&mut self, count: usize) {
        self.changes.reserve(count + 2);
        self.events.reserve(count);
    }

    /// A znode has been created; `is_mistaken`: a container with flags of an ephemeral.
    ///
    /// zk: PrepRequestProcessor.pRequest2TxnCreate writes the owner that the flags ask for into the
    /// record by which the rest of the multi is judged, and a txn that makes a container.
    pub(in crate::state) fn created(&mut self, path: &Arc<str>, is_mistaken: bool) {
        if self.in_multi && is_mistaken {
            self.mistaken.insert(Arc::clone(path));
        } else if !self.mistaken.is_empty() {
            self.mistaken.remove(path);
        }
    }

    /// Whether the multi that is being judged takes the container for an ephemeral.
    pub(in crate::state) fn is_mistaken(&self, path: &str) -> bool {
        self.in_multi && self.mistaken.contains(path)
    }

    /// The multi has succeeded.
    pub(in crate::state) fn keep_multi(&mut self) {
        self.in_multi = false;
        self.slice.absorb(&mut self.multi);
    }

    /// The multi has failed: no trace of it remains.
    pub(in crate::state) fn undo_multi(&mut self) {
        self.in_multi = false;
        self.multi.clear();
        self.changes.clear();
        self.events.clear();
        self.counters = self.before_multi;
    }

    /// The layer that is written to.
    pub(in crate::state) fn top(&mut self) -> &mut Layer {
        if self.in_multi {
            &mut self.multi
        } else {
            &mut self.slice
        }
    }

    /// What the txns before this one have changed.
    pub(in crate::state) fn committed(&self) -> &Layer {
        &self.slice
    }

    /// The layers, topmost first.
    pub(in crate::state) fn layers(&self) -> [&Layer; 2] {
        [&self.multi, &self.slice]
    }
}
