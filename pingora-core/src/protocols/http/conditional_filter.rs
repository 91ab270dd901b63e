//! Conditional requests (RFC 9110 section 13): whether the client already has this response.

use http::header::{AsHeaderName, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use http::header::{CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE};
use http::header::{CONTENT_TYPE, HeaderMap, TRANSFER_ENCODING};
use http::{HeaderValue, Method, StatusCode};
use httpdate::HttpDate;
use pingora_error::{ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};

/// Whether a 304 is the right answer, given the response that would be sent otherwise.
///
/// Only a 200 to GET or HEAD can become a 304. `If-None-Match` decides if it is present;
/// `If-Modified-Since` only if it is not (RFC 9110 section 13.2.2). A date that can't be parsed
/// counts as absent.
pub fn not_modified_filter(req: &RequestHeader, resp: &ResponseHeader) -> bool {
    if resp.status != StatusCode::OK || !matches!(req.method, Method::GET | Method::HEAD) {
        return false;
    }
    let mut tags = req.headers.get_all(IF_NONE_MATCH).iter().peekable();
    if tags.peek().is_some() {
        let current = resp.headers.get(ETAG).map(HeaderValue::as_bytes);
        return tags.map(HeaderValue::as_bytes).any(|tags| {
            tags.trim_ascii() == b"*" || current.is_some_and(|tag| weak_validate_etag(tags, tag))
        });
    }
    let since = req_header_as_http_date(req, IF_MODIFIED_SINCE);
    let modified = resp_header_as_http_date(resp, LAST_MODIFIED);
    match (since, modified) {
        (Ok(Some(since)), Ok(Some(modified))) => modified <= since,
        _ => false,
    }
}

/// Whether a list of entity tags, as in `If-None-Match`, contains `target_etag`, or is `*`.
///
/// Compares weakly (RFC 9110 section 8.8.3.2): `W/"a"` equals `"a"`. A tag without quotes, which
/// some origins send although the RFC does not allow it, equals itself.
pub fn weak_validate_etag(input_etag_header: &[u8], target_etag: &[u8]) -> bool {
    let target = opaque(target_etag.trim_ascii());
    let mut rest = input_etag_header.trim_ascii();
    if rest == b"*" {
        return true;
    }
    while !rest.is_empty() {
        let (tag, after) = split_first_tag(rest);
        if !tag.is_empty() && opaque(tag) == target {
            return true;
        }
        rest = after;
    }
    false
}

/// Splits off the first element of a list. A comma within quotes belongs to the tag.
fn split_first_tag(list: &[u8]) -> (&[u8], &[u8]) {
    let mut quoted = false;
    let end = list.iter().position(|&byte| {
        quoted ^= byte == b'"';
        byte == b',' && !quoted
    });
    match end.and_then(|end| list.split_at_checked(end)) {
        Some((tag, rest)) => (tag.trim_ascii(), rest.get(1..).unwrap_or_default()),
        None => (list.trim_ascii(), b""),
    }
}

fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// The date in a field of a request; `None` if there is no such field.
///
/// # Errors
/// `InvalidHTTPHeader`, if it is none of the three date formats of RFC 9110 section 5.6.7.
pub fn req_header_as_http_date<H>(req: &RequestHeader, header_name: H) -> Result<Option<HttpDate>>
where
    H: AsHeaderName,
{
    http_date(&req.headers, header_name)
}

/// The date in a field of a response; `None` if there is no such field.
///
/// # Errors
/// `InvalidHTTPHeader`, if it is none of the three date formats of RFC 9110 section 5.6.7.
pub fn resp_header_as_http_date<H>(
    resp: &ResponseHeader,
    header_name: H,
) -> Result<Option<HttpDate>>
where
    H: AsHeaderName,
{
    http_date(&resp.headers, header_name)
}

fn http_date(headers: &HeaderMap, name: impl AsHeaderName) -> Result<Option<HttpDate>> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let text = value
        .to_str()
        .or_err(ErrorType::InvalidHTTPHeader, "a date is not ASCII text")?;
    let date = text
        .parse()
        .or_err(ErrorType::InvalidHTTPHeader, "a date has no known format")?;
    Ok(Some(date))
}

/// Turns a response into a 304: without a body, and without the fields that describe one. Keeps the
/// fields with which a cache updates its copy (RFC 9110 section 15.4.5).
pub fn to_304(resp: &mut ResponseHeader) {
    // Neither can fail: the code is valid, and an absent phrase is too.
    let _ = resp.set_status(StatusCode::NOT_MODIFIED);
    let _ = resp.set_reason_phrase(None);
    for name in [
        CONTENT_LENGTH,
        CONTENT_TYPE,
        CONTENT_ENCODING,
        CONTENT_LANGUAGE,
        CONTENT_RANGE,
        TRANSFER_ENCODING,
    ] {
        resp.remove_header(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATE: &str = "Mon, 07 Nov 1994 08:49:37 GMT";

    #[test]
    fn entity_tags() {
        let rows = [
            ("same", r#""a""#, r#""a""#, true),
            ("other", r#""a""#, r#""b""#, false),
            ("weak and strong", r#"W/"a""#, r#""a""#, true),
            ("strong and weak", r#""a""#, r#"W/"a""#, true),
            ("both weak", r#"W/"a""#, r#"W/"a""#, true),
            ("small w", r#"w/"a""#, r#""a""#, false),
            ("in a list", r#""x", W/"a" ,"y""#, r#""a""#, true),
            ("last in a list", r#""x","a""#, r#""a""#, true),
            ("not in a list", r#""x", "y""#, r#""a""#, false),
            ("list with holes", r#",, "a","#, r#""a""#, true),
            ("comma within", r#""x,"a",y""#, r#""a""#, false),
            ("comma within the same", r#""x, y", "z""#, r#""x, y""#, true),
            ("half of one with a comma", r#""x, y""#, r#""x""#, false),
            ("any", "*", r#""a""#, true),
            ("any with space", " * ", r#""a""#, true),
            ("any in a list", r#""x", *"#, r#""a""#, false),
            ("no quotes", "a, b", "b", true),
            ("quotes and none", r#""a""#, "a", false),
            ("empty", "", r#""a""#, false),
            ("open quote", r#""a"#, r#""a""#, false),
            ("space around the target", r#""a""#, r#" "a" "#, true),
            ("prefix", r#""ab""#, r#""a""#, false),
        ];
        for (name, list, tag, expected) in rows {
            let found = weak_validate_etag(list.as_bytes(), tag.as_bytes());
            assert_eq!(found, expected, "{name}");
        }
    }

    type Fields = &'static [(&'static str, &'static str)];

    #[test]
    fn not_modified() {
        let rows: &[(&str, &str, Fields, u16, Fields, bool)] = &[
            ("no condition", "GET", &[], 200, &[("ETag", "\"a\"")], false),
            (
                "tag",
                "GET",
                &[("If-None-Match", "\"a\"")],
                200,
                &[("ETag", "\"a\"")],
                true,
            ),
            (
                "HEAD",
                "HEAD",
                &[("If-None-Match", "\"a\"")],
                200,
                &[("ETag", "\"a\"")],
                true,
            ),
            (
                "POST",
                "POST",
                &[("If-None-Match", "\"a\"")],
                200,
                &[("ETag", "\"a\"")],
                false,
            ),
            (
                "404",
                "GET",
                &[("If-None-Match", "\"a\"")],
                404,
                &[("ETag", "\"a\"")],
                false,
            ),
            (
                "206",
                "GET",
                &[("If-None-Match", "\"a\"")],
                206,
                &[("ETag", "\"a\"")],
                false,
            ),
            (
                "other tag",
                "GET",
                &[("If-None-Match", "\"b\"")],
                200,
                &[("ETag", "\"a\"")],
                false,
            ),
            (
                "no tag to compare",
                "GET",
                &[("If-None-Match", "\"b\"")],
                200,
                &[],
                false,
            ),
            ("any", "GET", &[("If-None-Match", "*")], 200, &[], true),
            (
                "tag on the second line",
                "GET",
                &[("If-None-Match", "\"b\""), ("If-None-Match", "\"a\"")],
                200,
                &[("ETag", "\"a\"")],
                true,
            ),
            (
                "same date",
                "GET",
                &[("If-Modified-Since", EARLY)],
                200,
                &[("Last-Modified", EARLY)],
                true,
            ),
            (
                "older",
                "GET",
                &[("If-Modified-Since", LATE)],
                200,
                &[("Last-Modified", EARLY)],
                true,
            ),
            (
                "newer",
                "GET",
                &[("If-Modified-Since", EARLY)],
                200,
                &[("Last-Modified", LATE)],
                false,
            ),
            (
                "bad date",
                "GET",
                &[("If-Modified-Since", "yesterday")],
                200,
                &[("Last-Modified", EARLY)],
                false,
            ),
            (
                "no date to compare",
                "GET",
                &[("If-Modified-Since", EARLY)],
                200,
                &[],
                false,
            ),
            (
                "the tag wins over the date",
                "GET",
                &[("If-None-Match", "\"b\""), ("If-Modified-Since", LATE)],
                200,
                &[("ETag", "\"a\""), ("Last-Modified", EARLY)],
                false,
            ),
        ];
        for (name, method, conditions, status, fields, expected) in rows {
            let mut req = RequestHeader::build(*method, b"/", None).unwrap();
            for (field, value) in *conditions {
                req.append_header(*field, *value).unwrap();
            }
            let mut resp = ResponseHeader::build(*status, None).unwrap();
            for (field, value) in *fields {
                resp.append_header(*field, *value).unwrap();
            }
            assert_eq!(not_modified_filter(&req, &resp), *expected, "{name}");
        }
    }

    #[test]
    fn dates() {
        let mut req = RequestHeader::build("GET", b"/", None).unwrap();
        assert!(req_header_as_http_date(&req, "date").unwrap().is_none());
        for text in [
            EARLY,
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            req.insert_header("Date", text).unwrap();
            let date = req_header_as_http_date(&req, "date").unwrap().unwrap();
            assert_eq!(date.to_string(), EARLY);
        }
        for text in ["", "0", "1994-11-06", "\u{e4}"] {
            req.insert_header("Date", text).unwrap();
            assert!(req_header_as_http_date(&req, "date").is_err(), "{text}");
        }
    }

    #[test]
    fn a_304_describes_no_body() {
        let mut resp = ResponseHeader::build(200, None).unwrap();
        resp.set_reason_phrase(Some("Fine")).unwrap();
        for name in [
            "Content-Length",
            "Content-Type",
            "Transfer-Encoding",
            "ETag",
            "Vary",
        ] {
            resp.insert_header(name, "1").unwrap();
        }
        to_304(&mut resp);
        assert_eq!(resp.status, 304);
        assert_eq!(resp.get_reason_phrase(), Some("Not Modified"));
        let left: Vec<_> = resp.headers.keys().map(|name| name.as_str()).collect();
        assert_eq!(left.len(), 2);
        assert!(left.contains(&"etag") && left.contains(&"vary"));
    }
}
