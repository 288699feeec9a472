//! What can go wrong with the disk. Every one of these ends the process (STYLE I6).

use std::path::PathBuf;

use crate::state::ServerId;

/// A failed or corrupt store.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// RocksDB said no: I/O error, disk full, corruption.
    #[error("{doing} in {path}")]
    Rocks {
        /// Verb phrase: what was being done.
        doing: &'static str,
        /// Directory of the database.
        path: PathBuf,
        /// Its words, with file and offset where it knows them.
        #[source]
        source: rocksdb::Error,
    },
    /// The file system said no.
    #[error("{doing} {path}")]
    Io {
        /// Verb phrase: what was being done.
        doing: &'static str,
        /// File or directory.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
    /// Bytes that no version of this program wrote.
    #[error("corrupt {what} in {path}: {why}")]
    Corrupt {
        /// Which record.
        what: &'static str,
        /// Directory of the database.
        path: PathBuf,
        /// Expected and found.
        why: String,
    },
    /// A newer program wrote it.
    #[error("{path} has format {found}, this program knows up to {known}: use a newer oxkeeper")]
    NewerFormat {
        /// Directory of the database.
        path: PathBuf,
        /// Version found.
        found: u32,
        /// Newest version that this program knows.
        known: u32,
    },
    /// An older program wrote it, in a way that is no longer read.
    #[error("{path} has format {found}, this program knows {oldest} and later: start empty")]
    OlderFormat {
        /// Directory of the database.
        path: PathBuf,
        /// Version found.
        found: u32,
        /// Oldest version that this program knows.
        oldest: u32,
    },
    /// A genuine ZooKeeper's data lies here and has not been imported.
    #[error(
        "{path} holds the data of an Apache ZooKeeper: starting empty beside it would hide it. \
         Importing is not built yet; choose another dataDir, or keep using ZooKeeper for this data"
    )]
    ForeignData {
        /// The `version-2` directory.
        path: PathBuf,
    },
    /// Another process has the directory open.
    #[error("{path} is in use by another process")]
    InUse {
        /// Directory of the log or the tree.
        path: PathBuf,
        /// What was said when it was to be locked.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// One of the two databases is gone or has lost what it acknowledged.
    #[error("{path}: {why}; refusing to go on with incomplete data, restore it or start empty")]
    Lost {
        /// Directory of the database.
        path: PathBuf,
        /// What is missing and how that was seen.
        why: String,
    },
    /// The log of one server under the number of another.
    #[error(
        "{path} is the log of server {owner}, and this is server {server}: is myid wrong, or dataDir?"
    )]
    OtherServer {
        /// Directory of the log.
        path: PathBuf,
        /// Whose it is.
        owner: ServerId,
        /// Who was started.
        server: ServerId,
    },
    /// Something of ours lies where something else should.
    #[error(
        "{path} holds a {what} of this server, which by dataDir and dataLogDir belongs into \
         {expected}: are they swapped, or changed? Set them as they were, or move it"
    )]
    Misplaced {
        /// Which part.
        what: &'static str,
        /// Where it lies.
        path: PathBuf,
        /// Where it should.
        expected: PathBuf,
    },
    /// An entry that does not continue the log: a bug of the caller.
    #[error("append entry {found} where {expected} comes next")]
    Gap {
        /// Index that would continue the log.
        expected: u64,
        /// Index given.
        found: u64,
    },
    /// Something before it has failed, and nothing may follow.
    #[error("{doing} in {path} after a failure")]
    Failed {
        /// Verb phrase: what was asked for.
        doing: &'static str,
        /// Directory of the database.
        path: PathBuf,
    },
    /// The log has been closed.
    #[error("{doing} after close")]
    Closed {
        /// Verb phrase: what was asked for.
        doing: &'static str,
    },
}
