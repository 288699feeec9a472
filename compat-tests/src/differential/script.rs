//! Sequences as text, in the grammar of the golden scripts: a prefix names the connection.
//!
//! ```text
//! c0: open [TIMEOUT]                        a connection and a new session; in the slot c0
//! c0: resume cN [timeout=MS]                the session that slot cN has or had
//!     zxid=future password=null|wrong session=unknown readonly=yes|absent
//! c0: drop | expire [TIMEOUT]               expire by this timeout, or by its own
//! c0: garbage LENGTH HEX                    a frame that is no request
//! c0: reap PATH...                          what is piped behind it, until these are gone
//! word WORD; restart | restart crash
//! c0: create PATH [DATA] [op=create|create2|container|ttl] [flags=N] [ttl=MS] [acl=SCHEME:ID:PERMS;..|null]
//! c0: delete PATH [VERSION] | check PATH VERSION | set PATH DATA [VERSION] | setacl PATH ACL [VERSION]
//! c0: stat | get | ls | ls2 PATH [watch]; getacl | sync | ephemerals | count PATH
//! c0: addwatch | checkwatch | removewatch PATH KIND
//! c0: setwatches | oldsetwatches [since=N] [data=P] [exist=P] [child=P] [persistent=P] [recursive=P] ...
//! c0: multi "OP"... [ended=no]; multiread "OP"... [ended=no]; auth SCHEME AUTH; sasl TOKEN
//! c0: reconfig [joining=] [leaving=] [members=] [config=N]; close | whoami | ping | bare CODE
//! ```
//!
//! A request with the tag `[piped]` goes in the same write as the line before it. Each may have
//! `xid=N`, another opcode than its name says by `op=N`, and damage to its body, in order:
//! `cut=N`, `extra=N`, `patch=AT:VALUE`. DATA, AUTH and TOKEN `null` are null, `text=null` is the word.

use std::error::Error;
use std::fmt::Write as _;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use goldenscript::{Argument, Command, Context, Runner};

use super::step::{Acl, Damage, Op, Request, Step, Who};

const TIMEOUT_MS: i32 = 300_000;
const PIPED: &str = "piped";

/// Kinds of watches by number; those of addWatch are other ones.
const KINDS: [(i32, &str); 5] = [
    (1, "children"),
    (2, "data"),
    (3, "any"),
    (4, "persistent"),
    (5, "recursive"),
];
const MODES: [(i32, &str); 2] = [(0, "persistent"), (1, "recursive")];
const LISTS: [&str; 5] = ["data", "exist", "child", "persistent", "recursive"];

/// Commands by the opcode that they say, for each shape of a record.
const VERSIONED: [(i32, &str); 2] = [(2, "delete"), (13, "check")];
const READS: [(i32, &str); 4] = [(3, "stat"), (4, "get"), (8, "ls"), (12, "ls2")];
const PATHS: [(i32, &str); 4] = [
    (6, "getacl"),
    (9, "sync"),
    (103, "ephemerals"),
    (104, "count"),
];
const WATCHES: [(i32, &str); 3] = [(17, "checkwatch"), (18, "removewatch"), (106, "addwatch")];
const MULTIS: [(i32, &str); 2] = [(14, "multi"), (22, "multiread")];
const BARE: [(i32, &str); 3] = [(-11, "close"), (107, "whoami"), (11, "ping")];
const CREATES: [(i32, &str); 4] = [
    (1, "create"),
    (15, "create2"),
    (19, "container"),
    (21, "ttl"),
];

/// The name of a number, if it has one.
fn name_of(table: &[(i32, &'static str)], number: i32) -> Option<&'static str> {
    let found = table.iter().find(|(known, _)| *known == number);
    found.map(|(_, name)| *name)
}

/// The number of a name.
fn number_of(table: &[(i32, &str)], name: &str) -> Option<i32> {
    let found = table.iter().find(|(_, known)| *known == name);
    found.map(|(number, _)| *number)
}

/// Reads a sequence.
///
/// # Errors
/// A line that is no step.
pub fn read(text: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for line in commands(text)? {
        let said = line.command.to_string();
        take(&mut steps, line).with_context(|| format!("read step {said}"))?;
    }
    Ok(steps)
}

/// Writes a sequence; [`read`] gives it back.
///
/// # Errors
/// A step that no sequence has.
pub fn write(steps: &[Step]) -> Result<String> {
    let mut out = String::new();
    for step in steps {
        put_step(step, &mut out)?;
    }
    Ok(out)
}

struct Line {
    slot: Option<usize>,
    is_piped: bool,
    command: Command,
}

/// What the words of a text are, without running anything.
#[derive(Default)]
struct Lines(Vec<Line>);

impl Runner for Lines {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Result<String, Box<dyn Error>> {
        let slot = context.prefix.as_deref().map(slot_of).transpose()?;
        self.0.push(Line {
            slot,
            is_piped: context.tags.contains(PIPED),
            command: command.clone(),
        });
        Ok(String::new())
    }
}

fn commands(text: &str) -> Result<Vec<Line>> {
    let mut lines = Lines::default();
    // As a script whose output is still to be written.
    goldenscript::generate(&mut lines, &format!("{text}\n---\n")).context("read a sequence")?;
    Ok(lines.0)
}

fn slot_of(name: &str) -> Result<usize> {
    let number = name.strip_prefix('c').and_then(|it| it.parse().ok());
    number.with_context(|| format!("{name} is no connection: c0, c1, ..."))
}

/// A command's words; what is not taken in the end is too much.
struct Words<'a> {
    words: Vec<&'a str>,
    keys: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    fn of(command: &'a Command) -> Self {
        let (mut words, mut keys) = (Vec::new(), Vec::new());
        for argument in &command.args {
            match argument {
                Argument::KeyValue(key, value) => keys.push((key.as_str(), value.as_str())),
                Argument::Positional(value) => words.push(value.as_str()),
                _ => {}
            }
        }
        words.reverse();
        Self { words, keys }
    }

    fn next(&mut self) -> Option<&'a str> {
        self.words.pop()
    }

    fn need(&mut self, what: &str) -> Result<&'a str> {
        self.next().with_context(|| format!("no {what}"))
    }

    fn number<T: std::str::FromStr>(&mut self, default: T) -> Result<T> {
        self.next().map_or(Ok(default), parse)
    }

    fn key(&mut self, name: &str) -> Option<&'a str> {
        let at = self.keys.iter().position(|(key, _)| *key == name)?;
        Some(self.keys.remove(at).1)
    }

    fn key_number<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>> {
        self.key(name).map(parse).transpose()
    }

    /// What may be null.
    fn nullable(&mut self) -> Option<String> {
        match self.key("text") {
            Some(text) => Some(text.to_owned()),
            None => match self.next() {
                Some("null") => None,
                other => Some(other.unwrap_or_default().to_owned()),
            },
        }
    }

    fn end(self) -> Result<()> {
        let (words, keys) = (self.words, self.keys);
        ensure!(words.is_empty() && keys.is_empty(), "{words:?} {keys:?}");
        Ok(())
    }
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| anyhow!("{text} is no number"))
}

fn take(steps: &mut Vec<Step>, line: Line) -> Result<()> {
    if line.is_piped {
        let request = request(&line.command)?;
        let slot_now = line.slot.context("which connection?")?;
        let (slot, requests) = match steps.last_mut() {
            Some(Step::Burst { slot, requests } | Step::Reap { slot, requests, .. }) => {
                (*slot, requests)
            }
            Some(Step::Connect { slot, then, .. }) => (*slot, then),
            _ => bail!("nothing to be piped behind"),
        };
        ensure!(slot == slot_now, "piped behind another connection");
        requests.push(request);
        return Ok(());
    }
    let mut words = Words::of(&line.command);
    let slot = line.slot;
    let on = || slot.context("which connection?");
    let step = match line.command.name.as_str() {
        "word" => Step::Word(words.need("word")?.to_owned()),
        "restart" => Step::Restart {
            crash: match words.next() {
                None => false,
                Some("crash") => true,
                Some(other) => bail!("restart {other}"),
            },
        },
        "open" | "resume" => connect(on()?, &line.command, &mut words)?,
        "drop" => Step::Drop { slot: on()? },
        "expire" => Step::Expire {
            slot: on()?,
            timeout_ms: words.next().map(parse).transpose()?,
        },
        "garbage" => Step::Garbage {
            slot: on()?,
            length: parse(words.need("length")?)?,
            bytes: unhex(words.need("bytes")?)?,
        },
        "reap" => Step::Reap {
            slot: on()?,
            requests: Vec::new(),
            paths: std::iter::from_fn(|| words.next())
                .map(str::to_owned)
                .collect(),
        },
        "nothing" => Step::Burst {
            slot: on()?,
            requests: Vec::new(),
        },
        _ => {
            let requests = vec![request(&line.command)?];
            steps.push(Step::Burst {
                slot: on()?,
                requests,
            });
            return Ok(());
        }
    };
    words.end()?;
    steps.push(step);
    Ok(())
}

fn connect(slot: usize, command: &Command, words: &mut Words<'_>) -> Result<Step> {
    let password = words.key("password");
    let (who, timeout_ms) = if command.name == "open" {
        let timeout_ms = words.number(TIMEOUT_MS)?;
        let who = match (password, words.key("session"), words.key("zxid")) {
            (None, None, None) => Who::New,
            (Some("null"), None, None) => Who::NewNullPassword,
            (None, Some("unknown"), None) => Who::Unknown,
            (None, None, Some("future")) => Who::Future,
            other => bail!("open {other:?}"),
        };
        (who, timeout_ms)
    } else {
        let of = slot_of(words.need("session to resume")?)?;
        let who = match password {
            None => Who::Slot(of),
            Some("wrong") => Who::WrongPassword(of),
            Some(other) => bail!("password={other}"),
        };
        (who, words.key_number("timeout")?.unwrap_or(TIMEOUT_MS))
    };
    let read_only = match words.key("readonly") {
        None => Some(false),
        Some("yes") => Some(true),
        Some("absent") => None,
        Some(other) => bail!("readonly={other}"),
    };
    Ok(Step::Connect {
        slot,
        who,
        timeout_ms,
        read_only,
        then: Vec::new(),
    })
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    ensure!(text.len() % 2 == 0 && text.is_ascii(), "{text} is no hex");
    let pairs = (0..text.len()).step_by(2).map(|at| &text[at..at + 2]);
    let bytes = pairs.map(|pair| u8::from_str_radix(pair, 16).context("hex"));
    bytes.collect()
}

fn request(command: &Command) -> Result<Request> {
    let mut words = Words::of(command);
    let xid = words.key_number("xid")?;
    let op = op(&command.name, &mut words)?;
    words.end()?;
    Ok(Request { xid, op })
}

fn op(name: &str, words: &mut Words<'_>) -> Result<Op> {
    let mut damages = Vec::new();
    words.keys.retain(|(key, value)| {
        let is_damage = matches!(*key, "cut" | "extra" | "patch");
        if is_damage {
            damages.push((*key, *value));
        }
        !is_damage
    });
    let mut op = whole_op(name, words)?;
    for (key, value) in damages {
        let damage = match key {
            "cut" => Damage::Cut(parse(value)?),
            "extra" => Damage::Extra(parse(value)?),
            _ => {
                let (at, value) = value.split_once(':').context("patch=AT:VALUE")?;
                Damage::Patch(parse(at)?, parse(value)?)
            }
        };
        op = Op::Broken {
            op: Box::new(op),
            damage,
        };
    }
    Ok(op)
}

fn whole_op(name: &str, words: &mut Words<'_>) -> Result<Op> {
    if name == "create" {
        return create(words);
    }
    let mut code = |said: i32| Ok::<i32, anyhow::Error>(words.key_number("op")?.unwrap_or(said));
    if let Some(said) = number_of(&VERSIONED, name) {
        return Ok(Op::Versioned {
            code: code(said)?,
            path: words.need("path")?.to_owned(),
            version: words.number(-1)?,
        });
    }
    if let Some(said) = number_of(&READS, name) {
        return Ok(Op::Read {
            code: code(said)?,
            path: words.need("path")?.to_owned(),
            watch: match words.next() {
                None => false,
                Some("watch") => true,
                Some(other) => bail!("{other} in place of watch"),
            },
        });
    }
    if let Some(said) = number_of(&PATHS, name) {
        return Ok(Op::Path {
            code: code(said)?,
            path: words.need("path")?.to_owned(),
        });
    }
    if let Some(said) = number_of(&WATCHES, name) {
        let code = code(said)?;
        let path = words.need("path")?.to_owned();
        let kind = words.need("kind")?;
        let kind = number_of(kinds(code), kind).map_or_else(|| parse(kind), Ok)?;
        return Ok(Op::Watch { code, path, kind });
    }
    if let Some(said) = number_of(&MULTIS, name) {
        let code = code(said)?;
        let ended = match words.key("ended") {
            None => true,
            Some("no") => false,
            Some(other) => bail!("ended={other}"),
        };
        let items = std::iter::from_fn(|| words.next()).map(item);
        return Ok(Op::Multi {
            code,
            items: items.collect::<Result<_>>()?,
            ended,
        });
    }
    if let Some(code) = number_of(&BARE, name) {
        return Ok(Op::Bare { code });
    }
    rest(name, words)
}

fn create(words: &mut Words<'_>) -> Result<Op> {
    let acl = match words.key("acl") {
        None => open_acl(),
        Some(text) => acls(text)?,
    };
    let said = words.key("op").unwrap_or("create");
    Ok(Op::Create {
        code: number_of(&CREATES, said).map_or_else(|| parse(said), Ok)?,
        path: words.need("path")?.to_owned(),
        data: words.nullable(),
        acl,
        flags: words.key_number("flags")?.unwrap_or(0),
        ttl: words.key_number("ttl")?.unwrap_or(0),
    })
}

/// An operation of its own shape.
fn rest(name: &str, words: &mut Words<'_>) -> Result<Op> {
    Ok(match name {
        "set" => Op::SetData {
            path: words.need("path")?.to_owned(),
            data: words.nullable(),
            version: words.number(-1)?,
        },
        "setacl" => Op::SetAcl {
            path: words.need("path")?.to_owned(),
            acl: acls(words.need("ACL")?)?,
            version: words.number(-1)?,
        },
        "setwatches" | "oldsetwatches" => {
            let since = words.key_number("since")?;
            let mut list = |name: &&str| {
                let paths = std::iter::from_fn(|| words.key(name));
                paths.map(str::to_owned).collect()
            };
            let count = if name == "setwatches" { 5 } else { 3 };
            let lists = LISTS.iter().take(count).map(&mut list).collect();
            Op::SetWatches { since, lists }
        }
        "auth" => Op::Auth {
            scheme: words.need("scheme")?.to_owned(),
            auth: words.nullable(),
        },
        "sasl" => Op::Sasl {
            token: words.nullable(),
        },
        "reconfig" => {
            let mut text = |name| words.key(name).unwrap_or_default().to_owned();
            Op::Reconfig {
                joining: text("joining"),
                leaving: text("leaving"),
                members: text("members"),
                config: words.key_number("config")?.unwrap_or(-1),
            }
        }
        "bare" => Op::Bare {
            code: parse(words.need("opcode")?)?,
        },
        other => bail!("no command {other}"),
    })
}

/// An operation within a multi.
fn item(text: &str) -> Result<Op> {
    let line = commands(text)?.pop().context("an empty operation")?;
    let Request { xid: None, op } = request(&line.command)? else {
        bail!("an xid within a multi");
    };
    Ok(op)
}

fn kinds(code: i32) -> &'static [(i32, &'static str)] {
    if code == 106 { &MODES } else { &KINDS }
}

fn open_acl() -> Option<Vec<Acl>> {
    super::values::open_acl()
}

/// As the golden scripts write them; a scheme's `:`, all `;` and `%` as `%3a`, `%3b`, `%25`.
fn acls(text: &str) -> Result<Option<Vec<Acl>>> {
    if text == "null" {
        return Ok(None);
    }
    let entry = |entry: &str| {
        let (id, perms) = entry.rsplit_once(':').context("an ACL without perms")?;
        let (scheme, id) = id.split_once(':').context("an ACL without id")?;
        let plain = |text: &str| {
            text.replace("%3a", ":")
                .replace("%3b", ";")
                .replace("%25", "%")
        };
        Ok((parse(perms)?, plain(scheme), plain(id)))
    };
    let entries = text.split(';').filter(|entry| !entry.is_empty());
    entries.map(entry).collect::<Result<_>>().map(Some)
}

fn acls_text(acl: Option<&[Acl]>) -> String {
    let Some(acl) = acl else {
        return "null".to_owned();
    };
    let escaped = |text: &str| text.replace('%', "%25").replace(';', "%3b");
    let entry = |(perms, scheme, id): &Acl| {
        let scheme = escaped(scheme).replace(':', "%3a");
        format!("{scheme}:{}:{perms}", escaped(id))
    };
    acl.iter().map(entry).collect::<Vec<_>>().join(";")
}

/// A word as the grammar wants it: bare if it may be.
fn word(text: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut chars = text.chars();
    if chars.next().is_some_and(is_bare)
        && chars.all(|c| is_bare(c) || matches!(c, '-' | '.' | '/' | '@'))
    {
        return text.to_owned();
    }
    let quoted = format!("{text:?}");
    // What is quoted within is easier to read so.
    if text.contains('"') && !text.contains('\'') {
        let inner = quoted.get(1..quoted.len() - 1).unwrap_or_default();
        return format!("'{}'", inner.replace("\\\"", "\""));
    }
    quoted
}

/// A command that is being written.
struct Writing(String);

impl Writing {
    fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    fn word(mut self, text: &str) -> Self {
        self.0.push(' ');
        self.0 += &word(text);
        self
    }

    fn key(mut self, name: &str, value: impl ToString) -> Self {
        self.0 += &format!(" {name}={}", word(&value.to_string()));
        self
    }

    fn key_if(self, is_said: bool, name: &str, value: impl ToString) -> Self {
        if is_said { self.key(name, value) } else { self }
    }

    /// Data of which more may follow.
    fn nullable(self, text: Option<&str>) -> Self {
        match text {
            Some("null") => self.key("text", "null"),
            text => self.word(text.unwrap_or("null")),
        }
    }

    fn version(self, version: i32) -> Self {
        if version == -1 {
            self
        } else {
            self.word(&version.to_string())
        }
    }

    /// A name that says the opcode, or some name of the shape and the opcode.
    fn of(table: &[(i32, &'static str)], code: i32) -> (Self, Option<i32>) {
        match name_of(table, code) {
            Some(name) => (Self::new(name), None),
            None => (Self::new(table.first().map_or("", |it| it.1)), Some(code)),
        }
    }

    fn op(self, other: Option<i32>) -> Self {
        match other {
            Some(code) => self.key("op", code),
            None => self,
        }
    }
}

fn put_step(step: &Step, out: &mut String) -> Result<()> {
    let (slot, line, behind): (Option<usize>, String, &[Request]) = match step {
        Step::Connect { slot, then, .. } => (Some(*slot), connect_text(step), then),
        Step::Drop { slot } => (Some(*slot), "drop".to_owned(), &[]),
        Step::Burst { slot, requests } => match requests.split_first() {
            Some((first, behind)) => (Some(*slot), request_text(first)?, behind),
            None => (Some(*slot), "nothing".to_owned(), &[]),
        },
        Step::Garbage {
            slot,
            length,
            bytes,
        } => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let line = Writing::new("garbage").word(&length.to_string()).word(&hex);
            (Some(*slot), line.0, &[])
        }
        Step::Word(name) => (None, Writing::new("word").word(name).0, &[]),
        Step::Expire { slot, timeout_ms } => {
            let line = Writing::new("expire");
            let line = match timeout_ms {
                Some(timeout_ms) => line.word(&timeout_ms.to_string()),
                None => line,
            };
            (Some(*slot), line.0, &[])
        }
        Step::Reap {
            slot,
            requests,
            paths,
        } => {
            let line = paths
                .iter()
                .fold(Writing::new("reap"), |line, path| line.word(path));
            (Some(*slot), line.0, requests)
        }
        Step::Restart { crash: false } => (None, "restart".to_owned(), &[]),
        Step::Restart { crash: true } => (None, "restart crash".to_owned(), &[]),
    };
    let prefix = slot.map_or(String::new(), |slot| format!("c{slot}: "));
    writeln!(out, "{prefix}{line}")?;
    for request in behind {
        writeln!(out, "{prefix}{} [{PIPED}]", request_text(request)?)?;
    }
    Ok(())
}

fn connect_text(step: &Step) -> String {
    let Step::Connect {
        who,
        timeout_ms,
        read_only,
        ..
    } = step
    else {
        return String::new();
    };
    let is_usual = *timeout_ms == TIMEOUT_MS;
    let open = || {
        let line = Writing::new("open");
        if is_usual {
            line
        } else {
            line.word(&timeout_ms.to_string())
        }
    };
    let resume = |of: &usize| {
        let line = Writing::new("resume").word(&format!("c{of}"));
        line.key_if(!is_usual, "timeout", timeout_ms)
    };
    let line = match who {
        Who::New => open(),
        Who::NewNullPassword => open().key("password", "null"),
        Who::Unknown => open().key("session", "unknown"),
        Who::Future => open().key("zxid", "future"),
        Who::Slot(of) => resume(of),
        Who::WrongPassword(of) => resume(of).key("password", "wrong"),
    };
    let line = match read_only {
        Some(false) => line,
        Some(true) => line.key("readonly", "yes"),
        None => line.key("readonly", "absent"),
    };
    line.0
}

fn request_text(request: &Request) -> Result<String> {
    let line = op_text(&request.op)?;
    let line = match request.xid {
        Some(xid) => line.key("xid", xid),
        None => line,
    };
    Ok(line.0)
}

fn op_text(op: &Op) -> Result<Writing> {
    Ok(match op {
        Op::Create { .. } => create_text(op),
        Op::Versioned {
            code,
            path,
            version,
        } => {
            let (line, other) = Writing::of(&VERSIONED, *code);
            line.word(path).version(*version).op(other)
        }
        Op::Read { code, path, watch } => {
            let (line, other) = Writing::of(&READS, *code);
            let line = line.word(path);
            let line = if *watch { line.word("watch") } else { line };
            line.op(other)
        }
        Op::SetData {
            path,
            data,
            version,
        } => {
            let line = Writing::new("set").word(path);
            line.nullable(data.as_deref()).version(*version)
        }
        Op::SetAcl { path, acl, version } => {
            let line = Writing::new("setacl").word(path);
            line.word(&acls_text(acl.as_deref())).version(*version)
        }
        Op::Path { code, path } => {
            let (line, other) = Writing::of(&PATHS, *code);
            line.word(path).op(other)
        }
        Op::Watch { code, path, kind } => {
            let (line, other) = Writing::of(&WATCHES, *code);
            let named = name_of(kinds(*code), *kind).map(str::to_owned);
            let kind = named.unwrap_or_else(|| kind.to_string());
            line.word(path).word(&kind).op(other)
        }
        Op::Multi { code, items, ended } => {
            let (mut line, other) = Writing::of(&MULTIS, *code);
            for item in items {
                line = line.word(&op_text(item)?.0);
            }
            line.key_if(!ended, "ended", "no").op(other)
        }
        Op::SetWatches { since, lists } => watches_text(*since, lists)?,
        Op::Auth { scheme, auth } => Writing::new("auth").word(scheme).nullable(auth.as_deref()),
        Op::Reconfig {
            joining,
            leaving,
            members,
            config,
        } => {
            let line = Writing::new("reconfig").key("joining", joining);
            let line = line.key("leaving", leaving).key("members", members);
            line.key("config", config)
        }
        Op::Bare { code } => match name_of(&BARE, *code) {
            Some(name) => Writing::new(name),
            None => Writing::new("bare").word(&code.to_string()),
        },
        Op::Sasl { token } => Writing::new("sasl").nullable(token.as_deref()),
        Op::Broken { op, damage } => {
            let line = op_text(op)?;
            match damage {
                Damage::Cut(at) => line.key("cut", at),
                Damage::Extra(count) => line.key("extra", count),
                Damage::Patch(at, value) => line.key("patch", format!("{at}:{value}")),
            }
        }
    })
}

fn create_text(op: &Op) -> Writing {
    let Op::Create {
        code,
        path,
        data,
        acl,
        flags,
        ttl,
    } = op
    else {
        return Writing::new("create");
    };
    let said = name_of(&CREATES, *code).map_or_else(|| code.to_string(), str::to_owned);
    let line = Writing::new("create").word(path).nullable(data.as_deref());
    let line = line
        .key_if(*code != 1, "op", said)
        .key_if(*flags != 0, "flags", flags);
    let line = line.key_if(*ttl != 0, "ttl", ttl);
    line.key_if(*acl != open_acl(), "acl", acls_text(acl.as_deref()))
}

fn watches_text(since: Option<i64>, lists: &[Vec<String>]) -> Result<Writing> {
    let name = match lists.len() {
        5 => "setwatches",
        3 => "oldsetwatches",
        other => bail!("{other} lists of watches"),
    };
    let mut line = Writing::new(name);
    if let Some(since) = since {
        line = line.key("since", since);
    }
    for (name, list) in LISTS.iter().zip(lists) {
        for path in list {
            line = line.key(name, path);
        }
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_the_same_when_read_back() {
        for index in 0..300 {
            let mut all = vec![super::super::timed::sequence(1, index)];
            all.extend([false, true].map(|it| super::super::generate::sequence(1, index, it)));
            for steps in all {
                let text = write(&steps).unwrap();
                assert_eq!(read(&text).unwrap(), steps, "{text}");
            }
        }
    }

    /// Also what no generator makes.
    #[test]
    fn odd_values_are_the_same_when_read_back() {
        let odd = [
            "", "null", "a b", "'\"", "\\\"\n", "x=y", "a:b;%3a", "[piped]", "#", "<null>",
        ];
        for text in odd.map(str::to_owned) {
            let entry = (1, text.clone(), text.clone());
            let path = || text.clone();
            let ops = vec![
                Op::Create {
                    code: 99,
                    path: path(),
                    data: Some(path()),
                    acl: Some(vec![entry.clone(), entry]),
                    flags: -1,
                    ttl: -5,
                },
                Op::SetAcl {
                    path: path(),
                    acl: Some(Vec::new()),
                    version: 3,
                },
                Op::Versioned {
                    code: 7,
                    path: path(),
                    version: i32::MIN,
                },
                Op::SetWatches {
                    since: Some(-1),
                    lists: vec![vec![path(), path()], Vec::new(), vec![path()]],
                },
                Op::Auth {
                    scheme: path(),
                    auth: Some(path()),
                },
            ];
            let multi = Op::Multi {
                code: 22,
                items: vec![
                    Op::Multi {
                        code: 5,
                        items: ops.clone(),
                        ended: false,
                    },
                    Op::Broken {
                        op: Box::new(Op::Broken {
                            op: Box::new(Op::Path {
                                code: 1,
                                path: path(),
                            }),
                            damage: Damage::Patch(3, -4),
                        }),
                        damage: Damage::Cut(1),
                    },
                ],
                ended: true,
            };
            let requests = ops.into_iter().chain([multi]);
            let requests = requests.map(|op| Request { xid: Some(-2), op });
            let steps = [
                Step::Reap {
                    slot: 12,
                    requests: requests.collect(),
                    paths: vec![path(), path()],
                },
                Step::Burst {
                    slot: 3,
                    requests: Vec::new(),
                },
                Step::Word(path()),
            ];
            let text = write(&steps).unwrap();
            assert_eq!(read(&text).unwrap(), steps, "{text}");
        }
    }

    /// So that a kept failure can be put beside the others as it is.
    #[test]
    fn all_scripts_are_as_they_would_be_written() {
        let paths = super::super::written().unwrap();
        assert!(paths.len() >= 19);
        for path in paths {
            let text = std::fs::read_to_string(&path).unwrap();
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            let plain: String = lines.flat_map(|line| [line, "\n"]).collect();
            assert_eq!(write(&read(&text).unwrap()).unwrap(), plain);
        }
    }

    #[test]
    fn what_is_no_step_is_refused() {
        for wrong in [
            "open",
            "x: open",
            "c0: open readonly=perhaps",
            "c0: drop now",
            "c0: create",
            "c0: get \"~/a\" wach",
            "c0: set \"~/a\" x 1 flags=2",
            "c0: fly",
            "c0: get a [piped]",
            "c0: open\nc1: get a [piped]",
            "c0: multi 'get a xid=3'",
            "c0: patch a",
            "c0: get a patch=3",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
