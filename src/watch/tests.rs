//! Tests of the watch table: tables after the reference, golden scripts, and a naive model.

mod model;
mod scripts;

use std::sync::Arc;

use jute::{Acl, Id};

use super::*;
use crate::state::Event;

/// Notices of an event as `watcher kind path`, the ACL by which each is filtered as `node` or
/// `parent`.
fn told(table: &mut WatchTable, event: &Event) -> Vec<String> {
    let mut told = Vec::new();
    table.trigger(event, &mut |notice| {
        let acl = if notice.filter_acl == &*acl("node") {
            "node"
        } else {
            "parent"
        };
        let Notice {
            watcher,
            kind,
            path,
            ..
        } = notice;
        told.push(format!("{} {kind:?} {path} {acl}", watcher.0));
    });
    told
}

fn acl(name: &str) -> Arc<[Acl]> {
    let id = Id {
        scheme: Some(name.into()),
        id: None,
    };
    [Acl { perms: 1, id }].into()
}

fn created(path: &str) -> Event {
    Event::Created {
        path: path.into(),
        acl: acl("node"),
        parent_acl: acl("parent"),
    }
}

fn deleted(path: &str) -> Event {
    Event::Deleted {
        path: path.into(),
        acl: acl("node"),
        parent_acl: acl("parent"),
    }
}

fn data_changed(path: &str) -> Event {
    Event::DataChanged {
        path: path.into(),
        acl: acl("node"),
    }
}

const REGISTRATIONS: [Registration; 4] = [
    Registration::Data,
    Registration::Child,
    Registration::Persistent,
    Registration::PersistentRecursive,
];

const KINDS: [RemoveKind; 5] = [
    RemoveKind::Children,
    RemoveKind::Data,
    RemoveKind::Any,
    RemoveKind::Persistent,
    RemoveKind::PersistentRecursive,
];

/// protocol 9.1 and 9.3: one watcher with one registration on `/a/b`, one event; what it is told,
/// and whether the watch is there afterwards.
#[test]
fn what_each_registration_is_told() {
    use Registration::{Child, Data, Persistent, PersistentRecursive};
    let check = |registration, event: Event, expected: &[&str], stays: bool| {
        let mut table = WatchTable::new();
        table.add("/a/b", WatcherId(1), registration);
        assert_eq!(
            told(&mut table, &event),
            expected,
            "{registration:?} {event:?}"
        );
        let there = table.contains("/a/b", WatcherId(1), RemoveKind::Any);
        assert_eq!(there, stays, "{registration:?} {event:?}");
        if stays {
            assert_eq!(
                told(&mut table, &event),
                expected,
                "once more {registration:?} {event:?}"
            );
        } else {
            assert_eq!(table.watch_count(), 0);
        }
    };
    let here = [
        "1 Created /a/b node",
        "1 Deleted /a/b node",
        "1 DataChanged /a/b node",
    ];
    check(Data, created("/a/b"), &here[0..1], false);
    check(Data, deleted("/a/b"), &here[1..2], false);
    check(Data, data_changed("/a/b"), &here[2..3], false);
    check(Child, created("/a/b"), &[], true);
    check(Child, deleted("/a/b"), &here[1..2], false);
    check(Child, data_changed("/a/b"), &[], true);
    for lasting in [Persistent, PersistentRecursive] {
        check(lasting, created("/a/b"), &here[0..1], true);
        check(lasting, deleted("/a/b"), &here[1..2], true);
        check(lasting, data_changed("/a/b"), &here[2..3], true);
    }

    let list = ["1 ChildrenChanged /a/b parent"];
    check(Data, created("/a/b/c"), &[], true);
    check(Data, deleted("/a/b/c"), &[], true);
    check(Child, created("/a/b/c"), &list, false);
    check(Child, deleted("/a/b/c"), &list, false);
    check(Persistent, created("/a/b/c"), &list, true);
    check(Persistent, deleted("/a/b/c"), &list, true);
    check(
        PersistentRecursive,
        created("/a/b/c"),
        &["1 Created /a/b/c node"],
        true,
    );
    check(
        PersistentRecursive,
        deleted("/a/b/c"),
        &["1 Deleted /a/b/c node"],
        true,
    );
    for once in [Data, Child, Persistent] {
        check(once, data_changed("/a/b/c"), &[], true);
        check(once, created("/a/b/c/d"), &[], true);
        check(once, created("/a"), &[], true);
        check(once, deleted("/a"), &[], true);
        check(once, created("/a/bc"), &[], true);
    }
    check(
        PersistentRecursive,
        data_changed("/a/b/c/d"),
        &["1 DataChanged /a/b/c/d node"],
        true,
    );
    check(PersistentRecursive, data_changed("/a"), &[], true);
    check(PersistentRecursive, data_changed("/a/bc"), &[], true);
}

#[test]
fn the_root_is_an_ancestor_and_a_parent() {
    let check = |registration, event: Event, expected: &[&str]| {
        let mut table = WatchTable::new();
        table.add("/", WatcherId(1), registration);
        assert_eq!(
            told(&mut table, &event),
            expected,
            "{registration:?} {event:?}"
        );
    };
    let list = ["1 ChildrenChanged / parent"];
    check(Registration::Child, created("/a"), &list);
    check(Registration::Child, created("/a/b"), &[]);
    check(Registration::Persistent, deleted("/a"), &list);
    check(
        Registration::PersistentRecursive,
        created("/a"),
        &["1 Created /a node"],
    );
    check(
        Registration::PersistentRecursive,
        deleted("/a/b"),
        &["1 Deleted /a/b node"],
    );
    check(
        Registration::PersistentRecursive,
        data_changed("/"),
        &["1 DataChanged / node"],
    );
    check(
        Registration::Data,
        data_changed("/"),
        &["1 DataChanged / node"],
    );
}

#[test]
fn a_watcher_is_told_once_per_trigger() {
    let mut table = WatchTable::new();
    for path in ["/", "/a", "/a/b"] {
        for registration in REGISTRATIONS {
            table.add(path, WatcherId(1), registration);
            table.add(path, WatcherId(1), registration);
        }
    }
    assert_eq!(
        told(&mut table, &deleted("/a/b")),
        ["1 Deleted /a/b node", "1 ChildrenChanged /a parent"],
    );
    assert!(!table.contains("/a/b", WatcherId(1), RemoveKind::Data));
    assert!(!table.contains("/a/b", WatcherId(1), RemoveKind::Children));
    assert!(table.contains("/a/b", WatcherId(1), RemoveKind::Persistent));
    assert!(table.contains("/a", WatcherId(1), RemoveKind::Data));
    assert!(!table.contains("/a", WatcherId(1), RemoveKind::Children));
}

/// protocol 9.7: what each kind looks at and removes, given every single registration.
#[test]
fn what_each_kind_of_removal_removes() {
    let expected = |registration, kind| match registration {
        Registration::Data => matches!(kind, RemoveKind::Data | RemoveKind::Any),
        Registration::Child => matches!(kind, RemoveKind::Children | RemoveKind::Any),
        Registration::Persistent => matches!(kind, RemoveKind::Persistent | RemoveKind::Any),
        Registration::PersistentRecursive => {
            matches!(kind, RemoveKind::PersistentRecursive | RemoveKind::Any)
        }
    };
    for registration in REGISTRATIONS {
        for kind in KINDS {
            let mut table = WatchTable::new();
            table.add("/a", WatcherId(1), registration);
            let found = expected(registration, kind);
            let label = format!("{registration:?} {kind:?}");
            assert_eq!(table.contains("/a", WatcherId(1), kind), found, "{label}");
            assert!(!table.contains("/a", WatcherId(2), kind), "{label}");
            assert!(!table.contains("/b", WatcherId(1), kind), "{label}");
            assert!(!table.remove("/a", WatcherId(2), kind), "{label}");
            assert!(!table.remove("/b", WatcherId(1), kind), "{label}");
            assert_eq!(table.remove("/a", WatcherId(1), kind), found, "{label}");
            assert!(!table.remove("/a", WatcherId(1), kind), "{label}");
            assert_eq!(table.watch_count() == 0, found, "{label}");
        }
    }
}

#[test]
fn modes_of_one_key_are_removed_one_by_one() {
    for kind in KINDS {
        let mut table = WatchTable::new();
        for registration in REGISTRATIONS {
            table.add("/a", WatcherId(1), registration);
        }
        assert!(table.remove("/a", WatcherId(1), kind));
        for other in KINDS {
            let gone = other == kind || kind == RemoveKind::Any;
            assert_eq!(
                table.contains("/a", WatcherId(1), other),
                !gone,
                "{kind:?} {other:?}"
            );
        }
    }
}

#[test]
fn counts_are_those_of_both_tables() {
    let check = |registrations: &[Registration], count, watches| {
        let mut table = WatchTable::new();
        for registration in registrations {
            table.add("/a", WatcherId(1), *registration);
        }
        assert_eq!(table.watch_count(), count, "{registrations:?}");
        let connections = usize::from(watches > 0);
        let summary = Summary {
            connections,
            paths: connections,
            watches,
        };
        assert_eq!(table.summary(), summary, "{registrations:?}");
    };
    let [data, child, persistent, recursive] = REGISTRATIONS;
    check(&[], 0, 0);
    check(&[data], 1, 1);
    check(&[child], 1, 0);
    check(&[persistent], 2, 1);
    check(&[recursive], 1, 1);
    check(&[data, child], 2, 1);
    check(&[data, persistent], 2, 1);
    check(&REGISTRATIONS, 2, 1);
}

#[test]
fn codes_of_the_wire() {
    let kinds: Vec<_> = (0..7).map(|code| RemoveKind::try_from(code).ok()).collect();
    let [children, data, any, persistent, recursive] = KINDS.map(Some);
    assert_eq!(
        kinds,
        [None, children, data, any, persistent, recursive, None]
    );
    assert_eq!(RemoveKind::try_from(-1), Err(UnknownCode(-1)));
    assert_eq!(Registration::of_add_watch(0), Ok(Registration::Persistent));
    assert_eq!(
        Registration::of_add_watch(1),
        Ok(Registration::PersistentRecursive)
    );
    assert_eq!(Registration::of_add_watch(2), Err(UnknownCode(2)));
    use NoticeKind::{ChildrenChanged, Created, DataChanged, Deleted};
    let types = [Created, Deleted, DataChanged, ChildrenChanged].map(NoticeKind::wire_type);
    assert_eq!(types, [1, 2, 3, 4]);
}

/// Paths that no node can have are accepted, kept apart, and never told anything.
#[test]
fn odd_paths_are_mere_keys() {
    let odd = ["", "a", "//", "/a/", "/a//b", "/a/../b", "/\u{0}", "é"];
    let mut table = WatchTable::new();
    for path in odd {
        for registration in REGISTRATIONS {
            table.add(path, WatcherId(1), registration);
        }
    }
    assert_eq!(table.summary().paths, odd.len());
    assert_eq!(told(&mut table, &created("/a/b")), [""; 0]);
    assert_eq!(told(&mut table, &deleted("/b")), [""; 0]);
    for path in odd {
        assert!(
            table.remove(path, WatcherId(1), RemoveKind::Any),
            "{path:?}"
        );
    }
    assert_eq!(table.watch_count(), 0);
    for path in odd {
        told(&mut table, &deleted(path));
    }
}

/// A thousand watchers of one path, two of its ancestors and one bystander; then connections end.
#[test]
fn many_watchers_of_one_path() {
    let mut table = WatchTable::new();
    for id in (0..1000).rev() {
        let registration = REGISTRATIONS[usize::try_from(id % 4).unwrap()];
        table.add("/hot", WatcherId(id), registration);
    }
    table.add("/", WatcherId(7), Registration::PersistentRecursive);
    table.add("/", WatcherId(5000), Registration::PersistentRecursive);
    table.add("/cold", WatcherId(6000), Registration::Data);

    assert_eq!(
        told(&mut table, &data_changed("/hot")).len(),
        250 + 250 + 250 + 1
    );
    assert_eq!(told(&mut table, &data_changed("/hot")).len(), 250 + 250 + 1);
    for id in 0..500 {
        table.drop_watcher(WatcherId(id));
        table.drop_watcher(WatcherId(id));
    }
    assert_eq!(
        told(&mut table, &deleted("/hot")).len(),
        125 + 125 + 125 + 1
    );
    assert_eq!(told(&mut table, &deleted("/hot")).len(), 125 + 125 + 1);
    for id in 500..1000 {
        assert!(id % 4 < 2 || table.remove("/hot", WatcherId(id), RemoveKind::Any));
    }
    assert_eq!(
        table.summary(),
        Summary {
            connections: 2,
            paths: 2,
            watches: 2
        }
    );
    assert_eq!(table.paths.len(), 2);
}
