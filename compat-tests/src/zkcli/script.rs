//! The format of a script: one CLI command a line, and a few directives.
//!
//! ```text
//! # a comment
//! @config enforceQuota=true        a line of the server's zoo.cfg
//! create /a hello                  fed to the CLI; its output is awaited
//! @batch                           the lines up to @end are fed together
//! get /a
//! history
//! @end
//! @last                            the rest is fed, then the input ends; the exit code counts
//! get /missing
//! @run -server ${server} get /a    a process of its own, with arguments instead of input
//! ```
//! `${server}` is the server's address. Scripts are numbered so that those which read the built-in
//! nodes come before those which change them: an external server serves all of them in turn.

use anyhow::{Context, Result, bail};

/// A piece of a script that is done in one go.
#[derive(Debug)]
pub(super) enum Part {
    /// Lines fed together; output awaited.
    Lines(Vec<String>),
    /// Lines fed before the input ends.
    Last(Vec<String>),
    /// A process of its own, with these arguments.
    Arguments(String),
}

/// A parsed script.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// Lines of zoo.cfg that the server must have.
    pub(super) config: Vec<(String, String)>,
    /// What to do, in order.
    pub(super) parts: Vec<Part>,
}

impl Script {
    /// Reads a script.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut script = Self::default();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let Some(directive) = line.strip_prefix('@') else {
                script.parts.push(Part::Lines(vec![line.to_owned()]));
                continue;
            };
            let (word, rest) = directive.split_once(' ').unwrap_or((directive, ""));
            match word {
                "config" => {
                    let (key, value) = rest.split_once('=').context("@config key=value")?;
                    script
                        .config
                        .push((key.trim().to_owned(), value.trim().to_owned()));
                }
                "batch" => {
                    let batch = lines.by_ref().take_while(|line| *line != "@end");
                    script
                        .parts
                        .push(Part::Lines(batch.map(str::to_owned).collect()));
                }
                "last" => {
                    let rest = lines.by_ref().take_while(|line| !line.starts_with('@'));
                    let rest = rest.filter(|line| !line.trim().is_empty());
                    script
                        .parts
                        .push(Part::Last(rest.map(str::to_owned).collect()));
                }
                "run" => script.parts.push(Part::Arguments(rest.to_owned())),
                _ => bail!("no such directive: @{word}"),
            }
        }
        Ok(script)
    }

    /// Leaves out the lines that are not wanted.
    pub(super) fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        for part in &mut self.parts {
            if let Part::Lines(lines) | Part::Last(lines) = part {
                lines.retain(|line| wanted(line));
            }
        }
        self.parts
            .retain(|part| !matches!(part, Part::Lines(lines) if lines.is_empty()));
    }

    /// How many commands it gives to the CLI.
    pub(super) fn commands(&self) -> usize {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Lines(lines) | Part::Last(lines) => lines.len(),
                Part::Arguments(_) => 1,
            })
            .sum()
    }
}
