//! Updating a stored response by a confirmation (RFC 9111 sections 3.2, 4.3.4 and 4.3.5).

use super::store::unstorable_fields;
use http::header::{
    AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, LAST_MODIFIED,
    TRAILER,
};
use http::response::Parts as RespHeader;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pingora_http::ResponseHeader;
use std::time::SystemTime;

/// Whether a 304 (Not Modified) applies to this stored response (RFC 9111 section 4.3.4): an entity tag that it has
/// must be the stored one's, and without a tag its date must be.
pub fn is_confirmed_by(stored: &ResponseHeader, confirmation: &RespHeader) -> bool {
    if let Some(tag) = confirmation.headers.get(ETAG) {
        // A weak tag only has to match weakly, and only if there is a stored one to compare with.
        return stored
            .headers
            .get(ETAG)
            .is_none_or(|own| own == tag || opaque(own) == opaque(tag) && is_weak(tag));
    }
    match confirmation.headers.get(LAST_MODIFIED) {
        Some(date) => stored
            .headers
            .get(LAST_MODIFIED)
            .is_none_or(|own| own == date),
        None => true,
    }
}

/// The header of a stored response after a 304 (Not Modified): with the fields of the confirmation instead of
/// those that it had (RFC 9111 section 3.2), except those that say how the stored body is framed and coded, and those
/// that are never stored. `Age` and `Date` are the confirmation's, because freshness counts from there.
pub fn freshen(
    stored: &ResponseHeader,
    confirmation: &RespHeader,
    received: SystemTime,
) -> ResponseHeader {
    let mut header = stored.clone();
    let unstorable = unstorable_fields(&confirmation.headers);
    for name in confirmation.headers.keys() {
        if is_of_the_body(name) || unstorable.contains(name) {
            continue;
        }
        replace(&mut header, name, &confirmation.headers);
    }
    if !confirmation.headers.contains_key(AGE) {
        header.remove_header(&AGE);
    }
    if !confirmation.headers.contains_key(DATE) {
        let date = httpdate::fmt_http_date(received.max(SystemTime::UNIX_EPOCH));
        // Cannot fail: there is a `Date` already, or room for one.
        let _ = header.insert_header(DATE, date);
    }
    header
}

/// The implication of a response to HEAD for the stored response of GET.
#[derive(Debug)]
#[non_exhaustive]
pub enum HeadUpdate {
    /// It applies to the stored response, whose header is now this.
    Freshened(ResponseHeader),
    /// The origin now has another response: the stored one has to be validated before it is served.
    Outdated,
    /// Nothing, because it is an error.
    Nothing,
}

/// Updates the header of a stored response by a response to HEAD (RFC 9111 section 4.3.5).
pub fn freshen_by_head(
    stored: &ResponseHeader,
    head: &RespHeader,
    received: SystemTime,
) -> HeadUpdate {
    if head.status != StatusCode::OK || stored.status != StatusCode::OK {
        return HeadUpdate::Nothing;
    }
    let is_same = |name: HeaderName| match (stored.headers.get(&name), head.headers.get(&name)) {
        (Some(one), Some(other)) => one == other,
        // The length may be absent if it would be known only with a body.
        (None, Some(_)) | (_, None) => name == CONTENT_LENGTH || !head.headers.contains_key(&name),
    };
    if [ETAG, LAST_MODIFIED, CONTENT_LENGTH].map(is_same) == [true; 3] {
        HeadUpdate::Freshened(freshen(stored, head, received))
    } else {
        HeadUpdate::Outdated
    }
}

/// The fields that belong to the stored body and are not updated by a confirmation, whose own body is empty: a digest of it
/// (RFC 9530) would be wrong.
fn is_of_the_body(name: &HeaderName) -> bool {
    [
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_TYPE,
        TRAILER,
    ]
    .contains(name)
        || matches!(name.as_str(), "content-md5" | "content-digest")
}

fn replace(header: &mut ResponseHeader, name: &HeaderName, from: &HeaderMap) {
    header.remove_header(name);
    for value in from.get_all(name) {
        // Fails only if the head is full, with more than 24,000 fields.
        let _ = header.append_header(name.clone(), value.clone());
    }
}

fn is_weak(tag: &HeaderValue) -> bool {
    tag.as_bytes().starts_with(b"W/")
}

fn opaque(tag: &HeaderValue) -> &[u8] {
    let tag = tag.as_bytes();
    tag.strip_prefix(b"W/").unwrap_or(tag)
}
