//! Where the stores live and how much they may hold. `config/` fills this in; the room only reads it.

use std::path::PathBuf;

/// Directories, memory and thresholds of the log and the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// zoo.cfg's `dataDir`: `myid` lies here, and the stores in directories of their own.
    pub data_dir: PathBuf,
    /// zoo.cfg's `dataLogDir`, else the same as `data_dir`: parent of the log's directory.
    pub log_dir: PathBuf,
    /// Memory of the whole tree in bytes: znode cache, block cache and memtables together.
    pub memory_bytes: u64,
    /// The tree is flushed, and the log behind it purged, after so many bytes of log.
    pub log_bytes_before_flush: u64,
    /// The same after so many txns, whichever comes first.
    pub snap_count: u64,
    /// ZooKeeper's bound on the log between two snapshots; `None`: off.
    pub snap_size_limit_bytes: Option<u64>,
    /// A sync that takes longer is counted and warned of.
    pub fsync_warning_ms: u64,
    /// Acknowledge only what is synced. `false` loses acknowledged writes in a power failure.
    pub force_sync: bool,
    /// Others have the log, too: a follower applies what they have made durable, so after a power loss
    /// its tree may be ahead of its own log, and the leader sends the rest again.
    pub has_others: bool,
    /// Make the directories when they are missing.
    pub create_dirs: bool,
    /// Begin empty where there is no tree. `false`: only once a file `initialize` in the log's
    /// directory says that this is meant.
    pub create_db: bool,
    /// For the importer of ZooKeeper's files only: take logs without any snapshot for a whole history.
    pub trust_empty: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data_dir: PathBuf::from("data"),
            log_dir: PathBuf::from("data"),
            memory_bytes: 128 << 20,
            log_bytes_before_flush: 64 << 20,
            snap_count: 100_000,
            snap_size_limit_bytes: Some(4_194_304 << 10),
            fsync_warning_ms: 1000,
            force_sync: true,
            has_others: false,
            create_dirs: true,
            create_db: true,
            trust_empty: false,
        }
    }
}
