//! How far the log must reach: the sequence number of its last acknowledged write.
//!
//! A small file beside the database, overwritten in place after each sync and before the callbacks,
//! but never synced itself: that would cost a second sync per group. So after the death of the
//! process alone it is exact, and after a power failure it is some older value, which is still a
//! true lower bound, at most as old as the system lets dirty pages become (30 s usually).
//!
//! Format: version byte, seven zero bytes, number (8 bytes, little-endian), CRC-32 of these.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::storage::StorageError;

/// The open file.
#[derive(Debug)]
pub(super) struct HighWater {
    file: File,
    path: PathBuf,
}

const FILE_NAME: &str = "high-water";
const RECORD_BYTES: usize = 20;
const VERSION: u8 = 1;

impl HighWater {
    /// Opens or creates the file beside the database `db`, whose last sequence number is `reached`.
    ///
    /// # Errors
    /// The log ends before its high water, or the file system said no.
    pub(super) fn open(db: &Path, reached: u64) -> Result<Self, StorageError> {
        let path = db.with_extension(FILE_NAME);
        let io = |doing, source| StorageError::Io {
            doing,
            path: path.clone(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| io("open", source))?;
        let mut record = [0; RECORD_BYTES];
        match file.read_exact_at(&mut record, 0) {
            Ok(()) => {}
            // New, or its creation was cut short: it says nothing.
            Err(source) if source.kind() == ErrorKind::UnexpectedEof => {}
            Err(source) => return Err(io("read", source)),
        }
        match decode(&record) {
            Some(expected) if expected > reached => Err(StorageError::Lost {
                path: db.to_owned(),
                why: format!(
                    "the write-ahead log (the newest .log file) ends at write {reached}, but writes \
                     up to {expected} were acknowledged: its end is damaged or cut off"
                ),
            }),
            Some(_) | None => Ok(Self { file, path }),
        }
    }

    /// All writes up to `reached` are durable.
    ///
    /// # Errors
    /// The file system said no.
    pub(super) fn rise(&self, reached: u64) -> Result<(), StorageError> {
        self.file
            .write_all_at(&encode(reached), 0)
            .map_err(|source| StorageError::Io {
                doing: "write",
                path: self.path.clone(),
                source,
            })
    }
}

fn encode(reached: u64) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[0] = VERSION;
    record[8..16].copy_from_slice(&reached.to_le_bytes());
    let crc = crc32fast::hash(&record[..16]);
    record[16..].copy_from_slice(&crc.to_le_bytes());
    record
}

/// `None` for a record that was never written or only in part.
fn decode(record: &[u8; RECORD_BYTES]) -> Option<u64> {
    let (body, crc) = record.split_last_chunk::<4>()?;
    let (_, reached) = body.split_last_chunk::<8>()?;
    let valid = record[0] == VERSION && crc32fast::hash(body) == u32::from_le_bytes(*crc);
    valid.then(|| u64::from_le_bytes(*reached))
}
