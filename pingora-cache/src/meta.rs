//! The facts about a stored response besides its body.

use crate::key::HashBinary;
use http::Extensions;
use pingora_http::{HMap, ResponseHeader};
use std::time::{Duration, SystemTime};

/// The metadata of a stored response: everything except its body.
#[derive(Debug, Clone)]
pub struct CacheMeta(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    created: SystemTime,
    updated: SystemTime,
    epoch_override: Option<SystemTime>,
    fresh_until: SystemTime,
    stale_while_revalidate_sec: u32,
    stale_if_error_sec: u32,
    variance: Option<HashBinary>,
    header: ResponseHeader,
    extensions: Extensions,
}

impl CacheMeta {
    /// A response that was received at `created` and may be served until `fresh_until`, and after that
    /// for the given number of seconds while it is revalidated, or while the upstream fails.
    pub fn new(
        fresh_until: SystemTime,
        created: SystemTime,
        stale_while_revalidate_sec: u32,
        stale_if_error_sec: u32,
        header: ResponseHeader,
    ) -> CacheMeta {
        CacheMeta(Box::new(Inner {
            created,
            updated: created,
            epoch_override: None,
            fresh_until,
            stale_while_revalidate_sec,
            stale_if_error_sec,
            variance: None,
            header,
            extensions: Extensions::new(),
        }))
    }

    /// When the response was received.
    pub fn created(&self) -> SystemTime {
        self.0.created
    }

    /// When the upstream last confirmed the response; [`created`](Self::created) if it never did.
    pub fn updated(&self) -> SystemTime {
        self.0.updated
    }

    /// The time from which the response's age counts.
    pub fn epoch(&self) -> SystemTime {
        self.0.epoch_override.unwrap_or(self.0.updated)
    }

    /// The value set by [`set_epoch_override`](Self::set_epoch_override).
    pub fn epoch_override(&self) -> Option<SystemTime> {
        self.0.epoch_override
    }

    /// Counts the response's age from `epoch`.
    pub fn set_epoch_override(&mut self, epoch: SystemTime) {
        self.0.epoch_override = Some(epoch);
    }

    /// Counts the response's age from its last confirmation again.
    pub fn remove_epoch_override(&mut self) {
        self.0.epoch_override = None;
    }

    /// Whether the response is fresh at `time`.
    pub fn is_fresh(&self, time: SystemTime) -> bool {
        self.0.fresh_until >= time
    }

    /// For how many whole seconds from its epoch the response is fresh.
    pub fn fresh_sec(&self) -> u64 {
        self.0
            .fresh_until
            .duration_since(self.epoch())
            .map_or(0, |d| d.as_secs())
    }

    /// The time until which the response is fresh.
    pub fn fresh_until(&self) -> SystemTime {
        self.0.fresh_until
    }

    /// The response's current age; zero if the clock went back.
    pub fn age(&self) -> Duration {
        SystemTime::now()
            .duration_since(self.epoch())
            .unwrap_or_default()
    }

    /// For how many seconds an expired response may be served while it is revalidated.
    pub fn stale_while_revalidate_sec(&self) -> u32 {
        self.0.stale_while_revalidate_sec
    }

    /// For how many seconds an expired response may be served while the upstream fails.
    pub fn stale_if_error_sec(&self) -> u32 {
        self.0.stale_if_error_sec
    }

    /// Whether the response may be served at `time` while it is revalidated.
    pub fn serve_stale_while_revalidate(&self, time: SystemTime) -> bool {
        self.within_stale(self.0.stale_while_revalidate_sec, time)
    }

    /// Whether the response may be served at `time` if the upstream fails.
    pub fn serve_stale_if_error(&self, time: SystemTime) -> bool {
        self.within_stale(self.0.stale_if_error_sec, time)
    }

    fn within_stale(&self, stale_sec: u32, time: SystemTime) -> bool {
        let stale = Duration::from_secs(stale_sec.into());
        stale_sec > 0
            && self
                .0
                .fresh_until
                .checked_add(stale)
                .is_some_and(|end| time <= end)
    }

    /// Forbids serving the response once it has expired.
    pub fn disable_serve_stale(&mut self) {
        self.0.stale_while_revalidate_sec = 0;
        self.0.stale_if_error_sec = 0;
    }

    /// Makes the response expire at `instant`.
    pub fn expire_at(&mut self, instant: SystemTime) {
        self.0.fresh_until = instant;
    }

    /// Replaces all freshness values that were passed to [`new`](Self::new).
    pub fn update_freshness(
        &mut self,
        fresh_until: SystemTime,
        stale_while_revalidate_sec: u32,
        stale_if_error_sec: u32,
    ) {
        self.0.fresh_until = fresh_until;
        self.0.stale_while_revalidate_sec = stale_while_revalidate_sec;
        self.0.stale_if_error_sec = stale_if_error_sec;
    }

    /// The values that the response varies on.
    pub fn variance(&self) -> Option<HashBinary> {
        self.0.variance
    }

    /// Sets the values that the response varies on.
    pub fn set_variance_key(&mut self, variance_key: HashBinary) {
        self.0.variance = Some(variance_key);
    }

    /// Sets the values that the response varies on.
    pub fn set_variance(&mut self, variance: HashBinary) {
        self.0.variance = Some(variance);
    }

    /// Clears the values that the response varies on.
    pub fn remove_variance(&mut self) {
        self.0.variance = None;
    }

    /// The head of the response.
    pub fn response_header(&self) -> &ResponseHeader {
        &self.0.header
    }

    /// The head of the response, mutably.
    pub fn response_header_mut(&mut self) -> &mut ResponseHeader {
        &mut self.0.header
    }

    /// A copy of the head of the response.
    pub fn response_header_copy(&self) -> ResponseHeader {
        self.0.header.clone()
    }

    /// The header fields of the response.
    pub fn headers(&self) -> &HMap {
        &self.0.header.headers
    }

    /// Further data for storage and filters.
    pub fn extensions(&self) -> &Extensions {
        &self.0.extensions
    }

    /// Further data for storage and filters, mutably.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.0.extensions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn meta() -> CacheMeta {
        CacheMeta::new(
            at(110),
            at(100),
            5,
            20,
            ResponseHeader::build(200, None).unwrap(),
        )
    }

    #[test]
    fn freshness_ends_when_it_was_said_to() {
        let mut meta = meta();
        assert!(meta.is_fresh(at(110)) && !meta.is_fresh(at(111)));
        assert_eq!(meta.fresh_sec(), 10);
        meta.set_epoch_override(at(108));
        assert_eq!((meta.fresh_sec(), meta.epoch()), (2, at(108)));
        meta.set_epoch_override(at(200));
        assert_eq!(meta.fresh_sec(), 0);
        meta.remove_epoch_override();
        assert_eq!(meta.epoch(), at(100));
        meta.expire_at(at(50));
        assert!(!meta.is_fresh(at(51)));
    }

    #[test]
    fn stale_windows_begin_where_freshness_ends() {
        let mut meta = meta();
        assert!(meta.serve_stale_while_revalidate(at(115)));
        assert!(!meta.serve_stale_while_revalidate(at(116)));
        assert!(meta.serve_stale_if_error(at(130)) && !meta.serve_stale_if_error(at(131)));
        meta.disable_serve_stale();
        assert!(!meta.serve_stale_if_error(at(111)));
        meta.update_freshness(at(120), 1, 0);
        assert!(meta.serve_stale_while_revalidate(at(121)));
        assert!(!meta.serve_stale_if_error(at(121)));
    }

    #[test]
    fn meta_is_one_pointer_wide() {
        assert_eq!(size_of::<CacheMeta>(), size_of::<usize>());
    }
}
