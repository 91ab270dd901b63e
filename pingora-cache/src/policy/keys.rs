//! The keys of requests.

use super::CachePolicy;
use super::request::is_query;
use crate::CacheKey;
use crate::digest::Digest;
use http::header::{CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, Method};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{ControlField, RequestHeader};

impl CachePolicy {
    /// The key of a GET or a HEAD, which share their entries: the scheme that the client uses, the authority in
    /// lower case and without the scheme's default port, path and query as received.
    ///
    /// # Errors
    /// `InternalError` for another method, and if the request has no authority: nothing that could be shared
    /// between hosts gets a key.
    pub fn key(&self, scheme: &str, req: &RequestHeader) -> Result<CacheKey> {
        if !matches!(req.line().method, Method::GET | Method::HEAD) {
            return no_key("only GET and HEAD have such a key");
        }
        let (authority, path) = (authority(req)?, req.origin_form());
        let length = scheme.len() + authority.len() + path.len() + 8;
        let mut primary = Vec::with_capacity(length);
        primary.extend_from_slice(b"GET ");
        push_uri(&mut primary, scheme, authority, &path);
        Ok(CacheKey::new(primary, ""))
    }

    /// The [`key`](Self::key) of a GET of this URI, for example `https://one.example/a?b`: for looking at what is
    /// stored, and for purging.
    ///
    /// # Errors
    /// `InternalError`, if it has no scheme or no authority.
    pub fn key_of_uri(uri: &str) -> Result<CacheKey> {
        let uri = uri.split('#').next().unwrap_or_default();
        let Some((scheme, rest)) = uri.split_once("://") else {
            return no_key("a URI without a scheme has no key");
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let is_visible = uri.bytes().all(|byte| byte.is_ascii_graphic());
        if scheme.is_empty() || !is_visible || !is_authority(authority.as_bytes()) {
            return no_key("a URI without an authority has no key");
        }
        let mut primary = b"GET ".to_vec();
        push_uri(&mut primary, scheme, authority.as_bytes(), path.as_bytes());
        Ok(CacheKey::new(primary, ""))
    }

    /// The key of a QUERY (RFC 10008 section 2.7): as [`key`](Self::key), and the digest of its body and of the
    /// fields that say what the body means.
    ///
    /// # Errors
    /// As [`key`](Self::key).
    pub fn query_key(
        &self,
        scheme: &str,
        req: &RequestHeader,
        body: QueryBody,
    ) -> Result<CacheKey> {
        if !is_query(&req.method) {
            return no_key("only QUERY has such a key");
        }
        let mut primary = b"QUERY ".to_vec();
        for byte in body.finish(&req.headers) {
            primary.extend(format!("{byte:02x}").bytes());
        }
        primary.push(b' ');
        push_uri(&mut primary, scheme, authority(req)?, &req.origin_form());
        Ok(CacheKey::new(primary, ""))
    }
}

/// The body of a QUERY, piece by piece. Holds a digest, not the body.
#[derive(Debug, Clone)]
pub struct QueryBody(Digest);

impl QueryBody {
    /// An empty body.
    pub fn new() -> Self {
        QueryBody(Digest::new())
    }

    /// Adds a piece. In how many pieces the body comes makes no difference.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    fn finish(self, headers: &HeaderMap) -> [u8; 16] {
        let mut all = Digest::new();
        all.update(&self.0.finish());
        for name in [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE] {
            push_field(&mut all, headers, &name);
        }
        all.finish()
    }
}

impl Default for QueryBody {
    fn default() -> Self {
        QueryBody::new()
    }
}

fn push_field(digest: &mut Digest, headers: &HeaderMap, name: &HeaderName) {
    for line in headers.get_all(name) {
        digest.update_part(line.as_bytes());
    }
    digest.update_part(name.as_str().as_bytes());
}

/// The authority that a request is for: that of its target, or else `Host`.
pub(super) fn authority(req: &RequestHeader) -> Result<&[u8]> {
    let target = req.line().uri.authority();
    let target = target.map(|authority| authority.as_str().as_bytes());
    let (mut host, mut hosts) = (None, 0);
    req.for_each_control_field(|field, value| {
        if field == ControlField::Host {
            host = host.or(Some(value));
            hosts += 1;
        }
    });
    if hosts > 1 {
        return no_key("a request with two Host fields has no key");
    }
    match target.or(host).map(<[u8]>::trim_ascii) {
        Some(authority) if is_authority(authority) => Ok(authority),
        _ => no_key("a request without an authority has no key"),
    }
}

/// Whether this names a host: without a user, a path or a space, with which two keys could look the same.
fn is_authority(authority: &[u8]) -> bool {
    !authority.is_empty()
        && authority
            .iter()
            .all(|byte| byte.is_ascii_graphic() && !b"/\\?#@".contains(byte))
}

/// Appends a URI with a normal authority.
pub(super) fn push_uri(out: &mut Vec<u8>, scheme: &str, authority: &[u8], path: &[u8]) {
    let default_port: &[u8] = if scheme.eq_ignore_ascii_case("http") {
        b":80"
    } else if scheme.eq_ignore_ascii_case("https") {
        b":443"
    } else {
        b":"
    };
    let without_port = authority.strip_suffix(default_port);
    let without_port = without_port.or(authority.strip_suffix(b":"));
    let start = out.len();
    out.extend_from_slice(scheme.as_bytes());
    out.extend_from_slice(b"://");
    out.extend_from_slice(without_port.unwrap_or(authority));
    if let Some(origin) = out.get_mut(start..) {
        origin.make_ascii_lowercase();
    }
    // The slash that a client may leave out (RFC 9110 section 4.2.3).
    if !path.starts_with(b"/") {
        out.push(b'/');
    }
    out.extend_from_slice(path);
}

#[cold]
fn no_key<T>(why: &'static str) -> Result<T> {
    Error::e_explain(ErrorType::InternalError, why)
}
