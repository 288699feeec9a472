//! Golden scripts: one behaviour per file of `scripts/`, on the state alone.
//!
//! `UPDATE_GOLDENFILES=1` writes them again. Writes go as one entry each, or together between
//! `begin` and `apply`. A txn is printed as zxid and outcome, its events indented behind it.
//!
//! ```text
//! config KEY=yes...               before all else: skip_acl enforce_quota extended_types ...
//! open S | attach S | close S | expire S | reap PATH
//!                                 password=N ms=MS; of=server.incarnation.connection and term=N
//!                                 for what a leader has decided by
//! the requests of the crate `golden`, with as=S auth=SCHEME:ID,.. for who asks
//! undecodable | undecodable-multi | unknown-op
//! reconfig                        joining=TEXT leaving=TEXT members=TEXT version=N, null without
//! line-up LINES | settle ZXID     term=N; refusal=CODE
//! begin | apply                   server=N incarnation=N connection=N sequence=N with any write
//! meta | quotas | sessions | members
//! time MS | term N | restart
//! ```

use std::error::Error;
use std::fmt::Write as _;
use std::num::ParseIntError;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Result, bail};
use golden::{Words, print};
use goldenscript::{Command, Context, Runner};
use jute::{ErrorCode, MultiResult, OpCode, Reconfig, Request, Response, Stat, Text};

use super::world::{ORIGIN, OWNER, World, client, identity, localhost, raw};
use crate::state::{
    Action, Event, Identities, Lineups, OpOutcome, Origin, Outcome, Proposal, ReadStop, Rules,
    ServerId, SessionId, SessionOwner, Settled, Txn, Zxid, count_descendants, lines, read_lines,
};

fn session(text: &str) -> SessionId {
    SessionId(text.parse().unwrap())
}

/// The session that asks.
fn asker(words: &Words) -> SessionId {
    session(words.key("as").unwrap_or("1"))
}

fn identities(words: &Words) -> Identities {
    let more = words.key("auth").into_iter();
    let more = more.flat_map(|ids| ids.split(',')).map(identity);
    localhost().iter().cloned().chain(more).collect()
}

/// A number by its key, or what is meant without.
fn number<T: FromStr<Err = ParseIntError>>(
    words: &Words,
    key: &'static str,
    usual: T,
) -> Result<T> {
    Ok(words.key(key).map(str::parse).transpose()?.unwrap_or(usual))
}

/// `server.incarnation.connection`.
fn owner(text: &str) -> Result<SessionOwner> {
    let numbers: Vec<u64> = text.split('.').map(str::parse).collect::<Result<_, _>>()?;
    let [server, incarnation, connection] = numbers[..] else {
        bail!("no owner: {text}");
    };
    let origin = Origin {
        server: ServerId(server),
        incarnation,
    };
    Ok(SessionOwner { origin, connection })
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
        OpOutcome::Data { data, stat } => {
            format!("{:?} {}", String::from_utf8_lossy(data), stat_text(stat))
        }
    }
}

fn txn_text(txn: &Txn) -> String {
    let mut text = match &txn.outcome {
        Outcome::Refused(code) => code.to_string(),
        Outcome::Op(OpOutcome::Deleted | OpOutcome::Checked) | Outcome::Done => "done".into(),
        Outcome::Op(op) => op_text(op),
        Outcome::Multi(ops) => {
            let ops: Vec<String> = ops.iter().map(op_text).collect();
            format!("multi [{}]", ops.join(" | "))
        }
        Outcome::MultiRefused(codes) => {
            let codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
            format!("multi [{}]", codes.join(" | "))
        }
        Outcome::Pending => "pending".into(),
        Outcome::Settled(settled) => {
            let reply = settled.reply.as_ref();
            let reply = reply.map_or_else(ToString::to_string, op_text);
            let Settled { origin, .. } = &**settled;
            format!("settles {} of {}: {reply}", settled.sequence, origin.server)
        }
        Outcome::SessionOpened => format!("session {} open", txn.session),
        Outcome::SessionAttached => format!("session {} attached", txn.session),
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

/// Null where no key says otherwise.
fn reconfig(words: &Words) -> Result<Request> {
    let text = |key| words.key(key).map(Text::from);
    Ok(Request::Reconfig(Reconfig {
        joining_servers: text("joining"),
        leaving_servers: text("leaving"),
        new_members: text("members"),
        cur_config_id: number(words, "version", -1)?,
    }))
}

/// In the order in which they came.
fn list(names: &Option<Vec<Option<Text>>>) -> String {
    let names: Vec<&str> = names.iter().flatten().map(print::text).collect();
    format!("[{}]", names.join(" "))
}

fn response_text(response: &Response) -> String {
    match response {
        Response::Stat(response) => stat_text(&response.stat),
        Response::GetData(response) => {
            format!(
                "{} {}",
                print::data(&response.data),
                stat_text(&response.stat)
            )
        }
        Response::GetChildren(response) => list(&response.children),
        Response::GetChildren2(response) => {
            format!("{} {}", list(&response.children), stat_text(&response.stat))
        }
        Response::GetEphemerals(response) => list(&response.ephemerals),
        Response::GetAcl(response) => print::acl(&response.acl),
        Response::Multi(response) => {
            let results: Vec<String> = response.results.iter().map(result_text).collect();
            format!("multi [{}]", results.join(" | "))
        }
        Response::GetAllChildrenNumber(response) => response.total.to_string(),
        Response::WhoAmI(response) => {
            let clients = response.clients.iter();
            let clients = clients.map(|client| {
                format!(
                    "{}:{}",
                    print::text(&client.auth_scheme),
                    print::text(&client.user)
                )
            });
            clients.collect::<Vec<_>>().join(" ")
        }
        other => format!("{other:?}"),
    }
}

fn result_text(result: &MultiResult) -> String {
    match result {
        MultiResult::GetChildren { children } => list(children),
        MultiResult::GetData { data, stat } => format!("{} {}", print::data(data), stat_text(stat)),
        MultiResult::Error(code) => code.to_string(),
        other => format!("{other:?}"),
    }
}

struct Script {
    world: World,
    rules: Rules,
    batch: Option<Vec<Proposal>>,
}

impl Script {
    /// What a command for a change proposes, and for whom.
    fn action(&self, name: &str, words: &Words) -> Result<Option<(SessionId, Action)>> {
        let path = || words.at(0).unwrap();
        let connection = number(words, "connection", 0)?;
        let timeout_ms = number(words, "ms", 4000)?;
        let password = [number(words, "password", 7)?; 16];
        let term = number(words, "term", self.world.position.term)?;
        let mut asked = match name {
            "open" => {
                let action = Action::OpenSession {
                    connection,
                    timeout_ms,
                    password,
                };
                (session(path()), action)
            }
            "attach" => {
                let action = Action::Attach {
                    connection,
                    timeout_ms,
                    password,
                };
                (session(path()), action)
            }
            "close" => (session(path()), Action::CloseSession),
            "expire" => {
                let owner = words.key("of").map_or(Ok(OWNER), owner)?;
                (session(path()), Action::ExpireSession { term, owner })
            }
            "reap" => (
                SessionId::NONE,
                Action::Reap {
                    term,
                    path: Arc::from(path()),
                    unused_ms: number(words, "unused", 0)?,
                },
            ),
            "undecodable" => (asker(words), raw(OpCode::CREATE, &[0, 0])),
            "undecodable-multi" => (asker(words), raw(OpCode::MULTI, &[0, 0])),
            "unknown-op" => (asker(words), raw(OpCode(77), &[])),
            "reconfig" => (asker(words), client(&reconfig(words)?)),
            "line-up" => {
                let members = read_lines(path()).expect("lines of members");
                (SessionId::NONE, Action::LineUp { term, members })
            }
            "settle" => {
                let change = Zxid(i64::from_str_radix(path(), 16)?);
                let refusal = ErrorCode(number(words, "refusal", 0)?);
                let action = Action::Settle {
                    term,
                    change,
                    refusal,
                };
                (SessionId::NONE, action)
            }
            _ => match golden::change(name, words)? {
                Some(request) => (asker(words), client(&request)),
                None => return Ok(None),
            },
        };
        if let Action::Client { connection: by, .. } = &mut asked.1 {
            *by = connection;
        }
        Ok(Some(asked))
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
        match self.world.read(request, asker(words), &identities(words)) {
            Ok(body) => response_text(&Response::decode(request.op(), body).unwrap()),
            Err(ReadStop::Refused(code)) => code.to_string(),
            Err(ReadStop::NeedsScan) => {
                let view = self.world.replica.read().view();
                let path = words.at(0).unwrap();
                format!("scan: {}", count_descendants(&*view, path).unwrap())
            }
            Err(stop) => format!("{stop:?}"),
        }
    }

    fn inspect(&self, name: &str) -> Result<String> {
        let state = self.world.replica.read();
        let mut text = String::new();
        match name {
            "sessions" => {
                for (id, record) in state.sessions() {
                    let ephemerals: Vec<_> = state.ephemerals(id).map(|path| &**path).collect();
                    let (timeout_ms, owner) = (record.timeout_ms, record.owner);
                    let ephemerals = ephemerals.join(" ");
                    writeln!(text, "{id} {timeout_ms}ms of {owner} [{ephemerals}]")?;
                }
            }
            "quotas" => {
                let paths: Vec<_> = state.quotas().map(|path| &**path).collect();
                writeln!(text, "[{}]", paths.join(" "))?;
            }
            "members" => {
                let Lineups { current, pending } = &state.meta().lineups;
                let known = current.as_ref();
                writeln!(text, "{:?}", known.map(|known| known.text()))?;
                if let Some(pending) = pending {
                    let wanted = lines(&pending.members);
                    let (change, sequence) = (pending.change, pending.sequence);
                    writeln!(text, "wanted by {change} of {sequence}: {wanted:?}")?;
                }
            }
            "meta" => {
                let meta = state.meta();
                writeln!(
                    text,
                    "last={} time={} acls={} next={} znodes={} bytes={} ephemerals={}",
                    meta.last_zxid,
                    meta.timeline.stamp_ms,
                    state.acl_count(),
                    meta.acl_next,
                    meta.znodes,
                    meta.data_bytes,
                    meta.ephemerals
                )?;
            }
            _ => bail!("unknown command {name}"),
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
        let argument = || words.at(0).unwrap().parse::<i64>();
        match name {
            "config" => {
                let on = |key| words.key(key) == Some("yes");
                self.rules = Rules {
                    skip_acl: on("skip_acl"),
                    enforce_quota: on("enforce_quota"),
                    extended_types: on("extended_types"),
                    reconfig_enabled: on("reconfig_enabled"),
                    digest_enabled: words.key("digest_enabled") != Some("no"),
                    emulate_353: on("emulate_353"),
                    in_ensemble: on("in_ensemble"),
                    two_voters_min: on("two_voters_min"),
                };
                self.world = World::new(self.rules);
            }
            "time" => {
                let ms = argument()? - self.world.time_ms;
                self.world.pass(u64::try_from(ms)?);
            }
            // Somebody sets the wall clock: no time passes.
            "clock" => self.world.time_ms = argument()?,
            "term" => self.world.position.term = u64::try_from(argument()?)?,
            "begin" => self.batch = Some(Vec::new()),
            "apply" => {
                let batch = self.batch.take().ok_or("no batch")?;
                return Ok(texts(&self.world.apply(batch)));
            }
            "restart" => {
                let fresh = World::new(self.rules);
                self.world = std::mem::replace(&mut self.world, fresh).restarted();
            }
            _ => {
                if let Some(request) = golden::read(name, &words)? {
                    return Ok(self.read(&request, &words));
                }
                let Some((session, action)) = self.action(name, &words)? else {
                    return Ok(self.inspect(name)?);
                };
                let identities = identities(&words);
                let origin = Origin {
                    server: ServerId(number(&words, "server", ORIGIN.server.0)?),
                    incarnation: number(&words, "incarnation", ORIGIN.incarnation)?,
                };
                let world = &mut self.world;
                let mut proposal = world.proposal_of(origin, session, &identities, action);
                proposal.sequence = number(&words, "sequence", proposal.sequence)?;
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
        let rules = Rules::default();
        let world = World::new(rules);
        let mut script = Script {
            world,
            rules,
            batch: None,
        };
        if let Err(error) = goldenscript::run(&mut script, &file) {
            panic!("{}: {error}", file.display());
        }
    }
}
