//! A ready cache: a storage and a policy as one value, which the phases of the cache ask.

use super::passed_on::begins_late;
use crate::Session;
use http::Method;
use http::header::{CONTENT_LENGTH, RANGE};
use pingora_cache::eviction::EvictionManager;
use pingora_cache::inspect::Inspector;
use pingora_cache::lock::{CacheKeyLockImpl, CacheLock};
use pingora_cache::policy::{CachePolicy, CacheStatus, Forwarded, QueryBody};
use pingora_cache::predictor::{CacheablePredictor, Predictor};
use pingora_cache::storage::{PurgeOutcome, PurgeTarget, PurgeType};
use pingora_cache::trace::Span;
use pingora_cache::{
    CacheKey, CacheMeta, CachePhase, ForcedFreshness, NoCacheReason, RespCacheable, Storage, clock,
};
use pingora_core::protocols::http::spool::Spooling;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How long requests wait for another one that fetches, by default.
const LOCK_AGE: Duration = Duration::from_secs(10);
/// The longest body of a QUERY that becomes part of a key by default, in bytes.
const LONGEST_QUERY: u64 = 64 * 1024;
/// How many keys the default predictor remembers, per shard.
const REMEMBERED: usize = 4096;

/// A ready cache for a proxy: nothing is stored that RFC 9111 does not allow.
///
/// A proxy that returns one from [`ProxyHttp::ready_cache`](crate::ProxyHttp::ready_cache) caches; the defaults of
/// the cache's phases ask it. A proxy that implements such a phase itself may call the
/// corresponding method there. In addition, the proxy answers `Cache-Control: only-if-cached` with 504 if nothing fits, and
/// removes what unsafe requests have made invalid (RFC 9111 section 4.4).
///
/// ```
/// use async_trait::async_trait;
/// use pingora_cache::MemCache;
/// use pingora_core::prelude::*;
/// use pingora_proxy::{ProxyHttp, ReadyCache, Session};
/// use std::sync::LazyLock;
///
/// static STORE: LazyLock<MemCache> = LazyLock::new(|| MemCache::bounded(256 << 20));
///
/// struct Proxy {
///     cache: ReadyCache,
/// }
///
/// #[async_trait]
/// impl ProxyHttp for Proxy {
///     type CTX = ();
///     fn new_ctx(&self) {}
///
///     fn ready_cache(&self, _ctx: &()) -> Option<&ReadyCache> {
///         Some(&self.cache)
///     }
///
///     async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
///         Ok(Box::new(HttpPeer::new("127.0.0.1:8000", false, String::new())))
///     }
/// }
///
/// let proxy = Proxy { cache: ReadyCache::new(&*STORE).cache_status("edge") };
/// # drop(proxy);
/// ```
pub struct ReadyCache {
    storage: &'static (dyn Storage + Sync),
    eviction: Option<&'static (dyn EvictionManager + Sync)>,
    predictor: Option<&'static (dyn CacheablePredictor + Sync)>,
    lock: Option<&'static CacheKeyLockImpl>,
    policy: Arc<CachePolicy>,
    status_name: Option<String>,
    scheme: Option<&'static str>,
    most: Option<usize>,
    queries: Spooling,
    /// Ranges from here on are passed on.
    whole_until: Option<u64>,
}

impl fmt::Debug for ReadyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadyCache")
            .field("policy", &self.policy)
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}

impl ReadyCache {
    /// A cache in this storage, with the policy that [`CachePolicy::new`] describes, a lock that is waited for ten
    /// seconds at most, and a predictor. The lock and the predictor live as long as the process: make one such
    /// value, not one per request.
    pub fn new(storage: &'static (dyn Storage + Sync)) -> Self {
        ReadyCache {
            storage,
            eviction: None,
            predictor: Some(Box::leak(Box::new(Predictor::<16>::new(REMEMBERED, None)))),
            lock: Some(Box::leak(CacheLock::new_boxed(LOCK_AGE))),
            policy: Arc::new(CachePolicy::new()),
            status_name: None,
            scheme: None,
            most: None,
            queries: Spooling::new(LONGEST_QUERY).in_memory(LONGEST_QUERY as usize),
            whole_until: None,
        }
    }

    /// Sets the policy.
    pub fn policy(mut self, policy: CachePolicy) -> Self {
        self.policy = Arc::new(policy);
        self
    }

    /// Sets the manager that decides which responses are evicted when the storage is full. Needed by storages that do
    /// not limit themselves.
    pub fn eviction(mut self, eviction: &'static (dyn EvictionManager + Sync)) -> Self {
        self.eviction = Some(eviction);
        self
    }

    /// Sets the lock table; `None`: every request that misses goes to the origin.
    pub fn lock(mut self, lock: Option<&'static CacheKeyLockImpl>) -> Self {
        self.lock = lock;
        self
    }

    /// Sets the predictor; `None`: requests wait for each other even if their responses can never be stored.
    pub fn predictor(
        mut self,
        predictor: Option<&'static (dyn CacheablePredictor + Sync)>,
    ) -> Self {
        self.predictor = predictor;
        self
    }

    /// Sets how long the body of a QUERY (RFC 10008) may be that becomes part of the key, in bytes: 64 KiB by default. It
    /// has an effect if the policy [lets QUERY use the cache](CachePolicy::query).
    ///
    /// The proxy then reads the body ahead of the look-up, into memory, and sends it from there if the response has to
    /// be fetched. A QUERY with a longer body, or whose body comes without a `Content-Length`, does without the cache,
    /// unless `request_filter` has [buffered](Session::buffer_request_body) its body. All such bodies together take at
    /// most 64 MiB of memory; beyond that they go to files without names, and their requests do without the cache.
    pub fn longest_query(mut self, bytes: usize) -> Self {
        self.queries = Spooling::new(bytes as u64).in_memory(bytes);
        self
    }

    /// Sets from where on a GET with a `Range` is passed on if nothing is stored for it. By default the whole is fetched and stored,
    /// and the client gets its part as soon as it arrives; so a client that asks for the end waits for all that is
    /// before it.
    ///
    /// With this, such a request goes to the origin as it is if one of its parts begins at this byte or a later one, or
    /// is counted from the end; its response is not stored, and no other request waits for it. A response that is
    /// being stored counts as stored. Parts that begin before that byte are treated as by default. With 0, ranges are served from what is stored, and
    /// nothing is fetched for them but what they ask for.
    pub fn pass_on_ranges_from(mut self, byte: u64) -> Self {
        self.whole_until = Some(byte);
        self
    }

    /// Limits the size of what is stored, in bytes of the body; without limit by default.
    pub fn max_file_size(mut self, bytes: usize) -> Self {
        self.most = Some(bytes);
        self
    }

    /// Adds `Cache-Status` (RFC 9211) to responses, under this name of the cache. Off by default, because it tells
    /// clients what others have asked for.
    pub fn cache_status(mut self, name: impl Into<String>) -> Self {
        self.status_name = Some(name.into());
        self
    }

    /// Sets the scheme that clients use, for keys, if something in front of this proxy ends TLS. By default it
    /// is that of the client's connection.
    pub fn scheme(mut self, scheme: &'static str) -> Self {
        self.scheme = Some(scheme);
        self
    }

    /// The policy: for example, to purge by tag, host or prefix.
    pub fn rules(&self) -> &CachePolicy {
        &self.policy
    }

    /// A handle for looking at what is stored, and what of it was purged: for an administration service.
    pub fn inspector(&self) -> Inspector {
        Inspector::new(self.storage).policy(self.policy.clone())
    }

    /// For `request_cache_filter`: turns the cache on for a request that may use it. An unsafe one bypasses it;
    /// its response may make stored ones invalid.
    pub fn enable(&self, session: &mut Session) {
        let may_read = self.may_read_body(session);
        let request = session.downstream_session.req_header();
        let uses = may_read && self.policy.may_use_cache(request);
        let is_safe = request.line().method.is_safe();
        if !uses && is_safe || session.is_upgrade_req() {
            return;
        }
        let cache = &mut session.cache;
        cache.enable(self.storage, self.eviction, self.predictor, self.lock, None);
        if let Some(most) = self.most {
            cache.set_max_file_size_bytes(most);
        }
        if !uses {
            cache.bypass();
        }
    }

    /// For `cache_key_callback`.
    ///
    /// # Errors
    /// `InternalError`, for a request without an authority, by another method than GET, HEAD and QUERY, and for a
    /// QUERY whose body was not read into memory.
    pub fn key(&self, session: &Session) -> Result<CacheKey> {
        let (scheme, request) = (self.scheme_of(session), session.req_header());
        if !is_query(request) {
            return self.policy.key(scheme, request);
        }
        let body = session.buffered_request_body();
        let Some(body) = body.filter(|body| body.is_in_memory()) else {
            let context = "the body of the QUERY is not in memory";
            return Error::e_explain(ErrorType::InternalError, context);
        };
        let mut digest = QueryBody::new();
        digest.update(body.in_memory());
        self.policy.query_key(scheme, request, digest)
    }

    /// How to read the body that becomes part of the key; `None` if none does, or it was read.
    pub(crate) fn unread_query(&self, session: &mut Session) -> Option<Spooling> {
        let is_unread = session.buffered_request_body().is_none();
        let reads = is_unread && is_query(session.req_header()) && self.may_read_body(session);
        let uses = reads && self.policy.may_use_cache(session.req_header());
        uses.then(|| self.queries.clone())
    }

    fn may_read_body(&self, session: &mut Session) -> bool {
        let is_empty = session.is_body_empty();
        let request = session.downstream_session.req_header();
        if !is_query(request) || session.buffered_request_body().is_some() || is_empty {
            return true;
        }
        // A body that turned out to be too long could not be passed on any more.
        let length = request.headers.get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        length.is_some_and(|length| length <= self.queries.most())
    }

    /// Whether a request for which nothing is stored goes to the origin with its range, and without the cache.
    pub(crate) fn passes_on(&self, request: &RequestHeader) -> bool {
        let (Some(from), Some(range)) = (self.whole_until, request.headers.get(RANGE)) else {
            return false;
        };
        request.line().method == Method::GET && begins_late(range.as_bytes(), from)
    }

    /// For `response_cache_filter`.
    pub fn response(&self, session: &Session, resp: &ResponseHeader) -> RespCacheable {
        let received = clock::now();
        let requested = session.cache.requested().unwrap_or(received);
        self.policy
            .response(session.req_header(), resp, requested, received)
    }

    /// For `cache_hit_filter`.
    pub fn hit(&self, session: &Session, meta: &CacheMeta) -> Option<ForcedFreshness> {
        let key = session.cache.maybe_cache_key()?;
        self.policy
            .hit(session.req_header(), key, meta, clock::now())
    }

    /// Removes the responses that an unsafe request and its response have made invalid. Called by the proxy.
    pub(crate) async fn invalidate(&self, session: &Session, resp: &ResponseHeader) {
        let request = session.req_header();
        let scheme = self.scheme_of(session);
        let trace = Span::inactive().handle();
        for key in self.policy.invalidated(scheme, request, resp) {
            let key = key.to_compact();
            let target = PurgeTarget::Active(&key);
            let purge = self.storage.purge(target, PurgeType::Invalidation, &trace);
            match purge.await {
                Ok(PurgeOutcome::Purged(id)) => {
                    if let Some(eviction) = self.eviction {
                        eviction.remove(target.removed_entry(id));
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    log::warn!("what a request made invalid could not be purged: {error}")
                }
            }
        }
    }

    /// Adds `Cache-Status`, if that is turned on.
    pub(crate) fn add_status(&self, session: &Session, is_stored: bool, resp: &mut ResponseHeader) {
        if let Some(name) = &self.status_name {
            // A head without room is sent without the field.
            let _ = status_of(name, session, is_stored).append_to(resp);
        }
    }

    fn scheme_of(&self, session: &Session) -> &'static str {
        self.scheme.unwrap_or_else(|| {
            let digest = session.as_downstream().digest();
            if digest.is_some_and(|digest| digest.ssl_digest.is_some()) {
                "https"
            } else {
                "http"
            }
        })
    }
}

fn is_query(request: &RequestHeader) -> bool {
    request.line().method.as_str() == "QUERY"
}

fn status_of(name: &str, session: &Session, is_stored: bool) -> CacheStatus {
    let cache = &session.cache;
    let waited = cache.lock_duration().is_some();
    let mut status = match cache.phase() {
        CachePhase::Hit | CachePhase::Stale | CachePhase::StaleUpdating => {
            let mut status = CacheStatus::hit(name);
            if let Some(meta) = cache.maybe_cache_meta() {
                status = status.ttl(seconds_left(meta));
            }
            status
        }
        CachePhase::Revalidated | CachePhase::RevalidatedNoCache(_) => {
            CacheStatus::forwarded(name, Forwarded::Stale)
                .forwarded_status(http::StatusCode::NOT_MODIFIED)
        }
        CachePhase::Expired => CacheStatus::forwarded(name, Forwarded::Stale),
        CachePhase::Miss => CacheStatus::forwarded(name, missed(session)),
        CachePhase::Disabled(NoCacheReason::OriginNotCache) => {
            CacheStatus::forwarded(name, missed(session))
        }
        CachePhase::Bypass if !session.req_header().line().method.is_safe() => {
            CacheStatus::forwarded(name, Forwarded::Method)
        }
        _ => CacheStatus::forwarded(name, Forwarded::Bypass),
    };
    if is_stored {
        status = status.stored();
    }
    if waited {
        status = status.collapsed();
    }
    status
}

fn missed(session: &Session) -> Forwarded {
    let key = session.cache.maybe_cache_key();
    if key.is_some_and(|key| key.get_variance_key().is_some()) {
        Forwarded::VaryMiss
    } else {
        Forwarded::UriMiss
    }
}

fn seconds_left(meta: &CacheMeta) -> i64 {
    let (until, now) = (meta.fresh_until(), clock::now());
    let (left, sign) = match until.duration_since(now) {
        Ok(left) => (left, 1),
        Err(over) => (over.duration(), -1),
    };
    i64::try_from(left.as_secs())
        .unwrap_or(i64::MAX)
        .saturating_mul(sign)
}
