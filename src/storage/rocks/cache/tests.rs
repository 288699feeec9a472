//! Bounds, generations and the knowledge of absences.

use super::*;

const MAX: usize = 1 << 20;

fn znode(children: u32, bytes: usize) -> Known {
    let data = Some(vec![0; bytes].into());
    Some(Arc::new(Znode {
        children,
        data,
        ..Znode::default()
    }))
}

fn path(index: usize) -> Arc<str> {
    format!("/n{index}").into()
}

fn names(count: usize) -> BTreeSet<Box<str>> {
    (0..count)
        .map(|index| format!("child-{index:08}").into())
        .collect()
}

fn sums(cache: &Cache) -> (usize, usize) {
    let mut sums = (0, 0);
    for shard in &cache.shards {
        for slot in shard.read().slots.iter().flatten() {
            sums.0 += slot.weight;
            sums.1 += 1;
        }
    }
    sums
}

#[test]
fn stays_within_its_bound() {
    let cache = Cache::new(MAX);
    for index in 0..10_000 {
        cache.install(&path(index), &znode(0, index % 2000));
        cache.make_room();
        assert!(cache.bytes() <= MAX);
    }
    assert!(cache.bytes() > MAX / 2);
    assert_eq!(sums(&cache), (cache.bytes(), cache.entries()));
}

#[test]
fn what_is_used_stays_longer() {
    let cache = Cache::new(MAX);
    let hot = path(0);
    cache.install(&hot, &znode(0, 100));
    for index in 1..20_000 {
        cache.install(&path(index), &znode(0, 100));
        assert!(cache.get(&hot).is_some(), "after {index}");
        cache.make_room();
    }
}

/// A txn must not pay for a whole round: what nobody reads goes at once, and what is read stays.
#[test]
fn what_is_written_does_not_turn_the_hand_far() {
    let cache = Cache::new(MAX);
    let read: Vec<_> = (0..100).map(path).collect();
    for index in 0..20_000 {
        cache.install(&path(index), &znode(0, 100));
        for path in &read {
            cache.get(path);
        }
        let before = cache.hand.load(Relaxed);
        cache.make_room();
        assert!(cache.hand.load(Relaxed) - before <= SHARDS, "at {index}");
    }
    assert!(read.iter().all(|path| cache.get(path).is_some()));
}

/// Nor when everything has been read since the hand passed.
#[test]
fn what_is_read_does_not_turn_the_hand_far() {
    let cache = Cache::new(16 * MAX);
    let mut count = 0;
    while cache.bytes() < 16 * MAX - 1000 {
        cache.install(&path(count), &znode(0, 100));
        count += 1;
    }
    let parent = path(count);
    cache.install(&parent, &znode(2, 0));
    cache.insert_names(&parent, names(2)).unwrap();
    for index in count + 1..count + 100 {
        (0..count).for_each(|read| drop(cache.get(&path(read))));
        cache.install(&path(index), &znode(0, 100));
        let before = cache.hand.load(Relaxed);
        cache.make_room();
        assert!(cache.bytes() <= 16 * MAX, "at {index}");
        assert!(cache.hand.load(Relaxed) - before <= 4, "at {index}");
        assert!(cache.lists(&parent), "at {index}");
    }
}

#[test]
fn an_old_value_never_enters() {
    let cache = Cache::new(MAX);
    let path = path(1);
    let generation = cache.generation(&path);
    cache.install(&path, &znode(0, 7));
    assert!(!cache.offer(&path, generation, &None));
    let generation = cache.generation(&path);
    assert!(cache.offer(&path, generation, &None));
    assert_eq!(cache.get(&path), Some(znode(0, 7)));
}

#[test]
fn a_parent_tells_what_does_not_exist() {
    let cache = Cache::new(MAX);
    let parent: Arc<str> = "/p".into();
    assert_eq!(cache.get("/p/x"), None);
    cache.install(&parent, &znode(0, 0));
    assert_eq!(cache.get("/p/x"), Some(None));
    cache.install(&parent, &znode(2, 0));
    assert_eq!(cache.get("/p/x"), None);
    cache.insert_names(&parent, names(2)).unwrap();
    assert_eq!(cache.get("/p/x"), Some(None));
    assert_eq!(cache.get("/p/child-00000001"), None);
    cache.install(&parent, &None);
    assert_eq!(cache.get("/p/child-00000001"), Some(None));
}

#[test]
fn marks_begin_with_the_first_child() {
    let cache = Cache::new(MAX);
    let parent: Arc<str> = "/p".into();
    cache.install(&parent, &znode(0, 0));
    let before = cache.bytes();
    for index in 0..100 {
        let name = format!("child-{index}");
        assert_eq!(cache.get(&format!("/p/{name}")), Some(None));
        cache.install_name(&parent, &name, true);
        cache.install(&parent, &znode(index + 1, 0));
        assert_eq!(cache.get(&format!("/p/{name}")), None);
    }
    assert!(!cache.lists(&parent));
    assert!((500..2000).contains(&(cache.bytes() - before)));
    cache.install_name(&parent, "child-7", false);
    cache.install(&parent, &znode(99, 5));
    assert_eq!(cache.get("/p/child-7"), Some(None));
    assert_eq!(cache.get("/p/child-8"), None);
    assert_eq!(sums(&cache), (cache.bytes(), cache.entries()));
    cache.insert_names(&parent, names(99)).unwrap();
    assert!(cache.lists(&parent));
    cache.install(&parent, &None);
    assert_eq!(cache.bytes(), before - ZNODE_BYTES);
}

#[test]
fn marks_never_begin_beside_unknown_children() {
    let cache = Cache::new(MAX);
    let parent: Arc<str> = "/p".into();
    cache.install(&parent, &znode(1, 0));
    cache.install_name(&parent, "b", true);
    cache.install(&parent, &znode(2, 0));
    assert_eq!((cache.get("/p/a"), cache.get("/p/b")), (None, None));
    // Within a multi the parent comes with its last count before its other children change.
    cache.install(&parent, &znode(0, 0));
    cache.install_name(&parent, "c", true);
    cache.install_name(&parent, "a", false);
    cache.install_name(&parent, "b", false);
    cache.install_name(&parent, "c", false);
    cache.install_name(&parent, "d", true);
    cache.install(&parent, &znode(1, 0));
    assert_eq!((cache.get("/p/c"), cache.get("/p/d")), (Some(None), None));
}

#[test]
fn marks_of_too_many_children_are_given_up() {
    let cache = Cache::new(MAX / 8);
    let parent: Arc<str> = "/p".into();
    cache.install(&parent, &znode(0, 0));
    let free = |name: &str| cache.get(&format!("/p/{name}"));
    for index in 0..100_000 {
        cache.install_name(&parent, &format!("child-{index}"), true);
        cache.install(&parent, &znode(index + 1, 0));
        if index == 5_000 {
            let known = (0..100).filter(|index| free(&format!("another-{index}")) == Some(None));
            assert!(known.count() > 80);
            assert_eq!(free("child-7"), None);
            assert_eq!(free("child-4999"), None);
        }
    }
    assert_eq!(free("another"), None);
    assert!(cache.bytes() < 1000);
}

#[test]
fn names_are_weighed() {
    let cache = Cache::new(MAX);
    let parent: Arc<str> = "/p".into();
    assert!(cache.insert_names(&parent, names(2)).is_err());
    cache.install(&parent, &znode(2, 0));
    let before = cache.bytes();
    cache.insert_names(&parent, names(2)).unwrap();
    cache.install_name(&parent, "another", true);
    cache.install_name(&parent, "another", true);
    cache.install(&parent, &znode(3, 10));
    assert_eq!(cache.bytes(), before + 10 + 3 * NAME_BYTES + 2 * 14 + 7);
    cache.install_name(&parent, "another", false);
    cache.install_name(&parent, "another", false);
    cache.insert_names(&parent, names(5)).unwrap();
    assert_eq!(cache.bytes(), before + 10 + 5 * (NAME_BYTES + 14));
    assert_eq!(sums(&cache), (cache.bytes(), cache.entries()));
}

#[test]
fn one_oversized_listing_is_kept() {
    let cache = Cache::new(MAX);
    let listed = |path: &str| {
        let mut count = 0;
        cache.each_name(path, &mut |_| count += 1).then_some(count)
    };
    let sizes = [20_000, 30_000];
    for (index, size) in sizes.into_iter().enumerate() {
        cache.install(&path(index), &znode(1, 0));
        cache.insert_names(&path(index), names(size)).unwrap();
        for other in 10..1000 {
            cache.install(&path(other), &znode(0, 100));
            cache.make_room();
        }
        assert_eq!(listed(&path(index)), Some(size));
    }
    assert_eq!(listed(&path(0)), None);
}
