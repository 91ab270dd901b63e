//! One table per section of RFC 9111 and of its companions.

use super::*;
use crate::{CacheKey, CacheMeta, ForcedFreshness, NoCacheReason, RespCacheable};
use http::StatusCode;
use pingora_http::{RequestHeader, ResponseHeader};
use std::time::SystemTime;

mod confirmations;
mod invalidation;
mod keys;
mod purges;
mod reuse;
mod store;
mod vary;

type Fields<'a> = &'a [(&'static str, &'a str)];

/// On a whole second, as dates are.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

fn at(seconds: i64) -> SystemTime {
    let offset = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        now() - offset
    } else {
        now() + offset
    }
}

fn date(seconds: i64) -> String {
    httpdate::fmt_http_date(at(seconds))
}

fn request(method: &str, fields: Fields<'_>) -> RequestHeader {
    let mut request = RequestHeader::build(method, b"/a", None).unwrap();
    request.insert_header("Host", "one.example").unwrap();
    for (name, value) in fields {
        request.append_header(*name, value.as_bytes()).unwrap();
    }
    request
}

fn response(status: u16, fields: Fields<'_>) -> ResponseHeader {
    let mut response = ResponseHeader::build(status, None).unwrap();
    for (name, value) in fields {
        response.append_header(*name, value.as_bytes()).unwrap();
    }
    response
}

fn stored(policy: &CachePolicy, req: Fields<'_>, resp: Fields<'_>) -> RespCacheable {
    policy.response(&request("GET", req), &response(200, resp), now(), now())
}

/// For how many seconds a response is fresh when it arrives; `None` if it isn't stored.
fn left(found: RespCacheable) -> Option<i64> {
    let RespCacheable::Cacheable(meta) = found else {
        return None;
    };
    Some(match meta.fresh_until().duration_since(now()) {
        Ok(left) => i64::try_from(left.as_secs()).unwrap(),
        Err(over) => -i64::try_from(over.duration().as_secs()).unwrap(),
    })
}
