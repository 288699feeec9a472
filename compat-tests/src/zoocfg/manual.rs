//! What `docs/configuration.md` says: which keys there are, and where ours decides otherwise.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::judge::Decision;
use super::table::Case;
use crate::settings;

/// Whether a server starts with some values of some keys, there and here.
#[derive(Debug)]
pub(super) struct Difference {
    pub(super) keys: Vec<String>,
    /// Empty: any.
    values: Vec<String>,
    but_empty: bool,
    pub(super) zookeeper: Decision,
    pub(super) here: Decision,
}

/// The two parts of the manual that matter here.
#[derive(Debug)]
pub(super) struct Manual {
    /// Those of ZooKeeper but for TLS; a `*` at the end stands for more.
    pub(super) keys: Vec<String>,
    pub(super) differences: Vec<Difference>,
}

impl Manual {
    pub(super) fn read() -> Result<Self> {
        let path = settings::package_dir().join("../docs/configuration.md");
        Self::parse(&path).with_context(|| format!("read {}", path.display()))
    }

    fn parse(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)?;
        let mut manual = Self {
            keys: Vec::new(),
            differences: Vec::new(),
        };
        let mut section = "";
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("## ") {
                section = title;
            }
            let Some(row) = line.strip_prefix("| `") else {
                continue;
            };
            let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
            match section {
                "Oxkeeper's own" | "TLS" => {}
                "Where a value is judged otherwise" => manual.differences.push(difference(&cells)?),
                _ => {
                    let name = cells[0].split('`').next().unwrap_or_default();
                    manual.keys.push(name.to_owned());
                }
            }
        }
        Ok(manual)
    }

    /// The first line that speaks of a case.
    pub(super) fn line(&self, case: &Case) -> Option<usize> {
        self.differences.iter().position(|difference| {
            let keys = &difference.keys;
            let names = keys.iter().any(|key| match key.strip_suffix('*') {
                Some(prefix) => case.key.starts_with(prefix),
                None => *key == case.key,
            });
            let value = case.value.trim();
            let values = &difference.values;
            let is_meant = !difference.but_empty || !value.is_empty();
            names
                && is_meant
                && difference.zookeeper == case.genuine
                && (values.is_empty() || values.iter().any(|known| known == value))
        })
    }
}

fn difference(cells: &[&str]) -> Result<Difference> {
    let [keys, values, zookeeper, here, _why] = cells else {
        bail!("a line of five cells: {cells:?}");
    };
    let words = |cell: &str| -> Vec<String> {
        let quoted = cell.split('`').enumerate();
        let odd = quoted.filter(|(place, _)| place % 2 == 1);
        odd.map(|(_, word)| word.to_owned()).collect()
    };
    Ok(Difference {
        keys: words(&format!("`{keys}")),
        values: words(values),
        but_empty: *values == "any but empty",
        zookeeper: decision(zookeeper)?,
        here: decision(here)?,
    })
}

fn decision(words: &str) -> Result<Decision> {
    Ok(match words {
        "starts" => Decision::Starts,
        "ends" => Decision::Ends,
        "serves nobody" => Decision::Mute,
        _ => bail!("starts, ends or serves nobody: {words:?}"),
    })
}
