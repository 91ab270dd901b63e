use super::*;
use crate::MemCache;
use crate::storage::MissFinishType;
use bytes::Bytes;
use pingora_http::ResponseHeader;
use std::time::Duration;

struct Tiers {
    store: &'static TieredStore,
    first: &'static MemCache,
    second: &'static MemCache,
}

/// Two storages in memory, the first of which takes up to this many bytes.
fn tiers(first: usize) -> Tiers {
    let first: &'static MemCache = Box::leak(Box::new(MemCache::bounded(first)));
    let second: &'static MemCache = Box::leak(Box::new(MemCache::bounded(1 << 30)));
    let store = Box::leak(Box::new(TieredStore::new(first, second)));
    Tiers {
        store,
        first,
        second,
    }
}

fn trace() -> SpanHandle {
    crate::trace::Span::inactive().handle()
}

fn meta() -> CacheMeta {
    let now = crate::clock::now();
    let header = ResponseHeader::build(200, None).unwrap();
    CacheMeta::new(now + Duration::from_secs(60), now, 0, 0, header)
}

fn key() -> CacheKey {
    CacheKey::new("GET https://one.example/", "")
}

async fn store(storage: &'static (dyn Storage + Sync), body: &[u8]) {
    let mut miss = storage
        .get_miss_handler(&key(), &meta(), &trace())
        .await
        .unwrap();
    for piece in body.chunks(1000) {
        miss.write_body(Bytes::copy_from_slice(piece), false)
            .await
            .unwrap();
    }
    let finished = miss.finish().await.unwrap();
    assert!(matches!(finished, MissFinishType::Created(size) if size >= body.len()));
}

async fn read(storage: &'static (dyn Storage + Sync)) -> Option<Vec<u8>> {
    let (_, mut hit) = storage.lookup(&key(), &trace()).await.unwrap()?;
    let mut body = Vec::new();
    while let Some(piece) = hit.read_body().await.unwrap() {
        body.extend(piece);
    }
    Some(body)
}

#[tokio::test]
async fn what_is_stored_is_in_both() {
    let tiers = tiers(1 << 20);
    assert_eq!(read(tiers.store).await, None);
    store(tiers.store, &[1; 5000]).await;
    for storage in [
        tiers.store as &(dyn Storage + Sync),
        tiers.first,
        tiers.second,
    ] {
        assert_eq!(read(storage).await.unwrap(), [1; 5000]);
    }
    assert!(
        tiers
            .store
            .update_meta(&key(), &meta(), &trace())
            .await
            .unwrap()
    );
    let compact = key().to_compact();
    let target = PurgeTarget::Active(&compact);
    assert_eq!(
        tiers.store.expire(target, &trace()).await.unwrap(),
        PurgeOutcome::Expired
    );
    for storage in [tiers.first, tiers.second] {
        let (meta, _) = storage.lookup(&key(), &trace()).await.unwrap().unwrap();
        assert!(!meta.is_fresh(crate::clock::now()));
    }
    let purge = || tiers.store.purge(target, PurgeType::Invalidation, &TRACE);
    assert_eq!(purge().await.unwrap(), PurgeOutcome::Purged(None));
    assert_eq!(purge().await.unwrap(), PurgeOutcome::NotFound);
    assert_eq!(
        (read(tiers.first).await, read(tiers.second).await),
        (None, None)
    );
    assert!(
        !tiers
            .store
            .update_meta(&key(), &meta(), &trace())
            .await
            .unwrap()
    );
}

static TRACE: std::sync::LazyLock<SpanHandle> = std::sync::LazyLock::new(trace);

/// The copy is made by a task of its own.
async fn copied(tiers: &Tiers) -> Vec<u8> {
    loop {
        if let Some(body) = read(tiers.first).await {
            return body;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_the_first_has_not_is_copied_there() {
    let tiers = tiers(1 << 20);
    store(tiers.second, &[2; 5000]).await;
    // Read in part, or not to its end: not copied.
    let (_, mut hit) = tiers.store.lookup(&key(), &trace()).await.unwrap().unwrap();
    assert!(hit.can_seek());
    hit.seek(10, Some(20)).unwrap();
    assert_eq!(hit.read_body().await.unwrap().unwrap(), [2; 10][..]);
    assert!(hit.read_body().await.unwrap().is_none());
    drop(hit);
    let (_, mut hit) = tiers.store.lookup(&key(), &trace()).await.unwrap().unwrap();
    hit.read_body().await.unwrap();
    // Others don't wait for this one to go on.
    assert_eq!(read(tiers.first).await, None);
    assert_eq!(read(tiers.store).await.unwrap(), [2; 5000]);
    assert_eq!(copied(&tiers).await, [2; 5000]);
    drop(hit);
}

#[tokio::test]
async fn a_copy_brings_nothing_back() {
    let tiers = tiers(1 << 20);
    store(tiers.second, &[2; 5000]).await;
    let (_, mut hit) = tiers.store.lookup(&key(), &trace()).await.unwrap().unwrap();
    hit.read_body().await.unwrap();
    let compact = key().to_compact();
    let target = PurgeTarget::Active(&compact);
    let purged = tiers
        .store
        .purge(target, PurgeType::Invalidation, &trace())
        .await;
    assert_eq!(purged.unwrap(), PurgeOutcome::Purged(None));
    let tasks = tokio::runtime::Handle::current().metrics();
    while hit.read_body().await.unwrap().is_some() {}
    while tasks.num_alive_tasks() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(read(tiers.store).await, None);
}

#[tokio::test]
async fn what_is_large_is_in_the_second_only() {
    let tiers = tiers(64 << 20);
    store(tiers.store, &[3; 5000]).await;
    store(tiers.store, &vec![4; 1_100_000]).await;
    // Not the older one either.
    assert_eq!(read(tiers.first).await, None);
    assert_eq!(read(tiers.store).await.unwrap().len(), 1_100_000);
    // The first takes an eighth of this at most.
    let small = self::tiers(16 * 1024);
    store(small.store, &[3; 5000]).await;
    assert_eq!(read(small.store).await.unwrap(), [3; 5000]);
}

#[tokio::test]
async fn readers_follow_the_second() {
    let tiers = tiers(1 << 20);
    let mut miss = tiers
        .store
        .get_miss_handler(&key(), &meta(), &trace())
        .await
        .unwrap();
    let tag = miss.streaming_write_tag().unwrap().to_owned();
    assert!(tiers.store.support_streaming_partial_write());
    let found = tiers
        .store
        .lookup_streaming_write(&key(), Some(&tag), &trace())
        .await;
    let (_, mut follower) = found.unwrap().unwrap();
    miss.write_body(Bytes::from_static(b"piece"), false)
        .await
        .unwrap();
    assert_eq!(follower.read_body().await.unwrap().unwrap(), "piece");
    assert!(miss.has_readers());
    drop(miss);
    assert!(follower.read_body().await.is_err());
    assert_eq!(read(tiers.store).await, None);
}
