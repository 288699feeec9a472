//! A tree of many znodes, and a number that says whether two servers have the same one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::super::proof::history::{Op, Outcome};
use super::Ensemble;
use crate::client::{Connection, REPLY_TIME_MAX, Received};
use crate::wire::Reader;

/// Requests on their way at once.
const WINDOW: usize = 200;
/// Children of one directory.
const CHILDREN: usize = 500;
/// Within this all servers show the same.
const EQUAL_WITHIN: Duration = Duration::from_secs(30);

/// The tree below one znode, on one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest {
    /// Znodes in it.
    pub(super) count: usize,
    /// Of all their paths, data and stats.
    hash: u64,
}

/// Makes `count` znodes with so many bytes of data each, in directories below `root`.
pub(super) fn fill(at: SocketAddr, root: &str, count: usize, bytes: usize) -> Result<()> {
    let mut connection = open(at)?;
    let directories = count.div_ceil(CHILDREN);
    let mut creates = vec![create(root.to_owned(), "")];
    creates.extend((0..directories).map(|it| create(format!("{root}/{it}"), "")));
    let node = |it: usize| create(format!("{root}/{}/{it}", it / CHILDREN), &text(it, bytes));
    creates.extend((0..count).map(node));
    for ops in creates.chunks(WINDOW) {
        for outcome in ask(&mut connection, ops)? {
            ensure!(matches!(outcome.1, Outcome::Created(..)), "{:?}", outcome.1);
        }
    }
    connection.close_session()
}

/// Changes the data of the first `count` znodes below `root`.
pub(super) fn change(at: SocketAddr, root: &str, count: usize, data: &str) -> Result<()> {
    let mut connection = open(at)?;
    let set = |it: usize| Op::Set {
        path: format!("{root}/{}/{it}", it / CHILDREN),
        data: data.to_owned(),
        version: -1,
    };
    let sets: Vec<Op> = (0..count).map(set).collect();
    for ops in sets.chunks(WINDOW) {
        for outcome in ask(&mut connection, ops)? {
            ensure!(!matches!(outcome.1, Outcome::Error(_)), "{:?}", outcome.1);
        }
    }
    connection.close_session()
}

/// Waits until all servers show the same below `root`, which nobody changes.
///
/// # Errors
/// They do not.
pub(super) fn equal(ensemble: &Ensemble, root: &str) -> Result<Digest> {
    let begin = Instant::now();
    loop {
        let digests: Result<Vec<Digest>> = ensemble
            .addresses()
            .into_iter()
            .map(|at| digest(at, root))
            .collect();
        let digests = digests.with_context(|| ensemble.logs())?;
        if digests.windows(2).all(|two| two[0] == two[1]) {
            return Ok(digests[0]);
        }
        if begin.elapsed() > EQUAL_WITHIN {
            bail!("{root} differs: {digests:?}\n{}", ensemble.logs());
        }
    }
}

fn digest(at: SocketAddr, root: &str) -> Result<Digest> {
    let mut connection = open(at)?;
    let sync = Op::Sync {
        path: root.to_owned(),
    };
    ask(&mut connection, &[sync])?;
    let mut found = BTreeMap::new();
    let mut level = vec![root.to_owned()];
    while !level.is_empty() {
        let mut next = Vec::new();
        for paths in level.chunks(WINDOW / 2) {
            let reads: Vec<Op> = paths.iter().flat_map(|path| reads(path)).collect();
            let answers = ask(&mut connection, &reads)?;
            for (path, answers) in paths.iter().zip(answers.chunks(2)) {
                let (Outcome::Data(..), Outcome::Names(names, _)) = (&answers[0].1, &answers[1].1)
                else {
                    bail!("{path}: {answers:?}");
                };
                next.extend(names.iter().map(|name| format!("{path}/{name}")));
                // Behind xid and zxid.
                found.insert(path.clone(), answers[0].0[12..].to_vec());
            }
        }
        level = next;
    }
    connection.close_session()?;
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for (path, bytes) in &found {
        for byte in path.bytes().chain(bytes.iter().copied()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    let count = found.len();
    Ok(Digest { count, hash })
}

/// So many bytes that no two znodes share, and that no server makes much shorter.
fn text(it: usize, bytes: usize) -> String {
    let mut state = it as u64 + 1;
    let letter = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(b' ' + (state >> 58) as u8)
    };
    (0..bytes).map(letter).collect()
}

fn reads(path: &str) -> [Op; 2] {
    let (path, watch) = (path.to_owned(), false);
    let get = Op::Get {
        path: path.clone(),
        watch,
    };
    [get, Op::Children { path, watch }]
}

fn create(path: String, data: &str) -> Op {
    Op::Create {
        path,
        data: data.to_owned(),
        flags: 0,
    }
}

pub(super) fn open(at: SocketAddr) -> Result<Connection> {
    let mut connection = Connection::open(at, REPLY_TIME_MAX)?;
    connection.new_session(60_000)?;
    Ok(connection)
}

/// Sends all at once and reads the answers: each frame, and what it says.
pub(super) fn ask(connection: &mut Connection, ops: &[Op]) -> Result<Vec<(Vec<u8>, Outcome)>> {
    for (op, xid) in ops.iter().zip(1..) {
        connection.send(&op.frame(xid));
    }
    let mut answers = Vec::new();
    for (op, xid) in ops.iter().zip(1..) {
        let Received::Frame(frame) = connection.receive()? else {
            bail!("no answer to {op:?}");
        };
        ensure!(Reader::new(&frame).i32()? == xid, "not the reply to {op:?}");
        let (_, reply) = op.read_reply(&frame, 0)?;
        answers.push((frame, reply.outcome));
    }
    Ok(answers)
}
