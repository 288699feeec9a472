//! Every RocksDB option that is not its default, with the reason; and how one memory setting is
//! divided.
//!
//! | Part of `memory_bytes`   | Share | Holds                                                     |
//! |--------------------------|-------|-----------------------------------------------------------|
//! | cache                    | 3/8   | decoded znodes, absences, names of children               |
//! | block cache              | 1/4   | blocks, filters, indexes; the tree's memtables are charged|
//! | of it: tree's memtables  | 1/8   | changes since the last flush                              |
//! | not given to anything    | 3/8   | fragmentation, iterators, compactions, open table readers,|
//! |                          |       | the log's tail (4 MB)                                     |

use std::thread;

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType,
    InfoLogger, LogLevel, Options, ReadOptions, ReadTier, WriteBufferManager, WriteOptions,
};

use super::keys::Family;
use crate::storage::Config;
use crate::system;

/// How the memory is divided, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::storage) struct Split {
    /// The cache of decoded znodes.
    pub cache: usize,
    /// RocksDB's block cache for the tree, with its memtables.
    pub blocks: usize,
    /// The part of `blocks` that the tree's memtables may take before they are flushed.
    pub tree_memtables: usize,
}

/// Less than this does not work; smaller settings are raised to it.
const MEMORY_BYTES_MIN: u64 = 8 << 20;

impl Split {
    /// Divides `config.memory_bytes`.
    pub(in crate::storage) fn of(config: &Config) -> Self {
        let memory = config.memory_bytes.max(MEMORY_BYTES_MIN);
        let part = |eighths: u64| usize::try_from(memory / 8 * eighths).unwrap_or(usize::MAX);
        Self {
            cache: part(3),
            blocks: part(2),
            tree_memtables: part(1),
        }
    }
}

/// Options of the database `tree`, its families, and the caches they share.
pub(in crate::storage) struct TreeOptions {
    pub(in crate::storage) db: Options,
    pub(in crate::storage) families: Vec<ColumnFamilyDescriptor>,
    pub(in crate::storage) blocks: Cache,
}

/// See [`TreeOptions`].
pub(in crate::storage) fn tree(split: Split) -> TreeOptions {
    let blocks = Cache::new_lru_cache(split.blocks);
    let mut db = shared();
    // Memtables count against the block cache, so that both together have one bound.
    db.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager_with_cache(
        split.tree_memtables,
        // A stalled write would stall apply; the flush that the bound causes is soon done.
        false,
        blocks.clone(),
    ));
    // Without a write-ahead log the families must be flushed together, or a crash would leave
    // changes without the applied position that belongs to them.
    db.set_atomic_flush(true);
    let families = Family::ALL
        .into_iter()
        .map(|family| {
            ColumnFamilyDescriptor::new(family.name(), family_options(family, &blocks, split))
        })
        .collect();
    TreeOptions {
        db,
        families,
        blocks,
    }
}

fn family_options(family: Family, blocks: &Cache, split: Split) -> Options {
    let big = matches!(family, Family::Nodes);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(blocks);
    // Indexes and filters in the cache, in small parts, or a large tree's would exceed the memory
    // setting by themselves (10 bits per znode).
    table.set_cache_index_and_filter_blocks(true);
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_pin_top_level_index_and_filter(true);
    if big {
        // Most lookups that reach the disk are for znodes that do not exist.
        table.set_bloom_filter(10.0, false);
        table.set_optimize_filters_for_memory(true);
        // Paths of one parent differ in few bytes: larger blocks compress better.
        table.set_block_size(8 << 10);
    }
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    // The write buffer manager decides when to flush; this is the size of one family's memtable at
    // most, and it decides the unit of allocation (an eighth), which is large by default.
    let memtable = if big {
        split.tree_memtables
    } else {
        split.tree_memtables / 4
    };
    options.set_write_buffer_size(memtable);
    // Three times the default: the files of level 0 overlap all of level 1, which each of these
    // compactions writes anew. A lookup asks the filters of at most so many files more.
    options.set_level_zero_file_num_compaction_trigger(12);
    // And level 1 no larger than what comes to it at once, or writing it anew is most of the work.
    options.set_max_bytes_for_level_base(4 * memtable as u64);
    options.set_arena_block_size(if big { 256 << 10 } else { 16 << 10 });
    options
}

/// What the database as a whole wants.
fn shared() -> Options {
    let mut db = Options::default();
    db.create_if_missing(true);
    db.create_missing_column_families(true);
    // Open files cost memory for their readers, and descriptors.
    db.set_max_open_files(i32::try_from(system::table_files_max()).unwrap_or(i32::MAX));
    let threads = thread::available_parallelism()
        .map_or(2, usize::from)
        .clamp(2, 4);
    db.set_max_background_jobs(i32::try_from(threads).unwrap_or(2));
    // Written back as it goes, so that a flush of many MB does not delay the log's next sync.
    db.set_bytes_per_sync(1 << 20);
    // There is one writer.
    db.set_allow_concurrent_memtable_write(false);
    db.set_enable_write_thread_adaptive_yield(false);
    // RocksDB's own log: what matters is told by the errors.
    db.set_log_level(LogLevel::Warn);
    db.set_keep_log_file_num(2);
    db.set_max_log_file_size(1 << 20);
    // An idle server does nothing.
    db.set_stats_dump_period_sec(0);
    db.set_stats_persist_period_sec(0);
    // Files are deleted by the background threads, never by a read that ends.
    db.set_avoid_unnecessary_blocking_io(true);
    db
}

/// Options for opening a checkpoint to read its state.
pub(in crate::storage) fn checkpoint() -> (Options, Vec<ColumnFamilyDescriptor>) {
    let mut db = Options::default();
    db.set_max_open_files(16);
    // By this thread alone: where the system refuses another, RocksDB ends the process.
    db.set_max_file_opening_threads(1);
    // No file of RocksDB's own log in the checkpoint: what fails is told by the error.
    db.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Fatal, |_, _| {}));
    let families = Family::ALL
        .into_iter()
        .map(|family| ColumnFamilyDescriptor::new(family.name(), Options::default()))
        .collect();
    (db, families)
}

/// For the tree's batches: the Raft log is their write-ahead log.
pub(in crate::storage) fn unlogged() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

/// For a lookup that answers only from memory.
pub(in crate::storage) fn memory_only() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_read_tier(ReadTier::BlockCache);
    options
}

/// For a scan of `start .. end` that leaves the block cache to others.
pub(in crate::storage) fn scan(start: Vec<u8>, end: Vec<u8>) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options.set_iterate_lower_bound(start);
    options.set_iterate_upper_bound(end);
    options
}

/// For a scan of a whole family.
pub(in crate::storage) fn scan_all() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options
}

/// Property: bytes of a family's memtables, also of those being flushed.
pub(in crate::storage) const MEMTABLE_BYTES: &str = "rocksdb.cur-size-all-mem-tables";
