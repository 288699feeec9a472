//! The golden scripts of `compat-tests/scripts/golden` on the state and the watch table alone: on a
//! map, and on RocksDB with the smallest memory there is.
//!
//! They are written by Apache ZooKeeper; here is nothing to update.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use golden::{Backend, Seen, Settings};
use jute::{
    Create2Response, CreateResponse, ErrorCode, MultiResponse, MultiResult, OpCode, Request,
    Response, StatResponse, Text, WatcherEvent, perms,
};

use super::world::{OWNER, World, expire, localhost, open};
use crate::auth::{self, Schemes};
use crate::state::{
    Action, Identities, OpOutcome, Outcome, Peek, ReadStop, Rules, SessionId, Txn, Znode,
    count_descendants, permits,
};
use crate::storage;
use crate::watch::{NoticeKind, Registration, RemoveKind, WatchTable, WatcherId};

/// `super:admin`, as the servers of the suites know it.
const SUPER_DIGEST: &str = "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=";
/// More than any TTL that a script lets pass.
const A_WHILE_MS: u64 = 60_000;

/// One client: its session, and its connection while it has one.
struct Client {
    session: SessionId,
    watcher: Option<WatcherId>,
    identities: Identities,
    seen: Vec<Seen>,
}

/// State and watch table, without a server around them.
struct Pure<'a> {
    open: &'a dyn Fn(Rules) -> World,
    rules: Rules,
    world: Option<World>,
    watches: WatchTable,
    clients: BTreeMap<String, Client>,
    schemes: Schemes,
    last_session: i64,
    last_watcher: u64,
}

impl<'a> Pure<'a> {
    fn on(open: &'a dyn Fn(Rules) -> World) -> Self {
        Self {
            open,
            rules: Rules::default(),
            world: None,
            watches: WatchTable::new(),
            clients: BTreeMap::new(),
            schemes: Schemes::new(auth::Config {
                super_digest: Some(SUPER_DIGEST.into()),
                ..auth::Config::default()
            }),
            last_session: 0,
            last_watcher: 0,
        }
    }

    fn world(&mut self) -> Result<&mut World> {
        self.world.as_mut().context("not started")
    }

    fn client(&mut self, name: &str) -> Result<&mut Client> {
        self.clients.get_mut(name).context("never open")
    }

    fn watcher(&self, name: &str) -> Result<WatcherId> {
        let client = self.clients.get(name).context("never open")?;
        client.watcher.context("not connected")
    }

    fn connect(&mut self) -> WatcherId {
        self.last_watcher += 1;
        WatcherId(self.last_watcher)
    }

    fn disconnect(&mut self, name: &str) -> Result<()> {
        if let Some(watcher) = self.client(name)?.watcher.take() {
            self.watches.drop_watcher(watcher);
        }
        Ok(())
    }

    /// Applies one proposal and tells who watches.
    fn apply(
        &mut self,
        session: SessionId,
        identities: &Identities,
        action: Action,
    ) -> Result<Vec<Txn>> {
        let world = self.world()?;
        let proposal = world.proposal(session, identities, action);
        let txns = world.apply(vec![proposal]);
        let (watches, clients) = (&mut self.watches, &mut self.clients);
        for txn in &txns {
            for event in &txn.events {
                watches.trigger(event, &mut |notice| {
                    let watcher = Some(notice.watcher);
                    let Some(client) = clients.values_mut().find(|it| it.watcher == watcher) else {
                        return;
                    };
                    let skips = self.rules.skip_acl;
                    if permits(notice.filter_acl, &client.identities, perms::READ, skips) {
                        client
                            .seen
                            .push(event_of(txn.zxid.0, notice.kind, notice.path));
                    }
                });
            }
        }
        Ok(txns)
    }

    fn write(&mut self, name: &str, action: Action) -> Result<(i64, ErrorCode, Bytes)> {
        let client = self.client(name)?;
        let (session, identities) = (client.session, Arc::clone(&client.identities));
        let txns = self.apply(session, &identities, action)?;
        let txn = txns.first().context("no txn")?;
        let (err, body) = answer_of(&txn.outcome);
        Ok((txn.zxid.0, err, body))
    }

    fn serve(&mut self, name: &str, op: OpCode, body: Bytes) -> Result<(i64, ErrorCode, Bytes)> {
        match op {
            OpCode::CLOSE_SESSION => return self.write(name, Action::CloseSession),
            OpCode::CREATE
            | OpCode::CREATE2
            | OpCode::CREATE_CONTAINER
            | OpCode::CREATE_TTL
            | OpCode::DELETE
            | OpCode::SET_DATA
            | OpCode::SET_ACL
            | OpCode::MULTI => {
                let connection = OWNER.connection;
                let action = Action::Client {
                    op,
                    connection,
                    body,
                };
                return self.write(name, action);
            }
            _ => {}
        }
        let zxid = self.world()?.replica.read().last_zxid().0;
        let Ok(request) = Request::decode(op, body) else {
            return Ok((zxid, ErrorCode::MARSHALLING_ERROR, Bytes::new()));
        };
        let (err, body) = match &request {
            Request::Auth(auth) => {
                let have = Arc::clone(&self.client(name)?.identities);
                let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
                let (scheme, proof) = (auth.scheme.as_deref(), auth.auth.as_deref());
                let identities = self.schemes.authenticate(scheme, proof, peer, &have)?;
                self.client(name)?.identities = identities;
                (ErrorCode::OK, Bytes::new())
            }
            Request::Sync(sync) => {
                let mut body = BytesMut::new();
                jute::put_ustring(&mut body, sync.path.as_deref());
                (ErrorCode::OK, body.freeze())
            }
            Request::AddWatch(_)
            | Request::CheckWatches(_)
            | Request::RemoveWatches(_)
            | Request::SetWatches2(_) => self.watch(name, &request)?,
            _ => self.read(name, &request)?,
        };
        Ok((zxid, err, body))
    }

    fn read(&mut self, name: &str, request: &Request) -> Result<(ErrorCode, Bytes)> {
        let client = self.client(name)?;
        let (session, identities) = (client.session, Arc::clone(&client.identities));
        let world = self.world()?;
        let answer = match world.read(request, session, &identities) {
            Ok(body) => (ErrorCode::OK, body),
            Err(ReadStop::Refused(code)) => (code, Bytes::new()),
            Err(ReadStop::NeedsScan) => {
                let Request::GetAllChildrenNumber(wanted) = request else {
                    anyhow::bail!("{request:?} needs a scan")
                };
                let path = wanted.path.as_deref().unwrap_or_default();
                let view = world.replica.read().view();
                let mut body = BytesMut::new();
                body.put_i32(count_descendants(&*view, path)?);
                (ErrorCode::OK, body.freeze())
            }
            Err(stop) => anyhow::bail!("{stop:?}"),
        };
        let done = answer.0 == ErrorCode::OK;
        let watched = match request {
            Request::Exists(read) if read.watch && (done || answer.0 == ErrorCode::NO_NODE) => {
                Some((&read.path, Registration::Data))
            }
            Request::GetData(read) if read.watch && done => Some((&read.path, Registration::Data)),
            Request::GetChildren(read) if read.watch && done => {
                Some((&read.path, Registration::Child))
            }
            Request::GetChildren2(read) if read.watch && done => {
                Some((&read.path, Registration::Child))
            }
            _ => None,
        };
        if let Some((Some(path), registration)) = watched {
            let watcher = self.watcher(name)?;
            self.watches.add(path.as_str(), watcher, registration);
        }
        Ok(answer)
    }

    fn watch(&mut self, name: &str, request: &Request) -> Result<(ErrorCode, Bytes)> {
        let watcher = self.watcher(name)?;
        let found = match request {
            Request::AddWatch(add) => {
                let path = add.path.as_deref().context("a path")?;
                let registration = Registration::of_add_watch(add.mode)?;
                self.watches.add(path, watcher, registration);
                return Ok((ErrorCode::OK, Bytes::from_static(&[0; 4])));
            }
            Request::CheckWatches(check) => {
                let path = check.path.as_deref().context("a path")?;
                let kind = RemoveKind::try_from(check.kind)?;
                self.watches.contains(path, watcher, kind)
            }
            Request::RemoveWatches(remove) => {
                let path = remove.path.as_deref().context("a path")?;
                let kind = RemoveKind::try_from(remove.kind)?;
                self.watches.remove(path, watcher, kind)
            }
            Request::SetWatches2(set) => {
                let since = set.relative_zxid;
                for path in set.data_watches.iter().flatten().flatten() {
                    self.catch_up(name, path, Registration::Data, |node| match node {
                        None => Some(NoticeKind::Deleted),
                        Some(node) => (node.mzxid.0 > since).then_some(NoticeKind::DataChanged),
                    })?;
                }
                for path in set.exist_watches.iter().flatten().flatten() {
                    let missed = |node: Option<&Znode>| node.map(|_| NoticeKind::Created);
                    self.catch_up(name, path, Registration::Data, missed)?;
                }
                for path in set.child_watches.iter().flatten().flatten() {
                    self.catch_up(name, path, Registration::Child, |node| match node {
                        None => Some(NoticeKind::Deleted),
                        Some(node) => (node.pzxid.0 > since).then_some(NoticeKind::ChildrenChanged),
                    })?;
                }
                for path in set.persistent_watches.iter().flatten() {
                    let registration = Registration::Persistent;
                    self.watches.add(path.as_deref(), watcher, registration);
                }
                for path in set.persistent_recursive_watches.iter().flatten() {
                    let registration = Registration::PersistentRecursive;
                    self.watches.add(path.as_deref(), watcher, registration);
                }
                true
            }
            _ => false,
        };
        let code = if found {
            ErrorCode::OK
        } else {
            ErrorCode::NO_WATCHER
        };
        Ok((code, Bytes::new()))
    }

    fn catch_up(
        &mut self,
        name: &str,
        path: &str,
        registration: Registration,
        missed: impl Fn(Option<&Znode>) -> Option<NoticeKind>,
    ) -> Result<()> {
        let world = self.world()?;
        let mut pins = crate::state::Pins::default();
        let node = loop {
            let peeked = world.replica.read().peek_znode(path);
            match peeked {
                Peek::Known(node) => break node,
                Peek::NotInMemory => {
                    let missing = crate::state::Missing::Znode(Arc::from(path));
                    pins.join(world.warm(&[missing]));
                }
            }
        };
        match missed(node.as_deref()) {
            Some(kind) => self.client(name)?.seen.push(event_of(-1, kind, path)),
            None => {
                let watcher = self.watcher(name)?;
                self.watches.add(path, watcher, registration);
            }
        }
        Ok(())
    }
}

impl Backend for Pure<'_> {
    fn start(&mut self, settings: &Settings) -> Result<()> {
        self.rules = Rules {
            skip_acl: settings.skip_acl,
            enforce_quota: settings.enforce_quota,
            extended_types: true,
            ..Rules::default()
        };
        self.world = Some((self.open)(self.rules));
        Ok(())
    }

    fn open(&mut self, name: &str, timeout_ms: i32) -> Result<i64> {
        self.last_session += 1;
        let session = SessionId(self.last_session);
        let action = open(timeout_ms, [7; 16]);
        self.apply(session, &localhost(), action)?;
        let client = Client {
            session,
            watcher: Some(self.connect()),
            identities: localhost(),
            seen: Vec::new(),
        };
        self.clients.insert(name.to_owned(), client);
        Ok(session.0)
    }

    fn resume(&mut self, name: &str) -> Result<bool> {
        let session = self.client(name)?.session;
        let lives = {
            let world = self.world()?;
            let state = world.replica.read();
            state.sessions().any(|(id, _)| id == session)
        };
        if lives {
            let watcher = self.connect();
            let client = self.client(name)?;
            client.watcher = Some(watcher);
            client.identities = localhost();
            client.seen.clear();
        }
        Ok(lives)
    }

    fn drop_connection(&mut self, name: &str) -> Result<()> {
        self.disconnect(name)
    }

    fn expire(&mut self, name: &str) -> Result<()> {
        self.disconnect(name)?;
        let session = self.client(name)?.session;
        let action = expire(self.world()?.position.term);
        let txns = self.apply(session, &Identities::from([]), action)?;
        ensure!(txns.len() == 1, "it has expired already");
        Ok(())
    }

    fn reap(&mut self, path: &str) -> Result<()> {
        self.world()?.pass(A_WHILE_MS);
        let reap = Action::Reap {
            term: self.world()?.position.term,
            path: Arc::from(path),
            unused_ms: 0,
        };
        let txns = self.apply(SessionId::NONE, &Identities::from([]), reap)?;
        ensure!(txns.len() == 1, "it is not due");
        Ok(())
    }

    fn ask(&mut self, name: &str, op: OpCode, body: Bytes) -> Result<Vec<Seen>> {
        let (zxid, err, body) = self.serve(name, op, body)?;
        if op == OpCode::CLOSE_SESSION {
            self.disconnect(name)?;
        }
        let client = self.client(name)?;
        client.seen.push(Seen::Answer { zxid, err, body });
        Ok(std::mem::take(&mut client.seen))
    }

    fn settle(&mut self, name: &str) -> Result<Vec<Seen>> {
        Ok(std::mem::take(&mut self.client(name)?.seen))
    }
}

fn event_of(zxid: i64, kind: NoticeKind, path: &str) -> Seen {
    let event = WatcherEvent {
        kind: kind.wire_type(),
        state: 3,
        path: Some(Text::from(path)),
    };
    Seen::Event { zxid, event }
}

/// What a client gets of an outcome.
fn answer_of(outcome: &Outcome) -> (ErrorCode, Bytes) {
    let path = |path: &str| Some(Text::from(path));
    let result = |outcome: &OpOutcome| match outcome {
        OpOutcome::Created { path: made } => MultiResult::Create { path: path(made) },
        OpOutcome::CreatedWithStat { path: made, stat } => MultiResult::Create2 {
            path: path(made),
            stat: *stat,
        },
        OpOutcome::Stat(stat) => MultiResult::SetData { stat: *stat },
        OpOutcome::Deleted => MultiResult::Delete,
        OpOutcome::Checked => MultiResult::Check,
        OpOutcome::Data { .. } => panic!("no multi has it"),
    };
    let response = match outcome {
        Outcome::Refused(code) => return (*code, Bytes::new()),
        Outcome::Op(OpOutcome::Created { path: made }) => {
            Response::Create(CreateResponse { path: path(made) })
        }
        Outcome::Op(OpOutcome::CreatedWithStat { path: made, stat }) => {
            Response::Create2(Create2Response {
                path: path(made),
                stat: *stat,
            })
        }
        Outcome::Op(OpOutcome::Stat(stat)) => Response::Stat(StatResponse { stat: *stat }),
        Outcome::Multi(ops) => Response::Multi(MultiResponse {
            results: ops.iter().map(result).collect(),
        }),
        Outcome::MultiRefused(codes) => Response::Multi(MultiResponse {
            results: codes.iter().map(|code| MultiResult::Error(*code)).collect(),
        }),
        Outcome::Op(OpOutcome::Deleted | OpOutcome::Checked)
        | Outcome::Done
        | Outcome::SessionOpened
        | Outcome::SessionAttached
        | Outcome::SessionClosed => Response::Empty,
        Outcome::Op(OpOutcome::Data { .. }) | Outcome::Pending | Outcome::Settled(_) => {
            panic!("a lone server has no members to change")
        }
    };
    let mut body = BytesMut::new();
    response.encode(&mut body);
    (ErrorCode::OK, body.freeze())
}

fn play_all(open: &dyn Fn(Rules) -> World) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("compat-tests/scripts/golden");
    let mut count = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let played = golden::play(&mut Pure::on(open), &text)
            .unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
        assert_eq!(text, played, "{}", path.display());
        count += 1;
    }
    assert!(count >= 25, "{count} scripts");
}

#[test]
fn golden_scripts_on_a_map() {
    play_all(&World::new);
}

#[test]
fn golden_scripts_on_rocksdb() {
    let dir = tempfile::tempdir().unwrap();
    let next = std::cell::Cell::new(0);
    play_all(&|rules| {
        next.set(next.get() + 1);
        let dir = dir.path().join(next.get().to_string());
        let stores = storage::open(&storage::Config {
            data_dir: dir.clone(),
            log_dir: dir,
            memory_bytes: 0,
            ..storage::Config::default()
        });
        World::on(stores.unwrap().tree(), rules)
    });
}
