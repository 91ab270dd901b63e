//! Requests that go through a sub-request in memory, from clients of either version to origins of
//! either version: what goes in comes out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on ends by panicking"
)]

use async_trait::async_trait;
use pingora::prelude::*;
use pingora::protocols::http::HttpTask;
use pingora::proxy::subrequest::pipe::{InputBodyType, pipe_subrequest};
use pingora::proxy::subrequest::{BodyMode, Ctx};
use pingora_tests::{Ask, Origin, TestServer, Version, VersionedUpstream, h2c_proxy, pattern};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const MB: usize = 1024 * 1024;
const PAIRS: [(Version, Version); 4] = [
    (Version::H1, Version::H1),
    (Version::H1, Version::H2),
    (Version::H2, Version::H1),
    (Version::H2, Version::H2),
];

/// Pipes every request of a client through a sub-request.
struct Piping {
    upstream: VersionedUpstream,
    /// The number of sub-requests that were logged.
    logged: Arc<AtomicUsize>,
}

#[async_trait]
impl ProxyHttp for Piping {
    type CTX = ();
    fn new_ctx(&self) {}

    fn allow_spawning_subrequest(&self, session: &Session, _: &()) -> bool {
        !session.is_subrequest()
    }

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        let Some(spawner) = session.subrequest_spawner.clone() else {
            return Ok(false);
        };
        let mode = if session.is_body_empty() {
            BodyMode::NoBody
        } else {
            BodyMode::ExpectBody
        };
        let ctx = Ctx::builder().body_mode(mode).build();
        let (sub, handle) = spawner.create_subrequest(session, ctx);
        let all = |task: HttpTask| Ok(Some(task));
        let input = InputBodyType::SaveBody(0);
        let mut state = pipe_subrequest(session, sub, handle, all, input).await?;
        if let Some(task) = state.join_handle.take() {
            task.await.or_err(InternalError, "a sub-request panicked")?;
        }
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.upstream.peer()))
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, _: &mut ()) {
        if session.is_subrequest() {
            self.logged.fetch_add(1, Ordering::SeqCst);
        }
    }
}

struct Behind {
    origin: Origin,
    proxy: TestServer,
    logged: Arc<AtomicUsize>,
}

async fn behind(version: Version) -> Behind {
    let origin = match version {
        Version::H1 => Origin::well_behaved().await,
        Version::H2 => Origin::http2().await,
    };
    let logged = Arc::new(AtomicUsize::new(0));
    let proxy = h2c_proxy(Piping {
        upstream: VersionedUpstream {
            address: origin.address(),
            version,
        },
        logged: logged.clone(),
    });
    let proxy = proxy.await;
    Behind {
        origin,
        proxy,
        logged,
    }
}

/// Compares long bodies without printing them.
#[track_caller]
fn assert_same(got: &[u8], wanted: &[u8], what: &str) {
    assert!(
        got == wanted,
        "{what}: {} bytes for {}",
        got.len(),
        wanted.len()
    );
}

#[tokio::test]
async fn answers_of_every_shape() {
    let rows = [
        ("/status/204", 204, 0),
        ("/status/304", 304, 0),
        ("/status/404", 404, 0),
        ("/length/0", 200, 0),
        ("/length/1", 200, 1),
        ("/length/70001", 200, 70_001),
        ("/drip/50", 200, 50),
        ("/chunked/0", 200, 0),
        ("/chunked/2500", 200, 2500),
        ("/chunked/1048576", 200, MB),
        ("/close/70001", 200, 70_001),
    ];
    for (down, up) in PAIRS {
        let behind = behind(up).await;
        for method in ["GET", "HEAD", "POST"] {
            for (path, status, length) in rows {
                let what = format!("{down:?} to {up:?}, {method} {path}");
                let ask = Ask::by(method, path);
                let answer = ask.answered_over(down, behind.proxy.address()).await;
                assert_eq!(answer.status(), status, "{what}");
                assert!(answer.is_complete(), "{what}: {:?}", answer.ending);
                let length = if method == "HEAD" { 0 } else { length };
                assert_same(&answer.body, &pattern(length), &what);
            }
        }
        assert_eq!(behind.logged.load(Ordering::SeqCst), 3 * rows.len());
    }
}

#[tokio::test]
async fn uploads_of_every_shape() {
    // Whether the length is announced, the length, and the size of pieces.
    let rows = [
        (true, 0, 0),
        (true, 1, 0),
        (true, 70_001, 0),
        (true, 4 * MB, 0),
        (true, 40, 1),
        (false, 40, 1),
        (false, 70_001, 1000),
        (false, 4 * MB, 100_000),
    ];
    for (down, up) in PAIRS {
        let behind = behind(up).await;
        for (announced, length, piece) in rows {
            let what = format!("{down:?} to {up:?}, {length} bytes in {piece}, {announced}");
            let body = pattern(length);
            let mut ask = Ask::by("POST", "/echo").pieces(body.clone(), piece);
            ask.length = announced.then_some(length);
            let answer = ask.answered_over(down, behind.proxy.address()).await;
            assert_eq!(answer.status(), 200, "{what}");
            assert_same(&answer.body, &body, &what);
            assert_same(&behind.origin.last_request().body, &body, &what);
        }
    }
}

#[tokio::test]
async fn trailers_and_interim_answers_pass() {
    for (down, up) in PAIRS {
        let behind = behind(up).await;
        let what = format!("{down:?} to {up:?}");
        let ask = Ask::by("POST", "/echo-trailers")
            .with("TE", "trailers")
            .pieces("abc", 1)
            .trailer("x-sum", "42");
        let answer = ask.answered_over(down, behind.proxy.address()).await;
        assert_eq!(answer.body, b"abc", "{what}");
        let sum = ("x-sum".to_string(), "42".to_string());
        assert!(answer.trailers.contains(&sum), "{what}: {answer:?}");

        let answers = Ask::get("/hints").over(down, behind.proxy.address()).await;
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status()).collect();
        assert_eq!(statuses, [103, 200], "{what}");
        assert_eq!(answers[1].body, b"hinted", "{what}");
    }
}

#[tokio::test]
async fn an_early_answer_arrives() {
    for (down, up) in PAIRS {
        let behind = behind(up).await;
        let ask = Ask::by("POST", "/early").body(pattern(MB));
        let answer = ask.answered_over(down, behind.proxy.address()).await;
        assert_eq!(answer.status(), 413, "{down:?} to {up:?}");
        assert_eq!(answer.body, b"early", "{down:?} to {up:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_arrives_cut() {
    for (down, up) in PAIRS {
        let behind = behind(up).await;
        for path in ["/cut/1000", "/reset/1000"] {
            let answer = Ask::get(path)
                .answered_over(down, behind.proxy.address())
                .await;
            let what = format!("{down:?} to {up:?} {path}");
            // If nothing had been sent yet, an error page replaces it.
            let is_page = answer.status() == 502 && answer.body.is_empty();
            assert!(!answer.is_complete() || is_page, "{what}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_client_that_waits_for_permission_gets_it() {
    for up in [Version::H1, Version::H2] {
        let behind = behind(up).await;
        let mut client = behind.proxy.connect().await;
        let head = "POST /continue HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\
                    Content-Length: 4\r\n\r\n";
        client.send(head).await;
        assert_eq!(client.response().await.status(), 100, "{up:?}");
        client.send("body").await;
        assert_eq!(client.response().await.text(), "body", "{up:?}");
    }
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel() {
    let behind = behind(Version::H1).await;
    let mut client = behind.proxy.connect().await;
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
    behind.origin.wait_until_unused().await;
}
