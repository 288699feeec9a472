//! A session that sends what it is told to, and nothing by itself: no pings, no second try.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};

use crate::client::{Connection, Hello, REPLY_TIME_MAX, Received, request};
use crate::wire::{Reader, Writer};

const NO_NODE: i32 = -101;
const EPHEMERAL: i32 = 1;

/// One session on one connection.
#[derive(Debug)]
pub(super) struct Client {
    connection: Connection,
    timeout_ms: i32,
    xid: i32,
}

impl Client {
    /// Opens a session.
    ///
    /// # Errors
    /// It is not given one; so below, when there is no answer, or one with an error that is none of
    /// those expected.
    pub(super) fn open(address: SocketAddr, timeout_ms: i32) -> Result<Self> {
        let mut connection = Connection::open(address, REPLY_TIME_MAX)?;
        let welcome = connection.handshake(&Hello::new(timeout_ms))?;
        let welcome = welcome.context("the connection ended")?;
        ensure!(welcome.session != 0, "no session");
        Ok(Self {
            connection,
            timeout_ms: welcome.timeout_ms,
            xid: 0,
        })
    }

    /// What was granted.
    pub(super) fn timeout_ms(&self) -> i32 {
        self.timeout_ms
    }

    /// The error of the reply, and what is behind its header.
    fn ask(&mut self, opcode: i32, body: Writer) -> Result<(i32, Vec<u8>)> {
        self.xid += 1;
        let frame = request(self.xid, opcode, &body.finish());
        self.connection.send(&frame);
        let Received::Frame(reply) = self.connection.receive()? else {
            bail!("no answer to operation {opcode}");
        };
        let mut reader = Reader::new(&reply);
        let xid = reader.i32()?;
        ensure!(xid == self.xid, "an answer to {xid}, not {}", self.xid);
        let _zxid = reader.i64()?;
        let err = reader.i32()?;
        Ok((err, reader.rest().to_vec()))
    }

    fn must(&mut self, opcode: i32, body: Writer) -> Result<Vec<u8>> {
        let (err, rest) = self.ask(opcode, body)?;
        ensure!(err == 0, "operation {opcode}: error {err}");
        Ok(rest)
    }

    /// Makes a node without data, open to all.
    pub(super) fn create(&mut self, path: &str, ephemeral: bool) -> Result<()> {
        let mut body = Writer::new();
        body.buffer(Some(path.as_bytes())).buffer(Some(b""));
        body.i32(1).i32(31);
        body.buffer(Some(b"world")).buffer(Some(b"anyone"));
        body.i32(if ephemeral { EPHEMERAL } else { 0 });
        self.must(1, body).map(drop)
    }

    /// Whether there is a node, without a watch.
    pub(super) fn exists(&mut self, path: &str) -> Result<bool> {
        let mut body = Writer::new();
        body.buffer(Some(path.as_bytes())).bool(false);
        match self.ask(3, body)?.0 {
            0 => Ok(true),
            NO_NODE => Ok(false),
            err => bail!("exists {path}: error {err}"),
        }
    }

    /// The names below a node, sorted.
    pub(super) fn children(&mut self, path: &str) -> Result<Vec<String>> {
        let mut body = Writer::new();
        body.buffer(Some(path.as_bytes())).bool(false);
        let reply = self.must(8, body)?;
        let mut reader = Reader::new(&reply);
        let mut names = Vec::new();
        for _ in 0..reader.count()?.unwrap_or(0) {
            let name = reader.buffer()?.unwrap_or_default();
            names.push(String::from_utf8(name.to_vec()).context("a name")?);
        }
        names.sort();
        Ok(names)
    }

    /// The text of `/zookeeper/config`.
    pub(super) fn config(&mut self) -> Result<String> {
        let mut body = Writer::new();
        body.buffer(Some(b"/zookeeper/config")).bool(false);
        let reply = self.must(4, body)?;
        let data = Reader::new(&reply).buffer()?.unwrap_or_default().to_vec();
        String::from_utf8(data).context("the text of the members")
    }

    /// Reads behind this see all that was acknowledged before.
    pub(super) fn sync(&mut self) -> Result<()> {
        let mut body = Writer::new();
        body.buffer(Some(b"/"));
        self.must(9, body).map(drop)
    }

    /// Ends the session.
    pub(super) fn close(mut self) -> Result<()> {
        self.connection.close_session()
    }
}
