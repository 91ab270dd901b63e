//! Small HTTP/1 utilities for users.

use crate::protocols::http::h1::list_elements;
use http::HeaderValue;
use http::header::{CONNECTION, EXPECT, UPGRADE};
use http::{StatusCode, Version};
use pingora_http::grammar::decimal;
use pingora_http::{RequestHeader, ResponseHeader};

/// The end of a line.
pub const CRLF: &[u8; 2] = b"\r\n";
/// The delimiter between a field's name and its value.
pub const HEADER_KV_DELIMITER: &[u8; 2] = b": ";

/// Whether a comma-separated list contains `token`, in any case (RFC 9110 section 5.6.1).
fn lists_token(value: &HeaderValue, token: &[u8]) -> bool {
    list_elements(value.as_bytes()).any(|element| element.eq_ignore_ascii_case(token))
}

/// Whether a request asks to switch protocols (RFC 9110 section 7.8).
pub fn is_upgrade_req(req: &RequestHeader) -> bool {
    req.version == Version::HTTP_11
        && req.headers.contains_key(UPGRADE)
        && req
            .headers
            .get_all(CONNECTION)
            .iter()
            .any(|v| lists_token(v, b"upgrade"))
}

/// Whether a request waits for a `100 Continue` before its body is sent.
pub fn is_expect_continue_req(req: &RequestHeader) -> bool {
    req.version == Version::HTTP_11
        && req
            .headers
            .get(EXPECT)
            .is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Whether a response switches protocols.
pub fn is_upgrade_resp(header: &ResponseHeader) -> bool {
    header.status == StatusCode::SWITCHING_PROTOCOLS && header.version == Version::HTTP_11
}

/// A `Content-Length` as a number; `None` if it is missing or not plain digits.
pub fn header_value_content_length(header_value: Option<&HeaderValue>) -> Option<usize> {
    let length = decimal(header_value?.as_bytes()).ok()?;
    usize::try_from(length).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_plain_digits() {
        let rows: &[(&str, Option<usize>)] = &[
            ("0", Some(0)),
            ("17", Some(17)),
            ("+17", None),
            ("-1", None),
            ("", None),
            ("1 7", None),
            ("0x11", None),
            ("99999999999999999999999", None),
        ];
        for (text, expected) in rows {
            let value = HeaderValue::from_str(text).unwrap();
            assert_eq!(
                header_value_content_length(Some(&value)),
                *expected,
                "{text:?}"
            );
        }
        assert_eq!(header_value_content_length(None), None);
    }

    #[test]
    fn an_upgrade_needs_both_fields_and_http_11() {
        let mut req = RequestHeader::build("GET", b"/", None).unwrap();
        assert!(!is_upgrade_req(&req));
        req.insert_header("Upgrade", "websocket").unwrap();
        assert!(!is_upgrade_req(&req));
        req.insert_header("Connection", "keep-alive, Upgrade")
            .unwrap();
        assert!(is_upgrade_req(&req));
        req.set_version(Version::HTTP_10);
        assert!(!is_upgrade_req(&req));
    }

    #[test]
    fn an_expectation_is_told() {
        let mut req = RequestHeader::build("PUT", b"/", None).unwrap();
        assert!(!is_expect_continue_req(&req));
        req.insert_header("Expect", "100-Continue").unwrap();
        assert!(is_expect_continue_req(&req));
    }
}
