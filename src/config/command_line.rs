//! The command line: which form it has, and the `-D` words in it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgAction, Parser};

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (speaks ZooKeeper 3.9.5)");

const ABOUT: &str = "A drop-in replacement for Apache ZooKeeper";

const AFTER_HELP: &str = "\
Forms:
  oxkeeper                        one server with defaults: port 2181, data in ./data
  oxkeeper zoo.cfg                one server as an ordinary zoo.cfg says
  oxkeeper 2181 /var/lib/zk       port and data directory, then tickTime and maxClientCnxns if wanted
  oxkeeper --check zoo.cfg        list every mistake and warning in it, start nothing (exit 0 or 2)

Settings:
  Every key of ZooKeeper 3.9 is understood in zoo.cfg, or as -Dzookeeper.KEY=VALUE; what JVMFLAGS and
  SERVER_JVMFLAGS hold is read too. zoo.cfg wins over -D, -D over JVMFLAGS over SERVER_JVMFLAGS.
  What becomes of each key, with its default: docs/configuration.md

Our own (zoo.cfg, or -DKEY=VALUE):
  oxkeeper.memory=128M                memory of the whole tree, which may be far larger
  oxkeeper.logBytesBeforeFlush=64M    log that a restart may have to replay
  oxkeeper.outboxBytesMax=16M         bytes that wait for a client that does not read
  oxkeeper.batchOpsMax, oxkeeper.batchBytesMax, oxkeeper.entriesInFlightMax    group commit
  oxkeeper.peerSecretFile=FILE        by which the servers of an ensemble know each other
  oxkeeper.heartbeatMs=100, oxkeeper.electionTimeoutMs=300..600    how fast a leader is replaced

Exit codes: 0 stopped or checked, 1 unexpected error, 2 wrong arguments or configuration, 3 no access
to the data directory.";

#[derive(Debug, Parser)]
#[command(
    name = "oxkeeper",
    version = VERSION,
    about = ABOUT,
    after_help = AFTER_HELP,
    override_usage = "oxkeeper [-DNAME=VALUE]... [zoo.cfg | <clientPort> <dataDir> [tickTime] \
                      [maxClientCnxns]]\n       oxkeeper --check <zoo.cfg>"
)]
struct Arguments {
    /// Set a property, as for a JVM
    #[arg(short = 'D', value_name = "NAME=VALUE", action = ArgAction::Append)]
    property: Vec<String>,

    /// Check a configuration and exit
    #[arg(long, value_name = "ZOO_CFG", conflicts_with = "words")]
    check: Option<PathBuf>,

    /// zoo.cfg, or clientPort and dataDir, then tickTime and maxClientCnxns
    #[arg(value_name = "ARGUMENT", num_args = 0..=4)]
    words: Vec<OsString>,
}

/// Where the settings are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// No argument.
    Embedded,
    /// One argument.
    File(PathBuf),
    /// Two to four arguments: zoo.cfg's keys with their values.
    Arguments(Vec<(&'static str, String)>),
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Print this and exit 0.
    Say(String),
    /// Read the configuration.
    Load {
        form: Form,
        check: bool,
        properties: Vec<String>,
    },
}

/// Parses the words after the program's name. `properties` come back as `-Dname=value`, and with them
/// the words that only a JVM understands.
///
/// # Errors
/// What to print; the usage is part of it. Exit 2.
pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Result<Request, String> {
    let (for_jvm, ours): (Vec<OsString>, Vec<OsString>) = args.partition(is_for_jvm);
    let words = std::iter::once(OsString::from("oxkeeper")).chain(ours);
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(e) if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return Ok(Request::Say(e.to_string()));
        }
        Err(e) => return Err(e.to_string()),
    };
    let mut properties: Vec<String> = arguments
        .property
        .iter()
        .map(|property| format!("-D{property}"))
        .collect();
    properties.extend(
        for_jvm
            .iter()
            .map(|word| word.to_string_lossy().into_owned()),
    );
    let check = arguments.check.is_some();
    let form = match (arguments.check, arguments.words.as_slice()) {
        (Some(path), _) => Form::File(path),
        (None, []) => Form::Embedded,
        (None, [path]) => Form::File(PathBuf::from(path)),
        (None, words) => Form::Arguments(named(words)?),
    };
    Ok(Request::Load {
        form,
        check,
        properties,
    })
}

fn is_for_jvm(word: &OsString) -> bool {
    let word = word.to_string_lossy();
    ["-X", "-javaagent", "-agentlib", "-agentpath", "-verbose"]
        .iter()
        .any(|prefix| word.starts_with(prefix))
}

/// zk: ServerConfig.parse(String[]): maxClientCnxns is 0, no limit, where it is not given.
fn named(words: &[OsString]) -> Result<Vec<(&'static str, String)>, String> {
    let names = ["clientPort", "dataDir", "tickTime", "maxClientCnxns"];
    let mut pairs = vec![("maxClientCnxns", "0".to_owned())];
    for (name, word) in names.into_iter().zip(words) {
        let Some(text) = word.to_str() else {
            return Err(format!(
                "{name}: expected UTF-8, found {}",
                word.to_string_lossy()
            ));
        };
        pairs.push((name, text.to_owned()));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, form: Form, check: bool, properties: &[&str]) {
        let found = parse(line.split_whitespace().map(OsString::from)).unwrap();
        let properties = properties.iter().map(|&p| p.to_owned()).collect();
        assert_eq!(
            found,
            Request::Load {
                form,
                check,
                properties
            },
            "{line}"
        );
    }

    fn file(path: &str) -> Form {
        Form::File(PathBuf::from(path))
    }

    #[test]
    fn forms() {
        check("", Form::Embedded, false, &[]);
        check("zoo.cfg", file("zoo.cfg"), false, &[]);
        check("--check zoo.cfg", file("zoo.cfg"), true, &[]);
        check(
            "-Da=b zoo.cfg -D c=d",
            file("zoo.cfg"),
            false,
            &["-Da=b", "-Dc=d"],
        );
        check(
            "zoo.cfg -Da=b=c -Dx",
            file("zoo.cfg"),
            false,
            &["-Da=b=c", "-Dx"],
        );
        check(
            "-Xmx1g zoo.cfg -Da=b",
            file("zoo.cfg"),
            false,
            &["-Da=b", "-Xmx1g"],
        );
        let pairs = |pairs: &[(&'static str, &str)]| {
            let limit = ("maxClientCnxns", "0".to_owned());
            let given = pairs
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()));
            Form::Arguments(std::iter::once(limit).chain(given).collect())
        };
        check(
            "1 d",
            pairs(&[("clientPort", "1"), ("dataDir", "d")]),
            false,
            &[],
        );
        check(
            "1 d 2000 5",
            pairs(&[
                ("clientPort", "1"),
                ("dataDir", "d"),
                ("tickTime", "2000"),
                ("maxClientCnxns", "5"),
            ]),
            false,
            &[],
        );
    }

    #[test]
    fn what_is_said() {
        let said = |line: &str| match parse(line.split_whitespace().map(OsString::from)) {
            Ok(Request::Say(text)) => text,
            other => panic!("{other:?}"),
        };
        assert!(said("--version").ends_with("(speaks ZooKeeper 3.9.5)\n"));
        let help = said("--help");
        for word in [
            "zoo.cfg",
            "oxkeeper.memory",
            "docs/configuration.md",
            "JVMFLAGS",
        ] {
            assert!(help.contains(word), "{help}");
        }
    }

    #[test]
    fn wrong_usage() {
        for line in ["a b c d e", "--nonsense", "--check", "--check a b", "-D"] {
            let why = parse(line.split_whitespace().map(OsString::from)).unwrap_err();
            assert!(why.starts_with("error: "), "{line}: {why}");
        }
    }
}
