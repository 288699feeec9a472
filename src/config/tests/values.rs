//! What a line of zoo.cfg changes.

use super::*;
use crate::admin::{Commands, MetricsProvider};
use crate::auth::DigestAlgorithm;

type Honoured = (&'static str, fn(&Settings) -> bool);

/// Lines of zoo.cfg, and what they must change.
const HONOURED: &[Honoured] = &[
    ("clientPortAddress=", |s| {
        s.net.client_addr == "127.0.0.1:2181".parse().ok()
    }),
    ("dataLogDir=/log", |s| {
        s.storage.log_dir.ends_with("log") && s.storage.data_dir.is_absolute()
    }),
    ("clientPortAddress=127.0.0.1", |s| {
        s.net.client_addr == "127.0.0.1:2181".parse().ok()
    }),
    ("clientPortAddress=[::1]", |s| {
        s.net.client_addr == "[::1]:2181".parse().ok()
    }),
    ("clientPortListenBacklog=7", |s| {
        s.net.listen_backlog == Some(7)
    }),
    ("tickTime=500", |s| {
        (
            s.session.tick_ms,
            s.session.timeout_ms_min,
            s.session.timeout_ms_max,
        ) == (500, 1000, 10_000)
    }),
    ("minSessionTimeout=1\nmaxSessionTimeout=9", |s| {
        (s.session.timeout_ms_min, s.session.timeout_ms_max) == (1, 9)
    }),
    ("tickTime=2000000000", |s| {
        s.session.timeout_ms_max == 0x7fff_ffff
    }),
    ("maxClientCnxns=0", |s| s.net.connections_per_ip_max == 0),
    ("maxClientCnxns=-5", |s| s.net.connections_per_ip_max == 0),
    ("maxCnxns=9", |s| s.net.connections_max == 9),
    ("jute.maxbuffer=0x9fffff", |s| {
        s.net.frame_bytes_max == 0x9f_ffff
    }),
    ("nio.sessionlessCnxnTimeout=800", |s| {
        s.net.handshake_timeout_ms == 800
    }),
    ("clientTcpKeepAlive=true", |s| s.net.keepalive),
    ("oxkeeper.outboxBytesMax=1M", |s| {
        s.net.outbox_bytes_max == 1 << 20
    }),
    ("linearizableReads=true", |s| s.requests.linearizable_reads),
    ("skipACL=yes", |s| s.state.skip_acl),
    ("skipACL=true", |s| !s.state.skip_acl),
    ("enforceQuota=true", |s| s.state.enforce_quota),
    ("extendedTypesEnabled=TRUE", |s| s.state.extended_types),
    ("emulate353TTLNodes=true", |s| s.state.emulate_353),
    ("DigestAuthenticationProvider.enabled=false", |s| {
        !s.auth.digest_enabled && !s.state.digest_enabled
    }),
    ("DigestAuthenticationProvider.digestAlg=sha-512", |s| {
        s.auth.digest_algorithm == DigestAlgorithm::Sha512
    }),
    ("DigestAuthenticationProvider.superDigest=super:x=", |s| {
        s.auth.super_digest.as_deref() == Some("super:x=")
    }),
    (
        "enforce.auth.enabled=true\nenforce.auth.schemes=digest, ip",
        |s| s.auth.enforce && s.auth.enforced_schemes == ["digest", "ip"],
    ),
    ("oxkeeper.memory=64m", |s| {
        s.storage.memory_bytes == 64 << 20
    }),
    ("oxkeeper.logBytesBeforeFlush=2M", |s| {
        s.storage.log_bytes_before_flush == 2 << 20
    }),
    ("snapCount=1", |s| s.storage.snap_count == 2),
    ("snapCount=-1", |s| s.storage.snap_count == 2),
    // Java's Integer.decode: octal.
    ("snapCount=010", |s| s.storage.snap_count == 8),
    ("snapCount=-0x10", |s| s.storage.snap_count == 2),
    ("globalOutstandingLimit=0", |s| {
        s.requests.outstanding_max == 0
    }),
    ("globalOutstandingLimit=-1", |s| {
        s.requests.outstanding_max == 0
    }),
    ("nio.sessionlessCnxnTimeout=-1", |s| {
        s.net.handshake_timeout_ms == 5000
    }),
    ("connection_throttle_renew_session_weight=0", |s| {
        s.session.throttle.renew_weight == 2
    }),
    ("snapSizeLimitInKb=9223372036854775807", |s| {
        s.storage.snap_size_limit_bytes == Some(u64::MAX)
    }),
    ("electionAlg=03", |s| s.session.tick_ms == 3000),
    ("db.autocreate=false", |s| !s.storage.create_db),
    ("znode.container.maxPerMinute=-1", |s| {
        s.leader.container_max_per_minute == u32::MAX
    }),
    ("snapSizeLimitInKb=5", |s| {
        s.storage.snap_size_limit_bytes == Some(5120)
    }),
    ("snapSizeLimitInKb=-1", |s| {
        s.storage.snap_size_limit_bytes.is_none()
    }),
    ("fsync.warningthresholdms=20", |s| {
        s.storage.fsync_warning_ms == 20
    }),
    ("forceSync=no", |s| !s.storage.force_sync),
    ("forceSync=false", |s| s.storage.force_sync),
    ("datadir.autocreate=false", |s| !s.storage.create_dirs),
    ("znode.container.checkIntervalMs=50", |s| {
        s.leader.container_check_interval_ms == 50
    }),
    ("znode.container.maxPerMinute=5", |s| {
        s.leader.container_max_per_minute == 5
    }),
    ("znode.container.maxNeverUsedIntervalMs=5", |s| {
        s.leader.container_never_used_ms == 5
    }),
    ("globalOutstandingLimit=5", |s| {
        s.requests.outstanding_max == 5
    }),
    ("oxkeeper.batchOpsMax=9", |s| s.batches.ops_max == 9),
    ("oxkeeper.batchBytesMax=8K", |s| s.batches.bytes_max == 8192),
    ("oxkeeper.entriesInFlightMax=2", |s| s.batches.window == 2),
    ("oxkeeper.placement=several", |s| {
        s.placement == Some(crate::ensemble::Placement::Several)
    }),
    ("4lw.commands.whitelist=ruok, mntr,", |s| {
        let commands = &s.admin.commands;
        commands.allows("ruok") && commands.allows("srvr") && !commands.allows("stat")
    }),
    ("4lw.commands.whitelist=ruok,*", |s| {
        s.admin.commands == Commands::All
    }),
    ("clientPort=0", |s| s.admin.conf.client_port == Some(0)),
    ("initLimit=5\nsyncLimit=2\ntickTime=500", |s| {
        let members = &s.ensemble;
        (
            members.init_limit().as_millis(),
            members.sync_limit().as_millis(),
        ) == (2500, 1000)
    }),
    ("oxkeeper.heartbeatMs=50", |s| s.ensemble.heartbeat_ms == 50),
    ("oxkeeper.electionTimeoutMs=1000..2000", |s| {
        (s.ensemble.election_ms_min, s.ensemble.election_ms_max) == (1000, 2000)
    }),
    ("oxkeeper.peerSecretFile=/etc/secret", |s| {
        s.ensemble.peer_secret_file == Some("/etc/secret".into())
    }),
];

#[test]
fn honoured_values_arrive() {
    for (lines, check) in HONOURED {
        let (settings, _) = good(lines);
        assert!(check(&settings), "{lines}: {settings:?}");
    }
}

#[test]
fn prometheus() {
    let class = "metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider";
    let (settings, _) = good(class);
    let addr = "0.0.0.0:7000".parse().unwrap();
    let expected = MetricsProvider::Prometheus {
        addr,
        export_process: true,
    };
    assert_eq!(settings.admin.metrics_provider, expected);
    let more = "metricsProvider.httpHost=127.0.0.1\nmetricsProvider.httpPort=0\nmetricsProvider.exportJvmInfo=false";
    let (settings, warnings) = good(&format!("{class}\n{more}"));
    let addr = "127.0.0.1:0".parse().unwrap();
    let expected = MetricsProvider::Prometheus {
        addr,
        export_process: false,
    };
    assert_eq!(settings.admin.metrics_provider, expected);
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn the_sample_of_zookeeper_is_silent() {
    let sample = "# The number of milliseconds of each tick\ntickTime=2000\ninitLimit=10\nsyncLimit=5\n\
                  dataDir={dir}\n# the port\nclientPort=2181\n#maxClientCnxns=60\n\
                  #autopurge.snapRetainCount=3\n";
    let (settings, warnings) = World::new(sample).run();
    assert_eq!(warnings, [""; 0]);
    assert_eq!(settings.session.timeout_ms_min, 4000);
    assert_eq!(settings.admin.conf.tick_ms, 2000);
}

proptest::proptest! {
    #[test]
    fn any_file_is_judged(text in "([a-z.=:\\\\ 0-9]{0,30}\n){0,9}", key in 0usize..200, value: String) {
        let name = keys::all().nth(key).map_or("x", |key| key.name).replace('*', "1");
        let value = value.replace(['\n', '\r', '\\'], "");
        let world = World::new(&format!("{text}{name}={value}\n"));
        drop(world.load());
    }
}
