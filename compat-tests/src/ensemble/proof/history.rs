//! What clients did and were told, in the order in which each of them saw it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

pub use crate::chaos::history::Stat;
use crate::client::request;
use crate::wire::{Reader, Writer};

/// Everything is below this znode.
pub const ROOT: &str = "/e";

/// The error of a connection whose session has moved to another server.
pub const SESSION_MOVED: i32 = -118;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of the requests")]
pub enum Op {
    /// create2. `data` is unique in the whole run; flags 1: ephemeral, 2: sequential.
    Create {
        path: String,
        data: String,
        flags: i32,
    },
    /// setData; `data` as above.
    Set {
        path: String,
        data: String,
        version: i32,
    },
    Delete {
        path: String,
        version: i32,
    },
    /// Only within a multi.
    Check {
        path: String,
        version: i32,
    },
    Multi(Vec<Self>),
    Get {
        path: String,
        watch: bool,
    },
    Exists {
        path: String,
        watch: bool,
    },
    /// getChildren2.
    Children {
        path: String,
        watch: bool,
    },
    Sync {
        path: String,
    },
    /// addWatch, persistent and recursive.
    AddWatch {
        path: String,
    },
    /// setWatches2, with the zxid since which something may have been missed.
    SetWatches {
        since: i64,
        watches: Watches,
    },
    Ping,
    /// closeSession.
    Close,
}

/// The watches of a connection, as a client keeps them to set them again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of setWatches2")]
pub struct Watches {
    pub data: BTreeSet<String>,
    pub exist: BTreeSet<String>,
    pub child: BTreeSet<String>,
    pub recursive: BTreeSet<String>,
}

impl Watches {
    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        [&self.data, &self.exist, &self.child, &self.recursive]
            .iter()
            .all(|set| set.is_empty())
    }
}

/// What a reply says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Refused. Within a multi also 0 (rolled back) and -2 (not tried).
    Error(i32),
    /// Done, without a body.
    Done,
    /// Created under this path.
    Created(String, Stat),
    /// Written, or there.
    Stat(Stat),
    /// Read.
    Data(String, Stat),
    /// The names of the children.
    Names(BTreeSet<String>, Stat),
    /// One for each part.
    Multi(Vec<Self>),
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Of its header.
    pub zxid: i64,
    /// Header's error and body.
    pub outcome: Outcome,
    /// When it came, in nanoseconds of the run.
    pub at: u64,
}

/// A request with its reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Who asked.
    pub session: i64,
    /// What.
    pub op: Op,
    /// When it was sent, in nanoseconds of the run.
    pub at: u64,
    /// `None`: the connection was lost before; it may have been done or not.
    pub reply: Option<Reply>,
}

/// The kinds of events, by their numbers on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// NodeCreated.
    Created = 1,
    /// NodeDeleted.
    Deleted = 2,
    /// NodeDataChanged.
    Changed = 3,
    /// NodeChildrenChanged.
    Children = 4,
}

/// A watch event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Event {
    /// Of the txn, or -1 if it was told by setWatches.
    pub zxid: i64,
    /// What happened.
    pub kind: Kind,
    /// Where.
    pub path: String,
}

/// What came on a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Item {
    /// The reply to this call of the client.
    Reply(usize),
    /// An event.
    Event(Event),
}

/// A connection, from the answer to its handshake on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tape {
    /// Whose.
    pub session: i64,
    /// To which server.
    pub server: usize,
    /// What came, in its order.
    pub items: Vec<Item>,
}

/// How a session came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The client knows of none.
    Open,
    /// The client has asked for it.
    Closed,
    /// A server said so when the client came back, at this time.
    Expired {
        /// When it was told, in nanoseconds of the run.
        told: u64,
    },
    /// The client went away without a word.
    Abandoned,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its id.
    pub id: i64,
    /// What was granted.
    pub timeout_ms: i32,
    /// Its end.
    pub end: End,
    /// When a server was last heard to answer it, in nanoseconds of the run.
    pub heard: u64,
}

/// What one client did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// In the order in which they were sent.
    pub calls: Vec<Call>,
    /// In the order in which they were opened.
    pub tapes: Vec<Tape>,
    /// In the order in which they were opened.
    pub sessions: Vec<Session>,
    /// What the client itself found wrong.
    pub complaints: Vec<String>,
}

/// What all clients did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// By client.
    pub records: Vec<Record>,
}

impl Op {
    /// The opcode.
    pub fn code(&self) -> i32 {
        match self {
            Self::Create { .. } => 15,
            Self::Delete { .. } => 2,
            Self::Exists { .. } => 3,
            Self::Get { .. } => 4,
            Self::Set { .. } => 5,
            Self::Sync { .. } => 9,
            Self::Ping => 11,
            Self::Children { .. } => 12,
            Self::Check { .. } => 13,
            Self::Multi(_) => 14,
            Self::SetWatches { .. } => 105,
            Self::AddWatch { .. } => 106,
            Self::Close => -11,
        }
    }

    /// Whether it goes through the log.
    pub fn writes(&self) -> bool {
        matches!(
            self,
            Self::Create { .. }
                | Self::Delete { .. }
                | Self::Set { .. }
                | Self::Multi(_)
                | Self::Close
        )
    }

    /// Its parts, if it is a multi, else itself.
    pub fn parts(&self) -> &[Self] {
        match self {
            Self::Multi(parts) => parts,
            _ => std::slice::from_ref(self),
        }
    }

    /// The request's frame.
    pub fn frame(&self, xid: i32) -> Vec<u8> {
        let mut body = Writer::new();
        self.write(&mut body);
        request(xid, self.code(), &body.finish())
    }

    fn write(&self, w: &mut Writer) {
        match self {
            Self::Create { path, data, flags } => {
                w.buffer(Some(path.as_bytes()))
                    .buffer(Some(data.as_bytes()));
                w.i32(1).i32(31);
                w.buffer(Some(b"world")).buffer(Some(b"anyone")).i32(*flags);
            }
            Self::Set {
                path,
                data,
                version,
            } => {
                w.buffer(Some(path.as_bytes()))
                    .buffer(Some(data.as_bytes()))
                    .i32(*version);
            }
            Self::Delete { path, version } | Self::Check { path, version } => {
                w.buffer(Some(path.as_bytes())).i32(*version);
            }
            Self::Multi(parts) => {
                for part in parts {
                    w.i32(part.code()).bool(false).i32(-1);
                    part.write(w);
                }
                w.i32(-1).bool(true).i32(-1);
            }
            Self::Get { path, watch }
            | Self::Exists { path, watch }
            | Self::Children { path, watch } => {
                w.buffer(Some(path.as_bytes())).bool(*watch);
            }
            Self::Sync { path } => drop(w.buffer(Some(path.as_bytes()))),
            Self::AddWatch { path } => drop(w.buffer(Some(path.as_bytes())).i32(1)),
            Self::SetWatches { since, watches } => {
                w.i64(*since);
                for set in [&watches.data, &watches.exist, &watches.child] {
                    write_paths(w, set);
                }
                w.i32(0);
                write_paths(w, &watches.recursive);
            }
            Self::Ping | Self::Close => {}
        }
    }

    /// Reads the reply to this request, which came at `at`; also its xid.
    ///
    /// # Errors
    /// The bytes are no such reply.
    pub fn read_reply(&self, frame: &[u8], at: u64) -> Result<(i32, Reply)> {
        let mut r = Reader::new(frame);
        let (xid, zxid, error) = (r.i32()?, r.i64()?, r.i32()?);
        let outcome = if error == 0 || (matches!(self, Self::Multi(_)) && !r.rest().is_empty()) {
            self.read_body(&mut r)?
        } else {
            Outcome::Error(error)
        };
        ensure!(r.rest().is_empty(), "bytes behind the reply to {self:?}");
        Ok((xid, Reply { zxid, outcome, at }))
    }

    fn read_body(&self, r: &mut Reader<'_>) -> Result<Outcome> {
        Ok(match self {
            Self::Create { .. } => {
                let path = string(r)?;
                Outcome::Created(path, Stat::read(r)?)
            }
            Self::Set { .. } | Self::Exists { .. } => Outcome::Stat(Stat::read(r)?),
            Self::Get { .. } => {
                let data = string(r)?;
                Outcome::Data(data, Stat::read(r)?)
            }
            Self::Children { .. } => {
                let count = r.count()?.unwrap_or(0);
                let names = (0..count).map(|_| string(r)).collect::<Result<_>>()?;
                Outcome::Names(names, Stat::read(r)?)
            }
            Self::Sync { .. } => {
                string(r)?;
                Outcome::Done
            }
            Self::AddWatch { .. } => {
                // zk: FinalRequestProcessor answers with an ErrorResponse(0).
                ensure!(r.i32()? == 0, "an error in the answer to addWatch");
                Outcome::Done
            }
            Self::Multi(parts) => read_multi(parts, r)?,
            Self::Delete { .. }
            | Self::Check { .. }
            | Self::SetWatches { .. }
            | Self::Ping
            | Self::Close => Outcome::Done,
        })
    }
}

fn read_multi(parts: &[Op], r: &mut Reader<'_>) -> Result<Outcome> {
    let mut results = Vec::new();
    loop {
        let (kind, done, _error) = (r.i32()?, r.u8()?, r.i32()?);
        if done != 0 {
            return Ok(Outcome::Multi(results));
        }
        let part = parts
            .get(results.len())
            .context("more results than parts")?;
        results.push(if kind == -1 {
            Outcome::Error(r.i32()?)
        } else {
            ensure!(kind == part.code(), "result of type {kind} for {part:?}");
            part.read_body(r)?
        });
    }
}

fn write_paths(w: &mut Writer, paths: &BTreeSet<String>) {
    w.i32(paths.len() as i32);
    for path in paths {
        w.buffer(Some(path.as_bytes()));
    }
}

fn string(r: &mut Reader<'_>) -> Result<String> {
    Ok(String::from_utf8(r.buffer()?.unwrap_or_default().to_vec())?)
}

impl Event {
    /// Reads a frame that is an event; `None`: it is a reply.
    ///
    /// # Errors
    /// It is neither.
    pub fn read(frame: &[u8]) -> Result<Option<Self>> {
        let mut r = Reader::new(frame);
        let (xid, zxid, _error) = (r.i32()?, r.i64()?, r.i32()?);
        if xid != -1 {
            return Ok(None);
        }
        let (kind, _state) = (r.i32()?, r.i32()?);
        let kind = match kind {
            1 => Kind::Created,
            2 => Kind::Deleted,
            3 => Kind::Changed,
            4 => Kind::Children,
            other => bail!("an event of type {other}"),
        };
        let path = string(&mut r)?;
        Ok(Some(Self { zxid, kind, path }))
    }
}

impl Call {
    /// What it was told, if it was not an error.
    pub fn success(&self) -> Option<&Reply> {
        let reply = self.reply.as_ref()?;
        let refused = match &reply.outcome {
            Outcome::Error(_) => true,
            Outcome::Multi(results) => results.iter().any(|it| matches!(it, Outcome::Error(_))),
            _ => false,
        };
        (!refused).then_some(reply)
    }

    /// Whether it may have been done without anybody being told.
    pub fn is_open(&self) -> bool {
        self.op.writes() && self.reply.is_none()
    }
}

impl History {
    /// All calls.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.records.iter().flat_map(|record| &record.calls)
    }

    /// All sessions.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.records.iter().flat_map(|record| &record.sessions)
    }

    /// How many writes were acknowledged.
    pub fn acknowledged(&self) -> usize {
        let done = |call: &&Call| call.op.writes() && call.success().is_some();
        self.calls().filter(done).count()
    }

    /// What is wrong with the order that each client saw: zxids never go back, not even when it moves
    /// to another server, and its writes take effect in the order in which they were sent.
    pub fn session_order(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (client, record) in self.records.iter().enumerate() {
            problems.extend(record.complaints.iter().cloned());
            let mut highest = 0;
            for tape in &record.tapes {
                // A client remembers the zxids of replies, not of events, when it goes elsewhere.
                let mut here = highest;
                for item in &tape.items {
                    let (zxid, what) = match item {
                        Item::Reply(index) => {
                            let Some(reply) = &record.calls[*index].reply else {
                                continue;
                            };
                            (reply.zxid, format!("{:?}", record.calls[*index]))
                        }
                        // Those of setWatches say no zxid.
                        Item::Event(event) if event.zxid <= 0 => continue,
                        Item::Event(event) => (event.zxid, format!("{event:?}")),
                    };
                    if zxid < here {
                        problems.push(format!(
                            "client {client}, server {}: zxid {zxid:#x} after {here:#x}: {what}",
                            tape.server + 1
                        ));
                    }
                    here = here.max(zxid);
                    if matches!(item, Item::Reply(_)) {
                        highest = highest.max(zxid);
                    }
                }
            }
            let mut last = 0;
            for call in &record.calls {
                let Some(reply) = call.success() else {
                    continue;
                };
                if call.op.writes() {
                    if reply.zxid <= last {
                        problems.push(format!(
                            "client {client}: a write at {:#x} after one at {last:#x}: {call:?}",
                            reply.zxid
                        ));
                    }
                    last = last.max(reply.zxid);
                }
            }
        }
        problems
    }
}

/// The path of the parent.
pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}
