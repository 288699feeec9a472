//! The next segment, made ready before it is needed.
//!
//! One thread fills the file for the next segment while the present one is written, so that no
//! write pays for it. Files that were purged are used again: their blocks are there already, and
//! nothing but the header is written before they are overwritten.
//!
//! When the disk is full, the thread says so at once, long before the next segment is needed;
//! when it is needed, it tries once more, and only then does the log fail, in order: all that was
//! acknowledged is durable.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex};
use tracing::warn;

use super::disk::Place;
use super::segment::{self, Segment};
use crate::storage::StorageError;
use crate::storage::files::io_error;

/// The first segment of a log; each one is four times as large as the last, up to a bound.
const FIRST_BYTES: u64 = 1 << 20;

/// How large segments are and how many purged ones are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// The largest segment that is filled ahead.
    pub(super) segment_bytes_max: u64,
    /// Purged files above this sum are removed.
    pub(super) spare_bytes_max: u64,
}

impl Sizes {
    /// The log holds as much as is written between two checkpoints, and then all of it is purged
    /// at once: so much is kept, and nothing is ever filled twice.
    pub(super) fn of(log_bytes_before_flush: u64) -> Self {
        Self {
            segment_bytes_max: (log_bytes_before_flush / 4).clamp(256 << 10, 16 << 20),
            spare_bytes_max: log_bytes_before_flush,
        }
    }

    /// Size of the segment that follows one of `bytes`.
    pub(super) fn after(self, bytes: Option<u64>) -> u64 {
        let wanted = bytes.map_or(FIRST_BYTES, |bytes| bytes.saturating_mul(4));
        wanted.min(self.segment_bytes_max)
    }

    /// Size of a spare that is worth keeping: not one of the first, small ones, nor one whose
    /// filling was cut short, nor one that a huge entry has made grow.
    fn usual(self, path: &Path) -> Option<u64> {
        let bytes = std::fs::metadata(path).ok()?.len();
        (self.segment_bytes_max..=2 * self.segment_bytes_max)
            .contains(&bytes)
            .then_some(bytes)
    }
}

/// Segments made ready ahead, by a thread of their own.
#[derive(Debug)]
pub(super) struct Spares {
    shared: Arc<Stock>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Stock {
    place: Place,
    sizes: Sizes,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    /// Sequence and size of a segment to make ready.
    wanted: Option<(u64, u64)>,
    /// The segment made ready, or why it was not.
    ready: Option<Result<Segment, StorageError>>,
    /// Segments to take out of use, oldest first.
    retired: Vec<PathBuf>,
    /// Files to be used again.
    spares: VecDeque<PathBuf>,
    closed: bool,
}

impl Spares {
    /// Starts the thread. `ready`: the next segment, if an earlier process made it;
    /// `wanted`: its sequence and size.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub(super) fn start(
        place: &Place,
        sizes: Sizes,
        spares: Vec<PathBuf>,
        ready: Option<Segment>,
        wanted: (u64, u64),
    ) -> Result<Self, StorageError> {
        let inner = Inner {
            wanted: ready.is_none().then_some(wanted),
            ready: ready.map(Ok),
            spares: spares.into(),
            ..Inner::default()
        };
        let shared = Arc::new(Stock {
            place: place.clone(),
            sizes,
            inner: Mutex::new(inner),
            changed: Condvar::new(),
        });
        shared.drop_surplus(&mut shared.inner.lock());
        let for_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("log-filler".to_owned())
            .spawn(move || for_thread.run())
            .map_err(|source| io_error("start the filler of", &place.dir, source))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// The next segment; waits if it is not ready yet. The one behind it is begun.
    ///
    /// # Errors
    /// It could not be made, twice: the disk is full, or failed.
    pub(super) fn take(&self) -> Result<Segment, StorageError> {
        let mut inner = self.shared.inner.lock();
        let mut tries = 0_usize;
        loop {
            match inner.ready.take() {
                Some(Ok(segment)) => {
                    let bytes = self.shared.sizes.after(Some(segment.bytes));
                    inner.wanted = Some((segment.sequence + 1, bytes));
                    self.shared.changed.notify_all();
                    return Ok(segment);
                }
                Some(Err(error)) if tries > 0 => return Err(error),
                Some(Err(_)) | None if inner.closed => {
                    return Err(StorageError::Closed {
                        doing: "begin a segment of the log",
                    });
                }
                refused => {
                    tries += usize::from(refused.is_some());
                    self.shared.changed.notify_all();
                    self.shared.changed.wait(&mut inner);
                }
            }
        }
    }

    /// These segments have been purged, oldest first; nothing reads them but what comes too late.
    pub(super) fn retire(&self, segments: Vec<PathBuf>) {
        self.shared.inner.lock().retired.extend(segments);
        self.shared.changed.notify_all();
    }

    /// Ends the thread; what it is making ready it finishes.
    pub(super) fn close(&mut self) {
        self.shared.inner.lock().closed = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, the log would wait for no segment any more.
            drop(thread.join());
        }
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        self.close();
    }
}

impl Stock {
    fn run(&self) {
        let mut inner = self.inner.lock();
        loop {
            if !inner.retired.is_empty() {
                let retired = std::mem::take(&mut inner.retired);
                drop(inner);
                let kept = self.retire(retired);
                inner = self.inner.lock();
                inner.spares.extend(kept);
                self.drop_surplus(&mut inner);
            } else if let Some((sequence, bytes)) = inner.wanted
                && inner.ready.is_none()
                && !inner.closed
            {
                let spare = inner.spares.pop_front();
                drop(inner);
                let made = segment::prepare(&self.place, sequence, spare, bytes);
                if let Err(error) = &made {
                    warn!(
                        error = error as &dyn std::error::Error,
                        "the log's next segment cannot be made; the log ends with the present one"
                    );
                }
                inner = self.inner.lock();
                if made.is_ok() {
                    inner.wanted = None;
                }
                inner.ready = Some(made);
                self.changed.notify_all();
            } else if inner.closed {
                return;
            } else {
                self.changed.wait(&mut inner);
            }
        }
    }

    /// Takes segments out of use; result: the files that may be used again. What fails stays where
    /// it is and is found at the next start.
    fn retire(&self, retired: Vec<PathBuf>) -> Vec<PathBuf> {
        let mut kept = Vec::new();
        for path in retired {
            match segment::retire(&self.place, &path) {
                Ok(spare) => kept.push(spare),
                Err(error) => warn!(
                    error = &error as &dyn std::error::Error,
                    "a purged segment of the log stays"
                ),
            }
        }
        if let Err(error) = segment::sync_names(&self.place) {
            // A power failure could bring them back, so they stay as they are.
            warn!(
                error = &error as &dyn std::error::Error,
                "purged segments of the log are not used again"
            );
            return Vec::new();
        }
        kept
    }

    /// Removes spares that are too many.
    fn drop_surplus(&self, inner: &mut Inner) {
        let mut sum = 0;
        inner.spares.retain(|path| {
            let bytes = self.sizes.usual(path);
            sum += bytes.unwrap_or(0);
            let is_kept = bytes.is_some() && sum <= self.sizes.spare_bytes_max;
            if !is_kept {
                // If it stays, the next start finds it.
                drop(self.place.disk.remove(path));
            }
            is_kept
        });
    }
}
