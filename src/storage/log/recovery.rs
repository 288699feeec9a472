//! What is found at start.
//!
//! Only the newest segment is read as a whole: its opening says what those before it hold. A frame
//! that is not valid ends the log if nothing valid is behind it, for only the last frame can have
//! been cut short: each is synced before the next is begun. Anything else is damage and refused,
//! and so is a log that ends before its [`HighWater`]. Of a log that was written without syncs
//! (`unsynced.rs`) what reads as damage may be an end that the power took, and is taken for one.
//!
//! What can be read need not be on the disk: a sync that failed leaves pages which the system calls
//! clean, and shows. So before anything is trusted, the names are synced and all frames that no
//! process has seen durable are written again.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tracing::warn;

use super::disk::Place;
use super::edit::{self, Contents, Edit, Opening, Sealed};
use super::frame::{self, Frames};
use super::high_water::HighWater;
use super::index::Index;
use super::segment::{self, End, PAGE_BYTES, Segment};
use super::spares::{Sizes, Spares};
use super::unsynced;
use super::writer::{Position, Writer};
use crate::storage::files::io_error;
use crate::storage::{Config, StorageError};

/// Written at once when frames are written again.
const WRITTEN_AGAIN_BYTES: u64 = 1 << 20;

/// A log, read.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) contents: Contents,
    pub(super) index: Index,
    pub(super) writer: Writer,
    /// It was written without syncs, or is going to be: its end may be lost.
    pub(super) is_unsynced: bool,
}

/// A log as it lies there.
#[derive(Debug)]
pub(super) struct Examined {
    found: Found,
    pub(super) read: Read,
    high_water: HighWater,
    /// All up to here was synced.
    durable: Option<End>,
}

/// The files of a log, sorted.
#[derive(Debug)]
struct Found {
    dir: PathBuf,
    strict: bool,
    /// Segments with frames, by sequence, each with its opening.
    used: Vec<(Arc<Segment>, Opening)>,
    /// Those behind them, made ready and not written to.
    fresh: VecDeque<Segment>,
    /// The newest segment has lost its first frame; what was made ready behind it must not be used.
    is_broken: bool,
    /// Left behind by a purge that did not get far, or broken.
    unneeded: Vec<PathBuf>,
    spares: Vec<PathBuf>,
}

/// What the frames say.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) contents: Contents,
    pub(super) index: Index,
    /// Behind the last frame.
    pub(super) offset: u64,
    /// Of the frames of the newest segment.
    digest: Digest,
    /// Nothing may be written behind it: valid frames are there that were never synced.
    is_littered: bool,
}

/// Tells frames from other frames at the same place.
#[derive(Clone, Debug, Default)]
struct Digest(crc32fast::Hasher);

impl Digest {
    fn add(&mut self, frame: &[u8]) {
        self.0.update(frame);
    }

    fn sum(&self) -> u32 {
        self.0.clone().finalize()
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.sum() == other.sum()
    }
}

/// Reads the log at `place`, or begins one.
///
/// # Errors
/// It is damaged, incomplete or of another store, or the file system said no.
pub(super) fn open(place: &Place, config: &Config) -> Result<Recovered, StorageError> {
    let sizes = Sizes::of(config.log_bytes_before_flush);
    let is_noted = unsynced::is_noted(place)?;
    let is_unsynced = is_noted || !config.force_sync;
    let Examined {
        found,
        read,
        high_water,
        durable,
    } = examine(place, !is_unsynced)?;
    if !config.force_sync && !is_noted {
        unsynced::note(place)?;
    }
    // First of all: a segment that was made ready is used below, and spares are overwritten.
    segment::sync_names(place)?;
    if let Some((newest, _)) = found.used.last() {
        write_again(place, newest, durable, read.offset)?;
        check_again(newest, &read)?;
    }
    let shown = found.end(&read);

    let Found {
        used,
        mut fresh,
        mut spares,
        unneeded,
        ..
    } = found;
    retire(place, unneeded, &mut spares)?;
    let mut segments: VecDeque<_> = used.into_iter().map(|(segment, _)| segment).collect();
    let begins_segment = segments.is_empty() || read.is_littered;
    let mut sealed = None;
    if begins_segment {
        sealed = segments.back().map(|last| Sealed {
            end: read.offset,
            stretches: read.index.of(last),
        });
        let next = segments.back().map_or(1, |last| last.sequence + 1);
        let bytes = sizes.after(segments.back().map(|last| last.bytes));
        let first = match fresh.pop_front() {
            Some(first) => first,
            None => segment::prepare(place, next, spares.pop(), bytes)?,
        };
        segments.push_back(Arc::new(first));
    }
    let newest = segments.back().map(|it| (it.sequence, it.bytes));
    let (sequence, bytes) = newest.unwrap_or((0, 0));
    let wanted = (sequence + 1, sizes.after(Some(bytes)));
    let spares = Spares::start(place, sizes, spares, fresh.pop_front(), wanted)?;
    let position = Position {
        segments,
        offset: if begins_segment {
            PAGE_BYTES
        } else {
            read.offset
        },
        is_fresh: begins_segment,
        contents: read.contents.clone(),
        sealed,
    };
    let disk = Arc::clone(&place.disk);
    let mut writer = Writer::new(position, spares, high_water, config.force_sync, disk)?;
    if let Some(shown) = shown {
        // What is shown from now on must be there, too, when the next process looks.
        writer.raise_high_water(shown);
    }
    Ok(Recovered {
        contents: read.contents,
        index: read.index,
        writer,
        is_unsynced,
    })
}

/// Makes spares of segments that nobody needs.
fn retire(
    place: &Place,
    unneeded: Vec<PathBuf>,
    spares: &mut Vec<PathBuf>,
) -> Result<(), StorageError> {
    if unneeded.is_empty() {
        return Ok(());
    }
    for path in unneeded {
        spares.push(segment::retire(place, &path)?);
    }
    segment::sync_names(place)
}

/// Makes the frames of the newest segment durable that nobody has seen durable: those from
/// `durable` up to `end`. The bytes stay the same, so a crash meanwhile harms nothing.
///
/// All segments before it are durable: the next one is begun only then.
fn write_again(
    place: &Place,
    newest: &Segment,
    durable: Option<End>,
    end: u64,
) -> Result<(), StorageError> {
    let failed = |doing| move |source| io_error(doing, &newest.path, source);
    let seen = durable.filter(|durable| durable.sequence == newest.sequence);
    let from = seen.map_or(PAGE_BYTES, |durable| durable.offset);
    let mut at = from - from % PAGE_BYTES;
    // Whole pages, so that the system need not read what lies behind the last frame.
    let to = end.next_multiple_of(PAGE_BYTES).min(newest.length()?);
    while from < end && at < to {
        let bytes = frame::read(newest, at, WRITTEN_AGAIN_BYTES.min(to - at))?;
        let written = place.disk.write(&newest.file, &bytes, at);
        written.map_err(failed("write again"))?;
        at += bytes.len() as u64;
    }
    // Also if there was nothing to write: a killed process may have left frames that the system
    // holds and the disk does not, if syncs were switched off.
    place.disk.sync(&newest.file).map_err(failed("sync"))
}

/// Makes sure that what has been written again is what was read at first.
///
/// The system may forget a page at any time that it calls clean, and then shows what the disk has:
/// that was read the second time, and written where it lay already.
fn check_again(newest: &Segment, read: &Read) -> Result<(), StorageError> {
    let mut digest = Digest::default();
    let mut frames = Frames::from(newest, PAGE_BYTES)?;
    while frames.offset() < read.offset
        && let Some(frame) = frames.next()?
    {
        digest.add(&frame);
    }
    if frames.offset() == read.offset && digest == read.digest {
        return Ok(());
    }
    let why = "it showed other bytes a moment ago: they were never on the disk. Start again";
    Err(newest.corrupt(frames.offset(), why))
}

/// Reads the log at `place` and leaves it as it is.
///
/// # Errors
/// As [`open`].
pub(super) fn examine(place: &Place, strict: bool) -> Result<Examined, StorageError> {
    let mut found = Found::in_dir(place, strict)?;
    found.check_gaps()?;
    let read = found.read()?;
    let (high_water, durable) = HighWater::open(place)?;
    found.check_end(&read, durable)?;
    found.check_entries(&read)?;
    Ok(Examined {
        found,
        read,
        high_water,
        durable,
    })
}

impl Found {
    fn in_dir(place: &Place, strict: bool) -> Result<Self, StorageError> {
        let listed = segment::list(&place.dir)?;
        let mut found = Self {
            dir: place.dir.clone(),
            strict,
            used: Vec::new(),
            fresh: VecDeque::new(),
            is_broken: false,
            unneeded: Vec::new(),
            spares: listed.spares,
        };
        for (sequence, path) in listed.segments {
            found.add(Segment::open(path, sequence, place)?)?;
        }
        Ok(found)
    }

    fn add(&mut self, segment: Segment) -> Result<(), StorageError> {
        let first = Frames::from(&segment, PAGE_BYTES)?.next()?;
        let Some(frame) = first else {
            if let Some(at) = frame::find_behind(&segment, PAGE_BYTES)? {
                let error = segment.corrupt(PAGE_BYTES, behind(at));
                if self.strict {
                    return Err(error);
                }
                warn!(%error, "the log was not synced; its end is lost");
                self.is_broken = true;
            }
            if self.is_broken {
                self.unneeded.push(segment.path);
            } else {
                self.fresh.push_back(segment);
            }
            return Ok(());
        };
        let mut opening = None;
        edit::read_all(&frame, |edit| {
            if let Edit::Opening(found) = edit {
                opening.get_or_insert(*found);
            }
        })
        .map_err(|why| segment.corrupt(PAGE_BYTES, why))?;
        let opening = opening.ok_or_else(|| segment.corrupt(PAGE_BYTES, "no opening"))?;
        if let Some(unwritten) = self.fresh.front() {
            let why = format!("nothing, but segment {:x} is written", segment.sequence);
            return Err(unwritten.corrupt(PAGE_BYTES, why));
        }
        self.used.push((Arc::new(segment), opening));
        Ok(())
    }

    /// Segments are removed from the oldest on, so what lies before a gap is not needed, if the
    /// entries behind it are all there are.
    fn check_gaps(&mut self) -> Result<(), StorageError> {
        let sequences: Vec<u64> = self.used.iter().map(|(it, _)| it.sequence).collect();
        let gap = sequences.windows(2).rposition(|pair| match pair {
            [one, two] => one + 1 != *two,
            _ => false,
        });
        if let Some(gap) = gap {
            let purged = self.used.drain(..=gap);
            let paths = purged.map(|(segment, _)| segment.path.clone());
            self.unneeded.extend(paths);
        }
        let next = self.used.last().map_or(1, |(last, _)| last.sequence + 1);
        let mut fresh = (next..).zip(&self.fresh);
        match fresh.find(|(next, segment)| segment.sequence != *next) {
            Some((next, _)) => Err(missing(&self.dir, next)),
            None => Ok(()),
        }
    }

    fn read(&self) -> Result<Read, StorageError> {
        let mut read = Read {
            contents: Contents::default(),
            index: Index::default(),
            offset: PAGE_BYTES,
            digest: Digest::default(),
            is_littered: false,
        };
        let mut before: Option<&Arc<Segment>> = None;
        for (segment, opening) in &self.used {
            if let (Some(before), Some(sealed)) = (before, &opening.sealed) {
                if sealed.end > before.length()? {
                    return Err(before.corrupt(sealed.end, "the file ends before its last frame"));
                }
                for stretch in &sealed.stretches {
                    read.index.push_stretch(before, stretch.clone());
                }
            }
            // The segment before it may have truncated what an earlier one holds.
            read.index.truncate_from(opening.contents.ends.next());
            before = Some(segment);
        }
        if let Some((newest, opening)) = self.used.last() {
            read.contents = opening.contents.clone();
            self.read_newest(newest, &mut read)?;
        }
        if let Some(purged) = read.contents.ends.purged {
            read.index.purge_to(purged.index);
        }
        Ok(read)
    }

    fn read_newest(&self, segment: &Arc<Segment>, read: &mut Read) -> Result<(), StorageError> {
        let mut frames = Frames::from(segment, PAGE_BYTES)?;
        loop {
            let at = frames.offset();
            let Some(frame) = frames.next()? else { break };
            read.digest.add(&frame);
            read.frame(segment, at, &frame)?;
        }
        read.offset = frames.offset();
        let Some(at) = frame::find_behind(segment, read.offset)? else {
            return Ok(());
        };
        let error = segment.corrupt(read.offset, behind(at));
        if self.strict {
            return Err(error);
        }
        warn!(%error, "the log was not synced; its end is lost");
        read.is_littered = true;
        Ok(())
    }

    /// Behind the last frame; `None` without a frame.
    fn end(&self, read: &Read) -> Option<End> {
        self.used.last().map(|(newest, _)| End {
            sequence: newest.sequence,
            offset: read.offset,
        })
    }

    fn check_end(&self, read: &Read, expected: Option<End>) -> Result<(), StorageError> {
        let newest = self.used.last().map(|(segment, _)| segment);
        let end = self.end(read).unwrap_or(End {
            sequence: 0,
            offset: read.offset,
        });
        match expected {
            Some(expected) if end < expected => Err(StorageError::Lost {
                path: match newest {
                    Some(it) if it.sequence == expected.sequence => it.path.clone(),
                    _ => segment::path_of(&self.dir, expected.sequence),
                },
                why: format!(
                    "the log ends at byte {} of segment {:x}, but all up to byte {} of segment {:x} \
                     was acknowledged: its end is damaged or cut off",
                    end.offset, end.sequence, expected.offset, expected.sequence
                ),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// All entries from the first one not purged up to the last one must be there.
    fn check_entries(&self, read: &Read) -> Result<(), StorageError> {
        let ends = read.contents.ends;
        let oldest = self.used.first().map_or(1, |(it, _)| it.sequence);
        let from = match ends.purged {
            Some(purged) => purged.index + 1,
            None if oldest == 1 => read.index.first().unwrap_or(0),
            None => return Err(missing(&self.dir, oldest - 1)),
        };
        let Some(last) = ends.last else { return Ok(()) };
        match read.index.first_missing(from, last.index) {
            Some(_) if oldest > 1 => Err(missing(&self.dir, oldest - 1)),
            Some(index) => Err(StorageError::Lost {
                path: self.dir.clone(),
                why: format!("entry {index} of the log is missing"),
            }),
            None => Ok(()),
        }
    }
}

impl Read {
    fn frame(
        &mut self,
        segment: &Arc<Segment>,
        offset: u64,
        frame: &Bytes,
    ) -> Result<(), StorageError> {
        let mut held: Option<(u64, u64)> = None;
        let Self {
            contents, index, ..
        } = self;
        edit::read_all(frame, |edit| {
            contents.follow(&edit);
            match &edit {
                Edit::Entry(entry) => {
                    let at = entry.position.index;
                    held = Some((held.map_or(at, |(first, _)| first), at));
                }
                Edit::TruncateAfter(_) => {
                    if let Some((first, last)) = held.take() {
                        index.push(segment, offset, first, last);
                    }
                    index.truncate_from(contents.ends.next());
                }
                Edit::Vote(_)
                | Edit::Committed(_)
                | Edit::Purge(_)
                | Edit::Incarnation(_)
                | Edit::Opening(_) => {}
            }
        })
        .map_err(|why| segment.corrupt(offset, why))?;
        if let Some((first, last)) = held {
            index.push(segment, offset, first, last);
        }
        Ok(())
    }
}

fn behind(at: u64) -> String {
    format!("the frame is damaged, for a valid one follows at byte {at}")
}

fn missing(dir: &Path, sequence: u64) -> StorageError {
    StorageError::Lost {
        path: segment::path_of(dir, sequence),
        why: "this segment of the log is missing".to_owned(),
    }
}
