//! Values come back as they were, and no bytes are trusted.

use proptest::prelude::*;

use super::*;

fn znodes() -> impl Strategy<Value = Znode> {
    let numbers = (
        any::<i64>(),
        any::<i64>(),
        any::<i64>(),
        any::<i64>(),
        any::<i64>(),
    );
    let counts = (
        any::<i32>(),
        any::<i32>(),
        any::<i32>(),
        any::<u64>(),
        any::<u32>(),
    );
    let owner = prop_oneof![Just(0), Just(i64::MIN), any::<i64>()];
    let data = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..50));
    (numbers, counts, owner, data).prop_map(|(numbers, counts, owner, data)| Znode {
        czxid: Zxid(numbers.0),
        mzxid: Zxid(numbers.1),
        pzxid: Zxid(numbers.2),
        ctime_ms: numbers.3,
        mtime_ms: numbers.4,
        version: counts.0,
        creations: counts.1,
        aversion: counts.2,
        owner: Owner(owner),
        acl: AclId(counts.3),
        children: counts.4,
        data: data.map(Arc::from),
    })
}

proptest! {
    #[test]
    fn znodes_come_back(node in znodes()) {
        let mut value = Vec::new();
        put_znode(&node, &mut value);
        prop_assert_eq!(read_znode(&value), Ok(node));
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let with = |version| [&[version as u8], &bytes[..]].concat();
        for bytes in [&bytes, &with(Version::V1), &with(Version::V2)] {
            drop((read_znode(bytes), read_meta(bytes), read_session(bytes), read_acl(bytes)));
        }
    }
}

#[test]
fn a_small_znode_is_short() {
    let node = Znode {
        czxid: Zxid(1 << 32 | 7),
        mzxid: Zxid(1 << 32 | 7),
        pzxid: Zxid(1 << 32 | 7),
        ctime_ms: 1_795_000_000_000,
        mtime_ms: 1_795_000_000_000,
        data: Some(Arc::from([0; 100])),
        ..Znode::default()
    };
    let mut value = Vec::new();
    put_znode(&node, &mut value);
    assert_eq!(value.len(), 121);
}

#[test]
fn a_null_buffer_is_not_an_empty_one() {
    for data in [None, Some(Arc::from([]))] {
        let node = Znode {
            data,
            ..Znode::default()
        };
        let mut value = Vec::new();
        put_znode(&node, &mut value);
        assert_eq!(read_znode(&value), Ok(node));
    }
}

#[test]
fn another_version_is_refused() {
    for version in [0, 2, 255] {
        let refused = read_znode(&[version, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(refused.map_err(|why| why.field), Err("version"));
    }
}

fn timeline() -> Timeline {
    Timeline {
        stamp_ms: 5,
        age_ms: -6,
        anchor: Some(Anchor {
            term: 7,
            reading: Reading {
                wall_ms: -8,
                steady_ms: u64::MAX,
            },
        }),
        settings: vec![Setting {
            from: Zxid(9),
            ahead_ms: i64::MIN,
        }],
    }
}

fn lineups() -> Lineups {
    let lines = "server.1=a:1:2:participant;0.0.0.0:3\nserver.255=b:1:2|c:1:2:observer\n";
    let members = read_lines(lines).unwrap();
    let pending = PendingLineup {
        change: Zxid(1 << 40),
        origin: Origin {
            server: ServerId(3),
            incarnation: u64::MAX,
        },
        sequence: 77,
        members: read_lines("server.7=d:1:2\n").unwrap(),
    };
    Lineups {
        current: Some(Arc::new(Lineup {
            members,
            version: Zxid(-1),
        })),
        pending: Some(Arc::new(pending)),
    }
}

#[test]
fn members_come_back_whichever_there_are() {
    let Lineups { current, pending } = lineups();
    for (current, pending, version) in [
        (None, None, Version::V2),
        (current.clone(), None, Version::V3),
        (None, pending.clone(), Version::V3),
        (current, pending, Version::V3),
    ] {
        let meta = Meta {
            lineups: Lineups { current, pending },
            ..Meta::default()
        };
        let mut value = Vec::new();
        put_meta(&meta, &mut value);
        assert_eq!(value.first(), Some(&(version as u8)));
        assert_eq!(read_meta(&value), Ok(meta));
    }
}

#[test]
fn cut_values_are_refused() {
    let mut meta_value = Vec::new();
    let meta = Meta {
        applied: Some(LogPosition { term: 1, index: 2 }),
        membership: Some(Bytes::from_static(b"members")),
        cluster: Some(ClusterId([0xc1; 16])),
        timeline: timeline(),
        lineups: lineups(),
        ..Meta::default()
    };
    put_meta(&meta, &mut meta_value);
    assert_eq!(read_meta(&meta_value), Ok(meta));
    for end in 0..meta_value.len() {
        assert!(read_meta(&meta_value[..end]).is_err(), "{end}");
    }
}

#[test]
fn a_session_comes_back_whole_or_not_at_all() {
    let record = SessionRecord {
        timeout_ms: i32::MIN,
        password: [3; 16],
        migrated: true,
        owner: SessionOwner {
            origin: Origin {
                server: ServerId(u64::MAX),
                incarnation: 1 << 63,
            },
            connection: 300,
        },
    };
    let value = session(&record);
    assert_eq!(read_session(&value), Ok(record));
    for end in 0..value.len() {
        assert!(read_session(&value[..end]).is_err(), "{end}");
    }
    let before = [&[Version::V1 as u8], &value[1..]].concat();
    assert_eq!(
        read_session(&before).map_err(|why| why.field),
        Err("version")
    );
}
