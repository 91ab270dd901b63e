//! Received responses (RFC 9113 section 8.3.2).

use super::{has_too_many_fields, settle_length};
use crate::protocols::http::h1::Fault;
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use pingora_http::ResponseHeader;

/// The payload that may follow the head of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    /// No payload, whatever the fields say (RFC 9110 section 6.4.1).
    Nothing,
    /// The body.
    Body,
    /// The bytes of a tunnel (RFC 9113 section 8.5).
    Tunnel,
}

/// A response's head, and its meaning for its stream.
#[derive(Debug)]
pub(crate) struct IncomingResponse {
    pub(crate) header: Box<ResponseHeader>,
    /// The payload that follows; `None`: this response is informational, another head follows.
    pub(crate) payload: Option<Payload>,
}

/// Reads the head of a response to a request that was, or was not, a HEAD or a CONNECT.
///
/// The framing has checked it against the grammar that is the same for all versions, and refuses a
/// `Content-Length` that disagrees with the payload. The remaining length information is unambiguous:
/// one length of plain digits, or none; and none if there can be no body (RFC 9110 section 8.6).
///
/// # Errors
/// The reason why the response is malformed; the status is 502.
pub(crate) fn incoming_response(
    mut parts: Parts,
    head_request: bool,
    connect_request: bool,
) -> Result<IncomingResponse, Fault> {
    let status = parts.status;
    if has_too_many_fields(&parts.headers) {
        return Err(Fault::new(502, "the response has too many fields"));
    }
    let payload = match status {
        _ if status.is_informational() => None,
        _ if connect_request && status.is_success() => Some(Payload::Tunnel),
        _ if head_request => Some(Payload::Nothing),
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Some(Payload::Nothing),
        _ => Some(Payload::Body),
    };
    if parts.headers.contains_key(CONTENT_LENGTH) {
        settle_lengths(&mut parts, payload)?;
    }
    Ok(IncomingResponse {
        header: Box::new(ResponseHeader::from_sound_parts(parts)),
        payload,
    })
}

fn settle_lengths(parts: &mut Parts, payload: Option<Payload>) -> Result<(), Fault> {
    let tells_of_no_body = matches!(payload, None | Some(Payload::Tunnel));
    if tells_of_no_body || parts.status == StatusCode::NO_CONTENT {
        parts.headers.remove(CONTENT_LENGTH);
        return Ok(());
    }
    settle_length(&mut parts.headers)
        .map(drop)
        .map_err(Fault::of_response)
}

/// [`incoming_response`] after the checks of the framing.
#[cfg(test)]
pub(crate) fn judged_response(
    parts: Parts,
    head_request: bool,
    connect_request: bool,
) -> Result<IncomingResponse, Fault> {
    use pingora_http::grammar::{Section, SectionCheck};
    let mut check = SectionCheck::new(Section::Response);
    let status = parts.status.as_str().to_string();
    let judged = check
        .line(b":status", status.as_bytes())
        .map_err(Fault::of_section)
        .and_then(|_| super::judge_fields(&mut check, &parts.headers));
    judged.map_err(Fault::of_response)?;
    incoming_response(parts, head_request, connect_request)
}

#[cfg(test)]
mod tests {
    use super::judged_response as incoming_response;
    use super::*;
    use http::{HeaderValue, Response};

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

    /// RFC 9113 sections 8.1.1 and 8.2, RFC 9110 section 8.6.
    #[test]
    fn a_malformed_response_is_refused() {
        let rows = [
            ("x", "1", true),
            ("content-length", "5", true),
            ("content-length", "", false),
            ("content-length", "+5", false),
            ("x\"y", "1", false),
            ("x", " 1", false),
            ("http2-settings", "AAA", false),
            ("transfer-encoding", "chunked", false),
        ];
        for (name, value, sound) in rows {
            let mut parts = parts(200);
            let value = http::HeaderValue::from_static(value);
            let name = http::HeaderName::from_static(name);
            parts.headers.insert(&name, value.clone());
            let found = incoming_response(parts, false, false);
            assert_eq!(found.is_ok(), sound, "{name}: {value:?}");
            let status = found.err().map_or(502, |fault| fault.status());
            assert_eq!(status, 502, "{name}: {value:?}");
        }
    }

    #[test]
    fn a_length_is_passed_on_as_it_was_understood() {
        for values in [&["010"][..], &["10", "10"], &["10, 10"]] {
            let mut parts = parts(200);
            for value in values {
                let value = http::HeaderValue::from_static(value);
                parts.headers.append("content-length", value);
            }
            let response = incoming_response(parts, false, false).unwrap();
            let all: Vec<_> = response
                .header
                .headers
                .get_all("content-length")
                .iter()
                .collect();
            assert_eq!(all, ["10"], "{values:?}");
        }
    }

    /// RFC 9110 section 8.6.
    #[test]
    fn one_length_of_plain_digits_is_left() {
        type Row<'a> = (u16, bool, bool, &'a [&'a str], Result<Option<&'a str>, ()>);
        let rows: &[Row<'_>] = &[
            (200, false, false, &[], Ok(None)),
            (200, false, false, &["5"], Ok(Some("5"))),
            (200, false, false, &["5", "5"], Ok(Some("5"))),
            (200, false, false, &["5", "6"], Err(())),
            (200, false, false, &[""], Err(())),
            (200, false, false, &["5", ""], Err(())),
            (200, false, false, &["+5"], Err(())),
            (200, true, false, &[""], Err(())),
            (200, true, false, &["5"], Ok(Some("5"))),
            (304, false, false, &["5"], Ok(Some("5"))),
            (304, false, false, &["x"], Err(())),
            (204, false, false, &["5"], Ok(None)),
            (204, false, false, &[""], Ok(None)),
            (103, false, false, &["5"], Ok(None)),
            (100, false, false, &["x"], Ok(None)),
            (200, false, true, &["5"], Ok(None)),
            (403, false, true, &["5"], Ok(Some("5"))),
        ];
        for (status, head, connect, lengths, expected) in rows {
            let mut parts = parts(*status);
            for length in *lengths {
                let length = HeaderValue::from_str(length).unwrap();
                parts.headers.append(CONTENT_LENGTH, length);
            }
            let found = incoming_response(parts, *head, *connect).map_err(|_| ());
            let found = found.map(|response| {
                let lengths = response.header.headers.get_all(CONTENT_LENGTH).iter();
                let lengths: Vec<_> = lengths.map(|l| l.to_str().unwrap().to_string()).collect();
                assert!(lengths.len() <= 1, "{status} {lengths:?}");
                lengths.into_iter().next()
            });
            let expected = expected.map(|length| length.map(str::to_string));
            assert_eq!(found, expected, "{status} {head} {connect} {lengths:?}");
        }
    }
}
