//! The checker must see each kind of loss: a history and a tree made by hand, right at first, then
//! spoiled in one place.

use super::check::Checker;
use super::dump::{Dump, Found};
use super::history::{Entry, Op, Outcome, Reply, Stat};
use super::model::{COUNTERS, SHARED};

const SESSION: i64 = 77;

fn znode(dump: &mut Dump, path: &str, data: &str, zxid: i64) {
    let stat = Stat {
        czxid: zxid,
        mzxid: zxid,
        version: 0,
        cversion: 0,
        owner: 0,
        children: 0,
        pzxid: zxid,
    };
    let data = data.to_owned();
    dump.nodes.insert(path.to_owned(), Found { data, stat });
}

/// The roots, made by zxids 1 to 5.
fn roots() -> Dump {
    let mut dump = Dump {
        zxid: 9,
        ..Dump::default()
    };
    let counter = format!("{COUNTERS}/0");
    for (index, path) in ["/chaos/p0", "/chaos/p0/q", SHARED, COUNTERS, &counter]
        .into_iter()
        .enumerate()
    {
        znode(&mut dump, path, "", index as i64 + 1);
    }
    let root = dump.nodes.get_mut("/chaos/p0").unwrap();
    (root.stat.cversion, root.stat.children, root.stat.pzxid) = (1, 1, 2);
    dump
}

fn create(path: &str, data: &str, flags: i32) -> Op {
    Op::Create {
        path: path.into(),
        data: data.into(),
        flags,
    }
}

fn set(path: &str, data: &str, version: i32) -> Op {
    Op::Set {
        path: path.into(),
        data: data.into(),
        version,
    }
}

fn answered(op: Op, zxid: i64, outcome: Outcome) -> Entry {
    Entry {
        session: SESSION,
        op,
        reply: Some(Reply { zxid, outcome }),
    }
}

fn open(op: Op) -> Entry {
    Entry {
        session: SESSION,
        op,
        reply: None,
    }
}

/// An ephemeral, a sequential znode, a counter; then an unanswered multi that was done.
fn history() -> Vec<Entry> {
    let multi = Op::Multi(vec![
        create("/chaos/p0/k1", "w0:4", 0),
        set("/chaos/p0/k0", "w0:5", 0),
    ]);
    vec![
        answered(
            create("/chaos/p0/k0", "w0:1", 1),
            10,
            Outcome::Created("/chaos/p0/k0".into()),
        ),
        answered(
            create(&format!("{SHARED}/n-"), "w0:2", 2),
            11,
            Outcome::Created(format!("{SHARED}/n-0000000000")),
        ),
        answered(
            set(&format!("{COUNTERS}/0"), "w0:3", 0),
            12,
            Outcome::Version(1),
        ),
        open(multi),
        open(set("/chaos/p0/k1", "w0:6", 0)),
    ]
}

/// What the history must leave when the multi was done and the last write was not.
fn tree() -> Dump {
    let mut dump = roots();
    dump.zxid = 13;
    znode(&mut dump, "/chaos/p0/k0", "w0:5", 10);
    znode(&mut dump, "/chaos/p0/k1", "w0:4", 13);
    znode(&mut dump, &format!("{SHARED}/n-0000000000"), "w0:2", 11);
    let stat = |dump: &mut Dump, path: &str, change: fn(&mut Stat)| {
        change(&mut dump.nodes.get_mut(path).unwrap().stat);
    };
    stat(&mut dump, "/chaos/p0/k0", |it| {
        (it.mzxid, it.version, it.owner) = (13, 1, SESSION);
    });
    stat(&mut dump, "/chaos/p0", |it| {
        (it.cversion, it.children, it.pzxid) = (3, 3, 13);
    });
    stat(&mut dump, SHARED, |it| {
        (it.cversion, it.children, it.pzxid) = (1, 1, 11);
    });
    stat(&mut dump, &format!("{COUNTERS}/0"), |it| {
        (it.version, it.mzxid) = (1, 12);
    });
    dump.nodes.get_mut(&format!("{COUNTERS}/0")).unwrap().data = "w0:3".into();
    dump
}

fn judge(history: Vec<Entry>, dump: &Dump) -> Vec<String> {
    let mut checker = Checker::new(1, &roots());
    checker.opened(SESSION);
    checker.judge(&[history], dump)
}

fn spoiled(change: impl FnOnce(&mut Vec<Entry>, &mut Dump)) -> Vec<String> {
    let (mut history, mut dump) = (history(), tree());
    change(&mut history, &mut dump);
    judge(history, &dump)
}

#[test]
fn a_right_tree_is_right() {
    assert_eq!(judge(history(), &tree()), Vec::<String>::new());
}

#[test]
fn a_lost_write_is_seen() {
    let problems = spoiled(|_, dump| {
        dump.nodes.remove(&format!("{SHARED}/n-0000000000"));
    });
    assert!(problems[0].contains("no prefix"), "{problems:?}");
    let problems = spoiled(|_, dump| {
        let counter = dump.nodes.get_mut(&format!("{COUNTERS}/0")).unwrap();
        counter.stat.version = 0;
    });
    assert!(
        problems[0].contains("version 1 was answered"),
        "{problems:?}"
    );
}

#[test]
fn a_doubled_write_is_seen() {
    let problems = spoiled(|_, dump| {
        dump.nodes.get_mut("/chaos/p0/k0").unwrap().stat.version = 2;
    });
    assert!(problems[0].contains("no prefix"), "{problems:?}");
    let problems = spoiled(|_, dump| {
        znode(dump, &format!("{SHARED}/n-0000000001"), "w0:2", 13);
    });
    assert!(problems[0].contains("no prefix"), "{problems:?}");
}

#[test]
fn half_a_multi_is_seen() {
    let problems = spoiled(|_, dump| {
        let znode = dump.nodes.get_mut("/chaos/p0/k0").unwrap();
        (znode.data, znode.stat.version, znode.stat.mzxid) = ("w0:1".into(), 0, 10);
    });
    assert!(problems[0].contains("no prefix"), "{problems:?}");
}

#[test]
fn a_write_that_overtook_another_is_seen() {
    let problems = spoiled(|history, _| history.insert(3, open(create("/chaos/p0/k2", "w0:7", 0))));
    assert!(problems[0].contains("no prefix"), "{problems:?}");
}

#[test]
fn an_ephemeral_without_a_session_is_seen() {
    let mut checker = Checker::new(1, &roots());
    let problems = checker.judge(&[history()], &tree());
    assert!(problems[0].contains("no living session"), "{problems:?}");
}

#[test]
fn zxids_that_repeat_or_go_back_are_seen() {
    let problems = spoiled(|history, _| history[1].reply.as_mut().unwrap().zxid = 10);
    assert!(problems[0].contains("zxid 0xa after 0xa"), "{problems:?}");
    let problems = spoiled(|_, dump| dump.zxid = 11);
    assert!(problems[0].contains("has answered"), "{problems:?}");
}

#[test]
fn a_wrong_reply_is_seen() {
    let problems = spoiled(|history, _| {
        history[2].reply.as_mut().unwrap().outcome = Outcome::Version(2);
    });
    assert!(
        problems[0].contains("counter") || !problems.is_empty(),
        "{problems:?}"
    );
    let problems = spoiled(|history, _| {
        history[0].reply.as_mut().unwrap().outcome = Outcome::Error(-110);
    });
    assert!(problems[0].contains("expected"), "{problems:?}");
}

#[test]
fn a_closed_session_must_not_come_back() {
    let mut checker = Checker::new(1, &roots());
    checker.opened(SESSION);
    let mut dump = roots();
    dump.zxid = 11;
    let root = dump.nodes.get_mut("/chaos/p0").unwrap();
    (root.stat.cversion, root.stat.pzxid) = (3, 11);
    // One was made and went with the session: two creations, one child.
    let history = vec![
        answered(
            create("/chaos/p0/k0", "w0:1", 1),
            10,
            Outcome::Created("/chaos/p0/k0".into()),
        ),
        answered(Op::Close, 11, Outcome::Done),
    ];
    assert_eq!(checker.judge(&[history], &dump), Vec::<String>::new());
    assert_eq!(checker.attached(0, SESSION, false), None);
    assert!(checker.attached(0, SESSION, true).is_some());
}
