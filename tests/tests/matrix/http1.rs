//! Features that only HTTP/1 has, with every method, from clients of either version.

use super::{MB, assert_same, framing_of, named};
use pingora_tests::{
    Connection, Ending, FixedUpstream, Origin, TestServer, eventually, pattern, proxy,
};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

async fn behind_a_proxy() -> (Origin, TestServer) {
    let origin = Origin::well_behaved().await;
    let proxy = proxy(FixedUpstream(origin.address())).await;
    (origin, proxy)
}

/// The path, the body's length, and its framing towards a client of HTTP/1.1 and of 1.0. An empty
/// body whose end arrives together with the head may get a length.
const ANSWERS: [(&str, usize, &str, &str); 12] = [
    ("/status/204", 0, "none", "none"),
    ("/status/304", 0, "none", "none"),
    ("/status/404", 0, "length", "length"),
    ("/length/0", 0, "length", "length"),
    ("/length/1", 1, "length", "length"),
    ("/length/70001", 70_001, "length", "length"),
    ("/length/1048576", MB, "length", "length"),
    ("/drip/50", 50, "length", "length"),
    ("/chunked/0", 0, "any", "any"),
    ("/chunked/2500", 2500, "chunked", "none"),
    ("/chunked/1048576", MB, "chunked", "none"),
    ("/close/70001", 70_001, "chunked", "none"),
];

#[tokio::test]
async fn answers_of_every_shape_to_every_method_and_version() {
    let (_origin, proxy) = behind_a_proxy().await;
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"] {
        for version in ["1.1", "1.0"] {
            for row in ANSWERS {
                answer_arrives(&proxy, method, version, row).await;
            }
        }
    }
}

async fn answer_arrives(
    proxy: &TestServer,
    method: &str,
    version: &str,
    (path, length, framing11, framing10): (&str, usize, &str, &str),
) {
    let what = format!("{method} {path} HTTP/{version}");
    let mut client = proxy.connect().await;
    let answer = client.ask(format!("{what}\r\nHost: a\r\n\r\n")).await;
    let body = match method {
        "HEAD" => Vec::new(),
        _ => pattern(length),
    };
    assert_same(&answer.body, &body, &what);
    assert!(answer.is_complete(), "{what}: {:?}", answer.ending);
    let framing = match (method, version) {
        // Chunks without a body need not be announced (RFC 9112 section 6.1).
        ("HEAD", _) if framing11 == "chunked" => "none",
        (_, "1.1") => framing11,
        _ => framing10,
    };
    assert!(framing == "any" || framing == framing_of(&answer), "{what}");
    match version {
        // Nothing follows, and the connection carries another request.
        "1.1" => {
            let next = client.ask("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert_eq!(next.text(), "/next", "after {what}");
        }
        _ => client.closed().await,
    }
}

#[tokio::test]
async fn one_byte_at_a_time_in_both_directions() {
    let (origin, proxy) = behind_a_proxy().await;
    let mut client = proxy.connect().await;
    client
        .send_in_pieces("GET /slow/20 HTTP/1.1\r\nHost: a\r\n\r\n", 1)
        .await;
    let answer = client.response().await;
    assert_eq!(
        (answer.text(), answer.ending),
        ("....................", Ending::Complete)
    );
    let upload = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
    client.send_in_pieces(upload, 1).await;
    assert_eq!(client.response().await.text(), "abcd");
    assert_eq!(origin.connections(), 1);
}

/// The bytes of an upload after the head, and the fields that announce it.
fn upload(shape: &str, body: &[u8]) -> (String, Vec<u8>) {
    if shape == "length" {
        return (format!("Content-Length: {}\r\n", body.len()), body.to_vec());
    }
    let size: usize = shape.trim_start_matches("chunks of ").parse().unwrap();
    let mut bytes = Vec::new();
    for chunk in body.chunks(size) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    ("Transfer-Encoding: chunked\r\n".to_string(), bytes)
}

#[tokio::test]
async fn uploads_of_every_shape_by_every_method_and_version() {
    let (origin, proxy) = behind_a_proxy().await;
    let shapes = [
        ("1.1", "length", 0),
        ("1.1", "length", 1),
        ("1.1", "length", 70_001),
        ("1.1", "length", MB),
        ("1.1", "chunks of 1", 500),
        ("1.1", "chunks of 1000", 70_001),
        ("1.1", "chunks of 1000000", MB),
        ("1.0", "length", 0),
        ("1.0", "length", 70_001),
        ("1.0", "length", MB),
    ];
    for method in ["POST", "PUT", "PATCH", "DELETE", "GET"] {
        for (version, shape, length) in shapes {
            let what = format!("{method} /echo HTTP/{version}, {length} bytes in {shape}");
            let body = pattern(length);
            let (announcement, bytes) = upload(shape, &body);
            let mut request =
                format!("{method} /echo HTTP/{version}\r\nHost: a\r\n{announcement}\r\n")
                    .into_bytes();
            request.extend_from_slice(&bytes);
            let answer = proxy.connect().await.ask(request).await;
            assert_eq!(answer.status(), 200, "{what}");
            assert_same(&answer.body, &body, &what);
            let seen = origin.last_request();
            assert_eq!(seen.method(), method);
            assert!(seen.start_line.ends_with("HTTP/1.1"), "{what}");
            let framing = if shape == "length" {
                "length"
            } else {
                "chunked"
            };
            assert_eq!(framing_of(&seen), framing, "{what}");
        }
    }
}

#[tokio::test]
async fn a_request_without_a_body_goes_on_without_one() {
    let (origin, proxy) = behind_a_proxy().await;
    for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
        proxy.connect().await.ask(request).await;
        assert_eq!(framing_of(&origin.last_request()), "none", "{method}");
    }
}

/// The data that one side writes while the other does not read.
const PIECE: usize = 64 * 1024;
/// At least this much is written,
const LEAST: usize = 20 * MB;
/// and never this much into a connection that is not read: more than all system buffers.
const MOST: usize = 150 * MB;

/// A side that writes piece after piece, for as long as it can.
#[derive(Clone, Default)]
struct Writer {
    written: Arc<AtomicUsize>,
    enough: Arc<AtomicBool>,
}

impl Writer {
    /// Writes until it has written enough.
    async fn write(&self, connection: &mut Connection, chunked: bool) {
        for number in 0.. {
            let mut bytes = piece(number);
            if chunked {
                bytes.splice(..0, format!("{PIECE:x}\r\n").into_bytes());
                bytes.extend_from_slice(b"\r\n");
            }
            connection.send(bytes).await;
            let written = self.written.fetch_add(PIECE, Ordering::SeqCst) + PIECE;
            if written >= MOST || written >= LEAST && self.enough.load(Ordering::SeqCst) {
                break;
            }
        }
        if chunked {
            connection.send("0\r\n\r\n").await;
        }
    }

    /// Waits until it is held back; what it writes after that is enough.
    async fn is_held_back(&self, what: &str) {
        let mut before = 0;
        loop {
            let now = self.written.load(Ordering::SeqCst);
            if now == before && now > 0 {
                break;
            }
            before = now;
            // A side that is not held back would write something in this time.
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        self.enough.store(true, Ordering::SeqCst);
        assert!(before < MOST, "{what}: nothing holds the writer back");
    }

    /// Whether this is everything that was written.
    fn wrote(&self, body: &[u8]) -> bool {
        let mut pieces = body.chunks(PIECE).enumerate();
        body.len() == self.written.load(Ordering::SeqCst) && { pieces }
            .all(|(number, got)| got == piece(number))
    }
}

/// Bytes that identify their position.
fn piece(number: usize) -> Vec<u8> {
    let mut bytes = vec![b'.'; PIECE];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes[PIECE - 8..].copy_from_slice(&number.to_le_bytes());
    bytes
}

#[tokio::test]
async fn a_reader_that_waits_holds_the_origin_back_and_gets_every_byte() {
    let length = format!("Content-Length: {LEAST}");
    for (head, chunked) in [
        ("Transfer-Encoding: chunked", true),
        ("Connection: close", false),
        (length.leak() as &str, false),
    ] {
        let writer = Writer::default();
        // With a length, it has to end there, and may be in the system's buffers by then.
        let bounded = head.starts_with("Content-Length");
        writer.enough.store(bounded, Ordering::SeqCst);
        let writes = writer.clone();
        let origin = Origin::scripted(move |mut connection, _| {
            let writes = writes.clone();
            async move {
                connection.request().await;
                connection
                    .send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"))
                    .await;
                writes.write(&mut connection, chunked).await;
            }
        })
        .await;
        let proxy = proxy(FixedUpstream(origin.address())).await;
        let mut client = proxy.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        writer.is_held_back(head).await;
        let answer = client.response().await;
        assert_eq!(answer.ending, Ending::Complete, "{head}");
        assert!(writer.wrote(&answer.body), "{head}");
    }
}

#[tokio::test]
async fn an_origin_that_waits_holds_an_upload_back_and_gets_every_byte() {
    let (writer, go) = (Writer::default(), Arc::new(Notify::new()));
    let (writes, gate) = (writer.clone(), go.clone());
    let origin = Origin::scripted(move |mut connection, _| {
        let (writes, gate) = (writes.clone(), gate.clone());
        async move {
            let head = connection.request_head().await.unwrap();
            gate.notified().await;
            let request = connection.body_of(head).await;
            let verdict = if request.is_complete() && writes.wrote(&request.body) {
                "same"
            } else {
                "else"
            };
            connection
                .send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{verdict}"
                ))
                .await;
        }
    })
    .await;
    let proxy = proxy(FixedUpstream(origin.address())).await;
    let mut client = proxy.connect().await;
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let writes = writer.clone();
    let sending = tokio::spawn(async move {
        writes.write(&mut client, true).await;
        client
    });
    writer.is_held_back("an upload").await;
    go.notify_one();
    let mut client = sending.await.unwrap();
    assert_eq!(client.response().await.text(), "same");
}

#[tokio::test]
async fn twenty_megabytes_of_a_told_length_arrive_in_both_directions() {
    const LENGTH: usize = 20 * MB;
    let (_origin, proxy) = behind_a_proxy().await;
    let mut client = proxy.connect().await;
    let answer = client
        .ask(format!("GET /length/{LENGTH} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .await;
    assert_same(&answer.body, &pattern(LENGTH), "down");
    let head = format!("PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n");
    let answer = client
        .ask([head.into_bytes(), pattern(LENGTH)].concat())
        .await;
    assert_same(&answer.body, &pattern(LENGTH), "up and down");
}

#[tokio::test]
async fn trailers_pass_in_both_directions_and_carry_no_framing() {
    let (origin, proxy) = behind_a_proxy().await;
    let mut client = proxy.connect().await;
    let answer = client
        .ask("GET /trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n")
        .await;
    assert_eq!(
        (answer.text(), answer.ending),
        ("checked", Ending::Complete)
    );
    assert_eq!(named(&answer.trailers), ["x-checksum: 42"]);
    let upload = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                  2\r\nhi\r\n0\r\nX-Sum: 7\r\nContent-Length: 3\r\nHost: evil\r\nAuthorization: x\r\n\r\n";
    assert_eq!(client.ask(upload).await.text(), "hi");
    assert_eq!(named(&origin.last_request().trailers), ["x-sum: 7"]);
}

#[tokio::test]
async fn interim_answers_reach_a_client_of_http_1_1_and_no_other() {
    let (_origin, proxy) = behind_a_proxy().await;
    let mut client = proxy.connect().await;
    client.send("GET /hints HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let hints = client.response().await;
    assert_eq!((hints.status(), hints.headers("Link").len()), (103, 1));
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.text()), (200, "hinted"));

    let mut client = proxy.connect().await;
    client.send("GET /hints HTTP/1.0\r\nHost: a\r\n\r\n").await;
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.text()), (200, "hinted"));
}

#[tokio::test]
async fn an_expected_100_continue_comes_once_and_ahead_of_the_answer() {
    let (origin, proxy) = behind_a_proxy().await;
    for path in ["/continue", "/echo"] {
        let mut client = proxy.connect().await;
        client
            .send(format!(
                "POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
            ))
            .await;
        // An origin that doesn't send it before it has the body relies on the client's patience.
        if path == "/continue" {
            let interim = client.response().await;
            assert_eq!(interim.status(), 100, "{path}");
        }
        client.send("body").await;
        let mut answer = client.response().await;
        if answer.status() == 100 {
            assert_eq!(path, "/echo", "100 comes once");
            answer = client.response().await;
        }
        assert_eq!((answer.status(), answer.text()), (200, "body"), "{path}");
        assert_eq!(origin.last_request().header("Expect"), Some("100-continue"));
    }
}

#[tokio::test]
async fn an_upload_that_was_refused_ahead_of_its_body_is_not_waited_for() {
    let origin = Origin::scripted(|mut connection, _| async move {
        while connection.request_head().await.is_some() {
            connection
                .send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno")
                .await;
        }
    })
    .await;
    let proxy = proxy(FixedUpstream(origin.address())).await;
    let mut client = proxy.connect().await;
    let answer = client
        .ask("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        .await;
    assert_eq!((answer.status(), answer.text()), (417, "no"));
    // The body never came: later bytes can't be distinguished from it.
    client.closed().await;
    origin.wait_until_unused().await;
}

#[tokio::test]
async fn many_requests_share_one_connection_on_either_side() {
    let (origin, proxy) = behind_a_proxy().await;
    let mut client = proxy.connect().await;
    for number in 0..50 {
        let (path, body) = match number % 3 {
            0 => ("/length/10", pattern(10)),
            1 => ("/chunked/2000", pattern(2000)),
            _ => ("/status/204", vec![]),
        };
        let answer = client
            .ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        assert_same(&answer.body, &body, path);
    }
    assert_eq!(origin.connections(), 1);
    // HTTP/1.0 with keep-alive is kept alive if the answer has a length.
    let mut client = proxy.connect().await;
    for _ in 0..3 {
        let answer = client
            .ask("GET /length/5 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            .await;
        let connection = answer.header("Connection").unwrap_or_default();
        assert!(connection.eq_ignore_ascii_case("keep-alive"), "{answer:?}");
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn either_side_may_end_its_connection_and_the_other_one_is_kept() {
    let (origin, proxy) = behind_a_proxy().await;
    // The client's request to close does not apply to the origin's connection.
    for _ in 0..3 {
        let mut client = proxy.connect().await;
        let answer = client
            .ask("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        assert_eq!(answer.header("Connection"), Some("close"));
        client.closed().await;
    }
    assert_eq!(origin.connections(), 1);
    // An origin that closes does not end the client's connection either.
    let mut client = proxy.connect().await;
    for _ in 0..3 {
        let answer = client
            .ask("GET /close/10 HTTP/1.1\r\nHost: a\r\n\r\n")
            .await;
        assert_eq!(answer.ending, Ending::Complete);
        assert_eq!(answer.header("Connection"), None);
    }
    assert_eq!(origin.connections(), 3);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let (origin, proxy) = behind_a_proxy().await;
    let mut client = proxy.connect().await;
    let mut requests = String::new();
    for number in 0..30 {
        let _ = match number % 3 {
            0 => write!(
                requests,
                "GET /slow/{} HTTP/1.1\r\nHost: a\r\n\r\n",
                number % 4
            ),
            1 => write!(
                requests,
                "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{number:02}"
            ),
            _ => write!(requests, "GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"),
        };
    }
    client.send(requests).await;
    for number in 0..30 {
        let wanted = match number % 3 {
            0 => ".".repeat(number % 4),
            1 => format!("{number:02}"),
            _ => format!("/{number}"),
        };
        assert_eq!(client.response().await.text(), wanted, "answer {number}");
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_is_still_uploading() {
    // The origin answers and then continues to read, closes, or resets.
    for after in ["reads", "closes", "resets"] {
        let origin = Origin::scripted(move |mut connection, _| async move {
            connection.request_head().await;
            connection
                .send("HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nearly")
                .await;
            match after {
                "reads" => drop(connection.rest().await),
                "closes" => {}
                _ => {
                    connection.some_bytes().await;
                    connection.reset();
                }
            }
        })
        .await;
        let proxy = proxy(FixedUpstream(origin.address())).await;
        let mut client = proxy.connect().await;
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
            .await;
        client.send(pattern(1000)).await;
        let answer = client.response().await;
        assert_eq!((answer.status(), answer.body.len()), (413, 5), "{after}");
        // The upload is not over: the connection can't carry another request.
        let end = timeout(pingora_tests::PATIENCE, client.rest()).await;
        assert_eq!(end.expect("the connection ends"), b"", "{after}");
        origin.wait_until_unused().await;
    }
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel_for_both_sides() {
    let (origin, proxy) = behind_a_proxy().await;
    let mut client = proxy.connect().await;
    let head =
        "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let answer = client.ask(head).await;
    assert_eq!(answer.status(), 101);
    for size in [1, 1000, 200_000] {
        let sent = pattern(size);
        client.send(&sent).await;
        assert_same(&client.bytes(size).await, &sent, "through the tunnel");
    }
    client.finish().await;
    client.closed().await;
    origin.wait_until_unused().await;
    // A tunnel is never used for another request.
    let answer = proxy
        .connect()
        .await
        .ask("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(answer.text(), "/x");
    eventually("the origin is asked anew", || origin.connections() == 2).await;
}
