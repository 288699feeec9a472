//! From text to steps.

use std::error::Error;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use goldenscript::{Argument, Command, Context, Runner};

use super::super::step::{Acl, Damage, Op, Request, Step, Who};
use super::tables::{
    BARE, CREATES, LISTS, MULTIS, PATHS, PIPED, READS, TIMEOUT_MS, VERSIONED, WATCHES, kinds,
    number_of, open_acl,
};

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
    ensure!(
        text.len().is_multiple_of(2) && text.is_ascii(),
        "{text} is no hex"
    );
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
