//! Bodies of requests that are answered before they arrive: nobody takes them for requests (RFC 9112 section 9.3).

use async_trait::async_trait;
use pingora::prelude::*;
use pingora_tests::{Connection, Origin, Version, VersionedUpstream, h2c_proxy};
use std::sync::{Arc, Mutex};

/// What the body holds, and what the client asks next.
const INNER: &str = "GET /inner HTTP/1.1\r\nHost: a\r\n\r\n";
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// Answers some requests before their bodies have come.
struct Early(VersionedUpstream);

#[async_trait]
impl ProxyHttp for Early {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        match session.req_header().uri.path() {
            "/filter" => session.respond_error(403).await.map(|()| true),
            "/error" => Error::e_explain(ErrorType::HTTPStatus(503), "on purpose"),
            _ => Ok(false),
        }
    }

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        match session.req_header().uri.path() {
            "/peer" => Error::e_explain(ErrorType::HTTPStatus(404), "on purpose"),
            _ => Ok(Box::new(self.0.peer())),
        }
    }
}

/// What an origin was asked for.
type Targets = Arc<Mutex<Vec<String>>>;

/// Answers `/early` ahead of its body, which it reads then, and goes on.
async fn early_origin() -> (Origin, Targets) {
    let targets = Targets::default();
    let noted = targets.clone();
    let origin = Origin::scripted(move |mut connection: Connection, _| {
        let noted = noted.clone();
        async move {
            while let Some(head) = connection.request_head().await {
                let target = head.target().to_string();
                let answer = match target.as_str() {
                    "/early" => "413 Too Large\r\nContent-Length: 5\r\n\r\nearly",
                    _ => "200 OK\r\nContent-Length: 5\r\n\r\n/next",
                };
                noted.lock().unwrap().push(target);
                let answer = format!("HTTP/1.1 {answer}");
                if connection.try_send(answer).await.is_err() {
                    return;
                }
                connection.body_of(head).await;
            }
        }
    })
    .await;
    (origin, targets)
}

/// A head, and the body behind it.
fn upload(path: &str, chunked: bool) -> (String, String) {
    let length = INNER.len();
    let (field, body) = if chunked {
        let chunk = format!("{length:x}\r\n{INNER}\r\n0\r\n\r\n");
        ("Transfer-Encoding: chunked".to_string(), chunk)
    } else {
        (format!("Content-Length: {length}"), INNER.to_string())
    };
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
    (head, body)
}

#[tokio::test]
async fn a_body_behind_an_early_answer_is_no_request() {
    for version in [Version::H1, Version::H2] {
        let (origin, targets) = match version {
            Version::H1 => early_origin().await,
            Version::H2 => (Origin::http2().await, Targets::default()),
        };
        let address = origin.address();
        let server = h2c_proxy(Early(VersionedUpstream { address, version })).await;
        for (path, status) in [
            ("/filter", 403),
            ("/error", 503),
            ("/peer", 404),
            ("/early", 413),
        ] {
            // The body comes behind the answer, in part or as a whole, or with the head.
            for (chunked, ahead) in [false, true].into_iter().flat_map(|chunked| {
                let (_, body) = upload(path, chunked);
                [0, 10, body.len()].map(|ahead| (chunked, ahead))
            }) {
                let what = format!("{path} to {version:?}, chunked: {chunked}, {ahead} ahead");
                let (head, body) = upload(path, chunked);
                let mut client = Connection::to(server.address()).await;
                client.send(head + &body[..ahead]).await;
                assert_eq!(client.response().await.status(), status, "{what}");
                // The connection may be closed by now: that is as good.
                let sent = client.try_send(&body[ahead..]).await.is_ok();
                if sent && client.try_send(NEXT).await.is_ok() {
                    let rest = String::from_utf8_lossy(&client.rest().await).into_owned();
                    let only_next = rest.is_empty() || rest.ends_with("\r\n\r\n/next");
                    assert!(only_next, "{what}: {rest}");
                    assert!(rest.matches("HTTP/1.1 ").count() < 2, "{what}: {rest}");
                }
            }
        }
        let mut asked = targets.lock().unwrap().clone();
        asked.extend(origin.requests().iter().map(|it| it.target().to_string()));
        assert!(asked.contains(&"/next".to_string()), "{asked:?}");
        assert!(!asked.contains(&"/inner".to_string()), "{asked:?}");
    }
}
