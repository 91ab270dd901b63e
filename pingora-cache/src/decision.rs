//! Why something is not cached, what may be stored, and how fresh what was found is.

use crate::CacheMeta;
use std::time::SystemTime;

/// Why a request or a response does not use the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoCacheReason {
    /// The cache was never enabled for this request.
    NeverEnabled,
    /// The origin's response must not be stored.
    OriginNotCache,
    /// The response is larger than the storage limit.
    ResponseTooLarge,
    /// The response is expected to be larger than the storage limit.
    PredictedResponseTooLarge,
    /// The storage failed.
    StorageError,
    /// This process failed.
    InternalError,
    /// The decision was left to a later phase.
    Deferred,
    /// The proxy chose not to contact the upstream.
    DeclinedToUpstream,
    /// The upstream failed.
    UpstreamError,
    /// The request that held the cache lock gave up.
    CacheLockGiveUp,
    /// The cache lock was not released within the allowed time.
    CacheLockTimeout,
    /// The request has waited for the cache lock as often as allowed.
    CacheLockRetryLimit,
    /// A user-defined reason, by name.
    Custom(&'static str),
}

impl NoCacheReason {
    /// The name used in logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            NoCacheReason::NeverEnabled => "NeverEnabled",
            NoCacheReason::OriginNotCache => "OriginNotCache",
            NoCacheReason::ResponseTooLarge => "ResponseTooLarge",
            NoCacheReason::PredictedResponseTooLarge => "PredictedResponseTooLarge",
            NoCacheReason::StorageError => "StorageError",
            NoCacheReason::InternalError => "InternalError",
            NoCacheReason::Deferred => "Deferred",
            NoCacheReason::DeclinedToUpstream => "DeclinedToUpstream",
            NoCacheReason::UpstreamError => "UpstreamError",
            NoCacheReason::CacheLockGiveUp => "CacheLockGiveUp",
            NoCacheReason::CacheLockTimeout => "CacheLockTimeout",
            NoCacheReason::CacheLockRetryLimit => "CacheLockRetryLimit",
            NoCacheReason::Custom(name) => name,
        }
    }
}

/// Whether a response may be stored.
#[derive(Debug)]
pub enum RespCacheable {
    /// It may be stored, under these conditions.
    Cacheable(CacheMeta),
    /// It may not be stored, for this reason.
    Uncacheable(NoCacheReason),
}

impl RespCacheable {
    /// Whether the response may be stored.
    #[inline]
    pub fn is_cacheable(&self) -> bool {
        matches!(self, RespCacheable::Cacheable(_))
    }

    /// The conditions under which the response may be stored.
    ///
    /// # Panics
    /// If the response may not be stored: check [`is_cacheable`](Self::is_cacheable) first, or match.
    #[allow(clippy::panic)] // what the name promises
    pub fn unwrap_meta(self) -> CacheMeta {
        match self {
            RespCacheable::Cacheable(meta) => meta,
            RespCacheable::Uncacheable(reason) => {
                panic!("the response is not cacheable: {}", reason.as_str())
            }
        }
    }
}

/// A filter's verdict on a response that was found in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForcedFreshness {
    /// Treat it as expired: ask the upstream again.
    ForceExpired,
    /// Treat it as expired, but serve it if a stale response is allowed.
    ForceExpiredServeStale {
        /// The time at which it counts as expired; `None` for now.
        expired_at: Option<SystemTime>,
    },
    /// Treat it as absent.
    ForceMiss,
    /// Serve it although it has expired.
    ForceFresh,
}

/// The freshness of a response that was found in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HitStatus {
    /// It has expired.
    Expired,
    /// A filter made it expire.
    ForceExpired,
    /// A filter made it expire, but it may be served stale.
    ForceExpiredServeStale,
    /// A filter made it count as absent.
    ForceMiss,
    /// The filter failed.
    FailedHitFilter,
    /// It may be served.
    Fresh,
    /// A filter allows it to be served.
    ForceFresh,
}

impl HitStatus {
    /// The name used in logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            HitStatus::Expired => "expired",
            HitStatus::ForceExpired => "force_expired",
            HitStatus::ForceExpiredServeStale => "force_expired_serve_stale",
            HitStatus::ForceMiss => "force_miss",
            HitStatus::FailedHitFilter => "failed_hit_filter",
            HitStatus::Fresh => "fresh",
            HitStatus::ForceFresh => "force_fresh",
        }
    }

    /// Whether the response may be served without revalidation.
    pub fn is_fresh(&self) -> bool {
        matches!(self, HitStatus::Fresh | HitStatus::ForceFresh)
    }

    /// Whether the response counts as not found.
    pub fn is_treated_as_miss(self) -> bool {
        matches!(self, HitStatus::ForceMiss | HitStatus::FailedHitFilter)
    }
}

impl From<HitStatus> for &'static str {
    fn from(status: HitStatus) -> Self {
        status.as_str()
    }
}

impl<'a> From<&'a HitStatus> for &'static str {
    fn from(status: &'a HitStatus) -> Self {
        status.as_str()
    }
}
