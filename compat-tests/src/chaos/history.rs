//! What the load did and what it was told: the record that the checker judges.
//!
//! An entry is a request in the order in which its worker sent it, with the reply if one came. One
//! worker's entries are one FIFO, also across its sessions: a new session is opened only after the
//! close of the old one was answered. So what a crash leaves of the unanswered ones is a prefix.

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::client::request;
use crate::wire::{Reader, Writer};

/// A request that writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Op {
    /// create with flags 0 to 3.
    Create {
        /// Path, without the number of a sequential one.
        path: String,
        /// Unique in the whole run.
        data: String,
        /// 1: ephemeral, 2: sequential.
        flags: i32,
    },
    /// setData.
    Set {
        /// Which znode.
        path: String,
        /// Unique in the whole run.
        data: String,
        /// Expected version, -1 for any.
        version: i32,
    },
    /// delete.
    Delete {
        /// Which znode.
        path: String,
        /// Expected version, -1 for any.
        version: i32,
    },
    /// check; only within a multi.
    Check {
        /// Which znode.
        path: String,
        /// Expected version.
        version: i32,
    },
    /// multi of the above.
    Multi(Vec<Self>),
    /// closeSession.
    Close,
}

/// What a reply says, as far as the model predicts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// Refused. Within a multi also 0 (rolled back) and -2 (not tried).
    Error(i32),
    /// Done, without a body.
    Done,
    /// Created under this path.
    Created(String),
    /// Written; the znode's new version.
    Version(i32),
    /// One for each part.
    Multi(Vec<Self>),
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reply {
    /// Of its header.
    pub zxid: i64,
    /// Header's error and body.
    pub outcome: Outcome,
}

/// A request with its reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Who asked.
    pub session: i64,
    /// What.
    pub op: Op,
    /// `None`: not answered before the connection was lost.
    pub reply: Option<Reply>,
}

impl Op {
    /// The opcode.
    pub fn code(&self) -> i32 {
        match self {
            Self::Create { .. } => 1,
            Self::Delete { .. } => 2,
            Self::Set { .. } => 5,
            Self::Check { .. } => 13,
            Self::Multi(_) => 14,
            Self::Close => -11,
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
            Self::Close => {}
        }
    }

    /// Reads the reply to this request; also its xid.
    ///
    /// # Errors
    /// The bytes are no such reply.
    pub fn read_reply(&self, frame: &[u8]) -> Result<(i32, Reply)> {
        let mut r = Reader::new(frame);
        let (xid, zxid, error) = (r.i32()?, r.i64()?, r.i32()?);
        let outcome = if error == 0 {
            self.read_body(&mut r)?
        } else {
            Outcome::Error(error)
        };
        ensure!(r.rest().is_empty(), "bytes behind the reply to {self:?}");
        Ok((xid, Reply { zxid, outcome }))
    }

    fn read_body(&self, r: &mut Reader<'_>) -> Result<Outcome> {
        Ok(match self {
            Self::Create { .. } => {
                let path = r.buffer()?.unwrap_or_default();
                Outcome::Created(String::from_utf8(path.to_vec())?)
            }
            Self::Set { .. } => Outcome::Version(Stat::read(r)?.version),
            Self::Delete { .. } | Self::Check { .. } | Self::Close => Outcome::Done,
            Self::Multi(parts) => {
                let mut results = Vec::new();
                loop {
                    let (kind, done, _error) = (r.i32()?, r.u8()?, r.i32()?);
                    if done != 0 {
                        break;
                    }
                    let Some(part) = parts.get(results.len()) else {
                        bail!("more results than parts in {self:?}")
                    };
                    results.push(if kind == -1 {
                        Outcome::Error(r.i32()?)
                    } else {
                        ensure!(kind == part.code(), "result of type {kind} for {part:?}");
                        part.read_body(r)?
                    });
                }
                Outcome::Multi(results)
            }
        })
    }
}

/// A Stat without its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of the record")]
pub struct Stat {
    pub czxid: i64,
    pub mzxid: i64,
    pub version: i32,
    pub cversion: i32,
    pub owner: i64,
    pub children: i32,
    pub pzxid: i64,
}

impl Stat {
    /// The record.
    ///
    /// # Errors
    /// Too few bytes.
    pub fn read(r: &mut Reader<'_>) -> Result<Self> {
        let (czxid, mzxid) = (r.i64()?, r.i64()?);
        let (_ctime, _mtime) = (r.i64()?, r.i64()?);
        let (version, cversion, _aversion) = (r.i32()?, r.i32()?, r.i32()?);
        let owner = r.i64()?;
        let (_data_length, children) = (r.i32()?, r.i32()?);
        let pzxid = r.i64()?;
        Ok(Self {
            czxid,
            mzxid,
            version,
            cversion,
            owner,
            children,
            pzxid,
        })
    }
}
