//! Planted faults: each kind is found, and what is right is not called wrong.

use super::history::{Call, End, Event, History, Item, Kind, Op, Outcome, Record, Reply};
use super::history::{Session, Stat, Tape, Watches};
use super::load::{register, roots};
use super::replay::{Change, Node, Tree};
use super::walk::{Found, Walk};
use super::watches::fire;
use super::{Sync, judge};

const TIMEOUT_MS: i32 = 4000;
const MS: u64 = 1_000_000;

/// A server that does everything right, and what its clients write down. All see everything at once.
struct World {
    tree: Tree,
    zxid: i64,
    now: u64,
    history: History,
    watches: Vec<Watches>,
}

impl World {
    /// Some clients, each connected, and the roots.
    fn new(clients: usize) -> Self {
        let mut world = Self {
            tree: Tree::default(),
            zxid: 1 << 32,
            now: 0,
            history: History::default(),
            watches: vec![Watches::default(); clients],
        };
        for client in 0..clients {
            let id = 0x100 + client as i64;
            world.history.records.push(Record {
                sessions: vec![Session {
                    id,
                    timeout_ms: TIMEOUT_MS,
                    end: End::Open,
                    heard: 0,
                }],
                ..Record::default()
            });
            world.connect(client);
        }
        for op in roots() {
            world.ask(0, op);
        }
        world
    }

    fn connect(&mut self, client: usize) {
        let record = &mut self.history.records[client];
        let session = record.sessions.last().expect("a session").id;
        record.tapes.push(Tape {
            session,
            server: 0,
            items: Vec::new(),
        });
        self.watches[client] = Watches::default();
    }

    fn record(&mut self, client: usize) -> &mut Record {
        &mut self.history.records[client]
    }

    fn tape(&mut self, client: usize) -> &mut Vec<Item> {
        &mut self.record(client).tapes.last_mut().expect("a tape").items
    }

    /// Everybody who watches is told.
    fn tell(&mut self, changes: &[Change]) {
        for client in 0..self.watches.len() {
            for event in fire(&mut self.watches[client], self.zxid, changes) {
                self.tape(client).push(Item::Event(event));
            }
        }
    }

    /// Asks, and is answered rightly.
    fn ask(&mut self, client: usize, op: Op) -> Outcome {
        let outcome = if op.writes() {
            self.zxid += 1;
            self.write(client, &op)
        } else {
            self.read(client, &op)
        };
        self.answer(client, op, outcome.clone());
        outcome
    }

    fn write(&mut self, client: usize, op: &Op) -> Outcome {
        let session = self.session(client);
        match self.tree.apply(session, op, self.zxid) {
            Ok(changes) => {
                let outcome = self.outcome(op, &changes);
                self.tell(&changes);
                outcome
            }
            Err(code) => Outcome::Error(code),
        }
    }

    fn outcome(&self, op: &Op, changes: &[Change]) -> Outcome {
        match op {
            Op::Create { .. } => {
                let (_, path) = &changes[0];
                Outcome::Created(path.clone(), self.stat(path))
            }
            Op::Set { path, .. } => Outcome::Stat(self.stat(path)),
            Op::Multi(parts) => {
                let mut rest = changes;
                let results = parts.iter().map(|part| {
                    let outcome = self.outcome(part, rest);
                    rest = rest.get(1..).unwrap_or_default();
                    outcome
                });
                Outcome::Multi(results.collect())
            }
            _ => Outcome::Done,
        }
    }

    fn read(&mut self, client: usize, op: &Op) -> Outcome {
        let there = |path: &String| self.tree.nodes.contains_key(path);
        let watches = &mut self.watches[client];
        match op {
            Op::Get { path, watch } => {
                let Some(node) = self.tree.nodes.get(path) else {
                    return Outcome::Error(-101);
                };
                if *watch {
                    watches.data.insert(path.clone());
                }
                Outcome::Data(node.data.clone().expect("known"), self.stat(path))
            }
            Op::Exists { path, watch } => {
                if *watch {
                    watches.data.insert(path.clone());
                }
                if there(path) {
                    Outcome::Stat(self.stat(path))
                } else {
                    Outcome::Error(-101)
                }
            }
            Op::Children { path, watch } => {
                if *watch {
                    watches.child.insert(path.clone());
                }
                let names = self.tree.children(path).map(str::to_owned).collect();
                Outcome::Names(names, self.stat(path))
            }
            Op::AddWatch { path } => {
                watches.recursive.insert(path.clone());
                Outcome::Done
            }
            _ => Outcome::Done,
        }
    }

    /// Writes down a call with this answer.
    fn answer(&mut self, client: usize, op: Op, outcome: Outcome) {
        let (at, zxid, session) = (self.now, self.zxid, self.session(client));
        self.now += 2 * MS;
        let closed = op == Op::Close;
        let record = self.record(client);
        let index = record.calls.len();
        record.calls.push(Call {
            session,
            op,
            at,
            reply: Some(Reply {
                zxid,
                outcome,
                at: at + MS,
            }),
        });
        if let Some(session) = record.sessions.last_mut() {
            session.heard = at + MS;
            if closed {
                session.end = End::Closed;
            }
        }
        self.tape(client).push(Item::Reply(index));
    }

    /// Asks, and the connection is lost; whether it was `done` nobody is told.
    fn lose(&mut self, client: usize, op: Op, done: bool) {
        let (at, session) = (self.now, self.session(client));
        self.now += 2 * MS;
        self.record(client).calls.push(Call {
            session,
            op: op.clone(),
            at,
            reply: None,
        });
        self.watches[client] = Watches::default();
        if done {
            self.zxid += 1;
            self.write(client, &op);
        }
        self.connect(client);
    }

    fn session(&self, client: usize) -> i64 {
        let sessions = &self.history.records[client].sessions;
        sessions.last().expect("a session").id
    }

    fn stat(&self, path: &str) -> Stat {
        let node: &Node = &self.tree.nodes[path];
        let children = self.tree.children(path).count() as i32;
        Stat {
            czxid: node.czxid,
            mzxid: node.mzxid,
            version: node.version,
            cversion: 2 * node.created - children,
            owner: node.owner,
            children,
            pzxid: node.pzxid,
        }
    }

    fn walk(&self) -> Walk {
        let found = |(path, node): (&String, &Node)| {
            let stat = self.stat(path);
            let data = node.data.clone().expect("known");
            let bytes = format!("{stat:?}").into_bytes();
            (path.clone(), Found { data, stat, bytes })
        };
        Walk {
            zxid: self.zxid,
            nodes: self.tree.nodes.iter().map(found).collect(),
        }
    }

    fn problems(&self) -> Vec<String> {
        judge(
            &self.history,
            &[self.walk(), self.walk(), self.walk()],
            Sync::Linearizable,
        )
    }

    fn finds(&self, what: &str) {
        let problems = self.problems();
        assert!(
            problems.iter().any(|problem| problem.contains(what)),
            "not found: {what}; but: {problems:#?}"
        );
    }

    fn is_right(&self) {
        assert_eq!(self.problems(), Vec::<String>::new());
    }
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

fn delete(path: &str) -> Op {
    Op::Delete {
        path: path.into(),
        version: -1,
    }
}

fn get(path: &str, watch: bool) -> Op {
    Op::Get {
        path: path.into(),
        watch,
    }
}

fn exists(path: &str, watch: bool) -> Op {
    Op::Exists {
        path: path.into(),
        watch,
    }
}

fn children(path: &str, watch: bool) -> Op {
    Op::Children {
        path: path.into(),
        watch,
    }
}

const KEY: &str = "/e/t/d0/k0";
const OTHER: &str = "/e/t/d0/k1";
const QUEUE: &str = "/e/q/n-";
const OWN: &str = "/e/a/c1-0";

/// A long right history: everything that the load can do.
fn busy() -> World {
    let mut world = World::new(3);
    world.ask(2, Op::AddWatch { path: "/e".into() });
    world.ask(1, exists(KEY, true));
    world.ask(0, create(KEY, "a1", 0));
    world.ask(1, get(KEY, true));
    world.ask(1, children("/e/t/d0", true));
    world.ask(0, set(KEY, "a2", 0));
    world.ask(0, set(KEY, "a3", 7));
    world.ask(0, create(KEY, "a4", 0));
    world.ask(1, get(OTHER, true));
    let parts = vec![create(OTHER, "b1", 0), set(OTHER, "b2", 0), delete(KEY)];
    world.ask(0, Op::Multi(parts));
    world.ask(1, get(KEY, false));
    for data in ["q1", "q2", "q3"] {
        world.ask(1, create(QUEUE, data, 3));
    }
    world.ask(1, delete("/e/q/n-0000000001"));
    world.ask(1, create(OWN, "o1", 1));
    world.ask(0, children("/e/a", true));
    world.ask(0, exists(OWN, true));
    for (version, data) in ["r1", "r2", "r3"].iter().enumerate() {
        let path = register(0);
        world.ask(version % 2, set(&path, data, version as i32));
        world.ask(0, Op::Sync { path: path.clone() });
        world.ask(0, get(&path, false));
    }
    world.ask(1, Op::Close);
    world.ask(0, get(OTHER, false));
    world.ask(0, children("/e/q", false));
    world.ask(2, Op::Ping);
    world
}

#[test]
fn what_is_right_is_not_called_wrong() {
    busy().is_right();
}

#[test]
fn open_calls_explain_what_nobody_was_told_of() {
    let mut world = World::new(3);
    world.ask(0, create(KEY, "a1", 0));
    world.lose(1, set(KEY, "a2", -1), true);
    world.ask(0, get(KEY, false));
    world.lose(1, set(KEY, "a3", -1), true);
    world.ask(0, set(KEY, "a4", -1));
    world.lose(1, delete(KEY), true);
    world.ask(0, get(KEY, false));
    world.lose(1, create(KEY, "a5", 0), true);
    world.ask(0, set(KEY, "a6", 0));
    world.lose(1, create(QUEUE, "q1", 2), true);
    world.ask(0, create(QUEUE, "q2", 2));
    world.lose(1, create(OTHER, "never", 0), false);
    world.ask(0, get(OTHER, false));
    world.lose(
        1,
        Op::Multi(vec![create(OTHER, "m1", 0), set(KEY, "m2", -1)]),
        true,
    );
    world.ask(0, get(OTHER, false));
    world.ask(0, get(KEY, false));
    world.is_right();
}

#[test]
fn open_calls_are_told_apart_by_what_comes_of_them() {
    // The second one expects a version: it came first.
    let mut world = World::new(3);
    world.ask(0, create(KEY, "a1", 0));
    world.lose(2, set(KEY, "a2", 0), true);
    world.lose(1, set(KEY, "a3", -1), true);
    world.ask(0, set(KEY, "a4", -1));
    world.is_right();
    // The single one is taken for what the multi did, until the multi must have been done.
    let mut world = World::new(3);
    world.ask(0, create(KEY, "a1", 0));
    world.lose(1, set(&register(0), "r1", -1), false);
    let parts = vec![delete(KEY), set(&register(0), "r2", -1)];
    world.lose(2, Op::Multi(parts), true);
    world.ask(0, set(&register(0), "r3", -1));
    world.ask(0, get(KEY, false));
    world.is_right();
    // But not both of them.
    let mut world = World::new(3);
    world.ask(0, create(KEY, "a1", 0));
    let parts = vec![delete(KEY), set(&register(0), "r2", -1)];
    world.lose(2, Op::Multi(parts), true);
    world
        .tree
        .nodes
        .get_mut(&register(0))
        .expect("there")
        .version += 1;
    world.ask(0, set(&register(0), "r3", -1));
    world.finds("but it is");
    // A name that was only seen in a list, by one that ends with its session.
    let mut world = World::new(3);
    world.lose(1, create(QUEUE, "q1", 3), true);
    world.ask(0, create(QUEUE, "q2", 2));
    world.ask(0, children("/e/q", false));
    world.ask(1, Op::Close);
    world.ask(0, children("/e/q", false));
    world.is_right();
}

/// Both may have been the first: one could not have been the second, as the version was another one then.
#[test]
fn an_open_write_that_expects_the_version_that_there_was_is_taken_for_it() {
    let mut world = World::new(3);
    world.ask(2, Op::AddWatch { path: "/e".into() });
    world.ask(0, create(KEY, "a1", 0));
    world.lose(0, set(KEY, "a2", 0), true);
    world.lose(1, set(KEY, "a3", -1), true);
    world.ask(1, create(OTHER, "b1", 0));
    world.ask(0, set(KEY, "a4", -1));
    world.ask(2, Op::Ping);
    world.is_right();
}

#[test]
fn watchers_know_what_the_caller_does_not() {
    let mut world = World::new(3);
    world.ask(2, Op::AddWatch { path: "/e".into() });
    world.lose(1, create(KEY, "a1", 0), true);
    world.lose(1, set(KEY, "a2", -1), true);
    world.lose(1, set(KEY, "a3", -1), true);
    world.lose(1, create(QUEUE, "q1", 2), true);
    world.lose(1, delete(KEY), true);
    world.ask(2, Op::Ping);
    world.is_right();
}

#[test]
fn a_write_that_was_acknowledged_and_is_lost_is_found() {
    let mut world = busy();
    let before = world.tree.clone();
    world.ask(0, set(OTHER, "b3", -1));
    world.tree = before;
    world.finds("but it is");
    let mut world = busy();
    let before = world.tree.clone();
    world.ask(0, create(KEY, "c1", 0));
    world.tree = before;
    world.finds("is gone, but nobody removed it");
    let mut world = busy();
    let before = world.tree.clone();
    world.ask(0, delete(OTHER));
    world.tree = before;
    world.finds("but nobody made it");
}

#[test]
fn a_write_that_is_done_twice_is_found() {
    let mut world = busy();
    world.ask(0, set(OTHER, "b3", -1));
    world.zxid += 1;
    world.write(0, &set(OTHER, "b3", -1));
    world.ask(0, get(OTHER, false));
    world.finds("not at its zxid");
    // Also where a watcher alone sees it.
    let mut world = busy();
    world.lose(0, set(OTHER, "b3", -1), true);
    world.zxid += 1;
    world.write(0, &set(OTHER, "b3", -1));
    world.ask(0, set(OTHER, "b4", -1));
    world.ask(2, Op::Ping);
    world.finds("nobody asked for");
    // And where nobody does: one open call is not two versions.
    let mut world = World::new(2);
    world.ask(0, create(OTHER, "b1", 0));
    world.lose(1, set(OTHER, "b2", -1), true);
    world.zxid += 1;
    world.write(1, &set(OTHER, "b2", -1));
    world.ask(0, set(OTHER, "b3", -1));
    world.finds("but it is");
}

#[test]
fn what_nobody_wrote_or_was_refused_is_found() {
    let mut world = busy();
    world.zxid += 1;
    world.write(0, &set(OTHER, "nobody", -1));
    world.finds("which nobody wrote");
    let mut world = busy();
    world.zxid += 1;
    world.write(0, &set(OTHER, "b3", -1));
    world.answer(0, set(OTHER, "b3", -1), Outcome::Error(-103));
    world.finds("it was refused");
}

#[test]
fn half_a_multi_is_found() {
    let mut world = busy();
    let parts = vec![set(OTHER, "b3", -1), create(KEY, "c1", 0)];
    let before = world.tree.nodes[OTHER].clone();
    world.ask(0, Op::Multi(parts));
    world.tree.nodes.insert(OTHER.into(), before);
    world.finds("but it is");
}

#[test]
fn wrong_answers_are_found() {
    let mut world = busy();
    world.zxid += 1;
    world.answer(0, set(OTHER, "b3", -1), Outcome::Error(-101));
    world.finds("is gone, but nobody removed it");
    let mut world = busy();
    world.zxid += 1;
    world.answer(0, set(OTHER, "b3", 1), Outcome::Error(-103));
    world.finds("the version is right");
    let mut world = busy();
    world.zxid += 1;
    let mut stat = world.stat(OTHER);
    stat.mzxid = world.zxid;
    world.answer(0, set(OTHER, "b3", -1), Outcome::Stat(stat));
    world.finds("but it is");
    let mut world = busy();
    let Outcome::Names(mut names, stat) = world.ask(0, children("/e/q", false)) else {
        panic!("no names");
    };
    names.insert("n-0000000009".into());
    world.answer(0, children("/e/q", false), Outcome::Names(names, stat));
    world.finds("is there, but nobody made it");
}

#[test]
fn a_stale_read_and_a_zxid_that_goes_back_are_found() {
    let mut world = busy();
    let old = world.ask(0, get(OTHER, false));
    world.ask(0, set(OTHER, "b3", -1));
    world.answer(0, get(OTHER, false), old);
    world.finds("but it is");
    let mut world = busy();
    world.ask(0, set(OTHER, "b3", -1));
    world.zxid -= 1;
    world.answer(0, Op::Ping, Outcome::Done);
    world.zxid += 1;
    world.finds("after 0x");
}

#[test]
fn a_zxid_that_is_given_twice_and_writes_out_of_order_are_found() {
    let mut world = busy();
    world.ask(0, set(OTHER, "b3", -1));
    world.answer(2, set(KEY, "x", -1), Outcome::Stat(world.stat(OTHER)));
    world.finds("twice");
    let mut world = busy();
    world.ask(0, set(OTHER, "b3", -1));
    world.ask(0, set(OTHER, "b4", -1));
    let calls = &mut world.record(0).calls;
    let count = calls.len();
    let (one, other) = (calls[count - 2].op.clone(), calls[count - 1].op.clone());
    (calls[count - 2].op, calls[count - 1].op) = (other, one);
    world.finds("not at its zxid");
}

#[test]
fn numbers_of_sequential_znodes_are_checked() {
    let mut world = World::new(2);
    world.ask(0, create(QUEUE, "q1", 2));
    world.ask(0, create(QUEUE, "q2", 2));
    world.is_right();
    let above = world.tree.nodes.get_mut("/e/q").expect("the queue");
    above.created = 7;
    world.ask(0, create(QUEUE, "q3", 2));
    world.finds("the next number is 2");
    let mut world = World::new(2);
    world.ask(0, create(QUEUE, "q1", 2));
    world.ask(0, delete("/e/q/n-0000000000"));
    world.tree.nodes.get_mut("/e/q").expect("the queue").created = 0;
    world.ask(0, create(QUEUE, "q2", 2));
    world.finds("after number 0000000000");
}

/// The place of an event in a client's last tape.
fn event_at(world: &World, client: usize, kind: Kind, path: &str) -> usize {
    let items = &world.history.records[client]
        .tapes
        .last()
        .expect("a tape")
        .items;
    let is = |item: &Item| matches!(item, Item::Event(it) if it.kind == kind && it.path == path);
    items.iter().rposition(is).expect("the event")
}

fn watched() -> World {
    let mut world = busy();
    world.ask(2, get(OTHER, true));
    world.ask(0, get(OTHER, true));
    world.ask(1, Op::Ping);
    world.ask(0, set(OTHER, "b3", -1));
    world.ask(2, Op::Ping);
    world.is_right();
    world
}

#[test]
fn events_that_are_lost_doubled_late_or_wrong_are_found() {
    let mut world = watched();
    let at = event_at(&world, 0, Kind::Changed, OTHER);
    world.tape(0).remove(at);
    world.finds("not told before");
    let mut world = watched();
    let event = world.tape(0)[at].clone();
    world.tape(0).insert(at, event);
    world.finds("told for no reason or twice");
    // The reply that shows the change comes first.
    let mut world = watched();
    world.tape(0).swap(at, at + 1);
    world.finds("not told before");
    // It comes when all has been answered.
    let mut world = watched();
    let event = world.tape(0).remove(at);
    world.tape(0).push(event);
    world.finds("at the end of the connection: spare");
    let mut world = watched();
    let wrong = Event {
        zxid: world.zxid,
        kind: Kind::Children,
        path: OTHER.into(),
    };
    world.tape(0)[at] = Item::Event(wrong);
    world.finds("told for no reason or twice");
    // Two watchers, one is told of another txn.
    let mut world = watched();
    if let Item::Event(event) = &mut world.tape(0)[at] {
        event.zxid -= 1;
    }
    world.finds("nobody asked for");
}

#[test]
fn a_recursive_watch_sees_everything() {
    let mut world = watched();
    world.ask(0, create(KEY, "c1", 0));
    world.ask(2, Op::Ping);
    world.is_right();
    let at = event_at(&world, 2, Kind::Created, KEY);
    world.tape(2).remove(at);
    world.finds("not told before");
}

/// Client 0 has a watch of each kind, is away while two changes are made, and sets its watches.
fn set_again(told: &[(Kind, &str)]) -> World {
    let mut world = busy();
    let mut watches = Watches::default();
    for op in [
        get(OTHER, true),
        children("/e/t/d0", true),
        exists(KEY, true),
    ] {
        world.ask(0, op);
    }
    watches.data.insert(OTHER.into());
    watches.child.insert("/e/t/d0".into());
    watches.exist.insert(KEY.into());
    let since = world.zxid;
    world.watches[0] = Watches::default();
    world.ask(1, set(OTHER, "away", -1));
    world.ask(1, create("/e/t/d0/k2", "away too", 0));
    world.connect(0);
    for (kind, path) in told {
        world.tape(0).push(Item::Event(Event {
            zxid: -1,
            kind: *kind,
            path: (*path).into(),
        }));
    }
    world.watches[0].data.insert(KEY.into());
    world.answer(0, Op::SetWatches { since, watches }, Outcome::Done);
    world.ask(1, create(KEY, "back", 0));
    world.ask(0, Op::Ping);
    world
}

#[test]
fn what_set_watches_tells_is_exactly_what_was_missed() {
    let (changed, below) = ((Kind::Changed, OTHER), (Kind::Children, "/e/t/d0"));
    set_again(&[changed, below]).is_right();
    set_again(&[changed]).finds("setWatches since");
    set_again(&[below]).finds("setWatches since");
    set_again(&[changed, below, (Kind::Created, KEY)]).finds("setWatches since");
    set_again(&[(Kind::Deleted, OTHER), below]).finds("setWatches since");
}

#[test]
fn an_ephemeral_that_outlives_its_session_is_found() {
    let mut world = World::new(2);
    world.ask(1, create(OWN, "o1", 1));
    let node = world.tree.nodes[OWN].clone();
    world.ask(1, Op::Close);
    world.is_right();
    world.tree.nodes.insert(OWN.into(), node);
    world.finds("its session is not");
    // One that was left to expire.
    let mut world = World::new(2);
    world.ask(1, create(OWN, "o1", 1));
    world.is_right();
    world.record(1).sessions[0].end = End::Abandoned;
    world.finds("its session is not");
}

#[test]
fn an_ephemeral_that_goes_before_its_session_is_found() {
    let mut world = World::new(3);
    world.ask(2, Op::AddWatch { path: "/e".into() });
    world.ask(1, create(OWN, "o1", 1));
    world.ask(1, create("/e/a/c1-1", "o2", 1));
    world.zxid += 1;
    let session = world.session(1);
    let changes = world.tree.end_session(session, world.zxid);
    world.tell(&changes);
    world.ask(2, Op::Ping);
    let mut ended = world;
    ended.record(1).sessions[0].end = End::Abandoned;
    ended.is_right();
    // The session is answered later: it was not over.
    ended.ask(1, Op::Ping);
    ended.finds("nobody asked for");
}

#[test]
fn a_session_that_expires_too_early_is_found() {
    let mut world = World::new(2);
    world.ask(1, Op::Ping);
    let heard = world.record(1).sessions[0].heard;
    let timeout = TIMEOUT_MS as u64 * MS;
    world.record(1).sessions[0].end = End::Expired {
        told: heard + timeout,
    };
    world.is_right();
    world.record(1).sessions[0].end = End::Expired {
        told: heard + timeout / 2,
    };
    world.finds("after it was heard of");
}

#[test]
fn trees_that_differ_are_found() {
    let world = busy();
    let (one, mut other) = (world.walk(), world.walk());
    let judged = |other: &Walk| {
        judge(
            &world.history,
            &[one.clone(), other.clone()],
            Sync::Linearizable,
        )
    };
    assert!(judged(&other).is_empty());
    let found = other.nodes.get_mut(OTHER).expect("there");
    found.bytes.push(0);
    assert!(judged(&other)[0].contains("server 2 has"));
    let mut other = world.walk();
    other.nodes.remove(OTHER);
    assert!(judged(&other)[0].contains("server 2 has"));
    let mut other = world.walk();
    other.zxid += 1;
    assert!(judged(&other)[0].contains("is at zxid"));
}

#[test]
fn the_stat_of_a_parent_is_checked() {
    let mut world = busy();
    world.tree.nodes.get_mut("/e/t/d0").expect("there").pzxid += 1;
    world.finds("pzxid");
    let mut world = busy();
    world.tree.nodes.get_mut("/e/t/d0").expect("there").created += 1;
    world.finds("were created");
}
