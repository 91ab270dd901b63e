//! Responses of our own for failures.

use http::header::{CACHE_CONTROL, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderValue, StatusCode};
use pingora_error::Result;
use pingora_http::ResponseHeader;
use std::sync::LazyLock;

/// The value of the `Server` field in responses that this software generates itself.
pub const SERVER_NAME: &[u8; 7] = b"Pingora";

/// A response with this status, without a body, that no cache stores.
///
/// It has no `Date`: the sender adds it. A code that is not a status (100 to 999) becomes 500.
pub fn gen_error_response(code: u16) -> ResponseHeader {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = ResponseHeader::default();
    // None of these can fail: the status and the values are valid, and there is room.
    let _ = response.set_status(status);
    let _ = response.insert_header(CONTENT_LENGTH, HeaderValue::from_static("0"));
    let no_store = HeaderValue::from_static("private, no-store");
    let _ = response.insert_header(CACHE_CONTROL, no_store);
    response
}

/// Declares the length of a completely known body in the header of a response: `len` bytes. If there
/// is no body, an existing length is kept if it describes something else (RFC 9110 section 8.6): the
/// body that a GET would have got, in the answer to a HEAD or in a 304.
///
/// # Errors
/// `InvalidHTTPHeader`, if the header is full.
pub fn declare_whole_body(
    response: &mut ResponseHeader,
    len: usize,
    head_request: bool,
) -> Result<()> {
    let status = response.line().status;
    let of_something_else = head_request || status == StatusCode::NOT_MODIFIED;
    if status.is_informational()
        || status == StatusCode::NO_CONTENT
        || len == 0 && of_something_else
    {
        return Ok(());
    }
    response.remove_header(&TRANSFER_ENCODING);
    response.set_content_length(len)
}

/// A 502: the upstream failed.
pub static HTTP_502_RESPONSE: LazyLock<ResponseHeader> = LazyLock::new(|| gen_error_response(502));

/// A 400: the client failed.
pub static HTTP_400_RESPONSE: LazyLock<ResponseHeader> = LazyLock::new(|| gen_error_response(400));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_responses_are_empty_and_not_kept() {
        for (code, status) in [(502, 502), (400, 400), (599, 599), (0, 500), (65535, 500)] {
            let response = gen_error_response(code);
            assert_eq!(response.status.as_u16(), status);
            assert_eq!(response.headers[CONTENT_LENGTH], "0");
            assert_eq!(response.headers[CACHE_CONTROL], "private, no-store");
        }
        assert_eq!(HTTP_502_RESPONSE.status, 502);
        assert_eq!(HTTP_400_RESPONSE.status, 400);
    }

    /// RFC 9110 section 8.6.
    #[test]
    fn a_known_body_has_its_length_in_the_header() {
        // Status, length of the body, whether it answers a HEAD, the length before and after.
        let rows = [
            (502, 5, false, None, Some("5")),
            (502, 5, false, Some("7"), Some("5")),
            (502, 0, false, None, Some("0")),
            (502, 0, false, Some("7"), Some("0")),
            (404, 5, true, None, Some("5")),
            (404, 0, true, Some("7"), Some("7")),
            (404, 0, true, None, None),
            (304, 0, false, Some("7"), Some("7")),
            (304, 0, false, None, None),
            (204, 0, false, None, None),
            (204, 5, false, None, None),
        ];
        for (status, len, head_request, before, after) in rows {
            let mut response = ResponseHeader::build(status, None).unwrap();
            response
                .insert_header(TRANSFER_ENCODING, "chunked")
                .unwrap();
            if let Some(length) = before {
                response.insert_header(CONTENT_LENGTH, length).unwrap();
            }
            declare_whole_body(&mut response, len, head_request).unwrap();
            let found = response.headers.get(CONTENT_LENGTH);
            let found = found.map(|length| length.to_str().unwrap());
            assert_eq!(found, after, "{status} {len} {head_request} {before:?}");
            let says_both = response.headers.contains_key(TRANSFER_ENCODING) && found.is_some();
            assert!(!says_both || before.is_some(), "{status} {len}");
        }
    }
}
