//! The cache's part in one request.

mod fill;
mod locking;
mod lookup;
mod revalidate;

use crate::admission::{AdmissionPolicy, Decision};
use crate::eviction::EvictionManager;
use crate::lock::{CacheKeyLockImpl, Locked};
use crate::predictor::CacheablePredictor;
use crate::storage::{HitHandler, MissHandler, Storage};
use crate::trace::{Span, SpanHandle};
use crate::{CacheKey, CacheMeta, NoCacheReason};
use pingora_error::{BError, Error, ErrorType, Result};
use std::fmt;
use std::time::{Duration, SystemTime};

/// The progress of a request through the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachePhase {
    /// The cache takes no part in this request.
    Disabled(NoCacheReason),
    /// The cache is enabled, but has no key yet.
    Uninit,
    /// The cache is enabled, but this request bypasses it.
    Bypass,
    /// The key is known.
    CacheKey,
    /// Found, and fresh.
    Hit,
    /// Not found.
    Miss,
    /// Found, but too old; may be served nevertheless.
    Stale,
    /// Found, but too old; served while another request refreshes it.
    StaleUpdating,
    /// Found, but too old.
    Expired,
    /// Found, but too old; the upstream confirmed it.
    Revalidated,
    /// Found, but too old; confirmed by the upstream, and not to be stored again.
    RevalidatedNoCache(NoCacheReason),
}

impl CachePhase {
    /// The name used in logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            CachePhase::Disabled(_) => "disabled",
            CachePhase::Uninit => "uninitialized",
            CachePhase::Bypass => "bypass",
            CachePhase::CacheKey => "key",
            CachePhase::Hit => "hit",
            CachePhase::Miss => "miss",
            CachePhase::Stale => "stale",
            CachePhase::StaleUpdating => "stale-updating",
            CachePhase::Expired => "expired",
            CachePhase::Revalidated => "revalidated",
            CachePhase::RevalidatedNoCache(_) => "revalidated-nocache",
        }
    }
}

/// The cache's part in one request.
///
/// ```text
/// Disabled ──enable──▶ Uninit ──set_cache_key──▶ CacheKey ──cache_lookup──▶ (found or not)
///                         └──bypass──▶ Bypass        │
///                            cache_miss ◀────────────┤
///                                │                   ├─cache_found, fresh──▶ Hit
///                                ▼                   └─cache_found, stale──▶ Stale
///                              Miss                        │
///       set_cache_meta, set_miss_handler,                  ├─set_stale_updating──▶ StaleUpdating
///       (write_body), finish_miss_handler                  ├─revalidate_cache_meta──▶ Revalidated
///                                ▲                         ├─revalidate_uncacheable──▶ RevalidatedNoCache
///                                └───────── Expired ◀──────┴─set_cache_meta (another response came)
///
/// disable: from everywhere to Disabled; requests that wait for this one are released
/// ```
///
/// Three words wide and without an allocation until it is enabled, because every request carries one. If it is
/// dropped in the middle of a fill, nothing of the fill is kept, and another request takes its turn.
pub struct HttpCache {
    /// While it is disabled.
    why: Why,
    inner: Option<Box<Inner>>,
}

/// The state of an enabled cache.
struct Inner {
    phase: CachePhase,
    storage: &'static (dyn Storage + Sync),
    eviction: Option<&'static (dyn EvictionManager + Sync)>,
    predictor: Option<&'static (dyn CacheablePredictor + Sync)>,
    admission: Option<&'static dyn AdmissionPolicy>,
    lock: Option<LockCtx>,
    /// The key that the permit in `lock` was taken for: the variant may change until it is released.
    locked_key: Option<CacheKey>,
    key: Option<CacheKey>,
    /// The variant in `key` was set by a look-up, not by the program.
    is_varied: bool,
    meta: Option<CacheMeta>,
    body_reader: Option<HitHandler>,
    miss_handler: Option<MissHandler>,
    max_file_size: Option<usize>,
    body_bytes: usize,
    digest: HttpCacheDigest,
    spans: Spans,
    is_subrequest: bool,
    requested: Option<SystemTime>,
}

/// The spans of one request.
#[derive(Debug, Default)]
struct Spans {
    cache: Span,
    miss: Span,
    hit: Span,
}

impl fmt::Debug for HttpCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCache")
            .field("phase", &self.phase())
            .field("key", &self.maybe_cache_key())
            .finish_non_exhaustive()
    }
}

/// Figures of one request's way through the cache, for logs.
#[derive(Debug, Default, Clone, Copy)]
pub struct HttpCacheDigest {
    /// How long it waited for another request to fetch.
    pub lock_duration: Option<Duration>,
    /// How long the look-up in the storage took.
    pub lookup_duration: Option<Duration>,
    /// The decision of the admission policy.
    pub admission: Option<Decision>,
    /// Why it stopped waiting for another request.
    pub lock_abandon: Option<LockAbandon>,
}

/// Why a request stopped waiting for another one: it can't use what that one fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockAbandon {
    /// Why.
    pub reason: NoCacheReason,
    /// The token that the other request published.
    pub token: u64,
}

/// One request's part in a lock table.
pub struct LockCtx {
    /// The permit to fetch, or the place among those who wait.
    pub lock: Option<Locked>,
    /// The table.
    pub cache_lock: &'static CacheKeyLockImpl,
    /// How long this request waits in all; `None`: as long as the table's locks allow.
    pub wait_timeout: Option<Duration>,
    /// How often this request waits again after others failed; `None`: without limit.
    pub max_retries: Option<usize>,
}

impl fmt::Debug for LockCtx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockCtx")
            .field("lock", &self.lock)
            .field("wait_timeout", &self.wait_timeout)
            .field("max_retries", &self.max_retries)
            .finish_non_exhaustive()
    }
}

/// The settings of a request that differ from those of its lock table.
#[derive(Debug, Default, Clone, Copy)]
pub struct CacheOptionOverrides {
    /// How long this request waits for others in all.
    pub wait_timeout: Option<Duration>,
    /// How often this request waits again after others failed.
    pub max_lock_retries: Option<usize>,
}

/// [`NoCacheReason`] in two words: the reasons without a name fit beside the name's null pointer.
#[derive(Debug, Clone, Copy)]
enum Why {
    Known(Known),
    Custom(&'static str),
}

macro_rules! known_reasons {
    ($($name:ident)*) => {
        #[derive(Debug, Clone, Copy)]
        enum Known { $($name,)* }

        impl From<NoCacheReason> for Why {
            fn from(reason: NoCacheReason) -> Self {
                match reason {
                    $(NoCacheReason::$name => Why::Known(Known::$name),)*
                    NoCacheReason::Custom(name) => Why::Custom(name),
                }
            }
        }

        impl From<Why> for NoCacheReason {
            fn from(why: Why) -> Self {
                match why {
                    $(Why::Known(Known::$name) => NoCacheReason::$name,)*
                    Why::Custom(name) => NoCacheReason::Custom(name),
                }
            }
        }
    };
}

known_reasons! {
    NeverEnabled OriginNotCache ResponseTooLarge PredictedResponseTooLarge StorageError
    InternalError Deferred DeclinedToUpstream UpstreamError CacheLockGiveUp CacheLockTimeout
    CacheLockRetryLimit
}

impl HttpCache {
    /// A cache that takes no part in the request, because it was never enabled.
    #[inline]
    pub const fn new() -> Self {
        HttpCache {
            why: Why::Known(Known::NeverEnabled),
            inner: None,
        }
    }

    /// Whether the cache takes part in this request.
    #[inline]
    pub fn enabled(&self) -> bool {
        match &self.inner {
            None => false,
            Some(inner) => !matches!(inner.phase, CachePhase::Disabled(_) | CachePhase::Bypass),
        }
    }

    /// Whether the cache ever took part in this request.
    #[inline]
    pub fn was_enabled(&self) -> bool {
        self.inner.is_some()
    }

    /// Whether the cache is enabled but this request bypasses it.
    #[inline]
    pub fn bypassing(&self) -> bool {
        matches!(&self.inner, Some(inner) if inner.phase == CachePhase::Bypass)
    }

    /// The progress of this request through the cache.
    #[inline]
    pub fn phase(&self) -> CachePhase {
        match &self.inner {
            None => CachePhase::Disabled(self.why.into()),
            Some(inner) => inner.phase,
        }
    }

    /// Whether the upstream contributes, or will contribute, to the response.
    pub fn upstream_used(&self) -> bool {
        match self.phase() {
            CachePhase::Disabled(_)
            | CachePhase::Bypass
            | CachePhase::Miss
            | CachePhase::Expired
            | CachePhase::Revalidated
            | CachePhase::RevalidatedNoCache(_) => true,
            CachePhase::Uninit
            | CachePhase::CacheKey
            | CachePhase::Hit
            | CachePhase::Stale
            | CachePhase::StaleUpdating => false,
        }
    }

    /// Whether the storage is a `T`. `false` while the cache is not enabled.
    pub fn storage_type_is<T: 'static>(&self) -> bool {
        let on = self.on_ref();
        on.is_some_and(|inner| inner.storage.as_any().downcast_ref::<T>().is_some())
    }

    /// Turns the cache on for this request, ahead of a look-up. The place for it is
    /// `ProxyHttp::request_cache_filter`; the key follows by
    /// `ProxyHttp::cache_key_callback`.
    ///
    /// - `storage`: where responses are.
    /// - `eviction`: decides which have to go; without one, the storage grows until it limits itself.
    /// - `predictor`: remembers keys whose responses could not be stored, so that no request waits for them.
    /// - `cache_lock`: lets one request fetch while others wait; without one, each miss goes to the origin.
    ///
    /// Has no effect if the cache is enabled already.
    pub fn enable(
        &mut self,
        storage: &'static (dyn Storage + Sync),
        eviction: Option<&'static (dyn EvictionManager + Sync)>,
        predictor: Option<&'static (dyn CacheablePredictor + Sync)>,
        cache_lock: Option<&'static CacheKeyLockImpl>,
        option_overrides: Option<CacheOptionOverrides>,
    ) {
        if self.enabled() || self.bypassing() {
            log::warn!("the cache of a request was enabled twice");
            return;
        }
        self.inner = Some(Box::new(Inner {
            phase: CachePhase::Uninit,
            storage,
            eviction,
            predictor,
            admission: None,
            lock: None,
            locked_key: None,
            key: None,
            is_varied: false,
            meta: None,
            body_reader: None,
            miss_handler: None,
            max_file_size: None,
            body_bytes: 0,
            digest: HttpCacheDigest::default(),
            spans: Spans::default(),
            is_subrequest: false,
            requested: None,
        }));
        self.set_cache_lock(cache_lock, option_overrides);
    }

    /// Removes the cache from this request, and records the reason. A response being stored is dropped, and the
    /// requests that wait for this one are released: to fetch for themselves, if the reason is lasting, or else
    /// to try one after the other.
    pub fn disable(&mut self, reason: NoCacheReason) {
        let Some(inner) = &mut self.inner else {
            self.why = reason.into();
            return;
        };
        if matches!(inner.phase, CachePhase::Disabled(_)) {
            return;
        }
        inner.release(inner.status_for(reason));
        inner.miss_handler = None;
        inner.body_reader = None;
        inner.meta = None;
        inner.phase = CachePhase::Disabled(reason);
    }

    /// Lets this request go to the upstream without a look-up. Its response can still tell the predictor that
    /// the key has become cacheable.
    pub fn bypass(&mut self) {
        if let Some(inner) = self.on() {
            inner.release(crate::lock::LockStatus::TransientError);
            inner.phase = CachePhase::Bypass;
        }
    }

    /// Sets the policy that decides on a miss whether the response is worth storing. No effect while the
    /// cache is not enabled.
    pub fn set_admission_policy(&mut self, policy: &'static dyn AdmissionPolicy) {
        if let Some(inner) = self.on() {
            inner.admission = Some(policy);
        }
    }

    /// Makes the spans of this request children of `parent_span`.
    pub fn enable_tracing(&mut self, parent_span: Span) {
        if let Some(inner) = self.on() {
            inner.spans.cache = parent_span.child("cache", |options| options);
        }
    }

    /// The span of the whole cache; `None` while it is not enabled.
    pub fn get_cache_span(&self) -> Option<SpanHandle> {
        Some(self.on_ref()?.spans.cache.handle())
    }

    /// The span of storing; `None` while the cache is not enabled.
    pub fn get_miss_span(&self) -> Option<SpanHandle> {
        Some(self.on_ref()?.spans.miss.handle())
    }

    /// The span of reading what is stored; `None` while the cache is not enabled.
    pub fn get_hit_span(&self) -> Option<SpanHandle> {
        Some(self.on_ref()?.spans.hit.handle())
    }

    /// Sets the key. No effect while the cache is not enabled.
    pub fn set_cache_key(&mut self, key: CacheKey) {
        if let Some(inner) = self.on() {
            inner.key = Some(key);
            if inner.phase == CachePhase::Uninit {
                inner.phase = CachePhase::CacheKey;
            }
        }
    }

    /// The key of this request.
    ///
    /// # Panics
    /// If there is none; see [`maybe_cache_key`](Self::maybe_cache_key).
    #[allow(clippy::expect_used)] // what the interface promises
    pub fn cache_key(&self) -> &CacheKey {
        self.maybe_cache_key().expect("the cache has a key")
    }

    /// The key of this request; `None` while the cache takes no part in it, or has no key yet.
    pub fn maybe_cache_key(&self) -> Option<&CacheKey> {
        let inner = self.inner.as_deref()?;
        match inner.phase {
            CachePhase::Disabled(_) => None,
            _ => inner.key.as_ref(),
        }
    }

    /// The metadata of the response that was found, or is being stored.
    ///
    /// # Panics
    /// If there is none; see [`maybe_cache_meta`](Self::maybe_cache_meta).
    #[allow(clippy::expect_used)] // what the interface promises
    pub fn cache_meta(&self) -> &CacheMeta {
        self.maybe_cache_meta().expect("the cache has metadata")
    }

    /// The metadata of the response that was found, or is being stored; `None` while there is none.
    pub fn maybe_cache_meta(&self) -> Option<&CacheMeta> {
        self.on_ref()?.meta.as_ref()
    }

    /// How long this request waited for another one to fetch the response; `None` if it did not wait.
    pub fn lock_duration(&self) -> Option<Duration> {
        self.inner.as_ref()?.digest.lock_duration
    }

    /// Why this request stopped waiting for another one; `None` if it did not.
    pub fn lock_abandon(&self) -> Option<LockAbandon> {
        self.inner.as_ref()?.digest.lock_abandon
    }

    /// How long the look-up in the storage took; `None` if there was none.
    pub fn lookup_duration(&self) -> Option<Duration> {
        self.inner.as_ref()?.digest.lookup_duration
    }

    /// The decision of the admission policy; `None` if there is none, or it was not asked.
    pub fn admission_decision(&self) -> Option<Decision> {
        self.inner.as_ref()?.digest.admission
    }

    /// Whether the predictor expects the response to be cacheable. `true` without a predictor.
    pub fn cacheable_prediction(&self) -> bool {
        self.predicting()
            .is_none_or(|(predictor, key)| predictor.cacheable_prediction(key))
    }

    /// Why the predictor expects the response not to be cacheable, if it knows.
    pub fn predicted_uncacheable_reason(&self) -> Option<NoCacheReason> {
        let (predictor, key) = self.predicting()?;
        predictor.predicted_uncacheable_reason(key)
    }

    /// Tells the predictor that the response is cacheable.
    pub fn response_became_cacheable(&self) {
        if let Some((predictor, key)) = self.predicting() {
            predictor.mark_cacheable(key);
        }
    }

    /// Tells the predictor that the response is not cacheable.
    pub fn response_became_uncacheable(&self, reason: NoCacheReason) {
        if let Some((predictor, key)) = self.predicting() {
            predictor.mark_uncacheable(key, reason);
        }
    }

    /// Notes that this is the sub-request which refreshes a stale response for others.
    pub fn tag_as_subrequest(&mut self) {
        if let Some(inner) = self.on() {
            inner.is_subrequest = true;
        }
    }

    /// Notes when the upstream was asked, in [`clock::now`](crate::clock::now).
    pub fn set_requested(&mut self, at: SystemTime) {
        if let Some(inner) = self.on() {
            inner.requested = Some(at);
        }
    }

    /// When the upstream was asked; `None` if it was not, or not for the cache.
    pub fn requested(&self) -> Option<SystemTime> {
        self.inner.as_ref()?.requested
    }

    /// Whether [`tag_as_subrequest`](Self::tag_as_subrequest) was called.
    pub fn is_subrequest(&self) -> bool {
        self.on_ref().is_some_and(|inner| inner.is_subrequest)
    }

    fn predicting(&self) -> Option<(&'static (dyn CacheablePredictor + Sync), &CacheKey)> {
        let predictor = self.inner.as_ref()?.predictor?;
        Some((predictor, self.maybe_cache_key()?))
    }

    /// The state of an enabled cache.
    fn on(&mut self) -> Option<&mut Inner> {
        let inner = self.inner.as_deref_mut()?;
        let takes_part = !matches!(inner.phase, CachePhase::Disabled(_) | CachePhase::Bypass);
        takes_part.then_some(inner)
    }

    fn on_ref(&self) -> Option<&Inner> {
        let inner = self.inner.as_deref()?;
        let takes_part = !matches!(inner.phase, CachePhase::Disabled(_) | CachePhase::Bypass);
        takes_part.then_some(inner)
    }

    fn in_use(&mut self) -> Result<&mut Inner> {
        self.on().ok_or_else(|| misused("the cache is not enabled"))
    }
}

impl Inner {
    fn key(&self) -> Result<&CacheKey> {
        self.key
            .as_ref()
            .ok_or_else(|| misused("the cache has no key"))
    }
}

#[cold]
fn misused(context: &'static str) -> BError {
    Error::explain(ErrorType::InternalError, context)
}

impl Default for HttpCache {
    fn default() -> Self {
        HttpCache::new()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Otherwise they would find the permit dangling in a table that still has its place.
        self.release(crate::lock::LockStatus::Dangling);
    }
}

#[cfg(test)]
mod tests;
