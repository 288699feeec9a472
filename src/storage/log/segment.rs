//! One file of the log: a header in its first page, then frames, then what was there before.
//!
//! A segment is filled with zeros, or was used before and is used again, and is synced in full
//! length before it gets its name. So writing frames into it changes no metadata of the file
//! system, and a sync is one write to the device instead of a commit of its journal. A name
//! `<sequence>.segment` always means a whole, valid header.
//!
//! Header (formats.md 2.1): magic, format version (4 bytes, little-endian like all that follows), salt (4), store id
//! (8), sequence (8), size of the file (8), CRC-32 of these (4).

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::Advice;
use tracing::debug;

use super::disk::{Disk, Place};
use crate::storage::StorageError;
use crate::storage::files::io_error;
use crate::storage::format::Format;

/// A segment is written in whole pages: the system never has to read one to change a part of it.
pub(super) const PAGE_BYTES: u64 = PAGE as u64;
/// The same, of memory.
pub(super) const PAGE: usize = 4096;
/// Ending of a segment's file name.
const IN_USE: &str = "segment";
/// Ending of the names of files that were purged or are being filled.
const SPARE: &str = "spare";

const MAGIC: [u8; 8] = *b"OXKPLOG\n";
const HEADER_BYTES: usize = 44;
/// Zeros written at once; synced as often, so that the log's own syncs find little to wait for.
const FILL_BYTES: usize = 1 << 20;

/// A place behind a frame.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct End {
    /// Which segment.
    pub sequence: u64,
    /// Byte in its file.
    pub offset: u64,
}

/// An open segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: File,
    pub(super) path: PathBuf,
    /// Grows by one from each segment to the next.
    pub(super) sequence: u64,
    /// Random, new at each use: what an earlier use has left is never taken for frames of this one.
    pub(super) salt: u32,
    /// So many were filled ahead: the next frame that does not fit goes into the next segment.
    pub(super) bytes: u64,
}

/// Files of a log directory.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Segments by sequence.
    pub(super) segments: Vec<(u64, PathBuf)>,
    /// Files to be used again.
    pub(super) spares: Vec<PathBuf>,
}

/// Lists a log's directory, which may be missing.
///
/// # Errors
/// It cannot be read.
pub(super) fn list(dir: &Path) -> Result<Listed, StorageError> {
    let mut listed = Listed::default();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(listed),
        Err(source) => return Err(io_error("list", dir, source)),
    };
    for entry in entries {
        let path = entry
            .map_err(|source| io_error("list", dir, source))?
            .path();
        match path.extension().and_then(|it| it.to_str()) {
            Some(SPARE) => listed.spares.push(path),
            Some(IN_USE) => {
                let stem = path.file_stem().and_then(|it| it.to_str());
                let sequence = stem.and_then(|it| u64::from_str_radix(it, 16).ok());
                match sequence {
                    Some(sequence) => listed.segments.push((sequence, path)),
                    None => {
                        return Err(StorageError::Corrupt {
                            what: "name of a segment",
                            path,
                            why: "it is no hexadecimal number".to_owned(),
                        });
                    }
                }
            }
            _ => {}
        }
    }
    listed.segments.sort();
    listed.spares.sort();
    Ok(listed)
}

/// Path of a segment.
pub(super) fn path_of(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("{sequence:016x}.{IN_USE}"))
}

/// Makes segment `sequence` ready: from `recycled`, a spare of any size whose name is durable, or a
/// new file of `bytes`.
///
/// # Errors
/// The file system said no, for example because the disk is full; nothing is left behind.
pub(super) fn prepare(
    place: &Place,
    sequence: u64,
    recycled: Option<PathBuf>,
    bytes: u64,
) -> Result<Segment, StorageError> {
    let is_new = recycled.is_none();
    let spare = recycled.unwrap_or_else(|| path_of(&place.dir, sequence).with_extension(SPARE));
    let prepared = try_prepare(place, sequence, &spare, is_new, bytes);
    if prepared.is_err() {
        // Its space is wanted elsewhere; if it cannot be removed the error says enough.
        drop(place.disk.remove(&spare));
    }
    prepared
}

fn try_prepare(
    place: &Place,
    sequence: u64,
    spare: &Path,
    is_new: bool,
    bytes: u64,
) -> Result<Segment, StorageError> {
    let Place {
        dir, store, disk, ..
    } = place;
    let failed = |doing| move |source| io_error(doing, spare, source);
    let file = if is_new {
        disk.create(spare)
    } else {
        OpenOptions::new().read(true).write(true).open(spare)
    };
    let file = file.map_err(failed("open segment"))?;
    if is_new {
        fill(&**disk, &file, bytes).map_err(failed("fill segment"))?;
    }
    let bytes = file.metadata().map_err(failed("measure segment"))?.len();
    let [.., a, b, c, d] = RandomState::new().hash_one(sequence).to_le_bytes();
    let salt = u32::from_le_bytes([a | 1, b, c, d]);
    let mut page = [0; PAGE];
    page[..HEADER_BYTES].copy_from_slice(&encode(*store, sequence, salt, bytes));
    disk.write(&file, &page, 0)
        .and_then(|()| disk.sync(&file))
        .map_err(failed("write header of segment"))?;
    // Nothing of it need stay in memory: it is written in whole pages. And what is cached in large
    // pieces would be counted as written in large pieces.
    if let Err(error) = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed) {
        debug!(%error, "a segment's zeros stay cached");
    }
    let path = path_of(dir, sequence);
    disk.rename(spare, &path).map_err(failed("name segment"))?;
    sync_names(place)?;
    Ok(Segment {
        file,
        path,
        sequence,
        salt,
        bytes,
    })
}

fn fill(disk: &dyn Disk, file: &File, bytes: u64) -> std::io::Result<()> {
    let zeros = vec![0; FILL_BYTES];
    let mut at = 0;
    while at < bytes {
        let left = usize::try_from(bytes - at).unwrap_or(usize::MAX);
        let piece = zeros.get(..left).unwrap_or(&zeros);
        disk.write(file, piece, at)?;
        disk.sync(file)?;
        at += piece.len() as u64;
    }
    Ok(())
}

/// Takes a segment out of use: its file becomes a spare, as soon as its new name is durable. Before
/// that nothing of it may be overwritten: after a power failure it could be a segment again.
///
/// # Errors
/// The file system said no.
pub(super) fn retire(place: &Place, path: &Path) -> Result<PathBuf, StorageError> {
    let spare = path.with_extension(SPARE);
    let renamed = place.disk.rename(path, &spare);
    renamed.map_err(|source| io_error("retire segment", path, source))?;
    Ok(spare)
}

/// Makes the names of all files of a log durable.
///
/// # Errors
/// The file system said no.
pub(super) fn sync_names(place: &Place) -> Result<(), StorageError> {
    let synced = place.disk.sync_names(&place.dir);
    synced.map_err(|source| io_error("sync", &place.dir, source))
}

impl Segment {
    /// Opens a segment that is in use.
    ///
    /// # Errors
    /// It is not whole, not valid, of another store or of a newer program.
    pub(super) fn open(path: PathBuf, sequence: u64, place: &Place) -> Result<Self, StorageError> {
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.map_err(|source| io_error("open", &path, source))?;
        let length = file
            .metadata()
            .map_err(|source| io_error("measure", &path, source))?
            .len();
        let mut header = [0; HEADER_BYTES];
        if length < PAGE_BYTES {
            return Err(cut_off(&path, length, PAGE_BYTES));
        }
        file.read_exact_at(&mut header, 0)
            .map_err(|source| io_error("read", &path, source))?;
        let found = decode(&header, &path)?;
        if found.store != place.store {
            let tree = place.tree.display();
            let why = format!("this segment of the log belongs to another tree than {tree}");
            return Err(StorageError::Lost { path, why });
        }
        if found.sequence != sequence {
            return Err(StorageError::Corrupt {
                what: "segment",
                path,
                why: format!("its header says it is segment {:x}", found.sequence),
            });
        }
        if length < found.bytes {
            return Err(cut_off(&path, length, found.bytes));
        }
        Ok(Self {
            file,
            path,
            sequence,
            salt: found.salt,
            bytes: length,
        })
    }

    /// Size of the file now: a frame larger than a segment makes it grow.
    ///
    /// # Errors
    /// The file system said no.
    pub(super) fn length(&self) -> Result<u64, StorageError> {
        let metadata = self.file.metadata();
        let metadata = metadata.map_err(|source| io_error("measure", &self.path, source))?;
        Ok(metadata.len())
    }

    /// The error of bytes at `offset` that are not what was written there.
    pub(super) fn corrupt(&self, offset: u64, why: impl std::fmt::Display) -> StorageError {
        StorageError::Corrupt {
            what: "log",
            path: self.path.clone(),
            why: format!("at byte {offset}: {why}"),
        }
    }
}

fn cut_off(path: &Path, length: u64, bytes: u64) -> StorageError {
    StorageError::Lost {
        path: path.to_owned(),
        why: format!("this segment of the log has {length} bytes instead of {bytes}"),
    }
}

struct Header {
    salt: u32,
    store: u64,
    sequence: u64,
    bytes: u64,
}

fn encode(store: u64, sequence: u64, salt: u32, bytes: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&Format::NEWEST.number().to_le_bytes());
    header[12..16].copy_from_slice(&salt.to_le_bytes());
    header[16..24].copy_from_slice(&store.to_le_bytes());
    header[24..32].copy_from_slice(&sequence.to_le_bytes());
    header[32..40].copy_from_slice(&bytes.to_le_bytes());
    let crc = crc32fast::hash(&header[..40]);
    header[40..].copy_from_slice(&crc.to_le_bytes());
    header
}

fn decode(header: &[u8; HEADER_BYTES], path: &Path) -> Result<Header, StorageError> {
    let corrupt = |why: &str| StorageError::Corrupt {
        what: "header of a segment",
        path: path.to_owned(),
        why: why.to_owned(),
    };
    let short = |at: usize| {
        let bytes = header.get(at..at + 4).and_then(|it| it.try_into().ok());
        bytes.map_or(0, u32::from_le_bytes)
    };
    let long = |at: usize| {
        let bytes = header.get(at..at + 8).and_then(|it| it.try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    };
    if !header.starts_with(&MAGIC) {
        return Err(corrupt("it does not begin as one"));
    }
    if crc32fast::hash(&header[..40]) != short(40) {
        return Err(corrupt("wrong checksum"));
    }
    Format::from_disk(short(8), path)?;
    Ok(Header {
        salt: short(12),
        store: long(16),
        sequence: long(24),
        bytes: long(32),
    })
}
