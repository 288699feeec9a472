//! The members as the log knows them, written where the operator's tools look for them.
//!
//! ```text
//!   zoo.cfg.dynamic.<version>   the server lines, written first
//!   zoo.cfg.bak                 zoo.cfg as it was when it named the members itself
//!   zoo.cfg                     without server lines; its last line is dynamicConfigFile=...
//! ```
//!
//! What is written is read at the next start only until the log says more. All of it is best effort: a
//! directory that cannot be written to is no reason for a server not to serve.
//!
//! zk: QuorumPeer.setQuorumVerifier, QuorumPeerConfig.writeDynamicConfig and editStaticConfig. zk-differs:
//! there the comments are lost, and a server that cannot write does not start.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::properties;
use crate::state::{Lineup, ServerId};

const POINTER: &str = "dynamicConfigFile";

/// Writes the members into the files of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberFiles {
    /// zoo.cfg, as it was named to us.
    config: PathBuf,
}

impl MemberFiles {
    /// Beside this zoo.cfg.
    pub fn beside(config: &Path) -> Self {
        let config = config.to_owned();
        Self { config }
    }

    /// Makes zoo.cfg point to a file with these members. `me`: this server, of which zoo.cfg says the
    /// client port no more if its line does.
    ///
    /// Nothing is written for a server that is none of them: what it was stays to be looked at.
    ///
    /// # Errors
    /// The system's words; zoo.cfg is as it was or as it shall be.
    pub fn write(&self, lineup: &Lineup, me: ServerId) -> io::Result<()> {
        let Some(own) = lineup.members.get(&me) else {
            return Ok(());
        };
        let config = std::path::absolute(&self.config)?;
        let mut dynamic = config.clone().into_os_string();
        dynamic.push(format!(".dynamic.{:x}", lineup.version.0));
        let dynamic = PathBuf::from(dynamic);
        // zk: no line feed behind the last line.
        let lines = crate::state::lines(&lineup.members);
        replace(&dynamic, lines.trim_end().as_bytes())?;
        let before = fs::read(&config)?;
        let pointer = format!("{POINTER}={}", escaped(&dynamic));
        let after = pointed(&before, &pointer, own.client.is_some());
        if after == before {
            return Ok(());
        }
        if !keys(&before).any(|key| key == POINTER) {
            let mut kept = config.clone().into_os_string();
            kept.push(".bak");
            replace(Path::new(&kept), &before)?;
        }
        replace(&config, &after)
    }
}

/// zoo.cfg without what the dynamic file says, and with the pointer to it as its last line.
fn pointed(before: &[u8], pointer: &str, has_client: bool) -> Vec<u8> {
    let moves = |key: &str| {
        let of_client = ["clientPort", "clientPortAddress"];
        let of_members = ["server.", "group", "weight"];
        key == POINTER
            || key == "peerType"
            || of_members.iter().any(|prefix| key.starts_with(prefix))
            || (has_client && of_client.contains(&key))
    };
    let mut after = Vec::with_capacity(before.len() + pointer.len() + 2);
    let mut drops = false;
    let mut goes_on = false;
    for line in before.split_inclusive(|byte| *byte == b'\n') {
        if !goes_on {
            drops = keys(line).any(|key| moves(&key));
        }
        let ends_with = line.trim_ascii_end();
        let slashes = ends_with.iter().rev().take_while(|byte| **byte == b'\\');
        let is_comment = matches!(line.trim_ascii_start().first(), Some(b'#' | b'!'));
        goes_on = slashes.count() % 2 == 1 && (goes_on || !is_comment);
        if !drops {
            after.extend_from_slice(line);
        }
    }
    if after.last().is_some_and(|last| *last != b'\n') {
        after.push(b'\n');
    }
    after.extend_from_slice(pointer.as_bytes());
    after.push(b'\n');
    after
}

fn keys(text: &[u8]) -> impl Iterator<Item = String> {
    let (entries, _malformed) = properties::parse(text);
    entries.into_iter().map(|entry| entry.key)
}

/// As a value of a properties file.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace('\\', "\\\\")
}

/// Puts the content there by one rename.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = path.to_owned().into_os_string();
    beside.push(".tmp");
    let mut file = File::create(&beside)?;
    if let Ok(before) = fs::metadata(path) {
        file.set_permissions(before.permissions())?;
    }
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Zxid, read_lines};

    const LINES: &str = "server.1=a:1:2:participant;0.0.0.0:5\nserver.2=b:1:2:observer\n";

    fn lineup(version: i64) -> Lineup {
        Lineup {
            members: read_lines(LINES).unwrap(),
            version: Zxid(version),
        }
    }

    #[test]
    fn zoo_cfg_points_to_the_members_and_says_nothing_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("zoo.cfg");
        let before = "# mine\ntickTime=2000\nserver.1=a:1:2\n  server.2 : b:1:\\\n  2\nclientPort=5\n\
                      peerType=observer\ngroup.1=1\nsyncLimit=5 \\\n  \nserverCnxnFactory=x";
        fs::write(&config, before).unwrap();
        let files = MemberFiles::beside(&config);
        files.write(&lineup(0x1_0000_00ab), ServerId(1)).unwrap();
        let path = |name: &str| dir.path().join(name);
        let read = |name: &str| fs::read_to_string(path(name)).unwrap();
        assert_eq!(read("zoo.cfg.dynamic.1000000ab"), LINES.trim_end());
        assert_eq!(read("zoo.cfg.bak"), before);
        let rest = "# mine\ntickTime=2000\nsyncLimit=5 \\\n  \nserverCnxnFactory=x\n";
        let points = |to: &str| format!("{rest}{POINTER}={}\n", path(to).display());
        assert_eq!(read("zoo.cfg"), points("zoo.cfg.dynamic.1000000ab"));
        fs::remove_file(path("zoo.cfg.bak")).unwrap();
        files.write(&lineup(0x1_0000_00ac), ServerId(1)).unwrap();
        assert_eq!(read("zoo.cfg"), points("zoo.cfg.dynamic.1000000ac"));
        assert!(!path("zoo.cfg.bak").exists(), "it named nobody any more");
        assert!(path("zoo.cfg.dynamic.1000000ab").exists());
    }

    /// The client port stays in zoo.cfg if the server's line has none.
    #[test]
    fn a_line_without_a_client_part_leaves_the_port_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("zoo.cfg");
        fs::write(&config, "clientPort=5\n").unwrap();
        MemberFiles::beside(&config)
            .write(&lineup(1), ServerId(2))
            .unwrap();
        let after = fs::read_to_string(&config).unwrap();
        assert!(
            after.starts_with("clientPort=5\ndynamicConfigFile="),
            "{after}"
        );
    }

    #[test]
    fn who_is_no_member_keeps_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("zoo.cfg");
        MemberFiles::beside(&config)
            .write(&lineup(1), ServerId(3))
            .unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let missing = MemberFiles::beside(&config).write(&lineup(1), ServerId(1));
        assert!(missing.is_err(), "there is no zoo.cfg to point from");
    }
}
