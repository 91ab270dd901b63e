//! Request heads.

use bytes::Bytes;
use pingora_http::RequestHeader;

use super::super::BodyLength::{Empty, Exact};
use super::super::*;

/// Body and persistence, or the status of the refusal.
pub(super) type Outcome = Result<(BodyLength, bool), u16>;

pub(super) fn parse(
    head: &[u8],
    rules: &RequestRules,
) -> Result<(RequestFacts, RequestHeader), Fault> {
    let mut into = RequestHeader::default();
    // The fields of an earlier request must not leak through.
    into.insert_header("X-Left-Over", "1").unwrap();
    let facts = parse_request(&Bytes::copy_from_slice(head), rules, &mut into)?;
    assert!(!into.headers.contains_key("x-left-over"));
    Ok((facts, into))
}

pub(super) fn check(rows: &[(&str, &[u8], Outcome)], rules: &RequestRules) {
    for (name, head, expected) in rows {
        let outcome = parse(head, rules)
            .map(|(facts, _)| (facts.body, facts.keep_alive))
            .map_err(|fault| fault.status());
        assert_eq!(outcome, *expected, "{name}");
    }
}

#[test]
#[rustfmt::skip]
fn the_request_line() {
    let ok: Outcome = Ok((Empty, true));
    let rows: &[(&str, &[u8], Outcome)] = &[
        ("the least", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", ok),
        ("method of ours", b"PURGE /x HTTP/1.1\r\nHost: a\r\n\r\n", ok),
        ("lower-case method is another", b"get / HTTP/1.1\r\nHost: a\r\n\r\n", ok),
        ("method of odd tokens", b"M!#$%&'*+-.^_`|~ / HTTP/1.1\r\nHost: a\r\n\r\n", ok),
        ("no method", b" / HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("method with a colon", b"GE:T / HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("method with NUL", b"GE\0T / HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("empty target", b"GET  HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("two spaces before", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("two spaces behind", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("tab for a space", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("space in the target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("tab in the target", b"GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("NUL in the target", b"GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("DEL in the target", b"GET /a\x7fb HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("escape in the target", b"GET /\x1b HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("CR in the target", b"GET /a\rb HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("fragment in the target", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("non-UTF-8 and a space", b"GET /\xff b HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("non-UTF-8 and a control", b"GET /\xff\x01 HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("non-UTF-8 and #", b"GET /\xff# HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("non-UTF-8, bare LF", b"GET /\xff HTTP/1.1\nHost: a\r\n\r\n", Err(400)),
        ("non-UTF-8, bare LF later", b"GET /\xff HTTP/1.1\r\nHost: a\nB: c\r\n\r\n", Err(400)),
        ("non-UTF-8, wrong version", b"GET /\xff HTTP/2.0\r\nHost: a\r\n\r\n", Err(505)),
        ("non-UTF-8, bad method", b"G\xffT /\xff HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("non-UTF-8", b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n", ok),
        ("UTF-8", "GET /\u{e4}?\u{20ac} HTTP/1.1\r\nHost: a\r\n\r\n".as_bytes(), ok),
        ("characters that no URI has", b"GET /<>\"{}|\\^` HTTP/1.1\r\nHost: a\r\n\r\n", ok),
        ("two slashes", b"GET //x/y HTTP/1.1\r\nHost: a\r\n\r\n", ok),
        ("bad percent", b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", ok),
        ("no slash", b"GET x HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("query only", b"GET ?q HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("asterisk", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", ok),
        ("asterisk of another method", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("asterisk and more", b"OPTIONS *a HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("no version", b"GET /\r\nHost: a\r\n\r\n", Err(400)),
        ("HTTP/0.9", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", Err(505)),
        ("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", Err(505)),
        ("HTTP/2.0", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", Err(505)),
        ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\n", Err(505)),
        ("HTTP/11", b"GET / HTTP/11\r\nHost: a\r\n\r\n", Err(400)),
        ("HTTP/1.10", b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", Err(400)),
        ("lower-case version", b"GET / http/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("another protocol", b"GET / ICAP/1.0\r\nHost: a\r\n\r\n", Err(400)),
        ("space behind the version", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Err(400)),
        ("LF behind the version", b"GET / HTTP/1.1\nHost: a\r\n\r\n", Err(400)),
        ("LF behind a field", b"GET / HTTP/1.1\r\nHost: a\nB: c\r\n\r\n", Err(400)),
        ("LF behind the last field", b"GET / HTTP/1.1\r\nHost: a\n\r\n\r\n", Err(400)),
        ("LF before the empty line", b"GET / HTTP/1.1\r\nHost: a\n\r\n", Err(400)),
        ("LF for the empty line", b"GET / HTTP/1.1\r\nHost: a\r\n\n\r\n\r\n", Err(400)),
        ("CR behind the version", b"GET / HTTP/1.1\rHost: a\r\n\r\n", Err(400)),
        ("CRLF in front", b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("LF in front", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("nothing", b"", Err(400)),
        ("an empty line", b"\r\n", Err(400)),
    ];
    check(rows, &RequestRules::default());
}

#[test]
#[rustfmt::skip]
fn field_lines() {
    let ok: Outcome = Ok((Empty, true));
    let rows: &[(&str, &[u8], Outcome)] = &[
        ("no space behind the colon", b"GET / HTTP/1.1\r\nHost:a\r\n\r\n", ok),
        ("much space", b"GET / HTTP/1.1\r\nHost: \t a \t \r\n\r\n", ok),
        ("empty value", b"GET / HTTP/1.1\r\nHost: a\r\nA:\r\nB: \r\n\r\n", ok),
        ("bytes over 127", b"GET / HTTP/1.1\r\nHost: a\r\nA: \xe4\xff\r\n\r\n", ok),
        ("tab within", b"GET / HTTP/1.1\r\nHost: a\r\nA: b\tc\r\n\r\n", ok),
        ("odd name", b"GET / HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^_`|~09: b\r\n\r\n", ok),
        ("colons in the value", b"GET / HTTP/1.1\r\nHost: a\r\nA: b:c::\r\n\r\n", ok),
        ("space before the colon", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", Err(400)),
        ("tab before the colon", b"GET / HTTP/1.1\r\nHost: a\r\nA\t: b\r\n\r\n", Err(400)),
        ("space within a name", b"GET / HTTP/1.1\r\nHost: a\r\nA b: c\r\n\r\n", Err(400)),
        ("no name", b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", Err(400)),
        ("no colon", b"GET / HTTP/1.1\r\nHost: a\r\nAbc\r\n\r\n", Err(400)),
        ("pseudo field", b"GET / HTTP/1.1\r\nHost: a\r\n:path: /b\r\n\r\n", Err(400)),
        ("name over 127", b"GET / HTTP/1.1\r\nHost: a\r\n\xe4: b\r\n\r\n", Err(400)),
        ("NUL in a name", b"GET / HTTP/1.1\r\nHost: a\r\nA\0: b\r\n\r\n", Err(400)),
        ("slash in a name", b"GET / HTTP/1.1\r\nHost: a\r\nA/B: b\r\n\r\n", Err(400)),
        ("quote in a name", b"GET / HTTP/1.1\r\nHost: a\r\n\"A\": b\r\n\r\n", Err(400)),
        ("NUL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nA: b\0c\r\n\r\n", Err(400)),
        ("bell in a value", b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x07c\r\n\r\n", Err(400)),
        ("DEL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x7fc\r\n\r\n", Err(400)),
        ("CR in a value", b"GET / HTTP/1.1\r\nHost: a\r\nA: b\rc\r\n\r\n", Err(400)),
        ("CR CR LF", b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\r\n\r\n", Err(400)),
        ("LF in a value", b"GET / HTTP/1.1\r\nHost: a\r\nA: b\nc\r\n\r\n", Err(400)),
        ("bare LF behind a field", b"GET / HTTP/1.1\r\nHost: a\nA: b\r\n\r\n", Err(400)),
        ("bare LF behind the last", b"GET / HTTP/1.1\r\nHost: a\n\r\n", Err(400)),
        ("bare LF behind an empty value", b"GET / HTTP/1.1\r\nHost: a\r\nA:\n\r\n", Err(400)),
        ("bare LF after a space", b"GET / HTTP/1.1\r\nHost: a\r\nA: \nB: c\r\n\r\n", Err(400)),
        ("bare LF at the end", b"GET / HTTP/1.1\r\nHost: a\r\n\n", Err(400)),
        ("bare LF everywhere", b"GET / HTTP/1.1\nHost: a\n\n", Err(400)),
        ("cut short", b"GET / HTTP/1.1\r\nHost: a\r\n", Err(400)),
        ("bytes behind the head", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nx", Err(400)),
        ("two heads", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nG / HTTP/1.1\r\n\r\n", Err(400)),
        ("folded", b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", Err(400)),
        ("folded with a tab", b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\tc\r\n\r\n", Err(400)),
        ("folded to nothing", b"GET / HTTP/1.1\r\nHost: a\r\nA:\r\n b\r\n\r\n", Err(400)),
        ("space before the first", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", Err(400)),
    ];
    check(rows, &RequestRules::default());
}

#[test]
#[rustfmt::skip]
fn hosts() {
    let ok: Outcome = Ok((Empty, true));
    let rows: &[(&str, &[u8], Outcome)] = &[
        ("name", b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n", ok),
        ("name and port", b"GET / HTTP/1.1\r\nHost: a-b.c_d:8080\r\n\r\n", ok),
        ("empty port", b"GET / HTTP/1.1\r\nHost: a:\r\n\r\n", ok),
        ("IPv4", b"GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n", ok),
        ("IPv6", b"GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n", ok),
        ("IPv6 and port", b"GET / HTTP/1.1\r\nHost: [2001:db8::7]:443\r\n\r\n", ok),
        ("percent-encoded", b"GET / HTTP/1.1\r\nHost: a%20b\r\n\r\n", ok),
        ("none", b"GET / HTTP/1.1\r\n\r\n", Err(400)),
        ("none but others", b"GET / HTTP/1.1\r\nHosts: a\r\n\r\n", Err(400)),
        ("two", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Err(400)),
        ("two equal ones", b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", Err(400)),
        ("two in one", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", Err(400)),
        ("two without a space", b"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", Err(400)),
        ("empty", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", Err(400)),
        ("port alone", b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", Err(400)),
        ("user", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", Err(400)),
        ("path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Err(400)),
        ("query", b"GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", Err(400)),
        ("fragment", b"GET / HTTP/1.1\r\nHost: a#b\r\n\r\n", Err(400)),
        ("scheme", b"GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", Err(400)),
        ("backslash", b"GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n", Err(400)),
        ("space", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Err(400)),
        ("over 127", b"GET / HTTP/1.1\r\nHost: \xe4\r\n\r\n", Err(400)),
        ("bad percent", b"GET / HTTP/1.1\r\nHost: a%2\r\n\r\n", Err(400)),
        ("port not a number", b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", Err(400)),
        ("port with a sign", b"GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n", Err(400)),
        ("port too large", b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", Err(400)),
        ("two ports", b"GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", Err(400)),
        ("IPv6 without brackets", b"GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", Err(400)),
        ("open bracket", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", Err(400)),
        ("IPv4 in brackets", b"GET / HTTP/1.1\r\nHost: [127.0.0.1]\r\n\r\n", Err(400)),
        ("zone", b"GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n", Err(400)),
        ("IPv6 and junk", b"GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", Err(400)),
        ("1.0 without", b"GET / HTTP/1.0\r\n\r\n", Ok((Empty, false))),
        ("1.0 with", b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", Ok((Empty, false))),
        ("1.0 with two", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", Err(400)),
        ("absolute without Host", b"GET http://a/ HTTP/1.1\r\n\r\n", Err(400)),
        ("absolute, bad Host", b"GET http://a/ HTTP/1.1\r\nHost: b/c\r\n\r\n", Err(400)),
        ("absolute, user", b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("absolute, no host", b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("absolute, bad port", b"GET http://a:b/ HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("absolute, one slash", b"GET http:/a/ HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("absolute, other scheme", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("absolute, fragment", b"GET http://a/#b HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("authority-form", b"GET a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", Err(400)),
        ("CONNECT", b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", Err(405)),
    ];
    check(rows, &RequestRules::default());
}

#[test]
fn the_authority_of_the_target_wins() {
    // Request line, then Host and target as they are forwarded.
    let rows = [
        ("GET / HTTP/1.1", "other", "/", None),
        ("GET http://a/ HTTP/1.1", "a", "/", Some("a")),
        ("GET http://a:80/b?c HTTP/1.1", "a:80", "/b?c", Some("a:80")),
        ("GET HTTPS://[::1]/b HTTP/1.1", "[::1]", "/b", Some("[::1]")),
        ("GET http://a HTTP/1.1", "a", "/", Some("a")),
        ("GET http://a?b HTTP/1.1", "a", "/?b", Some("a")),
        ("OPTIONS http://a HTTP/1.1", "a", "*", Some("a")),
        ("OPTIONS http://a/ HTTP/1.1", "a", "/", Some("a")),
        ("OPTIONS http://a?b HTTP/1.1", "a", "/?b", Some("a")),
        ("GET http://a/<> HTTP/1.1", "a", "/<>", Some("a")),
        ("CONNECT a:443 HTTP/1.1", "a:443", "a:443", Some("a:443")),
    ];
    let rules = RequestRules {
        allow_connect: true,
        ..RequestRules::default()
    };
    for (line, host, target, authority) in rows {
        let head = format!("{line}\r\nX-A: 1\r\nHost: other\r\nX-B: 2\r\n\r\n");
        let (_, request) = parse(head.as_bytes(), &rules).unwrap();
        assert_eq!(request.headers["host"], host, "{line}");
        assert_eq!(request.raw_path(), target.as_bytes(), "{line}");
        let found = request.uri.authority().map(|a| a.as_str());
        assert_eq!(found, authority, "{line}");
        assert_eq!(request.headers.len(), 3);
    }
    let old = b"GET http://a:8/b HTTP/1.0\r\n\r\n";
    let (_, request) = parse(old, &rules).unwrap();
    assert_eq!(request.headers["host"], "a:8");
}

#[test]
#[rustfmt::skip]
fn connect_when_it_is_served() {
    let rules = RequestRules {
        allow_connect: true,
        ..RequestRules::default()
    };
    let ok: Outcome = Ok((Empty, true));
    let rows: &[(&str, &[u8], Outcome)] = &[
        ("name and port", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", ok),
        ("IPv6", b"CONNECT [::1]:443 HTTP/1.1\r\nHost: a\r\n\r\n", ok),
        ("no port", b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("empty port", b"CONNECT a: HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("path", b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("absolute", b"CONNECT http://a:1/ HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("user", b"CONNECT u@a:1 HTTP/1.1\r\nHost: a\r\n\r\n", Err(400)),
        ("length 0", b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", ok),
        ("length", b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", Err(400)),
        ("chunked", b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Err(400)),
    ];
    check(rows, &rules);
}

#[test]
fn folded_fields_when_they_are_allowed() {
    let rules = RequestRules {
        allow_obs_fold: true,
        ..RequestRules::default()
    };
    let rows = [
        ("none", "A: b\r\n", Ok("b")),
        ("space", "A: b\r\n c\r\n", Ok("b c")),
        ("tab", "A: b\r\n\tc\r\n", Ok("b c")),
        ("much space", "A: b \t\r\n \t  c\r\n", Ok("b c")),
        ("twice", "A: b\r\n c\r\n d\r\n", Ok("b c d")),
        ("after nothing", "A:\r\n b\r\n", Ok("b")),
        ("a line of space", "A: b\r\n \r\n", Ok("b")),
        ("looks like a field", "A: b\r\n C: d\r\n", Ok("b C: d")),
        ("after bare LF", "A: b\n c\r\n", Err(400)),
        ("bare LF behind it", "A: b\r\n c\n", Err(400)),
        ("length", "A: x\r\nContent-Length: 1\r\n 2\r\n", Err(400)),
    ];
    for (name, fields, expected) in rows {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let result = parse(head.as_bytes(), &rules);
        let value = result
            .as_ref()
            .map(|(_, request)| request.headers["a"].to_str().unwrap())
            .map_err(|fault| fault.status());
        assert_eq!(value, expected, "{name}");
    }
    let first = b"GET / HTTP/1.1\r\n Host: a\r\n\r\n";
    assert_eq!(parse(first, &rules).unwrap_err().status(), 400);
}

#[test]
#[rustfmt::skip]
fn limits() {
    let fields = |n: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "A: b\r\n".repeat(n - 1)
        )
    };
    let target = |n: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(n - 1));
    let bytes = |n: usize| {
        let empty = "GET / HTTP/1.1\r\nHost: a\r\nA: \r\n\r\n".len();
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n",
            "b".repeat(n - empty)
        )
    };
    let with = |head_bytes, fields, target_bytes| HeadLimits {
        head_bytes,
        fields,
        target_bytes,
    };
    let default = HeadLimits::default();
    let small = with(200, 5, 20);
    let large = with(1 << 20, 1000, 60_000);
    let rows = [
        ("fields", fields(128), default, Ok(())),
        ("one field more", fields(129), default, Err(431)),
        ("few fields", fields(5), small, Ok(())),
        ("one more than few", fields(6), small, Err(431)),
        ("many fields", fields(1000), large, Ok(())),
        ("one more than many", fields(1001), large, Err(431)),
        ("no fields at all", fields(1), with(200, 0, 20), Err(431)),
        ("target", target(16 * 1024), default, Ok(())),
        ("a byte more", target(16 * 1024 + 1), default, Err(414)),
        ("short target", target(20), small, Ok(())),
        ("a byte more than short", target(21), small, Err(414)),
        ("long target", target(60_000), large, Ok(())),
        ("target over any URI", target(66_000), with(1 << 20, 9, 1 << 20), Err(414)),
        ("head", bytes(64 * 1024), default, Ok(())),
        ("a byte more of head", bytes(64 * 1024 + 1), default, Err(431)),
        ("small head", bytes(200), small, Ok(())),
        ("a byte more than small", bytes(201), small, Err(431)),
    ];
    for (name, head, limits, expected) in rows {
        let rules = RequestRules {
            limits,
            ..RequestRules::default()
        };
        let parsed = parse(head.as_bytes(), &rules);
        let parsed = parsed.map(drop).map_err(|fault| fault.status());
        assert_eq!(parsed, expected, "{name}");
        // The scanner may be more lenient by the slack for the request line, but never stricter.
        let scanned = HeadScanner::default().find_end(head.as_bytes(), &limits);
        assert!(
            expected.is_err() || scanned == Ok(Some(head.len())),
            "{name}"
        );
    }
}

#[test]
fn values_and_long_paths_share_the_head() {
    let path = format!("/{}", "x".repeat(300));
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nsec-ch-ua: long value\r\n\r\n");
    let head = Bytes::from(head);
    let mut request = RequestHeader::default();
    parse_request(&head, &RequestRules::default(), &mut request).unwrap();
    let within = head.as_ptr_range();
    for value in request.headers.values() {
        assert!(within.contains(&value.as_bytes().as_ptr()));
    }
    assert!(within.contains(&request.uri.path().as_ptr()));
}

#[test]
fn what_the_next_hop_sees_is_unambiguous() {
    let head =
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\nX: 1\r\ncontent-length: 5\r\n\r\n";
    let (facts, request) = parse(head, &RequestRules::default()).unwrap();
    assert_eq!(facts.body, Exact(5));
    let lengths: Vec<_> = request.headers.get_all("content-length").iter().collect();
    assert_eq!(lengths, ["5"]);
}

#[test]
fn a_refused_request_can_be_shown() {
    let mut request = RequestHeader::default();
    let head = Bytes::from_static(b"GET /x HTTP/1.1\r\nA: b\r\nHost: a b\r\n\r\n");
    parse_request(&head, &RequestRules::default(), &mut request).unwrap_err();
    assert_eq!(request.raw_path(), b"/x");
    assert_eq!(request.headers["a"], "b");
}

#[test]
fn faults_speak() {
    let fault = parse(b"GET / HTTP/1.1\r\n\r\n", &RequestRules::default()).unwrap_err();
    assert_eq!(fault.status(), 400);
    assert_eq!(fault.to_string(), "no Host");
    assert_eq!(fault.of_response().status(), 502);
    assert_eq!(fault.of_response().reason(), fault.reason());
    assert!(size_of::<Fault>() <= 24);
}
