//! Requests as they arrive (RFC 9113 section 8.3.1).

use super::{Field, MOST_CRUMBS, classify, declared_length, join_cookies};
use crate::protocols::http::h1::{Fault, HeadLimits, RequestRules, is_valid_authority};
use h2::ext::Protocol;
use http::header::{CONTENT_LENGTH, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};

/// What the head of a request means for its stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct IncomingRequest {
    /// The length of the body, where it is declared.
    pub(crate) length: Option<u64>,
    /// Whether the client waits for a 100 before it sends the body (RFC 9110 section 10.1.1).
    pub(crate) expects_continue: bool,
    /// Whether this asks for a tunnel with a protocol of its own (RFC 8441 section 4).
    pub(crate) extended_connect: bool,
    /// About the size of the fields, in bytes as RFC 9113 section 6.5.2 counts them, where a cookie in
    /// pieces is one; 0 for a request that was refused.
    pub(crate) list_size: usize,
}

/// What one pass over the fields finds.
#[derive(Debug, Default)]
struct Seen {
    fields: usize,
    list_size: usize,
    hosts: usize,
    lengths: usize,
    cookies: usize,
    expect: bool,
}

/// Checks a request and makes its header such that whoever speaks HTTP/1 behind us reads the same:
/// there is one `Host`, which agrees with `:authority`, one `Cookie` and one `Content-Length`.
///
/// # Errors
/// The status to answer with. The header then stands as it arrived, without its fields where they are too
/// many or too large.
pub(crate) fn incoming_request(
    parts: &mut Parts,
    rules: &RequestRules,
) -> Result<IncomingRequest, Fault> {
    let seen = look_at_fields(parts)?;
    if let Err(fault) = check_sizes(parts, &seen, &rules.limits) {
        // Whoever is told of it looks at the target; the fields would be held for as long as the client
        // takes to read its answer.
        parts.headers = HeaderMap::new();
        return Err(fault);
    }
    let extended_connect = check_target(parts, rules)?;
    settle_authority(parts, &seen)?;
    let length = match seen.lengths {
        0 => None,
        _ => declared_length(&parts.headers)?,
    };
    if let Some(length) = length.filter(|_| seen.lengths > 1) {
        parts
            .headers
            .insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if seen.cookies > 1 {
        join_cookies(&mut parts.headers);
    }
    Ok(IncomingRequest {
        length,
        expects_continue: seen.expect,
        extended_connect,
        list_size: seen.list_size,
    })
}

fn look_at_fields(parts: &Parts) -> Result<Seen, Fault> {
    let mut seen = Seen::default();
    for (name, value) in &parts.headers {
        seen.fields += 1;
        seen.list_size += value.len() + 2;
        match classify(name) {
            Field::Other => seen.list_size += name.as_str().len() + 30,
            Field::Host => seen.hosts += 1,
            Field::ContentLength => seen.lengths += 1,
            Field::Cookie => seen.cookies += 1,
            Field::Expect => seen.expect |= value.as_bytes().eq_ignore_ascii_case(b"100-continue"),
            // RFC 9113 section 8.2.2.
            Field::Te if value.as_bytes().eq_ignore_ascii_case(b"trailers") => {}
            Field::Te => return Err(Fault::bad("TE says more than trailers")),
            Field::Connection => return Err(Fault::bad("a field that speaks of the connection")),
        }
    }
    Ok(seen)
}

fn check_sizes(parts: &Parts, seen: &Seen, limits: &HeadLimits) -> Result<(), Fault> {
    // A cookie in pieces is one field.
    if seen.fields - seen.cookies.saturating_sub(1) > limits.fields {
        return Err(Fault::new(431, "too many header fields"));
    }
    if seen.cookies > MOST_CRUMBS {
        return Err(Fault::new(431, "the cookie comes in too many pieces"));
    }
    let target = parts
        .uri
        .path_and_query()
        .map_or(0, |path| path.as_str().len());
    if target > limits.target_bytes {
        return Err(Fault::new(414, "the request target is too long"));
    }
    Ok(())
}

/// Whether the target is one that this method may have; `true` for an extended CONNECT.
fn check_target(parts: &Parts, rules: &RequestRules) -> Result<bool, Fault> {
    let path = parts.uri.path_and_query().map(|path| path.as_str());
    if parts.method == Method::CONNECT {
        return match parts.extensions.get::<Protocol>() {
            // RFC 8441 section 4: the target is that of any other request.
            Some(protocol) if protocol.as_str() == "websocket" => Ok(true),
            Some(_) => Err(Fault::new(501, "the protocol of this tunnel is not known")),
            None if rules.allow_connect => Ok(false),
            None => Err(Fault::new(405, "CONNECT is not served here")),
        };
    }
    match path {
        Some("*") if parts.method == Method::OPTIONS => Ok(false),
        Some(path) if path.starts_with('/') => Ok(false),
        _ => Err(Fault::bad("the path does not begin with a slash")),
    }
}

/// Sees to it that `:authority` and `Host` say the same, and that there is a `Host` (RFC 9113
/// section 8.3.1).
fn settle_authority(parts: &mut Parts, seen: &Seen) -> Result<(), Fault> {
    if seen.hosts > 1 {
        return Err(Fault::bad("more than one Host"));
    }
    let host = parts.headers.get(HOST).filter(|_| seen.hosts > 0);
    match (parts.uri.authority(), host) {
        (Some(authority), host) => {
            let authority = authority.as_str().as_bytes();
            if !is_valid_authority(authority) {
                return Err(Fault::bad(":authority is malformed"));
            }
            match host {
                Some(host) if host.as_bytes().eq_ignore_ascii_case(authority) => Ok(()),
                Some(_) => Err(Fault::bad(":authority and Host differ")),
                None => {
                    let host = HeaderValue::from_bytes(authority)
                        .map_err(|_| Fault::bad(":authority is malformed"))?;
                    parts.headers.insert(HOST, host);
                    Ok(())
                }
            }
        }
        (None, Some(host)) if parts.method != Method::CONNECT => {
            match is_valid_authority(host.as_bytes()) {
                true => Ok(()),
                false => Err(Fault::bad("Host is malformed")),
            }
        }
        (None, _) => Err(Fault::bad("there is no :authority")),
    }
}

#[cfg(test)]
#[path = "incoming_request_tests.rs"]
mod tests;
