//! The defaults for responses that don't state their freshness.

use http::StatusCode;
use std::time::Duration;

/// How long a response with this status is fresh if it does not say so itself; `None` if it is not to be stored.
pub type FreshDurationByStatusFn = fn(StatusCode) -> Option<Duration>;

/// The defaults for responses that don't state their freshness.
///
/// # Example
/// ```
/// use pingora_cache::CacheMetaDefaults;
/// use std::time::Duration;
///
/// const DEFAULTS: CacheMetaDefaults =
///     CacheMetaDefaults::new(|status| status.is_success().then(|| Duration::from_secs(5)), 0, 60);
/// assert_eq!(DEFAULTS.fresh_sec(http::StatusCode::NOT_FOUND), None);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct CacheMetaDefaults {
    fresh: FreshDurationByStatusFn,
    stale_while_revalidate_sec: u32,
    stale_if_error_sec: u32,
}

impl CacheMetaDefaults {
    /// How long responses are fresh by their status, and for how many seconds after that they may be served while
    /// they are revalidated, and if the upstream fails.
    pub const fn new(
        fresh_sec_fn: FreshDurationByStatusFn,
        stale_while_revalidate_sec: u32,
        stale_if_error_sec: u32,
    ) -> Self {
        CacheMetaDefaults {
            fresh: fresh_sec_fn,
            stale_while_revalidate_sec,
            stale_if_error_sec,
        }
    }

    /// How long a response with this status is fresh; `None` if it is not to be stored.
    pub fn fresh_sec(&self, resp_status: StatusCode) -> Option<Duration> {
        // A part can't be served instead of the whole, and a confirmation is not a response of its own.
        if !crate::filters::is_whole_and_final(resp_status) {
            return None;
        }
        (self.fresh)(resp_status)
    }

    /// For how many seconds an expired response may be served while it is revalidated.
    pub fn serve_stale_while_revalidate_sec(&self) -> u32 {
        self.stale_while_revalidate_sec
    }

    /// For how many seconds an expired response may be served if the upstream fails.
    pub fn serve_stale_if_error_sec(&self) -> u32 {
        self.stale_if_error_sec
    }
}
