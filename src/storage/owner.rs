//! Whose log it is. A log holds the votes and acknowledgements of one server of an ensemble; under
//! another one's number they would count twice.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use super::files::{io_error, sync_dir};
use super::{Config, StorageError};
use crate::state::ServerId;
use crate::storage::places::Layout;

const NAME: &str = "server";
const BEING_WRITTEN: &str = "server.new";
/// The first word of the file.
const FORMAT: &str = "1";

/// Says for good that the log of these settings is this server's, if nothing says whose it is. Blocks on
/// the disk.
///
/// # Errors
/// It is another server's, or the disk failed.
pub fn claim_for(config: &Config, server: ServerId) -> Result<(), StorageError> {
    let dir = Layout::find(config)?.log;
    match read(&dir)? {
        Some(owner) if owner == server => Ok(()),
        Some(owner) => Err(StorageError::OtherServer {
            path: dir,
            owner,
            server,
        }),
        None => write(&dir, server),
    }
}

fn read(dir: &Path) -> Result<Option<ServerId>, StorageError> {
    let path = dir.join(NAME);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io_error("read", &path, source)),
    };
    let number = text
        .trim_end()
        .strip_prefix(FORMAT)
        .and_then(|rest| rest.strip_prefix(' ')?.parse().ok());
    match number {
        Some(number) => Ok(Some(ServerId(number))),
        None => Err(StorageError::Corrupt {
            what: "log",
            path,
            why: "it should say whose log it is".to_owned(),
        }),
    }
}

fn write(dir: &Path, server: ServerId) -> Result<(), StorageError> {
    let (path, new) = (dir.join(NAME), dir.join(BEING_WRITTEN));
    let written = File::create(&new).and_then(|mut file| {
        writeln!(file, "{FORMAT} {}", server.0)?;
        file.sync_all()
    });
    written.map_err(|source| io_error("write", &new, source))?;
    fs::rename(&new, &path).map_err(|source| io_error("rename", &new, source))?;
    sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_one_servers_for_good() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = Config {
            data_dir: dir.path().to_owned(),
            log_dir: dir.path().to_owned(),
            ..Config::default()
        };
        drop(crate::storage::open(&config).expect("opens"));
        let claim = |id| claim_for(&config, ServerId(id));
        for _ in 0..2 {
            claim(3).expect("nobody else's");
        }
        let refused = claim(2).expect_err("it is server 3's").to_string();
        assert!(refused.contains("server 3") && refused.contains("server 2"));
        drop(crate::storage::open(&config).expect("opens again"));
        claim(3).expect("still its own");
        let path = Layout::find(&config).expect("found").log.join(NAME);
        for text in ["", "1", "2 3\n", "1 x\n", "13"] {
            fs::write(&path, text).expect("writes");
            let refused = claim(3).expect_err(text);
            assert!(matches!(refused, StorageError::Corrupt { .. }), "{refused}");
        }
    }
}
