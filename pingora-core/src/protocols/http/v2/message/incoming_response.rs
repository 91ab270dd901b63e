//! Responses as they arrive (RFC 9113 section 8.3.2).

use super::has_too_many_fields;
use http::StatusCode;
use http::response::Parts;
use pingora_http::ResponseHeader;

/// What may follow the head of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    /// No payload, whatever the fields say (RFC 9110 section 6.4.1).
    Nothing,
    /// The body.
    Body,
    /// What a tunnel carries (RFC 9113 section 8.5).
    Tunnel,
}

/// A response's head, and what it means for its stream.
#[derive(Debug)]
pub(crate) struct IncomingResponse {
    pub(crate) header: Box<ResponseHeader>,
    /// What follows; `None`: this response is informational, another head follows.
    pub(crate) payload: Option<Payload>,
}

/// Reads the head of a response to a request that was, or was not, a HEAD or a CONNECT.
///
/// Fields that must not be there, and a `Content-Length` that is no number or disagrees with the
/// payload, were refused by the `h2` crate before.
///
/// # Errors
/// Why the response is malformed.
pub(crate) fn incoming_response(
    parts: Parts,
    head_request: bool,
    connect_request: bool,
) -> Result<IncomingResponse, &'static str> {
    let status = parts.status;
    // RFC 9113 section 8.6.
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err("101 is no status of HTTP/2");
    }
    if has_too_many_fields(&parts.headers) {
        return Err("the response has too many fields");
    }
    let payload = match status {
        _ if status.is_informational() => None,
        _ if connect_request && status.is_success() => Some(Payload::Tunnel),
        _ if head_request => Some(Payload::Nothing),
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Some(Payload::Nothing),
        _ => Some(Payload::Body),
    };
    Ok(IncomingResponse {
        header: Box::new(ResponseHeader::from(parts)),
        payload,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;

    fn parts(status: u16) -> Parts {
        Response::builder()
            .status(status)
            .body(())
            .unwrap()
            .into_parts()
            .0
    }

    #[test]
    fn the_status_says_what_follows() {
        use Payload::*;
        // Status, HEAD, CONNECT, what follows.
        let rows = [
            (100, false, false, Ok(None)),
            (103, true, false, Ok(None)),
            (101, false, false, Err(())),
            (101, false, true, Err(())),
            (200, false, false, Ok(Some(Body))),
            (200, true, false, Ok(Some(Nothing))),
            (204, false, false, Ok(Some(Nothing))),
            (304, false, false, Ok(Some(Nothing))),
            (404, true, false, Ok(Some(Nothing))),
            (200, false, true, Ok(Some(Tunnel))),
            (204, false, true, Ok(Some(Tunnel))),
            (403, false, true, Ok(Some(Body))),
            (500, false, false, Ok(Some(Body))),
        ];
        for (status, head, connect, expected) in rows {
            let found = incoming_response(parts(status), head, connect);
            let found = found.map(|response| response.payload).map_err(|_| ());
            assert_eq!(found, expected, "{status} {head} {connect}");
        }
    }
}
