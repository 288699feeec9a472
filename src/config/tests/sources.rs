//! Where a value may come from, and which of several counts: files, properties, command lines.

use super::*;

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
