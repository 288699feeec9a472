//! Server lines, alone and in a file of their own, as far as a standalone server has them.

use super::*;

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
