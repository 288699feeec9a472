//! Golden scripts: one behaviour per file of `scripts/`, on the state alone.
//!
//! `UPDATE_GOLDENFILES=1` writes them again. Writes go as one entry each, or together between
//! `begin` and `apply`. A txn is printed as zxid and outcome, its events indented behind it.
//!
//! ```text
//! config KEY=yes...               before all else: skip_acl enforce_quota extended_types ...
//! open S | close S | expire S | reap PATH
//! create PATH [DATA] [op=create|create2|container|ttl] [flags=N] [ttl=MS] [acl=SCHEME:ID:PERMS;..]
//! delete PATH [VERSION] | set PATH DATA [VERSION] | setacl PATH ACL [VERSION] | check PATH VERSION
//! multi "OP" "OP"...              as=S auth=SCHEME:ID,.. with any of them; DATA `null` is null
//! stat | get | ls | ls2 | getacl | count PATH; ephemerals PREFIX; whoami; multiread "OP"...
//! meta | quotas | sessions
//! time MS | term N | restart
//! ```

use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use goldenscript::{Argument, Command, Context, Runner};
use jute::{
    Check, Create, CreateTtl, Delete, Exists, GetAcl, GetAllChildrenNumber, GetChildren,
    GetChildren2, GetData, GetEphemerals, Multi, MultiOp, MultiRead, MultiReadOp, MultiResult,
    OpCode, Request, Response, SetAcl, SetData, Stat, Text,
};

use super::world::{World, acls, client, identity, localhost, open_acl, raw};
use crate::state::{
    Action, Config, Event, Identities, OpOutcome, Outcome, Proposal, ReadStop, SessionId, Txn,
    count_descendants,
};

/// A command's words, for commands and for the ops of a multi.
struct Words {
    positional: Vec<String>,
    keys: Vec<(String, String)>,
}

impl Words {
    fn of(command: &Command) -> Self {
        let mut words = Self {
            positional: Vec::new(),
            keys: Vec::new(),
        };
        for arg in &command.args {
            match arg {
                Argument::Positional(value) => words.positional.push(value.clone()),
                Argument::KeyValue(key, value) => words.keys.push((key.clone(), value.clone())),
                _ => {}
            }
        }
        words
    }

    fn parse(text: &str) -> (String, Self) {
        let mut words = Self {
            positional: Vec::new(),
            keys: Vec::new(),
        };
        for word in text.split_whitespace() {
            match word.split_once('=') {
                Some((key, value)) => words.keys.push((key.to_owned(), value.to_owned())),
                None => words.positional.push(word.to_owned()),
            }
        }
        let name = words.positional.remove(0);
        (name, words)
    }

    fn key(&self, name: &str) -> Option<&str> {
        self.keys
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    fn path(&self) -> Option<Text> {
        let path = self.positional.first()?;
        (path != "null").then(|| Text::from(path.as_str()))
    }

    fn data(&self) -> Option<Bytes> {
        match self.positional.get(1).map(String::as_str) {
            Some("null") => None,
            data => Some(Bytes::from(data.unwrap_or_default().to_owned())),
        }
    }

    fn version(&self, at: usize) -> i32 {
        self.positional
            .get(at)
            .map_or(-1, |version| version.parse().unwrap())
    }

    fn session(&self) -> SessionId {
        session(self.key("as").unwrap_or("1"))
    }

    fn identities(&self) -> Identities {
        let more = self.key("auth").into_iter().flat_map(|ids| ids.split(','));
        localhost()
            .iter()
            .cloned()
            .chain(more.map(identity))
            .collect()
    }
}

fn session(text: &str) -> SessionId {
    SessionId(text.parse().unwrap())
}

fn create(words: &Words) -> Request {
    let flags = words.key("flags").map_or(0, |flags| flags.parse().unwrap());
    let acl = words
        .key("acl")
        .map_or_else(open_acl, |acl| Some(acls(acl)));
    let (path, data) = (words.path(), words.data());
    let create = Create {
        path,
        data,
        acl,
        flags,
    };
    match words.key("op").unwrap_or("create") {
        "create2" => Request::Create2(create),
        "container" => Request::CreateContainer(create),
        "ttl" => {
            let ttl_ms = words.key("ttl").unwrap_or("1000").parse().unwrap();
            let Create {
                path,
                data,
                acl,
                flags,
            } = create;
            Request::CreateTtl(CreateTtl {
                path,
                data,
                acl,
                flags,
                ttl_ms,
            })
        }
        _ => Request::Create(create),
    }
}

fn request(name: &str, words: &Words) -> Option<Request> {
    let path = words.path();
    Some(match name {
        "create" => create(words),
        "delete" => Request::Delete(Delete {
            path,
            version: words.version(1),
        }),
        "set" => Request::SetData(SetData {
            path,
            data: words.data(),
            version: words.version(2),
        }),
        "setacl" => {
            let acl = Some(acls(words.positional.get(1).unwrap()));
            Request::SetAcl(SetAcl {
                path,
                acl,
                version: words.version(2),
            })
        }
        "check" => Request::Check(Check {
            path,
            version: words.version(1),
        }),
        "multi" => {
            let ops = words.positional.iter().map(|op| multi_op(op)).collect();
            Request::Multi(Multi { ops })
        }
        _ => return None,
    })
}

fn multi_op(text: &str) -> MultiOp {
    let (name, words) = Words::parse(text);
    match request(&name, &words).unwrap() {
        Request::Create(create) if create.flags == 4 => MultiOp::CreateContainer(create),
        Request::Create(create) => MultiOp::Create(create),
        Request::Create2(create) => MultiOp::Create2(create),
        Request::CreateContainer(create) => MultiOp::CreateContainer(create),
        Request::CreateTtl(create) => MultiOp::CreateTtl(create),
        Request::Delete(delete) => MultiOp::Delete(delete),
        Request::SetData(set_data) => MultiOp::SetData(set_data),
        Request::Check(check) => MultiOp::Check(check),
        other => panic!("{other:?} in a multi"),
    }
}

fn read_request(name: &str, words: &Words) -> Option<Request> {
    let path = words.path();
    let watch = false;
    Some(match name {
        "stat" => Request::Exists(Exists { path, watch }),
        "get" => Request::GetData(GetData { path, watch }),
        "ls" => Request::GetChildren(GetChildren { path, watch }),
        "ls2" => Request::GetChildren2(GetChildren2 { path, watch }),
        "getacl" => Request::GetAcl(GetAcl { path }),
        "count" => Request::GetAllChildrenNumber(GetAllChildrenNumber { path }),
        "ephemerals" => Request::GetEphemerals(GetEphemerals { prefix: path }),
        "whoami" => Request::WhoAmI,
        "multiread" => {
            let op = |op: &String| {
                let (name, words) = Words::parse(op);
                match read_request(&name, &words).unwrap() {
                    Request::GetChildren(get) => MultiReadOp::GetChildren(get),
                    Request::GetData(get) => MultiReadOp::GetData(get),
                    other => panic!("{other:?} in a multiRead"),
                }
            };
            Request::MultiRead(MultiRead {
                ops: words.positional.iter().map(op).collect(),
            })
        }
        _ => return None,
    })
}

fn stat_text(stat: &Stat) -> String {
    let Stat {
        czxid,
        mzxid,
        ctime,
        mtime,
        version,
        cversion,
        aversion,
        ..
    } = stat;
    let Stat {
        ephemeral_owner,
        data_length,
        num_children,
        pzxid,
        ..
    } = stat;
    format!(
        "c={czxid:x} m={mzxid:x} p={pzxid:x} ctime={ctime} mtime={mtime} version={version} \
         cversion={cversion} aversion={aversion} owner={ephemeral_owner:x} length={data_length} \
         children={num_children}"
    )
}

fn op_text(outcome: &OpOutcome) -> String {
    match outcome {
        OpOutcome::Created { path } => format!("created {path}"),
        OpOutcome::CreatedWithStat { path, stat } => format!("created {path} {}", stat_text(stat)),
        OpOutcome::Stat(stat) => stat_text(stat),
        OpOutcome::Deleted => "deleted".into(),
        OpOutcome::Checked => "checked".into(),
        OpOutcome::Error(code) => code.to_string(),
    }
}

fn txn_text(txn: &Txn) -> String {
    let mut text = match &txn.outcome {
        Outcome::Refused(code) => code.to_string(),
        Outcome::Created { path } => format!("created {path}"),
        Outcome::CreatedWithStat { path, stat } => format!("created {path} {}", stat_text(stat)),
        Outcome::Stat(stat) => stat_text(stat),
        Outcome::Done => "done".into(),
        Outcome::Multi(ops) => {
            let ops: Vec<String> = ops.iter().map(op_text).collect();
            format!("multi [{}]", ops.join(" | "))
        }
        Outcome::SessionOpened => format!("session {} open", txn.session),
        Outcome::SessionClosed => format!("session {} closed", txn.session),
    };
    text.insert_str(0, &format!("{} ", txn.zxid));
    for event in &txn.events {
        let line = match event {
            Event::Created { path, .. } => format!("created {path}"),
            Event::Deleted { path, .. } => format!("deleted {path}"),
            Event::DataChanged { path, .. } => format!("changed {path}"),
        };
        text.push_str("\n  event ");
        text.push_str(&line);
    }
    text
}

fn text(text: &Option<Text>) -> &str {
    text.as_ref().map_or("null", Text::as_str)
}

fn list(names: &Option<Vec<Option<Text>>>) -> String {
    let names: Vec<&str> = names.iter().flatten().map(text).collect();
    format!("[{}]", names.join(" "))
}

fn data_text(data: &Option<Bytes>) -> String {
    data.as_ref().map_or("null".into(), |data| {
        format!("{:?}", String::from_utf8_lossy(data))
    })
}

fn response_text(response: &Response) -> String {
    match response {
        Response::Stat(response) => stat_text(&response.stat),
        Response::GetData(response) => {
            format!(
                "{} {}",
                data_text(&response.data),
                stat_text(&response.stat)
            )
        }
        Response::GetChildren(response) => list(&response.children),
        Response::GetChildren2(response) => {
            format!("{} {}", list(&response.children), stat_text(&response.stat))
        }
        Response::GetEphemerals(response) => list(&response.ephemerals),
        Response::GetAcl(response) => {
            let entries = response.acl.iter().flatten().map(|acl| {
                format!(
                    "{}:{}:{}",
                    text(&acl.id.scheme),
                    text(&acl.id.id),
                    acl.perms
                )
            });
            entries.collect::<Vec<_>>().join(";")
        }
        Response::Multi(response) => {
            let results: Vec<String> = response.results.iter().map(result_text).collect();
            format!("multi [{}]", results.join(" | "))
        }
        Response::GetAllChildrenNumber(response) => response.total.to_string(),
        Response::WhoAmI(response) => {
            let clients = response.clients.iter();
            let clients = clients
                .map(|client| format!("{}:{}", text(&client.auth_scheme), text(&client.user)));
            clients.collect::<Vec<_>>().join(" ")
        }
        other => format!("{other:?}"),
    }
}

fn result_text(result: &MultiResult) -> String {
    match result {
        MultiResult::GetChildren { children } => list(children),
        MultiResult::GetData { data, stat } => format!("{} {}", data_text(data), stat_text(stat)),
        MultiResult::Error(code) => code.to_string(),
        other => format!("{other:?}"),
    }
}

struct Script {
    world: World,
    config: Config,
    batch: Option<Vec<Proposal>>,
}

impl Script {
    fn action(&self, name: &str, words: &Words) -> Option<(SessionId, Action)> {
        let path = || words.positional.first().unwrap().as_str();
        Some(match name {
            "open" => {
                let action = Action::OpenSession {
                    timeout_ms: 4000,
                    password: [7; 16],
                };
                (session(path()), action)
            }
            "close" => (session(path()), Action::CloseSession),
            "expire" => (session(path()), Action::ExpireSession),
            "reap" => (
                SessionId::NONE,
                Action::Reap {
                    path: Arc::from(path()),
                },
            ),
            "undecodable" => (words.session(), raw(OpCode::CREATE, &[0, 0])),
            "undecodable-multi" => (words.session(), raw(OpCode::MULTI, &[0, 0])),
            "unknown-op" => (words.session(), raw(OpCode(77), &[])),
            "reconfig" => (words.session(), raw(OpCode::RECONFIG, &[0xff; 20])),
            _ => (words.session(), client(&request(name, words)?)),
        })
    }

    fn propose(&mut self, proposal: Proposal) -> String {
        match &mut self.batch {
            Some(batch) => {
                batch.push(proposal);
                String::new()
            }
            None => texts(&self.world.apply(vec![proposal])),
        }
    }

    fn read(&self, request: &Request, words: &Words) -> String {
        match self
            .world
            .read(request, words.session(), &words.identities())
        {
            Ok(body) => response_text(&Response::decode(request.op(), body).unwrap()),
            Err(ReadStop::Refused(code)) => code.to_string(),
            Err(ReadStop::NeedsScan) => {
                let view = self.world.replica.read().view();
                let path = words.path().unwrap();
                format!("scan: {}", count_descendants(&*view, &path).unwrap())
            }
            Err(stop) => format!("{stop:?}"),
        }
    }

    fn inspect(&self, name: &str) -> Result<String, Box<dyn Error>> {
        let state = self.world.replica.read();
        let mut text = String::new();
        match name {
            "sessions" => {
                for (id, record) in state.sessions() {
                    let ephemerals: Vec<_> = state.ephemerals(id).map(|path| &**path).collect();
                    writeln!(
                        text,
                        "{id} {}ms [{}]",
                        record.timeout_ms,
                        ephemerals.join(" ")
                    )?;
                }
            }
            "quotas" => {
                let paths: Vec<_> = state.quotas().map(|path| &**path).collect();
                writeln!(text, "[{}]", paths.join(" "))?;
            }
            "meta" => {
                let meta = state.meta();
                writeln!(
                    text,
                    "last={} time={} acls={} next={} znodes={} bytes={} ephemerals={}",
                    meta.last_zxid,
                    meta.last_time_ms,
                    state.acl_count(),
                    meta.acl_next,
                    meta.znodes,
                    meta.data_bytes,
                    meta.ephemerals
                )?;
            }
            _ => return Err(format!("unknown command {name}").into()),
        }
        Ok(text)
    }
}

fn texts(txns: &[Txn]) -> String {
    if txns.is_empty() {
        return "nothing".into();
    }
    txns.iter().map(txn_text).collect::<Vec<_>>().join("\n")
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let words = Words::of(command);
        let name = command.name.as_str();
        let number = || words.positional.first().unwrap().parse::<i64>();
        match name {
            "config" => {
                let on = |key| words.key(key) == Some("yes");
                self.config = Config {
                    skip_acl: on("skip_acl"),
                    enforce_quota: on("enforce_quota"),
                    extended_types: on("extended_types"),
                    reconfig_enabled: on("reconfig_enabled"),
                    digest_enabled: words.key("digest_enabled") != Some("no"),
                };
                self.world = World::new(self.config);
            }
            "time" => self.world.time_ms = number()?,
            "term" => self.world.position.term = u64::try_from(number()?)?,
            "begin" => self.batch = Some(Vec::new()),
            "apply" => {
                let batch = self.batch.take().ok_or("no batch")?;
                return Ok(texts(&self.world.apply(batch)));
            }
            "restart" => {
                let fresh = World::new(self.config);
                self.world = std::mem::replace(&mut self.world, fresh).restarted();
            }
            _ => {
                if let Some(request) = read_request(name, &words) {
                    return Ok(self.read(&request, &words));
                }
                let Some((session, action)) = self.action(name, &words) else {
                    return self.inspect(name);
                };
                let identities = words.identities();
                let mut proposal = self.world.proposal(session, &identities, action);
                if let Some(sequence) = words.key("sequence") {
                    proposal.sequence = sequence.parse()?;
                }
                if let Some(incarnation) = words.key("incarnation") {
                    proposal.origin.incarnation = incarnation.parse()?;
                }
                return Ok(self.propose(proposal));
            }
        }
        Ok(String::new())
    }
}

#[test]
fn golden_scripts() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/state/scripts");
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let config = Config::default();
        let world = World::new(config);
        let mut script = Script {
            world,
            config,
            batch: None,
        };
        if let Err(error) = goldenscript::run(&mut script, &file) {
            panic!("{}: {error}", file.display());
        }
    }
}
