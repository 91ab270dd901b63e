//! Clients that smuggle, drip, stall or vanish: they get one valid answer, the connection is
//! closed, and nothing reaches the origin that the client was not allowed to send.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use pingora::apps::HttpServerOptions;
use pingora::prelude::*;
use pingora::server::configuration::ServerConf;
use pingora_tests::{
    Ask, Connection, FixedUpstream, Origin, PATIENCE, TestServer, Version, VersionedUpstream,
    eventually, h2c_proxy, keep_log, logged, pattern, proxy, proxy_with,
};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A request of its own to a server that treats the bytes before it as a whole request.
const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// Heads that are refused, with the status of the answer.
#[rustfmt::skip]
const HEADS: [(&str, u16, &[u8]); 60] = [
    ("length and coding", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("coding and length", 400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
    ("length 0 and coding", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two lengths", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 33\r\n\r\n"),
    ("a list of lengths", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 33\r\n\r\n"),
    ("a signed length", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n"),
    ("a negative length", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -0\r\n\r\n"),
    ("a hex length", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x0\r\n\r\n"),
    ("a length with a space", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0 0\r\n\r\n"),
    ("a length with an underscore", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0_0\r\n\r\n"),
    ("a fraction of a length", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0.0\r\n\r\n"),
    ("an empty length", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"),
    ("a length beyond 64 bits", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n"),
    ("a length in other digits", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \xd9\xa0\r\n\r\n"),
    ("chunked twice", 400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked on two lines", 400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunked not last", 400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    ("an unknown coding", 501, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("identity", 501, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"),
    ("identity and chunked", 501, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n"),
    ("an empty coding", 400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n"),
    ("a quoted coding", 400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    ("a coding with a vertical tab", 400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("a coding with a NUL", 400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n"),
    ("a coding with parameters", 400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n"),
    ("a coding in HTTP 1.0", 400, b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("space before the colon", 400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 33\r\n\r\n"),
    ("tab before the colon", 400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n"),
    ("space in front of a name", 400, b"GET / HTTP/1.1\r\nHost: a\r\n Content-Length: 33\r\n\r\n"),
    ("space in front of the first name", 400, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("a folded value", 400, b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n"),
    ("a folded coding", 400, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    ("an empty name", 400, b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
    ("a name with brackets", 400, b"GET / HTTP/1.1\r\nHost: a\r\n(a): b\r\n\r\n"),
    ("a name with umlauts", 400, b"GET / HTTP/1.1\r\nHost: a\r\n\xc3\xa4: b\r\n\r\n"),
    ("a line without a colon", 400, b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length\r\n\r\n"),
    ("NUL in a value", 400, b"GET / HTTP/1.1\r\nHost: a\r\nA: b\0c\r\n\r\n"),
    ("CR in a value", 400, b"GET / HTTP/1.1\r\nHost: a\r\nA: b\rContent-Length: 33\r\n\r\n"),
    ("LF in a value", 400, b"GET / HTTP/1.1\r\nHost: a\r\nA: b\nContent-Length: 33\r\n\r\n"),
    ("bare line feeds only", 400, b"GET / HTTP/1.1\nHost: a\n\n"),
    ("a bare line feed at the end", 400, b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    ("CR CR LF", 400, b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
    ("no host", 400, b"GET / HTTP/1.1\r\n\r\n"),
    ("two hosts", 400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    ("a host with a space", 400, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    ("a host with a path", 400, b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    ("a host with a user", 400, b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    ("a host with a bad port", 400, b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"),
    ("a list of hosts", 400, b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    ("CONNECT", 405, b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
    ("a space in the target", 400, b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a control byte in the target", 400, b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a fragment", 400, b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("no slash", 400, b"GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("no version", 400, b"GET /\r\nHost: a\r\n\r\n"),
    ("HTTP 0.9", 505, b"GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
    ("HTTP 2", 505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    ("HTTP 1.9", 505, b"GET / HTTP/1.9\r\nHost: a\r\n\r\n"),
    ("a preface of HTTP 2", 505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("a handshake of TLS", 400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
];

/// There is exactly one answer, an error, and then the connection ends.
fn assert_one_answer(what: &str, status: u16, answer: &[u8]) {
    let text = String::from_utf8_lossy(answer);
    assert!(
        text.starts_with(&format!("HTTP/1.1 {status} ")),
        "{what}: {text}"
    );
    assert_eq!(text.matches("HTTP/1.").count(), 1, "{what}: {text}");
    assert!(
        text.to_lowercase().contains("connection: close"),
        "{what}: {text}"
    );
}

async fn is_unharmed(server: &TestServer, what: &str) {
    let request = "GET /other HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = server.connect().await.ask(request).await;
    assert_eq!(answer.status(), 200, "after {what}");
}

#[tokio::test]
async fn a_bad_head_gets_one_answer_and_the_origin_nothing() {
    keep_log();
    let origin = Origin::well_behaved().await;
    let server = proxy(FixedUpstream(origin.address())).await;
    for (what, status, head) in HEADS {
        let mut client = server.connect().await;
        client.send([head, SMUGGLED].concat()).await;
        assert_one_answer(what, status, &client.rest().await);
        assert_eq!(origin.connections(), 0, "{what} reaches the origin");
    }
    is_unharmed(&server, "all of them").await;
    assert_eq!(origin.requests().len(), 1);
    // Refusals are logged.
    logged("400").await;
}

/// A good origin of this version, and a proxy in front of it.
async fn in_front_of(version: Version) -> (Origin, TestServer) {
    let origin = match version {
        Version::H1 => Origin::well_behaved().await,
        Version::H2 => Origin::http2().await,
    };
    let address = origin.address();
    (origin, proxy(VersionedUpstream { address, version }).await)
}

#[tokio::test]
async fn a_connection_field_that_would_strip_what_others_rely_on_is_refused() {
    for version in [Version::H1, Version::H2] {
        nominations_are_refused(version).await;
    }
}

async fn nominations_are_refused(version: Version) {
    let (origin, server) = in_front_of(version).await;
    for fields in [
        "Connection: host",
        "Connection: close, Host",
        "X-Forwarded-For: b\r\nConnection: X-Forwarded-For",
        "X-Real-IP: b\r\nConnection: keep-alive, x-real-ip",
        "Forwarded: for=b\r\nConnection: forwarded",
        "Connection: :authority",
    ] {
        let request = format!("GET /stripped HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        let answer = server.connect().await.ask(request).await;
        assert_eq!(answer.status(), 400, "{fields}");
    }
    assert_eq!(origin.requests().len(), 0);
    is_unharmed(&server, "all of them").await;
}

#[tokio::test]
async fn fields_of_one_hop_go_no_further() {
    let origin = Origin::well_behaved().await;
    let server = proxy(FixedUpstream(origin.address())).await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Mine, X-Other\r\n\
                   X-Mine: 1\r\nx-other: 2\r\nX-Kept: 3\r\nKeep-Alive: timeout=5\r\n\
                   Proxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: h2c\r\nTrailer: X-A\r\n\r\n";
    server.connect().await.ask(request).await;
    let seen = origin.last_request();
    for name in [
        "X-Mine",
        "X-Other",
        "Keep-Alive",
        "Proxy-Connection",
        "TE",
        "Upgrade",
    ] {
        assert_eq!(seen.header(name), None, "{name}: {seen:?}");
    }
    assert_eq!(seen.header("X-Kept"), Some("3"));
    let connection = seen.header("Connection").unwrap_or_default();
    assert!(!connection.to_lowercase().contains("x-"), "{connection}");
}

#[tokio::test]
async fn the_authority_of_an_absolute_target_wins_over_host() {
    for (version, name) in [(Version::H1, "Host"), (Version::H2, ":authority")] {
        let (origin, server) = in_front_of(version).await;
        let request = "GET http://other.example:8080/path?q HTTP/1.1\r\nHost: a\r\n\r\n";
        let answer = server.connect().await.ask(request).await;
        assert_eq!(answer.status(), 200);
        let seen = origin.last_request();
        assert_eq!(seen.headers(name), ["other.example:8080"], "to {version:?}");
        assert_eq!(seen.target(), "/path?q", "to {version:?}");
    }
}

#[tokio::test]
async fn a_good_request_before_a_bad_one_is_answered_first() {
    let origin = Origin::well_behaved().await;
    let server = proxy(FixedUpstream(origin.address())).await;
    let mut client = server.connect().await;
    client
        .send(
            [
                b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n",
                HEADS[0].2,
                SMUGGLED,
            ]
            .concat(),
        )
        .await;
    assert_eq!(client.response().await.text(), "/one");
    assert_one_answer("the second", 400, &client.rest().await);
    let targets: Vec<String> = origin
        .requests()
        .iter()
        .map(|request| request.target().to_string())
        .collect();
    assert_eq!(targets, ["/one"]);
}

/// Chunked bodies that break the rules.
#[rustfmt::skip]
const CHUNKS: [(&str, &[u8]); 18] = [
    ("no size", b"\r\nabc\r\n0\r\n\r\n"),
    ("letters for a size", b"xyz\r\nabc\r\n0\r\n\r\n"),
    ("a negative size", b"-3\r\nabc\r\n0\r\n\r\n"),
    ("a signed size", b"+3\r\nabc\r\n0\r\n\r\n"),
    ("a prefixed size", b"0x3\r\nabc\r\n0\r\n\r\n"),
    ("a size with an underscore", b"0_3\r\nabc\r\n0\r\n\r\n"),
    ("a size behind a space", b" 3\r\nabc\r\n0\r\n\r\n"),
    ("a size beyond 64 bits", b"10000000000000000\r\nabc\r\n0\r\n\r\n"),
    ("a size that overflows to 3", b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
    ("LF behind the size", b"3\nabc\r\n0\r\n\r\n"),
    ("CR behind the size", b"3\rabc\r\n0\r\n\r\n"),
    ("LF behind the data", b"3\r\nabc\n0\r\n\r\n"),
    ("nothing behind the data", b"3\r\nabc0\r\n\r\n"),
    ("more than the size", b"3\r\nabcdef\r\n0\r\n\r\n"),
    ("LF in an extension", b"3;a\nb\r\nabc\r\n0\r\n\r\n"),
    ("CR in an extension", b"3;a\rb\r\nabc\r\n0\r\n\r\n"),
    ("a trailer without a colon", b"3\r\nabc\r\n0\r\nab\r\n\r\n"),
    ("a trailer with a space before its colon", b"3\r\nabc\r\n0\r\na : b\r\n\r\n"),
];

#[tokio::test]
async fn a_bad_chunk_is_an_error_and_never_the_end_of_a_body() {
    let origin = Origin::well_behaved().await;
    let server = proxy(FixedUpstream(origin.address())).await;
    let long_extension = [b"3;".as_slice(), &[b'a'; 100_000], b"\r\nabc\r\n0\r\n\r\n"].concat();
    let rows = CHUNKS
        .into_iter()
        .chain([("an endless extension", long_extension.as_slice())]);
    for (what, body) in rows {
        let head = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut client = server.connect().await;
        // An answer may come while this is still being sent.
        let _ = client
            .try_send([head.as_slice(), body, SMUGGLED].concat())
            .await;
        assert_one_answer(what, 400, &client.rest().await);
        origin.wait_until_unused().await;
        let complete = origin
            .requests()
            .iter()
            .any(|request| request.is_complete());
        assert!(!complete, "{what} is a request to the origin");
    }
    is_unharmed(&server, "all of them").await;
}

#[tokio::test]
async fn sizes_have_limits_with_a_status_each() {
    let origin = Origin::well_behaved().await;
    let mut options = HttpServerOptions::default();
    options.set_max_body_size(Some(1000));
    let server = proxy_with(
        ServerConf::default(),
        FixedUpstream(origin.address()),
        |service| service.app_logic_mut().unwrap().server_options = Some(options),
    )
    .await;
    let long = "x".repeat(100_000);
    let many = "A: b\r\n".repeat(1000);
    let over = "x".repeat(1001);
    let rows = [
        (414, format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")),
        (414, format!("GET /{long}")),
        (
            431,
            format!("GET / HTTP/1.1\r\nHost: a\r\nA: {long}\r\n\r\n"),
        ),
        (431, format!("GET / HTTP/1.1\r\nHost: a\r\nA: {long}")),
        (431, format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")),
        (
            413,
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n{over}"),
        ),
        (
            413,
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n{over}\r\n0\r\n\r\n"
            ),
        ),
    ];
    for (status, request) in rows {
        let what: String = request.chars().take(60).collect();
        let mut client = server.connect().await;
        let _ = client.try_send(&request).await;
        assert_one_answer(&what, status, &client.rest().await);
    }
    let complete = origin
        .requests()
        .iter()
        .any(|request| request.is_complete());
    assert!(!complete, "one of them is a request to the origin");
    let fits = format!(
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{}",
        "x".repeat(1000)
    );
    assert_eq!(server.connect().await.ask(fits).await.body.len(), 1000);
}

/// The time limit for clients in the following tests.
const LIMIT: Duration = Duration::from_millis(500);
/// The additional time on a busy machine.
const SLACK: Duration = Duration::from_secs(3);

struct Impatient(SocketAddr);

#[async_trait]
impl ProxyHttp for Impatient {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn early_request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<()> {
        session.set_read_timeout(Some(LIMIT));
        session.set_write_timeout(Some(LIMIT));
        Ok(())
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

async fn impatient(origin: &Origin) -> TestServer {
    let mut options = HttpServerOptions::default();
    options.set_header_timeout(Some(LIMIT));
    proxy_with(
        ServerConf::default(),
        Impatient(origin.address()),
        |service| service.app_logic_mut().unwrap().server_options = Some(options),
    )
    .await
}

/// Sends byte after byte until the other side gives up, and returns its answer.
async fn drip(mut client: Connection, bytes: &[u8]) -> Vec<u8> {
    for byte in bytes {
        if client.try_send([*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(LIMIT / 10).await;
        if client.has_input() {
            break;
        }
    }
    client.rest().await
}

#[tokio::test]
async fn a_head_that_drips_is_a_408_however_steadily_it_does() {
    let origin = Origin::well_behaved().await;
    let server = impatient(&origin).await;
    let begun = Instant::now();
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(1000));
    let answer = drip(server.connect().await, head.as_bytes()).await;
    let took = begun.elapsed();
    assert_one_answer("a dripped head", 408, &answer);
    assert!(took >= LIMIT && took < LIMIT + SLACK, "{took:?}");
    assert_eq!(origin.connections(), 0);
    is_unharmed(&server, "a dripped head").await;
}

#[tokio::test]
async fn a_client_that_says_nothing_is_left_without_an_answer() {
    let origin = Origin::well_behaved().await;
    let server = impatient(&origin).await;
    let begun = Instant::now();
    server.connect().await.closed().await;
    assert!(begun.elapsed() < LIMIT + SLACK);
}

#[tokio::test]
async fn a_body_that_stalls_is_a_408_and_not_a_request_to_the_origin() {
    keep_log();
    let origin = Origin::well_behaved().await;
    let server = impatient(&origin).await;
    for framing in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        let mut client = server.connect().await;
        client
            .send(format!(
                "POST /stalled-upload HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n5\r\n12"
            ))
            .await;
        let begun = Instant::now();
        assert_one_answer(framing, 408, &client.rest().await);
        assert!(begun.elapsed() < LIMIT + SLACK, "{framing}");
        origin.wait_until_unused().await;
        let complete = origin
            .requests()
            .iter()
            .any(|request| request.is_complete());
        assert!(!complete, "{framing}");
    }
    logged("/stalled-upload").await;
    is_unharmed(&server, "stalled uploads").await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_given_up() {
    keep_log();
    let origin = Origin::scripted(|mut connection, _| async move {
        connection.request().await;
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
        let mut sent = connection.try_send(head).await;
        let piece = pattern(100_000);
        while sent.is_ok() {
            sent = connection.try_send(&piece).await;
        }
    })
    .await;
    let server = impatient(&origin).await;
    let mut client = server.connect().await;
    client.send("GET /unread HTTP/1.1\r\nHost: a\r\n\r\n").await;
    origin.wait_for_connections(1).await;
    let begun = Instant::now();
    origin.wait_until_unused().await;
    assert!(begun.elapsed() < PATIENCE);
    logged("/unread").await;
    drop(client);
}

#[tokio::test]
async fn a_crowd_that_begins_requests_and_leaves_does_no_harm() {
    let origin = Origin::well_behaved().await;
    let server = proxy(FixedUpstream(origin.address())).await;
    let mut crowd = Vec::new();
    for _ in 0..300 {
        let mut client = server.connect().await;
        client.send("GET / HT").await;
        crowd.push(client);
    }
    is_unharmed(&server, "a crowd").await;
    drop(crowd);
    is_unharmed(&server, "a crowd that left").await;
    assert_eq!(origin.connections(), 1);
    eventually("nothing but the good ones came", || {
        origin.requests().len() == 2
    })
    .await;
}

/// The proxy has one worker. By order, not by time: the others are answered while the slow one has taken
/// nothing, and it gets all of its response in the end.
#[tokio::test]
async fn a_client_that_reads_nothing_holds_up_nobody_on_its_worker() {
    const MUCH: usize = 50_000_000;
    let origin = Origin::well_behaved().await;
    let server = h2c_proxy(FixedUpstream(origin.address())).await;
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut client = server.connect().await;
        let ask = format!("GET /length/{MUCH} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        client.send(ask).await;
        // Its response has begun.
        assert_eq!(client.head().await.status(), 200);
        slow.push(client);
    }
    for number in 0..50 {
        for version in [Version::H1, Version::H2] {
            let path = format!("/bystander/{number}");
            let answer = Ask::get(&path)
                .answered_over(version, server.address())
                .await;
            assert_eq!((answer.status(), answer.text()), (200, path.as_str()));
        }
    }
    assert_eq!(origin.aborted(), 0, "nobody was given up");
    let mut first = slow.swap_remove(0);
    drop(slow);
    assert_eq!(first.rest().await.len(), MUCH);
}
