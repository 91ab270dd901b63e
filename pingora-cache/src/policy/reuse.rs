//! Whether a stored response may be served to a request.

use super::CachePolicy;
use super::request::Wishes;
use crate::{CacheKey, CacheMeta, ForcedFreshness};
use pingora_http::RequestHeader;
use std::time::{Duration, SystemTime};

impl CachePolicy {
    /// Decides about a stored response that was found for a request (RFC 9111 section 4), at a time of the clock
    /// that was used when it was stored. `None` leaves it as it is: served while it is fresh, or else
    /// validated.
    ///
    /// Purged responses count as absent. The client's demands count if that is
    /// [turned on](CachePolicy::request_directives): it may ask for a fresher response, or accept one that has
    /// expired, unless its origin forbids that.
    pub fn hit(
        &self,
        req: &RequestHeader,
        key: &CacheKey,
        meta: &CacheMeta,
        now: SystemTime,
    ) -> Option<ForcedFreshness> {
        if self.is_purged(key.primary_key(), meta) {
            return Some(ForcedFreshness::ForceMiss);
        }
        let wishes = self.wishes(req)?;
        if wishes.no_cache {
            return Some(ForcedFreshness::ForceExpired);
        }
        if meta.is_fresh(now) {
            return wants_fresher(&wishes, meta, now).then_some(ForcedFreshness::ForceExpired);
        }
        self.accepts_stale(&wishes, meta, now)
            .then_some(ForcedFreshness::ForceFresh)
    }

    fn accepts_stale(&self, wishes: &Wishes, meta: &CacheMeta, now: SystemTime) -> bool {
        let Some(max_stale) = wishes.max_stale else {
            return false;
        };
        let stale = now.duration_since(meta.fresh_until()).unwrap_or_default();
        let is_young_enough = wishes
            .max_age
            .is_none_or(|most| age(meta, now) <= seconds(most));
        is_young_enough
            && wishes.min_fresh.is_none()
            && stale <= seconds(max_stale)
            && !self.forbids_stale(meta)
    }

    /// RFC 9111 section 4.2.4.
    fn forbids_stale(&self, meta: &CacheMeta) -> bool {
        let (said, _) = self.directives(meta.response_header());
        said.as_ref().is_some_and(|said| {
            said.must_revalidate()
                || said.proxy_revalidate()
                || said.is_never_fresh()
                || said.has_key("s-maxage")
        })
    }

    /// Whether the response that is stored under a key was purged by tag, host or prefix, or with all others.
    pub fn is_purged(&self, primary_key: &[u8], meta: &CacheMeta) -> bool {
        self.purges.hits(primary_key, meta, &self.tag_fields)
    }
}

/// Whether the client asks for more than a fresh response: a younger one (section 5.2.1.1), unless it accepts stale
/// ones, or one that is fresh for longer (section 5.2.1.3).
fn wants_fresher(wishes: &Wishes, meta: &CacheMeta, now: SystemTime) -> bool {
    let left = meta.fresh_until().duration_since(now).unwrap_or_default();
    wishes
        .max_age
        .is_some_and(|most| age(meta, now) > seconds(most))
        || wishes.min_fresh.is_some_and(|least| left < seconds(least))
}

fn age(meta: &CacheMeta, now: SystemTime) -> Duration {
    now.duration_since(meta.epoch()).unwrap_or_default()
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}
