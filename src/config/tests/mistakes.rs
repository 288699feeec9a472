//! What is said of a file that is wrong, in whose words, and what of it is taken all the same.

use super::*;

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
