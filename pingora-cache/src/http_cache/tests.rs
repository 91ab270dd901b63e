use super::*;
use crate::eviction::{CacheEntryKey, CacheEntryKeyRef};
use crate::lock::{CacheLock, LockWaitOutcome, UnusableFill, UnusableFills};
use crate::predictor::Predictor;
use crate::{HitStatus, MemCache};
use async_trait::async_trait;
use bytes::Bytes;
use pingora_http::ResponseHeader;
use std::sync::Mutex;
use std::time::SystemTime;

const LONG: Duration = Duration::from_secs(3600);

fn leak<T>(it: T) -> &'static T {
    Box::leak(Box::new(it))
}

/// Records the calls to the eviction manager; evicts the entries it is told to.
#[derive(Default)]
struct Told {
    calls: Mutex<Vec<String>>,
    evicts: Mutex<Vec<CacheEntryKey>>,
}

impl Told {
    fn note(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

#[async_trait]
impl EvictionManager for Told {
    fn total_size(&self) -> usize {
        0
    }
    fn total_items(&self) -> usize {
        0
    }
    fn evicted_size(&self) -> usize {
        0
    }
    fn evicted_items(&self) -> usize {
        0
    }
    fn admit(&self, _: CacheEntryKey, size: usize, _: SystemTime) -> Vec<CacheEntryKey> {
        self.note(format!("admit {}", size > 0));
        std::mem::take(&mut self.evicts.lock().unwrap())
    }
    fn increment_weight(
        &self,
        _: &CacheEntryKey,
        _: usize,
        _: Option<usize>,
    ) -> Vec<CacheEntryKey> {
        self.note("increment".into());
        Vec::new()
    }
    fn remove(&self, _: CacheEntryKeyRef<'_>) {
        self.note("remove".into());
    }
    fn access(&self, _: &CacheEntryKey, size: usize, _: SystemTime) -> bool {
        self.note(format!("access {}", size > 0));
        true
    }
    fn peek(&self, _: &CacheEntryKey) -> bool {
        false
    }
    async fn save(&self, _: &str) -> Result<()> {
        Ok(())
    }
    async fn load(&self, _: &str) -> Result<()> {
        Ok(())
    }
}

/// A storage and what belongs to it.
struct Parts {
    storage: &'static MemCache,
    eviction: &'static Told,
    predictor: &'static Predictor<1>,
    lock: &'static CacheLock,
}

impl Parts {
    fn new() -> Self {
        Parts {
            storage: leak(MemCache::new()),
            eviction: leak(Told::default()),
            predictor: leak(Predictor::new(8, None)),
            lock: leak(CacheLock::new(LONG)),
        }
    }

    /// A request whose key is set.
    fn request(&self) -> HttpCache {
        let mut cache = HttpCache::new();
        cache.enable(
            self.storage,
            Some(self.eviction),
            Some(self.predictor),
            Some(self.lock),
            None,
        );
        assert_eq!(cache.phase(), CachePhase::Uninit);
        cache.set_cache_key(CacheKey::new("https://one.example/", ""));
        cache
    }
}

fn meta(fresh: i64) -> CacheMeta {
    let now = crate::clock::now();
    let until = match u64::try_from(fresh) {
        Ok(fresh) => now + Duration::from_secs(fresh),
        Err(_) => now - Duration::from_secs(fresh.unsigned_abs()),
    };
    let mut header = ResponseHeader::build(200, None).unwrap();
    header.insert_header("ETag", "\"a\"").unwrap();
    header.insert_header("Content-Type", "text/plain").unwrap();
    CacheMeta::new(until, now, 60, 60, header)
}

async fn fill(cache: &mut HttpCache, meta: CacheMeta, body: &'static str) {
    if cache.phase() == CachePhase::CacheKey {
        cache.cache_miss();
    }
    cache.set_cache_meta(meta);
    cache.update_variance(None);
    cache.set_miss_handler().await.unwrap();
    assert!(cache.follow_fill().await.unwrap().is_some());
    let miss = cache.miss_handler().unwrap();
    miss.write_body(Bytes::from(body), true).await.unwrap();
    cache.finish_miss_handler().await.unwrap();
}

async fn body(cache: &mut HttpCache) -> String {
    let mut all = String::new();
    while let Some(piece) = cache.hit_handler().read_body().await.unwrap() {
        all.push_str(str::from_utf8(&piece).unwrap());
    }
    all
}

#[test]
fn a_disabled_cache_is_three_words() {
    assert!(size_of::<HttpCache>() <= 24);
}

#[test]
fn every_reason_survives() {
    for reason in [
        NoCacheReason::NeverEnabled,
        NoCacheReason::OriginNotCache,
        NoCacheReason::ResponseTooLarge,
        NoCacheReason::PredictedResponseTooLarge,
        NoCacheReason::StorageError,
        NoCacheReason::InternalError,
        NoCacheReason::Deferred,
        NoCacheReason::DeclinedToUpstream,
        NoCacheReason::UpstreamError,
        NoCacheReason::CacheLockGiveUp,
        NoCacheReason::CacheLockTimeout,
        NoCacheReason::CacheLockRetryLimit,
        NoCacheReason::Custom("mine"),
    ] {
        let mut cache = HttpCache::new();
        cache.disable(reason);
        assert_eq!(cache.phase(), CachePhase::Disabled(reason));
        let mut cache = Parts::new().request();
        cache.disable(reason);
        cache.disable(NoCacheReason::Custom("too late"));
        assert_eq!(cache.phase(), CachePhase::Disabled(reason));
        assert!(!reason.as_str().is_empty() && !cache.enabled());
    }
}

#[tokio::test]
async fn a_new_cache_says_that_nobody_asked_for_it_and_does_nothing() {
    let mut cache = HttpCache::new();
    let never = CachePhase::Disabled(NoCacheReason::NeverEnabled);
    assert_eq!(cache.phase(), never);
    assert!(!cache.enabled() && !cache.bypassing() && cache.upstream_used());
    assert!(cache.maybe_cache_key().is_none() && cache.maybe_cache_meta().is_none());
    assert!(cache.lock_duration().is_none() && cache.lookup_duration().is_none());
    assert_eq!(cache.phase().as_str(), "disabled");
    cache.set_cache_key(CacheKey::new("k", ""));
    cache.cache_miss();
    cache.bypass();
    cache.set_cache_meta(meta(1));
    cache.set_max_file_size_bytes(1);
    assert!(cache.track_body_bytes_for_max_file_size(9));
    assert!(cache.cache_lookup().await.is_err() && cache.set_miss_handler().await.is_err());
    assert!(cache.purge().await.is_err() && cache.miss_handler().is_none());
    assert_eq!(cache.cache_lock_wait().await, LockWaitOutcome::Dangling);
    assert!(cache.cacheable_prediction() && cache.support_streaming_partial_write().is_none());
    assert_eq!(cache.phase(), never);
}

#[tokio::test]
async fn a_miss_is_stored_and_the_next_is_a_hit() {
    let parts = Parts::new();
    let mut first = parts.request();
    assert!(first.storage_type_is::<MemCache>() && !first.storage_type_is::<Told>());
    assert!(first.cache_lookup().await.unwrap().is_none());
    assert!(first.is_cache_lock_writer() && !first.is_cache_locked());
    fill(&mut first, meta(60), "hello").await;
    assert_eq!(first.phase(), CachePhase::Miss);
    assert!(first.upstream_used() && !first.is_cache_lock_writer());
    assert_eq!(parts.eviction.take(), ["admit true"]);

    let mut second = parts.request();
    let (meta, hit) = second.cache_lookup().await.unwrap().unwrap();
    second.cache_found(meta, hit, HitStatus::Fresh);
    assert_eq!(second.phase(), CachePhase::Hit);
    assert!(!second.upstream_used() && second.lookup_duration().is_some());
    assert_eq!(body(&mut second).await, "hello");
    assert_eq!(second.cache_meta().headers()["etag"], "\"a\"");
    second.finish_hit_handler().await.unwrap();
    second.finish_hit_handler().await.unwrap();
    assert_eq!(parts.eviction.take(), ["access true"]);
    assert!(second.purge().await.unwrap());
    assert_eq!(parts.eviction.take(), ["remove"]);
    assert!(!second.spawn_async_purge("test").await.unwrap().unwrap());
    assert!(parts.request().cache_lookup().await.unwrap().is_none());
}

#[tokio::test]
async fn what_the_eviction_manager_names_goes() {
    let parts = Parts::new();
    fill(&mut parts.request(), meta(60), "old").await;
    let old = parts.request().cache_key().to_compact();
    *parts.eviction.evicts.lock().unwrap() = vec![CacheEntryKey::key_only(old)];
    let mut other = parts.request();
    other.set_cache_key(CacheKey::new("https://two.example/", ""));
    fill(&mut other, meta(60), "new").await;
    assert!(parts.request().cache_lookup().await.unwrap().is_none());
    assert_eq!(parts.storage.stored_entries(), 1);
}

#[tokio::test]
async fn one_fetches_and_others_read_behind_it() {
    let parts = Parts::new();
    let (mut first, mut second) = (parts.request(), parts.request());
    assert!(first.cache_lookup().await.unwrap().is_none());
    assert!(second.cache_lookup().await.unwrap().is_none());
    assert!(second.is_cache_locked() && first.is_awaited());
    let waits = async {
        let outcome = second.cache_lock_wait().await;
        let (meta, hit) = second.cache_lookup().await.unwrap().unwrap();
        second.cache_found(meta, hit, HitStatus::Fresh);
        (outcome, body(&mut second).await)
    };
    let ((outcome, read), ()) = tokio::join!(waits, fill(&mut first, meta(60), "hello"));
    assert_eq!((outcome, read.as_str()), (LockWaitOutcome::Done, "hello"));
    assert!(second.lock_duration().is_some() && second.lock_abandon().is_none());
}

#[tokio::test]
async fn those_who_wait_hear_why_nothing_was_stored() {
    for (reason, expected) in [
        (NoCacheReason::OriginNotCache, LockWaitOutcome::GiveUp),
        (NoCacheReason::ResponseTooLarge, LockWaitOutcome::GiveUp),
        (NoCacheReason::Custom("mine"), LockWaitOutcome::GiveUp),
        (
            NoCacheReason::UpstreamError,
            LockWaitOutcome::TransientError,
        ),
        (
            NoCacheReason::DeclinedToUpstream,
            LockWaitOutcome::TransientError,
        ),
    ] {
        let parts = Parts::new();
        let (mut first, mut second) = (parts.request(), parts.request());
        assert!(first.cache_lookup().await.unwrap().is_none());
        assert!(second.cache_lookup().await.unwrap().is_none());
        let disables = async { first.disable(reason) };
        let (outcome, ()) = tokio::join!(second.cache_lock_wait(), disables);
        assert_eq!(outcome, expected, "{reason:?}");
    }
    // It just left.
    let parts = Parts::new();
    let (mut first, mut second) = (parts.request(), parts.request());
    assert!(first.cache_lookup().await.unwrap().is_none());
    assert!(second.cache_lookup().await.unwrap().is_none());
    drop(first);
    assert_eq!(second.cache_lock_wait().await, LockWaitOutcome::Dangling);
    assert!(second.cache_lookup().await.unwrap().is_none());
    assert!(second.is_cache_lock_writer(), "it is the next");
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_as_long_as_it_may() {
    let parts = Parts::new();
    let (mut first, mut second) = (parts.request(), parts.request());
    assert!(first.cache_lookup().await.unwrap().is_none());
    let overrides = CacheOptionOverrides {
        wait_timeout: Some(Duration::from_secs(1)),
        max_lock_retries: Some(3),
    };
    second.set_cache_lock(Some(parts.lock), Some(overrides));
    assert_eq!(second.cache_lock_max_retries(), Some(3));
    assert!(second.cache_lookup().await.unwrap().is_none());
    assert_eq!(second.cache_lock_wait().await, LockWaitOutcome::WaitTimeout);
}

#[tokio::test]
async fn a_fill_that_cannot_be_used_is_not_waited_for() {
    let parts = Parts::new();
    let (mut first, mut second) = (parts.request(), parts.request());
    assert!(first.cache_lookup().await.unwrap().is_none());
    let mut key = CacheKey::new("https://one.example/", "");
    let fill = UnusableFill {
        token: 7,
        reason: "far away",
    };
    key.extensions.insert(UnusableFills::new([fill]));
    second.set_cache_key(key);
    assert!(second.cache_lookup().await.unwrap().is_none());
    first.lock_publish_fill_tokens(&[7]);
    let reason = NoCacheReason::Custom("far away");
    let outcome = second.cache_lock_wait().await;
    assert_eq!(outcome, LockWaitOutcome::Abandoned { reason, token: 7 });
    assert_eq!(
        second.lock_abandon(),
        Some(LockAbandon { reason, token: 7 })
    );
}

#[tokio::test]
async fn what_is_stale_is_confirmed_replaced_or_served() {
    let parts = Parts::new();
    fill(&mut parts.request(), meta(-1), "old").await;
    let stale = async |parts: &Parts| {
        let mut cache = parts.request();
        let (meta, hit) = cache.cache_lookup().await.unwrap().unwrap();
        cache.cache_found(meta, hit, HitStatus::Expired);
        assert_eq!(cache.phase(), CachePhase::Stale);
        cache
    };
    // While another request has the permit, the rest may get the stale response.
    let mut first = stale(&parts).await;
    let mut second = stale(&parts).await;
    assert!(first.is_cache_lock_writer() && second.is_cache_locked());
    assert!(second.can_serve_stale_updating() && second.can_serve_stale_error());
    second.set_stale_updating();
    assert_eq!(second.phase(), CachePhase::StaleUpdating);
    assert_eq!(body(&mut second).await, "old");

    // A 304 brings new fields, but none of framing and coding.
    let mut not_modified = ResponseHeader::build(304, None).unwrap();
    for (name, value) in [
        ("ETag", "\"a\""),
        ("X-New", "yes"),
        ("Content-Length", "0"),
        ("Content-Encoding", "br"),
        ("Content-Type", "text/html"),
    ] {
        not_modified.insert_header(name, value).unwrap();
    }
    let merged = first.revalidate_merge_header(&not_modified);
    assert_eq!(merged.status.as_u16(), 200);
    assert_eq!(merged.headers["content-type"], "text/plain");
    assert_eq!(merged.headers["x-new"], "yes");
    assert!(!merged.headers.contains_key("content-encoding"));
    assert!(!merged.headers.contains_key("content-length"));
    assert!(first.is_confirmed_by(&not_modified));
    let now = crate::clock::now();
    let mut confirmed = CacheMeta::new(now + LONG, now, 0, 0, merged);
    confirmed.set_variance([9; 16]);
    assert!(first.revalidate_cache_meta(confirmed).await.unwrap());
    assert_eq!(first.phase(), CachePhase::Revalidated);
    assert_eq!(
        first.cache_meta().variance(),
        None,
        "the variant is what it was"
    );
    assert!(!first.is_cache_lock_writer());
    assert_eq!(body(&mut first).await, "old");
    let (found, _) = parts.request().cache_lookup().await.unwrap().unwrap();
    assert!(found.is_fresh(crate::clock::now()) && found.headers().contains_key("x-new"));

    // Confirmed, but not to be stored any longer.
    assert!(parts.request().expire().await.unwrap());
    let mut third = stale(&parts).await;
    let header = ResponseHeader::build(200, None).unwrap();
    third.revalidate_uncacheable(header, NoCacheReason::OriginNotCache);
    let phase = CachePhase::RevalidatedNoCache(NoCacheReason::OriginNotCache);
    assert_eq!(third.phase(), phase);
    assert_eq!(body(&mut third).await, "old");

    // Replaced.
    let mut fourth = stale(&parts).await;
    fill(&mut fourth, meta(60), "new").await;
    assert_eq!(fourth.phase(), CachePhase::Expired);
    let mut fifth = parts.request();
    let (meta, hit) = fifth.cache_lookup().await.unwrap().unwrap();
    fifth.cache_found(meta, hit, HitStatus::Fresh);
    assert_eq!(body(&mut fifth).await, "new");
    assert!(!fifth.can_serve_stale_error(), "it is not stale");
}

#[tokio::test]
async fn what_counts_as_a_miss_is_fetched_by_one() {
    let parts = Parts::new();
    fill(&mut parts.request(), meta(60), "old").await;
    let mut cache = parts.request();
    let (meta, hit) = cache.cache_lookup().await.unwrap().unwrap();
    cache.cache_found(meta, hit, HitStatus::ForceMiss);
    assert_eq!(cache.phase(), CachePhase::Miss);
    assert!(cache.is_cache_lock_writer() && cache.maybe_cache_meta().is_none());
}

#[tokio::test]
async fn variants_have_places_of_their_own() {
    let parts = Parts::new();
    let (gzip, plain) = ([1; 16], [2; 16]);
    let mut first = parts.request();
    assert!(first.cache_lookup().await.unwrap().is_none());
    first.cache_miss();
    first.set_cache_meta(meta(60));
    first.update_variance(Some(gzip));
    first.set_miss_handler().await.unwrap();
    first.finish_miss_handler().await.unwrap();

    // Another variant is looked up again, missed, and stored beside it.
    let mut second = parts.request();
    let (found, _) = second.cache_lookup().await.unwrap().unwrap();
    assert!(!second.cache_vary_lookup(plain, &found));
    assert!(second.cache_lookup().await.unwrap().is_none());
    second.cache_miss();
    second.set_cache_meta(meta(60));
    second.update_variance(Some(plain));
    second.set_miss_handler().await.unwrap();
    second.finish_miss_handler().await.unwrap();
    assert_eq!(parts.storage.stored_entries(), 2);

    let mut third = parts.request();
    let (found, _) = third.cache_lookup().await.unwrap().unwrap();
    assert!(third.cache_vary_lookup(gzip, &found));
    assert!(!third.cache_vary_lookup(plain, &found));
    let (found, _) = third.cache_lookup().await.unwrap().unwrap();
    assert_eq!(found.variance(), Some(plain));

    // The origin changes its mind: the response replaces the one from which look-ups begin.
    third.cache_miss();
    third.set_cache_meta(meta(60));
    third.update_variance(None);
    assert_eq!(third.cache_key().get_variance_key(), None);
}

#[test]
fn sizes_are_limited_where_a_limit_is_set() {
    let mut cache = Parts::new().request();
    assert!(cache.track_body_bytes_for_max_file_size(usize::MAX));
    let mut cache = Parts::new().request();
    cache.set_max_file_size_bytes(10);
    assert_eq!(cache.max_file_size_bytes(), Some(10));
    assert!(cache.track_body_bytes_for_max_file_size(10) && !cache.exceeded_max_file_size());
    assert!(!cache.track_body_bytes_for_max_file_size(1) && cache.exceeded_max_file_size());
}

#[test]
fn the_predictor_learns_and_a_bypass_keeps_out() {
    let parts = Parts::new();
    let cache = parts.request();
    cache.response_became_uncacheable(NoCacheReason::OriginNotCache);
    let mut next = parts.request();
    assert!(!next.cacheable_prediction());
    assert!(next.predicted_uncacheable_reason().is_some());
    next.bypass();
    assert!(next.bypassing() && !next.enabled() && next.upstream_used());
    next.response_became_cacheable();
    assert!(parts.request().cacheable_prediction());
}

struct Never;

impl AdmissionPolicy for Never {
    fn observe(&self, _key: &CacheKey) -> Decision {
        Decision::Defer { observed: 1 }
    }
}

#[tokio::test]
async fn what_is_not_admitted_yet_is_neither_locked_nor_stored() {
    let parts = Parts::new();
    let mut cache = parts.request();
    cache.set_admission_policy(&Never);
    assert!(cache.cache_lookup().await.unwrap().is_none());
    assert!(!cache.is_cache_lock_writer());
    cache.cache_miss();
    assert_eq!(cache.phase(), CachePhase::Disabled(NoCacheReason::Deferred));
    assert_eq!(
        cache.admission_decision(),
        Some(Decision::Defer { observed: 1 })
    );
}

#[tokio::test]
async fn the_permit_can_be_handed_on() {
    let parts = Parts::new();
    let (mut first, mut second) = (parts.request(), parts.request());
    assert!(first.cache_lookup().await.unwrap().is_none());
    let (permit, _table) = first.take_write_lock();
    second.set_write_lock(permit);
    second.tag_as_subrequest();
    assert!(second.is_cache_lock_writer() && second.is_subrequest());
    second.release_write_lock(NoCacheReason::OriginNotCache);
    assert!(!second.is_cache_lock_writer());
}
