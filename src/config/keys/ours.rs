//! Settings that ZooKeeper does not have. Written in zoo.cfg or as `-Doxkeeper.K=V`.

use std::path::PathBuf;

use crate::ensemble::Placement;

use super::super::builder::{Builder, to_u32, to_usize};
use super::super::key::{Key, int, size, strict_flag, text};

const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;

#[rustfmt::skip] // A table: one row, one line.
pub(super) static KEYS: &[Key] = &[
    size(
        "oxkeeper.memory",
        (8 * KIB * KIB, 1024 * GIB),
        "128M",
        |d, bytes| d.settings.storage.memory_bytes = bytes,
        "memory of the whole tree: znode cache, block cache and memtables together; the tree itself may be far larger",
    )
    .ours(),
    size(
        "oxkeeper.logBytesBeforeFlush",
        (KIB * KIB, 64 * GIB),
        "64M",
        |d, bytes| d.settings.storage.log_bytes_before_flush = bytes,
        "bytes of log after which the tree is flushed and the log behind it purged; bounds what a restart replays",
    )
    .ours(),
    size(
        "oxkeeper.outboxBytesMax",
        (64 * KIB, GIB),
        "16M",
        |d, bytes| d.settings.net.outbox_bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX),
        "bytes that may wait for one client that does not read before its connection is closed",
    )
    .ours(),
    size(
        "oxkeeper.replyBytesMax",
        (KIB * KIB, GIB),
        "256M",
        |d, bytes| {
            d.settings.requests.reply_bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX);
        },
        "longest reply to one read, and what all above 1 MiB may hold together; who asks for more is closed",
    )
    .ours(),
    int(
        "oxkeeper.batchOpsMax",
        (1, 1 << 16),
        "512",
        |d, n| d.settings.batches.ops_max = to_usize(n),
        "most writes in one log entry",
    )
    .ours(),
    size(
        "oxkeeper.batchBytesMax",
        (4 * KIB, 64 * KIB * KIB),
        "1M",
        |d, bytes| d.settings.batches.bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX),
        "most bytes of writes in one log entry, unless one write alone is larger",
    )
    .ours(),
    int(
        "oxkeeper.entriesInFlightMax",
        // Twice as many stay in the log behind a checkpoint, each of up to two megabytes.
        (1, 64),
        "4",
        |d, n| d.settings.batches.window = to_usize(n),
        "log entries proposed and not yet committed before new writes gather",
    )
    .ours(),
    int(
        "oxkeeper.heartbeatMs",
        (10, 10_000),
        "100",
        |d, n| d.membership.heartbeat_ms = to_u32(n),
        "pause between two heartbeats of a leader, milliseconds; it does not follow tickTime",
    )
    .ours(),
    text(
        "oxkeeper.electionTimeoutMs",
        "300..600",
        Builder::set_election_timeout,
        "how long a leader may be silent before another is elected, milliseconds from and to: each server draws its own",
    )
    .ours(),
    text(
        "oxkeeper.placement",
        "auto",
        |d, v| {
            d.settings.placement = match v {
                "auto" => None,
                "several" => Some(Placement::Several),
                _ => return Err(format!("expected auto or several, found \"{v}\"")),
            };
            Ok(())
        },
        "threads that write the log and apply it: auto, one for both in a server that votes alone and one each in an ensemble; several, one each in any case",
    )
    .ours(),
    text(
        "oxkeeper.peerSecretFile",
        "",
        |d, v| {
            if v.is_empty() {
                return Err("expected a file, found none; leave the line out if there is none".to_owned());
            }
            d.membership.peer_secret_file = Some(PathBuf::from(v));
            Ok(())
        },
        "a file with a secret that all members share and by which they know each other; without it whoever reaches the quorum port is taken for a member",
    )
    .ours(),
    strict_flag(
        "linearizableReads",
        "false",
        |d, is_on| d.settings.requests.linearizable_reads = is_on,
        "true: every read on this server shows all that was acknowledged before it anywhere, and takes a round to the leader, which reads share; a server alone does so anyway",
    )
    .ours(),
];
