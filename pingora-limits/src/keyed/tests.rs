//! Many keys, few places.

use super::*;
use crate::random::Random;
use std::sync::atomic::AtomicUsize;
use std::thread;

const SECOND: Duration = Duration::from_secs(1);

fn ten_per_second(keys: usize) -> Keyed {
    Keyed::new(Quota::new(10, SECOND), keys)
}

/// The number of these events that pass.
fn passed(table: &Keyed, hash: u64, now: u64, events: usize) -> usize {
    let passes = |_: &usize| table.take_hashed(hash, now, 1).allowed;
    (0..events).filter(passes).count()
}

/// Hashes of keys that all belong to the first set.
fn colliding(count: u64) -> Vec<u64> {
    (0..count).map(|n| 1000 + n).collect()
}

fn keys_of(set: &Set) -> Vec<u64> {
    let keys = set.keys.iter().map(|key| key.load(Ordering::Relaxed));
    keys.filter(|key| *key != FREE).collect()
}

#[test]
fn each_key_has_a_quota_of_its_own() {
    let table = ten_per_second(1024);
    for key in ["a", "b", "c"] {
        let at = |seconds: u64| table.take_at(key, SECOND * seconds as u32, 1).allowed;
        assert_eq!((0..20).filter(|_| at(5)).count(), 10, "{key}");
        assert_eq!((0..20).filter(|_| at(6)).count(), 10, "{key}");
    }
    assert_eq!(table.take("d").remaining, 9);
    let heavy = table.take_at("e", SECOND, 7);
    assert_eq!((heavy.allowed, heavy.remaining), (true, 3));
    let look = table.take_at("f", SECOND, 0);
    assert_eq!((look.remaining, table.take_at("f", SECOND, 0)), (10, look));
}

#[test]
fn a_table_is_as_large_as_its_keys() {
    for (keys, capacity) in [(0, 8), (1, 8), (8, 8), (9, 16), (65_536, 65_536)] {
        assert_eq!(ten_per_second(keys).capacity(), capacity);
    }
    assert_eq!(size_of::<Set>(), 16 * PLACES);
}

/// Keys that are forgotten are not treated differently.
#[test]
fn idle_keys_give_way_and_lose_nothing() {
    let table = ten_per_second(8);
    let mut now = 0;
    for round in 0..100 {
        for hash in colliding(8) {
            assert_eq!(passed(&table, hash + round * 8, now, 20), 10);
        }
        assert_eq!(table.displaced(), 0);
        assert_eq!(keys_of(&table.sets[0]).len(), 8);
        now += 1_000_000_000;
    }
}

/// Keys chosen to collide: those that have used most stay limited, whichever others come.
#[test]
fn in_a_full_set_the_least_busy_key_gives_way() {
    let table = ten_per_second(8);
    let keys = colliding(8);
    for (used, hash) in keys.iter().enumerate() {
        assert_eq!(passed(&table, *hash, 0, used + 3), used + 3);
    }
    // A thousand newcomers take turns at the place of the key that had used three of ten.
    for newcomer in 0..1000 {
        assert_eq!(passed(&table, 5000 + newcomer, 0, 1), 1);
    }
    assert_eq!(table.displaced(), 1000);
    let left = keys_of(&table.sets[0]);
    assert!(keys[1..].iter().all(|key| left.contains(key)), "{left:?}");
    for (used, hash) in keys.iter().enumerate().skip(1) {
        assert_eq!(passed(&table, *hash, 0, 20), 10 - (used + 3));
    }
    // It has started again, and gained what it had used.
    assert_eq!(passed(&table, keys[0], 0, 20), 10);
}

#[test]
fn a_key_that_hashes_to_a_mark_is_a_key() {
    let table = ten_per_second(8);
    for hash in [FREE, TAKEN, u64::MAX] {
        let other = if hash == TAKEN { 0 } else { 10 };
        assert_eq!(passed(&table, hash, 0, 20), other, "{hash}");
    }
}

/// A million clients, a thousand of which are busy at any time: memory does not grow, and no client gets
/// more than a quota or less than it is entitled to.
#[test]
fn clients_come_and_go() {
    let table = ten_per_second(4096);
    let mut random = Random::new(3);
    let mut now = 0;
    for round in 0..1000 {
        for client in 0..1000_u64 {
            let id = (round * 1000 + client).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let events = random.below(3) as usize;
            assert_eq!(passed(&table, id, now, events), events);
        }
        now += 1_000_000_000;
    }
    assert!(table.displaced() < 1000, "{}", table.displaced());
    assert_eq!(table.capacity(), 4096);
}

#[test]
fn threads_together_get_exactly_a_burst_of_each_key() {
    let table = Keyed::new(Quota::new(1000, Duration::from_secs(3600)), 1024);
    let counts: [AtomicUsize; 16] = Default::default();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for turn in 0..16 * 500 {
                    let key = turn % 16;
                    let allowed = table.take_at(&key, SECOND, 1).allowed;
                    counts[key].fetch_add(usize::from(allowed), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(counts.map(AtomicUsize::into_inner), [1000; 16]);
    assert_eq!(table.displaced(), 0);
}

/// Places change hands all the time, while the key that is always the busiest is charged: none of its
/// events is lost, and none is charged to another.
#[test]
fn a_busy_key_keeps_its_place_while_others_change_hands() {
    let quota = Quota::new(20_000, Duration::from_secs(3600));
    let table = Keyed::new(quota, 8);
    let busy = 7;
    assert_eq!(passed(&table, busy, 0, 1000), 1000);
    let passes: usize = thread::scope(|scope| {
        let charging: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| passed(&table, busy, 0, 15_000)))
            .collect();
        for thread in 0..2_u64 {
            let table = &table;
            scope.spawn(move || {
                for n in 0..10_000 {
                    table.take_hashed(100_000 * (thread + 1) + n, 0, 1);
                }
            });
        }
        charging.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(passes, 19_000);
    let keys = keys_of(&table.sets[0]);
    let mut distinct = keys.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(
        (keys.len(), distinct.len()),
        (8, 8),
        "no key is there twice"
    );
}
