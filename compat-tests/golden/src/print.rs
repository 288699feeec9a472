//! From answers and events to text on which all back ends agree.

use std::collections::HashMap;

use anyhow::Result;
use bytes::Bytes;
use jute::{Acl, ErrorCode, MultiResult, OpCode, Response, Stat, Text, WatcherEvent};

/// Owner of a container, and the mark of a time to live. zk: EphemeralType.
const CONTAINER: u64 = 0x8000_0000_0000_0000;
const TTL: u64 = 0xff00_0000_0000_0000;

/// The names of what differs from run to run.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    zxids: Vec<i64>,
    times: HashMap<i64, i64>,
    owners: HashMap<i64, String>,
}

impl Symbols {
    pub(crate) fn own(&mut self, session: i64, client: &str) {
        self.owners.insert(session, client.to_owned());
    }

    fn zxid(&mut self, zxid: i64) -> String {
        if matches!(zxid, 0 | -1) {
            return zxid.to_string();
        }
        let known = self.zxids.iter().position(|known| *known == zxid);
        let index = known.unwrap_or_else(|| {
            self.zxids.push(zxid);
            self.zxids.len() - 1
        });
        format!("Z{}", index + 1)
    }

    fn owner(&self, owner: i64) -> String {
        let bits = owner.cast_unsigned();
        match self.owners.get(&owner) {
            Some(client) => client.clone(),
            None if owner == 0 => "nobody".into(),
            None if bits == CONTAINER => "container".into(),
            None if bits & TTL == TTL => format!("ttl:{}", bits & !TTL),
            None => "stranger".into(),
        }
    }

    /// Nothing, unless `time` is not the time of the change `zxid`.
    fn time(&mut self, name: &str, zxid: i64, time: i64) -> String {
        let known = *self.times.entry(zxid).or_insert(time);
        match time - known {
            0 => String::new(),
            by => format!(" {name} off by {by}"),
        }
    }

    fn stat(&mut self, stat: &Stat) -> String {
        let times = self.time("ctime", stat.czxid, stat.ctime)
            + &self.time("mtime", stat.mzxid, stat.mtime);
        let (c, m) = (self.zxid(stat.czxid), self.zxid(stat.mzxid));
        let (p, owner) = (self.zxid(stat.pzxid), self.owner(stat.ephemeral_owner));
        format!(
            "c={c} m={m} p={p}{times} version={} cversion={} aversion={} owner={owner} length={} \
             children={}",
            stat.version, stat.cversion, stat.aversion, stat.data_length, stat.num_children
        )
    }

    pub(crate) fn event(&mut self, zxid: i64, event: &WatcherEvent) -> String {
        let kind = match event.kind {
            1 => "created",
            2 => "deleted",
            3 => "changed",
            4 => "children of",
            _ => "unknown to",
        };
        let state = match event.state {
            3 => String::new(),
            other => format!(" state {other}"),
        };
        format!(
            "event {kind} {}{state} at {}",
            text(&event.path),
            self.zxid(zxid)
        )
    }

    pub(crate) fn answer(
        &mut self,
        op: OpCode,
        zxid: i64,
        err: ErrorCode,
        body: Bytes,
    ) -> Result<String> {
        if err != ErrorCode::OK {
            return Ok(err.to_string());
        }
        let changes = [
            OpCode::CREATE,
            OpCode::CREATE2,
            OpCode::CREATE_CONTAINER,
            OpCode::CREATE_TTL,
            OpCode::DELETE,
            OpCode::SET_DATA,
            OpCode::SET_ACL,
            OpCode::MULTI,
            OpCode::CLOSE_SESSION,
        ];
        let at = if changes.contains(&op) {
            format!(" at {}", self.zxid(zxid))
        } else {
            String::new()
        };
        Ok(self.response(&Response::decode(op, body)?) + &at)
    }

    fn response(&mut self, response: &Response) -> String {
        match response {
            Response::Empty => "ok".into(),
            Response::Create(create) => format!("created {}", text(&create.path)),
            Response::Create2(create) => {
                format!("created {} {}", text(&create.path), self.stat(&create.stat))
            }
            Response::Stat(response) => self.stat(&response.stat),
            Response::GetData(get) => format!("{} {}", data(&get.data), self.stat(&get.stat)),
            Response::GetAcl(get) => format!("{} {}", acl(&get.acl), self.stat(&get.stat)),
            Response::GetChildren(get) => list(&get.children),
            Response::GetChildren2(get) => {
                format!("{} {}", list(&get.children), self.stat(&get.stat))
            }
            Response::Sync(sync) => format!("synced {}", text(&sync.path)),
            Response::Multi(multi) => {
                let results: Vec<String> = multi
                    .results
                    .iter()
                    .map(|result| self.result(result))
                    .collect();
                format!("multi [{}]", results.join(" | "))
            }
            Response::Sasl(sasl) => data(&sasl.token),
            Response::GetEphemerals(get) => list(&get.ephemerals),
            Response::GetAllChildrenNumber(get) => get.total.to_string(),
            Response::AddWatch(added) => added.err.to_string(),
            Response::WhoAmI(who) => {
                let clients = who.clients.iter();
                let mut names: Vec<String> = clients
                    .map(|client| format!("{}:{}", text(&client.auth_scheme), text(&client.user)))
                    .collect();
                names.sort();
                names.join(" ")
            }
        }
    }

    fn result(&mut self, result: &MultiResult) -> String {
        match result {
            MultiResult::Create { path } => format!("created {}", text(path)),
            MultiResult::Create2 { path, stat } => {
                format!("created {} {}", text(path), self.stat(stat))
            }
            MultiResult::Delete => "deleted".into(),
            MultiResult::SetData { stat } => self.stat(stat),
            MultiResult::Check => "checked".into(),
            MultiResult::GetChildren { children } => list(children),
            MultiResult::GetData { data: bytes, stat } => {
                format!("{} {}", data(bytes), self.stat(stat))
            }
            MultiResult::Error(code) => code.to_string(),
        }
    }
}

/// A text of the wire.
pub fn text(text: &Option<Text>) -> &str {
    text.as_ref().map_or("null", Text::as_str)
}

/// A znode's data, in quotes.
pub fn data(data: &Option<Bytes>) -> String {
    data.as_ref().map_or("null".into(), |data| {
        format!("{:?}", String::from_utf8_lossy(data))
    })
}

/// Names have no stated order.
fn list(names: &Option<Vec<Option<Text>>>) -> String {
    let mut names: Vec<&str> = names.iter().flatten().map(text).collect();
    names.sort_unstable();
    format!("[{}]", names.join(" "))
}

/// As [`acls`](super::acls) reads it. `auth` has become an entry for each identity.
pub fn acl(acl: &Option<Vec<Acl>>) -> String {
    let entry = |acl: &Acl| {
        format!(
            "{}:{}:{}",
            text(&acl.id.scheme),
            text(&acl.id.id),
            acl.perms
        )
    };
    let entries: Vec<String> = acl.iter().flatten().map(entry).collect();
    entries.join(";")
}
