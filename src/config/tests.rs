//! The configuration as an operator meets it: whole files, command lines and environments in, values,
//! errors and warnings out.

use std::collections::BTreeSet;
use std::fs;

use tempfile::TempDir;

use super::key::{Reach, Shape, Verdict};
use super::membership::MemberKey;
use super::*;
use crate::admin::{Commands, MetricsProvider};
use crate::auth::DigestAlgorithm;

/// A directory with a zoo.cfg, and what surrounds it.
pub(super) struct World {
    pub(super) dir: TempDir,
    words: Vec<String>,
    env: Vec<(&'static str, String)>,
}

impl World {
    /// `{dir}` in `text` stands for the directory.
    pub(super) fn new(text: &str) -> World {
        let dir = tempfile::tempdir().unwrap();
        let world = World {
            dir,
            words: vec!["{dir}/zoo.cfg".to_owned()],
            env: Vec::new(),
        };
        world.file("zoo.cfg", text)
    }

    pub(super) fn file(self, name: &str, text: &str) -> World {
        fs::write(self.dir.path().join(name), self.fill(text)).unwrap();
        self
    }

    pub(super) fn word(mut self, word: &str) -> World {
        self.words.push(word.to_owned());
        self
    }

    pub(super) fn env(mut self, name: &'static str, value: &str) -> World {
        self.env.push((name, value.to_owned()));
        self
    }

    pub(super) fn fill(&self, text: &str) -> String {
        text.replace("{dir}", &self.dir.path().display().to_string())
    }

    pub(super) fn load(&self) -> Result<Loaded, Rejection> {
        let args: Vec<OsString> = self
            .words
            .iter()
            .map(|word| OsString::from(self.fill(word)))
            .collect();
        let env = |name: &str| {
            self.env
                .iter()
                .find(|(variable, _)| *variable == name)
                .map(|(_, value)| value.clone())
        };
        load(args.into_iter(), &env)
    }

    pub(super) fn run(&self) -> (Settings, Vec<String>) {
        let loaded = self.load().unwrap_or_else(|failure| panic!("{failure}"));
        let Action::Run(settings) = loaded.action else {
            panic!("{:?}", loaded.action)
        };
        (
            *settings,
            self.relative(loaded.warnings.iter().map(ToString::to_string)),
        )
    }

    pub(super) fn fail(&self) -> Vec<String> {
        match self.load() {
            Err(Rejection::Invalid { errors, .. }) => {
                self.relative(errors.iter().map(ToString::to_string))
            }
            other => panic!("{other:?}"),
        }
    }

    fn relative(&self, lines: impl Iterator<Item = String>) -> Vec<String> {
        let dir = format!("{}/", self.dir.path().display());
        lines.map(|line| line.replace(&dir, "")).collect()
    }
}

const BASE: &str = "dataDir={dir}\nclientPort=2181\n";

/// The settings and warnings of a good file with these lines added to [`BASE`].
fn good(lines: &str) -> (Settings, Vec<String>) {
    World::new(&format!("{BASE}{lines}")).run()
}

/// The errors of a bad one; its first added line is 3.
fn bad(lines: &str) -> Vec<String> {
    World::new(&format!("{BASE}{lines}")).fail()
}

/// All that operations.md 1.6 to 1.10 and 10.2 name.
const REFERENCE: &str = "
    dataDir dataLogDir clientPort clientPortAddress secureClientPort secureClientPortAddress
    clientPortListenBacklog tickTime minSessionTimeout maxSessionTimeout maxClientCnxns maxCnxns
    initLimit syncLimit connectToLearnerMasterLimit electionAlg leaderServes peerType
    quorumListenOnAllIPs standaloneEnabled reconfigEnabled dynamicConfigFile skipACL forceSync
    syncEnabled observer.syncEnabled localSessionsEnabled localSessionsUpgradingEnabled
    observerMasterPort sslQuorum portUnification sslQuorumReloadCertFiles multiAddress.enabled
    multiAddress.reachabilityCheckEnabled multiAddress.reachabilityCheckTimeoutMs oraclePath
    server.1 group.1 weight.1 quorum.auth.enableSasl quorum.auth.serverRequireSasl
    quorum.auth.learnerRequireSasl quorum.auth.server.loginContext quorum.cnxn.threads.size
    jvm.pause.info-threshold.ms jvm.pause.warn-threshold.ms jvm.pause.sleep.time.ms
    jvm.pause.monitor snapCount snapSizeLimitInKb preAllocSize txnLogSizeLimitInKb commitLogCount
    snapshotSizeFactor autopurge.snapRetainCount autopurge.purgeInterval snapshot.trust.empty
    snapshot.compression.method serializeLastProcessedZxid.enabled digest.enabled
    closeSessionTxn.enabled fsync.warningthresholdms flushDelay maxWriteQueuePollTime maxBatchSize
    datadir.autocreate db.autocreate extendedTypesEnabled emulate353TTLNodes
    znode.container.checkIntervalMs znode.container.maxPerMinute
    znode.container.maxNeverUsedIntervalMs intBufferStartingSizeBytes maxResponseCacheSize
    maxGetChildrenResponseCacheSize pathStats.enabled messageTracker.Enabled forceSnapshotSync
    testingonly.initialZxid test.x controllerPort jute.maxbuffer jute.maxbuffer.extrasize
    globalOutstandingLimit enforceQuota largeRequestThreshold largeRequestMaxBytes
    request_throttle_max_requests request_throttle_stall_time request_throttle_drop_stale
    request_stale_latency_check request_stale_connection_check request_throttler.shutdownTimeout
    throttled_op_wait_time connection_throttle_tokens connection_throttle_fill_time
    connection_throttle_fill_count connection_throttle_freeze_time
    connection_throttle_drop_increase connection_throttle_drop_decrease
    connection_throttle_decrease_ratio connection_throttle_weight_enabled
    connection_throttle_global_session_weight connection_throttle_local_session_weight
    connection_throttle_renew_session_weight nio.sessionlessCnxnTimeout clientTcpKeepAlive
    tcpKeepAlive netty.server.outstandingHandshake.limit
    netty.server.earlyDropSecureConnectionHandshakes nio.numSelectorThreads nio.numWorkerThreads
    nio.directBufferBytes nio.shutdownTimeout commitProcessor.numWorkerThreads
    commitProcessor.maxReadBatchSize commitProcessor.maxCommitBatchSize
    commitProcessor.shutdownTimeout serverCnxnFactory netty.advancedFlowControl.enabled
    watchManagerName watcherCleanThreadsNum watcherCleanThreshold watcherCleanIntervalInSeconds
    maxInProcessingDeadWatchers bitHashCacheSize cnxTimeout quorumCnxnTimeoutMs
    electionPortBindRetry fastleader.minNotificationInterval fastleader.maxNotificationInterval
    leader.maxTimeToWaitForEpoch leaderConnectDelayDuringRetryMs leader.maxConcurrentSnapSyncs
    leader.maxConcurrentDiffSyncs observer.reconnectDelayMs observer.election.DelayMs
    observerMaster.sizeLimit learner.asyncSending learner.closeSocketAsync leader.closeSocketAsync
    follower.skipLearnerRequestToNextProcessor forward_learner_requests_to_commit_processor_disabled
    leader.ackLoggingFrequency leader.nodelay follower.nodelay readonlymode.enabled
    DigestAuthenticationProvider.superDigest DigestAuthenticationProvider.enabled
    DigestAuthenticationProvider.digestAlg IPAuthenticationProvider.usexforwardedfor
    X509AuthenticationProvider.superUser superUser superUser.2 authProvider.1 ssl.authProvider
    enforce.auth.enabled enforce.auth.schemes sessionRequireClientSASLAuth allowSaslFailedClients
    letAnySaslUserDoX SASLAuthenticationProvider.superPassword java.security.auth.login.config
    sasl.serverconfig kerberos.removeHostFromPrincipal kerberos.removeRealmFromPrincipal
    kerberos.canonicalizeHostNames security.auth_to_local requireKerberosConfig ensembleAuthName
    fips-mode enableEagerACLCheck 4lw.commands.whitelist admin.enableServer admin.serverAddress
    admin.serverPort admin.idleTimeout admin.commandURL admin.httpVersion admin.portUnification
    admin.forceHttps admin.needClientAuth admin.snapshot.enabled admin.restore.enabled
    admin.rateLimiterIntervalInMS metricsProvider.className metricsProvider.httpHost
    metricsProvider.httpPort metricsProvider.exportJvmInfo metricsProvider.numWorkerThreads
    metricsProvider.maxQueueSize metricsProvider.workerShutdownTimeoutMs audit.enable
    audit.impl.class ssl.keyStore.location ssl.keyStore.password ssl.trustStore.type ssl.protocol
    ssl.ciphersuites ssl.clientAuth ssl.hostnameVerification ssl.crl ssl.ocsp ssl.sslProvider
    ssl.context.supplier.class ssl.handshakeDetectionTimeoutMillis ssl.quorum.keyStore.location
    client.certReload client.portUnification client.secure";

#[test]
fn the_reference_is_covered() {
    for name in REFERENCE.split_whitespace() {
        assert!(keys::find(name).is_some(), "{name}");
    }
    let names: Vec<_> = keys::all().map(|key| key.name).collect();
    let set: BTreeSet<_> = names.iter().collect();
    assert_eq!(names.len(), set.len(), "a key is listed twice");
}

/// A value that `key` accepts, other than its default where that is possible, and one it does not.
fn samples(key: &key::Key) -> (&'static str, Option<&'static str>) {
    let special = match key.name {
        "electionAlg" => Some(("3", Some("1"))),
        "dataDir" => Some(("{dir}", Some(""))),
        "dataLogDir" => Some(("{dir}/log", None)),
        "dynamicConfigFile" => Some(("{dir}/members", Some("{dir}/missing"))),
        "clientPort" | "secureClientPort" => Some(("2182", Some("65536"))),
        "tickTime" => Some(("1000", Some("0"))),
        "minSessionTimeout" => Some(("5000", Some("5s"))),
        "maxSessionTimeout" => Some(("7000", Some("7.5"))),
        "jute.maxbuffer" => Some(("4096", Some("4k"))),
        "clientPortAddress" | "secureClientPortAddress" => Some(("127.0.0.1", None)),
        "metricsProvider.httpHost" => Some(("127.0.0.1", None)),
        "peerType" => Some(("observer", Some("king"))),
        "metricsProvider.className" => Some((
            "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider",
            Some("com.example.Mine"),
        )),
        "DigestAuthenticationProvider.superDigest" => Some(("super:abc=", None)),
        "DigestAuthenticationProvider.digestAlg" => Some(("SHA3-256", Some("MD6"))),
        "enforce.auth.enabled" => Some(("false", None)),
        "standaloneEnabled" => Some(("true", Some("no"))),
        "oxkeeper.heartbeatMs" => Some(("42", Some("9"))),
        "oxkeeper.electionTimeoutMs" => Some(("500..900", Some("900..500"))),
        "oxkeeper.placement" => Some(("several", Some("alone"))),
        "quorum.auth.serverRequireSasl" | "quorum.auth.learnerRequireSasl" => {
            Some(("false", Some("true")))
        }
        _ => None,
    };
    special.unwrap_or(match key.shape {
        Shape::Flag(_) => (
            if key.default == "true" {
                "FALSE"
            } else {
                "True"
            },
            Some("yes"),
        ),
        Shape::LooseFlag(_) => (
            if key.default == "true" {
                "false"
            } else {
                "true"
            },
            None,
        ),
        Shape::YesNo(_) => (if key.default == "yes" { "no" } else { "yes" }, None),
        Shape::Int { .. } => ("42", Some("many")),
        Shape::Size { .. } => ("32M", Some("32 apples")),
        Shape::Real(_) => ("0.5", Some("half")),
        Shape::Text(_) => ("srvr", None),
    })
}

#[test]
fn every_key_once_good_and_once_bad() {
    for key in keys::all() {
        let name = key.name.replace('*', "1");
        if MemberKey::is_one(&name) {
            continue;
        }
        let (value, wrong) = samples(key);
        let world = |value: &str| {
            let with = key.only_if.map(|(key, value)| format!("{key}={value}\n"));
            let with = with.unwrap_or_default();
            let text = format!("{BASE}{with}{name}={value}\n");
            World::new(&text).file("members", "server.1=h:1:2\n")
        };
        let refused = matches!(key.verdict, Verdict::Refuse(_));
        match world(value).load() {
            Ok(loaded) => {
                assert!(!refused, "{name}={value} must be refused");
                let spoken = matches!(key.verdict, Verdict::Later(_) | Verdict::Warn(_));
                let warned = loaded.warnings.iter().any(|w| w.key == name);
                assert!(!spoken || warned, "{name}={value} needs a warning");
            }
            Err(failure) => assert!(
                refused || (key.name.starts_with("secureClientPort") && value == "127.0.0.1"),
                "{name}={value}: {failure}"
            ),
        }
        let Some(wrong) = wrong else { continue };
        let falls_back = matches!(key.shape, Shape::Int { .. })
            && !matches!(key.reach, Reach::File | Reach::Ours);
        let strict = !falls_back && (key.verdict == Verdict::Honour || key.reach == Reach::File);
        match world(wrong).load() {
            Err(failure) => assert!(failure.to_string().contains("zoo.cfg"), "{failure}"),
            Ok(loaded) => {
                assert!(!strict, "{name}={wrong} must be an error");
                assert!(
                    loaded.warnings.iter().any(|w| w.key == name),
                    "{name}={wrong}"
                );
            }
        }
    }
}

#[test]
fn defaults_are_readable_and_silent() {
    for key in keys::all() {
        let name = key.name.replace('*', "1");
        if key.default.is_empty() || name == "clientPort" {
            continue;
        }
        assert!(key.canonical(key.default).is_ok(), "{name}");
        let (settings, warnings) = good(&format!("{name}={}\n", key.default));
        let spoken: Vec<_> = warnings.iter().filter(|w| !w.contains("-D")).collect();
        assert!(spoken.is_empty(), "{name}: {warnings:?}");
        if name != "nio.sessionlessCnxnTimeout" {
            assert_eq!(
                settings,
                rebased(&settings),
                "{name}={} is not our default",
                key.default
            );
        }
    }
}

/// The settings of [`BASE`] alone, with the directories of `other`.
fn rebased(other: &Settings) -> Settings {
    let mut settings = good("").0;
    settings
        .storage
        .data_dir
        .clone_from(&other.storage.data_dir);
    settings.storage.log_dir.clone_from(&other.storage.log_dir);
    settings
        .admin
        .conf
        .data_dir
        .clone_from(&other.admin.conf.data_dir);
    settings
        .admin
        .conf
        .log_dir
        .clone_from(&other.admin.conf.log_dir);
    settings
}

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
    ("oxkeeper.placement=several", |s| {
        s.placement == Some(crate::ensemble::Placement::Several)
    }),
    ("oxkeeper.entriesInFlightMax=2", |s| s.batches.window == 2),
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
fn zookeepers_words() {
    for (lines, expected) in [
        ("tickTime=0", "zoo.cfg:3: tickTime: tickTime is not set"),
        (
            "minSessionTimeout=9\nmaxSessionTimeout=8",
            "zoo.cfg:4: maxSessionTimeout: minSessionTimeout must not be larger than maxSessionTimeout (9 > 8 ms)",
        ),
        (
            "electionAlg=1",
            "zoo.cfg:3: electionAlg: Invalid electionAlg value. Only 3 is supported. (found \"1\")",
        ),
        (
            "peerType=king",
            "zoo.cfg:3: peerType: Unrecognised peertype: king",
        ),
        (
            "sslQuorum=yes",
            "zoo.cfg:3: sslQuorum: Invalid option yes for sslQuorum. Choose 'true' or 'false.'",
        ),
        (
            "secureClientPortAddress=h",
            "zoo.cfg:3: secureClientPortAddress: secureClientPortAddress is set but secureClientPort is not set",
        ),
        (
            "quorum.auth.serverRequireSasl=true",
            "zoo.cfg:3: quorum.auth.serverRequireSasl: quorum.auth.enableSasl is disabled, so cannot enable quorum.auth.serverRequireSasl",
        ),
        (
            "server.1=h:1:2:observer",
            "zoo.cfg:3: Observers w/o participants is an invalid configuration",
        ),
        (
            "server.1=h:1:2\nserver.2=h:3:4:observer",
            "zoo.cfg:3: Observers w/o quorum is an invalid configuration",
        ),
        (
            "enforce.auth.enabled=true\nenforce.auth.schemes=sasl",
            "zoo.cfg:4: enforce.auth.schemes: Authentication scheme sasl is not available.",
        ),
        (
            "clientPort=21 81",
            "zoo.cfg:3: clientPort: expected a whole number, found \"21 81\"",
        ),
        (
            "tickTime=0x10",
            "zoo.cfg:3: tickTime: expected a whole number, found \"0x10\"",
        ),
        ("a=\\u12", "zoo.cfg:3: Malformed \\uxxxx encoding: \\u12"),
    ] {
        assert_eq!(bad(lines), [expected], "{lines}");
    }
    let port = World::new("dataDir={dir}\nclientPortAddress=localhost\n").fail();
    let expected =
        "zoo.cfg:2: clientPortAddress: clientPortAddress is set but clientPort is not set";
    assert!(port.contains(&expected.to_owned()), "{port:?}");
    assert_eq!(
        World::new("clientPort=1\n").fail(),
        ["zoo.cfg: dataDir is not set"]
    );
    let class = &bad("metricsProvider.className=x.Y")[0];
    assert!(
        class.contains("metrics provider class was not found"),
        "{class}"
    );
}

#[test]
fn all_mistakes_at_once_and_in_order() {
    let world = World::new("tickTime=x\nclientPort=99999\ninitLimit=1e5\noraclePath=/x\n")
        .word("-Dzookeeper.connection_throttle_drop_increase=no");
    assert_eq!(
        world.fail(),
        [
            "command line: connection_throttle_drop_increase: expected a number, found \"no\"",
            "zoo.cfg: dataDir is not set",
            "zoo.cfg:1: tickTime: expected a whole number, found \"x\"",
            "zoo.cfg:2: clientPort: expected 0 to 65535, found 99999",
            "zoo.cfg:3: initLimit: expected a whole number, found \"1e5\"",
            "zoo.cfg:4: oraclePath: \"/x\" is refused: a tie-break file breaks the safety of a \
             majority; use three voters",
        ]
    );
    let text = world.load().unwrap_err().to_string();
    assert!(text.ends_with("Invalid config, exiting abnormally\nUsage: oxkeeper [configfile | port datadir [ticktime] [maxcnxns]]"), "{text}");
    assert_eq!(Rejection::EXIT_CODE, 2);
}

#[test]
fn a_file_that_cannot_be_read_is_the_only_mistake() {
    let mut world = World::new(BASE);
    world.words = vec!["{dir}/nothing.cfg".to_owned()];
    let errors = world.fail();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("nothing.cfg: Error processing nothing.cfg: No such file"));
    world.words = vec!["/dev/zero".to_owned()];
    assert!(world.fail()[0].contains("expected at most 1048576 bytes, found more"));
}

#[test]
fn unknown_keys_and_titles() {
    let (settings, warnings) =
        good("ticktime=5\nwhatever=1\nthrottledOpWaitTime=7\nmaxClientCnxns=1\n");
    assert_eq!(settings.net.connections_per_ip_max, 1);
    assert_eq!(
        warnings,
        [
            "zoo.cfg:3: ticktime: unknown key, ignored; is tickTime meant?",
            "zoo.cfg:4: whatever: unknown key, ignored",
            "zoo.cfg:5: throttledOpWaitTime: this is a title of the manual; the key is throttled_op_wait_time, for which it is taken",
            "zoo.cfg:5: throttled_op_wait_time: not built yet: globalOutstandingLimit bounds what is under way",
        ]
    );
    for title in
        "connectionMaxTokens requestThrottleLimit throttledOpWaitTime advancedFlowControlEnabled \
                  outstandingHandshake.limit maxConcurrentSnapSyncs maxTimeToWaitForEpoch"
            .split_whitespace()
    {
        assert!(
            keys::find(title).is_none() && keys::find_title(title).is_some(),
            "{title}"
        );
    }
}

#[test]
fn duplicates_and_the_text_format() {
    let (settings, warnings) =
        good("tickTime : 1000\n! maxCnxns=1\nmaxCnxns 3\ntick\\\n   Time=2000  \n");
    assert_eq!(
        (settings.session.tick_ms, settings.net.connections_max),
        (2000, 3)
    );
    assert_eq!(
        warnings,
        ["zoo.cfg:3: tickTime: written again at zoo.cfg:6, which counts"]
    );
    let bad_first = good("tickTime=never\ntickTime=2000\n").0;
    assert_eq!(bad_first.session.tick_ms, 2000);
}

#[test]
fn precedence() {
    let outstanding = |world: World| world.run().0.requests.outstanding_max;
    let world = |text: &str| World::new(&format!("{BASE}{text}"));
    let property = |n: u32| format!("-Dzookeeper.globalOutstandingLimit={n}");
    let server = world("").env("SERVER_JVMFLAGS", &property(1));
    assert_eq!(outstanding(server), 1);
    let both = world("")
        .env("JVMFLAGS", &property(2))
        .env("SERVER_JVMFLAGS", &property(1));
    assert_eq!(outstanding(both), 2);
    let words = world("")
        .env("JVMFLAGS", &property(2))
        .word(&property(3))
        .word(&property(4));
    assert_eq!(outstanding(words), 4);
    let file = world("globalOutstandingLimit=5").word(&property(3));
    assert_eq!(outstanding(file), 5);
}

#[test]
fn what_is_written_only_as_a_property() {
    let world = World::new(&format!("{BASE}jute.maxbuffer=5000\n")).word("-Djute.maxbuffer=6000");
    let (settings, warnings) = world.run();
    assert_eq!(settings.net.frame_bytes_max, 6000);
    let ignored =
        "zoo.cfg:3: jute.maxbuffer: ignored: the property -Djute.maxbuffer of command line counts";
    assert_eq!(warnings, [ignored]);
    let (settings, warnings) = good("jute.maxbuffer=5000\n");
    assert_eq!(settings.net.frame_bytes_max, 5000);
    let taken = "zoo.cfg:3: jute.maxbuffer: ZooKeeper would read it from -Djute.maxbuffer only; taken from here too";
    assert_eq!(warnings, [taken]);
}

#[test]
fn flags_of_a_jvm() {
    let flags = "-Xmx1g -XX:+UseG1GC -Dcom.sun.management.jmxremote.port=1 -javaagent:/jmx.jar=1 \
                 -Dzookeeper.DigestAuthenticationProvider.superDigest='super:a b=' \
                 -Dfsync.warningthresholdms=7 -DsnapCount=3 -Dzookeeper.nonsense=1 \
                 -Dzookeeper.tickTime=1 -Dzookeeper.jute.maxbuffer=4096 -Doxkeeper.memory=32M";
    let (settings, warnings) = World::new(BASE).env("JVMFLAGS", flags).run();
    assert_eq!(settings.auth.super_digest.as_deref(), Some("super:a b="));
    assert_eq!(settings.storage.fsync_warning_ms, 7);
    assert_eq!(settings.storage.memory_bytes, 32 << 20);
    assert_eq!(settings.storage.snap_count, 100_000);
    assert_eq!(settings.session.tick_ms, 3000);
    assert_eq!(settings.net.frame_bytes_max, 4096);
    assert_eq!(
        warnings,
        [
            "JVMFLAGS: dropped -javaagent: metrics that a Java agent would export do not exist; see metricsProvider.className",
            "JVMFLAGS: dropped, for a JVM only: -Xmx1g -XX:+UseG1GC -Dcom.sun.management.jmxremote.port",
            "JVMFLAGS: jute.maxbuffer: the property is jute.maxbuffer, without zookeeper.; taken for it",
            "JVMFLAGS: nonsense: unknown key, ignored",
            "JVMFLAGS: snapCount: ignored: the property is zookeeper.snapCount",
            "JVMFLAGS: tickTime: ignored: tickTime is read from zoo.cfg only",
        ]
    );
    let open = World::new(BASE).env("JVMFLAGS", "-Dzookeeper.maxCnxns=4 -Da='b");
    let (settings, warnings) = open.run();
    assert_eq!(settings.net.connections_max, 4);
    assert_eq!(
        warnings[0],
        "JVMFLAGS: a quote is not closed; split at spaces instead"
    );
}

#[test]
fn forms() {
    let mut world = World::new("");
    world.words = Vec::new();
    let (settings, warnings) = world.run();
    assert_eq!(settings.net.client_addr, "0.0.0.0:2181".parse().ok());
    assert_eq!(settings.storage.data_dir, PathBuf::from("./data"));
    assert_eq!(settings.net.connections_per_ip_max, 60);
    assert_eq!(warnings, [""; 0]);
    world.words = ["2222", "{dir}/d", "1000", "5"].map(str::to_owned).to_vec();
    let (settings, _) = world.run();
    assert_eq!(settings.net.client_addr, "0.0.0.0:2222".parse().ok());
    assert_eq!(settings.session.timeout_ms_max, 20_000);
    assert_eq!(settings.admin.conf.connections_per_ip_max, 5);
    world.words = ["2222", "{dir}/d"].map(str::to_owned).to_vec();
    let (settings, warnings) = world.run();
    assert_eq!(settings.net.connections_per_ip_max, 0);
    assert_eq!(warnings, [""; 0]);
    world.words = ["port", "{dir}/d", "x"].map(str::to_owned).to_vec();
    assert_eq!(world.fail().len(), 2);
    world.words = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
    assert!(world.load().unwrap_err().to_string().contains("Usage: "));
}

#[test]
fn check_says_everything() {
    let mut world = World::new(&format!("{BASE}whatever=1\n"));
    world.words = vec!["--check".to_owned(), "{dir}/zoo.cfg".to_owned()];
    let loaded = world.load().unwrap();
    assert!(matches!(loaded.action, Action::Check));
    let text = loaded.to_string();
    assert!(text.ends_with("zoo.cfg:3: whatever: unknown key, ignored\nconfiguration is valid\n"));
    let world = world.file("zoo.cfg", "whatever=1\n");
    let text = world.load().unwrap_err().to_string();
    assert!(
        text.contains("error: ") && text.contains("warning: "),
        "{text}"
    );
}

#[test]
fn secure_port() {
    let (_, warnings) = good("secureClientPort=2281\nssl.keyStore.password=hunter2\n");
    assert!(
        warnings[0].contains("NOTHING LISTENS on the secure port 2281"),
        "{warnings:?}"
    );
    assert!(warnings.iter().all(|warning| !warning.contains("hunter2")));
    let errors = World::new("dataDir={dir}\nsecureClientPort=2281\n").fail();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("zoo.cfg:2: secureClientPort: TLS is not built yet"));
}

#[test]
fn what_would_change_who_may_do_what_is_refused() {
    for lines in [
        "sessionRequireClientSASLAuth=true",
        "quorum.auth.enableSasl=true",
        "ssl.authProvider=mine",
        "audit.enable=true\naudit.impl.class=x.Y",
        "testingonly.initialZxid=5",
        "enforce.auth.enabled=true\nenforce.auth.schemes=digest\nDigestAuthenticationProvider.enabled=false",
        "enforce.auth.enabled=true",
        "DigestAuthenticationProvider.digestAlg=SHA_256",
    ] {
        assert_eq!(bad(lines).len(), 1, "{lines}");
    }
}

/// What ZooKeeper reads as a system property falls back to its default there, without a word.
#[test]
fn numbers_that_are_none_are_warned_of() {
    for (line, text) in [
        (
            "snapCount=",
            "zoo.cfg:3: snapCount: expected a whole number, found \"\"; the default, 100000, \
             applies, as in ZooKeeper",
        ),
        (
            "snapCount=5000 # x",
            "zoo.cfg:3: snapCount: expected a whole number, found \"5000 # x\" (a comment needs a \
             line of its own); the default, 100000, applies, as in ZooKeeper",
        ),
        (
            "maxCnxns=99999999999",
            "zoo.cfg:3: maxCnxns: expected -2147483648 to 2147483647, found 99999999999; the \
             default, 0, applies, as in ZooKeeper",
        ),
        (
            "globalOutstandingLimit=08",
            "zoo.cfg:3: globalOutstandingLimit: expected a whole number, found \"08\"; the default, \
             1000, applies, as in ZooKeeper",
        ),
        (
            "fsync.warningthresholdms=99999999999999999999",
            "zoo.cfg:3: fsync.warningthresholdms: expected a whole number of 64 bits, found \
             99999999999999999999; the default, 1000, applies, as in ZooKeeper",
        ),
    ] {
        let (settings, warnings) = good(line);
        assert_eq!(warnings, [text], "{line}");
        assert_eq!(settings, rebased(&settings), "{line}");
    }
}

#[test]
fn what_zookeeper_does_not_read_cannot_stop_us() {
    for line in [
        "jute.maxbuffer=1k",
        "jute.maxbuffer=0",
        "znode.container.checkIntervalMs=0",
    ] {
        let (settings, warnings) = good(line);
        assert_eq!(settings, rebased(&settings), "{line}");
        assert_eq!(warnings.len(), 2, "{warnings:?}");
    }
    for line in [
        "metricsProvider.httpPort=99999",
        "metricsProvider.httpPort=",
        "metricsProvider.numWorkerThreads=many",
        "audit.impl.class=x.Y",
    ] {
        assert_eq!(good(line).1, [""; 0], "{line}");
    }
    let class = "metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n";
    assert_eq!(
        bad(&format!("{class}metricsProvider.httpPort=99999")),
        ["zoo.cfg:4: metricsProvider.httpPort: expected 0 to 65535, found 99999"]
    );
    let size = World::new(BASE).word("-Djute.maxbuffer=0").fail();
    assert_eq!(
        size,
        ["command line: jute.maxbuffer: expected 64 to 2147483647, found 0"]
    );
}

#[test]
fn numbers_that_zookeeper_does_not_start_with() {
    for line in [
        "tickTime=2000 # x",
        "clientPortListenBacklog=",
        "nio.sessionlessCnxnTimeout=0",
        "connection_throttle_tokens=-1",
        "connection_throttle_drop_increase=",
        "dataLogDir=",
        "dynamicConfigFile=",
    ] {
        let errors = bad(line);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with("zoo.cfg:3: "), "{errors:?}");
    }
}

#[test]
fn dangerous_settings_are_warned_of() {
    for lines in [
        "skipACL=yes",
        "forceSync=no",
        "snapshot.trust.empty=true",
        "skipACL=true",
    ] {
        assert_eq!(good(lines).1.len(), 1, "{lines}");
    }
    let class = "org.apache.zookeeper.server.auth";
    assert_eq!(
        good(&format!(
            "authProvider.1={class}.DigestAuthenticationProvider"
        ))
        .1,
        [""; 0]
    );
    let sasl = good(&format!(
        "authProvider.sasl={class}.SASLAuthenticationProvider"
    ))
    .1;
    assert!(sasl[0].contains("SASL is not built yet"));
    assert!(good("authProvider.1=com.example.Mine").1[0].contains("IS MISSING"));
}

#[test]
fn the_super_digest_is_not_shown() {
    let (settings, _) = good("DigestAuthenticationProvider.superDigest=super:hunter2=\n");
    assert!(!format!("{settings:?}").contains("hunter2"));
    let (settings, warnings) = good("DigestAuthenticationProvider.superDigest=hunter2\n");
    assert_eq!((settings.auth.super_digest, warnings.len()), (None, 1));
    assert!(!warnings[0].contains("hunter2"), "{warnings:?}");
}

#[test]
fn one_server_line_is_a_standalone_server() {
    let port = |world: World| world.run().0.net.client_addr.map(|addr| addr.to_string());
    let line = "dataDir={dir}\nserver.1=localhost:2888:3888;2181\n";
    assert_eq!(port(World::new(line)).as_deref(), Some("0.0.0.0:2181"));
    assert_eq!(
        port(World::new(line).file("myid", "1\n")).as_deref(),
        Some("0.0.0.0:2181")
    );
    let own = "dataDir={dir}\nserver.1=h:2888:3888;127.0.0.1:2181\n";
    assert_eq!(port(World::new(own)).as_deref(), Some("127.0.0.1:2181"));
    let same = format!("{own}clientPort=2181\n");
    assert_eq!(
        port(World::new(&same).file("myid", "1")).as_deref(),
        Some("127.0.0.1:2181")
    );
    let kept = port(World::new(&same));
    assert_eq!(kept.as_deref(), Some("0.0.0.0:2181"));
    let other = format!("{line}clientPort=2182\n");
    assert_eq!(port(World::new(&other)).as_deref(), Some("0.0.0.0:2182"));
    assert_eq!(
        World::new(&other).file("myid", "1").fail(),
        [
            "zoo.cfg:2: server.1: client address for this server (id = 1) in static config file is \
          0.0.0.0:2182 is different from client address found in dynamic file: 0.0.0.0:2181"
        ]
    );
    let (settings, _) = World::new(line).run();
    assert_eq!(settings.ensemble, EnsembleSettings::default());
    assert_eq!(settings.session.server_id, 1);
    assert_eq!(
        World::new(line).file("myid", "one").fail()[0],
        "myid:1: serverid one is not a number"
    );
    let nowhere = World::new(line).file("myid", "2").fail();
    assert_eq!(
        nowhere,
        ["zoo.cfg: clientPort is not set: no client could connect"]
    );
}

#[test]
fn groups_and_weights() {
    let one = "server.1=a:1:2\n";
    assert_eq!(good(&format!("{one}group.1=1\nweight.1=1\n")).1.len(), 1);
    assert_eq!(good(&format!("{one}weight.1=3\n")).1.len(), 1);
    let refused = |lines: &str| bad(&format!("{one}{lines}"))[0].contains("hierarchical quorums");
    assert!(refused("group.1=1\ngroup.2=2\n"));
    assert!(refused("group.1=2\n"));
    assert!(refused("weight.1=0\n"));
    assert!(refused("groupFoo=bar\n"));
}

#[test]
fn dynamic_file() {
    let zoo = "dataDir={dir}\ndynamicConfigFile={dir}/zoo.cfg.dynamic.1000000ff\n";
    let name = "zoo.cfg.dynamic.1000000ff";
    let (settings, _) = World::new(zoo)
        .file(name, "server.7=h:1:2:participant;0.0.0.0:99")
        .run();
    assert_eq!(settings.net.client_addr, "0.0.0.0:99".parse().ok());
    let errors = World::new(&format!("{zoo}clientPort=1\nserver.1=h:1:2\n"))
        .file(name, "server.7=h\ntickTime=5\nversion=5\n")
        .fail();
    assert_eq!(errors.len(), 4, "{errors:?}");
    assert_eq!(
        errors[0],
        "zoo.cfg:4: server.1: parameter: server.1 must be in a separate dynamic config file"
    );
    assert!(errors[1].starts_with(&format!("{name}:1: server.7: h does not have the form")));
    assert_eq!(
        errors[2],
        format!("{name}:2: tickTime: Unrecognised parameter: tickTime")
    );
    assert_eq!(
        errors[3],
        format!("{name}:3: version: dynamic file shouldn't have version inside")
    );
    // Whether the file names a port is not known, so nothing is said of it.
    for (text, mistake) in [
        ("server.7=h:1:2:king;99\n", "Unrecognised peertype: king"),
        ("server.7=h:1:2;99\ntickTime=5\n", "Unrecognised parameter"),
        ("server.7=h:1:2;99\nx=\\u00zz\n", "Malformed"),
    ] {
        let errors = World::new(zoo).file(name, text).fail();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].contains(mistake), "{errors:?}");
    }
    assert_eq!(World::new(zoo).fail().len(), 1, "the file is missing");
    let missing = World::new(&format!("{zoo}clientPort=1\n")).fail();
    assert!(
        missing[0].starts_with("zoo.cfg:2: dynamicConfigFile: Error processing"),
        "{missing:?}"
    );
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
