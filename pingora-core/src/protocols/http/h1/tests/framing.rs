//! How a request's fields declare its body and its connection.

use http::Version;

use super::super::BodyLength::{Chunked, Empty, Exact};
use super::super::*;
use super::request::{Outcome, check, parse};

/// `Content-Length` and `Transfer-Encoding` lines, and their results.
#[test]
#[rustfmt::skip]
fn framing() {
    let rows: &[(&str, &str, Outcome)] = &[
        ("none", "", Ok((Empty, true))),
        ("length", "Content-Length: 17\r\n", Ok((Exact(17), true))),
        ("length 0", "content-length: 0\r\n", Ok((Exact(0), true))),
        ("leading zeros", "Content-Length: 007\r\n", Ok((Exact(7), true))),
        ("two equal", "Content-Length: 5\r\ncontent-length: 5\r\n", Ok((Exact(5), true))),
        ("list of equals", "Content-Length: 5, 5 ,5\r\n", Ok((Exact(5), true))),
        ("two different", "Content-Length: 5\r\nContent-Length: 6\r\n", Err(400)),
        ("list of different", "Content-Length: 5, 6\r\n", Err(400)),
        ("equal but not the same", "Content-Length: 5, 05\r\n", Err(400)),
        ("list with a hole", "Content-Length: 5,,5\r\n", Err(400)),
        ("list with an end", "Content-Length: 5,\r\n", Err(400)),
        ("empty", "Content-Length:\r\n", Err(400)),
        ("plus", "Content-Length: +5\r\n", Err(400)),
        ("minus", "Content-Length: -5\r\n", Err(400)),
        ("space inside", "Content-Length: 5 5\r\n", Err(400)),
        ("hex", "Content-Length: 0x5\r\n", Err(400)),
        ("letters", "Content-Length: 5a\r\n", Err(400)),
        ("fraction", "Content-Length: 5.0\r\n", Err(400)),
        ("exponent", "Content-Length: 1e3\r\n", Err(400)),
        ("semicolon", "Content-Length: 5;a\r\n", Err(400)),
        ("quotes", "Content-Length: \"5\"\r\n", Err(400)),
        ("underscored", "Content-Length: 1_0\r\n", Err(400)),
        ("vertical tab", "Content-Length: \u{b}5\r\n", Err(400)),
        ("digits of other scripts", "Content-Length: \u{664}\r\n", Err(400)),
        ("the largest", "Content-Length: 9223372036854775807\r\n", Ok((Exact(i64::MAX as u64), true))),
        ("over 63 bits", "Content-Length: 9223372036854775808\r\n", Err(400)),
        ("over 64 bits", "Content-Length: 18446744073709551617\r\n", Err(400)),
        ("far over", "Content-Length: 99999999999999999999999999\r\n", Err(400)),
        ("chunked", "Transfer-Encoding: chunked\r\n", Ok((Chunked, true))),
        ("ChUnKeD", "transfer-encoding: ChUnKeD \r\n", Ok((Chunked, true))),
        ("both", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Err(400)),
        ("both, other order", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Err(400)),
        ("both, length 0", "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", Err(400)),
        ("chunked twice", "Transfer-Encoding: chunked, chunked\r\n", Err(400)),
        ("chunked on two lines", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Err(400)),
        ("gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n", Err(501)),
        ("chunked, gzip", "Transfer-Encoding: chunked, gzip\r\n", Err(400)),
        ("gzip", "Transfer-Encoding: gzip\r\n", Err(501)),
        ("gzip, chunked, gzip", "Transfer-Encoding: gzip, chunked, gzip\r\n", Err(400)),
        ("gzip and chunked on two lines", "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", Err(501)),
        ("chunked and identity on two lines", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", Err(400)),
        ("identity", "Transfer-Encoding: identity\r\n", Err(501)),
        ("xchunked", "Transfer-Encoding: xchunked\r\n", Err(501)),
        ("empty coding", "Transfer-Encoding:\r\n", Err(400)),
        ("list with a hole in front", "Transfer-Encoding: , chunked\r\n", Err(400)),
        ("list with a hole behind", "Transfer-Encoding: chunked,\r\n", Err(400)),
        ("parameter", "Transfer-Encoding: chunked;q=1\r\n", Err(400)),
        ("quoted", "Transfer-Encoding: \"chunked\"\r\n", Err(400)),
        ("two words", "Transfer-Encoding: chunked chunked\r\n", Err(400)),
        ("space in the name", "Transfer-Encoding : chunked\r\n", Err(400)),
        ("vertical tab before", "Transfer-Encoding: \u{b}chunked\r\n", Err(400)),
        ("a name that is alike", "Transfer_Encoding: chunked\r\n", Ok((Empty, true))),
        ("a name that is alike too", "Content_Length: 5\r\n", Ok((Empty, true))),
    ];
    for (name, fields, expected) in rows {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        check(
            &[(name, head.as_bytes(), *expected)],
            &RequestRules::default(),
        );
        let old = format!("POST / HTTP/1.0\r\n{fields}\r\n");
        let expected = match expected {
            Ok((Chunked, _)) | Err(501) => Err(400),
            Ok((body, _)) => Ok((*body, false)),
            refused => *refused,
        };
        check(
            &[(name, old.as_bytes(), expected)],
            &RequestRules::default(),
        );
    }
}

#[test]
#[rustfmt::skip]
fn persistence() {
    let rows: &[(&str, &str, &str, bool)] = &[
        ("1.1", "1.1", "", true),
        ("1.1 close", "1.1", "Connection: close\r\n", false),
        ("1.1 CLOSE", "1.1", "connection: CLOSE\r\n", false),
        ("1.1 keep-alive", "1.1", "Connection: keep-alive\r\n", true),
        ("1.1 both", "1.1", "Connection: keep-alive, close\r\n", false),
        ("1.1 on two lines", "1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("1.1 in a list with holes", "1.1", "Connection: ,, close ,\r\n", false),
        ("1.1 not quite", "1.1", "Connection: closed\r\n", true),
        ("1.1 another field", "1.1", "Proxy-Connection: close\r\n", true),
        ("1.0", "1.0", "", false),
        ("1.0 keep-alive", "1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0 both", "1.0", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("1.0 other", "1.0", "Connection: te\r\n", false),
    ];
    for (name, version, fields, expected) in rows {
        let head = format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        let (facts, request) = parse(head.as_bytes(), &RequestRules::default()).unwrap();
        assert_eq!(facts.keep_alive, *expected, "{name}");
        let values = request.headers.get_all("connection");
        let values = values.iter().map(|value| value.as_bytes());
        assert_eq!(keep_alive(request.version, values), *expected, "{name}");
    }
    assert!(keep_alive(Version::HTTP_2, std::iter::empty()));
    assert!(!keep_alive(Version::HTTP_09, std::iter::empty()));
}

#[test]
#[rustfmt::skip]
fn expectations() {
    let body = "Content-Length: 5\r\n";
    let rows: &[(&str, &str, String, bool)] = &[
        ("with a length", "1.1", format!("Expect: 100-continue\r\n{body}"), true),
        ("any case", "1.1", format!("expect: 100-Continue\r\n{body}"), true),
        ("chunked", "1.1", "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n".into(), true),
        ("none", "1.1", body.into(), false),
        ("without a body", "1.1", "Expect: 100-continue\r\n".into(), false),
        ("an empty body", "1.1", "Expect: 100-continue\r\nContent-Length: 0\r\n".into(), false),
        ("1.0", "1.0", format!("Expect: 100-continue\r\n{body}"), false),
        ("another one", "1.1", format!("Expect: 200-ok\r\n{body}"), false),
    ];
    for (name, version, fields, expected) in rows {
        let head = format!("POST / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        let (facts, _) = parse(head.as_bytes(), &RequestRules::default()).unwrap();
        assert_eq!(facts.expects_continue, *expected, "{name}");
    }
}

#[test]
#[rustfmt::skip]
fn upgrades() {
    let both = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let rows: &[(&str, &str, String, bool)] = &[
        ("websocket", "GET 1.1", both.into(), true),
        ("list of options", "GET 1.1", "Connection: a, upgrade\r\nUpgrade: b/2\r\n".into(), true),
        ("list of protocols", "GET 1.1", "Connection: upgrade\r\nUpgrade: a/1, b\r\n".into(), true),
        ("no option", "GET 1.1", "Upgrade: websocket\r\n".into(), false),
        ("no field", "GET 1.1", "Connection: upgrade\r\n".into(), false),
        ("empty field", "GET 1.1", "Connection: upgrade\r\nUpgrade:\r\n".into(), false),
        ("malformed", "GET 1.1", "Connection: upgrade\r\nUpgrade: a b\r\n".into(), false),
        ("malformed version", "GET 1.1", "Connection: upgrade\r\nUpgrade: a/\r\n".into(), false),
        ("one malformed", "GET 1.1", format!("{both}Upgrade: /\r\n"), false),
        ("POST", "POST 1.1", both.into(), true),
        ("1.0", "GET 1.0", both.into(), false),
        ("with a body", "GET 1.1", format!("{both}Content-Length: 1\r\n"), true),
        ("chunked", "GET 1.1", format!("{both}Transfer-Encoding: chunked\r\n"), true),
        ("with an empty body", "GET 1.1", format!("{both}Content-Length: 0\r\n"), true),
    ];
    for (name, kind, fields, expected) in rows {
        let (method, version) = kind.split_once(' ').unwrap();
        let head = format!("{method} / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        let (facts, _) = parse(head.as_bytes(), &RequestRules::default()).unwrap();
        assert_eq!(facts.upgrade, *expected, "{name}");
    }
}
