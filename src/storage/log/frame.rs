//! A frame: what one group of writes has become. It is written and synced as a whole before the
//! next one is begun, so a crash can damage only the last one.
//!
//! ```text
//!   CRC-32 u32 | length u32 | salt u32 | edits, `length` bytes
//! ```
//!
//! Little-endian (formats.md 2.2). The checksum covers the segment's sequence, the frame's offset and all that
//! follows it, so a frame is valid at its place only.

use std::os::unix::fs::FileExt;

use bytes::{Bytes, BytesMut};

use super::segment::Segment;
use crate::storage::StorageError;
use crate::storage::files::io_error;

/// Bytes before the edits.
pub(super) const HEADER_BYTES: usize = 12;
/// Read from a file at once, unless a frame is larger.
const READ_BYTES: u64 = 256 << 10;

/// Fills in the header of the frame that begins at `start` of `out` and lies at `offset` of
/// `segment`.
///
/// # Errors
/// It is longer than a length can say.
pub(super) fn seal(out: &mut [u8], segment: &Segment, offset: u64) -> Result<(), StorageError> {
    let too_long = || segment.corrupt(offset, "a frame of more than 4 GB cannot be written");
    let length = out.len().saturating_sub(HEADER_BYTES);
    let length = u32::try_from(length).map_err(|_| too_long())?;
    let (crc, rest) = out.split_first_chunk_mut::<4>().ok_or_else(too_long)?;
    let (written_length, behind) = rest.split_first_chunk_mut::<4>().ok_or_else(too_long)?;
    *written_length = length.to_le_bytes();
    *behind.first_chunk_mut().ok_or_else(too_long)? = segment.salt.to_le_bytes();
    *crc = checksum(segment, offset, rest).to_le_bytes();
    Ok(())
}

fn checksum(segment: &Segment, offset: u64, rest: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&segment.sequence.to_le_bytes());
    crc.update(&offset.to_le_bytes());
    crc.update(rest);
    crc.finalize()
}

/// Reads the frames of a segment one after another.
pub(super) struct Frames<'a> {
    segment: &'a Segment,
    /// Where the next frame begins.
    offset: u64,
    /// No frame reaches beyond this.
    end: u64,
    window: Bytes,
    window_at: u64,
}

impl<'a> Frames<'a> {
    /// The frames from `offset` on.
    ///
    /// # Errors
    /// The file system said no.
    pub(super) fn from(segment: &'a Segment, offset: u64) -> Result<Self, StorageError> {
        Ok(Self {
            segment,
            offset,
            end: segment.length()?,
            window: Bytes::new(),
            window_at: 0,
        })
    }

    /// Where the next frame begins, or no frame does.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The edits of the next frame; `None` if there is no valid one.
    ///
    /// # Errors
    /// The file system said no.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, StorageError> {
        let Some(header) = self.look(HEADER_BYTES as u64)? else {
            return Ok(None);
        };
        let number = |at: usize| {
            let bytes = header.get(at..at + 4).and_then(|it| it.try_into().ok());
            bytes.map_or(0, u32::from_le_bytes)
        };
        if number(8) != self.segment.salt {
            return Ok(None);
        }
        let whole = HEADER_BYTES as u64 + u64::from(number(4));
        let Some(frame) = self.look(whole)? else {
            return Ok(None);
        };
        if checksum(self.segment, self.offset, &frame.slice(4..)) != number(0) {
            return Ok(None);
        }
        self.offset += whole;
        Ok(Some(frame.slice(HEADER_BYTES..)))
    }

    /// The next `bytes` bytes, if there are so many.
    fn look(&mut self, bytes: u64) -> Result<Option<Bytes>, StorageError> {
        if bytes > self.end.saturating_sub(self.offset) {
            return Ok(None);
        }
        let is_in = |window: &Bytes, at: u64, offset: u64| {
            offset >= at && offset + bytes <= at + window.len() as u64
        };
        if !is_in(&self.window, self.window_at, self.offset) {
            let wanted = bytes.max(READ_BYTES).min(self.end - self.offset);
            self.window = read(self.segment, self.offset, wanted)?;
            self.window_at = self.offset;
        }
        let from = usize::try_from(self.offset - self.window_at).unwrap_or(usize::MAX);
        let to = from.saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX));
        Ok((to <= self.window.len()).then(|| self.window.slice(from..to)))
    }
}

/// Reads `bytes` bytes of a segment.
///
/// # Errors
/// The file system said no.
pub(super) fn read(segment: &Segment, offset: u64, bytes: u64) -> Result<Bytes, StorageError> {
    let mut found = BytesMut::zeroed(usize::try_from(bytes).unwrap_or(usize::MAX));
    segment
        .file
        .read_exact_at(&mut found, offset)
        .map_err(|source| io_error("read", &segment.path, source))?;
    Ok(found.freeze())
}

/// Where a valid frame begins behind `offset`, if one does. Frames cannot be stepped over where one
/// is damaged, so the salt is looked for, which nobody outside knows.
///
/// # Errors
/// The file system said no.
pub(super) fn find_behind(segment: &Segment, offset: u64) -> Result<Option<u64>, StorageError> {
    let salt = segment.salt.to_le_bytes();
    let end = segment.length()?;
    // The salt of the first frame behind `offset` lies at least so far in.
    let mut at = offset + 9;
    while at < end {
        let window = read(segment, at, READ_BYTES.min(end - at))?;
        for (found, _) in window.windows(4).enumerate().filter(|(_, it)| *it == salt) {
            let begins = at + found as u64 - 8;
            if Frames::from(segment, begins)?.next()?.is_some() {
                return Ok(Some(begins));
            }
        }
        if window.len() < salt.len() || at + window.len() as u64 >= end {
            break;
        }
        at += window.len() as u64 - 3;
    }
    Ok(None)
}
