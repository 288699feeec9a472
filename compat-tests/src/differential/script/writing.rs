//! From steps to text.

use std::fmt::Write as _;

use anyhow::{Result, bail};

use super::super::step::{Acl, Damage, Op, Request, Step, Who};
use super::tables::{
    BARE, CREATES, LISTS, MULTIS, PATHS, PIPED, READS, TIMEOUT_MS, VERSIONED, WATCHES, kinds,
    name_of, open_acl,
};

/// Writes a sequence; [`super::read`] gives it back.
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
        Op::Reconfig { .. } => reconfig_text(op),
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

fn reconfig_text(op: &Op) -> Writing {
    let line = Writing::new("reconfig");
    let Op::Reconfig {
        joining,
        leaving,
        members,
        config,
    } = op
    else {
        return line;
    };
    let line = line.key("joining", joining).key("leaving", leaving);
    line.key("members", members).key("config", config)
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
