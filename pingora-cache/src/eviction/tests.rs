use super::*;
use crate::key::{CompactCacheKey, hash_key};
use async_lru::AsyncEvictionCallback;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn entry(number: u32) -> CacheEntryKey {
    CacheEntryKey::key_only(CompactCacheKey {
        primary: hash_key(number.to_le_bytes()),
        variance: number.is_multiple_of(3).then(|| Box::new([7; 16])),
        user_tag: if number.is_multiple_of(5) {
            "me".into()
        } else {
            "".into()
        },
    })
}

fn identified(number: u32) -> CacheEntryKey {
    CacheEntryKey::identified(entry(1).into_key(), CacheEntryId::new(number.into()))
}

fn later() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 33)
}

/// Every kind, with the same limits.
fn managers(limit: usize, most: Option<usize>) -> Vec<(&'static str, Box<dyn EvictionManager>)> {
    vec![
        (
            "simple",
            Box::new(simple_lru::Manager::new_with_watermark(limit, most)),
        ),
        (
            "lru",
            Box::new(lru::Manager::<4>::with_capacity_and_watermark(
                limit, 8, most,
            )),
        ),
        (
            "s3-fifo",
            Box::new(s3_fifo::Manager::<4>::with_watermark(limit, most)),
        ),
    ]
}

#[test]
fn an_account_is_kept() {
    for (name, manager) in managers(100, None) {
        assert_eq!(manager.admit(entry(1), 40, later()), [], "{name}");
        assert_eq!(manager.admit(entry(2), 40, later()), [], "{name}");
        assert_eq!(
            (manager.total_size(), manager.total_items()),
            (80, 2),
            "{name}"
        );
        assert!(
            manager.peek(&entry(1)) && !manager.peek(&entry(3)),
            "{name}"
        );
        // Again, with another size.
        assert_eq!(manager.admit(entry(1), 10, later()), [], "{name}");
        assert_eq!(
            (manager.total_size(), manager.total_items()),
            (50, 2),
            "{name}"
        );
        assert!(manager.access(&entry(2), 40, later()), "{name}");
        assert!(!manager.access(&entry(3), 20, later()), "{name}");
        assert_eq!(
            (manager.total_size(), manager.total_items()),
            (70, 3),
            "{name}"
        );
        assert_eq!(
            manager.increment_weight(&entry(3), 50, Some(30)),
            [],
            "{name}"
        );
        assert_eq!(manager.increment_weight(&entry(9), 50, None), [], "{name}");
        assert_eq!(manager.total_size(), 80, "{name}");
        manager.remove((&entry(2)).into());
        manager.remove((&entry(2)).into());
        assert_eq!(
            (manager.total_size(), manager.total_items()),
            (40, 2),
            "{name}"
        );
        assert_eq!(
            (manager.evicted_size(), manager.evicted_items()),
            (0, 0),
            "{name}"
        );
        // Too large for all: it goes itself, if it has to.
        let evicted = manager.admit(entry(4), 200, later());
        assert!(evicted.contains(&entry(4)), "{name}");
        assert!(manager.total_size() <= 100, "{name}");
        assert_eq!(manager.evicted_items(), evicted.len(), "{name}");
    }
}

#[test]
fn entries_of_one_key_are_told_apart() {
    for (name, manager) in managers(1000, None) {
        manager.admit(identified(1), 1, later());
        manager.admit(identified(2), 2, later());
        manager.admit(entry(1), 4, later());
        manager.remove((&identified(1)).into());
        assert!(
            manager.peek(&identified(2)) && manager.peek(&entry(1)),
            "{name}"
        );
        assert_eq!(
            (manager.total_size(), manager.total_items()),
            (6, 2),
            "{name}"
        );
    }
}

#[test]
fn limits_hold_whatever_comes() {
    for (limit, most) in [
        (5000, None),
        (usize::MAX, Some(50)),
        (5000, Some(20)),
        (0, None),
    ] {
        for (name, manager) in managers(limit, most) {
            let mut known = BTreeSet::new();
            let mut random = fastrand::Rng::with_seed(7);
            for _ in 0..5000 {
                let item = entry(random.u32(..300));
                match random.u8(..10) {
                    0 => {
                        manager.remove((&item).into());
                        known.remove(&item);
                    }
                    1..5 => {
                        let size = random.usize(..200);
                        known.insert(item.clone());
                        for gone in manager.admit(item, size, later()) {
                            assert!(known.remove(&gone), "{name}: evicted twice");
                        }
                        assert!(manager.total_size() <= limit, "{name}");
                        assert!(
                            manager.total_items() <= most.unwrap_or(usize::MAX),
                            "{name}"
                        );
                    }
                    5 => {
                        for gone in manager.increment_weight(&item, 10, None) {
                            assert!(known.remove(&gone), "{name}: evicted twice");
                        }
                    }
                    _ if known.contains(&item) => {
                        assert!(manager.access(&item, 1, later()), "{name}");
                    }
                    _ => assert!(!manager.peek(&item), "{name}"),
                }
                assert_eq!(manager.total_items(), known.len(), "{name}");
            }
            for item in &known {
                manager.remove(item.into());
            }
            assert_eq!(
                (manager.total_size(), manager.total_items()),
                (0, 0),
                "{name}"
            );
        }
    }
}

#[test]
fn the_one_unused_for_longest_goes() {
    let manager = simple_lru::Manager::new(3);
    for number in 1..=3 {
        manager.admit(entry(number), 1, later());
    }
    manager.access(&entry(1), 1, later());
    assert_eq!(manager.admit(entry(4), 1, later()), [entry(2)]);
    assert_eq!(manager.admit(entry(5), 2, later()), [entry(3), entry(1)]);
    let sharded = lru::Manager::<1>::with_capacity(3, 0);
    sharded.admit(entry(1), 2, later());
    sharded.admit(entry(2), 1, later());
    assert_eq!(sharded.peek_lru(0), Some(entry(1)));
    assert_eq!((sharded.shard_weight(0), sharded.shard_len(0)), (3, 2));
    assert_eq!(
        (sharded.shards(), sharded.get_shard_for_key(&entry(9))),
        (1, 0)
    );
    assert_eq!(sharded.peek_weight(&entry(1)), Some(2));
    sharded.set_weight_limit(1);
    assert_eq!(sharded.weight_limit(), 1);
    assert_eq!(sharded.admit(entry(3), 1, later()), [entry(1), entry(2)]);
}

#[test]
fn a_scan_leaves_alone_what_is_used() {
    let manager = s3_fifo::Manager::<1>::new(100);
    let used: Vec<_> = (0..50).map(entry).collect();
    for item in &used {
        manager.admit(item.clone(), 1, later());
        manager.access(item, 1, later());
        manager.access(item, 1, later());
    }
    for number in 1000..11_000 {
        manager.admit(entry(number), 1, later());
    }
    assert!(used.iter().all(|item| manager.peek(item)));
    // An entry that came back soon after its eviction is worth keeping.
    let last = entry(10_000);
    assert!(!manager.peek(&entry(1000)));
    let _ = manager.admit(last, 1, later());
}

#[test]
fn many_threads_agree() {
    for (name, manager) in managers(10_000, None) {
        std::thread::scope(|scope| {
            for seed in 0..4 {
                let manager = &manager;
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(seed);
                    for _ in 0..5000 {
                        let item = entry(random.u32(..500));
                        match random.u8(..4) {
                            0 => manager.remove((&item).into()),
                            1 => drop(manager.admit(item, random.usize(..300), later())),
                            _ => drop(manager.access(&item, 5, later())),
                        }
                    }
                });
            }
        });
        manager.admit(entry(1), 1, later());
        assert!(manager.total_size() <= 10_000, "{name}");
        for number in 0..500 {
            manager.remove((&entry(number)).into());
        }
        assert_eq!(
            (manager.total_size(), manager.total_items()),
            (0, 0),
            "{name}"
        );
    }
}

fn directory(name: &str) -> String {
    let dir = std::env::temp_dir().join(format!("eviction-{name}-{}", std::process::id()));
    dir.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_account_outlives_the_process() {
    let dir = directory("save");
    for ((name, old), (_, new)) in managers(1000, None).into_iter().zip(managers(1000, None)) {
        assert!(new.load(&dir).await.is_ok(), "{name}");
        for number in 0..20 {
            old.admit(entry(number), 10, later());
        }
        old.admit(identified(7), 5, later());
        old.save(&dir).await.unwrap();
        new.admit(entry(0), 3, later());
        new.load(&dir).await.unwrap();
        assert_eq!((new.total_items(), new.total_size()), (21, 198), "{name}");
        assert!((0..20).all(|number| new.peek(&entry(number))), "{name}");
        assert!(new.peek(&identified(7)), "{name}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
    let manager = lru::Manager::<1>::with_capacity(1000, 0);
    for number in 0..5 {
        manager.admit(entry(number), 10, later());
    }
    let bytes = manager.serialize_shard(0).unwrap();
    let other = lru::Manager::<1>::with_capacity(1000, 0);
    other.deserialize_shard(&bytes).unwrap();
    assert_eq!(other.peek_lru(0), Some(entry(0)));
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(other.deserialize_shard(&damaged).is_err(), "{at}");
        assert!(other.deserialize_shard(&bytes[..at]).is_err(), "{at}");
    }
}

#[derive(Default)]
struct Removed(Mutex<Vec<CacheEntryKey>>);

#[async_trait]
impl AsyncEvictionCallback<CacheEntryKey> for Removed {
    async fn evicted(&self, items: Vec<CacheEntryKey>) {
        self.0.lock().unwrap().extend(items);
    }
}

#[tokio::test]
async fn tasks_evict_until_the_server_shuts_down() {
    let (stop, shutdown) = tokio::sync::watch::channel(false);
    let removed = Arc::new(Removed::default());
    let runtime = tokio::runtime::Handle::current();
    let manager = async_lru::Manager::<2>::builder(50, removed.clone(), shutdown, runtime)
        .capacity(8)
        .len_watermark(1000)
        .num_eviction_workers(2)
        .build();
    for number in 0..20 {
        assert_eq!(manager.admit(entry(number), 10, later()), []);
    }
    while manager.total_size() > 50 || manager.total_items() + removed.0.lock().unwrap().len() < 20
    {
        tokio::task::yield_now().await;
    }
    assert_eq!(manager.total_items(), 5);
    assert_eq!(manager.evicted_items(), 15);
    let kept = (0..20).map(entry).find(|item| manager.peek(item)).unwrap();
    assert_eq!(manager.peek_weight(&kept), Some(10));
    let shard = manager.get_shard_for_key(&kept);
    assert!(manager.shard_len(shard) > 0 && manager.peek_lru(shard).await.is_some());
    assert!(manager.shard_weight(shard).await.unwrap() >= 10);
    assert_eq!(manager.shard_weight(manager.shards()).await, None);
    assert!(!manager.serialize_shard(shard).await.unwrap().is_empty());
    let same = async_lru::Manager::from_lru(manager.as_lru().clone());
    assert_eq!(same.total_items(), 5);
    stop.send(true).unwrap();
    // The tasks' references to what removes go with them.
    while Arc::strong_count(&removed) > 1 {
        tokio::task::yield_now().await;
    }
}
