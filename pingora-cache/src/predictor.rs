//! Remembers which keys turned out not to be cacheable, so that their next requests don't wait for each other.

use crate::hashtable::ConcurrentLruCache;
use crate::key::CacheHashKey;
use crate::{CacheKey, NoCacheReason};
use std::fmt;

/// Whether a user-defined reason, by its name, should be forgotten rather than remembered.
pub type CustomReasonPredicate = fn(&'static str) -> bool;

/// Predicts from earlier responses whether the next one for a key will be cacheable.
pub trait CacheablePredictor {
    /// Whether the response is likely to be cacheable.
    fn cacheable_prediction(&self, key: &CacheKey) -> bool;

    /// Why the response is likely not to be cacheable. `None` if it is likely to be, or if the reason is not
    /// kept, which is the default.
    fn predicted_uncacheable_reason(&self, _key: &CacheKey) -> Option<NoCacheReason> {
        None
    }

    /// Notes that a response was cacheable. Returns whether that was already the prediction.
    fn mark_cacheable(&self, key: &CacheKey) -> bool;

    /// Notes that a response was not cacheable. Returns whether that was already the prediction; `None` if the
    /// reason says nothing about the next response, and nothing was noted.
    fn mark_uncacheable(&self, key: &CacheKey, reason: NoCacheReason) -> Option<bool>;
}

/// Remembers the keys that were not cacheable, in `N_SHARDS` shards of bounded size. The least recently
/// used key is dropped first. Keys, not variants: all variants of a key share the prediction.
///
/// # Example
/// ```
/// use pingora_cache::predictor::{CacheablePredictor, Predictor};
/// use pingora_cache::{CacheKey, NoCacheReason};
///
/// let predictor = Predictor::<16>::new(1024, None);
/// let key = CacheKey::new("https://one.example/login", "");
/// predictor.mark_uncacheable(&key, NoCacheReason::OriginNotCache);
/// assert!(!predictor.cacheable_prediction(&key));
/// ```
pub struct Predictor<const N_SHARDS: usize> {
    uncacheable: ConcurrentLruCache<NoCacheReason, N_SHARDS>,
    skip_custom_reason: Option<CustomReasonPredicate>,
}

impl<const N_SHARDS: usize> Predictor<N_SHARDS> {
    /// A predictor that remembers `shard_capacity` keys per shard, each about 150 bytes. User-defined reasons are
    /// remembered like others, except those for which `skip_custom_reasons_fn` returns `true`.
    pub fn new(
        shard_capacity: usize,
        skip_custom_reasons_fn: Option<CustomReasonPredicate>,
    ) -> Predictor<N_SHARDS> {
        Predictor {
            uncacheable: ConcurrentLruCache::new(shard_capacity),
            skip_custom_reason: skip_custom_reasons_fn,
        }
    }

    /// Whether this reason will probably hold for the next response as well.
    fn is_lasting(&self, reason: NoCacheReason) -> bool {
        match reason {
            NoCacheReason::OriginNotCache
            | NoCacheReason::ResponseTooLarge
            | NoCacheReason::PredictedResponseTooLarge => true,
            NoCacheReason::Custom(name) => !self.skip_custom_reason.is_some_and(|skip| skip(name)),
            // These tell about this request, this process or the upstream's health.
            NoCacheReason::NeverEnabled
            | NoCacheReason::StorageError
            | NoCacheReason::InternalError
            | NoCacheReason::Deferred
            | NoCacheReason::DeclinedToUpstream
            | NoCacheReason::UpstreamError
            | NoCacheReason::CacheLockGiveUp
            | NoCacheReason::CacheLockTimeout
            | NoCacheReason::CacheLockRetryLimit => false,
        }
    }
}

fn number(key: &CacheKey) -> u128 {
    u128::from_le_bytes(key.primary_bin())
}

impl<const N_SHARDS: usize> CacheablePredictor for Predictor<N_SHARDS> {
    fn cacheable_prediction(&self, key: &CacheKey) -> bool {
        let number = number(key);
        // Most keys are cacheable: these need no more than the lock for reading.
        if !self.uncacheable.read(number).contains(&number) {
            return true;
        }
        self.uncacheable.write(number).get(&number).is_none()
    }

    fn predicted_uncacheable_reason(&self, key: &CacheKey) -> Option<NoCacheReason> {
        let number = number(key);
        self.uncacheable.read(number).peek(&number).copied()
    }

    fn mark_cacheable(&self, key: &CacheKey) -> bool {
        let number = number(key);
        if !self.uncacheable.read(number).contains(&number) {
            return true;
        }
        self.uncacheable.write(number).pop(&number).is_none()
    }

    fn mark_uncacheable(&self, key: &CacheKey, reason: NoCacheReason) -> Option<bool> {
        if !self.is_lasting(reason) {
            return None;
        }
        let reason = match reason {
            NoCacheReason::ResponseTooLarge => NoCacheReason::PredictedResponseTooLarge,
            other => other,
        };
        let number = number(key);
        let before = self.uncacheable.write(number).put(number, reason);
        Some(before.is_some())
    }
}

impl<const N_SHARDS: usize> fmt::Debug for Predictor<N_SHARDS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Predictor")
            .field("shards", &N_SHARDS)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> CacheKey {
        CacheKey::new(name, "")
    }

    #[test]
    fn a_key_is_cacheable_until_it_was_not() {
        let predictor = Predictor::<2>::new(8, None);
        let key = key("a");
        assert!(predictor.cacheable_prediction(&key));
        assert!(predictor.mark_cacheable(&key));
        let reason = NoCacheReason::OriginNotCache;
        assert_eq!(predictor.mark_uncacheable(&key, reason), Some(false));
        assert_eq!(predictor.mark_uncacheable(&key, reason), Some(true));
        assert!(!predictor.cacheable_prediction(&key));
        assert_eq!(predictor.predicted_uncacheable_reason(&key), Some(reason));
        assert!(!predictor.mark_cacheable(&key));
        assert!(predictor.cacheable_prediction(&key));
        assert_eq!(predictor.predicted_uncacheable_reason(&key), None);
    }

    #[test]
    fn reasons_of_one_request_are_forgotten() {
        let predictor = Predictor::<1>::new(8, Some(|name| name == "mine"));
        let rows = [
            (NoCacheReason::NeverEnabled, None),
            (NoCacheReason::StorageError, None),
            (NoCacheReason::InternalError, None),
            (NoCacheReason::Deferred, None),
            (NoCacheReason::DeclinedToUpstream, None),
            (NoCacheReason::UpstreamError, None),
            (NoCacheReason::CacheLockGiveUp, None),
            (NoCacheReason::CacheLockTimeout, None),
            (NoCacheReason::CacheLockRetryLimit, None),
            (NoCacheReason::Custom("mine"), None),
            (NoCacheReason::Custom("other"), Some(false)),
            (NoCacheReason::OriginNotCache, Some(false)),
            (NoCacheReason::ResponseTooLarge, Some(false)),
            (NoCacheReason::PredictedResponseTooLarge, Some(false)),
        ];
        for (reason, expected) in rows {
            let key = key(reason.as_str());
            assert_eq!(predictor.mark_uncacheable(&key, reason), expected);
            let cacheable = predictor.cacheable_prediction(&key);
            assert_eq!(cacheable, expected.is_none(), "{reason:?}");
        }
        let large = key(NoCacheReason::ResponseTooLarge.as_str());
        assert_eq!(
            predictor.predicted_uncacheable_reason(&large),
            Some(NoCacheReason::PredictedResponseTooLarge)
        );
    }

    #[test]
    fn the_table_is_bounded() {
        let predictor = Predictor::<1>::new(2, None);
        for name in ["a", "b", "c"] {
            predictor.mark_uncacheable(&key(name), NoCacheReason::OriginNotCache);
        }
        assert!(predictor.cacheable_prediction(&key("a")));
        assert!(!predictor.cacheable_prediction(&key("c")));
    }
}
