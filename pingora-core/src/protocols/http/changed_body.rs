//! Adapts a response's head to a body that was changed after the head was written. Pure.

use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, ETAG, HeaderValue};
use pingora_http::ResponseHeader;

/// Fields with a checksum of the body as it is coded (RFC 9530; RFC 3230 and RFC 1864, which are obsolete).
pub const CHECKSUMS: [&str; 4] = ["content-digest", "repr-digest", "digest", "content-md5"];

/// Adapts the head of a response whose body a filter is going to change, in a way that is not known yet:
///
/// | field | becomes |
/// |---|---|
/// | `Content-Length` | none: the framing follows by itself |
/// | `Content-Digest`, `Repr-Digest`, `Digest`, `Content-MD5` | none (RFC 9530) |
/// | `Accept-Ranges` | none: ranges of the new body can't be asked for |
/// | `ETag` | weak: a strong one promises equal bytes (RFC 9110 section 8.8.1) |
///
/// The place for it is `ProxyHttp::response_filter`, or a module's `response_header_filter`. Trailers pass behind
/// the body: a digest that comes there is up to the filter of the trailers. Parts of a body (206) can't be
/// changed with understanding: ask the upstream for the whole by removing `Range` from its request.
///
/// ```
/// use pingora_core::protocols::http::changed_body::declare_changed_body;
/// use pingora_http::ResponseHeader;
///
/// let mut response = ResponseHeader::build(200, None)?;
/// response.insert_header("Content-Length", "5")?;
/// response.insert_header("ETag", "\"a\"")?;
/// declare_changed_body(&mut response);
/// assert_eq!(response.headers["etag"], "W/\"a\"");
/// assert!(!response.headers.contains_key("content-length"));
/// # Ok::<(), pingora_error::BError>(())
/// ```
pub fn declare_changed_body(response: &mut ResponseHeader) {
    forget_length(response);
    for checksum in CHECKSUMS {
        response.remove_header(checksum);
    }
    weaken_etag(response);
}

/// Bytes can be counted no more.
pub(super) fn forget_length(response: &mut ResponseHeader) {
    response.remove_header(&CONTENT_LENGTH);
    response.remove_header(&ACCEPT_RANGES);
}

/// A strong validator promises equal bytes (RFC 9110 section 8.8.1), which can't be kept any more.
pub(super) fn weaken_etag(resp: &mut ResponseHeader) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_head_says_of_the_old_body_goes() {
        for (name, value, after) in [
            ("Content-Length", "5", None),
            ("Accept-Ranges", "bytes", None),
            ("Content-Digest", "sha-256=:AA==:", None),
            ("Repr-Digest", "sha-256=:AA==:", None),
            ("Digest", "sha-256=AA==", None),
            ("Content-MD5", "AA==", None),
            ("ETag", "\"a\"", Some("W/\"a\"")),
            ("ETag", "W/\"a\"", Some("W/\"a\"")),
            ("ETag", "a", None),
            (
                "Last-Modified",
                "Sun, 06 Nov 1994 08:49:37 GMT",
                Some("Sun, 06 Nov 1994 08:49:37 GMT"),
            ),
            ("Content-Encoding", "gzip", Some("gzip")),
            ("Content-Type", "text/html", Some("text/html")),
        ] {
            let mut response = ResponseHeader::build(200, None).unwrap();
            response.insert_header(name, value).unwrap();
            declare_changed_body(&mut response);
            let left = response.headers.get(name).map(|v| v.to_str().unwrap());
            assert_eq!(left, after, "{name}: {value}");
        }
    }
}
