//! Response heads.

use bytes::Bytes;
use http::Version;
use pingora_http::ResponseHeader;

use super::super::BodyLength::{Chunked, Empty, Exact, UntilClose};
use super::super::*;

const PLAIN: ResponseContext = ResponseContext {
    head_request: false,
    connect_request: false,
    upgrade_requested: false,
};
const HEAD: ResponseContext = ResponseContext {
    head_request: true,
    ..PLAIN
};
const CONNECT: ResponseContext = ResponseContext {
    connect_request: true,
    ..PLAIN
};
const UPGRADE: ResponseContext = ResponseContext {
    upgrade_requested: true,
    ..PLAIN
};

fn parse(head: &[u8], context: ResponseContext) -> Result<(ResponseFacts, ResponseHeader), Fault> {
    let mut into = ResponseHeader::default();
    into.insert_header("X-Left-Over", "1").unwrap();
    let limits = HeadLimits::default();
    let facts = parse_response(&Bytes::copy_from_slice(head), &limits, context, &mut into)?;
    assert!(!into.headers.contains_key("x-left-over"));
    Ok((facts, into))
}

#[test]
#[rustfmt::skip]
fn status_lines_and_fields() {
    let rows: &[(&str, &[u8], Option<(u16, &str)>)] = &[
        ("plain", b"HTTP/1.1 200 OK\r\n\r\n", Some((200, "OK"))),
        ("1.0", b"HTTP/1.0 404 Not Found\r\n\r\n", Some((404, "Not Found"))),
        ("own phrase", b"HTTP/1.1 200 Fine by me\r\n\r\n", Some((200, "Fine by me"))),
        ("empty phrase", b"HTTP/1.1 200 \r\n\r\n", Some((200, ""))),
        ("no phrase", b"HTTP/1.1 200\r\n\r\n", Some((200, ""))),
        ("phrase over 127", b"HTTP/1.1 200 \xe4\r\n\r\n", Some((200, ""))),
        ("unknown code", b"HTTP/1.1 999 Denied\r\n\r\n", Some((999, "Denied"))),
        ("code below 100", b"HTTP/1.1 099 X\r\n\r\n", None),
        ("code 000", b"HTTP/1.1 000 X\r\n\r\n", None),
        ("two digits", b"HTTP/1.1 20 OK\r\n\r\n", None),
        ("four digits", b"HTTP/1.1 2000 OK\r\n\r\n", None),
        ("letters", b"HTTP/1.1 2O0 OK\r\n\r\n", None),
        ("sign", b"HTTP/1.1 +20 OK\r\n\r\n", None),
        ("two spaces", b"HTTP/1.1  200 OK\r\n\r\n", None),
        ("tab", b"HTTP/1.1\t200 OK\r\n\r\n", None),
        ("NUL in the phrase", b"HTTP/1.1 200 O\0K\r\n\r\n", None),
        ("CR in the phrase", b"HTTP/1.1 200 O\rK\r\n\r\n", None),
        ("version 2.0", b"HTTP/2.0 200 OK\r\n\r\n", None),
        ("version 1.2", b"HTTP/1.2 200 OK\r\n\r\n", None),
        ("no version", b"200 OK\r\n\r\n", None),
        ("lower-case", b"http/1.1 200 OK\r\n\r\n", None),
        ("ICY", b"ICY 200 OK\r\n\r\n", None),
        ("another protocol", b"SSH-2.0-OpenSSH\r\n\r\n", None),
        ("CRLF in front", b"\r\nHTTP/1.1 200 OK\r\n\r\n", None),
        ("bare LF", b"HTTP/1.1 200 OK\n\r\n", None),
        ("bare LF behind a field", b"HTTP/1.1 200 OK\r\nA: b\n\r\n", None),
        ("bare LF between", b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n", None),
        ("space before the colon", b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", None),
        ("no name", b"HTTP/1.1 200 OK\r\n: b\r\n\r\n", None),
        ("folded", b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", None),
        ("space before the first", b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n", None),
        ("NUL in a value", b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", None),
        ("CR in a value", b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", None),
        ("bytes behind", b"HTTP/1.1 200 OK\r\n\r\nx", None),
        ("cut short", b"HTTP/1.1 200 OK\r\n", None),
        ("nothing", b"", None),
    ];
    for (name, head, expected) in rows {
        let result = parse(head, PLAIN);
        let status = result
            .as_ref()
            .map(|(_, r)| (r.status.as_u16(), r.get_reason_phrase().unwrap_or_default()));
        match (status, expected) {
            (Ok(found), Some(expected)) => assert_eq!(found, *expected, "{name}"),
            (Err(fault), None) => assert_eq!(fault.status(), 502, "{name}"),
            (found, _) => panic!("{name}: {found:?}"),
        }
    }
}

/// Body and persistence; `None` for a refusal.
type Outcome = Option<(BodyLength, bool)>;

fn check(rows: &[(&str, &str, &str, ResponseContext, Outcome)]) {
    for (name, line, fields, context, expected) in rows {
        let head = format!("HTTP/{line}\r\n{fields}\r\n");
        let outcome = match parse(head.as_bytes(), *context) {
            Ok((facts, response)) => {
                let both = response.headers.contains_key("content-length")
                    && response.headers.contains_key("transfer-encoding");
                assert!(!both, "{name}");
                Some((facts.body, facts.keep_alive))
            }
            Err(fault) => {
                assert_eq!(fault.status(), 502, "{name}");
                None
            }
        };
        assert_eq!(outcome, *expected, "{name}");
    }
}

#[test]
#[rustfmt::skip]
fn framing() {
    let (length, chunked) = ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n");
    let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    let both_too = "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n";
    let close = "Content-Length: 5\r\nConnection: close\r\n";
    let stay = "Content-Length: 5\r\nConnection: keep-alive\r\n";
    check(&[
        ("length", "1.1 200 OK", length, PLAIN, Some((Exact(5), true))),
        ("length 0", "1.1 200 OK", "Content-Length: 0\r\n", PLAIN, Some((Exact(0), true))),
        ("length, close", "1.1 200 OK", close, PLAIN, Some((Exact(5), false))),
        ("equal lengths", "1.1 200 OK", "Content-Length: 5, 5\r\n", PLAIN, Some((Exact(5), true))),
        ("chunked", "1.1 200 OK", chunked, PLAIN, Some((Chunked, true))),
        ("chunked wins", "1.1 200 OK", both, PLAIN, Some((Chunked, false))),
        ("chunked wins in front", "1.1 200 OK", both_too, PLAIN, Some((Chunked, false))),
        ("neither", "1.1 200 OK", "", PLAIN, Some((UntilClose, false))),
        ("neither, keep-alive", "1.1 200 OK", "Connection: keep-alive\r\n", PLAIN, Some((UntilClose, false))),
        ("1.0, neither", "1.0 200 OK", "", PLAIN, Some((UntilClose, false))),
        ("1.0, length", "1.0 200 OK", length, PLAIN, Some((Exact(5), false))),
        ("1.0, length, keep-alive", "1.0 200 OK", stay, PLAIN, Some((Exact(5), true))),
        ("1.0, chunked", "1.0 200 OK", chunked, PLAIN, None),
        ("two lengths", "1.1 200 OK", "Content-Length: 5\r\nContent-Length: 6\r\n", PLAIN, None),
        ("list of lengths", "1.1 200 OK", "Content-Length: 5, 6\r\n", PLAIN, None),
        ("bad length", "1.1 200 OK", "Content-Length: 0x5\r\n", PLAIN, None),
        ("negative length", "1.1 200 OK", "Content-Length: -1\r\n", PLAIN, None),
        ("huge length", "1.1 200 OK", "Content-Length: 9223372036854775808\r\n", PLAIN, None),
        ("bad length and chunked", "1.1 200 OK", "Content-Length: x\r\nTransfer-Encoding: chunked\r\n", PLAIN, None),
        ("gzip, chunked", "1.1 200 OK", "Transfer-Encoding: gzip, chunked\r\n", PLAIN, None),
        ("gzip", "1.1 200 OK", "Transfer-Encoding: gzip\r\n", PLAIN, None),
        ("chunked, gzip", "1.1 200 OK", "Transfer-Encoding: chunked, gzip\r\n", PLAIN, None),
        ("chunked twice", "1.1 200 OK", "Transfer-Encoding: chunked, chunked\r\n", PLAIN, None),
        ("empty coding", "1.1 200 OK", "Transfer-Encoding:\r\n", PLAIN, None),
        ("error with a body", "1.1 502 Bad", length, PLAIN, Some((Exact(5), true))),
        ("101 of nobody", "1.1 101 Switching", "Upgrade: a\r\n", PLAIN, None),
    ]);
}

#[test]
#[rustfmt::skip]
fn responses_without_a_body() {
    let (length, chunked) = ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n");
    let zero = "Content-Length: 0\r\n";
    check(&[
        ("HEAD, length", "1.1 200 OK", length, HEAD, Some((Empty, true))),
        ("HEAD, chunked", "1.1 200 OK", chunked, HEAD, Some((Empty, true))),
        ("HEAD, neither", "1.1 200 OK", "", HEAD, Some((Empty, true))),
        ("HEAD of 1.0", "1.0 200 OK", length, HEAD, Some((Empty, false))),
        ("HEAD, close", "1.1 200 OK", "Connection: close\r\n", HEAD, Some((Empty, false))),
        ("HEAD, two lengths", "1.1 200 OK", "Content-Length: 5, 6\r\n", HEAD, None),
        ("204", "1.1 204 No Content", "", PLAIN, Some((Empty, true))),
        ("204, length 0", "1.1 204 No Content", zero, PLAIN, Some((Empty, true))),
        ("204, length", "1.1 204 No Content", length, PLAIN, Some((Empty, false))),
        ("204, chunked", "1.1 204 No Content", chunked, PLAIN, Some((Empty, false))),
        ("304", "1.1 304 Not Modified", "", PLAIN, Some((Empty, true))),
        ("304, length", "1.1 304 Not Modified", length, PLAIN, Some((Empty, true))),
        ("304, chunked", "1.1 304 Not Modified", chunked, PLAIN, Some((Empty, true))),
        ("205 is no exception", "1.1 205 Reset", length, PLAIN, Some((Exact(5), true))),
        ("100", "1.1 100 Continue", "", PLAIN, Some((Empty, true))),
        ("103", "1.1 103 Early Hints", "Link: a\r\n", PLAIN, Some((Empty, true))),
        ("199", "1.1 199 What", length, PLAIN, Some((Empty, false))),
        ("CONNECT, 200", "1.1 200 OK", length, CONNECT, Some((Empty, false))),
        ("CONNECT, 204", "1.1 204 OK", "", CONNECT, Some((Empty, false))),
        ("CONNECT, 407", "1.1 407 Auth", length, CONNECT, Some((Exact(5), true))),
    ]);
    let framed = |status: &str, context| {
        let head = format!("HTTP/1.1 {status}\r\n{length}\r\n");
        let (_, response) = parse(head.as_bytes(), context).unwrap();
        response.headers.contains_key("content-length")
    };
    assert!(framed("200 OK", HEAD));
    assert!(framed("304 Not Modified", PLAIN));
    assert!(!framed("204 No Content", PLAIN));
    assert!(!framed("103 Early Hints", PLAIN));
    assert!(!framed("200 OK", CONNECT));
}

#[test]
fn what_comes_after_the_head() {
    let switching = "101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade";
    // Status and fields, context, informational, upgraded; None for a refusal.
    let rows = [
        ("100 Continue", PLAIN, Some((true, false))),
        ("102 Processing", PLAIN, Some((true, false))),
        ("103 Early Hints", UPGRADE, Some((true, false))),
        ("103 Early Hints", CONNECT, Some((true, false))),
        (switching, UPGRADE, Some((false, true))),
        (switching, PLAIN, None),
        (switching, HEAD, None),
        ("101 Switching Protocols", UPGRADE, None),
        ("101 Switching\r\nUpgrade: ", UPGRADE, None),
        ("200 OK", UPGRADE, Some((false, false))),
        ("200 OK", CONNECT, Some((false, true))),
        ("299 OK", CONNECT, Some((false, true))),
        ("302 Found", CONNECT, Some((false, false))),
        ("200 OK", PLAIN, Some((false, false))),
        ("426 Upgrade\r\nUpgrade: x", PLAIN, Some((false, false))),
    ];
    for (head, context, expected) in rows {
        let whole = format!("HTTP/1.1 {head}\r\n\r\n");
        let facts = parse(whole.as_bytes(), context).map(|(facts, _)| facts);
        let found = facts.ok().map(|f| (f.informational, f.upgraded));
        assert_eq!(found, expected, "{head} {context:?}");
        assert!(!facts.is_ok_and(|f| f.upgraded && f.keep_alive));
    }
}

#[test]
#[rustfmt::skip]
fn an_unsound_length_can_be_forgiven() {
    let rows = [
        ("Content-Length: x\r\n", Ok((UntilClose, 0))),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", Ok((UntilClose, 0))),
        ("Content-Length: 5, 6\r\n", Ok((UntilClose, 0))),
        ("Content-Length: 5\r\n", Ok((Exact(5), 1))),
        ("Content-Length: x\r\nTransfer-Encoding: chunked\r\n", Ok((Chunked, 0))),
        ("Transfer-Encoding: x\r\n", Err(502)),
    ];
    for (fields, expected) in rows {
        let head = Bytes::from(format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
        let mut into = ResponseHeader::default();
        let limits = HeadLimits::default();
        let result = parse_response_with_unsound_length(&head, &limits, PLAIN, &mut into);
        let found = result
            .map(|f| {
                (f.body, into.headers.get_all("content-length").iter().count())
            })
            .map_err(|fault| fault.status());
        assert_eq!(found, expected, "{fields}");
    }
}

#[test]
fn limits() {
    let head = |n: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(n));
    let limits = |fields| HeadLimits {
        fields,
        ..HeadLimits::default()
    };
    for (n, most, fits) in [
        (128, 128, true),
        (129, 128, false),
        (300, 300, true),
        (301, 300, false),
    ] {
        let mut into = ResponseHeader::default();
        let result = parse_response(&head(n).into(), &limits(most), PLAIN, &mut into);
        assert_eq!(result.is_ok(), fits, "{n} of {most}");
        assert!(fits || result.unwrap_err().status() == 502);
    }
    let mut into = ResponseHeader::default();
    let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "a".repeat(65536));
    assert!(parse_response(&long.into(), &limits(9), PLAIN, &mut into).is_err());
}

#[test]
fn versions() {
    assert_eq!(
        parse(b"HTTP/1.0 200 OK\r\n\r\n", PLAIN).unwrap().1.version,
        Version::HTTP_10
    );
    assert_eq!(
        parse(b"HTTP/1.1 200 OK\r\n\r\n", PLAIN).unwrap().1.version,
        Version::HTTP_11
    );
}
