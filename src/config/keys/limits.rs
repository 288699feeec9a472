//! Bounds on what clients may send and hold, and the plumbing of ZooKeeper's threads.

use super::super::builder::{Builder, to_u32, to_u64};
use super::super::key::{
    I32, I32_ALL, Key, flag, int, real_number, unset_flag, unset_int, unset_text,
};
use crate::session::{Share, ThrottleConfig};

const REQUESTS: &str = "globalOutstandingLimit bounds what is under way";
const ENSEMBLE: &str = "it belongs to the ensemble";
const TLS: &str = "it belongs to TLS";

fn throttle(builder: &mut Builder) -> &mut ThrottleConfig {
    &mut builder.settings.session.throttle
}

/// zk: BlueThrottle: a weight that is not positive is warned of, and the default stays.
fn weight(place: &mut u32, number: i64) {
    if number > 0 {
        *place = to_u32(number);
    }
}

pub(super) static KEYS: &[Key] = &[
    int(
        "jute.maxbuffer",
        (64, I32),
        "1048575",
        |d, n| d.settings.net.frame_bytes_max = usize::try_from(n).unwrap_or(usize::MAX),
        "largest request in bytes; never applied to our own log",
    )
    .jvm(),
    unset_int(
        "jute.maxbuffer.extrasize",
        "1048575",
        "slack between servers",
    )
    .jvm()
    .ignored(),
    int(
        "globalOutstandingLimit",
        I32_ALL,
        "1000",
        |d, n| d.settings.requests.outstanding_max = to_u32(n),
        "requests under way in the whole server before a client with requests under way is read no further; 0 or less: each client has one",
    ),
    flag(
        "enforceQuota",
        "false",
        |d, on| d.settings.state.enforce_quota = on,
        "quotas refuse writes instead of only being counted",
    ),
    unset_int(
        "largeRequestThreshold",
        "-1",
        "a request above so many bytes is large; -1: none is",
    )
    .later(REQUESTS),
    unset_int(
        "largeRequestMaxBytes",
        "104857600",
        "bytes of large requests under way at once; above it the connection is closed",
    )
    .later(REQUESTS),
    unset_int(
        "request_throttle_max_requests",
        "0",
        "requests under way before throttling",
    )
    .title("requestThrottleLimit")
    .later(REQUESTS),
    unset_int(
        "request_throttle_stall_time",
        "100",
        "pause of the throttler, milliseconds",
    )
    .ignored(),
    unset_flag(
        "request_throttle_drop_stale",
        "true",
        "drop requests of closed connections",
    )
    .ignored(),
    unset_flag(
        "request_stale_latency_check",
        "false",
        "drop requests that are older than their session's timeout",
    )
    .ignored(),
    unset_flag(
        "request_stale_connection_check",
        "true",
        "drop requests of closed connections",
    )
    .ignored(),
    unset_int(
        "request_throttler.shutdownTimeout",
        "10000",
        "stop of the throttler",
    )
    .ignored(),
    unset_int(
        "throttled_op_wait_time",
        "0",
        "an op that waited longer answers -127, milliseconds; 0: never",
    )
    .title("throttledOpWaitTime")
    .later(REQUESTS),
    int(
        "connection_throttle_tokens",
        I32_ALL,
        "0",
        |d, n| throttle(d).tokens_max = to_u32(n),
        "token bucket for clients that ask for sessions; above it they are closed; 0: none",
    )
    .title("connectionMaxTokens")
    .fatal((i32::MIN as i64, -1), "no client could open a session; 0 is for no bucket"),
    int(
        "connection_throttle_fill_time",
        I32_ALL,
        "1",
        |d, n| throttle(d).fill_time_ms = to_u32(n),
        "token bucket: refill every so many milliseconds",
    ),
    int(
        "connection_throttle_fill_count",
        I32_ALL,
        "1",
        |d, n| throttle(d).fill_count = to_u32(n),
        "token bucket: tokens per refill",
    ),
    int(
        "connection_throttle_freeze_time",
        I32_ALL,
        "-1",
        |d, n| throttle(d).freeze_time_ms = u32::try_from(n).ok(),
        "token bucket: the share of refusals changes so often, milliseconds; -1: nobody is refused while there are tokens",
    ),
    real_number(
        "connection_throttle_drop_increase",
        "0.02",
        |d, n| throttle(d).drop_increase = Share::of_fraction(n),
        "token bucket: what an empty one adds to the share of refusals",
    ),
    real_number(
        "connection_throttle_drop_decrease",
        "0.002",
        |d, n| throttle(d).drop_decrease = Share::of_fraction(n),
        "token bucket: what one that is full enough takes from it",
    ),
    real_number(
        "connection_throttle_decrease_ratio",
        "0",
        |d, n| throttle(d).decrease_ratio = Share::of_fraction(n),
        "token bucket: full enough is one that lacks this part of its tokens, or less",
    ),
    flag(
        "connection_throttle_weight_enabled",
        "false",
        |d, on| throttle(d).weighted = on,
        "token bucket: sessions cost by their weights, and bucket and refills are as many times larger",
    ),
    int(
        "connection_throttle_global_session_weight",
        I32_ALL,
        "3",
        |d, n| weight(&mut throttle(d).open_weight, n),
        "token bucket: weight of a new session; 0 or less: the default",
    ),
    int(
        "connection_throttle_local_session_weight",
        I32_ALL,
        "1",
        |d, n| weight(&mut throttle(d).local_weight, n),
        "token bucket: weight of a local session, and the least that the others can be; 0 or less: the default",
    ),
    int(
        "connection_throttle_renew_session_weight",
        I32_ALL,
        "2",
        |d, n| weight(&mut throttle(d).renew_weight, n),
        "token bucket: weight of a renewed session; 0 or less: the default",
    ),
    int(
        "nio.sessionlessCnxnTimeout",
        I32_ALL,
        "10000",
        |d, n| {
            if n > 0 {
                d.settings.net.handshake_timeout_ms = to_u64(n);
            }
        },
        "how long a connection may live without a session, milliseconds; 5000 here if unset or negative",
    )
    .fatal((0, 0), "no connection would live long enough to open a session"),
    flag(
        "clientTcpKeepAlive",
        "false",
        |d, on| d.settings.net.keepalive = on,
        "SO_KEEPALIVE on client connections",
    ),
    unset_flag("tcpKeepAlive", "false", "SO_KEEPALIVE between servers").later(ENSEMBLE),
    unset_int(
        "netty.server.outstandingHandshake.limit",
        "-1",
        "TLS handshakes under way",
    )
    .title("outstandingHandshake.limit")
    .later(TLS),
    unset_flag(
        "netty.server.earlyDropSecureConnectionHandshakes",
        "false",
        "drop TLS handshakes before they begin",
    )
    .later(TLS),
    unset_int("nio.numSelectorThreads", "", "threads").ignored(),
    unset_int("nio.numWorkerThreads", "", "threads").ignored(),
    unset_int("nio.directBufferBytes", "65536", "buffers").ignored(),
    unset_int("nio.shutdownTimeout", "5000", "threads").ignored(),
    unset_int("commitProcessor.numWorkerThreads", "", "threads").ignored(),
    unset_int("commitProcessor.maxReadBatchSize", "-1", "threads").ignored(),
    unset_int("commitProcessor.maxCommitBatchSize", "1", "threads").ignored(),
    unset_int("commitProcessor.shutdownTimeout", "60000", "threads").ignored(),
    unset_text(
        "serverCnxnFactory",
        "org.apache.zookeeper.server.NIOServerCnxnFactory",
        "transport",
    )
    .ignored(),
    unset_flag("netty.advancedFlowControl.enabled", "false", "flow control")
        .title("advancedFlowControlEnabled")
        .ignored(),
    unset_text("watchManagerName", "", "watch manager").ignored(),
    unset_int("watcherCleanThreadsNum", "2", "watch manager").ignored(),
    unset_int("watcherCleanThreshold", "1000", "watch manager").ignored(),
    unset_int("watcherCleanIntervalInSeconds", "600", "watch manager").ignored(),
    unset_int("maxInProcessingDeadWatchers", "-1", "watch manager").ignored(),
    unset_int("bitHashCacheSize", "10", "watch manager").ignored(),
    unset_int("cnxTimeout", "5000", "connect timeout between servers").later(ENSEMBLE),
    unset_int("quorumCnxnTimeoutMs", "-1", "election").ignored(),
    unset_int("electionPortBindRetry", "3", "election").ignored(),
    unset_int("fastleader.minNotificationInterval", "200", "election").ignored(),
    unset_int("fastleader.maxNotificationInterval", "60000", "election").ignored(),
    unset_int("leader.maxTimeToWaitForEpoch", "-1", "election")
        .title("maxTimeToWaitForEpoch")
        .ignored(),
    unset_int("leaderConnectDelayDuringRetryMs", "100", "election").ignored(),
    unset_int(
        "leader.maxConcurrentSnapSyncs",
        "10",
        "snapshots sent at once",
    )
    .title("maxConcurrentSnapSyncs")
    .later(ENSEMBLE),
    unset_int(
        "leader.maxConcurrentDiffSyncs",
        "100",
        "followers caught up at once",
    )
    .ignored(),
    unset_int("observer.reconnectDelayMs", "0", "plumbing of observers").ignored(),
    unset_int("observer.election.DelayMs", "200", "plumbing of observers").ignored(),
    unset_int(
        "observerMaster.sizeLimit",
        "33554432",
        "plumbing of observers",
    )
    .ignored(),
    unset_flag("learner.asyncSending", "false", "plumbing between servers").ignored(),
    unset_flag(
        "learner.closeSocketAsync",
        "false",
        "plumbing between servers",
    )
    .ignored(),
    unset_flag(
        "leader.closeSocketAsync",
        "false",
        "plumbing between servers",
    )
    .ignored(),
    unset_flag(
        "follower.skipLearnerRequestToNextProcessor",
        "false",
        "plumbing between servers",
    )
    .ignored(),
    unset_flag(
        "forward_learner_requests_to_commit_processor_disabled",
        "false",
        "plumbing between servers",
    )
    .ignored(),
    unset_int(
        "leader.ackLoggingFrequency",
        "1000",
        "plumbing between servers",
    )
    .ignored(),
    unset_flag("leader.nodelay", "true", "plumbing between servers")
        .jvm()
        .ignored(),
    unset_flag("follower.nodelay", "true", "plumbing between servers")
        .jvm()
        .ignored(),
    unset_flag(
        "readonlymode.enabled",
        "false",
        "clients may read from a server without a quorum",
    )
    .jvm()
    .later("read-only mode needs the ensemble"),
];
