//! The fields of a head, converted from one version to the other.

use super::{PAIRS, behind_a_proxy, named};
use pingora_tests::http2::RawHttp2;
use pingora_tests::http2::frames::{self, Frame};
use pingora_tests::{Ask, Message, Origin, Version};

/// The authority that the origin received, in any version.
fn authority_of(request: &Message, version: Version) -> Vec<String> {
    let name = match version {
        Version::H1 => "Host",
        Version::H2 => ":authority",
    };
    request
        .headers(name)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[tokio::test]
async fn the_authority_arrives_once_and_in_its_place() {
    for (down, up) in PAIRS {
        let (origin, proxy) = behind_a_proxy(up).await;
        let what = format!("{down:?} to {up:?}");
        for authority in ["a.example", "a.example:8080", "[::1]:80", "127.0.0.1"] {
            let mut ask = Ask::get("/path?q=1&r=%20");
            ask.authority = authority.to_string();
            let answer = ask.answered_over(down, proxy.address()).await;
            assert_eq!(answer.text(), "/path?q=1&r=%20", "{what} {authority}");
            let seen = origin.last_request();
            assert_eq!(authority_of(&seen, up), [authority], "{what}");
            if up == Version::H2 {
                assert_eq!(seen.headers("host").len(), 0, "{what}: {seen:?}");
                assert_eq!(seen.header(":scheme"), Some("http"), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn cookies_are_one_field_towards_http_1_and_whole_towards_http_2() {
    for up in [Version::H1, Version::H2] {
        let (origin, proxy) = behind_a_proxy(up).await;
        let ask = Ask::get("/").with("cookie", "a=1").with("x", "y");
        let ask = ask.with("cookie", "b=2").with("cookie", "c=3; d=4");
        let answer = ask.answered_over(Version::H2, proxy.address()).await;
        assert_eq!(answer.status(), 200);
        let seen = origin.last_request();
        let cookies = seen.headers("cookie");
        assert_eq!(cookies.join("; "), "a=1; b=2; c=3; d=4", "{up:?}");
        assert!(up == Version::H2 || cookies.len() == 1, "{cookies:?}");
    }
}

#[tokio::test]
async fn only_the_wish_for_trailers_is_passed_on() {
    for (down, up) in PAIRS {
        let (origin, proxy) = behind_a_proxy(up).await;
        let what = format!("{down:?} to {up:?}");
        let ask = Ask::get("/").with("te", "trailers");
        let answer = ask.answered_over(down, proxy.address()).await;
        assert_eq!(answer.status(), 200, "{what}");
        let seen = origin.last_request();
        match (down, up) {
            // A gRPC client declares this, and an origin may insist on it.
            (Version::H2, Version::H2) => {
                assert_eq!(seen.headers("te"), ["trailers"], "{what}");
            }
            _ => assert!(seen.headers("te").len() <= 1, "{what}: {seen:?}"),
        }
        let ask = Ask::get("/").with("te", "gzip, trailers;q=0.5");
        let answer = ask.answered_over(down, proxy.address()).await;
        // Over HTTP/2 it is malformed (RFC 9113 section 8.2.2).
        if answer.status() == 200 {
            assert_eq!(down, Version::H1, "{what}");
            let seen = origin.last_request();
            let others = seen.headers("te").iter().any(|te| te.contains("gzip"));
            assert!(!others, "{what}: {seen:?}");
        }
    }
}

/// A connection-specific HTTP/1 field must not be sent over HTTP/2 in either direction.
#[tokio::test]
async fn fields_of_one_hop_go_no_further() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    let upstream = pingora_tests::VersionedUpstream {
        address: origin.address(),
        version: Version::H1,
    };
    let proxy = pingora_tests::h2c_proxy(upstream).await;
    let answer = Ask::get("/")
        .answered_over(Version::H2, proxy.address())
        .await;
    assert_eq!((answer.status(), answer.text()), (200, "ok"));
    assert_eq!(answer.header("x-kept"), Some("1"));
    for name in [
        "connection",
        "x-mine",
        "keep-alive",
        "proxy-connection",
        "upgrade",
    ] {
        assert_eq!(answer.header(name), None, "{name}: {answer:?}");
    }

    let (origin, proxy) = behind_a_proxy(Version::H2).await;
    let ask = Ask::get("/")
        .with("Connection", "keep-alive, X-Mine")
        .with("X-Mine", "1")
        .with("Keep-Alive", "timeout=5")
        .with("Proxy-Connection", "keep-alive")
        .with("Upgrade", "h2c")
        .with("X-Kept", "1");
    let answer = ask.answered_over(Version::H1, proxy.address()).await;
    assert_eq!(answer.status(), 200);
    let seen = origin.last_request();
    assert_eq!(seen.header("x-kept"), Some("1"));
    for name in [
        "connection",
        "x-mine",
        "keep-alive",
        "proxy-connection",
        "upgrade",
    ] {
        assert_eq!(seen.header(name), None, "{name}: {seen:?}");
    }
}

#[tokio::test]
async fn other_fields_arrive_as_they_were() {
    for (down, up) in PAIRS {
        let (origin, proxy) = behind_a_proxy(up).await;
        let ask = Ask::get("/")
            .with("x-many", "1")
            .with("x-many", "2")
            .with("X-Case", "Kept Value")
            .with("x-empty", "")
            .with("x-long", &"v".repeat(5000));
        ask.answered_over(down, proxy.address()).await;
        let seen = origin.last_request();
        let fields = named(&seen.fields);
        let ours: Vec<&String> = fields
            .iter()
            .filter(|line| line.starts_with("x-"))
            .collect();
        assert_eq!(ours.len(), 5, "{down:?} to {up:?}: {fields:?}");
        assert_eq!(seen.headers("x-many"), ["1", "2"]);
        assert_eq!(seen.header("x-case"), Some("Kept Value"));
        assert_eq!(seen.header("x-empty"), Some(""));
    }
}

/// Requests that no good client sends: the fault, and the header block.
fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let good = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "test.example"),
        (":path", "/malformed"),
    ];
    let with = |name, value| frames::block(&[&good[..], &[(name, value)]].concat());
    let without = |name: &str| {
        let fields: Vec<_> = good.into_iter().filter(|(n, _)| *n != name).collect();
        frames::block(&fields)
    };
    let instead = |name: &str, value: &'static str| {
        let fields: Vec<_> = { good.into_iter() }
            .map(|(n, v)| (n, if n == name { value } else { v }))
            .collect();
        frames::block(&fields)
    };
    vec![
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("no path", without(":path")),
        ("an empty path", instead(":path", "")),
        ("a path without a slash", instead(":path", "malformed")),
        ("a space in the path", instead(":path", "/a b")),
        ("a line in the path", instead(":path", "/a\r\nX: y")),
        (
            "a line in the path of HTTP/1.1",
            instead(":path", "/ HTTP/1.1\r\nHost: evil\r\n\r\nGET /"),
        ),
        ("a space in the method", instead(":method", "GET /x")),
        ("a line in the method", instead(":method", "GET\r\n")),
        (
            "a user in the authority",
            instead(":authority", "user@test.example"),
        ),
        (
            "a line in the authority",
            instead(":authority", "a\r\nX: y"),
        ),
        ("a path in the authority", instead(":authority", "a/b")),
        ("another host", with("host", "other.example")),
        ("two methods", with(":method", "POST")),
        ("two paths", with(":path", "/other")),
        ("two authorities", with(":authority", "other.example")),
        ("an unknown pseudo field", with(":unknown", "x")),
        ("the status of an answer", with(":status", "200")),
        (
            "a pseudo field behind others",
            [
                frames::block(&[(":method", "GET"), ("x", "y")]),
                frames::block(&[
                    (":scheme", "http"),
                    (":authority", "a"),
                    (":path", "/malformed"),
                ]),
            ]
            .concat(),
        ),
        ("an upper-case name", with("X-Upper", "y")),
        ("an empty name", with("", "y")),
        ("a space in a name", with("x y", "z")),
        ("a colon in a name", with("x:y", "z")),
        ("a line in a name", with("x\r\ny", "z")),
        ("NUL in a value", with("x", "a\0b")),
        ("CR in a value", with("x", "a\rb")),
        ("LF in a value", with("x", "a\nb")),
        (
            "CR LF in a value",
            with("x", "a\r\nTransfer-Encoding: chunked"),
        ),
        ("a connection field", with("connection", "close")),
        ("keep-alive", with("keep-alive", "1")),
        ("proxy-connection", with("proxy-connection", "close")),
        ("a transfer coding", with("transfer-encoding", "chunked")),
        ("an upgrade", with("upgrade", "websocket")),
        ("te with a coding", with("te", "gzip")),
        ("a length that is none", with("content-length", "x")),
        ("a signed length", with("content-length", "+0")),
        ("a list of lengths", with("content-length", "0, 1")),
        ("a length without a body", with("content-length", "5")),
    ]
}

#[tokio::test]
async fn a_malformed_request_harms_its_stream_alone_and_does_not_reach_the_origin() {
    for up in [Version::H1, Version::H2] {
        let (origin, proxy) = behind_a_proxy(up).await;
        for (what, block) in malformed() {
            let mut client = RawHttp2::client(proxy.address(), &[]).await;
            client.send([Frame::headers(1, block, true)]).await;
            let answer = client.answer(1).await;
            let refused = match answer.statuses[..] {
                [400..=499] => true,
                [] => matches!(answer.reset, Some(1 | 7)),
                _ => false,
            };
            assert!(refused, "{what} to {up:?}: {answer:?}");
            assert_eq!(answer.go_away, None, "{what} to {up:?}");
            assert_eq!(origin.requests().len(), 0, "{what} reaches the origin");
            client
                .send([Frame::headers(
                    3,
                    frames::request("GET", "/status/204"),
                    true,
                )])
                .await;
            let next = client.answer(3).await;
            assert_eq!(next.statuses, [204], "after {what}: {next:?}");
            origin.forget_requests();
        }
    }
}

#[tokio::test]
async fn two_lengths_are_refused_unless_they_are_the_same() {
    let (origin, proxy) = behind_a_proxy(Version::H1).await;
    for (second, passes) in [("2", true), ("3", false), ("2, 2", true), ("", false)] {
        let mut client = RawHttp2::client(proxy.address(), &[]).await;
        let head = [
            frames::request("POST", "/echo"),
            frames::block(&[("content-length", "2"), ("content-length", second)]),
        ];
        client
            .send([
                Frame::headers(1, head.concat(), false),
                Frame::data(1, "hi", true),
            ])
            .await;
        let answer = client.answer(1).await;
        assert_eq!(answer.statuses == [200], passes, "{second}: {answer:?}");
        if passes {
            assert_eq!(origin.last_request().headers("Content-Length"), ["2"]);
        }
    }
    assert_eq!(origin.requests().len(), 2);
}
