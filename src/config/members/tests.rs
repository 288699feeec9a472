//! Whole files of ensembles in, members, errors and warnings out. What ZooKeeper decides was asked of
//! QuorumPeerConfig.parse of 3.9.5 with the same files.

use std::os::unix::fs::PermissionsExt as _;

use super::super::EnsembleSettings;
use super::super::tests::World;
use super::*;

const BASE: &str = "dataDir={dir}\nclientPort=2181\ninitLimit=10\nsyncLimit=5\n";
/// Their first one is line 5 of the file.
const THREE: &str = "server.1=127.0.0.1:2888:3888\nserver.2=127.0.0.2:2888:3888\n\
                     server.3=127.0.0.3:2888:3888\n";
/// Behind them: nothing is said of who may be a member.
const SECRET: &str = "oxkeeper.peerSecretFile={dir}/secret\n";

/// Three servers and these lines, from line 9 on; this one is server 1.
fn three(lines: &str) -> World {
    of(&format!("{THREE}{SECRET}{lines}"))
}

/// [`BASE`] and these lines, from line 5 on.
fn of(lines: &str) -> World {
    let world = World::new(&format!("{BASE}{lines}"))
        .file("secret", "sesame")
        .file("myid", "1\n");
    let secret = world.dir.path().join("secret");
    std::fs::set_permissions(secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    world
}

fn ensemble(world: &World) -> EnsembleSettings {
    world.run().0.ensemble
}

#[test]
fn three_servers() {
    let world = three("");
    let (settings, warnings) = world.run();
    assert_eq!(warnings, [""; 0]);
    let found = settings.ensemble;
    assert_eq!((found.me, found.standalone), (ServerId(1), false));
    assert_eq!(found.voters(), [1, 2, 3].map(ServerId));
    assert_eq!(found.own().map(|own| own.id), Some(ServerId(1)));
    assert_eq!(found.members[2].addresses[0].host, "127.0.0.3");
    assert_eq!(found.members[2].addresses[0].quorum_port, 2888);
    assert_eq!(found.init_limit().as_secs(), 30);
    assert_eq!(found.sync_limit().as_secs(), 15);
    assert_eq!(
        found.peer_secret_file,
        Some(world.dir.path().join("secret"))
    );
    assert_eq!(settings.session.server_id, 1);
    assert_eq!(settings.net.client_addr, "0.0.0.0:2181".parse().ok());
}

#[test]
fn the_number_is_the_servers_everywhere() {
    let (settings, _) = three("").file("myid", "3").run();
    assert_eq!(settings.ensemble.me, ServerId(3));
    assert_eq!(settings.session.server_id, 3);
    // A standalone server keeps its number when others join it; its sessions are those of server 1, as
    // ZooKeeper's are.
    let (settings, _) = World::new(BASE).file("myid", "3").run();
    assert_eq!(
        (settings.ensemble.me, settings.session.server_id),
        (ServerId(3), 1)
    );
    let (settings, _) = World::new(BASE).run();
    assert_eq!(settings.ensemble.me, ServerId(1));
}

/// QuorumVerifier.toString of ZooKeeper with the same lines.
#[test]
fn the_members_are_printed_as_zookeeper_does() {
    let text = |world: World| ensemble(&world).config_text();
    assert_eq!(
        text(three("")),
        "server.1=127.0.0.1:2888:3888:participant\nserver.2=127.0.0.2:2888:3888:participant\n\
         server.3=127.0.0.3:2888:3888:participant\nversion=0"
    );
    let ports = THREE.replace("127.0.0.2:2888:3888", "127.0.0.2:2888:3888;2182");
    let ports = ports.replace("127.0.0.3:2888:3888", "[::1]:2888:3888:observer;[::]:2181");
    let ports =
        format!("{ports}server.10=b.invalid:1:2|127.0.0.9:3:4\nmultiAddress.enabled=true\n");
    assert_eq!(
        text(of(&format!("{ports}{SECRET}"))),
        "server.1=127.0.0.1:2888:3888:participant\n\
         server.2=127.0.0.2:2888:3888:participant;0.0.0.0:2182\n\
         server.3=[0:0:0:0:0:0:0:1]:2888:3888:observer;[0:0:0:0:0:0:0:0]:2181\n\
         server.10=127.0.0.9:3:4|b.invalid:1:2:participant\nversion=0"
    );
    let by_property = format!("{SECRET}{THREE}server.4=a:1:2|b:1:2\nserver.5=c:1:2\n");
    let by_property = of(&by_property).word("-Dzookeeper.multiAddress.enabled=true");
    assert_eq!(ensemble(&by_property).members[3].addresses.len(), 2);
    assert_eq!(text(World::new(BASE)), "", "standalone");
}

#[test]
fn names_that_do_not_resolve_are_no_mistake() {
    for line in ["server.2", "server.1"] {
        let host = if line == "server.2" {
            "127.0.0.2"
        } else {
            "127.0.0.1"
        };
        let world = of(&format!("{THREE}{SECRET}").replace(host, "no-such-host.invalid"));
        assert_eq!(world.run().1, [""; 0], "{line}");
    }
}

#[test]
fn an_ensemble_of_one() {
    let one = "standaloneEnabled=false\nserver.7=127.0.0.1:2888:3888;127.0.0.1:2182\n";
    let world = World::new(&format!("{BASE}{one}").replace("clientPort=2181\n", ""));
    let (settings, warnings) = world.file("myid", "7").run();
    assert_eq!(warnings, [""; 0], "nobody else is let in");
    assert_eq!(settings.net.client_addr, "127.0.0.1:2182".parse().ok());
    let found = settings.ensemble;
    assert_eq!((found.me, found.standalone), (ServerId(7), false));
    assert_eq!(found.voters(), [ServerId(7)]);
    assert_eq!(
        found.config_text(),
        "server.7=127.0.0.1:2888:3888:participant;127.0.0.1:2182\nversion=0"
    );
    let observed = format!("{one}server.8=127.0.0.1:2889:3889:observer\n{SECRET}");
    let world = World::new(&format!("{BASE}{observed}"));
    let found = ensemble(&world.file("secret", "x").file("myid", "8"));
    assert_eq!(found.role(), PeerType::Observer);
    assert_eq!(
        (found.voters(), found.members.len()),
        (vec![ServerId(7)], 2)
    );
    assert!(
        World::new("dataDir={dir}\nclientPort=1\nstandaloneEnabled=false\n").fail()[0]
            .contains("number of participants should be >0")
    );
}

#[test]
fn every_mistake_of_myid_is_named() {
    let missing = World::new(&format!("{BASE}{THREE}"));
    assert_eq!(
        missing.fail(),
        ["zoo.cfg: myid file is missing: myid must hold this server's number, one of 1, 2, 3"]
    );
    for (text, expected) in [
        ("", "serverid null is not a number: the file is empty"),
        (
            "\n1\n",
            "serverid  is not a number: the first line is empty",
        ),
        (
            " 1",
            "serverid  1 is not a number: there are spaces around it",
        ),
        (
            "1 ",
            "serverid 1  is not a number: there are spaces around it",
        ),
        ("one", "serverid one is not a number"),
        ("-1", "serverid -1 is not a number"),
        (
            "99999999999999999999",
            "serverid 99999999999999999999 is not a number",
        ),
        (
            "\u{feff}1",
            "serverid \u{feff}1 is not a number: the file begins with a byte order mark",
        ),
        ("9", "My id 9 not in the peer list: expected one of 1, 2, 3"),
        (
            "300",
            "My id 300 not in the peer list: expected one of 1, 2, 3",
        ),
    ] {
        let errors = three("").file("myid", text).fail();
        assert_eq!(errors, [format!("myid:1: {expected}")], "{text:?}");
    }
    for text in ["1", "1\n", "1\r\n", "1\r2", "+1", "1\n2\n", "001"] {
        let found = ensemble(&three("").file("myid", text));
        assert_eq!(found.me, ServerId(1), "{text:?}");
    }
}

#[test]
fn ids() {
    let with =
        |id: &str, lines: &str| three(&lines.replace("server.N", &format!("server.{id}"))).fail();
    let line = "server.N=127.0.0.4:1:2\n";
    assert_eq!(
        with("300", line),
        [
            "zoo.cfg:9: server.300: expected a server id of at most 255: ids of sessions have a byte \
             for it"
        ]
    );
    let extended = format!("{line}extendedTypesEnabled=true\n");
    assert!(with("255", &extended)[0].contains("at most 254 while extendedTypesEnabled is true"));
    assert_eq!(
        with("01", line),
        ["zoo.cfg:5: server.1: server.1 is written twice"],
        "the one that was read first is 01"
    );
    let zero = format!("{THREE}{SECRET}").replace("server.1", "server.0");
    let (settings, _) = of(&zero).file("myid", "0").run();
    assert_eq!(settings.ensemble.voters(), [0, 2, 3].map(ServerId));
}

#[test]
fn two_servers_of_one_address_are_refused() {
    let lines = format!("{THREE}{SECRET}").replace("127.0.0.2", "127.0.0.1");
    assert_eq!(
        of(&lines).fail(),
        ["zoo.cfg:6: server.2: 127.0.0.1:2888 is the address of server.1 too"]
    );
    let ports = lines.replace("server.2=127.0.0.1:2888", "server.2=127.0.0.1:2889");
    assert_eq!(ensemble(&of(&ports)).members.len(), 3);
}

#[test]
fn what_an_ensemble_needs_besides() {
    let errors = World::new(&format!("dataDir={{dir}}\nclientPort=1\n{THREE}")).fail();
    assert_eq!(
        errors,
        [
            "zoo.cfg: initLimit is not set",
            "zoo.cfg: myid file is missing: myid must hold this server's number, one of 1, 2, 3",
            "zoo.cfg: syncLimit is not set",
        ]
    );
    let only = |world: World, mistake: &str| {
        let errors = world.fail();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].contains(mistake), "{errors:?}");
    };
    let set = |line: &str| {
        let key = line.split('=').next().unwrap();
        let kept = BASE.lines().filter(|kept| !kept.starts_with(key));
        let kept: String = kept.map(|kept| format!("{kept}\n")).collect();
        World::new(&format!("{kept}{line}\n{THREE}")).file("myid", "1")
    };
    only(set("dataDir="), "zoo.cfg:4: dataDir: dataDir is not set");
    only(set("initLimit=x"), "initLimit: expected");
    only(set("syncLimit="), "syncLimit: expected");
    only(set("syncLimit=0"), "syncLimit is not set");
    only(set("initLimit=-3"), "initLimit is not set");
    only(set("clientPort=x"), "clientPort: expected");
    let nobody = set("clientPort=1");
    let text = format!("{BASE}{THREE}").replace("clientPort=2181\n", "");
    only(nobody.file("zoo.cfg", &text), "no client could connect");
}

#[test]
fn the_client_port_of_the_own_line() {
    let port = |line: &str, world: World| {
        let text = format!("{BASE}{THREE}{SECRET}").replace("127.0.0.1:2888:3888", line);
        world.file("zoo.cfg", &text)
    };
    let agrees = port("127.0.0.1:2888:3888;127.0.0.1:2181", of(""));
    assert_eq!(
        agrees.run().0.net.client_addr,
        "127.0.0.1:2181".parse().ok()
    );
    assert_eq!(
        port("127.0.0.1:2888:3888;2182", of("")).fail(),
        [
            "zoo.cfg:5: server.1: client address for this server (id = 1) in static config file is \
             0.0.0.0:2181 is different from client address found in dynamic file: 0.0.0.0:2182"
        ]
    );
    let other = port("127.0.0.1:2888:3888;2182", of("")).file("myid", "2");
    assert_eq!(other.run().0.net.client_addr, "0.0.0.0:2181".parse().ok());
}

#[test]
fn roles() {
    let observer = three("server.4=127.0.0.4:2888:3888:observer\n").file("myid", "4");
    let (settings, warnings) = observer.run();
    assert_eq!(settings.ensemble.role(), PeerType::Observer);
    assert_eq!(settings.ensemble.voters().len(), 3);
    assert_eq!(warnings, [""; 0]);
    let (settings, warnings) = three("peerType=observer\n").run();
    assert_eq!(settings.ensemble.role(), PeerType::Voter);
    assert_eq!(
        warnings,
        [
            "zoo.cfg:9: peerType: Peer type from servers list (participant) doesn't match peerType \
             (observer). Defaulting to servers list."
        ]
    );
}

#[test]
fn even_quorums_are_warned_of() {
    let text = |lines: &str| of(&format!("{lines}{SECRET}")).run().1.join("\n");
    let two: String = THREE.split_inclusive('\n').take(2).collect();
    assert!(text(&two).contains("No server failure will be tolerated."));
    assert!(text(&format!("{THREE}server.4=d:1:2\n")).contains("consider an odd number"));
}

#[test]
fn timing() {
    let found = ensemble(&three(
        "oxkeeper.heartbeatMs=20\noxkeeper.electionTimeoutMs=40..80\n",
    ));
    assert_eq!(
        (
            found.heartbeat_ms,
            found.election_ms_min,
            found.election_ms_max
        ),
        (20, 40, 80)
    );
    assert_eq!(
        three("oxkeeper.electionTimeoutMs=199..600\n").fail(),
        [
            "zoo.cfg:9: oxkeeper.electionTimeoutMs: expected at least twice oxkeeper.heartbeatMs \
             (100 ms), found 199 ms: one late heartbeat would cost the leader its place"
        ]
    );
    for range in [
        "600",
        "600..300",
        "300..300",
        "a..b",
        "0..10",
        "300..99999",
        "300-600",
    ] {
        let errors = three(&format!("oxkeeper.electionTimeoutMs={range}\n")).fail();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            errors[0].contains("expected two numbers of milliseconds"),
            "{errors:?}"
        );
    }
}

#[test]
fn who_may_be_a_peer() {
    let (_, warnings) = of(THREE).run();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("oxkeeper.peerSecretFile: not set: whoever reaches"));
    let empty = three("").file("secret", " \n");
    assert_eq!(
        empty.fail(),
        ["zoo.cfg:8: oxkeeper.peerSecretFile: secret is empty"]
    );
    let missing = of(&format!("{THREE}oxkeeper.peerSecretFile={{dir}}/nothing\n"));
    assert!(missing.fail()[0].contains("Error processing nothing: No such file"));
    let open = three("");
    let secret = open.dir.path().join("secret");
    std::fs::set_permissions(secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(
        open.run().1,
        ["zoo.cfg:8: oxkeeper.peerSecretFile: secret can be read or changed by others (mode 644)"]
    );
    let tls = three("sslQuorum=true\n").fail();
    assert!(
        tls[0].contains("TLS between servers is not built yet"),
        "{tls:?}"
    );
}

#[test]
fn what_raft_cannot_do_is_refused_with_what_can() {
    let errors = three(
        "group.1=1:2\ngroup.2=3\noraclePath=/x\nquorum.auth.enableSasl=true\nelectionAlg=0\n",
    )
    .fail();
    for (key, help) in [
        ("group.1", "use an odd number of voters"),
        ("oraclePath", "use three voters"),
        ("quorum.auth.enableSasl", "peerSecretFile"),
        ("electionAlg", "Only 3 is supported"),
    ] {
        let found = errors.iter().find(|error| error.contains(key));
        assert!(
            found.is_some_and(|error| error.contains(help)),
            "{key}: {errors:#?}"
        );
    }
    let plain = three("group.1=1:2:3\nweight.1=1\nweight.2=1\nweight.3=1\n")
        .run()
        .1;
    assert_eq!(plain.len(), 1, "{plain:?}");
}

#[test]
fn the_dynamic_file_of_an_ensemble() {
    let zoo = format!("{BASE}{SECRET}dynamicConfigFile={{dir}}/zoo.cfg.dynamic.10000000f\n");
    let text = "server.1=127.0.0.1:2888:3888:participant;2181\nserver.2=127.0.0.2:2888:3888\n\
                server.3=127.0.0.3:2888:3888";
    let world = of("")
        .file("zoo.cfg", &zoo)
        .file("zoo.cfg.dynamic.10000000f", text);
    let found = ensemble(&world);
    assert_eq!(found.version, 0x1_0000_000f);
    assert!(
        found
            .config_text()
            .ends_with("server.3=127.0.0.3:2888:3888:participant\nversion=10000000f")
    );
    // The files are read only: ZooKeeper would write both of them.
    assert_eq!(
        std::fs::read_to_string(world.dir.path().join("zoo.cfg")).unwrap(),
        world.fill(&zoo)
    );
}

#[test]
fn files_are_written_where_members_change_by_requests() {
    let world = three("reconfigEnabled=true\n");
    let (settings, warnings) = world.run();
    assert_eq!(warnings, Vec::<String>::new());
    let zoo = world.dir.path().join("zoo.cfg");
    assert_eq!(settings.ensemble.files, Some(MemberFiles::beside(&zoo)));
    let rules = settings.state;
    assert!(rules.reconfig_enabled && rules.in_ensemble && rules.two_voters_min);
    let (settings, _) = three("standaloneEnabled=false\n").run();
    assert_eq!(settings.ensemble.files, None);
    let rules = settings.state;
    assert!(!rules.reconfig_enabled && rules.in_ensemble && !rules.two_voters_min);
}

#[test]
fn all_mistakes_of_an_ensemble_at_once() {
    let errors = World::new(
        "dataDir={dir}\nserver.1=a:1:1\nserver.2=b\nserver.3=c:1:2:king\nserver.4=d:1:2\n\
         server.5=e:1:2\ninitLimit=x\noxkeeper.heartbeatMs=1\n",
    )
    .fail();
    let begins: Vec<&str> = errors
        .iter()
        .map(|error| error.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        begins,
        [
            "zoo.cfg",
            "zoo.cfg",
            "zoo.cfg",
            "zoo.cfg:2",
            "zoo.cfg:3",
            "zoo.cfg:4",
            "zoo.cfg:7",
            "zoo.cfg:8",
        ],
        "{errors:#?}"
    );
}
