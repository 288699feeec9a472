//! What a tree says of itself beside its contents: format, store, whether its log has been begun, and
//! whether it came from another server.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::path::Path;

use rocksdb::WriteBatch;

use super::StorageError;
use super::format::Format;
use super::places::OURS;
use super::tree::db::Database;
use super::tree::keys::{Family, meta};
use super::tree::options::{self, Split};
use super::tree::rocks_tree::RocksTree;
use super::varint::ByteReader;
use crate::state::LogPosition;

/// Opens or creates a tree.
///
/// # Errors
/// In use, corrupt, or the file system said no.
pub(in crate::storage) fn open_tree(dir: &Path, split: Split) -> Result<RocksTree, StorageError> {
    let options = options::tree(split);
    let db = Database::open(dir, &options.db, options.families)?;
    Ok(RocksTree::new(db, options.blocks, split))
}

/// Whether the log of this tree has been begun. Before anything is applied, nothing else tells a
/// creation that was cut short from a log that has vanished.
pub(in crate::storage) fn log_was_begun(db: &Database) -> Result<bool, StorageError> {
    Ok(db.value(Family::Meta.name(), meta::LOG_BEGUN)?.is_some())
}

/// From now on a tree without its log is damage.
pub(in crate::storage) fn note_log_begun(db: &Database) -> Result<(), StorageError> {
    if log_was_begun(db)? {
        return Ok(());
    }
    write_marks(
        db,
        "note that the log has begun",
        &[(meta::LOG_BEGUN, &[1])],
    )
}

/// Writes what is said once about a tree, durable when this returns: it has no write-ahead log.
fn write_marks(
    db: &Database,
    doing: &'static str,
    marks: &[(&[u8], &[u8])],
) -> Result<(), StorageError> {
    let family = Family::Meta.name();
    let mut batch = WriteBatch::default();
    for (key, value) in marks {
        batch.put_cf(db.family(family)?, key, value);
    }
    db.write(batch, &options::unlogged())
        .map_err(|source| db.failed(doing, source))?;
    db.flush(&[family], true)
}

/// Reads the format version and the store's id, or writes them, a random one, into a new database.
pub(in crate::storage) fn identify(db: &Database) -> Result<u64, StorageError> {
    let family = Family::Meta.name();
    let number = |key, what: &'static str| -> Result<Option<u64>, StorageError> {
        let Some(value) = db.value(family, key)? else {
            return Ok(None);
        };
        let number = ByteReader::new(&value).array(what).map(u64::from_be_bytes);
        number.map(Some).map_err(|why| db.corrupt(what, why))
    };
    match (
        number(meta::FORMAT, "format version")?,
        number(meta::STORE, "store id")?,
    ) {
        (Some(format), Some(found)) => {
            Format::from_disk(u32::try_from(format).unwrap_or(u32::MAX), db.path())?;
            Ok(found)
        }
        (Some(format), None) => {
            // A newer version may have moved the id.
            Format::from_disk(u32::try_from(format).unwrap_or(u32::MAX), db.path())?;
            Err(unidentified(db))
        }
        (None, Some(_)) => Err(unidentified(db)),
        (None, None) if db.raw().latest_sequence_number() > 0 => Err(unidentified(db)),
        (None, None) => {
            let id = RandomState::new().hash_one(OURS);
            let format = u64::from(Format::NEWEST.number()).to_be_bytes();
            let marks: [(&[u8], &[u8]); 2] =
                [(meta::FORMAT, &format), (meta::STORE, &id.to_be_bytes())];
            // Before anything else is written.
            write_marks(db, "write the format version", &marks)?;
            Ok(id)
        }
    }
}

fn unidentified(db: &Database) -> StorageError {
    StorageError::Corrupt {
        what: "format version",
        path: db.path().to_owned(),
        why: "it is missing, but the database is not empty".to_owned(),
    }
}

/// Makes a tree that another server has written this one's, which has the store id `id`.
///
/// # Errors
/// The write failed.
pub(in crate::storage) fn claim(
    db: &Database,
    id: u64,
    at: LogPosition,
) -> Result<(), StorageError> {
    let [term, index] = [at.term, at.index].map(u64::to_be_bytes);
    write_marks(
        db,
        "make a tree this server's",
        &[
            (meta::STORE, &id.to_be_bytes()),
            (meta::LOG_BEGUN, &[1]),
            (meta::INSTALLED, &[term, index].concat()),
        ],
    )
}

/// The position that the tree had when it came from another server, if it did.
///
/// # Errors
/// The read failed, or the mark is none.
pub(in crate::storage) fn installed(db: &Database) -> Result<Option<LogPosition>, StorageError> {
    let Some(value) = db.value(Family::Meta.name(), meta::INSTALLED)? else {
        return Ok(None);
    };
    let mut cursor = ByteReader::new(&value);
    let mut number = |what| cursor.array(what).map(u64::from_be_bytes);
    let position = number("term").and_then(|term| {
        let index = number("index")?;
        Ok(LogPosition { term, index })
    });
    position
        .map(Some)
        .map_err(|why| db.corrupt("installed", why))
}
