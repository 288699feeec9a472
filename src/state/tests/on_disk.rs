//! The same log on RocksDB with the smallest memory there is: nothing of the cache shows.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::generate::{log, put_quota, run};
use super::world::World;
use crate::state::Config;
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
        let mut disk = World::on(Arc::clone(&stores.tree), Config::default());
        let mut map = World::new(Config::default());
        put_quota(&mut disk);
        put_quota(&mut map);
        prop_assert_eq!(run(&mut disk, &log), run(&mut map, &log));
        prop_assert_eq!(disk.disk(), map.disk());
    }
}
