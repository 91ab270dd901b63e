//! Responses to be sent (RFC 9113 section 8.3.2).

use super::length::declare;
use super::{PayloadLength, declared_length};
use crate::protocols::http::date;
use crate::protocols::http::h1::{Fault, list_elements};
use http::header::{self, CONTENT_LENGTH, DATE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode, Version};
use pingora_h2::{FlatFields, Head, take_fields, take_head};
use pingora_http::{ControlField, ResponseHeader};

/// A response that can be sent, and the payload that follows its head.
#[derive(Debug)]
pub(crate) struct OutgoingResponse {
    /// The head.
    pub(crate) head: Box<Head>,
    /// The payload.
    pub(crate) length: PayloadLength,
    /// Whether the stream is a tunnel from here on (RFC 9113 section 8.5).
    pub(crate) tunnel: bool,
}

/// What the fields say about their message.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    length: Option<u64>,
    dated: bool,
}

/// Converts a final response for HTTP/2: without connection-specific fields, and with a `Date`,
/// taken from `now` if there is none.
///
/// # Errors
/// 101, which HTTP/2 does not have (RFC 9113 section 8.6), and an ambiguous length.
pub(crate) fn outgoing_response(
    header: &ResponseHeader,
    method: &Method,
    now: impl FnOnce() -> HeaderValue,
) -> Result<OutgoingResponse, Fault> {
    let status = header.line().status;
    if status.is_informational() {
        return Err(Fault::new(500, "HTTP/2 can't switch protocols"));
    }
    let tunnel = *method == Method::CONNECT && status.is_success();
    // RFC 9110 sections 8.6 and 9.3.6.
    let no_length = tunnel || status == StatusCode::NO_CONTENT;
    let mut head = take_head();
    head.pseudo.status = Some(status);
    let told = match flat_fields(header, no_length, &mut head.flat)? {
        Some(told) => told,
        None => {
            head.flat.clear();
            mapped_fields(header, no_length, &mut head.fields)?
        }
    };
    if date::is_missing(status, told.dated) {
        head.flat.push(DATE.as_str().as_bytes(), now().as_bytes());
    }
    let bodiless = *method == Method::HEAD
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    let length = if bodiless {
        PayloadLength::Nothing
    } else {
        PayloadLength::declared(told.length)
    };
    Ok(OutgoingResponse {
        head,
        length,
        tunnel,
    })
}

/// The same fault as one of our own.
fn ours(fault: Fault) -> Fault {
    Fault::new(500, fault.reason())
}

/// Writes the fields one behind the other: for a response that is passed on, most of whose fields nobody looked at.
/// `None`: they are in a map, or some of them must not be sent.
fn flat_fields(
    header: &ResponseHeader,
    no_length: bool,
    into: &mut FlatFields,
) -> Result<Option<Told>, Fault> {
    let Some(lines) = header.lines() else {
        return Ok(None);
    };
    let mut declared = None;
    let mut dated = false;
    for (control, name, value) in lines {
        match control {
            Some(ControlField::ContentLength) if no_length => continue,
            Some(ControlField::ContentLength) => {
                declared = Some(declare(declared, value).map_err(ours)?)
            }
            Some(ControlField::Date) => dated = true,
            Some(field) if is_of_connection(field) => return Ok(None),
            _ => {}
        }
        into.push(name, value);
    }
    let length = declared.map(|length| length.bytes());
    Ok(Some(Told { length, dated }))
}

/// The fields as a map, without those that must not be sent.
fn mapped_fields(
    header: &ResponseHeader,
    no_length: bool,
    into: &mut HeaderMap,
) -> Result<Told, Fault> {
    let mut fields = sendable_fields(header.copied_fields(take_fields));
    let length = if no_length {
        fields.remove(CONTENT_LENGTH);
        None
    } else {
        declared_length(&fields).map_err(ours)?
    };
    let dated = fields.contains_key(DATE);
    *into = fields;
    Ok(Told { length, dated })
}

/// Converts an informational response for HTTP/2; `None` if HTTP/2 does not have it.
pub(crate) fn outgoing_informational(header: &ResponseHeader) -> Option<Response<()>> {
    let status = header.line().status;
    if status == StatusCode::SWITCHING_PROTOCOLS || !status.is_informational() {
        return None;
    }
    let mut fields = sendable_fields(header.copied_fields(take_fields));
    fields.remove(CONTENT_LENGTH);
    Some(response(status, fields))
}

fn response(status: StatusCode, fields: HeaderMap) -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = status;
    *head.version_mut() = Version::HTTP_2;
    *head.headers_mut() = fields;
    head
}

/// Whether a response over HTTP/2 must not have this field (RFC 9113 section 8.2.2).
fn is_of_connection(field: ControlField) -> bool {
    field == ControlField::Te || field.is_of_http1_only()
}

/// The fields, except connection-specific ones and those that `Connection` names.
fn sendable_fields(headers: HeaderMap) -> HeaderMap {
    let speaks_of_connection = |name: &HeaderName| {
        ControlField::of(name.as_str().as_bytes()).is_some_and(is_of_connection)
    };
    if !headers.keys().any(speaks_of_connection) {
        return headers;
    }
    let options = headers.get_all(header::CONNECTION).iter();
    let named: Vec<&[u8]> = options
        .flat_map(|value| list_elements(value.as_bytes()))
        .collect();
    let is_named = |name: &HeaderName| {
        let name = name.as_str().as_bytes();
        named.iter().any(|option| option.eq_ignore_ascii_case(name))
    };
    // Rebuilt, because removal would change the order of the remaining fields.
    let mut fields = HeaderMap::with_capacity(headers.keys_len());
    for (name, value) in &headers {
        if !speaks_of_connection(name) && !is_named(name) {
            fields.append(name, value.clone());
        }
    }
    fields
}

#[cfg(test)]
#[path = "outgoing_response_tests.rs"]
mod tests;
