//! The heads that we send.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Version};
use pingora_http::{RequestHeader, ResponseHeader};

use super::super::BodyLength::{Chunked, Empty, Exact, UntilClose};
use super::super::*;

#[test]
fn requests_are_sent_as_they_came() {
    let rows: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PURGE /a?b=c HTTP/1.1\r\nhost: a\r\nACCEPT: */*\r\nsec-ch-ua: x\r\nDNT: 1\r\n\r\n",
        b"GET /\xff<> HTTP/1.1\r\nHost: a\r\nX: \xe4\xff\r\nY: \r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTe: trailers\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nx-a: 1\r\nX-A: 2\r\nX-a: 3\r\nB: c\r\n\r\n",
    ];
    let mut request = RequestHeader::default();
    for head in rows {
        let name = String::from_utf8_lossy(head);
        let rules = RequestRules::default();
        parse_request(&Bytes::copy_from_slice(head), &rules, &mut request).expect(&name);
        let mut out = b"before".to_vec();
        encode_request(&request, &mut out);
        assert_eq!(out.strip_prefix(b"before").unwrap(), *head, "{name}");
        let mut copy = RequestHeader::default();
        copy.assign_from(&request);
        out.clear();
        encode_request(&copy, &mut out);
        assert_eq!(out, *head, "{name}");
    }
}

#[test]
fn responses_are_sent_as_they_came() {
    let rows: &[&[u8]] = &[
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.0 404 Not Found\r\n\r\n",
        b"HTTP/1.1 200 Fine\r\nETag: \"a\"\r\nwww-authenticate: b\r\n\r\n",
        b"HTTP/1.1 999 \r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\n",
        b"HTTP/1.1 200 \r\nA: \xe4\r\n\r\n",
    ];
    let mut response = ResponseHeader::default();
    for head in rows {
        let name = String::from_utf8_lossy(head);
        let context = ResponseContext::default();
        let head_bytes = Bytes::copy_from_slice(head);
        parse_response(&head_bytes, &HeadLimits::default(), context, &mut response).expect(&name);
        let mut out = Vec::new();
        encode_response(&response, &mut out);
        assert_eq!(out, *head, "{name}");
    }
}

#[test]
fn any_other_version_is_sent_as_1_1() {
    let mut request = RequestHeader::build_no_case("GET", b"/", None).unwrap();
    request.set_version(Version::HTTP_2);
    request.insert_header("x-trace", "1").unwrap();
    let mut out = Vec::new();
    encode_request(&request, &mut out);
    assert_eq!(out, b"GET / HTTP/1.1\r\nX-Trace: 1\r\n\r\n");
    let mut response = ResponseHeader::build(599, None).unwrap();
    response.set_version(Version::HTTP_2);
    out.clear();
    encode_response(&response, &mut out);
    assert_eq!(out, b"HTTP/1.1 599 \r\n\r\n");
}

type Fields = &'static [(&'static str, &'static str)];

#[test]
#[rustfmt::skip]
fn lengths_of_outgoing_requests() {
    let rows: &[(&str, &str, Fields, Result<BodyLength, u16>)] = &[
        ("none", "GET 1.1", &[], Ok(Empty)),
        ("none of POST", "POST 1.1", &[], Ok(Empty)),
        ("length", "POST 1.1", &[("Content-Length", "5")], Ok(Exact(5))),
        ("length of 1.0", "POST 1.0", &[("Content-Length", "5")], Ok(Exact(5))),
        ("chunked", "POST 1.1", &[("Transfer-Encoding", "Chunked")], Ok(Chunked)),
        ("chunked of 1.0", "POST 1.0", &[("Transfer-Encoding", "chunked")], Err(500)),
        ("gzip", "POST 1.1", &[("Transfer-Encoding", "gzip, chunked")], Err(500)),
        ("both", "POST 1.1", &[("Transfer-Encoding", "chunked"), ("Content-Length", "5")], Err(500)),
        ("bad length", "POST 1.1", &[("Content-Length", "five")], Err(500)),
        ("two lengths", "POST 1.1", &[("Content-Length", "5"), ("Content-Length", "6")], Err(500)),
        ("two equal lengths", "POST 1.1", &[("Content-Length", "5"), ("Content-Length", "5")], Ok(Exact(5))),
        ("CONNECT", "CONNECT 1.1", &[], Ok(Empty)),
        ("CONNECT with a body", "CONNECT 1.1", &[("Content-Length", "5")], Err(500)),
    ];
    for (name, kind, fields, expected) in rows {
        let (method, version) = kind.split_once(' ').unwrap();
        let mut request = RequestHeader::build(method, b"/", None).unwrap();
        if version == "1.0" {
            request.set_version(Version::HTTP_10);
        }
        for (field, value) in *fields {
            request.append_header(*field, *value).unwrap();
        }
        let found = outgoing_request_length(&request).map_err(|fault| fault.status());
        assert_eq!(found, *expected, "{name}");
    }
}

#[test]
#[rustfmt::skip]
fn lengths_of_outgoing_responses() {
    let chunked: Fields = &[("Transfer-Encoding", "chunked")];
    let length: Fields = &[("Content-Length", "5")];
    let both: Fields = &[("Transfer-Encoding", "chunked"), ("Content-Length", "5")];
    // Status, fields, answers a HEAD, peer of HTTP/1.0.
    let rows: &[(u16, Fields, bool, bool, Result<BodyLength, u16>)] = &[
        (200, &[], false, false, Ok(UntilClose)),
        (200, length, false, false, Ok(Exact(5))),
        (200, length, false, true, Ok(Exact(5))),
        (200, length, true, false, Ok(Empty)),
        (200, chunked, false, false, Ok(Chunked)),
        (200, chunked, false, true, Ok(UntilClose)),
        (200, chunked, true, false, Ok(Empty)),
        (200, both, false, false, Err(500)),
        (200, &[("Content-Length", "-1")], false, false, Err(500)),
        (200, &[("Transfer-Encoding", "gzip")], false, false, Err(500)),
        (204, length, false, false, Ok(Empty)),
        (304, length, false, false, Ok(Empty)),
        (304, chunked, false, false, Ok(Empty)),
        (100, &[], false, false, Ok(Empty)),
        (101, &[], false, false, Ok(Empty)),
        (103, &[], false, false, Ok(Empty)),
    ];
    for (status, fields, head, http10, expected) in rows {
        let mut response = ResponseHeader::build(*status, None).unwrap();
        for (field, value) in *fields {
            response.append_header(*field, *value).unwrap();
        }
        let found = outgoing_response_length(&response, *head, *http10);
        let found = found.map_err(|fault| fault.status());
        assert_eq!(found, *expected, "{status} {fields:?} {head} {http10}");
    }
}

/// Sends `pieces`, then the end.
fn send(
    length: BodyLength,
    pieces: &[&[u8]],
    trailers: Option<&HeaderMap>,
) -> Result<Vec<u8>, Fault> {
    let mut encoder = BodyEncoder::new(length);
    let mut out = Vec::new();
    for piece in pieces {
        if encoder.before(piece.len(), &mut out)? {
            out.extend_from_slice(piece);
            encoder.after(&mut out);
        }
    }
    encoder.finish(trailers, &mut out)?;
    assert!(encoder.is_done());
    let sent = out.len();
    encoder.finish(trailers, &mut out)?;
    assert_eq!(sent, out.len());
    let more = encoder.before(1, &mut out);
    assert!(more.is_err() || length == Empty);
    Ok(out)
}

#[test]
#[rustfmt::skip]
fn bodies_are_framed() {
    let big = [b'x'; 0x1234];
    let big_sent = [b"1234\r\n".as_slice(), &big, b"\r\n0\r\n\r\n"].concat();
    let rows: &[(BodyLength, &[&[u8]], Option<&[u8]>)] = &[
        (Chunked, &[b"abc"], Some(b"3\r\nabc\r\n0\r\n\r\n")),
        (Chunked, &[b"0123456789", b"", b"x"], Some(b"a\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n")),
        (Chunked, &[b"0123456789abcdef"], Some(b"10\r\n0123456789abcdef\r\n0\r\n\r\n")),
        (Chunked, &[&big], Some(&big_sent)),
        (Chunked, &[], Some(b"0\r\n\r\n")),
        (Exact(3), &[b"a", b"bc"], Some(b"abc")),
        (Exact(0), &[], Some(b"")),
        (Exact(0), &[b""], Some(b"")),
        (Exact(3), &[b"ab"], None),
        (Exact(3), &[b"abcd"], None),
        (Exact(3), &[b"ab", b"cd"], None),
        (UntilClose, &[b"a", b"", b"b"], Some(b"ab")),
        (Empty, &[b"swallowed"], Some(b"")),
    ];
    for (length, pieces, expected) in rows {
        let sent = send(*length, pieces, None);
        assert_eq!(
            sent.ok().as_deref(),
            *expected,
            "{length:?} {}",
            pieces.len()
        );
    }
}

#[test]
fn trailers_are_sent_where_they_can_be() {
    let mut trailers = HeaderMap::new();
    trailers.append("x-sum", HeaderValue::from_static("1"));
    trailers.append("content-length", HeaderValue::from_static("5"));
    trailers.append("x-sum", HeaderValue::from_static("2"));
    let sent = send(Chunked, &[b"a"], Some(&trailers)).unwrap();
    assert_eq!(sent, b"1\r\na\r\n0\r\nx-sum: 1\r\nx-sum: 2\r\n\r\n");
    assert_eq!(send(Exact(1), &[b"a"], Some(&trailers)).unwrap(), b"a");
    assert_eq!(send(UntilClose, &[b"a"], Some(&trailers)).unwrap(), b"a");
}

#[test]
fn an_encoder_says_when_it_is_done() {
    let mut out = Vec::new();
    assert!(BodyEncoder::new(Empty).is_done());
    assert!(BodyEncoder::new(Exact(0)).is_done());
    let mut exact = BodyEncoder::new(Exact(2));
    assert!(!exact.is_done());
    assert!(exact.before(2, &mut out).unwrap());
    assert!(exact.is_done());
    assert_eq!(exact.before(1, &mut out).unwrap_err().status(), 500);
    for length in [Chunked, UntilClose] {
        let mut encoder = BodyEncoder::new(length);
        assert!(!encoder.is_done());
        encoder.finish(None, &mut out).unwrap();
        assert!(encoder.is_done());
    }
}

#[test]
fn payload_may_be_sent_unseen() {
    // The amounts sent unseen, the room left afterwards (or the refusal), and whether the body may
    // end.
    type Row = (BodyLength, &'static [u64], Result<Option<u64>, u16>, bool);
    let rows: &[Row] = &[
        (Exact(10), &[], Ok(Some(10)), false),
        (Exact(10), &[4, 5], Ok(Some(1)), false),
        (Exact(10), &[4, 6], Ok(Some(0)), true),
        (Exact(10), &[11], Err(500), false),
        (Exact(10), &[10, 1], Err(500), true),
        (UntilClose, &[u64::MAX, 1], Ok(None), true),
        (Chunked, &[0], Ok(Some(0)), true),
        (Chunked, &[1], Err(500), true),
        (Empty, &[1], Err(500), true),
    ];
    for (length, unseen, expected, may_end) in rows {
        let mut encoder = BodyEncoder::new(*length);
        let sent: Result<(), Fault> = unseen.iter().try_for_each(|n| encoder.advance(*n));
        let room = sent
            .map(|()| encoder.room())
            .map_err(|fault| fault.status());
        assert_eq!(room, *expected, "{length:?} {unseen:?}");
        let end = encoder.finish(None, &mut Vec::new());
        assert_eq!(end.is_ok(), *may_end, "{length:?} {unseen:?}");
        if end.is_ok() {
            assert_eq!(encoder.room(), Some(0), "nothing follows the end");
        }
    }
}

/// RFC 9110 section 8.6: a server that expects content may wait for it, or demand a length.
#[test]
fn only_methods_that_anticipate_content_are_told_that_there_is_none() {
    let rows: &[(&str, Fields, bool)] = &[
        ("POST", &[], true),
        ("PUT", &[], true),
        ("PATCH", &[], true),
        ("POST", &[("Content-Length", "0")], false),
        ("POST", &[("Content-Length", "5")], false),
        ("POST", &[("Transfer-Encoding", "chunked")], false),
        ("GET", &[], false),
        ("HEAD", &[], false),
        ("DELETE", &[], false),
        ("OPTIONS", &[], false),
        ("CONNECT", &[], false),
        ("PROPFIND", &[], false),
        ("post", &[], false),
    ];
    for (method, fields, lacks) in rows {
        let mut request = RequestHeader::build(*method, b"/", None).unwrap();
        for (field, value) in *fields {
            request.append_header(*field, *value).unwrap();
        }
        let found = outgoing_request(&request).unwrap();
        assert_eq!(found.lacks_length, *lacks, "{method} {fields:?}");
    }
}

#[test]
fn a_date_is_seen_in_any_spelling() {
    for (name, lacks) in [
        ("Date", false),
        ("date", false),
        ("DATE", false),
        ("Data", true),
    ] {
        let mut response = ResponseHeader::build(200, None).unwrap();
        response.append_header(name, "x").unwrap();
        let found = outgoing_response(&response, false, false).unwrap();
        assert_eq!(found.lacks_date, lacks, "{name}");
        let head = format!("HTTP/1.1 200 OK\r\n{name}: x\r\n\r\n");
        let mut parsed = ResponseHeader::default();
        let context = ResponseContext::default();
        parse_response(&head.into(), &HeadLimits::default(), context, &mut parsed).unwrap();
        let lacks_date = |response: &ResponseHeader| {
            let found = outgoing_response(response, false, false).unwrap();
            found.lacks_date
        };
        assert_eq!(lacks_date(&parsed), lacks, "{name}");
        let mut copy = ResponseHeader::default();
        copy.assign_from(&parsed);
        assert_eq!(lacks_date(&copy), lacks, "{name}, copied");
        copy.remove_header("connection");
        assert_eq!(lacks_date(&copy), lacks, "{name}, in a map");
        copy.remove_header(name);
        assert!(lacks_date(&copy), "{name}, removed");
        parsed.insert_header("date", "y").unwrap();
        assert!(!lacks_date(&parsed), "{name}, added");
        let mut wire = Vec::new();
        encode_response(&parsed, &mut wire);
        let text = String::from_utf8(wire).unwrap().to_lowercase();
        assert_eq!(text.matches("\r\ndate: y\r\n").count(), 1, "{text}");
        assert_eq!(text.matches("\r\ndate:").count(), 1, "{text}");
        parsed.reset();
        assert!(lacks_date(&parsed), "{name}, made new");
    }
}

/// RFC 9110 section 7.6.1: the fields that `Connection` names are for one hop, wherever in the
/// message they are.
#[test]
fn trailers_that_connection_names_are_dropped() {
    // Values of Connection, trailers, remaining trailers.
    let rows: &[(&[&str], &[&str], &[&str])] = &[
        (&[], &["x-a"], &["x-a"]),
        (&["keep-alive"], &["x-a"], &["x-a"]),
        (&["close, X-A"], &["x-a", "x-b"], &["x-b"]),
        (&["x-a", "te, x-b"], &["x-a", "x-b", "x-c"], &["x-c"]),
        (&["x-a"], &["x_a", "x-ab"], &["x-ab"]),
        (&["x_a"], &["x-a"], &[]),
        (&["close"], &["close"], &["close"]),
    ];
    for (options, names, left) in rows {
        let fields = options.iter().map(|value| value.as_bytes());
        let nominated = Nominated::by(|f| {
            fields.for_each(|value| f(pingora_http::ControlField::Connection, value));
        });
        let mut trailers = HeaderMap::new();
        for name in *names {
            trailers.append(*name, HeaderValue::from_static("1"));
            trailers.append(*name, HeaderValue::from_static("2"));
        }
        let found = nominated.without(Box::new(trailers));
        let found: Vec<_> = found.iter().flat_map(|kept| kept.keys()).collect();
        assert_eq!(found, *left, "{options:?} {names:?}");
    }
}
