//! A replica on a map, with short ways to propose and to read.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use jute::{Acl, OpCode, Request};
use parking_lot::Mutex;

use super::map_store::{MapStore, NodeList};
use crate::state::{
    Action, Asker, Batch, Change, Identities, Identity, LogPosition, Meta, Missing, Origin,
    Outcome, Pins, Proposal, ReadStop, Reading, Replica, Rules, ServerId, SessionId, SessionOwner,
    Sink, State, Store, Txn, Znode, warm_all,
};

/// Remembers every txn it is told of.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    pub(super) txns: Mutex<Vec<Txn>>,
}

impl Sink for Recorder {
    fn applied(&self, state: &State, txn: &Txn) {
        assert_eq!(state.last_zxid(), txn.zxid, "state right after the txn");
        self.txns.lock().push(txn.clone());
    }

    fn replaced(&self, _state: &State) {}
    fn slice_done(&self) {}
}

pub(super) struct World {
    store: Arc<dyn Store>,
    /// The same store, if it is the one that can be crashed.
    map: Option<Arc<MapStore>>,
    pub(super) replica: Replica,
    pub(super) position: LogPosition,
    /// What the wall clock says.
    pub(super) time_ms: i64,
    /// What the clock says that nobody sets.
    steady_ms: u64,
    pub(super) slice: usize,
    /// The last sequence of each origin.
    sequences: BTreeMap<Origin, u64>,
}

pub(super) const ORIGIN: Origin = Origin {
    server: ServerId(1),
    incarnation: 1,
};

/// Who opens the sessions of tests that do not care.
pub(super) const OWNER: SessionOwner = SessionOwner {
    origin: ORIGIN,
    connection: 0,
};

impl World {
    pub(super) fn new(rules: Rules) -> Self {
        Self::on_map(MapStore::default(), rules)
    }

    fn on_map(map: MapStore, rules: Rules) -> Self {
        let map = Arc::new(map);
        let world = Self::on(Arc::<MapStore>::clone(&map), rules);
        Self {
            map: Some(map),
            ..world
        }
    }

    pub(super) fn on(store: Arc<dyn Store>, rules: Rules) -> Self {
        let replica = Replica::open(Arc::clone(&store), rules).unwrap();
        let position = replica.read().applied().unwrap_or_default();
        Self {
            store,
            map: None,
            replica,
            position,
            time_ms: 1000,
            steady_ms: 77,
            slice: crate::state::SLICE_PROPOSALS_MAX,
            sequences: BTreeMap::new(),
        }
    }

    /// After a crash: only what was persisted is there, and the log goes on.
    pub(super) fn restarted(self) -> Self {
        let rules = *self.replica.read().rules();
        let crashed = self.map.as_ref().expect("a map store").crashed();
        let Self {
            time_ms,
            steady_ms,
            slice,
            sequences,
            ..
        } = self;
        Self {
            time_ms,
            steady_ms,
            slice,
            sequences,
            ..Self::on_map(crashed, rules)
        }
    }

    /// The store alone: what is in it is all that is left.
    pub(super) fn into_store(self) -> Arc<dyn Store> {
        self.store
    }

    /// The replica has got another store, of which so many of our proposals are known.
    pub(super) fn goes_on_with(&mut self, store: Arc<dyn Store>, sequence: u64) {
        (self.store, self.map) = (store, None);
        self.sequences = [(ORIGIN, sequence)].into();
    }

    /// Time passes, and the wall clock says so.
    pub(super) fn pass(&mut self, ms: u64) {
        self.time_ms += ms.cast_signed();
        self.steady_ms += ms;
    }

    pub(super) fn proposal(
        &mut self,
        session: SessionId,
        identities: &Identities,
        action: Action,
    ) -> Proposal {
        self.proposal_of(ORIGIN, session, identities, action)
    }

    pub(super) fn proposal_of(
        &mut self,
        origin: Origin,
        session: SessionId,
        identities: &Identities,
        action: Action,
    ) -> Proposal {
        let last = self.sequences.entry(origin).or_default();
        *last += 1;
        let sequence = *last;
        let identities = Arc::clone(identities);
        let cxid = i32::try_from(sequence).unwrap();
        Proposal {
            origin,
            sequence,
            session,
            cxid,
            identities,
            action,
        }
    }

    /// One entry, through its bytes.
    pub(super) fn apply(&mut self, proposals: Vec<Proposal>) -> Vec<Txn> {
        let batch = Batch {
            reading: Reading {
                wall_ms: self.time_ms,
                steady_ms: self.steady_ms,
            },
            rules: *self.replica.read().rules(),
            proposals,
        };
        let decoded = Batch::decode(batch.encode()).unwrap();
        assert_eq!(decoded, batch);
        self.position.index += 1;
        let recorder = Recorder::default();
        self.replica
            .apply_sliced(self.position, &decoded, &recorder, self.slice)
            .unwrap();
        self.pass(1);
        let txns = recorder.txns.into_inner();
        self.check_memory();
        txns
    }

    /// Changes a znode behind the judge's back.
    pub(super) fn tamper_znode(&self, path: &str, change: impl FnOnce(&mut Znode)) {
        let mut node = Znode::clone(&self.store.load(path).unwrap().unwrap());
        change(&mut node);
        let changes = vec![Change::Znode {
            path: Arc::from(path),
            after: Some(Arc::new(node)),
            listed: false,
        }];
        let meta = self.replica.read().meta().clone();
        let txn = Txn {
            origin: ORIGIN,
            sequence: 0,
            session: SessionId(1),
            cxid: 0,
            zxid: meta.last_zxid,
            time_ms: 0,
            outcome: Outcome::Done,
            changes,
            events: Vec::new(),
        };
        let mut entry = self.store.entry();
        entry.install(&txn);
        entry.stage(&[txn]).unwrap();
        entry.persist(&meta).unwrap();
    }

    /// Changes the numbers on the disk, for a restart to find.
    pub(super) fn tamper(&self, change: impl FnOnce(&mut Meta)) {
        let mut meta = self.replica.read().meta().clone();
        change(&mut meta);
        self.store.entry().persist(&meta).unwrap();
    }

    /// All nodes in order of their paths, and what was persisted of the rest.
    pub(super) fn disk(&self) -> (NodeList, Meta) {
        let mut nodes = NodeList::new();
        let visit = &mut |path: &str, node: &Znode| {
            nodes.push((Arc::from(path), Arc::new(node.clone())));
            true
        };
        self.store.view().walk("/", visit).unwrap();
        nodes.sort_by(|(left, _), (right, _)| left.cmp(right));
        if let Some(map) = &self.map {
            assert_eq!(map.disk(), nodes, "all that was installed is persisted");
        }
        (nodes, self.store.restore().unwrap().meta)
    }

    /// What is on disk, and the counts, are what the state says.
    fn check_memory(&self) {
        let (nodes, meta) = self.disk();
        let state = self.replica.read();
        assert_eq!(&meta, state.meta());
        assert_eq!(meta.applied, Some(self.position));
        let bytes: usize = nodes
            .iter()
            .map(|(path, node)| path.chars().count() + node.data_bytes())
            .sum();
        assert_eq!(meta.data_bytes, bytes as u64, "data_bytes");
        assert_eq!(meta.znodes + 1, nodes.len() as u64, "znodes");
        let owned: usize = state.owners().map(|(_, paths)| paths.len()).sum();
        assert_eq!(meta.ephemerals, owned as u64, "ephemerals");
        let mut references = BTreeMap::new();
        for (_, node) in &nodes {
            *references.entry(node.acl).or_insert(0) += 1;
        }
        references.remove(&crate::state::AclId::OPEN);
        assert_eq!(state.acl_count(), references.len());
        for (id, count) in references {
            assert_eq!(state.acls().get(id).map(|(_, count)| count), Some(count));
        }
        for (path, node) in &nodes {
            let children = nodes.iter().filter(|(other, _)| {
                &**other != "/" && super::super::record::path::parent(other) == &**path
            });
            assert_eq!(
                node.children as usize,
                children.count(),
                "children of {path}"
            );
        }
    }

    /// Loads what a read missed.
    pub(super) fn warm(&self, missing: &[Missing]) -> Pins {
        let warmed = warm_all(self.store.as_ref(), missing, 1 << 30).unwrap();
        warmed.expect("it is not too much")
    }

    pub(super) fn read(
        &self,
        request: &Request,
        session: SessionId,
        identities: &Identities,
    ) -> Result<Bytes, ReadStop> {
        let asker = Asker {
            session,
            identities,
            bytes_max: 1 << 30,
        };
        let mut pins = Pins::default();
        // Znodes, then names of children: what has been loaded once is never missing again.
        for _ in 0..3 {
            let mut body = BytesMut::from("before");
            let read = self.replica.read().read(request, asker, &mut body);
            assert_eq!(body.split_to(6), "before");
            assert!(read.is_ok() || body.is_empty());
            match read {
                Err(ReadStop::Missing(missing)) => {
                    pins.join(self.warm(&missing));
                }
                read => return read.map(|()| body.freeze()),
            }
        }
        panic!("{request:?} is warmed in vain")
    }
}

pub(super) fn client(request: &Request) -> Action {
    let mut body = BytesMut::new();
    request.encode_body(&mut body);
    Action::Client {
        op: request.op(),
        connection: OWNER.connection,
        body: body.freeze(),
    }
}

pub(super) fn open(timeout_ms: i32, password: [u8; 16]) -> Action {
    Action::OpenSession {
        connection: OWNER.connection,
        timeout_ms,
        password,
    }
}

pub(super) fn expire(term: u64) -> Action {
    let owner = OWNER;
    Action::ExpireSession { term, owner }
}

pub(super) fn raw(op: OpCode, body: &'static [u8]) -> Action {
    Action::Client {
        op,
        connection: OWNER.connection,
        body: Bytes::from_static(body),
    }
}

pub(super) fn identity(text: &str) -> Identity {
    let (scheme, id) = text.split_once(':').unwrap_or((text, ""));
    Identity {
        scheme: Arc::from(scheme),
        id: Arc::from(id),
    }
}

pub(super) fn localhost() -> Identities {
    Arc::from([identity("ip:127.0.0.1")])
}

/// `scheme:id:perms`, separated by `;`.
pub(super) fn acls(text: &str) -> Vec<Acl> {
    golden::acls(text).unwrap()
}

pub(super) fn open_acl() -> Option<Vec<Acl>> {
    Some(acls("world:anyone:31"))
}
