//! What the genuine server makes of each key with each value, as recorded.

use std::fmt;
use std::fs;

use anyhow::{Context, Result, bail, ensure};

use super::judge::Decision;
use crate::settings;

/// A key with a value, and what else is in zoo.cfg.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) key: String,
    /// A `-D` word of that name instead of a line of zoo.cfg.
    pub(super) is_property: bool,
    /// Further lines of zoo.cfg; `{port}` stands for a free one.
    pub(super) with: Vec<String>,
    pub(super) value: String,
    pub(super) genuine: Decision,
    /// The recorded word: for a server that ends, its exit code.
    word: String,
}

impl Case {
    /// Whether asking the genuine server costs little.
    pub(super) fn is_modest(&self) -> bool {
        let provider_is_needed = self.with.iter().any(|line| line.contains("prometheus"));
        let admin_is_needed = self.key.starts_with("admin.");
        self.key != "clientPort"
            && self.value != "2147483647"
            && self.word != "137"
            && !provider_is_needed
            && !admin_is_needed
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_property { "-D" } else { "" };
        write!(f, "{mark}{}={}", self.key, self.value)?;
        match self.with.as_slice() {
            [] => Ok(()),
            with => write!(f, " (with {})", with.join(", ")),
        }
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) cases: Vec<Case>,
}

impl Table {
    pub(super) fn read() -> Result<Self> {
        let path = settings::package_dir().join("scripts/zoocfg/verdicts.tsv");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let head = lines.next().context("the table is empty")?;
        let values: Vec<&str> = head
            .split('\t')
            .skip(3)
            .map(|cell| cell.trim_matches('"'))
            .collect();
        let mut cases = Vec::new();
        for line in lines {
            let cells: Vec<&str> = line.split('\t').collect();
            ensure!(cells.len() == values.len() + 3, "a row of {line}");
            let with = match cells[2] {
                "-" => Vec::new(),
                with => with.split("; ").map(str::to_owned).collect(),
            };
            for (value, word) in values.iter().zip(&cells[3..]) {
                cases.push(Case {
                    key: cells[0].to_owned(),
                    is_property: cells[1] == "-D",
                    with: with.clone(),
                    value: (*value).to_owned(),
                    genuine: decision(word).with_context(|| format!("in the row of {line}"))?,
                    word: (*word).to_owned(),
                });
            }
        }
        Ok(Self { cases })
    }
}

fn decision(word: &str) -> Result<Decision> {
    Ok(match word {
        "serves" => Decision::Starts,
        "mute" => Decision::Mute,
        code if code.parse::<u8>().is_ok() => Decision::Ends,
        _ => bail!("{word:?} is no verdict: run tools/zoocfg/record"),
    })
}
