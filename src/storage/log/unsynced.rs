//! Whether the log may lack what was acknowledged: it was written without syncs.
//!
//! A file beside the segments, made durable before the first of them is written without a sync. So it
//! is the log that says how its end is to be judged, and not how this start happens to be set. It goes
//! when a start that syncs has found log and tree in step.
//!
//! Format (formats.md 2.5): version byte.

use std::path::PathBuf;

use super::disk::Place;
use crate::storage::StorageError;
use crate::storage::files::io_error;

const FILE_NAME: &str = "unsynced";
const VERSION: u8 = 1;

fn path(place: &Place) -> PathBuf {
    place.dir.join(FILE_NAME)
}

/// True if what is in the log may have been written without syncs.
///
/// # Errors
/// The file system said no.
pub(super) fn is_noted(place: &Place) -> Result<bool, StorageError> {
    let path = path(place);
    // An empty one was cut short by the power: it was durable before anything depended on it, and a log
    // that is judged less strictly than it could be is only found shorter.
    path.try_exists()
        .map_err(|source| io_error("look for", &path, source))
}

/// From now on it is written without syncs.
///
/// # Errors
/// The file system said no.
pub(super) fn note(place: &Place) -> Result<(), StorageError> {
    let path = &path(place);
    let failed = |doing| move |source| io_error(doing, path, source);
    let disk = &place.disk;
    let file = disk.create(path).map_err(failed("create"))?;
    disk.write(&file, &[VERSION], 0).map_err(failed("write"))?;
    disk.sync(&file).map_err(failed("sync"))?;
    super::segment::sync_names(place)
}

/// All that is there has been synced, and nothing is missing.
///
/// # Errors
/// The file system said no.
pub(super) fn forget(place: &Place) -> Result<(), StorageError> {
    let path = path(place);
    let removed = place.disk.remove(&path);
    removed.map_err(|source| io_error("remove", &path, source))?;
    super::segment::sync_names(place)
}
