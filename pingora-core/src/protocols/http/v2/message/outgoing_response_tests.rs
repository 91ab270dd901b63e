//! Responses sent over HTTP/2.

use super::*;
use crate::protocols::http::h1::{HeadLimits, ResponseContext, parse_response};

const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fn now() -> HeaderValue {
    HeaderValue::from_static(NOW)
}

fn header(status: u16, fields: &[(&'static str, &str)]) -> ResponseHeader {
    let mut header = ResponseHeader::build(status, None).unwrap();
    for (name, value) in fields {
        header.append_header(*name, *value).unwrap();
    }
    header
}

/// RFC 9110 sections 6.4.1 and 9.3.6, RFC 9113 section 8.5.
#[test]
fn status_and_method_decide_what_follows() {
    use PayloadLength::{Any, Exact, Nothing};
    let rows = [
        (Method::GET, 200, Some("5"), Ok((Exact(5), true, false))),
        (Method::GET, 200, None, Ok((Any, false, false))),
        (Method::GET, 404, Some("0"), Ok((Exact(0), true, false))),
        (Method::HEAD, 200, Some("5"), Ok((Nothing, true, false))),
        (Method::GET, 304, Some("5"), Ok((Nothing, true, false))),
        (Method::GET, 204, Some("5"), Ok((Nothing, false, false))),
        (Method::CONNECT, 200, Some("5"), Ok((Any, false, true))),
        (Method::CONNECT, 403, Some("5"), Ok((Exact(5), true, false))),
        (Method::GET, 200, Some("five"), Err(500)),
        (Method::GET, 101, None, Err(500)),
    ];
    for (method, status, length, expected) in rows {
        let fields: Vec<_> = length.map(|l| ("Content-Length", l)).into_iter().collect();
        let got = outgoing_response(&header(status, &fields), &method, now)
            .map(|out| {
                let told = out.head.headers().contains_key(CONTENT_LENGTH);
                (out.length, told, out.tunnel)
            })
            .map_err(|fault| fault.status());
        assert_eq!(got, expected, "{method} {status} {length:?}");
    }
}

/// RFC 9113 section 8.2.2.
#[test]
fn fields_of_a_connection_stay_behind() {
    let full = header(
        200,
        &[
            ("Connection", "close, X-Hop"),
            ("X-Hop", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "close"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "h2c"),
            ("TE", "trailers"),
            ("X-Stays", "1"),
            ("Set-Cookie", "a=b"),
            ("Set-Cookie", "c=d"),
        ],
    );
    let out = outgoing_response(&full, &Method::GET, now).unwrap();
    let left: Vec<_> = out
        .head
        .headers()
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(left, ["x-stays", "set-cookie", "set-cookie", "date"]);
    assert_eq!(out.head.version(), Version::HTTP_2);
    assert!(
        full.headers.contains_key("connection"),
        "the header itself is not changed"
    );
}

/// RFC 9110 section 6.6.1.
#[test]
fn a_response_without_a_date_gets_one() {
    for status in [200, 204, 304, 404, 500] {
        let undated = outgoing_response(&header(status, &[]), &Method::GET, now).unwrap();
        assert_eq!(undated.head.headers()[DATE], NOW, "{status}");
        let dated = header(status, &[("Date", "then")]);
        let dated = outgoing_response(&dated, &Method::GET, now).unwrap();
        assert_eq!(dated.head.headers()[DATE], "then", "{status}");
    }
    let informational = outgoing_informational(&header(103, &[])).unwrap();
    assert!(informational.headers().is_empty());
}

/// RFC 9113 section 8.6, RFC 9110 section 15.2.
#[test]
fn informational_responses_pass_except_for_the_switch_of_protocols() {
    let rows = [(100, true), (103, true), (101, false), (200, false)];
    for (status, passes) in rows {
        let head = outgoing_informational(&header(
            status,
            &[("Link", "</a>"), ("Content-Length", "0")],
        ));
        assert_eq!(head.is_some(), passes, "{status}");
        if let Some(head) = head {
            assert!(head.headers().contains_key("link"));
            assert!(!head.headers().contains_key(CONTENT_LENGTH));
        }
    }
}

/// Fields in the buffer they arrived in, and fields that were added, become one map.
#[test]
fn a_response_of_http1_keeps_its_fields() {
    let arrived =
        "HTTP/1.1 200 OK\r\nX-A: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\n";
    for looked_at in [false, true] {
        let mut header = ResponseHeader::empty();
        let (limits, context) = (HeadLimits::default(), ResponseContext::default());
        parse_response(&arrived.into(), &limits, context, &mut header).unwrap();
        header.insert_header("X-B", "2").unwrap();
        if looked_at {
            assert_eq!(header.headers.len(), 5);
        }
        let out = outgoing_response(&header, &Method::GET, now).unwrap();
        assert_eq!(out.length, PayloadLength::Exact(2));
        let mut headers = out.head.headers().clone();
        headers.remove(DATE);
        assert_eq!(headers, header.headers);
        assert_eq!(headers.len(), 5);
    }
}
