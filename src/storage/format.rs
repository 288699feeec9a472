//! What is checked before a store is used: format versions, and that log and tree belong together.

use std::fs;
use std::path::Path;

use super::StorageError;

/// Versions of the layout of log and tree: files, families, keys, and what they mean together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u32)]
pub enum Format {
    /// 2026-12, first that is read: `log` in segments; `tree` a RocksDB with nodes, acls,
    /// sessions, ephemerals, reap, quota and meta; ids of ACLs of 64 bits, batches with two clocks,
    /// meta with a timeline, sessions with owners. Before it, never released, `log` was a RocksDB
    /// (1), ids of ACLs had 32 bits (2), and sessions no owners (3).
    V4 = 4,
}

impl Format {
    /// What this program writes.
    pub const NEWEST: Self = Self::V4;

    /// The number on disk.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// Understands a number found in the database at `path`.
    ///
    /// # Errors
    /// A newer program wrote it, or no version of this one.
    pub fn from_disk(number: u32, path: &Path) -> Result<Self, StorageError> {
        match number {
            4 => Ok(Self::V4),
            1..=3 => Err(StorageError::OlderFormat {
                path: path.to_owned(),
                found: number,
                oldest: Self::V4.number(),
            }),
            0 => Err(StorageError::Corrupt {
                what: "format version",
                path: path.to_owned(),
                why: "0 was never a version".to_owned(),
            }),
            found => Err(StorageError::NewerFormat {
                path: path.to_owned(),
                found,
                known: Self::NEWEST.number(),
            }),
        }
    }
}

/// Refuses a directory in which an Apache ZooKeeper has left snapshots or logs.
///
/// # Errors
/// It holds some, or cannot be read.
///
/// zk: FileTxnSnapLog: files `snapshot.<zxid>` and `log.<zxid>` in `version-2`.
pub(super) fn refuse_foreign(dir: &Path) -> Result<(), StorageError> {
    let version_2 = dir.join("version-2");
    let entries = match fs::read_dir(&version_2) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(StorageError::Io {
                doing: "look into",
                path: version_2,
                source,
            });
        }
    };
    for entry in entries {
        let entry = entry.map_err(|source| StorageError::Io {
            doing: "look into",
            path: version_2.clone(),
            source,
        })?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snapshot.") || name.starts_with("log.") {
            return Err(StorageError::ForeignData { path: version_2 });
        }
    }
    Ok(())
}

/// With `db.autocreate=false` an empty server may only begin once the operator has said so by a file
/// `initialize`, which is used up: a disk that has lost its data must not pass for a new one.
///
/// # Errors
/// There is no such file, or it cannot be removed.
///
/// zk: FileTxnSnapLog.restore. zk-differs: there a lone server runs on and serves nobody.
pub(super) fn use_up_permission(log_dir: &Path) -> Result<(), StorageError> {
    let path = log_dir.join("initialize");
    let Err(source) = fs::remove_file(&path) else {
        return Ok(());
    };
    let why = "db.autocreate is not true and there is no data: has a disk lost it? Make this file \
               to begin empty";
    let is_missing = source.kind() == std::io::ErrorKind::NotFound;
    Err(StorageError::Io {
        doing: "find",
        path,
        source: if is_missing {
            std::io::Error::new(std::io::ErrorKind::NotFound, why)
        } else {
            source
        },
    })
}

/// With `datadir.autocreate=false` a directory must have been made for a server: it holds ours, or
/// the empty `version-2` of zkServer-initialize.sh. One that is merely there may be the mount point
/// of a disk that is missing.
///
/// # Errors
/// It holds neither.
///
/// zk: FileTxnSnapLog, which wants `version-2` in dataDir and in dataLogDir.
pub(super) fn require_made(dir: &Path) -> Result<(), StorageError> {
    let made = dir.join("version-2");
    if made.is_dir() || dir.join("oxkeeper").is_dir() {
        return Ok(());
    }
    let why = "datadir.autocreate is not true, and this directory is missing: make it, or look \
               whether a disk is";
    Err(StorageError::Io {
        doing: "find",
        path: made,
        source: std::io::Error::new(std::io::ErrorKind::NotFound, why),
    })
}
