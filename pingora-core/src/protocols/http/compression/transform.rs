//! What changing a body's coding means for the response's fields.

use super::Algorithm;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, HeaderMap, HeaderValue, VARY,
};
use http::{StatusCode, header::HeaderName};
use pingora_http::ResponseHeader;
use pingora_http::grammar::decimal;

/// Bodies below this size grow when compressed: bytes.
const WORTHWHILE: u64 = 20;

/// Fields with a checksum of the body as it was.
const CHECKSUMS: [&str; 4] = ["content-digest", "repr-digest", "digest", "content-md5"];

/// Whether this response has a body whose coding may be changed at all.
pub(super) fn is_changeable(resp: &ResponseHeader) -> bool {
    let no_body = resp.status.is_informational()
        || resp.status == StatusCode::NO_CONTENT
        || resp.status == StatusCode::NOT_MODIFIED;
    // Ranges count bytes of the coding that they were cut from.
    let partial =
        resp.status == StatusCode::PARTIAL_CONTENT || resp.headers.contains_key(CONTENT_RANGE);
    // RFC 9111 section 5.2.2.6
    !no_body && !partial && !lists(&resp.headers, CACHE_CONTROL, "no-transform")
}

/// Whether compressing this body is likely to make it smaller.
pub(super) fn is_compressible(headers: &HeaderMap) -> bool {
    let worthwhile = content_length(headers).is_none_or(|length| length >= WORTHWHILE);
    let media_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(is_compressible_type);
    worthwhile && media_type
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
fn is_compressible_type(content_type: &str) -> bool {
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
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if has_messages_of_its_own(media_type) {
        return false;
    }
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
pub(super) enum Coding {
    /// Not at all.
    Identity,
    /// Once, like this.
    One(Algorithm),
    /// More than once, or in a way that is not known.
    Unknown,
}

pub(super) fn content_coding(headers: &HeaderMap) -> Coding {
    let mut coding = Coding::Identity;
    for field in headers.get_all(CONTENT_ENCODING) {
        let Ok(text) = field.to_str() else {
            return Coding::Unknown;
        };
        for name in text.split(',').map(str::trim) {
            if name.is_empty() || name.eq_ignore_ascii_case("identity") {
                continue;
            }
            coding = match (coding, Algorithm::from(name)) {
                (Coding::Identity, Algorithm::Other | Algorithm::Any) => Coding::Unknown,
                (Coding::Identity, known) => Coding::One(known),
                _ => Coding::Unknown,
            };
        }
    }
    coding
}

/// Notes that the response depends on `Accept-Encoding`, for caches on the way.
pub(super) fn vary_on_coding(resp: &mut ResponseHeader) {
    if lists(&resp.headers, VARY, "accept-encoding") || lists(&resp.headers, VARY, "*") {
        return;
    }
    let _ = resp.append_header(VARY, HeaderValue::from_static("Accept-Encoding"));
}

/// The body's coding becomes `coding`, none where that is `None`: drops or changes every field that
/// speaks of the body as it was.
pub(super) fn change_coding(
    resp: &mut ResponseHeader,
    coding: Option<Algorithm>,
    preserve_etag: bool,
) {
    resp.remove_header(&CONTENT_LENGTH);
    resp.remove_header(&ACCEPT_RANGES);
    for checksum in CHECKSUMS {
        resp.remove_header(checksum);
    }
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

/// A strong validator promises equal bytes (RFC 9110 section 8.8.1), which can't be kept any more.
fn weaken_etag(resp: &mut ResponseHeader) {
    let Some(etag) = resp.headers.get(ETAG).map(|etag| etag.as_bytes()) else {
        return;
    };
    if etag.starts_with(b"W/\"") {
        return;
    }
    let weak = if etag.len() >= 2 && etag.starts_with(b"\"") && etag.ends_with(b"\"") {
        HeaderValue::from_bytes(&[b"W/", etag].concat()).ok()
    } else {
        None
    };
    match weak {
        Some(weak) => {
            let _ = resp.insert_header(ETAG, weak);
        }
        // Not an entity tag at all: nothing that could be compared.
        None => {
            resp.remove_header(&ETAG);
        }
    }
}

/// Whether a list-valued field has this member.
fn lists(headers: &HeaderMap, field: HeaderName, member: &str) -> bool {
    headers.get_all(field).iter().any(|value| {
        value
            .as_bytes()
            .split(|b| *b == b',')
            .any(|m| m.trim_ascii().eq_ignore_ascii_case(member.as_bytes()))
    })
}
