//! A client that asks for much at once.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};

use crate::client::{Connection, REPLY_TIME_MAX, Received, request};
use crate::wire::{Reader, Writer};

const BATCH: usize = 500;

/// One session.
#[derive(Debug)]
pub struct Pipe {
    /// Its connection, to misuse.
    pub connection: Connection,
    /// Events that came.
    pub events: usize,
}

impl Pipe {
    /// Opens a session.
    ///
    /// # Errors
    /// The server does not answer; so below.
    pub fn open(address: SocketAddr, timeout_ms: i32) -> Result<Self> {
        let mut connection = Connection::open(address, REPLY_TIME_MAX)?;
        connection.new_session(timeout_ms).context("new session")?;
        Ok(Self {
            connection,
            events: 0,
        })
    }

    /// Sends these requests in batches and returns their errors.
    #[allow(clippy::missing_errors_doc, reason = "as Pipe::open")]
    pub fn ask(&mut self, requests: &[(i32, Vec<u8>)]) -> Result<Vec<i32>> {
        let mut errors = Vec::with_capacity(requests.len());
        for batch in requests.chunks(BATCH) {
            let mut bytes = Vec::new();
            for (code, body) in batch {
                bytes.extend(request(1, *code, body));
            }
            self.connection.send(&bytes);
            for _ in batch {
                errors.push(Reader::new(&self.reply()?[12..]).i32()?);
            }
        }
        Ok(errors)
    }

    /// The next frame that is no event.
    #[allow(clippy::missing_errors_doc, reason = "as Pipe::open")]
    pub fn reply(&mut self) -> Result<Vec<u8>> {
        loop {
            match self.connection.receive()? {
                Received::Frame(frame) => {
                    ensure!(frame.len() >= 16, "a reply of {} bytes", frame.len());
                    if Reader::new(&frame).i32()? != -1 {
                        return Ok(frame);
                    }
                    self.events += 1;
                }
                other => bail!("no reply: {other:?}"),
            }
        }
    }

    /// create.
    #[allow(clippy::missing_errors_doc, reason = "as Pipe::open")]
    pub fn create(&mut self, path: &str, data: &[u8], flags: i32) -> Result<()> {
        let error = self.ask(&[(1, create(path, data, flags))])?[0];
        ensure!(error == 0, "create {path}: {error}");
        Ok(())
    }

    /// setData; the error code.
    #[allow(clippy::missing_errors_doc, reason = "as Pipe::open")]
    pub fn set(&mut self, path: &str, data: &[u8], version: i32) -> Result<i32> {
        Ok(self.ask(&[(5, set(path, data, version))])?[0])
    }

    /// getData.
    #[allow(clippy::missing_errors_doc, reason = "as Pipe::open")]
    pub fn get(&mut self, path: &str) -> Result<Vec<u8>> {
        self.connection.send(&request(1, 4, &read(path, false)));
        let frame = self.reply()?;
        let mut r = Reader::new(&frame[12..]);
        let error = r.i32()?;
        ensure!(error == 0, "getData {path}: {error}");
        Ok(r.buffer()?.unwrap_or_default().to_vec())
    }

    /// How many children; 0 if there is no such znode.
    #[allow(clippy::missing_errors_doc, reason = "as Pipe::open")]
    pub fn count(&mut self, path: &str) -> Result<usize> {
        self.connection.send(&request(1, 8, &read(path, false)));
        let frame = self.reply()?;
        let mut r = Reader::new(&frame[12..]);
        match r.i32()? {
            0 => Ok(r.count()?.unwrap_or(0)),
            error => bail!("getChildren {path}: {error}"),
        }
    }

    /// closeSession.
    #[allow(clippy::missing_errors_doc, reason = "as Pipe::open")]
    pub fn close(mut self) -> Result<()> {
        self.connection.send(&request(1, -11, &[]));
        self.reply().map(drop)
    }
}

/// Body of a create.
pub fn create(path: &str, data: &[u8], flags: i32) -> Vec<u8> {
    let mut w = Writer::new();
    w.buffer(Some(path.as_bytes())).buffer(Some(data));
    w.i32(1).i32(31);
    w.buffer(Some(b"world")).buffer(Some(b"anyone")).i32(flags);
    w.finish()
}

/// Body of a setData.
pub fn set(path: &str, data: &[u8], version: i32) -> Vec<u8> {
    let mut w = Writer::new();
    w.buffer(Some(path.as_bytes()))
        .buffer(Some(data))
        .i32(version);
    w.finish()
}

/// Body of exists, getData, getChildren.
pub fn read(path: &str, watch: bool) -> Vec<u8> {
    let mut w = Writer::new();
    w.buffer(Some(path.as_bytes())).bool(watch);
    w.finish()
}

/// Body of delete, check, addWatch: path and number.
pub fn numbered(path: &str, number: i32) -> Vec<u8> {
    let mut w = Writer::new();
    w.buffer(Some(path.as_bytes())).i32(number);
    w.finish()
}
