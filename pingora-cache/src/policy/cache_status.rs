//! Tells the client what the cache did (RFC 9211).

use http::{HeaderName, HeaderValue, StatusCode};
use pingora_error::Result;
use pingora_http::ResponseHeader;
use pingora_http::grammar::{is_token_byte, structured_string};
use std::fmt::{self, Write};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Why a request went to the upstream (RFC 9211 section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// The cache was not to take part.
    Bypass,
    /// The method has to be forwarded.
    Method,
    /// Nothing is stored for the URI.
    UriMiss,
    /// Nothing is stored for these values of what the response varies on.
    VaryMiss,
    /// Nothing is stored; why is not known.
    Miss,
    /// A fresh response is stored, but the client asked for another.
    Request,
    /// The stored response has expired.
    Stale,
    /// Only a part is stored.
    Partial,
}

impl Forwarded {
    /// The token of the RFC.
    pub fn as_str(self) -> &'static str {
        match self {
            Forwarded::Bypass => "bypass",
            Forwarded::Method => "method",
            Forwarded::UriMiss => "uri-miss",
            Forwarded::VaryMiss => "vary-miss",
            Forwarded::Miss => "miss",
            Forwarded::Request => "request",
            Forwarded::Stale => "stale",
            Forwarded::Partial => "partial",
        }
    }
}

/// A member of `Cache-Status`: what one cache did with a request.
///
/// # Example
/// ```
/// use pingora_cache::policy::{CacheStatus, Forwarded};
///
/// assert_eq!(CacheStatus::hit("edge").ttl(30).to_string(), "edge; hit; ttl=30");
/// let miss = CacheStatus::forwarded("edge 1", Forwarded::UriMiss).stored();
/// assert_eq!(miss.to_string(), "\"edge 1\"; fwd=uri-miss; stored");
/// ```
#[derive(Debug, Clone)]
pub struct CacheStatus(String);

impl CacheStatus {
    /// The response was served from the cache named `cache`. Only the name's printable ASCII
    /// characters are used.
    pub fn hit(cache: &str) -> Self {
        let mut status = CacheStatus(item(cache));
        status.0.push_str("; hit");
        status
    }

    /// The request went to the upstream, for this reason.
    pub fn forwarded(cache: &str, reason: Forwarded) -> Self {
        let mut status = CacheStatus(item(cache));
        status.push("fwd", reason.as_str());
        status
    }

    /// The upstream answered with this status; worth saying if it is not the one that the client gets.
    pub fn forwarded_status(mut self, status: StatusCode) -> Self {
        self.push("fwd-status", status.as_u16());
        self
    }

    /// The number of seconds for which the response is fresh; negative if it is stale.
    pub fn ttl(mut self, seconds: i64) -> Self {
        self.push("ttl", seconds);
        self
    }

    /// The response was stored.
    pub fn stored(mut self) -> Self {
        self.0.push_str("; stored");
        self
    }

    /// The request waited for another one's response.
    pub fn collapsed(mut self) -> Self {
        self.0.push_str("; collapsed");
        self
    }

    /// The key. It tells clients what distinguishes responses; and what other clients asked for, if it holds that.
    pub fn key(mut self, key: &str) -> Self {
        self.push("key", structured_string(key));
        self
    }

    /// Anything else.
    pub fn detail(mut self, detail: &str) -> Self {
        self.push("detail", item(detail));
        self
    }

    /// Appends this to the response's `Cache-Status`, after those of the caches nearer to the origin.
    ///
    /// # Errors
    /// `InvalidHTTPHeader`, if the head is full.
    pub fn append_to(&self, resp: &mut ResponseHeader) -> Result<()> {
        let mut members: Vec<_> = resp
            .headers
            .get_all(CACHE_STATUS)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        members.push(self.0.as_bytes());
        let value = pingora_http::header_value_from_slice(&members.join(&b", "[..]));
        resp.insert_header(CACHE_STATUS, value)
    }

    fn push(&mut self, name: &str, value: impl fmt::Display) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "; {name}={value}");
    }
}

impl fmt::Display for CacheStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A token if it can be one, or else a string (RFC 8941 sections 3.3.3 and 3.3.4).
fn item(text: &str) -> String {
    let is_token = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '*')
        && text
            .bytes()
            .all(|byte| is_token_byte(byte) || matches!(byte, b':' | b'/'));
    if is_token {
        text.to_owned()
    } else {
        structured_string(text)
    }
}
