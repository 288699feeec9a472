//! The whole tree of a side: read for comparison, then swept clean. By a connection of its own, with
//! the identity that may do all.

use anyhow::{Context as _, Result, bail, ensure};

use super::canon;
use super::host::CONFIG;
use super::side::{ANSWER_TIME_MAX, SESSION_TIMEOUT_MS, Side};
use crate::client::{Connection, Received, request};
use crate::wire::{Reader, Writer};

/// The nodes that every tree has.
const BUILT_IN: [&str; 4] = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];

impl Side {
    /// Every node of the server, top down: its path, and what all reads say of it.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn walk(&mut self) -> Result<Vec<(Vec<u8>, String)>> {
        let mut found = Vec::new();
        let mut level: Vec<Vec<u8>> = vec![b"/".to_vec()];
        while !level.is_empty() {
            let mut asked = Vec::new();
            for path in &level {
                let mut body = Writer::new();
                body.buffer(Some(path));
                asked.push((6, body.clone().finish()));
                body.bool(false);
                let body = body.finish();
                asked.push((4, body.clone()));
                asked.push((12, body));
            }
            let replies = self.ask_control(&asked)?;
            let mut next = Vec::new();
            for (path, replies) in level.iter().zip(replies.chunks(3)) {
                let mut text = canon::printable(Some(path));
                for ((code, _), (_, err, body)) in asked.iter().zip(replies) {
                    text += &format!(
                        " {err} {}",
                        canon::body(&mut self.symbols, *code, *err, body)
                    );
                }
                next.extend(children_of(path, &replies[2].2)?);
                if self.host.has_members() && path == CONFIG.as_bytes() {
                    text = format!("{CONFIG}, as each shows it");
                }
                found.push((path.clone(), text));
            }
            next.sort();
            level = next;
        }
        Ok(found)
    }

    /// Deletes all that [`Self::walk`] found, and makes the built-in nodes what they were.
    ///
    /// # Errors
    /// Something could not be deleted.
    pub fn clean(&mut self, found: &[(Vec<u8>, String)]) -> Result<()> {
        let mut asked = Vec::new();
        let built_in = |path: &[u8]| BUILT_IN.iter().any(|known| known.as_bytes() == path);
        for (path, _) in found.iter().rev().filter(|(path, _)| !built_in(path)) {
            let mut body = Writer::new();
            body.buffer(Some(path)).i32(-1);
            asked.push((2, body.finish()));
        }
        let is_shown = |path: &[u8]| self.host.has_members() && path == CONFIG.as_bytes();
        let built_in = found.iter().filter(|(path, _)| built_in(path));
        for (path, text) in built_in.filter(|(path, _)| !is_shown(path)) {
            let perms = if path.ends_with(b"config") { 1 } else { 31 };
            if !text.contains(&format!("acl [{perms:#x} \"world\":\"anyone\"]")) {
                let mut body = Writer::new();
                body.buffer(Some(path)).i32(1).i32(perms);
                body.buffer(Some(b"world")).buffer(Some(b"anyone")).i32(-1);
                asked.push((7, body.finish()));
            }
            if !text.contains(" len 0 ") {
                let mut body = Writer::new();
                body.buffer(Some(path)).buffer(Some(b"")).i32(-1);
                asked.push((5, body.finish()));
            }
        }
        for ((code, body), (_, err, _)) in asked.iter().zip(self.ask_control(&asked)?) {
            ensure!(
                err == 0,
                "clean: op {code} on {:?}: {err}",
                String::from_utf8_lossy(body)
            );
        }
        Ok(())
    }

    /// Opens the control connection: a session with the identity that may do all.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn connect_control(&mut self) -> Result<()> {
        let mut connection = Connection::open(self.host.address(), ANSWER_TIME_MAX)?;
        let (session, _) = connection.new_session(SESSION_TIMEOUT_MS)?;
        self.control = Some((connection, session));
        let mut body = Writer::new();
        body.i32(0)
            .buffer(Some(b"digest"))
            .buffer(Some(b"super:admin"));
        let replies = self.ask_control(&[(100, body.finish())])?;
        ensure!(
            replies[0].1 == 0,
            "the control connection is refused: {}",
            replies[0].1
        );
        Ok(())
    }

    /// Sends requests in one write and returns zxid, error and body of each reply.
    pub(super) fn ask_control(
        &mut self,
        asked: &[(i32, Vec<u8>)],
    ) -> Result<Vec<(i64, i32, Vec<u8>)>> {
        let (connection, _) = self.control.as_mut().context("no control connection")?;
        let mut bytes = Vec::new();
        for (index, (code, body)) in asked.iter().enumerate() {
            bytes.extend(request(index as i32 + 1, *code, body));
        }
        connection.send(&bytes);
        let mut replies = Vec::new();
        while replies.len() < asked.len() {
            let Received::Frame(frame) = connection.receive()? else {
                bail!("the control connection was closed by {}", self.host.kind())
            };
            let mut reader = Reader::new(&frame);
            let _xid = reader.i32()?;
            replies.push((reader.i64()?, reader.i32()?, reader.rest().to_vec()));
        }
        Ok(replies)
    }
}

/// The paths of the children that a getChildren2 reply lists.
fn children_of(path: &[u8], body: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut reader = Reader::new(body);
    let mut paths = Vec::new();
    if body.is_empty() {
        return Ok(paths);
    }
    for _ in 0..reader.count()?.unwrap_or(0) {
        let name = reader.buffer()?.unwrap_or_default();
        let mut child = if path == b"/" {
            Vec::new()
        } else {
            path.to_vec()
        };
        child.push(b'/');
        child.extend(name);
        paths.push(child);
    }
    Ok(paths)
}
