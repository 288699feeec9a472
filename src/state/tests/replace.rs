//! Another tree comes in the place of the one that is served, as from a snapshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;

use jute::{Create, GetData, Reader, Request, SetData, Text};
use parking_lot::Mutex;
use tempfile::TempDir;

use super::map_store::MapStore;
use super::world::{World, client, localhost, open as open_session, open_acl};
use crate::state::{
    Action, Asker, Batch, LocalConfig, Missing, Peek, ReadStop, Reading, Replica, Rules, SessionId,
    Silence, Sink, State, Store, Txn, warm_all,
};
use crate::storage;

const SESSION: SessionId = SessionId(1);

/// A kind of store; what it lies in lives as long as this.
trait Kind {
    fn store(&mut self) -> Arc<dyn Store>;
    /// The same store after a start: nothing of it is in memory.
    fn cold(&mut self, store: Arc<dyn Store>) -> Arc<dyn Store>;
}

struct InMemory;

impl Kind for InMemory {
    fn store(&mut self) -> Arc<dyn Store> {
        Arc::new(MapStore::default())
    }

    fn cold(&mut self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        store
    }
}

#[derive(Default)]
struct OnDisk {
    dirs: Vec<TempDir>,
}

impl Kind for OnDisk {
    fn store(&mut self) -> Arc<dyn Store> {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        self.dirs.push(dir);
        store
    }

    /// The one that was made last.
    fn cold(&mut self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        drop(store);
        open(self.dirs.last().unwrap())
    }
}

/// With the smallest memory there is.
fn open(dir: &TempDir) -> Arc<dyn Store> {
    let config = storage::Config {
        data_dir: dir.path().to_owned(),
        log_dir: dir.path().to_owned(),
        memory_bytes: 0,
        ..storage::Config::default()
    };
    let stores = storage::open(&config).unwrap();
    // Up to where the trees of these tests go, or it would not open again.
    let position = |index| crate::state::LogPosition { term: 0, index };
    if stores.log.ends().last.is_none() {
        let entries = (0..100).map(|index| storage::LogEntry {
            position: position(index),
            payload: bytes::Bytes::new(),
        });
        let (tell, told) = mpsc::channel();
        let done = Box::new(move |result| tell.send(result).unwrap());
        stores.log.append(entries.collect(), done);
        told.recv().unwrap().unwrap();
    }
    stores.tree()
}

/// Makes a test of `$check(&mut impl Kind)` for each kind of store.
macro_rules! on_both {
    ($($check:ident)*) => {
        mod memory {
            $( #[test] fn $check() { super::$check(&mut super::InMemory); } )*
        }
        mod rocks {
            $( #[test] fn $check() { super::$check(&mut super::OnDisk::default()); } )*
        }
    };
}

on_both! {
    what_is_read_is_of_one_tree
    views_and_pins_end_on_the_tree_they_began_on
    a_load_for_the_old_tree_stays_there
    an_entry_ends_in_the_tree_it_began_in
    readers_see_one_tree_or_the_other
}

fn set(data: &str) -> Action {
    client(&Request::SetData(SetData {
        path: Some(Text::from("/x")),
        data: Some(bytes::Bytes::copy_from_slice(data.as_bytes())),
        version: -1,
    }))
}

fn create(path: &str, data: &str) -> Action {
    client(&Request::Create(Create {
        path: Some(Text::from(path)),
        data: Some(bytes::Bytes::copy_from_slice(data.as_bytes())),
        acl: open_acl(),
        flags: 0,
    }))
}

/// A world that holds `/x` with this, a session, and one more znode of that name.
fn filled(store: Arc<dyn Store>, name: &str) -> World {
    let mut world = World::on(store, Rules::default());
    let open = open_session(4000, [1; 16]);
    for action in [open, create("/x", name), create(&format!("/{name}"), "")] {
        let proposals = vec![world.proposal(SESSION, &localhost(), action)];
        world.apply(proposals);
    }
    world
}

/// What is at `/x`, as a client sees it who asks this tree, loading what it misses.
fn data(replica: &Replica, path: &str) -> Option<String> {
    let request = Request::GetData(GetData {
        path: Some(Text::from(path)),
        watch: false,
    });
    let identities = localhost();
    let asker = Asker {
        session: SESSION,
        identities: &identities,
        bytes_max: 1 << 20,
    };
    let mut pins = crate::state::Pins::default();
    loop {
        let mut body = bytes::BytesMut::new();
        // As the requests do: warmed without the lock, then asked again.
        let (read, store) = {
            let state = replica.read();
            let read = state.read(&request, asker, &mut body);
            (read, Arc::clone(state.store()))
        };
        match read {
            Ok(()) => {
                let body = body.freeze();
                let data = Reader::new(body).buffer("data").unwrap().unwrap();
                return Some(String::from_utf8(data.to_vec()).unwrap());
            }
            Err(ReadStop::Missing(missing)) => {
                let more = warm_all(store.as_ref(), &missing, 1 << 20).unwrap();
                pins.join(more.unwrap());
            }
            Err(stop) => {
                assert_eq!(stop, jute::ErrorCode::NO_NODE.into());
                return None;
            }
        }
    }
}

fn what_is_read_is_of_one_tree(kind: &mut impl Kind) {
    let mut world = filled(kind.store(), "old");
    let before = world.replica.read().last_zxid();
    let shown = "server.1=a:1:2:participant;0.0.0.0:2181\nversion=0";
    world.replica.show_config(LocalConfig::new(shown, 0, 77));
    let mut next = filled(kind.store(), "new");
    let more = vec![next.proposal(SESSION, &localhost(), create("/more", ""))];
    next.apply(more);
    let (meta, store) = {
        let state = next.replica.read();
        (state.meta().clone(), Arc::clone(state.store()))
    };
    drop(next);
    thread::scope(|threads| {
        let guard = world.replica.read();
        let replacing =
            threads.spawn(|| world.replica.replace(Arc::clone(&store), &Silence).unwrap());
        // It waits for this guard, for as long as it reads.
        assert_eq!(guard.last_zxid(), before);
        assert!(!replacing.is_finished());
        drop(guard);
        replacing.join().unwrap();
    });
    assert_eq!(world.replica.read().meta(), &meta);
    assert_eq!(data(&world.replica, "/x").as_deref(), Some("new"));
    assert_eq!(data(&world.replica, "/old"), None);
    assert_eq!(data(&world.replica, "/more").as_deref(), Some(""));
    // Not of the tree, but of this server.
    assert_eq!(
        data(&world.replica, "/zookeeper/config").as_deref(),
        Some(shown)
    );
    // And it goes on from there, in the new store.
    world.position = meta.applied.unwrap();
    world.goes_on_with(store, meta.cursors.values().next().unwrap().sequence);
    let proposals = vec![world.proposal(SESSION, &localhost(), set("newest"))];
    assert_eq!(world.apply(proposals).len(), 1);
    assert_eq!(data(&world.replica, "/x").as_deref(), Some("newest"));
}

fn views_and_pins_end_on_the_tree_they_began_on(kind: &mut impl Kind) {
    let world = filled(kind.store(), "old");
    let next = filled(kind.store(), "new");
    let new = Arc::clone(next.replica.read().store());
    let parts = [Missing::Znode("/x".into()), Missing::Children("/".into())];
    let (view, old) = {
        let state = world.replica.read();
        (state.view(), Arc::clone(state.store()))
    };
    let pins = warm_all(&*old, &parts, 1 << 20).unwrap().unwrap();
    world.replica.replace(new, &Silence).unwrap();
    let names = |store: &dyn Store| {
        let mut names = Vec::new();
        assert_eq!(
            store.peek_children("/", &mut |name| names.push(name.to_owned())),
            Peek::Known(())
        );
        names
    };
    assert_eq!(names(&*old), ["old", "x", "zookeeper"]);
    let Peek::Known(Some(node)) = old.peek("/x") else {
        panic!("it is pinned");
    };
    assert_eq!(node.data.as_deref(), Some(b"old".as_slice()));
    drop((pins, old));
    let mut seen = Vec::new();
    let visit = &mut |path: &str, _: &crate::state::Znode| {
        seen.push(path.to_owned());
        true
    };
    view.walk("/", visit).unwrap();
    assert!(seen.iter().any(|path| path == "/old") && !seen.iter().any(|path| path == "/new"));
    assert_eq!(data(&world.replica, "/x").as_deref(), Some("new"));
}

fn a_load_for_the_old_tree_stays_there(kind: &mut impl Kind) {
    let old = filled(kind.store(), "old").into_store();
    let world = World::on(kind.cold(old), Rules::default());
    let new = filled(kind.store(), "new").into_store();
    let new = kind.cold(new);
    let old = Arc::clone(world.replica.read().store());
    let parts = [Missing::Znode("/x".into()), Missing::Children("/".into())];
    world.replica.replace(new, &Silence).unwrap();
    // Was under way when the other tree came.
    let pins = warm_all(&*old, &parts, 1 << 20).unwrap().unwrap();
    {
        let state = world.replica.read();
        match state.peek_znode("/x") {
            Peek::NotInMemory => {}
            Peek::Known(node) => {
                assert_eq!(node.unwrap().data.as_deref(), Some(b"new".as_slice()));
            }
        }
        let mut names = Vec::new();
        let listed = state.peek_children("/", &mut |name| names.push(name.to_owned()));
        assert!(listed == Peek::NotInMemory || names == ["new", "x", "zookeeper"]);
    }
    assert_eq!(data(&world.replica, "/x").as_deref(), Some("new"));
    drop(pins);
    assert_eq!(data(&world.replica, "/old"), None);
}

/// Tells when a txn has been installed, and goes on when it is told to.
#[derive(Debug)]
struct Halting {
    installed: Mutex<mpsc::Sender<()>>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

impl Sink for Halting {
    fn applied(&self, _state: &State, _txn: &Txn) {
        self.installed.lock().send(()).unwrap();
        self.go_on.lock().recv().unwrap();
    }

    fn replaced(&self, _state: &State) {}
    fn slice_done(&self) {}
}

fn an_entry_ends_in_the_tree_it_began_in(kind: &mut impl Kind) {
    let mut world = filled(kind.store(), "old");
    let new = filled(kind.store(), "new").into_store();
    let old = Arc::clone(world.replica.read().store());
    let mut proposal = |data| world.proposal(SESSION, &localhost(), set(data));
    let batch = Batch {
        reading: Reading::default(),
        rules: Rules::default(),
        proposals: vec![proposal("older"), proposal("oldest")],
    };
    let mut position = world.position;
    position.index += 1;
    let (installed, was_installed) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let sink = Halting {
        installed: Mutex::new(installed),
        go_on: Mutex::new(may_go_on),
    };
    let replica = &world.replica;
    thread::scope(|threads| {
        // One proposal in a slice, so that the lock is let go of between them.
        let applying = threads.spawn(|| replica.apply_sliced(position, &batch, &sink, 1));
        was_installed.recv().unwrap();
        let replacing = threads.spawn(|| replica.replace(Arc::clone(&new), &Silence).unwrap());
        go_on.send(()).unwrap();
        was_installed.recv().unwrap();
        assert!(!replacing.is_finished());
        go_on.send(()).unwrap();
        applying.join().unwrap().unwrap();
        replacing.join().unwrap();
    });
    assert_eq!(old.restore().unwrap().meta.applied, Some(position));
    let node = old.load("/x").unwrap().unwrap();
    assert_eq!(node.data.as_deref(), Some(b"oldest".as_slice()));
    assert_eq!(data(replica, "/x").as_deref(), Some("new"));
    assert_ne!(new.restore().unwrap().meta.applied, Some(position));
}

/// What one guard shows is of one tree: its last zxid and its data belong together.
fn readers_see_one_tree_or_the_other(kind: &mut impl Kind) {
    let world = filled(kind.store(), "old");
    let mut next = filled(kind.store(), "new");
    let more = vec![next.proposal(SESSION, &localhost(), create("/more", ""))];
    next.apply(more);
    let stores = [&next, &world].map(|world| Arc::clone(world.replica.read().store()));
    let belongs = [&next, &world].map(|world| world.replica.read().last_zxid());
    drop(next);
    let replica = &world.replica;
    let is_over = AtomicBool::new(false);
    thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                let parts = [Missing::Znode("/x".into())];
                while !is_over.load(SeqCst) {
                    let store = Arc::clone(replica.read().store());
                    let _pins = store.warm(&parts, usize::MAX).unwrap();
                    let state = replica.read();
                    let name: &[u8] = if state.last_zxid() == belongs[0] {
                        b"new"
                    } else {
                        b"old"
                    };
                    if let Peek::Known(node) = state.peek_znode("/x") {
                        assert_eq!(node.unwrap().data.as_deref(), Some(name));
                    }
                }
            });
        }
        for turn in 0..200 {
            replica
                .replace(Arc::clone(&stores[turn % 2]), &Silence)
                .unwrap();
        }
        is_over.store(true, SeqCst);
    });
}
