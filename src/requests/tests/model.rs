//! A serial reference: the tree and its watches as they must be after each txn, and what each
//! client must therefore have been told.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use jute::{
    ErrorCode, MultiOp, MultiReadOp, MultiResult, OpCode, Reply, ReplyHeader, Request, Response,
};

/// A znode as far as it is compared.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Node {
    data: Option<Bytes>,
    czxid: i64,
    mzxid: i64,
    pzxid: i64,
    version: i32,
}

/// What happened to a path: the type of the event, as on the wire.
type Happened = (i32, String);

#[derive(Clone, Debug, Default)]
struct Tree {
    nodes: BTreeMap<String, Node>,
}

fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((parent, _)) => parent,
    }
}

impl Tree {
    fn children(&self, path: &str) -> Vec<String> {
        let below = self.nodes.keys().filter(|key| parent(key) == path);
        let name = |key: &String| key.rsplit_once('/').unwrap().1.to_owned();
        below.filter(|key| *key != "/").map(name).collect()
    }

    fn create(&mut self, path: &str, data: &Option<Bytes>, zxid: i64) -> Result<(), ErrorCode> {
        if parent(path) != "/" && !self.nodes.contains_key(parent(path)) {
            return Err(ErrorCode::NO_NODE);
        }
        if self.nodes.contains_key(path) {
            return Err(ErrorCode::NODE_EXISTS);
        }
        let node = Node {
            data: data.clone(),
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            version: 0,
        };
        self.nodes.insert(path.to_owned(), node);
        if let Some(node) = self.nodes.get_mut(parent(path)) {
            node.pzxid = zxid;
        }
        Ok(())
    }

    fn delete(&mut self, path: &str, zxid: i64) -> Result<(), ErrorCode> {
        if !self.nodes.contains_key(path) {
            return Err(ErrorCode::NO_NODE);
        }
        if !self.children(path).is_empty() {
            return Err(ErrorCode::NOT_EMPTY);
        }
        self.nodes.remove(path);
        if let Some(node) = self.nodes.get_mut(parent(path)) {
            node.pzxid = zxid;
        }
        Ok(())
    }

    fn set(
        &mut self,
        path: &str,
        data: &Option<Bytes>,
        version: i32,
        zxid: i64,
    ) -> Result<(), ErrorCode> {
        let node = self.nodes.get_mut(path).ok_or(ErrorCode::NO_NODE)?;
        if version != -1 && version != node.version {
            return Err(ErrorCode::BAD_VERSION);
        }
        node.data.clone_from(data);
        node.mzxid = zxid;
        node.version += 1;
        Ok(())
    }

    /// What a write does; for a multi the error of the op that failed.
    fn apply(&mut self, write: &Request, zxid: i64) -> Result<Vec<Happened>, ErrorCode> {
        let path = |path: &Option<jute::Text>| path.as_deref().unwrap().to_owned();
        match write {
            Request::Create(create) => {
                let path = path(&create.path);
                self.create(&path, &create.data, zxid)?;
                Ok(vec![(1, path.clone()), (4, parent(&path).to_owned())])
            }
            Request::Delete(delete) => {
                let path = path(&delete.path);
                self.delete(&path, zxid)?;
                Ok(vec![(2, path.clone()), (4, parent(&path).to_owned())])
            }
            Request::SetData(set) => {
                let path = path(&set.path);
                self.set(&path, &set.data, set.version, zxid)?;
                Ok(vec![(3, path)])
            }
            Request::Multi(multi) => {
                let before = self.clone();
                let mut happened = Vec::new();
                for op in &multi.ops {
                    let op = match op {
                        MultiOp::Create(create) => Request::Create(create.clone()),
                        MultiOp::Delete(delete) => Request::Delete(delete.clone()),
                        MultiOp::SetData(set) => Request::SetData(set.clone()),
                        other => panic!("not in these tests: {other:?}"),
                    };
                    match self.apply(&op, zxid) {
                        Ok(more) => happened.extend(more),
                        Err(code) => {
                            *self = before;
                            return Err(code);
                        }
                    }
                }
                Ok(happened)
            }
            other => panic!("no write: {other:?}"),
        }
    }

    fn check_data(&self, path: &str, got: Result<(&Option<Bytes>, &jute::Stat), ErrorCode>) {
        match (self.nodes.get(path), got) {
            (Some(node), Ok((data, stat))) => {
                assert_eq!(&node.data, data, "{path}");
                self.check_stat(path, stat);
            }
            (None, Err(ErrorCode::NO_NODE)) => {}
            (node, got) => panic!("{path}: {got:?} and not {node:?}"),
        }
    }

    fn check_stat(&self, path: &str, stat: &jute::Stat) {
        let node = &self.nodes[path];
        let children = self.children(path).len();
        assert_eq!(
            (stat.czxid, stat.mzxid, stat.pzxid, stat.version),
            (node.czxid, node.mzxid, node.pzxid, node.version),
            "{path}"
        );
        assert_eq!(usize::try_from(stat.num_children), Ok(children), "{path}");
    }

    /// Compares a reply with what this tree says.
    fn check_read(&self, request: &Request, err: ErrorCode, body: Bytes) {
        let response = (err == ErrorCode::OK)
            .then(|| Response::decode(request.op(), body).expect("a response"));
        match (request, response) {
            (Request::GetData(get), None) => {
                self.check_data(get.path.as_deref().unwrap(), Err(err));
            }
            (Request::GetData(get), Some(Response::GetData(got))) => {
                self.check_data(get.path.as_deref().unwrap(), Ok((&got.data, &got.stat)));
            }
            (Request::Exists(exists), None) => {
                assert_eq!(err, ErrorCode::NO_NODE);
                assert!(!self.nodes.contains_key(exists.path.as_deref().unwrap()));
            }
            (Request::Exists(exists), Some(Response::Stat(got))) => {
                self.check_stat(exists.path.as_deref().unwrap(), &got.stat);
            }
            (Request::GetChildren2(get), None) => {
                assert_eq!(err, ErrorCode::NO_NODE);
                assert!(!self.nodes.contains_key(get.path.as_deref().unwrap()));
            }
            (Request::GetChildren2(get), Some(Response::GetChildren2(got))) => {
                let path = get.path.as_deref().unwrap();
                let names = got.children.unwrap_or_default();
                self.check_names(path, names.into_iter().map(|n| n.unwrap().to_string()));
                self.check_stat(path, &got.stat);
            }
            (Request::MultiRead(multi), Some(Response::Multi(got))) => {
                assert_eq!(multi.ops.len(), got.results.len());
                for (op, result) in multi.ops.iter().zip(got.results) {
                    self.check_item(op, result);
                }
            }
            (Request::GetEphemerals(_), Some(Response::GetEphemerals(got))) => {
                assert!(got.ephemerals.unwrap_or_default().is_empty());
            }
            (
                Request::WhoAmI
                | Request::Sync(_)
                | Request::Ping
                | Request::GetAllChildrenNumber(_),
                Some(_),
            ) => {}
            (request, response) => panic!("{request:?}: {err:?} {response:?}"),
        }
    }

    fn check_item(&self, op: &MultiReadOp, result: MultiResult) {
        match (op, result) {
            (MultiReadOp::GetData(get), MultiResult::GetData { data, stat }) => {
                self.check_data(get.path.as_deref().unwrap(), Ok((&data, &stat)));
            }
            (MultiReadOp::GetData(get), MultiResult::Error(code)) => {
                self.check_data(get.path.as_deref().unwrap(), Err(code));
            }
            (MultiReadOp::GetChildren(get), MultiResult::GetChildren { children }) => {
                let names = children.unwrap_or_default().into_iter();
                let path = get.path.as_deref().unwrap();
                self.check_names(path, names.map(|name| name.unwrap().to_string()));
            }
            (MultiReadOp::GetChildren(get), MultiResult::Error(code)) => {
                assert_eq!(code, ErrorCode::NO_NODE);
                assert!(!self.nodes.contains_key(get.path.as_deref().unwrap()));
            }
            (op, result) => panic!("{op:?}: {result:?}"),
        }
    }

    fn check_names(&self, path: &str, names: impl Iterator<Item = String>) {
        let got: BTreeSet<String> = names.collect();
        let expected: BTreeSet<String> = self.children(path).into_iter().collect();
        assert_eq!(got, expected, "{path}");
    }
}

/// What one client sent, and what it was told.
#[derive(Debug)]
pub(super) struct Transcript {
    pub(super) sent: Vec<Request>,
    pub(super) received: Vec<Reply>,
}

/// A txn of the history.
struct Done {
    zxid: i64,
    happened: Vec<Happened>,
    /// After it.
    tree: Tree,
}

fn is_write(op: OpCode) -> bool {
    matches!(
        op,
        OpCode::CREATE | OpCode::DELETE | OpCode::SET_DATA | OpCode::MULTI
    )
}

fn answers(transcript: &Transcript) -> impl Iterator<Item = (&Request, &ReplyHeader, &Bytes)> {
    let answers = transcript.received.iter().filter_map(|reply| match reply {
        Reply::Answer { header, body } => Some((header, body)),
        Reply::Event { .. } => None,
    });
    transcript
        .sent
        .iter()
        .zip(answers)
        .map(|(request, (header, body))| (request, header, body))
}

/// Checks all that the clients were told against the one history that their writes made.
pub(super) fn check(transcripts: &[Transcript]) {
    let history = history(transcripts);
    for transcript in transcripts {
        check_replies(transcript, &history);
        check_events(transcript, &history);
    }
}

/// All writes in the order of their zxids, on the reference tree; their codes must be its.
fn history(transcripts: &[Transcript]) -> Vec<Done> {
    let mut writes = BTreeMap::new();
    for (request, header, body) in transcripts.iter().flat_map(answers) {
        if is_write(request.op()) {
            let before = writes.insert(header.zxid, (request, header.err, body));
            assert!(before.is_none(), "two txns with zxid {:#x}", header.zxid);
        }
    }
    let mut tree = Tree::default();
    let apply = |(zxid, (request, err, body)): (i64, (&Request, ErrorCode, &Bytes))| {
        let applied = tree.apply(request, zxid);
        let code = match (request, applied.as_ref()) {
            (_, Ok(_)) => ErrorCode::OK,
            (Request::Multi(_), Err(code)) => {
                let Ok(Response::Multi(got)) = Response::decode(OpCode::MULTI, body.clone()) else {
                    panic!("no results");
                };
                let failed = MultiResult::Error(*code);
                assert!(got.results.contains(&failed), "{code:?}: {got:?}");
                ErrorCode::OK
            }
            (_, Err(code)) => *code,
        };
        assert_eq!(err, code, "{request:?}");
        Done {
            zxid,
            happened: applied.unwrap_or_default(),
            tree: tree.clone(),
        }
    };
    writes.into_iter().map(apply).collect()
}

/// In the order of the requests; zxids never go back; a write is newer than all that its client was
/// told before; a read shows the state of its zxid.
fn check_replies(transcript: &Transcript, history: &[Done]) {
    assert_eq!(answers(transcript).count(), transcript.sent.len());
    let mut last = 0;
    for ((request, header, body), index) in answers(transcript).zip(1..) {
        let xid = if matches!(request, Request::Ping) {
            -2
        } else {
            index
        };
        assert_eq!(header.xid, xid, "{request:?}");
        if is_write(request.op()) {
            assert!(
                header.zxid > last,
                "{request:?}: {header:?} after {last:#x}"
            );
        } else {
            assert!(
                header.zxid >= last,
                "{request:?}: {header:?} after {last:#x}"
            );
            let applied = history.partition_point(|done| done.zxid <= header.zxid);
            let empty = Tree::default();
            let tree = applied
                .checked_sub(1)
                .map_or(&empty, |at| &history[at].tree);
            tree.check_read(request, header.err, body.clone());
        }
        last = header.zxid;
    }
}

/// Exactly the events that the watches left by its reads must give, each in its place: behind all
/// replies that are older than its txn, before all others.
fn check_events(transcript: &Transcript, history: &[Done]) {
    let mut expected = Vec::new();
    let mut reads = answers(transcript).peekable();
    let mut data = BTreeSet::new();
    let mut child = BTreeSet::new();
    for done in history {
        while let Some((request, header, _)) = reads.next_if(|(_, at, _)| at.zxid < done.zxid) {
            let found = header.err == ErrorCode::OK;
            match request {
                Request::Exists(read) if read.watch => {
                    data.insert(read.path.as_deref().unwrap());
                }
                Request::GetData(read) if read.watch && found => {
                    data.insert(read.path.as_deref().unwrap());
                }
                Request::GetChildren2(read) if read.watch && found => {
                    child.insert(read.path.as_deref().unwrap());
                }
                _ => {}
            }
        }
        for (kind, path) in &done.happened {
            let path = path.as_str();
            let fires = match kind {
                2 => data.remove(path) | child.remove(path),
                4 => child.remove(path),
                _ => data.remove(path),
            };
            if fires {
                expected.push((done.zxid, *kind, path.to_owned()));
            }
        }
    }
    let mut events = Vec::new();
    let mut last = 0;
    for reply in &transcript.received {
        match reply {
            Reply::Event { header, event } => {
                assert!(header.zxid > last, "event {header:?} behind {last:#x}");
                let path = event.path.as_deref().unwrap().to_owned();
                events.push((header.zxid, event.kind, path));
            }
            Reply::Answer { header, .. } => {
                let newest = events.last().map_or(0, |(zxid, ..)| *zxid);
                assert!(header.zxid >= newest, "{header:?} behind event {newest:#x}");
                last = header.zxid;
            }
        }
    }
    assert_eq!(events, expected);
}
