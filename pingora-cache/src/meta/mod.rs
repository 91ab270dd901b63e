//! The facts about a stored response besides its body.

use crate::key::HashBinary;
use pingora_error::Result;
use pingora_http::{HMap, ResponseHeader};
use std::borrow::Cow;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

mod defaults;
mod wire;

#[cfg(test)]
mod tests;

pub use defaults::{CacheMetaDefaults, FreshDurationByStatusFn};
pub use http::Extensions;

/// Names a file with a dictionary for compressing stored headers. This crate uses none: headers are stored as they
/// are, because a head is small beside its body and is read on each hit. Returns `false`: nothing was set.
pub fn set_compression_dict_path(_path: &str) -> bool {
    false
}

/// Sets a dictionary for compressing stored headers. This crate uses none, as [`set_compression_dict_path`] says.
/// Returns `false`: nothing was set.
pub fn set_compression_dict_content(_content: Cow<'static, [u8]>) -> bool {
    false
}

/// The metadata of a stored response: everything except its body.
///
/// Cloning it shares it; a clone that is changed becomes a copy of its own then.
#[derive(Debug, Clone)]
pub struct CacheMeta(Shared);

/// Shared by the stored response and its readers, until one of them changes a part.
#[derive(Debug, Clone)]
struct Shared(Arc<Inner>);

impl Deref for Shared {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl DerefMut for Shared {
    fn deref_mut(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.0)
    }
}

#[derive(Debug, Clone)]
struct Inner {
    created: SystemTime,
    updated: SystemTime,
    /// When the origin made the body, if that is not `created`.
    provenance: Option<SystemTime>,
    epoch_override: Option<SystemTime>,
    fresh_until: SystemTime,
    stale_while_revalidate_sec: u32,
    stale_if_error_sec: u32,
    variance: Option<HashBinary>,
    /// When the response was asked for, in the numbering of the policy's purges.
    generation: Option<u64>,
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
        CacheMeta::of(Inner {
            created,
            updated: created,
            provenance: None,
            epoch_override: None,
            fresh_until,
            stale_while_revalidate_sec,
            stale_if_error_sec,
            variance: None,
            generation: None,
            header,
            extensions: Extensions::new(),
        })
    }

    fn of(inner: Inner) -> Self {
        CacheMeta(Shared(Arc::new(inner)))
    }

    /// The same in as little memory as possible, and with a head that is cheap to copy: for a storage in memory.
    pub(crate) fn compacted(&self) -> Self {
        let mut compact = self.clone();
        compact.0.header.compact();
        compact
    }

    /// When the response was received.
    pub fn created(&self) -> SystemTime {
        self.0.created
    }

    /// When the upstream last confirmed the response; [`created`](Self::created) if it never did.
    pub fn updated(&self) -> SystemTime {
        self.0.updated
    }

    /// When the origin made the response, as far as is known: [`created`](Self::created), or before that if it came
    /// through other caches. A confirmation changes nothing about it, unlike about [`epoch`](Self::epoch).
    pub fn provenance(&self) -> SystemTime {
        self.0.provenance.unwrap_or(self.0.created)
    }

    /// Notes when the origin made the response.
    pub(crate) fn set_provenance(&mut self, made: SystemTime) {
        self.0.provenance = Some(made);
    }

    pub(crate) fn generation(&self) -> Option<u64> {
        self.0.generation
    }

    pub(crate) fn set_generation(&mut self, generation: u64) {
        self.0.generation = Some(generation);
    }

    /// Turns this metadata of a confirmation into that of the response that `old` describes: it was
    /// created then, and updated when this was created.
    #[allow(dead_code, reason = "the state machine of a request calls it")]
    pub(crate) fn confirm(&mut self, old: &CacheMeta) {
        self.0.updated = self.0.created;
        self.0.created = old.0.created;
        self.0.provenance = old.0.provenance;
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

    /// The response's age by [`clock::now`](crate::clock::now); zero if its epoch is yet to come.
    pub fn age(&self) -> Duration {
        crate::clock::now()
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

    /// The metadata as bytes, for [`deserialize`](Self::deserialize): what is the cache's own, and the response's
    /// header. The format has a number; the next release may write another one. [`extensions`](Self::extensions)
    /// are not part of it, because their types are unknown here.
    ///
    /// # Errors
    /// `InternalError`, if a name or a value is longer than 16 MiB.
    pub fn serialize(&self) -> Result<(Vec<u8>, Vec<u8>)> {
        wire::write(&self.0)
    }

    /// Reads what [`serialize`](Self::serialize) wrote.
    ///
    /// # Errors
    /// `InternalError`, if it was damaged or is of a format that this release doesn't know; `InvalidHTTPHeader`,
    /// if the header isn't one.
    pub fn deserialize(internal: &[u8], header: &[u8]) -> Result<Self> {
        wire::read(internal, header)
    }
}
