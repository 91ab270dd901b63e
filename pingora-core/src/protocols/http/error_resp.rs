//! Responses of our own for when something went wrong.

use http::header::{CACHE_CONTROL, CONTENT_LENGTH};
use http::{HeaderValue, StatusCode};
use pingora_http::ResponseHeader;
use std::sync::LazyLock;

/// A response with this status, without a body, that no cache keeps.
///
/// It has no `Date`: whoever sends it adds that. A code that is no status (not within 100 to 999)
/// becomes 500.
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
}
