//! What the operator wants: zoo.cfg, the command line and the environment, read once at start and
//! turned into the `Config` of each room.
//!
//! ```text
//! arguments ─▶ command_line ─┬─▶ words (-D, JVMFLAGS) ─┐
//!                            └─▶ properties (zoo.cfg) ─┴▶ gather ─▶ keys ─▶ builder ─▶ Settings
//!                                                         one value   verdict   rules across keys
//! ```
//!
//! - One table, `keys/`, says everything about a key; `docs/configuration.md` is printed from it.
//! - All mistakes are reported at once, each with its file and line, and ZooKeeper's words where it
//!   has a rule. Nothing is said while reading: errors and warnings are values, the caller speaks.
//! - A setting is refused only if going on without it would change what is safe or who may do what.
//!   Unknown keys are legal, as in ZooKeeper, and warned of.
//!
//! This room does not know what the settings do, opens nothing but the operator's files, and keeps
//! no global state: the environment comes in as a function.

mod builder;
mod command_line;
mod differences;
mod docs;
mod dynamic;
mod ensemble;
mod files;
mod finding;
mod gather;
mod key;
mod keys;
mod members;
mod membership;
mod my_id;
mod properties;
mod settings;
#[cfg(test)]
mod tests;
mod words;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use builder::Builder;
use command_line::{Form, Request};
use finding::Findings;
use gather::Gathered;

pub use crate::state::{ClientAddress, Member, PeerAddress, PeerType};
pub use docs::markdown;
pub use dynamic::MemberFiles;
pub use ensemble::EnsembleSettings;
pub use finding::{ConfigError, Source, Warning};
pub use settings::Settings;

/// What the command line asks to be done.
#[derive(Debug)]
pub enum Action {
    /// Start a server.
    Run(Box<Settings>),
    /// The configuration is good; print the whole [`Loaded`] on stdout and exit 0.
    Check,
    /// Print this text on stdout and exit 0.
    Say(String),
}

/// A configuration without mistakes.
#[derive(Debug)]
pub struct Loaded {
    /// What to do.
    pub action: Action,
    /// To be logged at warn, each once.
    pub warnings: Vec<Warning>,
}

/// The text of `--check`, `--help` and `--version`; for a run, its warnings.
impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        match &self.action {
            Action::Say(text) => f.write_str(text),
            Action::Check => writeln!(f, "configuration is valid"),
            Action::Run(_) => Ok(()),
        }
    }
}

/// Why nothing starts. Print it on stderr and exit with [`Rejection::EXIT_CODE`].
///
/// zk: QuorumPeerMain.main and ZooKeeperServerMain.main: the last line, and exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// The command line has no form that exists.
    #[error("{}\nInvalid arguments, exiting abnormally\n{USAGE}", .0.trim_end())]
    Usage(String),
    /// The configuration has mistakes, all of which are here.
    #[error("{}Invalid config, exiting abnormally\n{USAGE}", lines(.errors, .warnings))]
    Invalid {
        /// At least one.
        errors: Vec<ConfigError>,
        /// What is odd besides.
        warnings: Vec<Warning>,
    },
}

impl Rejection {
    /// ZooKeeper's exit code for invalid arguments and configurations.
    pub const EXIT_CODE: u8 = 2;
}

const USAGE: &str = "Usage: oxkeeper [configfile | port datadir [ticktime] [maxcnxns]]";

fn lines(errors: &[ConfigError], warnings: &[Warning]) -> String {
    let errors = errors.iter().map(|error| format!("error: {error}\n"));
    errors
        .chain(
            warnings
                .iter()
                .map(|warning| format!("warning: {warning}\n")),
        )
        .collect()
}

/// The process's environment, for [`load`]: a variable that is set, and is UTF-8.
pub fn environment(name: &str) -> Option<String> {
    std::env::var_os(name)?.into_string().ok()
}

/// Reads the whole configuration. `args`: the words after the program's name. `env`: a variable of
/// the environment, if it is set.
///
/// # Errors
/// Every mistake at once; the caller prints the failure on stderr and exits 2.
pub fn load(
    args: impl Iterator<Item = OsString>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Rejection> {
    let (form, check, properties) = match command_line::parse(args) {
        Ok(Request::Say(text)) => {
            return Ok(Loaded {
                action: Action::Say(text),
                warnings: Vec::new(),
            });
        }
        Ok(Request::Load {
            form,
            check,
            properties,
        }) => (form, check, properties),
        Err(text) => return Err(Rejection::Usage(text)),
    };
    let mut findings = Findings::default();
    let mut gathered = Gathered::default();
    words::take_environment(env, &mut gathered, &mut findings);
    words::take(
        &properties,
        &Source::CommandLine,
        &mut gathered,
        &mut findings,
    );
    let mut builder = Builder::default();
    read_form(form, &mut builder, &mut gathered, &mut findings);
    let members = gathered.fill(&mut builder, &mut findings);
    let settings = builder.settle(members, &mut findings);
    findings.sort();
    let Findings { errors, warnings } = findings;
    if !errors.is_empty() {
        return Err(Rejection::Invalid { errors, warnings });
    }
    let action = if check {
        Action::Check
    } else {
        Action::Run(Box::new(settings))
    };
    Ok(Loaded { action, warnings })
}

/// The other forms are zoo.cfg's keys, written elsewhere.
fn read_form(form: Form, builder: &mut Builder, gathered: &mut Gathered, findings: &mut Findings) {
    let mut take = |pairs: &[(&str, &str)], origin: Source, findings: &mut Findings| {
        for (key, value) in pairs {
            gathered.take_entry(key, value, &origin, findings);
        }
    };
    match form {
        Form::Embedded => {
            take(
                &[("clientPort", "2181"), ("dataDir", "./data")],
                Source::Default,
                findings,
            );
        }
        Form::Arguments(pairs) => {
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(key, value)| (*key, value.as_str()))
                .collect();
            take(&pairs, Source::CommandLine, findings);
        }
        Form::File(path) => read_file(&Arc::new(path), builder, gathered, findings),
    }
}

fn read_file(
    path: &Arc<PathBuf>,
    builder: &mut Builder,
    gathered: &mut Gathered,
    findings: &mut Findings,
) {
    let whole = Source::File {
        path: Arc::clone(path),
        line: None,
    };
    match files::entries(path, findings) {
        Ok(entries) => {
            for (entry, origin) in entries {
                gathered.take_entry(&entry.key, &entry.value, &origin, findings);
            }
        }
        Err(why) => {
            // The directory is not asked for on top: the file itself is missing.
            builder.data_dir = Some(PathBuf::new());
            builder.client_port = Some(0);
            findings.error(&whole, "", why);
        }
    }
    builder.source = Some(whole);
}
