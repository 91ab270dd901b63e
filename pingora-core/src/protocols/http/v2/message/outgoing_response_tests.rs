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

/// The fields of a head, in whichever form they are.
fn fields_of(head: &Head) -> HeaderMap {
    let mut fields = head.fields.clone();
    for (name, value) in head.flat.iter() {
        let name = HeaderName::from_bytes(name).unwrap();
        fields.append(name, HeaderValue::from_bytes(value).unwrap());
    }
    fields
}

/// The response as it arrives over HTTP/1.
fn arrived(text: &str) -> ResponseHeader {
    let mut header = ResponseHeader::empty();
    let (limits, context) = (HeadLimits::default(), ResponseContext::default());
    parse_response(&text.to_string().into(), &limits, context, &mut header).unwrap();
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
                let told = fields_of(&out.head).contains_key(CONTENT_LENGTH);
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
    let fields = fields_of(&out.head);
    let left: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(left, ["x-stays", "set-cookie", "set-cookie", "date"]);
    assert_eq!(out.head.pseudo.status, Some(StatusCode::OK));
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
        assert_eq!(fields_of(&undated.head)[DATE], NOW, "{status}");
        let dated = header(status, &[("Date", "then")]);
        let dated = outgoing_response(&dated, &Method::GET, now).unwrap();
        assert_eq!(fields_of(&dated.head)[DATE], "then", "{status}");
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
    let text =
        "HTTP/1.1 200 OK\r\nX-A: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\n";
    for looked_at in [false, true] {
        let mut header = arrived(text);
        header.insert_header("X-B", "2").unwrap();
        if looked_at {
            assert_eq!(header.headers.len(), 5);
        }
        let out = outgoing_response(&header, &Method::GET, now).unwrap();
        assert_eq!(out.length, PayloadLength::Exact(2));
        let mut headers = fields_of(&out.head);
        headers.remove(DATE);
        assert_eq!(headers, header.headers);
        assert_eq!(headers.len(), 5);
    }
}

/// Whether somebody looked at the fields makes no difference to what is sent.
#[test]
fn a_map_and_its_absence_lead_to_the_same_response() {
    let lists = [
        "",
        "Content-Type: text/html\r\nX-Mixed-Case: Value\r\nX-Empty:\r\n",
        "Date: Sun, 06 Nov 1994 08:49:00 GMT\r\nContent-Length: 7\r\n",
        "Set-Cookie: a=b\r\nX-A: 1\r\nset-cookie: c=d\r\n",
        "Connection: X-A\r\nX-A: 1\r\nX-B: 2\r\n",
        "TE: trailers\r\nUpgrade: h2c\r\nKeep-Alive: timeout=5\r\n",
        "Content_Length: 3\r\nContent-Length: 5\r\n",
        "X-Long: 0123456789012345678901234567890123456789012345678901234567890123456789\r\n",
    ];
    let methods = [Method::GET, Method::HEAD, Method::CONNECT];
    let mut flat = 0;
    for (list, method) in lists
        .iter()
        .flat_map(|list| methods.iter().map(move |m| (list, m)))
    {
        for status in [200, 204, 304, 404] {
            let text = format!("HTTP/1.1 {status} X\r\n{list}\r\n");
            let (unseen, seen) = (arrived(&text), arrived(&text));
            let _ = seen.headers.len();
            let send = |header| {
                let out = outgoing_response(header, method, now)?;
                flat += usize::from(out.head.fields.is_empty());
                Ok::<_, Fault>((fields_of(&out.head), out.length, out.tunnel))
            };
            let results = [&unseen, &seen].map(send);
            let [unseen, seen] = results.map(|result| result.map_err(|fault| fault.status()));
            assert_eq!(unseen, seen, "{method} {text}");
        }
    }
    assert!(flat > 50, "the form without a map is used");
}

/// A value that a filter marked as sensitive stays in the map, which tells the encoder so.
#[test]
fn what_is_sensitive_stays_so() {
    let mut header = arrived("HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\n");
    let mut secret = HeaderValue::from_static("secret");
    secret.set_sensitive(true);
    header.insert_header("X-Secret", secret).unwrap();
    let out = outgoing_response(&header, &Method::GET, now).unwrap();
    assert!(out.head.fields["x-secret"].is_sensitive());
}
