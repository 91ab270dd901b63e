//! A ready policy for a shared cache: RFC 9111 and its companions as one value.
//!
//! A [`CachePolicy`] answers the questions that the phases of a cached request ask. It does no I/O, and the time is an
//! argument, so that every rule can be tested: a time of [`clock::now`](crate::clock::now).
//!
//! | question | method | phase |
//! |---|---|---|
//! | may this request use the cache? | [`may_use_cache`](CachePolicy::may_use_cache) | `request_cache_filter` |
//! | under which key? | [`key`](CachePolicy::key), [`query_key`](CachePolicy::query_key) | `cache_key_callback` |
//! | may this response be stored, and for how long? | [`response`](CachePolicy::response) | `response_cache_filter` |
//! | what does the stored response vary on? | [`variance`](CachePolicy::variance) | `cache_vary_filter` |
//! | may it be served to this request? | [`hit`](CachePolicy::hit) | `cache_hit_filter` |
//! | what if nothing may be served, and the client wants no other? | [`is_only_if_cached`] | `proxy_upstream_filter` |
//! | what has an unsafe request made invalid? | [`invalidated`](CachePolicy::invalidated) | `response_filter` |
//!
//! By default nothing is stored that RFC 9111 does not allow, and less than it allows if that is safer: no
//! response with `Set-Cookie`, no heuristic freshness for a request with cookies, no response with more than
//! 8 names in `Vary`.
//!
//! # Example
//! ```
//! use pingora_cache::clock;
//! use pingora_cache::policy::CachePolicy;
//! use pingora_http::{RequestHeader, ResponseHeader};
//!
//! let policy = CachePolicy::new();
//! let mut request = RequestHeader::build("GET", b"/a?b", None)?;
//! request.insert_header("Host", "One.Example:443")?;
//! assert!(policy.may_use_cache(&request));
//!
//! let key = policy.key("https", &request)?;
//! assert_eq!(key.primary_key_str(), Some("GET https://one.example/a?b"));
//!
//! let mut response = ResponseHeader::build(200, None)?;
//! response.insert_header("Cache-Control", "max-age=60")?;
//! let now = clock::now();
//! assert!(policy.response(&request, &response, now, now).is_cacheable());
//! # Ok::<(), Box<pingora_error::Error>>(())
//! ```
//!
//! Page in the repository: `docs/caching.md`.

mod cache_status;
mod freshen;
mod invalidation;
mod keys;
mod purges;
mod request;
mod reuse;
mod store;
mod targeted;
mod uri;
mod vary;

#[cfg(test)]
mod tests;

pub use cache_status::{CacheStatus, Forwarded};
pub use freshen::{HeadUpdate, freshen, freshen_by_head, is_confirmed_by};
pub use keys::QueryBody;
pub use purges::Purges;
pub(crate) use purges::{tags_in, uri_in};
pub use request::is_only_if_cached;

use crate::{CacheMeta, CacheMetaDefaults};
use http::HeaderName;
use std::time::Duration;
use vary::Variants;

/// How a response with `Set-Cookie` is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetCookie {
    /// It is not stored: the cookie is probably one client's own.
    Refuse,
    /// It is stored without the field. The client whose request fetched it still gets its cookie. Only for origins
    /// whose responses are the same for all clients, apart from the cookies they set.
    Strip,
    /// It is stored as it is, and every client gets the same cookie. RFC 9111 section 7.3 allows it; hardly any
    /// origin means it.
    Keep,
}

/// A policy for a shared cache. See [the module](self) for what asks it.
#[derive(Debug)]
pub struct CachePolicy {
    defaults: CacheMetaDefaults,
    heuristic_percent: u32,
    heuristic_limit: Duration,
    targeted_fields: Vec<HeaderName>,
    tag_fields: Vec<HeaderName>,
    bypass_fields: Vec<HeaderName>,
    set_cookie: SetCookie,
    request_directives: bool,
    query: bool,
    vary_names: usize,
    variants: Variants,
    purges: Purges,
}

impl Default for CachePolicy {
    fn default() -> Self {
        CachePolicy::new()
    }
}

impl CachePolicy {
    /// The policy that [the module](self) describes.
    pub fn new() -> Self {
        CachePolicy {
            defaults: CacheMetaDefaults::new(|_| None, 0, 0),
            heuristic_percent: 10,
            heuristic_limit: Duration::from_secs(3600),
            targeted_fields: vec![HeaderName::from_static("cdn-cache-control")],
            tag_fields: Vec::new(),
            bypass_fields: [
                "x-http-method",
                "x-http-method-override",
                "x-method-override",
                "x-original-url",
                "x-rewrite-url",
            ]
            .map(HeaderName::from_static)
            .to_vec(),
            set_cookie: SetCookie::Refuse,
            request_directives: true,
            query: false,
            vary_names: 8,
            variants: Variants::new(64),
            purges: Purges::new(),
        }
    }

    /// Sets what holds for responses that say nothing about their freshness, by status, and the windows for stale
    /// ones that name none. By default such a response is stored only with a heuristic freshness, and there are no
    /// such windows.
    pub fn defaults(mut self, defaults: CacheMetaDefaults) -> Self {
        self.defaults = defaults;
        self
    }

    /// Sets the heuristic freshness (RFC 9111 section 4.2.2): so much of the time since `Last-Modified`, in per
    /// cent, and at most `limit`. 10 % and an hour by default; 0 turns it off.
    pub fn heuristic(mut self, percent: u32, limit: Duration) -> Self {
        self.heuristic_percent = percent;
        self.heuristic_limit = limit;
        self
    }

    /// Sets the fields that are for caches like this one, the most specific first (the target list of RFC 9213):
    /// the first that is there and can be read decides instead of `Cache-Control` and `Expires`.
    /// `CDN-Cache-Control` by default. Invalid names are ignored.
    pub fn targeted_fields<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.targeted_fields = field_names(names);
        self
    }

    /// Sets the response fields that hold tags, such as `Cache-Tag` (tags separated by commas) or `Surrogate-Key`
    /// (separated by spaces): see [`Purges::purge_tag`]. None by default. Invalid names are ignored.
    pub fn tag_fields<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.tag_fields = field_names(names);
        self
    }

    /// Sets the request fields that keep a request away from the cache, because they are not part of the key and
    /// origins choose the response by them. By default those that override the method or the URL. Add what your
    /// origins heed, for example `x-forwarded-host`, unless the proxy sets it itself. Names that are none are left
    /// out.
    pub fn bypass_fields<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.bypass_fields = field_names(names);
        self
    }

    /// Sets what happens to a response with `Set-Cookie`; [`SetCookie::Refuse`] by default.
    pub fn set_cookie(mut self, set_cookie: SetCookie) -> Self {
        self.set_cookie = set_cookie;
        self
    }

    /// Sets whether clients' own directives count (RFC 9111 section 5.2.1); they do by default. With them, a client
    /// can have every response fetched from the origin.
    pub fn request_directives(mut self, honoured: bool) -> Self {
        self.request_directives = honoured;
        self
    }

    /// Sets whether QUERY (RFC 10008) may use the cache, with [`query_key`](Self::query_key); not by default,
    /// because the whole body has to be read before the look-up.
    pub fn query(mut self, cached: bool) -> Self {
        self.query = cached;
        self
    }

    /// Sets how many names there may be in `Vary`, and how many variants of one key may be fresh at a time. More
    /// are not stored. 8 and 64 by default.
    pub fn variants(mut self, most_names: usize, most_variants: usize) -> Self {
        self.vary_names = most_names;
        self.variants = Variants::new(most_variants);
        self
    }

    /// The tags of a stored response, in the [fields for tags](Self::tag_fields).
    pub fn tags(&self, meta: &CacheMeta) -> Vec<String> {
        tags_in(meta, &self.tag_fields)
            .map(|tag| String::from_utf8_lossy(tag).into_owned())
            .collect()
    }

    pub(crate) fn fields_of_tags(&self) -> &[HeaderName] {
        &self.tag_fields
    }

    /// The purges by tag, host or prefix.
    pub fn purges(&self) -> &Purges {
        &self.purges
    }
}

fn field_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<HeaderName> {
    names
        .into_iter()
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        .collect()
}
