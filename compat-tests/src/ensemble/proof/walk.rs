//! The whole tree as each server shows it at the end, when nothing is written any more.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::history::{Op, Outcome, ROOT, Stat};
use crate::client::{Connection, REPLY_TIME_MAX, Received};
use crate::wire::Reader;

/// One znode: its data, its stat, and the stat's bytes as they came, times included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named")]
pub struct Found {
    pub data: String,
    pub stat: Stat,
    pub bytes: Vec<u8>,
}

/// The tree below [`ROOT`] on one server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    /// At this zxid.
    pub zxid: i64,
    /// By path.
    pub nodes: BTreeMap<String, Found>,
}

/// Walks on all servers until nothing changes meanwhile and all are at the same zxid.
///
/// # Errors
/// Not within `most`, or a server does not answer.
pub fn take_all(addresses: &[SocketAddr], most: Duration) -> Result<Vec<Walk>> {
    let begin = Instant::now();
    loop {
        let walks = try_all(addresses)?;
        let first = walks.first().map(|walk| walk.zxid);
        if walks
            .iter()
            .all(|walk| Some(walk.zxid) == first && walk.zxid > 0)
        {
            return Ok(walks);
        }
        let zxids: Vec<String> = walks.iter().map(|it| format!("{:#x}", it.zxid)).collect();
        ensure!(
            begin.elapsed() < most,
            "the servers do not come to the same zxid: {zxids:?}"
        );
    }
}

fn try_all(addresses: &[SocketAddr]) -> Result<Vec<Walk>> {
    let mut connections = Vec::new();
    for address in addresses {
        let mut connection = Connection::open(*address, REPLY_TIME_MAX)?;
        connection.new_session(60_000).context("session to walk")?;
        connections.push(connection);
    }
    // Only now: opening a session is a write, too.
    let mut walks = Vec::new();
    for connection in &mut connections {
        let path = ROOT.to_owned();
        ask(connection, &Op::Sync { path })?;
    }
    for connection in &mut connections {
        walks.push(walk(connection)?);
    }
    for connection in &mut connections {
        connection.close_session()?;
    }
    Ok(walks)
}

/// A walk with zxid 0 is one during which something changed.
fn walk(connection: &mut Connection) -> Result<Walk> {
    let mut walk = Walk::default();
    let mut paths = vec![ROOT.to_owned()];
    while let Some(path) = paths.pop() {
        let get = Op::Get {
            path: path.clone(),
            watch: false,
        };
        let list = Op::Children {
            path: path.clone(),
            watch: false,
        };
        let (zxid, read, bytes) = ask(connection, &get)?;
        let (again, listed, _) = ask(connection, &list)?;
        let (Outcome::Data(data, stat), Outcome::Names(names, _)) = (read, listed) else {
            return Ok(Walk::default());
        };
        if zxid != again || (walk.zxid != 0 && walk.zxid != zxid) {
            return Ok(Walk::default());
        }
        walk.zxid = zxid;
        paths.extend(names.iter().map(|name| format!("{path}/{name}")));
        let bytes = bytes[bytes.len().saturating_sub(STAT_BYTES)..].to_vec();
        walk.nodes.insert(path, Found { data, stat, bytes });
    }
    Ok(walk)
}

/// Length of a Stat on the wire.
const STAT_BYTES: usize = 68;

fn ask(connection: &mut Connection, op: &Op) -> Result<(i64, Outcome, Vec<u8>)> {
    connection.send(&op.frame(1));
    match connection.receive()? {
        Received::Frame(frame) => {
            ensure!(Reader::new(&frame).i32()? == 1, "not the reply to {op:?}");
            let (_, reply) = op.read_reply(&frame, 0)?;
            Ok((reply.zxid, reply.outcome, frame))
        }
        other => bail!("no answer to {op:?}: {other:?}"),
    }
}

/// In what the trees differ.
pub fn differences(walks: &[Walk]) -> Vec<String> {
    let mut problems = Vec::new();
    let Some((first, others)) = walks.split_first() else {
        return problems;
    };
    for (index, other) in others.iter().enumerate() {
        let server = index + 2;
        let paths = first.nodes.keys().chain(other.nodes.keys());
        let differs = |path: &&String| first.nodes.get(*path) != other.nodes.get(*path);
        if other.zxid != first.zxid {
            problems.push(format!(
                "server {server} is at zxid {:#x}, server 1 at {:#x}",
                other.zxid, first.zxid
            ));
        }
        if let Some(path) = paths.clone().find(differs) {
            problems.push(format!(
                "server {server} has {path}: {:?}, server 1: {:?}",
                other.nodes.get(path),
                first.nodes.get(path)
            ));
        }
    }
    problems
}
