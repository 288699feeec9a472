//! `/zookeeper/config` as each server shows it, and as nobody judges it.

use bytes::Bytes;
use jute::{
    GetAcl, GetChildren2, GetData, MultiRead, MultiReadOp, MultiResult, OpCode, Request, Response,
    SetAcl, SetData, Stat, Text,
};

use super::world::{World, acls, client, identity, localhost};
use crate::state::{Action, Identities, LocalConfig, Rules, SessionId, Zxid, read_lines};

const SESSION: SessionId = SessionId(1);
const LINES: &str = "server.1=a:1:2:participant;0.0.0.0:2181\nversion=0";

fn config() -> Option<Text> {
    Some(Text::from("/zookeeper/config"))
}

fn world() -> World {
    let mut world = World::new(Rules::default());
    let open = Action::OpenSession {
        connection: 0,
        timeout_ms: 4000,
        password: [1; 16],
    };
    let proposals = vec![world.proposal(SESSION, &localhost(), open)];
    world.apply(proposals);
    world
}

fn showing(text: &str) -> World {
    let world = world();
    world.replica.show_config(LocalConfig::new(text, 0, 77));
    world
}

fn answer(world: &World, request: &Request) -> Response {
    let body = world.read(request, SESSION, &localhost()).unwrap();
    Response::decode(request.op(), body).unwrap()
}

fn data(world: &World) -> (Bytes, Stat) {
    let request = Request::GetData(GetData {
        path: config(),
        watch: false,
    });
    let Response::GetData(found) = answer(world, &request) else {
        panic!("getData");
    };
    (found.data.unwrap(), found.stat)
}

/// As somebody whom no ACL stops.
fn write(world: &mut World, request: &Request) {
    let identities: Identities = [identity("super:")].into();
    let proposals = vec![world.proposal(SESSION, &identities, client(request))];
    world.apply(proposals);
}

fn set(world: &mut World, text: &'static str) {
    let request = Request::SetData(SetData {
        path: config(),
        data: Some(Bytes::from_static(text.as_bytes())),
        version: -1,
    });
    write(world, &request);
}

/// What a follower of 3.9.5 answers without reconfig.
fn local_stat() -> Stat {
    Stat {
        mtime: 77,
        version: -1,
        aversion: -1,
        data_length: i32::try_from(LINES.len()).unwrap(),
        ..Stat::default()
    }
}

#[test]
fn a_standalone_server_shows_nothing() {
    let (text, stat) = data(&world());
    assert_eq!((&*text, stat.version, stat.mtime), (&b""[..], 0, 0));
}

#[test]
fn every_read_shows_the_lines_of_this_server() {
    let world = showing(LINES);
    assert_eq!(
        data(&world),
        (Bytes::from_static(LINES.as_bytes()), local_stat())
    );
    let exists = Request::decode(OpCode::EXISTS, {
        let mut body = bytes::BytesMut::new();
        let get = Request::GetData(GetData {
            path: config(),
            watch: false,
        });
        get.encode_body(&mut body);
        body.freeze()
    });
    let Response::Stat(found) = answer(&world, &exists.unwrap()) else {
        panic!("exists");
    };
    assert_eq!(found.stat, local_stat());
    let Response::GetAcl(found) = answer(&world, &Request::GetAcl(GetAcl { path: config() }))
    else {
        panic!("getACL");
    };
    assert_eq!(found.stat, local_stat());
    assert_eq!(found.acl, Some(acls("world:anyone:1")));
    let children = Request::GetChildren2(GetChildren2 {
        path: config(),
        watch: false,
    });
    let Response::GetChildren2(found) = answer(&world, &children) else {
        panic!("getChildren2");
    };
    assert_eq!(found.stat, local_stat());
    let get = GetData {
        path: config(),
        watch: false,
    };
    let multi = Request::MultiRead(MultiRead {
        ops: vec![MultiReadOp::GetData(get)],
    });
    let Response::Multi(found) = answer(&world, &multi) else {
        panic!("multiRead");
    };
    let [MultiResult::GetData { data: text, stat }] = &found.results[..] else {
        panic!("{found:?}");
    };
    assert_eq!(
        (text.as_deref(), *stat),
        (Some(LINES.as_bytes()), local_stat())
    );
}

#[test]
fn the_version_of_the_list_is_the_txn_that_is_shown() {
    let world = world();
    let local = LocalConfig::new("version=10000000f", 0x1_0000_000f, 77);
    world.replica.show_config(local);
    assert_eq!(data(&world).1.mzxid, 0x1_0000_000f);
}

#[test]
fn what_is_written_wins_on_every_server_and_for_good() {
    let mut world = showing(LINES);
    set(&mut world, "hello");
    let (text, stat) = data(&world);
    assert_eq!((&*text, stat.data_length), (&b"hello"[..], 5));
    assert_ne!(Zxid(stat.mzxid), Zxid::default());
    let world = world.restarted();
    world.replica.show_config(LocalConfig::new(LINES, 0, 78));
    assert_eq!(data(&world), (text, stat));
}

/// A server that is told not to take changes by requests any more shows its own lines again.
#[test]
fn what_requests_made_of_the_members_is_outdated_without_requests() {
    let members = read_lines("server.7=a:1:2:participant;0.0.0.0:3\n").unwrap();
    let mut world = showing(LINES);
    let term = world.position.term;
    let action = Action::LineUp { term, members };
    let identities = localhost();
    let proposals = vec![world.proposal(SessionId::NONE, &identities, action)];
    assert_eq!(world.apply(proposals).len(), 1);
    assert_eq!(data(&world).0, LINES.as_bytes());
    set(&mut world, "hello");
    assert_eq!(&*data(&world).0, b"hello", "somebody's own words are not");
}

#[test]
fn another_acl_changes_nothing_of_what_is_shown() {
    let mut world = showing(LINES);
    let request = Request::SetAcl(SetAcl {
        path: config(),
        acl: Some(acls("world:anyone:31")),
        version: -1,
    });
    write(&mut world, &request);
    let (text, stat) = data(&world);
    let expected = Stat {
        aversion: 0,
        ..local_stat()
    };
    assert_eq!((&*text, stat), (LINES.as_bytes(), expected));
}

/// I1: what a server shows of its own is no part of the state.
#[test]
fn servers_with_other_lines_have_the_same_tree() {
    let mut worlds = [world(), showing(LINES), showing("server.1=b:1:2")];
    for world in &mut worlds {
        let (before, _) = world.disk();
        let shown = world.replica.read().data_bytes_shown();
        let own = world.replica.read().meta().data_bytes;
        assert_eq!(shown - own, data(world).0.len() as u64, "all of it counts");
        set(world, "hello");
        assert_ne!(world.disk().0, before);
        assert_eq!(
            world.replica.read().data_bytes_shown(),
            world.replica.read().meta().data_bytes
        );
    }
    let [alone, one, other] = worlds.map(|world| world.disk());
    assert!(alone == one && one == other);
}
