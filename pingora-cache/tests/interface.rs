//! The kept interface of rules, metadata and eviction: every item, used once as a program would. Nothing here runs;
//! compiling is the test. The types on the left are those that programs write.
#![allow(
    dead_code,
    clippy::borrowed_box,
    clippy::panic,
    clippy::type_complexity,
    reason = "nothing here runs, and the types are the interface's"
)]

use async_trait::async_trait;
use http::request::Parts as ReqHeader;
use http::response::Parts as RespHeader;
use http::{Extensions, HeaderMap, StatusCode};
use indexmap::IndexMap;
use pingora_cache::admission::{AdmissionPolicy, Decision};
use pingora_cache::cache_control::*;
use pingora_cache::eviction::async_lru::{AsyncEvictionCallback, AsyncLru};
use pingora_cache::eviction::{EvictionManager, async_lru, lru, simple_lru};
use pingora_cache::filters::{self, upstream};
use pingora_cache::hashtable::{ConcurrentHashTable, ConcurrentLruCache, LruCache};
use pingora_cache::key::*;
use pingora_cache::max_file_size::ERR_RESPONSE_TOO_LARGE;
use pingora_cache::meta::{self, FreshDurationByStatusFn};
use pingora_cache::predictor::*;
use pingora_cache::*;
use pingora_core::server::ShutdownWatch;
use pingora_error::{ErrorType, Result};
use pingora_http::{HMap, RequestHeader, ResponseHeader};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;

fn any<T>() -> T {
    panic!("nothing here runs")
}

fn is_serde<T: Serialize + for<'de> Deserialize<'de>>() {}
fn is_key<T: Eq + Hash + Ord + Display + Default + Clone>() {}
fn is_eq<T: Eq>() {}

fn the_keys(it: &mut CacheKey) {
    let _: CacheKey = CacheKey::new("a", "b");
    let _: CacheKey = CacheKey::new(any::<Vec<u8>>(), any::<String>());
    let _: &String = &it.user_tag;
    let _: &Extensions = &it.extensions;
    it.set_variance_key(any::<HashBinary>());
    let _: Option<&HashBinary> = it.get_variance_key();
    it.remove_variance_key();
    it.set_primary_bin_override([0u8; 16]);
    let _: Option<&str> = it.primary_key_str();
    let _: &[u8] = it.primary_key();
    let compact: CompactCacheKey = it.to_compact();
    let _: (&HashBinary, &Option<Box<HashBinary>>, &Box<str>) =
        (&compact.primary, &compact.variance, &compact.user_tag);
    fn hashed(it: &impl CacheHashKey) {
        let _: (HashBinary, Option<HashBinary>, HashBinary) =
            (it.primary_bin(), it.variance_bin(), it.combined_bin());
        let _: (&str, String, Option<String>, String) =
            (it.user_tag(), it.primary(), it.variance(), it.combined());
    }
    hashed(it);
    hashed(&compact);
    is_serde::<CompactCacheKey>();
    is_key::<CompactCacheKey>();
    is_serde::<CacheEntryKey>();
    is_key::<CacheEntryKey>();
    is_serde::<CacheEntryId>();
    let _: Option<HashBinary> = str2hex("");
    let _: u8 = hash_u8("");
    let _: HashBinary = hash_key("a");
    let _: HashBinary = hash_key(vec![1u8]);
}

fn the_meta(it: &mut CacheMeta, time: SystemTime) {
    let _: CacheMeta = CacheMeta::new(time, time, 1u32, 1u32, any::<ResponseHeader>());
    let _: [SystemTime; 5] = [
        it.created(),
        it.updated(),
        it.provenance(),
        it.epoch(),
        it.fresh_until(),
    ];
    let _: Option<SystemTime> = it.epoch_override();
    it.set_epoch_override(time);
    it.remove_epoch_override();
    let _: (bool, u64, Duration) = (it.is_fresh(time), it.fresh_sec(), it.age());
    let _: (u32, u32) = (it.stale_while_revalidate_sec(), it.stale_if_error_sec());
    let _: (bool, bool) = (
        it.serve_stale_while_revalidate(time),
        it.serve_stale_if_error(time),
    );
    it.disable_serve_stale();
    it.expire_at(time);
    it.update_freshness(time, 1u32, 1u32);
    let _: Option<HashBinary> = it.variance();
    it.set_variance_key([0; 16]);
    it.set_variance([0; 16]);
    it.remove_variance();
    let _: &ResponseHeader = it.response_header();
    let _: &mut ResponseHeader = it.response_header_mut();
    let _: &meta::Extensions = it.extensions();
    let _: &mut Extensions = it.extensions_mut();
    let _: ResponseHeader = it.response_header_copy();
    let _: &HMap = it.headers();
    let _: Result<(Vec<u8>, Vec<u8>)> = it.serialize();
    let _: Result<CacheMeta> = CacheMeta::deserialize(&[], &[]);
    let _: bool = set_compression_dict_content(Cow::Borrowed(b""));
    let _: bool = set_compression_dict_path("");
    let by_status: FreshDurationByStatusFn = |_| None;
    const DEFAULTS: CacheMetaDefaults = CacheMetaDefaults::new(|_| None, 1, 1);
    let _: CacheMetaDefaults = CacheMetaDefaults::new(by_status, 1, 1);
    let _: Option<Duration> = DEFAULTS.fresh_sec(StatusCode::OK);
    let _: u32 = DEFAULTS.serve_stale_while_revalidate_sec();
    let _: u32 = DEFAULTS.serve_stale_if_error_sec();
}

fn the_variance<'a>(mut it: VarianceBuilder<'a>, name: &'a str, value: &'a [u8]) {
    let _: VarianceBuilder<'a> = VarianceBuilder::new();
    it.add_value(name, value);
    it.add_value(name, name);
    it.add_owned_value(name, Vec::new());
    it.add_owned_name_value(String::new(), Vec::new());
    let _: bool = it.has_variance();
    let _: Option<HashBinary> = it.finalize();
}

fn the_directives(it: &CacheControl, headers: &HeaderMap, req: &ReqHeader, resp: &RespHeader) {
    let _: (u32, Duration) = (
        DELTA_SECONDS_OVERFLOW_VALUE,
        DELTA_SECONDS_OVERFLOW_DURATION,
    );
    let _: DirectiveMap = IndexMap::<DirectiveKey, Option<DirectiveValue>>::new();
    let _ = CacheControl {
        directives: any::<DirectiveMap>(),
        allow_float_seconds: any::<bool>(),
    };
    let _: CacheControl = any::<CacheControl>().with_float_seconds();
    let _: [Option<CacheControl>; 5] = [
        CacheControl::from_headers_named("", headers),
        CacheControl::from_req_headers_named("", req),
        CacheControl::from_req_headers(req),
        CacheControl::from_resp_headers_named("", resp),
        CacheControl::from_resp_headers(resp),
    ];
    let _: [bool; 9] = [
        it.has_key(""),
        it.has_directive(&DirectiveKey::MaxAge),
        it.public(),
        it.private(),
        it.no_cache(),
        it.no_store(),
        it.must_revalidate(),
        it.proxy_revalidate(),
        it.only_if_cached(),
    ];
    let _: [Option<ListValueIter<'_>>; 2] = [it.private_field_names(), it.no_cache_field_names()];
    let _: [Result<Option<u32>>; 4] = [
        it.max_age(),
        it.s_maxage(),
        it.stale_while_revalidate(),
        it.stale_if_error(),
    ];
    fn interpreted(it: &impl InterpretCacheControl, resp: &mut ResponseHeader) {
        match it.is_cacheable() {
            Cacheable::Yes | Cacheable::No | Cacheable::Default => {}
        }
        let _: bool = it.allow_caching_authorized_req();
        let _: [Option<Duration>; 3] = [
            it.fresh_duration(),
            it.serve_stale_while_revalidate_duration(),
            it.serve_stale_if_error_duration(),
        ];
        it.strip_private_headers(resp);
    }
    interpreted(it, &mut any());
    is_eq::<Cacheable>();
    let value = DirectiveValue(Vec::new());
    let _: (&[u8], Result<&str>) = (value.parse_as_bytes(), value.parse_as_str());
    let _: Result<u32> = value.parse_as_delta_seconds();
    let _: Result<u32> = value.parse_as_delta_seconds_floor();
    let _: &[u8] = value.as_ref();
    let _: Option<&[u8]> = ListValueIter::from(&value).next();
}

fn the_directive_key(it: DirectiveKey) {
    let _: DirectiveKey = DirectiveKey::from_lowercase("");
    let _: DirectiveKey = DirectiveKey::from_lowercase_owned(String::new());
    let _: &str = it.as_str();
    let _: String = it.to_string();
    let _: bool = it == "" && it == *"";
    match it {
        DirectiveKey::MaxAge
        | DirectiveKey::SMaxAge
        | DirectiveKey::NoCache
        | DirectiveKey::NoStore
        | DirectiveKey::Private
        | DirectiveKey::Public
        | DirectiveKey::MustRevalidate
        | DirectiveKey::ProxyRevalidate
        | DirectiveKey::MustUnderstand
        | DirectiveKey::NoTransform
        | DirectiveKey::Immutable
        | DirectiveKey::StaleWhileRevalidate
        | DirectiveKey::StaleIfError
        | DirectiveKey::OnlyIfCached => {}
        DirectiveKey::Unknown(name) => {
            let _: String = name;
        }
    }
}

fn the_filters(req: &ReqHeader, resp: &RespHeader, said: Option<&CacheControl>) {
    let defaults: &CacheMetaDefaults = any();
    let _: bool = filters::request_cacheable(req);
    let _: RespCacheable = filters::resp_cacheable(said, any::<ResponseHeader>(), true, defaults);
    let now = SystemTime::now();
    let _: Option<SystemTime> = filters::calculate_fresh_until(now, said, resp, true, defaults);
    let _: Option<SystemTime> = filters::calculate_expires_header_time(resp);
    let _: (u32, u32) = filters::calculate_serve_stale_durations(said, defaults);
    upstream::request_filter(any::<&mut RequestHeader>(), any::<Option<&CacheMeta>>());
}

struct Own;

impl AdmissionPolicy for Own {
    fn observe(&self, _: &CacheKey) -> Decision {
        any()
    }
}

impl CacheablePredictor for Own {
    fn cacheable_prediction(&self, _: &CacheKey) -> bool {
        any()
    }
    fn mark_cacheable(&self, _: &CacheKey) -> bool {
        any()
    }
    fn mark_uncacheable(&self, _: &CacheKey, _: NoCacheReason) -> Option<bool> {
        any()
    }
}

fn the_predictor(key: &CacheKey) {
    match any::<Decision>() {
        Decision::Defer { observed } | Decision::Ready { observed } => {
            let _: u32 = observed;
        }
    }
    let _: (u32, bool) = (
        any::<Decision>().observed(),
        any::<Decision>().is_deferred(),
    );
    let skip: CustomReasonPredicate = |_: &'static str| true;
    let it: Predictor<4> = Predictor::new(1usize, Some(skip));
    let it: &(dyn CacheablePredictor + Sync) = &it;
    let _: Option<NoCacheReason> = it.predicted_uncacheable_reason(key);
    let _: ErrorType = ERR_RESPONSE_TOO_LARGE;
}

fn the_tables(table: &ConcurrentHashTable<u8, 4>, cache: &ConcurrentLruCache<u8, 4>) {
    let _ = (
        ConcurrentHashTable::<u8, 4>::new(),
        ConcurrentHashTable::<u8, 4>::default(),
    );
    let _: &RwLock<HashMap<u128, u8>> = table.get(1u128);
    let _: Option<&RwLock<HashMap<u128, u8>>> = table.get_shard_at_idx(1usize);
    let _unused: RwLockReadGuard<'_, HashMap<u128, u8>> = table.read(1u128);
    let _unused: RwLockWriteGuard<'_, HashMap<u128, u8>> = table.write(1u128);
    table.for_each(|_: &u128, _: &u8| {});
    let _: ConcurrentLruCache<u8, 4> = ConcurrentLruCache::new(1usize);
    let _: &RwLock<LruCache<u128, u8>> = cache.get(1u128);
    let _unused: RwLockReadGuard<'_, LruCache<u128, u8>> = cache.read(1u128);
    let _unused: RwLockWriteGuard<'_, LruCache<u128, u8>> = cache.write(1u128);
}

async fn the_eviction_manager(it: &dyn EvictionManager, item: &CacheEntryKey, time: SystemTime) {
    let _: [usize; 4] = [
        it.total_size(),
        it.total_items(),
        it.evicted_size(),
        it.evicted_items(),
    ];
    let _: Vec<CacheEntryKey> = it.admit(item.clone(), 1usize, time);
    let _: Vec<CacheEntryKey> = it.increment_weight(item, 1usize, Some(1usize));
    it.remove(any::<CacheEntryKeyRef<'_>>());
    let _: bool = it.access(item, 1usize, time);
    let _: bool = it.peek(item);
    let _: Result<()> = it.save("").await;
    let _: Result<()> = it.load("").await;
}

fn the_lru(it: &lru::Manager<8>, item: &CacheEntryKey) {
    let _: lru::Manager<8> = lru::Manager::with_capacity(1usize, 1usize);
    let _: lru::Manager<8> = lru::Manager::with_capacity_and_watermark(1, 1, Some(1usize));
    let _: usize = it.weight_limit();
    it.set_weight_limit(1usize);
    let _: [usize; 4] = [
        it.shards(),
        it.shard_weight(1usize),
        it.shard_len(1usize),
        it.get_shard_for_key(item),
    ];
    let _: Option<CacheEntryKey> = it.peek_lru(1usize);
    let _: Result<Vec<u8>> = it.serialize_shard(1usize);
    let _: Result<()> = it.deserialize_shard(&[]);
    let _: Option<usize> = it.peek_weight(item);
    let _: simple_lru::Manager = simple_lru::Manager::new(1usize);
    let _: simple_lru::Manager = simple_lru::Manager::new_with_watermark(1usize, Some(1usize));
}

#[async_trait]
impl AsyncEvictionCallback<CacheEntryKey> for Own {
    async fn evicted(&self, _: Vec<CacheEntryKey>) {}
}

async fn the_async_lru(it: &async_lru::Manager<8>, item: &CacheEntryKey) {
    let _: async_lru::Manager<8> =
        async_lru::Manager::from_lru(any::<Arc<AsyncLru<CacheEntryKey, 8>>>());
    let builder: async_lru::ManagerBuilder<Own, 8> = async_lru::Manager::builder(
        1usize,
        any::<Arc<Own>>(),
        any::<ShutdownWatch>(),
        any::<Handle>(),
    );
    let builder = builder.capacity(1usize).len_watermark(1usize);
    let _: async_lru::Manager<8> = builder.num_eviction_workers(1usize).build();
    let _: [usize; 3] = [
        it.shards(),
        it.shard_len(1usize),
        it.get_shard_for_key(item),
    ];
    let _: Option<usize> = it.shard_weight(1usize).await;
    let _: Option<CacheEntryKey> = it.peek_lru(1usize).await;
    let _: Option<usize> = it.peek_weight(item);
    let _: Result<Vec<u8>> = it.serialize_shard(1usize).await;
}
