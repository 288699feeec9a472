//! A RocksDB database with its directory, so that every error can say where it happened.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, ErrorKind, FlushOptions, IteratorMode, Options,
    ReadOptions, WriteBatch, WriteOptions,
};

use tracing::warn;

use super::{manifest, options};
use crate::state::StoreError;
use crate::storage::StorageError;
use crate::storage::varint::Malformed;

/// Is told key and value of a scan; false to stop.
pub(in crate::storage) type Visit<'a> =
    &'a mut dyn FnMut(&[u8], &[u8]) -> Result<bool, StorageError>;

/// An open database.
pub(in crate::storage) struct Database {
    db: DB,
    path: PathBuf,
    /// Behind the database, and so dropped when that has been closed.
    leftover: Leftover,
    /// Made once: it is an object of RocksDB's.
    memory_only: ReadOptions,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Database {
    /// Opens or creates the database at `path`.
    ///
    /// # Errors
    /// In use, corrupt, or the file system said no.
    pub(in crate::storage) fn open(
        path: &Path,
        options: &Options,
        families: Vec<ColumnFamilyDescriptor>,
    ) -> Result<Self, StorageError> {
        manifest::check(path)?;
        DB::open_cf_descriptors(options, path, families)
            .map(|db| Self::new(db, path))
            .map_err(|source| open_error(path, source))
    }

    /// Opens the database at `path` without the right to change it, also while it is in use.
    ///
    /// # Errors
    /// Corrupt, or the file system said no.
    pub(in crate::storage) fn open_read_only(
        path: &Path,
        options: &Options,
        families: Vec<ColumnFamilyDescriptor>,
    ) -> Result<Self, StorageError> {
        manifest::check(path)?;
        DB::open_cf_descriptors_read_only(options, path, families, false)
            .map(|db| Self::new(db, path))
            .map_err(|source| open_error(path, source))
    }

    fn new(db: DB, path: &Path) -> Self {
        Self {
            db,
            path: path.to_owned(),
            leftover: Leftover {
                path: path.to_owned(),
                is_wanted: AtomicBool::new(true),
            },
            memory_only: options::memory_only(),
        }
    }

    /// RocksDB itself, for what has no method here.
    pub(in crate::storage) fn raw(&self) -> &DB {
        &self.db
    }

    /// Its directory.
    pub(in crate::storage) fn path(&self) -> &Path {
        &self.path
    }

    /// Another tree has come in its place: when the last who reads it is gone, its files go.
    pub(in crate::storage) fn remove_when_closed(&self) {
        self.leftover.is_wanted.store(false, SeqCst);
    }

    /// The handle of a column family.
    ///
    /// # Errors
    /// The family is missing: it was opened without.
    pub(in crate::storage) fn family(
        &self,
        name: &'static str,
    ) -> Result<&ColumnFamily, StorageError> {
        self.db
            .cf_handle(name)
            .ok_or_else(|| StorageError::Corrupt {
                what: "column family",
                path: self.path.clone(),
                why: format!("{name} is missing"),
            })
    }

    /// The value of one key.
    ///
    /// # Errors
    /// The read failed.
    pub(in crate::storage) fn value(
        &self,
        family: &'static str,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, StorageError> {
        let value = self.db.get_cf(self.family(family)?, key);
        value.map_err(|source| self.failed("read a key", source))
    }

    /// The value of one key if memory knows it; `None` if the disk must be asked.
    ///
    /// # Errors
    /// The read failed.
    pub(in crate::storage) fn value_in_memory(
        &self,
        family: &'static str,
        key: &[u8],
    ) -> Result<Option<Option<Vec<u8>>>, StorageError> {
        let family = self.family(family)?;
        match self.db.get_cf_opt(family, key, &self.memory_only) {
            Ok(value) => Ok(Some(value)),
            Err(source) if source.kind() == ErrorKind::Incomplete => Ok(None),
            Err(source) => Err(self.failed("read a key", source)),
        }
    }

    /// Calls `visit` with each key and value in the range of `options`, until it returns false.
    ///
    /// # Errors
    /// The read failed, or `visit` did.
    pub(in crate::storage) fn scan(
        &self,
        family: &'static str,
        options: ReadOptions,
        visit: Visit<'_>,
    ) -> Result<(), StorageError> {
        for item in self
            .db
            .iterator_cf_opt(self.family(family)?, options, IteratorMode::Start)
        {
            let (key, value) = item.map_err(|source| self.failed("scan", source))?;
            if !visit(&key, &value)? {
                break;
            }
        }
        Ok(())
    }

    /// Writes a batch.
    ///
    /// # Errors
    /// The write or its sync failed; it must not be tried again.
    pub(in crate::storage) fn write(
        &self,
        batch: WriteBatch,
        options: &WriteOptions,
    ) -> Result<(), rocksdb::Error> {
        self.db.write_opt(batch, options)
    }

    /// Flushes all `families` together.
    ///
    /// # Errors
    /// The flush failed.
    pub(in crate::storage) fn flush(
        &self,
        families: &[&'static str],
        wait: bool,
    ) -> Result<(), StorageError> {
        let handles: Result<Vec<_>, _> = families.iter().map(|name| self.family(name)).collect();
        let mut options = FlushOptions::default();
        options.set_wait(wait);
        self.db
            .flush_cfs_opt(&handles?, &options)
            .map_err(|source| self.failed("flush", source))
    }

    /// A number that RocksDB keeps about all families together; 0 if it does not know.
    pub(in crate::storage) fn sum_of(&self, families: &[&'static str], property: &str) -> u64 {
        let one = |name: &&'static str| {
            let handle = self.db.cf_handle(name)?;
            self.db.property_int_value_cf(handle, property).ok()?
        };
        families.iter().filter_map(one).sum()
    }

    /// The error of a failed operation.
    pub(in crate::storage) fn failed(
        &self,
        doing: &'static str,
        source: rocksdb::Error,
    ) -> StorageError {
        StorageError::Rocks {
            doing,
            path: self.path.clone(),
            source,
        }
    }

    /// The error of a record that is none.
    pub(in crate::storage) fn corrupt(&self, what: &'static str, why: Malformed) -> StorageError {
        StorageError::Corrupt {
            what,
            path: self.path.clone(),
            why: why.to_string(),
        }
    }
}

/// The directory of a closed database.
struct Leftover {
    path: PathBuf,
    is_wanted: AtomicBool,
}

impl Drop for Leftover {
    fn drop(&mut self) {
        if *self.is_wanted.get_mut() {
            return;
        }
        // What is left of it a start removes.
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            let error = &error as &dyn std::error::Error;
            warn!(error, path = %self.path.display(), "an old tree is left");
        }
    }
}

fn open_error(path: &Path, source: rocksdb::Error) -> StorageError {
    // RocksDB has no error kind of its own for a lock that is held.
    let message: &str = source.as_ref();
    let path = path.to_owned();
    if source.kind() == ErrorKind::IOError && message.contains("lock") {
        return StorageError::InUse {
            path,
            source: Box::new(source),
        };
    }
    StorageError::Rocks {
        doing: "open database",
        path,
        source,
    }
}

/// This room's error as the state sees it.
pub(in crate::storage) fn store_error(doing: &'static str, source: StorageError) -> StoreError {
    StoreError {
        doing,
        source: Box::new(source),
    }
}
