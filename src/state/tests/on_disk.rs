//! The same log on RocksDB with the smallest memory there is: nothing of the cache shows.

use std::path::Path;

use proptest::prelude::*;

use super::generate::{PATHS, log, put_quota, run};
use super::world::World;
use crate::state::{Missing, Peek, Rules};
use crate::storage;

fn stores(dir: &Path) -> storage::Stores {
    let config = storage::Config {
        data_dir: dir.to_owned(),
        log_dir: dir.to_owned(),
        memory_bytes: 0,
        ..storage::Config::default()
    };
    storage::open(&config).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn the_store_does_not_show(log in log()) {
        let dir = tempfile::tempdir().unwrap();
        let stores = stores(dir.path());
        let mut disk = World::on(stores.tree(), Rules::default());
        let mut map = World::new(Rules::default());
        put_quota(&mut disk);
        put_quota(&mut map);
        prop_assert_eq!(run(&mut disk, &log), run(&mut map, &log));
        prop_assert_eq!(disk.disk(), map.disk());
    }

    /// What is pinned stays known, the names of children too, whatever comes and goes.
    #[test]
    fn what_is_pinned_is_kept_in_step(log in log()) {
        let dir = tempfile::tempdir().unwrap();
        let stores = stores(dir.path());
        let mut disk = World::on(stores.tree(), Rules::default());
        let mut map = World::new(Rules::default());
        let parts = PATHS.map(|path| Missing::Children(path.into()));
        let mut pins = Some(disk.warm(&parts));
        for (entry, at) in log.into_iter().zip(0..) {
            let entry = [entry];
            prop_assert_eq!(run(&mut disk, &entry), run(&mut map, &entry));
            let (disk, map) = (disk.replica.read(), map.replica.read());
            for path in PATHS {
                prop_assert_eq!(disk.peek_znode(path), map.peek_znode(path));
                let (mut names, mut expected) = (Vec::new(), Vec::new());
                let peeked = disk.peek_children(path, &mut |name| names.push(name.to_owned()));
                prop_assert_eq!(peeked, Peek::Known(()), "children of {}", path);
                _ = map.peek_children(path, &mut |name| expected.push(name.to_owned()));
                prop_assert_eq!(names, expected);
                prop_assert_eq!(disk.peek_names_bytes(path), map.peek_names_bytes(path));
            }
            // Pinned by another request, before the first lets go.
            if at % 2 == 0 {
                pins = disk.pin(&parts);
                prop_assert!(pins.is_some());
            }
        }
        drop(pins);
    }
}
