//! `HttpHealthCheck` against servers that behave well and badly.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use pingora_error::{Error, ErrorType};
use pingora_load_balancing::Backend;
use pingora_load_balancing::health_check::{Expected, HealthCheck, HttpHealthCheck};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A server that answers every request with the same bytes.
struct Origin {
    backend: Backend,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Origin {
    /// `keep`: how many requests a connection may carry.
    async fn answering(answer: &'static str, keep: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Origin {
            backend: listener.local_addr().unwrap().into(),
            connections: Arc::default(),
            requests: Arc::default(),
        };
        let (connections, requests) = (origin.connections.clone(), origin.requests.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, answer, keep, requests.clone()));
            }
        });
        origin
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve(
    stream: TcpStream,
    answer: &'static str,
    keep: usize,
    requests: Arc<Mutex<Vec<String>>>,
) {
    let mut stream = BufReader::new(stream);
    for _ in 0..keep {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        requests.lock().unwrap().push(head);
        stream.write_all(answer.as_bytes()).await.unwrap();
        if answer.is_empty() {
            std::future::pending::<()>().await;
        }
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn it_asks_for_the_root_of_the_host_on_a_connection_of_its_own() {
    let origin = Origin::answering(OK, 9).await;
    let check = HttpHealthCheck::new("one.example", false);
    check.check(&origin.backend).await.unwrap();
    check.check(&origin.backend).await.unwrap();
    assert_eq!(origin.connections(), 2);
    let requests = origin.requests.lock().unwrap();
    assert!(
        requests[0].starts_with("GET / HTTP/1.1\r\n"),
        "{requests:?}"
    );
    assert!(
        requests[0]
            .to_lowercase()
            .contains("\r\nhost: one.example\r\n")
    );
}

#[tokio::test]
async fn answers() {
    for (answer, well) in [
        (OK, true),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            true,
        ),
        (
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            true,
        ),
        // The body does not matter: this one never ends.
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", true),
        ("HTTP/1.1 204 No Content\r\n\r\n", false),
        ("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", false),
        (
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
            false,
        ),
        ("this is not HTTP\r\n\r\n", false),
    ] {
        let origin = Origin::answering(answer, 1).await;
        let check = HttpHealthCheck::new("one.example", false);
        let result = check.check(&origin.backend).await;
        assert_eq!(result.is_ok(), well, "{answer:?}: {result:?}");
    }
    let origin = Origin::answering(OK, 1).await;
    let mut gone = origin.backend.clone();
    gone.addr = pingora_core::protocols::l4::socket::SocketAddr::Inet(([127, 0, 0, 1], 0).into());
    assert!(
        HttpHealthCheck::new("one.example", false)
            .check(&gone)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn an_unexpected_status_is_told() {
    let origin = Origin::answering("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", 1).await;
    let check = HttpHealthCheck::new("one.example", false);
    let err = check.check(&origin.backend).await.unwrap_err();
    assert_eq!(err.etype(), &ErrorType::CustomCode("UnexpectedStatus", 503));
}

#[tokio::test]
async fn a_validator_decides() {
    let origin = Origin::answering("HTTP/1.1 204 No Content\r\nX-Up: no\r\n\r\n", 2).await;
    let mut check = HttpHealthCheck::new("one.example", false);
    check.validator = Some(Box::new(|head| match head.headers.get("x-up") {
        Some(up) if up == "no" => Err(Error::new_str("says so itself")),
        _ => Ok(()),
    }));
    let err = check.check(&origin.backend).await.unwrap_err();
    assert_eq!(err.etype(), &ErrorType::Custom("says so itself"));
    check.validator = Some(Box::new(|_| Ok(())));
    check.check(&origin.backend).await.unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_not_waited_for() {
    let origin = Origin::answering("", 1).await;
    let mut check = HttpHealthCheck::new("one.example", false);
    check.peer_template.options.read_timeout = Some(Duration::from_millis(50));
    let err = check.check(&origin.backend).await.unwrap_err();
    assert_eq!(err.etype(), &ErrorType::ReadTimedout);
}

#[tokio::test]
async fn a_connection_may_be_kept_and_one_that_closed_is_replaced() {
    for (keep, connections) in [(9, 1), (2, 2)] {
        let origin = Origin::answering(OK, keep).await;
        let mut check = HttpHealthCheck::new("one.example", false);
        check.reuse_connection = true;
        for _ in 0..4 {
            check.check(&origin.backend).await.unwrap();
        }
        assert_eq!(origin.connections(), connections);
    }
}

#[tokio::test]
async fn the_port_may_be_another_one() {
    let origin = Origin::answering(OK, 1).await;
    let mut check = HttpHealthCheck::new("one.example", false);
    check.port_override = Some(origin.backend.as_inet().unwrap().port());
    check
        .check(&Backend::new("127.0.0.1:1").unwrap())
        .await
        .unwrap();
}

#[test]
fn it_describes_backends_as_told() {
    let backend = Backend::new("127.0.0.1:1").unwrap();
    let mut check = HttpHealthCheck::new("one.example", false);
    assert_eq!(check.backend_summary(&backend), "backend 127.0.0.1:1");
    check.set_backend_summary(|b| format!("<{}>", b.addr));
    assert_eq!(check.backend_summary(&backend), "<127.0.0.1:1>");
}

#[tokio::test]
async fn what_is_expected_of_an_answer_has_to_hold() {
    let answer = "HTTP/1.1 204 No\r\nX-State: up\r\n\r\n";
    let with_body = "HTTP/1.1 200 OK\r\nX-State: up\r\nContent-Length: 5\r\n\r\nready";
    let name = http::HeaderName::from_static("x-state");
    let up = || Some(http::HeaderValue::from_static("up"));
    let down = || Some(http::HeaderValue::from_static("down"));
    let expected = Expected::new;
    for (answer, wanted, good) in [
        (answer, expected(), false),
        (answer, expected().status(200..=299), true),
        (
            answer,
            expected().status(200..=203).status(205..=299),
            false,
        ),
        (with_body, expected(), true),
        (with_body, expected().field(name.clone(), up()), true),
        (with_body, expected().field(name.clone(), None), true),
        (with_body, expected().field(name.clone(), down()), false),
        (with_body, expected().field(http::header::ETAG, None), false),
        (with_body, expected().body(|body| body == b"ready"), true),
        (
            with_body,
            expected().body(|body| body == b"rea").within(3),
            true,
        ),
        (with_body, expected().body(|body| body.is_empty()), false),
        (
            with_body,
            expected().status(200..=200).body(|_| true).within(0),
            true,
        ),
    ] {
        let origin = Origin::answering(answer, 2).await;
        let mut check = HttpHealthCheck::new("one.example", false);
        check.reuse_connection = true;
        let what = format!("{wanted:?}");
        check.set_expected(wanted);
        for _ in 0..2 {
            assert_eq!(check.check(&origin.backend).await.is_ok(), good, "{what}");
        }
        // A failure on a kept connection is looked at again on a new one.
        let connections = if good { 1 } else { 2 };
        assert_eq!(origin.connections(), connections, "{what}");
    }
}
