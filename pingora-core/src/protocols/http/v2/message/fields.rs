//! Fields that have a meaning for the protocol itself.

use bytes::{BufMut, BytesMut};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};
use pingora_http::ControlField;
use pingora_http::grammar::SectionCheck;

use crate::protocols::http::h1::Fault;

/// The fields that have a meaning for the framing; all others simply pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    /// `Host`.
    Host,
    /// `Content-Length`.
    ContentLength,
    /// `Expect`.
    Expect,
    /// `Cookie`.
    Cookie,
    /// `TE`.
    Te,
    /// Connection-specific, for which HTTP/2 has other means (RFC 9113 section 8.2.2).
    Connection,
    /// Any other.
    Other,
}

/// The kind of this field.
#[inline]
pub(crate) fn classify(name: &HeaderName) -> Field {
    match ControlField::of(name.as_str().as_bytes()) {
        Some(ControlField::Te) => Field::Te,
        Some(ControlField::Host) => Field::Host,
        Some(ControlField::Expect) => Field::Expect,
        Some(ControlField::ContentLength) => Field::ContentLength,
        Some(field) if field.is_of_http1_only() => Field::Connection,
        None if *name == header::COOKIE => Field::Cookie,
        _ => Field::Other,
    }
}

/// Checks all fields of a section.
///
/// # Errors
/// The reason why it is malformed.
pub(crate) fn judge_fields(check: &mut SectionCheck, fields: &HeaderMap) -> Result<(), Fault> {
    for (name, value) in fields {
        check
            .line(name.as_str().as_bytes(), value.as_bytes())
            .map_err(Fault::of_section)?;
    }
    Ok(())
}

/// Joins the pieces into which a cookie was split for better compression: an HTTP/1 server behind us
/// expects one field (RFC 9113 section 8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let mut pieces = headers.get_all(header::COOKIE).iter();
    if pieces.by_ref().take(2).count() < 2 {
        return;
    }
    let mut joined = BytesMut::new();
    for piece in headers.get_all(header::COOKIE) {
        if !joined.is_empty() {
            joined.put_slice(b"; ");
        }
        joined.put_slice(piece.as_bytes());
    }
    // It consists of valid values and of bytes that are valid in one.
    if let Ok(joined) = HeaderValue::from_maybe_shared(joined.freeze()) {
        replace_cookies(headers, joined);
    }
}

/// Up to this many pieces are removed from the existing map: the memory that it keeps for them is not
/// worth a copy.
const FEW_CRUMBS: usize = 16;

/// Replaces the pieces of a cookie with a single field. A map never releases memory, so if there were
/// many pieces, the other fields are moved into a new map.
fn replace_cookies(headers: &mut HeaderMap, joined: HeaderValue) {
    let pieces = headers.get_all(header::COOKIE).iter().count();
    if pieces <= FEW_CRUMBS {
        headers.insert(header::COOKIE, joined);
        return;
    }
    let mut fresh = HeaderMap::with_capacity(headers.keys_len());
    let mut last = None;
    for (name, value) in std::mem::take(headers) {
        // Only the first value of a name is returned together with the name.
        last = name.or(last);
        if let Some(name) = last.as_ref().filter(|name| *name != header::COOKIE) {
            fresh.append(name.clone(), value);
        }
    }
    fresh.insert(header::COOKIE, joined);
    *headers = fresh;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_told_apart() {
        let rows: &[(&'static str, Field)] = &[
            ("te", Field::Te),
            ("host", Field::Host),
            ("cookie", Field::Cookie),
            ("expect", Field::Expect),
            ("content-length", Field::ContentLength),
            ("connection", Field::Connection),
            ("keep-alive", Field::Connection),
            ("proxy-connection", Field::Connection),
            ("transfer-encoding", Field::Connection),
            ("upgrade", Field::Connection),
            ("http2-settings", Field::Connection),
            ("content-type", Field::Other),
            ("trailer", Field::Other),
            ("x", Field::Other),
        ];
        for (name, expected) in rows {
            let name = HeaderName::from_static(name);
            assert_eq!(classify(&name), *expected, "{name}");
        }
    }

    /// CVE-2026-49975, CVE-2026-47774: 1,757 bytes of indexed crumbs held 168 KiB.
    #[test]
    fn a_cookie_of_many_pieces_leaves_no_room_behind() {
        let mut headers = HeaderMap::new();
        headers.append("x", HeaderValue::from_static("1"));
        for _ in 0..200 {
            headers.append("cookie", HeaderValue::from_static("a=b"));
        }
        for value in ["2", "3"] {
            headers.append("x", HeaderValue::from_static(value));
        }
        headers.append("y", HeaderValue::from_static("4"));
        join_cookies(&mut headers);
        let expected = vec!["a=b"; 200].join("; ");
        assert_eq!(headers.get_all("cookie").iter().count(), 1);
        assert_eq!(headers["cookie"], expected);
        let values: Vec<_> = headers.get_all("x").iter().collect();
        assert_eq!(values, ["1", "2", "3"], "in their order");
        assert_eq!((headers["y"].as_bytes(), headers.len()), (&b"4"[..], 5));
        assert!(headers.capacity() < 16, "{}", headers.capacity());
    }

    /// RFC 9113 section 8.2.3.
    #[test]
    fn a_cookie_in_pieces_becomes_one() {
        let rows: &[(&[&str], &[&str])] = &[
            (&[], &[]),
            (&["a=b"], &["a=b"]),
            (&["a=b", "c=d", "e=f"], &["a=b; c=d; e=f"]),
            (&["a=b; c=d", "e=f"], &["a=b; c=d; e=f"]),
        ];
        for (pieces, expected) in rows {
            let mut headers = HeaderMap::new();
            for piece in *pieces {
                headers.append("cookie", HeaderValue::from_str(piece).unwrap());
            }
            join_cookies(&mut headers);
            let joined: Vec<_> = headers.get_all("cookie").iter().collect();
            assert_eq!(joined, *expected);
        }
    }
}
