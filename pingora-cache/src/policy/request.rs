//! Which requests may use the cache, and what they say about it.

use super::CachePolicy;
use crate::cache_control::{CacheControl, DirectiveKey};
use http::Method;
use http::header::{CACHE_CONTROL, PRAGMA};
use pingora_http::{ControlField, RequestHeader};

impl CachePolicy {
    /// Whether a request may use the cache: to look a response up, and to store one.
    ///
    /// GET and HEAD may, and QUERY if that is [turned on](CachePolicy::query); not with `no-store` (RFC 9111
    /// section 5.2.1.5), not with a body that is no part of the key, and not with a field that
    /// [origins heed](CachePolicy::bypass_fields) instead of the values in the key.
    pub fn may_use_cache(&self, req: &RequestHeader) -> bool {
        let method = &req.line().method;
        let is_cacheable = match *method {
            Method::GET | Method::HEAD => !has_body(req),
            _ => self.query && is_query(method),
        };
        is_cacheable
            && !req.has_any_field(&self.bypass_fields)
            && !(self.request_directives && directives(req).is_some_and(|said| said.no_store()))
    }

    /// The client's demands on a stored response; `None` if it has none, or they don't count.
    pub(super) fn wishes(&self, req: &RequestHeader) -> Option<Wishes> {
        if !self.request_directives {
            return None;
        }
        if !req.has_any_field(&[CACHE_CONTROL, PRAGMA]) {
            return None;
        }
        let Some(said) = directives(req) else {
            // RFC 9111 section 5.4: for clients of HTTP/1.0.
            let no_cache = req.values_of(&PRAGMA).any(|line| {
                line.split(|&byte| byte == b',')
                    .any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-cache"))
            });
            return no_cache.then(|| Wishes {
                no_cache,
                ..Wishes::default()
            });
        };
        let key = |name: &str| DirectiveKey::from_lowercase(name);
        let max_stale = key("max-stale");
        Some(Wishes {
            no_cache: said.no_cache(),
            // A limit that can't be read is the strictest.
            max_age: said.max_age().unwrap_or(Some(0)),
            min_fresh: said.seconds(&key("min-fresh")).unwrap_or(Some(u32::MAX)),
            max_stale: match said.directives.get(&max_stale) {
                Some(None) => Some(u32::MAX),
                // No staleness is asked for by what can't be read.
                _ => said.seconds(&max_stale).unwrap_or(None),
            },
        })
    }
}

/// A client's demands on a stored response (RFC 9111 section 5.2.1), in seconds.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) no_cache: bool,
    pub(super) max_age: Option<u32>,
    pub(super) min_fresh: Option<u32>,
    pub(super) max_stale: Option<u32>,
}

/// Whether the client wants a stored response or none (RFC 9111 section 5.2.1.7). If there is none that may be
/// served, it gets 504 (Gateway Timeout).
pub fn is_only_if_cached(req: &RequestHeader) -> bool {
    directives(req).is_some_and(|said| said.only_if_cached())
}

/// The client's `Cache-Control`; most have none.
fn directives(req: &RequestHeader) -> Option<CacheControl> {
    let has_some = req.has_field(&CACHE_CONTROL);
    has_some.then(|| CacheControl::from_req_headers(req))?
}

pub(super) fn is_query(method: &Method) -> bool {
    method.as_str() == "QUERY"
}

fn has_body(req: &RequestHeader) -> bool {
    let mut has_one = false;
    req.for_each_control_field(|field, value| match field {
        ControlField::TransferEncoding => has_one = true,
        ControlField::ContentLength => has_one |= value.trim_ascii() != b"0",
        _ => {}
    });
    has_one
}
