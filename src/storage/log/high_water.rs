//! How far the log must reach: the end of its last acknowledged frame.
//!
//! A small file beside the segments, overwritten in place after each sync and before the
//! callbacks, but never synced itself: that would cost a second sync per group. So after the death
//! of the process alone it is exact, and after a power failure it is some older value, which is
//! still a true lower bound, at most as old as the system lets dirty pages become (30 s usually).
//!
//! Format (formats.md 2.4): version byte, seven zero bytes, sequence of the segment and offset in it (8 bytes each,
//! little-endian), CRC-32 of these.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::disk::{Disk, Place};
use super::segment::End;
use crate::storage::StorageError;
use crate::storage::files::io_error;

/// The open file.
#[derive(Debug)]
pub(super) struct HighWater {
    file: File,
    path: PathBuf,
    disk: Arc<dyn Disk>,
}

const FILE_NAME: &str = "high-water";
const RECORD_BYTES: usize = 28;
const VERSION: u8 = 1;

impl HighWater {
    /// Opens or creates the file in the log's directory. Also what it says, if it says anything.
    ///
    /// # Errors
    /// The file system said no.
    pub(super) fn open(place: &Place) -> Result<(Self, Option<End>), StorageError> {
        let path = place.dir.join(FILE_NAME);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| io_error("open", &path, source))?;
        let mut record = [0; RECORD_BYTES];
        match file.read_exact_at(&mut record, 0) {
            Ok(()) => {}
            // New, or its creation was cut short: it says nothing.
            Err(source) if source.kind() == ErrorKind::UnexpectedEof => {}
            Err(source) => return Err(io_error("read", &path, source)),
        }
        let disk = Arc::clone(&place.disk);
        Ok((Self { file, path, disk }, decode(&record)))
    }

    /// All frames up to `end` are durable.
    ///
    /// # Errors
    /// The file system said no.
    pub(super) fn rise(&self, end: End) -> Result<(), StorageError> {
        let written = self.disk.write(&self.file, &encode(end), 0);
        written.map_err(|source| io_error("write", &self.path, source))
    }
}

fn encode(end: End) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[0] = VERSION;
    record[8..16].copy_from_slice(&end.sequence.to_le_bytes());
    record[16..24].copy_from_slice(&end.offset.to_le_bytes());
    let crc = crc32fast::hash(&record[..24]);
    record[24..].copy_from_slice(&crc.to_le_bytes());
    record
}

/// `None` for a record that was never written or only in part.
fn decode(record: &[u8; RECORD_BYTES]) -> Option<End> {
    let (body, crc) = record.split_last_chunk::<4>()?;
    let (rest, offset) = body.split_last_chunk::<8>()?;
    let (_, sequence) = rest.split_last_chunk::<8>()?;
    let valid = record[0] == VERSION && crc32fast::hash(body) == u32::from_le_bytes(*crc);
    valid.then(|| End {
        sequence: u64::from_le_bytes(*sequence),
        offset: u64::from_le_bytes(*offset),
    })
}
