//! Runs a script on a back end.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail, ensure};
use goldenscript::{Command, Context, Runner};
use jute::OpCode;

use super::ask::{self, Settings, Words};
use super::print::Symbols;
use super::{Backend, Seen};

/// No session of a script expires unless the script says so.
const TIMEOUT_MS: i32 = 300_000;

/// A script on its way.
#[derive(Debug)]
pub struct Script<'a, B> {
    backend: &'a mut B,
    symbols: Symbols,
    started: bool,
    /// The clients that are connected: by name the highest zxid that each has seen.
    clients: BTreeMap<String, i64>,
}

/// The text of the script with the outputs that this back end gives.
///
/// # Errors
/// The script cannot be read, or the server failed.
pub fn play<B: Backend>(backend: &mut B, text: &str) -> Result<String> {
    let mut script = Script {
        backend,
        symbols: Symbols::default(),
        started: false,
        clients: BTreeMap::new(),
    };
    goldenscript::generate(&mut script, text).context("play a script")
}

impl<B: Backend> Script<'_, B> {
    fn command(&mut self, name: &str, words: &Words, client: Option<&str>) -> Result<String> {
        if name == "config" {
            ensure!(!self.started, "config comes first");
            return self.start(&Settings::of(words)?).map(|()| String::new());
        }
        if !self.started {
            self.start(&Settings::default())?;
        }
        let mut out = String::new();
        if name == "reap" {
            self.backend.reap(words.at(0).context("no path")?)?;
            self.settle(None, &mut out)?;
            return Ok(out);
        }
        let client = client.context("which client?")?;
        match name {
            "open" => {
                let timeout_ms = words.at(0).map_or(Ok(TIMEOUT_MS), str::parse)?;
                let session = self.backend.open(client, timeout_ms)?;
                self.symbols.own(session, client);
                self.clients.insert(client.to_owned(), 0);
            }
            "resume" => {
                if self.backend.resume(client)? {
                    self.clients.insert(client.to_owned(), 0);
                } else {
                    out += "expired\n";
                }
            }
            "drop" => {
                self.backend.drop_connection(client)?;
                self.clients.remove(client);
            }
            "expire" => {
                self.backend.expire(client)?;
                self.clients.remove(client);
                self.settle_sorted(&mut out)?;
                return Ok(out);
            }
            "close" => {
                let seen = self
                    .backend
                    .ask(client, OpCode::CLOSE_SESSION, bytes::Bytes::new())?;
                let (answer, mut events): (Vec<Seen>, Vec<Seen>) = seen
                    .into_iter()
                    .partition(|seen| matches!(seen, Seen::Answer { .. }));
                events.sort_by_key(|seen| match seen {
                    Seen::Event { event, .. } => format!("{} {:?}", event.kind, event.path),
                    Seen::Answer { .. } => String::new(),
                });
                events.extend(answer);
                self.print(client, OpCode::CLOSE_SESSION, true, events, &mut out)?;
                self.clients.remove(client);
                self.settle_sorted(&mut out)?;
                return Ok(out);
            }
            _ => self.request(name, words, client, &mut out)?,
        }
        self.settle(Some(client), &mut out)?;
        Ok(out)
    }

    fn start(&mut self, settings: &Settings) -> Result<()> {
        self.started = true;
        self.backend.start(settings)
    }

    fn request(&mut self, name: &str, words: &Words, client: &str, out: &mut String) -> Result<()> {
        let seen = *self.clients.get(client).context("not connected")?;
        let since = match words.key("since") {
            None | Some("start") => 0,
            Some("now") => seen,
            Some(other) => bail!("since {other}"),
        };
        let (op, body) = ask::asked(name, words, since)?;
        let seen = self.backend.ask(client, op, body)?;
        self.print(client, op, true, seen, out)
    }

    /// What everybody saw. Of the ephemerals of one session in order of their paths.
    fn settle_sorted(&mut self, out: &mut String) -> Result<()> {
        let mut events = String::new();
        self.settle(None, &mut events)?;
        let mut lines: Vec<&str> = events.lines().collect();
        lines.sort_unstable();
        for line in lines {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    fn settle(&mut self, own: Option<&str>, out: &mut String) -> Result<()> {
        let clients: Vec<String> = self.clients.keys().cloned().collect();
        for client in clients {
            let seen = self.backend.settle(&client)?;
            self.print(&client, OpCode::PING, own == Some(&*client), seen, out)?;
        }
        Ok(())
    }

    fn print(
        &mut self,
        client: &str,
        op: OpCode,
        own: bool,
        seen: Vec<Seen>,
        out: &mut String,
    ) -> Result<()> {
        for seen in seen {
            let (zxid, line) = match seen {
                Seen::Event { zxid, event } => (zxid, self.symbols.event(zxid, &event)),
                Seen::Answer { zxid, err, body } => {
                    (zxid, self.symbols.answer(op, zxid, err, body)?)
                }
            };
            if let Some(last) = self.clients.get_mut(client) {
                *last = zxid.max(*last);
            }
            if own {
                writeln!(out, "{line}")?;
            } else {
                writeln!(out, "({client}) {line}")?;
            }
        }
        Ok(())
    }
}

impl<B: Backend> Runner for Script<'_, B> {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Result<String, Box<dyn Error>> {
        let words = Words::of(command);
        let client = context.prefix.as_deref();
        Ok(self.command(&command.name, &words, client)?)
    }
}
