//! Requests to switch protocols (RFC 9110 section 7.8), granted or not.

use super::{AnyUpgrade, OK};
use pingora_tests::http2::RawHttp2;
use pingora_tests::http2::frames::{self, Frame, kind};
use pingora_tests::{
    Connection, FixedUpstream, Message, Origin, TestServer, Version, VersionedUpstream, h2c_proxy,
    proxy,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";

fn upgrade(method: &str, protocol: &str, rest: &str) -> String {
    format!(
        "{method} /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n{rest}"
    )
}

/// An origin that grants every upgrade once it has the whole request, and then echoes its input;
/// other requests get 200.
async fn switching_origin() -> Origin {
    Origin::scripted(|mut connection: Connection, _| async move {
        while let Some(request) = connection.request().await {
            if request.header("upgrade").is_none() {
                connection.send(OK).await;
                continue;
            }
            connection
                .send([SWITCH.as_bytes(), &request.body].concat())
                .await;
            while let Some(bytes) = connection.some_bytes().await {
                connection.send(bytes).await;
            }
            return;
        }
    })
    .await
}

/// The upstream's answer may grant the upgrade that was requested of it: with any method, with or
/// without a body.
#[tokio::test]
async fn an_upgrade_by_any_method_becomes_a_tunnel_where_any_may_pass() {
    let origin = switching_origin().await;
    let server = proxy(AnyUpgrade(origin.address())).await;
    let rows = [
        ("GET", "\r\n", ""),
        ("POST", "\r\n", ""),
        ("OPTIONS", "\r\n", ""),
        ("POST", "Content-Length: 0\r\n\r\n", ""),
        ("POST", "Content-Length: 4\r\n\r\nbody", "body"),
        (
            "POST",
            "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
            "body",
        ),
    ];
    for (method, rest, body) in rows {
        let mut client = server.connect().await;
        client.send(upgrade(method, "tcp", rest)).await;
        let answer = client.head().await;
        assert_eq!(answer.status(), 101, "{method} {rest}");
        assert_eq!(answer.header("upgrade"), Some("tcp"));
        assert_eq!(client.bytes(body.len()).await, body.as_bytes());
        client.send("0\r\n\r\nraw").await;
        assert_eq!(client.bytes(8).await, b"0\r\n\r\nraw");
    }
}

/// With the standard policy a WebSocket upgrade, which is a GET, passes, and no other upgrade is
/// requested.
#[tokio::test]
async fn other_upgrades_are_taken_out_and_the_request_goes_on() {
    let origin = switching_origin().await;
    let server = proxy(FixedUpstream(origin.address())).await;
    for (method, protocol) in [("POST", "tcp"), ("POST", "websocket"), ("GET", "tcp")] {
        let mut client = server.connect().await;
        let answer = client.ask(upgrade(method, protocol, "\r\n")).await;
        assert_eq!(answer.status(), 200, "{method} {protocol}");
        let again = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(again.status(), 200, "the connection is one of HTTP still");
    }
}

/// CVE-2026-88008: `Upgrade: h2c` is forwarded, so the client talks to the origin unseen.
#[tokio::test]
async fn an_upgrade_to_h2c_is_taken_out_with_its_settings() {
    let origin = Origin::well_behaved().await;
    let servers = [
        proxy(FixedUpstream(origin.address())).await,
        proxy(AnyUpgrade(origin.address())).await,
    ];
    for server in &servers {
        for protocol in ["h2c", "H2C", "websocket, h2c", "h2c, tcp"] {
            let head = format!(
                "GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                 Upgrade: {protocol}\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n"
            );
            let answer = server.connect().await.ask(head).await;
            assert_eq!(answer.status(), 200);
            let seen = origin.last_request();
            assert_eq!(seen.header("http2-settings"), None, "{protocol}");
            let left = seen.header("upgrade").unwrap_or_default().to_lowercase();
            assert!(!left.contains("h2c"), "{seen:?}");
        }
    }
}

/// The messages that an origin received on each of its connections, after it answered its first
/// request with `answer` and closed.
async fn behind_an_upgrade(answer: &'static str) -> (Vec<Message>, TestServer, Origin) {
    let rest = Arc::new(AtomicUsize::new(0));
    let counter = rest.clone();
    let origin = Origin::scripted(move |mut connection: Connection, _| {
        let counter = counter.clone();
        async move {
            if connection.request_head().await.is_some() {
                connection.send(answer).await;
                connection.finish().await;
                counter.fetch_add(connection.rest().await.len(), Ordering::SeqCst);
            }
        }
    })
    .await;
    let server = proxy(FixedUpstream(origin.address())).await;
    let mut client = server.connect().await;
    let second = "GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    client
        .send(upgrade("GET", "websocket", "\r\n") + second)
        .await;
    let answers = vec![client.response().await, client.response().await];
    client.closed().await;
    origin.wait_until_unused().await;
    assert_eq!(rest.load(Ordering::SeqCst), 0, "bytes behind the head");
    (answers, server, origin)
}

/// CVE-2026-2833: bytes after an upgrade request are forwarded before the 101.
#[tokio::test]
async fn nothing_follows_an_upgrade_before_it_is_granted() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    let (answers, _server, origin) = behind_an_upgrade(answer).await;
    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert_eq!(
        origin.connections(),
        2,
        "the second is a request of its own"
    );
}

/// RFC 8441: the same where HTTP/2 asks for a WebSocket: data that comes before a right 101 never reaches the origin.
#[tokio::test]
async fn nothing_follows_an_extended_connect_before_it_is_granted() {
    const PAYLOAD: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for (answer, expected) in [
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 502),
        (SWITCH, 502),
    ] {
        let rest = Arc::new(AtomicUsize::new(0));
        let counter = rest.clone();
        let origin = Origin::scripted(move |mut connection: Connection, _| {
            let counter = counter.clone();
            async move {
                let Some(head) = connection.request_head().await else {
                    return;
                };
                assert_eq!((head.method(), head.target()), ("GET", "/chat"));
                assert_eq!(head.header("upgrade"), Some("websocket"));
                // Everything that the proxy would send unasked is here by now.
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                connection.send(answer).await;
                connection.finish().await;
                counter.fetch_add(connection.rest().await.len(), Ordering::SeqCst);
            }
        })
        .await;
        let server = h2c_proxy(FixedUpstream(origin.address())).await;
        let mut client = RawHttp2::client(server.address(), &[]).await;
        let connect = frames::block(&[
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/chat"),
            ("sec-websocket-version", "13"),
        ]);
        client
            .send([
                Frame::headers(1, connect, false),
                Frame::data(1, PAYLOAD, false),
            ])
            .await;
        let answer = client.frame_of(kind::HEADERS).await.expect("an answer");
        assert_eq!(answer.status(), Some(expected));
        origin.wait_until_unused().await;
        assert_eq!(rest.load(Ordering::SeqCst), 0, "bytes behind the head");
        assert_eq!(origin.connections(), 1);
    }
}

/// RFC 8441: the same towards an origin of HTTP/2. Where it refuses, what follows is the next request.
#[tokio::test]
async fn nothing_follows_an_upgrade_towards_http2_before_it_is_granted() {
    // SETTINGS_ENABLE_CONNECT_PROTOCOL.
    let origin = Origin::http2_scripted(&[(8, 1)], |mut origin: RawHttp2, _| async move {
        while let Some(request) = origin.frame().await {
            assert_ne!(request.kind, kind::DATA, "unasked: {request:?}");
            if request.kind == kind::HEADERS {
                let status = if request.stream == 1 { "403" } else { "204" };
                let head = frames::block(&[(":status", status)]);
                origin
                    .send([Frame::headers(request.stream, head, true)])
                    .await;
            }
        }
    })
    .await;
    let upstream = VersionedUpstream {
        address: origin.address(),
        version: Version::H2,
    };
    let server = proxy(upstream).await;
    let websocket =
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let second = "GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let mut client = server.connect().await;
    client
        .send(upgrade("GET", "websocket", websocket) + second)
        .await;
    let statuses = [
        client.response().await.status(),
        client.response().await.status(),
    ];
    assert_eq!(statuses, [403, 204]);
    client.closed().await;
}

/// CVE-2024-23326: a 200 that claims to upgrade is mistaken for a tunnel.
#[tokio::test]
async fn an_upgrade_answered_by_200_stays_http() {
    let answer = "HTTP/1.1 200 OK\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\
        Content-Length: 2\r\n\r\nok";
    let (answers, _server, origin) = behind_an_upgrade(answer).await;
    for answer in answers {
        assert_eq!((answer.status(), answer.text()), (200, "ok"));
        assert_eq!(answer.header("upgrade"), None);
    }
    assert_eq!(origin.connections(), 2);
}

/// CVE-2026-2835: a body by Transfer-Encoding in HTTP/1.0, and several codings.
#[tokio::test]
async fn codings_that_can_be_read_in_two_ways_are_refused() {
    let origin = Origin::well_behaved().await;
    let server = proxy(FixedUpstream(origin.address())).await;
    let chunk = "\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for (version, codings) in [
        ("1.0", "Transfer-Encoding: chunked"),
        ("1.0", "Transfer-Encoding: chunked\r\nContent-Length: 5"),
        (
            "1.0",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        ),
        (
            "1.1",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        ),
        ("1.1", "Transfer-Encoding: chunked, identity"),
        (
            "1.1",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        ),
        ("1.1", "Transfer-Encoding: chunked\r\nContent-Length: 5"),
    ] {
        let mut client = server.connect().await;
        let head =
            format!("POST / HTTP/{version}\r\nHost: a\r\nConnection: keep-alive\r\n{codings}");
        let answer = client.ask(head + chunk).await;
        assert_eq!(answer.status(), 400, "{version} {codings}");
        client.closed().await;
    }
    assert_eq!(origin.connections(), 0, "the origin was not asked");
}

/// The end of a request without a body is read after its 101: the tunnel would close at once. The
/// origin switches in its first packet, a thousand times.
#[tokio::test]
async fn a_101_that_overtakes_the_end_of_an_empty_body_keeps_its_tunnel() {
    const TIMES: usize = 1000;
    let origin = Origin::scripted(|mut connection: Connection, _| async move {
        if connection.request_head().await.is_some() {
            connection
                .send(format!("{SWITCH}hello").replace("tcp", "websocket"))
                .await;
            assert_eq!(connection.bytes(4).await, b"ping");
            connection.send("pong").await;
            connection.rest().await;
        }
    })
    .await;
    let server = proxy(FixedUpstream(origin.address())).await;
    for time in 0..TIMES {
        let rest = ["\r\n", "Content-Length: 0\r\n\r\n"][time % 2];
        let mut client = server.connect().await;
        client.send(upgrade("GET", "websocket", rest)).await;
        assert_eq!(client.head().await.status(), 101, "{time}");
        assert_eq!(client.bytes(5).await, b"hello", "{time}");
        client.send("ping").await;
        assert_eq!(client.bytes(4).await, b"pong", "{time}");
    }
}
