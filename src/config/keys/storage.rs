//! The log, the tree on disk, snapshots, and znodes that go away by themselves.

use super::super::builder::{to_u32, to_u64};
use super::super::key::{
    I32, I32_ALL, I64_ALL, Key, flag, int, unset_flag, unset_int, unset_real, unset_text, yes_no,
};

const EXPORT: &str = "snapshots in ZooKeeper's format are not written";
const BATCHES: &str = "group commit has no timer here; see oxkeeper.batchOpsMax";

#[rustfmt::skip] // A table: one row, one line.
pub(super) static KEYS: &[Key] = &[
    int(
        "snapCount",
        I32_ALL,
        "100000",
        |d, n| d.settings.storage.snap_count = to_u64(n.max(2)),
        "writes after which the tree is flushed and the log behind it purged; at least 2",
    ),
    int(
        "snapSizeLimitInKb",
        I64_ALL,
        "4194304",
        |d, n| {
            let bytes = to_u64(n).saturating_mul(1024);
            d.settings.storage.snap_size_limit_bytes = Some(bytes).filter(|&b| b > 0);
        },
        "the same by bytes of log, in KiB; 0 or less: off",
    ),
    unset_int("preAllocSize", "65536", "preallocation of log files, KiB").ignored(),
    unset_int(
        "txnLogSizeLimitInKb",
        "-1",
        "size at which the log rolls, KiB",
    )
    .ignored(),
    unset_int(
        "commitLogCount",
        "500",
        "recent writes kept for followers that lag",
    )
    .ignored(),
    unset_real(
        "snapshotSizeFactor",
        "0.33",
        "when a follower gets a snapshot instead of the log",
    )
    .ignored(),
    int(
        "autopurge.snapRetainCount",
        I32_ALL,
        "3",
        |_, _| (),
        "snapshots that are kept; our files are always bounded",
    )
    .file()
    .ignored(),
    int(
        "autopurge.purgeInterval",
        I32_ALL,
        "0",
        |_, _| (),
        "hours between purges; our files are always bounded",
    )
    .file()
    .ignored(),
    flag(
        "snapshot.trust.empty",
        "false",
        |d, on| d.settings.storage.trust_empty = on,
        "start from ZooKeeper's logs without a snapshot",
    )
    .caution("only the importer of ZooKeeper's files heeds it"),
    unset_text(
        "snapshot.compression.method",
        "",
        "compression of snapshot files",
    )
    .later(EXPORT),
    unset_flag(
        "serializeLastProcessedZxid.enabled",
        "true",
        "trailer of snapshot files",
    )
    .ignored(),
    unset_flag(
        "digest.enabled",
        "true",
        "digest of the tree with every write",
    )
    .ignored(),
    unset_flag(
        "closeSessionTxn.enabled",
        "true",
        "log form of a closed session",
    )
    .ignored(),
    int(
        "fsync.warningthresholdms",
        I64_ALL,
        "1000",
        |d, n| d.settings.storage.fsync_warning_ms = to_u64(n),
        "a sync that takes longer is counted and warned of, milliseconds",
    )
    .bare(),
    unset_int("flushDelay", "0", "linger of group commit, milliseconds").warned(BATCHES),
    unset_int(
        "maxWriteQueuePollTime",
        "0",
        "poll of group commit, milliseconds",
    )
    .warned(BATCHES),
    unset_int("maxBatchSize", "1000", "size of a group commit").warned(BATCHES),
    flag(
        "datadir.autocreate",
        "true",
        |d, on| d.settings.storage.create_dirs = on,
        "make missing directories; else exit 3",
    ),
    flag(
        "db.autocreate",
        "true",
        |d, on| d.settings.storage.create_db = on,
        "`false`: a server without data begins only if there is a file `initialize` in dataLogDir, which is used up",
    ),
    yes_no(
        "forceSync",
        "yes",
        |d, on| d.settings.storage.force_sync = on,
        "`no`: acknowledge before the disk has it",
    )
    .caution("writes are acknowledged before they are on disk: a power failure loses some"),
    flag(
        "extendedTypesEnabled",
        "false",
        |d, on| d.settings.state.extended_types = on,
        "TTL znodes",
    ),
    flag(
        "emulate353TTLNodes",
        "false",
        |d, on| d.settings.state.emulate_353 = on,
        "with extendedTypesEnabled: every negative owner is a TTL znode's, as 3.5.3 wrote them",
    ),
    int(
        "znode.container.checkIntervalMs",
        (1, I32),
        "60000",
        |d, n| d.settings.leader.container_check_interval_ms = to_u64(n),
        "time between two rounds of the container and TTL reaper",
    )
    .jvm(),
    int(
        "znode.container.maxPerMinute",
        I32_ALL,
        "10000",
        |d, n| d.settings.leader.container_max_per_minute = if n < 0 { u32::MAX } else { to_u32(n.max(1)) },
        "most znodes reaped in a minute; 0: one; less: no limit",
    )
    .jvm(),
    int(
        "znode.container.maxNeverUsedIntervalMs",
        I64_ALL,
        "0",
        |d, n| d.settings.leader.container_never_used_ms = n,
        "a container that never had a child is reaped after so long, if negative at once; 0: never",
    )
    .jvm(),
    unset_int("intBufferStartingSizeBytes", "1024", "buffer of a reply").ignored(),
    unset_int("maxResponseCacheSize", "400", "cache of encoded replies").ignored(),
    unset_int(
        "maxGetChildrenResponseCacheSize",
        "400",
        "cache of encoded listings",
    )
    .ignored(),
    unset_text("pathStats.*", "", "statistics by path").ignored(),
    unset_text("messageTracker.*", "", "trace of messages between servers").ignored(),
    unset_flag("forceSnapshotSync", "false", "testing").warned("it is for ZooKeeper's own tests"),
    unset_text("testingonly.*", "", "testing")
        .refused("it is for ZooKeeper's own tests and changes zxids"),
    unset_text("test.*", "", "testing").warned("it is for ZooKeeper's own tests"),
    unset_text("controllerPort", "", "testing").warned("it is for ZooKeeper's own tests"),
];
