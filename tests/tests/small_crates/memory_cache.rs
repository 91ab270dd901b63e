//! `pingora-memory-cache`.

use async_trait::async_trait;
use pingora_memory_cache::{CacheStatus, Lookup, MemoryCache, MultiLookup, RTCache};
use std::error::Error;
use std::sync::LazyLock;
use std::time::Duration;

const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

struct Doubled;

#[async_trait]
impl Lookup<u32, u32, String> for Doubled {
    async fn lookup(
        key: &u32,
        _extra: Option<&String>,
    ) -> Result<(u32, Option<Duration>), Box<dyn Error + Send + Sync>> {
        Ok((key * 2, None))
    }
}

#[async_trait]
impl MultiLookup<u32, u32, String> for Doubled {
    async fn multi_lookup(
        keys: &[&u32],
        _extra: Option<&String>,
    ) -> Result<Vec<(u32, Option<Duration>)>, Box<dyn Error + Send + Sync>> {
        Ok(keys.iter().map(|key| (**key * 2, None)).collect())
    }
}

static CACHE: LazyLock<RTCache<u32, u32, Doubled, String>> =
    LazyLock::new(|| RTCache::new(100, MINUTE, MINUTE));

#[tokio::test]
async fn the_items_of_read_through() {
    let (value, status): (pingora::Result<u32>, CacheStatus) = CACHE.get(&1, MINUTE, None).await;
    assert_eq!((value.unwrap(), status.as_str()), (2, "miss"));
    let extra = String::new();
    let stale_ttl = Duration::from_secs(1);
    let (value, _) = CACHE.get_stale(&1, MINUTE, Some(&extra), stale_ttl).await;
    assert_eq!(value.unwrap(), 2);
    let (value, _) = CACHE
        .get_stale_while_update(&1, MINUTE, Some(&extra), stale_ttl)
        .await;
    assert_eq!(value.unwrap(), 2);
    let values = CACHE.multi_get([1, 2].iter(), MINUTE, None).await.unwrap();
    assert_eq!(values, [(2, CacheStatus::Hit), (4, CacheStatus::Miss)]);
}

#[test]
fn the_items_of_memory_cache() {
    let cache: MemoryCache<String, Vec<u8>> = MemoryCache::new(10);
    cache.put("a", vec![1], MINUTE);
    cache.force_put(&"b".to_string(), vec![2], None);
    let (value, status): (Option<Vec<u8>>, CacheStatus) = cache.get("a");
    assert!(value == Some(vec![1]) && status == CacheStatus::Hit && status.stale().is_none());
    assert_eq!(cache.get_stale("b").0, Some(vec![2]));
    let values: Vec<(Option<Vec<u8>>, CacheStatus)> = cache.multi_get(["a", "c"].into_iter());
    assert_eq!(values[1], (None, CacheStatus::Miss));
    cache.remove("a");
    assert!(cache.get("a").0.is_none());
    let _ = [
        CacheStatus::Expired,
        CacheStatus::LockHit,
        CacheStatus::Stale(Duration::ZERO),
    ];
}
