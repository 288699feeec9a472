//! Each key of the table, whatever it means.

use std::collections::BTreeSet;

use super::super::key::{Reach, Shape, Verdict};
use super::super::membership::MemberKey;
use super::*;

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
        "oxkeeper.placement" => Some(("several", Some("alone"))),
        "oxkeeper.heartbeatMs" => Some(("42", Some("9"))),
        "oxkeeper.electionTimeoutMs" => Some(("500..900", Some("900..500"))),
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
