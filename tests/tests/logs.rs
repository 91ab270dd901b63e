//! The log of failed requests: its level, and whether it names the requested target.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use pingora::prelude::*;
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::RunArgs;
use pingora::server::configuration::ServerConf;
use pingora_tests::{
    Ask, FixedUpstream, Origin, Refusing, Version, eventually, h2c_proxy, keep_log, log_lines,
    logged, proxy, proxy_with,
};
use std::net::SocketAddr;

#[tokio::test]
async fn what_clients_do_is_logged_as_information_and_counted() {
    keep_log();
    let origin = Origin::scripted(|mut connection, _| async move {
        while let Some(request) = connection.request_head().await {
            let answer = match request.target() {
                "/endless" => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun",
                _ => return,
            };
            connection.send(answer).await;
        }
    })
    .await;
    let mut counts = None;
    let conf = ServerConf {
        threads: 1,
        ..ServerConf::default()
    };
    let server = proxy_with(conf, FixedUpstream(origin.address()), |service| {
        counts = service.app_logic().map(|proxy| proxy.failure_counts());
    })
    .await;
    let counts = counts.unwrap();

    let mut client = server.connect().await;
    client
        .send("GET /not /a /target HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    client.rest().await;
    let line = logged("GET /not /a /target HTTP/1.1").await;
    assert!(line.starts_with("INFO A request is refused: "), "{line}");
    assert!(line.contains("status: 400"), "{line}");
    assert!(!line.contains("GET /,"), "{line}");

    let mut client = server.connect().await;
    client.send("GET /cut-in-the-head HTT").await;
    client.finish().await;
    client.rest().await;
    let line = logged("/cut-in-the-head").await;
    assert!(line.starts_with("INFO A client left: "), "{line}");

    let mut client = server.connect().await;
    client
        .send("POST /cut-in-the-body HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        .await;
    drop(client);
    let line = logged("/cut-in-the-body").await;
    assert!(line.starts_with("INFO A client left: "), "{line}");

    let mut client = server.connect().await;
    client
        .send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    client.head().await;
    client.reset();
    let line = logged("/endless").await;
    assert!(line.starts_with("INFO A client left: "), "{line}");

    eventually("all are counted", || {
        (counts.client_left(), counts.refused()) == (3, 1)
    })
    .await;
    assert_eq!((counts.upstream(), counts.internal()), (0, 0));

    let mut client = server.connect().await;
    let answer = client
        .ask("GET /unanswered HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(answer.status(), 502);
    logged("/unanswered").await;
    let lines = log_lines("/unanswered");
    let errors = lines
        .iter()
        .filter(|line| line.starts_with("ERROR Fail to proxy: "));
    assert_eq!(errors.count(), 1, "{lines:?}");
    eventually("it is counted", || counts.upstream() == 1).await;
}

/// RUSTSEC-2025-0055 in the log of the server: what a client or an upstream sends can neither begin a line of its own
/// nor speak to the terminal of a reader.
#[tokio::test]
async fn control_bytes_of_peers_are_escaped_in_the_log() {
    keep_log();
    let origin = Origin::scripted(|mut connection, _| async move {
        while connection.request_head().await.is_some() {
            let answer = "HTTP/1.1 200 \x1b[2Junsound-answer\x07\r\nContent-Length: 0\r\n\r\n";
            connection.send(answer).await;
        }
    })
    .await;
    let server = proxy(FixedUpstream(origin.address())).await;
    let requests: [(&str, &[u8]); 6] = [
        (
            "unsound-target",
            b"GET /unsound-target\x1b[31m HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            "unsound-high",
            b"GET /unsound-high\xc2\x9b31m\x7f HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            "unsound-line",
            b"GET /unsound-line\x0bERROR HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            "unsound-value",
            b"GET /unsound-value HTTP/1.1\r\nHost: a\x1b]0;x\x07\r\n\r\n",
        ),
        (
            "unsound-method",
            b"GET\x1b[2J /unsound-method HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            "unsound-answer",
            b"GET /unsound-answer HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
    ];
    for (name, request) in requests {
        let mut client = server.connect().await;
        client.send(request).await;
        client.finish().await;
        client.rest().await;
        logged(name).await;
        for line in log_lines(name) {
            let sound = !line.chars().any(char::is_control);
            assert!(sound, "{name}: {line:?}");
        }
    }
}

/// Uses a name that does not resolve.
struct Nowhere;

#[async_trait]
impl ProxyHttp for Nowhere {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let name = "no.such.upstream.invalid:80";
        match session.req_header().uri.path() {
            "/new" => Ok(Box::new(HttpPeer::new(name, false, String::new()))),
            "/try_new" => HttpPeer::try_new(name, false, String::new()).map(Box::new),
            _ => HttpPeer::resolve(name, false, String::new())
                .await
                .map(Box::new),
        }
    }
}

#[tokio::test]
async fn an_upstream_whose_name_leads_nowhere_is_named() {
    keep_log();
    let server = proxy(Nowhere).await;
    for path in ["/new", "/try_new", "/resolve"] {
        let mut client = server.connect().await;
        client
            .ask(format!("GET {path} HTTP/1.1\r\nHost: named\r\n\r\n"))
            .await;
        let line = logged(&format!("GET {path}, Host: named")).await;
        assert!(line.contains("no.such.upstream.invalid:80"), "{line}");
    }
    assert!(!log_lines("peer that can't be connected to").is_empty());
    for line in log_lines("peer that can't be connected to") {
        assert!(line.contains("no.such.upstream.invalid:80"), "{line}");
    }
}

/// Keeps queries out of the log, and tries each request twice.
struct Discreet(SocketAddr);

#[async_trait]
impl ProxyHttp for Discreet {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        match session.req_header().uri.path() {
            "/discreet/none" => {
                Error::e_explain(ErrorType::HTTPStatus(404), "there is no such peer")
            }
            _ => Ok(Box::new(HttpPeer::new(self.0, false, String::new()))),
        }
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        _: &mut (),
        mut error: Box<Error>,
    ) -> Box<Error> {
        error.set_retry(true);
        error
    }

    fn request_summary(&self, session: &Session, _: &()) -> String {
        let summary = session.as_downstream().request_summary();
        let line = summary.split('?').next().unwrap_or_default();
        format!("{line}?***")
    }
}

#[tokio::test]
async fn a_program_can_keep_queries_out_of_the_log() {
    keep_log();
    let refusing = Refusing::new();
    let server = h2c_proxy(Discreet(refusing.address())).await;
    let rows = [
        (
            "GET /discreet/refused?s3cret HTTP/1.1\r\nHost: a\r\n\r\n",
            502,
        ),
        ("GET /discreet/none?s3cret HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (
            "GET /discreet/bad?s3cret HTTP/1.1\r\nHost: a b\r\n\r\n",
            400,
        ),
        (
            "GET /discreet/unread?s3cret HTTP/1.1 \r\nHost: a\r\n\r\n",
            400,
        ),
    ];
    for (request, status) in rows {
        let answer = server.connect().await.ask(request).await;
        assert_eq!(answer.status(), status, "{request}");
        assert!(!answer.text().contains("s3cret"), "{}", answer.text());
        let path = request.split(['?', ' ']).nth(1).unwrap();
        logged(&format!("{path}?***")).await;
    }
    let answer = Ask::get("/discreet/http2?s3cret")
        .answered_over(Version::H2, server.address())
        .await;
    assert_eq!(answer.status(), 502);
    logged("/discreet/http2?***").await;
    assert!(log_lines("s3cret").is_empty(), "{:?}", log_lines("s3cret"));
}

/// Runs `server` until a line with this text is logged, and returns the line.
async fn warning_of(server: Server, text: &str) -> String {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(RunArgs::until(async {
        let _ = stopped.await;
    })));
    let line = logged(text).await;
    drop(stop);
    serving.await.unwrap().unwrap();
    line
}

fn server() -> Server {
    keep_log();
    let conf = ServerConf {
        threads: 1,
        ..ServerConf::default()
    };
    Server::new_with_opt_and_conf(None::<Opt>, conf)
}

#[tokio::test]
async fn a_server_without_services_says_so() {
    let line = warning_of(server(), "no service was added to the server").await;
    assert!(line.starts_with("WARN"), "{line}");
}

#[tokio::test]
async fn a_service_without_an_endpoint_says_so() {
    let mut server = server();
    let address = "127.0.0.1:1".parse().unwrap();
    let service =
        http_proxy_service_with_name(&server.configuration, FixedUpstream(address), "deaf");
    server.add_service(service);
    let line = warning_of(server, "deaf: has no endpoint").await;
    assert!(line.starts_with("WARN"), "{line}");
}
