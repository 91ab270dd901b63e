//! `Cache-Control`, and fields of the same form such as `CDN-Cache-Control` (RFC 9111 section 5.2, RFC 5861,
//! RFC 8246, RFC 9213).
//!
//! An unreadable directive never makes a response live longer: a directive that occurs more than once counts in its
//! strictest form, and an invalid number counts as zero if it would allow something.

use http::HeaderMap;
use http::request::Parts as ReqHeader;
use http::response::Parts as RespHeader;
use indexmap::IndexMap;
use pingora_error::Result;
use pingora_http::ResponseHeader;
use std::time::Duration;

mod directive;
mod parse;

#[cfg(test)]
mod tests;

pub use directive::{DirectiveKey, DirectiveValue, ListValueIter};

/// The value used for a number of seconds that is too large for its type (RFC 9111 section 1.2.2): 2^31.
pub const DELTA_SECONDS_OVERFLOW_VALUE: u32 = 1 << 31;

/// [`DELTA_SECONDS_OVERFLOW_VALUE`] as a time.
pub const DELTA_SECONDS_OVERFLOW_DURATION: Duration =
    Duration::from_secs(DELTA_SECONDS_OVERFLOW_VALUE as u64);

/// The directives in the order of their first occurrence, and their values.
pub type DirectiveMap = IndexMap<DirectiveKey, Option<DirectiveValue>>;

/// The directives of a message.
///
/// # Example
/// ```
/// use pingora_cache::cache_control::CacheControl;
/// use pingora_http::ResponseHeader;
///
/// let mut response = ResponseHeader::build(200, None)?;
/// response.insert_header("Cache-Control", "max-age=60, no-cache=\"set-cookie, x-user\"")?;
/// let directives = CacheControl::from_resp_headers(&response).unwrap();
/// assert_eq!(directives.max_age()?, Some(60));
/// assert_eq!(directives.no_cache_field_names().unwrap().count(), 2);
/// # Ok::<(), Box<pingora_error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct CacheControl {
    /// The directives. Names are in lower case.
    pub directives: DirectiveMap,
    /// Whether `1.5` counts as 1 second rather than as no number.
    pub allow_float_seconds: bool,
}

/// Whether a message says that it may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cacheable {
    /// Yes.
    Yes,
    /// No.
    No,
    /// It says nothing: the status and the cache's own settings decide.
    Default,
}

/// Reads what the directives of a response mean for a shared cache. Implemented by [`CacheControl`]; programs that
/// read other fields may implement it too.
pub trait InterpretCacheControl {
    /// Whether the response may be stored (RFC 9111 section 3).
    fn is_cacheable(&self) -> Cacheable;

    /// Whether the response may be stored although its request was authorised (RFC 9111 section 3.5).
    fn allow_caching_authorized_req(&self) -> bool;

    /// How long the response is fresh, from the time at which its origin made it; `None` if that is not said.
    fn fresh_duration(&self) -> Option<Duration>;

    /// How long the response may be served after that while it is revalidated (RFC 5861 section 3); `None` if that
    /// is not said, zero if it is forbidden.
    fn serve_stale_while_revalidate_duration(&self) -> Option<Duration>;

    /// How long the response may be served after that if the upstream fails (RFC 5861 section 4); `None` if that
    /// is not said, zero if it is forbidden.
    fn serve_stale_if_error_duration(&self) -> Option<Duration>;

    /// Removes the fields that must not be served from a shared cache: those named by `private` and `no-cache`
    /// (RFC 9111 sections 5.2.2.4 and 5.2.2.7).
    fn strip_private_headers(&self, resp_header: &mut ResponseHeader);
}

impl CacheControl {
    /// Makes numbers with a fraction count, rounded down.
    pub fn with_float_seconds(self) -> Self {
        CacheControl {
            allow_float_seconds: true,
            ..self
        }
    }

    /// The directives in all lines of the field with this name; `None` if there is no such field.
    pub fn from_headers_named(header_name: &str, headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(header_name).iter().peekable();
        lines.peek()?;
        let mut directives = DirectiveMap::new();
        for line in lines {
            parse::add_line(&mut directives, line.as_bytes());
        }
        Some(CacheControl {
            directives,
            allow_float_seconds: false,
        })
    }

    /// The directives of a request in the field with this name; `None` if there is no such field.
    pub fn from_req_headers_named(header_name: &str, req_header: &ReqHeader) -> Option<Self> {
        CacheControl::from_headers_named(header_name, &req_header.headers)
    }

    /// The directives in the `Cache-Control` of a request; `None` if there is no such field.
    pub fn from_req_headers(req_header: &ReqHeader) -> Option<Self> {
        CacheControl::from_req_headers_named("cache-control", req_header)
    }

    /// The directives of a response in the field with this name; `None` if there is no such field.
    pub fn from_resp_headers_named(header_name: &str, resp_header: &RespHeader) -> Option<Self> {
        CacheControl::from_headers_named(header_name, &resp_header.headers)
    }

    /// The directives in the `Cache-Control` of a response; `None` if there is no such field.
    pub fn from_resp_headers(resp_header: &RespHeader) -> Option<Self> {
        CacheControl::from_resp_headers_named("cache-control", resp_header)
    }

    /// Whether there is a directive with this name, in lower case.
    pub fn has_key(&self, key: &str) -> bool {
        self.has_directive(&DirectiveKey::from_lowercase(key))
    }

    /// Whether there is this directive.
    pub fn has_directive(&self, key: &DirectiveKey) -> bool {
        self.directives.contains_key(key)
    }

    /// Whether there is `public`.
    pub fn public(&self) -> bool {
        self.has_directive(&DirectiveKey::Public)
    }

    /// Whether there is `private`, with field names or without.
    pub fn private(&self) -> bool {
        self.has_directive(&DirectiveKey::Private)
    }

    /// The field names of `private`; `None` if it has none and applies to the whole response.
    pub fn private_field_names(&self) -> Option<ListValueIter<'_>> {
        self.field_names(&DirectiveKey::Private)
    }

    /// Whether there is `no-cache`, with field names or without.
    pub fn no_cache(&self) -> bool {
        self.has_directive(&DirectiveKey::NoCache)
    }

    /// The field names of `no-cache`; `None` if it has none and applies to the whole response.
    pub fn no_cache_field_names(&self) -> Option<ListValueIter<'_>> {
        self.field_names(&DirectiveKey::NoCache)
    }

    /// Whether there is `no-store`.
    pub fn no_store(&self) -> bool {
        self.has_directive(&DirectiveKey::NoStore)
    }

    /// The seconds of `max-age`; `None` if there is none.
    ///
    /// # Errors
    /// `InvalidHTTPHeader`, if it is no number.
    pub fn max_age(&self) -> Result<Option<u32>> {
        self.seconds(&DirectiveKey::MaxAge)
    }

    /// The seconds of `s-maxage`; `None` if there is none.
    ///
    /// # Errors
    /// `InvalidHTTPHeader`, if it is no number.
    pub fn s_maxage(&self) -> Result<Option<u32>> {
        self.seconds(&DirectiveKey::SMaxAge)
    }

    /// The seconds of `stale-while-revalidate`; `None` if there is none.
    ///
    /// # Errors
    /// `InvalidHTTPHeader`, if it is no number.
    pub fn stale_while_revalidate(&self) -> Result<Option<u32>> {
        self.seconds(&DirectiveKey::StaleWhileRevalidate)
    }

    /// The seconds of `stale-if-error`; `None` if there is none.
    ///
    /// # Errors
    /// `InvalidHTTPHeader`, if it is no number.
    pub fn stale_if_error(&self) -> Result<Option<u32>> {
        self.seconds(&DirectiveKey::StaleIfError)
    }

    /// Whether there is `must-revalidate`.
    pub fn must_revalidate(&self) -> bool {
        self.has_directive(&DirectiveKey::MustRevalidate)
    }

    /// Whether there is `proxy-revalidate`.
    pub fn proxy_revalidate(&self) -> bool {
        self.has_directive(&DirectiveKey::ProxyRevalidate)
    }

    /// Whether there is `only-if-cached`.
    pub fn only_if_cached(&self) -> bool {
        self.has_directive(&DirectiveKey::OnlyIfCached)
    }

    /// Whether `no-cache` applies to the whole response, rather than to some fields.
    pub(crate) fn is_never_fresh(&self) -> bool {
        self.no_cache() && self.no_cache_field_names().is_none()
    }

    /// Whether `private` applies to the whole response, rather than to some fields.
    pub(crate) fn is_private_as_a_whole(&self) -> bool {
        self.private() && self.private_field_names().is_none()
    }

    fn field_names(&self, key: &DirectiveKey) -> Option<ListValueIter<'_>> {
        let value = self.directives.get(key)?.as_ref()?;
        let mut names = ListValueIter::from(value);
        // An empty list, and names of fields without which the rest means something else, leave nothing to serve.
        let is_partial =
            names.clone().next().is_some() && names.all(|name| !parse::is_essential_field(name));
        is_partial.then(|| ListValueIter::from(value))
    }

    /// The seconds of a directive that may be unknown to [`DirectiveKey`].
    pub(crate) fn seconds(&self, key: &DirectiveKey) -> Result<Option<u32>> {
        let Some(value) = self.directives.get(key) else {
            return Ok(None);
        };
        let empty = DirectiveValue(Vec::new());
        let value = value.as_ref().unwrap_or(&empty);
        let seconds = if self.allow_float_seconds {
            value.parse_as_delta_seconds_floor()
        } else {
            value.parse_as_delta_seconds()
        };
        seconds.map(Some)
    }

    /// The time of a window in which a stale response may be served.
    fn stale_duration(&self, seconds: Result<Option<u32>>) -> Option<Duration> {
        // RFC 9111 section 4.2.4: these forbid it.
        if self.must_revalidate() || self.proxy_revalidate() || self.is_never_fresh() {
            return Some(Duration::ZERO);
        }
        match seconds {
            Ok(Some(seconds)) => Some(Duration::from_secs(seconds.into())),
            // `s-maxage` forbids it too (section 5.2.2.10), unless the same origin names a window.
            Ok(None) => self
                .has_directive(&DirectiveKey::SMaxAge)
                .then_some(Duration::ZERO),
            Err(_) => Some(Duration::ZERO),
        }
    }
}

impl InterpretCacheControl for CacheControl {
    fn is_cacheable(&self) -> Cacheable {
        if self.no_store() || self.is_private_as_a_whole() {
            return Cacheable::No;
        }
        let says_so = [
            DirectiveKey::Public,
            DirectiveKey::MaxAge,
            DirectiveKey::SMaxAge,
        ];
        if says_so.iter().any(|key| self.has_directive(key)) {
            Cacheable::Yes
        } else {
            Cacheable::Default
        }
    }

    fn allow_caching_authorized_req(&self) -> bool {
        // A directive that forbids reuse without the origin's consent allows storing (section 3.5).
        self.must_revalidate() || self.public() || self.has_directive(&DirectiveKey::SMaxAge)
    }

    fn fresh_duration(&self) -> Option<Duration> {
        if self.is_never_fresh() {
            return Some(Duration::ZERO);
        }
        let seconds = match self.s_maxage() {
            Ok(None) => self.max_age(),
            found => found,
        };
        match seconds {
            Ok(seconds) => seconds.map(|seconds| Duration::from_secs(seconds.into())),
            // Unreadable freshness counts as none (section 4.2.1).
            Err(_) => Some(Duration::ZERO),
        }
    }

    fn serve_stale_while_revalidate_duration(&self) -> Option<Duration> {
        self.stale_duration(self.stale_while_revalidate())
    }

    fn serve_stale_if_error_duration(&self) -> Option<Duration> {
        self.stale_duration(self.stale_if_error())
    }

    fn strip_private_headers(&self, resp_header: &mut ResponseHeader) {
        let names = [self.private_field_names(), self.no_cache_field_names()];
        for name in names.into_iter().flatten().flatten() {
            if let Ok(name) = http::HeaderName::from_bytes(name) {
                resp_header.remove_header(&name);
            }
        }
    }
}
