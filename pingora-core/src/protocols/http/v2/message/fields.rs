//! Fields that mean something to the protocol itself.

use bytes::{BufMut, BytesMut};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};
use pingora_http::ControlField;
use pingora_http::grammar::SectionCheck;

use crate::protocols::http::h1::Fault;

/// What a field means to the framing; all others just pass.
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
    /// Speaks of the connection, which HTTP/2 does in other ways (RFC 9113 section 8.2.2).
    Connection,
    /// Any other.
    Other,
}

/// What this field is.
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

/// Judges all fields of a section.
///
/// # Errors
/// Why it is malformed.
pub(crate) fn judge_fields(check: &mut SectionCheck, fields: &HeaderMap) -> Result<(), Fault> {
    for (name, value) in fields {
        check
            .line(name.as_str().as_bytes(), value.as_bytes())
            .map_err(Fault::of_section)?;
    }
    Ok(())
}

/// Joins the pieces that a cookie was cut into to be compressed better: whoever speaks HTTP/1 behind
/// us expects one field (RFC 9113 section 8.2.3).
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
    // It is made of valid values and of bytes that are valid in one.
    if let Ok(joined) = HeaderValue::from_maybe_shared(joined.freeze()) {
        headers.insert(header::COOKIE, joined);
    }
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
