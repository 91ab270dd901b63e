//! Requests as they arrive (RFC 9113 section 8.3.1).

use super::{MOST_CRUMBS, join_cookies, settle_length};
use crate::protocols::http::h1::{Fault, HeadLimits, RequestRules};
use h2::ext::Protocol;
use http::header::{COOKIE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};
use pingora_http::ControlField;
use pingora_http::grammar::{Line, Malformed, Section, SectionCheck, is_authority};

/// What the head of a request means for its stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct IncomingRequest {
    /// The length of the body, where it is declared.
    pub(crate) length: Option<u64>,
    /// Whether the client waits for a 100 before it sends the body (RFC 9110 section 10.1.1).
    pub(crate) expects_continue: bool,
    /// Whether this asks for a tunnel with a protocol of its own (RFC 8441 section 4).
    pub(crate) extended_connect: bool,
}

/// What one pass over the fields finds.
#[derive(Debug, Default)]
struct Seen {
    fields: usize,
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
    let extended_connect = check_method(parts, rules)?;
    let seen = look_at_lines(parts)?;
    if let Err(fault) = check_sizes(parts, &seen, &rules.limits) {
        // Whoever is told of it looks at the target; the fields would be held for as long as the client
        // takes to read its answer.
        parts.headers = HeaderMap::new();
        return Err(fault);
    }
    settle_authority(parts, &seen)?;
    let length = match seen.lengths {
        0 => None,
        _ => settle_length(&mut parts.headers)?,
    };
    // RFC 9110 section 9.3.6: over HTTP/1, what follows would be counted as a body by some, and as the
    // tunnel's by others.
    if parts.method == Method::CONNECT && length.is_some_and(|length| length > 0) {
        return Err(Fault::bad("CONNECT with a body"));
    }
    if seen.cookies > 1 {
        join_cookies(&mut parts.headers);
    }
    Ok(IncomingRequest {
        length,
        expects_continue: seen.expect,
        extended_connect,
    })
}

/// Judges what arrived, and counts what has to be settled.
fn look_at_lines(parts: &Parts) -> Result<Seen, Fault> {
    let mut check = SectionCheck::new(Section::Request);
    look_at_pseudo_fields(parts, &mut check).map_err(Fault::of_section)?;
    let mut seen = Seen::default();
    for (name, value) in &parts.headers {
        seen.fields += 1;
        let line = check
            .line(name.as_str().as_bytes(), value.as_bytes())
            .map_err(Fault::of_section)?;
        match line {
            Line::Field(Some(ControlField::Host)) => seen.hosts += 1,
            Line::Field(Some(ControlField::ContentLength)) => seen.lengths += 1,
            Line::Field(Some(ControlField::Expect)) => {
                seen.expect |= value.as_bytes().eq_ignore_ascii_case(b"100-continue");
            }
            Line::Field(None) if *name == COOKIE => seen.cookies += 1,
            _ => {}
        }
    }
    check.end().map_err(Fault::of_section)?;
    Ok(seen)
}

/// The pseudo-header fields, as far as the `h2` crate hands them on: it drops the scheme of a request
/// without `:authority`, and the fragment of a path.
fn look_at_pseudo_fields(parts: &Parts, check: &mut SectionCheck) -> Result<(), Malformed> {
    check.line(b":method", parts.method.as_str().as_bytes())?;
    let protocol = parts.extensions.get::<Protocol>();
    if let Some(protocol) = protocol {
        check.line(b":protocol", protocol.as_str().as_bytes())?;
    }
    if let Some(authority) = parts.uri.authority() {
        check.line(b":authority", authority.as_str().as_bytes())?;
    }
    if parts.method == Method::CONNECT && protocol.is_none() {
        return Ok(());
    }
    let scheme = parts.uri.scheme_str().unwrap_or("http");
    check.line(b":scheme", scheme.as_bytes())?;
    if let Some(path) = parts.uri.path_and_query() {
        check.line(b":path", path.as_str().as_bytes())?;
    }
    Ok(())
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

/// Whether this method is served; `true` for an extended CONNECT.
fn check_method(parts: &Parts, rules: &RequestRules) -> Result<bool, Fault> {
    if parts.method != Method::CONNECT {
        return Ok(false);
    }
    match parts.extensions.get::<Protocol>() {
        // RFC 8441 section 4: the target is that of any other request.
        Some(protocol) if protocol.as_str().eq_ignore_ascii_case("websocket") => Ok(true),
        Some(_) => Err(Fault::new(501, "the protocol of this tunnel is not known")),
        None if rules.allow_connect => Ok(false),
        None => Err(Fault::new(405, "CONNECT is not served here")),
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
            match is_authority(host.as_bytes()) {
                true => Ok(()),
                false => Err(Fault::bad("Host is not a host and a port")),
            }
        }
        (None, _) => Err(Fault::bad("there is no :authority")),
    }
}

#[cfg(test)]
#[path = "incoming_request_tests.rs"]
mod tests;
