//! A look at RocksDB's manifest before RocksDB reads it, for the one kind of damage that it never comes
//! back from.
//!
//! ```text
//!   blocks of 32 KiB, each a row of records: checksum u32 | length u16 | type u8 | bytes
//! ```
//!
//! Records of a log that is used again have types of their own. Where one of these follows another
//! record, RocksDB 11's reader (`log::Reader::ReadPhysicalRecord`) takes it for a bad record and tries
//! the same bytes again, for ever. No manifest is ever used again, so such a type is damage: one bit
//! makes it out of the usual one.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use crate::storage::StorageError;

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;
/// The types of records of a log that is used again.
const REUSED: [u8; 6] = [5, 6, 7, 8, 11, 131];

/// Looks through the manifest of the database in `dir`, if there is one. All other damage is RocksDB's to
/// find.
///
/// # Errors
/// RocksDB would not come back from opening it, or the file cannot be read.
pub(super) fn check(dir: &Path) -> Result<(), StorageError> {
    let Ok(current) = std::fs::read_to_string(dir.join("CURRENT")) else {
        return Ok(());
    };
    let path = dir.join(current.trim_end());
    let failed = |source| StorageError::Io {
        doing: "read",
        path: path.clone(),
        source,
    };
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    let mut begin = 0_u64;
    loop {
        block.clear();
        let limit = BLOCK_BYTES as u64;
        let read = file.by_ref().take(limit).read_to_end(&mut block);
        if read.map_err(failed)? == 0 {
            return Ok(());
        }
        if let Some((at, found)) = reused(&block) {
            let at = begin + at as u64;
            return Err(StorageError::Corrupt {
                what: "manifest",
                why: format!("byte {at}: no manifest has records of type {found}"),
                path: path.clone(),
            });
        }
        begin += limit;
    }
}

/// Where in a block a record has a type of a log that is used again, and which.
fn reused(block: &[u8]) -> Option<(usize, u8)> {
    let mut at = 0;
    while let Some(&[_, _, _, _, low, high, kind]) = block.get(at..at + HEADER_BYTES) {
        if REUSED.contains(&kind) {
            return Some((at + HEADER_BYTES - 1, kind));
        }
        at += HEADER_BYTES + usize::from(u16::from_le_bytes([low, high]));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, length: u16) -> Vec<u8> {
        let mut record = vec![9; 4];
        record.extend(length.to_le_bytes());
        record.push(kind);
        record.resize(record.len() + usize::from(length), 5);
        record
    }

    #[test]
    fn only_headers_are_looked_at() {
        let usual = [record(1, 100), record(2, 7), record(4, 0)].concat();
        assert_eq!(reused(&usual), None);
        for kind in REUSED {
            let block = [usual.clone(), record(kind, 3)].concat();
            assert_eq!(reused(&block), Some((usual.len() + 6, kind)));
        }
        // What is cut short is RocksDB's to judge.
        let cut = [usual.clone(), record(5, 0)[..6].to_vec()].concat();
        assert_eq!(reused(&cut), None);
        assert_eq!(reused(&[record(1, 60_000), usual].concat()), None);
    }
}
