//! Whether a response may be stored, and for how long it is fresh.

use super::{CachePolicy, SetCookie, targeted};
use crate::cache_control::{CacheControl, DirectiveKey, InterpretCacheControl};
use crate::clock;
use crate::filters::{
    after, age_on_arrival, calculate_serve_stale_durations, date, expires_after,
    has_unreadable_age, is_whole_and_final, varies_on_everything,
};
use crate::{CacheMeta, NoCacheReason, RespCacheable};
use http::header::{
    AGE, AUTHORIZATION, CONNECTION, COOKIE, DATE, ETAG, EXPIRES, LAST_MODIFIED, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, SET_COOKIE, TE, TRANSFER_ENCODING, UPGRADE, VARY,
};
use http::response::Parts as RespHeader;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use pingora_http::{RequestHeader, ResponseHeader};
use std::time::{Duration, SystemTime};

/// The reason of a response with more names in `Vary`, or more variants, than the policy allows.
const TOO_MANY_VARIANTS: NoCacheReason = NoCacheReason::Custom("TooManyVariants");
const SETS_A_COOKIE: NoCacheReason = NoCacheReason::Custom("SetsCookie");

impl CachePolicy {
    /// Whether the response to a request may be stored, and with which freshness (RFC 9111 sections 3 and 4.2).
    /// The request was sent at `requested`, the response's header arrived at `received`; both are times of one
    /// clock, such as [`clock::now`].
    ///
    /// The header that comes back is without the fields that must not be stored (section 3.1) or that `private`
    /// and `no-cache` name.
    pub fn response(
        &self,
        req: &RequestHeader,
        resp: &ResponseHeader,
        requested: SystemTime,
        received: SystemTime,
    ) -> RespCacheable {
        match self.store(req, resp, requested, received) {
            Ok(meta) => RespCacheable::Cacheable(meta),
            Err(reason) => RespCacheable::Uncacheable(reason),
        }
    }

    fn store(
        &self,
        req: &RequestHeader,
        resp: &ResponseHeader,
        requested: SystemTime,
        received: SystemTime,
    ) -> Result<CacheMeta, NoCacheReason> {
        let (said, is_targeted) = self.directives(resp);
        let said = said.as_ref();
        if !self.may_use_cache(req) || !may_store(said, req, resp) {
            return Err(NoCacheReason::OriginNotCache);
        }
        let lifetime = self
            .lifetime(said, is_targeted, req, resp, received)
            .ok_or(NoCacheReason::OriginNotCache)?;
        let delay = received.duration_since(requested).unwrap_or_default();
        let age = initial_age(received, delay, &resp.headers);
        let made = received.checked_sub(age).unwrap_or(received);
        // It comes from another cache, and nobody knows how old it is: the origin is asked before it is served again.
        // RFC 9111 section 5.1 would have the field ignored.
        let fresh_until = if has_unreadable_age(&resp.headers) {
            received
        } else {
            after(made, lifetime)
        };
        let (while_revalidate, if_error) = self.stale_windows(said);
        let can_be_validated = [ETAG, LAST_MODIFIED]
            .iter()
            .any(|name| resp.headers.contains_key(name));
        if fresh_until <= received && while_revalidate == 0 && if_error == 0 && !can_be_validated {
            return Err(NoCacheReason::OriginNotCache);
        }
        let mut header = self.storable_header(said, resp)?;
        if is_targeted {
            // Unlike the others it is not what decides about this copy, so its time would only confuse.
            header.remove_header(&EXPIRES);
        }
        self.admit_variant(req, resp, received, fresh_until)?;
        let mut meta = CacheMeta::new(fresh_until, received, while_revalidate, if_error, header);
        if !age.is_zero() {
            meta.set_epoch_override(made);
            meta.set_provenance(made);
        }
        meta.set_generation(self.purges.generation_at(requested));
        Ok(meta)
    }

    /// The directives that count for a response, and whether they are from a field that is for this cache.
    pub(super) fn directives(&self, resp: &RespHeader) -> (Option<CacheControl>, bool) {
        let targeted = self
            .targeted_fields
            .iter()
            .find_map(|name| targeted::directives(&resp.headers, name));
        match targeted {
            Some(directives) => (Some(directives), true),
            None => (CacheControl::from_resp_headers(resp), false),
        }
    }

    /// For how long the response is fresh after its origin made it; `None` if it may not be stored for want of any
    /// sign of it.
    fn lifetime(
        &self,
        said: Option<&CacheControl>,
        is_targeted: bool,
        req: &RequestHeader,
        resp: &ResponseHeader,
        received: SystemTime,
    ) -> Option<Duration> {
        if let Some(lifetime) = said.and_then(InterpretCacheControl::fresh_duration) {
            return Some(lifetime);
        }
        if !is_targeted && let Some(lifetime) = expires_after(received, &resp.headers) {
            return Some(lifetime);
        }
        let is_public = said.is_some_and(CacheControl::public);
        // The response to a request with cookies is probably personal, unless the origin says otherwise.
        let is_personal = [COOKIE, AUTHORIZATION]
            .iter()
            .any(|name| req.headers.contains_key(name));
        if is_personal && !is_public {
            return None;
        }
        let heuristic = (is_public || is_heuristically_cacheable(resp.status))
            .then(|| self.heuristic_lifetime(&resp.headers, received))
            .flatten();
        heuristic
            .or_else(|| self.defaults.fresh_sec(resp.status))
            .or_else(|| is_public.then_some(Duration::ZERO))
    }

    fn heuristic_lifetime(&self, headers: &HeaderMap, received: SystemTime) -> Option<Duration> {
        if self.heuristic_percent == 0 {
            return None;
        }
        let made = date(headers, DATE).unwrap_or(received);
        let unchanged = made.duration_since(date(headers, LAST_MODIFIED)?).ok()?;
        // In this order no product is too large for its type.
        let share = (unchanged / 100).saturating_mul(self.heuristic_percent);
        Some(share.min(self.heuristic_limit))
    }

    fn stale_windows(&self, said: Option<&CacheControl>) -> (u32, u32) {
        calculate_serve_stale_durations(said, &self.defaults)
    }

    fn storable_header(
        &self,
        said: Option<&CacheControl>,
        resp: &ResponseHeader,
    ) -> Result<ResponseHeader, NoCacheReason> {
        let mut header = resp.clone();
        remove_unstorable(&mut header);
        if let Some(said) = said {
            said.strip_private_headers(&mut header);
        }
        if header.headers.contains_key(SET_COOKIE) {
            match self.set_cookie {
                SetCookie::Refuse => return Err(SETS_A_COOKIE),
                SetCookie::Strip => {
                    header.remove_header(&SET_COOKIE);
                }
                SetCookie::Keep => {}
            }
        }
        Ok(header)
    }

    fn admit_variant(
        &self,
        req: &RequestHeader,
        resp: &ResponseHeader,
        received: SystemTime,
        fresh_until: SystemTime,
    ) -> Result<(), NoCacheReason> {
        if !resp.headers.contains_key(VARY) {
            return Ok(());
        }
        if super::vary::names(resp).len() > self.vary_names {
            return Err(TOO_MANY_VARIANTS);
        }
        let Some(variance) = self.variance_of(resp, req) else {
            return Ok(());
        };
        if self.variants.admit(req, variance, received, fresh_until) {
            Ok(())
        } else {
            Err(TOO_MANY_VARIANTS)
        }
    }
}

/// Whether nothing forbids storing (RFC 9111 sections 3, 3.5, 4.1, 5.2.2.3 and 5.2.2.5).
fn may_store(said: Option<&CacheControl>, req: &RequestHeader, resp: &ResponseHeader) -> bool {
    if !is_whole_and_final(resp.status) || varies_on_everything(&resp.headers) {
        return false;
    }
    let must_understand =
        said.is_some_and(|said| said.has_directive(&DirectiveKey::MustUnderstand));
    if must_understand && !is_understood(resp.status) {
        return false;
    }
    // A cache that understands the status may ignore the `no-store`, which is for those that don't.
    let no_store = said.is_some_and(CacheControl::no_store) && !must_understand;
    if no_store || said.is_some_and(CacheControl::is_private_as_a_whole) {
        return false;
    }
    !req.headers.contains_key(AUTHORIZATION)
        || said.is_some_and(InterpretCacheControl::allow_caching_authorized_req)
}

/// How old the response was when its header arrived (RFC 9111 section 4.2.3), in whole seconds.
fn initial_age(received: SystemTime, delay: Duration, headers: &HeaderMap) -> Duration {
    let age = age_on_arrival(clock::to_wall(received), headers);
    // Statements of other caches count from when they were made: at the latest when the request was sent.
    let since = headers.contains_key(AGE).then_some(delay.as_secs());
    age.saturating_add(Duration::from_secs(since.unwrap_or_default()))
}

/// The statuses that may be stored without any sign of freshness (RFC 9110 section 15.1).
fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

/// The statuses whose meaning for a cache is known: those of RFC 9110, except the ones of which nothing is stored.
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=205 | 300..=303 | 305 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 500..=505
    )
}

/// Removes what must not be stored (RFC 9111 section 3.1): the fields that are about one connection, and about the
/// authentication with a proxy.
pub(super) fn remove_unstorable(header: &mut ResponseHeader) {
    for name in unstorable_fields(&header.headers) {
        header.remove_header(&name);
    }
}

/// The names of such fields in these headers, including those that `Connection` lists.
pub(super) fn unstorable_fields(headers: &HeaderMap) -> Vec<HeaderName> {
    let listed = headers.get_all(CONNECTION).iter().flat_map(|line| {
        let options = line.as_bytes().split(|&byte| byte == b',');
        options.filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok())
    });
    let always = [
        CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-authentication-info"),
        HeaderName::from_static("proxy-connection"),
    ];
    listed
        .chain(always)
        .filter(|name| headers.contains_key(name))
        .collect()
}

/// Whether this method changes nothing at the origin (RFC 9110 section 9.2.1).
pub(super) fn is_safe(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
    ) || super::request::is_query(method)
        || method.as_str() == "PROPFIND"
        || method.as_str() == "REPORT"
        || method.as_str() == "SEARCH"
}
