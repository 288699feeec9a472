//! A checkpoint of another server on its way to this disk.
//!
//! ```text
//!   receiving/          the files, as they come; each is checked and synced when it is whole
//!   received-<turn>/    all of them, checked, and a tree of this server by its marks
//!   tree-<generation>/  installed (`install.rs`)
//! ```
//!
//! `receiving` outlives a broken connection, and the end of the process: what is whole of it is checked
//! again by its content, so it does not matter which server sent it. What is not whole is only
//! kept as long as this process knows what it is to become. A `received` directory that was not installed is removed at the
//! next start. Neither is ever taken for a tree: their names are not names of trees.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::directory::{Directory, sum, sum_into};
use super::door::{Checkpoint, ReceiveError, Receiving, SnapshotFile};
use crate::storage::StorageError;
use crate::storage::files::io_error;
use crate::storage::install::Installer;

const RECEIVING: &str = "receiving";
const RECEIVED: &str = "received-";
/// More files than any tree has.
const FILES_MAX: usize = 1 << 20;

/// The place where checkpoints of other servers come in: one at a time.
#[derive(Debug)]
pub(in crate::storage) struct Inbox {
    /// Our directory within dataDir.
    ours: PathBuf,
    installer: Arc<Installer>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts the checkpoints; only the last one may go on.
    turn: u64,
    /// What the files that are there are to become, whole or not.
    known: BTreeSet<SnapshotFile>,
    /// Of them, those that have been checked.
    whole: BTreeSet<SnapshotFile>,
    /// So many are being received, though only one of them may go on.
    active: usize,
}

impl Inbox {
    /// Removes what an earlier process has received and not installed.
    ///
    /// # Errors
    /// The file system said no.
    pub(in crate::storage) fn open(
        ours: PathBuf,
        installer: Arc<Installer>,
    ) -> Result<Arc<Self>, StorageError> {
        let fail = |source| io_error("list", &ours, source);
        for entry in fs::read_dir(&ours).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            if entry.file_name().to_string_lossy().starts_with(RECEIVED) {
                remove(&entry.path())?;
            }
        }
        Ok(Arc::new(Self {
            ours,
            installer,
            state: Mutex::default(),
        }))
    }

    fn dir(&self) -> PathBuf {
        self.ours.join(RECEIVING)
    }

    /// Throws away what is left of an attempt, if nothing is being received: this server has caught up
    /// without it.
    ///
    /// # Errors
    /// The file system said no.
    pub(in crate::storage) fn clear(&self) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        if state.active > 0 {
            return Ok(());
        }
        state.known.clear();
        state.whole.clear();
        remove(&self.dir())
    }

    /// See [`super::Snapshots::receive`].
    ///
    /// # Errors
    /// As there.
    pub(in crate::storage) fn receive(
        self: &Arc<Self>,
        files: Vec<SnapshotFile>,
    ) -> Result<Box<dyn Receiving>, ReceiveError> {
        check(&files)?;
        let mut state = self.state.lock();
        state.turn += 1;
        let dir = self.dir();
        fs::create_dir_all(&dir).map_err(|source| io_error("create", &dir, source))?;
        let has = state.keep(&dir, &files)?;
        state.active += 1;
        Ok(Box::new(Incoming {
            inbox: Arc::clone(self),
            turn: state.turn,
            files,
            has,
            open: None,
        }))
    }
}

/// Whether it may be the offer of a server.
fn check(files: &[SnapshotFile]) -> Result<(), ReceiveError> {
    let names: BTreeSet<&str> = files.iter().map(|file| file.name.as_str()).collect();
    if files.is_empty() || files.len() > FILES_MAX || names.len() != files.len() {
        return Err(ReceiveError::Senseless(
            "a snapshot without files, or with two of one name",
        ));
    }
    if !files.iter().all(SnapshotFile::is_plain) {
        return Err(ReceiveError::Senseless(
            "a snapshot with a file that is none",
        ));
    }
    Ok(())
}

impl State {
    /// Throws away all that is not of these files; what there is of each.
    fn keep(&mut self, dir: &Path, files: &[SnapshotFile]) -> Result<Vec<u64>, StorageError> {
        let wanted: BTreeMap<&str, &SnapshotFile> = files
            .iter()
            .map(|file| (file.name.as_str(), file))
            .collect();
        let fail = |source| io_error("list", dir, source);
        for entry in fs::read_dir(dir).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_kept = match wanted.get(name.as_str()) {
                Some(file) => self.is_of(&entry.path(), file)?,
                None => false,
            };
            if !is_kept {
                remove(&entry.path())?;
            }
        }
        self.known = files.iter().cloned().collect();
        self.whole.retain(|file| self.known.contains(file));
        let mut has = Vec::with_capacity(files.len());
        for file in files {
            let path = dir.join(&file.name);
            if file.bytes == 0 && !path.exists() {
                create_empty(&path)?;
                self.whole.insert(file.clone());
            }
            has.push(path.metadata().map_or(0, |found| found.len()));
        }
        Ok(has)
    }

    /// Whether what lies at `path` is this file, or its beginning.
    fn is_of(&mut self, path: &Path, file: &SnapshotFile) -> Result<bool, StorageError> {
        let found = path.symlink_metadata();
        let found = found.map_err(|source| io_error("look at", path, source))?;
        if !found.is_file() || found.len() > file.bytes {
            return Ok(false);
        }
        if found.len() < file.bytes {
            return Ok(self.known.contains(file));
        }
        if !self.whole.contains(file) {
            if sum(path)? != (file.bytes, file.crc) {
                return Ok(false);
            }
            // The process that wrote it may have ended before it was synced.
            sync_file(path)?;
            self.whole.insert(file.clone());
        }
        Ok(true)
    }
}

/// A checkpoint that is being received.
#[derive(Debug)]
struct Incoming {
    inbox: Arc<Inbox>,
    turn: u64,
    files: Vec<SnapshotFile>,
    has: Vec<u64>,
    open: Option<Open>,
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.inbox.state.lock().active -= 1;
    }
}

/// The file that is being written.
#[derive(Debug)]
struct Open {
    number: usize,
    file: File,
    hasher: crc32fast::Hasher,
}

impl Receiving for Incoming {
    fn has(&self) -> Vec<u64> {
        self.has.clone()
    }

    fn write(&mut self, number: usize, offset: u64, bytes: &[u8]) -> Result<(), ReceiveError> {
        let inbox = Arc::clone(&self.inbox);
        let mut state = inbox.state.lock();
        if state.turn != self.turn {
            return Err(ReceiveError::Superseded);
        }
        let (Some(file), Some(has)) = (self.files.get(number), self.has.get_mut(number)) else {
            return Err(ReceiveError::Senseless(
                "bytes of a file that was not offered",
            ));
        };
        let end = offset.saturating_add(bytes.len() as u64);
        if offset != *has || end > file.bytes || bytes.is_empty() {
            return Err(ReceiveError::Senseless(
                "bytes that do not follow those before",
            ));
        }
        let path = inbox.dir().join(&file.name);
        if self.open.as_ref().is_none_or(|open| open.number != number) {
            self.open = Some(Open::at(number, &path, offset)?);
        }
        let Some(open) = &mut self.open else {
            return Err(ReceiveError::Senseless("no file is open"));
        };
        let written = open.file.write_all(bytes);
        written.map_err(|source| io_error("write", &path, source))?;
        open.hasher.update(bytes);
        *has = end;
        if end < file.bytes {
            return Ok(());
        }
        let crc = open.hasher.clone().finalize();
        let synced = open.file.sync_all();
        synced.map_err(|source| io_error("sync", &path, source))?;
        self.open = None;
        if crc != file.crc {
            remove_file(&path)?;
            *has = 0;
            let file = file.name.clone();
            return Err(ReceiveError::Damaged { file });
        }
        state.whole.insert(file.clone());
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Checkpoint, ReceiveError> {
        let inbox = &self.inbox;
        let mut state = inbox.state.lock();
        if state.turn != self.turn {
            return Err(ReceiveError::Superseded);
        }
        if !self.files.iter().all(|file| state.whole.contains(file)) {
            return Err(ReceiveError::Senseless(
                "the end before everything had come",
            ));
        }
        // From here on it is no longer what may be gone on with.
        state.known.clear();
        state.whole.clear();
        let (from, dir) = (
            inbox.dir(),
            inbox.ours.join(format!("{RECEIVED}{}", self.turn)),
        );
        remove(&dir)?;
        fs::rename(&from, &dir).map_err(|source| io_error("rename", &from, source))?;
        let content = Directory::new(dir.clone(), false);
        drop(state);
        let meta = inbox.installer.prepare(&dir)?;
        Ok(Checkpoint { dir, meta, content })
    }
}

impl Open {
    /// The file at `path`, of which so many bytes are there.
    fn at(number: usize, path: &Path, offset: u64) -> Result<Self, StorageError> {
        let mut hasher = crc32fast::Hasher::new();
        if offset > 0 {
            sum_into(&mut hasher, path)?;
        }
        let file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|source| io_error("open", path, source))?;
        Ok(Self {
            number,
            file,
            hasher,
        })
    }
}

fn create_empty(path: &Path) -> Result<(), StorageError> {
    let created = File::create(path).and_then(|file| file.sync_all());
    created.map_err(|source| io_error("create", path, source))
}

fn sync_file(path: &Path) -> Result<(), StorageError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|source| io_error("sync", path, source))
}

fn remove_file(path: &Path) -> Result<(), StorageError> {
    fs::remove_file(path).map_err(|source| io_error("remove", path, source))
}

/// Removes a file or a directory, which may be missing.
pub(in crate::storage) fn remove(path: &Path) -> Result<(), StorageError> {
    let removed = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|source| io_error("remove", path, source)),
    }
}
