//! Adapts a response's fields to a change of its body's coding. Pure.

use super::coding::ContentCoding;
use crate::protocols::http::changed_body::{CHECKSUMS, forget_length, weaken_etag};
use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap,
    HeaderName, HeaderValue, TRAILER, VARY,
};
use pingora_http::ResponseHeader;
use pingora_http::grammar::decimal;

/// Whether this response has a body whose coding may be changed at all.
pub(super) fn is_changeable(resp: &ResponseHeader) -> bool {
    let no_body = resp.status.is_informational()
        || resp.status == StatusCode::NO_CONTENT
        || resp.status == StatusCode::NOT_MODIFIED;
    // Ranges count bytes of the coding that they were cut from.
    let partial =
        resp.status == StatusCode::PARTIAL_CONTENT || resp.headers.contains_key(CONTENT_RANGE);
    // RFC 9111 section 5.2.2.6
    let fixed = lists(&resp.headers, CACHE_CONTROL, "no-transform");
    !no_body && !partial && !fixed && !has_checksum(&resp.headers)
}

/// Whether the body has a checksum, or will have one behind it.
fn has_checksum(headers: &HeaderMap) -> bool {
    CHECKSUMS
        .iter()
        .any(|checksum| headers.contains_key(*checksum) || lists(headers, TRAILER, checksum))
}

/// Whether compressing this body is likely to make it smaller: it has at least `min_size` bytes, as far as
/// is known, and one of the `types`, those that are known to be worth it where that is `None`.
pub(super) fn is_compressible(
    headers: &HeaderMap,
    min_size: u64,
    types: Option<&[Box<str>]>,
) -> bool {
    let Some(media_type) = media_type(headers) else {
        return false;
    };
    content_length(headers).is_none_or(|length| length >= min_size)
        && !has_messages_of_its_own(media_type)
        && match types {
            None => is_compressible_type(media_type),
            Some(types) => types.iter().any(|pattern| matches(media_type, pattern)),
        }
}

/// The media type without its parameters.
fn media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim())
}

/// Whether the media type is this one, or of this kind: `text/html`, `text/*`, `*/*`.
fn matches(media_type: &str, pattern: &str) -> bool {
    match pattern.strip_suffix("/*") {
        Some("*") => true,
        Some(kind) => media_type
            .split_once('/')
            .is_some_and(|(known, _)| known.eq_ignore_ascii_case(kind)),
        None => media_type.eq_ignore_ascii_case(pattern),
    }
}

/// Whether the parts of the body are events, far apart in time.
pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|name| name.eq_ignore_ascii_case("text/event-stream"))
}

/// Whether this is a protocol that frames messages within the body and compresses each by itself, as
/// both ends agree. Its clients don't undo a coding around all of them.
fn has_messages_of_its_own(media_type: &str) -> bool {
    /// And what is derived from them, such as `application/grpc-web-text+proto`.
    const FAMILIES: [&str; 2] = ["application/grpc", "application/connect"];
    let derived = |family: &&str| {
        let begin = media_type.get(..family.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(family))
            && matches!(
                media_type.as_bytes().get(family.len()),
                None | Some(b'+' | b'-')
            )
    };
    FAMILIES.iter().any(derived)
}

/// Text in the widest sense, and those binary formats that don't compress themselves.
fn is_compressible_type(media_type: &str) -> bool {
    const KNOWN: [&str; 14] = [
        "application/graphql",
        "application/javascript",
        "application/json",
        "application/manifest+json",
        "application/rtf",
        "application/vnd.ms-fontobject",
        "application/wasm",
        "application/x-javascript",
        "application/x-ndjson",
        "application/xml",
        "application/yaml",
        "font/otf",
        "font/ttf",
        "image/x-icon",
    ];
    let Some((kind, subtype)) = media_type.split_once('/') else {
        return false;
    };
    let suffix = subtype.rsplit_once('+').map_or("", |(_, suffix)| suffix);
    kind.eq_ignore_ascii_case("text")
        || KNOWN
            .iter()
            .any(|known| known.eq_ignore_ascii_case(media_type))
        || ["json", "xml", "yaml", "text"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(suffix))
}

/// The length that the response declares, in bytes.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    decimal(headers.get(CONTENT_LENGTH)?.as_bytes()).ok()
}

/// How the body is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coded {
    /// Not at all.
    Plain,
    /// Once, like this.
    Once(ContentCoding),
    /// More than once, or in a way that is not known.
    Unknown,
}

/// Reads `Content-Encoding`.
pub(crate) fn content_coding(headers: &HeaderMap) -> Coded {
    let mut coded = Coded::Plain;
    for field in headers.get_all(CONTENT_ENCODING) {
        let Ok(text) = field.to_str() else {
            return Coded::Unknown;
        };
        for name in text.split(',').map(str::trim) {
            if name.is_empty() || name.eq_ignore_ascii_case("identity") {
                continue;
            }
            coded = match (coded, ContentCoding::named(name)) {
                (Coded::Plain, Some(known)) => Coded::Once(known),
                _ => Coded::Unknown,
            };
        }
    }
    coded
}

/// Notes that the response depends on a field of the request, for caches on the way.
pub(super) fn vary_on(resp: &mut ResponseHeader, field: &'static str) {
    if lists(&resp.headers, VARY, field) || lists(&resp.headers, VARY, "*") {
        return;
    }
    let _ = resp.append_header(VARY, HeaderValue::from_static(field));
}

/// The body's coding becomes `coding`, none where that is `None`: drops or changes every field that
/// speaks of the body as it was.
pub(super) fn change_coding(
    resp: &mut ResponseHeader,
    coding: Option<ContentCoding>,
    preserve_etag: bool,
) {
    forget_length(resp);
    match coding {
        Some(coding) => {
            let name = HeaderValue::from_static(coding.as_str());
            let _ = resp.insert_header(CONTENT_ENCODING, name);
        }
        None => {
            resp.remove_header(&CONTENT_ENCODING);
        }
    }
    if !preserve_etag {
        weaken_etag(resp);
    }
}

/// Whether a list-valued field has this member.
pub(super) fn lists(headers: &HeaderMap, field: HeaderName, member: &str) -> bool {
    headers.get_all(field).iter().any(|value| {
        value
            .as_bytes()
            .split(|b| *b == b',')
            .any(|m| m.trim_ascii().eq_ignore_ascii_case(member.as_bytes()))
    })
}
