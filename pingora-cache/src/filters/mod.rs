//! Whether a request or a response may use the cache, and for how long: the rules of RFC 9111 as single functions,
//! for programs that write their phases themselves.

pub mod upstream;

use crate::cache_control::{CacheControl, Cacheable, InterpretCacheControl};
use crate::{CacheMeta, CacheMetaDefaults, NoCacheReason, RespCacheable, clock};
use http::header::{AGE, DATE, ETAG, EXPIRES, LAST_MODIFIED, VARY};
use http::request::Parts as ReqHeader;
use http::response::Parts as RespHeader;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use pingora_http::ResponseHeader;
use std::time::{Duration, SystemTime};

#[cfg(test)]
mod tests;

/// Whether a request may be answered from the cache: GET and HEAD may.
pub fn request_cacheable(req_header: &ReqHeader) -> bool {
    matches!(req_header.method, Method::GET | Method::HEAD)
}

/// Whether a response may be stored (RFC 9111 section 3), and with which freshness. `authorization_present` says
/// whether the request had `Authorization`.
///
/// Fields that `private` and `no-cache` name are not in the header that is to be stored. A response that could
/// never be served again, not even after a revalidation, is not stored.
pub fn resp_cacheable(
    cache_control: Option<&CacheControl>,
    mut resp_header: ResponseHeader,
    authorization_present: bool,
    defaults: &CacheMetaDefaults,
) -> RespCacheable {
    const NO: RespCacheable = RespCacheable::Uncacheable(NoCacheReason::OriginNotCache);
    let now = clock::now();
    if !is_whole_and_final(resp_header.status) || varies_on_everything(&resp_header.headers) {
        return NO;
    }
    let fresh_until = calculate_fresh_until(
        now,
        cache_control,
        &resp_header,
        authorization_present,
        defaults,
    );
    let Some(fresh_until) = fresh_until else {
        return NO;
    };
    let (while_revalidate, if_error) = calculate_serve_stale_durations(cache_control, defaults);
    let is_usable = fresh_until > now
        || while_revalidate > 0
        || if_error > 0
        || [ETAG, LAST_MODIFIED]
            .iter()
            .any(|name| resp_header.headers.contains_key(name));
    if !is_usable {
        return NO;
    }
    let age = age_on_arrival(clock::to_wall(now), &resp_header.headers);
    if let Some(cache_control) = cache_control {
        cache_control.strip_private_headers(&mut resp_header);
    }
    let mut meta = CacheMeta::new(fresh_until, now, while_revalidate, if_error, resp_header);
    if let Some(made) = now.checked_sub(age).filter(|_| !age.is_zero()) {
        meta.set_epoch_override(made);
    }
    RespCacheable::Cacheable(meta)
}

/// Until when a response that arrives at `now`, a time of [`clock::now`], is fresh; `None` if it may
/// not be stored.
///
/// Counts from the time at which the origin made it, as far as `Age` and `Date` tell (RFC 9111 section 4.2.3), so
/// the result may lie before `now`. Asks, in this order: the directives, `Expires`, the defaults by status.
pub fn calculate_fresh_until(
    now: SystemTime,
    cache_control: Option<&CacheControl>,
    resp_header: &RespHeader,
    authorization_present: bool,
    defaults: &CacheMetaDefaults,
) -> Option<SystemTime> {
    if authorization_present
        && !cache_control.is_some_and(InterpretCacheControl::allow_caching_authorized_req)
    {
        return None;
    }
    if cache_control.map(InterpretCacheControl::is_cacheable) == Some(Cacheable::No) {
        return None;
    }
    let age = age_on_arrival(clock::to_wall(now), &resp_header.headers);
    let directive = cache_control.and_then(InterpretCacheControl::fresh_duration);
    let fresh = directive
        .or_else(|| expires_after(now, &resp_header.headers))
        .or_else(|| defaults.fresh_sec(resp_header.status))?;
    after(now, fresh).checked_sub(age)
}

/// The time in `Expires`, if there is one. A value that is not a date, such as `0`, counts as a
/// time in the past (RFC 9111 section 5.3). The earliest of several counts.
pub fn calculate_expires_header_time(resp_header: &RespHeader) -> Option<SystemTime> {
    expires(&resp_header.headers)
}

/// For how many seconds after it expired a response may be served while it is revalidated, and if the upstream
/// fails: what the directives say, or else the defaults.
pub fn calculate_serve_stale_durations(
    cache_control: Option<&impl InterpretCacheControl>,
    defaults: &CacheMetaDefaults,
) -> (u32, u32) {
    let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    let while_revalidate = cache_control
        .and_then(InterpretCacheControl::serve_stale_while_revalidate_duration)
        .map_or(defaults.serve_stale_while_revalidate_sec(), seconds);
    let if_error = cache_control
        .and_then(InterpretCacheControl::serve_stale_if_error_duration)
        .map_or(defaults.serve_stale_if_error_sec(), seconds);
    (while_revalidate, if_error)
}

/// A part (206), a confirmation (304) and what comes before a response (1xx) can't be served in its place.
pub(crate) fn is_whole_and_final(status: StatusCode) -> bool {
    !status.is_informational()
        && !matches!(
            status,
            StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED
        )
}

/// Whether there is a `Vary: *`: no other request may get the response (RFC 9111 section 4.1).
pub(crate) fn varies_on_everything(headers: &HeaderMap) -> bool {
    headers.get_all(VARY).iter().any(|line| {
        line.as_bytes()
            .split(|&byte| byte == b',')
            .any(|name| name.trim_ascii() == b"*")
    })
}

/// How old a response was when it arrived, without the time that the request took (RFC 9111 section 4.2.3): the
/// larger of what caches on the way say, and of what the origin's clock says.
pub(crate) fn age_on_arrival(now: SystemTime, headers: &HeaderMap) -> Duration {
    let apparent = date(headers, DATE)
        .and_then(|made| now.duration_since(made).ok())
        // Dates have whole seconds: what was made this second is new.
        .map_or(0, |age| age.as_secs());
    Duration::from_secs(apparent.max(age_value(headers)))
}

/// `Age` in seconds (RFC 9111 section 5.1): the first of several, also of several in one line; 0 for what is no
/// number, which the RFC says to ignore.
fn age_value(headers: &HeaderMap) -> u64 {
    said_age(headers).flatten().map_or(0, u64::from)
}

/// Whether there is an `Age` that is no number.
pub(crate) fn has_unreadable_age(headers: &HeaderMap) -> bool {
    said_age(headers).is_some_and(|age| age.is_none())
}

/// The first `Age`; `Some(None)`: it is no number.
fn said_age(headers: &HeaderMap) -> Option<Option<u32>> {
    let lines = headers.get(AGE)?.as_bytes();
    let first = lines.split(|&byte| byte == b',').next().unwrap_or_default();
    let first = crate::cache_control::DirectiveValue(first.trim_ascii().to_vec());
    Some(first.parse_as_delta_seconds().ok())
}

/// The first date in this field; `None` if there is no field, or its value is not a date.
pub(crate) fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

pub(crate) fn expires(headers: &HeaderMap) -> Option<SystemTime> {
    let lines = headers.get_all(EXPIRES).iter();
    let dates = lines.map(|line| {
        let date = line
            .to_str()
            .ok()
            .and_then(|text| httpdate::parse_http_date(text).ok());
        date.unwrap_or(SystemTime::UNIX_EPOCH)
    });
    dates.min()
}

/// How long after it was made a response expires, by `Expires` and `Date`, or `now` if that is absent.
pub(crate) fn expires_after(now: SystemTime, headers: &HeaderMap) -> Option<Duration> {
    let made = date(headers, DATE).unwrap_or(now);
    Some(expires(headers)?.duration_since(made).unwrap_or_default())
}

/// `time` and then `duration`, or as much later as a clock can show.
pub(crate) fn after(time: SystemTime, duration: Duration) -> SystemTime {
    const LONG: Duration = crate::cache_control::DELTA_SECONDS_OVERFLOW_DURATION;
    time.checked_add(duration)
        .or_else(|| time.checked_add(LONG))
        .unwrap_or(time)
}
