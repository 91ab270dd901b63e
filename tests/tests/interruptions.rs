//! Either side may disappear at any point: the other side notices, and truncated data never looks
//! complete.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use pingora_tests::{
    Connection, Ending, FixedUpstream, Message, Origin, TestServer, keep_log, logged, proxy,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// How a peer disappears.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Leaves {
    Closing,
    Resetting,
}

const BOTH: [Leaves; 2] = [Leaves::Closing, Leaves::Resetting];

fn leave(connection: Connection, how: Leaves) {
    match how {
        Leaves::Closing => drop(connection),
        Leaves::Resetting => connection.reset(),
    }
}

/// The worker serves others, and the same origin.
async fn is_unharmed(proxy: &TestServer, what: &str) {
    let answer = proxy
        .connect()
        .await
        .ask("GET /well HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(answer.status(), 200, "after {what}");
}

/// An origin that sends these bytes as its answer to `/bad` and disappears.
async fn leaving_origin(bytes: &'static str, how: Leaves) -> Origin {
    Origin::scripted(move |mut connection, _| async move {
        while let Some(request) = connection.request().await {
            if request.target().starts_with("/bad") {
                connection.send(bytes).await;
                // A reset overtakes data that was not read yet: the proxy has to receive it first.
                if how == Leaves::Resetting && !bytes.is_empty() {
                    tokio::time::sleep(std::time::Duration::from_millis(30)).await;
                }
                return leave(connection, how);
            }
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            if connection.try_send(answer).await.is_err() {
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn an_origin_that_leaves_before_its_head_is_complete_is_a_502() {
    keep_log();
    let beginnings = [
        ("nothing", ""),
        ("half a status line", "HTTP/1.1 20"),
        ("a status line", "HTTP/1.1 200 OK\r\n"),
        (
            "half a head",
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-A: ",
        ),
        ("an interim answer", "HTTP/1.1 103 Early Hints\r\n\r\n"),
    ];
    for (number, (what, bytes)) in beginnings.into_iter().enumerate() {
        for how in BOTH {
            let what = format!("{how:?} after {what}");
            let origin = leaving_origin(bytes, how).await;
            let proxy = proxy(FixedUpstream(origin.address())).await;
            let path = format!("/bad-head-{number}-{how:?}");
            let mut client = proxy.connect().await;
            let answer = client
                .ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
                .await;
            assert_eq!(answer.status(), 502, "{what}");
            let line = logged(&path).await;
            assert!(
                line.starts_with("ERROR") && line.contains("502"),
                "{what}: {line}"
            );
            is_unharmed(&proxy, &what).await;
            // The client's connection was not at fault.
            let next = client.ask("GET /well HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert_eq!(next.status(), 200, "{what}");
        }
    }
}

/// Data that an origin sends before it disappears, none of it a complete answer. A close-delimited
/// answer can only be cut short by a reset.
const CUT: [(&str, &str, bool); 8] = [
    ("between head and body", "Content-Length: 10\r\n\r\n", false),
    ("inside the body", "Content-Length: 10\r\n\r\n12345", false),
    (
        "before the first chunk",
        "Transfer-Encoding: chunked\r\n\r\n",
        false,
    ),
    (
        "inside a chunk",
        "Transfer-Encoding: chunked\r\n\r\na\r\n12345",
        false,
    ),
    (
        "between chunks",
        "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
        false,
    ),
    (
        "before the last line",
        "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n",
        false,
    ),
    (
        "inside the trailers",
        "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\nX-A: 1",
        false,
    ),
    ("inside a body until close", "\r\n12345", true),
];

#[tokio::test]
async fn an_answer_that_its_origin_cuts_short_is_cut_short_for_the_client() {
    for (what, bytes, only_by_reset) in CUT {
        for how in BOTH {
            if only_by_reset && how == Leaves::Closing {
                continue;
            }
            for version in ["1.1", "1.0"] {
                let what = format!("{how:?} {what}, HTTP/{version}");
                let bytes: &'static str = format!("HTTP/1.1 200 OK\r\n{bytes}").leak();
                let origin = leaving_origin(bytes, how).await;
                let proxy = proxy(FixedUpstream(origin.address())).await;
                let mut client = proxy.connect().await;
                let answer = client
                    .ask(format!("GET /bad HTTP/{version}\r\nHost: a\r\n\r\n"))
                    .await;
                let cut = matches!(answer.ending, Ending::CutShort | Ending::Reset);
                // An answer of which no byte was forwarded may be an error instead.
                assert!(cut || answer.status() == 502, "{what}: {answer:?}");
                is_unharmed(&proxy, &what).await;
            }
        }
    }
}

/// An origin that records how each request ended, and whether its connection did.
struct Witness {
    origin: Origin,
    requests: Arc<Mutex<Vec<Message>>>,
    begun: Arc<AtomicUsize>,
}

impl Witness {
    /// `/wait` is never answered.
    async fn new() -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let begun = Arc::new(AtomicUsize::new(0));
        let (noted, started) = (requests.clone(), begun.clone());
        let origin = Origin::scripted(move |mut connection, _| {
            let (noted, started) = (noted.clone(), started.clone());
            async move {
                while let Some(head) = connection.request_head().await {
                    started.fetch_add(1, Ordering::SeqCst);
                    let request = connection.body_of(head).await;
                    let whole = request.is_complete();
                    let waits = request.target().starts_with("/wait");
                    let endless = request.target().starts_with("/endless");
                    noted.lock().unwrap().push(request);
                    if !whole {
                        return;
                    }
                    if waits {
                        connection.closed().await;
                        return;
                    }
                    if endless {
                        return pour(&mut connection).await;
                    }
                    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    if connection.try_send(answer).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        Self {
            origin,
            requests,
            begun,
        }
    }

    async fn begins(&self) {
        pingora_tests::eventually("the request reaches the origin", || {
            self.begun.load(Ordering::SeqCst) > 0
        })
        .await;
    }

    fn whole_requests(&self) -> usize {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|r| r.is_complete()).count()
    }
}

/// Writes until the other side stops reading.
async fn pour(connection: &mut Connection) {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
    if connection.try_send(head).await.is_err() {
        return;
    }
    while connection.try_send([b'.'; 10_000]).await.is_ok() {}
}

#[tokio::test]
async fn a_client_that_leaves_inside_its_head_never_reaches_the_origin() {
    for how in BOTH {
        for bytes in ["G", "GET /x HTTP/1.1", "GET /x HTTP/1.1\r\nHost: a\r\nX: "] {
            let witness = Witness::new().await;
            let proxy = proxy(FixedUpstream(witness.origin.address())).await;
            let mut client = proxy.connect().await;
            client.send(bytes).await;
            leave(client, how);
            is_unharmed(&proxy, bytes).await;
            assert_eq!(witness.whole_requests(), 1, "{how:?} {bytes}");
        }
    }
}

#[tokio::test]
async fn a_request_that_its_client_cuts_short_is_cut_short_for_the_origin() {
    let points = [
        ("between head and body", "Content-Length: 10\r\n\r\n"),
        ("inside the body", "Content-Length: 10\r\n\r\n12345"),
        (
            "before the first chunk",
            "Transfer-Encoding: chunked\r\n\r\n",
        ),
        (
            "inside a chunk",
            "Transfer-Encoding: chunked\r\n\r\na\r\n12345",
        ),
        (
            "between chunks",
            "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
        ),
        (
            "before the last line",
            "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n",
        ),
    ];
    for (what, bytes) in points {
        for how in BOTH {
            let what = format!("{how:?} {what}");
            let witness = Witness::new().await;
            let proxy = proxy(FixedUpstream(witness.origin.address())).await;
            let mut client = proxy.connect().await;
            client
                .send(format!("POST /cut HTTP/1.1\r\nHost: a\r\n{bytes}"))
                .await;
            witness.begins().await;
            leave(client, how);
            witness.origin.wait_until_unused().await;
            assert_eq!(witness.whole_requests(), 0, "{what}");
            is_unharmed(&proxy, &what).await;
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_frees_the_origin() {
    for path in ["/wait", "/endless"] {
        for how in BOTH {
            let witness = Witness::new().await;
            let proxy = proxy(FixedUpstream(witness.origin.address())).await;
            let mut client = proxy.connect().await;
            client
                .send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
                .await;
            witness.begins().await;
            leave(client, how);
            witness.origin.wait_until_unused().await;
            is_unharmed(&proxy, path).await;
        }
    }
}

#[tokio::test]
async fn a_tunnel_ends_for_both_when_it_ends_for_one() {
    let origin = Origin::scripted(|mut connection, index| async move {
        connection.request().await;
        let head =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        connection.send(head).await;
        match index % 2 {
            0 => drop(connection.some_bytes().await),
            _ => {
                connection.some_bytes().await;
                connection.reset();
            }
        }
    })
    .await;
    let proxy = proxy(FixedUpstream(origin.address())).await;
    for _ in 0..2 {
        let mut client = proxy.connect().await;
        let head = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(client.ask(head).await.status(), 101);
        client.send("bye").await;
        client.closed().await;
    }
    origin.wait_until_unused().await;
}

#[tokio::test]
async fn a_kept_connection_that_turns_out_to_be_dead_costs_no_request() {
    // Each connection carries two requests; the second one finds it closed, without any answer.
    let origin = Origin::scripted(|mut connection, _| async move {
        if connection.request().await.is_some() {
            connection
                .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await;
            connection.request_head().await;
        }
    })
    .await;
    let proxy = proxy(FixedUpstream(origin.address())).await;
    let mut client = proxy.connect().await;
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(client.ask(request).await.text(), "ok", "{request}");
    }
}
