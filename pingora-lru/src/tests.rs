use super::*;
use std::collections::VecDeque;

fn order(lru: &Lru<u64, 1>) -> Vec<u64> {
    let mut items = Vec::new();
    lru.iter_for_each(0, |(&data, _)| items.push(data));
    items
}

fn filled() -> Lru<u64, 1> {
    let lru = Lru::new(3);
    (1..=3).for_each(|key| _ = lru.admit(key, key, 1));
    lru
}

#[test]
fn what_is_used_comes_to_the_front() {
    let lru = filled();
    assert_eq!(order(&lru), [3, 2, 1]);
    assert!(lru.promote(1));
    assert_eq!(order(&lru), [1, 3, 2]);
    assert!(lru.promote_top_n(3, 2));
    assert_eq!(order(&lru), [1, 3, 2]);
    assert!(lru.promote_top_n(2, 2));
    assert_eq!(order(&lru), [2, 1, 3]);
    assert!(lru.insert_tail(4, 4, 1));
    assert!(!lru.insert_tail(4, 5, 1));
    assert_eq!(order(&lru), [2, 1, 3, 4]);
    assert!(!lru.promote(9));
    assert!(lru.peek(1) && !lru.peek(9));
    assert_eq!(
        (lru.with(1, |data| *data), lru.with(9, |data| *data)),
        (Some(1), None)
    );
}

#[test]
fn weights_decide_how_much_goes() {
    let lru = filled();
    assert!(lru.evict_to_limit().is_empty());
    assert_eq!(lru.admit(3, 33, 2), 0);
    assert_eq!(
        (lru.weight(), lru.len(), lru.peek_weight(3)),
        (4, 3, Some(2))
    );
    assert_eq!(lru.evict_to_limit(), [(1, 1)]);
    assert_eq!(lru.increment_weight(3, 10, Some(3)), 3);
    assert_eq!(lru.increment_weight(9, 10, None), 0);
    assert_eq!(lru.evict_to_limit(), [(2, 1)]);
    assert_eq!((lru.evicted_len(), lru.evicted_weight()), (2, 2));
    assert_eq!(lru.remove(3), Some((33, 3)));
    assert_eq!(lru.remove(3), None);
    assert!(lru.is_empty());
    assert_eq!(
        (lru.weight(), lru.evict_shard(0), lru.evict_shard(7)),
        (0, None, None)
    );
}

#[test]
fn there_may_be_a_limit_of_items_too() {
    let lru = Lru::<u64, 2>::with_capacity_and_watermark(100, 4, Some(2));
    (0..4).for_each(|key| _ = lru.admit(key, key, 0));
    assert_eq!(
        (
            lru.weight(),
            lru.shard_len(0),
            lru.shard_len(1),
            lru.shard_len(2)
        ),
        (4, 2, 2, 0)
    );
    let evicted: Vec<u64> = lru
        .evict_to_limit()
        .into_iter()
        .map(|(data, _)| data)
        .collect();
    assert_eq!(evicted, [0, 1]);
}

/// The same steps, on a list that is obviously right.
#[test]
fn it_does_what_a_plain_list_does() {
    let lru = Lru::<u64, 1>::new(20);
    let mut plain = VecDeque::new();
    let mut random = 1_u64;
    for step in 0..5000 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let key = (random >> 33) % 40;
        let found = plain.iter().position(|&k| k == key);
        match (random >> 50) % 4 {
            0 | 1 => {
                found.map(|at| plain.remove(at));
                plain.push_front(key);
                lru.admit(key, key, 1);
            }
            2 => {
                if let Some(at) = found {
                    plain.remove(at);
                    plain.push_front(key);
                }
                assert_eq!(lru.promote(key), found.is_some());
            }
            _ => {
                found.map(|at| plain.remove(at));
                assert_eq!(lru.remove(key), found.map(|_| (key, 1)));
            }
        }
        lru.evict_to_limit();
        plain.truncate(20);
        assert_eq!(order(&lru), Vec::from(plain.clone()), "after step {step}");
    }
}

#[test]
fn threads_lose_nothing() {
    let lru = Lru::<u64, 4>::new(100);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let lru = &lru;
            scope.spawn(move || {
                for key in 0..1000 {
                    lru.admit(key + thread * 500, key, 1);
                    lru.evict_to_limit();
                }
            });
        }
    });
    let len: usize = (0..4).map(|shard| lru.shard_len(shard)).sum();
    assert_eq!((lru.len(), lru.weight()), (len, len));
    assert!(len <= 100);
}

#[test]
fn shards_know_their_weight_and_their_last() {
    let lru = Lru::<&str, 2>::new(100);
    lru.admit(0, "a", 5);
    lru.admit(2, "b", 6);
    lru.admit(1, "c", 7);
    assert_eq!([0, 1, 2].map(|shard| lru.shard_weight(shard)), [11, 7, 0]);
    assert_eq!(
        lru.peek_last(0, |(item, weight)| (*item, weight)),
        Some(("a", 5))
    );
    assert_eq!(lru.peek_last(2, |_| ()), None);
    lru.increment_weight(0, 10, None);
    lru.remove(2);
    assert_eq!([0, 1].map(|shard| lru.shard_weight(shard)), [15, 7]);
    lru.set_weight_limit(15);
    assert_eq!(lru.weight_limit(), 15);
    lru.evict_to_limit();
    assert_eq!(lru.weight(), lru.shard_weight(0) + lru.shard_weight(1));
}
