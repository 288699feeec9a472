//! The whole tree below `/chaos`, as a client reads it after a restart.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use super::history::Stat;
use crate::client::{Connection, REPLY_TIME_MAX, Received, request};
use crate::wire::{Reader, Writer};

/// One znode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Its data.
    pub data: String,
    /// Its stat.
    pub stat: Stat,
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Dump {
    /// By path.
    pub nodes: BTreeMap<String, Found>,
    /// The highest zxid of a reply.
    pub zxid: i64,
}

impl Dump {
    /// Reads the tree at and below `root`, by a session of its own.
    ///
    /// # Errors
    /// The server does not answer, or a znode vanishes meanwhile other than by an expiry.
    pub fn take(address: SocketAddr, root: &str) -> Result<Self> {
        let mut connection = Connection::open(address, REPLY_TIME_MAX)?;
        connection.new_session(30_000).context("session to dump")?;
        let mut dump = Self::default();
        let mut level = vec![root.to_owned()];
        while !level.is_empty() {
            let mut bytes = Vec::new();
            for path in &level {
                let mut body = Writer::new();
                body.buffer(Some(path.as_bytes())).bool(false);
                let body = body.finish();
                bytes.extend(request(1, 4, &body));
                bytes.extend(request(2, 8, &body));
            }
            connection.send(&bytes);
            let mut next = Vec::new();
            for path in &level {
                dump.read_node(&mut connection, path, &mut next)?;
            }
            level = next;
        }
        connection.close_session().context("close after the dump")?;
        Ok(dump)
    }

    fn read_node(
        &mut self,
        connection: &mut Connection,
        path: &str,
        next: &mut Vec<String>,
    ) -> Result<()> {
        let frame = self.reply(connection)?;
        let mut r = Reader::new(&frame[12..]);
        let gone = match r.i32()? {
            0 => {
                let data = r.buffer()?.unwrap_or_default().to_vec();
                let stat = Stat::read(&mut r)?;
                let data = String::from_utf8(data)?;
                self.nodes.insert(path.to_owned(), Found { data, stat });
                false
            }
            -101 => true,
            error => bail!("getData {path}: {error}"),
        };
        let frame = self.reply(connection)?;
        let mut r = Reader::new(&frame[12..]);
        match r.i32()? {
            0 => {
                for _ in 0..r.count()?.unwrap_or(0) {
                    let name = String::from_utf8(r.buffer()?.unwrap_or_default().to_vec())?;
                    next.push(format!("{path}/{name}"));
                }
            }
            -101 if gone => {}
            // Expired between the two.
            -101 => drop(self.nodes.remove(path)),
            error => bail!("getChildren {path}: {error}"),
        }
        Ok(())
    }

    fn reply(&mut self, connection: &mut Connection) -> Result<Vec<u8>> {
        match connection.receive()? {
            Received::Frame(frame) => {
                ensure!(frame.len() >= 16, "a reply of {} bytes", frame.len());
                let zxid = Reader::new(&frame[4..]).i64()?;
                ensure!(zxid >= self.zxid, "zxid of replies went back");
                self.zxid = zxid;
                Ok(frame)
            }
            other => bail!("no reply to a read: {other:?}"),
        }
    }

    /// The znodes strictly below `parent`.
    pub fn below<'a>(&'a self, parent: &str) -> impl Iterator<Item = (&'a String, &'a Found)> {
        let prefix = format!("{parent}/");
        self.nodes
            .range(prefix.clone()..)
            .take_while(move |(path, _)| path.starts_with(&prefix))
    }
}
