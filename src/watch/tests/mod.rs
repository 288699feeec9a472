//! Tests of the watch table: tables after the reference, golden scripts, a naive model,
//! and a record of what ZooKeeper did.

mod model;
mod scripts;
mod zookeeper;

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

/// One watcher with one registration on `/a/b`, one event: what it is told, and whether the watch is
/// there afterwards.
fn check_told(registration: Registration, event: &Event, expected: &[&str], stays: bool) {
    let mut table = WatchTable::new();
    table.add("/a/b", WatcherId(1), registration);
    assert_eq!(
        told(&mut table, event),
        expected,
        "{registration:?} {event:?}"
    );
    let there = table.contains("/a/b", WatcherId(1), RemoveKind::Any);
    assert_eq!(there, stays, "{registration:?} {event:?}");
    let once_more = if stays { expected } else { &[] };
    assert_eq!(
        told(&mut table, event),
        once_more,
        "again {registration:?} {event:?}"
    );
}

/// protocol 9.1 and 9.3: events of the watched node itself.
#[test]
fn what_each_registration_is_told_of_its_node() {
    use Registration::{Child, Data, Persistent, PersistentRecursive};
    let (created, deleted) = (created("/a/b"), deleted("/a/b"));
    let changed = data_changed("/a/b");
    check_told(Data, &created, &["1 Created /a/b node"], false);
    check_told(Data, &deleted, &["1 Deleted /a/b node"], false);
    check_told(Data, &changed, &["1 DataChanged /a/b node"], false);
    check_told(Child, &created, &[], true);
    check_told(Child, &deleted, &["1 Deleted /a/b node"], false);
    check_told(Child, &changed, &[], true);
    for lasting in [Persistent, PersistentRecursive] {
        check_told(lasting, &created, &["1 Created /a/b node"], true);
        check_told(lasting, &deleted, &["1 Deleted /a/b node"], true);
        check_told(lasting, &changed, &["1 DataChanged /a/b node"], true);
    }
}

/// protocol 9.1 and 9.3: events of other nodes.
#[test]
fn what_each_registration_is_told_of_others() {
    use Registration::{Child, Data, Persistent, PersistentRecursive};
    let list = ["1 ChildrenChanged /a/b parent"];
    let (created_below, deleted_below) = (created("/a/b/c"), deleted("/a/b/c"));
    check_told(Data, &created_below, &[], true);
    check_told(Data, &deleted_below, &[], true);
    check_told(Child, &created_below, &list, false);
    check_told(Child, &deleted_below, &list, false);
    check_told(Persistent, &created_below, &list, true);
    check_told(Persistent, &deleted_below, &list, true);
    check_told(
        PersistentRecursive,
        &created_below,
        &["1 Created /a/b/c node"],
        true,
    );
    check_told(
        PersistentRecursive,
        &deleted_below,
        &["1 Deleted /a/b/c node"],
        true,
    );
    let deep = ["1 DataChanged /a/b/c/d node"];
    check_told(PersistentRecursive, &data_changed("/a/b/c/d"), &deep, true);
    for registration in REGISTRATIONS {
        for event in ["/a", "/a/bc", "/", "/b/a"].map(data_changed) {
            check_told(registration, &event, &[], true);
        }
        check_told(registration, &created("/a"), &[], true);
        check_told(registration, &deleted("/a"), &[], true);
        check_told(registration, &created("/a/bc"), &[], true);
        if registration != PersistentRecursive {
            check_told(registration, &data_changed("/a/b/c"), &[], true);
            check_told(registration, &created("/a/b/c/d"), &[], true);
        }
    }
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

/// Enough paths that all tables of the index grow and shrink.
#[test]
fn many_paths_come_and_go() {
    let path = |number: u64| format!("/many/{number:010}");
    let mut table = WatchTable::new();
    for number in 0..20_000 {
        table.add(&*path(number), WatcherId(number % 7), Registration::Data);
    }
    assert_eq!(
        table.summary(),
        Summary {
            connections: 7,
            paths: 20_000,
            watches: 20_000
        }
    );
    for number in (0..20_000).filter(|number| number % 100 != 0) {
        let expected = [format!("{} Created {} node", number % 7, path(number))];
        assert_eq!(told(&mut table, &created(&path(number))), expected);
    }
    assert_eq!((table.watch_count(), table.paths.len()), (200, 200));
    for number in (0..20_000).step_by(100) {
        assert!(
            table.remove(&*path(number), WatcherId(number % 7), RemoveKind::Data),
            "{number}"
        );
    }
    assert_eq!((table.watch_count(), table.paths.len()), (0, 0));
}

/// Between the parts the table serves others, also with what the ended one has left.
#[test]
fn a_watcher_is_dropped_in_parts() {
    let path = |number: u64| format!("/many/{number:04}");
    let mut table = WatchTable::new();
    for number in 0..1000 {
        table.add(&*path(number), WatcherId(1), Registration::Data);
    }
    table.add(&*path(0), WatcherId(2), Registration::Data);
    let mut parts = 0;
    while table.drop_watcher_part(WatcherId(1), 300) {
        parts += 1;
        assert_eq!(table.watch_count(), 1001 - 300 * parts);
    }
    assert_eq!((parts, table.watch_count()), (3, 1));
    assert!(!table.drop_watcher_part(WatcherId(1), 300));
    let expected = [format!("2 Created {} node", path(0))];
    assert_eq!(told(&mut table, &created(&path(0))), expected);

    table.add("/once", WatcherId(3), Registration::Data);
    table.add("/twice", WatcherId(3), Registration::Data);
    assert!(table.drop_watcher_part(WatcherId(3), 1));
    let fired =
        told(&mut table, &created("/once")).len() + told(&mut table, &created("/twice")).len();
    assert_eq!(fired, 1, "what is left fires still");
    assert!(!table.drop_watcher_part(WatcherId(3), 1));
    assert_eq!((table.watch_count(), table.paths.len()), (0, 0));
}

/// A null path is one of its own, whatever it is shown as.
#[test]
fn a_null_path_is_watched_and_counted_and_nothing_happens_to_it() {
    let mut table = WatchTable::new();
    for id in [1, 2] {
        table.add(None, WatcherId(id), Registration::PersistentRecursive);
    }
    table.add("null", WatcherId(1), Registration::Data);
    // A recursive one is in one table.
    assert_eq!(table.watch_count(), 3);
    assert_eq!(table.paths.len(), 2);
    let listed: Vec<_> = table.by_path().collect();
    let watchers = |ids: &[u64]| ids.iter().map(|id| WatcherId(*id)).collect::<Vec<_>>();
    assert!(listed.contains(&("null", watchers(&[1, 2]))), "{listed:?}");
    assert!(listed.contains(&("null", watchers(&[1]))), "{listed:?}");
    for event in [created("null"), deleted("/a"), data_changed("/")] {
        let told = told(&mut table, &event);
        assert!(told.len() <= usize::from(event == created("null")));
    }
    assert!(!table.contains("null", WatcherId(1), RemoveKind::Any));
    assert!(table.remove(None, WatcherId(1), RemoveKind::PersistentRecursive));
    assert!(!table.remove(None, WatcherId(1), RemoveKind::Any));
    assert!(table.contains(None, WatcherId(2), RemoveKind::Any));
    table.drop_watcher(WatcherId(2));
    assert!(!table.contains(None, WatcherId(2), RemoveKind::Any));
    assert_eq!((table.watch_count(), table.paths.len()), (0, 0));
}
