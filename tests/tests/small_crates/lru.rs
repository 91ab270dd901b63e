//! `pingora-lru`.

use pingora_lru::Lru;

#[test]
fn the_items_of_lru() {
    let lru: Lru<String, 8> = Lru::with_capacity(10, 16);
    let shard: usize = lru.admit(17, "a".into(), 4);
    assert_eq!((shard, lru.get_shard(17), lru.shards()), (1, 1, 8));
    assert!(lru.promote(17) && lru.promote_top_n(17, 3) && lru.peek(17));
    assert_eq!(lru.peek_weight(17), Some(4));
    assert_eq!(lru.increment_weight(17, 1, Some(100)), 5);
    assert!(lru.insert_tail(25, "b".into(), 7));
    assert_eq!((lru.weight(), lru.len(), lru.shard_len(1)), (12, 2, 2));
    let evicted: Vec<(String, usize)> = lru.evict_to_limit();
    assert_eq!(evicted, [("b".to_string(), 7)]);
    assert_eq!((lru.evicted_weight(), lru.evicted_len()), (7, 1));
    let mut seen = Vec::new();
    lru.iter_for_each(1, |(data, weight)| seen.push((data.clone(), weight)));
    assert_eq!(seen, [("a".to_string(), 5)]);
    assert_eq!(lru.evict_shard(0), None);
    assert_eq!(lru.remove(17), Some(("a".to_string(), 5)));
    let _ = Lru::<u8, 1>::with_capacity_and_watermark(1, 1, Some(1));
}
