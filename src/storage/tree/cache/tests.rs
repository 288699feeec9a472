//! Bounds, pins and the knowledge of absences.

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

fn cache(bytes_max: usize) -> Arc<Cache> {
    Arc::new(Cache::new(bytes_max))
}

fn path(index: usize) -> Arc<str> {
    format!("/n{index}").into()
}

fn names(count: usize) -> Listing {
    let mut listing = Listing::default();
    for index in 0..count {
        assert!(listing.change(&format!("child-{index:08}"), true));
    }
    listing
}

/// Pins a known znode with the names of its children.
fn pin_names(cache: &Arc<Cache>, parent: &str, listing: Listing) -> Pinned {
    let mut pinned = Pinned::new(cache);
    assert!(pinned.pin(parent, true).is_some());
    pinned.fill_names(listing);
    pinned
}

fn listed(cache: &Cache, path: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let is_known = cache.each_name(path, &mut |name| names.push(name.to_owned()));
    is_known.then_some(names)
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

fn is_summed(cache: &Cache) -> bool {
    sums(cache) == (cache.bytes(), cache.entries())
}

#[test]
fn stays_within_its_bound() {
    let cache = cache(MAX);
    for index in 0..10_000 {
        cache.install(&path(index), &znode(0, index % 2000));
        cache.make_room();
        assert!(cache.bytes() <= MAX);
    }
    assert!(cache.bytes() > MAX / 2);
    assert!(is_summed(&cache));
}

#[test]
fn what_is_used_stays_longer() {
    let cache = cache(MAX);
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
    let cache = cache(MAX);
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
    let cache = cache(16 * MAX);
    let mut count = 0;
    while cache.bytes() < 16 * MAX - 1000 {
        cache.install(&path(count), &znode(0, 100));
        count += 1;
    }
    let parent = path(count);
    cache.install(&parent, &znode(2, 0));
    drop(pin_names(&cache, &parent, names(2)));
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
    let cache = cache(MAX);
    let path = path(1);
    for value in [znode(0, 7), None] {
        let mut pinned = Pinned::new(&cache);
        assert_eq!(pinned.pin(&path, false), None);
        assert_eq!(cache.get(&path), None);
        cache.install(&path, &value);
        assert_eq!(pinned.fill(znode(0, 3)), value);
        assert_eq!(cache.get(&path), Some(value.clone()));
        drop(pinned);
        assert_eq!(cache.get(&path), Some(value));
        cache.shards.iter().for_each(|shard| {
            let shard = &mut *shard.write();
            *shard = Shard::default();
        });
    }
}

#[test]
fn a_parent_tells_what_does_not_exist() {
    let cache = cache(MAX);
    let parent: Arc<str> = "/p".into();
    assert_eq!(cache.get("/p/x"), None);
    cache.install(&parent, &znode(0, 0));
    assert_eq!(cache.get("/p/x"), Some(None));
    cache.evict_all();
    cache.install(&parent, &znode(2, 0));
    assert_eq!(cache.get("/p/x"), None);
    drop(pin_names(&cache, &parent, names(2)));
    assert_eq!(cache.get("/p/x"), Some(None));
    assert_eq!(cache.get("/p/child-00000001"), None);
    cache.install(&parent, &None);
    assert_eq!(cache.get("/p/child-00000001"), Some(None));
}

#[test]
fn marks_begin_with_the_first_child() {
    let cache = cache(MAX);
    let parent: Arc<str> = "/p".into();
    cache.install(&parent, &znode(0, 0));
    let before = cache.bytes();
    for index in 0..100 {
        let name = format!("child-{index}");
        assert_eq!(cache.get(&format!("/p/{name}")), Some(None));
        cache.install(&parent, &znode(index + 1, 0));
        cache.install_name(&parent, &name, true);
        assert_eq!(cache.get(&format!("/p/{name}")), None);
    }
    assert!(!cache.lists(&parent));
    assert!((500..2000).contains(&(cache.bytes() - before)));
    cache.install(&parent, &znode(99, 5));
    cache.install_name(&parent, "child-7", false);
    assert_eq!(cache.get("/p/child-7"), Some(None));
    assert_eq!(cache.get("/p/child-8"), None);
    assert!(is_summed(&cache));
    drop(pin_names(&cache, &parent, names(99)));
    assert!(cache.lists(&parent));
    cache.install(&parent, &None);
    assert_eq!(cache.bytes(), before - ZNODE_BYTES);
}

#[test]
fn marks_never_begin_beside_unknown_children() {
    let cache = cache(MAX);
    let parent: Arc<str> = "/p".into();
    cache.install(&parent, &znode(1, 0));
    cache.install(&parent, &znode(2, 0));
    cache.install_name(&parent, "b", true);
    assert_eq!((cache.get("/p/a"), cache.get("/p/b")), (None, None));
    // The parent comes with its last count before its children change.
    cache.install(&parent, &znode(0, 0));
    cache.install_name(&parent, "c", true);
    cache.install_name(&parent, "a", false);
    cache.install_name(&parent, "b", false);
    cache.install_name(&parent, "c", false);
    cache.install(&parent, &znode(1, 0));
    cache.install_name(&parent, "d", true);
    assert_eq!((cache.get("/p/c"), cache.get("/p/d")), (Some(None), None));
}

#[test]
fn marks_of_too_many_children_are_given_up() {
    let cache = cache(MAX / 8);
    let parent: Arc<str> = "/p".into();
    cache.install(&parent, &znode(0, 0));
    let free = |name: &str| cache.get(&format!("/p/{name}"));
    for index in 0..100_000 {
        cache.install(&parent, &znode(index + 1, 0));
        cache.install_name(&parent, &format!("child-{index}"), true);
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
    let cache = cache(MAX);
    let parent: Arc<str> = "/p".into();
    cache.install(&parent, &znode(2, 0));
    let before = cache.bytes();
    drop(pin_names(&cache, &parent, names(2)));
    cache.install_name(&parent, "another", true);
    cache.install_name(&parent, "another", true);
    cache.install(&parent, &znode(3, 10));
    assert_eq!(cache.bytes(), before + 10 + 3 * NAME_BYTES + 2 * 14 + 7);
    assert_eq!(cache.names_bytes(&parent), Some(3 * 4 + 2 * 14 + 7));
    cache.install_name(&parent, "another", false);
    cache.install_name(&parent, "another", false);
    // They are known already.
    drop(pin_names(&cache, &parent, names(5)));
    assert_eq!(cache.bytes(), before + 10 + 2 * (NAME_BYTES + 14));
    assert!(is_summed(&cache));
}

/// The hand passes by what is pinned, and its bytes leave the others their room.
#[test]
fn what_is_pinned_stays_and_takes_no_room() {
    let cache = cache(MAX);
    let mut pinned = Pinned::new(&cache);
    for index in 0..100 {
        assert_eq!(pinned.pin(&path(index), false), None);
        pinned.fill(znode(0, 100_000));
    }
    assert_eq!(pinned.pin("/gone", false), None);
    assert_eq!(pinned.fill(None), None);
    for index in 1000..20_000 {
        cache.install(&path(index), &znode(0, 100));
        let before = cache.hand.load(Relaxed);
        cache.make_room();
        assert!(cache.hand.load(Relaxed) - before <= 4, "at {index}");
    }
    assert!(cache.bytes() > 10_000_000 + MAX / 2);
    assert!((0..100).all(|index| cache.get(&path(index)) == Some(znode(0, 100_000))));
    assert_eq!(cache.get("/gone"), Some(None));
    assert!(is_summed(&cache));
    drop(pinned);
    assert!(cache.bytes() <= MAX && is_summed(&cache));
    assert_eq!(cache.pinned_bytes.load(Relaxed), 0);
}

#[test]
fn it_stays_until_the_last_pin() {
    let cache = cache(MAX);
    let mut first = Pinned::new(&cache);
    let mut second = Pinned::new(&cache);
    assert_eq!(first.pin("/a", false), None);
    assert_eq!(second.pin("/a", false), None);
    first.fill(znode(0, MAX));
    assert_eq!(second.fill(znode(0, 1)), znode(0, MAX));
    drop(first);
    assert_eq!(cache.get("/a"), Some(znode(0, MAX)));
    drop(second);
    // It is larger than a quarter of the cache.
    assert_eq!(
        (cache.get("/a"), cache.bytes(), cache.entries()),
        (None, 0, 0)
    );
}

/// A load that failed leaves nothing that would be taken for knowledge.
#[test]
fn what_was_not_filled_leaves_nothing() {
    let cache = cache(MAX);
    let mut pinned = Pinned::new(&cache);
    assert_eq!(pinned.pin("/a", true), None);
    assert_eq!((cache.get("/a"), cache.get("/a/b")), (None, None));
    assert!(!cache.lists("/a"));
    drop(pinned);
    assert_eq!((cache.bytes(), cache.entries()), (0, 0));
    assert_eq!(cache.get("/a"), None);
}

/// What is larger than a quarter of the cache does not drive the others out of it.
#[test]
fn what_is_large_and_not_pinned_is_not_kept() {
    let cache = cache(MAX);
    cache.install(&"/small".into(), &znode(0, 100));
    cache.install(&"/large".into(), &znode(0, MAX / 2));
    cache.install(&"/grown".into(), &znode(0, 100));
    cache.install(&"/grown".into(), &znode(0, MAX / 2));
    cache.make_room();
    assert_eq!((cache.get("/large"), cache.get("/grown")), (None, None));
    assert_eq!(cache.get("/small"), Some(znode(0, 100)));
    assert!(is_summed(&cache));
}

/// Its names go, what else is known of the parent stays: creates go on asking it what is free.
#[test]
fn a_large_listing_is_let_go_of_with_its_last_pin() {
    let cache = cache(MAX);
    let parent: Arc<str> = "/p".into();
    cache.install(&parent, &znode(0, 10));
    cache.install(&parent, &znode(1, 10));
    cache.install_name(&parent, "child-00000000", true);
    let held = [
        pin_names(&cache, &parent, names(20_000)),
        pin_names(&cache, &parent, Listing::default()),
    ];
    for other in 10..10_000 {
        cache.install(&path(other), &znode(0, 100));
        cache.make_room();
    }
    for pinned in held {
        assert_eq!(
            listed(&cache, &parent).map(|names| names.len()),
            Some(20_000)
        );
        drop(pinned);
    }
    assert_eq!(listed(&cache, &parent), None);
    assert_eq!(cache.get(&parent), Some(znode(1, 10)));
    assert_eq!(cache.get("/p/free"), Some(None));
    assert_eq!(cache.get("/p/child-00000000"), None);
    assert!(is_summed(&cache));
}

/// Names that are pinned stay known when there are none any more, and when others come.
#[test]
fn pinned_names_are_kept_through_deletion() {
    let cache = cache(MAX);
    let parent: Arc<str> = "/p".into();
    cache.install(&parent, &znode(1, 0));
    let mut listing = Listing::default();
    listing.change("a", true);
    let pinned = pin_names(&cache, &parent, listing);
    let is = |expected: &[&str]| {
        assert_eq!(listed(&cache, &parent).unwrap(), expected);
        let bytes = expected.iter().map(|name| 4 + name.len()).sum();
        assert_eq!(cache.names_bytes(&parent), Some(bytes));
    };
    is(&["a"]);
    cache.install(&parent, &znode(0, 0));
    cache.install_name(&parent, "a", false);
    is(&[]);
    cache.install(&parent, &None);
    is(&[]);
    // A multi makes it again with two children: its last count comes before their names.
    cache.install(&parent, &znode(0, 0));
    cache.install(&parent, &znode(2, 0));
    cache.install_name(&parent, "c", true);
    cache.install_name(&parent, "b", true);
    is(&["b", "c"]);
    drop(pinned);
    assert!(is_summed(&cache));
}

#[test]
fn names_may_be_pinned_before_there_is_a_znode() {
    let cache = cache(MAX);
    let parent: Arc<str> = "/p".into();
    let mut pinned = Pinned::new(&cache);
    assert_eq!(pinned.pin(&parent, true), None);
    assert_eq!(pinned.fill(None), None);
    assert_eq!(listed(&cache, &parent), Some(Vec::new()));
    cache.install(&parent, &znode(0, 0));
    cache.install(&parent, &znode(1, 0));
    cache.install_name(&parent, "a", true);
    assert_eq!(listed(&cache, &parent).unwrap(), ["a"]);
    // A listing from the disk that was begun before comes too late.
    pinned.fill_names(names(5));
    assert_eq!(listed(&cache, &parent).unwrap(), ["a"]);
}

#[test]
fn two_paths_may_have_one_hash() {
    let cache = cache(MAX);
    let mut shard = Shard::default();
    let slot = |path: &str, bytes| Slot::new(7, path.into(), Some(znode(0, bytes)));
    let places = ["/a", "/b"].map(|path| shard.insert(&cache, slot(path, path.len())));
    for (place, path) in places.into_iter().zip(["/a", "/b"]) {
        assert_eq!(shard.find(7, path), Some(place));
    }
    shard.change(&cache, places[0], |slot| slot.pin(false));
    cache.bytes.fetch_add(MAX, Relaxed);
    (0..4).for_each(|_| shard.sweep(&cache));
    assert_eq!(shard.find(7, "/a"), Some(places[0]));
    assert_eq!(shard.find(7, "/b"), None);
}
