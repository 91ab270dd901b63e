use super::*;
use crate::eviction::CacheEntryKey;
use crate::trace::Span;
use bytes::Bytes;
use pingora_http::ResponseHeader;

fn leaked(cache: MemCache) -> &'static MemCache {
    Box::leak(Box::new(cache))
}

fn trace() -> SpanHandle {
    Span::inactive().handle()
}

fn key(text: &str) -> CacheKey {
    CacheKey::new(text, "")
}

fn meta() -> CacheMeta {
    let now = crate::clock::now();
    let header = ResponseHeader::build(200, None).unwrap();
    CacheMeta::new(now + Duration::from_secs(60), now, 0, 0, header)
}

async fn begin(cache: &'static MemCache, key: &CacheKey) -> MissHandler {
    cache
        .get_miss_handler(key, &meta(), &trace())
        .await
        .unwrap()
}

async fn store(cache: &'static MemCache, key: &CacheKey, body: &[u8]) -> Result<()> {
    let mut miss = cache.get_miss_handler(key, &meta(), &trace()).await?;
    miss.write_body(Bytes::copy_from_slice(body), true).await?;
    miss.finish().await.map(|_| ())
}

async fn find(cache: &'static MemCache, key: &CacheKey) -> Option<HitHandler> {
    let found = cache.lookup(key, &trace()).await.unwrap();
    found.map(|(_, hit)| hit)
}

async fn rest(hit: &mut HitHandler) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(piece) = hit.read_body().await? {
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

async fn purge(cache: &'static MemCache, key: &CacheKey, kind: PurgeType) -> PurgeOutcome {
    let key = key.to_compact();
    let target = PurgeTarget::Active(&key);
    cache.purge(target, kind, &trace()).await.unwrap()
}

#[tokio::test]
async fn what_is_stored_is_found_and_shared() {
    let cache = leaked(MemCache::new());
    assert!(find(cache, &key("a")).await.is_none());
    store(cache, &key("a"), b"hello").await.unwrap();
    let (mut one, mut two) = (
        find(cache, &key("a")).await.unwrap(),
        find(cache, &key("a")).await.unwrap(),
    );
    let (one, two) = (
        one.read_body().await.unwrap().unwrap(),
        two.read_body().await.unwrap().unwrap(),
    );
    assert_eq!(one, "hello");
    assert_eq!(one.as_ptr(), two.as_ptr(), "no copy");
    assert!(find(cache, &key("b")).await.is_none());
    assert_eq!(cache.stored_entries(), 1);
    assert!(cache.stored_bytes() > 5);
    assert_eq!(
        purge(cache, &key("a"), PurgeType::Invalidation).await,
        PurgeOutcome::Purged(None)
    );
    assert_eq!(
        purge(cache, &key("a"), PurgeType::Invalidation).await,
        PurgeOutcome::NotFound
    );
    assert_eq!((cache.stored_entries(), cache.stored_bytes()), (0, 0));
}

#[tokio::test]
async fn a_reader_follows_a_fill_to_its_end() {
    let cache = leaked(MemCache::new());
    let mut miss = begin(cache, &key("a")).await;
    assert!(!miss.has_readers());
    let mut early = find(cache, &key("a")).await.unwrap();
    assert!(miss.has_readers() && !early.should_count_access());
    let reads = tokio::spawn(async move { rest(&mut early).await });
    for piece in ["one ", "two ", "three"] {
        tokio::task::yield_now().await;
        miss.write_body(Bytes::from(piece), piece == "three")
            .await
            .unwrap();
    }
    let tag = miss.streaming_write_tag().unwrap().to_vec();
    let (name, trace) = (key("a"), trace());
    let by_tag = cache.lookup_streaming_write(&name, Some(&tag), &trace);
    let (_, mut by_tag) = by_tag.await.unwrap().unwrap();
    miss.finish().await.unwrap();
    assert_eq!(reads.await.unwrap().unwrap(), b"one two three");
    assert_eq!(rest(&mut by_tag).await.unwrap(), b"one two three");
    assert_eq!(
        rest(&mut find(cache, &key("a")).await.unwrap())
            .await
            .unwrap(),
        b"one two three"
    );
}

#[tokio::test]
async fn what_was_not_finished_never_was() {
    let cache = leaked(MemCache::new());
    store(cache, &key("a"), b"old").await.unwrap();
    let before = cache.stored_bytes();
    let mut miss = begin(cache, &key("a")).await;
    miss.write_body(Bytes::from("half of"), true).await.unwrap();
    let mut early = find(cache, &key("a")).await.unwrap();
    assert_eq!(early.read_body().await.unwrap().unwrap(), "half of");
    drop(miss);
    assert!(early.read_body().await.is_err(), "never a clean end");
    assert_eq!(
        rest(&mut find(cache, &key("a")).await.unwrap())
            .await
            .unwrap(),
        b"old"
    );
    assert_eq!(cache.stored_bytes(), before);
}

#[tokio::test]
async fn of_two_fills_each_is_whole() {
    let cache = leaked(MemCache::new());
    let (mut one, mut two) = (begin(cache, &key("a")).await, begin(cache, &key("a")).await);
    let mut behind_two = find(cache, &key("a")).await.unwrap();
    one.write_body(Bytes::from("1"), false).await.unwrap();
    two.write_body(Bytes::from("2"), false).await.unwrap();
    one.write_body(Bytes::from("1"), true).await.unwrap();
    one.finish().await.unwrap();
    two.write_body(Bytes::from("2"), true).await.unwrap();
    two.finish().await.unwrap();
    assert_eq!(rest(&mut behind_two).await.unwrap(), b"22");
    assert_eq!(
        rest(&mut find(cache, &key("a")).await.unwrap())
            .await
            .unwrap(),
        b"22"
    );
    assert_eq!(cache.stored_entries(), 1);
    purge(cache, &key("a"), PurgeType::Eviction).await;
    assert_eq!(cache.stored_bytes(), 0);
}

#[tokio::test]
async fn what_is_purged_while_it_is_written_is_not_kept() {
    let cache = leaked(MemCache::new());
    let mut miss = begin(cache, &key("a")).await;
    let mut early = find(cache, &key("a")).await.unwrap();
    assert_ne!(
        purge(cache, &key("a"), PurgeType::Invalidation).await,
        PurgeOutcome::NotFound
    );
    assert!(find(cache, &key("a")).await.is_none());
    miss.write_body(Bytes::from("x"), true).await.unwrap();
    assert!(matches!(
        miss.finish().await.unwrap(),
        crate::storage::MissFinishType::Created(0)
    ));
    assert_eq!(rest(&mut early).await.unwrap(), b"x");
    assert!(find(cache, &key("a")).await.is_none());
    assert_eq!(cache.stored_bytes(), 0);
}

#[tokio::test]
async fn parts_are_found_wherever_the_pieces_end() {
    let cache = leaked(MemCache::new());
    let body: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
    let mut miss = begin(cache, &key("a")).await;
    let mut behind = find(cache, &key("a")).await.unwrap();
    for piece in body.chunks(70_001) {
        miss.write_body(Bytes::copy_from_slice(piece), false)
            .await
            .unwrap();
    }
    miss.finish().await.unwrap();
    let mut whole = find(cache, &key("a")).await.unwrap();
    for hit in [&mut behind, &mut whole] {
        assert!(hit.can_seek() && hit.can_seek_multipart());
        for (start, end) in [
            (0, 1),
            (70_000, 70_003),
            (199_999, 200_000),
            (5, 200_000),
            (9, 9),
        ] {
            hit.seek_multipart(start, Some(end)).unwrap();
            assert_eq!(rest(hit).await.unwrap(), body[start..end]);
        }
        hit.seek(3, None).unwrap();
        assert_eq!(rest(hit).await.unwrap(), body[3..]);
        hit.seek(300_000, None).unwrap();
        assert_eq!(rest(hit).await.unwrap(), b"");
    }
}

#[tokio::test]
async fn variants_are_entries_of_their_own_and_go_with_their_key() {
    let cache = leaked(MemCache::new());
    let variant = |n: u8| {
        let mut key = key("a");
        key.set_variance_key([n; 16]);
        key
    };
    store(cache, &key("a"), b"first").await.unwrap();
    for n in 0..80 {
        store(cache, &variant(n), &[n]).await.unwrap();
    }
    assert_eq!(cache.stored_entries(), 64, "more than that are not kept");
    assert!(find(cache, &variant(0)).await.is_none());
    assert_eq!(
        rest(&mut find(cache, &variant(79)).await.unwrap())
            .await
            .unwrap(),
        [79]
    );
    purge(cache, &variant(79), PurgeType::Invalidation).await;
    assert_eq!(cache.stored_entries(), 63);
    purge(cache, &key("a"), PurgeType::Eviction).await;
    assert_eq!(cache.stored_entries(), 62);
    purge(cache, &key("a"), PurgeType::Invalidation).await;
    assert_eq!((cache.stored_entries(), cache.stored_bytes()), (0, 0));
}

#[tokio::test]
async fn what_expires_stays_and_metadata_changes() {
    let cache = leaked(MemCache::new());
    let compact = key("a").to_compact();
    let handle = trace();
    let expire = || cache.expire(PurgeTarget::Active(&compact), &handle);
    assert_eq!(expire().await.unwrap(), PurgeOutcome::NotFound);
    assert!(
        !cache
            .update_meta(&key("a"), &meta(), &trace())
            .await
            .unwrap()
    );
    store(cache, &key("a"), b"x").await.unwrap();
    assert_eq!(expire().await.unwrap(), PurgeOutcome::Expired);
    let (found, _) = cache.lookup(&key("a"), &trace()).await.unwrap().unwrap();
    assert!(!found.is_fresh(crate::clock::now()));
    assert!(
        cache
            .update_meta(&key("a"), &meta(), &trace())
            .await
            .unwrap()
    );
    let (found, _) = cache.lookup(&key("a"), &trace()).await.unwrap().unwrap();
    assert!(found.is_fresh(crate::clock::now()));
    let exact = CacheEntryKey::identified(compact.clone(), CacheEntryId::new(1));
    let target = PurgeTarget::Exact(&exact);
    let outcome = cache.purge(target, PurgeType::Eviction, &trace()).await;
    assert_eq!(
        outcome.unwrap(),
        PurgeOutcome::NotFound,
        "this storage numbers nothing"
    );
}

#[tokio::test]
async fn a_bounded_storage_stays_within_its_bound_and_keeps_what_is_read() {
    const LIMIT: usize = 256 * 1024;
    let cache = leaked(MemCache::bounded(LIMIT));
    let body = vec![7; 4000];
    store(cache, &key("wanted"), &body).await.unwrap();
    for n in 0..1000 {
        store(cache, &key(&n.to_string()), &body).await.unwrap();
        assert!(cache.stored_bytes() <= LIMIT);
        assert!(find(cache, &key("wanted")).await.is_some(), "after {n}");
    }
    assert!(cache.evicted_entries() > 900);
    assert!(cache.stored_entries() > LIMIT / 2 / 4600);
    // Too large for it: refused in any state.
    let large = vec![7; LIMIT / 4];
    assert!(store(cache, &key("large"), &large).await.is_err());
    assert!(find(cache, &key("large")).await.is_none());
    // The same key again and again leaves nothing behind.
    for _ in 0..1000 {
        store(cache, &key("same"), b"x").await.unwrap();
    }
    let queued: usize = cache
        .shards
        .iter()
        .map(|s| s.read().unwrap().queued())
        .sum();
    assert!(queued < 64 * 70 + 2 * cache.stored_entries());
}

#[tokio::test]
async fn fills_of_a_bounded_storage_are_within_its_bound() {
    const LIMIT: usize = 100_000;
    let cache = leaked(MemCache::bounded(LIMIT));
    let mut open = Vec::new();
    let mut refused = 0;
    for n in 0..20 {
        let key = key(&n.to_string());
        let Ok(mut miss) = cache.get_miss_handler(&key, &meta(), &trace()).await else {
            refused += 1;
            continue;
        };
        match miss.write_body(Bytes::from(vec![7; 10_000]), false).await {
            Ok(()) => open.push(miss),
            Err(_) => refused += 1,
        }
        assert!(cache.stored_bytes() <= LIMIT);
    }
    assert!(refused > 0 && open.len() > 5);
    drop(open);
    assert_eq!(cache.stored_bytes(), 0);
}

#[tokio::test]
async fn a_large_body_is_in_a_file_and_outlives_its_entry() {
    let cache = leaked(MemCache::bounded(16 << 20));
    let body: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    store(cache, &key("a"), &body).await.unwrap();
    // Whole pages are counted.
    assert!(cache.stored_bytes() >= body.len().next_multiple_of(4096));
    let mut hit = find(cache, &key("a")).await.unwrap();
    let Some(part) = hit.file_part() else {
        // Other tests have taken all descriptors there may be, or the system has no such files.
        return;
    };
    assert_eq!(part.length(), 200_000);
    assert_eq!(part.is_in_memory(u64::MAX), Some(true));
    purge(cache, &key("a"), PurgeType::Eviction).await;
    assert_eq!(cache.stored_bytes(), 0);
    hit.file_sent(60_000);
    assert_eq!(hit.file_part().unwrap().length(), 140_000);
    assert!(rest(&mut hit).await.unwrap() == body[60_000..]);
    assert!(hit.file_part().is_none());
    hit.seek(99_990, Some(99_995)).unwrap();
    assert_eq!(hit.file_part().unwrap().length(), 5);
    assert!(rest(&mut hit).await.unwrap() == body[99_990..99_995]);
    hit.seek(50, None).unwrap();
    assert!(rest(&mut hit).await.unwrap() == body[50..]);
    store(cache, &key("b"), &body[..9_000]).await.unwrap();
    let small = find(cache, &key("b")).await.unwrap();
    assert!(small.file_part().is_none());
}
