//! What is wrong with a configuration, or odd, and where it says so.
//!
//! Findings are values: the whole configuration is read before anything is said, so an operator sees
//! every mistake in one go, in the order of the files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a setting was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// What applies when no one says anything.
    Default,
    /// A word of an environment variable.
    Environment(&'static str),
    /// The command line.
    CommandLine,
    /// A file.
    File {
        /// As it was named to us.
        path: Arc<PathBuf>,
        /// From 1; `None` where the whole file is meant.
        line: Option<u32>,
    },
}

impl Source {
    /// The file, if it is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Source::File { path, .. } => Some(path),
            Source::Default | Source::Environment(_) | Source::CommandLine => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::Environment(name) => f.write_str(name),
            Source::CommandLine => f.write_str("command line"),
            Source::File {
                path,
                line: Some(line),
            } => write!(f, "{}:{line}", path.display()),
            Source::File { path, line: None } => write!(f, "{}", path.display()),
        }
    }
}

/// A mistake that the operator must repair before the server starts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{origin}: {}{why}", prefix(.key))]
pub struct ConfigError {
    /// File and line, or the command line, or an environment variable.
    pub origin: Source,
    /// The key as written; empty where no single key is to blame.
    pub key: String,
    /// What is wrong, with the value found; ZooKeeper's words where it has a rule.
    pub why: String,
}

/// Something odd that does not keep the server from starting. The caller logs it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// File and line, or the command line, or an environment variable.
    pub origin: Source,
    /// The key as written; empty where no single key is meant.
    pub key: String,
    /// What the operator should know.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{}", self.origin, prefix(&self.key), self.text)
    }
}

fn prefix(key: &str) -> String {
    if key.is_empty() {
        String::new()
    } else {
        format!("{key}: ")
    }
}

/// Collects while the configuration is read.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) errors: Vec<ConfigError>,
    pub(crate) warnings: Vec<Warning>,
}

impl Findings {
    pub(crate) fn error(&mut self, origin: &Source, key: &str, why: impl Into<String>) {
        self.errors.push(ConfigError {
            origin: origin.clone(),
            key: key.to_owned(),
            why: why.into(),
        });
    }

    pub(crate) fn warn(&mut self, origin: &Source, key: &str, text: impl Into<String>) {
        self.warnings.push(Warning {
            origin: origin.clone(),
            key: key.to_owned(),
            text: text.into(),
        });
    }

    /// Puts both lists into the order in which an operator reads: environment, command line, files.
    pub(crate) fn sort(&mut self) {
        self.errors.sort();
        self.errors.dedup();
        self.warnings.sort();
        self.warnings.dedup();
    }
}
