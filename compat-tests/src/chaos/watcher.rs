//! A client that only watches: before the crash it registers, after it it asks with setWatches, and
//! what it is told must be exactly what it has missed.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};

use super::dump::Dump;
use crate::client::{Connection, Hello, REPLY_TIME_MAX, Received, request};
use crate::wire::{Reader, Writer};

const CREATED: i32 = 1;
const DELETED: i32 = 2;
const CHANGED: i32 = 3;
const CHILDREN: i32 = 4;
const SET_WATCHES_XID: i32 = -8;
const PING_XID: i32 = -2;

/// An event: its type and path.
pub type Event = (i32, String);

/// The watching session.
#[derive(Debug)]
pub struct Watcher {
    connection: Option<Connection>,
    session: i64,
    password: Vec<u8>,
    last_zxid: i64,
    data: BTreeSet<String>,
    exist: BTreeSet<String>,
    child: BTreeSet<String>,
    /// Events that no registration asked for.
    strays: Vec<Event>,
    /// How many events came in all.
    pub events: usize,
}

impl Watcher {
    /// Opens its session.
    ///
    /// # Errors
    /// The server does not serve.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let mut connection = Connection::open(address, REPLY_TIME_MAX)?;
        let (session, password) = connection.new_session(120_000)?;
        Ok(Self {
            connection: Some(connection),
            session,
            password,
            last_zxid: 0,
            data: BTreeSet::new(),
            exist: BTreeSet::new(),
            child: BTreeSet::new(),
            strays: Vec::new(),
            events: 0,
        })
    }

    /// Its session's id.
    pub fn session(&self) -> i64 {
        self.session
    }

    /// Watches these znodes, which may not exist, and the children of these parents.
    ///
    /// # Errors
    /// No answer.
    pub fn register(&mut self, keys: &[String], parents: &[String]) -> Result<()> {
        for path in keys {
            let error = self.ask(3, &watched(path))?;
            let (now, otherwise) = match error {
                0 => (&mut self.data, &mut self.exist),
                -101 => (&mut self.exist, &mut self.data),
                error => bail!("exists {path}: {error}"),
            };
            // The server keeps one watch for both kinds.
            otherwise.remove(path);
            now.insert(path.clone());
        }
        for path in parents {
            let error = self.ask(8, &watched(path))?;
            ensure!(error == 0, "getChildren {path}: {error}");
            self.child.insert(path.clone());
        }
        Ok(())
    }

    /// After the crash: takes in what was still on the way.
    ///
    /// # Errors
    /// The server is alive but silent.
    pub fn drain(&mut self) -> Result<()> {
        while let Some(connection) = self.connection.as_mut() {
            match connection.receive()? {
                Received::Frame(frame) => drop(self.take(&frame)?),
                Received::Eof => self.connection = None,
                Received::Silence => bail!("the watcher's connection outlived the server"),
            }
        }
        Ok(())
    }

    /// After the restart: takes its session back, sets its watches, and says what is wrong with the
    /// events that come. Nothing may write meanwhile.
    ///
    /// # Errors
    /// No answer.
    pub fn come_back(&mut self, address: SocketAddr, dump: &Dump) -> Result<Vec<String>> {
        let mut connection = Connection::open(address, REPLY_TIME_MAX)?;
        let hello = Hello {
            last_zxid: self.last_zxid,
            session: self.session,
            password: Some(self.password.clone()),
            ..Hello::new(120_000)
        };
        let accepted = connection
            .take_up(&hello)
            .context("the watcher's session")?;
        ensure!(
            accepted,
            "the watcher's session was refused after the restart"
        );
        self.connection = Some(connection);
        let expected = self.missed(dump);
        let mut body = Writer::new();
        body.i64(self.last_zxid);
        for list in [&self.data, &self.exist, &self.child] {
            body.i32(list.len() as i32);
            for path in list {
                body.buffer(Some(path.as_bytes()));
            }
        }
        let frame = request(SET_WATCHES_XID, 101, &body.finish());
        self.connection.as_mut().context("just made")?.send(&frame);
        let seen = self.until(SET_WATCHES_XID)?;
        Ok(self.compare("setWatches", expected, seen))
    }

    /// The watches that have not fired, as far as they are on keys: these must fire once when they
    /// are written.
    pub fn waiting(&self) -> Vec<String> {
        self.data.union(&self.exist).cloned().collect()
    }

    /// What writing these must show: `made` did not exist before, `changed` did.
    pub fn expect(&self, made: &[String], changed: &[String]) -> Vec<Event> {
        let mut events = Vec::new();
        for (paths, kind) in [(made, CREATED), (changed, CHANGED)] {
            for path in paths {
                if self.data.contains(path) || self.exist.contains(path) {
                    events.push((kind, path.clone()));
                }
                let parent = super::model::parent(path).to_owned();
                if kind == CREATED && self.child.contains(&parent) {
                    events.push((CHILDREN, parent));
                }
            }
        }
        events.sort();
        events.dedup();
        events
    }

    /// Waits until all that was written so far has been told; says what is wrong with it.
    ///
    /// # Errors
    /// No answer.
    pub fn told(&mut self, expected: Vec<Event>) -> Result<Vec<String>> {
        let ping = request(PING_XID, 11, &[]);
        self.connection
            .as_mut()
            .context("no connection")?
            .send(&ping);
        let seen = self.until(PING_XID)?;
        Ok(self.compare("a watch set again", expected, seen))
    }

    fn compare(&mut self, what: &str, expected: Vec<Event>, mut seen: Vec<Event>) -> Vec<String> {
        seen.sort();
        let mut problems = Vec::new();
        if seen != expected {
            problems.push(format!("{what}: expected {expected:?}, came {seen:?}"));
        }
        if !self.strays.is_empty() {
            let strays = std::mem::take(&mut self.strays);
            problems.push(format!("events that no watch asked for: {strays:?}"));
        }
        problems
    }

    /// zk: DataTree.setWatches.
    fn missed(&self, dump: &Dump) -> Vec<Event> {
        let since = self.last_zxid;
        let mut events = Vec::new();
        for path in &self.data {
            match dump.nodes.get(path) {
                None => events.push((DELETED, path.clone())),
                Some(found) if found.stat.mzxid > since => events.push((CHANGED, path.clone())),
                Some(_) => {}
            }
        }
        for path in &self.exist {
            if dump.nodes.contains_key(path) {
                events.push((CREATED, path.clone()));
            }
        }
        for path in &self.child {
            match dump.nodes.get(path) {
                None => events.push((DELETED, path.clone())),
                Some(found) if found.stat.pzxid > since => events.push((CHILDREN, path.clone())),
                Some(_) => {}
            }
        }
        events.sort();
        events
    }

    fn ask(&mut self, opcode: i32, body: &[u8]) -> Result<i32> {
        let connection = self.connection.as_mut().context("no connection")?;
        connection.send(&request(1, opcode, body));
        loop {
            let connection = self.connection.as_mut().context("no connection")?;
            let Received::Frame(frame) = connection.receive()? else {
                bail!("no answer to opcode {opcode}")
            };
            if self.take(&frame)?.is_none() {
                return Reader::new(&frame[12..]).i32();
            }
        }
    }

    /// The events before the reply with this xid.
    fn until(&mut self, xid: i32) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        loop {
            let connection = self.connection.as_mut().context("no connection")?;
            match connection.receive()? {
                Received::Frame(frame) => match self.take(&frame)? {
                    Some(event) => events.push(event),
                    None if Reader::new(&frame).i32()? == xid => return Ok(events),
                    None => bail!("a reply that nobody waits for"),
                },
                other => bail!("no reply with xid {xid}: {other:?}"),
            }
        }
    }

    /// An event takes its registration with it; a reply moves the last zxid.
    fn take(&mut self, frame: &[u8]) -> Result<Option<Event>> {
        let mut r = Reader::new(frame);
        let (xid, zxid, _error) = (r.i32()?, r.i64()?, r.i32()?);
        if xid != -1 {
            self.last_zxid = self.last_zxid.max(zxid);
            return Ok(None);
        }
        let (kind, _state) = (r.i32()?, r.i32()?);
        let path = String::from_utf8(r.buffer()?.unwrap_or_default().to_vec())?;
        let sets: &mut [&mut BTreeSet<String>] = match kind {
            CREATED | CHANGED => &mut [&mut self.data, &mut self.exist],
            DELETED => &mut [&mut self.data, &mut self.exist, &mut self.child],
            CHILDREN => &mut [&mut self.child],
            other => bail!("event of type {other} on {path}"),
        };
        let mut wanted = false;
        for set in sets {
            wanted |= set.remove(&path);
        }
        let event = (kind, path);
        if !wanted {
            self.strays.push(event.clone());
        }
        self.events += 1;
        Ok(Some(event))
    }
}

fn watched(path: &str) -> Vec<u8> {
    let mut body = Writer::new();
    body.buffer(Some(path.as_bytes())).bool(true);
    body.finish()
}
