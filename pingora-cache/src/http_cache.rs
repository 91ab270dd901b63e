//! The cache's part in one request.

use crate::{CacheKey, CacheMeta, NoCacheReason};
use std::time::Duration;

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

/// The cache's part in one request: for now, always none.
///
/// Two words wide and without an allocation, because every request carries one.
#[derive(Debug)]
pub struct HttpCache {
    why: Why,
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
        }
    }

    /// Whether the cache takes part in this request.
    #[inline]
    pub fn enabled(&self) -> bool {
        false
    }

    /// Whether the cache is enabled but this request bypasses it.
    #[inline]
    pub fn bypassing(&self) -> bool {
        false
    }

    /// The progress of this request through the cache.
    #[inline]
    pub fn phase(&self) -> CachePhase {
        CachePhase::Disabled(self.why.into())
    }

    /// Whether the upstream contributes, or will contribute, to the response.
    #[inline]
    pub fn upstream_used(&self) -> bool {
        true
    }

    /// Removes the cache from this request, and records the reason.
    #[inline]
    pub fn disable(&mut self, reason: NoCacheReason) {
        self.why = reason.into();
    }

    /// The key of this request; `None` while the cache takes no part in it.
    #[inline]
    pub fn maybe_cache_key(&self) -> Option<&CacheKey> {
        None
    }

    /// The metadata of the stored response; `None` while there is none.
    #[inline]
    pub fn maybe_cache_meta(&self) -> Option<&CacheMeta> {
        None
    }

    /// How long this request waited for another one to fetch the response; `None` if it did not wait.
    #[inline]
    pub fn lock_duration(&self) -> Option<Duration> {
        None
    }

    /// How long the look-up in the storage took; `None` if there was none.
    #[inline]
    pub fn lookup_duration(&self) -> Option<Duration> {
        None
    }
}

impl Default for HttpCache {
    fn default() -> Self {
        HttpCache::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disabled_cache_is_two_words() {
        assert!(size_of::<HttpCache>() <= 16);
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
            assert!(!reason.as_str().is_empty());
        }
    }

    #[test]
    fn a_new_cache_says_that_nobody_asked_for_it() {
        let cache = HttpCache::new();
        assert_eq!(
            cache.phase(),
            CachePhase::Disabled(NoCacheReason::NeverEnabled)
        );
        assert!(!cache.enabled() && !cache.bypassing() && cache.upstream_used());
        assert!(cache.maybe_cache_key().is_none() && cache.maybe_cache_meta().is_none());
        assert!(cache.lock_duration().is_none() && cache.lookup_duration().is_none());
        assert_eq!(cache.phase().as_str(), "disabled");
    }
}
