//! Received requests (RFC 9113 section 8.3.1).

use super::{MOST_CRUMBS, join_cookies, settle_length};
use crate::protocols::http::h1::{Fault, HeadLimits, RequestRules};
use bytes::Bytes;
use http::header::{COOKIE, HOST};
use http::{HeaderMap, HeaderValue, Method, Version};
use pingora_h2::ext::Protocol;
use pingora_h2::hpack::PseudoFields;
use pingora_h2::{Head, give_fields};
use pingora_http::grammar::is_authority;
use pingora_http::{ControlField, RequestHeader, TargetRefused};

/// The meaning of a request's head for its stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct IncomingRequest {
    /// The length of the body, if it is declared.
    pub(crate) length: Option<u64>,
    /// Whether the client waits for a 100 before it sends the body (RFC 9110 section 10.1.1).
    pub(crate) expects_continue: bool,
    /// Whether this asks for a tunnel with a `:protocol` (RFC 8441 section 4).
    pub(crate) extended_connect: bool,
    /// The approximate size of the fields, in bytes as RFC 9113 section 6.5.2 counts them, with a cookie
    /// in pieces counted as one field. Beyond a usual number of fields, each additional one counts for
    /// more: even an empty field takes memory in the map. 0 for a request that was refused.
    pub(crate) list_size: usize,
}

/// Up to this many fields only count for their content.
const USUAL_FIELDS: usize = 48;
/// The memory of each additional field, in bytes: its place in the map, which grows by doubling, and in the
/// copy that goes upstream.
const PER_FIELD: usize = 160;

/// The results of one pass over the fields.
#[derive(Debug, Default)]
struct Seen {
    fields: usize,
    list_size: usize,
    hosts: usize,
    lengths: usize,
    cookies: usize,
    expect: bool,
}

/// Builds the header of a received request so that an HTTP/1 server behind us reads the same: there
/// is one `Host`, which agrees with `:authority`, one `Cookie` and one `Content-Length`.
///
/// The framing has checked the section against the grammar that is the same for all versions; its
/// finding is reported first.
///
/// A refused request carries what can be logged: the method and the target if they are valid, and
/// the fields unless they are too many or too large.
///
/// `into` is an empty header whose memory is used again.
pub(crate) fn incoming_request(
    head: &mut Head,
    rules: &RequestRules,
    into: &mut RequestHeader,
) -> Result<IncomingRequest, Fault> {
    let checked = check(head, rules);
    // A header that is used again has a map as well, which the next list of fields can have.
    give_fields(into.take_sound_fields(std::mem::take(&mut head.fields)));
    into.set_version(Version::HTTP_2);
    let mut pseudo = std::mem::take(&mut head.pseudo);
    if let Some(method) = pseudo.method.take() {
        into.set_method(method);
    }
    let protocol = pseudo.protocol.take();
    if let Some(Ok(protocol)) = protocol.as_deref().map(str::from_utf8) {
        into.extensions_mut().insert(Protocol::from(protocol));
    }
    let target = set_target(into, pseudo, protocol.is_some());
    let facts = checked?;
    target.map_err(Fault::of_target)?;
    Ok(facts)
}

fn check(head: &mut Head, rules: &RequestRules) -> Result<IncomingRequest, Fault> {
    let extended_connect = check_method(&head.pseudo, rules)?;
    if let Some(fault) = head.fault {
        return Err(Fault::new(fault.status, fault.detail));
    }
    let seen = look_at_fields(&head.fields);
    if let Err(fault) = check_sizes(head, &seen, &rules.limits) {
        // The phases that are told about the request look at the target; the fields would be held for as long
        // as the client takes to read its answer.
        head.fields = HeaderMap::new();
        return Err(fault);
    }
    settle_authority(head, &seen)?;
    let length = match seen.lengths {
        0 => None,
        _ => settle_length(&mut head.fields)?,
    };
    // RFC 9110 section 9.3.6: over HTTP/1, some implementations would treat the following bytes as a
    // body, and others as part of the tunnel.
    if head.pseudo.method == Some(Method::CONNECT) && length.is_some_and(|length| length > 0) {
        return Err(Fault::bad("CONNECT with a body"));
    }
    if seen.cookies > 1 {
        join_cookies(&mut head.fields);
    }
    Ok(IncomingRequest {
        length,
        expects_continue: seen.expect,
        extended_connect,
        list_size: seen.list_size + seen.fields.saturating_sub(USUAL_FIELDS) * PER_FIELD,
    })
}

/// Counts the fields that need further handling.
fn look_at_fields(fields: &HeaderMap) -> Seen {
    let mut seen = Seen::default();
    for (name, value) in fields {
        seen.fields += 1;
        seen.list_size += value.len() + 2;
        if *name != COOKIE {
            seen.list_size += name.as_str().len() + 30;
        }
        match ControlField::of(name.as_str().as_bytes()) {
            Some(ControlField::Host) => seen.hosts += 1,
            Some(ControlField::ContentLength) => seen.lengths += 1,
            Some(ControlField::Expect) => {
                seen.expect |= value.as_bytes().eq_ignore_ascii_case(b"100-continue");
            }
            None if *name == COOKIE => seen.cookies += 1,
            _ => {}
        }
    }
    seen
}

fn check_sizes(head: &Head, seen: &Seen, limits: &HeadLimits) -> Result<(), Fault> {
    // A cookie in pieces is one field.
    if seen.fields - seen.cookies.saturating_sub(1) > limits.fields {
        return Err(Fault::new(431, "too many header fields"));
    }
    if seen.cookies > MOST_CRUMBS {
        return Err(Fault::new(431, "the cookie comes in too many pieces"));
    }
    if head.pseudo.path.as_ref().map_or(0, Bytes::len) > limits.target_bytes {
        return Err(Fault::new(414, "the request target is too long"));
    }
    Ok(())
}

/// The target as received, byte by byte.
fn set_target(
    header: &mut RequestHeader,
    pseudo: PseudoFields,
    extended_connect: bool,
) -> Result<(), TargetRefused> {
    let tunnel = header.line().method == Method::CONNECT && !extended_connect;
    match (pseudo.authority, pseudo.path) {
        (Some(authority), None) if tunnel => header.set_parsed_authority(authority),
        (Some(authority), Some(path)) => {
            let scheme = pseudo.scheme.unwrap_or_default();
            header.set_parsed_absolute(&scheme, authority, path)
        }
        (None, Some(path)) => header.set_parsed_path(&path, &path),
        // The request was refused already.
        (_, None) => Ok(()),
    }
}

/// Whether this method is served; `true` for an extended CONNECT.
fn check_method(pseudo: &PseudoFields, rules: &RequestRules) -> Result<bool, Fault> {
    if pseudo.method != Some(Method::CONNECT) {
        return Ok(false);
    }
    match &pseudo.protocol {
        // RFC 8441 section 4: the target has the form of any other request's.
        Some(protocol) if protocol.eq_ignore_ascii_case(b"websocket") => Ok(true),
        Some(_) => Err(Fault::new(501, "the protocol of this tunnel is not known")),
        None if rules.allow_connect => Ok(false),
        None => Err(Fault::new(405, "CONNECT is not served here")),
    }
}

/// Ensures that `:authority` and `Host` agree, and that there is a `Host` (RFC 9113 section 8.3.1).
fn settle_authority(head: &mut Head, seen: &Seen) -> Result<(), Fault> {
    if seen.hosts > 1 {
        return Err(Fault::bad("more than one Host"));
    }
    let host = head.fields.get(HOST).filter(|_| seen.hosts > 0);
    match (&head.pseudo.authority, host) {
        (Some(authority), Some(host)) => {
            if host.as_bytes().eq_ignore_ascii_case(authority) {
                Ok(())
            } else {
                Err(Fault::bad(":authority and Host differ"))
            }
        }
        (Some(authority), None) => {
            let host = HeaderValue::from_maybe_shared(authority.clone())
                .map_err(|_| Fault::bad(":authority is malformed"))?;
            head.fields.insert(HOST, host);
            Ok(())
        }
        (None, Some(host)) if head.pseudo.method != Some(Method::CONNECT) => {
            if is_authority(host.as_bytes()) {
                Ok(())
            } else {
                Err(Fault::bad("Host is not a host and a port"))
            }
        }
        (None, _) => Err(Fault::bad("there is no :authority")),
    }
}

/// A head as the framing delivers it, with the parts that the types of the `http` crate can hold.
/// [`incoming_request`] into a new header.
#[cfg(test)]
pub(crate) fn new_request(
    mut head: Head,
    rules: &RequestRules,
) -> (RequestHeader, Result<IncomingRequest, Fault>) {
    let mut header = RequestHeader::empty();
    let checked = incoming_request(&mut head, rules, &mut header);
    (header, checked)
}

#[cfg(test)]
pub(crate) fn head_of(parts: http::request::Parts) -> Head {
    let text = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let protocol = parts.extensions.get::<Protocol>();
    let tunnel = parts.method == Method::CONNECT && protocol.is_none();
    let path = parts.uri.path_and_query().filter(|_| !tunnel);
    let pseudo = PseudoFields {
        authority: parts.uri.authority().map(|name| text(name.as_str())),
        scheme: (!tunnel).then(|| text(parts.uri.scheme_str().unwrap_or("http"))),
        path: path.map(|path| text(path.as_str())),
        protocol: protocol.map(|protocol| text(protocol.as_str())),
        method: Some(parts.method),
        status: None,
    };
    let mut head = Head {
        pseudo,
        fields: parts.headers,
        ..Head::default()
    };
    if let Err(malformed) = tests::judge(&head) {
        head.fault = Some(pingora_h2::HeadFault {
            status: 400,
            detail: malformed.reason(),
        });
    }
    head
}

#[cfg(test)]
#[path = "incoming_request_tests.rs"]
mod tests;
