//! Requests to be sent (RFC 9113 section 8.3.1).

use super::{Field, classify};
use crate::protocols::http::h1::{
    BodyLength, is_valid_authority, list_elements, outgoing_request_length,
};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderValue, TE};
use http::{HeaderMap, Method};
use pingora_h2::Head;
use pingora_h2::ext::Protocol;
use pingora_h2::hpack::PseudoFields;
use pingora_http::{ControlField, RequestHeader};

/// A request in the form that the framing sends.
#[derive(Debug)]
pub(crate) struct OutgoingRequest {
    pub(crate) head: Head,
    /// The length of the body, if it is declared.
    pub(crate) length: Option<u64>,
}

/// Converts a request into the one that goes to a server over HTTP/2: `:scheme` reflects whether the
/// connection is `encrypted`, `:authority` is taken from `Host`, and connection-specific HTTP/1
/// fields are removed. `Host` takes precedence over the authority of the target, because users
/// change the former, and an HTTP/1 server would see it.
///
/// The target is sent unchanged, byte by byte.
///
/// # Errors
/// The reason why it can't be sent.
pub(crate) fn outgoing_request(
    request: &RequestHeader,
    encrypted: bool,
) -> Result<OutgoingRequest, &'static str> {
    let line = request.line();
    let protocol = line.extensions.get::<Protocol>();
    let tunnel = line.method == Method::CONNECT;
    if protocol.is_some() && !tunnel {
        return Err("only a CONNECT names a protocol");
    }
    let length = declared_length(request)?;
    let mut pseudo = PseudoFields {
        method: Some(line.method.clone()),
        protocol: protocol.map(|protocol| Bytes::copy_from_slice(protocol.as_ref())),
        ..PseudoFields::default()
    };
    if tunnel && protocol.is_none() {
        pseudo.authority = Some(tunnel_authority(request)?);
    } else {
        pseudo.scheme = Some(Bytes::from_static(if encrypted {
            b"https"
        } else {
            b"http"
        }));
        pseudo.authority = Some(authority(request)?);
        pseudo.path = Some(path(request)?);
    }
    let head = Head {
        pseudo,
        fields: fields(&request.headers, length)?,
        ..Head::default()
    };
    Ok(OutgoingRequest { head, length })
}

fn declared_length(request: &RequestHeader) -> Result<Option<u64>, &'static str> {
    match outgoing_request_length(request) {
        Ok(BodyLength::Exact(length)) => Ok(Some(length)),
        Ok(_) => Ok(None),
        Err(fault) => Err(fault.reason()),
    }
}

fn authority(request: &RequestHeader) -> Result<Bytes, &'static str> {
    let (mut host, mut hosts) = (None, 0);
    request.for_each_control_field(|name, value| {
        if name == ControlField::Host {
            host = Some(value);
            hosts += 1;
        }
    });
    match (host, request.line().uri.authority()) {
        _ if hosts > 1 => Err("more than one Host"),
        (Some(host), _) if !is_valid_authority(host) => Err("Host is not a host and a port"),
        (Some(host), _) => Ok(Bytes::copy_from_slice(host)),
        (None, Some(named)) if !is_valid_authority(named.as_str().as_bytes()) => {
            Err("the authority of the target is malformed")
        }
        (None, Some(named)) => Ok(Bytes::copy_from_slice(named.as_str().as_bytes())),
        (None, None) => Err("neither Host nor the target names an authority"),
    }
}

/// The target of a CONNECT without a protocol (RFC 9113 section 8.5).
fn tunnel_authority(request: &RequestHeader) -> Result<Bytes, &'static str> {
    let named = match request.line().uri.authority() {
        Some(named) => named.as_str().as_bytes(),
        None => request.raw_path(),
    };
    if is_valid_authority(named) {
        Ok(Bytes::copy_from_slice(named))
    } else {
        Err("the target of CONNECT is not a host and a port")
    }
}

fn path(request: &RequestHeader) -> Result<Bytes, &'static str> {
    let path = request.origin_form();
    match &*path {
        b"*" if request.line().method != Method::OPTIONS => {
            Err("only OPTIONS is asked of no resource")
        }
        b"*" | [b'/', ..] => Ok(Bytes::copy_from_slice(&path)),
        _ => Err("the path does not begin with a slash"),
    }
}

/// All fields except connection-specific HTTP/1 fields and `Host`, which `:authority` already
/// contains (RFC 9113 section 8.2.2).
fn fields(from: &HeaderMap, length: Option<u64>) -> Result<HeaderMap, &'static str> {
    const FULL: &str = "too many header fields";
    let mut to = HeaderMap::try_with_capacity(from.len()).map_err(|_| FULL)?;
    let mut wants_trailers = false;
    for (name, value) in from {
        match classify(name) {
            Field::Connection | Field::Host | Field::ContentLength => {}
            Field::Te => wants_trailers |= names_trailers(value),
            Field::Cookie | Field::Expect | Field::Other => {
                to.try_append(name.clone(), value.clone())
                    .map_err(|_| FULL)?;
            }
        }
    }
    if let Some(length) = length {
        // Once, however often it was declared.
        to.try_insert(CONTENT_LENGTH, HeaderValue::from(length))
            .map_err(|_| FULL)?;
    }
    if wants_trailers {
        to.try_insert(TE, HeaderValue::from_static("trailers"))
            .map_err(|_| FULL)?;
    }
    Ok(to)
}

fn names_trailers(value: &HeaderValue) -> bool {
    list_elements(value.as_bytes()).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

#[cfg(test)]
#[path = "outgoing_request_tests.rs"]
mod tests;
